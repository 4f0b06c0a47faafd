package qmgr_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/route"
)

// Whatever operators, plugins, next hops, the store and restarts do at once, no
// limit is exceeded, no mail is forgotten, and nothing is left over in memory.
func TestShapingUnderRandomActs(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { bubble(t, func(t *testing.T) { randomActs(t, seed) }) })
	}
}

func randomActs(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	var mu sync.Mutex
	lot := func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) }
	var calm atomic.Bool
	trouble := func(percent int) bool { return lot(100) < percent && !calm.Load() }
	rate := qmgr.Rate{Count: 10, Per: time.Minute}
	o := qmgr.Options{
		MaxRefs: 40, Attempts: 8, AttemptsPerHop: 3, Retry: []time.Duration{time.Minute, 10 * time.Minute}, State: filepath.Join(t.TempDir(), "hops.json"),
		Rand: rand.Float64, Pools: twoPools, Pool: "ours",
		Shapes: qmgr.Shapes{
			{Domains: []string{"d0.example"}, Shape: qmgr.Shape{Rate: rate}},
			{Domains: []string{"d1.example"}, Shape: qmgr.Shape{Connections: 1, Pool: "bulk"}},
			{Domains: []string{"*"}, Shape: qmgr.Shape{On: on("^421", 5*time.Minute)}},
		},
	}
	hops := []mail.NextHop{nextHop("mx:d0.example"), nextHop("mx:d1.example"), nextHop("mx:d2.example"), nextHop("mx:d3.example"), nextHop("smtp:e.example:25"), nextHop("maildir:/m/u")}
	o.Router = &route.Router{Table: mustTable(t,
		route.Rule{Domains: []string{"e0.example"}, Recipients: []string{"^a"}, To: hops[5]}, // two next hops for one item
		route.Rule{Domains: []string{"e0.example", "e1.example"}, To: hops[4]})}
	if seed%2 == 1 {
		o.Source = policy(func(e *hook.Event) (hook.Verdict, error) {
			if trouble(5) {
				return hook.Verdict{Action: hook.Defer}, nil
			}
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				switch {
				case e.Stage == hook.Route && d.Domain == "d2.example":
					d.NextHops = hops[2:4]
				case e.Stage == hook.Result && trouble(3):
					d.Suspend = time.Now().Add(10 * time.Minute)
				}
				return nil
			})
		}, hook.FailTemporary, hook.Route, hook.Attempt, hook.Result)
	}
	store, start := newMemory(), time.Now()
	store.fault = func(string, queue.Ref) error {
		if trouble(2) {
			return queue.ErrStorage
		}
		return nil
	}
	delivered := map[string]int{}
	var rated []time.Time
	var b *bench
	boot := func() {
		b = newBench(t, qmgr.Options{})
		b.store, b.start = store, start
		b.agent.answer = func(ctx context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			mu.Lock()
			if hop.Host == "d0.example" {
				rated = append(rated, time.Now())
			}
			mu.Unlock()
			time.Sleep(time.Duration(lot(9000)) * time.Millisecond)
			switch {
			case ctx.Err() != nil, hop.Source == "two" && trouble(80), trouble(10):
				return same(msg, down)
			case trouble(10):
				return same(msg, greyed)
			case trouble(3):
				return same(msg, tooMany)
			}
			mu.Lock()
			for _, r := range msg.Envelope.Recipients {
				delivered[r.ForwardPath.String()]++
			}
			mu.Unlock()
			return same(msg, sent)
		}
		o.Store, o.Deliverer = store, b.agent
		b.m = qmgr.New(o)
		b.run()
	}
	ended := func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if b.agent.peak > 8 || b.agent.hopPeak > 3 && seed%2 == 0 {
			t.Errorf("%d attempts at once, %d at one next hop", b.agent.peak, b.agent.hopPeak)
		}
	}
	boot()
	var refs []queue.Ref
	want, ctx := 0, t.Context()
	for i := range 300 {
		domain := fmt.Sprintf("d%d.example", lot(6))
		if lot(4) == 0 {
			domain = fmt.Sprintf("e%d.example", lot(2))
		}
		to := []string{fmt.Sprintf("a%d@%s", i, domain), fmt.Sprintf("b%d@%s", i, domain)}
		want += len(to)
		refs = append(refs, b.from(fmt.Sprintf("s@s%d.example", lot(8)), queue.CommitOptions{Priority: lot(5) - 2}, to...)...)
		ref, hop := refs[lot(len(refs))], hops[lot(len(hops))]
		switch lot(14) {
		case 0:
			_ = b.m.SuspendHop(hop, time.Duration(lot(3)*300)*time.Second, "random")
		case 1:
			_, _ = b.m.ResumeHop(ctx, hop)
		case 2:
			_ = b.m.Retry(ctx, ref)
		case 3:
			_ = b.m.Hold(ctx, ref, "random")
		case 4:
			_ = b.m.Release(ctx, ref)
		case 5:
			_ = b.m.Reroute(ctx, ref, &hops[1+lot(3)])
		case 6:
			_ = b.m.Reroute(ctx, ref, nil)
		case 7:
			go func(m *qmgr.Manager) { _, _ = m.Flush(ctx) }(b.m)
		case 8:
			if lot(4) == 0 {
				ended()
				boot()
			}
		default:
			time.Sleep(time.Duration(lot(4000)) * time.Millisecond)
		}
	}
	b.sleep(time.Hour)
	calm.Store(true)
	for _, hop := range hops {
		if _, err := b.m.ResumeHop(ctx, hop); err != nil {
			t.Error(err)
		}
	}
	for _, ref := range refs {
		if err := b.m.Release(ctx, ref); err != nil && !errors.Is(err, queue.ErrGone) {
			t.Error(err)
		}
	}
	b.sleep(12 * time.Hour)
	if b.left() != 0 || len(delivered) != want {
		t.Errorf("%d items are left, %d of %d recipients have it", b.left(), len(delivered), want)
	}
	for to, n := range delivered {
		if n != 1 {
			t.Errorf("%s has it %d times", to, n)
		}
	}
	if n := most(rated, rate.Per); n > rate.Count && seed%2 == 0 {
		t.Errorf("%d within a minute at a rate of %v", n, rate)
	}
	if s := b.m.Leftover(); s != "" {
		t.Error(s)
	}
	if regexp.MustCompile(`panic`).MatchString(b.log.String()) {
		t.Error(b.log.String())
	}
	ended()
}
