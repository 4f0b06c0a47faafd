package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// instance is a guest of one session. It belongs to the goroutine that calls
// it.
type instance struct {
	plugin  *Plugin
	mod     api.Module
	call    *hostapi.Call
	memory  linear
	console console
	failed  bool
	closed  bool

	functions [hook.Tick + 1]api.Function
	fuel      api.MutableGlobal
	globals   []api.MutableGlobal // of the image, in its order
	stack     [1]uint64

	// Of the call that runs. The fuel global holds what was handed to the
	// guest, left what was not: together they are what it may still use.
	left     int64
	used     int64 // fuel of the last hook call that ended well
	wall     time.Duration
	deadline time.Time // zero until the first look at the clock
	slice    int64     // fuel to hand out at once
	cpu      time.Duration
	spent    time.Duration // CPU time, as far as it was measured
	mark     mark
	ctx      callContext
}

// callContext is what wazero hands to the host functions of a call.
type callContext struct {
	context.Context
	instance *instance
	starting bool // the module is being made: values matter
}

// Value spares the search in the session's context, where nothing is meant for
// the engine.
func (c *callContext) Value(key any) any {
	if c.starting {
		return c.Context.Value(key)
	}
	return nil
}

// instantiate makes an instance: a copy of the image, or before there is one
// an instance with nothing in its memory.
func (p *Plugin) instantiate(ctx context.Context) (i *instance, err error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	i = &instance{plugin: p}
	i.call = hostapi.NewCall(&p.guest, i)
	i.memory = linear{budget: &p.engine.memory, limit: p.memory, fuel: &i.left, image: p.image}
	if !i.memory.reserve(p.minimum) {
		p.leave()
		return nil, p.fail("open", hostapi.FaultMemory, "all plugins together use %d MiB, of %d MiB that they may",
			p.engine.memory.used.Load()>>20, p.engine.memory.limit>>20)
	}
	failed := func(err error) (*instance, error) {
		cerr := i.explain("init", err)
		i.memory.Free()
		p.leave()
		return nil, cerr
	}
	if err := p.engine.acquire(ctx, p.initial.Wall); err != nil {
		return failed(err)
	}
	defer p.engine.release()
	defer func() {
		if r := recover(); r != nil {
			i, err = failed(fmt.Errorf("instantiating: %v", r))
		}
	}()
	i.begin(ctx, "init", nil, p.initial)
	i.ctx.Context = experimental.WithMemoryAllocator(ctx, &i.memory)
	i.ctx.starting = true
	mod, err := p.runtime.InstantiateModule(&i.ctx, p.compiled, p.module)
	if err == nil && p.image != nil {
		if i.globals, err = p.image.resume(p, mod); err != nil {
			err = errors.Join(err, mod.Close(ctx))
		}
	}
	i.ctx.starting = false
	i.flush()
	i.finish()
	if err != nil {
		return failed(err)
	}
	i.mod = mod
	i.fuel = mod.ExportedGlobal(meter.FuelExport).(api.MutableGlobal)
	return i, nil
}

// begin prepares the counters of a call.
func (i *instance) begin(ctx context.Context, name string, e *hook.Event, l CallLimit) {
	i.call.Begin(name, e)
	i.ctx.Context, i.ctx.instance = ctx, i
	i.left, i.wall, i.deadline = i.plugin.engine.units(l.CPU), l.Wall, time.Time{}
	i.slice, i.cpu, i.spent, i.mark = i.plugin.engine.fuel/firstSlice, l.CPU, 0, mark{}
	i.memory.refused = false
	i.console.first = ""
}

// finish forgets what belongs to the session.
func (i *instance) finish() {
	i.call.End()
	i.ctx.Context = context.Background()
}

// run calls a function of the guest under limits.
func (i *instance) run(ctx context.Context, name string, f api.Function, e *hook.Event, l CallLimit) (int32, error) {
	p := i.plugin
	i.begin(ctx, name, e, l)
	if err := p.engine.acquire(ctx, l.Wall); err != nil {
		i.failed = true
		i.finish()
		return 0, i.explain(name, err)
	}
	i.hand()
	i.stack[0] = 0
	err := f.CallWithStack(&i.ctx, i.stack[:])
	p.engine.release()
	i.flush()
	if p.engine.opt.Observe != nil {
		i.observe(name, l, err != nil)
	}
	if err != nil {
		i.failed = true
		i.finish()
		return 0, i.explain(name, err)
	}
	return int32(uint32(i.stack[0])), nil
}

