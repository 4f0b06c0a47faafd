package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
	"github.com/wasmta/wasmta/hostapi/manager"
	"github.com/wasmta/wasmta/hostapi/outbound"
)

// What a plugin could do to its server falls into sixteen classes, W1 to W16.
// Each has a test that bears its number, here or, for W11 and W16, which need a
// whole server, in cmd/wasmta; the tests of single packages say more about
// most of them.

// many is how often a test that could go on for ever repeats itself:
// WASMTA_ATTACKS, or few.
func many(few int) int {
	if n, err := strconv.Atoi(os.Getenv("WASMTA_ATTACKS")); err == nil && n > 0 {
		return n
	}
	if raceEnabled {
		return few / 4
	}
	return few
}

func loadFails(t *testing.T, e *engine.Engine, spec hostapi.Spec, wasm []byte, says string) {
	t.Helper()
	spec.Name = "test"
	p, err := e.Load(t.Context(), spec, wasm)
	if err == nil {
		p.Close()
		t.Fatalf("it was loaded; want an error that says %q", says)
	}
	var l *engine.LoadError
	if !errors.As(err, &l) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %q; want a load error of one line that says %q", err, says)
	}
}

// TestW1EndlessLoops: whatever runs without end is stopped, wherever it runs,
// and what would keep the compiler busy is not compiled.
func TestW1EndlessLoops(t *testing.T) {
	forever := wb.Loop(wb.None, wb.Br(0))
	e := newEngine(t, engine.Options{Limits: func(d *engine.Defaults) { d.Init = engine.CallLimit{CPU: 20 * time.Millisecond, Wall: time.Minute} }})
	for name, build := range map[string]func(m *wb.Module){
		"start function": func(m *wb.Module) {
			m.Start(m.Func("", wb.None, wb.None, wb.None, forever))
			m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		},
		"_initialize": func(m *wb.Module) {
			m.Func("_initialize", wb.None, wb.None, wb.None, forever)
			m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		},
		"mta1_init": func(m *wb.Module) { m.Func("mta1_init", wb.None, wb.I32, wb.None, forever+wb.I32Const(0)) },
		"selftest": func(m *wb.Module) {
			m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
			m.Func("mta1_on_selftest", wb.None, wb.I32, wb.None, forever+wb.I32Const(0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := wb.New()
			m.Memory(1, 1)
			build(m)
			m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(0))
			loadFails(t, e, hostapi.Spec{}, m.Bytes(), "CPU time")
		})
	}
	locals := func(n int) wb.Types { return wb.Types(strings.Repeat(string(wb.I64), n)) }
	for name, c := range map[string]struct {
		says string
		code wb.Code
		vars wb.Types
	}{
		"function of 4 MB":       {"bytes of code", wb.Code(strings.Repeat(string(wb.Nop), 4<<20)) + wb.I32Const(0), wb.None},
		"100,000 locals":         {"locals", wb.I32Const(0), locals(100_000)},
		"br_table of 15,000":     {"compil", wb.Code(strings.Repeat(string(wb.Block(wb.None, wb.I32Const(0)+wb.BrTable(make([]uint32, 15_000)...))), 4)) + wb.I32Const(0), wb.None},
		"30,000 nested branches": {"compil", wb.Code(strings.Repeat("\x02\x40", 30_000)+strings.Repeat("\x0b", 30_000)) + wb.I32Const(0), wb.None},
	} {
		t.Run(name, func(t *testing.T) {
			m := wb.New()
			m.Memory(1, 1)
			m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
			m.Func("mta1_on_rcpt", wb.None, wb.I32, c.vars, c.code)
			p, err := e.Load(t.Context(), hostapi.Spec{Name: "test"}, m.Bytes())
			if err == nil { // then it was cheap
				p.Close()
				return
			}
			if !strings.Contains(err.Error(), "too large") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %q; it should say %q", err, c.says)
			}
		})
	}
}

// TestW2MemoryBombs: memory is bounded for an instance, for all instances, and
// in what a module may ask for.
func TestW2MemoryBombs(t *testing.T) {
	e := newEngine(t, engine.Options{MaxMemory: 64 << 20})
	m := wb.New()
	m.Memory(65535, wb.NoMax)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(0))
	loadFails(t, e, hostapi.Spec{}, m.Bytes(), "memory")

	p := load(t, e, hostapi.Spec{}, misbehaving(misbehaviours()["memory without end"].build))
	before := heap()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			i, err := p.Open(t.Context())
			if err != nil {
				callError(t, err, hostapi.FaultMemory)
				return
			}
			defer i.Close()
			if _, err := i.Handle(t.Context(), rcptEvent()); err == nil {
				t.Error("no error")
			}
			if n := e.MemoryInUse(); n > 64<<20+200<<16 { // what is being refused counts for a moment
				t.Errorf("%d KiB of guest memory, the budget is 64 MiB", n>>10)
			}
		})
	}
	all.Wait()
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d MiB are left of 200 memory bombs", (after-before)>>20)
	}
}

