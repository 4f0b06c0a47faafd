package smtpd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"slices"

	"github.com/pires/go-proxyproto"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// How a session begins: PROXY, TLS, the name of the client, what plugins say of it.

// open does all that comes before the first command.
func (s *session) open() {
	full := s.ended == endCrowd
	s.ended = ""
	if !full && contains(s.opts.ProxyNetworks, s.client.Remote.Addr()) && !s.openProxy() {
		return
	}
	if !full {
		s.peer, s.counted = s.client.Remote, s.client.Remote.Addr()
		s.mayXClient = !s.unnamed && contains(s.opts.XClientNetworks, s.counted)
		full = s.server.addAddress(s.counted) && !s.trusted() && !s.mayXClient
	}
	if full {
		s.trace.Connect(&s.client, s.proxy())
		// No handshake for it: under TLS from the first octet it is closed.
		s.crowd(s.opts.ImplicitTLS)
		return
	}
	if s.opts.ImplicitTLS && !s.startTLS() {
		return
	}
	s.findName()
	if !s.introduce() {
		return
	}
	if d := s.opts.EarlyTalkerDelay; s.opts.Role == MX && !s.opts.ImplicitTLS && d >= 0 && !s.trusted() && s.wire.Await(d) {
		r := mail.NewReply(554, "5.5.1", "Client talks before it is greeted")
		s.refused("CONNECT", r, nil, "")
		s.hangUp(endEarly, r)
		return
	}
	s.answer(&mail.Reply{Code: 220, Text: s.facts.Banner})
}

// crowd turns away a client that has too many sessions.
func (s *session) crowd(silent bool) {
	r := mail.NewReply(421, "4.7.0", "Too many connections, try again later")
	s.refused("CONNECT", r, nil, "")
	if silent {
		s.ended = endCrowd
		return
	}
	s.hangUp(endCrowd, r)
	s.linger = false
}

// findName looks up the name of the client's address.
func (s *session) findName() {
	if s.opts.PTR == nil {
		return
	}
	lookup, cancel := context.WithTimeout(s.server.ctx, s.opts.Timeouts.Lookup)
	defer cancel()
	name := s.opts.PTR(lookup, s.client.Remote.Addr())
	if _, err := mail.ParseDomain(name); err == nil {
		s.client.PTR = name
	}
}

// introduce tells log and plugins of the client, and whether they take it.
func (s *session) introduce() bool {
	s.began = true
	s.log.Connected(&s.client)
	s.trace.Connect(&s.client, s.proxy())
	s.pin()
	s.facts.Client = &s.client
	s.facts.Connections = func() int { return s.server.connections(s.counted) }
	s.facts.Banner = s.opts.Hostname + " ESMTP"
	if s.opts.Role == LMTP {
		s.facts.Banner = s.opts.Hostname + " LMTP"
	}
	o := s.ask(&hook.Event{Stage: hook.Connect})
	if o.Action != hook.Continue && o.Action != hook.Accept {
		s.drop("CONNECT", o, hook.Connect)
		return false
	}
	if o.Action == hook.Accept && o.Reply != nil && o.Reply.Code == 220 {
		s.facts.Banner = o.Reply.Text
	}
	s.atConnect = s.facts.Attrs
	s.chain.Mark()
	return s.client.TLS == nil || s.askTLS()
}

// proxy is the address of the proxy that spoke for the client; empty: none did.
func (s *session) proxy() string {
	if !s.facts.Proxy.IsValid() {
		return ""
	}
	return s.facts.Proxy.String()
}

// openProxy reads the PROXY header of a proxy that we trust.
func (s *session) openProxy() bool {
	var wrapped *proxyproto.Conn
	s.wire.Layer(func(c net.Conn) net.Conn {
		wrapped = proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(s.opts.Timeouts.Handshake))
		return wrapped
	})
	h := wrapped.ProxyHeader()
	if h == nil {
		s.server.log.Warn("no valid PROXY header", "proxy", s.client.Remote.String(), "session", s.client.Session)
		s.ended = endProxy
		return false
	}
	if h.Command.IsLocal() {
		// A health check, or a client of a kind that the proxy cannot name: it
		// does not get the rights of the proxy.
		s.unnamed = true
		return true
	}
	remote, _, ok := h.TCPAddrs()
	if !ok {
		s.server.log.Warn("PROXY header without a TCP address", "proxy", s.client.Remote.String(), "session", s.client.Session)
		s.ended = endProxy
		return false
	}
	s.facts.Proxy = s.client.Remote.Addr()
	s.client.Remote, s.client.Local = addrPort(remote), addrPort(wrapped.LocalAddr())
	return true
}

// startTLS does the handshake and forgets what the client said before.
func (s *session) startTLS() bool {
	ctx, served := handshakeContext(s.server.ctx)
	state, injected, err := s.wire.StartTLS(ctx, s.opts.TLS, s.opts.Timeouts.Handshake)
	if injected > 0 {
		s.server.log.Warn("input after STARTTLS in clear text was thrown away", "client", event.ClientName(&s.client), "octets", injected)
	}
	if err != nil {
		s.server.log.Info("TLS handshake failed", "client", event.ClientName(&s.client), "error", err.Error())
		if !s.began {
			s.trace.Connect(&s.client, s.proxy())
		}
		s.trace.TLS(nil, err)
		s.ended = endTLS
		return false
	}
	s.client.TLS = &mail.TLS{Version: state.Version, Cipher: tls.CipherSuiteName(state.CipherSuite)}
	if _, err := mail.ParseDomain(state.ServerName); err == nil {
		s.client.TLS.ServerName = state.ServerName
	}
	if len(state.PeerCertificates) > 0 {
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		s.client.TLS.Fingerprint = hex.EncodeToString(sum[:])
	}
	s.trace.TLS(s.client.TLS, nil)
	s.facts.CertNames, s.certUser = certNames(&state)
	if slices.Contains(s.opts.AuthMechanisms, scramPlus) {
		s.bindings = bindings(&state, *served)
	}
	s.greeted, s.offered, s.mechs = false, 0, nil
	s.client.Helo, s.client.ESMTP = "", false
	s.client.Auth, s.client.AuthMech, s.client.AuthUser = "", "", ""
	// What plugins have noted since the banner, they have from what somebody said
	// in clear text, who need not be the client (RFC 3207 4.2).
	s.facts.Attrs, s.secrets = s.atConnect, false
	if s.chain != nil {
		s.chain.Rewind()
	}
	return true
}

func (s *session) askTLS() bool {
	o := s.ask(&hook.Event{Stage: hook.TLS})
	if o.Action == hook.Continue {
		return true
	}
	if o.Failed && o.OnError == hook.FailTemporary {
		// The stage has no verdict for later, and a failure is no reason to
		// turn a client away for good.
		r := mail.ReplyPolicyUnavailable()
		r.Code = 421
		o.Reply = r
	}
	s.drop("STARTTLS", o, hook.TLS)
	return false
}
