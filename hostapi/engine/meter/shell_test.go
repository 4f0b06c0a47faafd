package meter_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/tetratelabs/wazero/api"
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"

	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// split makes an instance of a Shell and does for it what instantiating does.
func split(t *testing.T, wasm []byte) (*meter.Shell, *guest) {
	t.Helper()
	s, err := meter.Split(wasm, meter.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, s.Code)
	for _, d := range s.Data {
		if !g.mod.Memory().Write(d.Offset, d.Bytes) {
			t.Fatalf("segment at %d does not fit", d.Offset)
		}
	}
	if s.Start != "" {
		if _, err := g.mod.ExportedFunction(s.Start).Call(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return s, g
}

// counter keeps a state in a global, in memory and, from the start function on,
// in both.
func counter() *Module {
	m := New()
	m.Memory(2, 4)
	m.Data(100, "\x29")
	g := m.Global(I32, true, I32Const(5))
	m.Global(I64, false, I64Const(7))
	begin := m.Func("", None, None, None, I32Const(100)+I32Const(100)+I32Load8U(0)+I32Const(1)+I32Add+I32Store8(0)+
		GlobalGet(g)+I32Const(10)+I32Add+GlobalSet(g))
	m.Start(begin)
	// bump adds one to both and returns memory*1000 + global.
	m.Func("bump", None, I32, None, I32Const(100)+I32Const(100)+I32Load8U(0)+I32Const(1)+I32Add+I32Store8(0)+
		GlobalGet(g)+I32Const(1)+I32Add+GlobalSet(g)+
		I32Const(100)+I32Load8U(0)+I32Const(1000)+I32Mul+GlobalGet(g)+I32Add)
	return m
}

func TestAnImageContinuesWhereItWasTaken(t *testing.T) {
	wasm := counter().Bytes()
	s, first := split(t, wasm)
	if !s.Image || len(s.Globals) != 1 || s.Start == "" || len(s.Data) != 1 {
		t.Fatalf("shell: image %v, globals %v, start %q, %d segments", s.Image, s.Globals, s.Start, len(s.Data))
	}
	bump := func(g *guest) uint64 {
		r, err := g.call("bump")
		if err != nil {
			t.Fatal(err)
		}
		return r[0]
	}
	if got := bump(first); got != 43016 {
		t.Fatalf("first bump: %d", got)
	}
	memory, _ := first.mod.Memory().Read(0, first.mod.Memory().Size())
	image := bytes.Clone(memory)
	global := first.mod.ExportedGlobal(s.Globals[0]).Get()
	bump(first) // must not be seen

	second := start(t, s.Code)
	second.mod.Memory().Write(0, image)
	second.mod.ExportedGlobal(s.Globals[0]).(api.MutableGlobal).Set(global)
	if got := bump(second); got != 44017 {
		t.Errorf("the image continues with %d", got)
	}
	// The same steps in a module that stands on its own.
	plain := start(t, rewrite(t, wasm, meter.Limits{}))
	bump(plain)
	if got := bump(plain); got != 44017 {
		t.Errorf("a module that was rewritten whole: %d", got)
	}
}

func TestCodeThatChangesTablesHasNoImage(t *testing.T) {
	s, _ := split(t, corpus().Bytes())
	if s.Image {
		t.Error("the corpus grows a table: memory and globals are not all of its state")
	}
}
