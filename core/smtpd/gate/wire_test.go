package gate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wireOf makes a Wire that reads s, in pieces of n octets, and then EOF.
func wireOf(t *testing.T, s string, n int) *Wire {
	t.Helper()
	c, server := net.Pipe()
	go func() {
		defer c.Close()
		for len(s) > 0 {
			k := min(n, len(s))
			if _, err := io.WriteString(c, s[:k]); err != nil {
				return
			}
			s = s[k:]
		}
	}()
	w := NewWire(server, testLimits)
	t.Cleanup(func() { w.Close(false) })
	return w
}

// atEnd: a pipe whose other end is closed says so in one of two ways.
func atEnd(err error) bool { return err == io.EOF || err == io.ErrClosedPipe }

func TestReadCommand(t *testing.T) {
	long := strings.Repeat("x", MaxLine-2)
	for _, c := range []struct{ in, line, err string }{
		{"NOOP\r\n", "NOOP", ""},
		{"\r\n", "", ""},
		{"a b\xc3\xbc\r\n", "a b\u00fc", ""},
		{long + "\r\n", long, ""},
		{long + "x\r\n", long[:16], string(LineTooLong)},
		{strings.Repeat(long, 20) + "\r\n", long[:16], string(LineTooLong)},
		{"NOOP\n", "NOOP\n", string(LineNotCRLF)},
		{"\n", "\n", string(LineNotCRLF)},
		{"NO\rOP\r\n", "NO\rOP\r\n", string(LineHasControl)},
		{"NOOP\r\r\n", "NOOP\r\r\n", string(LineHasControl)},
		{"NO\x00OP\r\n", "NO\x00OP\r\n", string(LineHasControl)},
		{"NO\x7fOP\r\n", "NO\x7fOP\r\n", string(LineHasControl)},
		{"NO\u0085OP\r\n", "NO\u0085OP\r\n", string(LineHasControl)},
		{"NO\u2028OP\r\n", "NO\u2028OP\r\n", string(LineHasControl)},
		{"NO\xffOP\r\n", "NO\xffOP\r\n", string(LineNotUTF8)},
	} {
		for _, n := range []int{1, 7, 511, 512, 513, 100_000} {
			w := wireOf(t, c.in+"NEXT\r\n", n)
			line, err := w.ReadCommand()
			var bad LineError
			if line != c.line || (c.err == "") != (err == nil) || err != nil && (!errors.As(err, &bad) || string(bad) != c.err) {
				t.Errorf("%.20q in pieces of %d: %.20q, %v", c.in, n, line, err)
			}
			if line, err := w.ReadCommand(); line != "NEXT" || err != nil {
				t.Errorf("after %.20q in pieces of %d: %q, %v", c.in, n, line, err)
			}
			if _, err := w.ReadCommand(); !atEnd(err) {
				t.Errorf("at the end: %v", err)
			}
		}
	}
	if _, err := wireOf(t, strings.Repeat("x", 1<<20), 1000).ReadCommand(); err != ErrFlood {
		t.Errorf("a line without end: %v", err)
	}
	if _, err := wireOf(t, "\x16\x03\x01", 1).ReadCommand(); err != ErrTLSHello {
		t.Errorf("a TLS handshake: %v", err)
	}
	if _, err := wireOf(t, "NOOP", 1).ReadCommand(); !atEnd(err) {
		t.Errorf("half a line: %v", err)
	}
}

