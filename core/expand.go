package core

import (
	"context"
	"time"

	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// expand finds recipients that plugins made several of, as an alias does, and
// treats them as RFC 3461 5.2.7 wants it: what the client asked for holds for
// each of the new ones, but for the notification of success, which is given once
// for all, saying that the recipient was expanded. It returns whom to report so.
func expand(env *mail.Envelope) []dsn.Recipient {
	var first map[mail.Path]int
	var count map[mail.Path]int
	for i, r := range env.Recipients {
		if !r.Original.IsNull() {
			if first == nil {
				first, count = make(map[mail.Path]int), make(map[mail.Path]int)
			}
			if _, ok := first[r.Original]; !ok {
				first[r.Original] = i
			}
			count[r.Original]++
		}
	}
	var report []dsn.Recipient
	for i := range env.Recipients {
		r := &env.Recipients[i]
		if count[r.Original] < 2 {
			continue
		}
		asked := env.Recipients[first[r.Original]].RcptParams
		if i != first[r.Original] {
			if r.RcptParams == (mail.RcptParams{}) { // made by a plugin
				r.Notify, r.OrcptType, r.Orcpt = withoutSuccess(asked.Notify), asked.OrcptType, asked.Orcpt
			}
			continue
		}
		if asked.Notify&mail.NotifySuccess != 0 {
			report = append(report, dsn.Recipient{
				Recipient: mail.Recipient{ForwardPath: r.Original, RcptParams: asked}, Result: mail.Result{Outcome: mail.Delivered},
			})
		}
	}
	for o, i := range first {
		if count[o] > 1 {
			r := &env.Recipients[i]
			r.Notify = withoutSuccess(r.Notify)
		}
	}
	return report
}

// withoutSuccess is what is left of NOTIFY; of SUCCESS alone it is NEVER.
func withoutSuccess(n mail.Notify) mail.Notify {
	if n&mail.NotifySuccess == 0 {
		return n
	}
	if n &^= mail.NotifySuccess; n == 0 {
		return mail.NotifyNever
	}
	return n
}

// reportExpanded puts the notification into the queue. A message that is ours is
// not refused because of it: what goes wrong is logged.
func (in *intake) reportExpanded(ctx context.Context, id mail.ID, env mail.Envelope, header []byte, size int64, report []dsn.Recipient) error {
	now := time.Now()
	for i := range report {
		report[i].Attempted = now
	}
	to, h, body, ok := dsn.Compose(dsn.Report{
		Action: dsn.Expanded, Hostname: in.hostname, ID: id, Now: now, Arrived: now, Envelope: env, Recipients: report, Header: header, Size: size,
		Template: in.template, MaxReturn: in.maxReturn,
	})
	if !ok {
		return nil
	}
	to.Client.Arrived = now
	d, err := in.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(body); err != nil {
		return err
	}
	refs, err := d.Commit(ctx, to, h, queue.CommitOptions{Due: now, Expire: now.Add(in.lifetime)})
	if err != nil {
		return err
	}
	in.log.Notified(id, d.ID(), dsn.Expanded.String(), env.ReversePath)
	in.trace.Notified(id, d.ID(), dsn.Expanded.String(), env.ReversePath)
	in.enqueue(refs)
	return nil
}
