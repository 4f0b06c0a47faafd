package manager_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// ticking is a world of plugins that note when they are asked.
type ticking struct {
	*manager.Manager
	t      *testing.T
	dir    string
	log    bytes.Buffer
	began  time.Time
	cancel context.CancelFunc
	ended  chan bool

	mu      sync.Mutex
	asked   []string // module and time, in order
	running map[string]int
	open    int // instances
	takes   time.Duration
	fails   bool
	most    int
	canceld int
}

type tickPlugin struct {
	w    *ticking
	text string
	wish time.Duration
}

func (p *tickPlugin) Stages() hook.StageSet {
	if strings.HasPrefix(p.text, "deaf") {
		return hook.Stages(hook.Rcpt)
	}
	return hook.Stages(hook.Rcpt, hook.Tick)
}
func (p *tickPlugin) Hash() string                        { return "hash" }
func (p *tickPlugin) Generation() string                  { return p.text }
func (p *tickPlugin) Grant() hostapi.Grant                { return hostapi.Grant{} }
func (p *tickPlugin) OnError() (hook.FailurePolicy, bool) { return 0, false }
func (p *tickPlugin) Tick() time.Duration                 { return p.wish }
func (p *tickPlugin) Close()                              {}
func (p *tickPlugin) Open(context.Context) (hook.Instance, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.open++
	return &tickInstance{p}, nil
}
func (p *tickPlugin) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	panic("asked without an instance")
}

type tickInstance struct{ p *tickPlugin }

func (i *tickInstance) Close() {
	i.p.w.mu.Lock()
	defer i.p.w.mu.Unlock()
	i.p.w.open--
}

func (i *tickInstance) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	w, name := i.p.w, strings.TrimRight(i.p.text, "0123456789")
	if e.Stage != hook.Tick || e.Session != nil || e.Tx != nil || e.Recipient != -1 {
		return hook.Verdict{}, nil
	}
	w.mu.Lock()
	w.asked = append(w.asked, fmt.Sprintf("%s %v", i.p.text, time.Since(w.began)))
	w.running[name]++
	w.most = max(w.most, w.running[name])
	takes, fails := w.takes, w.fails
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running[name]--
	}()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		w.canceld++
		return hook.Verdict{}, ctx.Err()
	}
	if fails {
		return hook.Verdict{}, trouble(hostapi.FaultTrap)
	}
	return hook.Verdict{}, nil
}

// newTicking makes a manager, half way between the earliest and the latest
// time of a tick.
func newTicking(t *testing.T) *ticking {
	w := &ticking{t: t, dir: t.TempDir(), running: map[string]int{}, began: time.Now(), ended: make(chan bool)}
	w.Manager = manager.New(manager.Options{Log: slog.New(slog.NewTextHandler(&w.log, nil)), Rand: func() float64 { return 0.5 },
		Load: func(_ context.Context, _ hostapi.Spec, wasm []byte) (manager.Loaded, error) {
			p := &tickPlugin{w: w, text: string(wasm)}
			if rest, ok := strings.CutPrefix(p.text, "wish"); ok {
				p.wish, _ = time.ParseDuration(rest + "s")
			}
			return p, nil
		}})
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(t.Context())
	go func() {
		w.Tick(ctx)
		close(w.ended)
	}()
	return w
}

// put puts plugins in force: "text interval".
func (w *ticking) put(list ...string) {
	w.t.Helper()
	var specs []hostapi.Spec
	for i, l := range list {
		text, every, _ := strings.Cut(l, " ")
		d, _ := time.ParseDuration(every)
		file := filepath.Join(w.dir, fmt.Sprint(i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
		specs = append(specs, hostapi.Spec{Name: fmt.Sprint("p", i), Module: file, Tick: d, Listeners: []string{"mx"}})
	}
	if err := w.Apply(context.Background(), specs); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *ticking) end() {
	w.cancel()
	<-w.ended
	w.Close(true)
	if w.open != 0 {
		w.t.Errorf("%d instances are open at the end", w.open)
	}
}

// after waits and checks who was asked when, since the last call.
func (w *ticking) after(d time.Duration, want ...string) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	// Nothing says which of two plugins is first whose time is the same.
	slices.Sort(w.asked)
	slices.Sort(want)
	if !slices.Equal(w.asked, want) {
		w.t.Errorf("after %v: asked %q, want %q", time.Since(w.began), w.asked, want)
	}
	w.asked = nil
}

func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTicking(t)
		w.put("a 10s", "wish7 0s", "none 0s", "deaf 5s")
		w.after(30*time.Second, "wish7 7s", "a 10s", "wish7 14s", "a 20s", "wish7 21s", "wish7 28s", "a 30s")
		for _, warning := range []string{"plugin=p2", "plugin=p3"} {
			if !strings.Contains(w.log.String(), warning) {
				t.Errorf("no warning with %s:\n%s", warning, w.log.String())
			}
		}
		// Only the operator's interval changes, and it wins: the generation is the same.
		w.put("a 10s", "wish7 2s")
		w.after(10*time.Second, "wish7 32s", "wish7 34s", "wish7 36s", "wish7 38s", "a 40s", "wish7 40s")
		w.put("a 10s")
		w.after(20*time.Second, "a 50s", "a 1m0s")
		w.put("a 10ms") // there is a shortest one
		w.after(3*time.Second, "a 1m1s", "a 1m2s", "a 1m3s")
		w.end()
		w.after(time.Minute)
	})
}

// A call that takes longer than the interval is waited for, and by the
// generation that follows too; at the end it is broken off.
func TestTicksDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTicking(t)
		w.takes = 25 * time.Second
		w.put("a1 10s")
		w.after(60*time.Second, "a1 10s", "a1 45s")
		w.put("a2 10s") // while a1 runs, until 70 s
		w.after(15 * time.Second)
		w.after(30*time.Second, "a2 1m20s") // which runs until 105 s
		w.put()
		w.put("a3 10s")
		w.after(15*time.Second, "a3 1m55s")
		w.end()
		if w.most != 1 || w.canceld != 1 {
			t.Errorf("%d calls at a time, %d broken off", w.most, w.canceld)
		}
	})
}

// A plugin that fails is not asked while its circuit breaker is open, and
// figures and log tell.
func TestTicksThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTicking(t)
		w.fails = true
		w.put("a 1s")
		w.after(20*time.Second, "a 1s", "a 2s", "a 3s", "a 4s", "a 5s")
		w.mu.Lock()
		w.fails = false
		w.mu.Unlock()
		w.after(17*time.Second, "a 35s", "a 36s", "a 37s")
		w.end()
		if n := strings.Count(w.log.String(), "plugin failed at tick"); n != 5 {
			t.Errorf("%d failures in the log, want 5:\n%s", n, w.log.String())
		}
	})
}

// Nobody is asked in a manager that only loads.
func TestACheckDoesNotTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTicking(t)
		w.cancel()
		<-w.ended
		w.put("a 1s")
		w.after(time.Minute)
		w.Close(true)
	})
}
