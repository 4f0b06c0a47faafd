package core_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
)

// server is a whole mail server in this process.
type server struct {
	t      *testing.T
	dir    string
	rest   string // of the configuration
	listen string // an address; empty: any port
	policy hook.Source
	addr   string

	sockets map[string][]net.Listener // that systemd has opened
	cancel  context.CancelFunc
	ended   chan error

	mu  sync.Mutex
	log strings.Builder
}

const settings = `
hostname = "mx.here.test"
data_dir = "data"
local_domains = ["here.test"]
relay_networks = ["127.0.0.0/8"]

[[listener]]
name = "mx"
role = "mx"
address = %q

[dns]
resolvers = ["127.0.0.1:9"]

[admin]
socket = %q

[limits]
min_free = "1MB"
%s
`

func newServer(t *testing.T, rest string, policy hook.Source) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), rest: rest, policy: policy}
	s.start()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			log := s.text()
			t.Logf("the end of the log:\n%s", log[max(0, len(log)-8000):])
		}
	})
	return s
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *server) start() {
	s.t.Helper()
	// A path of t.TempDir can be too long for a socket.
	short, err := os.MkdirTemp("", "mta")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(short) })
	c, err := config.Parse(fmt.Appendf(nil, settings, cmp.Or(s.listen, "127.0.0.1:0"), filepath.Join(short, "s"), s.rest), "test.toml", s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := core.New(core.Options{Config: c, Source: s.policy, Sockets: s.sockets, Log: event.NewLog(event.NewLineHandler(s, "mx.here.test", slog.LevelInfo))})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s.addr, s.cancel, s.ended = m.Addr("mx").String(), cancel, ended
	go func() { ended <- m.Run(ctx) }()
}

// stop drains the server, as SIGTERM does.
func (s *server) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("Run: %v", err)
		}
	case <-time.After(90 * time.Second):
		buf := make([]byte, 1<<20)
		s.t.Fatalf("the server does not end:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// client is a pipelining SMTP client.
type client struct {
	net.Conn
	*textproto.Reader
}

func dial(addr string) (*client, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	k := &client{c, textproto.NewReader(bufio.NewReader(c))}
	if _, _, err = k.ReadResponse(220); err == nil {
		fmt.Fprintf(c, "EHLO client.test\r\n")
		_, _, err = k.ReadResponse(250)
	}
	return k, err
}

// send submits a message; only a nil error means that it is the server's.
func (k *client) send(from string, to []string, text string) error {
	var b strings.Builder
	params := ""
	if path, p, ok := strings.Cut(from, " "); ok {
		from, params = path, " "+p
	}
	fmt.Fprintf(&b, "MAIL FROM:<%s>%s\r\n", from, params)
	for _, r := range to {
		path, p, _ := strings.Cut(r, " ")
		fmt.Fprintf(&b, "RCPT TO:<%s> %s\r\n", path, p)
	}
	b.WriteString("DATA\r\n")
	if _, err := k.Write([]byte(strings.ReplaceAll(b.String(), " \r\n", "\r\n"))); err != nil {
		return err
	}
	for range len(to) + 1 {
		if _, _, err := k.ReadResponse(250); err != nil {
			return err
		}
	}
	if _, _, err := k.ReadResponse(354); err != nil {
		return err
	}
	if _, err := k.Write([]byte(text + ".\r\n")); err != nil {
		return err
	}
	_, _, err := k.ReadResponse(250)
	return err
}

func (s *server) send(from string, to ...string) {
	s.t.Helper()
	k, err := dial(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer k.Close()
	if err := k.send(from, to, text("x")); err != nil {
		s.t.Fatal(err)
	}
}

func text(token string) string {
	return "From: a@src.test\r\nSubject: test\r\nX-Token: <" + token + ">\r\n\r\nbody of " + token + "\r\n"
}

var tokenLine = regexp.MustCompile(`X-Token: <([^>]*)>`)

// tokens counts the messages at a peer by their token.
func tokens(messages []mailtest.Received) map[string]int {
	n := make(map[string]int)
	for _, m := range messages {
		if t := tokenLine.FindSubmatch(m.Content); t != nil {
			n[string(t[1])]++
		}
	}
	return n
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// steady checks that something stays as it is.
func steady(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !ok() {
			t.Fatal(what)
		}
	}
}

func routeTo(domain, to string) string {
	return fmt.Sprintf("[[route]]\ndomains = [%q]\nto = %q\n", domain, to)
}

const quick = "[queue]\nretry = [\"1s\"]\n"

func TestStoppedUnderLoadLosesAndDoublesNothing(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), nil)
	var mu sync.Mutex
	taken := make(map[string]bool)
	for round := range 3 {
		var clients sync.WaitGroup
		addr := s.addr
		for n := range 8 {
			clients.Go(func() {
				for i := 0; ; {
					k, err := dial(addr)
					if err != nil {
						return
					}
					for ; ; i++ {
						token := fmt.Sprintf("%d.%d.%d", round, n, i)
						if err := k.send("a@src.test", []string{"b@dst.test"}, text(token)); err != nil {
							break
						}
						mu.Lock()
						taken[token] = true
						mu.Unlock()
					}
					k.Close()
				}
			})
		}
		time.Sleep(400 * time.Millisecond)
		s.stop()
		clients.Wait()
		s.start()
	}
	if len(taken) < 50 {
		t.Fatalf("only %d messages were taken: this tests nothing", len(taken))
	}
	eventually(t, 60*time.Second, "everything that was taken arrives", func() bool { return len(tokens(peer.Messages())) >= len(taken) })
	got := tokens(peer.Messages())
	for token := range taken {
		if got[token] != 1 {
			t.Errorf("message %s was taken and arrived %d times", token, got[token])
		}
	}
	t.Logf("%d messages", len(taken))
}

