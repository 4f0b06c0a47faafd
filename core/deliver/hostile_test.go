package deliver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
)

// TestRepliesOutOfStep has what a hostile server can say in each phase. Nothing of it is taken for the reply to a later
// command, nothing is delivered by it, and memory and time are bounded.
func TestRepliesOutOfStep(t *testing.T) {
	ok := map[string]string{"CONNECT": "220 x", "EHLO": "250 x", "MAIL": "250 2.1.0 Ok", "RCPT": "250 2.1.5 Ok", "DATA": "354 Go on", ".": "250 2.0.0 Ok"}
	endless := map[string]string{}
	for verb, r := range ok {
		endless[verb] = strings.Repeat(r[:3]+"-\r\n", 200) + r
	}
	for name, c := range map[string]struct {
		say  func(verb string) string
		want func(verb string) string
	}{
		"more lines than a reply has": {func(v string) string { return endless[v] }, nil},
		"more octets than a reply has": {func(v string) string {
			return strings.Repeat(ok[v][:3]+"-"+strings.Repeat("x", 4000)+"\r\n", 30) + ok[v]
		}, nil},
		"mixed codes":                {func(v string) string { return ok[v][:3] + "-a\r\n550 b" }, nil},
		"mixed codes of one class":   {func(v string) string { return "251-a\r\n252 b" }, nil},
		"NUL in the code":            {func(v string) string { return "2\x0050 Ok" }, nil},
		"no code":                    {func(v string) string { return "Ok" }, nil},
		"an empty line":              {func(v string) string { return "" + "\r\n" + ok[v] }, nil},
		"a tab after the code":       {func(v string) string { return ok[v][:3] + "\tOk" }, nil},
		"four digits":                {func(v string) string { return "2500 Ok" }, nil},
		"the next reply, too":        {func(v string) string { return ok[v] + "\r\n250 2.0.0 Ok: queued" }, nil},
		"all replies that will come": {func(v string) string { return ok[v] + strings.Repeat("\r\n250 2.0.0 Ok", 10) }, nil},
		"bare LF":                    {func(v string) string { return ok[v] + "\n" }, func(string) string { return "sent 2.0.0" }},
		"CR before CRLF":             {func(v string) string { return ok[v] + "\r\r\n" }, func(string) string { return "sent 2.0.0" }},
		"8-bit and NUL in the text":  {func(v string) string { return ok[v] + " \xff\x00\x1b[31m" }, func(string) string { return "sent 2.0.0" }},
		"100 lines":                  {func(v string) string { return strings.Repeat(ok[v][:3]+"-x\r\n", 99) + ok[v] }, func(string) string { return "sent 2.0.0" }},
	} {
		for verb := range ok {
			t.Run(name+" to "+verb, func(t *testing.T) {
				for _, ext := range []string{"", "PIPELINING"} {
					said := c.say(verb)
					script := mailtest.Script{Extensions: []string{ext}, Replies: map[string]string{verb: said}}
					if verb == "EHLO" && c.want != nil {
						script.Replies = nil // its lines are the extensions: see FuzzReplyReader
					}
					s := mailtest.ServeSMTP(t, script)
					a := newAgent(t, deliver.Options{})
					res := a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test"))
					if c.want != nil {
						want(t, res, c.want(verb))
						continue
					}
					if res[0].Outcome == mail.Delivered {
						t.Errorf("%q: delivered", ext)
					}
					if res[0].Outcome == mail.Failed {
						t.Errorf("%q: bounced by %s", ext, res[0].Reply.String())
					}
					if len(res[0].Reply.Text) > mail.MaxReplyLine+200 {
						t.Errorf("%d octets of text", len(res[0].Reply.Text))
					}
					// The connection is not used again.
					n := s.Connections()
					a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "c@y.test"))
					if s.Connections() == n {
						t.Errorf("%q: a connection that is out of step is used again", ext)
					}
				}
			})
		}
	}
}

// Replies that stand in the same packet as that to STARTTLS, or come in clear text after it, are not replies under TLS.
func TestRepliesBeforeTLS(t *testing.T) {
	for name, said := range map[string]string{
		"in the packet":         "220 Go\r\n250-mx.test\r\n250 AUTH PLAIN\r\n",
		"half a line":           "220 Go\r\n25",
		"a line end":            "220 Go\r\n\r\n",
		"everything to the end": "220 Go\r\n250 mx\r\n250 Ok\r\n250 Ok\r\n354 Go\r\n250 2.0.0 Delivered\r\n",
	} {
		for _, policy := range []mail.TLSPolicy{mail.TLSOpportunistic, mail.TLSEncrypt, mail.TLSVerify} {
			var got bytes.Buffer
			hop := hostile(t, func(c net.Conn) {
				r := bufio.NewReader(io.TeeReader(c, &got))
				io.WriteString(c, "220 mx.test\r\n")
				r.ReadString('\n')
				io.WriteString(c, "250-mx.test\r\n250 STARTTLS\r\n")
				r.ReadString('\n')
				io.WriteString(c, said)
				io.Copy(io.Discard, r)
			})
			hop.TLS = policy
			res := newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test"))
			if res[0].Outcome != mail.Deferred || strings.Contains(got.String(), "MAIL FROM") {
				t.Errorf("%s: %s, %q", name, res[0].Reply.String(), &got)
			}
		}
	}
}

// A server that is stopped in the middle of a handshake has not seen TLS fail, and sends nothing in clear text for it.
func TestInterruptedHandshake(t *testing.T) {
	for _, policy := range []mail.TLSPolicy{mail.TLSOpportunistic, mail.TLSVerify} {
		ctx, cancel := context.WithCancel(t.Context())
		hop := hostile(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			io.WriteString(c, "220 mx.test\r\n")
			r.ReadString('\n')
			io.WriteString(c, "250-mx.test\r\n250 STARTTLS\r\n")
			r.ReadString('\n')
			io.WriteString(c, "220 Go\r\n")
			r.ReadByte()
			cancel()
			io.Copy(io.Discard, r)
		})
		hop.TLS = policy
		want(t, newAgent(t, deliver.Options{}).Deliver(ctx, []mail.NextHop{hop}, message(body, "b@y.test")), "deferred 4.3.2")
	}
}

// lateContext is one whose deadline is over before it has noticed.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Second), true }

func TestInterruptedConnecting(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{})
	want(t, newAgent(t, deliver.Options{}).Deliver(lateContext{t.Context()}, []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "deferred 4.3.2")
}

// With LMTP every recipient has a reply: one too few leaves the last open, one too many is nobody's.
func TestLMTPRepliesOutOfStep(t *testing.T) {
	for n, wants := range map[int][]string{
		1: {"sent 2.0.0", "deferred 4.4.2"},
		2: {"sent 2.0.0", "sent 2.0.0"},
		3: {"sent 2.0.0", "deferred 4.5.0"},
	} {
		hop := hostile(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			io.WriteString(c, "220 mx.test\r\n")
			for _, reply := range []string{"250 mx.test", "250 Ok", "250 Ok", "250 Ok", "354 Go"} {
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
				fmt.Fprintf(c, "%s\r\n", reply)
			}
			for line := ""; line != ".\r\n"; {
				var err error
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			io.WriteString(c, strings.Repeat("250 2.0.0 Ok\r\n", n))
		})
		hop.Transport = mail.TransportLMTP
		want(t, newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message("Hello\r\n", "b@y.test", "c@y.test")), wants...)
	}
}
