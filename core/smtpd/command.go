package smtpd

import (
	"strings"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// All that the engine ever hears.
const (
	engineSender    = "tx@gate.invalid"
	engineRecipient = "rcpt@gate.invalid"

	engineHelo = "HELO gate.invalid\r\n"
	engineLhlo = "LHLO gate.invalid\r\n"
	engineMail = "MAIL FROM:<" + engineSender + ">\r\n"
	engineRcpt = "RCPT TO:<" + engineRecipient + ">\r\n"
	engineData = "DATA\r\n"
	engineRset = "RSET\r\n"
)

// maxPlainLine is the longest line of a command other than MAIL and RCPT.
const maxPlainLine = 2048

// command answers one command line, or returns the line that the engine is to
// answer in its place.
func (s *session) command(text string) (line string) {
	verb, arg, ok := splitCommand(text)
	switch {
	case verb != "BDAT" && isBdat(text):
		s.badBdat(mail.NewReply(500, "5.5.2", "Command is not recognized"))
		return ""
	case !ok:
		s.bad(mail.NewReply(500, "5.5.2", "Command is not recognized"))
		return ""
	case len(text) <= maxPlainLine || verb == "MAIL" || verb == "RCPT":
	case verb == "BDAT":
		s.badBdat(mail.NewReply(500, "5.5.2", "Line is too long"))
		return ""
	default:
		s.bad(mail.NewReply(500, "5.5.2", "Line is too long"))
		return ""
	}
	secret := s.secrets
	s.secrets = false
	switch verb {
	case "EHLO", "HELO", "LHLO":
		return s.hello(verb, arg)
	case "MAIL":
		return s.mailCommand(arg)
	case "RCPT":
		return s.rcptCommand(arg)
	case "DATA":
		return s.dataCommand(arg)
	case "BDAT":
		return s.bdatCommand(arg)
	case "RSET":
		return s.rsetCommand(arg)
	case "STARTTLS":
		return s.startTLSCommand(arg)
	case "AUTH":
		s.authCommand(arg)
		return ""
	case "XCLIENT":
		if len(s.opts.XClientNetworks) > 0 {
			s.xclientCommand(arg)
			return ""
		}
	case "QUIT":
		if arg != "" {
			s.bad(badArgument())
			return ""
		}
		s.answer(mail.NewReply(221, "2.0.0", "Bye"))
		s.ended = endQuit
		return ""
	case "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI":
		// A browser can be made to send mail by a form that posts here.
		s.abuse(endProtocol, mail.NewReply(554, "5.5.1", "This is not an HTTP server"))
		return ""
	}
	s.otherCommand(verb, arg, secret)
	return ""
}

// splitCommand separates the verb, in upper case, from its argument. Blanks
// at the end are tolerated (RFC 5321 4.1.1).
func splitCommand(text string) (verb, arg string, ok bool) {
	verb, arg, _ = strings.Cut(text, " ")
	if verb == "" || len(verb) > 64 {
		return "", "", false
	}
	for i := 0; i < len(verb); i++ {
		if c := verb[i] | 0x20; (c < 'a' || c > 'z') && (verb[i] < '0' || verb[i] > '9' || i == 0) {
			return "", "", false
		}
	}
	return strings.ToUpper(verb), strings.Trim(arg, " "), true
}

func badArgument() *mail.Reply {
	return mail.NewReply(501, "5.5.4", "Command has a wrong argument")
}

func outOfOrder(text string) *mail.Reply { return mail.NewReply(503, "5.5.1", text) }

// pass keeps the reply for a line that the engine answers with 250.
func (s *session) pass(line string, r *mail.Reply) string {
	s.reply, s.code, s.times = r.Lines(), 250, 1
	return line
}

func (s *session) hello(verb, name string) string {
	if lmtp := s.opts.Role == LMTP; lmtp != (verb == "LHLO") {
		s.bad(mail.NewReply(500, "5.5.1", "Command is not for this protocol"))
		return ""
	}
	if _, err := mail.ParseDomain(name); err != nil {
		s.bad(mail.NewReply(501, "5.5.2", "Give a domain name or an address literal"))
		return ""
	}
	s.budget -= costIdle
	s.abort(verb) // RFC 5321 4.1.4: as if by RSET
	s.greeted, s.offered, s.mechs = false, 0, nil
	extended := verb != "HELO"
	s.client.Helo, s.client.ESMTP = name, extended
	if s.spoken.helo != "" { // what the client said to the proxy, rather than the proxy to us
		s.client.Helo, name = s.spoken.helo, s.spoken.helo
	}
	if s.spoken.proto != "" {
		s.client.ESMTP = s.spoken.proto == "ESMTP"
	}
	list := s.extensions()
	s.facts.Extensions = list
	o := s.ask(&hook.Event{Stage: hook.Ehlo, Verb: verb, Arg: name})
	switch o.Action {
	case hook.Continue, hook.Accept:
	case hook.Drop:
		s.drop(verb, o, hook.Ehlo)
		return ""
	default:
		r := o.ReplyAt(hook.Ehlo)
		s.charge(r, costRcpt)
		s.refused(verb, r, nil, o.Plugin)
		s.client.Helo, s.client.ESMTP = "", false
		s.answer(r)
		// The engine forgets its transaction, as we did.
		return s.silent(engineRset)
	}
	s.greeted = true
	s.trace.Helo(verb, name)
	s.code, s.times = 250, 1
	s.reply = "250 " + s.opts.Hostname + "\r\n"
	if extended {
		s.facts.Extensions = dependent(s.facts.Extensions)
		s.offered = offered(list, s.facts.Extensions)
		s.mechs = mechanisms(s.facts.Extensions, s.possible())
		s.reply = helloReply(s.opts.Hostname, s.facts.Extensions)
	}
	s.facts.Extensions = nil
	if s.opts.Role == LMTP {
		return engineLhlo
	}
	return engineHelo
}

// silent is a line for the engine whose reply the client does not get, because
// it has one already.
func (s *session) silent(line string) string {
	s.reply, s.code, s.times = "", 250, 0
	return line
}

// cutFold removes prefix without regard to case, and blanks behind it, which
// are wrong and common.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return strings.TrimLeft(s[len(prefix):], " "), true
}

