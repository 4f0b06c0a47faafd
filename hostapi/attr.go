package hostapi

import (
	"bytes"
	"strings"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// scope checks a scope number.
func scope(p uint64) (hook.Scope, bool) {
	s := abi.Scope(p)
	return hook.Scope(s), s >= abi.ScopeSession && s <= abi.ScopeRecipient
}

// attrKey checks a key without a plugin's name.
func attrKey(key []byte) bool {
	if len(key) == 0 || len(key) > abi.MaxKey {
		return false
	}
	for _, b := range key {
		if b < ' ' || b == 0x7f {
			return false
		}
	}
	return true
}

// attr_get(scope, key, klen, buf, cap): a key with '/' is another plugin's,
// which needs the grant attrs_read.
func attrGet(c *Call, m Memory, p []uint64) int64 {
	key, dst := in(m, p[1], p[2]), out(m, p[3], p[4])
	s, ok := scope(p[0])
	if !ok {
		return int64(abi.Unsupported)
	}
	if !attrKey(key) {
		return int64(abi.Invalid)
	}
	name := string(key)
	if owner, _, foreign := strings.Cut(name, "/"); !foreign {
		name = c.guest.Name + "/" + name
	} else if owner != c.guest.Name && !c.guest.Grant.readsAttr(owner, name) {
		return int64(abi.Denied)
	}
	if c.event == nil {
		return int64(abi.State)
	}
	v, ok, err := c.event.Attr(s, name)
	if err != nil {
		return result(err)
	}
	if !ok {
		return int64(abi.NotFound)
	}
	return c.output(dst, v)
}

// readsAttr tells whether the grant covers "plugin/key".
func (g *Grant) readsAttr(owner, name string) bool {
	for _, a := range g.AttrsRead {
		if a == name || a == owner+"/*" {
			return true
		}
	}
	return false
}

// attr_set(scope, key, klen, ptr, len)
func attrSet(c *Call, m Memory, p []uint64) int64 {
	key, value := in(m, p[1], p[2]), in(m, p[3], p[4])
	return c.editAttr(p[0], key, value)
}

// attr_del(scope, key, klen)
func attrDel(c *Call, m Memory, p []uint64) int64 {
	return c.editAttr(p[0], in(m, p[1], p[2]), nil)
}

func (c *Call) editAttr(sc uint64, key, value []byte) int64 {
	s, ok := scope(sc)
	if !ok {
		return int64(abi.Unsupported)
	}
	if !attrKey(key) || bytes.IndexByte(key, '/') >= 0 {
		return int64(abi.Invalid)
	}
	if len(value) > abi.MaxAttrValue {
		return int64(abi.TooLarge)
	}
	e := c.event
	if e == nil {
		return int64(abi.State)
	}
	name := c.guest.Name + "/" + string(key)
	_, exists, err := e.Attr(s, name)
	if err != nil {
		return result(err)
	}
	held := len(attrs(e, s))
	if value == nil && !exists {
		return int64(abi.NotFound)
	}
	if code := c.countEdit(); code < 0 {
		return int64(code)
	}
	if !exists && held >= abi.MaxAttrs {
		return int64(abi.Limit)
	}
	// SetAttr copies the scope's map so that the change can be undone.
	c.meter.Charge(int64(held)*costClone + int64(len(value))/perUnit)
	return result(e.SetAttr(s, name, value))
}

// attrs is the map of a scope that e.Attr found.
func attrs(e *hook.Event, s hook.Scope) mail.Attrs {
	switch s {
	case hook.ScopeSession:
		return e.Session.Attrs
	case hook.ScopeTransaction:
		return e.Tx.Attrs
	case hook.ScopeMessage:
		return e.Tx.Envelope.Attrs
	}
	return e.Tx.Envelope.Recipients[e.Recipient].Attrs
}
