package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
	"github.com/wasmta/wasmta/hostapi/operator"
	"github.com/wasmta/wasmta/hostapi/state"
)

// everything is a grant of all capabilities.
var everything = hostapi.Grant{
	KV: hostapi.KVGrant{MB: 1}, DNS: hostapi.DNSGrant{Zones: []string{"*"}}, HTTP: []hostapi.HTTPGrant{{URL: "https://a.example/"}},
	SignKeys: []string{"key"}, Secrets: []string{"api", "gone"}, Tables: []string{"users", "nets"}, Events: []string{"seen", "bad topic"},
}

// capable is a guest that imports the core and these capability modules.
func capable(modules ...string) *guest {
	g := newGuest()
	abi.Capabilities(func(module, name string, sig abi.Signature, _ []string) {
		for _, m := range modules {
			if m == module {
				params, results, _ := strings.Cut(string(sig), ">")
				g.fn[strings.TrimPrefix(module, "mta1_")+"."+name] = g.Import(module, name, types(params), types(results))
			}
		}
	})
	return g
}

// step is a call with its result. A string among the arguments becomes a
// pointer and a length, out a buffer, and an int64 an i64.
type step struct {
	call string
	args []any
	want int64
	text string // of the buffer, if it is not empty
}

type out struct{ size int32 }

func do(want abi.Code, call string, args ...any) step { return step{call, args, int64(want), ""} }

func gives(text, call string, args ...any) step {
	return step{call, append(args, out{256}), int64(len(text)), text}
}

const buffer = 40_000

// steps is the code of a hook that returns CONTINUE if all results are as they
// should be, and otherwise refuses with the number of the step in the code.
func (g *guest) steps(list []step) wb.Code {
	var code wb.Code
	str := func(s string) (ptr, n int32) {
		ptr = 2048 + g.texts
		g.Data(ptr, s)
		g.texts += int32(len(s))
		return ptr, int32(len(s))
	}
	fail := func(n int) wb.Code {
		return wb.If(wb.None, wb.I32Const(abi.Verdict(abi.Reject, 0, 530+n))+wb.Return, "")
	}
	for n, s := range list {
		for _, a := range s.args {
			switch v := a.(type) {
			case string:
				ptr, size := str(v)
				code += wb.I32Const(ptr) + wb.I32Const(size)
			case out:
				code += wb.I32Const(buffer) + wb.I32Const(v.size)
			case int:
				code += wb.I32Const(int32(v))
			case int32:
				code += wb.I32Const(v)
			case int64:
				code += wb.I64Const(v)
			default:
				panic(fmt.Sprintf("argument %T", a))
			}
		}
		code += wb.Call(g.fn[s.call])
		if wide(s.call) {
			code += wb.I64Const(s.want) + wb.I64Eq + wb.I32Eqz
		} else {
			code += wb.I32Const(int32(s.want)) + wb.I32Ne
		}
		code += fail(n)
		for k := range len(s.text) {
			code += wb.I32Const(buffer) + wb.I32Load8U(uint32(k)) + wb.I32Const(int32(s.text[k])) + wb.I32Ne + fail(n)
		}
	}
	return code + wb.I32Const(0)
}

func wide(call string) bool { return call == "kv.incr" || call == "kv.take" || call == "get_num" }

// play runs steps in a hook of a plugin that is granted everything.
func play(t *testing.T, e *engine.Engine, spec hostapi.Spec, list []step, modules ...string) {
	t.Helper()
	if reflect.DeepEqual(spec.Grant, hostapi.Grant{}) {
		spec.Grant = everything
	}
	g := capable(modules...)
	g.on("rcpt", g.steps(list))
	g.Memory(2, 4)
	g.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	p := load(t, e, spec, g.Bytes())
	v, err := ask(t, p, rcptEvent())
	if err != nil {
		t.Fatal(err)
	}
	if v.Action != hook.Continue {
		s := list[v.Reply.Code-530]
		t.Errorf("step %d: %s%v is not %d %q", v.Reply.Code-530, s.call, s.args, s.want, s.text)
	}
}

