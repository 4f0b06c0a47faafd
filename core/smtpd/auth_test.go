package smtpd_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// users knows tim (RFC 4616 4), and some whose name says what happens.
func users() hook.Static {
	return hook.Static{{Name: "users", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		switch e.Auth.User {
		case "tim":
			if string(e.Auth.Password) == "tanstaaftanstaaf" {
				return hook.Verdict{Action: hook.Accept}, nil
			}
		case "later":
			return hook.Verdict{Action: hook.Defer}, nil
		case "trap":
			return hook.Verdict{}, errors.New("trap")
		case "boss":
			return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.7.1", "not from here")}, nil
		}
		return hook.Verdict{}, nil
	})}}
}

func withUsers(o *smtpd.Options) { o.Source, o.AuthWithoutTLS, o.AuthDelay = users(), true, -1 }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var goodPlain, badPlain = b64("\x00tim\x00tanstaaftanstaaf"), b64("\x00tim\x00Gue55ed-pass")

// What an authenticated session leaves: in Received, in the envelope, in the
// log, and in the hooks that follow. Not the password.
func TestWhatAuthenticationLeaves(t *testing.T) {
	server, trust := testTLS(t)
	var seen []string
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.TLS, o.Role, o.AuthWithoutTLS, o.AuthRelay = server, smtpd.Submission, false, true
		o.Source = hook.Static{{Name: "names", Stages: hook.Stages(hook.Auth, hook.Rcpt, hook.Command), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				s := fmt.Sprint(e.Stage, " ", e.Verb, " ", e.Arg, " ", e.Session.Client.Auth)
				if e.Auth != nil {
					s += fmt.Sprintf(" %v %q %s", e.Auth, e.Auth.AuthzID, e.Auth.Password)
					if e.Auth.AuthzID != "" {
						return hook.Verdict{Action: hook.Accept}, e.SetAuthID("shared@ours.test")
					}
				}
				seen = append(seen, s)
				return hook.Verdict{}, nil
			})}, users()[0]}
	})
	c := h.dial().hello().startTLS(trust)
	c.do("EHLO client.test", "250-mx.test(?s:.*)\n250-?.AUTH PLAIN LOGIN")
	c.do("AUTH PLAIN "+badPlain, "535 5.7.8")
	c.do("AUTH PLAIN "+b64("office\x00tim\x00tanstaaftanstaaf"), "235 2.7.0")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<x@else.test>", "250")
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	m := h.intake.all()[0]
	if got := m.Env.Client; got.Auth != "shared@ours.test" || got.AuthMech != "PLAIN" || got.AuthUser != "tim" {
		t.Errorf("kept with the message: %+v", got)
	}
	if !strings.Contains(m.Header, "with ESMTPSA id") {
		t.Errorf("%s", m.Header)
	}
	want := []string{`auth AUTH PLAIN  PLAIN "tim" "" Gue55ed-pass`, `rcpt   shared@ours.test`}
	if !slices.Equal(seen, want) {
		t.Errorf("plugins saw %q, want %q", seen, want)
	}
	log := h.log.String()
	for _, want := range []string{`unknown[127.0.0.1]: SASL PLAIN authentication failed: no plugin accepts it, sasl_username=tim, session=`,
		`sasl_method=PLAIN, sasl_username=shared@ours.test, sasl_authcid=tim, plugin=names`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	for _, secret := range []string{"Gue55ed", "tanstaaf", badPlain, goodPlain} {
		if strings.Contains(log+m.Header, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
}

// Without TLS a password must not travel, and what a client said before TLS,
// or behind STARTTLS in clear text, was not said.
func TestAuthAndTLS(t *testing.T) {
	server, trust := testTLS(t)
	asked := 0
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.TLS, o.AuthWithoutTLS, o.Role = server, false, smtpd.Submission
		o.Source = append(hook.Static{{Name: "count", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			asked++
			return hook.Verdict{}, nil
		})}}, users()...)
	})
	c := h.dial()
	c.want("220")
	if r := c.do("EHLO client.test", "250-mx.test"); strings.Contains(r, "AUTH") {
		t.Errorf("AUTH is offered in clear text: %q", r)
	}
	c.do("AUTH PLAIN "+goodPlain, "538 5.7.11")
	c.do("AUTH PLAIN", "538 5.7.11")
	c.do("MAIL FROM:<a@client.test>", "530 5.7.0 Issue a STARTTLS")
	c.send("STARTTLS\r\nEHLO evil.test\r\nAUTH PLAIN " + goodPlain + "\r\n")
	c.want("220")
	c.conn.Close()
	waitFor(t, func() bool { return h.Sessions() == 0 })
	for line := range c.lines {
		t.Errorf("after 220: %q", line)
	}
	if asked != 0 {
		t.Errorf("plugins were asked %d times about what came in clear text", asked)
	}

	h = start(t, nil, func(o *smtpd.Options) { withUsers(o); o.TLS, o.Role = server, smtpd.Submission })
	c = h.dial().hello()
	c.do("AUTH PLAIN "+goodPlain, "235") // clear text, since the options say so
	c = c.startTLS(trust)
	c.do("AUTH PLAIN "+goodPlain, "503 5.5.1 Say EHLO first")
	c.do("EHLO client.test", "250-mx.test")
	c.do("MAIL FROM:<a@client.test>", "530 5.7.0")
	c.do("AUTH PLAIN "+goodPlain, "235")
	c.do("MAIL FROM:<a@client.test>", "250")
}

