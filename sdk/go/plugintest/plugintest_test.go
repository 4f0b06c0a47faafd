package plugintest_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/config"
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onattempt"
	"github.com/wasmta/wasmta/sdk/go/oncommand"
	"github.com/wasmta/wasmta/sdk/go/onconnect"
	"github.com/wasmta/wasmta/sdk/go/ondsn"
	"github.com/wasmta/wasmta/sdk/go/onheaders"
	"github.com/wasmta/wasmta/sdk/go/onmail"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
	"github.com/wasmta/wasmta/sdk/go/onresult"
	"github.com/wasmta/wasmta/sdk/go/onroute"
	"github.com/wasmta/wasmta/sdk/go/ontick"
	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

type handler = func(*mta.Session) mta.Verdict

// all is a grant of everything.
var all = plugintest.Grant{Envelope: "write", Headers: "write", Body: "write", AttrsRead: []string{"other/*"}}

func open(t *testing.T, o plugintest.Options) *plugintest.Session {
	t.Helper()
	mta.OnInit(func(*mta.Config) error { return nil })
	return plugintest.New(t, o).Session()
}

func TestVerdictsAndReplies(t *testing.T) {
	for _, c := range []struct {
		h    handler
		want string
	}{
		{func(*mta.Session) mta.Verdict { return mta.Continue }, "continue"},
		{func(*mta.Session) mta.Verdict { return mta.Hold }, "hold"},
		{func(s *mta.Session) mta.Verdict { return s.Reject(550, "5.7.1", "no\r\nmore") }, "reject 550 5.7.1 no\nmore"},
		{func(s *mta.Session) mta.Verdict { return s.Reject(554, "", "") }, "reject 554"},
		{func(s *mta.Session) mta.Verdict { return s.Defer(450, "4.7.1", "slow down") }, "defer 450 4.7.1 slow down"},
		{func(s *mta.Session) mta.Verdict { return s.Drop(421, "4.7.0", "bye").NoReply() }, "drop 421 4.7.0 bye"},
		{func(s *mta.Session) mta.Verdict { return s.Accept(250, "2.1.5", "ok") }, "accept 250 2.1.5 ok"},
		{func(s *mta.Session) mta.Verdict { return s.Reject(450, "", "") }, "failed: reject cannot have the code 450"},
		{func(s *mta.Session) mta.Verdict { return s.Reject(550, "4.7.1", "x") }, "reject 550"}, // reply refused
		{func(*mta.Session) mta.Verdict { return mta.Reject.NoReply() }, "failed: only drop"},
		{func(*mta.Session) mta.Verdict { return 77 }, "failed: there is no action 77"},
		{func(*mta.Session) mta.Verdict { panic("at the disco") }, "failed: panic: at the disco"},
	} {
		onrcpt.Handle(c.h)
		onmail.Handle(func(*mta.Session) mta.Verdict { return mta.Continue })
		s := open(t, plugintest.Options{})
		s.Mail("a@example.com").Want("continue")
		s.Rcpt("b@example.org").Want(c.want)
		if refused := strings.Fields(c.want)[0]; (refused == "continue" || refused == "accept") != (len(s.Recipients()) == 1) {
			t.Errorf("after %q the recipients are %v", c.want, s.Recipients())
		}
	}
	onconnect.Handle(func(*mta.Session) mta.Verdict { return mta.Discard })
	open(t, plugintest.Options{}).Connect().Want("failed: discard is not allowed at connect")
}

func TestChangesAreKeptOnlyWithContinueAndAccept(t *testing.T) {
	var verdict mta.Verdict
	onmail.Handle(func(s *mta.Session) mta.Verdict {
		mta.Must(s.SetReversePath("new@example.net"))
		mta.Must(s.SetAttr(mta.SessionScope, "seen", "yes"))
		return verdict
	})
	for v, kept := range map[mta.Verdict]bool{mta.Continue: true, mta.Accept: true, mta.Hold: false, mta.Reject: false, 99: false} {
		verdict = v
		s := open(t, plugintest.Options{Grant: all})
		s.Mail("old@example.net")
		_, seen := s.Attr(mta.SessionScope, "seen")
		if seen != kept || kept && s.ReversePath() != "new@example.net" {
			t.Errorf("verdict %d: attribute kept %v, reverse-path %q", v, seen, s.ReversePath())
		}
	}
}

