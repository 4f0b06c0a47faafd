package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

var everyStage = []hook.Stage{hook.Connect, hook.TLS, hook.Ehlo, hook.Command, hook.Mail, hook.Rcpt, hook.Data, hook.Headers, hook.Message, hook.Reset, hook.Close}

func path(s string) mail.Path {
	p, err := mail.ParseMailbox(s)
	if err != nil {
		panic(err)
	}
	return p
}

// with runs a server with one Go plugin.
func with(t *testing.T, f func(e *hook.Event) hook.Verdict, stages ...hook.Stage) *host {
	t.Helper()
	return start(t, nil, func(o *smtpd.Options) { o.Source = plugin(f, stages...) })
}

func TestStages(t *testing.T) {
	var seen []string
	done := make(chan bool)
	h := with(t, func(e *hook.Event) hook.Verdict {
		s := e.Stage.String()
		switch e.Stage {
		case hook.Ehlo, hook.Command:
			s += "(" + e.Verb + " " + e.Arg + ")"
		case hook.Mail:
			s += "(" + e.Tx.Envelope.ReversePath.String() + ")"
		case hook.Rcpt:
			s += "(" + e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.String() + ")"
		case hook.Headers:
			s += "(" + e.Content.Header.Get("Subject") + ")"
		case hook.Message:
			b := make([]byte, e.Content.BodySize)
			if _, err := e.Content.Body.ReadAt(b, 0); err != nil && err != io.EOF {
				t.Error(err)
			}
			s += "(" + string(b) + ")"
		case hook.Reset:
			s += fmt.Sprintf("(%s %v)", e.Reason, e.Tx != nil)
		case hook.Close:
			s += "(" + e.Reason + ")"
			defer close(done)
		}
		if e.Stage != hook.Rcpt && e.Recipient != -1 {
			t.Errorf("%s: recipient %d", s, e.Recipient)
		}
		seen = append(seen, s)
		return hook.Verdict{}
	}, everyStage...)
	c := h.dial().hello()
	c.do("NOOP hi there", "250")
	c.do("XYZZY", "500")
	c.deliver("Subject: s\r\n\r\nbody\r\n")
	c.do("RSET", "250")
	c.envelope()
	c.do("RSET", "250")
	c.envelope()
	c.do("HELO again.test", "250")
	c.envelope()
	c.do("DATA", "354")
	c.send("x: y\r\n")
	c.conn.Close()
	<-done
	want := []string{"connect", "ehlo(EHLO client.test)", "command(NOOP hi there)", "command(XYZZY )",
		"mail(a@client.test)", "rcpt(b@ours.test)", "data", "headers(s)", "message(body\r\n)", "reset(RSET false)",
		"mail(a@client.test)", "rcpt(b@ours.test)", "reset(RSET true)",
		"mail(a@client.test)", "rcpt(b@ours.test)", "reset(HELO true)", "ehlo(HELO again.test)",
		"mail(a@client.test)", "rcpt(b@ours.test)", "data", "reset(lost connection true)", "close(lost connection)"}
	if !slices.Equal(seen, want) {
		t.Errorf("stages\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// Each verdict at each stage, as the client sees it, and whether the session
// and the transaction go on.
func TestVerdicts(t *testing.T) {
	reply := func(code int, enhanced, text string) *mail.Reply { return mail.NewReply(code, enhanced, text) }
	for _, c := range []struct {
		stage   hook.Stage
		verdict hook.Verdict
		want    string // the reply at that stage
		then    string // "closed", "refused": nothing queued, "queued", "held" or "gone": 250 and not queued
	}{
		{hook.Connect, hook.Verdict{Action: hook.Accept}, "220 mx.test", "queued"},
		{hook.Connect, hook.Verdict{Action: hook.Accept, Reply: reply(220, "", "welcome\nfriend")}, "220-welcome\n220 friend", "queued"},
		{hook.Connect, hook.Verdict{Action: hook.Reject}, "554 5.7.1 Rejected", "closed"},
		{hook.Connect, hook.Verdict{Action: hook.Defer}, "421 4.7.1", "closed"},
		{hook.Connect, hook.Verdict{Action: hook.Drop, NoReply: true}, closed, "closed"},
		{hook.Connect, hook.Verdict{Action: hook.Drop, Reply: reply(554, "5.7.1", "two\nlines")}, "554-5.7.1 two\n554 5.7.1 lines", "closed"},
		{hook.Ehlo, hook.Verdict{Action: hook.Reject, Reply: reply(550, "5.7.1", "bad\r\n250 name")}, "550-5.7.1 bad\n550 5.7.1 250 name", "refused"},
		{hook.Ehlo, hook.Verdict{Action: hook.Defer}, "451 4.7.1", "refused"},
		{hook.Ehlo, hook.Verdict{Action: hook.Drop}, "421 4.7.0", "closed"},
		{hook.Mail, hook.Verdict{Action: hook.Accept, Reply: reply(250, "2.1.0", "welcome")}, "250 2.1.0 welcome", "queued"},
		{hook.Mail, hook.Verdict{Action: hook.Reject}, "550 5.7.1", "refused"},
		{hook.Mail, hook.Verdict{Action: hook.Defer, Reply: reply(450, "4.7.1", "greylisted")}, "450 4.7.1 greylisted", "refused"},
		{hook.Mail, hook.Verdict{Action: hook.Discard}, "250 2.1.0", "gone"},
		{hook.Mail, hook.Verdict{Action: hook.Hold}, "250 2.1.0", "held"},
		{hook.Mail, hook.Verdict{Action: hook.Drop}, "421 4.7.0", "closed"},
		{hook.Rcpt, hook.Verdict{Action: hook.Accept}, "250 2.1.5", "queued"},
		{hook.Rcpt, hook.Verdict{Action: hook.Reject}, "550 5.7.1", "refused"},
		{hook.Rcpt, hook.Verdict{Action: hook.Defer}, "451 4.7.1", "refused"},
		{hook.Rcpt, hook.Verdict{Action: hook.Discard}, "250 2.1.5", "gone"},
		{hook.Rcpt, hook.Verdict{Action: hook.Hold}, "250 2.1.5", "held"},
		{hook.Rcpt, hook.Verdict{Action: hook.Drop}, "421 4.7.0", "closed"},
		{hook.Data, hook.Verdict{Action: hook.Reject}, "550 5.7.1", "refused"},
		{hook.Data, hook.Verdict{Action: hook.Defer}, "451 4.7.1", "refused"},
		{hook.Data, hook.Verdict{Action: hook.Drop}, "421 4.7.0", "closed"},
		{hook.Headers, hook.Verdict{Action: hook.Accept}, "250 2.0.0", "queued"},
		{hook.Headers, hook.Verdict{Action: hook.Reject}, "550 5.7.1", "refused"},
		{hook.Headers, hook.Verdict{Action: hook.Defer}, "451 4.7.1", "refused"},
		{hook.Message, hook.Verdict{Action: hook.Accept, Reply: reply(250, "2.0.0", "thanks")}, "250 2.0.0 thanks", "queued"},
		{hook.Message, hook.Verdict{Action: hook.Reject, Reply: reply(554, "5.7.1", "spam")}, "554 5.7.1 spam", "refused"},
		{hook.Message, hook.Verdict{Action: hook.Defer}, "451 4.7.1", "refused"},
		{hook.Message, hook.Verdict{Action: hook.Discard}, "250 2.0.0", "gone"},
		{hook.Message, hook.Verdict{Action: hook.Hold}, "250 2.6.0", "held"},
	} {
		for _, verb := range []string{"DATA", "BDAT"} {
			t.Run(fmt.Sprintf("%s %s %s", c.stage, c.verdict.Action, verb), func(t *testing.T) {
				h := with(t, func(*hook.Event) hook.Verdict { return c.verdict }, c.stage)
				k := h.dial()
				at := func(s hook.Stage, line, usual string) bool {
					if line != "" {
						k.send(line + "\r\n")
					}
					if s != c.stage {
						k.want(usual)
						return true
					}
					if r := k.reply(); !strings.HasPrefix(r, c.want) {
						t.Fatalf("reply %q, want %q", r, c.want)
					}
					if c.then == "closed" {
						if c.want != closed {
							if l := k.line(); l != closed {
								t.Errorf("then %q", l)
							}
						}
						return false
					}
					return c.then != "refused"
				}
				dialogue := func() bool {
					if !at(hook.Connect, "", "220") || !at(hook.Ehlo, "EHLO client.test", "250") ||
						!at(hook.Mail, "MAIL FROM:<a@client.test>", "250 2.1.0") || !at(hook.Rcpt, "RCPT TO:<b@ours.test>", "250 2.1.5") {
						return false
					}
					if verb == "BDAT" {
						k.send("BDAT 6\r\nx: y\r\n")
						if c.stage == hook.Data {
							return at(hook.Data, "", "")
						}
						k.want("250")
						k.send("BDAT 6 LAST\r\n\r\nbody")
					} else {
						if c.stage == hook.Data {
							return at(hook.Data, "DATA", "")
						}
						k.do("DATA", "354")
						k.send("x: y\r\n\r\nbody\r\n.\r\n")
					}
					if c.stage == hook.Headers {
						return at(hook.Headers, "", "")
					}
					return at(hook.Message, "", "250")
				}
				finished := dialogue()
				m := h.intake.all()
				switch {
				case c.then == "queued" && (len(m) != 1 || m[0].Hold != "" || !finished),
					c.then == "held" && (len(m) != 1 || m[0].Hold != "held by plugin test"),
					c.then == "gone" && len(m) != 0,
					c.then == "refused" && (len(m) != 0 || finished):
					t.Errorf("%s, but %d queued: %+v", c.then, len(m), m)
				}
				if c.then != "closed" {
					k.do("RSET", "250") // still in step with us, and with the engine
					if c.stage > hook.Ehlo {
						k.do("EHLO client.test", "250-")
					}
					k.do("QUIT", "221")
				}
				if c.then == "refused" && !strings.Contains(h.log.String(), "NOQUEUE: reject: ") {
					t.Errorf("the refusal is not in the log:\n%s", h.log)
				}
				if c.then == "gone" && !strings.Contains(h.log.String(), "status=discarded, plugin=test") {
					t.Errorf("the discarding is not in the log:\n%s", h.log)
				}
			})
		}
	}
}

func TestTLSVerdict(t *testing.T) {
	server, trust := testTLS(t)
	h := start(t, nil, func(o *smtpd.Options) {
		o.TLS = server
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			if e.Session.Client.TLS.ServerName != "mx.test" {
				t.Error("no TLS facts")
			}
			return hook.Verdict{Action: hook.Reject}
		}, hook.TLS)
	})
	c := h.dial().hello().startTLS(trust)
	c.want("550 5.7.1")
	if l := c.line(); l != closed {
		t.Errorf("%q", l)
	}
}

// 421 means that the connection closes, whoever says it and where.
func TestEvery421Closes(t *testing.T) {
	bye := hook.Verdict{Action: hook.Defer, Reply: mail.NewReply(421, "4.7.0", "come back later")}
	for _, stage := range []hook.Stage{hook.Ehlo, hook.Mail, hook.Rcpt, hook.Data, hook.Headers, hook.Message} {
		h := with(t, func(*hook.Event) hook.Verdict { return bye }, stage)
		c := h.dial()
		c.send("")
		for _, s := range []string{"", "EHLO client.test\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<b@ours.test>\r\n", "DATA\r\n", "x: y\r\n.\r\n"} {
			c.send(s)
			if r := c.reply(); strings.HasPrefix(r, "421 4.7.0 come back") {
				break
			}
		}
		if l := c.line(); l != closed {
			t.Errorf("%s: %q", stage, l)
		}
	}
}

func TestCommandVerdicts(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		switch e.Verb {
		case "VRFY":
			return hook.Verdict{Action: hook.Accept, Reply: mail.NewReply(250, "2.1.5", e.Arg+" is known")}
		case "XFOO":
			return hook.Verdict{Action: hook.Accept}
		case "HELP":
			return hook.Verdict{Action: hook.Reject}
		case "XBAR":
			return hook.Verdict{Action: hook.Drop}
		}
		return hook.Verdict{}
	}, hook.Command)
	c := h.dial().hello()
	c.do("VRFY b", "250 2.1.5 b is known")
	c.do("XFOO", "250 2.0.0")
	c.do("HELP", "550 5.7.1")
	c.do("XBAZ", "500 5.5.2")
	c.do("XBAR", "421 4.7.0")
}

