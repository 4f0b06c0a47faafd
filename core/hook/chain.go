package hook

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/wasmta/wasmta/core/mail"
)

// Handler answers events. An error means that it could not: the plugin's
// [FailurePolicy] answers then.
type Handler interface {
	Handle(ctx context.Context, e *Event) (Verdict, error)
}

// HandlerFunc is a Go function as a Handler.
type HandlerFunc func(ctx context.Context, e *Event) (Verdict, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, e *Event) (Verdict, error) { return f(ctx, e) }

// Opener is a Handler that keeps memory between the stages of one session or
// one delivery. Open is called before the first event of each.
type Opener interface {
	Handler
	Open(ctx context.Context) (Instance, error)
}

// Instance serves one session or delivery. Close is called once, after its
// last event or after a failure, from the goroutine that called Handle.
type Instance interface {
	Handler
	Close()
}

// FailurePolicy is the verdict of a plugin that failed.
type FailurePolicy uint8

const (
	FailTemporary FailurePolicy = iota // defer; the default
	FailContinue                       // as if it had no opinion
	FailReject                         // reject; once the message is ours: defer
)

// String is the configuration's word.
func (p FailurePolicy) String() string { return [...]string{"tempfail", "continue", "reject", ""}[p&3] }

// ParseFailurePolicy is the reverse of [FailurePolicy.String]; empty is
// tempfail.
func ParseFailurePolicy(s string) (FailurePolicy, error) {
	switch s {
	case "tempfail", "":
		return FailTemporary, nil
	case "continue":
		return FailContinue, nil
	case "reject":
		return FailReject, nil
	}
	return 0, fmt.Errorf("on_error %q: write tempfail, continue or reject", s)
}

// Plugin is one member of a chain.
type Plugin struct {
	Name       string
	Generation string // identity of what answers, for the log
	Module     string // SHA-256 of the module in hex; empty: it is none
	Stages     StageSet
	Listeners  []string // asked only for these; empty: for all
	OnError    FailurePolicy
	Handler    Handler
}

// Failure is a plugin that could not answer.
type Failure struct {
	Plugin     string
	Generation string
	Stage      Stage
	Policy     FailurePolicy
	Err        error
}

// Chain is an ordered list of plugins. It is never modified once in use.
type Chain []Plugin

// Source gives the chain in force. Whoever acquires one is pinned to it until
// release, which must be called once.
type Source interface {
	Acquire() (chain Chain, release func())
}

// Drainer is a Source that wants back what it replaced long ago. Overdue tells
// that a chain is such a one: a session that holds it releases it between two
// transactions and acquires the chain in force. What the server keeps for the
// session, its attributes among it, stays; what instances keep does not. It is
// asked before every transaction and must not wait.
type Drainer interface {
	Source
	Overdue(chain Chain) bool
}

// Static is a Source that never changes.
type Static Chain

// Acquire returns the chain.
func (s Static) Acquire() (Chain, func()) { return Chain(s), func() {} }

// Has tells whether any plugin of the chain is asked at s.
func (c Chain) Has(s Stage) bool {
	for i := range c {
		if c[i].Stages.Has(s) {
			return true
		}
	}
	return false
}

// Open begins a conversation with the chain: one session, or one delivery.
// listener is the session's, or that of the session which brought the message.
// report is told of every failure; it may be nil.
func (c Chain) Open(listener string, report func(Failure)) *Conversation {
	k := &Conversation{chain: c, members: make([]member, len(c)), report: report}
	for i := range c {
		m := &k.members[i]
		m.detached = len(c[i].Listeners) > 0 && !slices.Contains(c[i].Listeners, listener)
		m.marked = m.detached
	}
	return k
}

// Conversation is the asking of one chain during one session or delivery. It
// belongs to one goroutine at a time.
type Conversation struct {
	chain   Chain
	members []member
	report  func(Failure)
	changed func(Change)

	observer Observer
	answer   *Answer // what the observer is shown; nil: there is none
}

// OnChange has f told of every change that stays.
func (k *Conversation) OnChange(f func(Change)) { k.changed = f }