func TestPeerGoesAwayAroundItsReply(t *testing.T) {
	var before sync.Map
	var drops atomic.Int64
	var peer *mailtest.SMTP
	peer = mailtest.ServeSMTP(t, mailtest.Script{Reply: func(c mailtest.Command) string {
		if c.Verb != "." {
			return ""
		}
		if _, again := before.LoadOrStore("first", true); !again {
			return mailtest.Disconnect // it took the message, and we never learn
		}
		time.AfterFunc(time.Millisecond, func() { peer.Drop(); drops.Add(1) }) // at once after its 250
		return ""
	}})
	s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), nil)
	for i := range 20 {
		s.send("a@src.test", "b@dst.test")
		// One after the other: Drop ends all connections, also one that waits for
		// its 250, and that message would rightly be sent again.
		eventually(t, 30*time.Second, "each message arrives", func() bool { return peer.Count() > i })
		eventually(t, 30*time.Second, "the connection is dropped", func() bool { return drops.Load() >= int64(i) })
	}
	steady(t, 1500*time.Millisecond, "more than 20 messages arrived", func() bool { return peer.Count() == 20 })
}

func TestDeadAndSlowNextHopsDoNotDelayOthers(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	slow := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"MAIL": mailtest.Hang}})
	live := mailtest.ServeSMTP(t, mailtest.Script{})
	s := newServer(t, routeTo("dead.test", "smtp:"+dead.Addr().String())+routeTo("slow.test", "smtp:"+slow.Addr)+routeTo("*", "smtp:"+live.Addr), nil)
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	send := func(to, token string) {
		if err := k.send("a@src.test", []string{to}, text(token)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		send("b@dead.test", "dead")
		if i%10 == 0 {
			send("b@slow.test", "slow")
		}
	}
	for i := range 200 {
		send("b@live.test", fmt.Sprint(i))
	}
	eventually(t, 20*time.Second, "200 messages for the live next hop arrive", func() bool { return len(tokens(live.Messages())) == 200 })
	eventually(t, 20*time.Second, "every message for the dead one is tried", func() bool {
		return strings.Count(s.text(), "to=<b@dead.test>") >= 1000
	})
	if n := slow.Connections(); n > 20 {
		t.Errorf("%d connections to the slow next hop at once, the limit is 20", n)
	}
	slow.Close() // so that the attempts there end
	if n := runtime.NumGoroutine(); n > 500 {
		t.Errorf("%d goroutines", n)
	}
}

