package qmgr

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// notice is a notification that a settlement owes.
type notice struct {
	queue.Notice
	action dsn.Action
	id     string // its Message-ID
}

// settle records the results that are there. last says that no more will come,
// which finishes the entry; otherwise the item stays due and settle tells
// whether to go on.
func (t *task) settle(last bool) bool {
	m := t.m
	if last && m.ctx.Err() != nil && !t.mustSettle() {
		// Cancelled by shutdown: that says nothing about the next hop.
		m.finish(t.e, time.Time{})
		return false
	}
	item, err := t.record(last)
	switch {
	case err != nil:
		m.unreadable(t.e, err)
		return false
	case len(item.Recipients) == 0 || last && item.Held:
		m.finish(t.e, time.Time{})
		return false
	case last && t.away && m.resumed(t.e):
		return false
	case last:
		m.finish(t.e, item.Due)
		return false
	}
	// The stored item has a new version now.
	fresh, err := m.opts.Store.Item(context.WithoutCancel(m.ctx), t.e.ref)
	if err != nil {
		m.unreadable(t.e, err)
		return false
	}
	t.item.Version, t.item.History = fresh.Version, fresh.History
	return true
}

// record stores the results that are there with the notifications they owe,
// logs them, and returns the item as it is now.
func (t *task) record(last bool) (queue.Item, error) {
	m := t.m
	now := time.Now()
	item := t.item
	item.Recipients = nil
	var failed, delayed, delivered []dsn.Recipient
	reason := ""
	for i := range t.rcpts {
		r := &t.rcpts[i]
		if r.settled {
			continue
		}
		if !r.answered {
			item.Recipients = append(item.Recipients, r.Recipient)
			continue
		}
		if r.result.Outcome == mail.Deferred && t.hold == "" && r.mayExpire && !r.tried.Before(t.expire()) {
			r.result.Outcome = mail.Expired
		}
		about := dsn.Recipient{Recipient: r.Recipient.Recipient, Result: r.result, Attempted: r.attempted, RetryUntil: t.expire()}
		if about.Attempted.IsZero() {
			about.Attempted = r.tried
		}
		switch r.result.Outcome {
		case mail.Delivered:
			// A next hop that does DSN reports by itself (RFC 3461 5.2.2), be it by
			// LMTP. Without DSN, LMTP and mailboxes are the end of the way.
			remote := r.program == "smtp" || r.program == "lmtp"
			if !remote || r.result.Relayed {
				about.Result.Relayed = r.program == "smtp"
				delivered = append(delivered, about)
			}
		case mail.Failed, mail.Expired:
			failed = append(failed, about)
		case mail.Discarded:
		default:
			r.Last = r.result
			reason = r.result.Reply.String()
			if r.result.Outcome == mail.Deferred && t.hold == "" && !r.Warned && t.late(now) {
				r.Warned = true
				delayed = append(delayed, about)
			}
			item.Recipients = append(item.Recipients, r.Recipient)
		}
	}
	item.History = append(slices.Clone(item.History), t.history...)
	if over := len(item.History) - queue.MaxHistory; over > 0 {
		item.History = item.History[over:]
	}
	if t.lastHop != "" {
		item.LastHop = t.lastHop
	}
	if last {
		item.Attempts++
		item.Reason = mail.Printable(reason)
		if t.pinned != nil {
			item.Pinned = t.pinned
		}
		if t.hold != "" {
			item.Held, item.Reason = true, mail.Printable(t.hold)
		}
		item.Due = t.nextDue(now, item.Attempts)
	}
	var notices []notice
	for _, n := range []struct {
		action dsn.Action
		list   []dsn.Recipient
	}{{dsn.Failed, failed}, {dsn.Delayed, delayed}, {dsn.Success, delivered}} {
		if n, ok := t.notify(n.action, n.list, now); ok {
			notices = append(notices, n)
		}
	}
	s := queue.Settlement{Item: item}
	for _, n := range notices {
		s.Notices = append(s.Notices, n.Notice)
	}
	departed := m.departing(item.ID)
	refs, err := t.store(s)
	gone := departed(err == nil && len(item.Recipients) == 0)
	t.report(now)
	if err != nil {
		return item, err
	}
	t.traceOutcomes(&item, last)
	for i := range notices {
		if i < len(refs) {
			n := &notices[i]
			t.trace.Notified(refs[i].ID, n.action.String(), n.Envelope.Recipients[0].ForwardPath)
			m.opts.Log.Notified(item.ID, refs[i].ID, n.action.String(), n.Envelope.Recipients[0].ForwardPath)
			m.opts.Log.Queued(refs[i].ID, mail.Path{}, int64(len(n.Header)+len(n.Body)), 1, n.id, false)
		}
	}
	m.Enqueue(refs)
	if gone {
		m.opts.Log.Removed(item.ID)
		t.trace.Gone()
	}
	for i := range t.rcpts {
		r := &t.rcpts[i]
		if r.answered && (r.result.Outcome != mail.Deferred && r.result.Outcome != mail.Held) {
			r.settled = true
		}
		r.answered = false
	}
	t.first, t.history = time.Time{}, nil
	return item, nil
}