func TestEdits(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		check := func(err error) {
			if err != nil {
				t.Errorf("%s: %v", e.Stage, err)
			}
		}
		switch e.Stage {
		case hook.Connect:
			check(e.SetBanner("mx.test is\nhere\r\n250 forged"))
		case hook.Ehlo:
			list := slices.DeleteFunc(slices.Clone(e.Session.Extensions), func(s string) bool { return s == "CHUNKING" })
			check(e.SetExtensions(append(list, "XFUN", "XBAD\r\n250 forged", "")))
		case hook.Mail:
			check(e.SetReversePath(path("new@client.test")))
			check(e.SetAttr(hook.ScopeMessage, "test/k", []byte("v")))
		case hook.Rcpt:
			check(e.SetForwardPath(e.Recipient, path("alias@elsewhere.test")))
			check(e.AddRecipient(path("archive@else.test")))
		case hook.Data:
			check(e.SetSizeLimit(300))
		case hook.Headers:
			check(e.EditHeader(func(h *mail.Header) error { return h.Insert(-1, "X-First", "1", false) }))
		case hook.Message:
			check(e.EditHeader(func(h *mail.Header) error { return h.Set(h.Find(0, "Subject"), "changed", false) }))
		}
		return hook.Verdict{}
	}, everyStage...)
	c := h.dial()
	c.want("220-mx.test is\n220-here\n220 250 forged$")
	r := c.do("EHLO client.test", "250-")
	if !strings.Contains(r, "\n250-XFUN\n250 XBAD250 forged") || strings.Contains(r, "CHUNKING") {
		t.Errorf("EHLO %q", r)
	}
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<b@ours.test> NOTIFY=NEVER", "250")
	c.do("BDAT 5\r\nabc", "503") // not offered to this client
	c.do("DATA", "354")
	c.do("Subject: was\r\nTo: b\r\n\r\nbody\r\n.", "250")
	m := h.intake.all()[0]
	if !strings.HasSuffix(m.Header, "\r\nSubject: changed\r\nTo: b\r\nX-First: 1\r\n\r\n") || m.Body != "body\r\n" {
		t.Errorf("%q %q", m.Header, m.Body)
	}
	if strings.Contains(m.Header, " for ") {
		t.Errorf("two recipients, and one is shown: %q", m.Header)
	}
	e := m.Env
	if e.ReversePath != path("new@client.test") || string(e.Attrs["test/k"]) != "v" {
		t.Errorf("envelope %+v", e)
	}
	if len(e.Recipients) != 2 || e.Recipients[0].ForwardPath != path("alias@elsewhere.test") || e.Recipients[0].Original != path("b@ours.test") ||
		e.Recipients[0].Notify != mail.NotifyNever || e.Recipients[1].ForwardPath != path("archive@else.test") {
		t.Errorf("recipients %+v", e.Recipients)
	}
	c.envelope()
	c.do("DATA", "354")
	c.do(strings.Repeat("x", 300)+"\r\n.", "552 5.3.4")
}

