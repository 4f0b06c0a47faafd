package hook

import (
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Observer is told what came of each plugin that a conversation asked. It is
// called by the goroutine that asks, must not wait, and keeps nothing of what it
// is given.
type Observer interface {
	// Answered: a plugin answered, or failed to.
	Answered(a *Answer)
	// Said: a plugin that is being asked logged a line. level is the ABI's.
	Said(p *Plugin, s Stage, level int32, text string)
}

// Answer is what came of asking one plugin.
type Answer struct {
	Plugin  *Plugin
	Event   *Event // as it is now
	Began   time.Time
	Took    time.Duration
	Verdict Verdict // what it said, or what stands for that if it failed
	Err     error   // it failed
	Changed Edit    // what it changed for good
	Before  Before  // how that was, as far as the event has it
}

// Before is what of an event plugins can change, as it was before one of them
// was asked. It shares memory with the event: what is edited is copied first.
type Before struct {
	ReversePath mail.Path
	Recipients  []mail.Recipient
	SizeLimit   int64
	Header      mail.Header
	BodySize    int64
	Banner      string
	Extensions  []string
	AuthID      string
	Delivery    Delivery
}

// Observe has o told of what follows; nil: nobody.
func (k *Conversation) Observe(o Observer) {
	k.observer, k.answer = o, nil
	if o != nil && len(k.chain) > 0 {
		k.answer = new(Answer)
	}
}

// Say passes on a line that the plugin which is being asked has logged. Without
// an [Observer] it does nothing.
func (e *Event) Say(level int32, text string) {
	if e.observer != nil {
		e.observer.Said(e.asked, e.Stage, level, text)
	}
}

// observe notes what is there before p is asked.
func (k *Conversation) observe(p *Plugin, e *Event) {
	a := k.answer
	e.observer, e.asked = k.observer, p
	*a = Answer{Plugin: p, Event: e, Began: time.Now()}
	b := &a.Before
	if e.Session != nil {
		b.Banner, b.Extensions = e.Session.Banner, e.Session.Extensions
	}
	if e.Tx != nil {
		b.ReversePath, b.Recipients, b.SizeLimit = e.Tx.Envelope.ReversePath, e.Tx.Envelope.Recipients, e.Tx.SizeLimit
	}
	if e.Content != nil {
		b.Header, b.BodySize = e.Content.Header, e.Content.BodySize
	}
	if e.Auth != nil {
		b.AuthID = e.Auth.ID
	}
	if e.Delivery != nil {
		b.Delivery = *e.Delivery
	}
}

// observed tells what came of it.
func (k *Conversation) observed(v Verdict, err error, what Edit) {
	a := k.answer
	a.Event.observer, a.Event.asked = nil, nil
	a.Took, a.Verdict, a.Err, a.Changed = time.Since(a.Began), v, err, what
	k.observer.Answered(a)
	*a = Answer{}
}