func newState(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func withState(s *state.Store) engine.Options {
	return engine.Options{Services: func(spec hostapi.Spec) (hostapi.Services, error) {
		m, err := s.Plugin(spec.Name, spec.Grant.KV.MB)
		return hostapi.Services{KV: m}, err
	}}
}

func TestAnImportThatIsNotGrantedNamesTheLine(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for module, line := range map[string]string{
		abi.ModuleKV: "kv = { mb = 16 }", abi.ModuleDNS: `dns = { zones = ["*"] }`,
		abi.ModuleHTTP: `http = [{ url = "https://host.example/path/", methods = ["GET"] }]`, abi.ModuleTable: `tables = ["name"]`,
		abi.ModuleEvent: `events = ["topic"]`, abi.ModuleCrypto: "",
	} {
		p, err := e.Load(context.Background(), hostapi.Spec{Name: "p"}, capable(module).finish())
		if p != nil {
			p.Close()
		}
		var fault *engine.LoadError
		switch {
		case line == "" && err != nil:
			t.Errorf("%s: %v", module, err)
		case line != "" && (!errors.As(err, &fault) || fault.Step != engine.StepAuthorise || !strings.Contains(err.Error(), line) || !strings.Contains(err.Error(), module)):
			t.Errorf("%s: %v; want %s", module, err, line)
		}
	}
}

func TestAServiceThatRefusesFailsTheLoad(t *testing.T) {
	e := newEngine(t, engine.Options{Services: func(s hostapi.Spec) (hostapi.Services, error) {
		return hostapi.Services{}, fmt.Errorf("there is no table for %s", s.Name)
	}})
	_, err := e.Load(context.Background(), hostapi.Spec{Name: "p"}, newGuest().finish())
	if err == nil || !strings.Contains(err.Error(), "there is no table for p") {
		t.Errorf("%v", err)
	}
}

func TestFeaturesFollowTheGrant(t *testing.T) {
	e := newEngine(t, engine.Options{})
	features := func(want int) (list []step) {
		for _, f := range []int32{abi.FeatureKV, abi.FeatureTable, abi.FeatureEvent} {
			list = append(list, do(abi.Code(want), "feature", f))
		}
		return append(list, do(1, "feature", abi.FeatureCrypto), do(0, "feature", abi.FeatureDNS), do(0, "feature", abi.FeatureHTTP), do(0, "feature", 999))
	}
	play(t, e, hostapi.Spec{Name: "all"}, features(1))
	play(t, e, hostapi.Spec{Name: "none", Grant: hostapi.Grant{Headers: hostapi.Read}}, features(0))
}

func TestKVFromAGuest(t *testing.T) {
	e := newEngine(t, withState(newState(t)))
	long, huge := strings.Repeat("k", 513), strings.Repeat("v", 1000)
	play(t, e, hostapi.Spec{Name: "one"}, []step{
		do(abi.NotFound, "kv.get", "a", out{8}),
		do(abi.OK, "kv.set", "a", "hello", int64(0), 0),
		gives("hello", "kv.get", "a"),
		do(5, "kv.get", "a", out{4}), // whole or nothing
		do(abi.Conflict, "kv.set", "a", "x", int64(0), abi.KVIfAbsent),
		do(abi.OK, "kv.set", "a", "x", int64(60_000), abi.KVIfPresent|abi.KVSync),
		do(abi.NotFound, "kv.set", "b", "x", int64(0), abi.KVIfPresent),
		do(abi.Unsupported, "kv.set", "b", "x", int64(0), 8),
		do(abi.Invalid, "kv.set", "b", "x", int64(0), abi.KVIfPresent|abi.KVIfAbsent),
		do(abi.Invalid, "kv.set", "b", "x", int64(-1), 0),
		do(abi.Invalid, "kv.set", "b", "x", int64(1)<<60, 0),
		do(abi.Invalid, "kv.set", "", "x", int64(0), 0),
		do(abi.TooLarge, "kv.set", long, "x", int64(0), 0),
		do(abi.TooLarge, "kv.get", long, out{8}),
		do(abi.TooLarge, "kv.set", "b", 0, 65537, int64(0), 0),
		do(abi.Conflict, "kv.cas", "a", "y", "z", int64(0)),
		do(abi.OK, "kv.cas", "a", "x", huge, int64(0)),
		do(abi.TooLarge, "kv.cas", "a", "x", 0, 65537, int64(0)),
		do(abi.Invalid, "kv.cas", "a", "x", "z", int64(-1)),
		do(abi.OK, "kv.del", "a"),
		do(abi.NotFound, "kv.del", "a"),
		do(7, "kv.incr", "n", int64(7), int64(0), 0),
		do(0, "kv.incr", "n", int64(-9), int64(1000), abi.KVRefresh),
		do(abi.Unsupported, "kv.incr", "n", int64(1), int64(0), 2),
		do(abi.Invalid, "kv.incr", "n", int64(1), int64(-5), 0),
		gives("0", "kv.get", "n"),
		do(0, "kv.take", "t", 3, 3, int64(1)),
		do(abi.Invalid, "kv.take", "n", 1, 3, int64(1)),
		do(abi.Invalid, "kv.take", "t", 4, 3, int64(1)),
		do(abi.Invalid, "kv.take", "t", -1, 3, int64(1)),
		do(abi.Invalid, "kv.take", "t", 0, 0, int64(1)),
		do(abi.Invalid, "kv.take", "t", 1, 3, int64(0)),
		do(abi.Invalid, "kv.take", "t", 1, 3, int64(2e12)),
		do(abi.Invalid, "kv.get", "t", out{8}),
		do(abi.Invalid, "kv.incr", "t", int64(1), int64(0), 0),
		do(abi.OK, "kv.set", "kept", "1", int64(0), 0),
	}, abi.ModuleKV)
	// The name is what it belongs to, whatever the generation.
	play(t, e, hostapi.Spec{Name: "one", Config: []byte(`{"new":1}`)}, []step{gives("1", "kv.get", "kept")}, abi.ModuleKV)
	play(t, e, hostapi.Spec{Name: "two"}, []step{do(abi.NotFound, "kv.get", "kept", out{8})}, abi.ModuleKV)
	// Time to wait is in milliseconds, rounded up.
	g := capable(abi.ModuleKV)
	g.Data(16, "w")
	take := wb.I32Const(16) + wb.I32Const(1) + wb.I32Const(1) + wb.I32Const(1) + wb.I64Const(1000) + wb.Call(g.fn["kv.take"])
	g.on("rcpt", take+wb.I64Eqz+take+wb.I64Const(500)+"\x55"+ // i64.gt_s
		wb.I32And)
	p := load(t, e, hostapi.Spec{Name: "three", Grant: everything}, g.finish())
	if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("%v, %v", v, err)
	}
}

