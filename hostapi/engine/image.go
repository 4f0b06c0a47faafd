package engine

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmta/wasmta/hostapi"
)

// image is the state of a guest that has initialised itself and served nobody:
// its memory and its mutable globals. Instances begin as copies of it.
type image struct {
	memory  []byte
	globals []uint64  // as meter.Shell.Globals names them
	frozen  *frozen   // instances share its pages; nil: each has a copy of memory
	buffers sync.Pool // of *[]byte, each as long as memory
}

// sharedImage is the size from which instances share the pages of an image. A
// smaller one is copied in less time than the kernel is asked.
const sharedImage = 128 << 10

// capture takes the image of i. Plugins whose state is more than that, which
// meter tells, have none: each of their instances initialises itself.
func (p *Plugin) capture(i *instance) {
	if !p.shell.Image {
		return
	}
	m := &image{}
	for _, name := range p.shell.Globals {
		m.globals = append(m.globals, i.mod.ExportedGlobal(name).Get())
	}
	if e := p.engine; e.pager != nil && len(i.memory.buf) >= e.shareFrom {
		var err error
		if m.frozen, err = e.pager.freeze(i.memory.buf); err != nil {
			e.opt.Logger.Warn("plugin: each instance has a copy of its whole memory", "plugin", p.spec.Name, "err", err)
		}
	}
	if m.frozen != nil {
		m.memory = m.frozen.content
	} else {
		m.memory = bytes.Clone(i.memory.buf)
	}
	m.buffers.New = func() any { b := make([]byte, len(m.memory)); return &b }
	p.image = m
	p.minimum = int64(len(m.memory))
}

// close releases the image after the last instance.
func (m *image) close() {
	if m != nil && m.frozen != nil {
		m.memory = nil
		m.frozen.close()
	}
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
	pages, _ := mod.Memory().Grow(0) // Size is 0 for 4 GiB
	if missing := len(m.memory)/pageSize - int(pages); missing > 0 {
		if _, ok := mod.Memory().Grow(uint32(missing)); !ok {
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
// every octet of its memory and every global is written again, unless nobody
// can have written there. It is false if that cannot be: after a failure, when
// there is no image, and when the memory has grown and cannot shrink.
func (i *instance) clean() bool {
	m := i.plugin.image
	if m == nil || i.failed || i.globals == nil || i.depth() != 0 {
		return false
	}
	if len(i.memory.buf) != len(m.memory) && !i.shrink(len(m.memory)) {
		return false
	}
	i.memory.restore(m)
	for n, g := range i.globals {
		g.Set(m.globals[n])
	}
	i.console = console{}
	return true
}

// shrink takes from the guest's memory what it has beyond size. WebAssembly has
// no such thing and wazero no function for it, but there a memory has the
// length of its slice, and what it hands to machine code is told anew when it
// grows. So the slice is made a page too short, and grows.
func (i *instance) shrink(size int) bool {
	e := i.plugin.engine
	mem := i.mod.Memory()
	v := reflect.ValueOf(mem)
	if e.bufferField < 0 || v.Type() != e.memoryType || size < pageSize || !i.memory.shrink(size) {
		return false
	}
	v.Elem().Field(e.bufferField).SetBytes(i.memory.buf[:size-pageSize])
	_, ok := mem.Grow(1)
	return ok && int(mem.Size()) == size
}

// findBuffer learns where a memory of wazero has its slice.
func (e *Engine) findBuffer(mem api.Memory) {
	e.bufferField = -1
	t := reflect.TypeOf(mem)
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return
	}
	if f, ok := t.Elem().FieldByName("Buffer"); ok && len(f.Index) == 1 && f.Type == reflect.TypeFor[[]byte]() {
		e.memoryType, e.bufferField = t, f.Index[0]
	}
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
