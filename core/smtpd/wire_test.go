package smtpd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// Content keeps its bytes: 8-bit, dots, long lines, no header section, no
// final line end.
func TestContentIsNotChanged(t *testing.T) {
	h := start(t, nil, nil)
	c := h.dial().hello()
	for _, content := range []string{
		"", "\r\n", "x: y\r\n", "x: y\r\n\r\n", "\r\nbody\r\n", "no header at all\r\n\r\n.\r\n",
		"Subject: =?x?\r\n folded\r\n\tagain\r\nX: \xe4\xf6\xfc\r\n\r\n\xff\xfe\xfd\r\n",
		"x: y\r\n\r\n" + strings.Repeat(".\r\n..\r\n...\r\n", 30_000),
		"x: y\r\n\r\n" + strings.Repeat("z", 300_000) + "\r\n",
		strings.Repeat("x: y\r\n", 20_000) + "\r\n" + strings.Repeat("line\r\n", 20_000),
	} {
		before := len(h.intake.all())
		c.deliver(strings.TrimPrefix(strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n.."), "\r\n"))
		c.envelope()
		c.do(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content), "250")
		m := h.intake.all()
		for _, m := range m[before:] {
			if m.content() != content {
				t.Errorf("content %.60q became %.60q", content, m.content())
			}
		}
		// The CR LF that do adds is an empty command line.
		c.want("500")
	}
}

// A first line that begins with a blank does not continue our Received field.
func TestABodyCannotContinueTheReceivedField(t *testing.T) {
	h := start(t, nil, nil)
	c := h.dial().hello()
	for _, content := range []string{" id forged\r\n", "\tforged", "\t\r\nx: y\r\n"} {
		n := len(h.intake.all())
		c.envelope()
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content))
		c.want("250")
		m := h.intake.all()[n]
		if !strings.HasSuffix(m.Header, "\r\n\r\n") || m.Body != content {
			t.Errorf("%q: header %q, body %q", content, m.Header, m.Body)
		}
	}
}

// Row 12: whose line ends are refused, and whose corrected.
func TestBareLF(t *testing.T) {
	const content = "x: y\n\n.\na\rb\r\r\n\nc\r\n.\n\r\n"
	const normal = "x: y\r\n\r\n.\r\na b \r\n\r\nc\r\n\r\n\r\n"
	for name, c := range map[string]struct {
		edit func(*smtpd.Options)
		want string
	}{
		"a stranger":       {nil, "550 5.6.0"},
		"a relay client":   {func(o *smtpd.Options) { o.RelayNetworks = loopback }, "250"},
		"submission":       {func(o *smtpd.Options) { o.Role, o.RelayNetworks = smtpd.Submission, loopback }, "250"},
		"always reject":    {func(o *smtpd.Options) { o.BareLF, o.RelayNetworks = smtpd.BareLFReject, loopback }, "550 5.6.0"},
		"always normalize": {func(o *smtpd.Options) { o.BareLF = smtpd.BareLFNormalize }, "250"},
	} {
		if edit := c.edit; c.want != "250" {
			c.edit = func(o *smtpd.Options) {
				o.ErrorBudget = 1000
				if edit != nil {
					edit(o)
				}
			}
		}
		h := start(t, newPipeListener(), c.edit)
		k := h.dial().hello()
		for cut := range len(content) {
			k.envelope()
			k.do("DATA", "354")
			k.send(content[:cut])
			k.send(content[cut:])
			k.do(".", c.want)
		}
		for _, m := range h.intake.all() {
			if m.content() != normal {
				t.Errorf("%s: %q, want %q", name, m.content(), normal)
			}
		}
	}
}

