package deliver

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/wasmta/wasmta/core/mail"
)

// Who gets to know a secret has proven who it is, or is on this machine.
func TestSecretsAreForWhomTheyAreFor(t *testing.T) {
	here, there := netip.MustParseAddrPort("127.0.0.1:25"), netip.MustParseAddrPort("192.0.2.1:25")
	named := netip.MustParseAddrPort("[::1]:25")
	all := []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"}
	for name, c := range map[string]struct {
		ep            endpoint
		tls, verified bool
		want          []string
	}{
		"verified TLS":                             {endpoint{addr: there}, true, true, all},
		"TLS that is not verified":                 {endpoint{addr: there}, true, false, all[:1]},
		"clear text":                               {endpoint{addr: there}, false, false, nil},
		"clear text, here":                         {endpoint{host: "127.0.0.1", addr: here}, false, false, all[1:]},
		"clear text, localhost":                    {endpoint{host: "LocalHost", addr: named}, false, false, all[1:]},
		"clear text, *.localhost":                  {endpoint{host: "relay.localhost", addr: here}, false, false, all[1:]},
		"a name that the DNS leads here":           {endpoint{host: "relay.test", addr: here}, false, false, nil},
		"a name that the DNS leads here, with TLS": {endpoint{host: "relay.test", addr: here}, true, false, all[:1]},
		"clear text, v4-mapped":                    {endpoint{addr: netip.MustParseAddrPort("[::ffff:192.0.2.1]:25")}, false, false, nil},
		"TLS here":                                 {endpoint{host: "::ffff:127.0.0.1", addr: here}, true, false, all},
		"unix socket":                              {endpoint{path: "/run/lmtp"}, false, false, all[1:]},
	} {
		var got []string
		for _, m := range all {
			if (&conn{ep: c.ep, tls: c.tls, verified: c.verified}).mayAuth(m) {
				got = append(got, m)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// What is refused never reaches the wire.
	o := Options{Log: slog.New(slog.DiscardHandler), Credential: func(string) (Credential, bool) { return Credential{User: "u", Secret: "p"}, true }}
	c := &conn{ep: endpoint{addr: there, credential: "x", host: "mx.test"}, o: &o, ext: extensions{auth: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"}}} // no connection: a write would panic
	if f := c.authenticate(t.Context()); f == nil || f.reply.Status() != (mail.Enhanced{4, 7, 11}) {
		t.Errorf("%+v", f)
	}
	for _, c := range []struct {
		ep   endpoint
		want mail.TLSPolicy
	}{
		{endpoint{addr: there, credential: "x"}, mail.TLSVerify},
		{endpoint{addr: there}, mail.TLSOpportunistic},
		{endpoint{host: "127.0.0.1", addr: here, credential: "x"}, mail.TLSOpportunistic},
		{endpoint{host: "relay.test", addr: here, credential: "x"}, mail.TLSVerify},
		{endpoint{addr: there, credential: "x", tls: mail.TLSEncrypt}, mail.TLSEncrypt},
		{endpoint{addr: there, credential: "x", tls: mail.TLSNone}, mail.TLSNone},
	} {
		if c.ep.guard(); c.ep.tls != c.want {
			t.Errorf("%+v: %d, want %d", c.ep, c.ep.tls, c.want)
		}
	}
}

// FuzzChallenges has what a server can say in an exchange: no panic, and nobody is believed who has not proven anything.
func FuzzChallenges(f *testing.F) {
	f.Add(uint8(0), []byte("r=x,s=c2FsdA==,i=4096"), []byte("v=AAAA"))
	f.Add(uint8(1), []byte(""), []byte("e=other-error"))
	f.Add(uint8(2), []byte("User Name"), []byte("Password"))
	f.Fuzz(func(t *testing.T, kind uint8, one, two []byte) {
		mechanism := []string{"SCRAM-SHA-256", "OAUTHBEARER", "LOGIN", "PLAIN", "XOAUTH2", "EXTERNAL"}[kind%6]
		if bytes.Contains(one, []byte("i=")) && len(one) > 40 {
			t.Skip() // iterations are bounded, and slow
		}
		x, err := newExchange(mechanism, &Credential{User: "u", Secret: "p"}, "mx.test", 25, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.begin(); err != nil {
			t.Fatal(err)
		}
		for _, challenge := range [][]byte{one, two, one} {
			if _, err = x.answer(challenge); err != nil {
				break
			}
		}
		if s, ok := x.(*scramExchange); ok && s.proven() {
			t.Fatalf("%q, %q prove that the server knows the password", one, two)
		}
	})
}
