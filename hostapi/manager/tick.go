package manager

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

// MinTick is the shortest interval of the hook tick.
const MinTick = time.Second

// ticker is a Loaded whose manifest says how often it wants the hook tick; 0:
// nothing.
type ticker interface{ Tick() time.Duration }

// Tick asks the plugins in force at the hook tick, each in its interval, until
// ctx ends, which also ends the calls that run. The interval is the operator's,
// or else the manifest's; a tenth of it more or less keeps plugins that began
// together apart. A call has an instance of its own, and the next one waits for
// it, also that of the generation that follows. A failure is counted and logged,
// and the circuit breaker applies.
func (m *Manager) Tick(ctx context.Context) {
	clocks := make(map[string]*clock)
	defer func() {
		for _, c := range clocks {
			c.stop()
			<-c.done
		}
	}()
	for {
		m.mu.Lock()
		entries, moved := slices.Clone(m.entries), m.moved
		m.mu.Unlock()
		wanted := make(map[string]bool)
		for _, e := range entries {
			every := m.interval(e)
			if every <= 0 {
				continue
			}
			wanted[e.spec.Name] = true
			old := clocks[e.spec.Name]
			if old != nil && old.gen == e.gen && old.every == every {
				continue
			}
			c := &clock{name: e.spec.Name, gen: e.gen, every: every, done: make(chan struct{})}
			if old != nil {
				old.stop()
				c.before = old.done
			}
			var stopped context.Context
			stopped, c.stop = context.WithCancel(ctx)
			clocks[c.name] = c
			go m.run(ctx, stopped, c, e.gen)
		}
		for name, c := range clocks {
			if !wanted[name] {
				c.stop()
				select {
				case <-c.done:
					delete(clocks, name)
				default: // a call still runs; who follows must wait for it
					c.gen = nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		}
	}
}

// interval is how often a plugin is asked at tick; 0: never.
func (m *Manager) interval(e entry) time.Duration {
	if e.gen == nil {
		return 0
	}
	every := e.spec.Tick
	if t, ok := e.gen.loaded.(ticker); ok && every <= 0 {
		every = t.Tick()
	}
	has := e.gen.loaded.Stages().Has(hook.Tick)
	if has != (every > 0) && !e.gen.told.Swap(true) {
		if has {
			m.o.Log.Warn("plugin has the hook tick and no interval, so it is never asked there; add tick = \"1m\" to its [[plugin]]", "plugin", e.spec.Name)
		} else {
			m.o.Log.Warn("plugin has an interval and no hook tick; remove tick from its [[plugin]]", "plugin", e.spec.Name)
		}
	}
	if !has || every <= 0 {
		return 0
	}
	return max(every, MinTick)
}

// clock is the timer of one generation.
type clock struct {
	name   string
	gen    *generation // nil: it has gone, and its last call has not
	every  time.Duration
	before <-chan struct{} // closed when the clock of the generation before has ended; nil: there was none
	stop   context.CancelFunc
	done   chan struct{}
}

// run ticks until stopped ends.
func (m *Manager) run(ctx, stopped context.Context, c *clock, gen *generation) {
	defer close(c.done)
	if c.before != nil {
		<-c.before
	}
	for {
		t := time.NewTimer(time.Duration(float64(c.every) * (0.9 + 0.2*m.o.Rand())))
		select {
		case <-stopped.Done():
			t.Stop()
			return
		case <-t.C:
			m.tick(ctx, c.name, gen)
		}
	}
}

// tick asks a generation once, if it is in force.
func (m *Manager) tick(ctx context.Context, name string, gen *generation) {
	chain, release := m.Acquire()
	defer release()
	for _, p := range chain {
		s, ok := p.Handler.(*seat)
		if !ok || s.gen != gen {
			continue
		}
		p.Listeners = nil // which are for sessions
		k := hook.Chain{p}.Open("", func(f hook.Failure) {
			if !errors.Is(f.Err, errBreakerOpen) && ctx.Err() == nil {
				m.o.Log.Error("plugin failed at tick", "plugin", name, "generation", f.Generation, "reason", f.Err.Error())
			}
		})
		k.Ask(ctx, &hook.Event{Stage: hook.Tick, Recipient: -1})
		k.Close()
	}
}
