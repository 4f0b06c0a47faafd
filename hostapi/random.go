package hostapi

import (
	"io"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// maxRandom is the most random octets of one call.
const maxRandom = 64 << 10

// random(ptr, len): cryptographic random octets.
func random(c *Call, m Memory, p []uint64) int64 {
	dst := out(m, p[0], p[1])
	if len(dst) > maxRandom {
		return int64(abi.TooLarge)
	}
	c.meter.Charge(int64(len(dst)))
	if _, err := io.ReadFull(c.guest.Random, dst); err != nil {
		return int64(abi.Unavailable)
	}
	return 0
}
