// Package examples_test builds the three example policies in every language and
// runs them in the engine: all must give the same verdicts, replies, header
// fields and next hops.
package examples_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// policies are the examples with what each is configured and granted.
var policies = []struct {
	example, config string
	grant           hostapi.Grant
}{
	{"block", `{"blocked": ["blocked", "spam.test", "a\"b", "\u00e4,]"]}`, hostapi.Grant{}},
	{"headers", "", hostapi.Grant{Headers: hostapi.Write}},
	{"route", `{"partner": "partner.test", "next_hop": "smtp:127.0.0.1:2526"}`, hostapi.Grant{Envelope: hostapi.Write}},
}

// cases are what an example is asked, and all that it must answer.
var cases = []struct {
	name, example string
	event         func(t testing.TB) *hook.Event
	want          string
}{
	{"another recipient", "block", rcpt("ann@example.com"), "continue"},
	{"local part", "block", rcpt("blocked@example.com"), "reject 550 5.7.1 this mailbox takes no mail"},
	{"local part, quoted", "block", rcpt(`"blocked"@example.com`), "reject 550 5.7.1 this mailbox takes no mail"},
	{"local part, other case", "block", rcpt("Blocked@example.com"), "continue"},
	{"local part that only begins so", "block", rcpt("blocked2@example.com"), "continue"},
	{"domain", "block", rcpt("ann@SPAM.test"), "reject 550 5.7.1 this mailbox takes no mail"},
	{"subdomain", "block", rcpt("ann@x.spam.test"), "continue"},
	{"escaped in the configuration", "block", rcpt(`"a\"b"@example.com`), "reject 550 5.7.1 this mailbox takes no mail"},
	{"not ASCII", "block", rcpt(`"ä,]"@example.com`), "reject 550 5.7.1 this mailbox takes no mail"},

	{"all fields", "headers", message("X-Spam-Flag: YES\r\nFrom: a@b.test\r\nSubject: hi\r\nx-spam-flag: no\r\nX-Spam-Flag:\r\n maybe\r\n"),
		"continue\nX-Policy: checked by wasmta\r\nFrom: a@b.test\r\nSubject: [list] hi\r\n"},
	{"prefix there", "headers", message("Subject: [list] hi\r\nTo: x@y.test\r\n"),
		"continue\nX-Policy: checked by wasmta\r\nSubject: [list] hi\r\nTo: x@y.test\r\n"},
	{"prefix elsewhere", "headers", message("subject: Re: [list] hi\r\n"),
		"continue\nX-Policy: checked by wasmta\r\nsubject: [list] Re: [list] hi\r\n"},
	{"no subject", "headers", message("To: x@y.test\r\n"),
		"continue\nX-Policy: checked by wasmta\r\nTo: x@y.test\r\nSubject: [list]\r\n"},
	{"nothing", "headers", message(""),
		"continue\nX-Policy: checked by wasmta\r\nSubject: [list]\r\n"},
	{"two subjects", "headers", message("Subject: one\r\nSubject: two\r\n"),
		"continue\nX-Policy: checked by wasmta\r\nSubject: [list] one\r\n"},
	{"longer than any buffer", "headers", message("Subject: " + strings.Repeat("many words \r\n ", 6000) + "end\r\n"),
		"continue\nX-Policy: checked by wasmta\r\n" + folded("Subject", "[list] "+strings.Repeat("many words  ", 6000)+"end")},
	{"refused by the server", "headers", message("Subject: \xe4\r\n"), // 8-bit text may not be written without SMTPUTF8
		"defer after a failure\nSubject: \xe4\r\n"},

	{"the partner", "route", route("partner.test"), "accept\nsmtp:127.0.0.1:2526"},
	{"another domain", "route", route("elsewhere.test"), "continue\n"},
	{"a part of the partner", "route", route("x.partner.test"), "continue\n"},
}

func transaction(path mail.Path) *hook.Transaction {
	tx := &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}}
	tx.Envelope.Recipients = []mail.Recipient{{ForwardPath: path}}
	return tx
}

func session() *hook.Session {
	return &hook.Session{Client: &mail.Client{Listener: "mx"}, Attrs: mail.Attrs{}}
}

func rcpt(to string) func(testing.TB) *hook.Event {
	return func(t testing.TB) *hook.Event {
		path, err := mail.ParseMailbox(to)
		if err != nil {
			t.Fatal(err)
		}
		return &hook.Event{Stage: hook.Rcpt, Session: session(), Tx: transaction(path), Recipient: 0}
	}
}

