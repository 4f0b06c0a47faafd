package engine_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// misbehaviours are guests whose hook rcpt goes wrong.
func misbehaviours() map[string]struct {
	fault  hostapi.Fault
	detail string
	build  func(g *guest)
} {
	type c = struct {
		fault  hostapi.Fault
		detail string
		build  func(g *guest)
	}
	return map[string]c{
		"loop": {hostapi.FaultCPU, "CPU time", func(g *guest) {
			g.on("rcpt", wb.Loop(wb.None, wb.Br(0))+wb.I32Const(0))
		}},
		"loop of host calls": {hostapi.FaultLimit, "host calls", func(g *guest) {
			g.on("rcpt", wb.Loop(wb.None, g.call("log_level")+wb.Drop+wb.Br(0))+wb.I32Const(0))
		}},
		"recursion": {hostapi.FaultRecursion, "too deep", func(g *guest) {
			f := g.NextFunc()
			g.Func("", wb.I32, wb.I32, wb.None, wb.LocalGet(0)+wb.I32Const(1)+wb.I32Add+wb.Call(f)+wb.I32Const(1)+wb.I32Add)
			g.on("rcpt", wb.I32Const(0)+wb.Call(f))
		}},
		"mutual recursion through a table": {hostapi.FaultRecursion, "too deep", func(g *guest) {
			g.Table(wb.FuncRef, 2, 2)
			typ := g.Type(wb.None, wb.I32)
			a := g.NextFunc()
			g.Func("", wb.None, wb.I32, wb.None, wb.I32Const(1)+wb.CallIndirect(typ, 0)+wb.I32Const(1)+wb.I32Add)
			g.Func("", wb.None, wb.I32, wb.None, wb.I32Const(0)+wb.CallIndirect(typ, 0)+wb.I32Const(1)+wb.I32Add)
			g.Elem(0, a, a+1)
			g.on("rcpt", wb.Call(a))
		}},
		"unreachable":   {hostapi.FaultTrap, "unreachable", func(g *guest) { g.on("rcpt", wb.Unreachable) }},
		"load outside":  {hostapi.FaultTrap, "out of bounds memory", func(g *guest) { g.on("rcpt", wb.I32Const(-4)+wb.I32Load(0)) }},
		"division by 0": {hostapi.FaultTrap, "divide by zero", func(g *guest) { g.on("rcpt", wb.I32Const(1)+wb.I32Const(0)+wb.I32DivS) }},
		"null reference": {hostapi.FaultTrap, "invalid table access", func(g *guest) {
			g.Table(wb.FuncRef, 2, 2)
			g.on("rcpt", wb.I32Const(0)+wb.CallIndirect(g.Type(wb.None, wb.I32), 0))
		}},
		"beyond table": {hostapi.FaultTrap, "invalid table access", func(g *guest) {
			g.Table(wb.FuncRef, 2, 2)
			g.on("rcpt", wb.I32Const(99)+wb.CallIndirect(g.Type(wb.None, wb.I32), 0))
		}},
		"memory without end": {hostapi.FaultMemory, "of 16 MiB", func(g *guest) {
			g.on("rcpt", wb.Loop(wb.None, wb.I32Const(1)+wb.MemoryGrow+wb.I32Const(-1)+wb.I32Ne+wb.BrIf(0))+wb.Unreachable)
		}},
		"memory at once, then trap": {hostapi.FaultTrap, "unreachable", func(g *guest) {
			g.on("rcpt", wb.I32Const(65535)+wb.MemoryGrow+wb.I32Const(-1)+wb.I32Eq+wb.If(wb.None, wb.Unreachable, "")+wb.I32Const(0))
		}},
		"fills without end": {hostapi.FaultCPU, "CPU time", func(g *guest) {
			g.on("rcpt", wb.Loop(wb.None, wb.I32Const(0)+wb.I32Const(1)+wb.I32Const(60000)+wb.MemoryFill+wb.Br(0))+wb.I32Const(0))
		}},
		"table without end": {hostapi.FaultTrap, "unreachable", func(g *guest) {
			g.Table(wb.FuncRef, 1, wb.NoMax)
			g.on("rcpt", wb.Loop(wb.None, wb.RefNull(wb.FuncRef)+wb.I32Const(1000)+wb.TableGrow(0)+wb.I32Const(-1)+wb.I32Ne+wb.BrIf(0))+wb.Unreachable)
		}},
		"table at once": {hostapi.FaultTrap, "unreachable", func(g *guest) {
			g.Table(wb.FuncRef, 1, wb.NoMax)
			g.on("rcpt", wb.RefNull(wb.FuncRef)+wb.I32Const(100_000_000)+wb.TableGrow(0)+wb.I32Const(-1)+wb.I32Eq+wb.If(wb.None, wb.Unreachable, "")+wb.I32Const(0))
		}},
		"exit": {hostapi.FaultExit, "code 0", func(g *guest) { g.on("rcpt", wb.I32Const(0)+wb.Call(g.fn["exit"])+wb.I32Const(0)) }},
		"abort": {hostapi.FaultTrap, "abort: no at x.ts:3:4", func(g *guest) {
			g.Data(16, "\x04\x00\x00\x00n\x00o\x00\x08\x00\x00\x00x\x00.\x00t\x00s\x00")
			g.on("rcpt", wb.I32Const(20)+wb.I32Const(28)+wb.I32Const(3)+wb.I32Const(4)+wb.Call(g.fn["abort"])+wb.I32Const(0))
		}},
		"unknown action":       {hostapi.FaultVerdict, "no action 7", func(g *guest) { g.on("rcpt", wb.I32Const(7)) }},
		"unknown flag":         {hostapi.FaultVerdict, "no flag", func(g *guest) { g.on("rcpt", wb.I32Const(8<<8)) }},
		"wrong class":          {hostapi.FaultVerdict, "code 450", func(g *guest) { g.on("rcpt", wb.I32Const(abi.Verdict(abi.Reject, 0, 450))) }},
		"code with accept":     {hostapi.FaultVerdict, "code 550", func(g *guest) { g.on("rcpt", wb.I32Const(abi.Verdict(abi.Accept, 0, 550))) }},
		"no reply with reject": {hostapi.FaultVerdict, "NO_REPLY", func(g *guest) { g.on("rcpt", wb.I32Const(abi.Verdict(abi.Reject, abi.NoReply, 0))) }},
	}
}

