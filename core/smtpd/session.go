package smtpd

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/gate"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
	"github.com/wasmta/wasmta/core/trace"
)

// Why a session ends; close hooks and the log are told.
const (
	endQuit     = "QUIT"
	endLost     = "lost connection"
	endTimeout  = "timeout"
	endShutdown = "shutdown"
	endErrors   = "too many errors"
	endPolicy   = "policy"
	endTLS      = "TLS handshake failed"
	endProxy    = "no valid PROXY header"
	endCrowd    = "too many sessions"
	endEarly    = "talked before the banner"
	endProtocol = "not SMTP"
	endBody     = "content could not be read"
	endGuesses  = "too many authentication failures"
	endFault    = "internal error"
)

// Points of the error budget; see the package comment.
const (
	costBad  = 5
	costRcpt = 2
	costIdle = 1
)

// session is one connection. It belongs to the goroutine of the engine.
type session struct {
	server *Server
	opts   *Options
	log    event.Log
	trace  *trace.Record
	wire   *gate.Wire
	conn   *gate.Conn

	client  mail.Client
	facts   hook.Session
	chain   *hook.Conversation
	pinned  hook.Chain // of chain
	release func()
	unnamed bool       // a proxy did not say who the client is
	counted netip.Addr // under which address the session is counted; invalid: not

	mayXClient bool           // the connection is from XClientNetworks
	peer       netip.AddrPort // who connected, whoever it speaks for
	spoken     spoken         // what it said by XCLIENT
	atConnect  mail.Attrs     // session attributes that plugins set before the client said anything

	opened   bool
	began    bool      // the log was told
	ended    string    // why; empty: it goes on
	linger   bool      // at the end, let the client read our last reply
	offered  extension // in the reply to EHLO
	mechs    []string  // SASL mechanisms in the reply to EHLO
	bindings []sasl.Binding
	certUser string // the first name in a client certificate that was verified
	guesses  int    // attempts to authenticate that failed
	broken   bool   // a plugin failed in the question that is being asked
	secrets  bool   // AUTH came to nothing: lines that are no command may be what belonged to it
	greeted  bool   // HELO, EHLO or LHLO was accepted
	budget   int
	messages int
	sequence int // of transactions

	tx *transaction // nil: none

	// What the engine was told and is to answer.
	asked  bool
	code   int    // the engine's reply must have this code
	reply  string // what the client gets in its place
	times  int    // so often
	urgent bool   // it says that a message is ours: nothing it may wait for (RFC 1047)
	path   mail.Path
	mailp  mail.MailParams
	rcptp  mail.RcptParams
	body   *gate.Body // of a last chunk; nil: DATA
}

func (s *Server) newSession(raw net.Conn) *session {
	c := &session{server: s, opts: &s.opts, log: s.opts.Log, budget: s.opts.ErrorBudget}
	c.wire = gate.NewWire(raw, s.opts.limits())
	c.conn = gate.NewConn(c, raw.LocalAddr(), raw.RemoteAddr())
	if s.opts.Known != nil {
		if c.client.Auth, c.client.Session = s.opts.Known(raw.RemoteAddr()); c.client.Auth != "" {
			c.client.AuthMech = "EXTERNAL"
		}
	}
	if c.client.Session == "" {
		c.client.Session = newSessionID()
	}
	c.trace = s.opts.Trace.Session(c.client.Session)
	c.client.Listener = s.opts.Listener
	c.client.Remote, c.client.Local = addrPort(raw.RemoteAddr()), addrPort(raw.LocalAddr())
	return c
}

func newSessionID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// addrPort is the address as a fact. A unix socket has none: its client is on
// this machine.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		if p.IsValid() {
			return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
}

// Next answers commands until one is for the engine, and returns the line that
// stands for it. It is a method of gate.Driver.
func (s *session) Next(reply []byte) (line string, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.fault(r)
			line, err = "", io.EOF
		}
	}()
	switch {
	case !s.opened:
		s.opened = true
		s.open()
	case s.asked && s.ended == "":
		s.asked = false
		if !hasCode(reply, s.code) {
			s.disagree(reply)
			break
		}
		for range s.times {
			s.wire.Send(s.reply)
		}
		if s.urgent {
			s.urgent = false
			_ = s.wire.Flush()
		}
		s.closeOn421(s.reply)
	}
	for s.ended == "" {
		if s.budget <= 0 {
			s.abuse(endErrors, mail.NewReply(421, "4.7.0", "Too many errors or idle commands"))
			break
		}
		text, err := s.wire.ReadCommand()
		if err != nil {
			s.readError(text, err)
			continue
		}
		if line := s.command(text); line != "" && s.ended == "" {
			s.asked = true
			return line, nil
		}
	}
	return "", io.EOF
}

