// Package rust_test compiles the crate for WebAssembly and runs what it gives in
// the engine.
package rust_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/sdk/internal/exercise"
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
		exercise.Missing(t, "rust", "no rustc with the target %s", target)
	}
	return found
}

func run(t *testing.T, tool string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}

// compile makes a module of a file, with all warnings as errors. The flags are
// for the crate.
func compile(t *testing.T, rustc, file string, crate ...string) []byte {
	t.Helper()
	flags := []string{"--edition", "2021", "--target", target, "-O", "-C", "panic=abort", "-D", "warnings"}
	lib, out := crates.rlib(t, rustc, append(slices.Clone(flags), crate...)), filepath.Join(t.TempDir(), "out.wasm")
	run(t, rustc, append(flags, "--crate-name", "plugin", "--crate-type", "cdylib", "--extern", "wasmta="+lib, "-o", out, file)...)
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// library is the crate compiled, once for each compiler and its flags.
type library struct {
	dir  string
	made map[string]string // compiler and flags -> file
}

var crates library

func (l *library) rlib(t *testing.T, rustc string, flags []string) string {
	t.Helper()
	key := rustc + " " + strings.Join(flags, " ")
	if l.made[key] == "" {
		out := filepath.Join(l.dir, strconv.Itoa(len(l.made)), "libwasmta.rlib")
		if err := os.Mkdir(filepath.Dir(out), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, rustc, append(slices.Clone(flags), "--crate-name", "wasmta", "--crate-type", "rlib", "-o", out, "src/lib.rs")...)
		l.made[key] = out
	}
	return l.made[key]
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "wasmta-rust-*")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		crates = library{dir, map[string]string{}}
		return m.Run()
	}())
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

func TestCapabilities(t *testing.T) {
	for _, rustc := range compilers(t) {
		t.Run(rustc, func(t *testing.T) { exercise.Capabilities(t, compile(t, rustc, "testdata/capabilities.rs", std...)) })
	}
}

// std are the features that cargo turns on for std.
var std = []string{"--cfg", `feature="std"`, "--cfg", `feature="alloc"`}

func plugin(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "policy.rs")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// What a plugin does not use it does not import, so that it needs no grant.
func TestImports(t *testing.T) {
	rustc := compilers(t)[0]
	for code, modules := range map[string][]string{
		`wasmta::Verdict::CONTINUE`: {},
		`s.reject(550, "", "no")`:   {},
		`s.kv().incr("k", 1, core::time::Duration::ZERO).map(|_| wasmta::Verdict::CONTINUE)`:                                       {"mta1_kv"},
		`match s.dns().listed("l.test", "192.0.2.1") { Ok(Some(_)) => wasmta::Verdict::DEFER, _ => wasmta::Verdict::CONTINUE }`:    {"mta1_dns"},
		`match s.crypto().new_digest(wasmta::Algorithm::Sha1) { Ok(_) => wasmta::Verdict::DEFER, _ => wasmta::Verdict::CONTINUE }`: {"mta1_crypto"},
		`match s.lookup("t", "k") { Some(_) => wasmta::Verdict::DEFER, _ => wasmta::Verdict::CONTINUE }`:                           {"mta1_table"},
		`s.emit("t", "k").map(|_| wasmta::Verdict::CONTINUE)`:                                                                      {"mta1_event"},
	} {
		head := "#![no_std]\n#[panic_handler]\nfn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\nwasmta::init!();\n"
		file := plugin(t, head+"wasmta::hook!(on_rcpt, |s| { let _ = s; "+code+" });\n")
		exercise.Honest(t, compile(t, rustc, file), modules...)
	}
}

// A panic says in the log what happened and where.
func TestPanics(t *testing.T) {
	const hook = "wasmta::init!();\nwasmta::hook!(on_rcpt, |s| -> wasmta::Verdict {\n  panic!(\"attempt {}\", s.attempt())\n});\n"
	for _, rustc := range compilers(t) {
		exercise.Fails(t, compile(t, rustc, plugin(t, "#![no_std]\nwasmta::panic_handler!();\n"+hook)), "attempt 0", "policy.rs:5")
		exercise.Fails(t, compile(t, rustc, plugin(t, "#![no_std]\nwasmta::panic_handler!(place);\n"+hook)), "panic at ", "policy.rs:5")
		exercise.Fails(t, compile(t, rustc, plugin(t, hook), std...), "attempt 0", "policy.rs:3")
		exercise.Fails(t, compile(t, rustc, plugin(t, "wasmta::init!();\nwasmta::hook!(on_rcpt, |s| {\n  let list: Vec<i32> = Vec::new();\n"+
			"  wasmta::Verdict::CONTINUE.detach_session();\n  s.reject(list[s.attempt() as usize], \"\", \"\")\n});\n"), std...), "index out of bounds", "policy.rs:5")
	}
}

// The crate's own tests, and those of the examples, with the stand-in for the
// server.
func TestCargo(t *testing.T) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		exercise.Missing(t, "rust", "cargo is not installed")
	}
	for _, args := range [][]string{
		{"--all-features", "--manifest-path", "Cargo.toml"},
		{"--manifest-path", "../../examples/rust/Cargo.toml"},
	} {
		run(t, cargo, append([]string{"test", "--quiet", "--offline", "--target-dir", t.TempDir()}, args...)...)
	}
}
