package qmgr

import (
	"container/heap"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/route"
)

const (
	// suspendAfter is how many failures to connect in a row suspend a next hop.
	suspendAfter = 3
	// firstPause and maxPause bound how long it is suspended.
	firstPause = time.Minute
	maxPause   = 10 * time.Minute
	// unproven is how many attempts go to a next hop at first (Postfix:
	// initial_destination_concurrency).
	unproven = 5
	// slowly is the mean time of an attempt from which on a next hop may not take
	// all slots of all.
	slowly = 5 * time.Second
	// maxParked is the share of Options.MaxRefs that may wait for one next hop
	// when memory is getting short, so that a few slow ones leave room for
	// everybody else; of one sender a half may wait.
	maxParked = 16
	// maxPace is the time from one item of a sender to the next that is reckoned
	// with at the most: not all its next hops are slow.
	maxPace = 20 * time.Millisecond
	// steady is how many items of a domain must have been routed alike by
	// plugins before the next is expected to go there too.
	steady = 16
	// maxHabits is how many domains are remembered for that.
	maxHabits = 10_000
	// maxIdleHops is how many next hops are remembered while nothing goes there.
	maxIdleHops = 10_000
	// maxLooks is among how many of them one is looked for that is not in
	// trouble, to forget it first.
	maxLooks = 64
	// maxAwait is how long a worker waits for another next hop of its item.
	maxAwait = 30 * time.Second
)

// hop is the state of a next hop that is in use, or was.
type hop struct {
	key   mail.NextHop // as site makes it
	shape Shape
	most  int  // slots, by its shape
	free  bool // it is no next hop but who waits to be routed: there are no slots

	active int     // slots taken
	window float64 // slots at present, unless the shape is fixed
	thresh float64 // up to which window grows by one for each success
	shrunk time.Time
	meter  meter
	alarm  time.Time // when it is to be looked at again; zero: not
	place  int       // in Manager.alarms

	turns     fifo[*line] // who waits for a slot
	lines     map[*sender]*line
	waiting   int          // in all lines
	listed    int          // lines that call for it
	jumped    bool         // a line goes, or went, before its turn
	urgent    fifo[*entry] // who goes there also if it is suspended
	insisting line         // calls for urgent
	waiters   fifo[*entry] // workers that wait in place
	shut      int          // lines that wait for it to have more of all slots

	proven   bool          // something answered there
	good     bool          // it may take any slot
	took     time.Duration // mean time of an attempt
	failures int           // to connect, in a row
	pause    time.Duration
	until    time.Time   // suspended until then
	culprit  string      // the source from which these were, empty: from no source of a pool
	culprits bool        // there were several
	failed   time.Time   // when the last failed attempt began
	last     mail.Result // of that attempt
	bars     [bars]bar
	lanes    map[string]*lane // by source
	used     time.Time
	pace     pacer
}

// limit is how many slots there are: after a suspension one, to probe.
func (h *hop) limit() int {
	switch {
	case h.failures >= suspendAfter:
		return 1
	case h.shape.Fixed:
		return h.most
	}
	return min(max(int(h.window), 1), h.most)
}

// hopAt returns the state of a next hop. mu is held.
func (m *Manager) hopAt(key mail.NextHop) *hop {
	key = site(key)
	h := m.hops[key]
	if h == nil {
		if len(m.hops) >= maxIdleHops {
			m.forgetHop()
		}
		h = m.newHop(key)
		m.hops[key] = h
	}
	return h
}

func (m *Manager) newHop(key mail.NextHop) *hop {
	now := time.Now()
	h := &hop{key: key, shape: m.opts.Shapes.For(key), used: now, place: -1, pace: pacer{since: now}}
	if h.most = h.shape.Connections; h.most <= 0 {
		h.most = m.opts.AttemptsPerHop
	}
	h.meter = newMeter(h.shape.Rate)
	h.window, h.thresh = float64(min(h.most, unproven)), float64(h.most)
	if local(key) {
		h.window, h.proven, h.good = float64(h.most), true, true
	}
	return h
}

