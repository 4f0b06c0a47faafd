package engine_test

import (
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// stateful is a guest whose hook rejects with 500 + the number of times it has
// been called, kept both in memory and in a global, and grows its memory
// by grow pages with each call.
func stateful(grow int32) []byte {
	g := newGuest()
	count := g.Global(wb.I32, true, wb.I32Const(0))
	g.Data(4096, "\x01")
	g.on("rcpt", wb.I32Const(grow)+"\x40\x00"+"\x1a"+ // memory.grow, drop
		wb.I32Const(4096)+wb.I32Const(4096)+wb.I32Load8U(0)+wb.I32Const(1)+wb.I32Add+wb.I32Store8(0)+
		wb.GlobalGet(count)+wb.I32Const(1)+wb.I32Add+wb.GlobalSet(count)+
		// (500 + global + memory - 1)<<16 | reject
		wb.I32Const(499)+wb.GlobalGet(count)+wb.I32Add+wb.I32Const(4096)+wb.I32Load8U(0)+wb.I32Add+
		wb.I32Const(16)+wb.I32Shl+wb.I32Const(2)+wb.I32Or)
	return g.finish()
}

// sharing runs a test with instances that share the pages of their image, where
// that can be, and with instances that have a copy of it.
func sharing(t *testing.T, f func(t *testing.T, e *engine.Engine)) {
	for name, from := range map[string]int{"shared": 1, "copied": neverShare} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, engine.Options{})
			if !e.ShareFrom(from) && name == "shared" {
				t.Skip("pages cannot be shared here")
			}
			f(t, e)
		})
	}
}

// TestInstancesBeginClean: what one session leaves in memory and globals is
// never seen by the next, though they use the same instance in turn, and it
// does not matter that its memory grew.
func TestInstancesBeginClean(t *testing.T) {
	for _, grow := range []int32{0, 1} {
		sharing(t, func(t *testing.T, e *engine.Engine) { testClean(t, e, grow) })
	}
}

func testClean(t *testing.T, e *engine.Engine, grow int32) {
	p := load(t, e, hostapi.Spec{Name: "stateful"}, stateful(grow))
	n := 2000
	if testing.Short() {
		n = 100
	}
	for range n {
		i, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for call, want := range []int{502, 504, 506} {
			v, err := i.Handle(t.Context(), rcptEvent())
			if err != nil || v.Action != hook.Reject || v.Reply == nil || v.Reply.Code != want {
				t.Fatalf("call %d of a new session: %+v, %v; want %d", call, v, err, want)
			}
		}
		i.Close()
	}
	if n := p.Instances(); n != 1 {
		t.Errorf("%d instances after sessions that followed one another", n)
	}
	p.Close()
	<-p.Done()
	if n := e.MemoryInUse(); n != 0 {
		t.Errorf("%d octets are still counted", n)
	}
}

// TestMemoryIsItsOwnSizeAgain: after a session that grew its memory the next
// one cannot reach beyond what it has, and finds zeros when it grows.
func TestMemoryIsItsOwnSizeAgain(t *testing.T) {
	sharing(t, func(t *testing.T, e *engine.Engine) {
		g := newGuest()
		fill := wb.I32Const(65536) + wb.I32Const(0x55) + wb.I32Const(3*65536) + wb.MemoryFill
		g.on("mail", wb.I32Const(3)+wb.MemoryGrow+wb.Drop+wb.I32Const(3*65536)+wb.I32Load(0)+wb.If(wb.None, wb.Unreachable, "")+fill+wb.I32Const(1))
		g.on("rcpt", wb.MemorySize+wb.I32Const(1)+wb.I32Ne+wb.If(wb.None, wb.I32Const(0)+wb.Return, "")+wb.I32Const(65536)+wb.I32Load(0))
		p := load(t, e, hostapi.Spec{}, g.finish())
		for range 100 {
			if v, err := ask(t, p, mailEvent("a")); err != nil || v.Action != hook.Accept {
				t.Fatalf("growing: %v, %v", v, err)
			}
			_, err := ask(t, p, rcptEvent())
			callError(t, err, hostapi.FaultTrap)
			if !strings.Contains(err.Error(), "out of bounds memory access") {
				t.Fatal(err)
			}
		}
	})
}

// TestBudgetAfterGrowth: memory that a session grew by is free again when it is
// over, and an idle instance that keeps some gives it up for another plugin.
func TestBudgetAfterGrowth(t *testing.T) {
	for name, from := range map[string]int{"shared": 1, "copied": neverShare} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, engine.Options{MaxMemory: 4 << 16})
			e.ShareFrom(from)
			grows := func() []byte {
				g := newGuest()
				g.on("rcpt", wb.I32Const(2)+wb.MemoryGrow+wb.I32Const(1)+wb.I32Ne+wb.If(wb.None, wb.Unreachable, "")+wb.I32Const(1))
				return g.finish()
			}
			a, b := load(t, e, hostapi.Spec{Name: "a"}, grows()), load(t, e, hostapi.Spec{Name: "b"}, grows())
			for range 20 {
				for _, p := range []*engine.Plugin{a, b} {
					if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
						t.Fatalf("plugin %s: %v, %v", p.Name(), v, err)
					}
				}
			}
		})
	}
}

// TestDataOutsideMemoryIsALoadError: the host copies the data segments, so it
// must look where they go.
func TestDataOutsideMemoryIsALoadError(t *testing.T) {
	for _, offset := range []int32{65536 * 2, -1, 65536*2 - 1} {
		g := newGuest()
		g.Data(offset, "abc")
		_, err := newEngine(t, engine.Options{}).Load(t.Context(), hostapi.Spec{Name: "p"}, g.finish())
		if err == nil || !strings.Contains(err.Error(), "outside its memory") {
			t.Errorf("offset %d: %v", offset, err)
		}
	}
}