type member struct {
	instance   Instance // nil: not opened, or no Opener
	detached   bool     // for the session
	detachedTx bool     // for the transaction
	marked     bool     // detached when Mark was called
}

// Wants tells whether any plugin would be asked at s now.
func (k *Conversation) Wants(s Stage) bool {
	for i := range k.chain {
		if m := &k.members[i]; !m.detached && !m.detachedTx && k.chain[i].Stages.Has(s) {
			return true
		}
	}
	return false
}

// Ask puts e to the plugins in order; see the package comment for the rules.
func (k *Conversation) Ask(ctx context.Context, e *Event) Outcome {
	for i := range k.chain {
		p, m := &k.chain[i], &k.members[i]
		if m.detached || m.detachedTx || !p.Stages.Has(e.Stage) {
			continue
		}
		if k.observer != nil {
			k.observe(p, e)
		}
		v, err := m.handle(ctx, p, e)
		if err == nil {
			err = v.check(e.Stage)
		}
		if err == nil && (v.Action == Continue || v.Action == Accept) {
			err = e.CloseBody()
		}
		if err != nil {
			e.rollback()
			m.close()
			if k.report != nil {
				k.report(Failure{p.Name, p.Generation, e.Stage, p.OnError, err})
			}
			if e.Stage.Ignored() || p.OnError == FailContinue {
				if k.observer != nil {
					k.observed(Verdict{}, err, 0)
				}
				continue
			}
			o := Outcome{Verdict{Action: Defer}, p.Name, p.Generation, true, p.OnError}
			if p.OnError == FailReject && !e.Stage.Accepted() {
				o.Action = Reject
			}
			if !e.Stage.Allows(o.Action) {
				// command and dsn cannot defer: refuse the command, make the notification.
				o.Action = Continue
				if e.Stage.Allows(Reject) && !e.Stage.Accepted() {
					o.Action = Reject
					o.Reply = mail.NewReply(554, "5.7.1", "Policy is not available")
				}
			}
			if k.observer != nil {
				k.observed(o.Verdict, err, 0)
			}
			return o
		}
		var what Edit
		if v.Action == Continue || v.Action == Accept || e.Stage.Ignored() {
			if what = e.keep(); what != 0 && k.changed != nil {
				k.changed(Change{p.Name, p.Generation, e.Stage, what})
			}
		} else {
			e.rollback()
		}
		if k.observer != nil {
			k.observed(v, nil, what)
		}
		m.detachedTx = m.detachedTx || v.DetachTransaction
		m.detached = m.detached || v.DetachSession
		if v.Action != Continue && !e.Stage.Ignored() {
			return Outcome{Verdict: v, Plugin: p.Name, Generation: p.Generation}
		}
	}
	return Outcome{}
}

// EndTransaction forgets what plugins asked for the transaction.
func (k *Conversation) EndTransaction() {
	for i := range k.members {
		k.members[i].detachedTx = false
	}
}

// Mark keeps who is detached now, for Rewind.
func (k *Conversation) Mark() {
	for i := range k.members {
		k.members[i].marked = k.members[i].detached
	}
}

// Rewind has those asked again who detached since Mark, or since Open: what they
// concluded it from is not true any more.
func (k *Conversation) Rewind() {
	for i := range k.members {
		k.members[i].detached, k.members[i].detachedTx = k.members[i].marked, false
	}
}

// Close ends the conversation and its instances.
func (k *Conversation) Close() {
	for i := range k.members {
		k.members[i].close()
		k.members[i].detached = true
	}
}

func (m *member) handle(ctx context.Context, p *Plugin, e *Event) (v Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	h := p.Handler
	if o, ok := h.(Opener); ok {
		if m.instance == nil {
			if m.instance, err = o.Open(ctx); err != nil {
				m.instance = nil
				return Verdict{}, err
			}
		}
		h = m.instance
	}
	return h.Handle(ctx, e)
}

func (m *member) close() {
	if m.instance != nil {
		m.instance.Close()
		m.instance = nil
	}
}
