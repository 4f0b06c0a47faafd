package manager_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// reload writes another text and loads it.
func (r *rig) reload(text string) *plugin {
	r.t.Helper()
	r.write("a.wasm", text)
	r.must(r.Reload(context.Background(), "a"))
	return r.last()
}

func (r *rig) last() *plugin {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.f.all[len(r.f.all)-1]
}

// ask puts n questions, each in a session of its own, and returns the last
// answer.
func (r *rig) ask(n int) (o hook.Outcome) {
	chain, release := r.Acquire()
	defer release()
	for range n {
		o = ask(chain, hook.Rcpt)
	}
	return o
}

func (r *rig) generations() string {
	var list []string
	for _, g := range r.List()[0].Generations {
		name, _, _ := strings.Cut(g.Generation, "#")
		if g.InForce {
			name = "*" + name
		}
		if g.RolledBack != "" {
			name = "(" + name + ")"
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

func TestRollBackAndForth(t *testing.T) {
	r := newRig(t)
	ctx := manager.By(context.Background(), "a test")
	specs := []hostapi.Spec{r.spec("a", "one")}
	specs[0].Grant.Headers = hostapi.Read
	r.must(r.Start(ctx, specs))
	if err := r.Rollback(ctx, "a", ""); err == nil || !strings.Contains(err.Error(), "no generation before") {
		t.Errorf("with one generation: %v", err)
	}
	want := func(what, kept, says string) {
		t.Helper()
		if got := r.generations(); got != kept || r.says() != says {
			t.Errorf("%s: kept are %s and %q answers; want %s and %q", what, got, r.says(), kept, says)
		}
	}
	r.reload("two")
	r.reload("three")
	r.reload("four")
	want("four loads", "two three *four", "four")
	r.must(r.Rollback(ctx, "a", ""))
	want("rolled back", "two *three (four)", "three")
	r.must(r.Rollback(ctx, "a", ""))
	want("rolled back again", "*two (three) (four)", "two")
	if err := r.Rollback(ctx, "a", ""); err == nil || r.says() != "two" {
		t.Errorf("beyond what is kept: %v, %q answers", err, r.says())
	}
	r.must(r.Rollback(ctx, "a", "three"))
	want("and forth", "(two) *three (four)", "three")
	for _, id := range []string{"one", "t", "thr"} {
		if err := r.Rollback(ctx, "a", id); err == nil || r.says() != "three" {
			t.Errorf("to %q: %v, %q answers", id, err, r.says())
		}
	}
	r.must(r.Apply(ctx, specs)) // as for a new certificate
	r.must(r.Reload(ctx, ""))
	want("the configuration is read again", "(two) *three (four)", "three")
	if !strings.Contains(r.log.String(), "stays so") {
		t.Errorf("nobody is told:\n%s", r.log)
	}
	r.must(r.Reload(ctx, "a"))
	want("loaded by name", "(two) three *four", "four")
	r.reload("five")
	want("and a new one", "three four *five", "five")
	loads := len(r.f.all)
	if loads != 5 {
		t.Errorf("%d loads; what is kept needs none", loads)
	}
	r.must(r.Rollback(ctx, "a", ""))
	specs[0].Config = []byte(`{"x":1}`)
	r.must(r.Apply(ctx, specs))
	want("a new configuration is a new generation", "three four *five", "five")
	if len(r.f.all) != loads+1 || r.last().Generation() != "five#6" || r.f.open() != manager.Kept {
		t.Errorf("%s, %d loads, %d open", r.last().Generation(), len(r.f.all), r.f.open())
	}
	if err := r.Rollback(ctx, "b", ""); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("an unknown plugin: %v", err)
	}
	log := r.log.String()
	i := strings.Index(log, "plugin is rolled back")
	if i < 0 || !strings.Contains(log[i:], `by="a test"`) || !strings.Contains(log[i:], `instead_of=four#4`) || !strings.Contains(log[i:], `sha256=`+r.f.all[2].hash) || !strings.Contains(log[i:], `grant="headers = \"read\""`) {
		t.Errorf("the log does not say who put what in force with which rights:\n%s", log)
	}
	r.Close(true)
	if r.f.open() != 0 {
		t.Errorf("%d are open after Close", r.f.open())
	}
}

func TestBreakerOpensTriesAndCloses(t *testing.T) {
	r := newRig(t)
	specs := []hostapi.Spec{r.spec("a", "one")}
	specs[0].OnError, specs[0].OnErrorGiven = hook.FailReject, true
	synctest.Test(t, func(t *testing.T) {
		r.must(r.Start(t.Context(), specs))
		p := r.last()
		status := func() manager.Generation { return r.List()[0].Generations[0] }
		r.ask(3)
		p.broken.Store(true)
		r.ask(4)
		if s := status(); s.Breaker != "closed" {
			t.Errorf("after 4 failures it is %+v", s)
		}
		time.Sleep(61 * time.Second) // they are forgotten
		r.ask(4)
		if s := status(); s.Breaker != "closed" {
			t.Errorf("after 4 and 4 failures more than a minute apart it is %+v", s)
		}
		r.ask(1)
		if s := status(); s.Breaker != "open" || !strings.Contains(s.Trouble, "5 failures") {
			t.Errorf("after 5 failures in a minute it is %+v", s)
		}
		if !strings.Contains(r.log.String(), "level=ERROR") || !strings.Contains(r.log.String(), "circuit breaker opens") || !strings.Contains(r.log.String(), "on_error=reject") {
			t.Errorf("the log is not loud about it:\n%s", r.log)
		}
		asked := p.asked.Load()
		time.Sleep(29 * time.Second)
		if o := r.ask(10); !o.Failed || o.Action != hook.Reject || p.asked.Load() != asked {
			t.Errorf("open: %+v, asked %d times", o, p.asked.Load()-asked)
		}
		time.Sleep(2 * time.Second)
		if r.ask(10); p.asked.Load() != asked+1 || status().Breaker != "open" {
			t.Errorf("after the pause it was asked %d times, want once; %+v", p.asked.Load()-asked, status())
		}
		p.broken.Store(false)
		time.Sleep(31 * time.Second)
		if o := r.ask(2); o.Failed || p.asked.Load() != asked+3 || status().Breaker != "closed" {
			t.Errorf("repaired: %+v, asked %d times, %+v", o, p.asked.Load()-asked, status())
		}
		f := status().Hooks[0]
		if f.Hook != "rcpt" || f.Calls != 15 || f.Failures["trap"] != 10 || f.Verdicts["reject"] != 5 || f.Skipped != 19 || len(f.Wall.Buckets) != 1 || f.Wall.Buckets[0].Count != 5 {
			t.Errorf("figures %+v", f)
		}
	})
}

func TestBreakerOpensAtARate(t *testing.T) {
	r := newRig(t)
	specs := []hostapi.Spec{r.spec("a", "one")}
	synctest.Test(t, func(t *testing.T) {
		r.must(r.Start(t.Context(), specs))
		p := r.last()
		calls := func(good, bad int) string {
			r.ask(good)
			p.broken.Store(true)
			r.ask(bad)
			p.broken.Store(false)
			return r.List()[0].Generations[0].Breaker
		}
		if s := calls(17, 2); s != "closed" {
			t.Errorf("2 of 19 calls: %s", s)
		}
		time.Sleep(2 * time.Minute)
		r.ask(1000)
		time.Sleep(2 * time.Minute) // the good calls of long ago do not count
		if s := calls(39, 2); s != "closed" {
			t.Errorf("2 of 41 calls: %s", s)
		}
		time.Sleep(2 * time.Minute)
		if s := calls(18, 2); s != "open" {
			t.Errorf("2 of 20 calls: %s", s)
		}
	})
}

func TestClientsCannotOpenTheBreaker(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.must(r.Start(ctx, []hostapi.Spec{r.spec("a", "busy")}))
	r.ask(100)
	if f := r.List()[0].Generations[0]; f.Breaker != "closed" || f.Hooks[0].Failures["busy"] != 100 {
		t.Errorf("a machine without room: %+v", f)
	}
	r.reload("trap")
	chain, release := r.Acquire()
	defer release()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for range 100 {
		k := chain.Open("mx", nil)
		k.Ask(gone, &hook.Event{Stage: hook.Rcpt, Tx: &hook.Transaction{}})
		k.Close()
	}
	if f := r.List()[0].Generations[1]; f.Breaker != "closed" || f.Hooks[0].Failures["canceled"] != 100 {
		t.Errorf("clients that hung up: %+v", f)
	}
}

func TestPanicsAndOddVerdictsAreFailures(t *testing.T) {
	for _, text := range []string{"panic", "odd"} {
		r := newRig(t)
		r.must(r.Start(context.Background(), []hostapi.Spec{r.spec("a", text)}))
		if o := r.ask(10); !o.Failed {
			t.Errorf("%s: %+v", text, o)
		}
		g := r.List()[0].Generations[0]
		n := g.Hooks[0].Failures["panic"] + g.Hooks[0].Failures["verdict"]
		if n != 5 || g.Hooks[0].Skipped != 5 || g.Breaker != "open" {
			t.Errorf("%s: %+v", text, g)
		}
	}
}

func TestAYoungGenerationThatFailsIsRolledBack(t *testing.T) {
	r := newRig(t)
	specs := []hostapi.Spec{r.spec("a", "one")}
	synctest.Test(t, func(t *testing.T) {
		r.must(r.Start(t.Context(), specs))
		r.reload("trap here")
		chain, release := r.Acquire()
		r.ask(5)
		synctest.Wait()
		if got := r.generations(); got != "*one (trap here)" || r.says() != "one" {
			t.Fatalf("kept are %s, %q answers", got, r.says())
		}
		if s := r.List()[0].Generations[1]; !strings.Contains(s.RolledBack, "5 failures") {
			t.Errorf("the reason is %q", s.RolledBack)
		}
		log := r.log.String()
		for _, want := range []string{`level=ERROR msg="plugin is rolled back"`, `by="automatic roll-back"`, `generation=one#1`, `back="wasmta plugin rollback a trap here#2"`} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		if o := ask(chain, hook.Rcpt); !o.Failed {
			t.Errorf("a session that holds the bad one gets %+v", o)
		}
		release()
		// Who insists gets it, and it is not taken away again.
		time.Sleep(time.Minute)
		r.must(r.Rollback(t.Context(), "a", "trap"))
		r.ask(5)
		synctest.Wait()
		if got := r.generations(); got != "(one) *trap here" {
			t.Errorf("kept are %s", got)
		}
		r.must(r.Rollback(t.Context(), "a", "one"))

		// One that has outlived its bake time stays, and its breaker opens.
		p := r.reload("two")
		time.Sleep(61 * time.Minute)
		p.broken.Store(true)
		r.ask(5)
		synctest.Wait()
		if got := r.generations(); !strings.HasSuffix(got, "*two") || r.List()[0].Generations[len(r.List()[0].Generations)-1].Breaker != "open" {
			t.Errorf("kept are %s, %+v", got, r.List()[0])
		}
		r.Close(true)
	})
}

func TestAnotherShareOfRefusalsIsRolledBack(t *testing.T) {
	for _, c := range []struct {
		before   int // of 100 calls refused
		after    int
		rollBack bool
	}{
		{0, 100, true}, {100, 0, true}, {20, 80, true}, {0, 20, true},
		{0, 0, false}, {100, 100, false},
		{40, 55, false}, // 15 points, and no more than 3 sigma
		{2, 10, false},  // 8 points
	} {
		t.Run(fmt.Sprintf("%d then %d", c.before, c.after), func(t *testing.T) {
			r := newRig(t)
			r.must(r.Start(context.Background(), []hostapi.Spec{r.spec("a", "first")}))
			calls := func(refused int) {
				for i := range 100 {
					p := r.last()
					what := "pass"
					if (i*refused)%100 < refused { // spread evenly
						what = "refuse"
					}
					p.say.Store(&what)
					r.ask(1)
				}
			}
			calls(c.before)
			r.reload("second")
			synctest.Test(t, func(t *testing.T) { // to wait for the roll-back
				calls(c.after)
				synctest.Wait()
			})
			want := "first *second"
			if c.rollBack {
				want = "*first (second)"
			}
			if got := r.generations(); got != want {
				t.Errorf("kept are %s, want %s; %+v", got, want, r.List()[0].Generations)
			}
			if c.rollBack && !strings.Contains(r.log.String(), "at rcpt it refuses") {
				t.Errorf("the log does not say why:\n%s", r.log)
			}
		})
	}
}

func TestOnErrorOfTheManifestCountsUnlessTheOperatorSays(t *testing.T) {
	r := newRig(t)
	spec := r.spec("a", "trap")
	r.write("a.toml", "name = \"x\"\nhooks = [\"on_rcpt\"]\n")
	ctx := context.Background()
	r.must(r.Start(ctx, []hostapi.Spec{spec}))
	if o := r.ask(1); o.Action != hook.Reject {
		t.Errorf("%+v, want the manifest's on_error", o)
	}
	spec.OnErrorGiven = true
	r.must(r.Apply(ctx, []hostapi.Spec{spec}))
	if o := r.ask(1); o.Action != hook.Defer {
		t.Errorf("%+v, want the operator's", o)
	}
	r.write("a.toml", "name = \"x\"\nhooks = [\"on_rcpt\"]\nversion = \"2\"")
	r.must(r.Apply(ctx, []hostapi.Spec{spec}))
	if len(r.f.all) != 2 {
		t.Error("another manifest is not another generation")
	}
	r.write("a.toml", "nonsense")
	var e *manager.Error
	if err := r.Apply(ctx, []hostapi.Spec{spec}); !errors.As(err, &e) || e.Step != "read" || !strings.Contains(err.Error(), "a.toml") {
		t.Errorf("a manifest that cannot be read: %v", err)
	}
}

func TestAManifestAmongTheSourcesIsWatchedAndPinned(t *testing.T) {
	r := newRig(t)
	r.write("src/main.go", "one")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r.must(r.Start(ctx, []hostapi.Spec{{Name: "a", Module: r.dir + "/src", Dev: true}}))
		go r.Watch(ctx)
		time.Sleep(time.Second)
		r.write("src/manifest.json", `{"name":"x","hooks":["on_rcpt"]}`)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.f.all) != 2 || !strings.Contains(string(r.last().manifest), `"sha256":"`+r.last().hash) {
			t.Errorf("%d loads, the manifest is %s", len(r.f.all), r.last().manifest)
		}
		cancel()
		synctest.Wait()
		r.Close(true)
	})
	if slices.ContainsFunc(r.f.all, func(p *plugin) bool { return p.closed.Load() != 1 }) {
		t.Error("something is left open, or closed twice")
	}
}