func TestPanicInAPluginOnlyDefers(t *testing.T) {
	for _, stage := range []hook.Stage{hook.Route, hook.Attempt, hook.Result, hook.DSN} {
		t.Run(stage.String(), func(t *testing.T) {
			var mu sync.Mutex
			panics := 0
			policy := hook.Static{{Name: "bad", Stages: hook.Stages(stage), OnError: hook.FailReject, Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
				mu.Lock()
				defer mu.Unlock()
				if panics++; panics <= 2 {
					panic("bad plugin")
				}
				return hook.Verdict{}, nil
			})}}
			peer := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"RCPT <no@dst.test>": "550 5.1.1 no such user"}})
			s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), policy)
			s.send("a@src.test", "b@dst.test", "no@dst.test")
			eventually(t, 20*time.Second, "the message and the notification arrive", func() bool { return peer.Count() >= 2 })
			steady(t, 2500*time.Millisecond, "something arrived twice", func() bool { return peer.Count() == 2 })
			if n := strings.Count(s.text(), " removed"); n != 2 {
				t.Errorf("%d messages are done with, want the message and the notification", n)
			}
		})
	}
}

func TestOneMessageForManyDomains(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), nil)
	var to []string
	for i := range 1000 {
		to = append(to, fmt.Sprintf("u%d@d%d.test", i, i%300))
	}
	s.send("a@src.test", to...)
	got := make(map[string]int)
	eventually(t, 30*time.Second, "every domain gets its copy", func() bool { return peer.Count() >= 300 })
	for _, m := range peer.Messages() {
		for _, r := range m.To {
			got[strings.Trim(r, "<>")]++
		}
	}
	for _, r := range to {
		if got[r] != 1 {
			t.Errorf("%s: %d copies", r, got[r])
		}
	}
	eventually(t, 5*time.Second, "the message is removed", func() bool { return strings.Count(s.text(), " removed") == 1 })
}

