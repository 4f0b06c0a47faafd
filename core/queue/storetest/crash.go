package storetest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// crashes are the percentages of unsynced data that a crash keeps.
var crashes = []int{0, 50, 100}

// RunCrash tests that every transition that has returned survives a power
// failure right after it, whatever part of the unsynced data does.
func RunCrash(t *testing.T, open func(t testing.TB) *Harness) {
	t.Run("EveryTransition", func(t *testing.T) {
		f := newFixture(t, open(t))
		defer f.h.Close(t)
		f.check = func(when string) { f.crash(when) }
		life(f)
	})
	t.Run("Twice", func(t *testing.T) {
		f := newFixture(t, open(t))
		defer func() { f.h.Close(t) }()
		for i := range 4 {
			ref := f.commit(envelope("a@example.org", "x@example.net", "y@example.com"), f.body(300<<10), dueAt(start))[0]
			f.begin(f.body(600 << 10))
			f.settle(ref, delivered)
			c := f.h.Crash(t, 50)
			f.h.Close(t)
			f.h = c
			f.verify(f.h, fmt.Sprintf("after crash %d", i+1))
		}
	})
	t.Run("Random", func(t *testing.T) { testRandom(t, open, true) })
}

// crash looks at what each kind of crash would leave now.
func (f *fixture) crash(when string) {
	f.t.Helper()
	for _, percent := range crashes {
		c := f.h.Crash(f.t, percent)
		f.verify(c, fmt.Sprintf("crash after %s, %d %% of the unsynced data kept", when, percent))
		c.Close(f.t)
	}
}

// life goes through every transition.
func life(f *fixture) {
	small := f.commit(envelope("a@example.org", "x@example.net"), f.body(4<<10), dueAt(start))
	large := f.commit(envelope("b@example.org", "x@example.net", "y@example.com", "z@example.com"), f.body(700_001), dueAt(start))
	open := f.begin(f.body(600 << 10))
	f.after("writing a draft")
	f.begin(f.body(600 << 10)).Abort()
	f.after("abort")
	f.replace(envelope("c@example.org", "x@example.net", "y@example.com"), 600<<10, 900_001)
	f.replace(envelope("c@example.org", "x@example.net"), 600<<10, 100)
	f.replace(envelope("c@example.org", "x@example.net"), 100, 600<<10)
	f.update(large[0], func(it *queue.Item) { it.Held, it.Reason = true, "operator" })
	f.settle(large[1], func(it *queue.Item) {
		it.Recipients = it.Recipients[1:]
		it.Due, it.Attempts, it.LastHop = start.Add(time.Hour), 1, "smtp:192.0.2.1:25"
	})
	f.settle(small[0], delivered, queue.Notice{
		Envelope: envelope("", "a@example.org"), Header: testHeader, Body: f.body(300 << 10), CommitOptions: dueAt(start)})
	f.update(large[0], func(it *queue.Item) { it.Held, it.Due = false, start.Add(time.Minute) })
	f.settle(large[1], delivered)
	f.settle(large[0], delivered)
	held := f.commit(envelope("", "x@example.net"), nil, queue.CommitOptions{Due: start, Held: true, Reason: "r"})
	f.remove(held[0].ID)
	some := dueAt(start)
	some.HeldDomains = map[string]string{"example.com": "rule 1: review"}
	rule := f.commit(envelope("a@example.org", "x@example.net", "y@example.com"), f.body(100), some)
	f.update(rule[0], func(it *queue.Item) {
		it.Pinned = &mail.NextHop{Transport: mail.TransportSMTP, Host: "192.0.2.9", Pool: "ours", Credential: "c"}
	})
	f.update(rule[1], func(it *queue.Item) { it.Held, it.Reason = false, "" })
	f.remove(rule[0].ID)
	if f.h.Reopen != nil {
		open.Abort()
		f.reopen()
	}
}

