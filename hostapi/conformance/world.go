package conformance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/operator"
	"github.com/wasmta/wasmta/hostapi/outbound"
	"github.com/wasmta/wasmta/hostapi/state"
)

// world is the session, message and delivery that a case plays in. README.md
// lists its facts.
type world struct {
	session  *hook.Session
	tx       *hook.Transaction
	content  *hook.Content
	delivery *hook.Delivery
	scram    bool // at auth the mechanism is SCRAM-SHA-256
}

const (
	header = "Received: from b.test\r\n by a.test; Thu, 1 Jan 2026 00:00:01 +0000\r\n" +
		"Received: from c.test by b.test; Thu, 1 Jan 2026 00:00:00 +0000\r\n" +
		"From: Sender <sender@example.org>\r\nTo: ann@example.com\r\nSubject: a long\r\n line\r\nX-Test: one\r\nMessage-ID: <1@example.org>\r\nx-test: two\r\n"
	body = "Hello,  world \r\nC \r\n\r\n\r\n"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld() *world {
	client := mail.Client{
		Session: "s1", Listener: "mx", Remote: netip.MustParseAddrPort("192.0.2.1:1234"), Local: netip.MustParseAddrPort("[2001:db8::1]:25"),
		PTR: "client.test", Helo: "helo.test", ESMTP: true, Auth: "user@example.org", AuthMech: "PLAIN", AuthUser: "user",
		TLS: &mail.TLS{Version: 0x0304, Cipher: "TLS_AES_128_GCM_SHA256", ServerName: "mx.test", Fingerprint: "ab12"},
	}
	h, err := mail.ParseHeader([]byte(header + "\r\n"))
	if err != nil {
		panic(err)
	}
	w := &world{
		session: &hook.Session{Client: &client, Attrs: mail.Attrs{"other/shared": []byte("seen")}, Banner: "mx.test ESMTP", Extensions: []string{"PIPELINING", "SIZE 1000000"},
			Proxy: netip.MustParseAddr("192.0.2.2"), Connections: func() int { return 3 }, CertNames: []string{"email:user@example.org", "cn:User"}},
		tx:      &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}, SizeLimit: 1_000_000},
		content: &hook.Content{Header: h, Body: strings.NewReader(body), BodySize: int64(len(body)), NewSpool: newSpool},
		delivery: &hook.Delivery{ID: 7, Domain: "example.com", Attempt: 2, Arrived: epoch, Expire: epoch.Add(120 * time.Hour), Priority: 10,
			Last: mail.Result{Reply: mail.Reply{Code: 450, Text: "busy"}, RemoteMTA: "mx1.test"},
			History: []mail.Attempt{{At: epoch.Add(time.Hour), Relay: "mx1.test[192.0.2.7]:25",
				Result: mail.Result{Reply: mail.Reply{Code: 450, Text: "busy"}}}}},
	}
	e := &w.tx.Envelope
	e.Client, e.Attrs = client, mail.Attrs{}
	e.ReversePath = mail.Path{Local: "sender", Domain: "example.org"}
	e.MailParams = mail.MailParams{Size: 1000, Body: 2, Return: 1, EnvID: "env 1", Priority: -3,
		HoldUntil: epoch.Add(time.Hour), By: mail.DeliverBy{Time: epoch.Add(2 * time.Hour), Return: true}}
	e.Recipients = []mail.Recipient{
		{ForwardPath: mail.Path{Local: "ann", Domain: "example.com"}, RcptParams: mail.RcptParams{Notify: 6, OrcptType: "rfc822", Orcpt: "ann@example.com"}},
		{ForwardPath: mail.Path{Local: `"b b"`, Domain: "Example.NET"}, Original: mail.Path{Local: "bob", Domain: "example.net"}},
		{ForwardPath: mail.Path{Local: "carl", Domain: "example.com"}, RcptParams: mail.RcptParams{ValidSince: epoch}},
	}
	return w
}

