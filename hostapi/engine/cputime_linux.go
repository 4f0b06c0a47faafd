package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time of the thread that calls it, and which that is.
// false: it is not known. The goroutine may get another thread between two
// calls of the system, so the thread is asked for before and after.
func threadTime() (thread int, cpu time.Duration, ok bool) {
	var t unix.Timespec
	thread = unix.Gettid()
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil || unix.Gettid() != thread {
		return 0, 0, false
	}
	return thread, time.Duration(t.Nano()), true
}