// A password that was read is nowhere in the buffers, however it came; what was
// behind it is still there.
func TestSecretsAreOverwritten(t *testing.T) {
	const secret = "c2VjcmV0"
	for _, pad := range []int{0, 400, 2000, 4600, 12_000} {
		response := secret + strings.Repeat("A", pad)
		for _, n := range []int{1, 7, 500, 511, 512, 513, 4095, 4608, 100_000} {
			w := wireOf(t, "NOOP "+strings.Repeat("y", 300)+"\r\nauth PLAIN  "+response+"\r\n"+response+"\r\nAUTH x\r\nRSET\r\n", n)
			clean := func(what string) {
				t.Helper()
				used := [][]byte{w.buf[:w.r], w.buf[w.w:]}
				if w.pooled != nil {
					used = append(used, w.small[:])
				}
				for _, b := range used {
					if bytes.Contains(b, []byte(secret)) {
						t.Errorf("%d octets in pieces of %d: %s left it in a buffer", len(response), n, what)
					}
				}
			}
			if _, err := w.ReadCommand(); err != nil || w.Initial() != nil {
				t.Fatal(err)
			}
			line, err := w.ReadCommand()
			if line != "AUTH PLAIN" || err != nil {
				t.Fatalf("%q %v", line, err)
			}
			clean("the command")
			if b := w.Initial(); string(b) != response {
				t.Errorf("initial response %.20q of %d octets", b, len(b))
			}
			if b, err := w.ReadResponse(); string(b) != response || err != nil {
				t.Errorf("response %.20q of %d octets, %v", b, len(b), err)
			}
			clean("the response")
			if line, err := w.ReadCommand(); line != "AUTH x" || err != nil || w.Initial() != nil {
				t.Errorf("%q %v", line, err)
			}
			if line, err := w.ReadCommand(); line != "RSET" || err != nil {
				t.Errorf("%q %v", line, err)
			}
		}
	}
	// What nobody takes is overwritten by the next read, and no error has any of it.
	w := wireOf(t, "AUTH PLAIN "+secret+"\r\nNOOP\r\nAUTH "+secret+"\n"+secret+"\n"+secret+strings.Repeat("A", MaxAuthLine)+"\r\nQUIT\r\n", 100)
	if _, err := w.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	held := w.auth
	if _, err := w.ReadCommand(); err != nil || bytes.Contains(held, []byte("c2V")) || w.Initial() != nil {
		t.Errorf("%q, %v", held, err)
	}
	if line, err := w.ReadCommand(); line != "AUTH" || err != LineNotCRLF {
		t.Errorf("%q %v", line, err)
	}
	if b, err := w.ReadResponse(); b != nil || err != LineNotCRLF {
		t.Errorf("%q %v", b, err)
	}
	if b, err := w.ReadResponse(); b != nil || err != LineTooLong {
		t.Errorf("%q %v", b, err)
	}
	if line, err := w.ReadCommand(); line != "QUIT" || err != nil {
		t.Errorf("%q %v", line, err)
	}
}

// After a body the small buffer is enough again, also with a rest behind it.
func TestBuffersAreGivenBack(t *testing.T) {
	w := wireOf(t, "BDAT\r\n"+strings.Repeat("x", 300_000)+"NOOP\r\nNO", 60_000)
	if _, err := w.ReadCommand(); err != nil {
		t.Fatal(err)
	}
	if n := len(readAll(t, w.Chunk(300_000))); n != 300_000 {
		t.Errorf("%d octets", n)
	}
	if len(w.buf) != bodyBuffer {
		t.Errorf("a body of 300,000 octets was read with %d octets of buffer", len(w.buf))
	}
	if line, err := w.ReadCommand(); line != "NOOP" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	if len(w.buf) != waitBuffer || w.pooled != nil {
		t.Errorf("waiting with %d octets of buffer", len(w.buf))
	}
	if _, err := w.ReadCommand(); !atEnd(err) {
		t.Error(err)
	}
}

// Replies to what is already here go out in one write, before the next read.
func TestOneWriteForABatch(t *testing.T) {
	c, server := net.Pipe()
	w := NewWire(server, testLimits)
	defer w.Close(false)
	go func() { _, _ = io.WriteString(c, "ONE\r\nTWO\r\nTHREE\r\nFO") }()
	done := make(chan error)
	go func() {
		for {
			line, err := w.ReadCommand()
			if err != nil {
				done <- err
				return
			}
			w.Send("250 " + line + "\r\n")
		}
	}()
	b := make([]byte, 1000)
	n, err := c.Read(b)
	if want := "250 ONE\r\n250 TWO\r\n250 THREE\r\n"; string(b[:n]) != want || err != nil {
		t.Errorf("first write %q, %v, want %q", b[:n], err, want)
	}
	c.Close()
	if err := <-done; err == nil {
		t.Error("no end")
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server := net.Pipe()
		defer c.Close()
		w := NewWire(server, testLimits)
		defer w.Close(false)
		go func() {
			time.Sleep(time.Second)
			w.Drain()
		}()
		begin := time.Now()
		if _, err := w.ReadCommand(); err != ErrDraining {
			t.Error(err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("after %v", d)
		}
		if _, err := w.ReadCommand(); err == nil {
			t.Error("a command after draining")
		}
	})
}

