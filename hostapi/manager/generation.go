package manager

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

// generation is one loaded plugin. It may be a member of several sets, one
// after another, while its bytes and configuration stay the same.
type generation struct {
	name   string
	loaded Loaded
	key    [32]byte // of what made it: module, configuration, grant, limits
	since  time.Time

	sets    int         // sets that contain it and are current or held; Manager.mu
	warn    *time.Timer // set when it left the chain; Manager.mu
	hard    *time.Timer
	closing sync.Once
}

func (g *generation) close() { g.closing.Do(g.loaded.Close) }

// retire starts the clocks of a generation that left the chain. Manager.mu is
// held.
func (g *generation) retire(m *Manager) {
	g.warn = time.AfterFunc(m.o.DrainTimeout, func() {
		m.o.Log.Warn("a replaced plugin is still in use", "plugin", g.name,
			"generation", g.loaded.Generation(), "sessions", m.holders(g), "closes_in", m.o.DrainHard-m.o.DrainTimeout)
	})
	g.hard = time.AfterFunc(m.o.DrainHard, func() {
		m.o.Log.Warn("closing a replaced plugin that is still in use: its sessions get its on_error from now on", "plugin", g.name,
			"generation", g.loaded.Generation(), "sessions", m.holders(g))
		g.close()
	})
}

func (g *generation) stopTimers() {
	if g.hard != nil {
		g.warn.Stop()
		g.hard.Stop()
	}
}

// set is one immutable chain with its holders.
type set struct {
	m       *Manager
	chain   hook.Chain
	members []*generation
	refs    atomic.Int64 // holders, and one more while it is current
}

func newSet(m *Manager, entries []entry) *set {
	s := &set{m: m}
	s.refs.Store(1)
	for _, e := range entries {
		p := hook.Plugin{Name: e.spec.Name, Listeners: e.spec.Listeners, OnError: e.spec.OnError}
		if e.gen == nil {
			p.Generation = "none"
			p.Stages = hook.Stages(hook.Mail, hook.Rcpt, hook.Route)
			p.Handler = placeholder{e.err}
		} else {
			p.Generation = e.gen.loaded.Generation()
			p.Stages = e.gen.loaded.Stages()
			p.Handler = e.gen.loaded
			s.members = append(s.members, e.gen)
		}
		s.chain = append(s.chain, p)
	}
	return s
}

// hold adds a holder, unless the last one has gone: what is closing stays
// closed.
func (s *set) hold() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *set) release() {
	if s.refs.Add(-1) > 0 {
		return
	}
	var idle []*generation
	s.m.mu.Lock()
	s.m.sets = slices.DeleteFunc(s.m.sets, func(o *set) bool { return o == s })
	for _, g := range s.members {
		if g.sets--; g.sets == 0 {
			g.stopTimers()
			idle = append(idle, g)
		}
	}
	s.m.mu.Unlock()
	for _, g := range idle {
		g.close()
	}
}

// placeholder stands for a plugin that is configured and not there.
type placeholder struct{ err error }

// Handle fails, so that the plugin's on_error decides.
func (p placeholder) Handle(context.Context, *hook.Event) (hook.Verdict, error) {
	return hook.Verdict{}, p.err
}
