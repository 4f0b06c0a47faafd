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
func (m *image) resume(p *Plugin, mod api.Module) error {
	if missing := len(m.memory) - int(mod.Memory().Size()); missing > 0 {
		if _, ok := mod.Memory().Grow(uint32(missing / pageSize)); !ok {
			return fmt.Errorf("its memory cannot grow to the %d KiB of its image", len(m.memory)>>10)
		}
	}
	for n, name := range p.shell.Globals {
		mod.ExportedGlobal(name).(api.MutableGlobal).Set(m.globals[n])
	}
	return nil
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
