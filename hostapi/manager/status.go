package manager

import (
	"slices"
	"strings"
	"time"
)

// State is whether a configured plugin answers.
type State string

const (
	Active State = "active"
	Failed State = "failed" // a placeholder fails in its stead
)

// Status is one configured plugin as it stands.
type Status struct {
	Name       string     `json:"name"`
	Module     string     `json:"module"`
	State      State      `json:"state"`
	Hash       string     `json:"sha256,omitempty"`
	Generation string     `json:"generation,omitempty"`
	Hooks      []string   `json:"hooks,omitempty"`
	Since      time.Time  `json:"since,omitzero"`
	Sessions   int        `json:"sessions"`             // sessions and deliveries that hold this generation
	Draining   []Draining `json:"draining,omitempty"`   // replaced generations that are still held, oldest first
	LastError  string     `json:"last_error,omitempty"` // why the last change was refused
	ErrorTime  time.Time  `json:"error_time,omitzero"`
}

// Draining is a replaced generation that is still held.
type Draining struct {
	Generation string `json:"generation"`
	Hash       string `json:"sha256"`
	Sessions   int    `json:"sessions"`
}

// List tells how the plugins stand, in their order.
func (m *Manager) List() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Status, 0, len(m.entries))
	for _, e := range m.entries {
		s := Status{Name: e.spec.Name, Module: e.spec.Module, State: Failed}
		if e.err != nil {
			s.LastError, s.ErrorTime = e.err.Error(), e.errTime
		}
		if g := e.gen; g != nil {
			s.State = Active
			s.Hash, s.Generation, s.Since = g.loaded.Hash(), g.loaded.Generation(), g.since
			s.Hooks = strings.Fields(g.loaded.Stages().String())
			s.Sessions = m.holdersLocked(g)
		}
		var seen []*generation
		for _, set := range m.sets {
			for _, g := range set.members {
				if g.name != e.spec.Name || g == e.gen || slices.Contains(seen, g) {
					continue
				}
				seen = append(seen, g)
				s.Draining = append(s.Draining, Draining{g.loaded.Generation(), g.loaded.Hash(), m.holdersLocked(g)})
			}
		}
		list = append(list, s)
	}
	return list
}

func (m *Manager) holders(g *generation) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holdersLocked(g)
}

func (m *Manager) holdersLocked(g *generation) int {
	current := m.current.Load()
	n := 0
	for _, s := range m.sets {
		if slices.Contains(s.members, g) {
			n += int(s.refs.Load())
			if s == current {
				n--
			}
		}
	}
	return n
}
