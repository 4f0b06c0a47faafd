package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// F4, row 5: whatever is wrong with a line that begins a chunk, the octets of
// the chunk are not read as commands.
func TestABadBdatLineCloses(t *testing.T) {
	blanks := func(n int) string { return strings.Repeat(" ", n) }
	for name, line := range map[string]string{
		"bare LF":         "BDAT 40 LAST\n",
		"NUL":             "BDAT 40\x00LAST\r\n",
		"tab":             "bdat\t40 LAST\r\n",
		"8-bit":           "BDAT 40 LAST\xff\r\n",
		"leading blank":   " BDAT 40 LAST\r\n",
		"leading NUL":     "\x00BDAT 40 LAST\r\n",
		"glued":           "BDAT40 LAST\r\n",
		"long":            "BDAT 40 LAST" + blanks(3000) + "\r\n",
		"longer":          "BDAT 40 LAST" + blanks(5000) + "\r\n",
		"longest":         "BDAT 40 LAST" + blanks(200_000) + "\r\n",
		"zeros":           "BDAT " + strings.Repeat("0", 30) + "40\r\n",
		"hexadecimal":     "BDAT 0x28\r\n",
		"two parameters":  "BDAT 40 LAST LAST\r\n",
		"other parameter": "BDAT 40 FIRST\r\n",
		"long s":          "BDAT 40 LA\u017fT\r\n",
	} {
		for _, split := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s split=%v", name, split), func(t *testing.T) {
				h := start(t, nil, nil)
				c := h.dial().hello()
				c.envelope()
				if split {
					c.send(line[:3])
					time.Sleep(time.Millisecond)
					c.send(line[3:])
				} else {
					c.send(line)
				}
				c.send("RSET\r\nMAIL FROM:<evil@body.test>\r\nNOOP\r\n")
				c.want("50[01] 5.5.[24]")
				if l := c.line(); l != closed {
					t.Errorf("then %q", l)
				}
			})
		}
	}
}

// F3: whatever ends the taking of a message before its last octet, the rest of
// it is not read as commands: it is thrown away to its end, and then the
// session goes on, or the connection closes.
func TestABodyIsNeverCommands(t *testing.T) {
	evil := strings.Repeat("RSET\r\nMAIL FROM:<evil@body.test>\r\nRCPT TO:<b@ours.test>\r\nDATA\r\n", 40)
	verdict := func(stage hook.Stage, v hook.Verdict, err error) func(*smtpd.Options) {
		return func(o *smtpd.Options) {
			o.Source = hook.Static{{Name: "test", Stages: hook.Stages(stage), Handler: hook.HandlerFunc(
				func(_ context.Context, e *hook.Event) (hook.Verdict, error) { return v, err })}}
		}
	}
	for name, c := range map[string]struct {
		edit   func(*smtpd.Options)
		intake func(*memory)
		head   string
		want   string
	}{
		"too large":          {func(o *smtpd.Options) { o.MaxSize = 100 }, nil, "x: y\r\n\r\n", "552 5.3.4"},
		"lowered limit":      {func(o *smtpd.Options) { o.Source = plugin(lowerLimit, hook.Data) }, nil, "x: y\r\n\r\n", "552 5.3.4"},
		"NUL":                {nil, nil, "x: y\r\n\r\n\x00\r\n", "550 5.6.0"},
		"bare LF":            {nil, nil, "x: y\r\n\r\na\nb\r\n", "550 5.6.0"},
		"reject at headers":  {verdict(hook.Headers, hook.Verdict{Action: hook.Reject}, nil), nil, "x: y\r\n\r\n", "550 5.7.1"},
		"defer at headers":   {verdict(hook.Headers, hook.Verdict{Action: hook.Defer}, nil), nil, "x: y\r\n\r\n", "451 4.7.1"},
		"failure at headers": {verdict(hook.Headers, hook.Verdict{}, errors.New("trap")), nil, "x: y\r\n\r\n", "451 4.7.1"},
		"failure at message": {verdict(hook.Message, hook.Verdict{}, errors.New("trap")), nil, "x: y\r\n\r\n", "451 4.7.1"},
		"bad verdict":        {verdict(hook.Headers, hook.Verdict{Action: hook.Drop}, nil), nil, "x: y\r\n\r\n", "451 4.7.1"},
		"failing write":      {nil, func(m *memory) { m.writeErr = mail.ReplyStorage() }, "x: y\r\n\r\n", "452 4.3.1"},
		"failing commit":     {nil, func(m *memory) { m.commitErr = io.ErrShortWrite }, "x: y\r\n\r\n", "451 4.3.0"},
		"loop":               {nil, nil, strings.Repeat("Received: x\r\n", 101) + "\r\n", "554 5.4.6"},
		"header section":     {nil, nil, strings.Repeat("X: "+strings.Repeat("y", 995)+"\r\n", 1100) + "\r\n", "552 5.3.4"},
		"discarded at mail":  {verdict(hook.Mail, hook.Verdict{Action: hook.Discard}, nil), nil, "x: y\r\n\r\n", "250 2.0.0 Ok$"},
		"a line of 100,000":  {func(o *smtpd.Options) { o.MaxSize = 1000 }, nil, strings.Repeat("x", 100_000) + "\r\n", "552 5.3.4"},
		"a panic of intake":  {nil, func(m *memory) { m.onCommit = func() { panic("on purpose") } }, "x: y\r\n\r\n", "421 4.3.0"},
		"a panic of a plugin": {func(o *smtpd.Options) {
			o.Source = plugin(func(*hook.Event) hook.Verdict { panic("trap") }, hook.Headers)
		}, nil, "x: y\r\n\r\n", "451 4.7.1"},
	} {
		for _, verb := range []string{"DATA", "BDAT", "BDAT in chunks"} {
			t.Run(name+" "+verb, func(t *testing.T) {
				h := start(t, nil, func(o *smtpd.Options) {
					o.ErrorBudget = 1000
					if c.edit != nil {
						c.edit(o)
					}
				})
				if c.intake != nil {
					c.intake(h.intake)
				}
				k := h.dial().hello()
				for range 2 {
					content := c.head + evil
					k.envelope()
					var last string
					switch verb {
					case "DATA":
						k.do("DATA", "354")
						k.send(content + ".\r\n")
						last = k.reply()
					case "BDAT":
						k.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content))
						last = k.reply()
					default:
						n := 0
						for b := range slices.Chunk([]byte(content), len(content)/3) {
							k.send(fmt.Sprintf("BDAT %d\r\n%s", len(b), b))
							n++
						}
						k.send("BDAT 0 LAST\r\n")
						// The refusal, then 503 for each chunk that is left.
						refused := false
						for range n + 1 {
							switch r := k.reply(); {
							case r == closed && strings.HasPrefix(last, "421"):
							case !refused && strings.HasPrefix(r, "250"):
								last = r
							case !refused:
								refused, last = true, r
							case !strings.HasPrefix(r, "503 5.5.1"):
								t.Fatalf("%q after the refusal", r)
							}
						}
					}
					if ok := strings.HasPrefix(last, strings.TrimSuffix(c.want, "$")); !ok {
						t.Fatalf("%q, want %s", last, c.want)
					}
					if strings.HasPrefix(last, "421") {
						if l := k.line(); l != closed {
							t.Errorf("then %q", l)
						}
						return
					}
				}
				k.do("NOOP", "250 2.0.0 Ok$")
				k.do("DATA", "503 5.5.1") // no transaction was opened by the body
				if n := len(h.intake.all()); n != 0 {
					t.Errorf("%d committed", n)
				}
			})
		}
	}
}

