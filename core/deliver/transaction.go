package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	window    = 50       // RCPT commands sent before their replies are read (RFC 2920 3.1)
	smallSize = 32 << 10 // octets of content that go along with MAIL and RCPT, as one chunk
	blockSize = 128 << 10
	partSize  = 32 << 10
)

// buffers are what a delivery needs while it runs.
type buffers struct {
	out  []byte         // commands or content on their way, at most blockSize
	copy [partSize]byte // body as it is read
	idx  []int
	more []int
}

// transaction is one MAIL with its RCPT and content.
type transaction struct {
	c     *conn
	ctx   context.Context
	j     *job
	b     *buffers
	idx   []int // the recipients, as indices into the envelope
	exact bool  // BDAT: the content as it is
	small bool  // BDAT along with the commands

	start    time.Time
	now      time.Time // for what is left of BY
	next     int       // the command whose reply is next: stepReset, stepMail, then idx, then DATA
	replies  int       // read so far
	sent     bool      // content has been sent, in part or in full
	mailOK   bool
	accepted []int
	done     int   // of accepted, those with their last reply
	tooMany  []int // to be tried in another transaction
	body     io.ReadCloser
}

const (
	stepReset = -2
	stepMail  = -1
)

// transactions sends the message to all open recipients over c.
func (t *attempt) transactions(ctx context.Context, c *conn, b *buffers, exact bool) *failure {
	j := t.j
	limit := t.limits.Recipients
	if c.ext.maxRcpt > 0 {
		limit = min(limit, c.ext.maxRcpt)
	}
	now := t.a.now()
	if f := c.lacks(j.m, now); f != nil {
		return f
	}
	b.idx = b.idx[:0]
	j.each(answered, func(i int) {
		if t.rest != nil && !slices.Contains(t.rest, i) {
			return
		}
		if r := c.lacksFor(j.m, i); r != nil {
			j.set(i, answered, c.ours(r)) // another host may have it
			t.hard = true
			return
		}
		b.idx = append(b.idx, i)
	})
	todo := b.idx
	for first := true; len(todo) > 0; first = false {
		n := min(c.within(j.m, todo), limit)
		if n == 0 || c.ext.maxMail > 0 && c.messages >= c.ext.maxMail { // RFC 9422 4.1, 4.3
			f := failed("4.5.3", c.peer()+" takes no more in this session")
			f.inStep, f.again, t.rest = true, !first || c.reused, slices.Clone(todo) // another session goes on
			return f
		}
		x := transaction{c: c, ctx: ctx, j: j, b: b, idx: todo[:n], exact: exact, start: time.Now(), accepted: b.more[:0], now: now}
		todo = todo[n:]
		f := x.run()
		b.more = x.accepted
		if x.body != nil {
			x.body.Close()
		}
		if f != nil {
			return f
		}
		c.messages++
		if len(x.tooMany) > 0 && len(x.accepted) > 0 {
			todo = append(slices.Clone(todo), x.tooMany...)
		}
	}
	return nil
}

// within puts those of todo first that the server's limit of domains lets in, and tells how many they are.
func (c *conn) within(m *mail.Message, todo []int) int {
	if c.ext.domains == 0 {
		return len(todo)
	}
	if c.domains == nil {
		c.domains = make(map[string]bool)
	}
	n := 0
	for k, i := range todo {
		domain := m.Envelope.Recipients[i].ForwardPath.DomainKey()
		if !c.domains[domain] {
			if len(c.domains) >= c.ext.domains {
				continue
			}
			c.domains[domain] = true
		}
		todo[n], todo[k] = todo[k], todo[n]
		n++
	}
	return n
}

// ours is the result of a reply that the server has not given.
func (c *conn) ours(r *mail.Reply) mail.Result {
	out := c.result(r.Clean(), time.Time{})
	out.RemoteMTA = ""
	return out
}