func TestDSNParametersFromEndToEnd(t *testing.T) {
	const mailParams, rcptParams = "RET=HDRS ENVID=QQ314159", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bx@first.test"
	withDSN := mailtest.ServeSMTP(t, mailtest.Script{})
	without := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING"}, Replies: map[string]string{
		"RCPT <no@without.test>": "550 5.1.1 no such user", "RCPT <never@without.test>": "550 5.1.1 no such user"}})
	lmtp := mailtest.ServeSMTP(t, mailtest.Script{LMTP: true, Extensions: []string{"PIPELINING"}})
	home := mailtest.ServeSMTP(t, mailtest.Script{})
	s := newServer(t, quick+routeTo("with.test", "smtp:"+withDSN.Addr)+routeTo("without.test", "smtp:"+without.Addr)+
		routeTo("lmtp.test", "lmtp:"+lmtp.Addr)+routeTo("box.test", "maildir:./mail/{user}")+routeTo("*", "smtp:"+home.Addr), nil)
	s.send("a@src.test "+mailParams, "b@with.test "+rcptParams, "b@without.test "+rcptParams, "no@without.test "+rcptParams,
		"never@without.test NOTIFY=NEVER", "b@lmtp.test "+rcptParams, "b@box.test "+rcptParams)
	eventually(t, 20*time.Second, "four notifications arrive", func() bool { return home.Count() >= 4 })
	steady(t, time.Second, "more than four notifications", func() bool { return home.Count() == 4 })

	m := withDSN.Messages()[0]
	for _, p := range strings.Fields(mailParams) {
		if !strings.Contains(m.FromParams, p) {
			t.Errorf("MAIL lacks %s: %q", p, m.FromParams)
		}
	}
	if !strings.Contains(m.ToParams[0], rcptParams) {
		t.Errorf("RCPT has %q, want %q", m.ToParams[0], rcptParams)
	}
	if m := without.Messages()[0]; strings.Contains(m.FromParams, "RET") || m.ToParams[0] != "" {
		t.Errorf("parameters that were not offered: %q %q", m.FromParams, m.ToParams)
	}
	actions := make(map[string]string)
	field := func(content, name string) string {
		f := regexp.MustCompile(`(?m)^` + name + `: (.*?)\r?$`).FindStringSubmatch(content)
		if f == nil {
			return ""
		}
		return f[1]
	}
	for _, n := range home.Messages() {
		c := string(n.Content)
		if n.From != "<>" || n.To[0] != "<a@src.test>" || !strings.Contains(n.ToParams[0], "NOTIFY=NEVER") {
			t.Errorf("the envelope of a notification: from %s to %s %s", n.From, n.To, n.ToParams)
		}
		if got := field(c, "Original-Envelope-Id"); got != "QQ314159" {
			t.Errorf("Original-Envelope-Id: %q", got)
		}
		if got := field(c, "Original-Recipient"); got != "rfc822; bob+x@first.test" {
			t.Errorf("Original-Recipient: %q", got)
		}
		if strings.Contains(c, "body of x") {
			t.Errorf("RET=HDRS, and the body came back:\n%s", c)
		}
		actions[field(c, "Final-Recipient")] = field(c, "Action")
	}
	for to, want := range map[string]string{"b@without.test": "relayed", "no@without.test": "failed", "b@lmtp.test": "delivered", "b@box.test": "delivered"} {
		if got := actions["rfc822; "+to]; got != want {
			t.Errorf("%s: action %q, want %q", to, got, want)
		}
	}
}

func TestHeaderEditsAtAttemptStayInTheAttempt(t *testing.T) {
	policy := hook.Static{{Name: "tag", Stages: hook.Stages(hook.Attempt), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{}, e.EditHeader(func(h *mail.Header) error { return h.Insert(-1, "X-Attempt", fmt.Sprint(e.Delivery.Attempt), false) })
	})}}
	var mu sync.Mutex
	tries := 0
	peer := mailtest.ServeSMTP(t, mailtest.Script{Reply: func(c mailtest.Command) string {
		mu.Lock()
		defer mu.Unlock()
		if c.Verb == "." {
			if tries++; tries < 3 {
				return "450 4.2.0 later"
			}
		}
		return ""
	}})
	s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), policy)
	s.send("a@src.test", "b@dst.test")
	eventually(t, 20*time.Second, "the message arrives", func() bool { return peer.Count() == 1 })
	if c := string(peer.Messages()[0].Content); strings.Count(c, "X-Attempt") != 1 || !strings.Contains(c, "X-Attempt: 3\r\n") {
		t.Errorf("want only the edit of the third attempt:\n%s", c)
	}
}

