package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// asking is a plugin with the hook rcpt that imports from mta1_kv and carries a
// manifest; the latter may be empty.
func asking(manifest string) []byte {
	m := wb.New()
	get := m.Import(abi.ModuleKV, "get", wb.I32+wb.I32+wb.I32+wb.I32, wb.I32)
	m.Memory(1, 2)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	// It rejects with 550 + the code of kv.get.
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(16)+wb.I32Const(1)+wb.I32Const(32)+wb.I32Const(0)+wb.Call(get)+
		wb.I32Const(int32(abi.Denied))+wb.I32Eq+wb.If(wb.I32, wb.I32Const(abi.Verdict(abi.Reject, 0, 553)), wb.I32Const(0)))
	if manifest != "" {
		m.Custom(abi.ManifestSection, manifest)
	}
	return m.Bytes()
}

func TestRightsAreAskedForAndGranted(t *testing.T) {
	e := newEngine(t, engine.Options{})
	kv := hostapi.Grant{KV: hostapi.KVGrant{MB: 16}}
	with := func(capabilities string) []byte {
		return asking(`{"name":"x","hooks":["on_rcpt"],"capabilities":{` + capabilities + `}}`)
	}
	for name, c := range map[string]struct {
		wasm  []byte
		grant hostapi.Grant
		want  string // of the error; empty: it loads with the grant below
		gets  hostapi.Grant
	}{
		"no manifest, not granted":    {asking(""), hostapi.Grant{}, `"mta1_kv", which is not granted; add kv = {`, hostapi.Grant{}},
		"no manifest, granted":        {asking(""), kv, "", kv},
		"asked and not granted":       {with(`"kv":{"mb":64}`), hostapi.Grant{}, `add kv = { mb = 64 } to its [plugin.grant]`, hostapi.Grant{}},
		"granted and not asked for":   {with(`"headers":"read"`), kv, `which its manifest does not ask for; add kv = {`, hostapi.Grant{}},
		"the less of both":            {with(`"kv":{"mb":4},"headers":"read"`), hostapi.Grant{KV: kv.KV, Headers: hostapi.Write, Body: hostapi.Read}, "", hostapi.Grant{KV: hostapi.KVGrant{MB: 4}, Headers: hostapi.Read}},
		"optional and not granted":    {with(`"kv":{"mb":4},"optional":["mta1_kv"]`), hostapi.Grant{}, "", hostapi.Grant{}},
		"optional of another module":  {with(`"kv":{"mb":4},"optional":["mta1_dns"]`), hostapi.Grant{}, "not granted", hostapi.Grant{}},
		"more than granted, not used": {with(`"kv":{"mb":4},"body":"read"`), kv, "", hostapi.Grant{KV: hostapi.KVGrant{MB: 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := e.Load(t.Context(), hostapi.Spec{Name: "p", Grant: c.grant}, c.wasm)
			if err != nil {
				var le *engine.LoadError
				if c.want == "" || !errors.As(err, &le) || le.Step != engine.StepAuthorise || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error is %v, want %q", err, c.want)
				}
				return
			}
			defer p.Close()
			if c.want != "" || !reflect.DeepEqual(p.Grant(), c.gets) {
				t.Errorf("it is loaded with %+v; want %+v, error %q", p.Grant(), c.gets, c.want)
			}
			if strings.HasPrefix(name, "optional") {
				if v, err := ask(t, p, rcptEvent()); err != nil || v.Reply == nil || v.Reply.Code != 553 {
					t.Errorf("an optional function that is not granted answers %+v, %v; want E_DENIED", v, err)
				}
			}
		})
	}
}

