package engine_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
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
)

// smallGuest reads the reverse-path and the first recipient.
func smallGuest() []byte {
	g := newGuest()
	g.on("rcpt",
		g.call("get", int32(abi.MailFrom), 1024, 512)+wb.Drop+
			g.call("list_get", int32(abi.ListRcpt), 0, int32(abi.RcptAddr), 1024, 512)+wb.Drop+
			wb.I32Const(int32(abi.Accept)))
	return g.finish()
}

// benchLimits: a collection of Lua's interpreter may take more than 5 ms.
var benchLimits = hostapi.Limits{CPU: 100 * time.Millisecond, Concurrent: 500}

var built sync.Map // of the guests, by name: compiling them takes longer than asking them

// languages are guests with a hook data that asks for the reverse-path and for
// the first recipient: two host calls.
func languages(b *testing.B, f func(b *testing.B, wasm []byte)) {
	for name, build := range bleedGuests() {
		b.Run(strings.ReplaceAll(name, "raw small", "wat"), func(b *testing.B) {
			if name == "raw large" {
				b.Skip("as wat")
			}
			wasm, ok := built.Load(name)
			if !ok {
				wasm = build(b)
				built.Store(name, wasm)
			}
			f(b, wasm.([]byte))
		})
	}
}

func dataEvent() *hook.Event {
	e := rcptEvent()
	e.Stage, e.Recipient = hook.Data, -1
	return e
}

// A hook: the call, two host calls, the verdict, metered.
func BenchmarkHook(b *testing.B) {
	languages(b, func(b *testing.B, wasm []byte) {
		p := load(b, newEngine(b, engine.Options{}), hostapi.Spec{Limits: benchLimits}, wasm)
		ctx := context.Background()
		i, err := p.Open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		defer i.Close()
		ev := dataEvent()
		b.ReportAllocs()
		for b.Loop() {
			if v, err := i.Handle(ctx, ev); err != nil || v.Action != hook.Continue {
				b.Fatal(v.Action, err)
			}
		}
	})
}

const neverShare = 1 << 40

// benchSession opens an instance, calls it once and closes it: in turn with
// others, or a new one each time.
func benchSession(b *testing.B, wasm []byte, share int, fresh bool) {
	e := newEngine(b, engine.Options{})
	e.ShareFrom(share)
	p := load(b, e, hostapi.Spec{Limits: benchLimits}, wasm)
	ctx := context.Background()
	ev := dataEvent()
	open, done := p.Open, func(i hook.Instance) { i.Close() }
	if fresh {
		open, done = p.OpenNew, engine.Discard
	}
	b.ReportAllocs()
	for b.Loop() {
		i, err := open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Handle(ctx, ev); err != nil {
			b.Fatal(err)
		}
		done(i)
	}
}

// padded is a guest with so many pages of memory, all of them used.
func padded(pages int) []byte {
	g := newGuest()
	g.on("data", g.call("get", int32(abi.MailFrom), 1024, 512)+wb.Drop+
		g.call("list_get", int32(abi.ListRcpt), 0, int32(abi.RcptAddr), 1024, 512)+wb.Drop+wb.I32Const(0))
	g.Memory(pages, pages)
	g.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0)+wb.I32Const(7)+wb.I32Const(int32(pages)<<16)+wb.MemoryFill+wb.I32Const(0))
	return g.Bytes()
}

// What sharing the pages of an image gains, by the size of the image.
func BenchmarkSharing(b *testing.B) {
	for _, pages := range []int{1, 2, 4, 8, 16, 32, 64} {
		for _, how := range []struct {
			name  string
			share int
		}{{"copied", neverShare}, {"shared", 1}} {
			for _, fresh := range []bool{false, true} {
				b.Run(fmt.Sprintf("%dKiB/%s/new=%t", pages*64, how.name, fresh), func(b *testing.B) { benchSession(b, padded(pages), how.share, fresh) })
			}
		}
	}
}

// An instance for a session: made, called once, closed.
func BenchmarkSession(b *testing.B) {
	languages(b, func(b *testing.B, wasm []byte) {
		b.Run("recycled", func(b *testing.B) { benchSession(b, wasm, engine.DefaultShare, false) })
		b.Run("new", func(b *testing.B) { benchSession(b, wasm, engine.DefaultShare, true) })
	})
}

// Memory of a session that is open and has called its hook once: of the
// process, and of Go's heap, which every collection looks through.
func benchLive(b *testing.B, wasm []byte, share int) {
	const live = 500
	e := newEngine(b, engine.Options{MaxMemory: 1 << 40})
	e.ShareFrom(share)
	p := load(b, e, hostapi.Spec{Limits: benchLimits}, wasm)
	ctx := context.Background()
	ev := dataEvent()
	var open []hook.Instance
	begun := heap()
	before := resident(b)
	for range live {
		i, err := p.Open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Handle(ctx, ev); err != nil {
			b.Fatal(err)
		}
		open = append(open, i)
	}
	inHeap := heap() - begun
	all := resident(b) - before
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric(float64(all)/live, "KiB/session")
	b.ReportMetric(float64(inHeap)/live/1024, "heap-KiB/session")
	for _, i := range open {
		i.Close()
	}
}

// resident is the memory of this process in KiB.
func resident(b *testing.B) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, _ := strconv.Atoi(strings.Fields(rest)[0])
	return n
}

func BenchmarkLive(b *testing.B) {
	languages(b, func(b *testing.B, wasm []byte) {
		b.Run("shared", func(b *testing.B) { benchLive(b, wasm, engine.DefaultShare) })
		b.Run("copied", func(b *testing.B) { benchLive(b, wasm, neverShare) })
	})
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