// change makes the world as a case wants it.
func (w *world) change(word string) error {
	e := &w.tx.Envelope
	switch word {
	case "scram": // at auth the client has given a name, by SCRAM-SHA-256
		w.scram = true
	case "utf8": // the transaction has SMTPUTF8
		e.SMTPUTF8 = true
	case "null": // from the null reverse-path
		e.ReversePath = mail.Path{}
	case "bare": // nothing is known of the client but its address
		*w.session.Client = mail.Client{Session: "s1", Listener: "mx", Remote: netip.MustParseAddrPort("192.0.2.1:1234"), Local: w.session.Client.Local}
		e.Client = *w.session.Client
		e.MailParams = mail.MailParams{}
	case "one": // recipient
		e.Recipients = e.Recipients[:1]
	case "hops": // two are chosen
		w.delivery.NextHops = []mail.NextHop{{Transport: mail.TransportSMTP, Host: "mx1.test", Port: 2525}, {Transport: mail.TransportSMTP, Host: "mx2.test"}}
	case "empty": // a message of nothing
		h, err := mail.ParseHeader([]byte("\r\n"))
		if err != nil {
			return err
		}
		*w.content = hook.Content{Header: h, Body: strings.NewReader("")}
	case "full": // there is no room for a new body
		w.content.NewSpool = func() (hook.Spool, error) { return nil, errors.New("the disk is full") }
	case "unreadable": // the spool cannot be read
		w.content.Body = broken{}
	default:
		return fmt.Errorf("there is no world with %q", word)
	}
	return nil
}

func newSpool() (hook.Spool, error) { return new(spool), nil }

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("the disk is broken") }

// event is the question at a stage.
func (w *world) event(s hook.Stage) *hook.Event {
	e := &hook.Event{Stage: s, Recipient: -1}
	if s <= hook.Close {
		e.Session = w.session
	}
	switch s {
	case hook.Ehlo:
		e.Verb, e.Arg = "EHLO", "new.test"
	case hook.Auth:
		e.Verb, e.Arg = "AUTH", "PLAIN"
		e.Auth = &hook.Credentials{Mechanism: "PLAIN", User: "user", AuthzID: "user@example.org", Password: []byte("secret")}
		if w.scram {
			e.Arg, e.Auth = "SCRAM-SHA-256", &hook.Credentials{Mechanism: "SCRAM-SHA-256", User: "user"}
		}
	case hook.Command:
		e.Verb, e.Arg = "VRFY", "ann"
	case hook.Reset, hook.Close:
		e.Reason = "quit"
	}
	if s >= hook.Mail && s <= hook.Reset || s >= hook.Route && s <= hook.DSN {
		e.Tx = w.tx
	}
	if s == hook.Rcpt {
		e.Recipient = len(w.tx.Envelope.Recipients) - 1
	}
	if s == hook.Headers {
		e.Content = &hook.Content{Header: w.content.Header}
	}
	if s == hook.Message || s >= hook.Route && s <= hook.Result {
		e.Content = w.content
	}
	if s >= hook.Route && s <= hook.DSN {
		e.Delivery = w.delivery
		if len(w.tx.Envelope.Recipients) == 1 {
			e.Recipient = 0
		}
		w.delivery.Results, w.delivery.Notice = nil, nil
		if s == hook.DSN {
			w.delivery.Notice = &hook.Notice{Action: "delayed", To: w.tx.Envelope.ReversePath}
		}
		if s == hook.Result {
			w.delivery.Results = []mail.Result{{Outcome: mail.Delivered}, {Outcome: mail.Failed}, {}}
		}
	}
	return e
}