// TestW3TableBombs: tables count as well.
func TestW3TableBombs(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for _, size := range []int{1 << 20, 1 << 28, 1<<32 - 1} {
		m := wb.New()
		m.Memory(1, 1)
		m.Table(wb.FuncRef, size, wb.NoMax)
		m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		loadFails(t, e, hostapi.Spec{}, m.Bytes(), "table")
	}
	m := wb.New()
	for range 100 {
		m.Table(wb.FuncRef, 1000, 1000)
	}
	m.Memory(1, 1)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	loadFails(t, e, hostapi.Spec{}, m.Bytes(), "tables")

	before := heap()
	p := load(t, e, hostapi.Spec{}, misbehaving(misbehaviours()["table without end"].build))
	for range 100 {
		if _, err := ask(t, p, rcptEvent()); err == nil {
			t.Fatal("no error")
		}
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d MiB are left of 100 table bombs", (after-before)>>20)
	}
}

// TestW4RecursionBombs: the depth of calls is bounded, and the host cannot be
// made to call back.
func TestW4RecursionBombs(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for _, name := range []string{"recursion", "mutual recursion through a table"} {
		p := load(t, e, hostapi.Spec{}, misbehaving(misbehaviours()[name].build))
		before := heap()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := ask(t, p, rcptEvent())
				callError(t, err, hostapi.FaultRecursion)
			})
		}
		all.Wait()
		if after := heap(); after > before+8<<20 {
			t.Errorf("%s: %d MiB are left", name, (after-before)>>20)
		}
	}
	// A module may export what the host would have to call to be re-entered; it
	// is never called.
	g := newGuest()
	for _, name := range []string{"malloc", "realloc", "cabi_realloc", "_start", "main"} {
		g.Func(name, wb.I32, wb.I32, wb.None, wb.Unreachable)
	}
	g.on("rcpt", g.call("get", int32(abi.RemoteIP), 1024, 64)+wb.Drop+wb.I32Const(0))
	if _, err := ask(t, load(t, e, hostapi.Spec{}, g.finish()), rcptEvent()); err != nil {
		t.Error(err)
	}
}

// TestW5TrapStorm: each trap costs one verdict, a storm of them opens the
// circuit breaker, and nothing is left.
func TestW5TrapStorm(t *testing.T) {
	e := newEngine(t, engine.Options{})
	var plugins []*engine.Plugin
	for _, name := range []string{"unreachable", "division by 0", "load outside", "exit", "abort", "unknown action"} {
		plugins = append(plugins, load(t, e, hostapi.Spec{}, misbehaving(misbehaviours()[name].build)))
	}
	storm := func(n int) {
		for k := range n {
			if _, err := ask(t, plugins[k%len(plugins)], rcptEvent()); err == nil {
				t.Fatal("no error")
			}
		}
	}
	storm(100)
	before, goroutines := heap(), runtime.NumGoroutine()
	storm(many(4000))
	if after := heap(); after > before+4<<20 {
		t.Errorf("%d KiB are left", (after-before)>>10)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}

	file := filepath.Join(t.TempDir(), "trap.wasm")
	if err := os.WriteFile(file, misbehaving(misbehaviours()["unreachable"].build), 0o600); err != nil {
		t.Fatal(err)
	}
	m := manage(t, e)
	if err := m.Start(t.Context(), []hostapi.Spec{{Name: "trap", Module: file}}); err != nil {
		t.Fatal(err)
	}
	chain, release := m.Acquire()
	defer release()
	for n := range 100 {
		k := chain.Open("mx", nil)
		if o := k.Ask(t.Context(), rcptEvent()); o.Action != hook.Defer || !o.Failed {
			t.Fatalf("trap %d gave %+v; want a temporary refusal", n, o)
		}
		k.Close()
	}
	s := m.List()[0].Generations[0]
	if s.Breaker != "open" || s.Hooks[slices.IndexFunc(s.Hooks, func(f hook.Figures) bool { return f.Hook == "rcpt" })].Skipped < 90 {
		t.Errorf("after 100 traps: %+v; want an open breaker that spares the calls", s)
	}
}

// manage is a manager whose plugins e runs.
func manage(t *testing.T, e *engine.Engine) *manager.Manager {
	m := manager.New(manager.Options{Load: func(ctx context.Context, s hostapi.Spec, wasm []byte) (manager.Loaded, error) {
		p, err := e.Load(ctx, s, wasm)
		if err != nil {
			return nil, err
		}
		return p, nil
	}})
	t.Cleanup(func() { m.Close(true) })
	return m
}

