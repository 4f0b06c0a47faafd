package smtpd

import (
	"slices"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/gate"
)

// newBody is a body that a plugin writes, in a draft of its own: the queue
// keeps it as it keeps what a client sends, and a crash before the commit leaves
// no more than an unfinished transfer does. It is held to the rules for what
// clients send.
type newBody struct {
	draft    Draft
	limit    int64 // octets
	lines    gate.Lines
	last     [2]byte // octets written
	binary   bool    // it need not have lines, as the message's
	eightBit bool
	over     bool // aborted, or the message's
}

// spool begins a body that shall take the place of the message's. What plugins
// before wrote, and another of them replaced, nobody can come back to: however
// many plugins there are, a message takes no more room than three bodies.
func (c *content) spool() (hook.Spool, error) {
	if c.draft == nil {
		return nil, hook.ErrStage
	}
	current, _ := c.seen.Body.(*newBody)
	c.bodies = slices.DeleteFunc(c.bodies, func(b *newBody) bool {
		if b != current {
			b.Abort()
		}
		return b != current
	})
	d, err := c.s.opts.Intake.Begin(c.s.server.ctx)
	if err != nil {
		return nil, err
	}
	b := &newBody{draft: d, limit: c.limit - int64(c.seen.Header.Size()), binary: c.binary}
	c.bodies = append(c.bodies, b)
	return b, nil
}

func (b *newBody) Write(p []byte) (int, error) {
	lines := b.lines
	if !b.binary {
		lines.Check(p)
	}
	if lines.Found != 0 {
		return 0, hook.ErrContent
	}
	if int64(len(p)) > b.limit-b.draft.Size() {
		return 0, hook.ErrSize
	}
	b.lines = lines
	if !b.eightBit {
		b.eightBit = hasEightBit(p)
	}
	switch n := len(p); {
	case n > 1:
		b.last = [2]byte(p[n-2:])
	case n == 1:
		b.last = [2]byte{b.last[1], p[0]}
	}
	return b.draft.Write(p)
}

func hasEightBit(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// Close ends the body. The line end that is added may exceed the limit.
func (b *newBody) Close() error {
	if b.lines.End(); b.lines.Found != 0 {
		return hook.ErrContent
	}
	if !b.binary && b.draft.Size() > 0 && b.last != [2]byte{'\r', '\n'} {
		_, err := b.draft.Write([]byte("\r\n"))
		return err
	}
	return nil
}

func (b *newBody) ReadAt(p []byte, off int64) (int, error) { return b.draft.ReadAt(p, off) }
func (b *newBody) Size() int64                             { return b.draft.Size() }

func (b *newBody) Abort() {
	if !b.over {
		b.over = true
		b.draft.Abort()
	}
}

// replace makes the body that plugins have written, if there is one, that of
// the message, and returns the header section that goes with it: between the
// two there must be an empty line, which the client need not have sent.
func (c *content) replace(env *mail.Envelope) (header []byte) {
	b, ok := c.seen.Body.(*newBody)
	if !ok {
		if c.seen.Edited {
			return c.seen.Header.Bytes()
		}
		return c.header
	}
	b.over = true
	c.draft.Abort()
	c.draft = b.draft
	c.detach = false
	if b.eightBit && env.Body == mail.Body7Bit {
		env.Body = mail.Body8BitMIME // what the client declared was another body
	}
	for i := range c.seen.Header.Len() {
		header = append(header, c.seen.Header.Raw(i)...)
	}
	if n := len(header); n > 0 && header[n-1] != '\n' {
		header = append(header, '\r', '\n')
	}
	return append(header, '\r', '\n')
}
