package route_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/route"
)

func hop(t testing.TB, s string) mail.NextHop {
	t.Helper()
	h, err := mail.ParseNextHop(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func path(t testing.TB, s string) mail.Path {
	t.Helper()
	p, _, err := mail.ParsePath("<" + s + ">")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func table(t testing.TB, rules ...route.Rule) route.Table {
	t.Helper()
	tab, err := route.NewTable(rules)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestFirstMatchWins(t *testing.T) {
	tab := table(t,
		route.Rule{Domains: []string{"example.org"}, Listeners: []string{"submission"}, To: hop(t, "smtp:sub.example:26")},
		route.Rule{Domains: []string{".example.org"}, To: hop(t, "lmtp:lmtp.example:24")},
		route.Rule{Senders: []string{"boss@Example.NET"}, To: hop(t, "smtp:boss.example:25")},
		route.Rule{Senders: []string{"<>"}, To: hop(t, "smtp:null.example:25")},
		route.Rule{Senders: []string{".corp.example"}, To: hop(t, "smtp:corp.example:25")},
		route.Rule{Domains: []string{"example.org", "bücher.example"}, To: hop(t, "discard")},
		route.Rule{Domains: []string{"direct.example"}, To: hop(t, "mx")},
		route.Rule{Domains: []string{"via.example"}, To: hop(t, "mx:backup.example")},
		route.Rule{Domains: []string{"*"}, To: hop(t, "smtp:smarthost.example:587")},
	)
	r := route.Router{Table: tab}
	for _, c := range []struct{ from, listener, to, want string }{
		{"a@x.example", "mx", "u@example.org", "discard"},
		{"a@x.example", "submission", "u@Example.ORG", "smtp:sub.example:26"},
		{"a@x.example", "mx", "u@deep.sub.example.org", "lmtp:lmtp.example:24"},
		{"a@x.example", "mx", "u@notexample.org", "smtp:smarthost.example:587"},
		{"boss@example.net", "mx", "u@example.org", "smtp:boss.example:25"},
		{"Boss@example.net", "mx", "u@other.example", "smtp:smarthost.example:587"},
		{"", "mx", "u@other.example", "smtp:null.example:25"},
		{"x@a.corp.example", "mx", "u@other.example", "smtp:corp.example:25"},
		{"a@x.example", "mx", "u@xn--bcher-kva.example", "discard"},
		{"a@x.example", "mx", "u@direct.example", "mx:direct.example"},
		{"a@x.example", "mx", "u@via.example", "mx:backup.example"},
	} {
		to := path(t, c.to)
		d := r.Route(context.Background(), hook.Chain{}.Open(c.listener, nil), route.Query{
			ReversePath: path(t, c.from), Listener: c.listener, Domain: to.DomainKey(), Recipients: []mail.Recipient{{ForwardPath: to}},
		})
		if got := d.Groups[0].Hops[0].String(); got != c.want || d.Action != hook.Continue {
			t.Errorf("%s -> %s on %s: %s, want %s", c.from, c.to, c.listener, got, c.want)
		}
	}
}

// Recipients of one domain go where the first rule says that each of them matches.
func TestRecipientsSplitByRegularExpression(t *testing.T) {
	r := route.Router{Table: table(t,
		route.Rule{Recipients: []string{`^(sales|shop)\+[a-z]+@`, `^"`}, To: hop(t, "smtp:sales.example:25")},
		route.Rule{Domains: []string{"example.org"}, Senders: []string{"news.example", "<>"}, To: hop(t, "discard")},
		route.Rule{Domains: []string{"example.org"}, Recipients: []string{`@example\.org$`}, To: hop(t, "maildir:/m/{user}")},
	)}
	q := route.Query{Domain: "example.org", ReversePath: path(t, "a@x.example")}
	for _, s := range []string{"bob@Example.org", "shop+a@example.org", "sales+b@example.org", "Sales+b@example.org", `"sales+b"@example.org`} {
		q.Recipients = append(q.Recipients, mail.Recipient{ForwardPath: path(t, s)})
	}
	where := func() map[string][]int {
		got := make(map[string][]int)
		for _, g := range r.Route(context.Background(), hook.Chain{}.Open("", nil), q).Groups {
			got[g.Hops[0].String()] = append(got[g.Hops[0].String()], g.Recipients...)
		}
		return got
	}
	if diff := cmp.Diff(map[string][]int{"smtp:sales.example:25": {1, 2, 4}, "maildir:/m/bob": {0}, "maildir:/m/Sales+b": {3}}, where()); diff != "" {
		t.Error(diff)
	}
	q.ReversePath = path(t, "x@news.example")
	if diff := cmp.Diff(map[string][]int{"smtp:sales.example:25": {1, 2, 4}, "discard": {0, 3}}, where()); diff != "" {
		t.Error(diff)
	}
	if h, ok := r.Table.ByDomain("example.org"); ok {
		t.Errorf("%v is not known by the domain alone", h)
	}
}

func TestDefaultIsMX(t *testing.T) {
	var r route.Router
	for to, want := range map[string]string{
		"u@Example.org":         "mx:example.org",
		"u@[192.0.2.1]":         "mx:[192.0.2.1]", // not smtp: who chose the address is the sender
		"u@[IPv6:2001:db8::1]":  "mx:[ipv6:2001:db8::1]",
		"u@b\u00fccher.example": "mx:xn--bcher-kva.example",
	} {
		p := path(t, to)
		d := r.Route(context.Background(), hook.Chain{}.Open("", nil), route.Query{Domain: p.DomainKey(), Recipients: []mail.Recipient{{ForwardPath: p}}})
		if got := d.Groups[0].Hops[0].String(); got != want {
			t.Errorf("%s: %s, want %s", to, got, want)
		}
	}
	d := r.Route(context.Background(), hook.Chain{}.Open("", nil), route.Query{Recipients: []mail.Recipient{{ForwardPath: path(t, "postmaster")}}})
	if g := d.Groups[0]; len(g.Hops) != 0 || g.Reply == nil || !g.Reply.Permanent() {
		t.Errorf("postmaster without a domain: %+v", g)
	}
}

func TestByDomainKnowsOnlyWhatItCan(t *testing.T) {
	tab := table(t,
		route.Rule{Domains: []string{"boxes.example"}, To: hop(t, "maildir:/v/{user}")},
		route.Rule{Domains: []string{"fixed.example"}, To: hop(t, "smtp:h.example:25")},
		route.Rule{Senders: []string{"a@b.example"}, To: hop(t, "discard")},
	)
	if h, ok := tab.ByDomain("fixed.example"); !ok || h != hop(t, "smtp:h.example:25") {
		t.Errorf("fixed.example: %v %v", h, ok)
	}
	for _, d := range []string{"boxes.example", "other.example"} {
		if h, ok := tab.ByDomain(d); ok {
			t.Errorf("%s: %v is not known by the domain alone", d, h)
		}
	}
	if h, ok := (route.Table{}).ByDomain("other.example"); !ok || h.String() != "mx:other.example" {
		t.Errorf("no rules: %v %v", h, ok)
	}
}

func TestPlaceholdersSplitByRecipient(t *testing.T) {
	r := route.Router{Table: table(t, route.Rule{Domains: []string{"example.org"}, To: hop(t, "maildir:/var/mail/{domain}/{user}/Maildir")})}
	q := route.Query{Domain: "example.org"}
	for _, s := range []string{"bob@example.org", `"../../etc/passwd"@example.org`, "Bob@EXAMPLE.org", "bob@example.org", `""@example.org`, strings.Repeat("x", 201) + "@example.org"} {
		q.Recipients = append(q.Recipients, mail.Recipient{ForwardPath: path(t, s)})
	}
	d := r.Route(context.Background(), hook.Chain{}.Open("", nil), q)
	var got []string
	for _, g := range d.Groups {
		line := ""
		for _, i := range g.Recipients {
			line += string(rune('0' + i))
		}
		if g.Reply != nil {
			line += " " + g.Reply.String()
		} else {
			line += " " + g.Hops[0].String()
		}
		got = append(got, line)
	}
	want := []string{
		"03 maildir:/var/mail/example.org/bob/Maildir",
		"1 maildir:/var/mail/example.org/%2E.%2F..%2Fetc%2Fpasswd/Maildir",
		"2 maildir:/var/mail/example.org/Bob/Maildir",
		"4 550 5.1.1 There can be no mailbox of this name",
		"5 550 5.1.1 There can be no mailbox of this name",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzPathElementStaysInItsDirectory(f *testing.F) {
	for _, s := range []string{"bob", "..", ".", "/", "a/../b", "\x00", "%2F", "\xff", "%", ".hidden", "a\\b", "é"} {
		f.Add(s)
	}
	seen := make(map[string]string)
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := route.PathElement(s)
		if !ok {
			return
		}
		if e == "" || len(e) > route.MaxElement || e[0] == '.' || strings.ContainsAny(e, "/\\\x00\r\n") || filepath.Dir(filepath.Join("/r", e)) != "/r" {
			t.Errorf("%q became %q", s, e)
		}
		if old, dup := seen[e]; dup && old != s {
			t.Errorf("%q and %q both became %q", old, s, e)
		}
		if len(seen) < 100_000 {
			seen[e] = s
		}
	})
}

func plugin(f func(*hook.Event) (hook.Verdict, error)) hook.Chain {
	return hook.Chain{{Name: "p", Stages: hook.Stages(hook.Route), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) { return f(e) })}}
}

func TestPluginDecides(t *testing.T) {
	mx := hop(t, "mx:example.org")
	pinned := hop(t, "smtp:pinned.example:25")
	for _, c := range []struct {
		name   string
		answer func(*hook.Event) (hook.Verdict, error)
		pinned *mail.NextHop
		want   route.Decision
	}{
		{"no opinion", func(*hook.Event) (hook.Verdict, error) { return hook.Verdict{}, nil }, nil,
			route.Decision{Groups: []route.Group{{Hops: []mail.NextHop{mx}, Recipients: []int{0}}}}},
		{"next hops in order", func(e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{Action: hook.Accept}, e.EditDelivery(func(d *hook.Delivery) error {
				d.NextHops = []mail.NextHop{hop(t, "smtp:one.example:25"), hop(t, "mx")}
				return nil
			})
		}, nil, route.Decision{By: "p", Groups: []route.Group{{Hops: []mail.NextHop{hop(t, "smtp:one.example:25"), mx}, Recipients: []int{0}}}}},
		{"reject", func(*hook.Event) (hook.Verdict, error) {
			return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.7.1", "no")}, nil
		}, nil, route.Decision{Action: hook.Reject, By: "p", Reply: *mail.NewReply(550, "5.7.1", "no")}},
		{"hold", func(*hook.Event) (hook.Verdict, error) { return hook.Verdict{Action: hook.Hold}, nil }, nil,
			route.Decision{Action: hook.Hold, By: "p", Reply: *mail.NewReply(250, "2.6.0", "Message accepted")}},
		{"discard", func(*hook.Event) (hook.Verdict, error) { return hook.Verdict{Action: hook.Discard}, nil }, nil,
			route.Decision{Action: hook.Discard, By: "p"}},
		{"failure only defers", func(e *hook.Event) (hook.Verdict, error) { return hook.Verdict{}, errors.New("trap") }, nil,
			route.Decision{Action: hook.Defer, By: "p", Failed: true, Reply: *mail.ReplyPolicyUnavailable()}},
		{"pinned is not asked", func(*hook.Event) (hook.Verdict, error) { return hook.Verdict{Action: hook.Reject}, nil }, &pinned,
			route.Decision{Groups: []route.Group{{Hops: []mail.NextHop{pinned}, Recipients: []int{0}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r route.Router
			q := route.Query{Domain: "example.org", Recipients: []mail.Recipient{{ForwardPath: path(t, "u@example.org")}}, Pinned: c.pinned}
			q.Event = func() *hook.Event {
				return &hook.Event{Stage: hook.Route, Recipient: -1, Tx: new(hook.Transaction), Delivery: new(hook.Delivery)}
			}
			got := r.Route(context.Background(), plugin(c.answer).Open("mx", nil), q)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	for _, r := range []route.Rule{
		{Domains: []string{"a b"}}, {Domains: []string{"."}}, {Domains: []string{"*.example.org"}}, {Senders: []string{"a b@c"}}, {Senders: []string{"..x"}}, {Domains: []string{""}},
		{Recipients: []string{"("}}, {Senders: []string{""}},
	} {
		if _, err := route.NewTable([]route.Rule{r}); err == nil || !strings.HasPrefix(err.Error(), "route 1: ") {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
