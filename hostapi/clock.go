package hostapi

import "time"

// now_ms(): milliseconds since 1970.
func nowMs(c *Call, _ Memory, _ []uint64) int64 { return max(c.guest.Now().UnixMilli(), 0) }

// mono_ns(): nanoseconds of a clock that is never set; its zero means nothing.
func monoNs(c *Call, _ Memory, _ []uint64) int64 {
	return int64(max(c.guest.Now().Sub(c.guest.Started), time.Duration(0)))
}