func lowerLimit(e *hook.Event) hook.Verdict {
	_ = e.SetSizeLimit(100)
	return hook.Verdict{}
}

// F3: shutdown in the middle of a body lets it finish, and no more; commands
// behind it are not run.
func TestShutdownInsideABody(t *testing.T) {
	for _, begin := range []string{"DATA\r\n", "BDAT 8 LAST\r\n"} {
		h := start(t, nil, nil)
		c := h.dial().hello()
		c.envelope()
		c.send(begin + "x: y\r\n")
		if begin == "DATA\r\n" {
			c.want("354")
		}
		waitFor(t, func() bool { return h.intake.drafts() == 1 })
		done := make(chan error)
		go func() { done <- h.Shutdown(context.Background()) }()
		time.Sleep(20 * time.Millisecond)
		if begin == "DATA\r\n" {
			c.send(".\r\n")
		} else {
			c.send("\r\n")
		}
		c.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@ours.test>\r\nBDAT 6 LAST\r\nx: z\r\n")
		c.want("250 2.0.0 Ok: queued")
		c.want("421 4.3.2")
		if l := c.line(); l != closed {
			t.Errorf("then %q", l)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(h.intake.all()); n != 1 {
			t.Errorf("%d committed", n)
		}
	}
}

// A message that is ours is acknowledged at once (RFC 1047), though commands
// behind it are being worked on.
func TestTheAcknowledgementDoesNotWait(t *testing.T) {
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	transactions := 0
	h := with(t, func(e *hook.Event) hook.Verdict {
		if transactions++; transactions == 2 {
			<-hold
		}
		return hook.Verdict{}
	}, hook.Mail)
	c := h.dial().hello()
	c.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@ours.test>\r\nBDAT 6 LAST\r\nx: y\r\nMAIL FROM:<a@client.test>\r\nNOOP\r\n")
	c.want("250 2.1.0")
	c.want("250 2.1.5")
	c.want("250 2.0.0 Ok: queued")
	release()
	c.want("250 2.1.0")
	c.want("250 2.0.0")
}

// F5: slow handshakes and headers of proxies end, and a second STARTTLS is
// refused.
func TestSlowHandshakes(t *testing.T) {
	server, trust := testTLS(t)
	for name, c := range map[string]struct {
		edit  func(*smtpd.Options)
		begin string
	}{
		"STARTTLS": {nil, "EHLO client.test\r\nSTARTTLS\r\n"},
		"implicit": {func(o *smtpd.Options) { o.ImplicitTLS = true }, ""},
		"PROXY":    {func(o *smtpd.Options) { o.ProxyNetworks = loopback }, "PROXY TCP4 "},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil, func(o *smtpd.Options) {
				o.TLS = server
				o.Timeouts.Handshake = 50 * time.Millisecond
				if c.edit != nil {
					c.edit(o)
				}
			})
			conn, err := net.Dial("tcp", h.l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, c.begin)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			for range 3000 { // an octet now and then does not help
				select {
				case <-ended:
					return
				case <-time.After(5 * time.Millisecond):
					_, _ = conn.Write([]byte{0x16})
				}
			}
			t.Error("the connection is still open")
		})
	}
	h := start(t, nil, func(o *smtpd.Options) { o.TLS = server })
	c := h.dial().hello().startTLS(trust)
	c.do("STARTTLS", "503 5.5.1")
	c.do("MAIL FROM:<a@client.test>", "503 5.5.1")
	if r := c.do("EHLO client.test", "250-"); strings.Contains(r, "STARTTLS") {
		t.Errorf("offered twice: %q", r)
	}
	c.do("STARTTLS", "503 5.5.1")
	c.deliver("x: y\r\n")
}
