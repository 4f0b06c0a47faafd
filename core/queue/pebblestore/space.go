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
	spaceMaxAge   = time.Second // how long a look at the disk is good for
	spaceDivisor  = 20          // 5 %
	minFreeInodes = 1000
)

// space knows whether the disk has room for new mail.
type space struct {
	fs      vfs.FS
	dir     string
	minFree uint64

	mu     sync.Mutex
	looked time.Time
	err    error
}

func newSpace(fs vfs.FS, dir string, minFree int64) *space {
	return &space{fs: fs, dir: dir, minFree: uint64(max(minFree, 0))}
}

// check returns ErrStorage if there is no room for new mail.
func (s *space) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.looked.IsZero() || now.Sub(s.looked) >= spaceMaxAge || now.Before(s.looked) {
		s.looked, s.err = now, s.look()
	}
	return s.err
}

func (s *space) look() error {
	u, err := s.fs.GetDiskUsage(s.dir)
	switch {
	case errors.Is(err, vfs.ErrUnsupported):
		return nil
	case err != nil:
		return fmt.Errorf("%w: cannot ask how full the disk of %q is: %w", queue.ErrStorage, s.dir, err)
	}
	if need := max(u.TotalBytes/spaceDivisor, s.minFree); u.AvailBytes < need {
		return fmt.Errorf("%w: the disk of %q has %d octets left and new mail needs %d; free some or lower the reserve",
			queue.ErrStorage, s.dir, u.AvailBytes, need)
	}
	if s.fs == vfs.Default {
		if free, ok := freeInodes(s.dir); ok && free < minFreeInodes {
			return fmt.Errorf("%w: the disk of %q has %d inodes left and new mail needs %d; remove some files",
				queue.ErrStorage, s.dir, free, minFreeInodes)
		}
	}
	return nil
}
