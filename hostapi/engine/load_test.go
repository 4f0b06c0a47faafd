package engine_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// plain is a plugin that can be loaded; change makes it one that cannot.
func plain(change func(m *wb.Module)) []byte {
	m := wb.New()
	if change != nil {
		change(m)
	}
	m.Memory(1, 2)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	return m.Bytes()
}

func TestLoadNamesTheFailingStep(t *testing.T) {
	patient := hostapi.Spec{Limits: hostapi.Limits{Wall: time.Minute}} // CPU ends first, on a busy machine too
	e := newEngine(t, engine.Options{})
	zero := wb.I32Const(0)
	bare := func(f func(m *wb.Module)) []byte {
		m := wb.New()
		f(m)
		return m.Bytes()
	}
	for name, c := range map[string]struct {
		step string
		says string
		wasm []byte
		spec hostapi.Spec
	}{
		"no module": {engine.StepInspect, "not a WebAssembly", []byte("hello"), hostapi.Spec{}},
		"empty":     {engine.StepInspect, "not a WebAssembly", nil, hostapi.Spec{}},
		"too large": {engine.StepInspect, "the limit is", make([]byte, 17<<20), hostapi.Spec{}},
		"no init":   {engine.StepInspect, "mta1_init", bare(func(m *wb.Module) { m.Memory(1, 1) }), hostapi.Spec{}},
		"no memory": {engine.StepInspect, `"memory"`, bare(func(m *wb.Module) { m.Func("mta1_init", wb.None, wb.I32, wb.None, zero) }), hostapi.Spec{}},
		"memory is a func": {engine.StepInspect, "must be the memory", bare(func(m *wb.Module) {
			m.Func("mta1_init", wb.None, wb.I32, wb.None, zero)
			m.Func("memory", wb.None, wb.None, wb.None, "")
		}), hostapi.Spec{}},
		"unknown function":   {engine.StepInspect, `"mta1"."gte"`, plain(func(m *wb.Module) { m.Import("mta1", "gte", wb.I32, wb.I32) }), hostapi.Spec{}},
		"unknown module":     {engine.StepInspect, `no such module`, plain(func(m *wb.Module) { m.Import("other", "x", wb.None, wb.None) }), hostapi.Spec{}},
		"unknown WASI":       {engine.StepInspect, `"sock_open"`, plain(func(m *wb.Module) { m.Import("wasi_snapshot_preview1", "sock_open", wb.None, wb.None) }), hostapi.Spec{}},
		"env.other":          {engine.StepInspect, `"env"."seed"`, plain(func(m *wb.Module) { m.Import("env", "seed", wb.None, wb.F64) }), hostapi.Spec{}},
		"wrong signature":    {engine.StepInspect, "as (i32) -> i32; it is (i32, i32, i32) -> i32", plain(func(m *wb.Module) { m.Import("mta1", "get", wb.I32, wb.I32) }), hostapi.Spec{}},
		"imported memory":    {engine.StepInspect, "functions only", plain(func(m *wb.Module) { m.RawImport("env", "memory", wb.KindMemory, "\x00\x01") }), hostapi.Spec{}},
		"imported global":    {engine.StepInspect, "functions only", plain(func(m *wb.Module) { m.RawImport("mta1", "g", wb.KindGlobal, "\x7f\x00") }), hostapi.Spec{}},
		"the meter":          {engine.StepInspect, "no such module", plain(func(m *wb.Module) { m.Import("wasmta_meter", "refuel", wb.None, wb.None) }), hostapi.Spec{}},
		"misspelt hook":      {engine.StepInspect, `"mta1_on_recpt"`, plain(func(m *wb.Module) { m.Func("mta1_on_recpt", wb.None, wb.I32, wb.None, zero) }), hostapi.Spec{}},
		"hook of wrong type": {engine.StepInspect, "mta1_on_rcpt is (i32) -> i32", plain(func(m *wb.Module) { m.Func("mta1_on_rcpt", wb.I32, wb.I32, wb.None, zero) }), hostapi.Spec{}},
		"hook is a global": {engine.StepInspect, "mta1_on_rcpt is global", plain(func(m *wb.Module) {
			m.Export("mta1_on_rcpt", wb.KindGlobal, m.Global(wb.I32, false, zero))
		}), hostapi.Spec{}},
		"wrong _initialize": {engine.StepInspect, "_initialize", plain(func(m *wb.Module) { m.Func("_initialize", wb.None, wb.I32, wb.None, zero) }), hostapi.Spec{}},
		"much memory":       {engine.StepInspect, "memory_mb", bare(func(m *wb.Module) { m.Memory(300, 400); m.Func("mta1_init", wb.None, wb.I32, wb.None, zero) }), hostapi.Spec{}},
		"capability":        {engine.StepAuthorise, `"mta1_kv", which is not granted; add kv = { mb = 16 } to its [plugin.grant]`, plain(func(m *wb.Module) { m.Import("mta1_kv", "get", wb.I32+wb.I32+wb.I32+wb.I32, wb.I32) }), hostapi.Spec{}},
		"name":              {engine.StepAuthorise, "name", plain(nil), hostapi.Spec{Name: "a/b"}},
		"configuration":     {engine.StepAuthorise, "JSON object", plain(nil), hostapi.Spec{Config: []byte("[1]")}},
		"attrs_read":        {engine.StepAuthorise, "attrs_read", plain(nil), hostapi.Spec{Grant: hostapi.Grant{AttrsRead: []string{"spf"}}}},
		"invalid code":      {engine.StepCompile, "", plain(func(m *wb.Module) { m.Func("", wb.None, wb.I32, wb.None, wb.I64Const(1)) }), hostapi.Spec{}},
		"reserved export":   {engine.StepCompile, "wasmta.", plain(func(m *wb.Module) { m.Func("wasmta.fuel", wb.None, wb.None, wb.None, "") }), hostapi.Spec{}},
		"init fails":        {engine.StepProbe, "returned 3", bare(func(m *wb.Module) { m.Memory(1, 1); m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(3)) }), hostapi.Spec{}},
		"init loops": {engine.StepProbe, "CPU time", bare(func(m *wb.Module) {
			m.Memory(1, 1)
			m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.Loop(wb.None, wb.Br(0))+zero)
		}), patient},
		"start loops": {engine.StepProbe, "CPU time", plain(func(m *wb.Module) {
			m.Start(m.Func("", wb.None, wb.None, wb.None, wb.Loop(wb.None, wb.Br(0))))
		}), patient},
		"start traps":      {engine.StepProbe, "unreachable", plain(func(m *wb.Module) { m.Start(m.Func("", wb.None, wb.None, wb.None, wb.Unreachable)) }), hostapi.Spec{}},
		"data outside":     {engine.StepProbe, "", plain(func(m *wb.Module) { m.Data(1<<20, "x") }), hostapi.Spec{}},
		"initialize traps": {engine.StepProbe, "unreachable", plain(func(m *wb.Module) { m.Func("_initialize", wb.None, wb.None, wb.None, wb.Unreachable) }), hostapi.Spec{}},
		"selftest fails":   {engine.StepProbe, "returned 9", plain(func(m *wb.Module) { m.Func("mta1_on_selftest", wb.None, wb.I32, wb.None, wb.I32Const(9)) }), hostapi.Spec{}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.spec.Name == "" {
				c.spec.Name = "p"
			}
			p, err := e.Load(t.Context(), c.spec, c.wasm)
			if err == nil {
				p.Close()
				t.Fatal("it was loaded")
			}
			var le *engine.LoadError
			if !errors.As(err, &le) || le.Step != c.step {
				t.Errorf("error is %v; want one of step %s", err, c.step)
			}
			if !strings.Contains(err.Error(), c.says) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("error is %q; it should say %q, on one line", err, c.says)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	m := wb.New()
	m.Import("mta1", "log", wb.I32+wb.I32+wb.I32, wb.I32)
	m.Import("mta1_kv", "get", wb.I32+wb.I32+wb.I32+wb.I32, wb.I32)
	m.Memory(2, 5)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_connect", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_oops\n", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Custom("producers", "\x02\x08language\x01\x04Rust\x00\x0cprocessed-by\x01\x05rustc\x041.80")
	m.Custom(abi.ManifestSection, `{"name":"x","hooks":["on_connect","on_rcpt"],"capabilities":{"headers":"read"}}`)
	r, err := engine.Inspect(m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Hooks, []string{"connect", "rcpt"}) || r.Memory.Min != 2 || *r.Memory.Max != 5 || r.Go ||
		!slices.Equal(r.Imports["mta1_kv"], []string{"get"}) || r.Toolchain["processed-by"][0] != "rustc 1.80" ||
		!slices.Equal(r.Unknown, []string{`mta1_oops\n`}) || len(r.Problems) != 1 || len(r.Hash) != 64 || r.ABI != "1" {
		t.Errorf("report is %+v", r)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"manifest":{"name":"x","hooks":`) || !strings.Contains(string(b), `"hooks":["connect","rcpt"]`) {
		t.Errorf("JSON is %s, %v", b, err)
	}
}

func TestGenerationIsModuleConfigAndGrant(t *testing.T) {
	e := newEngine(t, engine.Options{})
	get := func(spec hostapi.Spec, wasm []byte) string {
		spec.Name = "p"
		p := load(t, e, spec, wasm)
		defer p.Close()
		return p.Generation()
	}
	base := get(hostapi.Spec{Config: []byte(`{"a":1,"b":2}`)}, plain(nil))
	if other := get(hostapi.Spec{Config: []byte(`{ "b": 2, "a": 1 }`)}, plain(nil)); other != base {
		t.Error("the same configuration in another order is another generation")
	}
	for name, other := range map[string]string{
		"configuration": get(hostapi.Spec{Config: []byte(`{"a":1,"b":3}`)}, plain(nil)),
		"grant":         get(hostapi.Spec{Config: []byte(`{"a":1,"b":2}`), Grant: hostapi.Grant{Headers: hostapi.Read}}, plain(nil)),
		"module":        get(hostapi.Spec{Config: []byte(`{"a":1,"b":2}`)}, plain(func(m *wb.Module) { m.Custom("x", "y") })),
	} {
		if other == base {
			t.Errorf("another %s is the same generation", name)
		}
	}
}

func TestCacheDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // compiled, then from the cache
		e := newEngine(t, engine.Options{CacheDir: dir})
		p := load(t, e, hostapi.Spec{}, smallGuest())
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
			t.Errorf("%v, %v; want accept", v, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("cache directory has mode %v, %v; want 0700", info.Mode(), err)
	}
}

func TestEditsAreUndoneWithTheVerdict(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for name, c := range map[string]struct {
		end  wb.Code
		kept bool
	}{
		"continue": {wb.I32Const(0), true},
		"accept":   {wb.I32Const(int32(abi.Accept)), true},
		"reject":   {wb.I32Const(int32(abi.Reject)), false},
		"trap":     {wb.Unreachable, false},
		"nonsense": {wb.I32Const(99), false},
	} {
		g := newGuest()
		g.Data(16, "evil@example.net")
		g.on("rcpt", g.call("set", int32(abi.MailFrom), 16, 16)+wb.Drop+c.end)
		p := load(t, e, hostapi.Spec{Grant: hostapi.Grant{Envelope: hostapi.Write}}, g.finish())
		var failures int
		k := hook.Chain{{Name: "p", Stages: p.Stages(), Handler: p}}.Open("mx", func(hook.Failure) { failures++ })
		ev := rcptEvent()
		o := k.Ask(t.Context(), ev)
		if got := ev.Tx.Envelope.ReversePath.Local == "evil"; got != c.kept {
			t.Errorf("%s: edit kept is %v, want %v", name, got, c.kept)
		}
		if failed := name == "trap" || name == "nonsense"; o.Failed != failed || failed && (o.Action != hook.Defer || failures != 1) {
			t.Errorf("%s: outcome is %+v with %d failures", name, o, failures)
		}
		k.Close()
		if n := p.Instances(); n > 1 {
			t.Errorf("%s: %d instances are left", name, n)
		}
	}
}

func TestDeepRecursionDoesNotKeepItsStack(t *testing.T) {
	e := newEngine(t, engine.Options{})
	if e.Kind() == "interpreter" {
		t.Skip("the interpreter has no stack to speak of")
	}
	g := newGuest()
	f := g.NextFunc()
	g.Func("", wb.I32, wb.I32, wb.None, wb.LocalGet(0)+wb.I32Eqz+
		wb.If(wb.I32, wb.I32Const(0), wb.LocalGet(0)+wb.I32Const(1)+wb.I32Sub+wb.Call(f)+wb.I32Const(0)+wb.I32Mul))
	g.on("rcpt", wb.I32Const(9000)+wb.Call(f))
	p := load(t, e, hostapi.Spec{}, g.finish())
	var open []hook.Instance
	before := heap()
	for range 50 {
		i, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		if _, err := i.Handle(t.Context(), rcptEvent()); err != nil {
			t.Fatal(err)
		}
		open = append(open, i)
	}
	if each := (int64(heap()) - int64(before)) / int64(len(open)); each > 200<<10 {
		t.Errorf("an idle instance keeps %d KiB after one deep call", each>>10)
	}
	runtime.KeepAlive(open)
}

// FuzzLoad loads damaged modules: an error or a plugin, in bounded time, and
// nothing left behind.
func FuzzLoad(f *testing.F) {
	f.Add(plain(nil), uint16(0), byte(0))
	f.Add(smallGuest(), uint16(60), byte(1))
	for _, c := range misbehaviours() {
		f.Add(misbehaving(c.build), uint16(900), byte(0x80))
	}
	e := newEngine(f, engine.Options{Limits: func(d *engine.Defaults) {
		d.Init.CPU = 10 * time.Millisecond
	}})
	f.Fuzz(func(t *testing.T, wasm []byte, at uint16, flip byte) {
		if len(wasm) > 0 {
			wasm = slices.Clone(wasm)
			wasm[int(at)%len(wasm)] ^= flip
		}
		p, err := e.Load(t.Context(), hostapi.Spec{Name: "fuzz", Limits: hostapi.Limits{CPU: time.Millisecond}}, wasm)
		if err != nil {
			var le *engine.LoadError
			if !errors.As(err, &le) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q", err)
			}
			return
		}
		if p.Stages().Has(hook.Rcpt) {
			ask(t, p, rcptEvent())
		}
		p.Close()
		<-p.Done()
		if n := e.MemoryInUse(); n != 0 {
			t.Errorf("%d octets of guest memory are left", n)
		}
	})
}

func TestWhatWasCompiledLongAgoIsRemoved(t *testing.T) {
	dir := t.TempDir()
	load(t, newEngine(t, engine.Options{CacheDir: dir}), hostapi.Spec{}, smallGuest())
	kept, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	if len(kept) == 0 {
		t.Fatal("nothing is kept")
	}
	old := filepath.Join(filepath.Dir(kept[0]), "old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-31 * 24 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	newEngine(t, engine.Options{CacheDir: dir})
	after, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	if !slices.Equal(after, kept) {
		t.Errorf("kept are %q, want %q", after, kept)
	}
}