// Handle asks the guest. After an error the instance does not answer any more.
func (i *instance) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	p := i.plugin
	if i.failed || i.closed || !p.report.hooks.Has(e.Stage) {
		return hook.Verdict{}, p.fail(e.Stage.String(), hostapi.FaultHost, "the instance was asked after its end, or for a hook that it does not have")
	}
	f := i.functions[e.Stage]
	if f == nil {
		f = i.mod.ExportedFunction(abi.HookPrefix + e.Stage.String())
		i.functions[e.Stage] = f
	}
	limit := p.callLimit(e)
	v, err := i.run(ctx, e.Stage.String(), f, e, limit)
	if err != nil {
		return hook.Verdict{}, err
	}
	i.used = p.engine.units(limit.CPU) - i.FuelLeft()
	verdict, verr := i.call.Verdict(v)
	i.finish()
	if verr != nil {
		i.failed = true
		return hook.Verdict{}, p.fail(e.Stage.String(), hostapi.FaultVerdict, "%s", verr)
	}
	if p.engine.stackOf(f) > maxStack {
		// The stack is kept as long as the function is: make a new one.
		i.functions[e.Stage] = nil
	}
	return verdict, nil
}

// maxStack is the native stack that an idle instance may keep for a hook, in
// wazero's units: octets, in the interpreter values.
const maxStack = 64 << 10

// stackOf is how far the native stack of a function has grown. wazero doubles
// it as a call needs, never shrinks it, and does not show it, so this looks
// inside; 0 where it is not found.
func (e *Engine) stackOf(f api.Function) int {
	v := reflect.ValueOf(f)
	if e.stackField < 0 || v.Type() != e.functionType {
		return 0
	}
	return v.Elem().Field(e.stackField).Len()
}

// findStack learns where a function of this engine has its stack.
func (e *Engine) findStack(f api.Function) {
	e.stackField = -1
	t := reflect.TypeOf(f)
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return
	}
	if s, ok := t.Elem().FieldByName("stack"); ok && len(s.Index) == 1 && s.Type.Kind() == reflect.Slice {
		e.functionType, e.stackField = t, s.Index[0]
	}
}

// Fuel is handed out in slices. The first is 1/8 ms of usual code, so that a
// guest whose code is a hundred times slower, for it waits for memory, comes
// back in time, and an interpreter, which pays for code that it jumps over, is
// not held up in every hook; the next are what takes sliceTime, as it was measured, and no
// more than 1/8 ms of usual code, for it may become slow at any time.
const (
	firstSlice   = 8
	largestSlice = 8
	leastSlice   = 1024
	sliceTime    = 500 * time.Microsecond
)

// overdraft is how often a guest may use its CPU time, measured by the clock,
// while it has fuel: usual code stays below that, so fuel alone tells, which is
// the same on every machine.
const overdraft = 2

// mark is when and where the guest ran on.
type mark struct {
	thread int
	cpu    time.Duration // of the thread
	calls  int           // host calls so far
	known  bool
}

// hand gives the guest fuel for some time less than a millisecond.
func (i *instance) hand() {
	n := min(i.left, i.slice)
	i.left -= n
	i.fuel.Set(uint64(n))
}

// refuel is called by a guest whose fuel is used up.
func refuel(ctx context.Context, _ api.Module, _ []uint64) {
	i := ctx.(*callContext).instance
	i.left += int64(i.fuel.Get())
	if i.left < 0 {
		i.outOfFuel()
	}
	took := i.look()
	// Machine code is not preempted: let collections and other sessions run.
	runtime.Gosched()
	if e := i.plugin.engine; took > 0 {
		n := float64(i.slice) * float64(sliceTime) / float64(took)
		i.slice = max(min(int64(min(n, float64(e.fuel/largestSlice))), 4*i.slice), e.fuel/leastSlice, 1)
	}
	i.resume()
	i.hand()
}

// resume takes note that the guest runs on.
func (i *instance) resume() {
	t, cpu, ok := i.plugin.engine.threadTime()
	i.mark = mark{t, cpu, i.call.HostCalls(), ok}
}

// measure adds the CPU time since resume to what the call has spent, and
// returns it. Machine code is never preempted, but a host call may be: then the
// thread did other work meanwhile, or the goroutine has another thread. So a
// part with host calls in it, which are charged, counts by its fuel alone.
func (i *instance) measure() time.Duration {
	if !i.mark.known || i.mark.calls != i.call.HostCalls() {
		return 0
	}
	t, cpu, ok := i.plugin.engine.threadTime()
	took := cpu - i.mark.cpu
	if !ok || t != i.mark.thread || took < 0 {
		return 0
	}
	i.mark.cpu = cpu
	// A clock that jumped, as when the machine stood still, must not be the end.
	if i.spent += min(took, i.cpu); i.spent > overdraft*i.cpu {
		panic(&hostapi.Trap{Fault: hostapi.FaultCPU, Reason: fmt.Sprintf("its CPU time is used up: it ran for %s of %s", i.spent, i.cpu)})
	}
	return took
}

func (i *instance) outOfFuel() {
	panic(&hostapi.Trap{Fault: hostapi.FaultCPU, Reason: "its CPU time is used up"})
}

