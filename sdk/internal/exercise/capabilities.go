package exercise

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/operator"
	"github.com/wasmta/wasmta/hostapi/outbound"
	"github.com/wasmta/wasmta/hostapi/state"
)

// zone is the DNS of the exercise, by type and name.
var zone = map[string]hostapi.Answer{
	"1 a.example":  {Records: [][]byte{{192, 0, 2, 1}, {192, 0, 2, 255}}},
	"16 a.example": {Records: [][]byte{[]byte("v=spf1 -all"), []byte("second")}, TTL: time.Minute, Secure: true},
	"28 a.example": {Records: [][]byte{
		{0x20, 1, 0x0d, 0xb8, 15: 1}, {0x20, 1, 0x0d, 0xb8, 9: 1, 15: 1}, {1: 1, 5: 2, 7: 3, 9: 4, 11: 5, 13: 6, 15: 7}, {15: 0}}},
	"15 a.example":              {Records: [][]byte{[]byte("10 mx.a.example"), []byte("20 b.example")}},
	"12 1.2.0.192.in-addr.arpa": {Records: [][]byte{[]byte("mx.a.example")}},
	"33 _x._tcp.a.example":      {Records: [][]byte{[]byte("1 2 25 mx.a.example")}},
	"1 1.2.0.192.list.example":  {Records: [][]byte{{127, 0, 0, 4}}},
	"15 empty.example":          {},
}

type resolver struct{}

func (resolver) Lookup(_ context.Context, name string, typ uint16) (hostapi.Answer, error) {
	if name == "fail.example" {
		return hostapi.Answer{}, abi.ServFail
	}
	a, ok := zone[fmt.Sprintf("%d %s", typ, name)]
	if !ok {
		return a, abi.NXDomain
	}
	return a, nil
}

// keys are the operator's: one to sign with and one for MACs.
type keys struct{ signer ed25519.PrivateKey }

func (k keys) Signer(name string) (crypto.Signer, error) {
	if name != "dkim" {
		return nil, abi.NotFound
	}
	return k.signer, nil
}

func (k keys) Secret(name string) ([]byte, error) {
	if name != "mac" {
		return nil, abi.NotFound
	}
	return []byte("key of the operator"), nil
}

type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) Emit(v hostapi.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, v.Topic+" "+string(v.Data))
	return nil
}

// spool is a body in the memory.
type spool struct{ bytes.Buffer }

func (s *spool) Close() error { return nil }
func (s *spool) Abort()       { s.Reset() }
func (s *spool) Size() int64  { return int64(s.Len()) }

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.Bytes()).ReadAt(p, off)
}

const (
	passwordHash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" // of "secret"
	body         = "hello, world\r\n"
	header       = "Subject: one\r\n\r\n"
)

// web answers with what it was asked.
func web(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	switch r.URL.Path {
	case "/v1/long":
		_, _ = io.WriteString(w, strings.Repeat("x", 10000))
	case "/v1/length":
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, strconv.Itoa(len(b)))
	default:
		_, _ = fmt.Fprintf(w, "%s|%s|%s", r.Method, r.Header.Get("X-Test"), strings.TrimSpace(string(b)))
	}
}

