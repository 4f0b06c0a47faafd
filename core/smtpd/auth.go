package smtpd

import (
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/gate"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
)

// AUTH (RFC 4954). The engine never sees it: a password is in the wire's buffer,
// in the exchange and in the question to the plugins, and is overwritten in each
// as soon as it is not needed there. It never is a string, so that it cannot get
// into a log, an error or an attribute.

// wantsAuth tells whether anybody would answer.
func (s *session) wantsAuth() bool { return s.chain != nil && s.chain.Wants(hook.Auth) }

// safeForAuth tells whether a password may travel here.
func (s *session) safeForAuth() bool { return s.client.TLS != nil || s.opts.AuthWithoutTLS }

// mechanisms are those of ours that plugins left in the reply to EHLO.
func mechanisms(extensions []string) (list []string) {
	for _, x := range extensions {
		if keyword(x) != "AUTH" {
			continue
		}
		for _, m := range strings.Fields(x)[1:] {
			if m = strings.ToUpper(m); slices.Contains(sasl.Names(), m) {
				list = append(list, m)
			}
		}
	}
	return list
}

func (s *session) authCommand(arg string) {
	initial := s.wire.Initial()
	before := s.client.Auth
	defer func() {
		clear(initial)
		s.secrets = s.client.Auth == before
	}()
	mechanism := strings.ToUpper(arg)
	switch {
	case s.client.Auth != "":
		s.bad(outOfOrder("You are authenticated already"))
	case s.tx != nil:
		s.bad(outOfOrder("A transaction is open already"))
	case !s.wantsAuth():
		s.bad(mail.NewReply(502, "5.5.1", "AUTH is not offered here"))
	case !s.safeForAuth():
		s.bad(mail.NewReply(538, "5.7.11", "Encryption is required for authentication"))
	case !s.greeted:
		s.bad(outOfOrder("Say EHLO first"))
	case !s.offers(extAuth):
		s.bad(mail.NewReply(502, "5.5.1", "AUTH is not offered here"))
	case mechanism == "":
		s.bad(mail.NewReply(501, "5.5.4", "Syntax is AUTH mechanism [initial-response]"))
	case !slices.Contains(s.mechs, mechanism):
		s.bad(mail.NewReply(504, "5.5.4", "Mechanism is not offered here"))
	default:
		s.exchange(mechanism, initial)
	}
}

// exchange plays the challenges and responses of a mechanism.
func (s *session) exchange(mechanism string, initial []byte) {
	x := sasl.New(mechanism)
	defer x.Close()
	var response []byte
	if initial != nil {
		if string(initial) == "=" {
			response = []byte{}
		} else if response = decodeResponse(initial); response == nil {
			s.bad(mail.NewReply(501, "5.5.2", "Initial response is not base64"))
			return
		}
	}
	for {
		challenge, done, err := x.Next(response)
		clear(response)
		begun := time.Now()
		if err != nil {
			s.authFailed(mechanism, "", err.Error(), "", begun, invalidCredentials())
			return
		}
		if done {
			c := x.Credentials()
			s.authenticate(&hook.Credentials{Mechanism: mechanism, User: c.User, AuthzID: c.AuthzID, Password: c.Password}, begun)
			return
		}
		s.wire.Send("334 " + base64.StdEncoding.EncodeToString(challenge) + "\r\n")
		line, err := s.wire.ReadResponse()
		var bad gate.LineError
		switch {
		case errors.As(err, &bad) && bad == gate.LineTooLong:
			s.bad(mail.NewReply(500, "5.5.6", "Authentication exchange line is too long"))
			return
		case errors.As(err, &bad):
			s.bad(mail.NewReply(501, "5.5.2", "Response is not base64"))
			return
		case err != nil:
			s.readError("", err)
			return
		case string(line) == "*":
			s.bad(mail.NewReply(501, "5.7.0", "Authentication cancelled"))
			return
		}
		response = decodeResponse(line)
		clear(line)
		if response == nil {
			s.bad(mail.NewReply(501, "5.5.2", "Response is not base64"))
			return
		}
	}
}

func invalidCredentials() *mail.Reply {
	return hook.Outcome{Verdict: hook.Verdict{Action: hook.Reject}}.ReplyAt(hook.Auth)
}

// decodeResponse decodes base64 (RFC 4648 4) as strictly as it is defined: with
// its padding, without bits behind it, nothing else. nil: it is not.
func decodeResponse(line []byte) []byte {
	b := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Strict().Decode(b, line)
	if err != nil {
		clear(b)
		return nil
	}
	return b[:n]
}

// authenticate asks the plugins what the credentials are worth.
func (s *session) authenticate(c *hook.Credentials, begun time.Time) {
	defer func() { clear(c.Password) }()
	s.broken = false
	o := s.ask(&hook.Event{Stage: hook.Auth, Auth: c, Verb: "AUTH", Arg: c.Mechanism})
	clear(c.Password)
	// Nobody knows what a plugin that failed would have said; least of all that
	// the password is wrong, for which clients forget it.
	if s.broken && o.Action != hook.Accept && (o.Failed || o.Action == hook.Continue) {
		o = hook.Outcome{Verdict: hook.Verdict{Action: hook.Defer}, Plugin: o.Plugin}
	}
	switch o.Action {
	case hook.Accept:
		id := c.ID
		if id == "" && c.AuthzID != "" && c.AuthzID != c.User {
			s.authFailed(c.Mechanism, c.User, "nobody lets it act as "+strconv.Quote(c.AuthzID), o.Plugin, begun, invalidCredentials())
			return
		}
		if id == "" {
			id = c.User
		}
		s.client.Auth, s.client.AuthMech, s.client.AuthUser = id, c.Mechanism, c.User
		s.log.Authenticated(&s.client, o.Plugin)
		r := mail.NewReply(235, "2.7.0", "Authentication successful")
		if o.Reply != nil && o.Reply.Code == r.Code {
			r = o.ReplyAt(hook.Auth)
		}
		s.answer(r)
	case hook.Defer:
		r := o.ReplyAt(hook.Auth)
		s.budget -= costRcpt
		s.log.AuthFailed(&s.client, c.Mechanism, c.User, r.String(), o.Plugin)
		s.answer(r)
	case hook.Reject:
		r := o.ReplyAt(hook.Auth)
		s.authFailed(c.Mechanism, c.User, r.String(), o.Plugin, begun, r)
	default:
		s.authFailed(c.Mechanism, c.User, "no plugin accepts it", "", begun, invalidCredentials())
	}
}

// authFailed refuses credentials, later rather than sooner, and ends the
// session of a client that guesses.
func (s *session) authFailed(mechanism, user, reason, by string, begun time.Time, r *mail.Reply) {
	s.log.AuthFailed(&s.client, mechanism, user, reason, by)
	s.guesses++
	s.budget -= costBad
	_ = s.wire.Flush() // of a batch, what was before
	s.waitUntil(begun.Add(s.opts.AuthDelay))
	if s.guesses >= s.opts.AuthFailures {
		s.hangUp(endGuesses, mail.NewReply(421, "4.7.0", "Too many authentication failures, closing connection"))
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
