package trace

import (
	"crypto/tls"
	"strconv"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// Connect: a session began.
func (r *Record) Connect(c *mail.Client, proxy string) {
	if !r.now(evConnect, false) {
		return
	}
	name := c.PTR
	if name == "" {
		name = "unknown"
	}
	r.text(keyClient, name+"["+c.Remote.Addr().String()+"]:"+strconv.Itoa(int(c.Remote.Port())))
	r.text(keyListener, c.Listener)
	r.text(keyProxy, proxy)
	r.end()
}

// TLS: a handshake ended.
func (r *Record) TLS(t *mail.TLS, err error) {
	if !r.now(evTLS, false) {
		return
	}
	if err != nil {
		r.text(keyError, firstLine(err))
	} else {
		text := tls.VersionName(t.Version) + " " + t.Cipher
		if t.ServerName != "" {
			text += ", asked for " + t.ServerName
		}
		if t.Fingerprint != "" {
			text += ", client certificate " + t.Fingerprint
		}
		r.text(keyTLS, text)
	}
	r.end()
}

// Helo: HELO, EHLO or LHLO was accepted.
func (r *Record) Helo(verb, name string) {
	if r.now(evHelo, false) {
		r.text(keyVerb, verb)
		r.text(keyHelo, name)
		r.end()
	}
}

// Auth: a SASL exchange came to an end. user is the name that the client gave,
// identity who it is now, empty if it failed, for which detail is the reason.
// by is the plugin that decided.
func (r *Record) Auth(mechanism, user, identity, by, detail string) {
	if !r.now(evAuth, false) {
		return
	}
	r.text(keyMechanism, mechanism)
	r.text(keyUser, user)
	r.text(keyIdentity, identity)
	r.text(keyBy, by)
	r.text(keyDetail, detail)
	status := "ok"
	if identity == "" {
		status = "failed"
	}
	r.text(keyStatus, status)
	r.end()
}

// Begin: MAIL begins a transaction.
func (r *Record) Begin() {
	if r != nil {
		r.shut()
		r.part, r.message = partTransaction, 0
	}
}

// Mail: the reverse-path was accepted.
func (r *Record) Mail(from mail.Path, p *mail.MailParams) {
	if r.now(evMail, false) {
		r.path(keyFrom, from)
		r.number(keySize, p.Size)
		r.text(keyDetail, mailParams(p))
		r.end()
	}
}

func mailParams(p *mail.MailParams) string {
	if (*p == mail.MailParams{Size: p.Size}) { // the usual case
		return ""
	}
	text := ""
	add := func(set bool, what string) {
		if set {
			text += " " + what
		}
	}
	add(p.Body != mail.BodyUnspecified, "BODY="+p.Body.String())
	add(p.SMTPUTF8, "SMTPUTF8")
	add(p.RequireTLS, "REQUIRETLS")
	add(p.Return != mail.ReturnUnspecified, "RET="+p.Return.String())
	add(p.EnvID != "", "ENVID="+p.EnvID)
	add(!p.HoldUntil.IsZero(), "HOLDUNTIL="+p.HoldUntil.UTC().Format(time.RFC3339))
	add(p.Priority != 0, "MT-PRIORITY="+strconv.Itoa(int(p.Priority)))
	add(!p.By.Time.IsZero(), "BY="+p.By.Time.UTC().Format(time.RFC3339))
	if text != "" {
		text = text[1:]
	}
	return text
}

// Rcpt: a forward-path was accepted.
func (r *Record) Rcpt(to mail.Path, p *mail.RcptParams) {
	if r.now(evRcpt, false) {
		r.path(keyTo, to)
		if p.Notify != 0 {
			r.text(keyDetail, "NOTIFY="+p.Notify.String())
		}
		r.end()
	}
}

// Reply: a reply of ours that was no plain success. stage is the verb; from and
// to may be nil; by is the plugin that decided, empty for the server itself. The
// same reply is recorded once.
func (r *Record) Reply(stage string, reply *mail.Reply, from, to *mail.Path, by string) {
	if r == nil || reply == nil || reply == r.said || !r.now(evReply, false) {
		return
	}
	r.said = reply
	r.text(keyStage, stage)
	r.text(keyReply, reply.String())
	if from != nil {
		r.path(keyFrom, *from)
	}
	if to != nil {
		r.path(keyTo, *to)
	}
	r.text(keyBy, by)
	r.end()
}

// Discarded: the message, or a recipient, is taken and thrown away.
func (r *Record) Discarded(to *mail.Path, by string) {
	if r.now(evDiscard, true) {
		if to != nil {
			r.path(keyTo, *to)
		}
		r.text(keyBy, by)
		r.end()
	}
}

// Accepted: the message is ours. took is how long the commit took; hold is why
// it waits for an operator. [Record.End] follows.
func (r *Record) Accepted(id mail.ID, size int64, recipients int, took time.Duration, hold string) {
	if r.now(evAccept, true) {
		r.message = uint64(id)
		r.number(keySize, size)
		r.number(keyRecipients, int64(recipients))
		r.took(keyTook, took)
		r.text(keyDetail, hold)
		r.end()
	}
}

// End ends a transaction and hands it over with what was recorded before. reason
// is why it came to nothing; empty: it came to its end.
func (r *Record) End(reason string) {
	if r == nil || r.part != partTransaction {
		return
	}
	if reason != "" && r.now(evAbort, true) {
		r.text(keyDetail, reason)
		r.end()
	}
	r.Flush()
	r.part, r.message = partSession, 0
}

// Close: the session ended.
func (r *Record) Close(reason string) {
	if r == nil {
		return
	}
	if r.now(evClose, true) {
		r.text(keyDetail, reason)
		r.end()
	}
	r.Flush()
}

// levels of log lines, as in the ABI.
var levels = [...]string{"debug", "info", "warning", "error"}

// Said implements [hook.Observer].
func (r *Record) Said(p *hook.Plugin, s hook.Stage, level int32, text string) {
	t := time.Now()
	n := r.plugin(p, t)
	if n < 0 || !r.begin(evLog, t, false) {
		return
	}
	r.number(keyPlugin, n)
	r.text(keyStage, s.String())
	r.text(keyLevel, levels[min(max(level, 0), int32(len(levels)-1))])
	r.text(keyDetail, text)
	r.end()
}

// plugin is the number of a plugin in the frame, which may begin at t; negative:
// it has none.
func (r *Record) plugin(p *hook.Plugin, t time.Time) int64 {
	if r == nil {
		return -1
	}
	if r.frame >= 0 {
		for i := range r.known {
			if r.known[i].name == p.Name && r.known[i].generation == p.Generation {
				return int64(i)
			}
		}
	}
	if !r.begin(evPlugin, t, false) { // which may begin a frame
		return -1
	}
	n := int64(len(r.known))
	r.known = append(r.known, plugin{p.Name, p.Generation})
	r.number(keyPlugin, n)
	r.text(keyPluginName, p.Name)
	r.text(keyGeneration, p.Generation)
	r.text(keyModule, p.Module[:min(len(p.Module), 16)])
	r.end()
	return n
}

// Answered implements [hook.Observer].
func (r *Record) Answered(a *hook.Answer) {
	n := r.plugin(a.Plugin, a.Began)
	if n < 0 || !r.begin(evHook, a.Began, false) {
		return
	}
	r.number(keyPlugin, n)
	r.text(keyStage, a.Event.Stage.String())
	r.took(keyTook, a.Took)
	r.text(keyVerdict, a.Verdict.Action.String())
	if a.Verdict.Reply != nil {
		r.text(keyReply, a.Verdict.Reply.String())
	}
	switch {
	case a.Verdict.DetachSession:
		r.text(keyDetail, "not to be asked again in this session")
	case a.Verdict.DetachTransaction:
		r.text(keyDetail, "not to be asked again in this transaction")
	}
	if a.Err != nil {
		r.text(keyError, firstLine(a.Err))
		r.text(keyOnError, a.Plugin.OnError.String())
	}
	if a.Changed != 0 {
		r.changes(a)
		if a.Changed&hook.EditDelivery != 0 {
			r.hop = a.Plugin.Name
		}
	}
	r.end()
}
