package qmgr_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/route"
)

// from commits a message of a sender and hands it over.
func (b *bench) from(sender string, o queue.CommitOptions, to ...string) []queue.Ref {
	env := mail.Envelope{ReversePath: path(sender), Client: mail.Client{Listener: "mx", Arrived: time.Now()}}
	for _, s := range to {
		env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: path(s)})
	}
	refs := b.commitEnvelope(o, env)
	b.m.Enqueue(refs)
	return refs
}

func shapes(domain string, s qmgr.Shape) qmgr.Shapes {
	return qmgr.Shapes{{Domains: []string{domain}, Shape: s}}
}

func TestTheFirstShapeThatMatchesIsUsed(t *testing.T) {
	s := qmgr.Shapes{
		{Domains: []string{"example.com", ".example.com"}, Shape: qmgr.Shape{Connections: 1}},
		{NextHops: []mail.NextHop{nextHop("smtp:relay.example"), nextHop("lmtp:unix:/run/lmtp")}, Shape: qmgr.Shape{Connections: 2}},
		{Others: true, Shape: qmgr.Shape{Connections: 3}},
		{Domains: []string{"*"}, Shape: qmgr.Shape{Connections: 4}},
	}
	for hop, want := range map[string]int{
		"mx:example.com": 1, "mx:a.b.example.com": 1, "mx:notexample.com": 4, "smtp:relay.example:25": 2, "smtp:relay.example:26": 3,
		"lmtp:unix:/run/lmtp": 2, "lmtp:unix:/run/other": 3, "mx:relay.example": 4,
	} {
		n := nextHop(hop)
		n.TLS, n.Pool, n.Helo = mail.TLSVerify, "ours", "out.example.org" // limits are for whom, not how
		if got := s.For(n).Connections; got != want {
			t.Errorf("%s: rule %d, want %d", hop, got, want)
		}
	}
}

func TestARateHoldsInEveryStretchOfTime(t *testing.T) {
	for _, r := range []qmgr.Rate{{Count: 1, Per: time.Second}, {Count: 100, Per: time.Minute}, {Count: 7, Per: time.Hour}, {Count: 1000, Per: 10 * time.Second}} {
		bubble(t, func(t *testing.T) {
			b := newBench(t, qmgr.Options{Shapes: shapes("rated.example", qmgr.Shape{Rate: r})})
			b.run()
			const n = 300
			for i := range n {
				b.submit(fmt.Sprintf("u%d@rated.example", i))
			}
			other := b.submit("u@other.example")[0]
			b.sleep(time.Second)
			if _, err := b.store.Item(t.Context(), other); !errors.Is(err, queue.ErrGone) {
				t.Error("another next hop waits for the one with a rate")
			}
			reads := b.store.calls["Item"]
			if f := b.m.Figures(); r.Per == time.Hour && f.Metered < n-10 {
				t.Errorf("figures: %+v", f)
			}
			b.sleep(r.Per*n/time.Duration(r.Count)*6/5 + r.Per)
			var times []time.Time
			for _, a := range b.agent.mails() {
				if a.hops[0].Host == "rated.example" {
					times = append(times, b.start.Add(a.at))
				}
			}
			if len(times) != n {
				t.Errorf("%v: %d of %d were sent", r, len(times), n)
			}
			if got := most(times, r.Per); got > r.Count {
				t.Errorf("%v: %d within its time", r, got)
			}
			if r := b.store.calls["Item"] - reads; r > 2*n {
				t.Errorf("items were read %d times while %d waited", r, n)
			}
		})
	}
}

