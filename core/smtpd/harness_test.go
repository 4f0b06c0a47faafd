package smtpd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is what an intake committed.
type message struct {
	ID     mail.ID
	Env    mail.Envelope
	Header string
	Body   string
	Size   int64
	Hold   string
}

// content is header section and body without our Received field.
func (m message) content() string {
	h := m.Header
	for first := true; ; first = false {
		i := strings.Index(h, "\r\n")
		if i < 0 || !first && h[0] != '\t' {
			break
		}
		h = h[i+2:]
	}
	return h + m.Body
}

// memory is an intake that keeps messages in memory, or only counts them.
type memory struct {
	mu        sync.Mutex
	next      mail.ID
	open      int // drafts neither committed nor aborted
	messages  []message
	count     int
	countOnly bool
	beginErr  error
	writeErr  error
	commitErr error
	onCommit  func()
}

func (m *memory) Begin(context.Context) (smtpd.Draft, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.beginErr != nil {
		return nil, m.beginErr
	}
	m.next++
	m.open++
	return &draft{m: m, id: m.next}, nil
}

func (m *memory) all() []message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]message(nil), m.messages...)
}

// forget forgets what was committed.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = nil
}

func (m *memory) drafts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

type draft struct {
	m    *memory
	id   mail.ID
	body bytes.Buffer
	size int64
	done bool
}

func (d *draft) ID() mail.ID { return d.id }
func (d *draft) Size() int64 { return d.size }

func (d *draft) Write(p []byte) (int, error) {
	if d.m.writeErr != nil {
		return 0, d.m.writeErr
	}
	d.size += int64(len(p))
	if d.m.countOnly {
		return len(p), nil
	}
	return d.body.Write(p)
}

func (d *draft) ReadAt(p []byte, off int64) (int, error) {
	if d.m.countOnly { // what matters is that something is there
		p = p[:min(int64(len(p)), d.size-off)]
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	}
	return bytes.NewReader(d.body.Bytes()).ReadAt(p, off)
}

func (d *draft) Commit(_ context.Context, env mail.Envelope, header []byte, hold string) error {
	if d.m.onCommit != nil {
		d.m.onCommit()
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.commitErr != nil {
		return d.m.commitErr
	}
	if d.done {
		return errors.New("committed or aborted before")
	}
	d.done = true
	d.m.open--
	d.m.count++
	if !d.m.countOnly {
		d.m.messages = append(d.m.messages, message{d.id, env, string(header), d.body.String(), d.size, hold})
	}
	return nil
}

func (d *draft) Abort() {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.done {
		panic("aborted twice, or after a commit")
	}
	d.done = true
	d.m.open--
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// host is a running server.
type host struct {
	*smtpd.Server
	t      testing.TB
	l      net.Listener
	intake *memory
	log    *lockedBuffer
}

func isDomain(names ...string) func(string) bool {
	return func(d string) bool {
		for _, n := range names {
			if d == n {
				return true
			}
		}
		return false
	}
}

func options(intake *memory, log *lockedBuffer) smtpd.Options {
	return smtpd.Options{
		Hostname:     "mx.test",
		Listener:     "test",
		LocalDomains: isDomain("ours.test", "sub.ours.test", "xn--bcher-kva.test"),
		RelayDomains: isDomain("relay.test"),
		Source:       hook.Static(nil),
		Intake:       intake,
		Log:          event.NewLog(event.NewLineHandler(log, "mx.test", slog.LevelDebug)),
	}
}

// start runs a server on a real socket; edit may change its options and, with
// a listener that is not nil, where it listens.
func start(t testing.TB, l net.Listener, edit func(*smtpd.Options)) *host {
	t.Helper()
	h := &host{t: t, intake: &memory{}, log: &lockedBuffer{}}
	o := options(h.intake, h.log)
	if edit != nil {
		edit(&o)
	}
	s, err := smtpd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if l == nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	h.Server, h.l = s, l
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := h.intake.drafts(); n != 0 {
			t.Errorf("%d drafts were neither committed nor aborted", n)
		}
		if text := h.log.String(); strings.Contains(text, "session engine") || strings.Contains(text, "panic in a session") && !strings.Contains(text, "panic=on purpose") {
			t.Errorf("the session engine and the session disagreed, or one panicked:\n%s", text)
		}
	})
	return h
}

