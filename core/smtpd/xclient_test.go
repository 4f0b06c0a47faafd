package smtpd_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// proxied runs a server whose clients may say XCLIENT.
func proxied(t *testing.T, edit func(*smtpd.Options)) *host {
	t.Helper()
	return start(t, nil, func(o *smtpd.Options) {
		o.XClientNetworks, o.ErrorBudget = loopback, 1000
		if edit != nil {
			edit(o)
		}
	})
}

// Whoever speaks for a client hands over all that is known of it: plugins, log,
// envelope and Received field have it, and the session begins anew.
func TestXClient(t *testing.T) {
	var seen []string
	h := proxied(t, func(o *smtpd.Options) {
		o.PTR = func(_ context.Context, a netip.Addr) string {
			return "name-of-" + strings.NewReplacer(".", "-", ":", "-").Replace(a.String()) + ".test"
		}
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			c := e.Session.Client
			s := fmt.Sprint(e.Stage, " ", e.Arg, e.Reason, " ", c.Remote, " ", c.Local.Addr(), " ", c.PTR, " ", c.Helo, " ", c.ESMTP, " ", c.Auth, " ", e.Session.Proxy, " ", string(e.Session.Attrs["test/a"]))
			seen = append(seen, s)
			_ = e.SetAttr(hook.ScopeSession, "test/a", []byte("noted"))
			return hook.Verdict{}
		}, hook.Connect, hook.Ehlo, hook.Close)
	})
	c := h.dial()
	c.want("220 mx.test ESMTP$")
	c.do("XCLIENT ADDR=192.0.2.9", "503 5.5.1")
	c.do("EHLO proxy.test", "250-mx.test(?s:.*)XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT$")
	peer := c.conn.LocalAddr().String()
	c.do("xclient name=spike.example addr=IPV6:2001:db8::1 port=4242 proto=ESMTP helo=spike+2Eexample login=ann+40ours.test destaddr=198.51.100.25 destport=25", "220 mx.test ESMTP$")
	c.do("MAIL FROM:<a@client.test>", "503 5.5.1")
	c.do("EHLO proxy.test", "250-mx.test")
	c.deliver("x: y\r\n")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("XCLIENT ADDR=192.0.2.9", "503 5.5.1")
	c.do("RSET", "250")
	// What is not said again counts on; what is unavailable does not.
	c.do("XCLIENT NAME=[TEMPUNAVAIL] PORT=[unavailable] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE] PROTO=SMTP", "220")
	c.do("EHLO proxy.test", "250-mx.test")
	c.deliver("x: y\r\n")
	c.do("XCLIENT ADDR=192.0.2.9", "220")
	c.do("EHLO proxy.test", "250-mx.test")
	c.deliver("x: y\r\n")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })

	m := h.intake.all()
	if got := m[0].Env.Client; got.Remote.String() != "[2001:db8::1]:4242" || got.Local.String() != "198.51.100.25:25" || got.Helo != "spike.example" ||
		got.PTR != "spike.example" || got.Auth != "ann@ours.test" || got.AuthUser != "ann@ours.test" || got.AuthMech != "XCLIENT" || !got.ESMTP {
		t.Errorf("the first message is from %+v", got)
	}
	for i, want := range []string{"Received: from spike.example (spike.example [IPv6:2001:db8::1])\r\n\tby mx.test (wasmta) with ESMTPA id",
		"Received: from proxy.test (unknown [IPv6:2001:db8::1])\r\n\tby mx.test (wasmta) with SMTP id",
		"Received: from proxy.test (name-of-192-0-2-9.test [192.0.2.9])\r\n\tby mx.test (wasmta) with SMTP id"} {
		if !strings.HasPrefix(m[i].Header, want) {
			t.Errorf("message %d: %q, want %q", i, m[i].Header, want)
		}
	}
	us := h.l.Addr().String()
	us = us[:strings.LastIndex(us, ":")]
	want := []string{
		"connect  " + peer + " " + us + " name-of-127-0-0-1.test  false  invalid IP ",
		"ehlo proxy.test " + peer + " " + us + " name-of-127-0-0-1.test proxy.test true  invalid IP noted",
		"close XCLIENT " + peer + " " + us + " name-of-127-0-0-1.test proxy.test true  invalid IP noted",
		"connect  [2001:db8::1]:4242 198.51.100.25 spike.example spike.example true ann@ours.test 127.0.0.1 ",
		"ehlo spike.example [2001:db8::1]:4242 198.51.100.25 spike.example spike.example true ann@ours.test 127.0.0.1 noted",
		"close XCLIENT [2001:db8::1]:4242 198.51.100.25 spike.example spike.example true ann@ours.test 127.0.0.1 noted",
		"connect  [2001:db8::1]:0 198.51.100.25   false  127.0.0.1 ",
		"ehlo proxy.test [2001:db8::1]:0 198.51.100.25  proxy.test false  127.0.0.1 noted",
		"close XCLIENT [2001:db8::1]:0 198.51.100.25  proxy.test false  127.0.0.1 noted",
		"connect  192.0.2.9:0 198.51.100.25 name-of-192-0-2-9.test  false  127.0.0.1 ",
		"ehlo proxy.test 192.0.2.9:0 198.51.100.25 name-of-192-0-2-9.test proxy.test false  127.0.0.1 noted",
		"close QUIT 192.0.2.9:0 198.51.100.25 name-of-192-0-2-9.test proxy.test false  127.0.0.1 noted",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("plugins saw\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	if log := h.log.String(); !strings.Contains(log, "spike.example[2001:db8::1]") {
		t.Errorf("the log does not name the client:\n%s", log)
	}
}