// counted counts the reads that brought something, and the writes.
type counted struct {
	net.Conn
	reads, writes int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.reads++
	}
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// A batch of a thousand recipients is read and answered in few system calls,
// and the buffer for it is given back.
func TestALongBatchIsReadInFewPieces(t *testing.T) {
	c, server := net.Pipe()
	defer c.Close()
	conn := &counted{Conn: server}
	w := NewWire(conn, testLimits)
	defer w.Close(false)
	const n = 1000
	batch := strings.Repeat("RCPT TO:<somebody@example.org>\r\n", n)
	go func() { _, _ = io.WriteString(c, batch) }()
	go func() { _, _ = io.Copy(io.Discard, c) }()
	for range n {
		if _, err := w.ReadCommand(); err != nil {
			t.Fatal(err)
		}
		w.Send("250 2.1.5 Ok\r\n")
	}
	if most := len(batch)/MaxLine + 2; conn.reads > most || conn.writes > most {
		t.Errorf("%d reads and %d writes for %d octets", conn.reads, conn.writes, len(batch))
	}
	go func() { _, _ = io.WriteString(c, "QUIT\r\n") }()
	if line, err := w.ReadCommand(); line != "QUIT" || err != nil || len(w.buf) != waitBuffer || w.pooled != nil {
		t.Errorf("%q, %v, with %d octets of buffer", line, err, len(w.buf))
	}
}

// A client is not blamed for the time that we need.
func TestOurOwnTimeIsNotTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server := net.Pipe()
		w := NewWire(server, Limits{Command: time.Minute, Block: time.Minute, Total: time.Hour, Grace: 10 * time.Second, MinRate: 1000, Write: time.Minute})
		defer w.Close(false)
		go func() {
			for range 10 {
				if _, err := io.WriteString(c, "content\r\n"); err != nil {
					return
				}
			}
			_, _ = io.WriteString(c, ".\r\n")
			c.Close()
		}()
		b := w.Data()
		for {
			_, err := b.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // a slow disk
		}
	})
}

func TestLeastRateAndBlock(t *testing.T) {
	limits := Limits{Command: time.Minute, Block: 10 * time.Second, Total: time.Hour, Grace: 30 * time.Second, MinRate: 100, Write: time.Minute}
	read := func(t *testing.T, octets int, every time.Duration, total int) (d time.Duration, err error) {
		c, server := net.Pipe()
		defer c.Close()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for sent := 0; sent < total; sent += octets {
				if _, err := io.WriteString(c, strings.Repeat("x", octets)); err != nil {
					return
				}
				select {
				case <-time.After(every):
				case <-stop:
					return
				}
			}
		}()
		w := NewWire(server, limits)
		defer w.Close(false)
		begin := time.Now()
		b := w.Chunk(int64(total))
		for {
			if _, err := b.Next(); err != nil {
				return time.Since(begin), err
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		if _, err := read(t, 101, time.Second, 101*600); err != io.EOF {
			t.Errorf("above the rate: %v", err)
		}
		if d, err := read(t, 90, time.Second, 90*6000); err != ErrTooSlow || d > 10*time.Minute {
			t.Errorf("below the rate: %v after %v", err, d)
		}
		if d, err := read(t, 1_000_000, 11*time.Second, 10_000_000); err != ErrTimeout || d != 10*time.Second {
			t.Errorf("a stall: %v after %v", err, d)
		}
		if d, err := read(t, 1000, 9*time.Second, 10_000_000); err != ErrTimeout || d != time.Hour {
			t.Errorf("without end: %v after %v", err, d)
		}
	})
}

// script is a Driver that has its lines ready.
type script struct {
	lines   []string
	replies []string
	ended   int
}

func (s *script) Next(reply []byte) (string, error) {
	s.replies = append(s.replies, string(reply))
	if len(s.lines) == 0 {
		return "", io.EOF
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	return line, nil
}

func (s *script) End() { s.ended++ }

func TestTheEngineHearsOneLineAtATime(t *testing.T) {
	s := &script{lines: []string{"ONE\r\n", "TWO\r\n", "DATA\r\n"}}
	c := NewConn(s, &net.TCPAddr{}, &net.TCPAddr{})
	r := bufio.NewReader(c)
	write := func(text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Error(err)
		}
	}
	write("220 ")
	write("hello\r\n")
	for _, want := range []string{"ONE", "TWO", "DATA"} {
		line, err := r.ReadString('\n')
		if line != want+"\r\n" || err != nil || r.Buffered() != 0 {
			t.Errorf("%q %v, %d more", line, err, r.Buffered())
		}
		write("reply to " + want)
	}
	if got := string(c.Written()); got != "reply to DATA" {
		t.Errorf("written %q", got)
	}
	c.Feed(".\r\n")
	if line, err := r.ReadString('\n'); line != ".\r\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	write("250 queued")
	if _, err := r.ReadByte(); err != io.EOF {
		t.Error(err)
	}
	if want := "220 hello\r\n|reply to ONE|reply to TWO|250 queued"; strings.Join(s.replies, "|") != want {
		t.Errorf("replies %q", s.replies)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if s.ended != 1 {
		t.Errorf("ended %d times", s.ended)
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("written after the end")
	}
}
