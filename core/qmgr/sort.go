package qmgr

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// maxSorters is how many sorters there are at the most. One reads some ten
// thousand items in a second.
const maxSorters = 4

// sort finds out for whom entries are and where they go, and has them wait for
// their turn there, while all workers are at work: so those of a sender who has
// sent a hundred thousand do not stand before all others.
func (m *Manager) sort() {
	for {
		m.mu.Lock()
		var e *entry
		if m.overrun() {
			e = m.unknown()
		}
		if e == nil {
			m.sorters--
			m.mu.Unlock()
			return
		}
		e.state = active
		m.active++
		m.sorting++
		m.mu.Unlock()
		m.place(e)
		m.mu.Lock()
		m.sorting--
		m.spawn()
		m.mu.Unlock()
	}
}

// place parks an entry that a sorter has.
func (m *Manager) place(e *entry) {
	done := false
	defer func() {
		if r := recover(); r != nil {
			m.log.Error("panic while looking at a message; it stays queued", "id", e.ref.ID.String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			if !done {
				m.postpone(e)
			}
		}
	}()
	item, err := m.opts.Store.Item(m.ctx, e.ref)
	if err != nil {
		m.unreadable(e, err)
		return
	}
	switch {
	case item.Held:
		m.finish(e, time.Time{})
		return
	case item.Due.After(time.Now()) && !e.early:
		m.finish(e, item.Due)
		return
	}
	msg, err := m.opts.Store.Message(m.ctx, e.ref.ID)
	if err != nil {
		m.unreadable(e, err)
		return
	}
	e.prio, e.rcpts = item.Priority, len(item.Recipients)
	t := &task{m: m, e: e, item: item, msg: msg}
	chain, release := m.opts.Source.Acquire()
	key, known := t.knownHop(chain)
	release()
	who := senderKey(&msg.Envelope)
	m.mu.Lock()
	h := m.unrouted
	if known {
		h = m.hopAt(key)
	}
	answer, wait := m.shelve(e, h, who, time.Now())
	done = answer == waiting
	m.mu.Unlock()
	if answer == crowded {
		t.later(time.Now().Add(wait))
	}
}

// upright leaves out next hops that are suspended, unless all are.
func (m *Manager) upright(hops []mail.NextHop, insist bool) []mail.NextHop {
	if len(hops) < 2 || insist {
		return hops
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	up := slices.DeleteFunc(slices.Clone(hops), func(n mail.NextHop) bool {
		h := m.hops[site(n)]
		return h != nil && h.suspended(now) || h == nil && m.opts.Shapes.For(n).Suspended
	})
	if len(up) == 0 {
		return hops
	}
	return up
}
