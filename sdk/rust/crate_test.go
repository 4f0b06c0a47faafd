// Package rust_test compiles the crate for WebAssembly and runs what it gives in
// the engine.
package rust_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/sdk/internal/guesttest"
)

const target = "wasm32-unknown-unknown"

// compilers are the installed ones that have the target; Debian's is the oldest
// that the crate supports.
func compilers(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, name := range []string{"rustc", "/usr/bin/rustc"} {
		path, err := exec.LookPath(name)
		if err != nil || slices.Contains(found, path) {
			continue
		}
		out, err := exec.Command(path, "--print", "target-libdir", "--target", target).Output()
		if err == nil {
			_, err = os.Stat(strings.TrimSpace(string(out)))
		}
		if err != nil {
			t.Logf("%s has no target %s", path, target)
			continue
		}
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Skip("no rustc with the target " + target)
	}
	return found
}

func run(t *testing.T, tool string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}

// compile makes a module of a file, with std and all warnings as errors.
func compile(t *testing.T, rustc, file string) []byte {
	t.Helper()
	dir := t.TempDir()
	lib, out := filepath.Join(dir, "libwasmta.rlib"), filepath.Join(dir, "out.wasm")
	flags := []string{"--edition", "2021", "--target", target, "-O", "-C", "panic=abort", "-D", "warnings"}
	run(t, rustc, append(flags, "--crate-name", "wasmta", "--crate-type", "rlib", "-o", lib, "src/lib.rs")...)
	run(t, rustc, append(flags, "--crate-name", "plugin", "--crate-type", "cdylib", "--extern", "wasmta="+lib, "-o", out, file)...)
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestCrateInTheEngine(t *testing.T) {
	for _, rustc := range compilers(t) {
		t.Run(rustc, func(t *testing.T) {
			guesttest.All(t, compile(t, rustc, "testdata/all.rs"), "a call was refused: ")
		})
	}
}

// The plugin of README.md compiles and does what it says there.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```rust\n(.*?)```").FindSubmatch(readme)
	if code == nil {
		t.Fatal("README.md shows no plugin")
	}
	file := filepath.Join(t.TempDir(), "policy.rs")
	if err := os.WriteFile(file, code[1], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, rustc := range compilers(t) {
		k := guesttest.Open(t, compile(t, rustc, file), `{"blocked": ["nobody"]}`, nil)
		guesttest.Want(t, k.Ask(t.Context(), guesttest.Event(hook.Rcpt, "nobody")), "reject 550 5.1.1 there is no such mailbox")
		guesttest.Want(t, k.Ask(t.Context(), guesttest.Event(hook.Rcpt, "ann")), "continue")
	}
}

// Without std a panic says where it was.
func TestPanic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "panic.rs")
	const code = "#![no_std]\nwasmta::panic_handler!();\nwasmta::init!();\nwasmta::hook!(on_rcpt, |s| -> wasmta::Verdict {\n  panic!(\"{}\", s.attempt())\n});\n"
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, rustc := range compilers(t) {
		var logged []string
		k := guesttest.Open(t, compile(t, rustc, file), "", func(l hostapi.Line) { logged = append(logged, l.Text) })
		guesttest.Want(t, k.Ask(t.Context(), guesttest.Event(hook.Rcpt, "ann")), "failed")
		if len(logged) != 1 || !strings.HasPrefix(logged[0], "panic at ") || !strings.HasSuffix(logged[0], "panic.rs:5") {
			t.Errorf("logged %q", logged)
		}
	}
}

// The crate's own tests, and those of the examples, with the stand-in for the
// server.
func TestCargo(t *testing.T) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		t.Skip("cargo is not installed")
	}
	for _, args := range [][]string{
		{"--all-features", "--manifest-path", "Cargo.toml"},
		{"--manifest-path", "../../examples/rust/Cargo.toml"},
	} {
		run(t, cargo, append([]string{"test", "--quiet", "--offline", "--target-dir", t.TempDir()}, args...)...)
	}
}