// A server that takes three at once and answers 421 to a fourth is soon left in
// peace, and more is sent when it takes more.
func TestConcurrencyAdapts(t *testing.T) {
	for name, fixed := range map[string]bool{"adaptive": false, "fixed": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{Shapes: shapes("picky.example", qmgr.Shape{Connections: 16, Fixed: fixed}), Retry: []time.Duration{time.Minute}})
				var mu sync.Mutex
				now, takes, refusals := 0, 3, 0
				b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
					mu.Lock()
					now++
					full := now > takes
					if full {
						refusals++
					}
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					now--
					mu.Unlock()
					if full {
						return same(msg, tooMany)
					}
					return same(msg, sent)
				}
				b.run()
				const n = 600
				for i := range n {
					b.submit(fmt.Sprintf("u%d@picky.example", i))
				}
				b.sleep(20 * time.Minute)
				if !fixed && b.left() != 0 || b.agent.hopPeak > 16 {
					t.Errorf("%d left, %d at once", b.left(), b.agent.hopPeak)
				}
				if fixed {
					if b.agent.hopPeak != 16 {
						t.Errorf("%d at once, and 16 are to be used whatever it answers", b.agent.hopPeak)
					}
					return
				}
				if refusals > n/3 {
					t.Errorf("421 was the answer %d times for %d messages", refusals, n)
				}
				mu.Lock()
				takes = 100
				mu.Unlock()
				for i := range n {
					b.submit(fmt.Sprintf("v%d@picky.example", i))
				}
				b.sleep(n / 16 * time.Second * 5 / 2)
				if b.left() != 0 || b.agent.hopPeak != 16 {
					t.Errorf("it takes all that comes now: %d left, %d at once", b.left(), b.agent.hopPeak)
				}
			})
		})
	}
}

func on(reply string, d time.Duration) []qmgr.OnReply {
	return []qmgr.OnReply{{Reply: regexp.MustCompile(reply), Suspend: d}}
}

func TestAReplySuspendsByRule(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Shapes: shapes("*", qmgr.Shape{On: on(`^421 .*too many|^550 5\.7\.1 `, 30*time.Minute)}), Retry: []time.Duration{time.Minute}})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Host == "cross.example" && time.Since(b.start) < 10*time.Minute {
				return same(msg, mail.Result{Outcome: mail.Deferred, RemoteMTA: "mx.test", Reached: true, Reply: *mail.NewReply(421, "4.7.0", "too many from you")})
			}
			return same(msg, sent)
		}
		b.run()
		b.submit("a@cross.example")
		b.sleep(time.Second)
		b.submit("b@cross.example")
		b.submit("c@calm.example")
		b.sleep(29 * time.Minute)
		if n := len(b.agent.mails()); n != 2 {
			t.Errorf("%d attempts within 29 minutes, want one at each next hop", n)
		}
		hops := b.m.Hops()
		if len(hops) != 1 || hops[0].NextHop.Host != "cross.example" || hops[0].Suspended.Sub(b.start).Round(time.Second) != 30*time.Minute || !strings.Contains(hops[0].Why, "too many from you") {
			t.Errorf("%+v", hops)
		}
		if f := b.m.Figures(); f.Suspended != 1 || f.Deferred == 0 {
			t.Errorf("figures %+v", f)
		}
		b.sleep(10 * time.Minute)
		if b.left() != 0 {
			t.Errorf("%d left after the suspension", b.left())
		}
	})
}

var twoPools = map[string][]qmgr.Source{
	"ours": {{Name: "one", Weight: 1}, {Name: "two", Weight: 3}},
	"bulk": {{Name: "three", Weight: 1}},
}