// lacks is why the server cannot have the message at all. Another host of the same next hop may.
func (c *conn) lacks(m *mail.Message, now time.Time) *failure {
	e := &m.Envelope
	fail := func(code int, enhanced, text string) *failure {
		return &failure{reply: mail.NewReply(code, enhanced, text+" "+c.peer()).Clean(), state: answered, inStep: true, lacks: true}
	}
	switch {
	case c.ext.maxSize > 0 && m.Size() > c.ext.maxSize:
		return fail(552, "5.3.4", fmt.Sprintf("The message has %d octets, more than the limit of %d of", m.Size(), c.ext.maxSize))
	case e.Body == mail.BodyBinaryMIME && !(c.ext.chunking && c.ext.binary):
		return fail(554, "5.6.3", "The message is BINARYMIME, which is not offered by")
	case e.RequireTLS && !e.ReversePath.IsNull() && !(c.ep.lmtp && c.ep.local()) && !(c.tls && c.ext.requireTLS):
		return fail(554, "5.7.30", "The message has REQUIRETLS, which is not offered by")
	case (e.SMTPUTF8 && !isASCII(m.Header) || e.ReversePath.NeedsUTF8()) && !c.ext.utf8:
		// Many clients ask for SMTPUTF8 whenever it is offered; what is ASCII does not need it.
		return fail(554, "5.6.7", "The message needs SMTPUTF8, which is not offered by")
	case e.By.Return && !e.By.Time.IsZero() && c.ext.deliverBy && e.By.Time.Sub(now) < c.ext.minBy:
		return fail(554, "5.4.7", "The time for delivery that is left is shorter than it has to be at")
	}
	return nil
}

// lacksFor is why the server cannot have the message for one recipient; nil: it can.
func (c *conn) lacksFor(m *mail.Message, i int) *mail.Reply {
	r := &m.Envelope.Recipients[i]
	switch {
	case r.ForwardPath.NeedsUTF8() && !c.ext.utf8:
		return mail.NewReply(554, "5.6.7", "The forward-path needs SMTPUTF8, which is not offered by "+c.peer())
	case !r.ValidSince.IsZero() && !r.ValidSinceContinue && !c.ext.rrvs:
		return mail.NewReply(550, "5.7.19", "The recipient is required to be valid since a time (RRVS), which is not offered by "+c.peer())
	}
	return nil
}

// result is what a reply of the server means for a recipient.
func (c *conn) result(r mail.Reply, start time.Time) mail.Result {
	out := mail.Result{Outcome: outcome(r), Reply: r, RemoteMTA: c.ep.host, Relay: c.relay, Connect: c.took, Reached: true, TLS: c.proof}
	if !start.IsZero() {
		out.Transmit = time.Since(start)
	}
	return out
}

// run does the transaction. Recipients with a reply get their result here; a failure is for the others, and says
// whether the connection is good for anything more.
func (x *transaction) run() *failure {
	c, m := x.c, x.j.m
	if m.OpenBody != nil {
		var err error
		if x.body, err = m.OpenBody(); err != nil {
			return x.unreadable(err, true)
		}
	}
	if x.exact && !c.ext.chunking {
		f := failed("5.6.0", "The content has a bare CR, a bare LF or a NUL, and CHUNKING is not offered by "+c.peer())
		f.state, f.inStep = settled, true
		return f
	}
	// One chunk along with the commands saves a round trip. Not over a connection that may be gone: what has been sent
	// must not be sent again.
	x.small = c.ext.chunking && c.ext.pipelining && !c.reused && !c.ep.lmtp && m.Size() <= smallSize && len(x.idx) <= window

	out := x.b.out[:0]
	x.next = stepMail
	if c.unclean {
		x.next = stepReset
		out = append(out, "RSET\r\n"...)
		if !c.ext.pipelining {
			if f := x.exchange(out, stepMail); f != nil {
				return f
			}
			out = out[:0]
		}
	}
	c.unclean = true
	out = x.appendMail(out)
	if !c.ext.pipelining {
		if f := x.exchange(out, 0); f != nil {
			return f
		}
		out = out[:0]
	}
	for k, i := range x.idx {
		if x.next >= 0 && !x.mailOK {
			break
		}
		out = x.appendRcpt(out, i)
		if last := k == len(x.idx)-1; !c.ext.pipelining || k%window == window-1 && !last {
			if f := x.exchange(out, k+1); f != nil {
				return f
			}
			out = out[:0]
		}
	}
	asked := false
	switch {
	case x.next >= 0 && !x.mailOK:
	case x.small:
		var f *failure
		if out, f = x.appendSmall(out); f != nil {
			return f
		}
		x.sent = true
	case c.ext.pipelining && !x.exact:
		out = append(out, "DATA\r\n"...)
		asked = true
	}
	if len(out) > 0 {
		if f := x.exchange(out, len(x.idx)); f != nil {
			x.b.out = out[:0]
			return f
		}
	}
	x.b.out = out[:0]

	switch {
	case x.small:
		return x.finish()
	case asked:
	case len(x.accepted) == 0:
		return nil
	case !x.exact:
		if f := x.exchange([]byte("DATA\r\n"), len(x.idx)); f != nil {
			return f
		}
		asked = true
	}
	if asked {
		if f := c.read(x.ctx, c.o.Timeouts.Data, "the reply to DATA"); f != nil {
			return x.broken(f)
		}
		if f := x.data(); f != nil || c.in.code != 354 {
			return f
		}
	}
	if f := x.content(); f != nil {
		return f
	}
	return x.finish()
}

