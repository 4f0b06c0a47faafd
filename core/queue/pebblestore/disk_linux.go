package pebblestore

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeInodes is how many files can still be made; not ok if the file system
// has no such limit.
func freeInodes(dir string) (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Files == 0 {
		return 0, false
	}
	return st.Ffree, true
}

// allocate gives a file blocks that are its own.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }
