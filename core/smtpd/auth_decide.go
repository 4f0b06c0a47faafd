package smtpd

import (
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/gate"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
)

// authentication is one exchange, from what it says to what it is worth.
type authentication struct {
	s         *session
	mechanism string
	begun     time.Time // when the last response was there
	try       attempt
	pending   bool // try was admitted and is not settled

	// Of SCRAM, where plugins are asked before the client has proved anything.
	c      *hook.Credentials
	o      hook.Outcome
	id     string
	reason string // for which the keys are made up; empty: they are not
}

// errAnswered ends an exchange whose reply was given.
var errAnswered = errors.New("answered")

// admit asks the guard whether user may be tried from here, and answers if not.
func (e *authentication) admit(user string) bool {
	s := e.s
	if e.mechanism == external {
		return true // a certificate is no guess
	}
	patience := time.NewTimer(guardWait)
	defer patience.Stop()
	for {
		try, refusal, settled := s.opts.Guard.admit(s.client.Remote.Addr(), !s.inNetworks(), user, time.Now())
		if refusal == "" {
			e.try, e.pending = try, true
			return true
		}
		if settled != nil {
			_ = s.wire.Flush() // of a batch, what was before
			select {
			case <-settled:
				continue
			case <-patience.C:
			case <-s.server.stop:
			}
		}
		e.fail(user, refusal, "", mail.NewReply(454, "4.7.0", "Too many authentication failures, try again later"))
		return false
	}
}

// settle tells the guard what became of the attempt.
func (e *authentication) settle(o outcome) {
	if e.pending {
		e.pending = false
		e.s.opts.Guard.settle(e.try, o, time.Now())
	}
}

// abandon is for an exchange that the client broke off: where plugins were asked
// it has cost what a guess costs.
func (e *authentication) abandon() {
	if e.pending {
		e.failed(e.c.User, "the client broke the exchange off", e.o.Plugin)
		e.settle(wrong)
	}
}

// failed tells the log, in whose line fail2ban finds the client.
func (e *authentication) failed(user, reason, by string) {
	e.s.log.AuthFailed(&e.s.client, e.mechanism, user, reason, by)
	e.s.trace.Auth(e.mechanism, user, "", by, reason)
}

// ask asks the plugins what the credentials are worth, or for keys.
func (e *authentication) ask(c *hook.Credentials) hook.Outcome {
	s := e.s
	s.broken = false
	o := s.ask(&hook.Event{Stage: hook.Auth, Auth: c, Verb: "AUTH", Arg: c.Mechanism})
	clear(c.Password)
	// Nobody knows what a plugin that failed would have said; least of all that
	// the password is wrong, for which clients forget it.
	if s.broken && o.Action != hook.Accept && (o.Failed || o.Action == hook.Continue) {
		o = hook.Outcome{Verdict: hook.Verdict{Action: hook.Defer}, Plugin: o.Plugin}
	}
	return o
}

// who is the client that was accepted, or why it is nobody.
func who(c *hook.Credentials) (id, reason string) {
	switch {
	case c.ID != "":
		return c.ID, ""
	case c.AuthzID != "" && c.AuthzID != c.User:
		return "", "nobody lets it act as " + strconv.Quote(c.AuthzID)
	case c.User == "":
		return "", "no plugin says whose token it is"
	}
	return c.User, ""
}

// keys asks for the keys of a name, for SCRAM. Where there are none the exchange
// goes on with keys that fit no password: names cannot be told apart.
func (e *authentication) keys(user, authzID string) (k mail.ScramKeys, err error) {
	if !e.admit(user) {
		return k, errAnswered
	}
	e.c = &hook.Credentials{Mechanism: e.mechanism, User: user, AuthzID: authzID}
	e.o = e.ask(e.c)
	guard := e.s.opts.Guard
	switch e.o.Action {
	case hook.Accept:
		if e.id, e.reason = who(e.c); e.reason == "" && e.c.Scram == nil {
			e.reason = "accepted without keys"
		}
	case hook.Defer:
		e.later(e.c, e.o)
		return k, errAnswered
	case hook.Reject:
		e.reason = e.o.ReplyAt(hook.Auth).String()
	default:
		e.reason = "no plugin has keys"
	}
	if e.reason != "" {
		return guard.madeUp(user), nil
	}
	guard.saw(e.c.Scram)
	return *e.c.Scram, nil
}