// Capabilities asks the plugin for each capability; testdata/capabilities is
// the one in Go, and all others must log the same.
func Capabilities(t *testing.T, wasm []byte) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(web))
	defer server.Close()
	client := outbound.New(outbound.Options{})
	defer client.Close()
	now := time.UnixMilli(1_700_000_000_000)
	var clock sync.Mutex
	store, err := state.Open(state.Options{Now: func() time.Time { clock.Lock(); defer clock.Unlock(); return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	tables, secrets, sink := operator.NewTables(nil), new(operator.Secrets), new(events)
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := tables.Apply([]operator.TableSpec{{Name: "users", File: write("users", "bob@example.org local\nempty\n")},
		{Name: "nets", File: write("nets", "192.0.2.0/24 test\n"), Type: operator.CIDR}}); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Apply([]operator.SecretSpec{{Name: "api", Value: "hush"}}); err != nil {
		t.Fatal(err)
	}
	signer := ed25519.NewKeyFromSeed(make([]byte, 32))

	var lines []string
	e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir(), Log: func(l hostapi.Line) { lines = append(lines, l.Text) },
		Services: func(s hostapi.Spec) (hostapi.Services, error) {
			m, err := store.Plugin(s.Name, s.Grant.KV.MB)
			return hostapi.Services{KV: m, Resolver: resolver{}, HTTP: client, Keys: keys{signer}, Secrets: secrets, Tables: tables, Events: sink}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	config := fmt.Sprintf(`{"url": %q, "hash": %q, "key": %q}`, server.URL+"/v1/", passwordHash, hex.EncodeToString(signer.Public().(ed25519.PublicKey)))
	spec := hostapi.Spec{Name: "exercise", Config: []byte(config), Grant: hostapi.Grant{
		Headers: hostapi.Write, Body: hostapi.Write, KV: hostapi.KVGrant{MB: 1}, DNS: hostapi.DNSGrant{Zones: []string{"*"}},
		HTTP:     []hostapi.HTTPGrant{{URL: server.URL + "/v1/", Methods: []string{"GET", "POST"}, Private: true}},
		SignKeys: []string{"dkim", "mac"}, Secrets: []string{"api"}, Tables: []string{"users", "nets"}, Events: []string{"*"},
	}}
	p, err := e.Load(t.Context(), spec, wasm)
	if err != nil {
		t.Fatalf("%v; logged %q", err, lines)
	}
	defer p.Close()
	k := hook.Chain{{Name: "exercise", Stages: p.Stages(), Handler: p}}.Open("mx", func(f hook.Failure) { t.Logf("%v", f.Err) })
	defer k.Close()
	session := &hook.Session{Client: &mail.Client{Listener: "mx"}, Attrs: mail.Attrs{}}
	ask := func(s hook.Stage, content *hook.Content, want ...string) {
		t.Helper()
		lines = nil
		v := &hook.Event{Stage: s, Session: session, Recipient: -1, Content: content}
		if s > hook.Ehlo {
			v.Tx = &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}, SizeLimit: 1 << 20}
			v.Tx.Envelope.ReversePath = path(t, "a@x.test")
		}
		if o := k.Ask(t.Context(), v); o.Failed || o.Action != hook.Continue {
			t.Errorf("%v: %v, a failure: %v", s, o.Action, o.Failed)
		}
		for n := range max(len(lines), len(want)) {
			var got, should string
			if n < len(lines) {
				got = lines[n]
			}
			if n < len(want) {
				should = want[n]
			}
			if got != should {
				t.Errorf("%v: %q, want %q", s, got, should)
			}
		}
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }

	ask(hook.Connect, nil,
		"kv get false", "kv set v€", "kv add false true", "kv replace true false", "kv sync 1", "kv cas false true true",
		"kv incr 5 3 0", "kv refresh 1", "kv take 0 2000", "kv error -1", "kv delete true false", "kv empty true 0", "kv long 10000")
	memory, err := store.Plugin("exercise", 1)
	if err != nil {
		t.Fatal(err)
	}
	clock.Lock()
	now = now.Add(61 * time.Second) // the times to live were those that it gave
	clock.Unlock()
	for key, there := range map[string]bool{"c": false, "n": false, "e": true, "long": true, "fresh": true} {
		if _, err := memory.Get([]byte(key)); (err == nil) != there {
			t.Errorf("after a minute: the key %q is there: %v", key, !there)
		}
	}

	ask(hook.Ehlo, nil,
		"dns txt v=spf1 -all|second", "dns ttl 60 true", "dns a 192.0.2.1 192.0.2.255",
		"dns aaaa 2001:db8::1 2001:db8::1:0:0:1 1:0:2:3:4:5:6:7 ::", "dns mx 10 mx.a.example 20 b.example", "dns ptr mx.a.example",
		"dns srv 1 2 25 mx.a.example", "dns none 0", "dns nxdomain -20", "dns servfail -21", "dns listed 127.0.0.4", "dns unlisted false")

	ask(hook.Mail, nil,
		"http get 200 text/plain GET|one|", "http header []", "http post 200 POST||données", "http ready true", "http closed -2",
		"http long 10000", "http: no place of the grant http covers GET https://elsewhere.example/", "http denied -3")

	ask(hook.Data, nil,
		"table local", "table empty true 0", "table none false", "table net test", "event 0 -1", "secret hush -3",
		"feature true true true true true true")
	if want := []string{"seen d€"}; !slices.Equal(sink.list, want) {
		t.Errorf("events %q, want %q", sink.list, want)
	}
	metrics := map[string]string{}
	for _, s := range e.Metrics() {
		metrics[s.Name] = fmt.Sprint(s.Kind, s.Value, s.Buckets)
	}
	if want := map[string]string{"seen": "0 3 []", "level": "1 -7 []", "size": "2 9 [0 1 0 0 1]"}; !maps.Equal(metrics, want) {
		t.Errorf("metrics %q, want %q", metrics, want)
	}

	mac := hmac.New(sha256.New, []byte("key of the operator"))
	mac.Write([]byte("abc"))
	h, err := mail.ParseHeader([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	content := &hook.Content{Header: h, Body: strings.NewReader(body), BodySize: int64(len(body)),
		NewSpool: func() (hook.Spool, error) { return new(spool), nil }}
	ask(hook.Message, content,
		"http body 200 POST|two|hello, world", "http message 202 "+strconv.Itoa(len(header)+len(body)), "digest "+sum("abc"), "digest true",
		"digest part "+sum("xhello"), "digest body "+sum(body), "sign 64 true false", "sign error -3",
		"hmac "+hex.EncodeToString(mac.Sum(nil)), "password true false", "password error -7", "body 0 0 0")
	const want = "[top]\r\nhello, [end]\r\n"
	if got, err := io.ReadAll(io.NewSectionReader(content.Body, 0, content.BodySize)); err != nil || string(got) != want {
		t.Errorf("the body is %q, %v", got, err)
	}
}

// Honest checks that a module imports from these modules of capabilities only,
// and from each; the core is everybody's.
func Honest(t *testing.T, wasm []byte, modules ...string) {
	t.Helper()
	r, err := engine.Inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Imports)), func(m string) bool { return !strings.HasPrefix(m, abi.Module+"_") })
	slices.Sort(modules)
	if !slices.Equal(got, modules) {
		t.Errorf("it imports from %q, want %q", got, modules)
	}
	if len(r.Problems) > 0 {
		t.Errorf("it would not be loaded: %q", r.Problems)
	}
}

