package engine_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
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

const neverShare = 1 << 40

// benchSession opens an instance, calls it once and closes it: in turn with
// others, or a new one each time.
func benchSession(b *testing.B, wasm []byte, share int, fresh bool) {
	e := newEngine(b, engine.Options{})
	e.ShareFrom(share)
	p := load(b, e, hostapi.Spec{}, wasm)
	ctx := context.Background()
	ev := rcptEvent()
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

// padded is smallGuest with so many pages of memory, all of them used.
func padded(pages int) []byte {
	g := newGuest()
	g.on("rcpt",
		g.call("get", int32(abi.MailFrom), 1024, 512)+wb.Drop+
			g.call("list_get", int32(abi.ListRcpt), 0, int32(abi.RcptAddr), 1024, 512)+wb.Drop+
			wb.I32Const(int32(abi.Accept)))
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

// A hook: the call, two host calls, the verdict, metered.
func BenchmarkHook(b *testing.B) {
	b.Run("small", func(b *testing.B) { benchHook(b, smallGuest()) })
	b.Run("go", func(b *testing.B) { benchHook(b, buildGoGuest(b)) })
}

// An instance for a session: made, called once, closed.
func BenchmarkSession(b *testing.B) {
	for name, wasm := range map[string]func() []byte{"small": smallGuest, "go": func() []byte { return buildGoGuest(b) }} {
		b.Run(name+"/recycled", func(b *testing.B) { benchSession(b, wasm(), engine.DefaultShare, false) })
		b.Run(name+"/new", func(b *testing.B) { benchSession(b, wasm(), engine.DefaultShare, true) })
		b.Run(name+"/new/copied", func(b *testing.B) { benchSession(b, wasm(), neverShare, true) })
	}
}

// Memory of a session that is open and has called its hook once: of the
// process, and of Go's heap, which every collection looks through.
func benchLive(b *testing.B, wasm []byte, share int) {
	const live = 500
	e := newEngine(b, engine.Options{MaxMemory: 1 << 40})
	e.ShareFrom(share)
	p := load(b, e, hostapi.Spec{Limits: hostapi.Limits{Concurrent: live}}, wasm)
	ctx := context.Background()
	ev := rcptEvent()
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
	for name, wasm := range map[string]func() []byte{"small": smallGuest, "go": func() []byte { return buildGoGuest(b) }} {
		b.Run(name+"/copied", func(b *testing.B) { benchLive(b, wasm(), neverShare) })
		b.Run(name+"/shared", func(b *testing.B) { benchLive(b, wasm(), engine.DefaultShare) })
	}
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