// TestW6StateBleed: a guest that fills all of its memory and its globals with
// what it learnt finds none of it in the next session, nor in one beside it.
func TestW6StateBleed(t *testing.T) {
	e := newEngine(t, engine.Options{})
	g := newGuest()
	const pages = 4
	secret := []uint32{}
	for range 8 {
		secret = append(secret, g.Global(wb.I64, true, wb.I64Const(0)))
	}
	// At mail everything is filled with 0xA5; at rcpt the octets that are not
	// zero are counted, and the globals.
	fill := wb.I32Const(0) + wb.I32Const(0xA5) + wb.I32Const(pages<<16) + wb.MemoryFill
	count := wb.Loop(wb.None, wb.LocalGet(0)+wb.I32Load8U(0)+wb.I32Const(0)+wb.I32Ne+wb.If(wb.None, wb.I32Const(1)+wb.LocalSet(1), "")+
		wb.LocalGet(0)+wb.I32Const(1)+wb.I32Add+wb.LocalTee(0)+wb.I32Const(pages<<16)+wb.I32Ne+wb.BrIf(0))
	for _, s := range secret {
		fill += wb.I64Const(0x5a5a5a5a) + wb.GlobalSet(s)
		count += wb.GlobalGet(s) + wb.I32WrapI64 + wb.If(wb.None, wb.I32Const(1)+wb.LocalSet(1), "")
	}
	g.on("mail", fill+wb.I32Const(0))
	g.on("rcpt", count+wb.LocalGet(1)+wb.If(wb.I32, wb.I32Const(int32(abi.Reject)), wb.I32Const(int32(abi.Accept))))
	g.Memory(pages, pages)
	g.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Second, Wall: time.Minute}}, g.Bytes())
	write := rcptEvent()
	write.Stage, write.Recipient = hook.Mail, -1
	for n := range many(200) {
		a, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Handle(t.Context(), write); err != nil {
			t.Fatal(err)
		}
		if v, err := a.Handle(t.Context(), rcptEvent()); err != nil || v.Action != hook.Reject {
			t.Fatalf("the writer itself sees %v, %v: the test is void", v.Action, err)
		}
		a.Close()
		if v, err := b.Handle(t.Context(), rcptEvent()); err != nil || v.Action != hook.Accept {
			t.Fatalf("pair %d: the session beside it sees what was written: %v, %v", n, v.Action, err)
		}
		b.Close()
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
			t.Fatalf("pair %d: the next session sees what was written: %v, %v", n, v.Action, err)
		}
	}
}

// TestW7HostCallFuzz: random arguments to every function end in a code or a
// trap. FuzzHostCalls and FuzzCapabilities do the same without a guest.
func TestW7HostCallFuzz(t *testing.T) {
	e := newEngine(t, engine.Options{})
	rnd := rand.New(rand.NewPCG(7, 7))
	odd := []int64{0, 1, 2, 3, 7, 8, 255, 256, 1023, 1024, 65535, 65536, 1 << 20, 1<<31 - 1, -1, -2, -65536, -1 << 31, 1 << 32, 1<<63 - 1, -1 << 63}
	type function struct{ module, name, sig string }
	var functions []function
	abi.Functions(func(name string, sig abi.Signature) {
		functions = append(functions, function{abi.Module, name, string(sig)})
	})
	abi.Capabilities(func(module, name string, sig abi.Signature, _ []string) {
		functions = append(functions, function{module, name, string(sig)})
	})
	grant := hostapi.Grant{
		Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read, AuthPassword: true, KV: hostapi.KVGrant{MB: 1}, DNS: hostapi.DNSGrant{Zones: []string{"*"}},
		HTTP: []hostapi.HTTPGrant{{URL: "https://a.example/", Methods: []string{"GET"}}}, Secrets: []string{"s"}, Tables: []string{"t"}, Events: []string{"e"}, SignKeys: []string{"k"},
	}
	stages := []hook.Stage{hook.Connect, hook.Rcpt, hook.Message, hook.Route}
	traps, codes := 0, 0
	for range many(400) {
		m := wb.New()
		index := map[string]uint32{}
		var code wb.Code
		calls := make([]function, 1+rnd.IntN(24))
		for n := range calls {
			calls[n] = functions[rnd.IntN(len(functions))]
		}
		for _, f := range calls {
			if _, ok := index[f.module+f.name]; !ok {
				params, results, _ := strings.Cut(f.sig, ">")
				index[f.module+f.name] = m.Import(f.module, f.name, types(params), types(results))
			}
		}
		for _, f := range calls {
			params, results, _ := strings.Cut(f.sig, ">")
			for _, typ := range params {
				v := odd[rnd.IntN(len(odd))]
				if rnd.IntN(3) > 0 {
					v = rnd.Int64N(2048) // most pointers and numbers make sense
				}
				if typ == 'I' {
					code += wb.I64Const(v)
				} else {
					code += wb.I32Const(int32(v))
				}
			}
			code += wb.Call(index[f.module+f.name])
			if results != "" {
				code += wb.Drop
			}
		}
		junk := make([]byte, 2048)
		for n := range junk {
			junk[n] = byte(rnd.Uint32())
		}
		copy(junk[512:], "Subject: x\r\n")
		m.Data(0, string(junk))
		m.Memory(1, 1)
		m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		for _, s := range stages {
			m.Func(abi.HookPrefix+s.String(), wb.None, wb.I32, wb.None, code+wb.I32Const(0))
		}
		p, err := e.Load(t.Context(), hostapi.Spec{Name: "fuzz", Grant: grant}, m.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stages {
			ev := rcptEvent()
			ev.Stage = s
			if s != hook.Rcpt {
				ev.Recipient = -1
			}
			if s == hook.Connect {
				ev.Tx = nil
			}
			_, err := ask(t, p, ev)
			var c *engine.CallError
			switch {
			case err == nil:
				codes++
			case errors.As(err, &c) && (c.Fault == hostapi.FaultTrap || c.Fault == hostapi.FaultLimit):
				traps++
			default:
				t.Errorf("at %s: %v", s, err)
			}
		}
		p.Close()
	}
	if traps == 0 || codes == 0 {
		t.Errorf("%d calls trapped, %d did not: the test is void", traps, codes)
	}
}

// TestW8HostAmplification: what a guest makes the host do is counted and
// charged to the guest.
func TestW8HostAmplification(t *testing.T) {
	var log lines
	e := newEngine(t, engine.Options{Log: log.add})
	repeat := func(code wb.Code) wb.Code { // a million times, or until it is stopped
		return wb.Loop(wb.None, code+wb.LocalGet(0)+wb.I32Const(1)+wb.I32Add+wb.LocalTee(0)+wb.I32Const(1_000_000)+wb.I32Ne+wb.BrIf(0)) + wb.I32Const(0)
	}
	body := strings.Repeat("x", 1<<20)
	for name, build := range map[string]func(g *guest) wb.Code{
		"log lines":    func(g *guest) wb.Code { return g.call("log", 3, 0, 4096) + wb.Drop },
		"header edits": func(g *guest) wb.Code { return g.call("list_insert", 2, -1, 64, 6) + wb.Drop },
		"recipients":   func(g *guest) wb.Code { return g.call("list_insert", 1, -1, 96, 7) + wb.Drop },
		"attributes": func(g *guest) wb.Code {
			return wb.I32Const(128) + wb.LocalGet(0) + wb.I32Store(0) + g.call("attr_set", 0, 128, 4, 0, 4096) + wb.Drop
		},
		"body octets": func(g *guest) wb.Code {
			return wb.I64Const(0) + wb.I32Const(0) + wb.I32Const(60_000) + wb.Call(g.fn["body_read"]) + wb.Drop
		},
		"random octets": func(g *guest) wb.Code { return g.call("random", 0, 60_000) + wb.Drop },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest()
			g.Data(64, "a: bcd")
			g.Data(96, "x@y.zzz")
			g.on("message", repeat(build(g)))
			p := load(t, e, hostapi.Spec{Grant: hostapi.Grant{Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read},
				Limits: hostapi.Limits{Wall: time.Minute}}, g.finish())
			ev := rcptEvent()
			ev.Stage, ev.Recipient = hook.Message, -1
			ev.Content = &hook.Content{Header: mail.Header{}, Body: strings.NewReader(body), BodySize: int64(len(body))}
			before, lines := heap(), len(log.texts())
			var failure error
			k := hook.Chain{{Name: "p", Stages: p.Stages(), Handler: p}}.Open("mx", func(f hook.Failure) { failure = f.Err })
			k.Ask(t.Context(), ev)
			k.Close()
			var c *engine.CallError
			if !errors.As(failure, &c) || c.Fault != hostapi.FaultLimit && c.Fault != hostapi.FaultCPU {
				t.Errorf("error is %v; want a limit", failure)
			}
			if after := heap(); after > before+8<<20 {
				t.Errorf("%d MiB are left", (after-before)>>20)
			}
			if n := len(log.texts()) - lines; n > 64 {
				t.Errorf("%d lines were logged", n)
			}
			if n := len(ev.Tx.Envelope.Recipients); n != 1 {
				t.Errorf("%d recipients after a failure", n)
			}
		})
	}
}

