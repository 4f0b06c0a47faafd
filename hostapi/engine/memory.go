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

// linear is the memory of one instance. It lies on Go's heap: what is not
// touched costs no memory there either, and nothing can be unmapped under a
// running guest.
type linear struct {
	budget  *budget
	buf     []byte
	taken   int64 // from the budget
	limit   int64
	refused bool    // a growth was refused since the call began
	fuel    *int64  // pays for growing
	image   *image  // what the memory begins as; nil: zeros
	pooled  *[]byte // the image's buffer, while it is in use
}

// perUnit is the octets added for one unit of fuel.
const perUnit = 16

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
		l.pooled = l.image.buffer()
		l.buf = *l.pooled
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
		grown := make([]byte, n, want)
		copy(grown, l.buf)
		l.buf = grown
		l.recycle()
	}
	l.buf = l.buf[:n]
	return l.buf
}

// Free is called when the instance is closed, or by the engine when it was
// never made.
func (l *linear) Free() {
	l.recycle()
	l.budget.give(l.taken)
	l.taken, l.buf = 0, nil
}

// recycle gives the buffer back to the image when nothing refers to it any
// more.
func (l *linear) recycle() {
	if l.pooled != nil {
		l.image.buffers.Put(l.pooled)
		l.pooled = nil
	}
}