// Sources are chosen by weight, a message keeps its own, and one that the next
// hop does not like is passed over there, and only there.
func TestSourcesOfAPool(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Pools: twoPools, Pool: "ours", Shapes: shapes("*", qmgr.Shape{On: on("blocked", time.Hour)}), Retry: []time.Duration{time.Minute},
			Router: &route.Router{Table: mustTable(t, route.Rule{Domains: []string{"box.example"}, To: nextHop("maildir:/v/{user}")},
				route.Rule{Domains: []string{"bulk.example"}, To: mail.NextHop{Pool: "bulk"}},
				route.Rule{Domains: []string{"relay.example"}, To: nextHop("smtp:relay.example:25")})}})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			switch {
			case hop.Host == "grey.example" && time.Since(b.start) < 10*time.Second:
				return same(msg, greyed)
			case hop.Host == "cross.example" && hop.Source == "two":
				return same(msg, mail.Result{Outcome: mail.Deferred, RemoteMTA: "mx.test", Reached: true, Reply: *mail.NewReply(421, "4.7.0", "blocked")})
			}
			return same(msg, sent)
		}
		b.run()
		const n = 400
		for _, domain := range []string{"fine.example", "grey.example", "cross.example"} {
			for i := range n {
				b.submit(fmt.Sprintf("u%d@%s", i, domain))
			}
		}
		b.submit("u@box.example")
		b.submit("u@bulk.example")
		b.submit("u@relay.example")
		b.sleep(30 * time.Minute)
		count := map[string]int{}
		first := map[string]string{}
		for _, a := range b.agent.mails() {
			h := a.hops[0]
			count[h.Host+" "+h.Source]++
			if h.Host == "grey.example" {
				if s := first[a.to[0]]; s != "" && s != h.Source {
					t.Errorf("%s was tried from %s, then from %s", a.to[0], s, h.Source)
				}
				first[a.to[0]] = h.Source
			}
		}
		if two := count["fine.example two"]; two < n*65/100 || two > n*85/100 || count["fine.example one"] != n-two {
			t.Errorf("by weight: %v", count)
		}
		if count["cross.example two"] > 10 || count["cross.example one"] != n || b.left() != 0 {
			t.Errorf("the source that is not liked: %v, %d left", count, b.left())
		}
		if count["/v/u "] != 1 || count["bulk.example three"] != 1 || count["relay.example "] != 1 {
			t.Errorf("others: %v", count)
		}
		if h := b.m.Hops(); len(h) != 1 || len(h[0].Sources) != 1 || h[0].Sources[0].Name != "two" || !h[0].Suspended.IsZero() {
			t.Errorf("%+v", h)
		}
	})
}

// A source that reaches nothing at a next hop does not keep the others from it;
// a next hop that none reaches is suspended soon.
func TestASourceThatReachesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Pools: twoPools, Pool: "ours", Retry: []time.Duration{time.Minute}})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Host == "dead.example" || hop.Source == "two" {
				time.Sleep(5 * time.Second)
				return same(msg, down)
			}
			return same(msg, sent)
		}
		b.run()
		const n = 100
		for i := range n {
			b.submit(fmt.Sprintf("u%d@half.example", i))
			b.submit(fmt.Sprintf("u%d@dead.example", i))
		}
		b.sleep(3 * time.Minute)
		count := map[string]int{}
		for _, a := range b.agent.mails() {
			count[a.hops[0].Host+" "+a.hops[0].Source]++
		}
		if count["half.example one"] != n || count["half.example two"] > n/2 {
			t.Errorf("one of two sources is of no use: %v", count)
		}
		if dead := count["dead.example one"] + count["dead.example two"]; dead > 20 {
			t.Errorf("%d attempts at a dead next hop: %v", dead, count)
		}
	})
}

func TestAPluginChoosesThePool(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Pools: twoPools, Retry: []time.Duration{time.Minute}, Source: policy(func(e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				if e.Stage == hook.Attempt && len(d.History) == 0 || e.Stage == hook.Result && d.Last.Outcome != mail.Delivered {
					d.NextHops[0].Pool = map[hook.Stage]string{hook.Attempt: "ours", hook.Result: "bulk"}[e.Stage]
				}
				return nil
			})
		}, hook.FailTemporary, hook.Attempt, hook.Result)})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Source == "three" {
				return same(msg, sent)
			}
			return same(msg, greyed)
		}
		b.run()
		b.submit("u@dst.example")
		b.sleep(5 * time.Minute)
		var from []string
		for _, a := range b.agent.mails() {
			from = append(from, a.hops[0].Source)
		}
		if len(from) != 2 || from[0] == "" || from[0] == "three" || from[1] != "three" {
			t.Errorf("sources %q", from)
		}
	})
}