// data looks at the reply to DATA.
func (x *transaction) data() *failure {
	c := x.c
	switch class := c.in.code / 100; {
	case c.in.code == 354 && len(x.accepted) > 0:
		return nil
	case c.in.code == 354 && !x.mailOK, c.in.code == 354 && c.ep.lmtp:
		// It takes a message that it has refused. Ending it might deliver an empty one.
		return x.broken(failed("4.5.0", c.peer()+" replied 354 without a valid recipient"))
	case c.in.code == 354: // RFC 2920 3.1: a dot, and it goes to nobody
		if f := c.write(x.ctx, []byte(".\r\n"), "the end of no content"); f != nil {
			return x.broken(f)
		}
		if f := c.read(x.ctx, c.o.Timeouts.Dot, "the reply to the end of no content"); f != nil {
			return x.broken(f)
		}
		c.in.code = 0 // not for anybody
		return nil
	case class == 4 || class == 5:
		x.settle(x.accepted)
		return x.leaving()
	}
	return x.broken(failed("4.5.0", fmt.Sprintf("%s replied %d to DATA", c.peer(), c.in.code)))
}

// exchange sends commands and reads the replies to those before step.
func (x *transaction) exchange(out []byte, step int) *failure {
	c := x.c
	if f := c.write(x.ctx, out, x.doing(x.next)); f != nil {
		return x.broken(f)
	}
	for x.next < step {
		timeout := c.o.Timeouts.Rcpt
		switch x.next {
		case stepReset:
			timeout = c.o.Timeouts.Hello
		case stepMail:
			timeout = c.o.Timeouts.Mail
		}
		if f := c.read(x.ctx, timeout, repliesTo[min(x.next-stepReset, 2)]); f != nil {
			return x.broken(f)
		}
		if f := x.replied(); f != nil {
			return x.broken(f)
		}
		x.replies++
		x.next++
	}
	return nil
}

// What a broken conversation is about, by step.
var (
	doings    = [...]string{"RSET", "MAIL FROM", "RCPT TO"}
	repliesTo = [...]string{"the reply to RSET", "the reply to MAIL FROM", "the reply to RCPT TO"}
)

func (x *transaction) doing(step int) string { return doings[min(step-stepReset, 2)] }

// replied takes the reply to command x.next.
func (x *transaction) replied() *failure {
	c := x.c
	class := c.in.code / 100
	switch {
	case c.in.code == 421:
		return c.refused()
	case class == 3 || x.next == stepReset && class != 2:
		return failed("4.5.0", fmt.Sprintf("%s replied %d to %s", c.peer(), c.in.code, x.doing(x.next)))
	case x.next == stepReset:
	case x.next == stepMail:
		if x.mailOK = class == 2; !x.mailOK {
			x.settle(x.idx)
		}
	case !x.mailOK: // MAIL's reply is the reason
	case class == 2:
		x.accepted = append(x.accepted, x.idx[x.next])
	default:
		r := c.in.reply()
		i := x.idx[x.next]
		// RFC 5321 4.5.3.1.10: too many for one transaction, in its two spellings.
		if e := r.Enhanced; (e[1] == 5 && e[2] == 3) || r.Code == 452 && e == (mail.Enhanced{}) {
			if r.Code == 552 {
				r.Code, r.Enhanced[0] = 452, 4
			}
			if r.Code == 452 {
				x.tooMany = append(x.tooMany, i)
			}
		}
		x.give(i, c.result(r, x.start))
	}
	return nil
}