func TestKVQuotas(t *testing.T) {
	e := newEngine(t, withState(newState(t)))
	var list []step
	for range abi.MaxKVCalls {
		list = append(list, do(abi.NotFound, "kv.get", "a", out{8}))
	}
	play(t, e, hostapi.Spec{Name: "calls"}, append(list, do(abi.Limit, "kv.get", "a", out{8}), do(abi.Limit, "kv.take", "a", 1, 1, int64(1))), abi.ModuleKV)

	list = nil
	for n := range 17 {
		want := abi.OK
		if n > 14 {
			want = abi.Limit // 16 of 64 KiB and their keys are more than 1 MiB
		}
		list = append(list, do(want, "kv.set", fmt.Sprintf("key %02d", n), 0, 65536, int64(0), 0))
	}
	play(t, e, hostapi.Spec{Name: "room"}, list, abi.ModuleKV)
}

func TestCountersOfManySessions(t *testing.T) {
	e := newEngine(t, withState(newState(t)))
	g := capable(abi.ModuleKV)
	g.Data(16, "n")
	g.on("rcpt", wb.I32Const(16)+wb.I32Const(1)+wb.I64Const(1)+wb.I64Const(60_000)+wb.I32Const(0)+wb.Call(g.fn["kv.incr"])+
		wb.I64Const(400)+wb.I64Eq) // ACCEPT for the 400th
	p := load(t, e, hostapi.Spec{Grant: everything}, g.finish())
	var all sync.WaitGroup
	accepted := make(chan bool, 400)
	for range 8 {
		all.Go(func() {
			for range 50 {
				v, err := ask(t, p, rcptEvent())
				if err != nil {
					t.Error(err)
				}
				accepted <- v.Action == hook.Accept
			}
		})
	}
	all.Wait()
	close(accepted)
	n := 0
	for a := range accepted {
		if a {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d were the 400th", n)
	}
}

func TestWithoutServicesNothingIsAvailable(t *testing.T) {
	e := newEngine(t, engine.Options{})
	play(t, e, hostapi.Spec{}, []step{
		do(abi.Unavailable, "kv.get", "a", out{8}), do(abi.Unavailable, "kv.set", "a", "b", int64(0), 0), do(abi.Unavailable, "kv.del", "a"),
		do(abi.Unavailable, "kv.incr", "a", int64(1), int64(0), 0), do(abi.Unavailable, "kv.take", "a", 1, 1, int64(1)),
		do(abi.Unavailable, "kv.cas", "a", "", "b", int64(0)), do(abi.Unavailable, "table.lookup", "users", "a", out{8}),
		do(abi.Unavailable, "event.emit", "seen", "x"), do(abi.Unavailable, "secret", "api", out{8}),
	}, abi.ModuleKV, abi.ModuleTable, abi.ModuleEvent)
}

// A store that fails with something that is no code is E_UNAVAIL.
type brokenKV struct{ hostapi.KV }

func (brokenKV) Get([]byte) ([]byte, error)                             { return nil, errors.New("disk") }
func (brokenKV) Incr([]byte, int64, time.Duration, bool) (int64, error) { return 9, errors.New("disk") }
func (brokenKV) Take(_ []byte, _, _, _ int64) (time.Duration, error)    { return 9, errors.New("disk") }
func (brokenKV) Set(_, _ []byte, _ time.Duration, _ int32) (err error)  { return errors.New("disk") }
func (brokenKV) CompareAndSwap(_, _, _ []byte, _ time.Duration) error   { return errors.New("disk") }
func (brokenKV) Delete([]byte) error                                    { return errors.New("disk") }

func TestAStoreThatFails(t *testing.T) {
	e := newEngine(t, engine.Options{Services: func(hostapi.Spec) (hostapi.Services, error) { return hostapi.Services{KV: brokenKV{}}, nil }})
	play(t, e, hostapi.Spec{}, []step{
		do(abi.Unavailable, "kv.get", "a", out{8}), do(abi.Unavailable, "kv.set", "a", "b", int64(0), abi.KVSync), do(abi.Unavailable, "kv.del", "a"),
		do(abi.Unavailable, "kv.incr", "a", int64(1), int64(0), 0), do(abi.Unavailable, "kv.take", "a", 1, 1, int64(1)),
		do(abi.Unavailable, "kv.cas", "a", "", "b", int64(0)),
	}, abi.ModuleKV)
}

// Guests that wait for the disk leave their place to others.
type slowKV struct {
	hostapi.KV
	waiting chan struct{}
	release chan struct{}
}

func (s slowKV) Set(_, _ []byte, _ time.Duration, _ int32) error {
	s.waiting <- struct{}{}
	<-s.release
	return nil
}

func TestAGuestThatWaitsHoldsNobodyUp(t *testing.T) {
	n := 4*runtime.GOMAXPROCS(0) + 1 // more than may run at once
	kv := slowKV{waiting: make(chan struct{}, n), release: make(chan struct{})}
	e := newEngine(t, engine.Options{Services: func(hostapi.Spec) (hostapi.Services, error) { return hostapi.Services{KV: kv}, nil }})
	g := capable(abi.ModuleKV)
	g.on("rcpt", g.steps([]step{do(abi.OK, "kv.set", "a", "b", int64(0), abi.KVSync)}))
	p := load(t, e, hostapi.Spec{Grant: everything}, g.finish())
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Continue {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
	for range n {
		<-kv.waiting
	}
	other := newGuest()
	other.on("rcpt", wb.I32Const(int32(abi.Accept)))
	if v, err := ask(t, load(t, e, hostapi.Spec{Name: "other"}, other.finish()), rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("%v, %v", v, err)
	}
	close(kv.release)
	all.Wait()
}

// operators are what an operator gives: two tables, a secret, a file of events.
func operators(t testing.TB) (services func(hostapi.Spec) (hostapi.Services, error), events string, sinks *operator.Sinks) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tables, secrets := operator.NewTables(nil), new(operator.Secrets)
	sinks = operator.NewSinks(nil, nil)
	t.Cleanup(sinks.Close)
	events = filepath.Join(dir, "events")
	_, err1 := tables.Apply([]operator.TableSpec{{Name: "users", File: write("users", "bob@example.org local\nempty\n")},
		{Name: "nets", File: write("nets", "192.0.2.0/24 test\n"), Type: operator.CIDR}, {Name: "hidden", File: write("hidden", "a b\n")}})
	_, err2 := secrets.Apply([]operator.SecretSpec{{Name: "api", Value: "hush"}, {Name: "hidden", Value: "no"}})
	_, err3 := sinks.Apply([]operator.SinkSpec{{Topics: []string{"seen"}, File: events}})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return func(hostapi.Spec) (hostapi.Services, error) {
		return hostapi.Services{Tables: tables, Secrets: secrets, Events: sinks}, nil
	}, events, sinks
}

func TestTablesAndSecretsFromAGuest(t *testing.T) {
	services, _, _ := operators(t)
	e := newEngine(t, engine.Options{Services: services})
	play(t, e, hostapi.Spec{}, []step{
		gives("local", "table.lookup", "users", "BOB@example.org"),
		do(5, "table.lookup", "users", "bob@example.org", out{4}),
		do(0, "table.lookup", "users", "empty", out{8}),
		do(abi.NotFound, "table.lookup", "users", "eve", out{8}),
		gives("test", "table.lookup", "nets", "192.0.2.77"),
		do(abi.NotFound, "table.lookup", "nets", "192.0.3.77", out{8}),
		do(abi.Invalid, "table.lookup", "nets", "bob", out{8}),
		do(abi.Invalid, "table.lookup", "users", "", out{8}),
		do(abi.TooLarge, "table.lookup", "users", strings.Repeat("x", 513), out{8}),
		do(abi.Denied, "table.lookup", "hidden", "a", out{8}),
		do(abi.Denied, "table.lookup", "", "a", out{8}),
		gives("hush", "secret", "api"),
		do(4, "secret", "api", out{3}),
		do(abi.NotFound, "secret", "gone", out{8}),
		do(abi.Denied, "secret", "hidden", out{8}),
	}, abi.ModuleTable)
}

func TestEventsFromAGuest(t *testing.T) {
	services, path, sinks := operators(t)
	e := newEngine(t, engine.Options{Services: services})
	list := []step{
		do(abi.Denied, "event.emit", "other", "x"),
		do(abi.Denied, "event.emit", "", "x"),
		do(abi.Invalid, "event.emit", "bad topic", "x"),
		do(abi.TooLarge, "event.emit", "seen", 0, 65537),
	}
	for range abi.MaxEventCalls {
		list = append(list, do(abi.OK, "event.emit", "seen", `{"rcpt":1}`))
	}
	play(t, e, hostapi.Spec{Name: "p"}, append(list, do(abi.Limit, "event.emit", "seen", "x")), abi.ModuleEvent)
	sinks.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n != abi.MaxEventCalls || !strings.Contains(string(b), `"plugin":"p","topic":"seen","session":"S1","message":"T1","json":{"rcpt":1}`) {
		t.Errorf("the sink has %s", b)
	}
}

// While it is loaded a plugin may look and not touch.
func TestNothingIsChangedAtLoad(t *testing.T) {
	services, path, sinks := operators(t)
	store := newState(t)
	m, err := store.Plugin("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Set([]byte("a"), []byte("1"), 0, 0); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, engine.Options{Services: func(s hostapi.Spec) (hostapi.Services, error) {
		v, err := services(s)
		v.KV = m
		return v, err
	}})
	for _, export := range []string{"mta1_init", "mta1_on_selftest"} {
		g := capable(abi.ModuleKV, abi.ModuleTable, abi.ModuleEvent)
		g.Func(export, wb.None, wb.I32, wb.None, g.steps([]step{
			gives("1", "kv.get", "a"),
			do(abi.State, "kv.set", "a", "b", int64(0), 0), do(abi.State, "kv.del", "a"), do(abi.State, "kv.incr", "b", int64(1), int64(0), 0),
			do(abi.State, "kv.take", "c", 1, 1, int64(1)), do(abi.State, "kv.cas", "a", "1", "b", int64(0)), do(abi.State, "event.emit", "seen", "x"),
			do(abi.State, "metric_add", 0, int64(1)), gives("hush", "secret", "api"), gives("local", "table.lookup", "users", "bob@example.org"),
		}))
		g.Memory(1, 4)
		if export != "mta1_init" {
			g.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		}
		load(t, e, hostapi.Spec{Grant: everything}, g.Bytes())
	}
	sinks.Close()
	if b, err := os.ReadFile(path); err != nil || len(b) > 0 {
		t.Errorf("%s, %v", b, err)
	}
	if keys, _ := m.Usage(); keys != 1 {
		t.Errorf("%d keys", keys)
	}
}

