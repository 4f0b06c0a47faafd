package operator

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
)

var (
	_ hostapi.Tables  = (*Tables)(nil)
	_ hostapi.Secrets = (*Secrets)(nil)
	_ hostapi.Events  = (*Sinks)(nil)
	_ hostapi.Keys    = (*Keys)(nil)
)

func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func tables(t testing.TB, typ TableType, content string) *Tables {
	t.Helper()
	set := NewTables(nil)
	if _, err := set.Apply([]TableSpec{{"t", file(t, "t", content), typ}}); err != nil {
		t.Fatal(err)
	}
	return set
}

func wantValue(t testing.TB, set *Tables, key, want string) {
	t.Helper()
	if v, err := set.Lookup("t", []byte(key)); err != nil || string(v) != want {
		t.Errorf("%q is %q, %v; want %q", key, v, err, want)
	}
}

func wantCode(t testing.TB, set *Tables, key string, code abi.Code) {
	t.Helper()
	if v, err := set.Lookup("t", []byte(key)); !errors.Is(err, code) {
		t.Errorf("%q is %q, %v; want %v", key, v, err, code)
	}
}

func TestExactTable(t *testing.T) {
	set := tables(t, Exact, "# comment\n\n Alice@Example.org \t relay # not a comment \r\nbob\nbob\n")
	wantValue(t, set, "alice@example.ORG", "relay # not a comment")
	wantValue(t, set, "bob", "")
	wantCode(t, set, "#", abi.NotFound)
	wantCode(t, set, "", abi.NotFound)
	if _, err := set.Lookup("other", []byte("bob")); !errors.Is(err, abi.NotFound) || set.Has("other") || !set.Has("t") {
		t.Errorf("%v", err)
	}
}

func TestDomainTable(t *testing.T) {
	set := tables(t, Domain, "example.org one\nMail.Example.org two\n.example.net three\nb\u00fccher.example four\n")
	for key, want := range map[string]string{
		"example.org": "one", "EXAMPLE.org.": "one", "a.b.example.org": "one", "mail.example.org": "two", "x.mail.example.org": "two",
		"a.example.net": "three", "xn--bcher-kva.example": "four", "B\u00dcCHER.example": "four",
	} {
		wantValue(t, set, key, want)
	}
	for _, key := range []string{"example.net", "badexample.org", "org", "", ".", "..", "example.org.evil.example"} {
		wantCode(t, set, key, abi.NotFound)
	}
}

func TestCIDRTable(t *testing.T) {
	set := tables(t, CIDR, "10.0.0.0/8 private\n10.1.0.0/16 near\n192.0.2.1 one\n2001:db8::/32 doc\n0.0.0.0/0 rest\n")
	for key, want := range map[string]string{
		"10.2.3.4": "private", "10.1.3.4": "near", "::ffff:10.1.3.4": "near", "192.0.2.1": "one", "192.0.2.2": "rest", "2001:db8::1": "doc",
	} {
		wantValue(t, set, key, want)
	}
	wantCode(t, set, "2001:db9::1", abi.NotFound)
	for _, key := range []string{"", "x", "10.0.0", "10.0.0.0/8"} {
		wantCode(t, set, key, abi.Invalid)
	}
}

