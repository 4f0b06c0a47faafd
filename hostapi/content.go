package hostapi

import (
	"context"
	"errors"
	"io"

	"github.com/wasmta/wasmta/core/hook"
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

// newBody begins the new body, or goes on with the one that was begun. An
// error of any kind has given it up, and the message keeps the body it had.
func (c *Call) newBody() (*hook.NewBody, abi.Code) {
	if c.guest.Grant.Body < Write {
		return nil, abi.Denied
	}
	if c.event == nil {
		return nil, abi.State
	}
	b, err := c.event.ReplaceBody()
	if err != nil {
		return nil, bodyError(err)
	}
	if b.GivenUp() {
		return nil, abi.State
	}
	if c.bodyEdits >= abi.MaxBodyEdits {
		b.GiveUp()
		return nil, abi.Limit
	}
	c.bodyEdits++
	return b, abi.OK
}

// bodyError is the code of an error of replacing the body.
func bodyError(err error) abi.Code {
	switch {
	case err == nil:
		return abi.OK
	case errors.Is(err, hook.ErrStage), errors.Is(err, hook.ErrGivenUp):
		return abi.State
	case errors.Is(err, hook.ErrContent), errors.Is(err, hook.ErrIndex):
		return abi.Invalid
	case errors.Is(err, hook.ErrSize):
		return abi.TooLarge
	}
	return abi.Unavailable // no room in the spool, or it cannot be read
}

// body_write(ptr, len): appends to the new body.
func bodyWrite(c *Call, m Memory, p []uint64) int64 {
	data := in(m, p[0], p[1])
	b, code := c.newBody()
	if code < 0 {
		return int64(code)
	}
	c.meter.Charge(costRead + int64(len(data)))
	_, err := b.Write(data)
	return int64(bodyError(err))
}

// body_splice(off, len): appends len octets of the body as it is from off, -1
// for all that follow, to the new body, without showing them to the guest.
func bodySplice(c *Call, _ Memory, p []uint64) int64 {
	off, n := int64(p[0]), int64(p[1])
	b, code := c.newBody()
	if code < 0 {
		return int64(code)
	}
	if size := c.event.Content.BodySize; n == -1 && off >= 0 && off <= size {
		n = size - off
	}
	c.meter.Charge(costSplice)
	for {
		piece := min(n, splicePiece)
		if piece > 0 {
			c.meter.Charge(piece)
		}
		var err error
		if piece <= spliceAtOnce {
			err = b.Copy(off, piece)
		} else { // the queue may have to wait for its disk
			c.meter.Wait(func(context.Context) { err = b.Copy(off, piece) })
		}
		if n -= piece; err != nil || n <= 0 {
			return int64(bodyError(err))
		}
		off += piece
	}
}

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
