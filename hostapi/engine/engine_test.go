package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// log collects the lines of plugins.
type lines struct {
	mu   sync.Mutex
	list []hostapi.Line
}

func (l *lines) add(x hostapi.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, x)
}

func (l *lines) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, x := range l.list {
		out = append(out, x.Text)
	}
	return out
}

func newEngine(t testing.TB, opt engine.Options) *engine.Engine {
	t.Helper()
	e, err := engine.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := e.MemoryInUse(); n != 0 {
			t.Errorf("%d octets of guest memory are still in use at the end", n)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func load(t testing.TB, e *engine.Engine, spec hostapi.Spec, wasm []byte) *engine.Plugin {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "test"
	}
	p, err := e.Load(context.Background(), spec, wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		select {
		case <-p.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%d instances of the plugin are still open", p.Instances())
		}
	})
	return p
}

// guest is a module under construction with every host function imported.
type guest struct {
	*wb.Module
	fn    map[string]uint32
	texts int32 // octets of data that steps placed
}

func newGuest() *guest {
	g := &guest{Module: wb.New(), fn: map[string]uint32{}}
	abi.Functions(func(name string, sig abi.Signature) {
		params, results, _ := strings.Cut(string(sig), ">")
		g.fn[name] = g.Import(abi.Module, name, types(params), types(results))
	})
	return g
}

func types(letters string) wb.Types {
	return wb.Types(strings.NewReplacer("i", string(wb.I32), "I", string(wb.I64)).Replace(letters))
}

// finish adds what every plugin has, and a scratch buffer from 1024 on.
func (g *guest) finish() []byte {
	g.Memory(1, 4)
	g.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	return g.Bytes()
}

// on adds a hook.
func (g *guest) on(hookName string, code wb.Code) {
	g.Func(abi.HookPrefix+hookName, wb.None, wb.I32, wb.I32+wb.I32+wb.I64, code)
}

func (g *guest) call(name string, args ...int32) wb.Code {
	var c wb.Code
	for _, a := range args {
		c += wb.I32Const(a)
	}
	return c + wb.Call(g.fn[name])
}

func rcptEvent() *hook.Event {
	from, _ := mail.ParseMailbox("alice@example.com")
	to, _ := mail.ParseMailbox("bob@example.org")
	return &hook.Event{
		Stage:     hook.Rcpt,
		Session:   &hook.Session{Client: &mail.Client{Session: "S1", Listener: "mx", Helo: "client.example"}},
		Tx:        &hook.Transaction{ID: "T1", Envelope: mail.Envelope{ReversePath: from, Recipients: []mail.Recipient{{ForwardPath: to}}}},
		Recipient: 0,
	}
}

func ask(t testing.TB, p *engine.Plugin, e *hook.Event) (hook.Verdict, error) {
	t.Helper()
	i, err := p.Open(context.Background())
	if err != nil {
		return hook.Verdict{}, err
	}
	defer i.Close()
	return i.Handle(context.Background(), e)
}

func callError(t testing.TB, err error, fault hostapi.Fault) {
	t.Helper()
	var c *engine.CallError
	if !errors.As(err, &c) || c.Fault != fault {
		t.Fatalf("error is %v; want a call error with the fault %q", err, fault)
	}
	if len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\n\r\x00") {
		t.Errorf("error is not one short line: %q", err)
	}
}

func TestRejectsARecipient(t *testing.T) {
	var log lines
	e := newEngine(t, engine.Options{Log: log.add, Version: "1.2.3"})
	g := newGuest()
	g.Data(16, "no such user")
	g.Data(64, "BOB@example.org")
	g.on("rcpt",
		g.call("log", 1, 16, 12)+wb.Drop+
			g.call("list_find", 1, 0, 64, 15)+wb.I32Const(0)+wb.I32Eq+
			wb.If(wb.I32,
				g.call("reply", 550, abi.Enhanced(5, 1, 1), 16, 12)+wb.Drop+wb.I32Const(int32(abi.Reject)),
				wb.I32Const(0)))
	p := load(t, e, hostapi.Spec{Name: "users"}, g.finish())
	if p.Stages() != hook.Stages(hook.Rcpt) {
		t.Errorf("stages are %s, want rcpt", p.Stages())
	}
	v, err := ask(t, p, rcptEvent())
	if err != nil {
		t.Fatal(err)
	}
	if v.Action != hook.Reject || v.Reply == nil || v.Reply.String() != "550 5.1.1 no such user" {
		t.Errorf("verdict is %v %v, want reject 550 5.1.1 no such user", v.Action, v.Reply)
	}
	if got := log.list; len(got) != 1 || got[0].Text != "no such user" || got[0].Session != "S1" || got[0].Message != "T1" || got[0].Hook != "rcpt" || got[0].Plugin != "users" {
		t.Errorf("logged %+v", got)
	}
}
