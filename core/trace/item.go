package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Routed: recipients go to these next hops, in their order. by is the plugin
// that decided; empty: the record knows, or it was the table.
func (r *Record) Routed(hops []mail.NextHop, to []mail.Recipient, pinned bool, by string) {
	if !r.now(evRoute, false) {
		return
	}
	r.hops(hops)
	r.recipients(to)
	switch {
	case pinned:
		r.text(keyBy, "pinned by a plugin or an operator")
	case by != "" || r.hop != "":
		if by == "" {
			by = r.hop
		}
		r.text(keyBy, "plugin "+by)
	default:
		r.text(keyBy, "the routing table")
	}
	r.end()
}

func (r *Record) hops(hops []mail.NextHop) {
	for _, h := range hops[:min(len(hops), maxList)] {
		r.text(keyNextHop, h.String())
	}
}

// recipients records a list of forward-paths, or of its beginning.
func (r *Record) recipients(list []mail.Recipient) {
	for i := range list[:min(len(list), maxList)] {
		r.path(keyTo, list[i].ForwardPath)
	}
	if n := len(list) - maxList; n > 0 {
		r.text(keyTo, fmt.Sprintf("and %d more", n))
	}
}

// Attempted: an attempt at these next hops came to these results, one for each
// recipient; results that are the same are recorded once.
func (r *Record) Attempted(attempt int, hops []mail.NextHop, began time.Time, to []mail.Recipient, results []mail.Result) {
	if r == nil {
		return
	}
	took := time.Since(began)
	done := make([]bool, len(results))
	same := make([]mail.Recipient, 0, 1)
	for i, res := range results {
		if done[i] || i >= len(to) {
			continue
		}
		same = same[:0]
		for j := i; j < min(len(results), len(to)); j++ {
			if o := results[j]; !done[j] && o.Outcome == res.Outcome && o.Reply == res.Reply && o.RemoteMTA == res.RemoteMTA && o.Relay == res.Relay {
				done[j] = true
				same = append(same, to[j])
			}
		}
		if !r.begin(evAttempt, began, true) {
			continue
		}
		r.number(keyAttempt, int64(attempt))
		r.hops(hops)
		r.recipients(same)
		r.text(keyStatus, res.Outcome.String())
		r.text(keyReply, res.Reply.String())
		r.text(keyRemoteMTA, res.RemoteMTA)
		r.text(keyRelay, res.Relay)
		r.text(keyTLS, res.TLS)
		n := 0
		for line := range strings.SplitSeq(res.Earlier, "\n") {
			if n++; n <= maxList {
				r.text(keyEarlier, line)
			}
		}
		r.took(keyConnect, res.Connect)
		r.took(keyTransmit, res.Transmit)
		r.took(keyTook, took)
		r.end()
	}
}

// Outcome: what a recipient gets, where that is not what the attempt came to:
// there was none, a plugin decided otherwise, or time is over. by is a plugin.
func (r *Record) Outcome(to mail.Path, res *mail.Result, by string) {
	if r.now(evOutcome, true) {
		r.path(keyTo, to)
		r.text(keyStatus, res.Outcome.String())
		r.text(keyReply, res.Reply.String())
		r.text(keyBy, by)
		r.end()
	}
}

// Retry: what is left of the item is due again.
func (r *Record) Retry(attempts int, due time.Time) {
	if r.now(evRetry, true) {
		r.number(keyAttempt, int64(attempts))
		r.number(keyDue, due.UnixMilli())
		r.end()
	}
}

// Held: the item waits for an operator.
func (r *Record) Held(reason string) {
	if r.now(evHold, true) {
		r.text(keyDetail, reason)
		r.end()
	}
}

// Notified: a notification was made. action is failed, delayed, delivered,
// relayed or expanded. The notification remembers what it is about.
func (r *Record) Notified(notice mail.ID, action string, to mail.Path) {
	if r == nil {
		return
	}
	if r.now(evNotify, true) {
		r.number(keyNotice, int64(notice))
		r.text(keyVerb, action)
		r.path(keyTo, to)
		r.end()
	}
	of := r.store.Item(notice, 0)
	if of.now(evNotice, true) {
		of.number(keyNotice, int64(r.message))
		of.text(keyVerb, action)
		of.end()
	}
	of.Flush()
}

// Gone: nothing is left of the message.
func (r *Record) Gone() {
	if r.now(evGone, true) {
		r.end()
	}
}

// Notified is [Record.Notified] for a message of which nothing else is recorded
// at the time.
func (s *Store) Notified(id, notice mail.ID, action string, to mail.Path) {
	r := s.Item(id, 0)
	r.Notified(notice, action, to)
	r.Flush()
}

// Operator records what an operator did to a message, or to one item.
func (s *Store) Operator(id mail.ID, item uint32, act, detail string) {
	r := s.Item(id, item)
	if r.now(evOperator, true) {
		r.text(keyVerb, act)
		r.text(keyDetail, detail)
		r.end()
	}
	r.Flush()
}

// Held records why an item waits for an operator.
func (s *Store) Held(id mail.ID, item uint32, reason string) {
	r := s.Item(id, item)
	r.Held(reason)
	r.Flush()
}

// sorted puts events in the order of time; those of one time stay as they are.
func sorted(list []Event) []Event {
	slices.SortStableFunc(list, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return list
}
