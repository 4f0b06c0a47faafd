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

// Codes arrive in the guest with their sign, in both widths, in both engines.
func TestResultsKeepTheirSign(t *testing.T) {
	for _, interpreted := range []bool{false, true} {
		e := newEngine(t, engine.Options{Interpreter: interpreted})
		for name, c := range map[string]struct {
			code wb.Code
			is   bool
		}{
			"i32 code":    {wb.I32Const(int32(abi.Unsupported)) + wb.I32Eq, true},
			"i64 code":    {wb.I64Const(int64(abi.Unsupported)) + wb.I64Eq, true},
			"i64 number":  {wb.I64Const(1) + wb.I64Eq, true},
			"i32 length":  {wb.I32Const(int32(len("alice@example.com"))) + wb.I32Eq, true},
			"i64 below 0": {wb.I64Const(0) + wb.I64LtS, true},
		} {
			g := newGuest()
			var call wb.Code
			switch name {
			case "i32 code":
				call = g.call("get", 0x7777, 0, 0)
			case "i32 length":
				call = g.call("get", int32(abi.MailFrom), 0, 0)
			case "i64 code", "i64 below 0":
				call = g.call("get_num", 0x7777)
			case "i64 number":
				call = g.call("get_num", int32(abi.RcptCount))
			}
			g.on("rcpt", call+c.code) // 1 is ACCEPT
			p := load(t, e, hostapi.Spec{}, g.finish())
			if v, err := ask(t, p, rcptEvent()); err != nil || (v.Action == hook.Accept) != c.is {
				t.Errorf("interpreted %v, %s: %v, %v", interpreted, name, v, err)
			}
		}
	}
}

func TestAPluginCannotFloodTheLog(t *testing.T) {
	var log lines
	e := newEngine(t, engine.Options{Log: log.add})
	g := newGuest()
	g.Data(16, "noise")
	g.on("rcpt", wb.I32Const(30)+wb.LocalSet(0)+
		wb.Loop(wb.None, g.call("log", 1, 16, 5)+wb.Drop+wb.LocalGet(0)+wb.I32Const(1)+wb.I32Sub+wb.LocalTee(0)+wb.BrIf(0))+
		wb.I32Const(0))
	p := load(t, e, hostapi.Spec{}, g.finish())
	for range 100 {
		if _, err := ask(t, p, rcptEvent()); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, s := range log.texts() {
		if strings.Contains(s, "noise") {
			n++
		}
	}
	if n < 100 || n > 1500 {
		t.Errorf("%d of 3000 lines passed; want about 100 for each second", n)
	}
}
