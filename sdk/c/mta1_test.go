// Package c_test compiles mta1.h and runs what it gives in the engine.
package c_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/sdk/internal/guesttest"
)

// compile makes a module; it skips without a clang for wasm32.
func compile(t *testing.T, args ...string) []byte {
	t.Helper()
	cc := ""
	for _, name := range []string{"clang-14", "clang", "clang-19"} {
		if path, err := exec.LookPath(name); err == nil {
			cc = path
			break
		}
	}
	if cc == "" {
		t.Skip("clang is not installed")
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	link := []string{"--target=wasm32", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-o", out}
	if said, err := exec.Command(cc, append(slices.Clone(link), "-x", "c", os.DevNull)...).CombinedOutput(); err != nil {
		t.Skipf("%s cannot link for wasm32: %s", cc, said)
	}
	flags := append(link, "-ffreestanding", "-I.", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
	if said, err := exec.Command(cc, append(flags, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", cc, args, err, said)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestHelpers(t *testing.T) {
	for name, args := range map[string][]string{
		"c99":         {"-std=c99", "-O2", "testdata/all.c"},
		"unoptimised": {"-std=c11", "-O0", "testdata/all.c"},
		"c++":         {"-std=c++14", "-Os", "-x", "c++", "testdata/all.c"},
	} {
		t.Run(name, func(t *testing.T) {
			guesttest.All(t, compile(t, args...), "a change was refused: error -2")
		})
	}
}

// What the README shows compiles as it says and does what it says.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```c\n(.*?)```").FindSubmatch(readme)
	if code == nil {
		t.Fatal("README.md shows no plugin")
	}
	file := filepath.Join(t.TempDir(), "policy.c")
	if err := os.WriteFile(file, code[1], 0o644); err != nil {
		t.Fatal(err)
	}
	k := guesttest.Open(t, compile(t, "-O2", file), `{"blocked": ["nobody"]}`, nil)
	guesttest.Want(t, k.Ask(t.Context(), guesttest.Event(hook.Rcpt, "nobody")), "reject 550 5.1.1 there is no such mailbox")
	guesttest.Want(t, k.Ask(t.Context(), guesttest.Event(hook.Rcpt, "ann")), "continue")
}