// Row 1, fault 7, F3: a stall at any octet of the body ends the connection, and
// what comes later is not read as commands.
func TestAStallInTheBodyCloses(t *testing.T) {
	const body = "x: y\r\n\r\nbody\r\n.\r"
	for _, begin := range []string{"DATA\r\n", "BDAT 1000\r\n", "BDAT 1000 LAST\r\n"} {
		for n := range len(body) + 1 {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, newPipeListener(), nil)
				c := h.dial().hello()
				c.envelope()
				c.send(begin)
				if strings.HasPrefix(begin, "DATA") {
					c.want("354")
				}
				c.send(body[:n])
				time.Sleep(4 * time.Minute)
				c.want("421 4.4.2")
				if l := c.line(); l != closed {
					t.Errorf("%q after 421", l)
				}
				_, _ = io.WriteString(c.conn, "\r\nRSET\r\nMAIL FROM:<evil@body.test>\r\nNOOP\r\n")
				if n := len(h.intake.all()); n != 0 {
					t.Errorf("%d committed", n)
				}
			})
		}
	}
}

// Row 2: honest slow senders finish; those below the least rate do not.
func TestTheLeastRate(t *testing.T) {
	for _, c := range []struct {
		name    string
		octets  int
		every   time.Duration
		outcome string
	}{
		{"1000 octets a second for an hour", 1000, time.Second, "250"},
		{"60000 octets a minute", 60_000, time.Minute, "250"},
		{"100000 octets each 170 s", 100_000, 170 * time.Second, "250"},
		{"one octet a second", 1, time.Second, "421"},
		{"300 octets a second", 300, time.Second, "421"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, newPipeListener(), nil)
				k := h.dial().hello()
				k.envelope()
				k.do("DATA", "354")
				line := strings.Repeat("x", c.octets-1) + "\n"
				if c.octets > 2 {
					line = line[:c.octets-2] + "\r\n"
				}
				begin := time.Now()
				for time.Since(begin) < time.Hour && len(k.lines) == 0 {
					k.send(line)
					time.Sleep(c.every)
				}
				if c.outcome == "250" {
					k.send(".\r\n")
				}
				k.want(c.outcome)
			})
		})
	}
}

func TestWaitingEnds(t *testing.T) {
	t.Run("a command", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, newPipeListener(), nil).dial()
			c.want("220")
			begin := time.Now()
			// An octet now and then does not help: the line has one deadline.
			for len(c.lines) == 0 {
				c.send("x")
				time.Sleep(time.Minute)
				synctest.Wait()
			}
			c.want("421 4.4.2")
			if d := time.Since(begin); d < 5*time.Minute || d > 7*time.Minute {
				t.Errorf("closed after %v", d)
			}
		})
	})
	t.Run("the content as a whole", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, newPipeListener(), nil).dial().hello()
			c.envelope()
			c.do("DATA", "354")
			begin := time.Now()
			for len(c.lines) == 0 {
				c.send(strings.Repeat("x", 60_000) + "\r\n")
				time.Sleep(2 * time.Minute)
				synctest.Wait()
			}
			c.want("(421|552)")
			if d := time.Since(begin); d > 5*time.Hour {
				t.Errorf("closed after %v", d)
			}
		})
	})
	t.Run("a client that does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			h := start(t, l, nil)
			conn := l.dial()
			defer conn.Close()
			time.Sleep(2 * time.Minute)
			if n := h.Sessions(); n != 0 {
				t.Errorf("%d sessions left", n)
			}
		})
	})
}

// Rows 3 and 4, F3, F4: a connection that ends or breaks at any octet of a
// transaction commits nothing.
func TestNothingIsCommittedWithoutItsEnd(t *testing.T) {
	h := start(t, nil, nil)
	data := "x: y\r\n\r\nbody\r\n.\r\n"
	dialogues := map[string]string{
		"DATA": "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@ours.test>\r\nDATA\r\n" + data,
		"BDAT": "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@ours.test>\r\nBDAT 8\r\nx: y\r\n\r\nBDAT 6 LAST\r\nbody\r\n",
	}
	for name, all := range dialogues {
		from := strings.Index(all, "DAT")
		for n := from; n < len(all); n++ {
			c := h.dial()
			c.want("220")
			c.send(all[:n])
			if n%2 == 0 {
				c.halfClose()
			} else {
				_ = c.conn.(*net.TCPConn).SetLinger(0)
				c.conn.Close()
			}
			for l := range c.lines {
				if strings.Contains(l, "queued") {
					t.Errorf("%s of %d octets: %s", name, n, l)
				}
			}
		}
	}
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if n := len(h.intake.all()); n != 0 {
		t.Errorf("%d messages committed", n)
	}
	if h.intake.drafts() != 0 {
		t.Errorf("%d drafts left", h.intake.drafts())
	}
}