func TestAModuleThatIsNotOfferedMayBeOptional(t *testing.T) {
	e := newEngine(t, engine.Options{})
	build := func(manifest string) []byte {
		m := wb.New()
		open := m.Import(abi.ModuleSubmit, "open", wb.I32, wb.I32)
		write := m.Import(abi.ModuleSubmit, "write", wb.I32+wb.I64, wb.I64)
		m.Import(abi.ModuleSubmit, "abort", wb.None, wb.None)
		m.Memory(1, 2)
		m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(0)+wb.I64Const(0)+wb.Call(write)+wb.I64Const(int64(abi.Denied))+wb.I64Eq+
			wb.I32Const(0)+wb.Call(open)+wb.I32Const(int32(abi.Denied))+wb.I32Eq+wb.I32And+
			wb.If(wb.I32, wb.I32Const(int32(abi.Accept)), wb.I32Const(0)))
		m.Custom(abi.ManifestSection, manifest)
		return m.Bytes()
	}
	if _, err := e.Load(t.Context(), hostapi.Spec{Name: "p"}, build(`{"name":"x","hooks":["on_rcpt"]}`)); err == nil || !strings.Contains(err.Error(), "does not offer") {
		t.Errorf("a module that is not offered: %v", err)
	}
	p := load(t, e, hostapi.Spec{}, build(`{"name":"x","hooks":["on_rcpt"],"capabilities":{"optional":["mta1_submit"]}}`))
	if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("%+v, %v; want E_DENIED from both functions", v, err)
	}
}

func TestTheManifestIsKeptTo(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for name, c := range map[string]struct {
		manifest string
		spec     hostapi.Spec
		step     string // empty: it loads
		want     string
	}{
		"hooks":            {`{"name":"x","hooks":[]}`, hostapi.Spec{}, engine.StepInspect, `hooks = ["on_rcpt"]`},
		"not understood":   {`{"name":"x","hooks":["on_rcpt"],"capability":{}}`, hostapi.Spec{}, engine.StepInspect, "capability"},
		"newer contract":   {`{"name":"x","hooks":["on_rcpt"],"abi":"1.99"}`, hostapi.Spec{}, engine.StepInspect, "newer server"},
		"no configuration": {`{"name":"x","hooks":["on_rcpt"],"config_schema":{"required":["key"]}}`, hostapi.Spec{}, engine.StepAuthorise, `config: "key" is missing`},
		"configuration":    {`{"name":"x","hooks":["on_rcpt"],"config_schema":{"required":["key"]}}`, hostapi.Spec{Config: json.RawMessage(`{"key":1}`)}, "", ""},
		"much memory":      {`{"name":"x","hooks":["on_rcpt"],"memory_mb":99}`, hostapi.Spec{}, engine.StepAuthorise, "add memory_mb = 99 to its [plugin.limits]"},
		"memory is given":  {`{"name":"x","hooks":["on_rcpt"],"memory_mb":99}`, hostapi.Spec{Limits: hostapi.Limits{MemoryMB: 100}}, "", ""},
		"much time":        {`{"name":"x","hooks":["on_rcpt"],"cpu_ms":99}`, hostapi.Spec{}, engine.StepAuthorise, "add cpu_ms = 99 to its [plugin.limits]"},
		"time is given":    {`{"name":"x","hooks":["on_rcpt"],"cpu_ms":99}`, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Second}}, "", ""},
		"little":           {`{"name":"x","hooks":["on_rcpt"],"cpu_ms":1,"memory_mb":1,"on_error":"continue"}`, hostapi.Spec{}, "", ""},
	} {
		m := wb.New()
		m.Custom(abi.ManifestSection, c.manifest)
		m.Memory(1, 200)
		m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
		m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(20)+wb.MemoryGrow+wb.I32Const(-1)+wb.I32Eq+
			wb.If(wb.I32, wb.I32Const(int32(abi.Reject)), wb.I32Const(int32(abi.Accept))))
		c.spec.Name = "p"
		p, err := e.Load(t.Context(), c.spec, m.Bytes())
		if err != nil {
			var le *engine.LoadError
			if !errors.As(err, &le) || le.Step != c.step || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want step %q and %q", name, err, c.step, c.want)
			}
			continue
		}
		if c.step != "" {
			t.Errorf("%s: it was loaded", name)
		}
		want := hook.Accept
		policy, said := p.OnError()
		if name == "little" {
			want = hook.Reject // 21 pages are more than 1 MiB
			if !said || policy != hook.FailContinue {
				t.Errorf("on_error is %v, %v", policy, said)
			}
		} else if said {
			t.Errorf("%s: on_error is %v", name, policy)
		}
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != want {
			t.Errorf("%s: %v, %v, want %v", name, v.Action, err, want)
		}
		p.Close()
	}
}

