package qmgr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/route"
	"github.com/wasmta/wasmta/core/trace"
)

// localWindow is how long results of deliveries on this machine may wait for
// each other before they are settled.
const localWindow = 100 * time.Millisecond

// task is the work on one item, from reading it to settling it.
type task struct {
	m     *Manager
	e     *entry
	item  queue.Item
	msg   queue.Message
	rcpts []recipient // of the item, in its order
	k     *hook.Conversation
	began time.Time
	trace *trace.Record

	header  mail.Header // parsed when a plugin is to be asked
	parsed  bool
	body    *lazyBody
	tx      mail.Attrs     // transaction scope
	retry   time.Time      // set by a plugin; zero: by the schedule
	until   time.Time      // a suspended next hop is tried again then
	away    bool           // a next hop was suspended
	hold    string         // why the item shall be held; empty: it shall not
	pinned  *mail.NextHop  // set by a plugin at the result stage
	history []mail.Attempt // to be added
	lastHop string         // of the last attempt, or that was suspended; empty: none yet
	first   time.Time      // when the attempt began whose result waits longest to be settled; zero: none
	corrupt atomic.Bool    // the body turned out to be damaged
}

// recipient is one recipient of the item and what became of it.
type recipient struct {
	queue.Recipient
	settled   bool // no longer in the stored item
	answered  bool // result is set and not yet settled
	result    mail.Result
	program   string    // for the log
	by        string    // the plugin that decided; empty: none
	attempted time.Time // zero: not
	mayExpire bool      // the result stands for an attempt, not for a failure of ours
	tried     time.Time // when that attempt, or the next hop's last one, began
}

