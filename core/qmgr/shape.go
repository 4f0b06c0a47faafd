package qmgr

import (
	"regexp"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Shape is what holds for a next hop. Zero fields mean the Manager's defaults.
type Shape struct {
	Connections int  // at once
	Rate        Rate // of messages handed over
	Fixed       bool // Connections is used from the beginning and whatever it answers
	Pool        string
	Suspended   bool // nothing is sent there
	On          []OnReply

	// What the delivery agent heeds; nothing here uses it.
	Messages   int // of one connection
	Recipients int // of one transaction
}

// Rate is a number of messages in any stretch of time of a length. The zero
// Rate is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// OnReply is what follows from a reply other than success.
type OnReply struct {
	Reply   *regexp.Regexp // for "421 4.7.0 Text"
	Suspend time.Duration  // the next hop, or of an egress pool the source for it
}

// ShapeRule says for whom a Shape is.
type ShapeRule struct {
	Domains  []string       // of mx next hops: a name, ".suffix" for every name below it, or "*"
	NextHops []mail.NextHop // compared by transport, host and port
	Others   bool           // all next hops that are not mx
	Shape
}

func (r *ShapeRule) matches(hop mail.NextHop) bool {
	for _, n := range r.NextHops {
		if site(n) == hop {
			return true
		}
	}
	if hop.Transport != mail.TransportMX {
		return r.Others
	}
	for _, d := range r.Domains {
		if d == "*" || d == hop.Host || d[0] == '.' && strings.HasSuffix(hop.Host, d) {
			return true
		}
	}
	return false
}

// Shapes are rules of which the first that matches is used.
type Shapes []ShapeRule

// For is the Shape of a next hop; the zero Shape if no rule is for it.
func (s Shapes) For(hop mail.NextHop) Shape {
	hop = site(hop)
	for i := range s {
		if s[i].matches(hop) {
			return s[i].Shape
		}
	}
	return Shape{}
}

// site is what limits are about: whom we speak to, not how.
func site(n mail.NextHop) mail.NextHop {
	s := mail.NextHop{Transport: n.Transport, Host: n.Host, Port: n.Port}
	if s.Port == 0 {
		switch s.Transport {
		case mail.TransportSMTP:
			s.Port = 25
		case mail.TransportLMTP:
			s.Port = 24
		}
	}
	return s
}

// local tells whether a next hop is on this machine and answers at once.
func local(n mail.NextHop) bool {
	return n.Transport == mail.TransportMaildir || n.Transport == mail.TransportDiscard
}

// meter lets through at most Rate.Count in any stretch of Rate.Per (a token
// bucket, kept as the time at which it is full: GCRA). It holds a fiftieth of
// Count, so that who waits need not be woken for each.
type meter struct {
	gap, slack time.Duration
	full       time.Time
	last       time.Time // when the last was taken; zero: it was given back
	before     time.Time // full before that
}

func newMeter(r Rate) meter {
	if r.Count <= 0 || r.Per <= 0 {
		return meter{}
	}
	room := max(r.Count/50, 1)
	n := time.Duration(r.Count - room + 1)
	gap := (r.Per + n - 1) / n
	return meter{gap: gap, slack: gap * time.Duration(room-1)}
}

// next is when the next may go, at the earliest.
func (t *meter) next() time.Time {
	if t.gap == 0 {
		return time.Time{}
	}
	return t.full.Add(-t.slack)
}

func (t *meter) take(now time.Time) {
	t.last, t.before = now, t.full
	if t.full.Before(now) {
		t.full = now
	}
	t.full = t.full.Add(t.gap)
}

// giveBack undoes what was taken at a time, if nothing was since. If something was,
// the rate is lower for a moment rather than higher.
func (t *meter) giveBack(taken time.Time) {
	if taken.Equal(t.last) {
		t.full, t.last = t.before, time.Time{}
	}
}

// pacer tells at what pace something goes on.
type pacer struct {
	count int       // how much was done ...
	since time.Time // ... since then
	turn  time.Time // of the last that was told to come back later
}

func (p *pacer) did(now time.Time) {
	if p.count++; p.count >= 128 { // forget slowly
		p.since, p.count = p.since.Add(now.Sub(p.since)/2), p.count/2
	}
}

// pace is the time from one to the next, roughly. What is under way counts as
// if it ended now: those that began together end together, and between the first
// and the last of them it would look many times too long.
func (p *pacer) pace(now time.Time, active int) time.Duration {
	least := time.Millisecond
	if p.count == 0 {
		least = 10 * time.Millisecond // nothing is known yet
	}
	return max(now.Sub(p.since)/time.Duration(max(p.count+active, 1)), least)
}

// later is how long an item shall stay away because too many wait: until its
// turn is to be expected, in the order of asking and somewhat early, so that
// those who wait do not run out.
func (p *pacer) later(now time.Time, waiting int, pace time.Duration) time.Duration {
	pace = pace * 8 / 10
	if free := now.Add(time.Duration(waiting/2) * pace); p.turn.Before(free) {
		p.turn = free
	}
	if p.turn = p.turn.Add(pace); p.turn.Sub(now) > maxPause {
		p.turn = now.Add(maxPause)
	}
	return max(p.turn.Sub(now), time.Second)
}
