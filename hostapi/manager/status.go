package manager

import (
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/manifest"
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

	Generations []Generation `json:"generations,omitempty"` // those that are kept, the last one put in force last
}

// Generation is one generation of a plugin that is kept ready.
type Generation struct {
	Generation string         `json:"generation"`
	Hash       string         `json:"sha256"`
	InForce    bool           `json:"in_force,omitempty"`
	Since      time.Time      `json:"since"`                 // when it was put in force, for the last time
	Grant      []string       `json:"grant"`                 // lines of [plugin.grant]
	Breaker    string         `json:"breaker"`               // closed | open | trying
	Trouble    string         `json:"trouble,omitempty"`     // why the breaker is not closed
	RolledBack string         `json:"rolled_back,omitempty"` // why
	Hooks      []hook.Figures `json:"hooks"`
}

// status is g for the list. Manager.mu is held.
func (g *generation) status() Generation {
	state, reason := g.breaker.status()
	return Generation{
		Generation: g.loaded.Generation(), Hash: g.loaded.Hash(), Since: g.since, Grant: append([]string{}, manifest.Lines(g.loaded.Grant())...),
		Breaker: state.String(), Trouble: reason, RolledBack: g.withdrawn, Hooks: g.figures(),
	}
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
			s.Sessions = m.holders(g)
		}
		for _, g := range e.kept {
			status := g.status()
			status.InForce = g == e.gen
			s.Generations = append(s.Generations, status)
		}
		var seen []*generation
		for _, set := range m.sets {
			for _, g := range set.members {
				if g.name != e.spec.Name || g == e.gen || slices.Contains(seen, g) {
					continue
				}
				seen = append(seen, g)
				s.Draining = append(s.Draining, Draining{g.loaded.Generation(), g.loaded.Hash(), m.holders(g)})
			}
		}
		list = append(list, s)
	}
	return list
}

func (m *Manager) holders(g *generation) int {
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
