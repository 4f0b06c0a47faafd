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
	"github.com/wasmta/wasmta/sdk/internal/exercise"
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
		exercise.Missing(t, "c", "clang is not installed: apt-get install clang-14 lld-14")
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	link := []string{"--target=wasm32", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-o", out}
	if said, err := exec.Command(cc, append(slices.Clone(link), "-x", "c", os.DevNull)...).CombinedOutput(); err != nil {
		exercise.Missing(t, "c", "%s cannot link for wasm32: %s", cc, said)
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

func TestCapabilities(t *testing.T) {
	for name, args := range map[string][]string{
		"c99":         {"-std=c99", "-O2", "testdata/capabilities.c"},
		"unoptimised": {"-std=c11", "-O0", "testdata/capabilities.c"},
		"small":       {"-std=c99", "-O2", "-DMTA1_SCRATCH=64", "testdata/capabilities.c"}, // the memory grows
		"c as c++":    {"-std=c++14", "-Os", "-x", "c++", "testdata/capabilities.c"},
		"c++":         {"-std=c++14", "-Os", "-fno-exceptions", "-fno-rtti", "testdata/capabilities.cpp"},
	} {
		t.Run(name, func(t *testing.T) { exercise.Capabilities(t, compile(t, args...)) })
	}
}

// policy compiles a plugin of this text.
func policy(t *testing.T, code string, args ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.c")
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	return compile(t, append(args, file)...)
}

// What a plugin does not use it does not import, so that it needs no grant.
func TestImports(t *testing.T) {
	for code, modules := range map[string][]string{
		"return MTA1_CONTINUE;":              {},
		`return mta1_reject(550, "", "no");`: {},
		`return mta1_kv_take(mta1_s("k"), 1, 2, 500) > 0 ? MTA1_DEFER : MTA1_CONTINUE;`:                              {"mta1_kv"},
		`return mta1_dns_listed(mta1_s("l.test"), mta1_text(MTA1_F_REMOTE_IP), 0) > 0 ? MTA1_DEFER : MTA1_CONTINUE;`: {"mta1_dns"},
		`return mta1_in(mta1_dns_a(mta1_s("l.test")), mta1_s("::")) ? MTA1_DEFER : MTA1_CONTINUE;`:                   {"mta1_dns"},
		`return mta1_digest(MTA1_ALG_SHA1, mta1_s("")).len ? MTA1_DEFER : MTA1_CONTINUE;`:                            {"mta1_crypto"},
		`return mta1_table("t", mta1_s("k")).ptr ? MTA1_DEFER : MTA1_CONTINUE;`:                                      {"mta1_table"},
		`return mta1_event("t", mta1_s("k")) ? MTA1_DEFER : MTA1_CONTINUE;`:                                          {"mta1_event"},
	} {
		for _, level := range []string{"-O0", "-O2"} {
			exercise.Honest(t, policy(t, "#include \"mta1.h\"\nMTA1_INIT { return 0; }\nMTA1_HOOK(rcpt) { "+code+" }\n", level), modules...)
		}
	}
}

// A plugin that gives up says why in the log.
func TestFailures(t *testing.T) {
	for code, words := range map[string]string{
		`mta1_fail("no more");`:                "no more",
		`MTA1_ASSERT(mta1_rcpt_count() == 7);`: "policy.c:3: it does not hold that mta1_rcpt_count() == 7",
		`abort();`:                             "abort() was called",
		`mta1_must(MTA1_E_DENIED);`:            "a change was refused: error -3",
	} {
		exercise.Fails(t, policy(t, "#include \"mta1.h\"\nMTA1_INIT { return 0; }\nMTA1_HOOK(rcpt) { "+code+" return 0; }\n"), words)
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

// The other examples of the README compile.
func TestExamplesOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range regexp.MustCompile("(?s)```(cp*)\n(.*?)```").FindAllSubmatch(readme, -1) {
		text, args := string(code[2]), []string{"-x", "c"}
		switch {
		case string(code[1]) == "cpp":
			args = []string{"-x", "c++"}
		case i > 0:
			text = "#include \"mta1.h\"\nMTA1_INIT { return 0; }\n" + text
		}
		policy(t, text, args...)
	}
}
