package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// machine is a server whose certificates come from an authority, with a clock
// that the test turns.
type machine struct {
	*Set
	t    *testing.T
	stop func()

	waits chan time.Duration
	on    chan struct{}

	mu    sync.Mutex
	clock time.Time
	log   bytes.Buffer
}

func (m *machine) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

// text is the log since the last call.
func (m *machine) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.log.Reset()
	return m.log.String()
}

func startMachine(t *testing.T, c *ca, o ACME, files ...File) *machine {
	t.Helper()
	o.Directory, o.Root = c.URL+"/dir", c.root
	m := &machine{t: t, waits: make(chan time.Duration), on: make(chan struct{}), clock: time.Now()}
	s, err := New(Options{Hostname: "mx.example.org", ACME: &o, Log: slog.New(slog.NewTextHandler(m, nil))})
	if err != nil {
		t.Fatal(err)
	}
	use, err := s.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	use()
	m.Set = s
	s.authority.now = func() time.Time { m.mu.Lock(); defer m.mu.Unlock(); return m.clock }
	s.authority.wait = func(ctx context.Context, d time.Duration) {
		select {
		case m.waits <- d:
		case <-ctx.Done():
			return
		}
		select {
		case <-m.on:
		case <-ctx.Done():
		}
	}
	if o.HTTP == anyPort {
		m.ask(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	m.stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(m.stop)
	return m
}

// ask gives the authority's machine another port for HTTP-01, and tells it which.
func (m *machine) ask(c *ca) {
	m.authority.listen = func() (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			c.mu.Lock()
			c.http = l.Addr().String()
			c.mu.Unlock()
		}
		return l, err
	}
}

// issued is the public keys of the certificates so far.
func (c *ca) issued() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.keys)
}

// after turns the clock until something is due, and returns how long that took.
func (m *machine) after(waited time.Duration) (next time.Duration) {
	m.mu.Lock()
	m.clock = m.clock.Add(waited)
	m.mu.Unlock()
	m.on <- struct{}{}
	return <-m.waits
}

// anyPort is where HTTP-01 is answered at a port that the authority is told.
const anyPort = "127.0.0.1:0"