// look compares the clocks with the limits and returns the CPU time since the
// guest ran on. The first look starts the time: a call that is over within a
// fraction of a millisecond never asks for it.
func (i *instance) look() time.Duration {
	now := time.Now()
	if i.deadline.IsZero() {
		i.deadline = now.Add(i.wall)
	}
	if now.After(i.deadline) {
		panic(&hostapi.Trap{Fault: hostapi.FaultDeadline, Reason: fmt.Sprintf("it took longer than %s", i.wall)})
	}
	if err := i.ctx.Context.Err(); err != nil {
		panic(&hostapi.Trap{Fault: hostapi.FaultDeadline, Reason: "the session ended: " + err.Error()})
	}
	return i.measure()
}

// Charge takes fuel for so many nanoseconds of work of the host.
func (i *instance) Charge(ns int64) {
	i.left -= ns * i.plugin.engine.fuel / 1e6
	if i.left < 0 && i.FuelLeft() < 0 {
		i.outOfFuel()
	}
	if i.call.HostCalls()&63 == 63 {
		i.look()
		i.resume()
	}
}

// FuelLeft is what the call may still use.
func (i *instance) FuelLeft() int64 {
	if i.fuel == nil {
		return i.left
	}
	return i.left + int64(i.fuel.Get())
}

// CPU is the time that the last hook call used, if it ended well. It is fuel at
// the speed measured when the engine started.
func (i *instance) CPU() time.Duration {
	return time.Duration(float64(i.used) / float64(i.plugin.engine.fuel) * float64(time.Millisecond))
}

// WallLeft is the time until the deadline.
func (i *instance) WallLeft() time.Duration {
	i.look()
	return time.Until(i.deadline)
}

// observe reports the call that has just ended.
func (i *instance) observe(name string, l CallLimit, failed bool) {
	e := i.plugin.engine
	used := max(e.units(l.CPU)-max(i.FuelLeft(), 0), 0)
	e.opt.Observe(Measure{Plugin: i.plugin.spec.Name, Hook: name, Fuel: used,
		CPU:    time.Duration(float64(used) / float64(e.fuel) * float64(time.Millisecond)),
		Memory: int64(len(i.memory.buf)), HostCalls: i.call.HostCalls(), Failed: failed})
}

// waitMargin is the part of the wall time that is left to the guest after the
// longest wait, at most maxWaitMargin.
const (
	waitMargin    = 10
	maxWaitMargin = 250 * time.Millisecond
)

// Wait lets other guests run while f waits for something outside.
func (i *instance) Wait(f func(ctx context.Context)) {
	i.look()
	ctx, cancel := context.WithDeadline(i.ctx.Context, i.deadline.Add(-min(i.wall/waitMargin, maxWaitMargin)))
	defer cancel()
	e := i.plugin.engine
	e.release()
	// The place comes back whatever the wait came to: those who have one give
	// it back when their time is up.
	defer func() { e.running <- struct{}{}; i.resume() }()
	i.mark = mark{}
	f(ctx)
}

// MemoryLimit is the most memory that the guest can have, in octets.
func (i *instance) MemoryLimit() int64 { return i.plugin.memory }

// tooDeep tells whether the call ended at the limit of nested calls.
func (i *instance) tooDeep() bool { return i.mod != nil && i.depth() > i.plugin.depth }

// depth is the weight of the calls that run in the guest: 0 between calls,
// unless one of them failed.
func (i *instance) depth() int32 {
	return int32(uint32(i.mod.ExportedGlobal(meter.DepthExport).Get()))
}

// said is the last line that the guest logged, for an error about it.
func (i *instance) said() string {
	if s := i.call.LastLine(); s != "" {
		return fmt.Sprintf("; it logged %q", s)
	}
	return ""
}

// close ends the instance. It must not be called while a call runs.
func (i *instance) close() {
	if i.closed {
		return
	}
	i.closed = true
	if err := i.mod.Close(context.Background()); err != nil {
		i.plugin.engine.opt.Logger.Warn("plugin: closing an instance", "plugin", i.plugin.spec.Name, "err", err)
	}
	i.mod, i.fuel, i.globals = nil, nil, nil
	clear(i.functions[:])
	i.plugin.leave()
}

// lease is an instance in the hands of one session. When the session ends the
// instance becomes what it was before, and serves another.
type lease struct{ *instance }

// Handle asks the guest.
func (l *lease) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	if l.instance == nil {
		return hook.Verdict{}, errClosed
	}
	return l.instance.Handle(ctx, e)
}

var errClosed = errors.New("the instance was asked after its end")

// Close ends the session's use of the instance. It must not be called while a
// call runs.
func (l *lease) Close() {
	i := l.instance
	if i == nil {
		return
	}
	l.instance = nil
	i.plugin.sessions.Add(-1)
	if !i.clean() || !i.plugin.keep(i) {
		i.close()
	}
}