func waitFor(t testing.TB, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not happen within 10 s")
}

// Fault 9: what an aborted transaction left does not reach the next.
func TestBDATAfterRSET(t *testing.T) {
	h := start(t, nil, nil)
	c := h.dial().hello()
	for range 50 {
		c.envelope()
		c.do("BDAT 8\r\nOLD: x", "250")
		c.do("RSET", "250")
		c.envelope()
		c.do("BDAT 8\r\nnew: x", "250")
		c.do("BDAT 0 LAST", "250 2.0.0 Ok: queued")
	}
	for _, m := range h.intake.all() {
		if m.content() != "new: x\r\n" {
			t.Fatalf("content %q", m.content())
		}
	}
}

func TestSTARTTLS(t *testing.T) {
	server, trust := testTLS(t)
	h := start(t, nil, func(o *smtpd.Options) { o.TLS = server })

	t.Run("state is reset and facts are kept", func(t *testing.T) {
		c := h.dial()
		c.want("220")
		c.do("STARTTLS", "503")
		if r := c.do("EHLO client.test", "250-"); !strings.Contains(r, "STARTTLS") {
			t.Errorf("not offered: %s", r)
		}
		c.do("MAIL FROM:<a@c.test>", "250")
		c.do("STARTTLS", "503")
		c.do("RSET", "250")
		c = c.startTLS(trust)
		c.do("MAIL FROM:<a@c.test>", "503")
		if r := c.do("EHLO other.test", "250-"); strings.Contains(r, "STARTTLS") {
			t.Errorf("offered again: %s", r)
		}
		c.do("STARTTLS", "503")
		c.deliver("x: y\r\n")
		m := h.intake.all()[0]
		if m.Env.Client.TLS == nil || m.Env.Client.TLS.Version != tls.VersionTLS13 || m.Env.Client.TLS.ServerName != "mx.test" {
			t.Errorf("TLS facts: %+v", m.Env.Client.TLS)
		}
		if !strings.Contains(m.Header, "from other.test") || !strings.Contains(m.Header, "\r\n\t(using TLSv1.3 with cipher TLS_") || !strings.Contains(m.Header, "with ESMTPS id") {
			t.Errorf("header %q", m.Header)
		}
		c.do("QUIT", "221")
	})

	// Row 14, fault 10, F5: what follows STARTTLS in clear text is never executed.
	t.Run("injected commands are thrown away", func(t *testing.T) {
		conn, err := net.Dial("tcp", h.l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		readReply(t, r)
		fmt.Fprint(conn, "EHLO client.test\r\n")
		readReply(t, r)
		fmt.Fprint(conn, "STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@c.test>\r\n")
		if line := readReply(t, r); !strings.HasPrefix(line, "220") || r.Buffered() > 0 {
			t.Fatalf("%q, %d octets more", line, r.Buffered())
		}
		tc := tls.Client(conn, trust)
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		r = bufio.NewReader(tc)
		fmt.Fprint(tc, "MAIL FROM:<a@c.test>\r\n")
		if line := readReply(t, r); !strings.HasPrefix(line, "503") {
			t.Errorf("the first reply under TLS: %q", line)
		}
		waitFor(t, func() bool { return strings.Contains(h.log.String(), "thrown away") })
	})

	// Row 15: no way back to clear text.
	t.Run("a failed handshake closes", func(t *testing.T) {
		c := h.dial()
		c.want("220")
		c.do("EHLO client.test", "250-")
		c.do("STARTTLS", "220")
		c.send("MAIL FROM:<a@c.test>\r\nRCPT TO:<b@ours.test>\r\n")
		for l := range c.lines {
			if !strings.HasPrefix(l, "INCOMPLETE \x15\x03") { // a TLS alert
				t.Errorf("after a failed handshake: %q", l)
			}
		}
	})
}

func readReply(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line[3] == ' ' {
			return line
		}
	}
}

// quiet stops the reader of clear text: the next octets are TLS.
func (c *client) quiet() {
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	for range c.lines {
	}
	_ = c.conn.SetReadDeadline(time.Time{})
}