// deaf is an address where every connection is closed at once.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// listenTLS is a listener with implicit TLS.
func listenTLS(t *testing.T, addr string, config func() *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if tc := tls.Server(conn, config()); tc.Handshake() == nil {
					_, _ = tc.Write([]byte("220\r\n"))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestCertificatesFromAnAuthority(t *testing.T) {
	c := startCA(t)
	o := ACME{Email: "postmaster@example.org", Domains: []string{"mx.example.org", "mail.example.net"}, Dir: t.TempDir(), HTTP: anyPort}
	m := startMachine(t, c, o)
	<-m.waits
	roots := x509.NewCertPool()
	roots.AddCert(c.cert)
	for name, want := range map[string]string{"mx.example.org": "mx.example.org", "mail.example.net": "mail.example.net"} {
		if got := shown(t, m.Set, &tls.Config{ServerName: name, RootCAs: roots, Time: func() time.Time { return time.Now().Add(time.Minute) }}); got != "ECDSA "+want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := shown(t, m.Set, &tls.Config{}); got != "ECDSA mx.example.org" {
		t.Errorf("without a name: %s", got)
	}
	if left := time.Until(m.Expires()); left < 89*24*time.Hour || left > 90*24*time.Hour {
		t.Errorf("expires in %v", left)
	}
	if text := m.text(); strings.Count(text, "certificate obtained") != 2 || strings.Contains(text, "ERROR") {
		t.Errorf("the log:\n%s", text)
	}
	c.mu.Lock()
	web := c.http
	c.mu.Unlock()
	if conn, err := net.Dial("tcp", web); err == nil {
		conn.Close()
		t.Error("the port for HTTP-01 is open without an order")
	}
	err := filepath.WalkDir(o.Dir, func(path string, d os.DirEntry, err error) error {
		if info, _ := d.Info(); path != o.Dir && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can read %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	// Renewal, after 60 of the 90 days, by nobody's traffic and with the same key.
	c.mu.Lock()
	c.now = m.authority.now
	c.mu.Unlock()
	if m.after(59 * 24 * time.Hour); len(c.issued()) != 2 {
		t.Errorf("%d certificates after 59 days", len(c.issued()))
	}
	m.after(2 * 24 * time.Hour)
	if k := c.issued(); len(k) != 4 || k[0] != k[2] || k[1] != k[3] {
		t.Errorf("%d certificates after 61 days; the keys must stay the same", len(k))
	}
	first := m.Expires()

	// A restart asks for nothing.
	m.stop()
	m = startMachine(t, c, o)
	<-m.waits
	if len(c.issued()) != 4 || !m.Expires().Equal(first) {
		t.Errorf("%d certificates after a restart", len(c.issued()))
	}
}

func TestTLSALPN(t *testing.T) {
	c := startCA(t)
	var l *Listener
	ready := make(chan struct{})
	c.alpn = listenTLS(t, "127.0.0.1:0", func() *tls.Config { <-ready; return l.Config(true) })
	m := startMachine(t, c, ACME{Domains: []string{"mx.example.org"}, Dir: t.TempDir(), TLSALPN: true})
	var err error
	if l, err = m.Listener(Clients{}); err != nil {
		t.Fatal(err)
	}
	close(ready)
	<-m.waits
	if text := m.text(); !strings.Contains(text, "certificate obtained") {
		t.Errorf("the log:\n%s", text)
	}
	// The authority's protocol is nobody else's business.
	for _, protos := range [][]string{nil, {"smtp"}, {"h2", "acme-tls/1"}} {
		if got := shown(t, m.Set, &tls.Config{NextProtos: protos}); got != "ECDSA mx.example.org" {
			t.Errorf("%q: %s", protos, got)
		}
	}
	if got := shown(t, m.Set, &tls.Config{ServerName: "mx.example.org", NextProtos: []string{"acme-tls/1"}}); !strings.HasPrefix(got, "failed") {
		t.Errorf("a challenge that is not open: %s", got)
	}
}

func TestAnAuthorityThatFails(t *testing.T) {
	c := startCA(t)
	blocker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	m := startMachine(t, c, ACME{Domains: []string{"mx.example.org"}, Dir: t.TempDir(), HTTP: blocker.Addr().String()})
	expect := func(next, want time.Duration, words ...string) {
		t.Helper()
		if d := next - want; d < -time.Second || d > time.Second {
			t.Errorf("the next attempt is in %v, want %v", next, want)
		}
		text := m.text()
		for _, w := range append(words, "level=ERROR", "mx.example.org") {
			if !strings.Contains(text, w) {
				t.Errorf("the log lacks %q:\n%s", w, text)
			}
		}
	}
	expect(<-m.waits, time.Minute, "CAP_NET_BIND_SERVICE", "self-signed")
	// Meanwhile clients get something to encrypt with.
	if got := shown(t, m.Set, &tls.Config{ServerName: "mx.example.org"}); got != "ECDSA mx.example.org" {
		t.Error(got)
	}
	if !m.Expires().IsZero() {
		t.Error("a self-signed certificate counts")
	}
	stood, _ := m.Get(&tls.ClientHelloInfo{ServerName: "mx.example.org", SupportedVersions: []uint16{tls.VersionTLS13}})
	m.authority.listen = func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	c.mu.Lock()
	c.http = deaf(t)
	c.mu.Unlock()
	expect(m.after(time.Minute), 5*time.Minute, "let the name mx.example.org lead to this machine", "port 80", "acme:error:connection")
	c.mu.Lock()
	c.refuse = "rateLimited"
	c.mu.Unlock()
	expect(m.after(5*time.Minute), time.Hour, "not today", "wait: the authority") // two hours, of which it waits one at a time
	if more := m.after(time.Hour).Round(time.Minute); more != time.Hour {
		t.Errorf("then it waits %v more", more)
	}
	// The cause is gone, and the operator says so.
	c.mu.Lock()
	c.refuse = ""
	c.mu.Unlock()
	m.ask(c)
	m.authority.retryNow() // run waits: nobody else reads it
	m.after(0)
	if text := m.text(); !strings.Contains(text, "certificate obtained") {
		t.Errorf("the log:\n%s", text)
	}
	got, _ := m.Get(&tls.ClientHelloInfo{ServerName: "mx.example.org", SupportedVersions: []uint16{tls.VersionTLS13}})
	if got.Leaf.Issuer.String() == stood.Leaf.Issuer.String() || !bytes.Equal(got.Leaf.RawSubjectPublicKeyInfo, stood.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("want another certificate for the same key")
	}
}

func TestTheOtherChallengeIsTriedAfterAFailure(t *testing.T) {
	c := startCA(t)
	c.http = deaf(t) // a router leads port 80 elsewhere
	var l *Listener
	ready := make(chan struct{})
	c.alpn = listenTLS(t, "127.0.0.1:0", func() *tls.Config { <-ready; return l.Config(true) })
	m := startMachine(t, c, ACME{Domains: []string{"mx.example.org"}, Dir: t.TempDir(), HTTP: ":0", TLSALPN: true})
	var err error
	if l, err = m.Listener(Clients{}); err != nil {
		t.Fatal(err)
	}
	close(ready)
	if <-m.waits; !strings.Contains(m.text(), "level=ERROR") {
		t.Error("HTTP-01 should have failed")
	}
	m.after(time.Minute)
	if text := m.text(); !strings.Contains(text, "certificate obtained") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestFilesStandBeforeTheAuthority(t *testing.T) {
	c := startCA(t)
	c.refuse = "caa"
	file := write(t, t.TempDir(), "file", ec(t), time.Now().AddDate(0, 1, 0), "mx.example.org", "extra.test")
	m := startMachine(t, c, ACME{Domains: []string{"mx.example.org"}, Dir: t.TempDir(), HTTP: anyPort}, file)
	<-m.waits
	for _, name := range []string{"mx.example.org", "", "other.test"} {
		if got := shown(t, m.Set, &tls.Config{ServerName: name}); got != "ECDSA mx.example.org,extra.test" {
			t.Errorf("%q: %s", name, got)
		}
	}
	if !strings.Contains(m.text(), "CAA records") {
		t.Error("the log does not say what to do")
	}
}

func TestDamagedFiles(t *testing.T) {
	c := startCA(t)
	o := ACME{Directory: c.URL + "/dir", Root: c.root, Domains: []string{"mx.example.org"}, Dir: t.TempDir(), HTTP: anyPort}
	m := startMachine(t, c, o)
	<-m.waits
	m.stop()
	chain := filepath.Join(m.authority.shelf.dir, "mx.example.org.pem")
	for _, damage := range []string{"", "torn", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := os.WriteFile(chain, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		m := startMachine(t, c, o)
		<-m.waits
		if m.stop(); !strings.Contains(m.text(), "certificate obtained") {
			t.Errorf("%q: the certificate was not asked for again", damage)
		}
	}
	if err := os.WriteFile(strings.TrimSuffix(chain, "pem")+"key", []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{ACME: &o, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "mx.example.org.key") {
		t.Errorf("a damaged key, which TLSA records may name: %v", err)
	}
	o.HTTP = ""
	if _, err := New(Options{ACME: &o, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "set http") {
		t.Errorf("without a challenge: %v", err)
	}
}

// An authority that has lost its accounts, as a private one does when it is set
// up again, gets another.
func TestAnAccountThatIsGone(t *testing.T) {
	c := startCA(t)
	m := startMachine(t, c, ACME{Domains: []string{"mx.example.org"}, Dir: t.TempDir(), HTTP: anyPort})
	<-m.waits
	c.mu.Lock()
	c.refuse, c.now = "accountDoesNotExist", m.authority.now
	before := c.accounts
	c.mu.Unlock()
	m.after(61 * 24 * time.Hour)
	c.mu.Lock()
	c.refuse = ""
	c.mu.Unlock()
	m.after(time.Minute)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accounts != before+1 || len(c.keys) != 2 {
		t.Errorf("%d accounts after %d, %d certificates", c.accounts, before, len(c.keys))
	}
}

// Certificates that are due when they come, for a clock that is wrong, are not
// asked for each minute: the authority counts them.
func TestAClockThatIsWrong(t *testing.T) {
	c := startCA(t)
	c.now = func() time.Time { return time.Now().AddDate(-1, 0, 0) }
	m := startMachine(t, c, ACME{Domains: []string{"mx.example.org"}, Dir: t.TempDir(), HTTP: anyPort})
	for i, want := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
		next := <-m.waits
		if d := next - want; d < -time.Second || d > time.Second {
			t.Errorf("after certificate %d the next is in %v, want %v", i+1, next, want)
		}
		m.mu.Lock()
		m.clock = m.clock.Add(want)
		m.mu.Unlock()
		m.on <- struct{}{}
	}
	<-m.waits
}