// malformed is for an exchange that failed before policy could weigh it, or by
// a wrong proof.
func (e *authentication) malformed(err error) {
	reason, user := err.Error(), ""
	if e.c != nil {
		user = e.c.User
	}
	if e.reason != "" {
		reason = e.reason
	}
	if sasl.Refusal(e.mechanism, true) != nil && !e.refuse(true) {
		e.failed(user, reason, "")
		return
	}
	e.fail(user, reason, e.o.Plugin, invalidCredentials())
}

// complete weighs what the client gave.
func (e *authentication) complete(c *hook.Credentials) {
	defer func() { clear(c.Password) }()
	if e.c != nil { // SCRAM: it has been, and the client has proved that it has the password
		if e.reason != "" {
			e.fail(c.User, e.reason, e.o.Plugin, invalidCredentials())
			return
		}
		e.accept(e.c, e.o, e.id)
		return
	}
	if !e.admit(c.User) {
		return
	}
	o := e.ask(c)
	r, reason, by := invalidCredentials(), "no plugin accepts it", ""
	switch o.Action {
	case hook.Accept:
		var id string
		if id, reason = who(c); reason == "" {
			e.accept(c, o, id)
			return
		}
		by = o.Plugin
	case hook.Defer:
		e.later(c, o)
		return
	case hook.Reject:
		r = o.ReplyAt(hook.Auth)
		reason, by = r.String(), o.Plugin
	}
	e.settle(wrong)
	if sasl.Refusal(e.mechanism, false) != nil && !e.refuse(false) {
		e.failed(c.User, reason, by)
		return
	}
	e.fail(c.User, reason, by, r)
}

// accept believes the client.
func (e *authentication) accept(c *hook.Credentials, o hook.Outcome, id string) {
	s := e.s
	e.settle(right)
	s.client.Auth, s.client.AuthMech, s.client.AuthUser = id, c.Mechanism, c.User
	s.log.Authenticated(&s.client, o.Plugin)
	s.trace.Auth(c.Mechanism, c.User, id, o.Plugin, "")
	r := mail.NewReply(235, "2.7.0", "Authentication successful")
	if o.Reply != nil && o.Reply.Code == r.Code {
		r = o.ReplyAt(hook.Auth)
	}
	s.answer(r)
}

// later answers what cannot be decided now.
func (e *authentication) later(c *hook.Credentials, o hook.Outcome) {
	e.settle(unknown)
	r := o.ReplyAt(hook.Auth)
	e.s.budget -= costRcpt
	e.failed(c.User, r.String(), o.Plugin)
	e.s.answer(r)
}

// refuse sends the challenge by which some mechanisms tell of a refusal, and
// reads the response, whatever it is. false: the session has ended.
func (e *authentication) refuse(malformed bool) bool {
	s := e.s
	s.wire.Send("334 " + base64.StdEncoding.EncodeToString(sasl.Refusal(e.mechanism, malformed)) + "\r\n")
	line, err := s.wire.ReadResponse()
	clear(line)
	var bad gate.LineError
	if err != nil && !errors.As(err, &bad) {
		s.readError("", err)
	}
	return s.ended == ""
}

// fail refuses credentials, later rather than sooner, and ends the session of a
// client that guesses.
func (e *authentication) fail(user, reason, by string, r *mail.Reply) {
	s := e.s
	e.settle(wrong)
	e.failed(user, reason, by)
	s.guesses++
	s.budget -= costBad
	_ = s.wire.Flush() // of a batch, what was before
	s.waitUntil(e.begun.Add(s.opts.AuthDelay))
	if s.guesses >= s.opts.AuthFailures {
		s.hangUp(endGuesses, tooManyGuesses())
		return
	}
	s.answer(r)
}

// waitUntil waits, unless the server stops.
func (s *session) waitUntil(t time.Time) {
	d := time.Until(t)
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.server.stop:
	}
}