// startTLS says STARTTLS over a connection of its own reader, and goes on
// under TLS.
func (c *client) startTLS(config *tls.Config) *client {
	c.t.Helper()
	c.send("STARTTLS\r\n")
	c.want("220")
	c.quiet()
	return newClient(c.t, tls.Client(c.conn, config))
}

func TestImplicitTLS(t *testing.T) {
	server, trust := testTLS(t)
	var stages []string
	h := start(t, nil, func(o *smtpd.Options) {
		o.TLS, o.ImplicitTLS, o.Role, o.RelayNetworks = server, true, smtpd.Submission, loopback
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			stages = append(stages, e.Stage.String())
			return hook.Verdict{}
		}, hook.Connect, hook.TLS)
	})
	conn, err := tls.Dial("tcp", h.l.Addr().String(), trust)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn).hello()
	c.deliver("x: y\r\n")
	c.do("QUIT", "221")
	if strings.Join(stages, " ") != "connect tls" {
		t.Errorf("stages %v", stages)
	}
	// A client that never begins the handshake blocks nobody and is closed.
	h = start(t, nil, func(o *smtpd.Options) {
		o.TLS, o.ImplicitTLS = server, true
		o.Timeouts.Handshake = 100 * time.Millisecond
	})
	mute, err := net.Dial("tcp", h.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	if b, err := io.ReadAll(mute); len(b) > 100 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q %v", b, err)
	}
}

func TestProxyProtocol(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) { o.ProxyNetworks = loopback })
	t.Run("version 1", func(t *testing.T) {
		c := h.dial()
		c.send("PROXY TCP4 192.0.2.7 198.51.100.1 4242 25\r\n")
		c.hello().deliver("x: y\r\n")
		m := h.intake.all()[0]
		if got := m.Env.Client.Remote.String(); got != "192.0.2.7:4242" {
			t.Errorf("remote %s", got)
		}
		if !strings.Contains(m.Header, "[192.0.2.7]") {
			t.Errorf("header %q", m.Header)
		}
	})
	t.Run("version 2", func(t *testing.T) {
		c := h.dial()
		c.send("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x08\xc6\x33\x64\x01\x10\x92\x00\x19")
		c.hello().deliver("x: y\r\n")
		if got := h.intake.all()[1].Env.Client.Remote.String(); got != "192.0.2.8:4242" {
			t.Errorf("remote %s", got)
		}
	})
	t.Run("a client that talks before it is greeted", func(t *testing.T) {
		h := start(t, nil, func(o *smtpd.Options) { o.ProxyNetworks = loopback })
		c := h.dial()
		c.send("PROXY TCP4 192.0.2.7 198.51.100.1 4242 25\r\nEHLO client.test\r\n")
		c.want("554 5.5.1")
	})
	t.Run("none", func(t *testing.T) {
		c := h.dial()
		c.send("EHLO client.test\r\n")
		if l := c.line(); l != closed {
			t.Errorf("%q", l)
		}
	})
	t.Run("no client has the rights of the proxy", func(t *testing.T) {
		h := start(t, nil, func(o *smtpd.Options) { o.ProxyNetworks, o.RelayNetworks = loopback, loopback })
		for _, header := range []string{"PROXY UNKNOWN\r\n", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
			c := h.dial()
			c.send(header)
			c.hello().do("MAIL FROM:<>", "250")
			c.do("RCPT TO:<x@else.test>", "550 5.7.1")
		}
		c := h.dial() // version 2, unix addresses
		c.send("\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("a", 216))
		if l := c.line(); l != closed {
			t.Errorf("%q", l)
		}
	})
	t.Run("from a network that is not trusted", func(t *testing.T) {
		h := start(t, nil, func(o *smtpd.Options) { o.ProxyNetworks = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} })
		c := h.dial()
		c.want("220")
		c.do("PROXY TCP4 192.0.2.7 198.51.100.1 4242 25", "500")
	})
}