func TestMetrics(t *testing.T) {
	e := newEngine(t, engine.Options{})
	make := func(names string, hookSteps []step) []byte {
		g := newGuest()
		var list []step
		for n, name := range strings.Fields(names) {
			kind, name, _ := strings.Cut(name, ":")
			list = append(list, do(abi.Code(n), "metric_def", int(kind[0]-'0'), name), do(abi.Code(n), "metric_def", int(kind[0]-'0'), name))
		}
		if names != "" {
			list = append(list, do(abi.Conflict, "metric_def", 1, "seen"), do(abi.Unsupported, "metric_def", 3, "x"), do(abi.Unsupported, "metric_def", -1, "x"),
				do(abi.Invalid, "metric_def", 0, ""), do(abi.Invalid, "metric_def", 0, "Upper"), do(abi.Invalid, "metric_def", 0, "0x"),
				do(abi.Invalid, "metric_def", 0, "a\"b"), do(abi.Invalid, "metric_def", 0, strings.Repeat("a", 65)))
		}
		g.Func("mta1_init", wb.None, wb.I32, wb.None, g.steps(list))
		g.on("rcpt", g.steps(hookSteps))
		g.Memory(1, 4)
		return g.Bytes()
	}
	p := load(t, e, hostapi.Spec{Name: "m"}, make("0:seen 1:level 2:size", []step{
		do(abi.State, "metric_def", 0, "late"),
		do(abi.OK, "metric_add", 0, int64(2)), do(abi.Invalid, "metric_add", 0, int64(-1)),
		do(abi.OK, "metric_add", 1, int64(-5)),
		do(abi.OK, "metric_add", 2, int64(0)), do(abi.OK, "metric_add", 2, int64(1)), do(abi.OK, "metric_add", 2, int64(5)), do(abi.Invalid, "metric_add", 2, int64(-1)),
		do(abi.NotFound, "metric_add", 3, int64(1)), do(abi.NotFound, "metric_add", -1, int64(1)),
	}))
	for range 2 {
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Continue {
			t.Fatalf("%v, %v", v, err)
		}
	}
	want := []hostapi.Series{
		{Plugin: "m", Name: "level", Kind: abi.MetricGauge, Value: -5},
		{Plugin: "m", Name: "seen", Kind: abi.MetricCounter, Value: 4},
		{Plugin: "m", Name: "size", Kind: abi.MetricHistogram, Value: 12, Buckets: []int64{2, 2, 0, 2}},
	}
	if got := e.Metrics(); !reflect.DeepEqual(got, want) {
		t.Errorf("series are %+v", got)
	}
	// One that is not loaded changes nothing.
	if _, err := e.Load(context.Background(), hostapi.Spec{Name: "m"}, make("", nil)[:20]); err == nil {
		t.Error("half a module was loaded")
	}
	// The next generation goes on with what it defines too.
	load(t, e, hostapi.Spec{Name: "m"}, make("2:level 0:seen", nil))
	want = []hostapi.Series{{Plugin: "m", Name: "level", Kind: abi.MetricHistogram}, {Plugin: "m", Name: "seen", Value: 4}}
	if got := e.Metrics(); !reflect.DeepEqual(got, want) {
		t.Errorf("series are %+v", got)
	}
	// 64 fit.
	g := newGuest()
	var list []step
	for n := range abi.MaxMetrics {
		list = append(list, do(abi.Code(n), "metric_def", 0, fmt.Sprintf("n%d", n)))
	}
	g.Func("mta1_init", wb.None, wb.I32, wb.None, g.steps(append(list, do(abi.Limit, "metric_def", 0, "more"))))
	g.Memory(1, 4)
	load(t, e, hostapi.Spec{Name: "many"}, g.Bytes())
}

