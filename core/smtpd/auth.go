package smtpd

import (
	"encoding/base64"
	"errors"
	"slices"
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

// possible are the mechanisms of the configuration that this connection can do.
func (s *session) possible() (list []string) {
	if !s.wantsAuth() || !s.safeForAuth() {
		return nil
	}
	for _, m := range s.opts.AuthMechanisms {
		if m == scramPlus && len(s.bindings) == 0 || m == external && s.certUser == "" {
			continue
		}
		if (m == scramPlus || m == external) && s.spoken.given {
			continue // the TLS session is that of who spoke for the client
		}
		list = append(list, m)
	}
	return list
}

const (
	scramPlus = "SCRAM-SHA-256-PLUS"
	external  = "EXTERNAL"
)

// mechanisms are those of possible that plugins left in the reply to EHLO.
func mechanisms(extensions, possible []string) (list []string) {
	for _, x := range extensions {
		if keyword(x) != "AUTH" {
			continue
		}
		for _, m := range strings.Fields(x)[1:] {
			if m = strings.ToUpper(m); slices.Contains(possible, m) {
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
	e := &authentication{s: s, mechanism: mechanism, begun: time.Now()}
	x := sasl.New(mechanism, sasl.Options{Bindings: s.bindings, Plus: slices.Contains(s.mechs, scramPlus), External: s.certUser, Keys: e.keys})
	defer x.Close()
	defer e.settle(wrong) // if we panic; what is asked must not count for ever
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
		e.begun = time.Now()
		switch {
		case errors.Is(err, errAnswered):
			return
		case err != nil:
			e.malformed(err)
			return
		case done:
			c := x.Credentials()
			e.complete(&hook.Credentials{Mechanism: mechanism, User: c.User, AuthzID: c.AuthzID, Password: c.Password})
			return
		}
		s.wire.Send("334 " + base64.StdEncoding.EncodeToString(challenge) + "\r\n")
		line, err := s.wire.ReadResponse()
		var bad gate.LineError
		var r *mail.Reply
		switch {
		case errors.As(err, &bad) && bad == gate.LineTooLong:
			r = mail.NewReply(500, "5.5.6", "Authentication exchange line is too long")
		case errors.As(err, &bad):
			r = mail.NewReply(501, "5.5.2", "Response is not base64")
		case err != nil:
			e.abandon()
			s.readError("", err)
			return
		case string(line) == "*":
			r = mail.NewReply(501, "5.7.0", "Authentication cancelled")
		default:
			response = decodeResponse(line)
			clear(line)
			if response == nil {
				r = mail.NewReply(501, "5.5.2", "Response is not base64")
			}
		}
		if r != nil {
			if e.pending {
				s.guesses++ // plugins were asked for it
				e.abandon()
			}
			s.bad(r)
			if s.ended == "" && s.guesses >= s.opts.AuthFailures {
				s.hangUp(endGuesses, tooManyGuesses())
			}
			return
		}
	}
}

func invalidCredentials() *mail.Reply {
	return hook.Outcome{Verdict: hook.Verdict{Action: hook.Reject}}.ReplyAt(hook.Auth)
}

func tooManyGuesses() *mail.Reply {
	return mail.NewReply(421, "4.7.0", "Too many authentication failures, closing connection")
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
