package manager

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
)

// Kinds of failures beside those of hostapi.Fault.
const (
	faultCanceled hostapi.Fault = "canceled" // the session ended during the call
	faultPanic    hostapi.Fault = "panic"
	faultOther    hostapi.Fault = "error" // of no kind that is known here
)

var faults = [...]hostapi.Fault{
	hostapi.FaultTrap, hostapi.FaultExit, hostapi.FaultRecursion, hostapi.FaultCPU, hostapi.FaultDeadline, hostapi.FaultLimit,
	hostapi.FaultMemory, hostapi.FaultBusy, hostapi.FaultVerdict, hostapi.FaultInit, hostapi.FaultHost,
	faultCanceled, faultPanic, faultOther,
}

// kinded is an error that knows its kind; engine.CallError is one.
type kinded interface{ Kind() hostapi.Fault }

func faultOf(ctx context.Context, err error) hostapi.Fault {
	var k kinded
	switch {
	case ctx.Err() != nil:
		return faultCanceled
	case errors.As(err, &k):
		return k.Kind()
	}
	return faultOther
}

// blameless failures say nothing about the generation: clients that hang up,
// and a machine that has no room, must not open the breaker.
func blameless(f hostapi.Fault) bool { return f == faultCanceled || f == hostapi.FaultBusy }

// counters of one hook of a generation.
type counters struct {
	answered atomic.Uint64
	verdicts [hook.Drop + 1]atomic.Uint64
	failures [len(faults)]atomic.Uint64
	skipped  atomic.Uint64
	wall     histogram
	cpu      histogram
}

// calls is how often the plugin was asked, and has answered or failed.
func (c *counters) calls() uint64 {
	n := c.answered.Load()
	for i := range c.failures {
		n += c.failures[i].Load()
	}
	return n
}

// refused is how often the verdict was to refuse or to throw away.
func (c *counters) refused() uint64 {
	var n uint64
	for _, a := range []hook.Action{hook.Reject, hook.Defer, hook.Discard, hook.Drop} {
		n += c.verdicts[a].Load()
	}
	return n
}

func (c *counters) fail(f hostapi.Fault) {
	i := slices.Index(faults[:], f)
	if i < 0 {
		i = len(faults) - 1
	}
	c.failures[i].Add(1)
}

func (c *counters) figures(s hook.Stage) hook.Figures {
	f := hook.Figures{Hook: s.String(), Calls: c.calls(), Skipped: c.skipped.Load(), Wall: c.wall.snapshot(), CPU: c.cpu.snapshot()}
	add := func(to *map[string]uint64, key string, n uint64) {
		if n == 0 {
			return
		}
		if *to == nil {
			*to = make(map[string]uint64)
		}
		(*to)[key] = n
	}
	for a := range c.verdicts {
		add(&f.Verdicts, hook.Action(a).String(), c.verdicts[a].Load())
	}
	for i, kind := range faults {
		add(&f.Failures, string(kind), c.failures[i].Load())
	}
	return f
}

// histogram has a bucket for each factor of 4, the first up to 1024 ns, the
// last without end.
type histogram struct {
	sum     atomic.Int64
	buckets [15]atomic.Uint64
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.sum.Add(int64(d))
	i := (max(bits.Len64(uint64(max(d, 1)-1)), 10) - 9) / 2
	h.buckets[min(i, len(h.buckets)-1)].Add(1)
}

func (h *histogram) snapshot() hook.Histogram {
	out := hook.Histogram{Sum: time.Duration(h.sum.Load())}
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n > 0 {
			b := hook.Bucket{LE: 1024 << (2 * i), Count: n}
			if i == len(h.buckets)-1 {
				b.LE = 0
			}
			out.Buckets = append(out.Buckets, b)
		}
	}
	return out
}

// calls of all hooks.
func (g *generation) calls() (n uint64) {
	for s := range g.counters {
		n += g.counters[s].calls()
	}
	return n
}

func (g *generation) figures() []hook.Figures {
	var list []hook.Figures
	hook.AllStages(func(s hook.Stage) {
		if g.loaded.Stages().Has(s) {
			list = append(list, g.counters[s].figures(s))
		}
	})
	return list
}
