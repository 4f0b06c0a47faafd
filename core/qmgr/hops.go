package qmgr

import (
	"container/heap"
	"context"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/route"
)

const (
	// suspendAfter is how many failures to connect in a row suspend a next hop.
	suspendAfter = 3
	// firstPause and maxPause bound how long it is suspended.
	firstPause = time.Minute
	maxPause   = 10 * time.Minute
	// unproven is how many attempts go to a next hop before one of them was
	// answered, when more than half of all are taken (Postfix:
	// initial_destination_concurrency).
	unproven = 5
	// maxParked is the share of Options.MaxRefs that may wait for one next hop
	// when memory is getting short, so that a few slow ones leave room for
	// everybody else.
	maxParked = 16
	// steady is how many items of a domain must have been routed alike by
	// plugins before the next is expected to go there too.
	steady = 16
	// maxHabits is how many domains are remembered for that.
	maxHabits = 10_000
	// maxIdleHops is how many next hops are remembered for their failures, or
	// because a plugin suspended them, only.
	maxIdleHops = 10_000
	// maxLooks is among how many of them one is looked for that is not suspended
	// by a plugin, to forget it first.
	maxLooks = 64
)

// hop is the state of a next hop that is in use or in trouble.
type hop struct {
	key      mail.NextHop
	active   int      // slots taken
	queue    hopQueue // who waits for one
	proven   bool     // something answered there
	failures int      // to connect, in a row
	pause    time.Duration
	until    time.Time   // suspended until then
	failed   time.Time   // when the last failed attempt began
	last     mail.Result // of that attempt
	paused   time.Time   // suspended by a plugin until then
	count    int         // attempts that ended ...
	since    time.Time   // ... since then, for the pace
	turn     time.Time   // of the last item that was told to come back later
}

func (h *hop) suspended(now time.Time) bool { return now.Before(h.until) || now.Before(h.paused) }

// pace is the time from the end of one attempt to the next, roughly. Attempts
// under way count as if they ended now: those that began together end together,
// and between the first and the last of them it would look many times too long.
func (h *hop) pace(now time.Time) time.Duration {
	least := time.Millisecond
	if h.count == 0 {
		least = 10 * time.Millisecond // nothing is known yet
	}
	return max(now.Sub(h.since)/time.Duration(max(h.count+h.active, 1)), least)
}

// later is how long an item shall stay away because the queue is full: until
// its turn is to be expected, in the order of asking and somewhat early, so
// that the queue does not run empty.
func (h *hop) later(now time.Time) time.Duration {
	pace := h.pace(now) * 8 / 10
	if free := now.Add(time.Duration(len(h.queue)/2) * pace); h.turn.Before(free) {
		h.turn = free
	}
	if h.turn = h.turn.Add(pace); h.turn.Sub(now) > maxPause {
		h.turn = now.Add(maxPause)
	}
	return max(h.turn.Sub(now), time.Second)
}

// limit is how many slots there are: after a suspension one, to probe, and few
// before anything has answered while attempts are short, so that many next hops
// that let us wait do not take them all.
func (h *hop) limit(m *Manager) int {
	switch {
	case h.failures >= suspendAfter:
		return 1
	case !h.proven && m.active > m.opts.Attempts/2:
		return min(m.opts.AttemptsPerHop, unproven)
	}
	return m.opts.AttemptsPerHop
}

// hopAt returns the state of a next hop. mu is held.
func (m *Manager) hopAt(key mail.NextHop) *hop {
	h := m.hops[key]
	if h == nil {
		if len(m.hops) >= maxIdleHops {
			m.forgetHop()
		}
		h = &hop{key: key, since: time.Now()}
		m.hops[key] = h
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
		if h.active == 0 && len(h.queue) == 0 {
			if victim = h; !now.Before(h.paused) {
				break
			}
		}
		if looks++; looks >= maxLooks && victim != nil {
			break
		}
	}
	if victim != nil {
		delete(m.hops, victim.key)
	}
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
	u, key := m.habits[domain], groups[0].Hops[0]
	if u.key != key {
		u = habit{key: key}
	}
	if u.times == 0 && len(m.habits) >= maxHabits {
		clear(m.habits)
	}
	u.times = min(u.times+1, steady)
	m.habits[domain] = u
}

// admission is the answer to who wants a slot.
type admission uint8

const (
	granted   admission = iota // the entry holds a slot
	suspended                  // the next hop is suspended
	waiting                    // the entry was parked; it is no longer the caller's
	crowded                    // too many are parked: come back later
)

// admit asks for a slot of a next hop for e, which a worker has. If none is
// free, e is parked.
func (m *Manager) admit(e *entry, key mail.NextHop) (admission, *hop, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.hop != nil && e.hop.key == key {
		return granted, e.hop, 0
	}
	m.release(e)
	h := m.hopAt(key)
	now := time.Now()
	switch {
	case h.suspended(now) && !e.insist:
		return suspended, h, 0
	case h.active < h.limit(m):
		h.active++
		e.hop = h
		return granted, h, 0
	case len(h.queue) >= max(m.opts.MaxRefs/maxParked, 1) && len(m.known) >= m.opts.MaxRefs/4:
		return crowded, h, h.later(now)
	}
	e.state = parked
	m.active--
	h.push(m, e)
	return waiting, h, 0
}

