package qmgr

import (
	"context"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// admission is the answer to who wants a slot.
type admission uint8

const (
	granted   admission = iota // the entry holds a slot
	suspended                  // the next hop is suspended
	busy                       // there is no slot, or others wait for it
	waiting                    // the entry was parked; it is no longer the caller's
	crowded                    // too many are parked: come back later
)

// admit asks for a slot of a next hop for e, which a worker has.
func (m *Manager) admit(e *entry, key mail.NextHop) (admission, *hop) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admitNow(e, key, time.Now())
}

func (m *Manager) admitNow(e *entry, key mail.NextHop, now time.Time) (admission, *hop) {
	key = site(key)
	if e.hop != nil && e.hop.key == key {
		return granted, e.hop
	}
	m.release(e)
	h := m.hopAt(key)
	switch {
	case h.suspended(now) && !e.insist:
		return suspended, h
	case h.waiting == 0 && h.urgent.len() == 0 && h.waiters.len() == 0 && m.refusal(h, now) == fine:
		m.seize(h, e, now)
		return granted, h
	}
	return busy, h
}

// park lets e wait for a slot, after admit said that there is none; a worker has
// e until then. who is its sender.
func (m *Manager) park(e *entry, key mail.NextHop, who string) (admission, *hop, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if a, h := m.admitNow(e, key, now); a != busy {
		return a, h, 0
	}
	h := m.hopAt(key)
	a, wait := m.shelve(e, h, who, now)
	return a, h, wait
}

// shelve lets e wait at h, or tells when to come back if there is no room. mu is
// held.
func (m *Manager) shelve(e *entry, h *hop, who string, now time.Time) (admission, time.Duration) {
	s := m.senderOf(who)
	defer m.forgetSender(s) // who is told to come back
	if len(m.known) >= m.opts.MaxRefs/4 && !e.insist {
		switch {
		case !h.free && h.waiting >= max(m.opts.MaxRefs/maxParked, 1):
			return crowded, h.pace.later(now, h.waiting, max(h.pace.pace(now, h.active), h.meter.gap))
		case s.parked >= max(m.opts.MaxRefs/2, 1) && len(m.known) >= m.opts.MaxRefs*3/4:
			return crowded, s.pace.later(now, s.parked, min(s.pace.pace(now, 0), maxPace))
		}
	}
	e.state = parked
	m.active--
	m.wait(h, s, e)
	m.advance(h)
	return waiting, 0
}

// await asks for a slot for e and waits for it in place, for a while. It is for
// an item with several next hops of which some have been attempted already.
func (m *Manager) await(ctx context.Context, e *entry, key mail.NextHop) (admission, *hop) {
	a, h := m.admit(e, key)
	if a != busy {
		return a, h
	}
	w := &entry{state: parked, wait: make(chan bool, 1)}
	m.mu.Lock()
	h = m.hopAt(key)
	h.waiters.push(w)
	m.advance(h)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, maxAwait)
	defer cancel()
	var ok, told bool
	select {
	case ok = <-w.wait:
		told = true
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !told {
		if w.state == parked {
			w.state = gone
			m.advance(h) // which forgets it
			return busy, h
		}
		ok = <-w.wait
	}
	if !ok {
		return suspended, h
	}
	e.hop, e.unsent, e.seized = h, true, w.seized
	return granted, h
}

// advance has those go on who wait for h, as far as they can. mu is held.
func (m *Manager) advance(h *hop) {
	m.tend(h, time.Now())
	m.spawn()
}

// open tells whether somebody who waits for h can go on. mu is held.
func (m *Manager) open(h *hop, now time.Time) bool {
	return h.waiting > 0 && h.suspended(now) || (h.waiting > 0 || h.urgent.len() > 0) && m.refusal(h, now) == fine
}

// tend gives slots to workers that wait in place, and has the senders who are
// next call for h if it can take one. mu is held.
func (m *Manager) tend(h *hop, now time.Time) {
	for dead := h.suspended(now); h.waiters.len() > 0; {
		w := h.waiters.front()
		if w.state != parked {
			h.waiters.pop()
			continue
		}
		if !dead {
			if m.refusal(h, now) != fine {
				break
			}
			m.seize(h, w, now)
		}
		h.waiters.pop()
		w.state = gone
		w.wait <- !dead
	}
	if h.waiting == 0 && h.urgent.len() == 0 && h.waiters.len() == 0 {
		if local(h.key) && h.idle() && !h.free && !h.troubled(now) {
			m.dropHop(h)
		}
		return
	}
	if m.open(h, now) {
		m.call(h)
	}
	switch m.refusal(h, now) {
	case metered:
		m.alarmAt(h, h.meter.next())
	case squeezed:
		m.shut(h)
	}
}
