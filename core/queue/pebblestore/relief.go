package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// share decides how the disk is shared out. On a full one it gives up the
// ballast: Pebble writes before it is open.
func (s *Store) share() {
	u, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	if err != nil {
		u = vfs.DiskUsage{}
	}
	s.budget = newBudget(u.TotalBytes, s.opts.MinFree)
	if s.opts.FS == vfs.Default && durable {
		s.spare = &ballast{path: vfs.Default.PathJoin(s.opts.Dir, "BALLAST"), size: int64(s.budget.memTable)}
		if err == nil && u.AvailBytes < s.budget.memTable {
			s.dropBallast()
		}
	}
}

// guard is the file system that Pebble sees.
func (s *Store) guard() vfs.FS {
	fs := s.opts.FS
	if s.spare != nil {
		fs = vfs.OnDiskFull(fs, s.dropBallast)
	}
	return &guardFS{FS: fs, dir: s.opts.Dir, floor: s.budget.headroom, pause: time.Second}
}

func (s *Store) dropBallast() {
	if s.spare.drop() {
		s.log.Error("queue: the disk is full; the ballast file was given up; free some space", "path", s.spare.path)
	}
}

func (s *Store) fillBallast() {
	if s.spare != nil {
		s.spare.fill()
	}
}

// backgroundError tells of a flush or compaction that failed. Pebble tries
// again, in Open for ever.
func (s *Store) backgroundError(err error) {
	s.log.Error("queue: background work failed; it is tried again", "error", err)
	if errors.Is(err, syscall.ENOSPC) && !s.opened.Load() && time.Since(s.began) >= openWait {
		s.die(fmt.Sprintf("the disk of %q is full; free some space: %v", s.opts.Dir, err))
	}
}

// relieve makes Pebble give back what deleted mail still holds: the tombstones
// are in the memtable, and what they hide goes when they have been flushed and
// compacted. It returns at once.
func (s *Store) relieve() {
	if !s.relief.CompareAndSwap(false, true) {
		return
	}
	if s.enter() != nil {
		s.relief.Store(false)
		return
	}
	go func() {
		defer s.leave()
		defer s.relief.Store(false)
		defer s.dieOnPanic()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-s.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		var err error
		if s.dirty.Swap(false) {
			err = s.flush(ctx)
		}
		// With less than half a memtable of garbage a compaction is not worth the writing.
		if err == nil && s.db.Metrics().Table.Garbage.PointDeletionsBytesEstimate >= s.budget.memTable/2 {
			err = s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("queue: cannot free what removed mail holds; it is tried again", "error", err)
		}
	}()
}

// flush writes the memtables into tables, which on a full disk is tried for
// ever; ctx bounds the wait.
func (s *Store) flush(ctx context.Context) error {
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("queue: cannot write the log into tables: %w", ctx.Err())
	}
}
