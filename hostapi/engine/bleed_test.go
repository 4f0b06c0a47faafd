package engine_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
	"github.com/wasmta/wasmta/hostapi/script/javascript"
	"github.com/wasmta/wasmta/hostapi/script/lua"
)

// bleedGuests are guests that leave something in every place that a session
// can reach, and reject if they find something there. They skip where their
// compiler is missing.
func bleedGuests() map[string]func(t testing.TB) []byte {
	return map[string]func(t testing.TB) []byte{
		"raw small": func(testing.TB) []byte { return writesEverywhere(1) },
		"raw large": func(testing.TB) []byte { return writesEverywhere(5) },
		"go": func(t testing.TB) []byte {
			return compile(t, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS="},
				tool(t, "go"), "build", "-buildmode=c-shared", "-ldflags=-s -w", "-trimpath", "-o", output, "./testdata/bleed/go")
		},
		"c": func(t testing.TB) []byte {
			cc := tool(t, "clang-14", "clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15")
			flags := []string{"--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-Wl,--no-entry"}
			if out, err := exec.Command(cc, append(flags, "-o", filepath.Join(t.TempDir(), "x"), "-x", "c", os.DevNull)...).CombinedOutput(); err != nil {
				t.Skipf("%s cannot make WebAssembly: %s", cc, out)
			}
			return compile(t, nil, cc, append(flags, "-o", output, "testdata/bleed/c/guest.c")...)
		},
		"rust": func(t testing.TB) []byte {
			rustc, target := tool(t, "/usr/bin/rustc", "rustc"), "wasm32-unknown-unknown"
			dir, err := exec.Command(rustc, "--print", "target-libdir", "--target", target).Output()
			if _, missing := os.Stat(strings.TrimSpace(string(dir))); err != nil || missing != nil {
				t.Skipf("%s has no target %s", rustc, target)
			}
			return compile(t, nil, rustc, "--target", target, "--crate-type", "cdylib", "--edition", "2021", "-O", "-C", "panic=abort",
				"-C", "strip=symbols", "-C", "link-arg=-zstack-size=65536", "-o", output, "testdata/bleed/rust/lib.rs")
		},
		"assemblyscript": func(t testing.TB) []byte {
			return compile(t, nil, tool(t, "asc"), "testdata/bleed/assemblyscript/index.ts", "-O3", "--runtime", "incremental", "-o", output)
		},
		"zig": func(t testing.TB) []byte {
			zig, cache := tool(t, "zig"), t.TempDir()
			return compile(t, nil, zig, "build-lib", "testdata/bleed/zig/guest.zig", "-target", "wasm32-freestanding", "-dynamic", "-rdynamic",
				"-O", "ReleaseSmall", "-fstrip", "--cache-dir", cache, "--global-cache-dir", cache, "-femit-bin="+output)
		},
		"javascript": func(t testing.TB) []byte { return policy(t, javascript.Module, "javascript/policy.js") },
		"lua":        func(t testing.TB) []byte { return policy(t, lua.Module, "lua/policy.lua") },
	}
}

// policy makes a module of a script in testdata/bleed.
func policy(t testing.TB, module func(ctx context.Context, name string, source []byte) ([]byte, error), file string) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("making a guest of a script takes long")
	}
	source, err := os.ReadFile(filepath.Join("testdata/bleed", file))
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := module(t.Context(), filepath.Base(file), source)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// output stands for the file that a compiler writes.
const output = "\x00output"

// compile runs a compiler and reads what it made.
func compile(t testing.TB, env []string, compiler string, args ...string) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("compiling a guest takes long")
	}
	file := filepath.Join(t.TempDir(), "guest.wasm")
	for n, a := range args {
		args[n] = strings.ReplaceAll(a, output, file)
	}
	cmd := exec.CommandContext(t.Context(), compiler, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", compiler, args, err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// tool is the first of the commands that is installed.
func tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", strings.Join(names, " or "))
	return ""
}