// Only a plugin in force that is asked here makes AUTH an extension.
func TestAuthIsOfferedIfSomebodyAnswers(t *testing.T) {
	elsewhere := users()
	elsewhere[0].Listeners = []string{"other"}
	for name, source := range map[string]hook.Source{
		"no plugins":       hook.Static(nil),
		"another stage":    plugin(func(*hook.Event) hook.Verdict { return hook.Verdict{} }, hook.Mail, hook.Command),
		"another listener": elsewhere,
		"detached at once": append(hook.Static{}, hook.Plugin{Name: "users", Stages: hook.Stages(hook.Connect, hook.Auth), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{DetachSession: true}, nil
		})}),
		"removed from EHLO": append(users(), hook.Plugin{Name: "edit", Stages: hook.Stages(hook.Ehlo), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{}, e.SetExtensions([]string{"DSN"})
		})}),
	} {
		h := start(t, nil, func(o *smtpd.Options) { withUsers(o); o.Source = source })
		c := h.dial()
		c.want("220")
		if r := c.do("EHLO client.test", "250-mx.test"); strings.Contains(r, "AUTH") {
			t.Errorf("%s: %q", name, r)
		}
		c.do("AUTH PLAIN "+goodPlain, "502 5.5.1")
		c.do("MAIL FROM:<a@client.test> AUTH=<>", "555 5.5.4")
	}
	// A plugin may take one mechanism away; what it adds has no effect.
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.Source = append(users(), hook.Plugin{Name: "edit", Stages: hook.Stages(hook.Ehlo), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				return hook.Verdict{}, e.SetExtensions([]string{"AUTH CRAM-MD5 PLAIN"})
			})})
	})
	c := h.dial()
	c.want("220")
	c.do("EHLO client.test", "250-mx.test\n250 AUTH CRAM-MD5 PLAIN")
	c.do("AUTH LOGIN", "504 5.5.4")
	c.do("AUTH CRAM-MD5", "504 5.5.4")
	c.do("AUTH PLAIN "+goodPlain, "235")
}

// No plugin hears of an AUTH that is none of its business.
func TestAuthIsNoOtherCommand(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		t.Errorf("a plugin at command saw %q", e.Verb+" "+e.Arg)
		return hook.Verdict{}
	}, hook.Command)
	c := h.dial().hello()
	c.do("AUTH PLAIN "+goodPlain, "502 5.5.1")
	c.do("AUTH", "502 5.5.1")
}

// After a failure of a plugin nobody knows whether the password was wrong.
func TestAPluginThatFailsIsNoWrongPassword(t *testing.T) {
	for _, policy := range []hook.FailurePolicy{hook.FailTemporary, hook.FailContinue, hook.FailReject} {
		h := start(t, nil, func(o *smtpd.Options) {
			withUsers(o)
			o.AuthFailures = 1
			broken := failingAt(hook.Auth, policy).(hook.Static)
			o.Source = append(broken, users()...)
		})
		c := h.dial().hello()
		c.do("AUTH PLAIN "+badPlain, "454 4.7.0 Temporary authentication failure")
		c.do("AUTH PLAIN "+badPlain, "454 4.7.0 Temporary authentication failure")
		if policy == hook.FailContinue {
			c.do("AUTH PLAIN "+goodPlain, "235") // the next one knows
		}
		if !strings.Contains(h.log.String(), "SASL PLAIN authentication failed: 454") {
			t.Errorf("log:\n%s", h.log)
		}
	}
}