// Fails loads the plugin, asks it about the recipient a@x.test, and wants a
// failure whose reason, with these words in it, is in the log.
func Fails(t *testing.T, wasm []byte, words ...string) {
	t.Helper()
	FailsFor(t, wasm, "a", words...)
}

// FailsFor is Fails for another local part.
func FailsFor(t *testing.T, wasm []byte, local string, words ...string) {
	t.Helper()
	var log bytes.Buffer
	e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir(), Log: func(l hostapi.Line) { fmt.Fprintln(&log, l.Text) }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Load(t.Context(), hostapi.Spec{Name: "exercise"}, wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	k := hook.Chain{{Name: "exercise", Stages: p.Stages(), Handler: p}}.Open("mx", nil)
	defer k.Close()
	x := &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}}
	x.Envelope.Recipients = []mail.Recipient{{ForwardPath: path(t, local+"@x.test")}}
	o := k.Ask(t.Context(), &hook.Event{Stage: hook.Rcpt, Session: &hook.Session{Client: &mail.Client{}, Attrs: mail.Attrs{}}, Tx: x})
	if !o.Failed {
		t.Errorf("it does not fail: %v", o.Action)
	}
	for _, w := range words {
		if !strings.Contains(log.String(), w) {
			t.Errorf("logged %q, want %q in it", log.String(), w)
		}
	}
}
