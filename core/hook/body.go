package hook

import (
	"errors"
	"io"
)

// Errors of replacing a body.
var (
	ErrContent = errors.New("hook: a body has no NUL, no CR without LF and no LF without CR") // RFC 5321 2.3.8
	ErrSize    = errors.New("hook: the content would be larger than this server takes")
	ErrGivenUp = errors.New("hook: the replacement of the body was given up")
)

// Spool collects a body that shall take the place of a message's. It belongs to
// one goroutine.
type Spool interface {
	// Write appends. It fails with ErrContent or ErrSize, or with what is wrong
	// with the storage. It keeps nothing of p.
	io.Writer
	// Close ends the body, with a line end if the last line has none. It fails
	// with ErrContent. The body can be read from now on.
	Close() error
	io.ReaderAt
	Size() int64
	// Abort forgets what was written. Calling it again does nothing.
	Abort()
}

// copyBlock is how much is copied at a time, in octets.
const copyBlock = 64 << 10

// NewBody is a body that a plugin writes. Until it is closed the event shows
// the old one. Any error gives it up: the old body stays, whole, and further
// calls fail with ErrGivenUp.
type NewBody struct {
	e     *Event
	spool Spool // nil: closed, or given up
	buf   []byte
	gone  bool // given up
}

// ReplaceBody begins a new body, which is empty, or returns the one that the
// plugin has begun. It takes the old one's place when the plugin has answered
// Continue or Accept. Stage message; ErrStage also where a body cannot be kept.
func (e *Event) ReplaceBody() (*NewBody, error) {
	if e.body != nil {
		return e.body, nil
	}
	if e.Stage != Message || e.Content == nil || e.Content.Body == nil || e.Content.NewSpool == nil {
		return nil, ErrStage
	}
	s, err := e.Content.NewSpool()
	b := &NewBody{e: e, spool: s, gone: err != nil}
	e.body = b
	e.onUndo(b.GiveUp)
	if err != nil {
		b.spool = nil
		return nil, err
	}
	return b, nil
}

// Write appends p.
func (b *NewBody) Write(p []byte) (int, error) {
	if b.spool == nil {
		return 0, ErrGivenUp
	}
	n, err := b.spool.Write(p)
	if err != nil {
		b.GiveUp()
	}
	return n, err
}

// Copy appends n octets of the old body from off. ErrIndex: it does not have
// them.
func (b *NewBody) Copy(off, n int64) error {
	if b.spool == nil {
		return ErrGivenUp
	}
	c := b.e.Content
	if off < 0 || n < 0 || off > c.BodySize || n > c.BodySize-off {
		b.GiveUp()
		return ErrIndex
	}
	if b.buf == nil {
		b.buf = make([]byte, min(copyBlock, c.BodySize))
	}
	for n > 0 {
		p := b.buf[:min(n, int64(len(b.buf)))]
		if got, err := c.Body.ReadAt(p, off); got < len(p) {
			b.GiveUp()
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		if _, err := b.Write(p); err != nil {
			return err
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return nil
}

// Close ends the new body, which the event shows from now on. Without it the
// chain does so. One that was given up is no error: the old body stays. What
// is no body, because it ends in the middle of a line end, is ErrContent.
func (b *NewBody) Close() error {
	if b.spool == nil {
		return nil
	}
	if err := b.spool.Close(); err != nil {
		b.GiveUp()
		return err
	}
	c, s := b.e.Content, b.spool
	b.spool, b.buf = nil, nil
	body, size, replaced := c.Body, c.BodySize, c.Replaced
	c.Body, c.BodySize, c.Replaced = s, s.Size(), true
	b.e.edited |= EditBody
	b.e.onUndo(func() {
		c.Body, c.BodySize, c.Replaced = body, size, replaced
		s.Abort()
	})
	return nil
}

// GiveUp forgets the new body: the old one stays.
func (b *NewBody) GiveUp() {
	if s := b.spool; s != nil {
		b.spool, b.buf, b.gone = nil, nil, true
		s.Abort()
	}
}

// GivenUp tells whether the new body was given up.
func (b *NewBody) GivenUp() bool { return b.gone }

// CloseBody closes the body that a plugin began and did not close.
func (e *Event) CloseBody() error {
	if e.body == nil {
		return nil
	}
	return e.body.Close()
}
