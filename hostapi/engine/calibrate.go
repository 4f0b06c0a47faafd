package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// probeLoop is a module with one exported function "f", (i32) -> (): so many
// turns of a loop of arithmetic, a load and a store. The test of this file
// builds it from its instructions.
const probeLoop = "\x00asm\x01\x00\x00\x00" +
	"\x01\x05\x01\x60\x01\x7f\x00" + // type (i32) -> ()
	"\x03\x02\x01\x00" + // one function
	"\x05\x04\x01\x01\x01\x01" + // one page of memory
	"\x07\x0e\x02\x01f\x00\x00\x06memory\x02\x00" + // export f and memory
	"\x0a\x2a\x01\x28\x00" + // code
	"\x03\x40" + // loop
	"\x41\x10" + // i32.const 16, the address to store to
	"\x20\x00\x41\xff\x07\x71\x28\x02\x00" + // i32.load (local 0 & 1023)
	"\x20\x00\x41\x1f\x6c\x20\x00\x41\x03\x76\x73\x6a" + // + (local*31 ^ local>>3)
	"\x36\x02\x00" + // i32.store
	"\x20\x00\x41\x01\x6b\x22\x00\x0d\x00" + // local--, again if not 0
	"\x0b\x0b"

// calibrate measures how much fuel a guest uses in a millisecond on this
// machine, and learns which of wazero's engines runs. The fastest of several
// runs counts: on a busy machine the others measure the neighbours. The loop
// waits for its memory; code that does not runs up to twice as fast, and is
// given that much, so that nobody gets less than the time in the limits.
func (e *Engine) calibrate() error {
	const turns, runs = 100_000, 5
	ctx := context.Background()
	shell, err := meter.Split([]byte(probeLoop), meter.Limits{})
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
	f := i.mod.ExportedFunction("f")
	e.findStack(f)
	e.findBuffer(i.mod.Memory())
	e.kind = kindInterpreter
	if strings.Contains(fmt.Sprintf("%T", f), "wazevo") {
		e.kind = kindCompiler
	}
	best := 0.0
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
	// A clock that jumps must neither starve the guests nor set them free.
	e.fuel = min(max(int64(2*best), 10_000), 40_000_000)
	return nil
}
