package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// CallError is a call that failed. It costs the plugin this verdict and the
// instance.
type CallError struct {
	Plugin string
	Hook   string // as in the export's name, or init, selftest
	Fault  hostapi.Fault
	Detail string // one line, bounded
}

func (e *CallError) Error() string {
	return fmt.Sprintf("plugin %q: %s: %s: %s", e.Plugin, e.Hook, e.Fault, e.Detail)
}

// Kind is the fault.
func (e *CallError) Kind() hostapi.Fault { return e.Fault }

// maxDetail bounds a detail: parts of it are written by the guest.
const maxDetail = 400

func (p *Plugin) fail(hook string, fault hostapi.Fault, format string, args ...any) *CallError {
	return &CallError{p.spec.Name, hook, fault, oneLine(fmt.Sprintf(format, args...))}
}

// oneLine makes s safe for a log and short.
func oneLine(s string) string {
	s = hostapi.Printable(s)
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "..."
	}
	return s
}

// explain turns the error of a call into what happened.
func (i *instance) explain(hook string, err error) *CallError {
	fault, detail := hostapi.FaultTrap, ""
	message, trace, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	message, _, _ = strings.Cut(message, "\n")
	var trap *hostapi.Trap
	switch {
	case errors.As(err, &trap):
		fault, detail = trap.Fault, trap.Reason
	case i.tooDeep() || strings.Contains(message, "stack overflow"):
		fault, detail = hostapi.FaultRecursion, "its calls nest too deep"
	case strings.HasPrefix(message, "wasm error: "):
		detail = strings.TrimPrefix(message, "wasm error: ")
		// wazero refuses what is beyond the limit without asking the allocator.
		if held := int64(len(i.memory.buf)); i.memory.refused || held >= i.memory.limit/8*7 {
			fault = hostapi.FaultMemory
			detail += fmt.Sprintf(" with %d MiB of memory, of %d MiB that it may have", held>>20, i.memory.limit>>20)
		}
	case errors.Is(err, errBusy):
		fault, detail = hostapi.FaultBusy, message
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		fault, detail = hostapi.FaultDeadline, message
	default:
		fault, detail = hostapi.FaultHost, message
	}
	if where := innermost(trace); where != "" {
		detail += " in " + where
	}
	if i.console.first != "" {
		detail += fmt.Sprintf(" (it wrote %q)", i.console.first)
	}
	return i.plugin.fail(hook, fault, "%s", detail)
}

// innermost is the name of the guest's functions that were running, the last
// called first, from wazero's trace.
func innermost(trace string) string {
	var names []string
	for line := range strings.SplitSeq(trace, "\n") {
		name, _, ok := strings.Cut(strings.TrimSpace(line), "(")
		if !ok || len(names) == 4 {
			break
		}
		name = strings.TrimPrefix(name, ".")
		if strings.HasPrefix(name, meter.ImportModule) || strings.HasPrefix(name, "$") {
			continue // the meter; a function without a name
		}
		if len(name) > 60 {
			name = name[:60]
		}
		names = append(names, name)
	}
	return strings.Join(names, " < ")
}

// LoadError is a plugin that could not be loaded.
type LoadError struct {
	Step   string // inspect, authorise, compile or probe
	Plugin string
	Err    error
}

// The steps of loading.
const (
	StepInspect   = "inspect"   // is it a plugin: format, imports, exports, sizes
	StepAuthorise = "authorise" // does the configuration give what it needs
	StepCompile   = "compile"   // metering, validation, machine code
	StepProbe     = "probe"     // does it start: _initialize, mta1_init, mta1_on_selftest
)

func (e *LoadError) Error() string {
	name := fmt.Sprintf("plugin %q: ", e.Plugin)
	return name + e.Step + ": " + strings.TrimPrefix(e.Err.Error(), name) // once is enough
}

func (e *LoadError) Unwrap() error { return e.Err }
