package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// failingAt is a chain of one plugin that cannot answer at a stage, and that
// changes what it can before it fails.
func failingAt(stage hook.Stage, policy hook.FailurePolicy) hook.Source {
	return hook.Static{{Name: "test", Stages: hook.Stages(stage), OnError: policy, Handler: hook.HandlerFunc(
		func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			_ = e.SetBanner("changed")
			_ = e.SetExtensions(nil)
			_ = e.SetReversePath(path("changed@client.test"))
			_ = e.AddRecipient(path("changed@ours.test"))
			_ = e.SetSizeLimit(1)
			_ = e.EditHeader(func(h *mail.Header) error { return h.Insert(0, "X-Changed", "1", false) })
			_ = e.SetAttr(hook.ScopeMessage, "test/changed", []byte("1"))
			return hook.Verdict{Action: hook.Accept}, errors.New("trap")
		})}}
}

// What a plugin that fails costs, at each stage, under each on_error. Its edits
// are undone, and nobody is lost for good by a failure that passes.
func TestFailurePolicies(t *testing.T) {
	server, trust := testTLS(t)
	for _, c := range []struct {
		stage                 hook.Stage
		tempfail, rejected    string // the reply at that stage
		closesTemp, closesRej bool
	}{
		{hook.Connect, "421 4.7.1", "554 5.7.1", true, true},
		{hook.TLS, "421 4.7.1", "550 5.7.1", true, true},
		{hook.Ehlo, "451 4.7.1", "550 5.7.1", false, false},
		{hook.Command, "554 5.7.1", "550 5.7.1", false, false},
		{hook.Mail, "451 4.7.1", "550 5.7.1", false, false},
		{hook.Rcpt, "451 4.7.1", "550 5.7.1", false, false},
		{hook.Data, "451 4.7.1", "550 5.7.1", false, false},
		{hook.Headers, "451 4.7.1", "550 5.7.1", false, false},
		{hook.Message, "451 4.7.1", "550 5.7.1", false, false},
		{hook.Reset, "", "", false, false},
		{hook.Close, "", "", false, false},
	} {
		for _, policy := range []hook.FailurePolicy{hook.FailTemporary, hook.FailContinue, hook.FailReject} {
			t.Run(fmt.Sprintf("%s %s", c.stage, policy), func(t *testing.T) {
				h := start(t, nil, func(o *smtpd.Options) {
					o.Source = failingAt(c.stage, policy)
					o.TLS = server
				})
				want, closes := c.tempfail, c.closesTemp
				switch policy {
				case hook.FailContinue:
					want, closes = "", false
				case hook.FailReject:
					want, closes = c.rejected, c.closesRej
				}
				k := h.dial()
				// at sends a line; it tells whether the dialogue goes on.
				at := func(s hook.Stage, line, usual string) bool {
					if line != "" {
						k.send(line + "\r\n")
					}
					if s != c.stage || want == "" {
						k.want(usual)
						return true
					}
					if r := k.reply(); !strings.HasPrefix(r, want) {
						t.Fatalf("reply %q, want %q", r, want)
					}
					if closes {
						if l := k.line(); l != closed {
							t.Errorf("then %q", l)
						}
						return false
					}
					return s == hook.Command // which has no bearing on the rest
				}
				_ = at(hook.Connect, "", "220 mx.test ESMTP$") &&
					at(hook.Ehlo, "EHLO client.test", "250-mx.test\n250-PIPELINING") &&
					at(hook.Command, "NOOP", "250") &&
					at(hook.Mail, "MAIL FROM:<a@client.test>", "250 2.1.0") &&
					at(hook.Rcpt, "RCPT TO:<b@ours.test>", "250 2.1.5") &&
					at(hook.Data, "DATA", "354") &&
					at(max(c.stage, hook.Headers), "x: y\r\n\r\nbody\r\n.", "250 2.0.0") &&
					at(hook.Reset, "RSET", "250 2.0.0")
				if c.stage == hook.TLS {
					k = k.startTLS(trust)
					if want != "" {
						at(hook.TLS, "", "")
						return
					}
				}
				if closes {
					return
				}
				k.do("RSET", "250 2.0.0")
				k.do("QUIT", "221")
				m := h.intake.all()
				if queued := want == "" || c.stage == hook.Command; queued != (len(m) == 1) {
					t.Errorf("%d queued", len(m))
				} else if queued {
					e := m[0].Env
					if e.ReversePath != path("a@client.test") || len(e.Recipients) != 1 || len(e.Attrs) != 0 || m[0].content() != "x: y\r\n\r\nbody\r\n" {
						t.Errorf("what the plugin changed before it failed was kept: %+v %q", e, m[0].content())
					}
				}
				// At close the client is gone before the plugin is asked.
				for limit := time.Now().Add(10 * time.Second); !strings.Contains(h.log.String(), "trap"); time.Sleep(time.Millisecond) {
					if time.Now().After(limit) {
						t.Fatalf("the failure is not in the log:\n%s", h.log)
					}
				}
			})
		}
	}
}

