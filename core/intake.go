package core

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hold"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/smtpd"
	"github.com/wasmta/wasmta/core/trace"
)

// intake makes the queue what smtpd puts messages into, and hands what was
// committed to the scheduler.
type intake struct {
	store    queue.Store
	lifetime time.Duration
	enqueue  func([]queue.Ref)

	hostname  string
	template  *dsn.Template
	maxReturn int64
	// backscatter is [qmgr.Options.Backscatter].
	backscatter func(client *mail.Client, to mail.Path, r mail.Result, by string) bool
	log         event.Log
	trace       *trace.Store // nil: none is kept

	// postmaster, if not null, takes what is for postmaster at domain.
	postmaster mail.Path
	domain     string
	rules      *hold.Rules // for mail that comes in; nil: there are none
	// committed, if not nil, is told the session whose message is ours now,
	// before the message is handed to the scheduler.
	committed func(session string)
}

// ownPostmaster tells whose postmaster@hostname is: every server must take mail
// for it (RFC 5321 4.5.1), and where the hostname is no domain that has
// mailboxes, it would go to our own MX and come back as a bounce to a sender
// whom nobody has verified. It is the first local domain's then.
func ownPostmaster(c *config.Config) (to mail.Path, domain string) {
	domain = mail.DomainKey(c.Hostname)
	if len(c.LocalDomains) == 0 || c.IsLocal(domain) || c.IsRelay(domain) {
		return to, domain
	}
	for _, r := range c.Routes {
		for _, d := range r.Domains {
			if mail.DomainKey(d) == domain {
				return to, domain
			}
		}
	}
	return mail.Path{Local: "postmaster", Domain: string(c.LocalDomains[0])}, domain
}

func (in *intake) Begin(ctx context.Context) (smtpd.Draft, error) {
	d, err := in.store.Begin(ctx)
	if err != nil {
		return nil, storageReply(err)
	}
	return &draft{d, in}, nil
}

type draft struct {
	queue.Draft
	in *intake
}

func (d *draft) Write(p []byte) (int, error) {
	n, err := d.Draft.Write(p)
	return n, storageReply(err)
}

func (d *draft) Commit(ctx context.Context, env mail.Envelope, header []byte, hold string) error {
	if to := d.in.postmaster; !to.IsNull() {
		for i := range env.Recipients {
			r := &env.Recipients[i]
			if r.ForwardPath.DomainKey() == d.in.domain && strings.EqualFold(r.ForwardPath.Local, to.Local) {
				if r.Original.IsNull() {
					r.Original = r.ForwardPath
				}
				r.ForwardPath = to
			}
		}
	}
	expanded := expand(&env)
	if d.in.backscatter != nil {
		expanded = slices.DeleteFunc(expanded, func(r dsn.Recipient) bool { return d.in.backscatter(&env.Client, r.ForwardPath, r.Result, "") })
	}
	opt := d.in.options(&env.MailParams, time.Now())
	opt.Held, opt.Reason = hold != "", hold
	d.in.rule(&env, &opt, d.ID())
	refs, err := d.Draft.Commit(ctx, env, header, opt)
	if err != nil {
		return storageReply(err)
	}
	if d.in.committed != nil {
		d.in.committed(env.Client.Session)
	}
	if hold == "" {
		d.in.enqueue(refs)
	}
	if len(expanded) > 0 {
		if err := d.in.reportExpanded(ctx, d.ID(), env, header, int64(len(header))+d.Size(), expanded); err != nil {
			d.in.log.Program("bounce").Warn("no notification that a recipient was expanded", "id", d.ID().String(), "error", err.Error())
		}
	}
	return nil
}

// rule applies the operator's hold rules.
func (in *intake) rule(env *mail.Envelope, opt *queue.CommitOptions, id mail.ID) {
	if in.rules == nil || opt.Held {
		return
	}
	v := in.rules.Match(env, time.Now())
	if v.Whole != "" {
		opt.Held, opt.Reason = true, v.Whole
		in.log.Operator(id, "hold", v.Whole)
		in.trace.Operator(id, 0, "hold", v.Whole)
	}
	opt.HeldDomains = v.Domains
	for _, domain := range slices.Sorted(maps.Keys(v.Domains)) {
		why := v.Domains[domain] + "; recipients in " + mail.Printable(domain)
		in.log.Operator(id, "hold", why)
		in.trace.Operator(id, 0, "hold", why)
	}
}

// options are what the parameters of MAIL ask of the queue. A message that is to
// be released later (RFC 4865) is due, and counts its life, from then; one that
// is to be returned when it is late (RFC 2852) has no longer life than that.
func (in *intake) options(p *mail.MailParams, now time.Time) queue.CommitOptions {
	due := now
	if p.HoldUntil.After(due) {
		due = p.HoldUntil
	}
	expire := due.Add(in.lifetime)
	if p.By.Return && p.By.Time.Before(expire) {
		expire = p.By.Time
	}
	return queue.CommitOptions{Due: due, Expire: expire, Priority: int(p.Priority)}
}

// maxHold is how long a message may be held for its sender: less than it may
// then take to be delivered, so that nothing is twice as long in the queue as
// the operator has said.
func maxHold(lifetime time.Duration) time.Duration {
	const longest = 999_999_999 * time.Second // that can be announced
	return min(lifetime/5*4, longest).Truncate(time.Second)
}

// storageReply makes a full store what a client understands; any other error
// stays what it is.
func storageReply(err error) error {
	if errors.Is(err, queue.ErrStorage) {
		return mail.ReplyStorage()
	}
	return err
}
