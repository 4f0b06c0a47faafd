package smtpd_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/smtpd"
)

// FuzzSession sends any octets and closes. Then: the session ends; what was
// committed has an end of data in the input, each its own; there are no more
// replies than lines and chunks in the input can explain; every reply is well-formed;
// nothing was sent to a recipient that is not ours; and the session and the
// engine agreed to the end (start looks at the log). Each run makes a server, so
// give -fuzzminimizetime 1x.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var all strings.Builder
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if text, ok := strings.CutPrefix(line, "C: "); ok {
				all.WriteString(text + "\r\n")
			} else if text, ok := strings.CutPrefix(line, `C" `); ok {
				raw, err := strconv.Unquote(text)
				if err != nil {
					f.Fatal(err)
				}
				all.WriteString(raw)
			}
		}
		if all.Len() < 5000 {
			f.Add([]byte(all.String()), uint8(len(name)))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, mode uint8) {
		l := newPipeListener()
		h := start(t, l, func(o *smtpd.Options) {
			withUsers(o)
			o.AuthMechanisms = allMechanisms
			o.MaxSize, o.BinaryMIME = 1000, true
			if mode&4 != 0 {
				o.XClientNetworks = loopback
			}
			if mode&1 != 0 {
				o.Role = smtpd.LMTP
			}
			if mode&2 != 0 {
				o.Source = plugin(func(e *hook.Event) hook.Verdict {
					return hook.Verdict{Action: hook.Action(mode >> 5)} // often not allowed: a failing plugin
				}, everyStage[(int(mode>>2)&7)+2:]...)
			}
		})
		conn := l.dial()
		replies := make(chan string)
		go func() {
			b, _ := io.ReadAll(conn)
			replies <- string(b)
		}()
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		for left := input; len(left) > 0; {
			n := min(len(left), 1+int(mode)%64)
			if _, err := conn.Write(left[:n]); err != nil {
				break
			}
			left = left[n:]
		}
		halfClosed := time.AfterFunc(20*time.Millisecond, func() { conn.Close() })
		defer halfClosed.Stop()
		waitFor(t, func() bool { return h.Sessions() == 0 })
		said := <-replies
		conn.Close()

		text := string(input)
		ends := strings.Count("\r\n"+text, "\r\n.\r\n") + strings.Count(strings.ToUpper(text), "LAST")
		if m := h.intake.all(); len(m) > ends {
			t.Errorf("%d committed, %d ends of data in %q", len(m), ends, input)
		}
		accepts := mode&2 != 0 && hook.Action(mode>>5) == hook.Accept
		for _, m := range h.intake.all() {
			for _, r := range m.Env.Recipients {
				if d := r.ForwardPath.DomainKey(); !accepts && !strings.HasSuffix(d, "ours.test") && d != "relay.test" && d != "mx.test" && d != "xn--bcher-kva.test" {
					t.Errorf("queued for %s", r.ForwardPath)
				}
			}
		}
		lines := 0
		for line := range strings.Lines(said) {
			if !strings.HasSuffix(line, "\r\n") {
				continue // the pipe was closed in the middle
			}
			lines++
			if len(line) < 6 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Errorf("reply line %q", line)
			}
		}
		if limit := 10*strings.Count(text, "\n") + len(text)/3 + 10; lines > limit {
			t.Errorf("%d reply lines to %d octets", lines, len(text))
		}
	})
}

func benchServer(b *testing.B) *host {
	h := start(b, nil, func(o *smtpd.Options) { o.RelayNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	h.intake.countOnly = true
	return h
}

// lockstep is a client for benchmarks, without goroutines of its own.
type lockstep struct {
	b    *testing.B
	conn net.Conn
	buf  []byte
}

func (k *lockstep) do(send []byte, last string) {
	if _, err := k.conn.Write(send); err != nil {
		k.b.Fatal(err)
	}
	for n := 0; ; {
		m, err := k.conn.Read(k.buf[n:])
		if err != nil {
			k.b.Fatal(err)
		}
		n += m
		if i := strings.LastIndex(strings.TrimSuffix(string(k.buf[:n]), "\r\n"), "\n") + 1; strings.HasPrefix(string(k.buf[i:n]), last) && k.buf[n-1] == '\n' {
			return
		}
	}
}

func benchSession(b *testing.B, h *host) *lockstep {
	conn, err := net.Dial("tcp", h.l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	k := &lockstep{b, conn, make([]byte, 4096)}
	k.do(nil, "220")
	k.do([]byte("EHLO client.test\r\n"), "250 ")
	return k
}

// A message of 4 KB, envelope pipelined, in one session.
func BenchmarkMessage4K(b *testing.B) {
	h := benchServer(b)
	k := benchSession(b, h)
	defer k.conn.Close()
	envelope := []byte("MAIL FROM:<a@client.test> SIZE=4096\r\nRCPT TO:<b@ours.test>\r\nDATA\r\n")
	content := []byte("Subject: s\r\nMessage-ID: <x@y>\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52) + ".\r\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		k.do(envelope, "354")
		k.do(content, "250 2.0.0")
	}
}

// A connection for each message of 4 KB.
func BenchmarkConnection4K(b *testing.B) {
	h := benchServer(b)
	envelope := []byte("MAIL FROM:<a@client.test> SIZE=4096\r\nRCPT TO:<b@ours.test>\r\nDATA\r\n")
	content := []byte("Subject: s\r\nMessage-ID: <x@y>\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52) + ".\r\n")
	b.ReportAllocs()
	for b.Loop() {
		k := benchSession(b, h)
		k.do(envelope, "354")
		k.do(content, "250 2.0.0")
		k.do([]byte("QUIT\r\n"), "221")
		k.conn.Close()
	}
}

func benchBody(b *testing.B, begin func(n int) string, end string) {
	h := benchServer(b)
	k := benchSession(b, h)
	defer k.conn.Close()
	block := []byte("\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 13_000))
	b.SetBytes(int64(16 * len(block)))
	for b.Loop() {
		k.do([]byte("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@ours.test>\r\n"), "250 2.1.5")
		if s := begin(16 * len(block)); s == "DATA\r\n" {
			k.do([]byte(s), "354")
		} else if _, err := k.conn.Write([]byte(s)); err != nil {
			b.Fatal(err)
		}
		for range 15 {
			if _, err := k.conn.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		k.do(append(block[:len(block):len(block)], end...), "250 2.0.0")
	}
}

func BenchmarkData16M(b *testing.B) {
	benchBody(b, func(int) string { return "DATA\r\n" }, ".\r\n")
}

func BenchmarkBdat16M(b *testing.B) {
	benchBody(b, func(n int) string { return fmt.Sprintf("BDAT %d LAST\r\n", n) }, "")
}