// Sessions come and go while generations fail, are rolled back by themselves
// and by hand, and are replaced: nobody meets a closed plugin, and nothing is
// left open.
func TestHammerWithTrouble(t *testing.T) {
	const swaps, sessions = 40, 12
	r := newRig(t)
	ctx := context.Background()
	r.must(r.Start(ctx, []hostapi.Spec{r.spec("a", "v0"), r.spec("b", "pass")}))
	var stop atomic.Bool
	var asked atomic.Int64
	var group sync.WaitGroup
	for range sessions {
		group.Go(func() {
			for !stop.Load() {
				chain, release := r.Acquire()
				k := chain.Open("mx", nil)
				for range 10 {
					if o := k.Ask(ctx, &hook.Event{Stage: hook.Rcpt, Tx: &hook.Transaction{}}); o.Action == hook.Continue || o.Action == hook.Accept {
						t.Errorf("a plugin that rejects or fails gave %+v", o)
					}
					asked.Add(1)
					time.Sleep(20 * time.Microsecond)
				}
				k.Close()
				release()
			}
		})
	}
	group.Go(func() {
		for !stop.Load() {
			for _, s := range r.List() {
				if len(s.Generations) > manager.Kept || s.State != manager.Active {
					t.Errorf("status %+v", s)
				}
			}
			_ = r.Rollback(ctx, "a", "") // there may be none
			time.Sleep(3 * time.Millisecond)
		}
	})
	for i := 1; i <= swaps; i++ {
		text := fmt.Sprintf("v%d", i)
		if i%2 == 0 {
			text = fmt.Sprintf("trap %d", i)
		}
		r.write("a.wasm", text)
		r.must(r.Reload(ctx, "a"))
		for n := asked.Load(); asked.Load() < n+60; {
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	group.Wait()
	r.Close(true)
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	for _, p := range r.f.all {
		if p.used.Load() > 0 || p.closed.Load() != 1 {
			t.Errorf("%s was asked %d times after its end, closed %d times", p.Generation(), p.used.Load(), p.closed.Load())
		}
	}
}

// A session's question through the seat: the price of counting.
func BenchmarkAsk(b *testing.B) {
	r := newRig(b)
	r.must(r.Start(context.Background(), []hostapi.Spec{r.spec("a", "pass")}))
	chain, release := r.Acquire()
	defer release()
	k := chain.Open("mx", nil)
	defer k.Close()
	e := &hook.Event{Stage: hook.Rcpt, Tx: &hook.Transaction{}}
	b.ReportAllocs()
	for b.Loop() {
		k.Ask(context.Background(), e)
	}
}
