//go:build !linux

package engine

import "time"

// threadTime is for Linux; elsewhere fuel alone and the wall time bound a call.
func threadTime() (thread int, cpu time.Duration, ok bool) { return 0, 0, false }
