package examples_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wasmta/wasmta/hostapi/conformance/wat"
	"github.com/wasmta/wasmta/hostapi/gobuild"
	"github.com/wasmta/wasmta/hostapi/script"
	"github.com/wasmta/wasmta/hostapi/script/lua"
)

// language is how the examples of one language are built. A row here is all
// that a new language needs: policies_test.go does the rest.
type language struct {
	name  string
	build func(b *builder, example string) []byte // of block, headers, route
}

var languages = []language{
	{"go", func(b *builder, example string) []byte {
		wasm, err := gobuild.Build(b.Context(), filepath.Join("go", example))
		if errors.Is(err, gobuild.ErrNoGo) {
			b.Skip(err)
		}
		if err != nil {
			b.Fatal(err)
		}
		return wasm
	}},
	{"tinygo", func(b *builder, example string) []byte {
		tinygo := os.Getenv("TINYGO")
		if tinygo == "" {
			tinygo = b.tool("tinygo")
		}
		target := os.Getenv("TINYGO_TARGET") // of a TinyGo that was built without its libraries
		if target == "" {
			target = "wasip1"
		}
		b.run(filepath.Join("go", example), tinygo, "build", "-target="+target, "-buildmode=c-shared", "-scheduler=none", "-opt=2", "-no-debug", "-o", b.out(), ".")
		return b.result()
	}},
	{"lua", func(b *builder, example string) []byte {
		source, err := os.ReadFile(filepath.Join("lua", example+".lua"))
		if err != nil {
			b.Fatal(err)
		}
		wasm, err := lua.Module(b.Context(), example+".lua", source)
		if errors.Is(err, gobuild.ErrNoGo) {
			b.Skip(err)
		}
		if err != nil {
			b.Fatal(err)
		}
		return wasm
	}},
	{"c", func(b *builder, example string) []byte {
		return b.clang("-std=c99", filepath.Join("c", example, example+".c"))
	}},
	{"c++", func(b *builder, example string) []byte { // the header is for both
		return b.clang("-std=c++14", "-x", "c++", filepath.Join("c", example, example+".c"))
	}},
	{"rust", func(b *builder, example string) []byte {
		cargo, rustc := b.cargo()
		b.run("rust", "env", "RUSTC="+rustc, cargo, "rustc", "--quiet", "--offline", "--release", "--target", rustTarget, "--target-dir", b.cache("cargo"),
			"--package", example, "--", "--emit=link="+b.out())
		return b.result()
	}},
	{"rust without cargo", func(b *builder, example string) []byte {
		rustc := b.tool("/usr/bin/rustc", "rustc") // Debian's first: it is the oldest that the crate supports
		b.rustTarget(rustc)
		lib := filepath.Join(b.TempDir(), "libwasmta.rlib")
		flags := []string{"--edition", "2021", "--target", rustTarget, "-C", "opt-level=s", "-C", "panic=abort"}
		b.run("", rustc, append(flags, "--crate-name", "wasmta", "--crate-type", "rlib", "-o", lib, "../sdk/rust/src/lib.rs")...)
		b.run("", rustc, append(flags, "--crate-name", example, "--crate-type", "cdylib", "-C", "lto", "-C", "strip=symbols",
			"-C", "link-arg=-zstack-size=65536", "--extern", "wasmta="+lib, "-o", b.out(), filepath.Join("rust", example, "src", "lib.rs"))...)
		return b.result()
	}},
	{"assemblyscript", func(b *builder, example string) []byte {
		asc := b.tool("asc")
		sdk, err := filepath.Abs("../sdk/assemblyscript")
		if err != nil {
			b.Fatal(err)
		}
		packages := b.TempDir() // where npm would put @wasmta/sdk
		if err := errors.Join(os.Mkdir(filepath.Join(packages, "@wasmta"), 0o755), os.Symlink(sdk, filepath.Join(packages, "@wasmta", "sdk"))); err != nil {
			b.Fatal(err)
		}
		b.run("assemblyscript", asc, filepath.Join(example, "index.ts"), "--path", packages, "--outFile", b.out())
		return b.result()
	}},
	{"zig", func(b *builder, example string) []byte {
		zig := b.tool("zig")
		b.run(filepath.Join("zig", example), zig, "build", "--cache-dir", b.cache("zig"), "--global-cache-dir", b.cache("zig"), "--prefix", b.cache("zig-out"))
		wasm, err := os.ReadFile(filepath.Join(b.cache("zig-out"), "lib", example+".wasm"))
		if err != nil {
			b.Fatal(err)
		}
		return wasm
	}},
	{"javascript", func(b *builder, example string) []byte {
		wasm, err := script.Build(b.Context(), filepath.Join("javascript", example+".js"))
		if err != nil {
			b.Fatal(err)
		}
		return wasm
	}},
	{"wat", func(b *builder, example string) []byte { // needs no tool
		text, err := os.ReadFile(filepath.Join("wat", example+".wat"))
		if err != nil {
			b.Fatal(err)
		}
		wasm, err := wat.Assemble(text)
		if err != nil {
			b.Fatalf("%s.wat:%v", example, err)
		}
		return wasm
	}},
}

