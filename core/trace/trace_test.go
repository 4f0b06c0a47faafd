package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

func path(s string) mail.Path {
	p, err := mail.ParseMailbox(s)
	if err != nil {
		panic(err)
	}
	return p
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var client = mail.Client{Session: "00112233445566ff", Listener: "mx", Remote: netip.MustParseAddrPort("192.0.2.7:41234"), PTR: "client.test"}

// chain has two plugins that go on and one that rewrites.
func chain() hook.Chain {
	on := func(context.Context, *hook.Event) (hook.Verdict, error) { return hook.Verdict{}, nil }
	list := hook.Chain{{Name: "spf", Generation: "0123456789ab", Handler: hook.HandlerFunc(on)}, {Name: "quarantine", Generation: "ba9876543210", Handler: hook.HandlerFunc(on)}}
	for i := range list {
		list[i].Module = strings.Repeat("5a", 32)
		list[i].Stages = hook.Stages(hook.Connect, hook.Ehlo, hook.Mail, hook.Rcpt, hook.Data, hook.Message)
	}
	return list
}

// receive records a session that brings a message, as smtpd does.
func receive(s *Store, list hook.Chain, id mail.ID) {
	r := s.Session(sessionID(uint64(id)))
	k := list.Open("mx", nil)
	if r != nil {
		k.Observe(r)
	}
	e := hook.Event{Tx: &hook.Transaction{}, Recipient: -1}
	ask := func(s hook.Stage) {
		e.Stage = s
		k.Ask(context.Background(), &e)
	}
	r.Connect(&client, "")
	ask(hook.Connect)
	r.Helo("EHLO", "client.test")
	r.Begin()
	ask(hook.Mail)
	r.Mail(mail.Path{Local: "a", Domain: "from.test"}, &mail.MailParams{Size: 1234})
	ask(hook.Rcpt)
	r.Rcpt(mail.Path{Local: "b", Domain: "to.test"}, new(mail.RcptParams))
	ask(hook.Message)
	r.Accepted(id, 1300, 1, 2*time.Millisecond, "")
	r.End("")
	r.Close("QUIT")
}

func explainOf(t *testing.T, s *Store, id string) Report {
	t.Helper()
	r, err := s.Explain(id)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return r
}

// names are the events in short.
func names(r Report) string {
	var list []string
	for _, e := range r.Events {
		name := e.Event
		if e.Stage != "" {
			name += "/" + e.Stage
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

func TestAMessageIsExplainedFromConnectToItsEnd(t *testing.T) {
	s := open(t, t.TempDir())
	id := mail.FirstID(time.Now()) + 7
	receive(s, chain(), id)
	other := s.Session("ffeeddccbbaa0099") // which is not shown
	other.Connect(&client, "")
	other.Close("QUIT")

	r := s.Item(id, 1)
	to := []mail.Recipient{{ForwardPath: path("b@to.test")}, {ForwardPath: path("c@to.test")}}
	hops := []mail.NextHop{{Transport: mail.TransportMX, Host: "to.test"}}
	r.Routed(hops, to, false, "")
	later := mail.Result{Reply: *mail.NewReply(451, "4.7.1", "Greylisted\x1b[31m"), RemoteMTA: "mx.to.test", Relay: "mx.to.test[192.0.2.9]:25", TLS: "TLS 1.3, DANE", Reached: true,
		Earlier: "mx1.to.test[192.0.2.8]:25: 451 4.4.1 down\nmx0.to.test: passed over"}
	r.Attempted(1, hops, time.Now(), to, []mail.Result{later, later})
	due := time.Now().Add(5 * time.Minute).Truncate(time.Millisecond)
	r.Retry(1, due)
	r.Notified(id+2, "delayed", path("a@from.test"))
	r.Flush()
	s.Operator(id, 1, "bounce", "no such user")
	r = s.Item(id, 1)
	r.Gone()
	r.Flush()

	got := explainOf(t, s, id.String())
	want := "connect hook/connect hook/connect helo hook/mail hook/mail mail hook/rcpt hook/rcpt rcpt hook/message hook/message accept " +
		"route attempt retry notify operator gone"
	if names(got) != want {
		t.Errorf("%s\nwant %s", names(got), want)
	}
	find := func(name string) Event {
		i := slices.IndexFunc(got.Events, func(e Event) bool { return e.Event == name })
		if i < 0 {
			t.Fatalf("no event %s", name)
		}
		return got.Events[i]
	}
	if e := find("connect"); e.Client != "client.test[192.0.2.7]:41234" || e.Listener != "mx" || e.Session != sessionID(uint64(id)) {
		t.Errorf("%+v", e)
	}
	if e := find("hook"); e.Plugin != "spf" || e.Generation != "0123456789ab" || e.Module != "5a5a5a5a5a5a5a5a" || e.Verdict != "continue" {
		t.Errorf("%+v", e)
	}
	if e := find("accept"); e.Size != 1300 || e.Took != 2*time.Millisecond || e.Message != id.String() {
		t.Errorf("%+v", e)
	}
	if e := find("attempt"); len(e.To) != 2 || e.To[1] != "<c@to.test>" || e.Reply != "451 4.7.1 Greylisted\x1b[31m" || e.RemoteMTA != "mx.to.test" ||
		e.TLS != "TLS 1.3, DANE" || len(e.Earlier) != 2 || e.Earlier[1] != "mx0.to.test: passed over" || e.NextHops[0] != "mx:to.test" || e.Status != "deferred" {
		t.Errorf("%+v", e)
	}
	if e := find("retry"); !e.Due.Equal(due) || e.Attempt != 1 {
		t.Errorf("%+v", e)
	}
	if e := find("notify"); e.Notice != (id + 2).String() {
		t.Errorf("%+v", e)
	}
	if e := explainOf(t, s, (id + 2).String()).Events[0]; e.Event != "notice" || e.Notice != id.String() {
		t.Errorf("the notification does not know what it is about: %+v", e)
	}
	if _, err := s.Explain((id + 9).String()); !errors.Is(err, ErrUnknown) {
		t.Errorf("an id that never was: %v", err)
	}
	if _, err := s.Explain("hello"); !errors.Is(err, ErrID) {
		t.Errorf("what is no id: %v", err)
	}
}

func TestWhatPluginsChangeIsTold(t *testing.T) {
	s := open(t, t.TempDir())
	header := func(text string) mail.Header {
		h, err := mail.ParseHeader([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	list := hook.Chain{{Name: "list", Generation: "g", Stages: hook.Stages(hook.Message, hook.Route), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		e.Say(2, "my word")
		if e.Stage == hook.Route {
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				d.NextHops, d.Priority = []mail.NextHop{{Transport: mail.TransportSMTP, Host: "relay.test"}}, 3
				return nil
			})
		}
		return hook.Verdict{Reply: mail.NewReply(250, "2.0.0", "fine")}, errors.Join(
			e.SetReversePath(path("bounces@list.test")), e.RemoveRecipient(1), e.SetForwardPath(0, path("new@to.test")), e.AddRecipient(path("more@to.test")),
			e.EditHeader(func(h *mail.Header) error {
				return errors.Join(h.Set(h.Find(0, "Subject"), "a secret subject", false), h.Remove(h.Find(0, "X-Old")), h.Insert(0, "List-Id", "<list.test>", false))
			}))
	})}}
	id := mail.FirstID(time.Now())
	r := s.Session(client.Session)
	k := list.Open("mx", nil)
	k.Observe(r)
	r.Begin()
	k.Ask(t.Context(), &hook.Event{Stage: hook.Message, Recipient: -1, Content: &hook.Content{Header: header("From: a\r\nSubject: x\r\nX-Old: y\r\nTo: z\r\n\r\n")},
		Tx: &hook.Transaction{Envelope: mail.Envelope{ReversePath: path("a@from.test"), Recipients: []mail.Recipient{{ForwardPath: path("old@to.test")}, {ForwardPath: path("gone@to.test")}}}}})
	r.Accepted(id, 1, 1, 0, "")
	r.End("")
	r = s.Item(id, 1)
	k.Observe(r)
	k.Ask(t.Context(), &hook.Event{Stage: hook.Route, Recipient: -1, Tx: new(hook.Transaction), Delivery: new(hook.Delivery)})
	r.Routed([]mail.NextHop{{Transport: mail.TransportSMTP, Host: "relay.test"}}, nil, false, "")
	r.Flush()

	got := explainOf(t, s, id.String())
	var all []string
	for _, e := range got.Events {
		all = append(all, e.Changes...)
		if e.Event == "log" && (e.Plugin != "list" || e.Detail != "my word" || e.Level != "warning") || e.Event == "route" && e.By != "plugin list" ||
			e.Event == "hook" && e.Stage == "message" && e.Reply != "250 2.0.0 fine" {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"reverse-path <a@from.test> -> <bounces@list.test>",
		"recipient <old@to.test> -> <new@to.test>", "recipient added: <more@to.test>", "recipient removed: <gone@to.test>",
		"header field List-Id added: 22 octets", "header field Subject changed: 12 -> 27 octets", "header field X-Old removed: 10 octets",
		"next hops (none) -> smtp:relay.test:25", "priority 0 -> 3",
	}
	if !slices.Equal(all, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
	if b, _ := os.ReadFile(s.active.path()); bytes.Contains(b, []byte("secret")) {
		t.Error("the value of a header field is in the trace")
	}
}

func TestWhatIsNeverAMessageIsExplainedBySession(t *testing.T) {
	s := open(t, t.TempDir())
	r := s.Session(client.Session)
	r.Connect(&client, "")
	r.Begin()
	from, to := path("a@from.test"), path("x@to.test")
	no := mail.ReplyRelayDenied()
	r.Reply("RCPT", no, &from, &to, "")
	r.Reply("COMMAND", no, nil, nil, "") // told twice, recorded once
	r.End("RSET")
	r.Close("QUIT")
	got := explainOf(t, s, client.Session)
	if names(got) != "connect reply/RCPT abort close" || got.Events[1].Reply != no.String() || got.Events[1].To[0] != "<x@to.test>" {
		t.Errorf("%s: %+v", names(got), got.Events)
	}
	if _, err := s.Explain(client.Session + ".1"); err != nil {
		t.Errorf("by a transaction's id: %v", err)
	}
}

func TestARecordIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	r := s.Session(client.Session)
	r.Begin()
	for i := range 20_000 {
		r.Reply("RCPT", mail.NewReply(550, "5.1.1", strings.Repeat("x", i)), nil, nil, "")
	}
	r.Discarded(nil, "late") // what says how it ended is kept
	if len(r.b) > MaxBytes+reserve+4*MaxText {
		t.Errorf("%d octets", len(r.b))
	}
	r.End("")
	got := explainOf(t, s, client.Session)
	last := got.Events[len(got.Events)-1]
	if n := len(got.Events); n > MaxEvents+10 || last.Event != "more" || last.Count+int64(n) != 20_000+2 || got.Events[n-2].By != "late" {
		t.Errorf("%d events, the last %+v", n, last)
	}
	for _, e := range got.Events {
		if len(e.Reply) > MaxText {
			t.Errorf("a text of %d octets", len(e.Reply))
		}
	}
}

func TestNothingHappensWithoutAStore(t *testing.T) {
	var s *Store
	id := mail.FirstID(time.Now())
	if n := testing.AllocsPerRun(10, func() {
		r := s.Session(client.Session)
		r.Connect(&client, "")
		r.Begin()
		r.Reply("MAIL", mail.ReplyStorage(), nil, nil, "")
		r.Accepted(id, 1, 1, 0, "")
		r.End("x")
		r.Close("y")
		i := s.Item(id, 1)
		i.Attempted(1, nil, time.Time{}, nil, nil)
		i.Notified(id, "failed", mail.Path{})
		i.Flush()
		s.Operator(id, 1, "hold", "")
		s.Held(id, 1, "")
		s.Notified(id, id+1, "failed", mail.Path{})
	}); n > 1 { // the reply
		t.Errorf("%v allocations", n)
	}
	if _, err := s.Explain(id.String()); !errors.Is(err, ErrOff) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestRecordsAreOnTheDiskWithinASecondAndAreTheServersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trace")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // from 2000: ids begin in 2020
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		id := mail.FirstID(time.Now())
		receive(s, nil, id)
		time.Sleep(writeDelay + time.Millisecond)
		synctest.Wait()
		if r, err := ReadDir(dir, id.String()); err != nil || len(r.Events) == 0 {
			t.Errorf("after a second: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		receive(s, nil, id+1) // too late, and no harm
		if s.Stats().Dropped == 0 {
			t.Error("what came after the end is not counted")
		}
	})
	fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, _ error) error {
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		return nil
	})
}

func TestOldAndTooMuchIsRemoved(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // from 2000: ids begin in 2020
		s, err := Open(Options{Dir: dir, MaxSize: MinSize, Keep: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		text := strings.Repeat("x", 1000)
		first := mail.FirstID(time.Now())
		for i := range 20_000 { // 20 MB in all
			s.Held(first+mail.ID(i), 1, text)
			if i%200 == 0 {
				time.Sleep(2 * time.Second)
				synctest.Wait()
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		size := int64(0)
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			info, err := f.Info()
			if err == nil {
				size += info.Size()
			}
		}
		if size > MinSize || size < MinSize/2 || size > s.Stats().Size+MinSize/segments {
			t.Errorf("%d octets in %d files; the store believes in %d", size, len(files), s.Stats().Size)
		}
		if n := s.Stats().Dropped; n > 0 {
			t.Errorf("%d dropped", n)
		}
		if _, err := s.Explain(first.String()); !errors.Is(err, ErrUnknown) {
			t.Errorf("the oldest: %v", err)
		}
		for _, i := range []mail.ID{19_999, 15_000} { // the one in use, and a sealed one
			if _, err := s.Explain((first + i).String()); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%d files are left of what is too old", len(files))
		}
	})
}

func TestManyAtATime(t *testing.T) {
	s := open(t, t.TempDir())
	first := mail.FirstID(time.Now())
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 100 {
				id := first + mail.ID(1000*n+i)
				receive(s, chain(), id)
				if i%25 == 0 {
					if _, err := s.Explain(id.String()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for n := range 8 {
		for i := range 100 {
			if _, err := s.Explain((first + mail.ID(1000*n+i)).String()); err != nil {
				t.Fatalf("message %d of writer %d: %v", i, n, err)
			}
		}
	}
	if n := s.Stats().Dropped; n > 0 {
		t.Errorf("%d dropped", n)
	}
}

func TestADiskThatFailsCostsTheTraceOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.files.Lock()
	f, err := os.Open(filepath.Join(dir)) // cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	s.active, s.file = &segment{dir: dir, number: 1, first: time.Now()}, f
	s.files.Unlock()
	id := mail.FirstID(time.Now())
	receive(s, nil, id)
	r, err := s.Explain(id.String())
	if !errors.Is(err, ErrUnknown) || s.Stats().Dropped == 0 || len(r.Notices) == 0 {
		t.Errorf("%v, %d dropped, %q", err, s.Stats().Dropped, r.Notices)
	}
}

func TestAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	first := mail.FirstID(time.Now())
	for i := range 20 {
		s.Held(first+mail.ID(i), 1, fmt.Sprintf("reason %d", i))
	}
	s.Close()
	file := filepath.Join(dir, "0000000000000000.trace")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := readFrame(whole)
	if err != nil {
		t.Fatal(err)
	}
	known := func(s *Store) (n int) {
		for i := range 20 {
			r, err := s.Explain((first + mail.ID(i)).String())
			switch {
			case err == nil && r.Events[0].Detail == fmt.Sprintf("reason %d", i):
				n++
			case !errors.Is(err, ErrUnknown):
				t.Errorf("message %d: %v %+v", i, err, r)
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		bytes []byte
		known int
	}{
		"whole":            {whole, 20},
		"torn":             {whole[:len(whole)-5], 19},
		"torn in its head": {whole[:len(whole)-f.complete+3], 19},
		"garbage behind":   {append(slices.Clone(whole), "wtr1\xff\xff\xff\x7fnoise"...), 20},
		"flipped":          {flip(whole, f.complete*3+f.complete/2), 19},
		"a length flipped": {flip(whole, f.complete*5+6), 19},
		"empty":            {nil, 0},
		"all zeros":        {make([]byte, 1000), 0},
	} {
		for _, sealed := range []bool{false, true} { // the segment is the last one, or has others behind it and no index
			dir := t.TempDir()
			name := fmt.Sprintf("%s, sealed %v", name, sealed)
			if err := os.WriteFile(filepath.Join(dir, "0000000000000005.trace"), c.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			if sealed {
				if err := os.WriteFile(filepath.Join(dir, "0000000000000009.trace"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, dir)
			if n := known(s); n != c.known {
				t.Errorf("%s: %d messages are known, want %d", name, n, c.known)
			}
			id := first + 100
			s.Held(id, 1, "new")
			s.Close()
			s = open(t, dir)
			if _, err := s.Explain(id.String()); err != nil {
				t.Errorf("%s: what came after it: %v", name, err)
			}
			if n := known(s); n != c.known {
				t.Errorf("%s: after another start %d messages are known, want %d", name, n, c.known)
			}
			s.Close()
		}
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 0x40
	return b
}

func TestDamageIsToldAndAnIndexIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id := mail.FirstID(time.Now())
	s.Held(id, 1, "one")
	s.Held(id, 1, "two")
	explainOf(t, s, id.String())
	s.files.Lock()
	g := s.active
	if err := s.seal(); err != nil {
		t.Fatal(err)
	}
	s.files.Unlock()
	b, _ := os.ReadFile(g.path())
	if err := os.WriteFile(g.path(), flip(b, len(b)-1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := explainOf(t, s, id.String()); len(r.Events) != 1 || len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "damaged") {
		t.Errorf("%+v", r)
	}
	s.Close()
	index, _ := os.ReadFile(g.indexPath())
	if err := os.WriteFile(g.indexPath(), flip(index, len(index)/2), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if r := explainOf(t, s, id.String()); len(r.Events) != 1 {
		t.Errorf("with a new index: %+v", r)
	}
}

func FuzzFrame(f *testing.F) {
	s, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	r := s.Session(client.Session)
	r.Connect(&client, "")
	r.Reply("RCPT", mail.ReplyRelayDenied(), nil, nil, "x")
	r.shut()
	f.Add(r.b)
	f.Add(r.b[frameHead+payloadHead:])
	s.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		if f, err := readFrame(b); err == nil {
			f.decode()
		}
		// The checksum keeps most of it away from what is behind it.
		g := frame{session: 1, message: 2, start: time.Unix(0, 0), events: b}
		list, _ := g.decode()
		for _, e := range list {
			if e.Event == "" {
				t.Errorf("%+v", e)
			}
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte("wtr1"), []byte("wti1"))
	f.Fuzz(func(t *testing.T, b, index []byte) {
		dir := t.TempDir()
		id := mail.FirstID(time.Now())
		os.WriteFile(filepath.Join(dir, "0000000000000001.trace"), b, 0o600)
		os.WriteFile(filepath.Join(dir, "0000000000000001.index"), index, 0o600)
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Held(id, 1, "x")
		if _, err := s.Explain(id.String()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

// A whole message: a session with two plugins at five stages, one attempt.
func BenchmarkMessage(b *testing.B) {
	s := open(b, b.TempDir())
	list := chain()
	to := []mail.Recipient{{ForwardPath: mail.Path{Local: "b", Domain: "to.test"}}}
	results := []mail.Result{{Outcome: mail.Delivered, Reply: *mail.NewReply(250, "2.0.0", "Ok: queued as 4ZKxXy1sQPz8"), RemoteMTA: "mx.to.test", Relay: "mx.to.test[192.0.2.9]:25"}}
	hops := []mail.NextHop{{Transport: mail.TransportMX, Host: "to.test"}}
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("trace=%v", on), func(b *testing.B) {
			use := s
			if !on {
				use = nil
			}
			size := s.Stats().Size
			id := mail.FirstID(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				id++
				receive(use, list, id)
				r := use.Item(id, 1)
				r.Routed(hops, to, false, "")
				r.Attempted(1, hops, time.Now(), to, results)
				r.Gone()
				r.Flush()
			}
			if on {
				_, _ = s.Explain(id.String())
				b.ReportMetric(float64(s.Stats().Size-size)/float64(b.N), "disk-B/op")
				b.ReportMetric(float64(s.Stats().Dropped)/float64(3*b.N), "dropped/op")
			}
		})
	}
}
