package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

func TestMessageIsCompleted(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	from, to := mail.Path{Local: "a", Domain: "x.example"}, []mail.Path{{Local: "b", Domain: "y.example"}}
	c := sendCmd{Helo: "h.example"}
	for in, want := range map[string]string{
		"Date: d\nFrom: f\nTo: t\nMessage-ID: <m>\n\nbody\n":     "Date: d\r\nFrom: f\r\nTo: t\r\nMessage-ID: <m>\r\n\r\nbody\r\n",
		"Date: d\r\nFrom: f\r\nCc: t\r\nMessage-ID: <m>\r\n\r\n": "Date: d\r\nFrom: f\r\nCc: t\r\nMessage-ID: <m>\r\n\r\n",
		"Date: d\nFrom: f\nTo: t\nMessage-ID: <m>":               "Date: d\r\nFrom: f\r\nTo: t\r\nMessage-ID: <m>\r\n\r\n",
		"Message-ID: <m>\nno header any more":                    "Message-ID: <m>\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\nFrom: a@x.example\r\nTo: b@y.example\r\n\r\nno header any more\r\n",
	} {
		got, err := c.message([]byte(in), from, to, now)
		if err != nil || string(got) != want {
			t.Errorf("%q:\n got %q %v\nwant %q", in, got, err, want)
		}
	}
	c.Header = []string{"Subject: new", "X-A: 1", "X-A: 2"}
	got, err := c.message([]byte("Subject: old\nDate: d\nFrom: f\nTo: t\nMessage-ID: <m>\n\n"), from, to, now)
	if want := "Subject: new\r\nDate: d\r\nFrom: f\r\nTo: t\r\nMessage-ID: <m>\r\nX-A: 1\r\nX-A: 2\r\n\r\n"; err != nil || string(got) != want {
		t.Errorf("%q %v", got, err)
	}
	c.Header = []string{"X-A: a\r\nX-B: b"}
	if got, err := c.message(nil, from, to, now); err == nil {
		t.Errorf("a field was smuggled in: %q", got)
	}
}

// talk plays a server that says these bytes to every command.
func talk(t testing.TB, said string) *dialogue {
	client, server := net.Pipe()
	go func() {
		go func() { _, _ = io.Copy(io.Discard, server) }()
		_, _ = io.WriteString(server, said)
		server.Close()
	}()
	t.Cleanup(func() { client.Close() })
	d := &dialogue{out: io.Discard}
	d.use(client)
	return d
}

func TestRepliesGiveExitCodes(t *testing.T) {
	for said, want := range map[string]int{
		"250-a\r\n250 b\r\n":                exOK,
		"250\r\n":                           exOK,
		"450 later\r\n":                     exTempFail,
		"550-no\r\n550 no\r\n":              exUnavailable,
		"354 go on\r\n":                     exProtocol,
		"HTTP/1.1 400 Bad Request\r\n":      exProtocol,
		"":                                  exTempFail,
		"250-and":                           exTempFail,
		"250" + strings.Repeat("x", 5000):   exProtocol,
		strings.Repeat("250-more\r\n", 101): exProtocol,
		"250 " + strings.Repeat("x", 5000):  exProtocol,
		"999 what\r\n":                      exProtocol,
		"\x1b[2J\r\n":                       exProtocol,
		strings.Repeat("550-x\r\n", 99) + "550 y\r\n": exUnavailable,
	} {
		d := talk(t, said)
		_, err := d.reply("NOOP", 250)
		var r *replyError
		if errors.As(err, &r) {
			err = r.failure()
		}
		code := exOK
		if err != nil {
			code = exitCode(err)
		}
		if code != want {
			t.Errorf("%.30q: exit code %d, want %d (%v)", said, code, want, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\r") {
			t.Errorf("%.30q: %q would steer a terminal", said, err)
		}
	}
}

func TestTheWorstReplyDecides(t *testing.T) {
	later, no, gone := &replyError{code: 450}, &replyError{code: 550}, io.ErrUnexpectedEOF
	if worse(later, no) != error(no) || worse(no, later) != error(no) || worse(nil, later) != error(later) || worse(no, gone) != gone || worse(no, nil) != error(no) {
		t.Error("not the worst")
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext äöü": "plain\ttext äöü", "a\x1b[2Jb": `a\x1B[2Jb`, "\xff": `\xFF`, "a\u202eb": `a\u202Eb`, "\u0085": `\u0085`, "x\r\n": `x\x0D\x0A`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("250-a\r\n250 b\r\n")
	f.Add("25\r\n")
	f.Fuzz(func(t *testing.T, said string) {
		d := talk(t, said)
		var out bytes.Buffer
		d.out = &out
		_, _ = d.reply("NOOP", 250)
		if s := out.String(); visible(strings.ReplaceAll(s, "\n", "")) != strings.ReplaceAll(s, "\n", "") {
			t.Errorf("%q", s)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("A: b\n\n.\n"), "X: y")
	f.Fuzz(func(t *testing.T, source []byte, field string) {
		c := sendCmd{Helo: "h.example", Header: []string{field}}
		m, err := c.message(source, mail.Path{}, []mail.Path{{Local: "b", Domain: "y.example"}}, time.Unix(0, 0))
		if err != nil {
			return
		}
		if !bytes.HasSuffix(m, []byte("\r\n")) || bytes.Contains(bytes.ReplaceAll(m, []byte("\r\n"), nil), []byte("\n")) {
			t.Errorf("bare LF in %q", m)
		}
	})
}
