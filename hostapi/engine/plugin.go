package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// Plugin is one generation of a plugin, ready to serve. It is safe for
// concurrent use and implements hook.Opener.
type Plugin struct {
	engine     *Engine
	spec       hostapi.Spec
	report     Report
	terms      terms
	generation string
	guest      hostapi.Guest

	memory     int64 // octets of linear memory of an instance
	minimum    int64 // that an instance begins with: at first as declared, then as found after mta1_init
	depth      int32
	concurrent int64
	limits     [hook.Tick + 1]CallLimit
	initial    CallLimit

	shell *meter.Shell
	image *image // nil: while it is made, and where there can be none

	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	module   wazero.ModuleConfig

	sessions atomic.Int64 // instances that were opened and not closed

	mu     sync.Mutex
	open   int           // instances of any kind, and one being made
	closed bool          // takes no new ones
	idle   []*instance   // clean, for the next sessions
	kept   int64         // octets that these have for themselves
	done   chan struct{} // closed when everything is released

	logMu      sync.Mutex
	logSecond  int64
	logLines   int
	logDropped int
}

var _ hook.Opener = (*Plugin)(nil)

// Name is the plugin's name.
func (p *Plugin) Name() string { return p.spec.Name }

// Spec is what the operator configured.
func (p *Plugin) Spec() hostapi.Spec { return p.spec }

// Hash is the SHA-256 of the module in hex.
func (p *Plugin) Hash() string { return p.report.Hash }

// Generation is a short identity of module, configuration, grant and limits.
func (p *Plugin) Generation() string { return p.generation }

// Report is what the module's binary shows.
func (p *Plugin) Report() Report { return p.report }

// Instances is the number of instances that exist, those that wait for a
// session included.
func (p *Plugin) Instances() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Handle answers one event with an instance of its own.
func (p *Plugin) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	i, err := p.Open(ctx)
	if err != nil {
		return hook.Verdict{}, err
	}
	defer i.Close()
	return i.Handle(ctx, e)
}

// Open makes the instance of one session or delivery. It fails when the
// plugin is closed, has too many instances, or there is no memory for one
// more. The error is a *CallError.
func (p *Plugin) Open(ctx context.Context) (hook.Instance, error) {
	if p.sessions.Add(1) > p.concurrent {
		p.sessions.Add(-1)
		return nil, p.fail("open", hostapi.FaultBusy, "it has %d instances, which is its limit", p.concurrent)
	}
	i := p.takeIdle()
	if i == nil {
		var err error
		if i, err = p.start(ctx); err != nil {
			p.sessions.Add(-1)
			return nil, err
		}
	}
	return &lease{i}, nil
}

// enter counts an instance that is about to be made.
func (p *Plugin) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.fail("open", hostapi.FaultBusy, "this generation of the plugin is closed")
	}
	p.open++
	return nil
}

// leave is its reverse. The last one out releases the code.
func (p *Plugin) leave() {
	p.mu.Lock()
	p.open--
	last := p.closed && p.open == 0
	p.mu.Unlock()
	if last {
		p.free()
	}
}

// Close ends the generation: it takes no new instances, and releases its code
// when the last is closed, which Done tells. It does not wait, and may be
// called again.
func (p *Plugin) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	p.engine.plugins.Delete(p)
	idle := p.idle
	p.idle = nil
	p.open++ // until these are closed
	p.mu.Unlock()
	for _, i := range idle {
		i.close()
	}
	p.leave()
}

// Done is closed when the plugin is closed and its last instance too.
func (p *Plugin) Done() <-chan struct{} { return p.done }

// free releases the compiled code. With a shared cache the runtime does not do
// it.
func (p *Plugin) free() {
	ctx := context.Background()
	if err := p.runtime.Close(ctx); err != nil {
		p.engine.opt.Logger.Warn("plugin: closing its runtime", "plugin", p.spec.Name, "generation", p.generation, "err", err)
	}
	if err := p.compiled.Close(ctx); err != nil {
		p.engine.opt.Logger.Warn("plugin: releasing its code", "plugin", p.spec.Name, "generation", p.generation, "err", err)
	}
	p.image.close()
	close(p.done)
}

func (p *Plugin) takeIdle() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	i := p.idle[n-1]
	p.idle = p.idle[:n-1]
	p.kept -= i.weight()
	return i
}

// Of a plugin's instances that have served a session, as many are kept for
// others as have room in idleMemory, and no more than maxIdle.
const (
	idleMemory = 64 << 20
	maxIdle    = 256
)

// weight is about what an idle instance takes: its own pages, and what wazero
// has for it, which for Go is 100 KiB.
func (i *instance) weight() int64 { return i.memory.resident + 100<<10 }

// keep takes an instance back that is as clean as a new one. It is false if
// there are enough.
func (p *Plugin) keep(i *instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := i.weight()
	if p.closed || len(p.idle) >= maxIdle || p.kept+w > idleMemory {
		return false
	}
	p.idle = append(p.idle, i)
	p.kept += w
	return true
}

// start makes an instance that has initialised itself, or is a copy of one that
// has.
func (p *Plugin) start(ctx context.Context) (*instance, error) {
	i, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	if p.image != nil {
		return i, nil
	}
	limit := p.initial
	if err := p.initialise(ctx, i); err != nil {
		i.close()
		return nil, err
	}
	if p.report.initialize {
		if _, err := i.run(ctx, "init", i.mod.ExportedFunction(abi.ExportInitialize), nil, limit); err != nil {
			i.close()
			return nil, err
		}
	}
	code, err := i.run(ctx, "init", i.mod.ExportedFunction(abi.ExportInit), nil, limit)
	if err == nil && code != 0 {
		err = p.fail("init", hostapi.FaultInit, "%s returned %d%s", abi.ExportInit, code, i.said())
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// log passes a line of the guest on, at most maxLogRate in a second.
func (p *Plugin) log(l hostapi.Line) {
	now := time.Now().Unix()
	p.logMu.Lock()
	dropped := 0
	if now != p.logSecond {
		dropped = p.logDropped
		p.logSecond, p.logLines, p.logDropped = now, 0, 0
	}
	p.logLines++
	pass := p.logLines <= maxLogRate
	if !pass {
		p.logDropped++
	}
	p.logMu.Unlock()
	if dropped > 0 {
		p.engine.opt.Log(hostapi.Line{Plugin: l.Plugin, Generation: l.Generation, Hook: l.Hook, Level: abi.LogWarn,
			Text: fmt.Sprintf("%d lines of this plugin were dropped: it logs more than %d in a second", dropped, maxLogRate)})
	}
	if pass {
		p.engine.opt.Log(l)
	}
}
