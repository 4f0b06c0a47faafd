package engine

import (
	"testing"

	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func TestProbeLoopIsWhatItSays(t *testing.T) {
	m := wb.New()
	m.Func("f", wb.I32, wb.None, wb.None, wb.Loop(wb.None,
		wb.I32Const(16)+
			wb.LocalGet(0)+wb.I32Const(1023)+wb.I32And+wb.I32Load(0)+
			wb.LocalGet(0)+wb.I32Const(31)+wb.I32Mul+wb.LocalGet(0)+wb.I32Const(3)+wb.I32ShrU+wb.I32Xor+
			wb.I32Add+
			wb.I32Store(0)+
			wb.LocalGet(0)+wb.I32Const(1)+wb.I32Sub+wb.LocalTee(0)+wb.BrIf(0)))
	m.Memory(1, 1)
	if got, want := probeLoop, string(m.Bytes()); got != want {
		t.Errorf("probeLoop is\n%q, built from instructions it is\n%q", got, want)
	}
}
