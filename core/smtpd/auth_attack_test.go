package smtpd_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/smtpd"
)

// guessed is a server behind a proxy that names clients; guesses are limited to
// 5 for an address and 4 for a name.
func guessed(t *testing.T, edit func(*smtpd.Options)) (dial func(addr string) *client, asked *int, h *host) {
	t.Helper()
	asked = new(int)
	h = start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.ProxyNetworks, o.AuthFailures = loopback, 100
		o.Guard = smtpd.NewGuard(smtpd.GuardOptions{PerAddress: 5, PerUser: 4})
		o.Source = append(hook.Static(plugin(func(*hook.Event) hook.Verdict { *asked++; return hook.Verdict{} }, hook.Auth).(hook.Static)), users()...)
		if edit != nil {
			edit(o)
		}
	})
	return func(addr string) *client {
		c := h.dial()
		c.send("PROXY TCP4 " + addr + " 203.0.113.9 4000 25\r\n")
		return c.hello()
	}, asked, h
}

func plain(user, password string) string { return "AUTH PLAIN " + b64("\x00"+user+"\x00"+password) }

// One address, many names, a connection for each guess.
func TestOneAddressGuessesAtManyNames(t *testing.T) {
	dial, asked, h := guessed(t, nil)
	for i := range 5 {
		dial("192.0.2.1").do(plain(fmt.Sprint("user", i), "Summer2026"), "535 5.7.8")
	}
	for i := range 3 {
		dial("192.0.2.1").do(plain(fmt.Sprint("more", i), "Summer2026"), "454 4.7.0 Too many authentication failures, try again later")
	}
	dial("192.0.2.1").do("AUTH PLAIN "+goodPlain, "454 4.7.0") // lucky, and not told so
	if *asked != 5 {
		t.Errorf("plugins were asked %d times", *asked)
	}
	dial("192.0.2.2").do("AUTH PLAIN "+goodPlain, "235")
	if got := strings.Count(h.log.String(), "unknown[192.0.2.1]: SASL PLAIN authentication failed: too many failures from this address, sasl_username="); got != 4 {
		t.Errorf("%d lines for fail2ban:\n%s", got, h.log)
	}
}

// Many addresses, one name: the owner is not locked out.
func TestManyAddressesGuessAtOneName(t *testing.T) {
	dial, asked, h := guessed(t, nil)
	dial("192.0.2.1").do("AUTH PLAIN "+goodPlain, "235")
	for i := range 4 {
		dial(fmt.Sprint("198.51.100.", i)).do(plain([]string{"tim", "TIM", "Tim", "ti\u00adm"}[i], "Summer2026"), "535 5.7.8")
	}
	before := *asked
	for i := range 5 {
		dial(fmt.Sprint("198.51.100.", 10+i)).do("AUTH PLAIN "+goodPlain, "454 4.7.0")
	}
	c := dial("198.51.100.20")
	c.do("AUTH LOGIN "+b64("tim"), "334")
	c.do(b64("tanstaaftanstaaf"), "454 4.7.0")
	if *asked != before {
		t.Errorf("plugins were asked %d times more", *asked-before)
	}
	dial("192.0.2.1").do("AUTH PLAIN "+goodPlain, "235") // from where he always comes
	dial("198.51.100.1").do(plain("ann", "x"), "535")    // others are none the worse
	if !strings.Contains(h.log.String(), "unknown[198.51.100.10]: SASL PLAIN authentication failed: too many failures for this name, sasl_username=tim") {
		t.Errorf("log:\n%s", h.log)
	}
}

// A phone with an old password locks out itself, not the office.
func TestAnOfficeBehindOneAddress(t *testing.T) {
	dial, _, _ := guessed(t, nil)
	dial("192.0.2.1").do("AUTH PLAIN "+goodPlain, "235")
	for i := range 9 {
		dial("192.0.2.1").do(plain("phone", "old"), []string{"535", "454"}[min(i/4, 1)])
	}
	dial("192.0.2.1").do(plain("spray", "x"), "535")
	dial("192.0.2.1").do(plain("spray", "x"), "454")
	dial("192.0.2.1").do("AUTH PLAIN "+goodPlain, "235")
}

// Webmail is one address with many users, and may relay without AUTH.
func TestRelayNetworksAreNotCounted(t *testing.T) {
	asked := 0
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.RelayNetworks, o.AuthFailures = loopback, 100
		o.Guard = smtpd.NewGuard(smtpd.GuardOptions{PerAddress: 5, PerUser: 4})
		o.Source = append(hook.Static(plugin(func(*hook.Event) hook.Verdict { asked++; return hook.Verdict{} }, hook.Auth).(hook.Static)), users()...)
	})
	for i := range 12 {
		h.dial().hello().do(plain(fmt.Sprint("user", i), "typo"), "535")
	}
	for i := range 6 {
		h.dial().hello().do(plain("victim", "x"), []string{"535", "454"}[min(i/4, 1)])
	}
	if asked != 16 {
		t.Errorf("plugins were asked %d times", asked)
	}
}

