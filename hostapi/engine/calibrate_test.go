package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func probeModule() *wb.Module {
	m := wb.New()
	again := wb.LocalGet(0) + wb.I32Const(1) + wb.I32Sub + wb.LocalTee(0) + wb.BrIf(0)
	m.Func("turns", wb.I32, wb.None, wb.None, wb.Loop(wb.None, again))
	m.Func("access", wb.I32, wb.None, wb.None, wb.Loop(wb.None,
		wb.I32Const(16)+
			wb.LocalGet(0)+wb.I32Const(1023)+wb.I32And+wb.I32Load(0)+
			wb.LocalGet(0)+wb.I32Const(31)+wb.I32Mul+wb.LocalGet(0)+wb.I32Const(3)+wb.I32ShrU+wb.I32Xor+
			wb.I32Add+
			wb.I32Store(0)+
			again))
	m.Func("calls", wb.I32, wb.None, wb.None, wb.Loop(wb.None, wb.Call(3)+again))
	m.Func("", wb.None, wb.None, wb.None, wb.Call(4))
	m.Func("", wb.None, wb.None, wb.None, "")
	m.Memory(1, 1)
	return m
}

func TestProbeIsWhatItSays(t *testing.T) {
	if got, want := probe, string(probeModule().Bytes()); got != want {
		t.Errorf("probe is\n%q, built from instructions it is\n%q", got, want)
	}
}

// TestSlowCodeIsStoppedByItsCPUTime: code that uses little fuel in its time is
// stopped when it has had twice its CPU time, and not for time that it waited
// or that its thread spent on others.
func TestSlowCodeIsStoppedByItsCPUTime(t *testing.T) {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	m := wb.New()
	turns := e.units(8*time.Millisecond) / 5 // of five instructions
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.I32, wb.I32Const(int32(turns))+wb.LocalSet(0)+
		wb.Loop(wb.None, wb.LocalGet(0)+wb.I32Const(1)+wb.I32Sub+wb.LocalTee(0)+wb.BrIf(0))+wb.I32Const(1))
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Memory(1, 1)
	p, err := e.Load(context.Background(), hostapi.Spec{Name: "p", Limits: hostapi.Limits{CPU: 10 * time.Millisecond, Wall: time.Hour}}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, c := range map[string]struct {
		slice time.Duration // what the clock of the thread shows for one of fuel
		moves bool          // each time on another thread
		fault hostapi.Fault
	}{
		"usual":        {time.Millisecond / firstSlice, false, ""},
		"slow":         {30 * time.Millisecond, false, hostapi.FaultCPU},
		"slower":       {time.Second, false, hostapi.FaultCPU},
		"stands still": {0, false, ""},
		"runs back":    {-time.Second, false, ""},
		"moves":        {time.Second, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			thread, asked, now := 1, 0, time.Duration(0)
			e.threadTime = func() (int, time.Duration, bool) {
				if asked++; asked%2 == 0 { // the end of a slice
					now += c.slice
				}
				if c.moves {
					thread++
				} else if asked%2 == 1 {
					now += time.Hour // others ran between two slices
				}
				return thread, now, true
			}
			i, err := p.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			_, err = i.Handle(t.Context(), &hook.Event{Stage: hook.Rcpt, Session: &hook.Session{}, Tx: &hook.Transaction{}})
			var failed *CallError
			if errors.As(err, &failed); c.fault == "" && err != nil || c.fault != "" && (failed == nil || failed.Fault != c.fault) {
				t.Errorf("error is %v, want %q", err, c.fault)
			}
			if c.fault == "" && asked < 4 {
				t.Errorf("the clock was read %d times", asked)
			}
		})
	}
}