func message(header string) func(testing.TB) *hook.Event {
	return func(t testing.TB) *hook.Event {
		h, err := mail.ParseHeader([]byte(header + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return &hook.Event{Stage: hook.Message, Session: session(), Tx: transaction(mail.Path{Local: "ann", Domain: "example.com"}),
			Content: &hook.Content{Header: h, Body: strings.NewReader("")}, Recipient: -1}
	}
}

func route(domain string) func(testing.TB) *hook.Event {
	return func(testing.TB) *hook.Event {
		return &hook.Event{Stage: hook.Route, Tx: transaction(mail.Path{Local: "ann", Domain: domain}),
			Delivery: &hook.Delivery{Domain: domain, Attempt: 1}, Recipient: -1}
	}
}

// folded is how the server writes a field.
func folded(name, value string) string {
	var h mail.Header
	if err := h.Insert(0, name, value, false); err != nil {
		panic(err)
	}
	return string(h.Raw(0))
}

// answer is all that an event came to, as cases writes it.
func answer(e *hook.Event, o hook.Outcome) string {
	s := o.Action.String()
	if o.Failed {
		s += " after a failure"
	} else if o.Reply != nil {
		s += " " + o.Reply.String()
	}
	switch e.Stage {
	case hook.Message:
		s += "\n" + strings.TrimSuffix(string(e.Content.Header.Bytes()), "\r\n")
	case hook.Route:
		var hops []string
		for _, h := range e.Delivery.NextHops {
			hops = append(hops, h.String())
		}
		s += "\n" + strings.Join(hops, " ")
	}
	return s
}

// eachModule builds every example in every language and loads it.
func eachModule(t *testing.T, f func(t *testing.T, example string, p *engine.Plugin)) {
	e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			for _, p := range policies {
				t.Run(p.example, func(t *testing.T) {
					wasm := module(t, l, p.example)
					t.Logf("%d octets", len(wasm))
					f(t, p.example, load(t, e, l.name, p.example, wasm))
				})
			}
		})
	}
}

func load(t testing.TB, e *engine.Engine, language, example string, wasm []byte) *engine.Plugin {
	t.Helper()
	for _, p := range policies {
		if p.example == example {
			loaded, err := e.Load(context.Background(), hostapi.Spec{Name: example, Config: []byte(p.config), Grant: p.grant}, wasm)
			if err != nil {
				t.Fatalf("%s in %s: %v", example, language, err)
			}
			t.Cleanup(loaded.Close)
			return loaded
		}
	}
	t.Fatalf("there is no example %q", example)
	return nil
}

func TestPoliciesAreTheSameInAllLanguages(t *testing.T) {
	eachModule(t, func(t *testing.T, example string, p *engine.Plugin) {
		chain := hook.Chain{{Name: example, Stages: p.Stages(), Handler: p}}
		k := chain.Open("mx", nil)
		defer k.Close()
		for range 2 { // an instance gives the same answers again
			for _, c := range cases {
				if c.example != example {
					continue
				}
				e := c.event(t)
				if got := answer(e, k.Ask(t.Context(), e)); got != c.want {
					t.Errorf("%s:\n got %s\nwant %s", c.name, quote(got), quote(c.want))
				}
			}
		}
	})
}

func quote(s string) string { return fmt.Sprintf("%.400q", s) }

// A list that is none refuses the plugin, in the log's words too; no list at
// all is an empty one.
func TestConfigurationIsReadAlike(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			wasm := module(t, l, "block")
			var lines []string
			e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir(), Log: func(l hostapi.Line) { lines = append(lines, l.Text) }})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for _, config := range []string{`{"blocked": "spam.test"}`, `{"blocked": [1]}`, `{"blocked": {"a": "b"}}`} {
				lines = nil
				if p, err := e.Load(t.Context(), hostapi.Spec{Name: "block", Config: []byte(config)}, wasm); err == nil {
					p.Close()
					t.Errorf("%s passes", config)
				}
				if len(lines) != 1 || lines[0] != "config: blocked must be a list of strings" {
					t.Errorf("%s: logged %q", config, lines)
				}
			}
			long := `{"blocked": [` + strings.Repeat(`"x@example.com",`, 5000) + `"ann"]}`
			for config, want := range map[string]string{
				`{}`: "continue", `{"blocked": []}`: "continue", long: "reject 550 5.7.1 this mailbox takes no mail",
			} {
				p, err := e.Load(t.Context(), hostapi.Spec{Name: "block", Config: []byte(config)}, wasm)
				if err != nil {
					t.Fatal(err)
				}
				k := hook.Chain{{Name: "block", Stages: p.Stages(), Handler: p}}.Open("mx", nil)
				event := rcpt("ann@example.com")(t)
				if got := answer(event, k.Ask(t.Context(), event)); got != want {
					t.Errorf("%.30s: %s, want %s", config, got, want)
				}
				k.Close()
				p.Close()
			}
		})
	}
}

// BenchmarkHook is one hook in an open instance, BenchmarkSession a session of one
// hook: an instance taken, called, and made as new again.
func BenchmarkHook(b *testing.B)    { benchmark(b, false) }
func BenchmarkSession(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, session bool) {
	e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	for _, l := range languages {
		for _, c := range cases {
			if c.name != "domain" && c.name != "all fields" && c.name != "the partner" {
				continue
			}
			b.Run(l.name+"/"+c.example, func(b *testing.B) {
				p := load(b, e, l.name, c.example, module(b, l, c.example))
				event := c.event(b)
				header := hook.Content{}
				if event.Content != nil {
					header = *event.Content
				}
				i, err := p.Open(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if session {
						i.Close()
						if i, err = p.Open(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					if event.Content != nil {
						*event.Content = header
					}
					if _, err := i.Handle(b.Context(), event); err != nil {
						b.Fatal(err)
					}
				}
				i.Close()
			})
		}
	}
}