func (s *session) mailCommand(arg string) string {
	switch {
	case !s.greeted:
		s.bad(outOfOrder("Say EHLO or HELO first"))
		return ""
	case s.tx != nil:
		s.bad(outOfOrder("A transaction is open already"))
		return ""
	case s.opts.Role == Submission && !s.trusted():
		r := mail.NewReply(530, "5.7.0", "Authentication required")
		if s.wantsAuth() && !s.safeForAuth() && s.opts.TLS != nil {
			r = mail.NewReply(530, "5.7.0", "Issue a STARTTLS command first, then authenticate")
		}
		s.charge(r, costRcpt)
		s.refused("MAIL", r, nil, "")
		s.answer(r)
		return ""
	}
	rest, ok := cutFold(arg, "FROM:")
	if !ok {
		s.bad(mail.NewReply(501, "5.5.2", "Syntax is MAIL FROM:<reverse-path>"))
		return ""
	}
	path, params, r := mail.ParseMail(rest, s.parameter)
	if r != nil {
		s.refused("MAIL", r, nil, "")
		s.bad(r)
		return ""
	}
	if r := s.checkParams(&params); r != nil {
		s.charge(r, costRcpt)
		s.refused("MAIL", r, nil, "")
		s.answer(r)
		return ""
	}
	s.path, s.mailp = path, params
	return engineMail
}

func (s *session) rcptCommand(arg string) string {
	switch {
	case s.tx == nil:
		s.bad(outOfOrder("Say MAIL first"))
		return ""
	case s.tx.content != nil:
		s.bad(outOfOrder("The message is being sent already"))
		return ""
	}
	rest, ok := cutFold(arg, "TO:")
	if !ok {
		s.bad(mail.NewReply(501, "5.5.2", "Syntax is RCPT TO:<forward-path>"))
		return ""
	}
	path, params, r := mail.ParseRcpt(rest, s.tx.Envelope.SMTPUTF8, s.parameter)
	if r != nil {
		s.refused("RCPT", r, nil, "")
		s.bad(r)
		return ""
	}
	s.path, s.rcptp = path, params
	return engineRcpt
}

func (s *session) rsetCommand(arg string) string {
	if arg != "" {
		s.bad(badArgument())
		return ""
	}
	s.budget -= costIdle
	if s.tx == nil {
		s.ask(&hook.Event{Stage: hook.Reset, Reason: "RSET"})
	}
	s.abort("RSET")
	r := mail.NewReply(250, "2.0.0", "Ok")
	if !s.greeted {
		s.answer(r) // the engine has nothing to forget
		return ""
	}
	return s.pass(engineRset, r)
}

func (s *session) startTLSCommand(arg string) string {
	switch {
	case arg != "":
		s.bad(badArgument())
	case s.client.TLS != nil:
		s.bad(outOfOrder("TLS is on already"))
	case s.opts.TLS == nil:
		s.bad(mail.NewReply(502, "5.5.1", "TLS is not offered here"))
	case s.spoken.given:
		s.bad(outOfOrder("STARTTLS comes before XCLIENT"))
	case !s.greeted:
		s.bad(outOfOrder("Say EHLO first"))
	case !s.offers(extStartTLS):
		s.bad(mail.NewReply(502, "5.5.1", "TLS is not offered here"))
	case s.tx != nil:
		s.bad(outOfOrder("A transaction is open already"))
	default:
		s.answer(mail.NewReply(220, "2.0.0", "Ready to start TLS"))
		if s.startTLS() {
			s.askTLS()
		}
	}
	return ""
}

// otherCommand answers what has no state: the plugins' word first.
func (s *session) otherCommand(verb, arg string, secret bool) {
	var r *mail.Reply
	cost := costIdle
	switch verb {
	case "NOOP":
		r = mail.NewReply(250, "2.0.0", "Ok")
	case "HELP":
		r = mail.NewReply(214, "2.0.0", "See RFC 5321")
	case "VRFY":
		// What is not said cannot be harvested (RFC 5321 7.3).
		r = mail.NewReply(252, "2.5.0", "Cannot verify; send mail and see")
	case "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML":
		r, cost = mail.NewReply(502, "5.5.1", "Command is not offered here"), costBad
	default:
		r, cost = mail.NewReply(500, "5.5.2", "Command is not recognized"), costBad
		if secret {
			// A client that does not wait goes on with its name and password,
			// which are nobody's to see.
			s.secrets = true
			s.bad(r)
			return
		}
	}
	o := s.ask(&hook.Event{Stage: hook.Command, Verb: verb, Arg: arg})
	switch o.Action {
	case hook.Drop:
		s.drop(verb, o, hook.Command)
		return
	case hook.Accept:
		cost = costIdle
		if r.Class() != 2 {
			r = mail.NewReply(250, "2.0.0", "Ok")
		}
		if o.Reply != nil {
			r = o.ReplyAt(hook.Command)
		}
	case hook.Reject:
		r, cost = o.ReplyAt(hook.Command), costBad
		s.refused(verb, r, nil, o.Plugin)
	}
	s.budget -= cost
	s.answer(r)
}