// A sender of very many does not keep others waiting, be it at one next hop or
// for all slots.
func TestSendersTakeTurns(t *testing.T) {
	routes := policy(func(e *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
			d.NextHops = []mail.NextHop{nextHop("smtp:" + d.Domain + ":25")}
			return nil
		})
	}, hook.FailTemporary, hook.Route)
	for name, c := range map[string]struct {
		source  hook.Source
		domains int
	}{"one next hop": {nil, 1}, "many next hops": {nil, 3000}, "one next hop, which a plugin knows": {routes, 1}, "many next hops, which a plugin knows": {routes, 3000}} {
		domain := func(i int) string { return fmt.Sprintf("d%d.example", i%c.domains) }
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{Attempts: 10, AttemptsPerHop: 4, Source: c.source})
				done := map[string]time.Duration{}
				var mu sync.Mutex
				b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
					time.Sleep(time.Second)
					mu.Lock()
					done[msg.Envelope.ReversePath.Domain] = time.Since(b.start)
					mu.Unlock()
					return same(msg, sent)
				}
				b.run()
				const n = 3000
				for i := range n {
					b.from("news@bulk.example", queue.CommitOptions{}, "u@"+domain(i))
				}
				b.sleep(time.Minute)
				for i := range 20 {
					b.from("alice@small.example", queue.CommitOptions{}, "u@"+domain(n-1-i))
				}
				b.sleep(2 * time.Hour)
				if b.left() != 0 || b.agent.peak > 10 || b.agent.hopPeak > 4 {
					t.Fatalf("%d left, %d at once, %d at one next hop", b.left(), b.agent.peak, b.agent.hopPeak)
				}
				if d := done["small.example"] - time.Minute; d > 40*time.Second {
					t.Errorf("twenty messages of another sender took %v, all of them %v", d, done["bulk.example"])
				}
			})
		})
	}
}

// New mail for a next hop that nobody uses is sent at once, however many others
// have more to do than there are slots.
func TestANewNextHopDoesNotWaitForTheBusyOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Attempts: 20, AttemptsPerHop: 10})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(time.Second)
			return same(msg, sent)
		}
		b.run()
		for i := range 3000 {
			b.submit(fmt.Sprintf("u%d@d%d.example", i, i%30))
		}
		b.sleep(20 * time.Second)
		ref := b.submit("u@new.example")[0]
		b.sleep(5 * time.Second)
		if _, err := b.store.Item(t.Context(), ref); !errors.Is(err, queue.ErrGone) {
			t.Error("it waits for those that are busy")
		}
	})
}

func TestLowPriorityStillMoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{AttemptsPerHop: 1})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(time.Second)
			return same(msg, sent)
		}
		b.run()
		b.submit("first@dst.example")
		low := b.from("alice@example.org", queue.CommitOptions{Priority: -4}, "low@dst.example")[0]
		other := b.from("bob@other.example", queue.CommitOptions{}, "other@dst.example")[0]
		// Twice as much as there is time for, of high priority.
		go func() {
			for range 2400 {
				b.from("alice@example.org", queue.CommitOptions{Priority: 4}, "high@dst.example")
				time.Sleep(500 * time.Millisecond)
			}
		}()
		b.sleep(10 * time.Second)
		if _, err := b.store.Item(t.Context(), other); !errors.Is(err, queue.ErrGone) {
			t.Error("another sender waits for one with much of high priority")
		}
		if _, err := b.store.Item(t.Context(), low); err != nil {
			t.Error("what has low priority went first")
		}
		b.sleep(20 * time.Minute)
		if _, err := b.store.Item(t.Context(), low); !errors.Is(err, queue.ErrGone) {
			t.Error("what has low priority waits for ever")
		}
	})
}

func TestASuspendedNextHopIsPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Source: policy(func(e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				d.NextHops = []mail.NextHop{nextHop("smtp:a.example:25"), nextHop("smtp:b.example:25")}
				return nil
			})
		}, hook.FailTemporary, hook.Route)})
		b.run()
		if err := b.m.SuspendHop(nextHop("smtp:a.example"), time.Hour, "moving"); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			b.submit(fmt.Sprintf("u%d@dst.example", i))
		}
		b.sleep(time.Minute)
		for _, a := range b.agent.mails() {
			if len(a.hops) != 1 || a.hops[0].Host != "b.example" {
				t.Fatalf("tried %v", a.hops)
			}
		}
		if b.left() != 0 {
			t.Errorf("%d wait though there is another next hop", b.left())
		}
		_ = b.m.SuspendHop(nextHop("smtp:b.example"), time.Hour, "moving too")
		ref := b.submit("v@dst.example")[0]
		b.sleep(time.Minute)
		if it := b.item(ref); it.LastHop != "smtp:a.example:25" || !strings.Contains(it.Reason, "suspended by policy") {
			t.Errorf("%+v", it)
		}
	})
}

