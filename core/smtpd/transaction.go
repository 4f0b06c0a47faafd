package smtpd

import (
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// transaction is one MAIL to its end.
type transaction struct {
	hook.Transaction
	taken   int    // RCPT commands answered 250: so many replies under LMTP
	later   int    // RCPT commands answered 4yz
	discard string // the plugin that has the message thrown away; empty: none
	hold    string // why it is to be held; empty: it is not
	changes []hook.Change
	content *content
}

// begin, abort and finish are the only places where a transaction comes and goes.

func (s *session) begin(from mail.Path, p mail.MailParams) {
	s.sequence++
	s.trace.Begin()
	if s.chain != nil {
		s.renew()
		s.chain.EndTransaction() // who detached outside of one is asked again
	}
	s.tx = &transaction{}
	s.tx.ID = s.client.Session + "." + strconv.Itoa(s.sequence)
	s.tx.SizeLimit = s.opts.MaxSize
	s.tx.Envelope = mail.Envelope{ReversePath: from, MailParams: p, Client: s.client}
}

// pin takes the chain in force for the session.
func (s *session) pin() {
	s.pinned, s.release = s.opts.Source.Acquire()
	s.chain = s.pinned.Open(s.opts.Listener, s.pluginFailed)
	if s.trace != nil {
		s.chain.Observe(s.trace)
	}
	s.chain.OnChange(func(c hook.Change) {
		if s.tx != nil {
			s.tx.changes = append(s.tx.changes, c)
		}
	})
}

// renew changes to the chain in force if the session holds one that was
// replaced long ago. Nothing is under way then that one generation began and
// another would have to finish.
func (s *session) renew() {
	if d, ok := s.opts.Source.(hook.Drainer); ok && d.Overdue(s.pinned) {
		s.chain.Close()
		s.release()
		s.pin()
	}
}

// abort forgets the transaction, if there is one, and tells the plugins why.
func (s *session) abort(reason string) {
	if s.tx == nil {
		return
	}
	if s.tx.content != nil {
		s.tx.content.abort()
	}
	s.ask(&hook.Event{Stage: hook.Reset, Reason: reason})
	s.trace.End(reason)
	s.finish()
}

func (s *session) finish() {
	s.tx = nil
	s.trace.End("")
	if s.chain != nil {
		s.chain.EndTransaction()
	}
}

// mail decides about a reverse-path.
func (s *session) mail(from mail.Path, p mail.MailParams) *mail.Reply {
	accepted := mail.NewReply(250, "2.1.0", "Ok")
	if s.lowerPriority(&p) {
		accepted = mail.NewReply(250, "2.3.6", "0 is the new priority of the message")
	}
	s.begin(from, p)
	o := s.ask(&hook.Event{Stage: hook.Mail})
	switch o.Action {
	case hook.Drop:
		s.drop("MAIL", o, hook.Mail)
		s.finish()
		return nil
	case hook.Reject, hook.Defer:
		r := o.ReplyAt(hook.Mail)
		s.charge(r, costRcpt)
		s.refused("MAIL", r, nil, o.Plugin)
		s.finish()
		return r
	}
	s.note(o)
	s.trace.Mail(from, &p)
	return positive(o, accepted)
}

// note keeps what a verdict says about the message as a whole.
func (s *session) note(o hook.Outcome) {
	switch o.Action {
	case hook.Discard:
		s.tx.discard = o.Plugin
	case hook.Hold:
		s.tx.hold = "held by plugin " + o.Plugin
	}
}

// positive is the plugin's reply, if it gave one that says yes, or ours.
func positive(o hook.Outcome, ours *mail.Reply) *mail.Reply {
	if o.Action != hook.Continue && o.Reply != nil && o.Reply.Class() == 2 {
		r := o.Reply.Clean()
		return &r
	}
	return ours
}

// rcpt decides about a forward-path.
func (s *session) rcpt(to mail.Path, p mail.RcptParams) *mail.Reply {
	tx := s.tx
	if tx.taken+tx.later >= s.opts.MaxRecipients {
		r := mail.NewReply(452, "4.5.3", "Too many recipients")
		s.refused("RCPT", r, &to, "")
		s.charge(r, 0)
		return r
	}
	to = s.ownPostmaster(to)
	before := tx.Envelope.Recipients
	i := len(before)
	tx.Envelope.Recipients = append(before, mail.Recipient{ForwardPath: to, RcptParams: p})
	e := &hook.Event{Stage: hook.Rcpt, Recipient: i}
	o := s.ask(e)
	var r *mail.Reply
	switch o.Action {
	case hook.Drop:
		s.drop("RCPT", o, hook.Rcpt)
		return nil
	case hook.Reject, hook.Defer:
		r = o.ReplyAt(hook.Rcpt)
	case hook.Continue:
		// A plugin that rewrites a forward-path of ours answers for where it
		// goes. One that rewrites a foreign path, without accepting it, must
		// bring it home.
		if now := tx.Envelope.Recipients[e.Recipient].ForwardPath; !s.mayReach(to) && (now == to || !s.mayReach(now)) {
			r = mail.ReplyRelayDenied()
		}
	}
	if r != nil {
		tx.Envelope.Recipients = before
		if r.Permanent() {
			s.charge(r, costRcpt)
		} else {
			tx.later++ // a client may be greylisted for each of many recipients
		}
		s.refused("RCPT", r, &to, o.Plugin)
		return r
	}
	tx.taken++
	s.trace.Rcpt(to, &p)
	if o.Action == hook.Discard {
		// What plugins before it added stays.
		tx.Envelope.Recipients = slices.Delete(slices.Clone(tx.Envelope.Recipients), e.Recipient, e.Recipient+1)
		s.log.Discarded(0, &s.client, tx.Envelope.ReversePath, &to, o.Plugin)
		s.trace.Discarded(&to, o.Plugin)
	} else {
		s.note(o)
	}
	return positive(o, mail.NewReply(250, "2.1.5", "Ok"))
}

// ownPostmaster gives <postmaster>, and postmaster at our address, the domain
// that it means (RFC 5321 4.5.1).
func (s *session) ownPostmaster(p mail.Path) mail.Path {
	if !strings.EqualFold(p.Local, "postmaster") {
		return p
	}
	if a, ok := mail.LiteralAddr(p.Domain); p.Domain == "" || ok && a.Unmap() == s.client.Local.Addr() {
		p.Domain = s.opts.Hostname
	}
	return p
}

// mayReach is the server's own rule for a forward-path: ours, one we relay
// for, or a client that may send to anyone.
func (s *session) mayReach(p mail.Path) bool {
	domain := p.DomainKey()
	return s.mayRelay() || s.opts.LocalDomains(domain) || s.opts.RelayDomains(domain) ||
		strings.EqualFold(p.Local, "postmaster") && domain == mail.DomainKey(s.opts.Hostname)
}

func (s *session) dataCommand(arg string) string {
	switch {
	case arg != "":
		s.bad(badArgument())
		return ""
	case s.tx == nil:
		s.bad(outOfOrder("Say MAIL and RCPT first"))
		return ""
	case s.tx.content != nil:
		s.bad(outOfOrder("DATA cannot follow BDAT"))
		return ""
	case s.tx.Envelope.Body == mail.BodyBinaryMIME:
		s.bad(outOfOrder("BINARYMIME needs BDAT")) // RFC 3030 3
		return ""
	}
	if r := s.openContent("DATA"); r != nil {
		s.answer(r)
		return s.afterRefusal()
	}
	if s.ended != "" {
		return ""
	}
	s.body = nil
	return engineData
}

// afterRefusal lets the engine forget a transaction that ended with a refusal
// of its content. One that has no recipient yet is still open.
func (s *session) afterRefusal() string {
	if s.tx != nil || s.ended != "" {
		return ""
	}
	return s.silent(engineRset)
}

// openContent is what DATA and the first BDAT have in common. A reply means
// that the content is not wanted.
func (s *session) openContent(verb string) *mail.Reply {
	if s.tx.taken == 0 {
		s.budget -= costIdle // follows from refusals in a pipelined batch
		r := mail.NewReply(554, "5.5.1", "No valid recipients")
		if s.opts.Role == LMTP {
			r = outOfOrder("No valid recipients") // RFC 2033 4.2 asks for this code
		}
		s.trace.Reply(verb, r, nil, nil, "")
		return r
	}
	o := s.ask(&hook.Event{Stage: hook.Data})
	r := o.ReplyAt(hook.Data)
	switch o.Action {
	case hook.Drop:
		s.drop(verb, o, hook.Data)
		return nil
	case hook.Reject, hook.Defer:
	default:
		r = nil
		if s.tx.Envelope.Size > s.tx.SizeLimit {
			r = mail.ReplyTooBig()
			break
		}
		var err error
		if s.tx.content, err = s.newContent(); err != nil {
			r = s.replyFor(err, "begin a message")
		}
	}
	if r != nil {
		s.charge(r, costBad)
		s.refused(verb, r, nil, o.Plugin)
		s.abort("refused")
	}
	return r
}

// bdatCommand takes a chunk (RFC 3030). Its octets follow the command whatever
// we think of it, so a size that cannot be read leaves no way to go on.
func (s *session) bdatCommand(arg string) string {
	n, last, ok := parseBdat(arg)
	if !ok {
		s.badBdat(mail.NewReply(501, "5.5.4", "Syntax is BDAT size [LAST]"))
		return ""
	}
	refuse := func(r *mail.Reply, times int) string {
		if n > s.maxRead() {
			s.hangUp(endErrors, r)
			return ""
		}
		body := s.wire.Chunk(n)
		for {
			switch _, err := body.Next(); err {
			case nil:
			case io.EOF:
				for range times {
					s.answer(r)
				}
				return s.afterRefusal()
			default:
				s.bodyError(err)
				return ""
			}
		}
	}
	switch {
	case s.tx == nil || !s.offers(extChunking):
		// Follows from a refused chunk in a pipelined batch.
		s.budget -= costIdle
		return refuse(outOfOrder("Say MAIL and RCPT first"), 1)
	case s.tx.content == nil:
		times := max(1, s.replies(last))
		if r := s.openContent("BDAT"); r != nil {
			return refuse(r, times)
		}
		if s.ended != "" {
			return ""
		}
	}
	if time.Since(s.tx.Envelope.Client.Arrived) > s.opts.Timeouts.DataTotal {
		s.hangUp(endTimeout, mail.NewReply(421, "4.4.2", "Message takes too long, closing connection"))
		return ""
	}
	s.budget -= chunkCost(n)
	if c := s.tx.content; n > c.limit-c.size {
		r := mail.ReplyTooBig()
		s.charge(r, costBad)
		s.refused("BDAT", r, nil, "")
		times := s.replies(last)
		s.abort("refused")
		return refuse(r, times)
	}
	if last {
		s.body = s.wire.Chunk(n)
		return engineData // the engine knows one way for a message to end
	}
	if r := s.receive(s.wire.Chunk(n), false); r != nil && s.ended == "" {
		s.answer(r)
		return s.afterRefusal()
	}
	return ""
}

// isBdat tells whether a line that is not taken was meant as BDAT by someone.
func isBdat(text string) bool {
	text = strings.TrimLeft(text, " \t\x00")
	return len(text) >= 4 && strings.EqualFold(text[:4], "BDAT")
}

// badBdat ends the session after a BDAT that cannot be read: how many octets
// follow it that are no commands is not known.
func (s *session) badBdat(r *mail.Reply) {
	r.Text += "; closing connection"
	s.abuse(endErrors, r)
}

// replies is how many a command that brings content gets: under LMTP, if it
// ends the message, one for each recipient that was taken (RFC 2033 4.2, 4.3).
func (s *session) replies(last bool) int {
	if s.opts.Role == LMTP && last {
		return s.tx.taken
	}
	return 1
}

// chunkCost makes a flood of empty chunks end.
func chunkCost(n int64) int {
	if n == 0 {
		return costIdle
	}
	return 0
}

func parseBdat(arg string) (n int64, last, ok bool) {
	size, rest, more := strings.Cut(arg, " ")
	rest = strings.TrimLeft(rest, " ")
	if more && (len(rest) != len("LAST") || !strings.EqualFold(rest, "LAST")) { // U+017F is an s to EqualFold
		return 0, false, false
	}
	if size == "" || len(size) > 20 {
		return 0, false, false
	}
	for i := 0; i < len(size); i++ {
		if size[i] < '0' || size[i] > '9' {
			return 0, false, false
		}
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		n = math.MaxInt64 // more than can be drained
	}
	return n, more, true
}

// maxRead is how much of a message is read at all, in octets.
func (s *session) maxRead() int64 { return 2*s.opts.MaxSize + 1<<20 }
