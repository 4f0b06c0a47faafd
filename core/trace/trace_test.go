package trace

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
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

// Next hops that say much do not push out how it ended, nor how much is missing.
func TestManyLongRepliesLeaveRoomForTheEnd(t *testing.T) {
	s := open(t, t.TempDir())
	id := mail.FirstID(time.Now())
	r := s.Item(id, 0)
	var to []mail.Recipient
	var results []mail.Result
	for i := range 40 {
		to = append(to, mail.Recipient{ForwardPath: path(strings.Repeat("u", i+1) + "@to.test")})
		results = append(results, mail.Result{Reply: *mail.NewReply(450, "4.2.0", strings.Repeat("x", 100+i)), Earlier: strings.Repeat(strings.Repeat("y", 900)+"\n", 19)})
	}
	r.Attempted(1, []mail.NextHop{{}}, time.Now(), to, results)
	r.Retry(1, time.Now().Add(time.Hour))
	r.Flush()
	report := explainOf(t, s, id.String())
	attempts, list := 0, report.Events
	for _, e := range list {
		if e.Event == "attempt" {
			attempts++
		}
		if (e.Count != 0) != (e.Event == "more") {
			t.Errorf("%s says that %d are missing", e.Event, e.Count)
		}
	}
	n := len(list)
	if attempts == 0 || n < 3 || list[n-2].Event != "retry" || list[n-1].Event != "more" || list[n-1].Count != int64(len(to)-attempts) {
		t.Errorf("%s of %d attempts", names(report), len(to))
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
