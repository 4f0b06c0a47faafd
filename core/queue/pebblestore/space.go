package pebblestore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/core/queue"
)

const (
	defaultMinFree = 256 << 20
	minMemTable    = 1 << 20
	maxMemTable    = 64 << 20
	// memTables is how many memtables, each with its log, may wait to be flushed.
	memTables = 4

	spaceMaxAge   = time.Second     // how long a look at the disk is good for
	relieveEvery  = 2 * time.Second // while space is short
	minFreeInodes = 1000
)

// budget is how the room of a disk is shared out; see the package comment.
type budget struct {
	memTable uint64
	headroom uint64 // for the flush of all memtables and for the next log
	reserve  uint64 // for settling, notices and compaction
}

// newBudget shares out a disk of total octets; 0 is unknown.
func newBudget(total uint64, minFree int64) budget {
	if minFree <= 0 {
		minFree = defaultMinFree
	}
	b := budget{memTable: maxMemTable, reserve: uint64(minFree)}
	if total > 0 {
		b.memTable = min(max(total/64, minMemTable), maxMemTable)
		b.reserve = min(b.reserve, max(total/8, 8*minMemTable))
	}
	b.headroom = (memTables + 1) * b.memTable
	return b
}

// space knows whether the disk has room for new mail. What drafts hold in
// memory is claimed from it before it is written.
type space struct {
	fs      vfs.FS
	dir     string
	minFree int64
	short   func() // called at most every relieveEvery while there is no room
	ample   func() // called when there is more room than enough

	mu       sync.Mutex
	looked   time.Time
	relieved time.Time
	err      error // of the last look
	known    bool  // the file system tells how full it is
	room     int64 // above what is kept free, when looked at
	claimed  int64 // by open drafts, not written
	written  int64 // since the last look
}

// claim takes n octets of the room for new mail, or returns ErrStorage.
func (s *space) claim(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	stale := s.looked.IsZero() || now.Sub(s.looked) >= spaceMaxAge || now.Before(s.looked)
	if stale || s.err == nil && !s.fits(n) { // the count is of the worst case
		s.looked, s.err = now, s.look()
	}
	if (s.err != nil || !s.fits(n)) && now.Sub(s.relieved) >= relieveEvery {
		s.relieved = now
		s.short()
	}
	if s.err != nil {
		return s.err
	}
	if !s.fits(n) {
		return fmt.Errorf("%w: the disk of %q has no room for all the messages that are coming in", queue.ErrStorage, s.dir)
	}
	s.claimed += int64(n)
	return nil
}

func (s *space) fits(n int) bool {
	return !s.known || s.claimed+s.written+int64(n) <= s.room
}

// spend tells that n octets were written, claimed of which had been claimed.
func (s *space) spend(n, claimed int) {
	s.mu.Lock()
	s.claimed -= int64(claimed)
	s.written += int64(n)
	s.mu.Unlock()
}

func (s *space) look() error {
	s.written = 0
	u, err := s.fs.GetDiskUsage(s.dir)
	s.known = err == nil
	switch {
	case errors.Is(err, vfs.ErrUnsupported):
		return nil
	case err != nil:
		return fmt.Errorf("%w: cannot ask how full the disk of %q is: %w", queue.ErrStorage, s.dir, err)
	}
	b := newBudget(u.TotalBytes, s.minFree)
	keep := b.headroom + b.reserve
	s.room = int64(u.AvailBytes) - int64(keep)
	if s.room < 0 {
		return fmt.Errorf("%w: the disk of %q has %d octets left and new mail needs %d; free some",
			queue.ErrStorage, s.dir, u.AvailBytes, keep)
	}
	if uint64(s.room) > 2*b.memTable {
		s.ample()
	}
	if s.fs == vfs.Default {
		if free, ok := freeInodes(s.dir); ok && free < minFreeInodes {
			return fmt.Errorf("%w: the disk of %q has %d inodes left and new mail needs %d; remove some files",
				queue.ErrStorage, s.dir, free, minFreeInodes)
		}
	}
	return nil
}