// TestW9Exfiltration: without a grant there is no network at all, and a grant
// opens no door to the server's own networks.
func TestW9Exfiltration(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for _, module := range []string{"mta1_http", "mta1_dns", "mta1_event", "mta1_kv", "mta1_table"} {
		s := newScript(module)
		s.on("rcpt", wb.I32Const(0))
		loadFails(t, e, hostapi.Spec{}, s.finish(), strings.TrimPrefix(module, "mta1_"))
	}
	for _, name := range []string{"sock_accept", "sock_send", "sock_recv", "sock_shutdown"} {
		m := wb.New()
		sig := map[string]wb.Types{"sock_accept": "\x7f\x7f\x7f", "sock_send": "\x7f\x7f\x7f\x7f\x7f", "sock_recv": "\x7f\x7f\x7f\x7f\x7f\x7f", "sock_shutdown": "\x7f\x7f"}[name]
		f := m.Import("wasi_snapshot_preview1", name, sig, wb.I32)
		m.Memory(1, 1)
		m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.Code(strings.Repeat(string(wb.I32Const(3)), len(sig)))+wb.Call(f)+wb.I32Const(8)+wb.I32Ne)
		if v, err := ask(t, load(t, e, hostapi.Spec{}, m.Bytes()), rcptEvent()); err != nil || v.Action != hook.Continue {
			t.Errorf("%s: %v, %v; want EBADF", name, v.Action, err)
		}
	}
	// The operator grants a name. Whoever answers for it in the DNS, the request
	// does not go to this machine, its neighbours, or the metadata of its cloud.
	// A redirect is not followed at all.
	for _, addr := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "::",
		"::ffff:127.0.0.1", "::ffff:10.1.2.3", "fd00::1", "fe80::1", "64:ff9b::7f00:1", "224.0.0.1", "255.255.255.255",
	} {
		client := outbound.New(outbound.Options{Addrs: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(addr)}, nil
		}})
		s := newScript(abi.ModuleHTTP)
		s.want(1, "http.start", abi.HTTPGet, "http://rep.example/", "", "", 0)
		s.want(int(abi.Denied), "http.wait", 1, -1)
		t.Run(addr, func(t *testing.T) {
			s.run(t, with(hostapi.Services{HTTP: client}), hostapi.Grant{HTTP: []hostapi.HTTPGrant{{URL: "http://rep.example/"}}}, rcptEvent())
		})
		client.Close()
	}
	s := newScript(abi.ModuleHTTP)
	s.want(int(abi.Invalid), "http.start", abi.HTTPGet, "http://rep.example@127.0.0.1/", "", "", 0)
	for _, url := range []string{"http://127.0.0.1/", "http://rep.example.evil.example/", "https://rep.example/", "http://rep.example:81/"} {
		s.want(int(abi.Denied), "http.start", abi.HTTPGet, url, "", "", 0)
	}
	client := outbound.New(outbound.Options{})
	defer client.Close()
	s.run(t, with(hostapi.Services{HTTP: client}), hostapi.Grant{HTTP: []hostapi.HTTPGrant{{URL: "http://rep.example/"}}}, rcptEvent())
	// Names outside the granted zones would carry what they like to whoever
	// serves them.
	d := newScript(abi.ModuleDNS)
	d.want(int(abi.Denied), "dns.query", 16, "secret.evil.example", scriptOut, 100)
	d.want(int(abi.Denied), "dns.prefetch", 16, "secret.evil.example")
	d.want(int(abi.Denied), "dns.query", 16, "xrep.example", scriptOut, 100)
	d.run(t, engine.Options{}, hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"rep.example"}}}, rcptEvent())
}