// What a plugin changed before it said no is not kept.
func TestEditsAreUndone(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		switch e.Stage {
		case hook.Rcpt:
			_ = e.AddRecipient(path("sneaked@else.test"))
			_ = e.SetForwardPath(0, path("stolen@else.test"))
			if e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Local == "bad" {
				return hook.Verdict{Action: hook.Reject}
			}
			if e.Recipient > 0 {
				return hook.Verdict{} // the server refuses
			}
			_ = e.RemoveRecipient(1)
			_ = e.SetForwardPath(0, path("good@ours.test"))
		case hook.Message:
			_ = e.EditHeader(func(h *mail.Header) error { return h.Insert(-1, "X-Sneaked", "1", false) })
			return hook.Verdict{Action: hook.Hold}
		}
		return hook.Verdict{}
	}, everyStage...)
	c := h.dial().hello()
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<good@ours.test>", "250")
	c.do("RCPT TO:<bad@ours.test>", "550")
	c.do("RCPT TO:<x@else.test>", "550")
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250 2.6.0")
	m := h.intake.all()[0]
	if len(m.Env.Recipients) != 1 || m.Env.Recipients[0].ForwardPath != path("good@ours.test") || m.content() != "x: y\r\n" {
		t.Errorf("%+v %q", m.Env.Recipients, m.content())
	}
}