func (s *session) readError(text string, err error) {
	var bad gate.LineError
	switch {
	case errors.As(err, &bad) && isBdat(text):
		s.badBdat(mail.NewReply(500, "5.5.2", string(bad)))
	case errors.As(err, &bad):
		s.bad(mail.NewReply(500, "5.5.2", string(bad)))
	case err == gate.ErrTimeout:
		s.hangUp(endTimeout, mail.NewReply(421, "4.4.2", "Timeout, closing connection"))
	case err == gate.ErrDraining:
		s.hangUp(endShutdown, mail.ReplyShutdown())
	case err == gate.ErrTLSHello:
		s.abuse(endProtocol, mail.NewReply(554, "5.5.1", "TLS is not spoken here before STARTTLS"))
	case err == gate.ErrFlood:
		s.abuse(endErrors, mail.NewReply(421, "4.7.0", "Line is too long, closing connection"))
	default:
		s.ended = endLost
	}
}

// answer sends a reply of ours, in the order of the commands.
func (s *session) answer(r *mail.Reply) {
	if r.Code >= 400 {
		s.trace.Reply("", r, nil, nil, "")
	}
	text := r.Lines()
	s.wire.Send(text)
	s.closeOn421(text)
}

// closeOn421 keeps the promise of that code (RFC 5321 4.2.1), whoever chose it.
func (s *session) closeOn421(reply string) {
	if s.ended == "" && strings.HasPrefix(reply, "421") {
		s.ended = endPolicy
		s.linger = true
	}
}

// bad answers a command that is malformed, unknown or out of order.
func (s *session) bad(r *mail.Reply) {
	s.budget -= costBad
	s.answer(r)
}

// charge takes points for a refusal: those given for a permanent one, the least
// for a transient one, which may not be the client's fault.
func (s *session) charge(r *mail.Reply, permanent int) {
	if r.Permanent() {
		s.budget -= permanent
	} else {
		s.budget -= costIdle
	}
}

// hangUp sends a last reply and ends the session.
func (s *session) hangUp(reason string, r *mail.Reply) {
	if s.ended != "" {
		return
	}
	s.ended = reason
	s.linger = true
	s.wire.Send(r.Lines())
}

// abuse ends a session that is of no use to anyone, and says so in the log.
func (s *session) abuse(reason string, r *mail.Reply) {
	s.refused("COMMAND", r, nil, "")
	s.hangUp(reason, r)
}

// drop ends the session as a Drop verdict says.
func (s *session) drop(stage string, o hook.Outcome, at hook.Stage) {
	r := o.ReplyAt(at)
	s.refused(stage, r, nil, o.Plugin)
	if o.NoReply {
		s.ended = endPolicy
		return
	}
	s.hangUp(endPolicy, r)
}

// refused reports a refusal.
func (s *session) refused(stage string, r *mail.Reply, to *mail.Path, by string) {
	var from *mail.Path
	if s.tx != nil {
		from = &s.tx.Envelope.ReversePath
	}
	s.trace.Reply(stage, r, from, to, by)
	s.log.Rejected(&s.client, stage, r, from, to, by, s.client.Protocol(false, s.opts.Role == LMTP))
}

