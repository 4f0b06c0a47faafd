package smtpd_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// A1, in the other states of a session: under TLS, after AUTH that failed or
// gives no right to relay, after XCLIENT, with SMTPUTF8. Pass: 0 relays.
func TestOpenRelayInEveryState(t *testing.T) {
	server, trust := testTLS(t)
	for name, c := range map[string]struct {
		begin  func(c *client) *client
		params string
	}{
		"under TLS": {func(c *client) *client {
			c = c.startTLS(trust)
			c.do("EHLO client.test", "250-")
			return c
		}, " REQUIRETLS"},
		"after AUTH that failed": {func(c *client) *client {
			c.do("AUTH PLAIN "+badPlain, "535")
			return c
		}, ""},
		"after AUTH without the right": {func(c *client) *client {
			c.do("AUTH PLAIN "+goodPlain, "235")
			return c
		}, " AUTH=<x@ours.test>"},
		"after XCLIENT": {func(c *client) *client {
			c.do("XCLIENT NAME=mx.ours.test HELO=ours.test ADDR=192.0.2.9", "220")
			c.do("EHLO mx.test", "250-")
			return c
		}, ""},
		"with SMTPUTF8": {func(c *client) *client { return c }, " SMTPUTF8 BODY=8BITMIME"},
		"after RSET": {func(c *client) *client {
			c.envelope()
			c.do("RSET", "250")
			return c
		}, ""},
		"after a message": {func(c *client) *client {
			c.deliver("x: y\r\n")
			return c
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil, func(o *smtpd.Options) {
				withUsers(o)
				o.TLS, o.XClientNetworks, o.ErrorBudget = server, loopback, 100_000
				o.LocalDomains = isDomain("ours.test", "sub.ours.test")
			})
			k := c.begin(h.dial().hello())
			before := len(h.intake.all())
			for _, to := range foreign() {
				k.do("MAIL FROM:<a@client.test>"+c.params, "250")
				k.send("RCPT TO:" + to + "\r\n")
				if r := k.reply(); r[0] == '2' {
					t.Errorf("RCPT TO:%s: %s", to, r)
				}
				k.do("DATA", "554 5.5.1")
				k.do("RSET", "250")
			}
			if n := len(h.intake.all()) - before; n != 0 {
				t.Errorf("%d messages queued", n)
			}
		})
	}
}

// A3: who asks for mailboxes one by one is soon talking to nobody, and VRFY and
// EXPN tell nothing. Pass: at most as many answers as the budget has for
// refusals, then 421; the same words for known and unknown.
func TestDirectoryHarvest(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		if p := e.Tx.Envelope.Recipients[e.Recipient].ForwardPath; p.Local != "known" {
			return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.1.1", "There is no such mailbox")}
		}
		return hook.Verdict{}
	}, hook.Rcpt)
	for _, reset := range []string{"", "RSET\r\nMAIL FROM:<a@client.test>\r\n", "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n"} {
		c := h.dial().hello()
		c.do("MAIL FROM:<a@client.test>", "250")
		go func() {
			for i := range 1000 {
				if _, err := fmt.Fprintf(c.conn, "RCPT TO:<user%d@ours.test>\r\n%s", i, reset); err != nil {
					return
				}
			}
		}()
		told, last := 0, ""
		for l := range c.lines {
			if last = l; strings.HasPrefix(l, "550 5.1.1") {
				told++
			}
		}
		if told > 50 || !strings.HasPrefix(last, "421 4.7.0") {
			t.Errorf("%q: %d mailboxes were denied, then %q", reset, told, last)
		}
	}
	c := h.dial().hello()
	for _, verb := range []string{"VRFY", "EXPN"} {
		known := c.do(verb+" known", "[25]")
		for _, name := range []string{"unknown", "<known@ours.test>", "known@ours.test", "root", "postmaster"} {
			if r := c.do(verb+" "+name, "[25]"); r != known {
				t.Errorf("%s %s: %q, of another %q", verb, name, r, known)
			}
		}
	}
	// A thousand mailboxes that exist are as many as a message may have.
	c = h.dial().hello()
	c.do("MAIL FROM:<a@client.test>", "250")
	c.send(strings.Repeat("RCPT TO:<known@ours.test>\r\n", 100_000/20)) // R2
	taken, refused := 0, 0
	for l := range c.lines {
		switch {
		case strings.HasPrefix(l, "250 2.1.5"):
			taken++
		case strings.HasPrefix(l, "452 4.5.3"):
			refused++
		case !strings.HasPrefix(l, "421 4.7.0"):
			t.Errorf("%q", l)
		}
	}
	if taken != 1000 || refused > 100 {
		t.Errorf("%d recipients taken, %d refused", taken, refused)
	}
}

// octets writes one octet at a time.
type octets struct{ net.Conn }

func (o octets) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := o.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// F5: a handshake that comes in single octets is one, and so is a record; what
// was injected before it is not heard, however it was cut.
func TestSTARTTLSInOctets(t *testing.T) {
	server, trust := testTLS(t)
	h := start(t, newPipeListener(), func(o *smtpd.Options) { o.TLS = server })
	for _, injected := range []string{"", "E", "EHLO evil.test\r\n", "EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<b@ours.test>\r\nDATA\r\n"} {
		c := h.dial().hello()
		c.send("STARTTLS\r\n" + injected)
		c.want("220 2.0.0")
		c.quiet()
		k := newClient(t, tls.Client(octets{c.conn}, trust))
		k.do("MAIL FROM:<a@client.test>", "503 5.5.1")
		k.do("EHLO real.test", "250-mx.test")
		k.deliver("x: y\r\n")
		k.do("QUIT", "221")
	}
	for _, m := range h.intake.all() {
		if m.Env.Client.Helo != "real.test" || m.Env.ReversePath != path("a@client.test") {
			t.Errorf("%+v", m.Env)
		}
	}
}

// F7: a last line without its CR LF is none, whoever closes.
func TestAnUnfinishedLineIsNoCommand(t *testing.T) {
	h := start(t, nil, nil)
	begin := "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@ours.test>\r\n"
	for _, last := range []string{"BDAT 0 LAST", "BDAT 0 LAST\r", "BDAT 6\r\nx: y\r\nBDAT 0 LAST", "DATA\r\nx: y\r\n.", "DATA\r\nx: y\r\n.\r"} {
		c := h.dial()
		c.want("220")
		c.send(begin + last)
		c.halfClose()
		for l := range c.lines {
			if strings.Contains(l, "queued") {
				t.Errorf("%q: %s", last, l)
			}
		}
	}
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if n := len(h.intake.all()); n != 0 {
		t.Errorf("%d committed", n)
	}
}
