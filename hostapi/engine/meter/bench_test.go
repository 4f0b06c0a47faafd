package meter_test

import (
	"context"
	"testing"

	"github.com/wasmta/wasmta/hostapi/engine/meter"
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func kernels() []byte {
	m := New()
	tick := m.Import("env", "tick", None, I32)
	m.Memory(16, NoMax)
	// A hook: two host calls and a scan of 26 bytes.
	same := m.Func("", I32, I32, None, LocalGet(0)+I32Load8U(0)+I32Const(64)+I32Eq)
	m.Func("hook", I32, I32, I32,
		Call(tick)+Drop+
			Loop(None, LocalGet(1)+Call(same)+LocalGet(0)+I32Or+LocalSet(0)+
				LocalGet(1)+I32Const(1)+I32Add+LocalTee(1)+I32Const(26)+I32LtU+BrIf(0))+
			Call(tick)+Drop+LocalGet(0))
	m.Func("loop", I32, I32, I32, Loop(None, LocalGet(1)+LocalGet(0)+I32Add+LocalSet(1)+
		LocalGet(0)+I32Const(1)+I32Sub+LocalTee(0)+BrIf(0))+LocalGet(1))
	m.Func("bytes", I32, I32, I32, Loop(None, LocalGet(1)+LocalGet(0)+I32Load8U(0)+I32Const(10)+I32Eq+I32Add+LocalSet(1)+
		LocalGet(0)+I32Const(1)+I32Sub+LocalTee(0)+BrIf(0))+LocalGet(1))
	fib := m.NextFunc()
	m.Func("fib", I32, I32, None, LocalGet(0)+I32Const(2)+I32LtS+
		If(I32, LocalGet(0), LocalGet(0)+I32Const(1)+I32Sub+Call(fib)+LocalGet(0)+I32Const(2)+I32Sub+Call(fib)+I32Add))
	return m.Bytes()
}

func bench(b *testing.B, wasm []byte, name string, arg uint64) {
	for _, v := range []struct {
		name    string
		rewrite bool
	}{{"plain", false}, {"metered", true}} {
		b.Run(v.name, func(b *testing.B) {
			code := wasm
			if v.rewrite {
				code = rewrite(b, wasm, meter.Limits{})
			}
			g := start(b, code)
			g.quota = 1 << 60
			f := g.mod.ExportedFunction(name)
			stack := []uint64{arg}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				stack[0] = arg
				if err := f.CallWithStack(ctx, stack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHook(b *testing.B)  { bench(b, kernels(), "hook", 0) }
func BenchmarkLoop(b *testing.B)  { bench(b, kernels(), "loop", 1_000_000) }
func BenchmarkBytes(b *testing.B) { bench(b, kernels(), "bytes", 1<<20-1) }
func BenchmarkFib(b *testing.B)   { bench(b, kernels(), "fib", 25) }

// BenchmarkGo sorts, formats and parses JSON in a Go guest.
func BenchmarkGo(b *testing.B) { bench(b, buildGo(b, goGuest), "run", 300) }

func BenchmarkRewriteGo(b *testing.B) {
	wasm := buildGo(b, goGuest)
	b.SetBytes(int64(len(wasm)))
	b.ReportAllocs()
	for b.Loop() {
		rewrite(b, wasm, meter.Limits{})
	}
}