// What a plugin set is kept only with its verdict, and an identity that is not
// one is refused.
func TestIdentities(t *testing.T) {
	for set, want := range map[string]string{"": "tim", "someone@ours.test": "someone@ours.test", "ü": "ü", "a\nb": "tim", strings.Repeat("x", 256): "tim", "a\u202eb": "tim"} {
		h := start(t, nil, func(o *smtpd.Options) {
			withUsers(o)
			o.Source = hook.Static{{Name: "broken", OnError: hook.FailContinue, Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(
				func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
					return hook.Verdict{}, errors.Join(e.SetAuthID("undone"), errors.New("trap"))
				})},
				{Name: "names", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
					if e.Auth.ID != "" {
						t.Errorf("the change of a plugin that failed was kept: %q", e.Auth.ID)
					}
					if err := e.SetAuthID(set); (err == nil) != (set == want) {
						t.Errorf("%q: %v", set, err)
					}
					return hook.Verdict{}, nil
				})}, users()[0]}
		})
		c := h.dial().hello()
		c.do("AUTH PLAIN "+goodPlain, "235")
		c.deliver("x: y\r\n")
		if got := h.intake.all()[0].Env.Client.Auth; got != want {
			t.Errorf("set %q: %q", set, got)
		}
	}
}

// A plugin in Go that keeps the password keeps nothing.
func TestThePasswordIsOverwritten(t *testing.T) {
	var kept [][]byte
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.Source = append(hook.Static{{Name: "thief", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			kept = append(kept, e.Auth.Password)
			return hook.Verdict{}, nil
		})}}, users()...)
	})
	c := h.dial().hello()
	c.do("AUTH PLAIN "+badPlain, "535")
	c.do("AUTH PLAIN "+b64("\x00trap\x00secret"), "454")
	c.do("AUTH LOGIN "+b64("tim"), "334")
	c.do(b64("tanstaaftanstaaf"), "235")
	for _, p := range kept {
		if strings.Trim(string(p), "\x00") != "" || len(p) == 0 {
			t.Errorf("%q", p)
		}
	}
	if len(kept) != 3 {
		t.Errorf("%d", len(kept))
	}
}

// Guessing is slow, and how long a plugin thought does not show.
func TestARefusalTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, newPipeListener(), func(o *smtpd.Options) {
			withUsers(o)
			o.AuthDelay, o.AuthFailures = 0, 10
			o.Source = append(hook.Static{{Name: "slow", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				if e.Auth.User == "known" {
					time.Sleep(300 * time.Millisecond)
				}
				return hook.Verdict{}, nil
			})}}, users()...)
		})
		c := h.dial().hello()
		timed := func(response, want string) time.Duration {
			begin := time.Now()
			c.do("AUTH PLAIN "+response, want)
			return time.Since(begin)
		}
		for _, r := range []string{b64("\x00known\x00p"), b64("\x00unknown\x00p"), badPlain, b64("\x00\x00")} {
			if d := timed(r, "535"); d != 2*time.Second {
				t.Errorf("%s: refused after %v", r, d)
			}
		}
		if d := timed(goodPlain, "235"); d != 0 {
			t.Errorf("accepted after %v", d)
		}
	})
}

// An exchange has the limits of RFC 4954, and what is too long or half sent
// leaves a session in step or none.
func TestAuthLines(t *testing.T) {
	h := start(t, nil, withUsers)
	c := h.dial().hello()
	long := strings.Repeat("A", 12286)
	c.do("AUTH PLAIN", "334 ")
	c.do(long, "501 5.5.2") // no multiple of four
	c.do("AUTH PLAIN", "334 ")
	c.do(long+"A", "500 5.5.6")
	c.do("AUTH PLAIN "+strings.Repeat("A", 12284-len("AUTH PLAIN ")), "501 5.5.2|535 5.7.8")
	c.do("AUTH PLAIN "+strings.Repeat("A", 12287-len("AUTH PLAIN ")), "500 5.5.2 Line is too long")
	c.do("NOOP "+strings.Repeat("A", 5000), "500 5.5.2 Line is too long")
	c.do("AUTH PLAIN", "334 ")
	c.do(strings.Repeat("A", 200_000), "500 5.5.6")
	c.do("AUTH PLAIN "+goodPlain, "235")
	for _, half := range []string{"AUTH PL", "AUTH PLAIN " + goodPlain[:9], "AUTH LOGIN\r\n", "AUTH LOGIN\r\ndGl", "AUTH LOGIN dGlt\r\nZ"} {
		c := h.dial().hello()
		c.send(half)
		c.halfClose()
		c.conn.Close()
	}
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if l := h.log.String(); strings.Contains(l, "panic") || strings.Contains(l, "AAAA") || strings.Contains(l, goodPlain[:8]) {
		t.Errorf("log:\n%s", l)
	}
}