func TestAllRecipientsRemoved(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		for len(e.Tx.Envelope.Recipients) > 0 {
			if err := e.RemoveRecipient(0); err != nil {
				t.Error(err)
			}
		}
		return hook.Verdict{}
	}, hook.Message)
	c := h.dial().hello()
	c.envelope()
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250")
	if n := len(h.intake.all()); n != 0 {
		t.Errorf("%d queued", n)
	}
}

// A verdict at headers is given while the body still arrives; the body is
// thrown away, and the reply comes at its end.
func TestHeadersAreJudgedBeforeTheBody(t *testing.T) {
	judged := make(chan bool, 1)
	h := with(t, func(e *hook.Event) hook.Verdict {
		judged <- true
		return hook.Verdict{Action: hook.Reject}
	}, hook.Headers)
	c := h.dial().hello()
	c.envelope()
	c.do("DATA", "354")
	c.send("x: y\r\n\r\n")
	<-judged
	waitFor(t, func() bool { return h.intake.drafts() == 0 })
	c.send(strings.Repeat("body\r\n", 10_000))
	c.do(".", "550 5.7.1")
	c.do("NOOP", "250")
}

// foreign are forward-paths that are not ours, however they are written.
func foreign() []string {
	return []string{
		"<x@else.test>", "<x@ELSE.test>", `<"x@ours.test"@else.test>`, "<@ours.test:x@else.test>", "<@ours.test,@mx.test:x@else.test>",
		"<x%else.test@[127.0.0.1]>", "<x@[127.0.0.1]>", "<x@[192.0.2.1]>", "<x@[IPv6:2001:db8::1]>", "<x@mx.test>", "<x@else.test.ours.test.evil.test>",
		"<x@notours.test>", "<x@ours.test.else.test>", "<x@deep.sub.ours.test>", "<x@0urs.test>", "<x@ours-test>", "<x@localhost>", "<x!y@else.test>",
		"<else.test!x@else.test>", "<x@else.test> NOTIFY=NEVER", `<"x@else.test">`, "<x@else.test@ours.test>", "<postmaster@else.test>", "<postmaster@[192.0.2.1]>", "<>", "<x>",
		"<x@ours.test,y@else.test>", "<x@ours.test\x00@else.test>", "<x@оurs.test>", "x@else.test", "<x@ours.test", "<@:x@else.test>", "< x@else.test>",
	}
}

