package qmgr_test

import (
	"context"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
)

// TestLastHopIsKept: an operator can select by where mail went last.
func TestLastHopIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result { return same(msg, greyed) }
		b.run()
		ref := b.submit("bob@example.net")[0]
		b.sleep(time.Second)
		if got := b.item(ref).LastHop; got != "mx:example.net" {
			t.Errorf("after an attempt the last hop is %q", got)
		}
		hop := nextHop("smtp:other.example:26")
		if err := b.m.Reroute(t.Context(), ref, &hop); err != nil {
			t.Fatal(err)
		}
		b.sleep(time.Second)
		if got := b.item(ref).LastHop; got != "smtp:other.example:26" {
			t.Errorf("after it was rerouted the last hop is %q", got)
		}
	})
}

// TestManyItemsAtOnce: an operator who moves far more items than fit in memory
// has all of them tried.
func TestManyItemsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const room, n = 20, 200
		b := newBench(t, qmgr.Options{MaxRefs: room})
		hop := nextHop("smtp:other.example:26")
		var refs []queue.Ref
		for range n {
			refs = append(refs, b.commit(queue.CommitOptions{Due: time.Now().Add(time.Hour)}, "bob@example.net")...)
		}
		b.run()
		for _, ref := range refs {
			if err := b.m.Reroute(t.Context(), ref, &hop); err != nil {
				t.Fatal(err)
			}
			if s := b.m.Snapshot(); s.Active+s.Ready+s.Parked > room+1 {
				t.Fatalf("%d items in memory, the limit is %d", s.Active+s.Ready+s.Parked, room)
			}
		}
		b.sleep(10 * time.Minute)
		if left := b.left(); left != 0 {
			t.Errorf("%d of %d items are left", left, n)
		}
	})
}
