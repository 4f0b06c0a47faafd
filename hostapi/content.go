package hostapi

import (
	"errors"
	"io"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// body_read(off, buf, cap): reads the body at any place, straight into the
// guest's memory. The result is the number of octets, 0 at the end.
func bodyRead(c *Call, m Memory, p []uint64) int64 {
	off, dst := int64(p[0]), out(m, p[1], p[2])
	if c.guest.Grant.Body < Read {
		return int64(abi.Denied)
	}
	if c.event == nil || c.event.Content == nil || c.event.Content.Body == nil {
		return int64(abi.State)
	}
	if off < 0 {
		return int64(abi.Invalid)
	}
	body := c.event.Content
	if off >= body.BodySize || len(dst) == 0 {
		return 0
	}
	dst = dst[:min(int64(len(dst)), body.BodySize-off)]
	c.meter.Charge(costRead + int64(len(dst))/perUnit)
	n, err := body.Body.ReadAt(dst, off)
	if err != nil && !(errors.Is(err, io.EOF) && n == len(dst)) {
		// The spool is shorter than it was, or cannot be read.
		return int64(abi.Unavailable)
	}
	return int64(n)
}

// Replacing the body comes later; until then the functions link.

func bodyWrite(_ *Call, m Memory, p []uint64) int64 {
	in(m, p[0], p[1])
	return int64(abi.Unsupported)
}

func bodySplice(*Call, Memory, []uint64) int64 { return int64(abi.Unsupported) }

// rawHeaders writes the header block without building it first: it may have a
// megabyte.
func (c *Call) rawHeaders(dst []byte) int64 {
	h := &c.event.Content.Header
	size := h.Size()
	c.meter.Charge(int64(h.Len()) * costField)
	if size > len(dst) {
		return int64(size)
	}
	n := 0
	for i := range h.Len() {
		n += copy(dst[n:], h.Raw(i))
	}
	copy(dst[n:size], "\r\n")
	c.meter.Charge(int64(size) / perUnit)
	return int64(size)
}