func TestAManifestBesideTheModuleIsPinnedToIt(t *testing.T) {
	var log strings.Builder
	e := newEngine(t, engine.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	inside := asking(`{"name":"in","hooks":["on_rcpt"],"capabilities":{"kv":{"mb":1}}}`)
	bare := asking("")
	grant := hostapi.Grant{KV: hostapi.KVGrant{MB: 16}}
	beside := func(wasm []byte) json.RawMessage {
		r, err := engine.Inspect(wasm)
		if err != nil {
			t.Fatal(err)
		}
		return json.RawMessage(fmt.Sprintf(`{"name":"f","hooks":["on_rcpt"],"sha256":%q,"capabilities":{"kv":{"mb":2}}}`, r.Hash))
	}
	for name, c := range map[string]struct {
		wasm     []byte
		manifest json.RawMessage
		mb       int // 0: it is not loaded
	}{
		"in the module":            {inside, nil, 1},
		"a file that fits":         {inside, beside(inside), 2},
		"a file of another module": {inside, beside(bare), 1},
		"only a file":              {bare, beside(bare), 2},
		"only a wrong file":        {bare, beside(inside), 0},
		"a file without a pin":     {bare, json.RawMessage(`{"name":"f","hooks":["on_rcpt"]}`), 0},
	} {
		log.Reset()
		p, err := e.Load(t.Context(), hostapi.Spec{Name: "p", Grant: grant, Manifest: c.manifest}, c.wasm)
		if err != nil {
			if c.mb != 0 || !strings.Contains(err.Error(), "write sha256 = ") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := p.Grant().KV.MB; got != c.mb {
			t.Errorf("%s: %d MiB, want %d", name, got, c.mb)
		}
		if name == "a file of another module" && !strings.Contains(log.String(), "does not count") {
			t.Errorf("nobody is told that a manifest does not count: %s", log.String())
		}
		p.Close()
	}
}

func TestReview(t *testing.T) {
	r, err := engine.Inspect(asking(`{"name":"x","hooks":["on_rcpt"],"capabilities":{"kv":{"mb":4},"headers":"write","optional":["mta1_dns"]}}`))
	if err != nil || strings.Join(r.Asks, "; ") != `headers = "write"; kv = { mb = 4 }` || r.Optional[0] != "mta1_dns" {
		t.Errorf("%+v, %v", r, err)
	}
	v := r.Review(hostapi.Spec{Name: "p", Grant: hostapi.Grant{KV: hostapi.KVGrant{MB: 2}}})
	if v.Manifest != "module" || v.Problem != "" || strings.Join(v.Granted, "; ") != `kv = { mb = 2 }` || strings.Join(v.Missing, "; ") != `headers = "write"; kv = { mb = 4 }` || v.MemoryMB != 16 {
		t.Errorf("%+v", v)
	}
	if v := r.Review(hostapi.Spec{Name: "p"}); !strings.Contains(v.Problem, "add kv = { mb = 4 }") {
		t.Errorf("%+v", v)
	}
	if r, err := engine.Inspect(asking("")); err != nil || len(r.Asks) != 1 || !strings.HasPrefix(r.Asks[0], "kv = ") {
		t.Errorf("without a manifest the imports tell: %+v, %v", r.Asks, err)
	}
}

func TestTheCPUTimeOfACallIsTold(t *testing.T) {
	e := newEngine(t, engine.Options{})
	g := newGuest()
	g.on("rcpt", wb.I32Const(100_000)+wb.LocalSet(0)+wb.Loop(wb.None, wb.LocalGet(0)+wb.I32Const(1)+wb.I32Sub+wb.LocalTee(0)+wb.BrIf(0))+wb.I32Const(0))
	g.on("data", wb.I32Const(0))
	p := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: time.Second}}, g.finish())
	i, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	used := func(ev *hook.Event) time.Duration {
		if _, err := i.Handle(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
		return i.(interface{ CPU() time.Duration }).CPU()
	}
	long, short := used(rcptEvent()), used(&hook.Event{Stage: hook.Data, Session: rcptEvent().Session, Tx: rcptEvent().Tx, Recipient: -1})
	if short < 0 || long < 1000*max(short, 1) || long > time.Second {
		t.Errorf("a loop used %v and nothing %v", long, short)
	}
}
