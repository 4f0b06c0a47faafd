package lua

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/gobuild"
)

// The interpreter is compiled once and then found, also by many at a time, and
// compiled again if what was kept is damaged.
func TestTheInterpreterIsKept(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the interpreter")
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	first, err := compiled(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "wasmta", "lua-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("kept: %q, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			again, err := compiled(context.Background())
			if err != nil || !bytes.Equal(first, again) {
				t.Errorf("%d octets, %v; want the same %d", len(again), err, len(first))
			}
		})
	}
	wait.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, "wasmta", ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := compiled(t.Context()); err == nil || !strings.Contains(err.Error(), gobuild.ErrNoGo.Error()) {
		t.Errorf("without go: %v", err)
	}
	if _, err := built.Open("built/" + Embedded); err == nil {
		return
	}
	if _, err := Module(t.Context(), "policy.lua", nil); err == nil || !strings.Contains(err.Error(), "go generate ./hostapi/script/lua && go build ./cmd/wasmta") {
		t.Errorf("without go and without an interpreter: %v", err)
	}
}

// What was embedded is what the source says.
func TestTheEmbeddedInterpreterIsFresh(t *testing.T) {
	packed, err := built.ReadFile("built/" + Embedded)
	if err != nil {
		t.Skip("none is embedded")
	}
	embedded, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	now, err := compiled(t.Context())
	if err != nil {
		t.Skip(err)
	}
	if !bytes.Equal(embedded, now) {
		t.Error("it was compiled from another source: run go generate ./hostapi/script/lua")
	}
}

func TestNames(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/wasmta/policy.lua": "policy.lua", "": "script.lua", "/": "script.lua",
		strings.Repeat("é", 40) + ".lua": strings.Repeat("é", 32),
	} {
		if got := shortName(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if got := shortName("a\nb.lua"); strings.Contains(got, "\n") {
		t.Errorf("%q would end the line that begins the section", got)
	}
}

// A module that is no interpreter is refused and never half taken.
func FuzzAssemble(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x02\x0b\x01\x07mta1_kv\x01a\x00\x00"), "function on_rcpt(s) end")
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x07\x05\x01\x01a\x00\x00"), "kv.get('x')")
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x07\xff\xff\xff\xff\x0f"), "")
	f.Fuzz(func(t *testing.T, wasm []byte, source string) {
		out, err := assemble(wasm, "policy.lua", source)
		if err != nil {
			return
		}
		if _, err := engine.Inspect(wasm); err != nil {
			return
		}
		if _, err := engine.Inspect(out); err != nil {
			t.Errorf("%x became %x: %v", wasm, out, err)
		}
	})
}