func TestATimeoutOrAnEndInTheMiddleOfAnExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, newPipeListener(), withUsers)
		c := h.dial().hello()
		c.do("AUTH LOGIN", "334 ")
		time.Sleep(6 * time.Minute)
		c.want("421 4.4.2")
		c = h.dial().hello()
		c.do("AUTH LOGIN", "334 ")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		c.want("421 4.3.2")
	})
}

// The facts of the connection that plugins may weigh.
func TestConnectionFacts(t *testing.T) {
	seen := make(chan string, 10)
	h := start(t, nil, func(o *smtpd.Options) {
		o.ProxyNetworks = loopback
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			seen <- fmt.Sprint(e.Stage, " ", e.Session.Connections(), " ", e.Session.Proxy, " ", e.Session.Client.Remote.Addr())
			return hook.Verdict{}
		}, hook.Connect, hook.Command)
	})
	want := func(w string) {
		t.Helper()
		if got := <-seen; got != w {
			t.Errorf("%q, want %q", got, w)
		}
	}
	dial := func(from string) *client {
		c := h.dial()
		c.send("PROXY TCP4 " + from + " 203.0.113.9 4000 25\r\n")
		c.want("220")
		return c
	}
	one := dial("192.0.2.7")
	want("connect 1 127.0.0.1 192.0.2.7")
	two := dial("192.0.2.7")
	want("connect 2 127.0.0.1 192.0.2.7")
	dial("192.0.2.8")
	want("connect 1 127.0.0.1 192.0.2.8")
	one.do("NOOP", "250")
	want("command 2 127.0.0.1 192.0.2.7")
	two.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 2 })
	one.do("NOOP", "250")
	want("command 1 127.0.0.1 192.0.2.7")

	h = start(t, nil, func(o *smtpd.Options) {
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			seen <- fmt.Sprint(e.Session.Connections(), " ", e.Session.Proxy.IsValid())
			return hook.Verdict{}
		}, hook.Connect)
	})
	h.dial().want("220")
	want("1 false")
}

// FuzzProxyHeader sends any octets where a PROXY header belongs. A session
// opens only after a header, and then for the address in it or for nobody.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 203.0.113.9 4000 25\r\n"))
	f.Add([]byte("PROXY TCP6 2001:db8::7 2001:db8::9 4000 25\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x09\x0f\xa0\x00\x19"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("/", 0xd8)))
	f.Add([]byte("EHLO client.test\r\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		l := newPipeListener()
		opened := make(chan netip.Addr, 1)
		h := start(t, fromLoopback{l}, func(o *smtpd.Options) {
			o.ProxyNetworks, o.RelayNetworks = loopback, loopback
			o.Timeouts.Handshake = time.Second
			o.Source = plugin(func(e *hook.Event) hook.Verdict {
				opened <- e.Session.Client.Remote.Addr()
				return hook.Verdict{Action: hook.Reject}
			}, hook.Connect)
		})
		conn := l.dial()
		defer conn.Close()
		go func() {
			for b := make([]byte, 512); ; {
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
		}()
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(header)
		conn.Close()
		waitFor(t, func() bool { return h.Sessions() == 0 })
		select {
		case a := <-opened:
			v2 := strings.HasPrefix(string(header), "\r\n\r\n\x00\r\nQUIT\n")
			if !a.IsValid() || !v2 && !strings.HasPrefix(string(header), "PROXY ") {
				t.Errorf("a session of %v after %q", a, header)
			}
			if !v2 && !strings.HasPrefix(string(header), "PROXY UNKNOWN") {
				fields := strings.Fields(string(header))
				if want, err := netip.ParseAddr(fields[2]); err != nil || want.Unmap() != a {
					t.Errorf("a session of %v after %q", a, header)
				}
			}
		default:
		}
	})
}

// fromLoopback gives pipes an address of TCP.
type fromLoopback struct{ *pipeListener }

func (l fromLoopback) Accept() (net.Conn, error) {
	c, err := l.pipeListener.Accept()
	if err != nil {
		return nil, err
	}
	return loopbackConn{c}, nil
}

type loopbackConn struct{ net.Conn }

func (loopbackConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}
}
func (loopbackConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }

