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

	breaker  breaker
	counters [hook.Tick + 1]counters
	told     atomic.Bool // the log says that its hook tick and its interval do not fit
	watched  atomic.Bool // it has not outlived its bake time, and may be rolled back

	// Manager.mu guards what follows.
	since     time.Time   // in force
	before    *generation // that it followed; nil: none that is kept
	kept      bool        // by its entry
	withdrawn string      // why it was rolled back; empty: it was not
	sets      int         // sets that contain it and are current or held
	warn      *time.Timer // set when it left the chain
	hard      *time.Timer
	overdue   bool // it left the chain DrainHard ago

	closing sync.Once
}

func newGeneration(name string, loaded Loaded, key [32]byte) *generation {
	g := &generation{name: name, loaded: loaded, key: key}
	g.breaker.slot.Store(-1 << 62)
	return g
}

func (g *generation) close() { g.closing.Do(g.loaded.Close) }

// retire starts the clocks of a generation that left the chain. Manager.mu is
// held.
func (g *generation) retire(m *Manager) {
	g.warn = time.AfterFunc(m.o.DrainTimeout, func() {
		if n := m.recall(g); n > 0 {
			m.o.Log.Warn("a replaced plugin is still in use; sessions change to the new one with their next transaction", "plugin", g.name,
				"generation", g.loaded.Generation(), "sessions", n, "closes_in", m.o.DrainHard-m.o.DrainTimeout)
		}
	})
	g.hard = time.AfterFunc(m.o.DrainHard, func() { m.expire(g) })
}

// recall asks those who hold on to a generation for it back, and tells how many
// they are.
func (m *Manager) recall(g *generation) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	current := m.current.Load()
	if slices.Contains(current.members, g) {
		return 0 // it came back while the clock rang
	}
	for _, s := range m.sets {
		if s != current && slices.Contains(s.members, g) && !s.overdue {
			s.overdue = true
			m.recalled.Add(1)
		}
	}
	return m.holders(g)
}

// Overdue tells whether a chain that was acquired was replaced so long ago that
// it is wanted back; see [hook.Drainer].
func (m *Manager) Overdue(chain hook.Chain) bool {
	if m.recalled.Load() == 0 || len(chain) == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.sets, func(s *set) bool { return s.overdue && &s.chain[0] == &chain[0] })
}

// expire ends the use of a generation by those who hold on to it. One that is
// kept for a roll-back stays open.
func (m *Manager) expire(g *generation) {
	m.mu.Lock()
	current, n := m.current.Load(), m.holders(g)
	if g.overdue || slices.Contains(current.members, g) {
		m.mu.Unlock() // it came back while the clock rang
		return
	}
	g.overdue = true
	for _, s := range m.sets {
		for i, member := range s.members {
			if member == g {
				s.seats[i].expired.Store(true)
			}
		}
	}
	kept := g.kept
	m.mu.Unlock()
	if n > 0 {
		m.o.Log.Warn("closing a replaced plugin that is still in use: its sessions get its on_error from now on", "plugin", g.name,
			"generation", g.loaded.Generation(), "sessions", n)
	}
	if !kept {
		g.close()
	}
}

// rest stops the clocks of a generation that came back or has gone. Manager.mu
// is held.
func (g *generation) rest() {
	if g.hard != nil {
		g.warn.Stop()
		g.hard.Stop()
		g.warn, g.hard, g.overdue = nil, nil, false
	}
}

// set is one immutable chain with its holders.
type set struct {
	m       *Manager
	chain   hook.Chain
	members []*generation
	seats   []*seat      // of members
	refs    atomic.Int64 // holders, and one more while it is current
	overdue bool         // its holders shall give it back; guarded by Manager.mu
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
			if wish, ok := e.gen.loaded.OnError(); ok && !e.spec.OnErrorGiven {
				p.OnError = wish
			}
			seat := &seat{m: m, gen: e.gen, onError: p.OnError}
			p.Generation, p.Module = e.gen.loaded.Generation(), e.gen.loaded.Hash()
			p.Stages = e.gen.loaded.Stages()
			p.Handler = seat
			s.members = append(s.members, e.gen)
			s.seats = append(s.seats, seat)
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
	if s.overdue {
		s.m.recalled.Add(-1)
	}
	for _, g := range s.members {
		if g.sets--; g.sets == 0 {
			g.rest()
			if !g.kept {
				idle = append(idle, g)
			}
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