func TestGrantsAndHooksAreChecked(t *testing.T) {
	var got []error
	onmail.Handle(func(s *mta.Session) mta.Verdict {
		got = []error{s.SetReversePath("x@y.example"), s.Header().Add("X-A", "1"), s.SetNextHop("discard"), s.AddRecipient("a@b.example")}
		return mta.Continue
	})
	for _, c := range []struct {
		grant plugintest.Grant
		want  []error
	}{
		{plugintest.Grant{}, []error{abi.Denied, abi.Denied, abi.Denied, abi.Denied}},
		{all, []error{nil, abi.State, abi.State, abi.State}},
	} {
		open(t, plugintest.Options{Grant: c.grant}).Mail("a@b.example").Want("continue")
		if !slices.Equal(got, c.want) {
			t.Errorf("grant %+v: %v, want %v", c.grant, got, c.want)
		}
	}
}

func TestRecipients(t *testing.T) {
	onmail.Handle(nil)
	onrcpt.Handle(func(s *mta.Session) mta.Verdict {
		r := s.Recipient()
		if r.Local() == "list" {
			mta.Must(s.AddRecipient("member@" + r.Domain()))
			mta.Must(r.SetForwardPath("owner@" + r.Domain()))
		}
		return mta.Continue
	})
	onheaders.Handle(nil)
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		n := 0
		for r := range s.Recipients() {
			if r.Original() != "" {
				n++
			}
		}
		mta.Must(s.RemoveRecipients(func(r mta.Recipient) bool { return strings.HasPrefix(r.ForwardPath(), "drop") }))
		if n != 2 || s.RecipientCount() != 3 {
			return mta.Hold
		}
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all})
	s.Mail("").Want("continue")
	for _, to := range []string{"drop1@example.org", "list@EXAMPLE.org", "keep@example.org", "drop2@example.org"} {
		s.Rcpt(to).Want("continue")
	}
	s.Message("Subject: x\r\n\r\n").Want("continue")
	if got := strings.Join(s.Recipients(), " "); got != "owner@example.org member@example.org keep@example.org" {
		t.Errorf("recipients %s", got)
	}
}

func TestHeaderAndBody(t *testing.T) {
	long := strings.Repeat("x", 10_000) // longer than the scratch buffer
	onheaders.Handle(nil)
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		h := s.Header()
		body, err := io.ReadAll(s.Body())
		mta.Must(err)
		at := make([]byte, 3)
		n, err := s.Body().ReadAt(at, s.Body().Size()-2)
		var values []string
		for v := range h.Values("x-list") {
			values = append(values, v)
		}
		if string(body) != "a body\r\n" || n != 2 || !errors.Is(err, io.EOF) || h.Get("SUBJECT") != "folded subject" ||
			h.Get("X-Long") != long || strings.Join(values, ",") != "1,2" || h.Len() != 4 || h.Has("X-None") {
			return s.Reject(550, "", strings.Join(values, ",")+string(body))
		}
		mta.Must(h.Set("X-List", "3"))
		mta.Must(h.Set("X-New", "n"))
		mta.Must(h.Del("X-Long"))
		mta.Must(h.Prepend("X-Top", "t"))
		if h.Add("Subject", "again") != abi.Conflict || h.Add("X-Bad", "a\r\nb: c") != abi.Invalid {
			return mta.Hold
		}
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all})
	s.Mail("a@b.example")
	s.Message("Subject: folded\r\n subject\r\nX-List: 1\r\nX-Long: " + long + "\r\nX-List: 2\r\n\r\na body\r\n").Want("continue")
	if got, want := s.RawHeader(), "X-Top: t\r\nSubject: folded\r\n subject\r\nX-List: 3\r\nX-New: n\r\n\r\n"; got != want {
		t.Errorf("header section %q, want %q", got, want)
	}
	if v := s.Header("x-new"); v != "n" {
		t.Errorf("X-New: %q", v)
	}
}