// TestW10FilesAndEnvironment: of WASI there is nothing that reaches outside.
func TestW10FilesAndEnvironment(t *testing.T) {
	t.Setenv("WASMTA_SECRET", "do not read")
	e := newEngine(t, engine.Options{})
	const ii, badF, noSys = "\x7f\x7f", 8, 52
	for name, c := range map[string]struct {
		params wb.Types
		want   int32
	}{
		"path_open":             {"\x7f\x7f\x7f\x7f\x7f\x7e\x7e\x7f\x7f", noSys},
		"path_filestat_get":     {"\x7f\x7f\x7f\x7f\x7f", noSys},
		"path_unlink_file":      {"\x7f\x7f\x7f", noSys},
		"path_symlink":          {"\x7f\x7f\x7f\x7f\x7f", noSys},
		"path_create_directory": {"\x7f\x7f\x7f", noSys},
		"path_rename":           {"\x7f\x7f\x7f\x7f\x7f\x7f", noSys},
		"path_readlink":         {"\x7f\x7f\x7f\x7f\x7f\x7f", noSys},
		"fd_prestat_get":        {ii, badF},
		"fd_prestat_dir_name":   {"\x7f\x7f\x7f", badF},
		"fd_readdir":            {"\x7f\x7f\x7f\x7e\x7f", badF},
		"fd_read":               {"\x7f\x7f\x7f\x7f", badF},
		"fd_pread":              {"\x7f\x7f\x7f\x7e\x7f", badF},
		"environ_sizes_get":     {ii, 0},
		"args_sizes_get":        {ii, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for fd := range int32(6) {
				m := wb.New()
				f := m.Import("wasi_snapshot_preview1", name, c.params, wb.I32)
				m.Memory(1, 1)
				m.Data(64, "/etc/passwd\x00../../etc/passwd")
				var args wb.Code
				for n, typ := range []byte(c.params) {
					switch {
					case typ == 0x7e:
						args += wb.I64Const(-1)
					case n == 0:
						args += wb.I32Const(fd)
					default:
						args += wb.I32Const(64)
					}
				}
				check := wb.Call(f) + wb.I32Const(c.want) + wb.I32Ne
				if c.want == 0 { // and the sizes are 0
					args = wb.I32Const(0) + wb.I32Const(4)
					check += wb.I32Const(0) + wb.I32Load(0) + wb.I32Add + wb.I32Const(0) + wb.I32Load(4) + wb.I32Add
				}
				m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
				m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, args+check)
				if v, err := ask(t, load(t, e, hostapi.Spec{}, m.Bytes()), rcptEvent()); err != nil || v.Action != hook.Continue {
					t.Errorf("fd %d: %v, %v; want the error %d", fd, v.Action, err, c.want)
				}
			}
		})
	}
}