// departure is a message of which items are being settled.
type departure struct {
	items int
	gone  bool // one of them found that it was the last
}

// departing is called before an item of a message is settled, and what it
// returns afterwards: it tells whether the message has gone, to one of those
// that may have removed it at the same time.
func (m *Manager) departing(id mail.ID) func(look bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.settling[id]
	d.items++
	m.settling[id] = d
	return func(look bool) bool {
		if look {
			_, err := m.opts.Store.Message(context.WithoutCancel(m.ctx), id)
			look = errors.Is(err, queue.ErrGone)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		d := m.settling[id]
		d.items--
		d.gone = d.gone || look
		if m.settling[id] = d; d.items > 0 {
			return false
		}
		delete(m.settling, id)
		return d.gone
	}
}

// mustSettle tells whether any result is more than "not now".
func (t *task) mustSettle() bool {
	return slices.ContainsFunc(t.rcpts, func(r recipient) bool { return r.answered && r.result.Outcome != mail.Deferred })
}

// late tells whether the sender is to be told of the delay: after a time, or,
// where BY in mode N says when, at that one (RFC 2852 4.1.5).
func (t *task) late(now time.Time) bool {
	if by := t.msg.Envelope.By; !by.Return && !by.Time.IsZero() {
		return !now.Before(by.Time)
	}
	since := t.item.Arrived
	if held := t.msg.Envelope.HoldUntil; held.After(since) {
		since = held // for so long its sender wanted it to wait (RFC 4865)
	}
	w := t.m.opts.WarnAfter
	return w > 0 && now.Sub(since) >= w
}

// nextDue is when the item is tried again. An item that would outlive its
// expiry is tried once more at that time.
func (t *task) nextDue(now time.Time, attempts int) time.Time {
	due := now.Add(t.m.retryAfter(attempts))
	if !t.retry.IsZero() {
		due = t.retry
		if soon := now.Add(time.Second); due.Before(soon) {
			due = soon
		}
	}
	if due.Before(t.until) {
		due = t.until.Add(time.Duration(float64(t.until.Sub(now)) * 0.1 * t.m.opts.Rand()))
	}
	if by := t.msg.Envelope.By; !by.Return && by.Time.After(now) && due.After(by.Time) {
		due = by.Time.Add(time.Millisecond) // so that the sender hears of the delay in time
	}
	if expire := t.expire(); expire.After(now) && due.After(expire) {
		due = expire.Add(time.Millisecond) // not before it, when stored to the millisecond
	}
	return due
}

// notify composes what is owed to the sender, unless a plugin discards it.
func (t *task) notify(a dsn.Action, list []dsn.Recipient, now time.Time) (notice, bool) {
	m := t.m
	var said hook.Notice
	list = dsn.Wanted(a, t.msg.Envelope, list)
	list = t.notBackscatter(list)
	if len(list) == 0 {
		return notice{}, false
	}
	if t.k.Wants(hook.DSN) {
		var about []int
		for i := range t.rcpts {
			if slices.ContainsFunc(list, func(r dsn.Recipient) bool { return r.ForwardPath == t.rcpts[i].ForwardPath }) {
				about = append(about, i)
			}
		}
		ev := t.event(hook.DSN, about, nil)
		for _, i := range about {
			ev.Delivery.Results = append(ev.Delivery.Results, t.rcpts[i].result)
		}
		ev.Delivery.Notice = &hook.Notice{Action: a.String(), To: t.msg.Envelope.ReversePath}
		if o := t.k.Ask(m.ctx, ev); o.Action == hook.Discard {
			m.log.Info("notification suppressed", "id", t.item.ID.String(), "action", a.String(), "plugin", o.Plugin)
			return notice{}, false
		}
		said = *ev.Delivery.Notice
	}
	report := dsn.Report{
		Action: a, Hostname: m.opts.Hostname, ID: t.item.ID, Now: now, Arrived: t.item.Arrived,
		Envelope: t.msg.Envelope, Recipients: list, Header: t.msg.Header, Size: t.msg.Size(),
		To: said.To, Text: said.Text, Template: m.opts.Template, MaxReturn: m.opts.MaxReturn,
	}
	if dsn.WantsBody(t.msg.Envelope, t.msg.Size(), m.opts.MaxReturn) {
		// Without the body the header is returned: better than no notification.
		if b, err := m.opts.Store.Body(context.WithoutCancel(m.ctx), t.item.ID); err == nil {
			if content, err := io.ReadAll(io.LimitReader(b, cmp.Or(m.opts.MaxReturn, dsn.MaxReturn)+1)); err == nil {
				report.Body = content
			}
			_ = b.Close() // only read from
		}
	}
	env, header, body, ok := dsn.Compose(report)
	if !ok {
		return notice{}, false
	}
	env.Client = mail.Client{Arrived: now}
	n := notice{action: a, Notice: queue.Notice{Envelope: env, Header: header, Body: body,
		CommitOptions: queue.CommitOptions{Due: now, Expire: now.Add(m.opts.Lifetime)}}}
	if h, err := mail.ParseHeader(header); err == nil {
		n.id = h.Get("Message-ID")
	}
	return n, true
}

// notBackscatter leaves out those about whom a stranger must not be notified: the
// message was taken from somebody who proved nothing, it is we who do not want
// it now, and the reverse-path may be anybody's.
func (t *task) notBackscatter(list []dsn.Recipient) []dsn.Recipient {
	m := t.m
	if m.opts.Backscatter == nil {
		return list
	}
	return slices.DeleteFunc(list, func(r dsn.Recipient) bool {
		by := ""
		for i := range t.rcpts {
			if t.rcpts[i].ForwardPath == r.ForwardPath {
				by = t.rcpts[i].by
			}
		}
		if !m.opts.Backscatter(&t.msg.Envelope.Client, r.ForwardPath, r.Result, by) {
			return false
		}
		m.log.Info("no notification: it would be backscatter to a sender who proved nothing; refuse such mail at RCPT",
			"id", t.item.ID.String(), "to", r.ForwardPath.String(), "reason", r.Result.Reply.String())
		return true
	})
}

// store settles until it is done, the message is gone, or the server stops.
func (t *task) store(s queue.Settlement) ([]queue.Ref, error) {
	m := t.m
	ctx := context.WithoutCancel(m.ctx) // an outcome is recorded also while shutting down
	for wait := time.Second; ; wait = min(2*wait, storePause) {
		refs, err := m.opts.Store.Settle(ctx, s)
		switch {
		case err == nil:
			return refs, nil
		case errors.Is(err, queue.ErrGone):
			m.log.Warn("the message was removed during an attempt", "id", s.Item.ID.String())
			return nil, nil
		case errors.Is(err, queue.ErrCorrupt):
			return nil, err
		case errors.Is(err, queue.ErrConflict):
			fresh, err := m.opts.Store.Item(ctx, s.Item.Ref)
			if err == nil && fresh.Version != s.Item.Version {
				m.log.Warn("the item was changed during an attempt; applying the results to what it is now", "id", s.Item.ID.String())
				s.Item = t.merge(fresh, s.Item)
				continue
			}
			if errors.Is(err, queue.ErrGone) || errors.Is(err, queue.ErrCorrupt) {
				return nil, err
			}
		}
		m.log.Error("cannot record the outcome of an attempt; trying again", "id", s.Item.ID.String(), "error", err, "seconds", wait.Seconds())
		select {
		case <-time.After(wait):
		case <-m.ctx.Done():
			return nil, err
		}
	}
}

// merge applies results to an item that somebody else changed: what is closed
// leaves it, everything else is as it is stored now.
func (t *task) merge(fresh, ours queue.Item) queue.Item {
	open := make(map[mail.Path][]queue.Recipient)
	for _, r := range ours.Recipients {
		open[r.ForwardPath] = append(open[r.ForwardPath], r)
	}
	mine := make(map[mail.Path]bool)
	for _, r := range t.rcpts {
		mine[r.ForwardPath] = true
	}
	list := fresh.Recipients
	fresh.Recipients = nil
	for _, r := range list {
		if q := open[r.ForwardPath]; len(q) > 0 {
			fresh.Recipients = append(fresh.Recipients, q[0])
			open[r.ForwardPath] = q[1:]
		} else if !mine[r.ForwardPath] {
			fresh.Recipients = append(fresh.Recipients, r)
		}
	}
	fresh.Attempts, fresh.History = max(fresh.Attempts, ours.Attempts), ours.History
	if !fresh.Held {
		fresh.Due, fresh.Held, fresh.Reason = ours.Due, ours.Held, ours.Reason
	}
	return fresh
}

// report writes the log lines of the results.
func (t *task) report(now time.Time) {
	l := t.m.opts.Log
	for i := range t.rcpts {
		r := &t.rcpts[i]
		if !r.answered {
			continue
		}
		if r.result.Outcome == mail.Discarded && r.by != "" {
			l.Discarded(t.item.ID, nil, t.msg.Envelope.ReversePath, &r.ForwardPath, r.by)
			continue
		}
		start := r.attempted
		if start.IsZero() {
			start = t.began
		}
		due := t.item.Due
		if due.After(start) { // an operator did not wait for it
			due = start
		}
		l.Attempted(r.program, t.item.ID, r.Recipient.Recipient, r.result, now.Sub(t.item.Arrived), event.Delays{
			due.Sub(t.item.Arrived), start.Sub(due), r.result.Connect, r.result.Transmit,
		})
	}
}

// unreadable ends the work on an entry after the store failed.
func (m *Manager) unreadable(e *entry, err error) {
	switch {
	case errors.Is(err, queue.ErrGone):
		m.finish(e, time.Time{})
	case errors.Is(err, queue.ErrCorrupt):
		m.log.Error("a message is damaged; it is held", "id", e.ref.ID.String(), "item", e.ref.Item, "error", err)
		m.hold(e, "damaged: "+err.Error())
	default:
		if m.ctx.Err() == nil {
			m.log.Error("cannot read a message; trying again", "id", e.ref.ID.String(), "error", err)
		}
		m.mu.Lock()
		m.rescanAt(time.Now().Add(storePause))
		m.mu.Unlock()
		m.finish(e, time.Time{})
	}
}

// hold holds an active entry's item for an operator and finishes it.
func (m *Manager) hold(e *entry, reason string) {
	err := m.opts.Store.Update(context.WithoutCancel(m.ctx), e.ref, func(it *queue.Item) error {
		it.Held, it.Reason = true, mail.Printable(reason)
		return nil
	})
	m.opts.Trace.Held(e.ref.ID, e.ref.Item, reason)
	if err != nil && !errors.Is(err, queue.ErrGone) {
		m.log.Error("the item cannot be held; it is left alone", "id", e.ref.ID.String(), "item", e.ref.Item, "error", err)
	}
	m.finish(e, time.Time{})
}

// postpone puts an active entry's item off after a fault of ours.
func (m *Manager) postpone(e *entry) {
	due := time.Now().Add(m.retryAfter(1))
	err := m.opts.Store.Update(context.WithoutCancel(m.ctx), e.ref, func(it *queue.Item) error {
		due = time.Now().Add(m.retryAfter(it.Attempts + 1))
		it.Due, it.Reason = due, "internal error"
		return nil
	})
	if err != nil {
		m.unreadable(e, err)
		return
	}
	m.finish(e, due)
}