const rustTarget = "wasm32-unknown-unknown"

// clang compiles and links one file, with all warnings as errors.
func (b *builder) clang(args ...string) []byte {
	cc := b.tool("clang-14", "clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15")
	if out, err := exec.Command(cc, "--print-targets").Output(); err != nil || !bytes.Contains(out, []byte("wasm32")) {
		b.missing("%s has no target wasm32", cc)
	}
	if out, err := exec.Command(cc, "--target=wasm32", "-nostdlib", "-Wl,--no-entry", "-o", b.out(), "-x", "c", os.DevNull).CombinedOutput(); err != nil {
		b.missing("%s cannot link for wasm32: install lld of the same version: %s", cc, out)
	}
	flags := []string{"--target=wasm32", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-nostdlib", "-ffreestanding", "-I../sdk/c",
		"-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-o", b.out()}
	b.run("", cc, append(flags, args...)...)
	return b.result()
}

// cargo is the first cargo whose rustc makes WebAssembly: Debian's, or that on
// the PATH.
func (b *builder) cargo() (cargo, rustc string) {
	b.Helper()
	for _, dir := range []string{"/usr/bin/", ""} {
		cargo, err1 := exec.LookPath(dir + "cargo")
		rustc, err2 := exec.LookPath(dir + "rustc")
		if errors.Join(err1, err2) == nil && hasRustTarget(rustc) {
			return cargo, rustc
		}
	}
	b.missing("there is no cargo whose rustc has the target %s: rustup target add %[1]s, or Debian's rustc, cargo and libstd-rust-dev-wasm32", rustTarget)
	return "", ""
}

func hasRustTarget(rustc string) bool {
	out, err := exec.Command(rustc, "--print", "target-libdir", "--target", rustTarget).Output()
	if err == nil {
		_, err = os.Stat(strings.TrimSpace(string(out)))
	}
	return err == nil
}

// rustTarget skips if there is no standard library for WebAssembly.
func (b *builder) rustTarget(rustc string) {
	if !hasRustTarget(rustc) {
		b.missing("%s has no target %s: rustup target add %[2]s, or Debian's libstd-rust-dev-wasm32", rustc, rustTarget)
	}
}

// builder is a test that builds a module.
type builder struct {
	testing.TB
	language string
}

// missing skips the test, or fails it if WASMTA_REQUIRE_LANGUAGES, words such
// as "c,cpp,rust", has the language.
func (b *builder) missing(format string, args ...any) {
	b.Helper()
	word, _, _ := strings.Cut(strings.ReplaceAll(b.language, "++", "pp"), " ")
	if slices.Contains(strings.Split(os.Getenv("WASMTA_REQUIRE_LANGUAGES"), ","), word) {
		b.Fatalf(format, args...)
	}
	b.Skipf(format, args...)
}

// tool is the first of the commands that is installed.
func (b *builder) tool(names ...string) string {
	b.Helper()
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	b.missing("%s is not installed", strings.Join(names, " or "))
	return ""
}

// run runs a command in dir, which is below examples.
func (b *builder) run(dir, tool string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), tool, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}

// out is where run puts the module that result reads.
func (b *builder) out() string { return filepath.Join(b.cache("out"), "module.wasm") }

func (b *builder) result() []byte {
	b.Helper()
	wasm, err := os.ReadFile(b.out())
	if err != nil {
		b.Fatal(err)
	}
	return wasm
}

// cache is a directory that lasts as long as the test binary runs.
func (b *builder) cache(name string) string {
	b.Helper()
	dir := filepath.Join(cacheDir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	return dir
}

var cacheDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "wasmta-examples-*")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		cacheDir = dir
		return m.Run()
	}())
}

var built sync.Map // language and example -> []byte

// module builds an example once.
func module(t testing.TB, l language, example string) []byte {
	t.Helper()
	if l.name != "wat" { // which this module assembles itself, at once
		if testing.Short() {
			t.Skip("building plugins takes long")
		}
		if runtime.GOOS == "windows" {
			t.Skip("the commands are those of Unix")
		}
	}
	key := l.name + "/" + example
	if wasm, ok := built.Load(key); ok {
		return wasm.([]byte)
	}
	b := &builder{t, l.name}
	os.Remove(b.out())
	wasm := l.build(b, example)
	built.Store(key, wasm)
	return wasm
}
