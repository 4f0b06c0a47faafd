package qmgr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// ErrHeld is returned for an act that needs the item to be released first.
var ErrHeld = errors.New("qmgr: the item is held; release it first")

// allItems is an item number that stands for every item of a message.
const allItems = ^uint32(0)

// Whole names all items of a message. The operator's calls take it like any
// other ref.
func Whole(id mail.ID) queue.Ref { return queue.Ref{ID: id, Item: allItems} }

// The calls below wait for an attempt in flight to end and keep others from
// beginning while they work. queue.ErrGone: there is no such item.

// Hold keeps an item from being attempted until it is released.
func (m *Manager) Hold(ctx context.Context, ref queue.Ref, reason string) error {
	return m.each(ctx, ref, func(ref queue.Ref) (bool, error) {
		err := m.opts.Store.Update(ctx, ref, func(it *queue.Item) error {
			it.Held, it.Reason = true, mail.Printable(reason)
			return nil
		})
		return false, m.acted(err, ref, "hold", reason)
	})
}

// Release makes a held item due now. Releasing one that is not held does
// nothing.
func (m *Manager) Release(ctx context.Context, ref queue.Ref) error {
	return m.each(ctx, ref, func(ref queue.Ref) (bool, error) {
		err := m.opts.Store.Update(ctx, ref, func(it *queue.Item) error {
			if it.Held {
				it.Held, it.Reason, it.Due = false, "", time.Now()
			}
			return nil
		})
		return true, m.acted(err, ref, "release", "")
	})
}

// Retry attempts an item as soon as there is a slot, whatever its due time and
// also if its next hop is suspended. It does not wait for the attempt, but for
// room in memory. ErrHeld.
func (m *Manager) Retry(ctx context.Context, ref queue.Ref) error {
	return m.one(ctx, ref, func(ref queue.Ref) error {
		it, err := m.opts.Store.Item(ctx, ref)
		if err == nil && it.Held {
			err = ErrHeld
		}
		if err == nil {
			err = m.waitRoom(ctx, m.opts.MaxRefs)
		}
		if err == nil {
			m.hasten(ref, true)
		}
		return m.acted(err, ref, "retry", "")
	})
}

// Reroute sends an item to hop from now on and attempts it; nil gives it back
// to routing. A held item stays held.
func (m *Manager) Reroute(ctx context.Context, ref queue.Ref, hop *mail.NextHop) error {
	detail := "by routing"
	if hop != nil {
		detail = hop.String()
	}
	return m.each(ctx, ref, func(ref queue.Ref) (bool, error) {
		err := m.opts.Store.Update(ctx, ref, func(it *queue.Item) error {
			it.Pinned, it.Due = nil, time.Now()
			if hop != nil {
				pinned := *hop
				it.Pinned = &pinned
			}
			return nil
		})
		return true, m.acted(err, ref, "reroute", detail)
	})
}

// Bounce fails all recipients of an item and notifies the sender. The reply
// must be permanent.
func (m *Manager) Bounce(ctx context.Context, ref queue.Ref, reply mail.Reply) error {
	if !reply.Permanent() {
		return fmt.Errorf("qmgr: cannot bounce with %q: the reply must be 5yz", reply.String())
	}
	return m.each(ctx, ref, func(ref queue.Ref) (bool, error) {
		return true, m.acted(m.bounce(ctx, ref, reply.Clean()), ref, "bounce", reply.String())
	})
}

func (m *Manager) bounce(ctx context.Context, ref queue.Ref, reply mail.Reply) error {
	item, err := m.opts.Store.Item(ctx, ref)
	if err != nil {
		return err
	}
	msg, err := m.opts.Store.Message(ctx, ref.ID)
	if err != nil {
		return err
	}
	// The entry that each holds is not this one, which nobody else knows.
	t := &task{m: m, item: item, msg: msg, began: time.Now(), trace: m.opts.Trace.Item(ref.ID, ref.Item)}
	defer t.trace.Flush()
	if t.header, err = mail.ParseHeader(msg.Header); err != nil {
		t.header = mail.Header{}
	}
	chain, done := m.opts.Source.Acquire()
	defer done()
	t.k = chain.Open(msg.Envelope.Client.Listener, func(f hook.Failure) {
		m.opts.Log.PluginFailed(ref.ID.String(), f.Plugin, f.Generation, f.Stage.String(), f.Policy.String(), f.Err)
	})
	defer t.k.Close()
	if t.trace != nil {
		t.k.Observe(t.trace)
	}
	t.body = &lazyBody{open: func() (queue.Body, error) { return m.opts.Store.Body(ctx, ref.ID) }}
	defer t.body.close()
	t.rcpts = make([]recipient, len(item.Recipients))
	list := make([]int, len(item.Recipients))
	for i, r := range item.Recipients {
		t.rcpts[i].Recipient, list[i] = r, i
	}
	t.verdict(list, hook.Reject, reply, "", false)
	_, err = t.record(true)
	return err
}

