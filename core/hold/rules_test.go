package hold

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, path string) *Rules {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func add(t *testing.T, r *Rules, f queue.Filter, reason string) Rule {
	t.Helper()
	rule, err := r.Add(Rule{Filter: f, Reason: reason, Created: now})
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

func envelope(from string, to ...string) *mail.Envelope {
	env := &mail.Envelope{Client: mail.Client{Listener: "mx", Remote: netip.MustParseAddrPort("192.0.2.7:1")}}
	if from != "" {
		env.ReversePath, _ = mail.ParseMailbox(from)
	}
	for _, s := range to {
		p, _ := mail.ParseMailbox(s)
		env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: p})
	}
	return env
}

func TestWhatIsHeld(t *testing.T) {
	for _, x := range []struct {
		name   string
		filter queue.Filter
		env    *mail.Envelope
		want   string
	}{
		{"sender", queue.Filter{Sender: "a@x.example"}, envelope("a@X.example", "b@y.example"), "{hold rule 1: why map[]}"},
		{"another sender", queue.Filter{Sender: "a@x.example"}, envelope("A@x.example", "b@y.example"), "{ map[]}"},
		{"sender's domain", queue.Filter{SenderDomain: "x.example"}, envelope("a@X.example", "b@y.example"), "{hold rule 1: why map[]}"},
		{"null sender", queue.Filter{Sender: "<>"}, envelope("", "b@y.example"), "{hold rule 1: why map[]}"},
		{"domain: only its recipients", queue.Filter{Domain: "y.example"}, envelope("a@x.example", "b@y.example", "b@z.example"), "{ map[y.example:hold rule 1: why]}"},
		{"recipient: only its domain", queue.Filter{Domain: "y.example", Recipient: "b@y.example"}, envelope("a@x.example", "b@Y.example", "b@z.example"), "{ map[y.example:hold rule 1: why]}"},
		{"another recipient", queue.Filter{Domain: "y.example", Recipient: "b@y.example"}, envelope("a@x.example", "c@y.example"), "{ map[]}"},
		{"listener", queue.Filter{Listener: "mx"}, envelope("", "b@y.example"), "{hold rule 1: why map[]}"},
		{"client", queue.Filter{Client: netip.MustParsePrefix("192.0.2.0/24")}, envelope("", "b@y.example"), "{hold rule 1: why map[]}"},
		{"another client", queue.Filter{Client: netip.MustParsePrefix("192.0.3.0/24")}, envelope("", "b@y.example"), "{ map[]}"},
		{"all must match", queue.Filter{Sender: "a@x.example", Domain: "y.example"}, envelope("c@x.example", "b@y.example"), "{ map[]}"},
	} {
		r := open(t, filepath.Join(t.TempDir(), "rules"))
		add(t, r, x.filter, "why")
		if got := fmt.Sprint(r.Match(x.env, now)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}

func TestMarkOfARecipientHoldsTheMessage(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "rules"))
	add(t, r, queue.Filter{Mark: "spam/score"}, "")
	env := envelope("a@x.example", "b@y.example", "c@z.example")
	if v := r.Match(env, now); v.Whole != "" {
		t.Errorf("held without the mark: %+v", v)
	}
	env.Recipients[1].Attrs = mail.Attrs{"spam/score": nil}
	if v := r.Match(env, now); v.Whole != "hold rule 1" {
		t.Errorf("not held: %+v", v)
	}
}

func TestRulesOutliveTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	r := open(t, path)
	first := add(t, r, queue.Filter{Domain: "a.example"}, "first")
	second, err := r.Add(Rule{Filter: queue.Filter{Client: netip.MustParsePrefix("2001:db8::/32")}, Created: now, Until: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	r = open(t, path)
	if got := r.List(now); len(got) != 2 || got[0] != first || got[1] != second {
		t.Errorf("after a restart: %+v", got)
	}
	if got := r.List(now.Add(time.Hour)); len(got) != 1 {
		t.Errorf("an hour later: %+v", got)
	}
	env := envelope("", "x@b.example")
	env.Client.Remote = netip.MustParseAddrPort("[2001:db8::1]:1")
	if r.Match(env, now).Whole == "" || r.Match(env, now.Add(time.Hour)).Whole != "" {
		t.Error("a rule with an end must hold until then and no longer")
	}
	if err := r.Remove(first.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(first.ID); !errors.Is(err, ErrNoRule) {
		t.Errorf("removed twice: %v", err)
	}
	r = open(t, path)
	if third := add(t, r, queue.Filter{Domain: "c.example"}, ""); third.ID != 3 {
		t.Errorf("number %d was used before", third.ID)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
}

func TestWhatCannotBeARule(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "rules"))
	for _, rule := range []Rule{
		{},
		{Filter: queue.Filter{ID: 1}},
		{Filter: queue.Filter{Domain: "a.example", MinAttempts: 1}},
		{Filter: queue.Filter{Domain: "a.example"}, Reason: "two\r\nlines"},
		{Filter: queue.Filter{Domain: "a.example"}, Reason: strings.Repeat("x", maxText+1)},
	} {
		if _, err := r.Add(rule); err == nil {
			t.Errorf("%+v was taken", rule)
		}
	}
	list := make([]Rule, MaxRules)
	for i := range list {
		list[i] = Rule{ID: int64(i + 1), Filter: queue.Filter{Domain: "a.example"}}
	}
	if err := r.save(MaxRules+1, list); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(Rule{Filter: queue.Filter{Domain: "a.example"}}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than the limit: %v", err)
	}
}

// TestDamagedFile: no octet of it can change without Open saying so.
func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	add(t, open(t, path), queue.Filter{Domain: "a.example"}, "why")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 4
		if _, _, err := decode(bad); err == nil {
			t.Errorf("octet %d: not noticed", i)
		}
	}
	if err := os.WriteFile(path, data[:len(data)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
		t.Errorf("a file that is cut off: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	data, _ := encode(3, []Rule{{ID: 1, Filter: queue.Filter{Domain: "a.example"}, Reason: "r"}})
	f.Add(data[bytes.IndexByte(data, '\n')+1:])
	f.Fuzz(func(t *testing.T, text []byte) {
		var all []byte
		all = fmt.Appendf(all, "%s%08x\n%s", magic, checksum(text), text)
		next, list, err := decode(all)
		if err != nil {
			return
		}
		again, err := encode(next, list)
		if err != nil {
			t.Fatal(err)
		}
		if n, l, err := decode(again); err != nil || n != next || len(l) != len(list) {
			t.Fatalf("%d rules became %d: %v", len(list), len(l), err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	list := make([]Rule, MaxRules)
	for i := range list {
		list[i] = Rule{ID: int64(i + 1), Filter: queue.Filter{Sender: "x@a.example", Domain: fmt.Sprintf("d%d.example", i)}}
	}
	r := new(Rules)
	r.list.Store(&list)
	env := envelope("a@x.example", "b@y.example")
	b.ReportAllocs()
	for b.Loop() {
		r.Match(env, now)
	}
}
