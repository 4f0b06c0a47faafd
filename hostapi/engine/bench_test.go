package engine_test

import (
	"context"
	"testing"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// smallGuest reads the reverse-path and the first recipient, as the Go guest
// does.
func smallGuest() []byte {
	g := newGuest()
	g.on("rcpt",
		g.call("get", int32(abi.MailFrom), 1024, 512)+wb.Drop+
			g.call("list_get", int32(abi.ListRcpt), 0, int32(abi.RcptAddr), 1024, 512)+wb.Drop+
			wb.I32Const(int32(abi.Accept)))
	return g.finish()
}

func benchHook(b *testing.B, wasm []byte) {
	e := newEngine(b, engine.Options{})
	p := load(b, e, hostapi.Spec{}, wasm)
	ctx := context.Background()
	i, err := p.Open(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	ev := rcptEvent()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Handle(ctx, ev); err != nil {
			b.Fatal(err)
		}
	}
}

func benchSession(b *testing.B, wasm []byte, opt engine.Options) {
	e := newEngine(b, opt)
	p := load(b, e, hostapi.Spec{}, wasm)
	ctx := context.Background()
	ev := rcptEvent()
	b.ReportAllocs()
	for b.Loop() {
		i, err := p.Open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Handle(ctx, ev); err != nil {
			b.Fatal(err)
		}
		i.Close()
	}
}

// A hook: the call, two host calls, the verdict, metered.
func BenchmarkHook(b *testing.B) {
	b.Run("small", func(b *testing.B) { benchHook(b, smallGuest()) })
	b.Run("go", func(b *testing.B) { benchHook(b, buildGoGuest(b)) })
}

// An instance for a session: made, called once, closed.
func BenchmarkSession(b *testing.B) {
	b.Run("small", func(b *testing.B) { benchSession(b, smallGuest(), engine.Options{}) })
	b.Run("go", func(b *testing.B) { benchSession(b, buildGoGuest(b), engine.Options{}) })
}

func BenchmarkLoad(b *testing.B) {
	wasm := smallGuest()
	e := newEngine(b, engine.Options{})
	for b.Loop() {
		p, err := e.Load(context.Background(), hostapi.Spec{Name: "test"}, wasm)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