// misbehaving builds such a guest. Its hook mail answers ACCEPT.
func misbehaving(build func(g *guest)) []byte {
	g := &guest{Module: wb.New(), fn: map[string]uint32{}}
	abi.Functions(func(name string, sig abi.Signature) {
		params, results, _ := strings.Cut(string(sig), ">")
		g.fn[name] = g.Import(abi.Module, name, types(params), types(results))
	})
	g.fn["exit"] = g.Import("wasi_snapshot_preview1", "proc_exit", wb.I32, wb.None)
	g.fn["abort"] = g.Import("env", "abort", wb.I32+wb.I32+wb.I32+wb.I32, wb.None)
	build(g)
	g.on("mail", wb.I32Const(int32(abi.Accept)))
	g.Memory(1, wb.NoMax)
	g.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	return g.Bytes()
}

func TestMisbehaviourCostsOneVerdict(t *testing.T) {
	for _, kind := range []string{"compiler", "interpreter"} {
		t.Run(kind, func(t *testing.T) {
			e := newEngine(t, engine.Options{Interpreter: kind == "interpreter"})
			spec := hostapi.Spec{Limits: hostapi.Limits{Wall: time.Minute}} // CPU ends first, on a busy machine too
			if kind == "interpreter" {                                      // some 20 times slower
				spec.Limits.CPU = 200 * time.Millisecond
			}
			for name, c := range misbehaviours() {
				t.Run(name, func(t *testing.T) {
					p := load(t, e, spec, misbehaving(c.build))
					i, err := p.Open(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					bystander, err := p.Open(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					_, err = i.Handle(t.Context(), rcptEvent())
					callError(t, err, c.fault)
					if !strings.Contains(err.Error(), c.detail) {
						t.Errorf("error is %q; it should say %q", err, c.detail)
					}
					ev := rcptEvent()
					ev.Stage, ev.Recipient = hook.Mail, -1
					if _, err := i.Handle(t.Context(), ev); err == nil {
						t.Error("the instance answered again after it failed")
					}
					i.Close()
					v, err := bystander.Handle(t.Context(), ev)
					if err != nil || v.Action != hook.Accept {
						t.Errorf("the session beside it got %v, %v; want accept", v, err)
					}
					bystander.Close()
					if v, err = ask(t, p, ev); err != nil || v.Action != hook.Accept {
						t.Errorf("the next session got %v, %v; want accept", v, err)
					}
					if n := p.Instances(); n > 1 {
						t.Errorf("%d instances are left; want at most the one that waits for a session", n)
					}
				})
			}
		})
	}
}

func TestMemoryReturnsAfterMisbehaviour(t *testing.T) {
	rounds := 10_000
	if testing.Short() || raceEnabled {
		rounds = 500
	}
	e := newEngine(t, engine.Options{})
	var plugins []*engine.Plugin
	for name, c := range misbehaviours() {
		switch name {
		case "loop", "fills without end", "loop of host calls":
			// These use their time up; 10,000 of them would take minutes.
			continue
		}
		plugins = append(plugins, load(t, e, hostapi.Spec{Limits: hostapi.Limits{MemoryMB: 1}}, misbehaving(c.build)))
	}
	ctx := context.Background()
	round := func(n int) {
		for k := range n {
			p := plugins[k%len(plugins)]
			i, err := p.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := i.Handle(ctx, rcptEvent()); err == nil {
				t.Fatal("no error")
			}
			i.Close()
		}
	}
	round(200)
	before, goroutines := heap(), runtime.NumGoroutine()
	round(rounds)
	after := heap()
	if grown := int64(after) - int64(before); grown > 4<<20 {
		t.Errorf("the heap grew by %d KiB in %d rounds", grown>>10, rounds)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestRecursionOfManyAtOnceIsBounded(t *testing.T) {
	e := newEngine(t, engine.Options{})
	p := load(t, e, hostapi.Spec{}, misbehaving(misbehaviours()["recursion"].build))
	var peak uint64
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	before := heap()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			i, err := p.Open(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			defer i.Close()
			if _, err := i.Handle(context.Background(), rcptEvent()); err == nil {
				t.Error("endless recursion was not stopped")
			}
		})
	}
	all.Wait()
	close(stop)
	watch.Wait()
	// Without the limit on depth each would take over 100 MiB.
	if grown := int64(peak) - int64(before); grown > 256<<20 {
		t.Errorf("100 recursing guests took %d MiB", grown>>20)
	}
	t.Logf("peak %d MiB over %d MiB", peak>>20, before>>20)
}

func TestWildPointers(t *testing.T) {
	e := newEngine(t, engine.Options{})
	type pair struct{ ptr, size int32 }
	const wild, pages = 1 << 20, 1 << 16
	// Each function with a pointer, and the places of its (pointer, length)
	// pairs among the parameters.
	pairs := map[string][][2]int{
		"get": {{1, 2}}, "set": {{1, 2}}, "list_get": {{3, 4}}, "list_set": {{3, 4}}, "list_insert": {{2, 3}},
		"list_find": {{2, 3}}, "reply": {{2, 3}}, "body_read": {{1, 2}}, "body_write": {{0, 1}},
		"attr_get": {{1, 2}, {3, 4}}, "attr_set": {{1, 2}, {3, 4}}, "attr_del": {{1, 2}},
		"config": {{0, 1}, {2, 3}}, "secret": {{0, 1}, {2, 3}}, "log": {{1, 2}}, "random": {{0, 1}}, "metric_def": {{1, 2}},
	}
	traps := []pair{{wild, 1}, {-1, 1}, {-1, -1}, {0, -1}, {pages, 1}, {pages - 1, 2}, {1, pages}, {pages - 8, -4}}
	fine := []pair{{0, 0}, {-1, 0}, {pages, 0}, {pages - 1, 1}, {0, 8}}
	abi.Functions(func(name string, sig abi.Signature) {
		for n, at := range pairs[name] {
			build := func(v pair) []byte {
				g := newGuest()
				var code wb.Code
				params, _, _ := strings.Cut(string(sig), ">")
				for k, typ := range params {
					value := int32(0)
					switch {
					case k == at[0]:
						value = v.ptr
					case k == at[1]:
						value = v.size
					}
					if typ == 'I' {
						code += wb.I64Const(int64(value))
					} else {
						code += wb.I32Const(value)
					}
				}
				code += wb.Call(g.fn[name])
				if strings.HasSuffix(string(sig), ">I") {
					code += wb.I32WrapI64
				}
				g.on("rcpt", code+wb.Drop+wb.I32Const(0))
				return g.finish()
			}
			for _, v := range traps {
				p := load(t, e, hostapi.Spec{}, build(v))
				if _, err := ask(t, p, rcptEvent()); err == nil {
					t.Errorf("%s pair %d (%#x, %#x): no trap", name, n, uint32(v.ptr), uint32(v.size))
				} else {
					callError(t, err, hostapi.FaultTrap)
				}
				p.Close()
			}
			for _, v := range fine {
				p := load(t, e, hostapi.Spec{}, build(v))
				if _, err := ask(t, p, rcptEvent()); err != nil {
					t.Errorf("%s pair %d (%#x, %#x): %v", name, n, uint32(v.ptr), uint32(v.size), err)
				}
				p.Close()
			}
		}
		if strings.Contains(string(sig), "ii") && pairs[name] == nil && name != "list_remove" && name != "list_num" {
			t.Errorf("%s takes a pointer and is not in this test", name)
		}
	})
}

func TestWallLimitAndTheEndOfTheSession(t *testing.T) {
	e := newEngine(t, engine.Options{})
	wasm := misbehaving(misbehaviours()["loop"].build)
	p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Hour, Wall: 20 * time.Millisecond}}, wasm)
	_, err := ask(t, p, rcptEvent())
	callError(t, err, hostapi.FaultDeadline)

	p = load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Hour, Wall: time.Hour}}, wasm)
	ctx, cancel := context.WithCancel(context.Background())
	i, err := p.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = i.Handle(ctx, rcptEvent())
	callError(t, err, hostapi.FaultDeadline)
}