// settle gives recipients the last reply.
func (x *transaction) settle(idx []int) {
	r := x.c.result(x.c.in.reply(), x.start)
	for _, i := range idx {
		x.give(i, r)
	}
}

func (x *transaction) give(i int, r mail.Result) {
	s := answered
	switch r.Outcome {
	case mail.Delivered:
		s = settled
		r.Relayed = x.relayed(&x.j.m.Envelope.Recipients[i])
	case mail.Failed:
		s = settled
	}
	x.j.set(i, s, r)
}

// relayed tells whether the sender is to know that a recipient's message has gone where nothing more will be heard of it:
// where success is not reported (RFC 3461 5.2.2), where a deadline ends, or is handed on with a trace (RFC 2852 4).
func (x *transaction) relayed(r *mail.Recipient) bool {
	by, ext := &x.j.m.Envelope.By, &x.c.ext
	switch {
	case !ext.dsn && r.Notify&mail.NotifySuccess != 0:
		return true
	case by.Time.IsZero() || r.Notify&mail.NotifyNever != 0:
		return false
	}
	return by.Trace || !ext.deliverBy && !by.Return
}

// broken is the end of the connection in the middle of the transaction.
func (x *transaction) broken(f *failure) *failure {
	c := x.c
	switch {
	case x.sent: // the message may have arrived for those who have no reply
		r := c.result(f.reply, x.start)
		if !f.remote {
			r.RemoteMTA = ""
		}
		r.Outcome = mail.Deferred
		for _, i := range x.accepted[x.done:] {
			x.j.set(i, postponed, r)
		}
		if x.next < len(x.idx) {
			for _, i := range x.idx[max(x.next, 0):] {
				x.j.set(i, postponed, r)
			}
		}
	case c.reused && x.replies == 0 && (f.remote && c.in.code == 421 || !f.remote && f.reply.Enhanced == mail.Enhanced{4, 4, 2}):
		f.again = true // the server had closed it while it was idle
	case f.remote && x.replies > 0:
		f.state = answered
	}
	return f
}

// leaving closes the connection after a 421 that has been given its meaning.
func (x *transaction) leaving() *failure {
	if x.c.in.code != 421 {
		return nil
	}
	return &failure{reply: x.c.in.reply(), remote: true, state: unreached}
}

// finish reads the reply, or with LMTP the replies, to the end of the content.
func (x *transaction) finish() *failure {
	c := x.c
	n := 1
	if c.ep.lmtp {
		n = len(x.accepted)
	}
	for k := range n {
		if f := c.read(x.ctx, c.o.Timeouts.Dot, "the reply to the end of the content"); f != nil {
			return x.broken(f)
		}
		class := c.in.code / 100
		if class == 3 {
			return x.broken(failed("4.5.0", fmt.Sprintf("%s replied %d to the end of the content", c.peer(), c.in.code)))
		}
		// A reply too many means that this one may be another command's. Better twice than lost.
		if rest := c.in.buffered(); k == n-1 && class == 2 && len(rest) > 0 && string(rest[:min(3, len(rest))]) != "421" {
			return x.broken(failed("4.5.0", c.peer()+" sent more replies than it got commands"))
		}
		if c.ep.lmtp {
			x.settle(x.accepted[k : k+1])
		} else {
			x.settle(x.accepted)
		}
		x.done++
		if !c.ep.lmtp {
			x.done = len(x.accepted)
		}
		if f := x.leaving(); f != nil {
			return x.broken(f)
		}
	}
	c.unclean = len(x.accepted) == 0
	return nil
}

