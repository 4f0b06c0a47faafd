package smtpd_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// keywords are those of a reply to EHLO, without their arguments.
func keywords(reply string) string {
	var list []string
	for i, line := range strings.Split(reply, "\n") {
		if word, _, _ := strings.Cut(line[4:], " "); i > 0 {
			list = append(list, word)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// What is announced, and to whom. Pass: what is not announced is refused with
// 555, and what is announced is taken.
func TestWhatIsAnnounced(t *testing.T) {
	const always = "8BITMIME CHUNKING DELIVERBY DSN ENHANCEDSTATUSCODES LIMITS MT-PRIORITY PIPELINING SIZE SMTPUTF8"
	server, trust := testTLS(t)
	asks := func(s ...hook.Stage) func(o *smtpd.Options) {
		return func(o *smtpd.Options) {
			o.Source = plugin(func(*hook.Event) hook.Verdict { return hook.Verdict{} }, s...)
		}
	}
	remove := func(gone ...string) func(o *smtpd.Options) {
		return func(o *smtpd.Options) {
			o.Source = plugin(func(e *hook.Event) hook.Verdict {
				_ = e.SetExtensions(slices.DeleteFunc(slices.Clone(e.Session.Extensions), func(x string) bool {
					word, _, _ := strings.Cut(x, " ")
					return slices.Contains(gone, word)
				}))
				return hook.Verdict{}
			}, hook.Ehlo)
		}
	}
	binary := func(o *smtpd.Options) { o.BinaryMIME = true }
	both := func(a, b func(*smtpd.Options)) func(*smtpd.Options) { return func(o *smtpd.Options) { a(o); b(o) } }
	for name, c := range map[string]struct {
		edit      func(o *smtpd.Options)
		tls, auth bool
		less      string // of what is always announced
		more      string
	}{
		"a stranger":                     {},
		"a stranger, who could have TLS": {edit: func(o *smtpd.Options) { o.TLS = server }, more: "STARTTLS"},
		"a stranger under TLS":           {tls: true, more: "REQUIRETLS"},
		"a relay client":                 {edit: func(o *smtpd.Options) { o.RelayNetworks = loopback }, more: "FUTURERELEASE"},
		"a relay client, no hold":        {edit: func(o *smtpd.Options) { o.RelayNetworks, o.MaxHold = loopback, 0 }},
		"submission":                     {edit: func(o *smtpd.Options) { withUsers(o); o.Role = smtpd.Submission }, more: "AUTH FUTURERELEASE"},
		"authenticated at an MX":         {edit: withUsers, auth: true, more: "AUTH FUTURERELEASE"},
		"not authenticated at an MX":     {edit: withUsers, more: "AUTH"},
		"a rcpt plugin":                  {edit: asks(hook.Rcpt), more: "RRVS"},
		"another plugin":                 {edit: asks(hook.Mail, hook.Message)},
		"a proxy":                        {edit: func(o *smtpd.Options) { o.XClientNetworks = loopback }, more: "XCLIENT"},
		"other proxies": {edit: func(o *smtpd.Options) {
			o.XClientNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}},
		"binary bodies":    {edit: binary, more: "BINARYMIME"},
		"no CHUNKING":      {edit: both(remove("CHUNKING"), binary), less: "CHUNKING"},
		"no 8BITMIME":      {edit: both(remove("8BITMIME"), binary), less: "8BITMIME"},
		"less from policy": {edit: remove("DSN", "MT-PRIORITY", "DELIVERBY", "SIZE"), less: "DSN MT-PRIORITY DELIVERBY SIZE"},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil, func(o *smtpd.Options) {
				o.MaxHold, o.ErrorBudget = 4*24*time.Hour, 1000
				if c.edit != nil {
					c.edit(o)
				}
				if c.tls {
					o.TLS = server
				}
			})
			k := h.dial().hello()
			if c.tls {
				k = k.startTLS(trust)
			}
			if c.auth {
				k.do("AUTH PLAIN "+goodPlain, "235")
			}
			var want []string
			for word := range strings.FieldsSeq(always + " " + c.more) {
				if !slices.Contains(strings.Fields(c.less), word) {
					want = append(want, word)
				}
			}
			slices.Sort(want)
			got := keywords(k.do("EHLO client.test", "250-mx.test"))
			if got != strings.Join(want, " ") {
				t.Errorf("announced %q, want %q", got, want)
			}
			if strings.Contains(got, "AUTH") && !c.auth {
				k.do("AUTH PLAIN "+goodPlain, "235")
			}
			for param, word := range map[string]string{
				"SIZE=1": "SIZE", "BODY=8BITMIME": "8BITMIME", "BODY=BINARYMIME": "BINARYMIME", "SMTPUTF8": "SMTPUTF8", "RET=HDRS": "DSN", "ENVID=x": "DSN",
				"REQUIRETLS": "REQUIRETLS", "HOLDFOR=60": "FUTURERELEASE", "HOLDUNTIL=1999-01-01T00:00:00Z": "FUTURERELEASE", "MT-PRIORITY=-1": "MT-PRIORITY",
				"BY=120;R": "DELIVERBY", "AUTH=<>": "AUTH", "XFOO=1": "none",
			} {
				code := "555 5.5.4"
				if slices.Contains(want, word) {
					code = "250"
				}
				k.do("MAIL FROM:<a@client.test> "+param, code)
				k.do("RSET", "250")
			}
			for param, word := range map[string]string{"NOTIFY=NEVER": "DSN", "ORCPT=rfc822;b@ours.test": "DSN", "RRVS=2014-04-03T23:01:00Z;C": "RRVS", "BODY=7BIT": "none"} {
				code := "555 5.5.4"
				if slices.Contains(want, word) {
					code = "250"
				}
				k.do("MAIL FROM:<a@client.test>", "250")
				k.do("RCPT TO:<b@ours.test> "+param, code)
				k.do("RSET", "250")
			}
		})
	}
}