func TestTheOperatorSuspendsAndResumes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := qmgr.Options{State: filepath.Join(t.TempDir(), "hops.json"), Shapes: shapes("off.example", qmgr.Shape{Suspended: true})}
		b := newBench(t, o)
		b.run()
		hop := nextHop("mx:dst.example")
		if err := b.m.SuspendHop(hop, 0, "they asked for it"); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			b.submit(fmt.Sprintf("u%d@dst.example", i))
		}
		b.submit("u@off.example")
		b.sleep(10 * time.Hour)
		if n := len(b.agent.mails()); n != 0 || b.left() != 51 {
			t.Fatalf("%d attempts, %d left", n, b.left())
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}

		// It holds over a restart.
		store := b.store
		b = newBench(t, o)
		b.store = store
		o.Store, o.Deliverer = store, b.agent
		b.m = qmgr.New(o)
		b.run()
		b.sleep(10 * time.Hour)
		hops := b.m.Hops()
		i := slices.IndexFunc(hops, func(h qmgr.HopStatus) bool { return h.NextHop == hop })
		if i < 0 || !hops[i].Forever || hops[i].Why != "they asked for it" || len(b.agent.mails()) != 0 {
			t.Errorf("after a restart: %+v, %d attempts", hops, len(b.agent.mails()))
		}
		if n, err := b.m.ResumeHop(t.Context(), hop); n != 50 || err != nil {
			t.Errorf("resumed %d items, %v", n, err)
		}
		b.sleep(time.Second)
		if n := len(b.agent.mails()); n != 50 || b.left() != 1 {
			t.Errorf("%d attempts, %d left after it was resumed", n, b.left())
		}
		if _, err := b.m.ResumeHop(t.Context(), nextHop("mx:off.example")); !errors.Is(err, qmgr.ErrConfigured) {
			t.Errorf("%v", err)
		}
	})
}

// Mail that is put off at the very moment at which an operator resumes its next
// hop does not wait for the end of a suspension that is no more.
func TestMailThatIsPutOffWhileItsNextHopIsResumed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var b *bench
		hop := nextHop("mx:dst.example")
		resume := sync.OnceFunc(func() {
			if _, err := b.m.ResumeHop(t.Context(), hop); err != nil {
				t.Error(err)
			}
		})
		b = newBench(t, qmgr.Options{Rand: func() float64 { resume(); return 0.5 }}) // for the time that it is put off
		b.run()
		_ = b.m.SuspendHop(hop, 24*time.Hour, "")
		b.submit("u@dst.example")
		b.sleep(time.Minute)
		if b.left() != 0 {
			t.Error("it waits")
		}
	})
}

func TestALongSuspensionThatIsMadeShorter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Retry: []time.Duration{time.Hour}})
		b.run()
		hop := nextHop("mx:dst.example")
		_ = b.m.SuspendHop(hop, 30*24*time.Hour, "")
		b.submit("u@dst.example")
		b.sleep(time.Minute)
		_ = b.m.SuspendHop(hop, time.Minute, "only a minute")
		b.sleep(2 * time.Hour)
		if b.left() != 0 {
			t.Error("it waits for the end of the first suspension")
		}
	})
}

