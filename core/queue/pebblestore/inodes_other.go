//go:build !linux

package pebblestore

// freeInodes is known on Linux only.
func freeInodes(string) (uint64, bool) { return 0, false }