// The figures that are announced are those that are kept to.
func TestAnnouncedLimits(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) {
		o.RelayNetworks, o.MaxHold, o.MaxRecipients, o.MaxSize, o.ErrorBudget, o.BinaryMIME = loopback, 24*time.Hour, 150, 12345, 1000, true
	})
	k := h.dial()
	k.want("220")
	r := k.do("EHLO client.test", "250-")
	var interval int
	var until, by string
	for line := range strings.SplitSeq(r, "\n") {
		switch {
		case strings.Contains(line, "FUTURERELEASE"):
			if _, err := fmt.Sscanf(line[4:], "FUTURERELEASE %d %s", &interval, &until); err != nil {
				t.Error(err)
			}
		case strings.Contains(line, "DELIVERBY"):
			_, by, _ = strings.Cut(line, "DELIVERBY ")
		}
	}
	limit, err := time.Parse(time.RFC3339, until)
	if err != nil || !strings.HasSuffix(until, "Z") || interval != 86400 {
		t.Fatalf("announced %d %q: %v", interval, until, err)
	}
	if !strings.Contains(r, "LIMITS RCPTMAX=150\n") || !strings.Contains(r, "SIZE 12345\n") || by != "60" {
		t.Errorf("%s", r)
	}
	for params, code := range map[string]string{
		"HOLDFOR=86400": "250", "HOLDUNTIL=" + until: "250", "HOLDFOR=86402": "501 5.5.4", "HOLDFOR=999999999": "501 5.5.4",
		"HOLDUNTIL=" + limit.Add(time.Hour).Format(time.RFC3339): "501 5.5.4",
		"HOLDUNTIL=9999-12-31T23:59:59Z":                         "501 5.5.4",
		"HOLDFOR=1 HOLDUNTIL=" + until:                           "501 5.5.4",
		"BY=60;R":                                                "250",
		"BY=58;R":                                                "550 5.4.7",
		"BY=1;N":                                                 "250", // it is told at once
		"BY=-10;N":                                               "250",
		"BY=3600;R HOLDFOR=3600":                                 "501 5.5.4", // it would be late when it begins
		"BY=3600;R HOLDFOR=1800":                                 "250",
		"BY=3600;N HOLDFOR=86400":                                "250",
		"BY=60;R MT-PRIORITY=9 BODY=BINARYMIME SIZE=12345 HOLDFOR=10": "250 2.1.0",
		"SIZE=12346": "552 5.3.4",
	} {
		k.do("MAIL FROM:<a@client.test> "+params, code)
		k.do("RSET", "250")
	}
}

