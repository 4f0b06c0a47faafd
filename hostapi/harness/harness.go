package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// Harness is an engine whose plugins find what a scenario says. One scenario is
// played at a time.
type Harness struct {
	engine *engine.Engine

	mu    sync.Mutex // guards world and usage
	world *world
	usage map[string]*Usage
}

// Usage is what the calls of one hook took.
type Usage struct {
	Hook      string        `json:"hook"` // or init, selftest
	Calls     int           `json:"calls"`
	Failed    int           `json:"failed"`
	Fuel      int64         `json:"fuel"`     // of all calls, in units of the meter
	MaxFuel   int64         `json:"max_fuel"` // of the most expensive
	CPU       time.Duration `json:"cpu_ns"`   // as Fuel, at this machine's speed
	MaxCPU    time.Duration `json:"max_cpu_ns"`
	Memory    int64         `json:"memory"` // the largest linear memory, in octets
	HostCalls int           `json:"host_calls"`
}

// New starts an engine. version is what plugins see as the server's; cache is a
// directory for compiled code, empty for none.
func New(version, cache string) (*Harness, error) {
	h := &Harness{usage: map[string]*Usage{}}
	e, err := engine.New(engine.Options{
		Version:  version,
		CacheDir: cache,
		Log: func(l hostapi.Line) {
			if w := h.current(); w != nil {
				w.said(l)
			}
		},
		Services: func(spec hostapi.Spec) (hostapi.Services, error) { return h.current().services(spec) },
		Now: func() time.Time {
			if w := h.current(); w != nil {
				return w.time()
			}
			return time.Unix(0, 0)
		},
		Random:  reader{h},
		Observe: h.observe,
	})
	if err != nil {
		return nil, err
	}
	h.engine = e
	return h, nil
}

// Close ends the engine. Close the subjects first.
func (h *Harness) Close() error { return h.engine.Close() }

func (h *Harness) current() *world {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.world
}

// reader gives the random octets of the scenario that is played.
type reader struct{ h *Harness }

func (r reader) Read(b []byte) (int, error) { return r.h.current().Read(b) }

func (h *Harness) observe(m engine.Measure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.usage[m.Hook]
	if u == nil {
		u = &Usage{Hook: m.Hook}
		h.usage[m.Hook] = u
	}
	u.Calls++
	if m.Failed {
		u.Failed++
	}
	u.Fuel += m.Fuel
	u.MaxFuel = max(u.MaxFuel, m.Fuel)
	u.CPU += m.CPU
	u.MaxCPU = max(u.MaxCPU, m.CPU)
	u.Memory = max(u.Memory, m.Memory)
	u.HostCalls += m.HostCalls
}

// Usage is what all calls so far took, in the order of a message's life.
func (h *Harness) Usage() []Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Usage
	for _, u := range h.usage {
		list = append(list, *u)
	}
	order := func(u Usage) int {
		s, ok := hook.ParseStage(u.Hook)
		if !ok {
			return -1
		}
		return int(s)
	}
	slices.SortFunc(list, func(a, b Usage) int { return cmp.Or(order(a)-order(b), cmp.Compare(a.Hook, b.Hook)) })
	return list
}

// Subject is a plugin that was loaded for a scenario.
type Subject struct {
	h        *Harness
	scenario *Scenario
	world    *world
	plugin   *engine.Plugin
}

// Load loads a module with the configuration, grants and world of a scenario.
// manifest is the one beside the module; nil: none. An error that is no
// *engine.LoadError is one of the scenario.
func (h *Harness) Load(ctx context.Context, s *Scenario, wasm []byte, manifest json.RawMessage) (*Subject, error) {
	spec, err := s.spec()
	if err != nil {
		return nil, &Error{File: s.file, What: err.Error()}
	}
	spec.Manifest = manifest
	w, err := newWorld(s)
	if err != nil {
		return nil, &Error{File: s.file, What: err.Error()}
	}
	h.use(w)
	p, err := h.engine.Load(ctx, spec, wasm)
	if err != nil {
		var bad *engine.LoadError
		if log := w.log; errors.As(err, &bad) && bad.Step == engine.StepProbe && len(log) > 0 {
			err = fmt.Errorf("%w; it logged %q", err, log)
		}
		return nil, errors.Join(err, w.close())
	}
	return &Subject{h: h, scenario: s, world: w, plugin: p}, nil
}

func (h *Harness) use(w *world) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.world = w
}

// Stages are the hooks that the plugin subscribes to.
func (s *Subject) Stages() hook.StageSet { return s.plugin.Stages() }

// Close ends the plugin.
func (s *Subject) Close() error {
	s.plugin.Close()
	return s.world.close()
}
