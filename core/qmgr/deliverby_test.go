package qmgr_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
)

// TestDeliverByNotifies has RFC 2852 4 with by-mode N: the sender hears when the
// deadline is over, not before and not twice, and when the message goes where it
// counts no more, whatever else NOTIFY says; NEVER is never.
func TestDeliverByNotifies(t *testing.T) {
	for name, c := range map[string]struct {
		by      time.Duration
		notify  mail.Notify
		relayed bool // it is sent on, where there is no DELIVERBY
		want    []string
	}{
		"before a delay is told of":      {time.Hour, mail.NotifyFailure, false, []string{"delayed 1h", "failed 120h"}},
		"after a delay would be told of": {30 * time.Hour, mail.NotifyFailure, false, []string{"delayed 30h", "failed 120h"}},
		"never, delayed":                 {time.Hour, mail.NotifyNever, false, nil},
		"relayed":                        {time.Hour, 0, true, []string{"relayed 0s"}},
		"relayed, failures only":         {time.Hour, mail.NotifyFailure, true, []string{"relayed 0s"}},
		"never, relayed":                 {time.Hour, mail.NotifyNever, true, nil},
		"no deadline, relayed":           {0, 0, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{})
				b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
					switch r := sent; {
					case hop.Host == "example.org":
						return same(msg, r)
					case c.relayed:
						r.Relayed = true
						return same(msg, r)
					}
					return same(msg, greyed)
				}
				b.run()
				env := mail.Envelope{ReversePath: path("alice@example.org"), Client: mail.Client{Arrived: time.Now()},
					Recipients: []mail.Recipient{{ForwardPath: path("bob@slow.example"), RcptParams: mail.RcptParams{Notify: c.notify}}}}
				if c.by > 0 {
					env.By = mail.DeliverBy{Time: time.Now().Add(c.by)}
				}
				b.m.Enqueue(b.commitEnvelope(queue.CommitOptions{}, env))
				b.sleep(7 * 24 * time.Hour)
				var got []string
				for _, n := range b.agent.notices() {
					_, action, _ := strings.Cut(n.body, "\nAction: ")
					action, _, _ = strings.Cut(action, "\r")
					got = append(got, action+" "+strings.TrimSuffix(n.at.Truncate(time.Hour).String(), "0m0s"))
				}
				if strings.Join(got, ", ") != strings.ReplaceAll(strings.Join(c.want, ", "), "relayed 0s", "relayed 0s") {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}