// pipeListener hands over net.Pipe connections: each Write of the client is
// one Read of the server, and time may be that of testing/synctest.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial() net.Conn {
	c, s := net.Pipe()
	l.conns <- s
	return c
}

// client is a scripted SMTP client. It reads all the time, so that neither
// side waits for the other to read.
type client struct {
	t     testing.TB
	conn  net.Conn
	lines chan string // without CR LF; closed at the end
}

func (h *host) dial() *client {
	h.t.Helper()
	if p, ok := h.l.(*pipeListener); ok {
		return newClient(h.t, p.dial())
	}
	conn, err := net.Dial(h.l.Addr().Network(), h.l.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	return newClient(h.t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	c := &client{t: t, conn: conn, lines: make(chan string, 100_000)}
	c.readLines(conn)
	t.Cleanup(func() {
		conn.Close()
		for range c.lines {
		}
	})
	return c
}

func (c *client) readLines(r io.Reader) {
	go func() {
		defer close(c.lines)
		var line []byte
		b := make([]byte, 1)
		for {
			if _, err := r.Read(b); err != nil {
				if len(line) > 0 {
					c.lines <- "INCOMPLETE " + string(line)
				}
				return
			}
			line = append(line, b[0])
			if b[0] == '\n' {
				if !bytes.HasSuffix(line, []byte("\r\n")) {
					c.lines <- "NOT CRLF " + string(line)
				} else {
					c.lines <- string(line[:len(line)-2])
				}
				line = line[:0]
			}
		}
	}()
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Logf("send %.60q: %v", s, err)
	}
}

const closed = "CLOSED"

// line is the next reply line, or closed.
func (c *client) line() string {
	c.t.Helper()
	select {
	case l, ok := <-c.lines:
		if !ok {
			return closed
		}
		return l
	case <-time.After(time.Hour / 60):
		c.t.Fatal("no reply within a minute")
		return ""
	}
}

// reply is the next reply, its lines joined by LF.
func (c *client) reply() string {
	c.t.Helper()
	var all []string
	for {
		l := c.line()
		all = append(all, l)
		if l == closed || len(l) < 4 || l[3] != '-' {
			return strings.Join(all, "\n")
		}
	}
}

// want reads a reply and compares it with a regular expression anchored at the
// beginning.
func (c *client) want(pattern string) string {
	c.t.Helper()
	r := c.reply()
	if !regexp.MustCompile("^(?s:" + pattern + ")").MatchString(r) {
		c.t.Fatalf("reply %q, want %s", r, pattern)
	}
	return r
}

// do sends a line and reads its reply.
func (c *client) do(line, pattern string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.want(pattern)
}

// hello is the beginning of most dialogues.
func (c *client) hello() *client {
	c.t.Helper()
	c.want("220 mx.test")
	c.do("EHLO client.test", "250-mx.test")
	return c
}

// envelope opens a transaction with one recipient of ours.
func (c *client) envelope() {
	c.t.Helper()
	c.do("MAIL FROM:<a@client.test>", "250 2.1.0")
	c.do("RCPT TO:<b@ours.test>", "250 2.1.5")
}

// deliver sends a message by DATA and wants it accepted.
func (c *client) deliver(content string) {
	c.t.Helper()
	c.envelope()
	c.do("DATA", "354")
	c.do(content+".", "250 2.0.0 Ok: queued as [0-9A-Za-z]{12}$")
}

func (c *client) halfClose() {
	c.t.Helper()
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"}, DNSNames: []string{"mx.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool, ServerName: "mx.test"}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// plugins makes a source of one Go plugin.
func plugin(f func(e *hook.Event) hook.Verdict, stages ...hook.Stage) hook.Source {
	return hook.Static{{Name: "test", Stages: hook.Stages(stages...), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		return f(e), nil
	})}}
}