// What a client asks reaches the envelope of the message, and the plugins.
func TestParametersReachTheEnvelope(t *testing.T) {
	var asked mail.MailParams
	var of []mail.RcptParams
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.RelayNetworks, o.MaxHold, o.BinaryMIME = loopback, 24*time.Hour, true
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			if e.Stage == hook.Mail {
				asked = e.Tx.Envelope.MailParams
			} else {
				of = append(of, e.Tx.Envelope.Recipients[e.Recipient].RcptParams)
			}
			return hook.Verdict{}
		}, hook.Mail, hook.Rcpt)
	})
	k := h.dial().hello()
	begun := time.Now()
	k.do("MAIL FROM:<a@client.test> HOLDFOR=3600 BY=7200;NT MT-PRIORITY=4 BODY=BINARYMIME RET=HDRS ENVID=QQ", "250 2.1.0")
	k.do("RCPT TO:<b@ours.test> RRVS=2014-04-03T23:01:00Z;C NOTIFY=DELAY", "250")
	k.do("RCPT TO:<c@ours.test> RRVS=2014-04-03T23:01:00Z", "250")
	k.send("BDAT 9 LAST\r\nx: y\r\n\r\n\x00")
	k.want("250")
	m := h.intake.all()[0]
	e := m.Env
	if e.MailParams != asked || e.Recipients[0].RcptParams != of[0] || e.Recipients[1].RcptParams != of[1] {
		t.Errorf("the message has %+v, plugins saw %+v %+v", e, asked, of)
	}
	near := func(got, want time.Time) bool { return got.Sub(want).Abs() < time.Minute }
	if !near(asked.HoldUntil, begun.Add(time.Hour)) || !near(asked.By.Time, begun.Add(2*time.Hour)) || asked.By.Return || !asked.By.Trace ||
		asked.Priority != 4 || asked.Body != mail.BodyBinaryMIME || asked.EnvID != "QQ" {
		t.Errorf("%+v", asked)
	}
	since := time.Date(2014, 4, 3, 23, 1, 0, 0, time.UTC)
	if !of[0].ValidSince.Equal(since) || !of[0].ValidSinceContinue || !of[1].ValidSince.Equal(since) || of[1].ValidSinceContinue {
		t.Errorf("%+v", of)
	}
	if !strings.Contains(m.Header, " PRIORITY 4;\r\n") || m.Body != "\x00" {
		t.Errorf("%q %q", m.Header, m.Body)
	}
}

// RFC 6710: a stranger's mail does not go before that of others, and it is told
// so; it may go after it.
func TestPriorityIsForWhoWeKnow(t *testing.T) {
	h := start(t, nil, withUsers)
	k := h.dial().hello()
	for asked, want := range map[string]string{"9": "250 2.3.6 0 ", "1": "250 2.3.6 0 ", "0": "250 2.1.0", "-9": "250 2.1.0"} {
		k.do("MAIL FROM:<a@client.test> MT-PRIORITY="+asked, want)
		k.do("RCPT TO:<b@ours.test>", "250")
		k.do("BDAT 8 LAST\r\nx: y\r\n", "250")
	}
	k.do("AUTH PLAIN "+goodPlain, "235")
	k.do("MAIL FROM:<a@client.test> MT-PRIORITY=9", "250 2.1.0")
	k.do("RCPT TO:<b@ours.test>", "250")
	k.do("BDAT 8 LAST\r\nx: y\r\n", "250")
	got := make(map[int8]int)
	for _, m := range h.intake.all() {
		got[m.Env.Priority]++
	}
	if len(got) != 3 || got[0] != 3 || got[-9] != 1 || got[9] != 1 {
		t.Errorf("priorities and how often: %v", got)
	}
}