func TestEarlyTalker(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) { o.EarlyTalkerDelay = 10 * time.Second })
	c := h.dial()
	c.send("EHLO client.test\r\nMAIL FROM:<a@c.test>\r\n")
	c.want("554 5.5.1")
	if l := c.line(); l != closed {
		t.Errorf("%q", l)
	}
	// What has already arrived is noticed without a wait.
	arrived := make(chan bool)
	h = start(t, nil, func(o *smtpd.Options) {
		o.PTR = func(context.Context, netip.Addr) string { <-arrived; return "" }
	})
	c = h.dial()
	c.send("EHLO client.test\r\n")
	time.Sleep(50 * time.Millisecond)
	close(arrived)
	if runtime.GOOS == "linux" {
		c.want("554 5.5.1")
	}
	// One who waits is greeted.
	h.dial().hello()
}

func TestSessionLimits(t *testing.T) {
	h := start(t, nil, func(o *smtpd.Options) { o.MaxSessionsPerAddress = 2 })
	a := h.dial().hello()
	h.dial().hello()
	h.dial().want("421 4.7.0")
	a.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 1 })
	h.dial().hello()

	h = start(t, nil, func(o *smtpd.Options) { o.MaxSessionsPerAddress, o.RelayNetworks = 1, loopback })
	h.dial().hello()
	h.dial().hello()

	h = start(t, nil, func(o *smtpd.Options) { o.MaxSessions = 1 })
	h.dial().hello()
	h.dial().want("421 4.7.0")
}

func TestUnixSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skipf("no unix sockets here: %v", err)
	}
	h := start(t, l, func(o *smtpd.Options) { o.Role, o.RelayNetworks = smtpd.LMTP, loopback })
	c := h.dial()
	c.want("220 mx.test LMTP")
	c.do("LHLO client.test", "250-")
	c.do("MAIL FROM:<>", "250")
	c.do("RCPT TO:<x@else.test>", "250")
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250")
	m := h.intake.all()[0]
	if m.Env.Client.Remote.String() != "127.0.0.1:0" || !strings.Contains(m.Header, "with LMTP id") {
		t.Errorf("%s %q", m.Env.Client.Remote, m.Header)
	}
}

func TestShutdown(t *testing.T) {
	for _, hurry := range []bool{false, true} {
		h := start(t, nil, nil)
		idle, busy := h.dial().hello(), h.dial().hello()
		busy.envelope()
		busy.do("DATA", "354")
		busy.send("x: y\r\n\r\n")
		done := make(chan error)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { done <- h.Shutdown(ctx) }()
		idle.want("421 4.3.2")
		if hurry {
			cancel()
			if err := <-done; err == nil {
				t.Error("no error from a shutdown that was cut short")
			}
			busy.send("body\r\n.\r\n")
			if l := busy.line(); strings.HasPrefix(l, "250") {
				t.Errorf("%q after the end", l)
			}
			if n := len(h.intake.all()); n != 0 {
				t.Errorf("%d committed", n)
			}
			continue
		}
		busy.do("body\r\n.", "250 2.0.0 Ok: queued")
		busy.want("421 4.3.2")
		if err := <-done; err != nil {
			t.Error(err)
		}
		cancel()
		if _, err := net.Dial("tcp", h.l.Addr().String()); err == nil {
			t.Error("still listening")
		}
	}
}