// TestW12VerdictRaces: a verdict belongs to the event that was asked about, the
// last reply of a call is the one that counts, and none of another call.
func TestW12VerdictRaces(t *testing.T) {
	e := newEngine(t, engine.Options{})
	g := newGuest()
	g.Data(16, "firstsecond")
	g.on("rcpt", g.call("reply", 550, 0, 16, 5)+wb.Drop+g.call("reply", 551, 0, 21, 6)+wb.Drop+wb.I32Const(int32(abi.Reject)))
	g.on("mail", wb.I32Const(int32(abi.Reject)))
	g.on("data", g.call("reply", 550, 0, 16, 5)+wb.Drop+wb.I32Const(int32(abi.Continue)))
	g.on("ehlo", g.call("list_get", 1, 0, 1, 1024, 64)+wb.Drop+wb.I32Const(0))
	p := load(t, e, hostapi.Spec{}, g.finish())
	i, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for range 3 {
		v, err := i.Handle(t.Context(), rcptEvent())
		if err != nil || v.Reply == nil || v.Reply.String() != "551 5.1.6 second" && !strings.HasSuffix(v.Reply.String(), "second") {
			t.Fatalf("%v %v %v; want the second reply", v.Action, v.Reply, err)
		}
		ev := rcptEvent()
		ev.Stage, ev.Recipient = hook.Mail, -1
		if v, err = i.Handle(t.Context(), ev); err != nil || v.Action != hook.Reject || v.Reply != nil && strings.Contains(v.Reply.String(), "second") {
			t.Fatalf("%v %v %v; want a verdict without the reply of the call before", v.Action, v.Reply, err)
		}
		ev.Stage = hook.Data
		if v, err = i.Handle(t.Context(), ev); err != nil || v.Action != hook.Continue || v.Reply != nil {
			t.Fatalf("%v %v %v; want no opinion and no reply", v.Action, v.Reply, err)
		}
	}
	// Many sessions at once: each verdict answers its own question.
	g = newGuest()
	g.on("rcpt", g.call("list_get", 1, 0, 1, 1024, 64)+wb.LocalSet(0)+
		wb.I32Const(550)+wb.I32Const(0)+wb.I32Const(1024)+wb.LocalGet(0)+wb.Call(g.fn["reply"])+wb.Drop+wb.I32Const(int32(abi.Reject)))
	p = load(t, e, hostapi.Spec{}, g.finish())
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			for k := range 100 {
				ev := rcptEvent()
				to := fmt.Sprintf("u%d-%d@example.org", n, k)
				ev.Tx.Envelope.Recipients[0].ForwardPath, _ = mail.ParseMailbox(to)
				if v, err := ask(t, p, ev); err != nil || !strings.HasSuffix(v.Reply.String(), to) {
					t.Errorf("asked about %s, answered %v, %v", to, v.Reply, err)
				}
			}
		})
	}
	all.Wait()
}

// TestW13HotReload: a thousand generations follow one another while sessions
// are under way; a bad one changes nothing, and memory returns to base.
func TestW13HotReload(t *testing.T) {
	rounds := 1000
	if raceEnabled {
		rounds = 100
	}
	e := newEngine(t, engine.Options{})
	module := func(n int) []byte {
		g := newGuest()
		g.Data(16, "generation "+strconv.Itoa(n))
		g.on("mail", wb.I32Const(0))
		g.on("rcpt", g.call("reply", 550, 0, 16, int32(len("generation "+strconv.Itoa(n))))+wb.Drop+wb.I32Const(int32(abi.Reject)))
		return g.finish()
	}
	file := filepath.Join(t.TempDir(), "p.wasm")
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(module(0))
	m := manage(t, e)
	if err := m.Start(t.Context(), []hostapi.Spec{{Name: "p", Module: file}}); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var sessions sync.WaitGroup
	for range 4 {
		sessions.Go(func() {
			for !stop.Load() {
				chain, release := m.Acquire()
				k := chain.Open("mx", nil)
				first := k.Ask(t.Context(), rcptEvent())
				runtime.Gosched()
				second := k.Ask(t.Context(), rcptEvent())
				if first.Failed || second.Failed || first.Reply.String() != second.Reply.String() {
					t.Errorf("one session was answered by %v and %v", first.Reply, second.Reply)
				}
				k.Close()
				release()
			}
		})
	}
	swap := func(from, to int) {
		for n := from; n < to; n++ {
			if n%10 == 5 {
				write([]byte("\x00asm damaged"))
				if err := m.Reload(t.Context(), "p"); err == nil {
					t.Fatal("a damaged module was loaded")
				}
			}
			write(module(n))
			if err := m.Reload(t.Context(), "p"); err != nil {
				t.Fatal(err)
			}
		}
	}
	swap(1, 20)
	before := heap()
	swap(20, rounds)
	stop.Store(true)
	sessions.Wait()
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d KiB more after %d generations", (after-before)>>10, rounds)
	}
	if n := len(m.List()[0].Draining); n != 0 {
		t.Errorf("%d generations are still held", n)
	}
}

// TestW14Miscompilation: the compiler and the interpreter give one verdict, and
// one reason for none. Modules that compilers got wrong once are compared in the
// package meter, and guests that use all of the contract in conformance.
func TestW14Miscompilation(t *testing.T) {
	engines := []*engine.Engine{newEngine(t, engine.Options{}), newEngine(t, engine.Options{Interpreter: true})}
	modules := map[string][]byte{"small": smallGuest(), "plain": plain(nil)}
	for name, c := range misbehaviours() {
		if c.fault != hostapi.FaultCPU { // where it is stopped depends on the machine
			modules[name] = misbehaving(c.build)
		}
	}
	for name, wasm := range modules {
		var said [2]string
		for n, e := range engines {
			p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Minute, Wall: time.Minute}}, wasm)
			if !p.Stages().Has(hook.Rcpt) {
				continue
			}
			v, err := ask(t, p, rcptEvent())
			said[n] = fmt.Sprint(v.Action, v.Reply, err)
		}
		if said[0] != said[1] {
			t.Errorf("%s: the compiler says %q, the interpreter %q", name, said[0], said[1])
		}
	}
}

