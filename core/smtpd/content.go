package smtpd

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/gate"
)

// maxHops is how many Received fields a message may bring (RFC 5321 6.3).
const maxHops = 100

// content is the content of a message while it arrives.
type content struct {
	s     *session
	draft Draft // nil: the message is thrown away anyway, or the draft is done with
	limit int64 // octets
	size  int64 // octets, of header section and body

	seen    hook.Content // what plugins see
	header  []byte       // the header section; while it arrives, all there is
	find    mail.HeaderScanner
	inBody  bool
	detach  bool // an empty line must stand between our field and the body
	lines   gate.Lines
	normal  bool        // bad line ends are corrected, not refused
	binary  bool        // the body need not have lines (RFC 3030)
	bodies  []*newBody  // that plugins began to put in place of this one
	refusal *mail.Reply // decided; what still comes is thrown away
	by      string      // the plugin that refused
}

// newContent begins a draft.
func (s *session) newContent() (*content, error) {
	c := &content{s: s, limit: s.tx.SizeLimit}
	c.normal = s.opts.BareLF == BareLFNormalize || s.opts.BareLF == BareLFDefault && (s.opts.Role != MX || s.trusted())
	if c.binary = s.tx.Envelope.Body == mail.BodyBinaryMIME; c.binary {
		c.normal = false
	}
	s.tx.Envelope.Client = s.client
	s.tx.Envelope.Client.Arrived = time.Now()
	if s.tx.discard != "" {
		return c, nil
	}
	d, err := s.opts.Intake.Begin(s.server.ctx)
	if err != nil {
		return nil, err
	}
	c.draft = d
	return c, nil
}

// abort forgets the draft.
func (c *content) abort() {
	c.abortBodies()
	if d := c.draft; d != nil {
		c.draft = nil
		d.Abort()
	}
}

// abortBodies forgets what plugins wrote and is not the message's body.
func (c *content) abortBodies() {
	for _, b := range c.bodies {
		b.Abort()
	}
	c.bodies = nil
}

// receive reads a body, or a chunk of one, and returns the reply to it; none
// if the session ended. last says that the message ends with it.
func (s *session) receive(body *gate.Body, last bool) *mail.Reply {
	c := s.tx.content
	n := int64(0)
	for {
		p, err := body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.bodyError(err)
			return nil
		}
		c.add(p)
		if n += int64(len(p)); n > s.maxRead() {
			s.refused("DATA", mail.ReplyTooBig(), nil, "")
			s.hangUp(endBody, mail.ReplyTooBig())
			return nil
		}
	}
	if last {
		c.end()
	}
	s.times = s.replies(last)
	r := c.refusal
	switch {
	case r == nil && !last:
		return mail.NewReply(250, "2.0.0", "Ok: chunk received")
	case r == nil:
		r = s.settle(c)
	}
	if r.Class() != 2 {
		s.charge(r, costBad)
		s.refused("DATA", r, nil, c.by)
		s.abort("refused")
		return r
	}
	s.finish()
	return r
}

// bodyError ends the session: where the content ends is not known any more.
func (s *session) bodyError(err error) {
	r := mail.NewReply(421, "4.4.2", "Connection error in the message, closing connection")
	reason := endLost
	switch {
	case errors.Is(err, gate.ErrTimeout):
		r, reason = mail.NewReply(421, "4.4.2", "Timeout in the message, closing connection"), endTimeout
	case errors.Is(err, gate.ErrTooSlow):
		r, reason = mail.NewReply(421, "4.4.2", "Message comes too slowly, closing connection"), endTimeout
	}
	s.refused("DATA", r, nil, "")
	s.hangUp(reason, r)
}

// add takes the next octets of the content, which it may keep no longer than
// the call.
func (c *content) add(p []byte) {
	if c.refusal != nil {
		return
	}
	switch {
	case c.binary: // the header section is checked when it is there
	case c.normal:
		p = c.lines.Normalize(p)
	default:
		c.lines.Check(p)
	}
	c.checkLines()
	c.take(p)
}

func (c *content) checkLines() {
	bad := c.lines.Found
	if c.normal {
		bad &= gate.NUL
	}
	switch {
	case bad&gate.NUL != 0:
		c.refuse(mail.NewReply(550, "5.6.0", "Message has a NUL octet"), "")
	case bad != 0:
		c.refuse(mail.NewReply(550, "5.6.0", "Message has a line that does not end with CR LF (RFC 5321 2.3.8)"), "")
	}
}

// refuse decides the reply; the first decision stands.
func (c *content) refuse(r *mail.Reply, by string) {
	if c.refusal == nil {
		c.refusal, c.by = r, by
		c.abort()
	}
}

func (c *content) take(p []byte) {
	if c.refusal != nil || len(p) == 0 {
		return
	}
	if c.size += int64(len(p)); c.size > c.limit {
		c.refuse(mail.ReplyTooBig(), "")
		return
	}
	if c.inBody {
		c.write(p)
		return
	}
	// Without a line end there is nothing new to find.
	found := bytes.IndexByte(p, '\n') >= 0
	if len(c.header) == 0 && found {
		if end, done := c.find.Scan(p, false); done { // the usual case
			c.headerDone(bytes.Clone(p[:end]), p[end:])
			return
		}
		found = false
	}
	c.header = append(c.header, p...)
	if found {
		if end, done := c.find.Scan(c.header, false); done {
			c.headerDone(c.header[:end:end], c.header[end:])
			return
		}
	}
	if len(c.header) > mail.MaxHeaderBytes {
		c.refuse(headerTooBig(), "")
	}
}