// F8: a flood of commands from a client that does not read is not buffered,
// and the budget ends it.
func TestPipeliningFlood(t *testing.T) {
	for _, flood := range []string{"NOOP\r\n", "RSET\r\n", "RCPT TO:<x@else.test>\r\n", "EHLO x.test\r\n", "BDAT 0\r\n"} {
		h := start(t, nil, nil)
		c := h.dial().hello()
		c.do("MAIL FROM:<a@c.test>", "250")
		block := strings.Repeat(flood, 1000)
		for range 1000 {
			if _, err := io.WriteString(c.conn, block); err != nil {
				break
			}
		}
		n := 0
		for l := range c.lines {
			if n++; strings.HasPrefix(l, "421 4.7.0") {
				n = 0
				break
			}
		}
		if n != 0 {
			t.Errorf("%q: no 421 in %d lines", flood, n)
		}
	}
	// With all the budget in the world, what waits to be sent is bounded.
	h := start(t, nil, func(o *smtpd.Options) { o.ErrorBudget = 1 << 30 })
	conn, err := net.Dial("tcp", h.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	block := []byte(strings.Repeat("NOOP\r\n", 10_000))
	_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	sent := 0
	for {
		n, err := conn.Write(block)
		sent += n
		if err != nil {
			break
		}
		if sent > 200<<20 {
			t.Fatal("the server reads on though nobody reads its replies")
		}
	}
}

// A 40 MB body does not show in memory.
func TestALargeBodyIsStreamed(t *testing.T) {
	const size = 40 << 20
	h := start(t, nil, nil)
	h.intake.countOnly = true
	block := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 800))
	var before, m runtime.MemStats
	run := func(begin, end string, n int) {
		c := h.dial().hello()
		c.envelope()
		c.send(begin)
		if begin == "DATA\r\n" {
			c.want("354")
		}
		peak := uint64(0)
		for sent := 0; sent < n; sent += len(block) {
			if _, err := c.conn.Write(block[:min(len(block), n-sent)]); err != nil {
				t.Fatal(err)
			}
			if sent/len(block)%100 == 0 {
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
		c.send(end)
		c.want("250 2.0.0 Ok: queued")
		if peak > before.HeapAlloc+8<<20 {
			t.Errorf("heap grew from %d to %d KiB", before.HeapAlloc>>10, peak>>10)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	run("DATA\r\n", "\r\n.\r\n", size)
	n := size / len(block) * len(block)
	run(fmt.Sprintf("BDAT %d LAST\r\n", n), "", n)
}

// R2: one line of 100 MB, a header section without end, a million fields.
func TestHugeInput(t *testing.T) {
	h := start(t, nil, nil)
	h.intake.countOnly = true
	for name, c := range map[string]struct{ block, end, want string }{
		"one line":           {strings.Repeat("x", 1<<20), "\r\n.\r\n", "552 5.3.4"},
		"one folded field":   {"x: y\r\n" + strings.Repeat(" zzzzzz\r\n", 1<<17), ".\r\n", "552 5.3.4"},
		"many header fields": {strings.Repeat("x:y\r\n", 1<<18), ".\r\n", "552 5.3.4"},
	} {
		k := h.dial().hello()
		k.envelope()
		k.do("DATA", "354")
		for range 60 {
			k.send(c.block)
		}
		k.send(c.end)
		if r := k.want("5"); !strings.HasPrefix(r, c.want) {
			t.Errorf("%s: %s", name, r)
		}
	}
	// Beyond twice the limit nothing is read any more.
	h = start(t, nil, func(o *smtpd.Options) { o.MaxSize = 1000 })
	k := h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	block := strings.Repeat("x", 1<<16)
	for range 64 {
		if _, err := io.WriteString(k.conn, block); err != nil {
			break
		}
	}
	k.want("552 5.3.4")
	if l := k.line(); l != closed {
		t.Errorf("%q", l)
	}
	k = h.dial().hello()
	k.envelope()
	k.do("BDAT 5000000 LAST", "552 5.3.4")
	if l := k.line(); l != closed {
		t.Errorf("%q", l)
	}
}

func TestHeaderSectionAtItsLimit(t *testing.T) {
	h := start(t, nil, nil)
	field := "X: " + strings.Repeat("y", 995) + "\r\n" // 1000 octets
	n := mail.MaxHeaderBytes / 1000
	c := h.dial().hello()
	c.deliver(strings.Repeat(field, n) + "\r\n")
	c.envelope()
	c.do("DATA", "354")
	c.do(strings.Repeat(field, n+1)+"\r\n.", "552 5.3.4 Header section")
}

// What the intake says, the client hears if it is a reply, and never else.
func TestErrorsOfTheIntake(t *testing.T) {
	secret := errors.New("pebble: /var/lib/secret: no such file")
	full := fmt.Errorf("batch: %w", mail.ReplyStorage())
	for _, c := range []struct {
		name                 string
		begin, write, commit error
		data, end            string
	}{
		{"begin", secret, nil, nil, "451 4.3.0", ""},
		{"begin with a reply", full, nil, nil, "452 4.3.1", ""},
		{"write", nil, secret, nil, "354", "451 4.3.0"},
		{"write with a reply", nil, full, nil, "354", "452 4.3.1"},
		{"commit", nil, nil, secret, "354", "451 4.3.0"},
		{"commit with a reply", nil, nil, full, "354", "452 4.3.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, nil, nil)
			h.intake.beginErr, h.intake.writeErr, h.intake.commitErr = c.begin, c.write, c.commit
			k := h.dial().hello()
			for range 2 {
				k.envelope()
				k.do("DATA", c.data)
				if c.end != "" {
					k.do("x: y\r\n\r\nbody\r\n.", c.end)
				}
			}
			k.envelope()
			if c.end == "" {
				k.do("BDAT 8 LAST\r\nx: y\r\n", c.data)
			} else {
				k.do("BDAT 16 LAST\r\nx: y\r\n\r\nbody\r\n", c.end)
			}
			k.do("QUIT", "221")
		})
	}
}

// A panic ends that session, with 421, and leaves the others alone.
func TestAPanicEndsOneSession(t *testing.T) {
	h := start(t, nil, nil)
	other := h.dial().hello()
	h.intake.onCommit = func() { panic("on purpose") }
	c := h.dial().hello()
	c.envelope()
	c.do("DATA", "354")
	c.do("x: y\r\n.", "421 4.3.0")
	if l := c.line(); l != closed {
		t.Errorf("%q", l)
	}
	h.intake.onCommit = nil
	other.deliver("x: y\r\n")
	if !strings.Contains(h.log.String(), "on purpose") {
		t.Error("the panic is not in the log")
	}
}

// leases counts who is pinned to a chain.
type leases struct{ atomic.Int64 }

func (l *leases) Acquire() (hook.Chain, func()) {
	l.Add(1)
	return nil, func() { l.Add(-1) }
}

// R7: sessions that end at random octets leave nothing behind. goleak looks at
// the goroutines when all tests are done.
func TestAbortedSessionsLeaveNothing(t *testing.T) {
	server, _ := testTLS(t)
	pinned := &leases{}
	h := start(t, nil, func(o *smtpd.Options) { o.TLS, o.MaxSessionsPerAddress, o.Source = server, -1, pinned })
	begin := "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@ours.test>\r\n"
	dialogues := []string{
		begin + "DATA\r\n" + strings.Repeat("body\r\n", 20),
		begin + "BDAT 6\r\nx: y\r\nBDAT 8\r\nabcdefghRSET\r\n" + begin + "BDAT 999 LAST\r\n" + strings.Repeat("x", 99),
		"EHLO c.test\r\nSTARTTLS\r\n\x16\x03\x01\x00\xff\x01" + strings.Repeat("x", 99),
	}
	sessions := 2000
	if os.Getenv("WASMTA_MATRIX") == "full" {
		sessions = 100_000
	}
	for i := range sessions {
		conn, err := net.Dial("tcp", h.l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all := dialogues[i%len(dialogues)]
		_, _ = io.WriteString(conn, all[:i*7919%len(all)])
		if i%4 == 0 {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
	waitFor(t, func() bool { return h.Sessions() == 0 && h.intake.drafts() == 0 })
	if n := pinned.Load(); n != 0 {
		t.Errorf("%d chains are not released", n)
	}
	if n := len(h.intake.all()); n != 0 {
		t.Errorf("%d committed", n)
	}
}

// R1: what one idle session costs, with the client's side of it.
func TestIdleSessionsAreSmall(t *testing.T) {
	const n = 500
	h := start(t, nil, func(o *smtpd.Options) { o.MaxSessionsPerAddress = -1 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		conn, err := net.Dial("tcp", h.l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		buf := make([]byte, 512)
		if _, err := conn.Read(buf); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "EHLO client.test\r\n")
		if k, err := conn.Read(buf); err != nil || !bytes.HasPrefix(buf[:k], []byte("250-")) {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc + after.StackInuse - before.StackInuse) / n
	t.Logf("%d octets for each idle session, %d of it stack, its client included", each, (after.StackInuse-before.StackInuse)/n)
	if each > 40<<10 {
		t.Errorf("%d octets for each idle session", each)
	}
}
