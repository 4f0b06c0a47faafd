package lua_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/script/lua"
)

// host is an engine with its log.
type host struct {
	*engine.Engine
	mu    sync.Mutex
	lines []string
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := new(host)
	e, err := engine.New(engine.Options{LogLevel: -4, Log: func(l hostapi.Line) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lines = append(h.lines, fmt.Sprintf("%d %s", l.Level, l.Text))
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = e
	t.Cleanup(func() { e.Close() })
	return h
}

// log is what was logged since the last time.
func (h *host) log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.lines, "\n")
	h.lines = nil
	return s
}

func module(t testing.TB, source string) []byte {
	t.Helper()
	wasm, err := lua.Module(context.Background(), "/etc/wasmta/policy.lua", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func (h *host) load(t testing.TB, spec hostapi.Spec, source string) *engine.Plugin {
	t.Helper()
	spec.Name = "policy"
	p, err := h.Load(context.Background(), spec, module(t, source))
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log())
	}
	t.Cleanup(p.Close)
	return p
}

func session() *hook.Session {
	return &hook.Session{Client: &mail.Client{Listener: "mx", Helo: "mx.test", Remote: netip.MustParseAddrPort("192.0.2.1:1025")}, Attrs: mail.Attrs{}}
}

func rcpt(local string) *hook.Event {
	tx := &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}}
	tx.Envelope.Recipients = []mail.Recipient{{ForwardPath: mail.Path{Local: local, Domain: "example.org"}}}
	return &hook.Event{Stage: hook.Rcpt, Session: session(), Tx: tx}
}

func message(header, body string) *hook.Event {
	h, err := mail.ParseHeader([]byte(header + "\r\n"))
	if err != nil {
		panic(err)
	}
	e := rcpt("ann")
	e.Stage, e.Recipient = hook.Message, -1
	e.Content = &hook.Content{Header: h, Body: strings.NewReader(body)}
	return e
}

// ask gives the outcome as one line.
func ask(t testing.TB, p *engine.Plugin, e *hook.Event) string {
	t.Helper()
	chain := hook.Chain{{Name: "policy", Stages: p.Stages(), Handler: p}}
	k := chain.Open("mx", nil)
	defer k.Close()
	o := k.Ask(context.Background(), e)
	s := o.Action.String()
	if o.Failed {
		return s + " after a failure"
	}
	if o.Reply != nil {
		s += " " + o.Reply.String()
	}
	return s
}

func TestAScriptRejectsARecipient(t *testing.T) {
	h := newHost(t)
	p := h.load(t, hostapi.Spec{}, `
function on_rcpt(s)
  if s.rcpt.local_part == "nobody" then
    return s:reject(550, "5.1.1", "no such mailbox here")
  end
end`)
	if got := ask(t, p, rcpt("nobody")); got != "reject 550 5.1.1 no such mailbox here" {
		t.Error(got)
	}
	if got := ask(t, p, rcpt("ann")); got != "continue" {
		t.Error(got)
	}
}
