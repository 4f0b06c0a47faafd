package manager

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

// Kept is how many generations of each plugin are kept ready, the one in force
// included.
const Kept = 3

// The rules of the automatic roll-back for verdicts.
const (
	driftCalls  = 50   // of a hook, answered by each generation, before they are compared; and again after as many
	driftSigma  = 3    // standard errors
	driftPoints = 0.10 // of share
)

// Rollback puts an earlier generation of a plugin in force, which needs no
// compiling. An empty id is the one before; otherwise it is the beginning of the
// id of one that is kept. What was in force is kept too, and does not come back
// by itself: not until it is loaded by name, or something in it changes.
func (m *Manager) Rollback(ctx context.Context, name, id string) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	next := m.snapshot()
	i := slices.IndexFunc(next, func(e entry) bool { return e.spec.Name == name })
	if i < 0 {
		return noPlugin(name, next)
	}
	e := &next[i]
	fail := func(format string, args ...any) error {
		return &Error{Plugin: name, Step: "roll back", Err: fmt.Errorf(format, args...)}
	}
	to := e.predecessor()
	if id != "" {
		found := make(map[string]*generation) // two of the same id do the same
		for _, g := range e.kept {
			if full := g.loaded.Generation(); strings.HasPrefix(full, id) {
				found[full], to = g, g
			}
		}
		if len(found) != 1 {
			return fail("%d of the generations that are kept begin with %q; there are %s", len(found), id, e.generations())
		}
	}
	switch {
	case to == nil:
		return fail("there is no generation before the one in force; there are %s", e.generations())
	case to == e.gen:
		return fail("the generation %s is in force already", to.loaded.Generation())
	}
	m.putBack(ctx, next, i, to, "")
	return nil
}

// predecessor is the generation before the one in force, those that were rolled
// back left out; nil: none.
func (e *entry) predecessor() *generation {
	at := slices.Index(e.kept, e.gen)
	if at < 0 {
		at = len(e.kept)
	}
	for _, g := range slices.Backward(e.kept[:at]) {
		if !g.rolledBack() {
			return g
		}
	}
	return nil
}

func (e *entry) generations() string {
	list := make([]string, len(e.kept))
	for i, g := range e.kept {
		list[i] = g.loaded.Generation()
		if g == e.gen {
			list[i] += " (in force)"
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// putBack puts a kept generation in force. why is empty if somebody asked for
// it. The caller has the lock.
func (m *Manager) putBack(ctx context.Context, next []entry, i int, to *generation, why string) {
	e := &next[i]
	from := e.gen
	e.gen = to
	reason := why
	if reason == "" {
		reason = "asked for by " + actor(ctx)
	}
	m.mu.Lock()
	to.withdrawn = ""
	if from != nil {
		from.withdrawn = reason
	}
	m.mu.Unlock()
	m.commit(next)
	to.watched.Store(false) // it is known: who asked for it, or an earlier time, vouches for it
	was := "none"
	if from != nil {
		was = from.loaded.Generation()
	}
	args := []any{"plugin", e.spec.Name, "generation", to.loaded.Generation(), "sha256", to.loaded.Hash(), "instead_of", was,
		"grant", grantString(to.loaded.Grant()), "reason", reason, "by", actor(ctx)}
	if why == "" {
		m.o.Log.Info("plugin is rolled back", args...)
		return
	}
	m.o.Log.Error("plugin is rolled back", append(args, "back", "wasmta plugin rollback "+e.spec.Name+" "+was)...)
}

// suspect rolls a generation back, if it is young and follows another. It does
// not wait for that: it is called from sessions.
func (m *Manager) suspect(g *generation, why string) {
	m.mu.Lock()
	young := g.before != nil && time.Since(g.since) < m.o.Bake
	m.mu.Unlock()
	if !young {
		g.watched.Store(false)
		return
	}
	if g.watched.Swap(false) {
		go m.withdraw(g, why)
	}
}

func (m *Manager) withdraw(g *generation, why string) {
	ctx := By(context.Background(), "automatic roll-back")
	unlock, err := m.lock(ctx)
	if err != nil {
		return // the manager is closed
	}
	defer unlock()
	next := m.snapshot()
	i := slices.IndexFunc(next, func(e entry) bool { return e.gen == g })
	if i < 0 {
		return // replaced meanwhile
	}
	if to := next[i].predecessor(); to != nil {
		m.putBack(ctx, next, i, to, why)
	}
}

// drift compares the verdicts of a young generation at one hook with those of
// the one that it follows. Of n calls that either answered, k refused or threw
// away (reject, defer, discard, drop):
//
//	p1 = k1/n1, p0 = k0/n0, p = (k1+k0)/(n1+n0)
//	sigma = sqrt(p (1-p) (1/n1 + 1/n0))
//
// It is rolled back when n1 and n0 are 50 at least, |p1-p0| > 3 sigma and
// |p1-p0| > 0.10. A plugin that suddenly rejects all mail never fails.
func (m *Manager) drift(g *generation, stage hook.Stage) {
	m.mu.Lock()
	before, young := g.before, time.Since(g.since) < m.o.Bake
	m.mu.Unlock()
	if before == nil || !young {
		g.watched.Store(false)
		return
	}
	share := func(g *generation) (k, n float64) {
		c := &g.counters[stage]
		n = float64(c.answered.Load())
		return min(float64(c.refused()), n), n
	}
	k1, n1 := share(g)
	k0, n0 := share(before)
	if n1 < driftCalls || n0 < driftCalls {
		return
	}
	p1, p0, p := k1/n1, k0/n0, (k1+k0)/(n1+n0)
	sigma := math.Sqrt(p * (1 - p) * (1/n1 + 1/n0))
	if d := math.Abs(p1 - p0); d > driftSigma*sigma && d > driftPoints {
		m.suspect(g, fmt.Sprintf("at %s it refuses %.0f %% of %.0f calls, generation %s refused %.0f %% of %.0f",
			stage, 100*p1, n1, before.loaded.Generation(), 100*p0, n0))
	}
}

// keep adds a generation to those that are kept, as the last one, and drops
// what is too much: first what was rolled back, then what is oldest.
func keep(list []*generation, g *generation) []*generation {
	list = append(slices.DeleteFunc(slices.Clone(list), func(o *generation) bool { return o == g }), g)
	for len(list) > Kept {
		i := slices.IndexFunc(list[:len(list)-1], (*generation).rolledBack)
		list = slices.Delete(list, max(i, 0), max(i, 0)+1)
	}
	return list
}

// rolledBack tells whether it was; only who may change plugins changes that.
func (g *generation) rolledBack() bool { return g.withdrawn != "" }
