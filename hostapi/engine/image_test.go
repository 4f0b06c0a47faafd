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
// been called, kept both in memory and in a global, and grows its memory.
//
// grow is how many pages it adds to its memory with each call: one that has
// grown cannot be made clean and is replaced.
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

// TestInstancesBeginClean: what one session leaves in memory and globals is
// never seen by the next, though they use the same buffers in turn.
func TestInstancesBeginClean(t *testing.T) {
	for _, grow := range []int32{0, 1} {
		testClean(t, grow)
	}
}

func testClean(t *testing.T, grow int32) {
	e := newEngine(t, engine.Options{})
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
	p.Close()
	<-p.Done()
	if n := e.MemoryInUse(); n != 0 {
		t.Errorf("%d octets are still counted", n)
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