// show is the world as far as a plugin can change it, by name.
func (w *world) show(e *hook.Event) map[string]string {
	m := map[string]string{
		"banner":     w.session.Banner,
		"extensions": strings.Join(w.session.Extensions, ", "),
		"mail_from":  w.tx.Envelope.ReversePath.String(),
		"size_limit": fmt.Sprint(w.tx.SizeLimit),
		"retry":      when(w.delivery.Retry),
		"expire":     when(w.delivery.Expire),
		"priority":   fmt.Sprint(w.delivery.Priority),
	}
	content := w.content
	if e.Content != nil {
		content = e.Content
	}
	var fields []string
	for i := range content.Header.Len() {
		fields = append(fields, fmt.Sprintf("%q", strings.TrimSuffix(string(content.Header.Raw(i)), "\r\n")))
	}
	m["header"] = strings.Join(fields, " ")
	m["suspend"] = when(w.delivery.Suspend)
	if n := w.delivery.Notice; n != nil {
		m["notice"] = fmt.Sprintf("%s %q", n.To, n.Text)
	}
	if content.Replaced {
		b := make([]byte, content.BodySize)
		n, _ := content.Body.ReadAt(b, 0)
		m["body"] = fmt.Sprintf("%q", b[:n])
	}
	attrs := func(scope string, a mail.Attrs) {
		for k, v := range a {
			text := fmt.Sprintf("%q", v)
			if len(text) > 80 {
				text = fmt.Sprintf("%d octets", len(v))
			}
			m["attr "+scope+" "+k] = text
		}
	}
	attrs("session", w.session.Attrs)
	attrs("transaction", w.tx.Attrs)
	attrs("message", w.tx.Envelope.Attrs)
	var rcpts []string
	for i := range w.tx.Envelope.Recipients {
		r := &w.tx.Envelope.Recipients[i]
		s := r.ForwardPath.String()
		if !r.Original.IsNull() {
			s += " for " + r.Original.String()
		}
		rcpts = append(rcpts, s)
		attrs("recipient", r.Attrs)
	}
	m["rcpt"] = strings.Join(rcpts, ", ")
	var hops []string
	for _, n := range w.delivery.NextHops {
		s := n.String()
		if n.TLS != mail.TLSOpportunistic || n.Helo != "" || n.Source != "" || n.Pool != "" {
			s += fmt.Sprintf(" (tls %d, helo %q, source %q", n.TLS, n.Helo, n.Source)
			if n.Pool != "" {
				s += fmt.Sprintf(", pool %q", n.Pool)
			}
			s += ")"
		}
		hops = append(hops, s)
	}
	m["hops"] = strings.Join(hops, ", ")
	return m
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// changes are the differences of two shows, by name.
func changes(before, after map[string]string) (list []string) {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		old, was := before[k]
		value, is := after[k]
		switch {
		case was && !is:
			list = append(list, k+": gone")
		case old != value || !was:
			list = append(list, strings.TrimSpace(k+": "+value))
		}
	}
	return list
}

// services are what the capabilities stand on: a store, an operator's tables,
// and stand-ins for what is outside.
type services struct {
	store   *state.Store
	tables  *operator.Tables
	keys    keys
	plugins int
	events  *[]string
}