// writeCertificate writes cert.pem and key.pem for a name.
func writeCertificate(t *testing.T, dir, name string, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-24 * time.Hour), NotAfter: until, DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "other.test", time.Now().Add(-time.Hour))
	c, err := config.Parse([]byte("hostname='mx.here.test'\ndata_dir='d'\n[[listener]]\nname='mx'\naddress='127.0.0.1:0'\ntls='starttls'\n"+
		"[tls]\ncertificate='cert.pem'\nkey='key.pem'\n[limits]\nmin_free='1MB'\n[admin]\nsocket='"+filepath.Join(t.TempDir(), "s")+"'\n"), "test.toml", dir)
	if err != nil {
		t.Skip(err) // the path of the socket is too long here
	}
	var log bytes.Buffer
	m, err := core.New(core.Options{Config: c, Log: event.NewLog(event.NewLineHandler(&log, "mx", slog.LevelInfo))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	addr := m.Addr("mx").String()
	go func() { ended <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, want := range []string{"not for this server's hostname", "not valid now; renew it"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, &log)
			}
		}
	}()
	name := func() string {
		k, err := dial(addr)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		fmt.Fprint(k, "STARTTLS\r\n")
		if _, _, err := k.ReadResponse(220); err != nil {
			t.Fatal(err)
		}
		tc := tls.Client(k.Conn, &tls.Config{InsecureSkipVerify: true})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		return tc.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if n := name(); n != "other.test" {
		t.Errorf("certificate for %s", n)
	}
	writeCertificate(t, dir, "mx.here.test", time.Now().Add(time.Hour))
	use, err := m.LoadCertificate(c)
	if err != nil || name() != "other.test" {
		t.Errorf("%v, or used before it was to be", err)
	}
	use()
	if n := name(); n != "mx.here.test" {
		t.Errorf("certificate for %s after use", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LoadCertificate(c); err == nil || !strings.Contains(err.Error(), "key.pem") {
		t.Errorf("a torn key: %v", err)
	}
	if n := name(); n != "mx.here.test" {
		t.Errorf("certificate for %s after an error", n)
	}
}

func TestMailForOurselvesIsNoticedBeforeAConnection(t *testing.T) {
	for name, c := range map[string]struct{ listen, to string }{
		"the address":          {"127.0.0.1", "smtp:127.0.0.1"},
		"another loopback":     {"0.0.0.0", "smtp:127.0.0.2"},
		"unspecified":          {"127.0.0.1", "smtp:0.0.0.0"},
		"unspecified, to both": {"0.0.0.0", "smtp:0.0.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(l.Addr().String())
			l.Close()
			s := &server{t: t, dir: t.TempDir(), listen: c.listen + ":" + port, rest: routeTo("*", c.to+":"+port)}
			s.start()
			defer s.stop()
			s.addr = "127.0.0.1:" + port
			s.send("a@src.test", "b@loop.test")
			eventually(t, 10*time.Second, "the loop is noticed", func() bool { return strings.Contains(s.text(), "status=deferred") })
			if !strings.Contains(s.text(), "is this server") {
				t.Errorf("the log does not say why:\n%s", s.text())
			}
		})
	}
}

func TestPostmasterOfAServerWithoutMailboxesIsTheDomains(t *testing.T) {
	for route, want := range map[string]string{
		routeTo("here.test", "maildir:./mail/{domain}/{user}"):    "mail/here.test/postmaster",
		routeTo("mx.here.test", "maildir:./mail/{domain}/{user}"): "mail/mx.here.test/Postmaster",
	} {
		s := newServer(t, route, nil)
		s.send("a@src.test", "Postmaster@mx.here.test")
		eventually(t, 10*time.Second, "a message in "+want, func() bool {
			files, _ := filepath.Glob(filepath.Join(s.dir, want, "new", "*"))
			return len(files) == 1
		})
	}
}

func TestAddressLiteralsLeadNowhereInside(t *testing.T) {
	s := newServer(t, "", nil)
	s.send("", "b@[127.0.0.1]", "b@[169.254.169.254]", "b@[IPv6:::1]", "b@[IPv6:::ffff:127.0.0.1]")
	eventually(t, 10*time.Second, "all bounce", func() bool { return strings.Count(s.text(), "status=bounced") == 4 })
	if n := strings.Count(s.text(), "addresses that mail is not sent to"); n != 4 {
		t.Errorf("%d of 4 refused for their addresses:\n%s", n, s.text())
	}
}

func TestSessionsThatBreakOffDoNotSuspendTheNextHop(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"MAIL <poison@src.test>": mailtest.Disconnect}})
	s := newServer(t, routeTo("*", "smtp:"+peer.Addr), nil)
	for range 5 {
		s.send("poison@src.test", "b@dst.test")
	}
	eventually(t, 10*time.Second, "the attempts fail", func() bool { return strings.Count(s.text(), "status=deferred") == 5 })
	s.send("a@src.test", "b@dst.test")
	eventually(t, 10*time.Second, "another message arrives", func() bool { return peer.Count() == 1 })
}
