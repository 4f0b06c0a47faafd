package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS keeps compactions from the headroom of logs and flushes: they can be
// tried again, a write to the log cannot. Pebble retries failed background work
// at once, so each failure takes pause.
type guardFS struct {
	vfs.FS
	dir   string
	floor uint64 // available octets that compactions leave alone
	pause time.Duration
}

// Unwrap implements vfs.FS.
func (g *guardFS) Unwrap() vfs.FS { return g.FS }

// Create implements vfs.FS.
func (g *guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	switch category {
	case "pebble-compaction", "pebble-blob-file-rewrite":
		return &guardFile{File: f, fs: g, guarded: true}, nil
	case "pebble-memtable-flush":
		return &guardFile{File: f, fs: g}, nil
	}
	return f, nil
}

type guardFile struct {
	vfs.File
	fs      *guardFS
	guarded bool
}

// Write implements vfs.File.
func (f *guardFile) Write(p []byte) (n int, err error) {
	if f.guarded && !f.fs.allows(len(p)) {
		time.Sleep(f.fs.pause)
		if !f.fs.allows(len(p)) {
			return 0, fmt.Errorf("compaction waits for space on the disk: %w", syscall.ENOSPC)
		}
	}
	n, err = f.File.Write(p)
	if errors.Is(err, syscall.ENOSPC) {
		time.Sleep(f.fs.pause)
	}
	return n, err
}

func (g *guardFS) allows(n int) bool {
	u, err := g.FS.GetDiskUsage(g.dir)
	return err != nil || u.AvailBytes >= g.floor+uint64(n)
}

// ballast is a file whose blocks are given up when the disk is full to the last
// octet, so that mail can be delivered, and the queue closed, all the same.
type ballast struct {
	path string
	size int64
	mu   sync.Mutex
	have bool
}

// drop gives the blocks back; it reports whether there were any.
func (b *ballast) drop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have = false
	return os.Remove(b.path) == nil
}

// fill makes the file anew. Without it the store works too.
func (b *ballast) fill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have {
		return
	}
	b.have = true // or it is not to be had
	if i, err := os.Stat(b.path); err == nil && i.Size() == b.size {
		return
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(allocate(f, b.size), f.Close()); err != nil {
		os.Remove(b.path)
	}
}
