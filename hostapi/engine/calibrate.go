package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// probe is a module of three loops that take (i32), the number of turns: one
// that does nothing, one of arithmetic with a load and a store, one of calls.
// The test of this file builds it from its instructions.
const probe = "" +
	"\x00asm\x01\x00\x00\x00" +
	"\x01\x08\x02\x60\x01\x7f\x00\x60\x00\x00" + // types (i32) -> (), () -> ()
	"\x03\x06\x05\x00\x00\x00\x01\x01" + // five functions
	"\x05\x04\x01\x01\x01\x01" + // one page of memory
	"\x07\x23\x04\x05turns\x00\x00\x06access\x00\x01\x05calls\x00\x02\x06memory\x02\x00" + // exports
	"\x0a\x52\x05" + // code
	"\x0e\x00\x03\x40\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x0b" + // loop: local--, again if not 0
	"\x28\x00\x03\x40\x41\x10" + // loop; i32.const 16, the address to store to
	"\x20\x00\x41\xff\x07\x71\x28\x02\x00" + // i32.load (local 0 & 1023)
	"\x20\x00\x41\x1f\x6c\x20\x00\x41\x03\x76\x73\x6a" + // + (local*31 ^ local>>3)
	"\x36\x02\x00" + // i32.store
	"\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x0b" + // local--, again if not 0
	"\x10\x00\x03\x40\x10\x03\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x0b" + // loop: call 3; local--, again if not 0
	"\x04\x00\x10\x04\x0b" + // call 4
	"\x02\x00\x0b" // nothing

// fairness is how much fuel more than the fastest of the probe's loops uses
// makes a millisecond. Long runs of arithmetic without branches were seen to
// use three times as much and get half of their time; what waits for memory or
// divides uses less and is stopped by the clock.
const fairness = 1.5

// calibrate measures how much fuel a guest uses in a millisecond on this
// machine, and learns which of wazero's engines runs. The fastest of several
// runs counts: on a busy machine the others measure the neighbours.
func (e *Engine) calibrate() error {
	const turns, runs = 50_000, 5
	ctx := context.Background()
	shell, err := meter.Split([]byte(probe), meter.Limits{})
	if err != nil {
		return err
	}
	p := &Plugin{engine: e, spec: hostapi.Spec{Name: "calibration"}, memory: pageSize, minimum: pageSize, concurrent: 1, done: make(chan struct{}), shell: shell}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	defer p.Close()
	e.fuel = 1 << 20 // until it is known
	i, cerr := p.instantiate(ctx)
	if cerr != nil {
		return cerr
	}
	defer i.close()
	e.findBuffer(i.mod.Memory())
	best := 0.0
	for _, name := range []string{"turns", "access", "calls"} {
		f := i.mod.ExportedFunction(name)
		e.findStack(f)
		e.kind = kindInterpreter
		if strings.Contains(fmt.Sprintf("%T", f), "wazevo") {
			e.kind = kindCompiler
		}
		for range runs {
			const plenty = 1 << 40
			i.fuel.Set(plenty)
			start := time.Now()
			if err := f.CallWithStack(&i.ctx, []uint64{turns}); err != nil {
				return err
			}
			took := time.Since(start)
			used := plenty - int64(i.fuel.Get())
			best = max(best, float64(used)/max(float64(took), 1)*float64(time.Millisecond))
		}
	}
	// A clock that jumps must neither starve the guests nor set them free.
	e.fuel = min(max(int64(fairness*best), 10_000), 40_000_000)
	return nil
}