func newServices(t testing.TB) *services {
	t.Helper()
	store, err := state.Open(state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := &services{store: store, tables: operator.NewTables(nil), keys: newKeys(t)}
	dir := t.TempDir()
	var specs []operator.TableSpec
	for name, table := range map[string]struct {
		typ     operator.TableType
		content string
	}{
		"users":   {operator.Exact, "Bob@example.org local\nempty\n"},
		"domains": {operator.Domain, "example.org all\nmail.example.org some\n"},
		"nets":    {operator.CIDR, "192.0.2.0/24 wide\n192.0.2.128/25 narrow\n2001:db8::/32 six\n"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(table.content), 0o600); err != nil {
			t.Fatal(err)
		}
		specs = append(specs, operator.TableSpec{Name: name, File: path, Type: table.typ})
	}
	if _, err := s.tables.Apply(specs); err != nil {
		t.Fatal(err)
	}
	return s
}

// of are the services of one plugin, whose memory begins empty.
func (s *services) of(spec hostapi.Spec) (hostapi.Services, error) {
	s.plugins++
	kv, err := s.store.Plugin(fmt.Sprintf("p%d", s.plugins), spec.Grant.KV.MB)
	return hostapi.Services{KV: kv, Resolver: resolver{}, HTTP: client{}, Keys: s.keys, Secrets: secrets{}, Tables: s.tables, Events: s, Pools: func(name string) bool { return name == "ours" }}, err
}

// Emit notes an event; the sink of "full" is full.
func (s *services) Emit(e hostapi.Event) error {
	if e.Topic == "full" {
		return abi.Limit
	}
	*s.events = append(*s.events, fmt.Sprintf("event: %s %.80q %s %s", e.Topic, e.Data, e.Session, e.Message))
	return nil
}

type secrets struct{}

func (secrets) Secret(name string) ([]byte, bool) { return []byte("hush"), name == "api" }

// resolver knows some names.
type resolver struct{}

func (resolver) Lookup(ctx context.Context, name string, typ uint16) (hostapi.Answer, error) {
	answer := func(records ...string) (hostapi.Answer, error) {
		a := hostapi.Answer{TTL: time.Minute, Secure: name == "secure.test"}
		for _, r := range records {
			a.Records = append(a.Records, []byte(r))
		}
		return a, nil
	}
	switch {
	case name == "slow.test":
		<-ctx.Done()
		return hostapi.Answer{}, ctx.Err()
	case name == "late.test":
		return hostapi.Answer{}, abi.Timeout
	case name == "fail.test":
		return hostapi.Answer{}, abi.ServFail
	case name == "bogus.test":
		return hostapi.Answer{}, abi.Bogus
	case name == "broken.test":
		return hostapi.Answer{}, errors.New("no network")
	case name == "2.0.0.127.list.test":
		return answer("\x7f\x00\x00\x04", "\x7f\x00\x00\x02")
	case name == "3.0.0.127.list.test":
		return answer("\xc0\x00\x02\x01")
	case name == "4.0.0.127.list.test":
		return answer("\x7f\xff\xff\xfe")
	case name == "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.list.test":
		return answer("\x7f\x00\x00\x09")
	case (name == "a.test" || name == "secure.test") && typ == 1:
		return answer("\xc0\x00\x02\x01", "\xc0\x00\x02\x02")
	case name == "a.test" && typ == 15:
		return answer("10 mx.a.test")
	case name == "a.test" || strings.HasSuffix(name, ".many.test"):
		return answer()
	}
	return hostapi.Answer{}, abi.NXDomain
}

// client answers requests by their path.
type client struct{}

func (client) Do(r *http.Request, private bool) (*http.Response, error) {
	reply := func(status int, body io.Reader) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"X-Two": {"a", "b"}, "Content-Type": {"text/plain"}}, Body: io.NopCloser(body)}, nil
	}
	switch r.URL.Path {
	case "/slow":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case "/refused":
		return nil, errors.New("connection refused")
	case "/private":
		if !private {
			return nil, outbound.ErrAddress
		}
	case "/redirect":
		return reply(302, strings.NewReader(""))
	case "/big":
		return reply(200, bytes.NewReader(make([]byte, abi.MaxHTTPResponse+1)))
	case "/echo":
		var sent []byte
		if r.Body != nil {
			var err error
			if sent, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
		}
		return reply(200, strings.NewReader(fmt.Sprintf("%s %s %s|%s", r.Method, r.Header.Get("X-A"), r.Header.Get("Content-Type"), sent)))
	}
	return reply(200, strings.NewReader("hello"))
}

// keys are the operator's.
type keys struct {
	signers map[string]crypto.Signer
}

func newKeys(t testing.TB) keys {
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, err2 := rsaKey()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return keys{map[string]crypto.Signer{"ed": ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), "ec": ec, "rsa": rs}}
}

// rsaKey is made once: it takes long.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func (k keys) Signer(name string) (crypto.Signer, error) {
	if s := k.signers[name]; s != nil {
		return s, nil
	}
	if name == "mac" {
		return nil, abi.Invalid
	}
	return nil, abi.NotFound
}

func (k keys) Secret(name string) ([]byte, error) {
	if name == "mac" {
		return []byte("key"), nil
	}
	if k.signers[name] != nil {
		return nil, abi.Invalid
	}
	return nil, abi.NotFound
}