// TestW15DamagedModules: what is not a module that this server takes is refused
// with the reason.
func TestW15DamagedModules(t *testing.T) {
	e := newEngine(t, engine.Options{})
	whole := plain(nil)
	for n := range len(whole) {
		if p, err := e.Load(t.Context(), hostapi.Spec{Name: "p"}, whole[:n]); err == nil {
			p.Close() // cut between custom sections at the end, it is whole
		}
	}
	for name, c := range map[string]struct {
		wasm []byte
		says string
	}{
		"empty":     {nil, "malformed"},
		"text":      {[]byte("(module)"), "malformed"},
		"ELF":       {[]byte("\x7fELF\x02\x01\x01"), "malformed"},
		"version 2": {append([]byte("\x00asm\x02\x00\x00\x00"), whole[8:]...), "1.0"},
		"component": {append([]byte("\x00asm\x0d\x00\x01\x00"), whole[8:]...), "component"},
		"17 MiB":    {append(slices.Clone(whole), make([]byte, 17<<20)...), "the limit is"},
		"threads":   {feature("\xfe\x03\x00"), "unsupported"},
		"tail call": {feature("\x12\x00"), "unsupported"},
		"exception": {feature("\x08\x00"), "unsupported"},
		"GC":        {feature("\xfb\x00\x00"), "unsupported"},
	} {
		t.Run(name, func(t *testing.T) { loadFails(t, e, hostapi.Spec{}, c.wasm, c.says) })
	}
}

// feature is a module whose hook begins with code of another feature set.
func feature(code string) []byte {
	m := wb.New()
	m.Memory(1, 1)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.Code(code)+wb.I32Const(0))
	return m.Bytes()
}

// randomGuest is a valid module of random code, which calls functions of its own
// and of the host, reads, writes, grows and branches.
func randomGuest(rnd *rand.Rand) []byte {
	m := wb.New()
	log := m.Import(abi.Module, "log", wb.I32+wb.I32+wb.I32, wb.I32)
	get := m.Import(abi.Module, "get", wb.I32+wb.I32+wb.I32, wb.I32)
	depth := m.Global(wb.I32, true, wb.I32Const(0))
	binary := []wb.Code{wb.I32Add, wb.I32Eq, wb.I32Ne, wb.I32DivS, "\x6b", "\x6c", "\x6d", "\x6e", "\x6f", "\x70", "\x71", "\x72", "\x73", "\x74", "\x75", "\x76", "\x77", "\x78"}
	var value func(n int) wb.Code
	value = func(n int) wb.Code {
		if n <= 0 {
			return wb.I32Const(int32(rnd.Uint32() >> rnd.IntN(32)))
		}
		switch rnd.IntN(12) {
		case 0:
			return wb.LocalGet(uint32(rnd.IntN(2)))
		case 1:
			return value(n-1) + wb.LocalTee(uint32(rnd.IntN(2)))
		case 2:
			return value(n-1) + "\x41\xff\xff\x03\x71" + wb.I32Load(uint32(rnd.IntN(64)))
		case 3:
			return value(n-1) + "\x41\xff\xff\x03\x71" + value(n-1) + wb.I32Store(uint32(rnd.IntN(64))) + value(n-1)
		case 4:
			return value(n-1) + value(n-1) + value(n-1) + wb.Call(get)
		case 5:
			return value(n-1) + wb.I32Const(int32(rnd.IntN(1024))) + wb.I32Const(int32(rnd.IntN(1024))) + wb.Call(log)
		case 6:
			return value(n-1) + wb.If(wb.I32, value(n-1), value(n-2))
		case 7:
			return wb.Loop(wb.None, wb.LocalGet(0)+wb.I32Const(1)+wb.I32Add+wb.LocalTee(0)+wb.I32Const(int32(rnd.IntN(2000)))+"\x49"+wb.BrIf(0)) + value(n-1)
		case 8:
			return wb.GlobalGet(depth) + value(n-1) + wb.GlobalSet(depth)
		case 9:
			return wb.I32Const(int32(rnd.IntN(3))) + wb.MemoryGrow
		default:
			return value(n-1) + value(n-1) + binary[rnd.IntN(len(binary))]
		}
	}
	var last uint32
	for n := range 1 + rnd.IntN(6) {
		code := value(3 + rnd.IntN(5))
		if n > 0 {
			code += wb.I32Const(int32(rnd.IntN(9))) + wb.Call(last) + wb.I32Add
		}
		last = m.Func("", wb.I32, wb.I32, wb.I32, code)
	}
	m.Memory(1, wb.NoMax)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(5)+wb.Call(last)+wb.I32Const(3)+"\x71")
	return m.Bytes()
}