// A1: the open relay set. Nothing of it goes through, whatever the plugins do.
func TestOpenRelay(t *testing.T) {
	failing := func(f hook.HandlerFunc, policy hook.FailurePolicy) hook.Source {
		return hook.Static{{Name: "broken", Stages: hook.Stages(everyStage...), Handler: f, OnError: policy}}
	}
	trap := func(context.Context, *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{Action: hook.Accept}, errors.New("wasm trap: unreachable")
	}
	panics := func(context.Context, *hook.Event) (hook.Verdict, error) { panic("on purpose") }
	wrong := func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{Action: hook.Accept, Reply: mail.NewReply(550, "", "contradiction")}, nil
	}
	silent := func(_ context.Context, e *hook.Event) (hook.Verdict, error) { return hook.Verdict{}, nil }
	rewrites := func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		if e.Stage == hook.Rcpt { // a normalizer without an opinion
			p := e.Tx.Envelope.Recipients[e.Recipient].ForwardPath
			p.Domain = strings.ToLower(p.Domain) + "."
			p.Domain = strings.TrimSuffix(p.Domain, ".")
			p.Local += "x"
			return hook.Verdict{}, e.SetForwardPath(e.Recipient, p)
		}
		return hook.Verdict{}, nil
	}
	sources := map[string]hook.Source{
		"no plugin": hook.Static(nil), "no opinion": failing(silent, hook.FailContinue), "rewrites": failing(rewrites, hook.FailContinue),
	}
	for _, p := range []hook.FailurePolicy{hook.FailTemporary, hook.FailContinue, hook.FailReject} {
		sources["traps "+p.String()] = failing(trap, p)
		sources["panics "+p.String()] = failing(panics, p)
		sources["bad verdict "+p.String()] = failing(wrong, p)
	}
	ours := []string{"<x%else.test@ours.test>", `<"x@else.test"@ours.test>`, "<else.test!x@ours.test>", "<@else.test:x@ours.test>", "<x@OURS.TEST>", "<x@ours.test.>", "<postmaster>", "<x@relay.test>", "<Postmaster@mx.test>", "<postmaster@[127.0.0.1]>"}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil, func(o *smtpd.Options) {
				o.Source, o.ErrorBudget = source, 100_000
				o.LocalDomains = func(d string) bool { return d == "ours.test" || d == "sub.ours.test" }
				o.RelayNetworks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
			})
			for _, sender := range []string{"<a@client.test>", "<>", "<x@ours.test>"} {
				c := h.dial()
				if l := c.reply(); !strings.HasPrefix(l, "220") {
					return // refused at once: nothing is relayed
				}
				c.send("EHLO client.test\r\n")
				c.reply()
				for _, to := range foreign() {
					c.send("MAIL FROM:" + sender + "\r\n")
					c.reply()
					c.send("RCPT TO:" + to + "\r\n")
					if r := c.reply(); r[0] == '2' {
						t.Errorf("RCPT TO:%s from %s: %s", to, sender, r)
					}
					c.send("DATA\r\n")
					if r := c.reply(); r[0] == '3' {
						t.Errorf("DATA to %s from %s: %s", to, sender, r)
					}
					c.send("RSET\r\n")
					c.reply()
				}
				if name != "no plugin" && name != "no opinion" {
					continue
				}
				for _, to := range ours {
					c.do("MAIL FROM:"+sender, "250")
					c.send("RCPT TO:" + to + "\r\n")
					if r := c.reply(); r[0] != '2' && !strings.HasSuffix(to, ".>") {
						t.Errorf("RCPT TO:%s: %s", to, r)
					}
					c.do("RSET", "250")
				}
			}
			if n := len(h.intake.all()); n != 0 {
				t.Errorf("%d messages queued", n)
			}
		})
	}
}

