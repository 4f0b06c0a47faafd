package qmgr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// bar is a suspension that does not come from what could be reached.
type bar struct {
	until   time.Time
	forever bool
	why     string // for the operator
}

func (b *bar) holds(now time.Time) bool { return b.forever || now.Before(b.until) }

// Who can suspend a next hop.
const (
	byOperator = iota
	byPlugin
	byRule
	bars // how many these are
)

const (
	// maxSuspended is how many next hops the operator can suspend.
	maxSuspended = 1000
	// maxByOperator is how long, unless it is for ever.
	maxByOperator = 366 * 24 * time.Hour
)

// barred is the suspension that lasts longest, of those that hold; nil: none.
func (h *hop) barred(now time.Time) (b *bar) {
	if h.shape.Suspended {
		return &bar{forever: true, why: "by the configuration"}
	}
	for i := range h.bars {
		if c := &h.bars[i]; c.holds(now) && (b == nil || c.forever || !b.forever && c.until.After(b.until)) {
			b = c
		}
	}
	return b
}

// suspended tells whether nothing but a probe goes to a next hop.
func (h *hop) suspended(now time.Time) bool { return now.Before(h.until) || h.barred(now) != nil }

// suspend keeps everything from a next hop until a time, as a plugin wants.
// The last word counts.
func (m *Manager) suspend(key mail.NextHop, until time.Time) {
	now := time.Now()
	until = within(until, now, hook.MaxSuspend)
	m.mu.Lock()
	h := m.hopAt(key)
	h.bars[byPlugin] = bar{until: until, why: "by a plugin"}
	m.dirty = true
	m.advance(h)
	m.mu.Unlock()
	if until.After(now) {
		m.log.Warn("next hop suspended by a plugin", "nexthop", key.String(), "seconds", int(until.Sub(now).Seconds()))
	} else {
		m.log.Info("a plugin wants a next hop no longer suspended", "nexthop", key.String())
	}
}

// SuspendHop keeps everything from a next hop for a time, 0: until ResumeHop.
// Mail for it stays in the queue and is tried again by the retry schedule; it
// expires as if the next hop could not be reached. Attempts under way go on. It
// holds over a restart if Options.State is set and nil was returned.
func (m *Manager) SuspendHop(key mail.NextHop, d time.Duration, why string) error {
	now := time.Now()
	m.mu.Lock()
	n := 0
	for _, h := range m.hops {
		if h.bars[byOperator].holds(now) && h.key != site(key) {
			n++
		}
	}
	if n >= maxSuspended {
		m.mu.Unlock()
		return fmt.Errorf("qmgr: %d next hops are suspended already; write a [[shape]] with suspended = true", n)
	}
	h := m.hopAt(key)
	h.bars[byOperator] = bar{until: now.Add(d), forever: d <= 0, why: cmp.Or(mail.Printable(why), "by the operator")}
	m.advance(h)
	m.mu.Unlock()
	m.log.Info("operator", "operator", "suspend", "nexthop", h.key.String(), "seconds", int(d.Seconds()), "reason", mail.Printable(why))
	return m.save()
}

// ErrConfigured is returned for a next hop that the configuration suspends.
var ErrConfigured = errors.New("qmgr: the next hop is suspended by the configuration")

// ResumeHop lifts every suspension of a next hop, of its sources too, whatever
// the reason, and attempts the items whose last attempt was for it, or that are
// pinned to it, as slots allow; n is how many these are. ErrConfigured.
func (m *Manager) ResumeHop(ctx context.Context, key mail.NextHop) (n int, err error) {
	key = site(key)
	m.mu.Lock()
	if m.opts.Shapes.For(key).Suspended {
		m.mu.Unlock()
		return 0, ErrConfigured
	}
	m.resumes++
	if h := m.hops[key]; h != nil {
		h.bars, h.lanes = [bars]bar{}, nil
		h.failures, h.pause, h.until = 0, 0, time.Time{}
		m.grade(h)
		m.advance(h)
	}
	m.mu.Unlock()
	err = m.save()
	held := false
	f := queue.Filter{NextHop: key.String(), Held: &held}
	for stop := error(nil); stop == nil; {
		page := make([]queue.Ref, 0, scanPage)
		listed := m.opts.Store.List(ctx, f, func(it queue.Item, bad error) bool {
			if bad == nil {
				page = append(page, it.Ref)
			}
			f.After = it.Ref
			return len(page) < scanPage
		})
		for _, ref := range page {
			if stop = m.waitRoom(ctx, m.opts.MaxRefs/2); stop != nil {
				break
			}
			m.hasten(ref, false)
			n++
		}
		if err = errors.Join(err, listed, stop); listed != nil || len(page) < scanPage {
			break
		}
	}
	m.log.Info("operator", "operator", "resume", "nexthop", key.String(), "items", n)
	return n, err
}