// What was learned of a next hop is there after a restart: its rate, that it is
// dead, which source it does not like, how few connections it wants.
func TestWhatWasLearnedIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := qmgr.Options{State: filepath.Join(t.TempDir(), "hops.json"), Pools: twoPools, Retry: []time.Duration{time.Minute}, Shapes: qmgr.Shapes{
			{Domains: []string{"rated.example"}, Shape: qmgr.Shape{Rate: qmgr.Rate{Count: 1, Per: time.Hour}}},
			{Domains: []string{"cross.example"}, Shape: qmgr.Shape{Pool: "bulk", On: on("^421", 2*time.Hour)}},
		}}
		store, start := newMemory(), time.Now()
		var mu sync.Mutex
		count := map[string]int{}
		run := func() {
			b := newBench(t, qmgr.Options{})
			b.store, b.start = store, start
			b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
				mu.Lock()
				count[hop.Host]++
				mu.Unlock()
				switch hop.Host {
				case "dead.example":
					return same(msg, down)
				case "cross.example", "busy.example":
					return same(msg, tooMany)
				}
				return same(msg, sent)
			}
			o.Store, o.Deliverer = store, b.agent
			b.m = qmgr.New(o)
			b.run()
			for _, host := range []string{"rated.example", "dead.example", "cross.example", "busy.example"} {
				for range 20 {
					b.submit("u@" + host)
				}
			}
			b.sleep(10 * time.Second)
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if count["rated.example"] != 1 || count["dead.example"] > 6 || count["cross.example"] > 6 {
			t.Errorf("first: %v", count)
		}
		clear(count)
		run()
		if count["rated.example"] != 0 || count["dead.example"] != 0 || count["cross.example"] != 0 || count["busy.example"] == 0 {
			t.Errorf("after a restart within ten seconds: %v", count)
		}
	})
}

func TestADamagedStateIsForgotten(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut": `{"version":1,"hops":[{"nexthop":"mx:a.exa`, "not ours": `[1,2,3]`, "newer": `{"version":2,"hops":[]}`,
		"bad hop": `{"version":1,"hops":[{"nexthop":"pipe:/bin/sh"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "hops.json")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				b := newBench(t, qmgr.Options{State: file})
				b.run()
				b.submit("u@dst.example")
				b.sleep(time.Second)
				if b.left() != 0 || !strings.Contains(b.log.String(), "is forgotten") {
					t.Errorf("%d left; log:\n%s", b.left(), b.log.String())
				}
				if err := b.m.SuspendHop(nextHop("mx:dst.example"), 0, ""); err != nil {
					t.Error(err)
				}
				if text, _ := os.ReadFile(file); !strings.Contains(string(text), "mx:dst.example") {
					t.Errorf("it is not written anew: %s", text)
				}
			})
		})
	}
}

// A10 of the attack classes: very much mail for one dead domain among live mail.
func TestADeadDomainDoesNotDelayLiveMail(t *testing.T) {
	n := 5000
	if os.Getenv("WASMTA_SCALE") != "" {
		n = 100_000
	}
	p99 := func(dead int) (live time.Duration, connections int) {
		bubble(t, func(t *testing.T) {
			w := newWorld()
			b := newBench(t, qmgr.Options{})
			b.m = qmgr.New(qmgr.Options{Store: b.store, Deliverer: w, Hostname: "mx.example.org", WarnAfter: -1})
			b.run()
			for range dead {
				b.from("x@attacker.example", queue.CommitOptions{}, "u@dead1.dead.example")
			}
			for i := range 2000 {
				b.from("alice@example.org", queue.CommitOptions{}, fmt.Sprintf("u@fine%d.example", i%50))
				time.Sleep(20 * time.Millisecond)
			}
			b.sleep(time.Minute)
			if w.sent["fine"] != 2000 {
				t.Errorf("%d of 2000 live messages were delivered", w.sent["fine"])
			}
			live = w.quantile(0.99)
			connections = len(w.probes["dead1.dead.example"])
		})
		return live, connections
	}
	alone, _ := p99(0)
	among, connections := p99(n)
	if among > alone*12/10 || connections > 20 {
		t.Errorf("live mail: p99 %v, alone %v; %d connections to the dead one", among, alone, connections)
	}
	t.Logf("live mail: p99 %v among %d for a dead domain, alone %v; %d connections to it", among, n, alone, connections)
}
