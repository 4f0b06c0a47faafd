package engine_test

import (
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// scripted accepts a recipient if its section mta1.script has the length want,
// begins with an x, and is not written into a buffer that is too small.
func scripted(want int32, section func(m *wb.Module)) []byte {
	m := wb.New()
	get := m.Import(abi.Module, "get", wb.I32+wb.I32+wb.I32, wb.I32)
	m.Memory(32, wb.NoMax)
	m.Func(abi.ExportInit, wb.None, wb.I32, wb.None, wb.I32Const(0))
	read := func(room int32) wb.Code {
		return wb.I32Const(int32(abi.Script)) + wb.I32Const(8) + wb.I32Const(room) + wb.Call(get)
	}
	first := wb.I32Const(8) + wb.I32Load8U(0)
	code := read(0) + wb.I32Const(want) + wb.I32Eq + first + wb.I32Eqz + wb.I32And
	if want >= 0 {
		code += read(abi.MaxScript) + wb.I32Const(want) + wb.I32Eq + wb.I32And + first + wb.I32Const('x') + wb.I32Eq + wb.I32And
	}
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, code+wb.If(wb.I32, wb.I32Const(int32(abi.Accept)), wb.I32Const(0)))
	section(m)
	return m.Bytes()
}

func TestAnInterpreterReadsItsScript(t *testing.T) {
	e := newEngine(t, engine.Options{})
	for want, section := range map[int32]func(m *wb.Module){
		4:                   func(m *wb.Module) { m.Custom(abi.ScriptSection, "x\ny\x00") },
		abi.MaxScript:       func(m *wb.Module) { m.Custom(abi.ScriptSection, strings.Repeat("x", abi.MaxScript)) },
		int32(abi.NotFound): func(m *wb.Module) {},
	} {
		p := load(t, e, hostapi.Spec{}, scripted(want, section))
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
			t.Errorf("length %d: %+v, %v", want, v, err)
		}
		if want > 0 && p.Report().Script != int(want) {
			t.Errorf("the report says %d octets, want %d", p.Report().Script, want)
		}
	}
	long := scripted(0, func(m *wb.Module) { m.Custom(abi.ScriptSection, strings.Repeat("x", abi.MaxScript+1)) })
	if _, err := e.Load(t.Context(), hostapi.Spec{Name: "p"}, long); err == nil || !strings.Contains(err.Error(), "the limit is 1048576") {
		t.Errorf("a script that is too long: %v", err)
	}
}

// What a tool wrote mta1_none over loads without a grant and is denied.
func TestACapabilityThatIsTakenOut(t *testing.T) {
	m := wb.New()
	get := m.Import(abi.ModuleNone, "get", wb.I32+wb.I32+wb.I32+wb.I32, wb.I32)
	take := m.Import(abi.ModuleNone, "anything", wb.I32+wb.I64, wb.I64)
	m.Memory(1, 2)
	m.Func(abi.ExportInit, wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None,
		wb.I32Const(0)+wb.I64Const(0)+wb.Call(take)+wb.I64Const(int64(abi.Denied))+wb.I64Eq+
			wb.I32Const(0)+wb.I32Const(0)+wb.I32Const(0)+wb.I32Const(0)+wb.Call(get)+wb.I32Const(int32(abi.Denied))+wb.I32Eq+wb.I32And+
			wb.If(wb.I32, wb.I32Const(int32(abi.Accept)), wb.I32Const(0)))
	p := load(t, newEngine(t, engine.Options{}), hostapi.Spec{}, m.Bytes())
	if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("%+v, %v; want E_DENIED from both functions", v, err)
	}
	if asks := p.Report().Asks; len(asks) != 0 {
		t.Errorf("it asks for %q", asks)
	}
}