func TestWhoMayRelay(t *testing.T) {
	rcpt := func(edit func(*smtpd.Options), pattern string) {
		t.Helper()
		c := start(t, nil, edit).dial().hello()
		c.do("MAIL FROM:<a@client.test>", "250")
		c.do("RCPT TO:<x@else.test>", pattern)
	}
	rcpt(nil, "550 5.7.1")
	rcpt(func(o *smtpd.Options) { o.RelayNetworks = loopback }, "250")
	accept := func(*hook.Event) hook.Verdict { return hook.Verdict{Action: hook.Accept} }
	rcpt(func(o *smtpd.Options) { o.Source = plugin(accept, hook.Rcpt) }, "250")
	rcpt(func(o *smtpd.Options) { o.Source = plugin(accept, hook.Mail, hook.Connect) }, "550 5.7.1")
	home := func(e *hook.Event) hook.Verdict {
		if err := e.SetForwardPath(e.Recipient, path("b@ours.test")); err != nil {
			t.Error(err)
		}
		return hook.Verdict{}
	}
	rcpt(func(o *smtpd.Options) { o.Source = plugin(home, hook.Rcpt) }, "250")
}

// Internationalized domains are compared as A-labels; a look-alike is not ours.
func TestInternationalRecipients(t *testing.T) {
	h := start(t, nil, nil)
	c := h.dial().hello()
	c.do("MAIL FROM:<ä@client.test> SMTPUTF8", "250")
	c.do("RCPT TO:<ü@bücher.test>", "250")
	c.do("RCPT TO:<ü@Xn--Bcher-Kva.TEST>", "250")
	c.do("RCPT TO:<ü@bucher.test>", "550")
	c.do("DATA", "354")
	c.do("Subject: ü\r\n.", "250")
	if !strings.Contains(h.intake.all()[0].Header, "with UTF8SMTP id") {
		t.Errorf("%q", h.intake.all()[0].Header)
	}
}

