package core

import (
	"reflect"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// What FUTURERELEASE, DELIVERBY and MT-PRIORITY ask of the queue.
func TestParametersOfMailInTheQueue(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	const day = 24 * time.Hour
	in := &intake{lifetime: 5 * day}
	for name, c := range map[string]struct {
		params mail.MailParams
		want   queue.CommitOptions
	}{
		"none":                   {mail.MailParams{}, queue.CommitOptions{Due: now, Expire: at(5 * day)}},
		"held":                   {mail.MailParams{HoldUntil: at(day)}, queue.CommitOptions{Due: at(day), Expire: at(6 * day)}},
		"held until now":         {mail.MailParams{HoldUntil: at(-time.Hour)}, queue.CommitOptions{Due: now, Expire: at(5 * day)}},
		"returned when late":     {mail.MailParams{By: mail.DeliverBy{Time: at(time.Hour), Return: true}}, queue.CommitOptions{Due: now, Expire: at(time.Hour)}},
		"returned, held":         {mail.MailParams{HoldUntil: at(time.Hour), By: mail.DeliverBy{Time: at(day), Return: true}}, queue.CommitOptions{Due: at(time.Hour), Expire: at(day)}},
		"returned, after it all": {mail.MailParams{By: mail.DeliverBy{Time: at(9 * day), Return: true}}, queue.CommitOptions{Due: now, Expire: at(5 * day)}},
		"notified when late":     {mail.MailParams{By: mail.DeliverBy{Time: at(time.Hour)}}, queue.CommitOptions{Due: now, Expire: at(5 * day)}},
		"urgent":                 {mail.MailParams{Priority: 9}, queue.CommitOptions{Due: now, Expire: at(5 * day), Priority: 9}},
		"of no hurry":            {mail.MailParams{Priority: -9}, queue.CommitOptions{Due: now, Expire: at(5 * day), Priority: -9}},
	} {
		if got := in.options(&c.params, now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	for lifetime, want := range map[time.Duration]time.Duration{5 * day: 4 * day, time.Second: 0, 1<<63 - 1: 999_999_999 * time.Second} {
		if got := maxHold(lifetime); got != want || got >= lifetime {
			t.Errorf("the longest hold of a lifetime of %v is %v", lifetime, got)
		}
	}
}