func TestDelivery(t *testing.T) {
	onroute.Handle(func(s *mta.Session) mta.Verdict {
		if s.SetEHLOName("early.example") != abi.State || s.SetNextHop("maildir:./a/../../b") != abi.Invalid {
			return mta.Hold
		}
		mta.Must(s.SetNextHop("smtp:mx." + s.Domain() + ":25"))
		mta.Must(s.SetTLSPolicy(mta.TLSVerify))
		return mta.Accept
	})
	onattempt.Handle(func(s *mta.Session) mta.Verdict {
		mta.Must(s.Header().Add("X-Attempt", s.NextHop()))
		return mta.Continue
	})
	onresult.Handle(func(s *mta.Session) mta.Verdict {
		if code, text := s.LastReply(); code == 550 && text == "greylisted" {
			mta.Must(s.SetRetry(mta.Now() + 60_000))
			return mta.Defer
		}
		return mta.Continue
	})
	onmail.Handle(nil)
	s := open(t, plugintest.Options{Grant: all})
	s.Mail("a@b.example")
	d := s.Deliver("Example.org")
	d.Route().Want("accept")
	if d.NextHop() != "smtp:mx.example.org:25" {
		t.Errorf("next hop %q", d.NextHop())
	}
	d.Result(250, "ok").Want("continue")
	d.Result(550, "greylisted").Want("defer")
	if d.Attempt != 3 || d.Retry() != 0 {
		t.Errorf("attempt %d, retry %d; a change with defer is dropped", d.Attempt, d.Retry())
	}
}

func TestDetachingEndsTheAsking(t *testing.T) {
	calls := 0
	onmail.Handle(func(*mta.Session) mta.Verdict { return mta.Continue.DetachTransaction() })
	onrcpt.Handle(func(*mta.Session) mta.Verdict { calls++; return mta.Continue })
	oncommand.Handle(func(s *mta.Session) mta.Verdict {
		if verb, arg := s.Command(); verb != "VRFY" || arg != "x" {
			return mta.Drop
		}
		return s.Accept(252, "", "perhaps").DetachSession()
	})
	s := open(t, plugintest.Options{})
	s.Mail("a@b.example")
	if a := s.Rcpt("c@d.example"); a.Asked || calls != 0 {
		t.Error("asked after DetachTransaction")
	}
	s.Reset("RSET")
	s.Command("vrfy", "x").Want("accept 252 perhaps")
	if s.Mail("a@b.example").Asked {
		t.Error("asked after DetachSession")
	}
}

func TestConfig(t *testing.T) {
	var list []string
	var n int64
	var on bool
	var all struct {
		Domains []string
		Name    string
		Limit   int64
		On      bool
	}
	mta.OnInit(func(c *mta.Config) error {
		list, n, on = c.Strings("domains"), c.Int("limit", 7), c.Bool("on", true)
		if c.String("name") == "decode" {
			return config.Decode(c, &all)
		}
		return nil
	})
	plugintest.New(t, plugintest.Options{Config: `{"domains": ["a.example", "\u00e9\ud83d\ude00\"\\ \ud800x"]}`})
	if len(list) != 2 || list[0] != "a.example" || list[1] != "é😀\"\\ \ufffdx" || n != 7 || !on {
		t.Errorf("%q %d %v", list, n, on)
	}
	plugintest.New(t, plugintest.Options{Config: `{"domains": [], "limit": -3, "on": false, "name": "decode"}`})
	if len(list) != 0 || list == nil || n != -3 || on || all.Limit != -3 || all.Domains == nil {
		t.Errorf("%q %d %v %+v", list, n, on, all)
	}
	for _, bad := range []string{`{"domains": "a"}`, `{"domains": [1]}`, `{"limit": "x"}`, `{"limit": 1.5}`, `{"on": 1}`, `{"name": "decode", "typo": 1}`} {
		p, err := plugintest.Load(t, plugintest.Options{Config: bad})
		if !errors.Is(err, abi.Invalid) || len(p.Log) != 1 {
			t.Errorf("%s: error %v, log %q; want a refusal that says why", bad, err, p.Log)
		}
	}
	mta.OnInit(func(*mta.Config) error { panic("no") })
	if _, err := plugintest.Load(t, plugintest.Options{}); err == nil {
		t.Error("a panic in OnInit is no error")
	}
}