// replace commits a message whose body took the place of another one while it
// was received: of two drafts, the first is read, then aborted. Whenever the
// power fails, there is the message with its new body, or nothing of it.
func (f *fixture) replace(env mail.Envelope, was, is int) {
	f.t.Helper()
	old := f.begin(f.body(was))
	body := f.body(is)
	d := f.begin(body[:is/2])
	if _, err := old.ReadAt(make([]byte, was), 0); err != nil && err != io.EOF {
		f.t.Fatalf("read a draft while another is written: %v", err)
	}
	f.after("writing half of a new body")
	write(f.t, d, body[is/2:])
	f.after("writing a new body")
	old.Abort()
	f.after("aborting the old body")
	opt := dueAt(start)
	refs, err := d.Commit(ctx, env, testHeader, opt)
	if err != nil {
		f.t.Fatalf("commit: %v", err)
	}
	f.learn(refs, env, testHeader, body, opt)
	f.after("commit of a new body")
	for _, ref := range refs {
		f.settle(ref, delivered)
	}
}

// testRandom compares random histories with the model.
func testRandom(t *testing.T, open func(t testing.TB) *Harness, crash bool) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(rt, open(t))
		defer func() { f.h.Close(t) }()
		var drafts []queue.Draft
		f.open = make(map[mail.ID]bool)
		domains := []string{"a.example", "b.example", "c.example"}
		size := rapid.OneOf(rapid.IntRange(0, 5000), rapid.SampledFrom([]int{64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 520_000}))
		due := rapid.Custom(func(rt *rapid.T) time.Time {
			return start.Add(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "minutes")) * time.Minute)
		})
		pick := func(rt *rapid.T) queue.Ref {
			items := f.items()
			if len(items) == 0 {
				rt.Skip("nothing there")
			}
			return items[rapid.IntRange(0, len(items)-1).Draw(rt, "item")].Ref
		}
		env := func(rt *rapid.T) mail.Envelope {
			to := rapid.SliceOfN(rapid.SampledFrom(domains), 1, 4).Draw(rt, "to")
			for i := range to {
				to[i] = fmt.Sprintf("u%d@%s", i, to[i])
			}
			return envelope("s@example.org", to...)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				f.commit(env(rt), f.body(size.Draw(rt, "size")), queue.CommitOptions{
					Due: due.Draw(rt, "due"), Expire: start.Add(time.Hour), Held: rapid.Bool().Draw(rt, "held")})
			},
			"begin": func(rt *rapid.T) {
				d := f.begin(f.body(size.Draw(rt, "size")))
				drafts = append(drafts, d)
				f.open[d.ID()] = true
			},
			"abort": func(rt *rapid.T) {
				if len(drafts) == 0 {
					rt.Skip("no draft")
				}
				drafts[0].Abort()
				delete(f.open, drafts[0].ID())
				drafts = drafts[1:]
			},
			"deliver": func(rt *rapid.T) { f.settle(pick(rt), delivered) },
			"bounce": func(rt *rapid.T) {
				f.settle(pick(rt), delivered, queue.Notice{Envelope: env(rt), Header: testHeader,
					Body: f.body(size.Draw(rt, "size")), CommitOptions: dueAt(due.Draw(rt, "due"))})
			},
			"defer": func(rt *rapid.T) {
				at, n := due.Draw(rt, "due"), rapid.IntRange(0, 1).Draw(rt, "delivered")
				f.settle(pick(rt), func(it *queue.Item) {
					it.Recipients = it.Recipients[min(n, len(it.Recipients)-1):]
					it.Due, it.Attempts = at, it.Attempts+1
				})
			},
			"hold": func(rt *rapid.T) {
				held := rapid.Bool().Draw(rt, "held")
				f.update(pick(rt), func(it *queue.Item) { it.Held = held })
			},
			"remove": func(rt *rapid.T) { f.remove(pick(rt).ID) },
			"reopen": func(rt *rapid.T) {
				if f.h.Reopen == nil {
					rt.Skip("cannot reopen")
				}
				drafts = nil
				clear(f.open)
				f.reopen()
			},
			"crash": func(rt *rapid.T) {
				if !crash {
					rt.Skip("not here")
				}
				c := f.h.Crash(t, rapid.SampledFrom(crashes).Draw(rt, "unsynced"))
				f.h.Close(t)
				f.h, drafts = c, nil
				clear(f.open)
			},
			"": func(rt *rapid.T) {
				f.t = rt
				if err := f.differs(f.h); err != nil {
					rt.Fatal(err)
				}
			},
		})
		if len(f.model) > 0 {
			f.remove(slices.Sorted(maps.Keys(f.model))[0])
		}
	})
}