// A bad XCLIENT changes nothing, and nobody but a proxy of ours may say one.
func TestXClientRefused(t *testing.T) {
	h := proxied(t, nil)
	c := h.dial().hello()
	for _, args := range []string{"", "ADDR", "ADDR=", "ADDR=192.0.2", "ADDR=192.0.2.9 ADDR=192.0.2.9", "ADDR=fe80::1%25eth0", "ADDR=0.0.0.0", "ADDR=[192.0.2.9]", "ADDR=IPV6:", "ADDR=spike.example",
		"NAME=[192.0.2.9]", "NAME=a..b", "NAME=a+0Db", "NAME=a+2", "NAME=a_b<script>", "PORT=65536", "PORT=-1", "PORT=+1", "PORT=smtp", "PROTO=QMTP", "PROTO=[UNAVAILABLE]",
		"HELO=a+20b", "LOGIN=a+0Ab", "LOGIN=+00", "DESTADDR=x", "DESTPORT=x", "SOURCE=LOCAL", "NAME=ok.example FOO=bar", "=x", "ADDR==192.0.2.9", "LOGIN=" + strings.Repeat("x", 2000)} {
		c.do("XCLIENT "+args, "50[01] 5.5.[24]")
	}
	c.deliver("x: y\r\n")
	if m := h.intake.all()[0]; m.Env.Client.Remote.String() != c.conn.LocalAddr().String() || m.Env.Client.Auth != "" || m.Env.Client.PTR != "" {
		t.Errorf("%+v", m.Env.Client)
	}

	others := start(t, nil, func(o *smtpd.Options) { o.XClientNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	others.dial().hello().do("XCLIENT ADDR=192.0.2.9", "550 5.7.0")
	start(t, nil, nil).dial().hello().do("XCLIENT ADDR=192.0.2.9", "500 5.5.2")
	// What PROXY says decides: a client behind a proxy is not the proxy.
	h = proxied(t, func(o *smtpd.Options) { o.ProxyNetworks = loopback })
	c = h.dial()
	c.send("PROXY TCP4 192.0.2.7 198.51.100.1 4242 25\r\n")
	c.hello().do("XCLIENT ADDR=127.0.0.1", "550 5.7.0")
	c = h.dial()
	c.send("PROXY UNKNOWN\r\n")
	c.hello().do("XCLIENT ADDR=127.0.0.1", "550 5.7.0")
	// A plugin can take it away.
	h = proxied(t, func(o *smtpd.Options) {
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			_ = e.SetExtensions([]string{"PIPELINING"})
			return hook.Verdict{}
		}, hook.Ehlo)
	})
	h.dial().hello().do("XCLIENT ADDR=192.0.2.9", "502 5.5.1")
}