func TestAttributes(t *testing.T) {
	onmail.Handle(func(s *mta.Session) mta.Verdict {
		v, ok := s.Attr(mta.SessionScope, "other/x")
		_, denied := s.Attr(mta.SessionScope, "third/x")
		if v != "1" || !ok || denied || s.SetAttr(mta.RecipientScope, "k", "v") != abi.State ||
			s.SetAttr(mta.SessionScope, "other/x", "2") != abi.Invalid || s.DeleteAttr(mta.SessionScope, "none") != abi.NotFound ||
			s.SetAttr(mta.SessionScope, "k", strings.Repeat("x", abi.MaxAttrValue+1)) != abi.TooLarge || s.SetAttr(9, "k", "v") != abi.Unsupported {
			return mta.Hold
		}
		mta.Must(s.SetAttr(mta.MessageScope, "k", "v"))
		return mta.Continue
	})
	onroute.Handle(func(s *mta.Session) mta.Verdict {
		if v, _ := s.Attr(mta.MessageScope, "k"); v != "v" {
			return mta.Hold
		}
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all})
	s.SetForeignAttr(mta.SessionScope, "other/x", "1")
	s.Mail("a@b.example").Want("continue")
	s.Deliver("c.example").Route().Want("continue")
}

func TestEndlessHostCallsFail(t *testing.T) {
	onmail.Handle(func(s *mta.Session) mta.Verdict {
		for {
			s.ESMTP()
		}
	})
	open(t, plugintest.Options{}).Mail("a@b.example").Want("failed: panic: more than 10000 host calls")
}

// Numbers, flags, changes and verdicts must cost a guest no garbage.
func TestSimplePathsDoNotAllocate(t *testing.T) {
	var allocs float64
	onmail.Handle(func(s *mta.Session) mta.Verdict {
		allocs = testing.AllocsPerRun(20, func() { // each call counts, and so do edits
			if s.TLS() || s.RemotePort() == 0 {
				panic("wrong client")
			}
			mta.Must(s.SetReversePath("x@y.example"))
		})
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all})
	s.Mail("a@b.example").Want("continue")
	if allocs > 2 { // the test's own host makes one map
		t.Errorf("%v allocations", allocs)
	}
}

