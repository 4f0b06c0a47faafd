package engine_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// goGuest builds testdata/goguest once for all tests.
var goGuest = sync.OnceValues(func() ([]byte, error) { return buildGo("goguest") })

// buildGo builds the guest testdata/NAME.
func buildGo(name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "goguest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-trimpath", "-o", file, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, &buildError{string(out), err}
	}
	return os.ReadFile(file)
}

type buildError struct {
	output string
	err    error
}

func (e *buildError) Error() string { return e.err.Error() + ": " + e.output }

func buildGoGuest(t testing.TB) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("building a guest with Go takes long")
	}
	wasm, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func mailEvent(from string) *hook.Event {
	e := rcptEvent()
	e.Stage, e.Recipient = hook.Mail, -1
	e.Tx.Envelope.Recipients = nil
	e.Tx.Envelope.ReversePath = mail.Path{Local: from, Domain: "example.com"}
	return e
}

func TestGoGuest(t *testing.T) {
	wasm := buildGoGuest(t)
	var log lines
	e := newEngine(t, engine.Options{Log: log.add})
	r, err := engine.Inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Go || len(r.Problems) > 0 || !slices.Equal(r.Hooks, []string{"mail", "rcpt"}) {
		t.Errorf("report is %+v; want a Go guest with the hooks mail and rcpt and no problems", r)
	}
	usual := load(t, e, hostapi.Spec{Limits: hostapi.Limits{Wall: time.Minute}}, wasm)
	// A collection takes the guest some milliseconds.
	ample := load(t, e, hostapi.Spec{Limits: hostapi.Limits{CPU: 50 * time.Millisecond, Wall: time.Minute}}, wasm)
	for word, want := range map[string]struct {
		fault  hostapi.Fault
		detail string
	}{
		"panic":      {hostapi.FaultTrap, "panic: boom"},
		"nil":        {hostapi.FaultTrap, "invalid memory address"},
		"exit":       {hostapi.FaultExit, "code 0"},
		"loop":       {hostapi.FaultCPU, ""},
		"goroutines": {hostapi.FaultCPU, ""},
		"deadlock":   {hostapi.FaultTrap, "deadlock"},
		"sleep":      {hostapi.FaultCPU, ""},
		"recurse":    {hostapi.FaultCPU, ""},
		"grow":       {hostapi.FaultCPU, ""},
		"print":      {},
		"work":       {},
		"nothing":    {},
	} {
		t.Run(word, func(t *testing.T) {
			p := usual
			if word == "work" {
				p = ample
			}
			_, err := ask(t, p, mailEvent(word))
			if want.fault == "" {
				if err != nil {
					t.Error(err)
				}
			} else {
				callError(t, err, want.fault)
				if !strings.Contains(err.Error(), want.detail) {
					t.Errorf("error is %v; want one with %q", err, want.detail)
				}
			}
			if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
				t.Errorf("the next session got %v, %v; want accept", v, err)
			}
		})
	}
	if got := log.texts(); !slices.Contains(got, "two") || !slices.Contains(got, "three") {
		t.Errorf("logged %q; what the guest prints must be there, line by line", got)
	}

	_, err = e.Load(t.Context(), hostapi.Spec{Name: "broken", Config: []byte(`{"mode":"broken"}`)}, wasm)
	var le *engine.LoadError
	if !errors.As(err, &le) || le.Step != engine.StepProbe || !strings.Contains(err.Error(), "returned 7") || !strings.Contains(err.Error(), "the configuration is broken") {
		t.Errorf("error is %v; want one of the probe with the code and what it wrote", err)
	}
}

func TestInstancesServeOneSessionAfterTheOther(t *testing.T) {
	wasm := buildGoGuest(t)
	e := newEngine(t, engine.Options{})
	p := load(t, e, hostapi.Spec{}, wasm)
	for range 20 {
		if v, err := ask(t, p, rcptEvent()); err != nil || v.Action != hook.Accept {
			t.Fatalf("%v, %v; want accept", v, err)
		}
	}
	if n := p.Instances(); n != 1 {
		t.Errorf("%d instances after sessions that followed one another", n)
	}
	i, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := p.Open(t.Context()); err == nil {
		t.Error("a closed plugin took a new session")
	}
	select {
	case <-p.Done():
		t.Error("the plugin was released while a session was open")
	default:
	}
	if v, err := i.Handle(t.Context(), rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("the open session got %v, %v after Close; want accept", v, err)
	}
	i.Close()
	if _, err := i.Handle(t.Context(), rcptEvent()); err == nil {
		t.Error("a session was answered after its end")
	}
	<-p.Done()
}