// A1: by XCLIENT nobody gets the rights of who says it, but those of the client
// that it names. Pass: 0 relays.
func TestXClientRights(t *testing.T) {
	for name, c := range map[string]struct {
		say   string
		relay string
	}{
		"a stranger":           {"ADDR=192.0.2.9", "550 5.7.1"},
		"unavailable":          {"ADDR=[UNAVAILABLE]", "550 5.7.1"},
		"only a name":          {"NAME=spike.example", "550 5.7.1"},
		"mapped":               {"ADDR=IPV6:::ffff:192.0.2.9", "550 5.7.1"},
		"of our networks":      {"ADDR=127.0.0.2", "250"},
		"a login":              {"ADDR=192.0.2.9 LOGIN=ann", "250"},
		"an unavailable login": {"ADDR=192.0.2.9 LOGIN=[UNAVAILABLE]", "550 5.7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := proxied(t, func(o *smtpd.Options) { o.RelayNetworks, o.AuthRelay = loopback, true })
			k := h.dial().hello()
			k.do("MAIL FROM:<a@client.test>", "250")
			k.do("RCPT TO:<x@else.test>", "250") // itself it may
			k.do("RSET", "250")
			k.do("XCLIENT "+c.say, "220")
			k.do("EHLO client.test", "250-")
			k.do("MAIL FROM:<a@client.test>", "250")
			k.do("RCPT TO:<x@else.test>", c.relay)
		})
	}
	// The next client on a connection that a proxy uses again is not the one before.
	next := proxied(t, func(o *smtpd.Options) { o.AuthRelay = true }).dial().hello()
	for _, step := range []struct{ say, relay string }{
		{"ADDR=192.0.2.9 LOGIN=ann", "250"}, {"PORT=4242 HELO=client.test", "250"}, {"ADDR=192.0.2.10", "550 5.7.1"}, {"LOGIN=ann", "250"},
	} {
		next.do("XCLIENT "+step.say, "220")
		next.do("EHLO client.test", "250-")
		next.do("MAIL FROM:<a@client.test>", "250")
		next.do("RCPT TO:<x@else.test>", step.relay)
		next.do("RSET", "250")
	}
	// AUTH of the proxy is not that of the client.
	h := proxied(t, func(o *smtpd.Options) { withUsers(o); o.AuthRelay = true })
	k := h.dial().hello()
	k.do("AUTH PLAIN "+goodPlain, "235")
	k.do("XCLIENT ADDR=192.0.2.9", "220")
	k.do("EHLO client.test", "250-")
	k.do("MAIL FROM:<a@client.test>", "250")
	k.do("RCPT TO:<x@else.test>", "550 5.7.1")
	k.do("RSET", "250")
	k.do("AUTH PLAIN "+goodPlain, "235") // the client's, passed on
	k.do("MAIL FROM:<a@client.test>", "250")
	k.do("RCPT TO:<x@else.test>", "250")
	k.do("RSET", "250")
	k.do("XCLIENT PORT=4243", "220")
	k.do("EHLO client.test", "250-")
	k.do("MAIL FROM:<a@client.test>", "250")
	k.do("RCPT TO:<x@else.test>", "550 5.7.1")
}

// A client is turned away as if it had connected, and counted as itself; TLS
// must be there before.
func TestXClientIsAConnection(t *testing.T) {
	h := proxied(t, func(o *smtpd.Options) {
		o.MaxSessionsPerAddress = 1
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			switch e.Session.Client.Remote.Addr().String() {
			case "192.0.2.66":
				return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(554, "5.7.1", "not you")}
			case "192.0.2.67":
				return hook.Verdict{Action: hook.Accept, Reply: mail.NewReply(220, "", "welcome")}
			}
			return hook.Verdict{}
		}, hook.Connect)
	})
	c := h.dial().hello()
	c.do("XCLIENT ADDR=192.0.2.66", "554 5.7.1 not you")
	if l := c.line(); l != closed {
		t.Errorf("then %q", l)
	}
	a := h.dial().hello()
	a.do("XCLIENT ADDR=192.0.2.67", "220 welcome$")
	b := h.dial().hello()
	b.do("XCLIENT ADDR=192.0.2.67", "421 4.7.0")
	if l := b.line(); l != closed {
		t.Errorf("then %q", l)
	}
	a.do("EHLO client.test", "250-")
	a.do("XCLIENT ADDR=192.0.2.68", "220 mx.test")
	b = h.dial().hello()
	b.do("XCLIENT ADDR=192.0.2.67", "220 welcome$") // which is free again
	a.do("QUIT", "221")
	b.do("QUIT", "221")

	server, trust := testTLS(t)
	h = proxied(t, func(o *smtpd.Options) { o.TLS = server })
	c = h.dial().hello()
	c.do("XCLIENT ADDR=192.0.2.9", "220")
	if r := c.do("EHLO client.test", "250-"); strings.Contains(r, "STARTTLS") {
		t.Errorf("%s", r)
	}
	c.do("STARTTLS", "503 5.5.1")
	c = h.dial().hello().startTLS(trust)
	c.do("EHLO proxy.test", "250-")
	c.send("XCLIENT ADDR=192.0.2.9\r\nEHLO client.test\r\n") // it may be pipelined
	c.want("220")
	c.want("250-mx.test")
	c.deliver("x: y\r\n")
	m := h.intake.all()[0]
	if tls := m.Env.Client.TLS; tls == nil || tls.ServerName != "" || m.Env.Client.Remote.Addr().String() != "192.0.2.9" {
		t.Errorf("%+v %+v", m.Env.Client, tls)
	}
}
