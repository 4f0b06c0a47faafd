package engine

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmta/wasmta/hostapi"
)

// image is the state of a guest that has initialised itself and served nobody:
// its memory and its mutable globals. Instances begin as copies of it.
type image struct {
	memory  []byte
	globals []uint64  // as meter.Shell.Globals names them
	buffers sync.Pool // of *[]byte, each as long as memory
}

// capture takes the image of i. Plugins whose state is more than that, which
// meter tells, have none: each of their instances initialises itself.
func (p *Plugin) capture(i *instance) {
	if !p.shell.Image {
		return
	}
	m := &image{memory: bytes.Clone(i.memory.buf)}
	for _, name := range p.shell.Globals {
		m.globals = append(m.globals, i.mod.ExportedGlobal(name).Get())
	}
	m.buffers.New = func() any { b := make([]byte, len(m.memory)); return &b }
	p.image = m
	p.minimum = int64(len(m.memory))
}

// buffer returns memory that is a copy of the image. What an earlier instance
// left in it is overwritten, every octet.
func (m *image) buffer() *[]byte {
	b := m.buffers.Get().(*[]byte)
	copy(*b, m.memory)
	return b
}

// resume makes a new instance of the image: its memory, which began as a copy,
// gets its size, and the globals their values.
func (m *image) resume(p *Plugin, mod api.Module) ([]api.MutableGlobal, error) {
	if missing := len(m.memory) - int(mod.Memory().Size()); missing > 0 {
		if _, ok := mod.Memory().Grow(uint32(missing / pageSize)); !ok {
			return nil, fmt.Errorf("its memory cannot grow to the %d KiB of its image", len(m.memory)>>10)
		}
	}
	globals := make([]api.MutableGlobal, len(p.shell.Globals))
	for n, name := range p.shell.Globals {
		globals[n] = mod.ExportedGlobal(name).(api.MutableGlobal)
		globals[n].Set(m.globals[n])
	}
	return globals, nil
}

// clean makes an instance that served a session what it was before it did:
// every octet of its memory and every global is written again. It is false if
// that cannot be: after a failure, when there is no image, and when the memory
// has grown, for it cannot shrink.
func (i *instance) clean() bool {
	m := i.plugin.image
	if m == nil || i.failed || i.globals == nil || len(i.memory.buf) != len(m.memory) || i.depth() != 0 {
		return false
	}
	copy(i.memory.buf, m.memory)
	for n, g := range i.globals {
		g.Set(m.globals[n])
	}
	i.console = console{}
	return true
}

// initialise does for a new instance what instantiating a module does, its
// data and start function, then lets it initialise itself.
func (p *Plugin) initialise(ctx context.Context, i *instance) error {
	for _, d := range p.shell.Data {
		if !i.mod.Memory().Write(d.Offset, d.Bytes) {
			return p.fail("init", hostapi.FaultTrap, "a data segment of %d octets at %#x is outside its memory", len(d.Bytes), d.Offset)
		}
	}
	if p.shell.Start != "" {
		if _, err := i.run(ctx, "init", i.mod.ExportedFunction(p.shell.Start), nil, p.initial); err != nil {
			return err
		}
	}
	return nil
}
