package qmgr

import (
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/route"
)

// traceRoute records where recipients go.
func (t *task) traceRoute(d *route.Decision) {
	if t.trace == nil {
		return
	}
	for _, g := range d.Groups {
		if len(g.Hops) == 0 {
			continue // the outcome says it
		}
		to := make([]mail.Recipient, len(g.Recipients))
		for n, i := range g.Recipients {
			to[n] = t.rcpts[i].Recipient.Recipient
		}
		t.trace.Routed(g.Hops, to, t.item.Pinned != nil, d.By)
	}
}

// traceOutcomes records what recipients get that is not what an attempt came to,
// and when what is left is due again. last says that no more results will come.
func (t *task) traceOutcomes(item *queue.Item, last bool) {
	if t.trace == nil {
		return
	}
	for i := range t.rcpts {
		r := &t.rcpts[i]
		if r.answered && (r.by != "" || r.attempted.IsZero() || r.result.Outcome == mail.Expired) {
			t.trace.Outcome(r.ForwardPath, &r.result, r.by)
		}
	}
	switch {
	case !last || len(item.Recipients) == 0:
	case item.Held:
		t.trace.Held(item.Reason)
	default:
		t.trace.Retry(item.Attempts, item.Due)
	}
}