func TestReceivedField(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) {
		o.PTR = func(_ context.Context, a netip.Addr) string { return "rdns.client.test" }
	})
	c := h.dial().hello()
	c.deliver("x: y\r\n")
	m := h.intake.all()[0]
	want := "Received: from client.test (rdns.client.test [127.0.0.1])\r\n" +
		"\tby mx.test (wasmta) with ESMTP id " + m.ID.String() + "\r\n" +
		"\tfor <b@ours.test>; "
	if !strings.HasPrefix(m.Header, want) {
		t.Errorf("%q, want %q", m.Header, want)
	}
	date, _, _ := strings.Cut(m.Header[len(want):], "\r\n")
	if d, err := time.Parse(time.RFC1123Z, date); err != nil || time.Since(d) > time.Hour {
		t.Errorf("date %q: %v", date, err)
	}
	for line := range strings.SplitSeq(m.Header, "\r\n") {
		if len(line) > 78 {
			t.Errorf("line of %d octets: %s", len(line), line)
		}
	}
	// Nothing in it can be forged by what the client says.
	c.do("HELO [IPv6:2001:db8::1]", "250")
	c.do(`MAIL FROM:<"a) (b"@client.test>`, "250")
	c.do(`RCPT TO:<"x; y> z"@ours.test>`, "250")
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250")
	if m := h.intake.all()[1]; !strings.Contains(m.Header, "from [IPv6:2001:db8::1] (") || !strings.Contains(m.Header, "with SMTP id") ||
		!strings.Contains(m.Header, "\r\n\tfor <\"x; y> z\"@ours.test>; ") {
		t.Errorf("%q", m.Header)
	}
}

// What DNS says is foreign text too.
func TestPTRIsValidated(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) {
		o.PTR = func(context.Context, netip.Addr) string { return "evil) by mx.test\r\nX-Forged: 1" }
	})
	c := h.dial().hello()
	c.deliver("x: y\r\n")
	if m := h.intake.all()[0]; m.Env.Client.PTR != "" || !strings.HasPrefix(m.Header, "Received: from client.test (unknown [127.0.0.1])\r\n") {
		t.Errorf("%q %q", m.Env.Client.PTR, m.Header)
	}
}

func TestEnvelopeFacts(t *testing.T) {
	h := start(t, nil, nil)
	c := h.dial().hello()
	c.do("MAIL FROM:<a@client.test> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x+2By SMTPUTF8", "250")
	c.do("RCPT TO:<b@ours.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+40client.test", "250")
	c.do("RCPT TO:<b@OURS.test>", "250") // the same mailbox: queued once
	c.do(`RCPT TO:<"a b> NOTIFY=NEVER"@ours.test>`, "250")
	c.do("DATA", "354")
	c.do("Message-ID: <m@x>\r\n.", "250")
	e := h.intake.all()[0].Env
	if e.Size != 10 || e.Body != mail.Body8BitMIME || e.Return != mail.ReturnHeaders || e.EnvID != "x+y" || !e.SMTPUTF8 {
		t.Errorf("parameters %+v", e.MailParams)
	}
	if len(e.Recipients) != 2 || e.Recipients[0].Notify != mail.NotifySuccess|mail.NotifyDelay || e.Recipients[0].Orcpt != "o@client.test" ||
		e.Recipients[1].ForwardPath.Local != `"a b> NOTIFY=NEVER"` {
		t.Errorf("recipients %+v", e.Recipients)
	}
	k := e.Client
	if k.Helo != "client.test" || !k.ESMTP || k.Listener != "test" || len(k.Session) != 16 || k.Remote.Addr().String() != "127.0.0.1" || k.Local.Port() == 0 || k.Arrived.IsZero() {
		t.Errorf("client %+v", k)
	}
	waitFor(t, func() bool { return strings.Contains(h.log.String(), "message-id=<m@x>") })
}

// One conversation for a connection, closed once; the chain is released.
type opener struct {
	opened, closed int
	fail           bool
}

func (o *opener) Handle(context.Context, *hook.Event) (hook.Verdict, error) {
	return hook.Verdict{}, errors.New("an opener is opened first")
}
func (o *opener) Open(context.Context) (hook.Instance, error) { o.opened++; return &instance{o}, nil }

type instance struct{ o *opener }