func headerTooBig() *mail.Reply {
	return mail.NewReply(552, "5.3.4", "Header section is larger than this server takes")
}

// headerDone is called when the header section is complete; rest is the
// beginning of the body.
func (c *content) headerDone(header, rest []byte) {
	c.header = header
	c.inBody = true
	// Without a header section, a first line that begins with a blank would
	// become part of our Received field.
	c.detach = len(header) == 0 && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t')
	if len(header) > mail.MaxHeaderBytes {
		c.refuse(headerTooBig(), "")
		return
	}
	if c.binary {
		c.lines.Check(header)
		c.lines.End()
		if c.checkLines(); c.refusal != nil {
			return
		}
	}
	h, err := mail.ParseHeader(header)
	if err != nil {
		c.refuse(c.s.replyFor(err, "parse a header section"), "")
		return
	}
	if h.Count("Received") > maxHops {
		c.refuse(mail.ReplyLoop(), "")
		return
	}
	c.seen = hook.Content{Header: h}
	if c.draft != nil {
		o := c.s.ask(&hook.Event{Stage: hook.Headers, Content: &c.seen})
		if o.Action == hook.Reject || o.Action == hook.Defer {
			c.refuse(o.ReplyAt(hook.Headers), o.Plugin)
			return
		}
	}
	if len(rest) > 0 {
		c.write(rest)
	}
}

func (c *content) write(p []byte) {
	if c.draft == nil {
		return
	}
	if _, err := c.draft.Write(p); err != nil {
		c.refuse(c.s.replyFor(err, "write a message"), "")
	}
}

// end tells that the content is complete.
func (c *content) end() {
	if c.refusal == nil {
		c.lines.End()
		c.checkLines()
		c.take(c.lines.Rest())
	}
	if c.refusal == nil && !c.inBody {
		end, _ := c.find.Scan(c.header, true)
		c.headerDone(c.header[:end:end], c.header[end:])
	}
}

// settle asks the last time and commits. The content is complete.
func (s *session) settle(c *content) *mail.Reply {
	tx := s.tx
	accepted := mail.NewReply(250, "2.0.0", "Ok")
	if c.draft == nil {
		s.log.Discarded(0, &s.client, tx.Envelope.ReversePath, nil, tx.discard)
		s.trace.Discarded(nil, tx.discard)
		return accepted
	}
	c.seen.Body, c.seen.BodySize, c.seen.NewSpool = c.draft, c.draft.Size(), c.spool
	o := s.ask(&hook.Event{Stage: hook.Message, Content: &c.seen})
	by := o.Plugin
	switch o.Action {
	case hook.Reject, hook.Defer:
		c.by = o.Plugin
		return o.ReplyAt(hook.Message)
	case hook.Discard:
		c.abort()
		s.log.Discarded(0, &s.client, tx.Envelope.ReversePath, nil, by)
		s.trace.Discarded(nil, by)
		return positive(o, accepted)
	}
	s.note(o)
	tx.Envelope.Recipients = unique(tx.Envelope.Recipients)
	if len(tx.Envelope.Recipients) == 0 {
		c.abort()
		s.log.Discarded(0, &s.client, tx.Envelope.ReversePath, nil, by)
		s.trace.Discarded(nil, by)
		return positive(o, accepted)
	}
	was := c.draft.ID()
	header := c.replace(&tx.Envelope)
	c.abortBodies()
	id := c.draft.ID()
	all := received(s.opts.Hostname, s.opts.Role == LMTP, id, &tx.Envelope, len(header)+2)
	all = append(all, header...)
	if c.detach {
		all = append(all, '\r', '\n')
	}
	size := int64(len(all)) + c.draft.Size()
	began := time.Now()
	if err := c.draft.Commit(s.server.ctx, tx.Envelope, all, tx.hold); err != nil {
		return s.replyFor(err, "commit a message")
	}
	c.draft = nil
	s.urgent = true
	s.messages++
	s.budget = s.opts.ErrorBudget
	if id == was {
		was = 0
	}
	s.trace.Accepted(id, size, len(tx.Envelope.Recipients), time.Since(began), tx.hold)
	s.log.Received(id, was, changedBy(tx.changes), &tx.Envelope.Client)
	s.log.Queued(id, tx.Envelope.ReversePath, size, len(tx.Envelope.Recipients), c.seen.Header.Get("Message-ID"), tx.hold != "")
	if o.Action == hook.Hold {
		accepted = mail.NewReply(250, "2.6.0", "Message accepted")
	} else {
		accepted.Text = "Ok: queued as " + id.String()
	}
	return positive(o, accepted)
}

// unique keeps the first of equal forward-paths. The null path, which no
// delivery is possible to, is left out.
func unique(list []mail.Recipient) []mail.Recipient {
	if len(list) == 1 && !list[0].ForwardPath.IsNull() {
		return list
	}
	seen := make(map[mail.Path]bool, len(list))
	out := make([]mail.Recipient, 0, len(list))
	for _, r := range list {
		key := r.ForwardPath
		key.Domain = key.DomainKey()
		if !seen[key] && !key.IsNull() {
			seen[key] = true
			out = append(out, r)
		}
	}
	return out
}

// changedBy says for the log which plugin has changed what of a message:
// "clean:header+body list:recipients".
func changedBy(list []hook.Change) string {
	var names []string
	what := make(map[string]hook.Edit)
	for _, c := range list {
		if what[c.Plugin] == 0 {
			names = append(names, c.Plugin)
		}
		what[c.Plugin] |= c.What
	}
	for i, name := range names {
		names[i] = name + ":" + what[name].String()
	}
	return strings.Join(names, " ")
}
