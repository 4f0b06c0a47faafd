package engine

import (
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

// Defaults are the limits of a plugin for which the operator set none.
type Defaults struct {
	Calls      [hook.Tick + 1]CallLimit // by stage
	Init       CallLimit                // _initialize and mta1_init together, and selftest
	PerMB      time.Duration            // CPU added at message for each MiB of content
	MemoryMB   int                      // linear memory of an instance
	GoMemoryMB int                      // the same for a guest with Go's runtime
	Concurrent int                      // instances of one plugin at once
	Script     int                      // times as much CPU for an interpreter of a script
}

// CallLimit bounds one call.
type CallLimit struct {
	CPU  time.Duration // as fuel, at the speed measured when the engine started, and at most twice that by the clock
	Wall time.Duration // with host calls; the backstop
}

// defaults are well under the client timeouts of RFC 5321 4.5.3.2, with
// several plugins in a row.
func defaults() Defaults {
	const ms, s = time.Millisecond, time.Second
	d := Defaults{
		Init:       CallLimit{500 * ms, 10 * s},
		PerMB:      10 * ms,
		MemoryMB:   16,
		GoMemoryMB: 64,
		Concurrent: 1000,
		Script:     8,
	}
	hook.AllStages(func(st hook.Stage) { d.Calls[st] = CallLimit{5 * ms, 5 * s} })
	d.Calls[hook.Auth] = CallLimit{10 * ms, 10 * s}
	d.Calls[hook.Headers] = CallLimit{20 * ms, 10 * s}
	d.Calls[hook.Message] = CallLimit{100 * ms, 60 * s}
	for _, st := range []hook.Stage{hook.Route, hook.Attempt, hook.Result, hook.DSN} {
		d.Calls[st] = CallLimit{10 * ms, 10 * s}
	}
	d.Calls[hook.Tick] = CallLimit{1 * s, 60 * s}
	return d
}

// of is d for one module: an interpreter does in a hook what a compiled guest
// does, and collects its garbage, in several times the time.
func (d Defaults) of(r *Report) Defaults {
	if r.Script > 0 || slices.Contains(r.Toolchain["language"], "JavaScript") {
		for s := range d.Calls {
			d.Calls[s].CPU *= time.Duration(d.Script)
		}
		d.Init.CPU *= 2
	}
	return d
}

// callLimit is the limit of one call of p.
func (p *Plugin) callLimit(e *hook.Event) CallLimit {
	l := p.limits[e.Stage]
	if e.Stage == hook.Message && e.Content != nil && p.spec.Limits.CPU == 0 {
		l.CPU += p.engine.defaults.PerMB * time.Duration(e.Content.Size()>>20)
	}
	return l
}