// resumed has an item attempted again, and ends the work on it, if a suspension was
// lifted while it was put off because of one: ResumeHop may not have seen it.
func (m *Manager) resumed(e *entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.saw == m.resumes {
		return false
	}
	m.release(e)
	m.forget(e)
	m.add(&entry{ref: e.ref, early: true}, &m.handed)
	return true
}

// HopStatus is the state of a next hop that is in use or in trouble.
type HopStatus struct {
	NextHop  mail.NextHop
	Active   int
	Parked   int // waiting for a slot
	Limit    int // attempts at once, at present
	Most     int // and at the most
	Rate     Rate
	Waits    time.Time // nothing is handed over before then, because of Rate; zero: it may
	Failures int       // in a row, to connect

	Suspended time.Time // until then; zero: it is not, unless Forever
	Forever   bool      // it is suspended until somebody resumes it
	Why       string
	Sources   []SourceStatus // those of a pool that are passed over
}

// SourceStatus is a source that is passed over for a next hop.
type SourceStatus struct {
	Name  string
	Until time.Time
	Why   string
}

func (m *Manager) status(h *hop, now time.Time) HopStatus {
	s := HopStatus{NextHop: h.key, Active: h.active, Parked: h.waiting + h.urgent.len() + h.waiters.len(), Limit: h.limit(), Most: h.most, Rate: h.shape.Rate, Failures: h.failures}
	if t := h.meter.next(); t.After(now) {
		s.Waits = t
	}
	if now.Before(h.until) {
		s.Suspended, s.Why = h.until, h.last.Reply.String()
		if h.last.Reply.Code == 0 {
			s.Why = "it could not be reached"
		}
	}
	if b := h.barred(now); b != nil && (b.forever || b.until.After(s.Suspended)) {
		s.Suspended, s.Forever, s.Why = b.until, b.forever, b.why
		if b.forever {
			s.Suspended = time.Time{}
		}
	}
	for name, l := range h.lanes {
		if l.holds(now) {
			s.Sources = append(s.Sources, SourceStatus{name, l.until, l.why})
		}
	}
	slices.SortFunc(s.Sources, func(a, b SourceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// Hops lists the next hops that are in use or in trouble, by name. Those that
// the configuration suspends are there when mail was for them lately.
func (m *Manager) Hops() []HopStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var list []HopStatus
	for _, h := range m.hops {
		if !h.idle() || h.troubled(now) {
			list = append(list, m.status(h, now))
		}
	}
	slices.SortFunc(list, func(a, b HopStatus) int { return cmp.Compare(a.NextHop.String(), b.NextHop.String()) })
	return list
}

// Figures are counts for the metrics.
type Figures struct {
	Active    int    // attempts in flight, routing included
	Ready     int    // items that are due, of which nobody knows where they go yet
	Parked    int    // items that wait for their next hop
	Metered   int    // of these, because of its rate
	Suspended int    // next hops
	Deferred  uint64 // recipients put off since the start because a next hop, or all sources for it, were suspended
	Moved     uint64 // times that an item was put off because too many waited
}

// Figures counts.
func (m *Manager) Figures() Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	f := Figures{Active: m.active, Ready: m.handed.len() + m.scanned.len(), Parked: m.unrouted.waiting, Deferred: m.deferred, Moved: m.moved}
	for _, h := range m.hops {
		n := h.waiting + h.urgent.len()
		f.Parked += n
		if h.suspended(now) {
			f.Suspended++
		} else if h.active < h.limit() && h.meter.next().After(now) {
			f.Metered += n
		}
	}
	return f
}
