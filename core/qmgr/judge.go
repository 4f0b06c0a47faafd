package qmgr

import (
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// verdict is what an attempt says of its next hop.
type verdict struct {
	answered bool // something answered there
	dead     bool // nothing could be reached
	strained bool // it wants less: see strains
	began    time.Time
	took     time.Duration
	worst    mail.Result
	source   string // of a pool, from which the attempt was made; empty: none was chosen
	others   bool   // it could have been made from another one
	rule     *OnReply
	why      string // the reply that rule is about
}

// strains tells whether a result asks for fewer connections: the session ended
// with 421 or broke off, or its status is one of congestion (RFC 3463 3.4, 3.5:
// system full, not accepting messages, network congestion). What is said of one
// recipient or one message, such as greylisting, does not.
func strains(r mail.Result) bool {
	if r.Outcome != mail.Deferred {
		return false
	}
	if r.RemoteMTA == "" {
		return r.Reached
	}
	switch r.Reply.Enhanced {
	case mail.Enhanced{4, 3, 1}, mail.Enhanced{4, 3, 2}, mail.Enhanced{4, 4, 5}:
		return true
	}
	return r.Reply.Code == 421
}

// judge draws the conclusions from an attempt at h, which it held a slot of.
func (m *Manager) judge(h *hop, v verdict) {
	m.mu.Lock()
	now := time.Now()
	h.pace.did(now)
	if h.took += (v.took - h.took) / 8; h.pace.count == 1 {
		h.took = v.took
	}
	var pause, away time.Duration
	l := h.laneAt(v.source)
	switch {
	case v.answered:
		h.proven = true
		if h.failures > 0 {
			m.dirty = true
		}
		h.failures, h.pause, h.until = 0, 0, time.Time{}
		if l != nil {
			l.failures, l.pause = 0, 0
		}
	case v.dead:
		if h.failures == 0 {
			h.culprit, h.culprits = v.source, false
		}
		h.failures++
		h.culprits = h.culprits || h.culprit != v.source
		h.failed, h.last = v.began, v.worst
		// Those that were under way when it was suspended say nothing new, and those
		// from one source nothing of the others.
		if h.failures >= suspendAfter && !now.Before(h.until) && (l == nil || h.culprits || !v.others) {
			pause = min(max(2*h.pause, firstPause), maxPause)
			h.pause, h.until = pause, now.Add(pause)
		}
		if l != nil {
			if l.failures++; l.failures >= suspendAfter && !l.holds(now) {
				l.pause = min(max(2*l.pause, firstPause), maxPause)
				l.bar = bar{until: now.Add(l.pause), why: v.worst.Reply.String()}
			}
		}
	}
	switch {
	case v.strained || v.dead:
		if !v.began.Before(h.shrunk) { // else it began before there were fewer
			h.window = max(h.window/2, 1)
			h.thresh, h.shrunk = h.window, now
			m.dirty = true
		}
	case !v.answered:
	case h.window < h.thresh:
		h.window = min(h.window+1, float64(h.most))
	default:
		h.window = min(h.window+1/h.window, float64(h.most))
	}
	if v.rule != nil {
		away = v.rule.Suspend
		b := bar{until: now.Add(away), why: v.why}
		if l != nil {
			l.bar = b
		} else {
			h.bars[byRule] = b
		}
	}
	if pause > 0 || away > 0 {
		m.dirty = true
	}
	m.grade(h)
	m.advance(h)
	m.mu.Unlock()
	if pause > 0 {
		m.log.Warn("next hop suspended: it cannot be reached", "nexthop", h.key.String(), "seconds", int(pause.Seconds()), "reason", v.worst.Reply.String())
	}
	if away > 0 {
		m.log.Warn("next hop suspended: it said so", "nexthop", h.key.String(), "source", v.source, "seconds", int(away.Seconds()), "reason", v.why)
	}
}

// ruleFor is the first rule that is for one of the results, and the reply that
// it is for; nil if there is none.
func (s *Shape) ruleFor(results []mail.Result) (*OnReply, string) {
	if len(s.On) == 0 {
		return nil, ""
	}
	for i := range results {
		r := &results[i]
		if r.Outcome == mail.Delivered || r.Outcome == mail.Discarded || i > 0 && r.Reply == results[i-1].Reply {
			continue
		}
		text := r.Reply.String()
		for n := range s.On {
			if s.On[n].Reply.MatchString(text) {
				return &s.On[n], text
			}
		}
	}
	return nil, ""
}