// RFC 3207 4.2: what a plugin noted of what somebody said in clear text is
// forgotten when TLS begins. What it noted of the connection, before anybody
// spoke, stays. It is the same with the wish to hear no more of the session.
func TestStartTLSForgets(t *testing.T) {
	server, trust := testTLS(t)
	var seen, detached []string
	h := start(t, nil, func(o *smtpd.Options) {
		o.TLS = server
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			text := string(e.Session.Attrs["test/helo"]) + "|" + string(e.Session.Attrs["test/both"])
			switch e.Stage {
			case hook.Connect:
				_ = e.SetAttr(hook.ScopeSession, "test/both", []byte("connect"))
				return hook.Verdict{}
			case hook.Ehlo:
				_ = e.SetAttr(hook.ScopeSession, "test/helo", []byte(e.Arg))
				_ = e.SetAttr(hook.ScopeSession, "test/both", []byte(e.Arg))
			}
			seen = append(seen, e.Stage.String()+" "+text+" "+e.Session.Client.Helo+" "+e.Session.Client.Auth)
			return hook.Verdict{}
		}, hook.Connect, hook.TLS, hook.Ehlo, hook.Mail)
		detaching := func(name string, at hook.Stage) hook.Plugin {
			return hook.Plugin{Name: name, Stages: hook.Stages(hook.Connect, hook.Ehlo, hook.Mail), Handler: hook.HandlerFunc(
				func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
					if e.Stage != hook.Connect {
						detached = append(detached, name+" "+e.Stage.String())
					}
					return hook.Verdict{DetachSession: e.Stage == at}, nil
				})}
		}
		o.Source = append(o.Source.(hook.Static), detaching("early", hook.Connect), detaching("late", hook.Ehlo))
	})
	c := h.dial()
	c.want("220")
	c.do("EHLO injected.test", "250-")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RSET", "250")
	c = c.startTLS(trust)
	c.do("MAIL FROM:<a@client.test>", "503")
	c.do("EHLO real.test", "250-")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	want := []string{"ehlo |connect injected.test ", "mail injected.test|injected.test injected.test ",
		"tls |connect  ", "ehlo |connect real.test ", "mail real.test|real.test real.test "}
	if !slices.Equal(seen, want) {
		t.Errorf("plugins saw\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	if got := strings.Join(detached, ", "); got != "late ehlo, late ehlo" {
		t.Errorf("those who detached were asked at %s", got)
	}
}

// F7: another protocol on this port, by a browser or a proxy that was made to
// speak it. Pass: one reply of class 5, the connection is closed, and nothing
// that follows is read as a command.
func TestOtherProtocols(t *testing.T) {
	evil := "\r\nHost: mx.test\r\n\r\nEHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<b@ours.test>\r\nDATA\r\nx: y\r\n.\r\n"
	lines := []string{"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", "\x16\x03\x03\n\r\n", "PRI * HTTP/2.0", "get / HTTP/1.0"}
	for _, verb := range []string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH"} {
		lines = append(lines, verb+" / HTTP/1.1")
	}
	h := start(t, nil, func(o *smtpd.Options) { o.ErrorBudget = 1000 })
	for _, line := range lines {
		for _, greeted := range []bool{false, true} {
			for _, cut := range []int{0, 1, 2, len(line)} {
				c := h.dial()
				c.want("220")
				if greeted {
					c.do("EHLO client.test", "250-")
				}
				if cut > 0 {
					c.send(line[:cut])
				}
				c.send(line[cut:] + evil)
				c.want("554 5.5.1")
				if l := c.line(); l != closed {
					t.Fatalf("%q cut at %d: then %q", line, cut, l)
				}
				c.conn.(*net.TCPConn).Close()
			}
		}
	}
	if n := len(h.intake.all()); n != 0 {
		t.Errorf("%d committed", n)
	}
}
