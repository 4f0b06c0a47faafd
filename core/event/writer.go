package event

import (
	"bytes"
	"io"
	"sync"
)

// maxPending is how much may wait to be written before those who log wait.
const maxPending = 1 << 20

// Writer gathers what is logged while a write is in progress and writes it with
// the next one: a busy server makes one system call for many lines, an idle one
// writes each line at once. It is safe for concurrent use.
type Writer struct {
	w io.Writer

	mu      sync.Mutex
	pending bytes.Buffer
	spare   bytes.Buffer
	writing bool
	written *sync.Cond // signalled when a write ended
	err     error      // of the last write that failed
}

// NewWriter returns a Writer in front of w. Call [Writer.Flush] before the
// process ends.
func NewWriter(w io.Writer) *Writer {
	b := &Writer{w: w}
	b.written = sync.NewCond(&b.mu)
	return b
}

// Write takes p, which is whole lines. The error is that of an earlier write.
func (b *Writer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.pending.Len() > maxPending {
		b.written.Wait()
	}
	b.pending.Write(p)
	if !b.writing {
		b.writing = true
		go b.drain()
	}
	err := b.err
	b.err = nil
	return len(p), err
}

func (b *Writer) drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.pending.Len() > 0 {
		b.pending, b.spare = b.spare, b.pending
		b.mu.Unlock()
		_, err := b.w.Write(b.spare.Bytes())
		b.mu.Lock()
		if b.spare.Reset(); err != nil {
			b.err = err
		}
		b.written.Broadcast()
	}
	b.writing = false
	b.written.Broadcast()
}

// Flush waits until everything is written.
func (b *Writer) Flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.writing {
		b.written.Wait()
	}
	err := b.err
	b.err = nil
	return err
}
