package qmgr

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// However many next hops there are in use at once, a new one costs the same, and
// those that were in use are not remembered all.
func TestVeryManyNextHopsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		m.mu.Lock()
		var used []*hop
		for n := range 6 * maxIdleHops {
			h := m.hopAt(mail.NextHop{Transport: mail.TransportMX, Host: fmt.Sprintf("d%d.example", n)})
			h.active, h.failures = 1, n%2
			used = append(used, h)
		}
		if len(m.hops) != len(used) {
			t.Errorf("%d of %d next hops in use are known", len(m.hops), len(used))
		}
		for _, h := range used {
			h.active = 0
		}
		m.mu.Unlock()
		m.upkeep(time.Now())
		if n := len(m.hops); n != maxIdleHops {
			t.Errorf("%d next hops are remembered", n)
		}
	})
}

// What was given back was never handed over, and what is handed over keeps the rate.
func TestARateHoldsWhenSlotsAreGivenBack(t *testing.T) {
	for _, r := range []Rate{{1, time.Second}, {30, time.Minute}, {500, time.Minute}} {
		rng := rand.New(rand.NewPCG(1, uint64(r.Count)))
		meter, now := newMeter(r), time.Unix(1_000_000, 0)
		var pending, sent []time.Time
		for range 20_000 {
			now = now.Add(time.Duration(rng.Int64N(int64(r.Per) / int64(r.Count))))
			if !meter.next().After(now) {
				meter.take(now)
				pending = append(pending, now)
			}
			if n := len(pending); n > 0 && rng.IntN(3) > 0 {
				i := rng.IntN(n)
				if rng.IntN(2) == 0 {
					meter.giveBack(pending[i])
				} else {
					sent = append(sent, pending[i])
				}
				pending[i] = pending[n-1]
				pending = pending[:n-1]
			}
		}
		sent = append(sent, pending...)
		slices.SortFunc(sent, time.Time.Compare)
		for i := range sent {
			if i >= r.Count && sent[i].Sub(sent[i-r.Count]) < r.Per {
				t.Fatalf("%v: %d within %v", r, r.Count+1, sent[i].Sub(sent[i-r.Count]))
			}
		}
		if len(sent) < 1000 {
			t.Errorf("%v: only %d were sent", r, len(sent))
		}
	}
}

// Who was kept from a slot of all, and has one now, does not wait behind many
// that wait for their rate.
func TestThoseWithARateAreNotInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{Attempts: 8, Shapes: Shapes{{Domains: []string{".rated.example"}, Shape: Shape{Rate: Rate{1, time.Hour}}}}})
		m.mu.Lock()
		defer m.mu.Unlock()
		now := time.Now()
		m.active, m.strain = 8, 8
		waits := func(host string) *hop {
			h := m.hopAt(mail.NextHop{Transport: mail.TransportMX, Host: host})
			h.meter.take(now)
			m.wait(h, m.senderOf("example.org"), &entry{state: parked})
			m.advance(h)
			return h
		}
		for n := range 3 * maxLooks {
			waits(fmt.Sprintf("d%d.rated.example", n))
		}
		h := waits("other.example")
		if h.shut != 1 || h.listed != 0 {
			t.Fatalf("%d wait for more of all slots, %d have a slot", h.shut, h.listed)
		}
		m.active, m.strain = 1, 0
		m.ease(1)
		if h.listed != 1 {
			t.Error("it was not called though there is a slot")
		}
	})
}

// What is written can be read again however much is known, and what an operator
// said is in it.
func TestAStateOfAnySizeIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, now := New(Options{}), time.Now()
		m.mu.Lock()
		for n := range maxIdleHops {
			h := m.hopAt(mail.NextHop{Transport: mail.TransportMX, Host: fmt.Sprintf("d%d.example", n)})
			h.bars[byRule] = bar{until: now.Add(time.Hour), why: strings.Repeat("<", 2*maxWhy)}
			if n%100 == 99 {
				h.bars[byOperator] = bar{forever: true, why: "moving"}
			}
		}
		box := m.hopAt(mail.NextHop{Transport: mail.TransportMaildir, Host: "/m/u"})
		box.bars[byOperator] = bar{forever: true, why: "the disk is full"}
		s := m.state(now)
		m.mu.Unlock()
		text, err := s.text()
		if err != nil || len(text) > maxState {
			t.Fatalf("%d octets, %v", len(text), err)
		}
		second := New(Options{})
		if err := second.restore(text, now); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, h := range second.hops {
			if h.bars[byOperator].forever {
				n++
			}
		}
		if n != maxIdleHops/100+1 || second.hops[box.key] == nil || len(second.hops) < maxIdleHops/8 {
			t.Errorf("%d of %d by the operator, %d in all", n, maxIdleHops/100+1, len(second.hops))
		}
	})
}

// A clock that is set back by years suspends nothing for years.
func TestSuspensionsDoNotDependOnTheWallClock(t *testing.T) {
	m, now := New(Options{}), time.Now()
	late := now.Add(time.Hour).Round(0).Format(time.RFC3339Nano)
	text := fmt.Sprintf(`{"version":1,"hops":[{"nexthop":"mx:a.example","suspended":[{"until":%q},{"until":%[1]q},{"until":%[1]q}],"failures":3,"until":%[1]q,"sources":{"one":{"until":%[1]q}}}]}`, late)
	if err := m.restore([]byte(text), now); err != nil {
		t.Fatal(err)
	}
	key := mail.NextHop{Transport: mail.TransportMX, Host: "a.example"}
	h := m.hops[key]
	m.suspend(mail.NextHop{Transport: mail.TransportMX, Host: "b.example"}, now.Add(time.Hour).Round(0))
	key.Host = "b.example"
	for i, at := range []time.Time{h.bars[0].until, h.bars[1].until, h.bars[2].until, h.until, h.lanes["one"].until, m.hops[key].bars[byPlugin].until} {
		if !at.After(now) || at == at.Round(0) { // Round takes away what tells the time since the start
			t.Errorf("%d: %v is of the wall clock", i, at)
		}
	}
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