// TestRandomModules: random and mutated modules end in an error or in a plugin
// that answers or fails, and leave nothing. WASMTA_ATTACKS says how many.
func TestRandomModules(t *testing.T) {
	e := newEngine(t, engine.Options{Limits: func(d *engine.Defaults) { d.Init.CPU = 5 * time.Millisecond }})
	rnd := rand.New(rand.NewPCG(1, uint64(many(3000))))
	seeds := [][]byte{plain(nil), smallGuest()}
	for _, c := range misbehaviours() {
		seeds = append(seeds, misbehaving(c.build))
	}
	for range 50 {
		seeds = append(seeds, randomGuest(rnd))
	}
	run := func(n int) (loaded int) {
		for range n {
			wasm := slices.Clone(seeds[rnd.IntN(len(seeds))])
			switch rnd.IntN(10) {
			case 0: // noise behind a head
				wasm = binary.LittleEndian.AppendUint64([]byte("\x00asm\x01\x00\x00\x00"), rnd.Uint64())
				for range rnd.IntN(200) {
					wasm = append(wasm, byte(rnd.Uint32()))
				}
			case 1: // two halves
				other := seeds[rnd.IntN(len(seeds))]
				wasm = append(wasm[:rnd.IntN(len(wasm))], other[rnd.IntN(len(other)):]...)
			case 2: // a piece twice
				at := rnd.IntN(len(wasm))
				wasm = slices.Insert(wasm, at, wasm[at:min(len(wasm), at+rnd.IntN(32))]...)
			case 3: // valid, and never seen before
				wasm = randomGuest(rnd)
			default:
				for range 1 + rnd.IntN(3) {
					wasm[8+rnd.IntN(len(wasm)-8)] = byte(rnd.Uint32())
				}
			}
			p, err := e.Load(t.Context(), hostapi.Spec{Name: "p", Limits: hostapi.Limits{CPU: time.Millisecond, MemoryMB: 1}}, wasm)
			var l *engine.LoadError
			if err != nil {
				if !errors.As(err, &l) || strings.ContainsAny(err.Error(), "\n\x00") {
					t.Fatalf("error is %q\n%x", err, wasm)
				}
				continue
			}
			loaded++
			if p.Stages().Has(hook.Rcpt) {
				v, err := ask(t, p, rcptEvent())
				var c *engine.CallError
				if err != nil && !errors.As(err, &c) || err == nil && v.Check(hook.Rcpt) != nil {
					t.Fatalf("%v, %v\n%x", v, err, wasm)
				}
			}
			p.Close()
			<-p.Done()
		}
		return loaded
	}
	run(50)
	before, goroutines := heap(), runtime.NumGoroutine()
	n := many(3000)
	loaded := run(n)
	if loaded == 0 || loaded == n {
		t.Errorf("%d of %d were loaded: the test is void", loaded, n)
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d KiB are left of %d modules", (after-before)>>10, n)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	if m := e.MemoryInUse(); m != 0 {
		t.Errorf("%d octets of guest memory are left", m)
	}
	t.Logf("%d of %d were loaded", loaded, n)
}

// TestWithoutAGrant has a module that tries, for all that needs a grant: the
// content, the attributes and the memory of another plugin. Secrets of AUTH are
// in TestThePasswordNeedsItsGrant of hostapi and
// TestAPluginWithoutTheGrantAuthenticatesNobody of cmd/wasmta; files and the environment in TestW10, addresses of
// the network in TestW9.
func TestWithoutAGrant(t *testing.T) {
	content := func(stage hook.Stage) *hook.Event {
		e := messageEvent("the secret\r\n")
		e.Stage = stage
		e.Tx.Attrs = mail.Attrs{"other/secret": []byte("x")}
		e.Session.Attrs = mail.Attrs{"other/secret": []byte("x")}
		return e
	}
	denied := int(abi.Denied)
	for _, stage := range []hook.Stage{hook.Headers, hook.Message} {
		s := newScript()
		s.want(denied, "get", abi.RawHeaders, scriptOut, 1024)
		s.want(denied, "get", abi.MsgID, scriptOut, 1024)
		s.want(denied, "list_len", int(abi.ListHeader))
		s.want(denied, "list_get", int(abi.ListHeader), 0, int(abi.HeaderValue), scriptOut, 1024)
		s.want(denied, "list_find", int(abi.ListHeader), 0, "Subject")
		s.want(denied, "list_insert", int(abi.ListHeader), 0, "X-A: b")
		s.want(denied, "list_remove", int(abi.ListHeader), 0)
		s.want(denied, "list_len", int(abi.ListReceived))
		s.want(denied, "body_read", 0, scriptOut, 1024)
		s.want(denied, "set", abi.MailFrom, "a@evil.example")
		s.want(denied, "list_insert", int(abi.ListRcpt), -1, "spy@evil.example")
		s.want(denied, "secret", "api_key", scriptOut, 64)
		for scope := range 2 {
			s.want(denied, "attr_get", scope, "other/secret", scriptOut, 64)
		}
		t.Run(stage.String(), func(t *testing.T) {
			e := content(stage)
			s.run(t, with(hostapi.Services{}), hostapi.Grant{}, e)
			if to := e.Tx.Envelope.Recipients; len(to) != 1 || e.Content.Edited {
				t.Errorf("changed all the same: %+v, header edited %v", to, e.Content.Edited)
			}
		})
	}
	// With headers it reads headers, and nothing more.
	s := newScript()
	s.want(denied, "body_read", 0, scriptOut, 1024)
	s.want(denied, "list_insert", int(abi.ListHeader), 0, "X-A: b")
	s.run(t, with(hostapi.Services{}), hostapi.Grant{Headers: hostapi.Read}, content(hook.Message))

	// One key, two plugins: neither sees what the other keeps.
	store := newState(t)
	opt := withState(store)
	e := newEngine(t, opt)
	for n, name := range []string{"first", "second", "first"} {
		s := newScript(abi.ModuleKV)
		if n == 2 {
			s.want(1, "kv.get", "key", scriptOut, 64)
		} else {
			s.want(int(abi.NotFound), "kv.get", "key", scriptOut, 64)
			s.want(0, "kv.set", "key", "v", 0, 0)
		}
		s.on("rcpt", s.code+wb.I32Const(0))
		p := load(t, e, hostapi.Spec{Name: name, Grant: hostapi.Grant{KV: hostapi.KVGrant{MB: 1}}}, s.finish())
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Continue {
			t.Errorf("%s (%d): %v, %v", name, n, v.Reply, err)
		}
	}
}
