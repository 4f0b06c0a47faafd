package engine

import (
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

const pageSize = 64 << 10

// budget is an amount of memory that many instances share.
type budget struct {
	limit   int64
	used    atomic.Int64
	reclaim func() // gives back what is not needed; nil: nothing is
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.limit {
		return true
	}
	if b.used.Add(-n); b.reclaim == nil {
		return false
	}
	b.reclaim()
	if b.used.Add(n) <= b.limit {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// linear is the memory of one instance. It is a private mapping of the image,
// or lies on Go's heap: then what is not touched costs no memory either, and
// nothing can be unmapped under a running guest.
type linear struct {
	budget   *budget
	buf      []byte
	taken    int64 // from the budget
	limit    int64
	refused  bool    // a growth was refused since the call began
	fuel     *int64  // pays for growing
	image    *image  // what the memory begins as; nil: zeros
	pooled   *[]byte // the image's buffer, while it is in use
	mapped   []byte  // the mapping, while it is in use: buf begins there
	resident int64   // octets that the instance has for itself, as far as is known
}

// perUnit is the octets added for one unit of fuel.
const perUnit = 16

// maxSpare is the memory on Go's heap that an instance may keep beyond its image.
const maxSpare = 1 << 20

var (
	_ experimental.MemoryAllocator = (*linear)(nil)
	_ experimental.LinearMemory    = (*linear)(nil)
)

// reserve takes what an instance begins with from the budget, before wazero
// asks for it: it cannot be refused there.
func (l *linear) reserve(n int64) bool {
	if n > l.limit || !l.budget.take(n) {
		return false
	}
	l.taken = n
	return true
}

// Allocate is called once, when the instance is made.
func (l *linear) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate grows to size; nil makes memory.grow return -1.
func (l *linear) Reallocate(size uint64) []byte {
	n := int64(size)
	if n > l.limit {
		l.refused = true
		return nil
	}
	if l.buf == nil && l.image != nil {
		l.begin()
	}
	if n > int64(len(l.buf)) && l.mapped != nil {
		return l.growMapped(n)
	}
	if n > int64(cap(l.buf)) {
		// Growing page by page copies everything each time, so take more.
		want := max(n, l.taken)
		if l.buf != nil {
			want = min(max(n, int64(cap(l.buf))*3/2/pageSize*pageSize), l.limit)
		}
		if want > l.taken && !l.budget.take(want-l.taken) {
			if want = n; want > l.taken && !l.budget.take(want-l.taken) {
				l.refused = true
				return nil
			}
		}
		l.taken = max(l.taken, want)
		if l.buf != nil {
			*l.fuel -= (n - int64(len(l.buf))) / perUnit
		}
		l.move(n, want)
	}
	l.buf = l.buf[:n]
	return l.buf
}

// begin makes the memory what the image is.
func (l *linear) begin() {
	if f := l.image.frozen; f != nil {
		if m, err := f.attach(); err == nil {
			l.mapped, l.buf = m, m
			return
		}
		// Instances have as many mappings as they may, or there is no room.
	}
	l.pooled = l.image.buffer()
	l.buf = *l.pooled
}

// growMapped grows a mapping. The first time it moves to where there is room up
// to the limit, which costs nothing until it is touched.
func (l *linear) growMapped(n int64) []byte {
	if n > l.taken {
		if !l.budget.take(n - l.taken) {
			l.refused = true
			return nil
		}
		l.taken = n
	}
	*l.fuel -= max(n-int64(max(len(l.buf), len(l.image.memory))), 0) / perUnit
	if n > int64(len(l.mapped)) {
		m, err := l.image.frozen.pager.extend(l.mapped, l.limit)
		if err != nil {
			l.move(n, n)
			return l.buf
		}
		l.mapped = m
	}
	l.buf = l.mapped[:n]
	return l.buf
}

// move copies the memory to a larger place on Go's heap.
func (l *linear) move(n, capacity int64) {
	grown := make([]byte, n, capacity)
	copy(grown, l.buf)
	l.recycle()
	l.buf = grown
}

// shrink takes what is beyond size, and sees to it that it will be zeros when
// the memory grows again. It is false where that would keep or cost too much.
func (l *linear) shrink(size int) bool {
	if l.mapped != nil {
		if discard(l.mapped[size:len(l.buf)]) != nil {
			return false
		}
		l.buf = l.mapped[:size]
		l.budget.give(l.taken - int64(size))
		l.taken = int64(size)
		return true
	}
	if cap(l.buf) > size+maxSpare {
		return false
	}
	clear(l.buf[size:])
	l.buf = l.buf[:size]
	return true
}

// restore makes the memory, which is as long as the image, what that is.
func (l *linear) restore(m *image) {
	if l.mapped != nil {
		if n, err := m.frozen.pager.restore(l.buf, m.memory); err == nil {
			l.resident = int64(n)
			return
		}
	}
	copy(l.buf, m.memory)
	l.resident = int64(cap(l.buf))
}

// Free is called when the instance is closed, or by the engine when it was
// never made.
func (l *linear) Free() {
	l.recycle()
	l.budget.give(l.taken)
	l.taken, l.buf = 0, nil
}

// recycle gives the place of the memory back when nothing refers to it any
// more: wazero tells machine code of the new one before that runs again.
func (l *linear) recycle() {
	if l.pooled != nil {
		l.image.buffers.Put(l.pooled)
		l.pooled = nil
	}
	if l.mapped != nil {
		n := int64(1)
		if len(l.mapped) > len(l.image.memory) {
			n = 2 // it was extended
		}
		l.image.frozen.pager.detach(l.mapped, n)
		l.mapped = nil
	}
}