// content sends the content, with its end.
func (x *transaction) content() *failure {
	w := contentWriter{x: x}
	x.b.out = x.b.out[:0]
	_, err := w.Write(x.j.m.Header)
	if err == nil && x.body != nil {
		_, err = io.CopyBuffer(&w, x.body, x.b.copy[:])
	}
	if err == nil && w.n != x.j.m.Size() {
		err = fmt.Errorf("content of %d octets instead of %d", w.n, x.j.m.Size())
	}
	if err == nil {
		err = w.end()
	}
	switch {
	case err == nil:
		return nil
	case w.f != nil:
		return x.broken(w.f)
	case errors.Is(err, errBare):
		x.c.o.Log.Info("content not fit for DATA", "id", x.j.m.ID.String(), "relay", x.c.relay)
		f := failed("5.6.0", "The content has a bare CR, a bare LF or a NUL, and CHUNKING is not offered by "+x.c.peer())
		f.state, f.again, f.exact = settled, x.c.ext.chunking, true
		return f
	}
	return x.unreadable(err, false)
}

// unreadable: the body cannot be read. If content has been announced, the connection must not go on.
func (x *transaction) unreadable(err error, inStep bool) *failure {
	x.c.o.Log.Error("message cannot be read", "id", x.j.m.ID.String(), "error", err)
	f := failed("4.3.0", "Local error in reading the message")
	f.state, f.inStep = postponed, inStep
	return f
}