// A client that does not wait for the answer to AUTH goes on with what belongs
// to the exchange. Nobody gets to see that as a command.
func TestWhatFollowsARefusedAuthIsNoCommand(t *testing.T) {
	var seen []string
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.ErrorBudget, o.AuthFailures = 10_000, 100
		o.Source = append(users(), hook.Plugin{Name: "nosy", Stages: hook.Stages(hook.Command), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				seen = append(seen, e.Verb)
				if e.Verb == "NOOP" {
					return hook.Verdict{}, nil
				}
				return hook.Verdict{Action: hook.Reject}, nil
			})})
	})
	lines := "dGlt\r\nc2VjcmV0\r\nc2VjcmV0IQ==\r\n"
	c := h.dial().hello()
	c.do("XLATER", "550")
	refused := func(answers ...string) {
		t.Helper()
		for _, a := range answers {
			c.want(a)
		}
		for range 3 {
			c.want("500 5.5.2")
		}
	}
	c.send("AUTH CRAM-MD5\r\n" + lines)
	refused("504 5.5.4")
	c.send("AUTH LOGIN b!d\r\n" + lines)
	refused("501 5.5.2")
	c.send("AUTH LOGIN\r\n*\r\n" + lines)
	refused("334 VXNlcm5hbWU6", "501 5.7.0")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.send("AUTH LOGIN\r\n" + lines)
	refused("503 5.5.1")
	c.do("RSET", "250")
	c.do("XLATER", "550")
	c.do("AUTH PLAIN "+goodPlain, "235")
	c.send("AUTH LOGIN\r\n" + lines)
	refused("503 5.5.1")
	c.do("NOOP", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if want := []string{"XLATER", "XLATER", "NOOP"}; !slices.Equal(seen, want) {
		t.Errorf("a plugin saw %q, want %q", seen, want)
	}
	if l := strings.ToLower(h.log.String()); strings.Contains(l, "c2vjcm") || strings.Contains(l, "dglt") {
		t.Errorf("log:\n%s", l)
	}
}

// What is not base64, or no credentials, is no reason to ask anybody, and
// neither is a second time.
func TestAuthThatNobodyIsAskedAbout(t *testing.T) {
	asked := 0
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.ErrorBudget, o.AuthFailures = 10_000, 100
		o.Source = append(hook.Static{{Name: "count", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			asked++
			return hook.Verdict{}, nil
		})}}, users()...)
	})
	c := h.dial()
	c.want("220")
	c.do("AUTH PLAIN "+goodPlain, "503 5.5.1 Say EHLO first")
	c.do("HELO client.test", "250")
	c.do("AUTH PLAIN "+goodPlain, "502 5.5.1")
	c.do("EHLO client.test", "250-mx.test")
	c.do("AUTH PLAIN "+goodPlain+" x", "501 5.5.2")
	c.do("AUTH PLAIN "+goodPlain+"=", "501 5.5.2")
	c.do("AUTH PLAIN  "+goodPlain[:8]+" "+goodPlain[8:], "501 5.5.2")
	c.do("AUTH PLAIN "+strings.TrimRight(b64("\x00tim\x00tanstaaftanstaaf!"), "="), "501 5.5.2")
	c.do("AUTH PLAIN AHRpbQBwYXN\xc3\xa4", "501 5.5.2")
	c.do("AUTH PLAIN ==", "501 5.5.2")
	c.do("AUTH PLAIN =", "535 5.7.8")
	c.do("AUTH LOGIN =", "535 5.7.8")
	c.do("AUTH PLAIN", "334 ")
	c.do("", "535 5.7.8")
	c.do("AUTH PLAIN", "334 ")
	c.do("=", "501 5.5.2")
	c.do("AUTH PLAIN", "334 ")
	c.do(" *", "501 5.5.2")
	c.do("AUTH PLAIN", "334 ")
	c.do("*", "501 5.7.0")
	c.do("AUTH PLAIN", "334 ")
	c.send(goodPlain + "\n")
	c.want("501 5.5.2")
	for _, name := range []string{"a\r\nReceived: x", "a\x00b", strings.Repeat("x", 1000), "\xff", "a\u2028b"} {
		c.do("AUTH PLAIN "+b64(name+"\x00tim\x00tanstaaftanstaaf"), "535 5.7.8")
		c.do("AUTH LOGIN "+b64(name), "535 5.7.8")
	}
	c.do("AUTH\tPLAIN "+goodPlain, "500 5.5.2")
	c.do(" AUTH PLAIN "+goodPlain, "500 5.5.2")
	c.do("AUTHPLAIN "+goodPlain, "500 5.5.2")
	c.do("RCPT TO:<x@else.test>", "503")
	if asked != 0 {
		t.Errorf("plugins were asked %d times", asked)
	}
	c.do("auth plain "+goodPlain, "235")
	c.do("AUTH PLAIN "+goodPlain, "503 5.5.1")
	c.do("AUTH PLAIN", "503 5.5.1")
	c.do("EHLO client.test", "250-mx.test")
	c.do("AUTH PLAIN "+goodPlain, "503 5.5.1")
	if asked != 1 {
		t.Errorf("plugins were asked %d times", asked)
	}
	if l := h.log.String(); strings.Contains(l, "tanstaaf") || strings.Contains(l, goodPlain[:12]) {
		t.Errorf("log:\n%s", l)
	}
}