// A connection has three guesses, however they are sent.
func TestThreeGuessesOfAConnection(t *testing.T) {
	for _, first := range []string{"", "NOOP\r\n"} {
		dial, asked, _ := guessed(t, func(o *smtpd.Options) { o.AuthFailures = 0 })
		c := dial("192.0.2.1")
		c.send(first + strings.Repeat("AUTH PLAIN "+badPlain+"\r\n", 10) + "AUTH PLAIN " + goodPlain + "\r\nMAIL FROM:<a@client.test>\r\n")
		if first != "" {
			c.want("250")
		}
		c.want("535")
		c.want("535")
		c.want("421 4.7.0 Too many authentication failures")
		if r := c.reply(); r != closed || *asked != 3 {
			t.Errorf("%q after it, %d asked", r, *asked)
		}
	}
}

// Breaking off costs: before anybody was asked a bad command, and after it a
// guess, for the connection and over connections.
func TestCancelLoops(t *testing.T) {
	dial, asked, _ := guessed(t, nil)
	c := dial("192.0.2.1")
	n := 0
	for ; ; n++ {
		c.send("AUTH PLAIN\r\n")
		if r := c.reply(); !strings.HasPrefix(r, "334") {
			if !strings.HasPrefix(r, "421 4.7.0") || n > 20 {
				t.Errorf("after %d: %q", n, r)
			}
			break
		}
		c.do("*", "501 5.7.0")
	}
	if *asked != 0 {
		t.Errorf("plugins were asked %d times", *asked)
	}

	var seen []string
	dial, _, h := guessed(t, func(o *smtpd.Options) {
		o.AuthMechanisms, o.Source, o.AuthFailures = allMechanisms, directory(&seen), 3
	})
	first := "AUTH SCRAM-SHA-256 " + b64("n,,n=tim,r=nonce")
	c = dial("192.0.2.1")
	for range 2 {
		c.do(first, "334")
		c.do("*", "501 5.7.0")
	}
	c.do(first, "334")
	c.do("???", "501 5.5.2")
	c.want("421 4.7.0 Too many authentication failures")
	c = dial("192.0.2.1")
	c.do(first, "334")
	c.conn.Close() // or hangs up
	waitFor(t, func() bool { return h.Sessions() == 0 })
	c = dial("192.0.2.2")
	c.do(first, "454 4.7.0")
	if len(seen) != 4 {
		t.Errorf("plugins were asked %q", seen)
	}
	if got := strings.Count(h.log.String(), "SASL SCRAM-SHA-256 authentication failed: the client broke the exchange off, sasl_username=tim"); got != 4 {
		t.Errorf("%d lines:\n%s", got, h.log)
	}
}

// What a plugin cannot answer is no guess; nor is a certificate.
func TestDeferredIsNoGuess(t *testing.T) {
	dial, _, _ := guessed(t, nil)
	for range 10 {
		dial("192.0.2.1").do(plain("later", "x"), "454 4.7.0 Temporary authentication failure")
		dial("192.0.2.1").do(plain("trap", "x"), "454 4.7.0 Temporary authentication failure")
	}
	dial("192.0.2.1").do("AUTH PLAIN "+goodPlain, "235")
}

// Guesses on two listeners are guesses of one client.
func TestListenersShareAGuard(t *testing.T) {
	guard := smtpd.NewGuard(smtpd.GuardOptions{PerAddress: 2})
	var hosts []*host
	for range 2 {
		hosts = append(hosts, start(t, nil, func(o *smtpd.Options) { withUsers(o); o.Guard = guard }))
	}
	hosts[0].dial().hello().do("AUTH PLAIN "+badPlain, "535")
	hosts[1].dial().hello().do("AUTH PLAIN "+badPlain, "535")
	hosts[0].dial().hello().do("AUTH PLAIN "+goodPlain, "454")
	hosts[1].dial().hello().do("AUTH PLAIN "+goodPlain, "454")
}

// No mechanism is offered in clear text, none is taken there, and none that was
// said there counts.
func TestNoMechanismInClearText(t *testing.T) {
	server, _ := testTLS(t)
	var seen []string
	h := start(t, nil, func(o *smtpd.Options) {
		o.TLS, o.AuthDelay, o.AuthMechanisms, o.Source = server, -1, allMechanisms, directory(&seen)
	})
	c := h.dial()
	c.want("220")
	if r := c.do("EHLO client.test", "250-mx.test"); strings.Contains(r, "AUTH") {
		t.Errorf("%q", r)
	}
	for _, m := range slices.Concat(allMechanisms, []string{"LOGIN", "CRAM-MD5"}) {
		c.do("AUTH "+m, "538 5.7.11")
		c.do("AUTH "+m+" "+b64("n,,n=tim,r=x"), "538 5.7.11")
	}
	if len(seen) != 0 {
		t.Errorf("plugins were asked %q", seen)
	}
}

// Guesses that come all at once, before one of them is answered, are no more
// than those that come one after the other.
func TestGuessesAllAtOnce(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int32
	dial, _, _ := guessed(t, func(o *smtpd.Options) {
		o.Source = hook.Static{{Name: "slow", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			asked.Add(1)
			<-release
			return hook.Verdict{Action: hook.Reject}, nil
		})}}
	})
	var all []*client
	for i := range 20 {
		c := dial(fmt.Sprint("198.51.100.", i))
		c.send(plain("tim", "Summer2026") + "\r\n")
		all = append(all, c)
	}
	waitFor(t, func() bool { return asked.Load() == 4 })
	close(release)
	refused := 0
	for _, c := range all {
		if strings.HasPrefix(c.want("535|454"), "454") {
			refused++
		}
	}
	if asked.Load() != 4 || refused != 16 {
		t.Errorf("%d were asked, %d refused", asked.Load(), refused)
	}
}
