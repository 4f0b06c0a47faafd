package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// These tests drive the built program from outside, over real sockets: what a
// user would run, and what a user would see.

// program builds wasmta once for all tests, with build tags if any.
var program = func() func(t *testing.T, tags string) string {
	var mu sync.Mutex
	built := make(map[string]string)
	return func(t *testing.T, tags string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if path, ok := built[tags]; ok {
			return path
		}
		dir, err := os.MkdirTemp("", "wasmta-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "wasmta")
		cmd := exec.Command("go", "build", "-tags", tags, "-o", path, "github.com/wasmta/wasmta/cmd/wasmta")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		built[tags] = path
		return path
	}
}()

// guest builds a Go plugin from testdata/guest/NAME and returns the module.
func guest(t *testing.T, name string, ldflags string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w "+ldflags, "-o", out, "./testdata/guest/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the guest %s: %v\n%s", name, err, text)
	}
	return out
}

// freeAddr is an address that nothing listens on. None is given twice, and
// none is of the range that the system gives to outgoing connections.
var freeAddr = func() func(t *testing.T) string {
	var next atomic.Uint32
	next.Store(rand.Uint32N(12_000))
	return func(t *testing.T) string {
		t.Helper()
		for range 1000 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+next.Add(1)%12_000))
			if err == nil {
				l.Close()
				return l.Addr().String()
			}
		}
		t.Fatal("no free port from 20000 to 31999")
		return ""
	}
}()

// server is a running wasmta.
type server struct {
	t      *testing.T
	binary string
	config string
	addr   string // of its listener
	cmd    *exec.Cmd
	log    *logBuffer
}

// newServer writes a configuration with one listener and starts nothing yet.
// body is the rest of the file.
func newServer(t *testing.T, tags, body string) *server {
	t.Helper()
	s := &server{t: t, binary: program(t, tags), addr: freeAddr(t), log: new(logBuffer)}
	dir := t.TempDir()
	s.config = filepath.Join(dir, "wasmta.toml")
	head := "hostname = \"mx.test\"\ndata_dir = \"data\"\nrelay_networks = [\"127.0.0.0/8\"]\n"
	tail := fmt.Sprintf("\n[[listener]]\nname = \"mx\"\naddress = %q\n[limits]\nsessions_per_address = 1000\n%s", s.addr, body)
	if err := os.WriteFile(s.config, []byte(head+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs the server and waits until it greets.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, "serve", "--config", s.config)
	s.cmd.Stderr = s.log
	s.cmd.Stdout = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	})
	deadline := time.Now().Add(60 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			line, err := bufio.NewReader(c).ReadString('\n')
			c.Close()
			if err == nil && strings.HasPrefix(line, "220") {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not greet at %s:\n%s", s.addr, s.log.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// kill ends the server as a power cut would end the process.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// stop ends the server with SIGTERM and checks that it drains.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(os.Interrupt)
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			s.t.Errorf("the server ended with %v:\n%s", err, s.log.Tail(2000))
		}
	case <-time.After(60 * time.Second):
		s.t.Errorf("the server does not end after a signal:\n%s", s.log.Tail(2000))
		s.kill()
	}
}

// run calls a control command and returns what it printed.
func (s *server) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.binary, append(args, "--config", s.config)...).CombinedOutput()
	return string(out), err
}

// logBuffer keeps the last part of a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > 64<<20 {
		l.b.Reset()
	}
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) Tail(n int) string {
	s := l.String()
	return s[max(0, len(s)-n):]
}

// client is the least that can send mail, so that a test knows exactly what
// went over the wire.
type client struct {
	c net.Conn
	r *bufio.Reader
}

func dial(addr string) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	k := &client{c, bufio.NewReader(c)}
	if _, err := k.expect(220); err != nil {
		c.Close()
		return nil, err
	}
	if err := k.cmd(250, "EHLO client.test"); err != nil {
		c.Close()
		return nil, err
	}
	return k, nil
}

// expect reads a reply and fails unless it has this code.
func (k *client) expect(code int) (string, error) {
	k.c.SetDeadline(time.Now().Add(2 * time.Minute))
	var text strings.Builder
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		text.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			if !strings.HasPrefix(line, strconv.Itoa(code)) {
				return text.String(), fmt.Errorf("got %q, want %d", text.String(), code)
			}
			return text.String(), nil
		}
	}
}

func (k *client) cmd(code int, format string, args ...any) error {
	if _, err := fmt.Fprintf(k.c, format+"\r\n", args...); err != nil {
		return err
	}
	_, err := k.expect(code)
	return err
}

// send sends one message; content has CRLF lines and ends with one.
func (k *client) send(from, to string, content []byte) error {
	if err := k.cmd(250, "MAIL FROM:<%s>", from); err != nil {
		return err
	}
	if err := k.cmd(250, "RCPT TO:<%s>", to); err != nil {
		return err
	}
	if err := k.cmd(354, "DATA"); err != nil {
		return err
	}
	k.c.SetDeadline(time.Now().Add(2 * time.Minute))
	w := bufio.NewWriterSize(k.c, 64<<10)
	for line := range bytes.Lines(content) {
		if line[0] == '.' {
			w.WriteByte('.')
		}
		w.Write(line)
	}
	w.WriteString(".\r\n")
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := k.expect(250)
	return err
}

// sink is a next hop that keeps a ledger of what it took.
type sink struct {
	l    net.Listener
	mu   sync.Mutex
	got  map[string][]time.Time // token -> instants of its 250
	body func(token string, content []byte)
}

// newSink listens at addr. token picks out of a message's content by which it
// is known; keep, if not nil, sees each content.
func newSink(t *testing.T, addr string, keep func(token string, content []byte)) *sink {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{l: l, got: make(map[string][]time.Time), body: keep}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *sink) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	io.WriteString(c, "220 sink.test ESMTP\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimRight(line, "\r\n")); {
		case strings.HasPrefix(verb, "EHLO"):
			io.WriteString(c, "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n")
		case verb == "DATA":
			io.WriteString(c, "354 go on\r\n")
			var content bytes.Buffer
			for {
				line, err := r.ReadSlice('\n')
				if err == bufio.ErrBufferFull {
					content.Write(line)
					continue
				}
				if err != nil {
					return
				}
				if bytes.Equal(line, []byte(".\r\n")) && (content.Len() == 0 || bytes.HasSuffix(content.Bytes(), []byte("\r\n"))) {
					break
				}
				if line[0] == '.' && (content.Len() == 0 || bytes.HasSuffix(content.Bytes(), []byte("\n"))) {
					line = line[1:]
				}
				content.Write(line)
			}
			token := tokenOf(content.Bytes())
			s.mu.Lock()
			s.got[token] = append(s.got[token], time.Now())
			s.mu.Unlock()
			if s.body != nil {
				s.body(token, content.Bytes())
			}
			if _, err := io.WriteString(c, "250 2.0.0 Ok\r\n"); err != nil {
				return
			}
		case verb == "QUIT":
			io.WriteString(c, "221 bye\r\n")
			return
		default:
			io.WriteString(c, "250 Ok\r\n")
		}
	}
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

const tokenField = "X-Token: "

func tokenOf(content []byte) string {
	_, rest, _ := bytes.Cut(content, []byte(tokenField))
	token, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(token)
}

func message(token string, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: a@src.test\r\nTo: b@dst.test\r\nSubject: test\r\n%s%s\r\n\r\n", tokenField, token)
	for b.Len() < size {
		b.WriteString("All work and no play makes a mail server a dull daemon.\r\n")
	}
	return b.Bytes()
}

// eventually waits until ok holds.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