// process works on an entry and ends with it finished or parked.
func (m *Manager) process(e *entry) {
	ended := false
	var t *task
	defer func() {
		if r := recover(); r != nil {
			m.log.Error("panic while working on a message; it stays queued", "id", e.ref.ID.String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			switch {
			case ended:
			case t != nil && t.mustSettle():
				// Trying again would deliver it again, and perhaps panic again, for ever.
				for i := range t.rcpts {
					if r := &t.rcpts[i]; r.answered {
						m.log.Error("an outcome could not be recorded", "id", e.ref.ID.String(), "to", r.ForwardPath.String(), "status", r.result.Outcome.String())
					}
				}
				m.hold(e, "internal error: outcomes of an attempt, which are in the log, could not be recorded; release it to send it again to all, or delete it")
			default:
				m.postpone(e)
			}
		}
	}()
	ctx := m.ctx
	item, err := m.opts.Store.Item(ctx, e.ref)
	if err != nil {
		m.unreadable(e, err)
		return
	}
	now := time.Now()
	switch {
	case item.Held:
		m.finish(e, time.Time{})
		return
	case item.Due.After(now) && !e.early:
		m.finish(e, item.Due)
		return
	}
	e.prio, e.rcpts = item.Priority, len(item.Recipients)
	t = &task{m: m, e: e, item: item, began: now, trace: m.opts.Trace.Item(e.ref.ID, e.ref.Item)}
	defer t.trace.Flush()
	if len(item.Recipients) == 0 {
		t.settle(true) // nothing is left to do: remove it
		return
	}
	chain, done := m.opts.Source.Acquire()
	defer done()
	key, known := t.knownHop(chain)
	room := true
	if known && e.hop == nil {
		a, _ := m.admit(e, key) // a suspension is dealt with when the message has been read
		room = a != busy
	}
	if t.msg, err = m.opts.Store.Message(ctx, e.ref.ID); err != nil {
		m.unreadable(e, err)
		return
	}
	if !room {
		if a, _ := t.park(key); a == waiting {
			return
		}
	}
	t.rcpts = make([]recipient, len(item.Recipients))
	for i, r := range item.Recipients {
		t.rcpts[i].Recipient = r
	}
	t.k = chain.Open(t.msg.Envelope.Client.Listener, func(f hook.Failure) {
		m.opts.Log.PluginFailed(item.ID.String(), f.Plugin, f.Generation, f.Stage.String(), f.Policy.String(), f.Err)
	})
	defer t.k.Close()
	if t.trace != nil {
		t.k.Observe(t.trace)
	}
	t.body = &lazyBody{open: func() (queue.Body, error) { return m.opts.Store.Body(ctx, item.ID) }}
	defer t.body.close()
	t.run(ctx)
	ended = true // the entry is no longer ours; what is left is closing
}

// knownHop is the next hop if it is known, or very likely, before the message is
// read and plugins are asked, so that an item that has to wait costs next to
// nothing.
func (t *task) knownHop(chain hook.Chain) (mail.NextHop, bool) {
	if p := t.item.Pinned; p != nil {
		return *p, !strings.Contains(p.Host, "{") && (p.Transport != mail.TransportMX || p.Host != "")
	}
	if chain.Has(hook.Route) {
		return t.m.usual(t.item.Domain)
	}
	return t.m.opts.Router.Table.ByDomain(t.item.Domain)
}

// park has the item wait for a slot. waiting: the entry is not ours any more.
func (t *task) park(key mail.NextHop) (admission, *hop) {
	a, h, wait := t.m.park(t.e, key, senderKey(&t.msg.Envelope))
	if a == crowded {
		t.later(time.Now().Add(wait))
		return waiting, h
	}
	return a, h
}

// later moves the item's due time without an attempt, because too many wait, and
// finishes.
func (t *task) later(due time.Time) {
	t.m.mu.Lock()
	t.m.moved++
	t.m.mu.Unlock()
	err := t.m.opts.Store.Update(t.m.ctx, t.e.ref, func(it *queue.Item) error {
		it.Due = due
		return nil
	})
	if err != nil {
		t.m.unreadable(t.e, err)
		return
	}
	t.m.finish(t.e, due)
}

func (t *task) run(ctx context.Context) {
	m := t.m
	if t.k.Wants(hook.Route) || t.k.Wants(hook.Attempt) || t.k.Wants(hook.Result) || t.k.Wants(hook.DSN) {
		var err error
		if t.header, err = mail.ParseHeader(t.msg.Header); err != nil {
			m.hold(t.e, fmt.Sprintf("damaged: %v", err))
			return
		}
		t.parsed = true
	}
	all := make([]int, len(t.rcpts))
	list := make([]mail.Recipient, len(t.rcpts))
	for i := range all {
		all[i], list[i] = i, t.rcpts[i].Recipient.Recipient
	}
	var ev *hook.Event
	d := m.opts.Router.Route(ctx, t.k, route.Query{
		ReversePath: t.msg.Envelope.ReversePath, Listener: t.msg.Envelope.Client.Listener,
		Domain: t.item.Domain, Recipients: list, Pinned: t.item.Pinned,
		Event: func() *hook.Event { ev = t.event(hook.Route, all, nil); return ev },
	})
	if ev != nil {
		t.keep(ev, all)
		m.routed(t.item.Domain, d.Groups)
	}
	if d.Action != hook.Continue && d.Action != hook.Accept {
		t.verdict(all, d.Action, d.Reply, d.By, d.Failed)
		t.settle(true)
		return
	}
	t.traceRoute(&d)
	groups := d.Groups
	for n, g := range groups {
		if g.Reply != nil {
			action := hook.Defer
			if g.Reply.Permanent() {
				action = hook.Reject
			}
			t.verdict(g.Recipients, action, *g.Reply, "", false)
			continue
		}
		// What is suspended is passed over as long as there is another one.
		hops := m.upright(g.Hops, t.e.insist)
		var answer admission
		var h *hop
		if t.first.IsZero() && n == 0 {
			if answer, h = m.admit(t.e, hops[0]); answer == busy {
				answer, h = t.park(hops[0])
			}
			if answer == waiting {
				return
			}
		} else {
			if !t.first.IsZero() && (!local(hops[0]) || time.Since(t.first) > localWindow) && !t.settle(false) {
				return
			}
			answer, h = m.await(ctx, t.e, hops[0])
		}
		t.lastHop = hops[0].String()
		switch answer {
		case suspended:
			t.suspended(g, h)
		case busy: // for long
			t.verdict(g.Recipients, hook.Defer, *mail.NewReply(451, "4.3.2", "the next hop is busy"), "", false)
		default:
			g.Hops = hops
			t.attempt(ctx, g, h)
		}
	}
	t.settle(true)
}

// suspended defers recipients whose next hop is not to be tried now.
func (t *task) suspended(g route.Group, h *hop) {
	m := t.m
	m.mu.Lock()
	last, failed, until := h.last, h.failed, h.until
	var closed bar
	b := h.barred(time.Now())
	if b != nil {
		closed = *b
	}
	m.mu.Unlock()
	if b != nil {
		t.keepAway(g.Recipients, &closed)
		return
	}
	res := last
	res.Outcome, res.Connect, res.Transmit = mail.Deferred, 0, 0
	res.Reply.Text = "delivery suspended, next hop cannot be reached: " + last.Reply.Text
	if res.Reply.Code == 0 {
		res.Reply = *mail.NewReply(451, "4.4.1", "delivery suspended, next hop cannot be reached")
	}
	t.putOff(until, len(g.Recipients))
	for _, i := range g.Recipients {
		r := &t.rcpts[i]
		r.result, r.answered, r.program = res, true, "qmgr"
		r.mayExpire, r.tried = true, failed
	}
}

// putOff notes until when nothing is sent for some recipients.
func (t *task) putOff(until time.Time, recipients int) {
	// A suspension may end sooner, or another one take its place.
	if limit := time.Now().Add(t.m.opts.Retry[len(t.m.opts.Retry)-1]); until.After(limit) {
		until = limit
	}
	if until.After(t.until) {
		t.until = until
	}
	t.away = true
	t.m.mu.Lock()
	t.m.deferred += uint64(recipients)
	t.m.mu.Unlock()
}

// keepAway defers recipients whose next hop was suspended by somebody. It is as
// if a plugin had deferred them: what is suspended again and again expires.
func (t *task) keepAway(list []int, b *bar) {
	until := b.until
	if b.forever {
		until = time.Time{} // by the retry schedule
	}
	t.putOff(until, len(list))
	t.verdict(list, hook.Defer, *mail.NewReply(451, "4.7.1", "delivery suspended by policy"), "", false)
}

// verdict gives recipients the outcome that a plugin or the routing decided.
func (t *task) verdict(list []int, a hook.Action, reply mail.Reply, by string, failed bool) {
	res := mail.Result{Reply: reply}
	switch a {
	case hook.Reject:
		res.Outcome = mail.Failed
	case hook.Discard:
		res.Outcome = mail.Discarded
	case hook.Hold:
		res.Outcome = mail.Held
		t.hold = "held by " + by
		if reply.Text != "" && reply.Class() != 2 {
			t.hold += ": " + reply.Text
		}
	default:
		res.Outcome = mail.Deferred
	}
	for _, i := range list {
		r := &t.rcpts[i]
		r.result, r.answered, r.program, r.by = res, true, "qmgr", by
		r.mayExpire, r.tried = !failed, t.began
	}
}

// attempt asks stage attempt, delivers, and asks stage result.
func (t *task) attempt(ctx context.Context, g route.Group, h *hop) {
	m := t.m
	defer func() {
		m.mu.Lock()
		m.release(t.e)
		m.mu.Unlock()
	}()
	hops, header := g.Hops, t.msg.Header
	if t.k.Wants(hook.Attempt) {
		ev := t.event(hook.Attempt, g.Recipients, hops)
		o := t.k.Ask(ctx, ev)
		t.keep(ev, g.Recipients)
		switch o.Action {
		case hook.Defer, hook.Reject, hook.Hold:
			var reply mail.Reply
			if r := o.ReplyAt(hook.Attempt); r != nil {
				reply = *r
			}
			t.verdict(g.Recipients, o.Action, reply, o.Plugin, o.Failed)
			return
		}
		if len(ev.Delivery.NextHops) > 0 {
			hops = ev.Delivery.NextHops
		}
		if ev.Content.Edited {
			header = ev.Content.Header.Bytes()
		}
	}
	chosen := hops[0]
	hops, from, closed := m.depart(t.item.ID, hops, t.e.insist)
	if closed != nil { // one that was chosen only now, or all its sources
		t.keepAway(g.Recipients, closed)
		return
	}
	env := t.msg.Envelope
	env.Recipients = make([]mail.Recipient, len(g.Recipients))
	for n, i := range g.Recipients {
		env.Recipients[n] = t.rcpts[i].Recipient.Recipient
	}
	msg := &mail.Message{ID: t.item.ID, Envelope: env, Header: header, BodySize: t.msg.BodySize, OpenBody: func() (io.ReadCloser, error) {
		b, err := m.opts.Store.Body(ctx, t.item.ID)
		if err != nil {
			t.noteCorrupt(err)
			return nil, err
		}
		return &watchedBody{Body: b, note: t.noteCorrupt}, nil
	}}
	began := time.Now()
	t.lastHop = hops[0].String()
	m.mu.Lock()
	t.e.unsent = false
	m.mu.Unlock()
	results, sound := m.deliver(ctx, hops, msg)
	t.trace.Attempted(t.item.Attempts+1, hops, began, env.Recipients, results)
	if t.first.IsZero() {
		t.first = began
	}
	answered, dead := false, sound && !t.corrupt.Load() && m.ctx.Err() == nil
	for _, res := range results {
		answered = answered || res.Reached || res.RemoteMTA != "" || res.Outcome != mail.Deferred
	}
	// If a plugin chose another one for this attempt, or from where, that says nothing about h.
	if site(chosen) == h.key && chosen.Source == g.Hops[0].Source && m.ctx.Err() == nil {
		v := verdict{answered: answered, dead: dead && !answered, strained: sound && slices.ContainsFunc(results, strains),
			began: began, took: time.Since(began), worst: results[0], source: from.source, others: from.others}
		if sound {
			v.rule, v.why = h.shape.ruleFor(results)
		}
		m.judge(h, v)
	}
	for n, i := range g.Recipients {
		r := &t.rcpts[i]
		r.result, r.answered, r.program, r.by = results[n], true, program(hops[0].Transport), ""
		r.mayExpire, r.tried, r.attempted = sound, began, began
		if m.ctx.Err() != nil && r.result.RemoteMTA == "" {
			r.mayExpire = false // we broke it off
		}
		if r.result.Outcome == mail.Held && t.hold == "" {
			t.hold = "held by the delivery agent: " + r.result.Reply.Text
		}
	}
	res := worst(results)
	t.history = append(t.history, mail.Attempt{At: began, Relay: res.Relay, Result: res})
	if t.corrupt.Load() {
		t.hold = "damaged: the body cannot be read as it was stored"
		m.log.Error("a message is damaged; it is held", "id", t.item.ID.String(), "reason", t.hold)
		return
	}
	if t.k.Wants(hook.Result) {
		t.askResult(ctx, g, hops, from.source, results)
	}
}

// worst is the first result that is not delivered, or the first.
func worst(results []mail.Result) mail.Result {
	for _, res := range results {
		if res.Outcome != mail.Delivered {
			return res
		}
	}
	return results[0]
}

// askResult lets plugins reclassify what was not delivered and change what
// comes next.
func (t *task) askResult(ctx context.Context, g route.Group, hops []mail.NextHop, source string, results []mail.Result) {
	ev := t.event(hook.Result, g.Recipients, hops)
	ev.Delivery.Results = slices.Clone(results)
	ev.Delivery.Last = worst(results)
	o := t.k.Ask(ctx, ev)
	t.keep(ev, g.Recipients)
	d := ev.Delivery
	if len(d.NextHops) > 0 && d.NextHops[0] != hops[0] {
		t.pinned = &d.NextHops[0]
		if source != "" && t.pinned.Source == source {
			t.pinned.Source = "" // it was chosen for this attempt
		}
		t.m.log.Info("next hop of later attempts chosen by a plugin", "id", t.item.ID.String(), "nexthop", t.pinned.String())
	}
	if !d.Suspend.IsZero() {
		t.m.suspend(hops[0], d.Suspend)
	}
	from, to, class := mail.Deferred, mail.Failed, uint16(5)
	switch o.Action {
	case hook.Reject:
	case hook.Defer:
		from, to, class = mail.Failed, mail.Deferred, 4
	default:
		return
	}
	for _, i := range g.Recipients {
		r := &t.rcpts[i]
		r.mayExpire = r.mayExpire && !o.Failed
		if r.result.Outcome != from {
			continue
		}
		r.result.Outcome, r.by = to, o.Plugin
		if o.Reply != nil {
			r.result.Reply, r.result.RemoteMTA = o.Reply.Clean(), ""
			continue
		}
		// What the next hop said is worth more than a text of ours; only the
		// class changes, and that it was changed is said.
		said := r.result.Reply
		r.result.Reply = mail.Reply{Code: int(class) * 100, Enhanced: said.Status(), Text: "by policy, after: " + said.String()}
		r.result.Reply.Enhanced[0] = class
		if class == 5 {
			r.result.Reply.Code += 54
		} else {
			r.result.Reply.Code += 51
		}
	}
}

// event makes the event of a stage about some of the recipients.
func (t *task) event(s hook.Stage, list []int, hops []mail.NextHop) *hook.Event {
	env := t.msg.Envelope
	env.Recipients = make([]mail.Recipient, len(list))
	for n, i := range list {
		env.Recipients[n] = t.rcpts[i].Recipient.Recipient
	}
	current := -1
	if len(list) == 1 {
		current = 0 // so that its attributes can be reached
	}
	return &hook.Event{
		Stage:     s,
		Recipient: current,
		Tx:        &hook.Transaction{ID: t.item.ID.String(), Envelope: env, Attrs: t.tx},
		Content:   &hook.Content{Header: t.header, Body: t.body, BodySize: t.msg.BodySize},
		Delivery: &hook.Delivery{
			ID: t.item.ID, Domain: t.item.Domain, Attempt: t.item.Attempts + 1,
			Arrived: t.item.Arrived, Expire: t.expire(), Retry: t.retry, Priority: t.item.Priority,
			NextHops: slices.Clone(hops), Last: t.rcpts[list[0]].Last, History: slices.Concat(t.item.History, t.history),
		},
	}
}

// keep takes over what plugins changed in an event.
func (t *task) keep(ev *hook.Event, list []int) {
	t.tx, t.msg.Envelope.Attrs = ev.Tx.Attrs, ev.Tx.Envelope.Attrs
	for n, i := range list {
		t.rcpts[i].Attrs = ev.Tx.Envelope.Recipients[n].Attrs
	}
	t.item.Priority, t.item.Expire, t.retry = ev.Delivery.Priority, ev.Delivery.Expire, ev.Delivery.Retry
}

func (t *task) expire() time.Time {
	if t.item.Expire.IsZero() {
		return t.item.Arrived.Add(t.m.opts.Lifetime)
	}
	return t.item.Expire
}

func (t *task) noteCorrupt(err error) {
	if errors.Is(err, queue.ErrCorrupt) {
		t.corrupt.Store(true)
	}
}

// deliver calls the agent and makes its answer sound: one result for each
// recipient, each with a reply. sound is false if the agent failed.
func (m *Manager) deliver(ctx context.Context, hops []mail.NextHop, msg *mail.Message) (results []mail.Result, sound bool) {
	ctx, cancel := context.WithTimeout(ctx, m.opts.AttemptLimit)
	defer cancel()
	sound = true
	func() {
		defer func() {
			if r := recover(); r != nil {
				m.log.Error("panic in the delivery agent; the message stays queued", "id", msg.ID.String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
				results, sound = nil, false
			}
		}()
		results = m.opts.Deliverer.Deliver(ctx, hops, msg)
	}()
	n := len(msg.Envelope.Recipients)
	if sound && len(results) != n {
		m.log.Error("the delivery agent gave the wrong number of results; those missing are deferred", "id", msg.ID.String(), "recipients", n, "results", len(results))
		sound = false
	}
	results = results[:min(len(results), n)]
	for len(results) < n {
		results = append(results, mail.Result{})
	}
	for i := range results {
		if results[i].Reply.Code != 0 {
			continue
		}
		switch results[i].Outcome {
		case mail.Delivered, mail.Discarded:
			results[i].Reply = *mail.NewReply(250, "2.0.0", "delivered")
		case mail.Failed, mail.Expired:
			results[i].Reply = *mail.NewReply(550, "5.0.0", "the delivery agent gave no reason")
		default:
			results[i].Reply = *mail.ReplyInternal()
		}
	}
	return results, sound
}

// program is the agent's name in the log.
func program(t mail.Transport) string {
	switch t {
	case mail.TransportLMTP, mail.TransportLMTPUnix:
		return "lmtp"
	case mail.TransportMaildir:
		return "local"
	case mail.TransportDiscard:
		return "discard"
	}
	return "smtp"
}

// watchedBody notices damage while a body is being sent.
type watchedBody struct {
	queue.Body
	note func(error)
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if err != nil && err != io.EOF {
		b.note(err)
	}
	return n, err
}

// lazyBody is the body as plugins see it, opened when the first looks.
type lazyBody struct {
	open func() (queue.Body, error)
	mu   sync.Mutex // a plugin may read while it sends the body elsewhere
	body queue.Body
}

func (b *lazyBody) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	body := b.body
	if body == nil {
		var err error
		if body, err = b.open(); err != nil {
			b.mu.Unlock()
			return 0, err
		}
		b.body = body
	}
	b.mu.Unlock()
	return body.ReadAt(p, off)
}

func (b *lazyBody) close() {
	if b.body != nil {
		_ = b.body.Close() // only read from
	}
}
