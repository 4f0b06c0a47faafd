package engine

import (
	"bytes"
	"context"
	"fmt"

	"github.com/wasmta/wasmta/core/hook"
)

// OpenNew is Open with an instance that nobody has used.
func (p *Plugin) OpenNew(ctx context.Context) (hook.Instance, error) {
	i, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	p.sessions.Add(1)
	return &lease{i}, nil
}

// Discard is Close for an instance that must not be used again.
func Discard(i hook.Instance) {
	l := i.(*lease)
	l.plugin.sessions.Add(-1)
	l.instance.close()
	l.instance = nil
}

// ShareFrom sets from which size the pages of images are shared, for plugins
// that are loaded later, and tells whether they can be.
func (e *Engine) ShareFrom(octets int) bool {
	e.shareFrom = octets
	return e.pager != nil
}

// DefaultShare is from which size pages are shared.
const DefaultShare = sharedImage

// Differs says in what an instance that waits for its first call is not what
// the image is; empty: in nothing.
func Differs(h hook.Instance) string {
	i := h.(*lease).instance
	m := i.plugin.image
	if m == nil {
		return "it has no image"
	}
	if n := int(i.mod.Memory().Size()); n != len(m.memory) || n != len(i.memory.buf) {
		return fmt.Sprintf("it has %d octets of memory, the image has %d", n, len(m.memory))
	}
	if !bytes.Equal(i.memory.buf, m.memory) {
		for k, b := range i.memory.buf {
			if b != m.memory[k] {
				return fmt.Sprintf("the octet at %#x is %#x, in the image %#x", k, b, m.memory[k])
			}
		}
	}
	for n, g := range i.globals {
		if got := g.Get(); got != m.globals[n] {
			return fmt.Sprintf("global %d is %#x, in the image %#x", n, got, m.globals[n])
		}
	}
	return ""
}

// Shares tells whether the instance shares the pages of the image.
func Shares(h hook.Instance) bool { return h.(*lease).memory.mapped != nil }