// How long attributes live.
func TestAttributes(t *testing.T) {
	n := 0
	get := func(e *hook.Event, s hook.Scope) string {
		v, _, err := e.Attr(s, "test/k")
		if err != nil {
			return err.Error()
		}
		return string(v)
	}
	var seen []string
	h := with(t, func(e *hook.Event) hook.Verdict {
		all := []string{e.Stage.String()}
		for s := hook.ScopeSession; s <= hook.ScopeRecipient; s++ {
			all = append(all, strings.TrimPrefix(get(e, s), "hook: "))
			n++
			_ = e.SetAttr(s, "test/k", fmt.Append(nil, n))
		}
		if e.Stage != hook.Close {
			seen = append(seen, strings.Join(all, ","))
		}
		return hook.Verdict{}
	}, hook.Ehlo, hook.Mail, hook.Rcpt, hook.Message, hook.Reset, hook.Close)
	c := h.dial().hello()
	c.deliver("x: y\r\n")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<b@ours.test>", "250")
	c.do("RCPT TO:<c@ours.test>", "250")
	c.do("RSET", "250")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	no := "this cannot be changed at this stage"
	for i, w := range []struct{ stage, session, tx, message, rcpt string }{
		{"ehlo", "", no, no, no},
		{"mail", "1", "", "", no},
		{"rcpt", "5", "6", "7", ""},
		{"message", "9", "10", "11", no},
		{"mail", "13", "", "", no}, // a new transaction
		{"rcpt", "17", "18", "19", ""},
		{"rcpt", "21", "22", "23", ""}, // another recipient
		{"reset", "25", "26", "27", no},
		{"mail", "29", "", "", no},
	} {
		if got := strings.Join([]string{w.stage, w.session, w.tx, w.message, w.rcpt}, ","); i >= len(seen) || seen[i] != got {
			t.Fatalf("attributes at %d: %q, want %q", i, seen, got)
		}
	}
	m := h.intake.all()[0]
	if string(m.Env.Attrs["test/k"]) != "15" || string(m.Env.Recipients[0].Attrs["test/k"]) != "12" {
		t.Errorf("stored %+v", m.Env)
	}
}

// A plugin that detached is not asked until the transaction, or the session,
// is over, and the others are.
func TestDetaching(t *testing.T) {
	var seen []string // by the session's goroutine, until it is gone
	member := func(name string, f func(e *hook.Event) hook.Verdict) hook.Plugin {
		return hook.Plugin{Name: name, Stages: hook.Stages(everyStage...), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				if e.Stage != hook.Close {
					seen = append(seen, name+" "+e.Stage.String())
				}
				return f(e), nil
			})}
	}
	chain := hook.Static{
		member("tx", func(e *hook.Event) hook.Verdict {
			return hook.Verdict{DetachTransaction: e.Stage == hook.Mail || e.Stage == hook.Ehlo || e.Stage == hook.Reset}
		}),
		member("session", func(e *hook.Event) hook.Verdict { return hook.Verdict{DetachSession: e.Stage == hook.Rcpt} }),
	}
	h := start(t, nil, func(o *smtpd.Options) { o.Source = chain })
	c := h.dial().hello()
	c.do("RSET", "250")
	c.envelope()
	c.do("RSET", "250")
	c.do("RSET", "250")
	c.envelope()
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RSET", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	want := []string{"tx connect", "session connect", "tx ehlo", "session ehlo", "session reset",
		"tx mail", "session mail", "session rcpt", "tx reset",
		"tx mail", "tx mail"}
	if !slices.Equal(seen, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// A verdict ends the asking at its stage; what plugins before it changed
// stays, also when a recipient is discarded.
func TestVerdictsInAChain(t *testing.T) {
	one := func(name string, f func(e *hook.Event) hook.Verdict) hook.Plugin {
		return hook.Plugin{Name: name, Stages: hook.Stages(hook.Rcpt, hook.Message), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) { return f(e), nil })}
	}
	asked := 0
	h := start(t, nil, func(o *smtpd.Options) {
		o.Source = hook.Static{
			one("archive", func(e *hook.Event) hook.Verdict {
				if e.Stage == hook.Rcpt && e.Recipient == 0 {
					_ = e.AddRecipient(path("archive@ours.test"))
				}
				return hook.Verdict{}
			}),
			one("judge", func(e *hook.Event) hook.Verdict {
				if e.Stage == hook.Rcpt && e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Local == "trap" {
					_ = e.AddRecipient(path("undone@ours.test"))
					return hook.Verdict{Action: hook.Discard}
				}
				return hook.Verdict{Action: hook.Accept}
			}),
			one("never", func(*hook.Event) hook.Verdict { asked++; return hook.Verdict{Action: hook.Reject} }),
		}
	})
	c := h.dial().hello()
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<trap@ours.test>", "250 2.1.5")
	c.do("RCPT TO:<x@else.test>", "250 2.1.5") // accepted by a plugin
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250 2.0.0 Ok: queued")
	var to []string
	for _, r := range h.intake.all()[0].Env.Recipients {
		to = append(to, r.ForwardPath.String())
	}
	if got := strings.Join(to, " "); got != "archive@ours.test x@else.test" || asked != 0 {
		t.Errorf("queued for %s, asked behind the verdict %d times", got, asked)
	}
}

// RFC 2033 4.3: the chunk that would end a message has a reply for each
// recipient, though the message was refused before its content.
func TestLMTPRefusesALastChunkForEachRecipient(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) {
		o.Role = smtpd.LMTP
		o.Source = plugin(func(*hook.Event) hook.Verdict { return hook.Verdict{Action: hook.Reject} }, hook.Data)
	})
	c := h.dial()
	c.want("220")
	c.do("LHLO client.test", "250-")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<b@ours.test>", "250")
	c.do("RCPT TO:<c@ours.test>", "250")
	c.send("BDAT 6 LAST\r\nRSET\r\nNOOP\r\n")
	c.want("550 5.7.1")
	c.want("550 5.7.1")
	c.want("250 2.0.0 Ok$")
	c.envelope()
	c.send("BDAT 6\r\nRSET\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n")
	c.want("550 5.7.1") // one, for the chunk
	c.want("503 5.5.1") // there is no transaction left
	c.want("250 2.0.0 Ok$")
}