// Every pointer and length of every capability is checked before all else.
func TestWildPointersOfCapabilities(t *testing.T) {
	e := newEngine(t, engine.Options{})
	var modules []string
	abi.CapabilityModules(func(m string) { modules = append(modules, m) })
	tried := 0
	abi.Capabilities(func(module, name string, sig abi.Signature, params []string) {
		full := strings.TrimPrefix(module, "mta1_") + "." + name
		for n := range params[:len(params)-1] {
			if next := params[n+1]; sig[n] != 'i' || sig[n+1] != 'i' || next != "cap" && !strings.HasSuffix(next, "len") {
				continue
			}
			tried++
			for _, v := range []struct {
				ptr, size int32
				trap      bool
			}{{1 << 20, 1, true}, {-1, -1, true}, {0, -1, true}, {1<<16 - 1, 2, true}, {-1, 0, false}, {1 << 16, 0, false}, {1<<16 - 1, 1, false}} {
				g := capable(modules...)
				var code wb.Code
				for k := range params {
					value := int32(0)
					switch k {
					case n:
						value = v.ptr
					case n + 1:
						value = v.size
					}
					if sig[k] == 'I' {
						code += wb.I64Const(int64(value))
					} else {
						code += wb.I32Const(value)
					}
				}
				g.on("rcpt", code+wb.Call(g.fn[full])+wb.Drop+wb.I32Const(0))
				p := load(t, e, hostapi.Spec{Grant: everything}, g.finish())
				_, err := ask(t, p, rcptEvent())
				if v.trap {
					if err == nil {
						t.Errorf("%s: %s = %#x, %s = %#x does not trap", full, params[n], uint32(v.ptr), params[n+1], uint32(v.size))
					} else {
						callError(t, err, hostapi.FaultTrap)
					}
				} else if err != nil {
					t.Errorf("%s: %s = %#x, %s = %#x: %v", full, params[n], uint32(v.ptr), params[n+1], uint32(v.size), err)
				}
				p.Close()
			}
		}
	})
	if tried < 40 {
		t.Errorf("%d pairs were tried", tried)
	}
}