// fault ends the session after a panic of ours, or of the intake.
func (s *session) fault(r any) {
	s.server.log.Error("panic in a session", "session", s.client.Session, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	s.hangUp(endFault, mail.NewReply(421, "4.3.0", "Internal error, closing connection"))
}

// hasCode tells whether a reply of the engine begins with a code.
func hasCode(reply []byte, code int) bool {
	var b [4]byte
	return bytes.HasPrefix(reply, strconv.AppendInt(b[:0], int64(code), 10))
}

// disagree ends a session whose engine is not where we are.
func (s *session) disagree(reply []byte) {
	s.server.log.Error("session engine answered other than expected", "session", s.client.Session,
		"expected", s.code, "reply", string(reply[:min(len(reply), 200)]))
	s.hangUp(endFault, mail.NewReply(421, "4.3.0", "Internal error, closing connection"))
}

// replyFor is what a client hears of an error of the intake.
func (s *session) replyFor(err error, doing string) *mail.Reply {
	var r *mail.Reply
	if errors.As(err, &r) && (r.Transient() || r.Permanent()) {
		return r
	}
	s.server.log.Error(doing+" failed", "session", s.client.Session, "error", err.Error())
	return mail.ReplyInternal()
}

// ask puts a question to the plugins.
func (s *session) ask(e *hook.Event) hook.Outcome {
	if s.chain == nil || !s.chain.Wants(e.Stage) {
		return hook.Outcome{}
	}
	e.Session = &s.facts
	if s.tx != nil {
		e.Tx = &s.tx.Transaction
	}
	if e.Stage != hook.Rcpt {
		e.Recipient = -1
	}
	return s.chain.Ask(s.server.ctx, e)
}

func (s *session) pluginFailed(f hook.Failure) {
	s.broken = true
	subject := s.client.Session
	if s.tx != nil && s.tx.content != nil && s.tx.content.draft != nil {
		subject = s.tx.content.draft.ID().String()
	}
	s.log.PluginFailed(subject, f.Plugin, f.Generation, f.Stage.String(), f.Policy.String(), f.Err)
}

// trusted tells whether we know the client: it said who it is, or it is in our
// networks.
func (s *session) trusted() bool { return s.client.Auth != "" || s.inNetworks() }

// mayRelay tells whether the client may send to anyone.
func (s *session) mayRelay() bool { return s.client.Auth != "" && s.opts.AuthRelay || s.inNetworks() }

func (s *session) inNetworks() bool {
	return !s.unnamed && contains(s.opts.RelayNetworks, s.client.Remote.Addr())
}

// End is called once, when the engine is done. It is a method of gate.Driver.
func (s *session) End() {
	defer func() {
		if r := recover(); r != nil {
			s.fault(r)
		}
		s.wire.Close(s.linger)
		s.server.remove(s, s.counted)
	}()
	if s.chain != nil {
		defer s.release()
		defer s.chain.Close()
	}
	if s.ended == "" {
		// The engine closed by itself: it caught a panic of ours.
		s.hangUp(endFault, mail.NewReply(421, "4.3.0", "Internal error, closing connection"))
	}
	_ = s.wire.Flush() // a client need not wait for our housekeeping
	s.abort(s.ended)
	s.ask(&hook.Event{Stage: hook.Close, Reason: s.ended})
	s.trace.Close(s.ended)
	if s.began {
		s.log.Disconnected(&s.client, s.ended, s.messages)
	}
}

// engineSession is what go-smtp calls.
type engineSession struct{ s *session }

var _ smtp.Session = engineSession{}

func (e engineSession) Mail(from string, _ *smtp.MailOptions) error {
	return e.call(from == engineSender, func() *mail.Reply { return e.s.mail(e.s.path, e.s.mailp) })
}

func (e engineSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	return e.call(to == engineRecipient, func() *mail.Reply { return e.s.rcpt(e.s.path, e.s.rcptp) })
}

// Data reads the content from the wire, and r to its end, which is all that
// the engine sees of it.
func (e engineSession) Data(r io.Reader) error {
	s := e.s
	err := e.call(s.tx != nil && s.tx.content != nil && hasCode(s.conn.Written(), 354), func() *mail.Reply {
		body := s.body
		if s.body = nil; body == nil {
			s.wire.Send("354 End data with <CR><LF>.<CR><LF>\r\n")
			body = s.wire.Data()
		}
		return s.receive(body, true)
	})
	if s.ended == "" {
		s.conn.Feed(".\r\n")
		if n, err := io.Copy(io.Discard, r); err != nil || n != 0 {
			return e.call(false, nil)
		}
	}
	return err
}

// Reset and Logout have nothing to tell: the session knows before the engine.
func (e engineSession) Reset()        {}
func (e engineSession) Logout() error { return nil }

// call runs f where the engine is in the state we believe it to be in, and
// keeps its reply for the client. The engine is told the code only.
func (e engineSession) call(agreed bool, f func() *mail.Reply) (err error) {
	s := e.s
	closing := &smtp.SMTPError{Code: 421, EnhancedCode: smtp.NoEnhancedCode, Message: "closing"}
	defer func() {
		if r := recover(); r != nil {
			s.fault(r)
			err = closing
		}
	}()
	if !agreed {
		s.disagree(nil)
		return closing
	}
	s.times = 1
	r := f()
	if s.ended != "" {
		return closing
	}
	s.reply, s.code = r.Lines(), 250
	if r.Class() == 2 {
		return nil
	}
	s.code = r.Code
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.NoEnhancedCode, Message: "refused"}
}