// appendSmall adds the whole content as one chunk. It is all there before it is announced.
func (x *transaction) appendSmall(out []byte) ([]byte, *failure) {
	size := x.j.m.Size()
	out = append(out, "BDAT "...)
	out = strconv.AppendInt(out, size, 10)
	out = append(out, " LAST\r\n"...)
	begin := len(out)
	out = append(out, x.j.m.Header...)
	for x.body != nil {
		n, err := x.body.Read(x.b.copy[:])
		out = append(out, x.b.copy[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return out, x.unreadable(err, true)
		}
		if int64(len(out)-begin) > size {
			break
		}
	}
	if n := int64(len(out) - begin); n != size {
		return out, x.unreadable(fmt.Errorf("content of %d octets instead of %d", n, size), true)
	}
	return out, nil
}

// contentWriter sends content in blocks: stuffed for DATA, or as chunks for BDAT. It is an io.Writer so that a body
// that is in memory need not be copied before.
type contentWriter struct {
	x *transaction
	s stuffer
	n int64
	f *failure // of the connection; other errors are of the content
}

var errConnection = errors.New("the connection failed")

func (w *contentWriter) Write(p []byte) (int, error) {
	b := w.x.b
	for rest := p; len(rest) > 0; {
		part := rest[:min(len(rest), partSize)]
		rest = rest[len(part):]
		if len(b.out)+2*len(part) > blockSize {
			if err := w.flush(false); err != nil {
				return 0, err
			}
		}
		if w.x.exact {
			b.out = append(b.out, part...)
			continue
		}
		var err error
		if b.out, err = w.s.append(b.out, part); err != nil {
			return 0, err
		}
	}
	w.n += int64(len(p))
	return len(p), nil
}

func (w *contentWriter) end() error {
	if !w.x.exact {
		var err error
		if w.x.b.out, err = w.s.end(w.x.b.out); err != nil {
			return err
		}
	}
	return w.flush(true)
}

// flush sends what there is; with BDAT as a chunk, which is complete before it is announced.
func (w *contentWriter) flush(last bool) error {
	x, c := w.x, w.x.c
	what := "the content"
	if x.exact {
		line := fmt.Sprintf("BDAT %d\r\n", len(x.b.out))
		if last {
			line = fmt.Sprintf("BDAT %d LAST\r\n", len(x.b.out))
		}
		w.f = c.write(x.ctx, []byte(line), "BDAT")
	}
	if w.f == nil {
		// Part of a message is nothing: until its end is on the way it may be tried elsewhere.
		x.sent = x.sent || last
		w.f = c.write(x.ctx, x.b.out, what)
	}
	x.b.out = x.b.out[:0]
	if w.f == nil && x.exact && !last {
		if w.f = c.read(x.ctx, c.o.Timeouts.Dot, "the reply to BDAT"); w.f == nil && c.in.code/100 != 2 {
			x.settle(x.accepted)
			w.f = c.refused()
		}
	}
	if w.f == nil {
		return nil
	}
	if !w.f.remote && !x.exact && x.ctx.Err() == nil {
		x.lastWords()
	}
	return errConnection
}

// lastWords takes the reply of a server that has refused the content in the middle of it and closed the connection.
func (x *transaction) lastWords() {
	c := x.c
	if c.read(x.ctx, time.Second, "the reply to the content") == nil && c.in.code >= 400 {
		x.settle(x.accepted)
		x.done = len(x.accepted)
	}
}

func (x *transaction) appendMail(out []byte) []byte {
	e, ext := &x.j.m.Envelope, &x.c.ext
	out = append(out, "MAIL FROM:<"...)
	out = appendPath(out, e.ReversePath)
	out = append(out, '>')
	if ext.size {
		out = append(out, " SIZE="...)
		out = strconv.AppendInt(out, x.j.m.Size(), 10)
	}
	switch {
	case e.Body == mail.BodyBinaryMIME:
		out = append(out, " BODY=BINARYMIME"...)
	case e.Body == mail.Body8BitMIME && ext.eightBit:
		out = append(out, " BODY=8BITMIME"...)
	}
	if ext.utf8 && x.utf8() {
		out = append(out, " SMTPUTF8"...)
	}
	if e.RequireTLS && ext.requireTLS {
		out = append(out, " REQUIRETLS"...)
	}
	if ext.dsn {
		if e.Return != mail.ReturnUnspecified {
			out = append(append(out, " RET="...), e.Return.String()...)
		}
		if e.EnvID != "" {
			out = append(append(out, " ENVID="...), mail.EncodeXtext(e.EnvID)...)
		}
	}
	if e.Priority != 0 && ext.priority { // without it the message goes all the same (RFC 6710 5)
		out = append(out, " MT-PRIORITY="...)
		out = strconv.AppendInt(out, int64(e.Priority), 10)
	}
	if !e.By.Time.IsZero() && ext.deliverBy {
		out = x.appendBy(out)
	}
	return append(out, "\r\n"...)
}

// appendBy adds what is left of the deadline, in full seconds (RFC 2852 4).
func (x *transaction) appendBy(out []byte) []byte {
	by := &x.j.m.Envelope.By
	left := int64(by.Time.Sub(x.now) / time.Second)
	mode := byte('N')
	if by.Return {
		mode, left = 'R', max(left, 1) // zero and less are for N
	}
	out = append(out, " BY="...)
	out = strconv.AppendInt(out, min(max(left, -999999999), 999999999), 10)
	out = append(out, ';', mode)
	if by.Trace {
		out = append(out, 'T')
	}
	return out
}

// utf8 tells whether this transaction needs SMTPUTF8.
func (x *transaction) utf8() bool {
	e := &x.j.m.Envelope
	if e.SMTPUTF8 || e.ReversePath.NeedsUTF8() {
		return true
	}
	for _, i := range x.idx {
		if e.Recipients[i].ForwardPath.NeedsUTF8() {
			return true
		}
	}
	return false
}

func (x *transaction) appendRcpt(out []byte, i int) []byte {
	r := &x.j.m.Envelope.Recipients[i]
	out = append(out, "RCPT TO:<"...)
	out = appendPath(out, r.ForwardPath)
	out = append(out, '>')
	if x.c.ext.dsn {
		if r.Notify != 0 {
			out = append(append(out, " NOTIFY="...), r.Notify.String()...)
		}
		if r.Orcpt != "" {
			out = append(append(out, " ORCPT="...), r.OrcptType...)
			out = append(out, ';')
			if x.c.ext.utf8 && !isASCII(r.Orcpt) {
				out = append(out, r.Orcpt...) // RFC 6533 3, utf-8-addr-unitext
			} else {
				out = append(out, mail.EncodeXtext(r.Orcpt)...)
			}
		}
	}
	if !r.ValidSince.IsZero() && x.c.ext.rrvs {
		out = r.ValidSince.UTC().AppendFormat(append(out, " RRVS="...), time.RFC3339)
		if r.ValidSinceContinue {
			out = append(out, ";C"...)
		} else {
			out = append(out, ";R"...)
		}
	}
	return append(out, "\r\n"...)
}

// appendPath adds a path without brackets. A mail.Path holds nothing that could end it.
func appendPath(out []byte, p mail.Path) []byte {
	out = append(out, p.Local...)
	if p.Domain != "" {
		out = append(append(out, '@'), p.Domain...)
	}
	return out
}

func isASCII[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