func TestASpinningGuestDoesNotHoldUpCollections(t *testing.T) {
	e := newEngine(t, engine.Options{})
	p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Hour, Wall: time.Hour}}, misbehaving(misbehaviours()["loop"].build))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		done.Go(func() {
			i, err := p.Open(ctx)
			if err != nil {
				return
			}
			defer i.Close()
			i.Handle(ctx, rcptEvent())
		})
	}
	for range 3 {
		runtime.GC() // would never return while a guest keeps its thread
	}
	cancel()
	done.Wait()
}

func TestBudgetOfAllInstances(t *testing.T) {
	e := newEngine(t, engine.Options{MaxMemory: 3 * 64 << 10})
	g := newGuest()
	g.on("rcpt", wb.I32Const(1)+wb.MemoryGrow)
	p := load(t, e, hostapi.Spec{}, g.finish())
	var open []hook.Instance
	for range 3 {
		i, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, i)
	}
	_, err := p.Open(t.Context())
	callError(t, err, hostapi.FaultMemory)
	open[2].Close()
	// One page is free now: one instance may grow, the other sees -1, which is
	// no verdict.
	if v, err := open[0].Handle(t.Context(), rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("growing by the last page gave %v, %v; want 1", v, err)
	}
	_, err = open[1].Handle(t.Context(), rcptEvent())
	callError(t, err, hostapi.FaultVerdict)
	open[0].Close()
	open[1].Close()
}

func TestConcurrentInstances(t *testing.T) {
	e := newEngine(t, engine.Options{})
	g := newGuest()
	g.on("rcpt", wb.I32Const(0))
	p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{Concurrent: 1}}, g.finish())
	i, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Open(t.Context())
	callError(t, err, hostapi.FaultBusy)
	i.Close()
	if _, err := ask(t, p, rcptEvent()); err != nil {
		t.Error(err)
	}
}