// forgetHop makes room for one more next hop. A plugin that suspends whatever it
// sees must cost neither memory nor time: then one of those is forgotten. mu is
// held.
func (m *Manager) forgetHop() {
	looks, now := 0, time.Now()
	var victim *hop
	for _, h := range m.hops {
		if h.idle() && !h.bars[byOperator].holds(now) {
			if victim = h; !h.troubled(now) {
				break
			}
		}
		if looks++; looks >= maxLooks {
			break // nearly all are in use: upkeep forgets them later
		}
	}
	if victim != nil {
		m.dropHop(victim)
	}
}

func (m *Manager) dropHop(h *hop) {
	delete(m.hops, h.key)
	m.alarmAt(h, time.Time{})
}

// idle tells whether nothing goes there or waits to.
func (h *hop) idle() bool {
	return h.active == 0 && h.waiting == 0 && h.urgent.len() == 0 && h.waiters.len() == 0 && h.listed == 0 && h.shut == 0
}

// troubled tells whether there is more to remember of it than that it works.
func (h *hop) troubled(now time.Time) bool {
	if h.failures > 0 || h.barred(now) != nil || h.meter.full.After(now) || h.window < float64(min(h.most, unproven)) && now.Sub(h.used) < memory {
		return true
	}
	for _, l := range h.lanes {
		if l.failures > 0 || l.holds(now) {
			return true
		}
	}
	return false
}

// habit is where plugins sent the items of a domain lately.
type habit struct {
	key   mail.NextHop
	times int // in a row
}

// usual is where an item of a domain will most likely be routed by plugins. It
// is only used to wait for a slot before they are asked rather than after, and
// only for next hops that work.
func (m *Manager) usual(domain string) (mail.NextHop, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.habits[domain]
	if u.times < steady {
		return mail.NextHop{}, false
	}
	h := m.hops[u.key]
	return u.key, h == nil || h.failures == 0
}

// routed notes where an item of a domain was routed.
func (m *Manager) routed(domain string, groups []route.Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(groups) != 1 || len(groups[0].Hops) == 0 {
		delete(m.habits, domain)
		return
	}
	u, key := m.habits[domain], site(groups[0].Hops[0])
	if u.key != key {
		u = habit{key: key}
	}
	if u.times == 0 && len(m.habits) >= maxHabits {
		clear(m.habits)
	}
	u.times = min(u.times+1, steady)
	m.habits[domain] = u
}

// refusal is why a next hop can take no attempt now, be it suspended or not.
type refusal uint8

const (
	fine     refusal = iota
	full             // all its slots are taken
	squeezed         // it may have no more of all slots
	metered          // its rate is used up
)

// refusal tells whether h can take one more. While more than half of all slots
// are taken, and many of them by next hops that have not answered yet, or not
// lately, or slowly, they get no more, so that room is left for what works and for
// what is new. mu is held.
func (m *Manager) refusal(h *hop, now time.Time) refusal {
	switch {
	case h.free:
		return fine
	case h.active >= h.limit():
		return full
	case !h.good && m.active >= m.opts.Attempts/2 && m.strain >= m.share(h):
		return squeezed
	case h.meter.next().After(now):
		return metered
	}
	return fine
}

// share is how many slots are with such next hops when h, which is one, gets no
// more.
func (m *Manager) share(h *hop) int {
	n := m.opts.Attempts
	switch {
	case h.active > 0: // it has one
		n *= 2
	case h.pace.count == 0: // it may work
		n *= 5
	default:
		n *= 4
	}
	return max((n+7)/8, 2)
}