// Delete removes an item, or with [Whole] the message, without a notification.
func (m *Manager) Delete(ctx context.Context, ref queue.Ref) error {
	if ref.Item == allItems {
		refs, err := m.refs(ctx, ref.ID)
		if err != nil {
			return err
		}
		var owned []*entry
		defer func() {
			for _, e := range owned {
				m.giveBack(e, err != nil)
			}
		}()
		for _, r := range refs {
			var e *entry
			if e, err = m.own(ctx, r); err != nil {
				return err
			}
			owned = append(owned, e)
		}
		err = m.opts.Store.Remove(ctx, ref.ID)
		return m.acted(err, ref, "delete", "")
	}
	return m.each(ctx, ref, func(ref queue.Ref) (bool, error) {
		item, err := m.opts.Store.Item(ctx, ref)
		if err == nil {
			item.Recipients = nil
			_, err = m.opts.Store.Settle(ctx, queue.Settlement{Item: item})
		}
		return false, m.acted(err, ref, "delete", "")
	})
}

// Flush lifts all suspensions and attempts everything that is not held, as fast
// as slots allow. It returns when all has been scheduled, which takes as long
// as the queue is long, with the number of items.
func (m *Manager) Flush(ctx context.Context) (n int, err error) {
	m.mu.Lock()
	for _, h := range m.hops {
		h.failures, h.pause, h.until = 0, 0, time.Time{}
		m.advance(h)
	}
	m.mu.Unlock()
	held := false
	var stop error
	err = m.opts.Store.List(ctx, queue.Filter{Held: &held}, func(it queue.Item, bad error) bool {
		if bad != nil {
			return true
		}
		if stop = m.waitRoom(ctx, m.opts.MaxRefs/2); stop != nil {
			return false
		}
		m.hasten(it.Ref, false)
		n++
		return true
	})
	m.opts.Log.Program("qmgr").Info("operator", "operator", "flush", "items", n)
	return n, errors.Join(err, stop)
}

// waitRoom waits until fewer than most items are in memory.
func (m *Manager) waitRoom(ctx context.Context, most int) error {
	for {
		m.mu.Lock()
		if m.stopping || len(m.known) < max(most, 1) {
			m.mu.Unlock()
			return ctx.Err()
		}
		if m.room == nil {
			m.room = make(chan struct{})
		}
		room := m.room
		m.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hasten has an item attempted before its time. One that is in flight is left
// alone: it is being attempted.
func (m *Manager) hasten(ref queue.Ref, insist bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.known[ref]
	switch {
	case e == nil:
		m.add(&entry{ref: ref, early: true, insist: insist}, &m.handed)
	case e.state == parked && insist && !e.insist:
		e.state = gone // where it is parked
		m.add(&entry{ref: ref, early: true, insist: insist}, &m.handed)
	case e.state == ready || e.state == parked:
		e.early, e.insist = true, e.insist || insist
	}
}

// one calls f for a ref, or for all items of a message.
func (m *Manager) one(ctx context.Context, ref queue.Ref, f func(queue.Ref) error) error {
	if ref.Item != allItems {
		return f(ref)
	}
	refs, err := m.refs(ctx, ref.ID)
	if err != nil {
		return err
	}
	for _, r := range refs {
		err = errors.Join(err, f(r))
	}
	return err
}

// each is one with the item owned while f works; f tells whether the item may
// be due now.
func (m *Manager) each(ctx context.Context, ref queue.Ref, f func(queue.Ref) (again bool, err error)) error {
	return m.one(ctx, ref, func(r queue.Ref) error {
		e, err := m.own(ctx, r)
		if err != nil {
			return err
		}
		again := true
		defer func() { m.giveBack(e, again) }()
		again, err = f(r)
		again = again || err != nil
		return err
	})
}

// refs are the items of a message.
func (m *Manager) refs(ctx context.Context, id mail.ID) ([]queue.Ref, error) {
	var refs []queue.Ref
	err := m.opts.Store.List(ctx, queue.Filter{ID: id}, func(it queue.Item, _ error) bool {
		refs = append(refs, it.Ref)
		return true
	})
	if err == nil && len(refs) == 0 {
		err = fmt.Errorf("%w: %s", queue.ErrGone, id)
	}
	return refs, err
}

// own takes an item away from the workers; it waits while one has it.
func (m *Manager) own(ctx context.Context, ref queue.Ref) (*entry, error) {
	for {
		m.mu.Lock()
		e := m.known[ref]
		if e == nil || e.state == ready || e.state == parked {
			if e != nil {
				e.state = gone // where it is listed
				m.release(e)
			}
			e = &entry{ref: ref, state: owned}
			m.known[ref] = e
			m.mu.Unlock()
			return e, nil
		}
		if e.done == nil {
			e.done = make(chan struct{})
		}
		done := e.done
		m.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, fmt.Errorf("qmgr: %s is being attempted: %w", ref.ID, ctx.Err())
		}
	}
}

// giveBack ends own. again: the item may be due, so look at it.
func (m *Manager) giveBack(e *entry, again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(e)
	switch {
	case !again:
	case len(m.known) >= m.opts.MaxRefs:
		m.rescanAt(time.Now()) // as many as an operator moves at once: they are found on the disk
	default:
		m.add(&entry{ref: e.ref}, &m.handed)
	}
}

// acted logs what an operator did.
func (m *Manager) acted(err error, ref queue.Ref, act, detail string) error {
	if err == nil {
		m.opts.Log.Operator(ref.ID, act, detail)
		item := ref.Item
		if item == allItems {
			item = 0
		}
		m.opts.Trace.Operator(ref.ID, item, act, detail)
	}
	return err
}