// writesEverywhere is a guest of so many pages of memory and eight globals. A
// session looks at every word and every global, and rejects with 500 if one is
// not as mta1_init left it; then it writes a random word to all of them, or to
// one word of some pages, grows its memory and does the same there.
func writesEverywhere(pages int) []byte {
	g := newGuest()
	types := []wb.Types{wb.I32, wb.I64}
	var globals []uint32
	for n := range 8 {
		code := wb.I32Const(int32(n) * 77)
		if types[n%2] == wb.I64 {
			code = wb.I64Const(int64(n) << 40)
		}
		globals = append(globals, g.Global(types[n%2], true, code))
	}
	size := int32(pages) << 16
	word := func() wb.Code { return wb.LocalGet(0) + wb.I32Const(0x01000193) + wb.I32Mul } // what mta1_init writes at $0
	each := func(from, to wb.Code, step wb.Code, body wb.Code) wb.Code {
		return from + wb.LocalSet(0) + wb.Loop(wb.None, body+
			wb.LocalGet(0)+step+wb.I32Add+wb.LocalTee(0)+to+wb.I32LtU+wb.BrIf(0))
	}
	reject := wb.I32Const(500<<16|2) + wb.Return
	four := wb.I32Const(4)
	code := wb.MemorySize + wb.I32Const(int32(pages)) + wb.I32Ne + wb.If(wb.None, reject, "") +
		each(wb.I32Const(0), wb.I32Const(size), four, wb.LocalGet(0)+wb.I32Load(0)+word()+wb.I32Ne+wb.If(wb.None, reject, ""))
	for n, global := range globals {
		if n%2 == 0 {
			code += wb.GlobalGet(global) + wb.I32Const(int32(n)*77) + wb.I32Ne + wb.If(wb.None, reject, "")
		} else {
			code += wb.GlobalGet(global) + wb.I64Const(int64(n)<<40) + wb.I64Eq + wb.I32Eqz + wb.If(wb.None, reject, "")
		}
	}
	// $1 is random. Its lowest bit decides between all words and one in each of some pages.
	code += g.call("random", 0, 4) + wb.Drop + wb.I32Const(0) + wb.I32Load(0) + wb.LocalSet(1)
	step := wb.I32Const(4) + wb.LocalGet(1) + wb.I32Const(0xffc) + wb.I32And + wb.I32Const(12) + wb.I32Shl + wb.LocalGet(1) + wb.I32Const(4092) + wb.I32And +
		wb.I32Or + wb.I32Const(4096) + wb.I32Or + wb.LocalGet(1) + wb.I32Const(1) + wb.I32And + wb.Select
	code += each(wb.LocalGet(1)+wb.I32Const(0xfffc)+wb.I32And, wb.I32Const(size), step, wb.LocalGet(0)+wb.LocalGet(1)+wb.I32Store(0))
	for n, global := range globals {
		if n%2 == 0 {
			code += wb.LocalGet(1) + wb.GlobalSet(global)
		} else {
			code += wb.LocalGet(1) + wb.I64ExtendI32 + wb.GlobalSet(global)
		}
	}
	// One page more, or none: it must be zeros, and is filled.
	code += wb.LocalGet(1) + wb.I32Const(2) + wb.I32And + wb.If(wb.None,
		wb.I32Const(1)+wb.MemoryGrow+wb.I32Const(int32(pages))+wb.I32Ne+wb.If(wb.None, reject, "")+
			each(wb.I32Const(size), wb.I32Const(size+65536), four, wb.LocalGet(0)+wb.I32Load(0)+wb.If(wb.None, reject, "")+wb.LocalGet(0)+wb.LocalGet(1)+wb.I32Store(0)), "")
	g.on("rcpt", code+wb.I32Const(1))
	g.on("data", g.call("get", int32(abi.MailFrom), 1024, 256)+wb.Drop+
		g.call("list_get", int32(abi.ListRcpt), 0, int32(abi.RcptAddr), 1024, 256)+wb.Drop+wb.I32Const(0))
	g.Memory(pages, pages+1)
	g.Func("mta1_init", wb.None, wb.I32, wb.I32, each(wb.I32Const(0), wb.I32Const(size), four, wb.LocalGet(0)+word()+wb.I32Store(0))+wb.I32Const(0))
	return g.Bytes()
}

// pairs is how many pairs of sessions are run: 2,000, or WASMTA_BLEED.
func pairs(t *testing.T) int {
	n := 2000
	if testing.Short() || raceEnabled {
		n = 200
	}
	if s := os.Getenv("WASMTA_BLEED"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestNothingPassesFromSessionToSession: sessions follow one another in the same
// instances, a few at a time. Each leaves what it can, and the next finds
// nothing: it says so, and the host compares every octet and global too.
func TestNothingPassesFromSessionToSession(t *testing.T) {
	for name, build := range bleedGuests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wasm := build(t)
			const workers = 4
			e := newEngine(t, engine.Options{})
			p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Minute, Wall: time.Hour}}, wasm)
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() {
					for n := range 2 * pairs(t) / workers {
						if err := leaveNothing(t, p); err != "" {
							t.Errorf("worker %d, session %d: %s", w, n, err)
							return
						}
					}
				})
			}
			all.Wait()
			// Otherwise all this would show nothing.
			i, err := p.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			for call, want := range []hook.Action{hook.Accept, hook.Reject} {
				if v, err := i.Handle(t.Context(), rcptEvent()); err != nil || v.Action != want {
					t.Errorf("call %d of one session: %v, %v; want %v, for the second finds what the first left", call, v.Action, err, want)
				}
			}
			if n := p.Instances(); n > workers {
				t.Errorf("%d instances served %d sessions at once: they were not used again", n, workers)
			}
		})
	}
}

func leaveNothing(t *testing.T, p *engine.Plugin) string {
	i, err := p.Open(t.Context())
	if err != nil {
		return err.Error()
	}
	defer i.Close()
	if d := engine.Differs(i); d != "" {
		return d
	}
	v, err := i.Handle(t.Context(), rcptEvent())
	if err != nil {
		return err.Error()
	}
	if v.Action != hook.Accept {
		return "the guest found something of another session"
	}
	if engine.Differs(i) == "" {
		return "the guest changed nothing: this is no test"
	}
	return ""
}
