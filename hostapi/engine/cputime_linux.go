package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time of the thread that calls it, and which that is.
// false: it is not known.
func threadTime() (thread int, cpu time.Duration, ok bool) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, 0, false
	}
	return unix.Gettid(), time.Duration(t.Nano()), true
}
