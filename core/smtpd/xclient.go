package smtpd

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// XCLIENT, as Postfix has it: a proxy, or a filter that hands mail on, says for
// whom it speaks. Whoever may say it is believed in all that it says, LOGIN
// among it. What it said counts until it says other, or the connection ends; LOGIN
// only until the next ADDR, with which a proxy that uses a connection again begins
// to speak for somebody else.

// spoken is what was said by XCLIENT and has no place in mail.Client, or none
// that the next EHLO leaves alone.
type spoken struct {
	given bool   // XCLIENT was said
	addr  bool   // the client's address is known
	helo  string // empty: EHLO says it
	proto string // SMTP or ESMTP; empty: as helo
}

// loginByXClient is the mechanism by which LOGIN authenticates.
const loginByXClient = "XCLIENT"

const unavailable, tempUnavailable = "[UNAVAILABLE]", "[TEMPUNAVAIL]"

func (s *session) xclientCommand(arg string) {
	switch {
	case !s.mayXClient:
		r := mail.NewReply(550, "5.7.0", "You may not speak for others")
		s.refused("XCLIENT", r, nil, "")
		s.bad(r)
	case s.tx != nil:
		s.bad(outOfOrder("A transaction is open already"))
	case !s.greeted:
		s.bad(outOfOrder("Say EHLO first"))
	case !s.offers(extXClient):
		s.bad(mail.NewReply(502, "5.5.1", "XCLIENT is not offered here"))
	default:
		client, said, named, ok := s.parseXClient(arg)
		if !ok {
			s.bad(mail.NewReply(501, "5.5.4", "Syntax is XCLIENT attribute=value ..."))
			return
		}
		s.speakFor(client, said, named)
	}
}

// parseXClient reads the attributes over what is known of the client. named
// tells whether NAME is among them.
func (s *session) parseXClient(arg string) (c mail.Client, said spoken, named, ok bool) {
	c, said = s.client, s.spoken
	said.given = true
	if c.AuthMech != loginByXClient {
		c.Auth, c.AuthMech, c.AuthUser = "", "", "" // it was the proxy who authenticated
	}
	params, err := mail.ParseParams(" " + arg)
	if err != nil || len(params) == 0 {
		return c, said, false, false
	}
	if has := func(keyword string) bool {
		return slices.ContainsFunc(params, func(q mail.Param) bool { return q.Keyword == keyword })
	}; has("ADDR") && !has("LOGIN") {
		c.Auth, c.AuthMech, c.AuthUser = "", "", "" // another client has not logged in
	}
	for _, q := range params {
		value, valid := mail.DecodeXtext(q.Value)
		if !valid || value == "" {
			return c, said, false, false
		}
		none := strings.EqualFold(value, unavailable)
		if none {
			value = ""
		}
		switch q.Keyword {
		case "NAME":
			if none = none || strings.EqualFold(value, tempUnavailable); none {
				value = ""
			}
			c.PTR, named = value, true
			valid = none || validName(value)
		case "ADDR":
			addr, port := s.peer.Addr(), c.Remote.Port()
			if said.addr = !none; !none {
				addr, valid = parseXAddr(value)
			}
			c.Remote = netip.AddrPortFrom(addr, port)
		case "PORT":
			var port uint64
			port, valid = parseXPort(value, none)
			c.Remote = netip.AddrPortFrom(c.Remote.Addr(), uint16(port))
		case "DESTADDR":
			if !none {
				var addr netip.Addr
				addr, valid = parseXAddr(value)
				c.Local = netip.AddrPortFrom(addr, c.Local.Port())
			}
		case "DESTPORT":
			var port uint64
			port, valid = parseXPort(value, none)
			c.Local = netip.AddrPortFrom(c.Local.Addr(), uint16(port))
		case "PROTO":
			said.proto = strings.ToUpper(value)
			valid = said.proto == "SMTP" || said.proto == "ESMTP"
		case "HELO":
			said.helo = value
			if !none {
				_, err := mail.ParseDomain(value)
				valid = err == nil
			}
		case "LOGIN":
			c.Auth, c.AuthMech, c.AuthUser = "", "", ""
			if !none {
				c.Auth, c.AuthMech, c.AuthUser = value, loginByXClient, value
				valid = mail.ValidIdentity(value)
			}
		default:
			valid = false
		}
		if !valid {
			return c, said, false, false
		}
	}
	return c, said, named, true
}

// validName tells whether a name can be that of a client; an address cannot.
func validName(name string) bool {
	_, err := mail.ParseDomain(name)
	return err == nil && name[0] != '['
}

// parseXAddr reads an address: IPv4, or IPv6 behind its prefix.
func parseXAddr(text string) (netip.Addr, bool) {
	const six = "IPV6:"
	if len(text) > len(six) && strings.EqualFold(text[:len(six)], six) {
		text = text[len(six):]
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap(), err == nil && a.Zone() == "" && !a.IsUnspecified()
}

func parseXPort(text string, none bool) (uint64, bool) {
	if none {
		return 0, true
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return n, err == nil
}

// speakFor begins anew with another client, as if it had just connected: only
// TLS stays, without what it says of the proxy.
func (s *session) speakFor(c mail.Client, said spoken, named bool) {
	s.log.Disconnected(&s.client, "XCLIENT", s.messages)
	s.ask(&hook.Event{Stage: hook.Close, Reason: "XCLIENT"})
	s.chain.Close()
	s.release()
	s.chain, s.began = nil, false

	moved := c.Remote.Addr() != s.client.Remote.Addr()
	if c.TLS != nil {
		c.TLS = &mail.TLS{Version: c.TLS.Version, Cipher: c.TLS.Cipher}
	}
	c.Helo, c.ESMTP = said.helo, said.proto == "ESMTP"
	s.client, s.spoken, s.unnamed = c, said, !said.addr
	s.facts = hook.Session{Proxy: s.peer.Addr()}
	s.greeted, s.offered, s.mechs, s.secrets = false, 0, nil, false
	s.messages, s.guesses, s.budget = 0, 0, s.opts.ErrorBudget

	s.server.removeAddress(s.counted)
	s.counted = c.Remote.Addr()
	if s.server.addAddress(s.counted) && !s.trusted() && said.addr {
		s.crowd(false)
		return
	}
	if moved && !named {
		s.client.PTR = ""
		s.findName()
	}
	s.server.log.Info("a proxy speaks for another client", "client", event.ClientName(&s.client), "proxy", s.peer.String(), "session", s.client.Session)
	if s.introduce() {
		s.answer(&mail.Reply{Code: 220, Text: s.facts.Banner})
	}
}