// grade notes whether a next hop works. mu is held.
func (m *Manager) grade(h *hop) {
	good := h.proven && h.failures == 0 && h.took <= slowly
	if good == h.good {
		return
	}
	h.good = good
	if good {
		m.strain -= h.active
		m.ease(h.active)
	} else {
		m.strain += h.active
	}
}

// ease looks for n of those that could have no more of all slots, and now can.
// mu is held.
func (m *Manager) ease(n int) {
	now := time.Now()
	for looks := maxLooks; looks > 0 && n > 0; {
		s := m.squeezed.pop()
		if s == nil {
			return
		}
		l := s.shut.pop()
		if l == nil {
			s.squeezed = false
			m.forgetSender(s)
			continue
		}
		m.squeezed.push(s)
		l.shut = false
		l.hop.shut--
		m.tend(l.hop, now)
		if l.hop.listed > 0 {
			n--
		}
		if l.shut { // only those that can have no more yet count: all others are out of the way
			looks--
		}
	}
}

// shut notes who waits for h to have more of all slots: senders take turns there
// too. mu is held.
func (m *Manager) shut(h *hop) {
	add := func(l *line) {
		l.shut = true
		h.shut++
		l.sender.shut.push(l)
		if !l.sender.squeezed {
			l.sender.squeezed = true
			m.squeezed.push(l.sender)
		}
	}
	if l := &h.insisting; !l.shut && h.urgent.len()+h.waiters.len() > 0 {
		if l.hop = h; !l.listed {
			l.sender = m.self
		}
		add(l)
	}
	for i := 0; i < h.turns.len() && h.shut < maxListed; i++ {
		if l := h.turns.at(i); !l.shut {
			add(l)
		}
	}
}

// seize gives e a slot of h. mu is held.
func (m *Manager) seize(h *hop, e *entry, now time.Time) {
	if h.free {
		return
	}
	h.active++
	h.used = now
	if !h.good {
		m.strain++
	}
	h.meter.take(now)
	if h.meter.gap >= saveEvery {
		m.dirty = true
	}
	e.hop, e.unsent, e.seized = h, true, now
}

// release gives back the slot that e holds, if any, and what nothing was sent
// for. mu is held.
func (m *Manager) release(e *entry) {
	h := e.hop
	if h == nil {
		return
	}
	e.hop = nil
	if h.active--; e.unsent {
		h.meter.giveBack(e.seized)
	}
	if !h.good {
		m.strain--
	}
	if !h.good || m.active <= m.opts.Attempts/2 {
		m.ease(1) // before h: it is their turn
	}
	m.advance(h)
}

// alarmAt has the loop look at h at a time; zero: not any more. mu is held.
func (m *Manager) alarmAt(h *hop, t time.Time) {
	if h.alarm.Equal(t) {
		return
	}
	h.alarm = t
	switch {
	case t.IsZero() && h.place >= 0:
		heap.Remove(&m.alarms, h.place)
	case t.IsZero():
	case h.place >= 0:
		heap.Fix(&m.alarms, h.place)
	default:
		heap.Push(&m.alarms, h)
	}
	if len(m.alarms) > 0 && m.alarms[0] == h {
		m.poke()
	}
}

// ringAlarms looks at the next hops whose time has come, and returns that of the next;
// zero: there is none.
func (m *Manager) ringAlarms(now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.alarms) > 0 {
		h := m.alarms[0]
		if h.alarm.After(now) {
			return h.alarm
		}
		m.alarmAt(h, time.Time{})
		m.advance(h)
	}
	return time.Time{}
}

// alarms is a heap of next hops by the time at which to look at them.
type alarms []*hop

func (q alarms) Len() int           { return len(q) }
func (q alarms) Less(i, j int) bool { return q[i].alarm.Before(q[j].alarm) }
func (q alarms) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *alarms) Push(x any) {
	h := x.(*hop)
	h.place = len(*q)
	*q = append(*q, h)
}
func (q *alarms) Pop() any {
	old := *q
	h := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	h.place = -1
	return h
}