func (i *instance) Handle(_ context.Context, e *hook.Event) (hook.Verdict, error) {
	if i.o.fail && e.Stage == hook.Rcpt {
		return hook.Verdict{}, errors.New("trap")
	}
	return hook.Verdict{DetachTransaction: e.Stage == hook.Mail}, nil
}
func (i *instance) Close() { i.o.closed++ }

type counting struct {
	hook.Chain
	acquired, released int
}

func (c *counting) Acquire() (hook.Chain, func()) {
	c.acquired++
	return c.Chain, func() { c.released++ }
}

func TestOneConversationForAConnection(t *testing.T) {
	o := &opener{}
	src := &counting{Chain: hook.Chain{{Name: "o", Stages: hook.Stages(everyStage...), Handler: o}}}
	h := start(t, nil, func(p *smtpd.Options) { p.Source = src })
	c := h.dial().hello()
	c.deliver("x: y\r\n")
	c.deliver("x: y\r\n")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if o.opened != 1 || o.closed != 1 || src.acquired != 1 || src.released != 1 {
		t.Errorf("opened %d, closed %d, acquired %d, released %d", o.opened, o.closed, src.acquired, src.released)
	}
	// A failure costs the instance and is in the log; the session goes on, and
	// what a plugin asked for the transaction ends with it.
	o = &opener{fail: true}
	src = &counting{Chain: hook.Chain{{Name: "o", Generation: "g1", Stages: hook.Stages(hook.Rcpt), Handler: o}}}
	h = start(t, nil, func(p *smtpd.Options) { p.Source = src })
	c = h.dial().hello()
	c.do("MAIL FROM:<>", "250")
	c.do("RCPT TO:<b@ours.test>", "451 4.7.1 Policy is not available")
	o.fail = false
	c.do("RCPT TO:<b@ours.test>", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if o.opened != 2 || o.closed != 2 || src.released != 1 {
		t.Errorf("opened %d, closed %d, released %d", o.opened, o.closed, src.released)
	}
	if !strings.Contains(h.log.String(), "plugin=o, generation=g1, hook=rcpt, on_error=tempfail, error=trap") {
		t.Errorf("log:\n%s", h.log)
	}
}

// drainer gives one chain after the other, and wants all but the last back.
type drainer struct {
	chains   []hook.Chain
	acquired atomic.Int32
	released atomic.Int32
	late     atomic.Bool
}

func (d *drainer) Acquire() (hook.Chain, func()) {
	n := int(d.acquired.Add(1))
	return d.chains[min(n, len(d.chains))-1], func() { d.released.Add(1) }
}

func (d *drainer) Overdue(c hook.Chain) bool {
	return d.late.Load() && &c[0] != &d.chains[len(d.chains)-1][0]
}

func TestALongSessionChangesToTheNewChainBetweenTransactions(t *testing.T) {
	generation := func(name string) hook.Chain {
		return hook.Chain{{Name: "p", Generation: name, Stages: hook.Stages(hook.Mail, hook.Rcpt, hook.Message), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				switch e.Stage {
				case hook.Mail:
					return hook.Verdict{}, e.SetAttr(hook.ScopeSession, "p/seen", append(slices.Clone(e.Session.Attrs["p/seen"]), name[0]))
				case hook.Rcpt:
					return hook.Verdict{Action: hook.Accept}, nil
				}
				return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.7.1", name+" saw "+string(e.Session.Attrs["p/seen"]))}, nil
			})}}
	}
	d := &drainer{chains: []hook.Chain{generation("old"), generation("new")}}
	h := start(t, nil, func(o *smtpd.Options) { o.Source = d })
	c := h.dial().hello()
	send := func(want string, during func()) {
		t.Helper()
		c.do("MAIL FROM:<a@b.test>", "250")
		c.do("RCPT TO:<c@d.test>", "250")
		during()
		c.do("DATA", "354")
		c.send("x: y\r\n\r\nz\r\n.\r\n")
		c.want(want)
	}
	send("550 5.7.1 old saw o", func() { d.late.Store(true) })
	if d.released.Load() != 0 {
		t.Error("the chain was given back in the middle of a transaction")
	}
	send("550 5.7.1 new saw on", func() {})
	if d.acquired.Load() != 2 || d.released.Load() != 1 {
		t.Errorf("%d chains acquired, %d released", d.acquired.Load(), d.released.Load())
	}
}
