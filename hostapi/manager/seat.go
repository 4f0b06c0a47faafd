package manager

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
)

// seat is a generation as a member of one chain: it counts what is asked and
// answered, and keeps what must not be asked from being asked.
type seat struct {
	m       *Manager
	gen     *generation
	onError hook.FailurePolicy
	expired atomic.Bool // those who still hold this chain held it too long
}

var errExpired = errors.New("this generation of the plugin was replaced long ago, and the session has held on to it too long")

// Open begins a visit. The plugin itself is opened with the first question, so
// that a failure to open counts as one to answer.
func (s *seat) Open(context.Context) (hook.Instance, error) { return &visit{seat: s}, nil }

// Handle answers one event with a visit of its own.
func (s *seat) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	v := visit{seat: s}
	defer v.Close()
	return v.Handle(ctx, e)
}

// visit is the use of a seat by one session or delivery.
type visit struct {
	seat     *seat
	instance hook.Instance
	cpu      interface{ CPU() time.Duration } // of the last call; nil: the plugin does not tell
}

func (v *visit) Close() {
	if v.instance != nil {
		v.instance.Close()
		v.instance = nil
	}
}

// Handle asks the plugin, unless its circuit breaker is open.
func (v *visit) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	s, g := v.seat, v.seat.gen
	c := &g.counters[min(e.Stage, hook.Tick)]
	if s.expired.Load() {
		c.skipped.Add(1)
		return hook.Verdict{}, errExpired
	}
	start := s.m.now()
	pass, trying := g.breaker.admit(start)
	if !pass {
		c.skipped.Add(1)
		return hook.Verdict{}, errBreakerOpen
	}
	g.breaker.count(start, g.calls)
	fault := faultPanic
	defer func() {
		if fault != "" {
			s.failed(c, fault, trying)
		}
	}()
	verdict, opened, err := v.ask(ctx, e)
	if err == nil {
		if err = verdict.Check(e.Stage); err != nil {
			fault = hostapi.FaultVerdict
			return hook.Verdict{}, err
		}
		fault = ""
		s.answered(c, e.Stage, verdict, trying, s.m.now()-start, v)
		return verdict, nil
	}
	if fault = faultOf(ctx, err); !opened && fault == hostapi.FaultMemory {
		fault = hostapi.FaultBusy // there was no room for one more instance
	}
	return hook.Verdict{}, err
}

func (v *visit) ask(ctx context.Context, e *hook.Event) (verdict hook.Verdict, opened bool, err error) {
	if v.instance == nil {
		if v.instance, err = v.seat.gen.loaded.Open(ctx); err != nil {
			v.instance = nil
			return hook.Verdict{}, false, err
		}
		v.cpu, _ = v.instance.(interface{ CPU() time.Duration })
	}
	verdict, err = v.instance.Handle(ctx, e)
	return verdict, true, err
}

func (s *seat) answered(c *counters, stage hook.Stage, verdict hook.Verdict, trying bool, wall time.Duration, v *visit) {
	c.wall.add(wall)
	if v.cpu != nil {
		c.cpu.add(v.cpu.CPU())
	}
	c.verdicts[min(verdict.Action, hook.Drop)].Add(1)
	n := c.answered.Add(1)
	if trying {
		s.gen.breaker.done(s.m.now(), answered)
		s.m.o.Log.Warn("plugin answers again, its circuit breaker is closed", "plugin", s.gen.name, "generation", s.gen.loaded.Generation())
	}
	if n%driftCalls == 0 && s.gen.watched.Load() {
		s.m.drift(s.gen, stage)
	}
}

func (s *seat) failed(c *counters, fault hostapi.Fault, trying bool) {
	c.fail(fault)
	g, now := s.gen, s.m.now()
	log := func(reason string) {
		s.m.o.Log.Error("plugin fails too often: its circuit breaker opens, and its on_error answers without asking it", "plugin", g.name,
			"generation", g.loaded.Generation(), "reason", reason, "last", string(fault), "on_error", s.onError.String(), "tried_again_in", breakerPause)
	}
	switch {
	case trying && blameless(fault):
		g.breaker.done(now, unclear)
	case trying:
		g.breaker.done(now, failed)
		log("the call that tried it failed")
	case !blameless(fault):
		if reason := g.breaker.fail(now, g.calls()); reason != "" {
			log(reason)
			s.m.suspect(g, "its circuit breaker opened: "+reason+", the last one of the kind "+string(fault))
		}
	}
}
