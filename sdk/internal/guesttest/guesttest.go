// Package guesttest asks plugins that are written with the SDKs of other
// languages, in the engine. Each SDK has a plugin "all" in testdata, which uses
// what the SDK gives and replies with what was not as expected.
package guesttest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// Open loads a plugin, with all that can be granted, and begins a session.
func Open(t *testing.T, wasm []byte, config string, log func(hostapi.Line)) *hook.Conversation {
	t.Helper()
	e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Load(context.Background(), hostapi.Spec{Name: "all", Config: []byte(config),
		Grant: hostapi.Grant{Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read}}, wasm)
	if err != nil {
		t.Fatal(err)
	}
	k := hook.Chain{{Name: "all", Stages: p.Stages(), Handler: p}}.Open("mx", func(f hook.Failure) { t.Logf("%v", f.Err) })
	t.Cleanup(func() { k.Close(); p.Close(); e.Close() })
	return k
}

// Event is a question about the recipients, the last of which is the current
// one, of a message of ann@example.com.
func Event(s hook.Stage, to ...string) *hook.Event {
	e := &hook.Event{Stage: s, Session: &hook.Session{Client: &mail.Client{Listener: "mx"}, Attrs: mail.Attrs{}}, Recipient: len(to) - 1}
	e.Tx = &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}, SizeLimit: 1 << 20}
	e.Tx.Envelope.ReversePath = mail.Path{Local: "ann", Domain: "example.com"}
	e.Tx.Envelope.Size = 1234
	for _, local := range to {
		e.Tx.Envelope.Recipients = append(e.Tx.Envelope.Recipients, mail.Recipient{ForwardPath: mail.Path{Local: local, Domain: "example.com"}})
	}
	return e
}

// Want compares an outcome.
func Want(t *testing.T, o hook.Outcome, text string) {
	t.Helper()
	got := o.Action.String()
	if o.Failed {
		got = "failed"
	}
	if o.Reply != nil {
		got += " " + o.Reply.String()
	}
	if got != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

// config is what All gives the plugin.
const config = `{"list": ["a", "\"b\\\n", "\u00e4\u20ac\ud83d\ude00\ud83d", ""], "text": "some text", "number": -12, "yes": true, "no": false}`

// All asks the plugin "all" at each of its hooks. refused is what the SDK logs
// of a change that was refused and must not be.
func All(t *testing.T, wasm []byte, refused string) {
	t.Helper()
	var logged []string
	k := Open(t, wasm, config, func(l hostapi.Line) { logged = append(logged, l.Text) })
	ask := func(e *hook.Event, text string) {
		t.Helper()
		Want(t, k.Ask(t.Context(), e), text)
	}
	e := Event(hook.Mail)
	ask(e, "continue")
	if got := e.Tx.Envelope.ReversePath.String(); got != "bob@example.com" {
		t.Errorf("reverse-path %s", got)
	}
	if !slices.Equal(logged, []string{"as expected"}) {
		t.Errorf("logged %q", logged)
	}
	ask(Event(hook.Rcpt, "later"), "continue") // it has detached itself
	k.EndTransaction()
	ask(Event(hook.Rcpt, "later"), "defer 450 4.7.1 come again")
	ask(Event(hook.Rcpt, "drop"), "drop "+mail.NewReply(421, "4.7.0", "two\nlines").String())
	e = Event(hook.Rcpt, "ann")
	ask(e, "continue")
	if r := e.Tx.Envelope.Recipients; len(r) != 2 || r[0].ForwardPath.String() != "ann@new.test" || r[1].ForwardPath.String() != "copy@new.test" {
		t.Errorf("recipients %v", r)
	}
	e = Event(hook.Command)
	e.Verb = "XFINE"
	ask(e, "accept 250 2.0.0 fine")
	for range 3 { // the memory that one took serves the next
		e = Event(hook.Message, "ann")
		e.Recipient = -1
		header, err := mail.ParseHeader([]byte("A: " + strings.Repeat("a", 40000) + "\r\nB: " + strings.Repeat("b", 90000) + "\r\na: other\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		e.Content = &hook.Content{Header: header, Body: strings.NewReader(strings.Repeat("x", 20)), BodySize: 20}
		ask(e, "continue")
		if got := string(e.Content.Header.Bytes()); got != "Z: -1\r\nB: short\r\nD: new\r\nSubject: x\r\n\r\n" {
			t.Errorf("header section %q", got)
		}
	}
	logged = nil
	ask(Event(hook.Rcpt, "must"), "failed")
	if len(logged) == 0 || !strings.HasPrefix(logged[0], refused) {
		t.Errorf("logged %q, want %q", logged, refused)
	}
}
