//go:build !linux

package pebblestore

import (
	"errors"
	"os"
)

// freeInodes is known on Linux only.
func freeInodes(string) (uint64, bool) { return 0, false }

// allocate is done on Linux only.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