func TestANewBody(t *testing.T) {
	onmail.Handle(nil)
	onrcpt.Handle(nil)
	onheaders.Handle(func(s *mta.Session) mta.Verdict {
		if err := s.Body().Append("x"); err != abi.State {
			t.Errorf("at headers: %v", err)
		}
		return mta.Continue
	})
	const was = "first\r\nsecond\r\n"
	for name, c := range map[string]struct {
		f    func(b *mta.Body) error
		want string
		err  error
	}{
		"replace": {func(b *mta.Body) error { return b.Replace("new") }, "new\r\n", nil},
		"append":  {func(b *mta.Body) error { return b.Append("-- \r\nfooter\r\n") }, was + "-- \r\nfooter\r\n", nil},
		"prepend": {func(b *mta.Body) error { return b.Prepend("zeroth\r\n") }, "zeroth\r\n" + was, nil},
		"empty":   {func(*mta.Body) error { return new(mta.NewBody).Copy(0, 0) }, "", nil},
		"edits": {func(b *mta.Body) error {
			return b.Edit(mta.Edit{Len: 5, Text: "1st"}, mta.Edit{Off: 5, Text: "!"}, mta.Edit{Off: 7, Len: 8})
		}, "1st!\r\n", nil},
		"overlap": {func(b *mta.Body) error {
			return b.Edit(mta.Edit{Len: 5, Text: "1st"}, mta.Edit{Off: 4, Len: 1, Text: "!"})
		}, was, abi.Invalid},
		"bare LF":  {func(b *mta.Body) error { return b.Replace("a\nb\r\n") }, was, abi.Invalid},
		"cut":      {func(b *mta.Body) error { return b.Edit(mta.Edit{Off: 5, Len: 1}) }, was, abi.Invalid},
		"outside":  {func(b *mta.Body) error { return new(mta.NewBody).Copy(3, 100) }, was, abi.Invalid},
		"too much": {func(b *mta.Body) error { return b.Replace(strings.Repeat("x", 51<<20)) }, was, abi.TooLarge},
	} {
		onmessage.Handle(func(s *mta.Session) mta.Verdict {
			if err := c.f(s.Body()); err != c.err {
				t.Errorf("%s: %v, want %v", name, err, c.err)
			}
			if text, err := io.ReadAll(s.Body()); err != nil || string(text) != was {
				t.Errorf("%s: before the verdict %q, %v", name, text, err)
			}
			return mta.Continue
		})
		s := open(t, plugintest.Options{Grant: all})
		s.Mail("")
		s.Rcpt("a@b.example")
		s.Message("Subject: x\r\n\r\n" + was).Want("continue")
		if s.Body() != c.want {
			t.Errorf("%s: %q, want %q", name, s.Body(), c.want)
		}
	}
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		mta.Must(s.Body().Replace("x\r"))
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all})
	s.Mail("")
	s.Message("Subject: x\r\n\r\n" + was).Want("failed: the body that it wrote")
}

func TestTick(t *testing.T) {
	ontick.Handle(func(s *mta.Session) mta.Verdict {
		if err := s.SetAttr(mta.SessionScope, "k", "v"); err != abi.State {
			t.Errorf("an attribute of no session: %v", err)
		}
		if s.RemoteIP() != "" {
			t.Errorf("client %q", s.RemoteIP())
		}
		if _, err := s.KV().Incr("ticks", 1, 0); err != nil {
			t.Error(err)
		}
		return mta.Continue
	})
	p := plugintest.New(t, plugintest.Options{KV: true})
	p.Tick().Want("continue")
	p.Tick().Want("continue")
	if v, _ := p.Value("ticks"); v != "2" {
		t.Errorf("%q ticks", v)
	}
}

func TestNotification(t *testing.T) {
	onmail.Handle(nil)
	onresult.Handle(func(s *mta.Session) mta.Verdict {
		if code, _ := s.LastReply(); code == 421 {
			mta.Must(s.SuspendNextHop(mta.Now() + 60_000))
			mta.Must(s.SetNextHop("smtp:backup.example:25"))
		}
		return mta.Continue
	})
	ondsn.Handle(func(s *mta.Session) mta.Verdict {
		if s.NotificationAction() == "delayed" {
			return mta.Discard
		}
		mta.Must(s.SetNotificationText("Sorry, " + s.NotificationTo()))
		mta.Must(s.SetNotificationTo("bounces@example.net"))
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all})
	s.Mail("a@b.example")
	d := s.Deliver("c.example")
	d.SetNextHop("mx")
	d.Result(421, "too many connections").Want("continue")
	if d.NextHop() != "smtp:backup.example:25" || d.Suspended() == 0 {
		t.Errorf("next hop %q, suspended until %d", d.NextHop(), d.Suspended())
	}
	d.Notify("delayed").Want("discard")
	d.Notify("failed").Want("continue")
	if to, text := d.Notification(); to != "bounces@example.net" || text != "Sorry, a@b.example" {
		t.Errorf("to %q: %q", to, text)
	}
}