// Who failed to authenticate may not relay, nor who did so before TLS began;
// who is authenticated stays so after EHLO and RSET.
func TestRelayGoesByAuthentication(t *testing.T) {
	server, trust := testTLS(t)
	h := start(t, nil, func(o *smtpd.Options) { withUsers(o); o.TLS, o.AuthRelay, o.AuthFailures = server, true, 100 })
	relays := func(c *client, want string) {
		t.Helper()
		c.do("MAIL FROM:<a@client.test>", "250")
		c.do("RCPT TO:<x@else.test>", want)
		c.do("RSET", "250")
	}
	c := h.dial().hello()
	relays(c, "55")
	for _, bad := range []string{badPlain, b64("\x00trap\x00p"), b64("\x00later\x00p"), b64("\x00boss\x00p"), b64("boss\x00tim\x00tanstaaftanstaaf")} {
		c.do("AUTH PLAIN "+bad, "535|454|550")
		relays(c, "55")
	}
	c.send("AUTH PLAIN " + badPlain + "\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<x@else.test>\r\nRSET\r\n")
	for _, w := range []string{"535", "250", "55", "250"} {
		c.want(w)
	}
	c.do("AUTH PLAIN "+goodPlain, "235")
	relays(c, "250")
	c.do("EHLO client.test", "250-mx.test")
	relays(c, "250")
	c = c.startTLS(trust)
	c.do("EHLO client.test", "250-mx.test")
	relays(c, "55")
	c.do("AUTH PLAIN "+goodPlain, "235")
	relays(c, "250")
}

// A session that changes to the chain in force between two transactions is
// whose it was.
func TestIdentityOutlivesTheChain(t *testing.T) {
	source := &drained{chain: hook.Chain(users())}
	h := start(t, nil, func(o *smtpd.Options) { withUsers(o); o.Source, o.AuthRelay = source, true })
	c := h.dial().hello()
	c.do("AUTH PLAIN "+goodPlain, "235")
	for range 3 {
		c.do("MAIL FROM:<a@client.test>", "250")
		c.do("RCPT TO:<x@else.test>", "250")
		c.do("DATA", "354")
		c.do("x: y\r\n.", "250")
	}
	if source.taken < 3 {
		t.Errorf("the session took %d chains", source.taken)
	}
	for _, m := range h.intake.all() {
		if m.Env.Client.Auth != "tim" {
			t.Errorf("%+v", m.Env.Client)
		}
	}
	c.do("AUTH PLAIN "+goodPlain, "503 5.5.1")
}

type drained struct {
	chain hook.Chain
	taken int
}

func (d *drained) Acquire() (hook.Chain, func()) { d.taken++; return d.chain, func() {} }
func (d *drained) Overdue(hook.Chain) bool       { return true }

// A name that reads as more of the log line is quoted.
func TestANameIsNoPartOfTheLine(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) { withUsers(o); o.AuthFailures = 100 })
	c := h.dial().hello()
	for _, name := range []string{"x, session=0", "unknown[192.0.2.1]: SASL PLAIN authentication failed", `a" b`} {
		c.do("AUTH PLAIN "+b64("\x00"+name+"\x00p"), "535")
		if want := fmt.Sprintf("no plugin accepts it, sasl_username=%q, session=", name); !strings.Contains(h.log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, h.log)
		}
		c.do("AUTH PLAIN "+b64(name+"\x00tim\x00tanstaaftanstaaf"), "535")
		if want := fmt.Sprintf("nobody lets it act as %q, sasl_username=tim", name); !strings.Contains(h.log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, h.log)
		}
	}
}