// await asks for a slot for e and waits for it in place. It is for an item
// with several next hops of which some have been attempted already.
func (m *Manager) await(ctx context.Context, e *entry, key mail.NextHop) (admission, *hop) {
	m.mu.Lock()
	m.release(e)
	h := m.hopAt(key)
	if h.suspended(time.Now()) && !e.insist {
		m.mu.Unlock()
		return suspended, h
	}
	if h.active < h.limit(m) {
		h.active++
		e.hop = h
		m.mu.Unlock()
		return granted, h
	}
	w := &entry{state: parked, wait: make(chan bool, 1)}
	h.push(m, w)
	m.mu.Unlock()
	select {
	case ok := <-w.wait:
		if !ok {
			return suspended, h
		}
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		if w.state == parked {
			w.state = gone
			return suspended, h
		}
		if !<-w.wait {
			return suspended, h
		}
		e.hop = h
		return granted, h
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.hop = h
	return granted, h
}

// release gives back the slot that e holds, if any. mu is held.
func (m *Manager) release(e *entry) {
	if h := e.hop; h != nil {
		e.hop = nil
		h.active--
		m.advance(h)
	}
}

// reached records how an attempt at a next hop ended: ok tells that something
// answered there, dead that nothing could be reached.
func (m *Manager) reached(h *hop, ok, dead bool, began time.Time, last mail.Result) {
	if pause := m.judge(h, ok, dead, began, last); pause > 0 {
		m.log.Warn("next hop suspended: it cannot be reached", "nexthop", h.key.String(), "seconds", int(pause.Seconds()), "reason", last.Reply.String())
	}
}

// judge is reached without the log; pause is how long the next hop is suspended
// from now on, zero if that does not change.
func (m *Manager) judge(h *hop, ok, dead bool, began time.Time, last mail.Result) (pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if h.count++; h.count >= 128 { // forget slowly
		h.since, h.count = h.since.Add(now.Sub(h.since)/2), h.count/2
	}
	switch {
	case ok:
		h.proven = true
		h.failures, h.pause, h.until = 0, 0, time.Time{}
	case dead:
		h.failures++
		h.failed, h.last = began, last
		if h.failures < suspendAfter || now.Before(h.until) {
			return 0 // those that were under way when it was suspended say nothing new
		}
		h.pause = min(max(2*h.pause, firstPause), maxPause)
		h.until = now.Add(h.pause)
		return h.pause
	}
	return 0
}

// suspend keeps everything from a next hop until a time, as a plugin wants.
// The last word counts.
func (m *Manager) suspend(key mail.NextHop, until time.Time) {
	now := time.Now()
	until = earlier(until, now.Add(hook.MaxSuspend))
	m.mu.Lock()
	h := m.hopAt(key)
	h.paused = until
	m.advance(h)
	m.mu.Unlock()
	if until.After(now) {
		m.log.Warn("next hop suspended by a plugin", "nexthop", key.String(), "seconds", int(until.Sub(now).Seconds()))
	} else {
		m.log.Info("a plugin wants a next hop no longer suspended", "nexthop", key.String())
	}
}

// paused is until when a plugin suspended a next hop; zero: it did not.
func (m *Manager) paused(key mail.NextHop) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.hops[key]; h != nil && time.Now().Before(h.paused) {
		return h.paused
	}
	return time.Time{}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// advance gives free slots to who waits, or sends all away if the next hop is
// suspended. mu is held.
func (m *Manager) advance(h *hop) {
	dead := h.suspended(time.Now())
	for len(h.queue) > 0 && (dead || h.active < h.limit(m)) {
		e := heap.Pop(&h.queue).(*entry)
		if e.state != parked || m.stopping && e.wait == nil {
			continue
		}
		if !dead {
			h.active++
		}
		if e.wait != nil {
			e.state = gone
			e.wait <- !dead
			continue
		}
		e.state = ready
		if dead {
			m.scanned.push(e)
		} else {
			e.hop = h
			m.reserved.push(e)
		}
	}
	if h.active == 0 && len(h.queue) == 0 && h.failures == 0 && !time.Now().Before(h.paused) {
		delete(m.hops, h.key)
	}
	m.spawn()
}

func (h *hop) push(m *Manager, e *entry) {
	m.seq++
	e.seq = m.seq
	heap.Push(&h.queue, e)
}

// hopQueue is a heap: priority, then order of arrival.
type hopQueue []*entry

func (q hopQueue) Len() int { return len(q) }
func (q hopQueue) Less(i, j int) bool {
	if q[i].prio != q[j].prio {
		return q[i].prio > q[j].prio
	}
	return q[i].seq < q[j].seq
}
func (q hopQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *hopQueue) Push(x any)   { *q = append(*q, x.(*entry)) }
func (q *hopQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
