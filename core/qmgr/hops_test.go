package qmgr

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// A plugin that suspends a next hop after the other, for as long as it may,
// takes no more memory than next hops that cannot be reached.
func TestSuspensionsTakeLimitedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		key := func(n int) mail.NextHop {
			return mail.NextHop{Transport: mail.TransportSMTP, Host: fmt.Sprintf("mx%d.example.net", n)}
		}
		for n := range 2 * maxIdleHops {
			m.suspend(key(n), time.Now().Add(24*time.Hour))
		}
		if n := len(m.hops); n > maxIdleHops {
			t.Errorf("%d next hops are remembered", n)
		}
		last := m.hopAt(key(2*maxIdleHops - 1))
		if !last.suspended(time.Now()) {
			t.Error("the last one is not suspended")
		}
		m.suspend(key(2*maxIdleHops-1), time.Now().Add(-time.Second))
		if last.suspended(time.Now()) {
			t.Error("it is still suspended")
		}
	})
}

// FuzzRestore reads what a crash, or somebody, left of the state of next hops:
// it is taken over or not, and what was taken over is written again as it was.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"version":1,"hops":[{"nexthop":"mx:a.example","used":"2026-01-01T00:00:00Z","suspended":[{"forever":true,"why":"x"},null,{"until":"2099-01-01T00:00:00Z"}],"sources":{"one":{"until":"2026-01-01T00:00:00Z"}},"failures":3,"pause":60000000000,"until":"2026-01-01T00:01:00Z","window":1.5,"full":"2026-01-01T00:01:00Z"}]}`))
	f.Add([]byte(`{"version":1,"hops":[{"nexthop":"smtp:[::1]:25","window":-1,"failures":-5,"pause":-1}]}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		m := New(Options{})
		if m.restore(text, now) != nil {
			if len(m.hops) != 0 {
				t.Error("a part of it was taken over")
			}
			return
		}
		for key, h := range m.hops {
			if n := h.limit(); n < 1 || n > h.most || h.key != key || h.until.Sub(now) > maxPause || h.bars[byRule].until.Sub(now) > 24*time.Hour {
				t.Errorf("%v: %+v", key, h)
			}
		}
		again, err := json.Marshal(m.state(now))
		if err != nil {
			t.Fatal(err)
		}
		second := New(Options{})
		if err := second.restore(again, now); err != nil {
			t.Fatalf("%v: %s", err, again)
		}
		if third, _ := json.Marshal(second.state(now)); string(third) != string(again) {
			t.Errorf("%s, then %s", again, third)
		}
	})
}
