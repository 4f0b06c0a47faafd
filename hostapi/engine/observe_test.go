package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// The tools of authors see what each call took, and set the guest's clock and
// random octets.
func TestObserve(t *testing.T) {
	m := wb.New()
	now := m.Import("mta1", "now_ms", wb.None, wb.I64)
	random := m.Import("mta1", "random", wb.I32+wb.I32, wb.I32)
	m.Memory(1, 2)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	// The clock must be 7 and the random octets zero.
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None,
		wb.I32Const(0)+wb.I32Const(4)+wb.Call(random)+wb.Drop+
			wb.Call(now)+wb.I64Const(7)+wb.I64Eq+wb.I32Eqz+wb.If(wb.None, wb.Unreachable, "")+
			wb.I32Const(0)+wb.I32Load(0)+wb.If(wb.None, wb.Unreachable, "")+wb.I32Const(1))
	m.Func("mta1_on_mail", wb.None, wb.I32, wb.None, wb.Unreachable)
	var seen []engine.Measure
	e := newEngine(t, engine.Options{
		Now:     func() time.Time { return time.UnixMilli(7) },
		Random:  strings.NewReader("\x00\x00\x00\x00"),
		Observe: func(m engine.Measure) { seen = append(seen, m) },
	})
	p := load(t, e, hostapi.Spec{}, m.Bytes())
	defer p.Close()
	if v, err := p.Handle(t.Context(), &hook.Event{Stage: hook.Rcpt}); err != nil || v.Action != hook.Accept {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := p.Handle(t.Context(), &hook.Event{Stage: hook.Mail}); err == nil {
		t.Error("the trap is no failure")
	}
	var hooks []string
	for _, x := range seen {
		hooks = append(hooks, x.Hook)
		if x.Plugin != p.Name() || x.Memory < 64<<10 || x.Failed != (x.Hook == "mail") {
			t.Errorf("%+v", x)
		}
		if x.Hook == "rcpt" && (x.HostCalls != 2 || x.Fuel == 0 || x.CPU == 0) {
			t.Errorf("%+v", x)
		}
	}
	if !slices.Equal(hooks, []string{"init", "rcpt", "mail"}) {
		t.Errorf("calls %q", hooks)
	}
}