func TestFaultsInTablesSayWhere(t *testing.T) {
	for content, want := range map[string]string{
		"a b\n10.0.0.0/8":                 ":1: ",
		"10.0.0.0/8\n10.0.0.1/8":          ":2: ",
		"::ffff:10.0.0.0/104":             ":1: ",
		"fe80::1%eth0":                    ":1: ",
		"10.0.0.0/8 a\n10.0.0.0/8 b":      ":2: ",
		"192.0.2.1 " + long(16<<10+1):     ":1: ",
		long(40 << 10):                    ":1: ",
		"# fine\n\n" + "\xff\xfe garbage": ":3: ",
	} {
		_, err := parseTable(TableSpec{"t", "file", CIDR}, []byte(content))
		if err == nil || !strings.Contains(err.Error(), "file"+want) || len(err.Error()) > 2000 {
			t.Errorf("%.40q: %v; want %q", content, err, want)
		}
	}
	if _, err := parseTable(TableSpec{"t", "file", Domain}, []byte("a..b")); err == nil {
		t.Error("a..b is a domain")
	}
	set := NewTables(nil)
	_, err := set.Apply([]TableSpec{{"a", "/nonexistent/file", Exact}, {"b", t.TempDir(), Exact}})
	if err == nil || !strings.Contains(err.Error(), `table "a"`) || !strings.Contains(err.Error(), `table "b"`) {
		t.Errorf("%v", err)
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestTablesFollowTheirFiles(t *testing.T) {
	var said strings.Builder
	path := file(t, "t", "10.0.0.1 old\n")
	set := NewTables(slog.New(slog.NewTextHandler(&said, nil)))
	if _, err := set.Apply([]TableSpec{{"t", path, CIDR}}); err != nil {
		t.Fatal(err)
	}
	bad := map[string]stamp{}
	rewrite := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		set.look(bad)
	}
	rewrite("10.0.0.1 newer\n")
	wantValue(t, set, "10.0.0.1", "newer")
	rewrite("10.0.0.1 newest\nnonsense\n")
	set.look(bad)
	set.look(bad)
	wantValue(t, set, "10.0.0.1", "newer")
	if n := strings.Count(said.String(), "level=ERROR"); n != 1 || !strings.Contains(said.String(), ":2: ") {
		t.Errorf("said %s", &said)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	set.look(bad)
	set.look(bad)
	wantValue(t, set, "10.0.0.1", "newer")
	if n := strings.Count(said.String(), "level=ERROR"); n != 2 {
		t.Errorf("said %s", &said)
	}
	rewrite("10.0.0.1 back\n")
	wantValue(t, set, "10.0.0.1", "back")
}

func TestApplyIsAllOrNothingAndCanBeUndone(t *testing.T) {
	set := tables(t, Exact, "a 1\n")
	path := file(t, "u", "a 2\n")
	if _, err := set.Apply([]TableSpec{{"t", path, Exact}, {"u", "/nonexistent", Exact}}); err == nil {
		t.Error("a missing file is no error")
	}
	wantValue(t, set, "a", "1")
	undo, err := set.Apply([]TableSpec{{"t", path, Exact}})
	if err != nil {
		t.Fatal(err)
	}
	wantValue(t, set, "a", "2")
	undo()
	wantValue(t, set, "a", "1")

	var s Secrets
	if _, ok := s.Secret("k"); ok {
		t.Error("there is a secret before Apply")
	}
	if _, err := s.Apply([]SecretSpec{{Name: "k", File: file(t, "k", "hush\n")}, {Name: "v", Value: "text\n"}}); err != nil {
		t.Fatal(err)
	}
	undo, err = s.Apply([]SecretSpec{{Name: "k", Value: "other"}})
	if v, ok := s.Secret("k"); err != nil || !ok || string(v) != "other" {
		t.Errorf("%q %v %v", v, ok, err)
	}
	undo()
	for name, want := range map[string]string{"k": "hush", "v": "text\n"} {
		if v, _ := s.Secret(name); string(v) != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	for _, bad := range []SecretSpec{{Name: "e"}, {Name: "e", File: file(t, "e", "\n")}, {Name: "e", File: "/nonexistent"}, {Name: "e", File: file(t, "l", long(MaxSecret+1))}} {
		if _, err := s.Apply([]SecretSpec{bad}); err == nil || !strings.Contains(err.Error(), `"e"`) {
			t.Errorf("%.60v: %v", bad, err)
		}
	}
}

func TestKeys(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	var k Keys
	if _, err := k.Signer("a"); !errors.Is(err, abi.NotFound) {
		t.Errorf("%v", err)
	}
	if _, err := k.Apply([]KeySpec{{"a", file(t, "a", block)}, {"h", file(t, "h", "hush\n")}}); err != nil {
		t.Fatal(err)
	}
	if s, err := k.Signer("a"); err != nil || !private.Public().(ed25519.PublicKey).Equal(s.Public()) {
		t.Errorf("%v", err)
	}
	if s, err := k.Secret("h"); err != nil || string(s) != "hush" {
		t.Errorf("%q %v", s, err)
	}
	// One is not the other.
	if _, err := k.Secret("a"); !errors.Is(err, abi.NotFound) {
		t.Errorf("%v", err)
	}
	if _, err := k.Signer("h"); !errors.Is(err, abi.NotFound) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "\n", block[:40], block + block, strings.ReplaceAll(block, "PRIVATE", "PUBLIC"), strings.Replace(block, "M", "!", 3)} {
		if _, err := k.Apply([]KeySpec{{"b", file(t, "b", bad)}}); err == nil || !strings.Contains(err.Error(), `key "b"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSinks(t *testing.T) {
	var mu sync.Mutex
	var said []string
	path := filepath.Join(t.TempDir(), "events")
	s := NewSinks(func(e hostapi.Event, data string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, e.Topic+" "+data)
	}, nil)
	if _, err := s.Apply([]SinkSpec{{Topics: []string{"login"}}, {Topics: []string{"*"}, File: path}}); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	emit := func(topic, data string) {
		t.Helper()
		buf := []byte(data)
		if err := s.Emit(hostapi.Event{Time: at, Plugin: "p", Topic: topic, Session: "S", Data: buf}); err != nil {
			t.Error(err)
		}
		clear(buf) // the guest's memory changes
	}
	emit("login", "bob\nforged line")
	emit("other", `{"a": [1, 2]}`)
	emit("other", "\xff")
	emit("other", "")
	undo, err := s.Apply(nil) // writes what waits
	if err != nil {
		t.Fatal(err)
	}
	emit("login", "nobody hears it")
	undo()
	emit("other", "again")
	s.Close()
	if want := []string{`login bob\nforged line`}; fmt.Sprint(said) != fmt.Sprint(want) {
		t.Errorf("said %q", said)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"time":"2026-01-02T03:04:05.000006Z","plugin":"p","topic":`
	if want := head + `"login","session":"S","text":"bob\nforged line"}` + "\n" + head + `"other","session":"S","json":{"a":[1,2]}}` + "\n" +
		head + `"other","session":"S","base64":"/w=="}` + "\n" + head + `"other","session":"S","text":""}` + "\n" +
		head + `"other","session":"S","text":"again"}` + "\n"; string(b) != want {
		t.Errorf("the file has\n%s\nwant\n%s", b, want)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
	if _, err := s.Apply([]SinkSpec{{File: filepath.Join(path, "x")}}); err == nil {
		t.Error("a file that cannot be made is no error")
	}
}

// A sink that hangs costs events and no time.
func TestASinkThatHangs(t *testing.T) {
	release, reached := make(chan struct{}), make(chan struct{}, 10_000)
	s := NewSinks(func(hostapi.Event, string) { reached <- struct{}{}; <-release }, nil)
	if _, err := s.Apply([]SinkSpec{{Topics: []string{"*"}}}); err != nil {
		t.Fatal(err)
	}
	refused := int64(0)
	for range maxWaiting + 100 {
		if err := s.Emit(hostapi.Event{Topic: "x"}); errors.Is(err, abi.Limit) {
			refused++
		}
	}
	if refused < 99 || refused != s.Dropped() {
		t.Errorf("%d were refused, %d dropped", refused, s.Dropped())
	}
	close(release)
	s.Close()
	if n := int64(len(reached)); n+refused != maxWaiting+100 {
		t.Errorf("%d were written, %d refused", n, refused)
	}

	// Few large ones fill it too.
	release = make(chan struct{})
	if _, err := s.Apply([]SinkSpec{{Topics: []string{"*"}}}); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if err := s.Emit(hostapi.Event{Topic: "x", Data: make([]byte, abi.MaxEvent)}); err != nil {
			if n < 128 || n > 130 {
				t.Errorf("it took %d events of 64 KiB", n)
			}
			break
		}
	}
	close(release)
	s.Close()
}

func FuzzTable(f *testing.F) {
	f.Add(uint8(0), []byte("a b\n# c\n"), "a")
	f.Add(uint8(1), []byte(".example.org x\nexample.org y"), "a.example.org")
	f.Add(uint8(2), []byte("10.0.0.0/8 x\n::/0"), "10.1.1.1")
	f.Fuzz(func(t *testing.T, typ uint8, data []byte, key string) {
		tab, err := parseTable(TableSpec{"t", "f", TableType(typ % 3)}, data)
		if err == nil {
			tab.lookup(key)
		}
	})
}

func FuzzEventLine(f *testing.F) {
	f.Add("topic", []byte(`{"a":1}`))
	f.Add("t", []byte("\xff\n"))
	f.Fuzz(func(t *testing.T, topic string, data []byte) {
		b, err := encodeEvent(hostapi.Event{Topic: topic, Plugin: "p", Data: data})
		if err != nil || strings.Count(string(b), "\n") != 1 || !json.Valid(b) {
			t.Errorf("%q, %v", b, err)
		}
	})
}
