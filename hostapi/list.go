package hostapi

import (
	"slices"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// list is one of the contract's lists. Functions get indexes that exist; a nil
// function means that the list does not do this.
type list struct {
	stages hook.StageSet
	grant  func(*Grant) Access

	texts, numbers, settable []abi.ListField // of an element: of kind b, of kind n, and those that set takes

	len   func(c *Call) int // negative: a code
	bytes func(c *Call, i int, f abi.ListField, b []byte) ([]byte, abi.Code)
	num   func(c *Call, i int, f abi.ListField) int64
	find  func(c *Call, from int, key []byte) int // -1: none

	count  func(c *Call, size int) abi.Code     // counts an edit that adds size octets
	set    func(c *Call, i int, v []byte) error // the one field that may be set
	insert func(c *Call, i int, v []byte) error // i may be the length
	remove func(c *Call, i int) error
}

func lists(id uint64) *list {
	switch abi.List(id) {
	case abi.ListRcpt:
		return &rcptList
	case abi.ListHeader:
		return &headerList
	case abi.ListRoute:
		return &routeList
	case abi.ListAttempt:
		return &attemptList
	case abi.ListReceived:
		return &receivedList
	}
	return nil
}

// open checks list, grant and stage, in this order, and returns its length.
func (c *Call) open(l *list, need Access) (int, abi.Code) {
	if l.grant(&c.guest.Grant) < need {
		return 0, abi.Denied
	}
	if c.event == nil || !l.stages.Has(c.event.Stage) {
		return 0, abi.State
	}
	n := l.len(c)
	if n < 0 {
		return 0, abi.Code(n)
	}
	return n, abi.OK
}

// element is open for one element that must exist.
func (c *Call) element(l *list, need Access, idx uint64) (int, abi.Code) {
	n, code := c.open(l, need)
	if code < 0 {
		return 0, code
	}
	i := int(int32(idx))
	if i < 0 || i >= n {
		return 0, abi.NotFound
	}
	return i, abi.OK
}

// list_len(list)
func listLen(c *Call, _ Memory, p []uint64) int64 {
	l := lists(p[0])
	if l == nil {
		return int64(abi.Unsupported)
	}
	n, code := c.open(l, Read)
	if code < 0 {
		return int64(code)
	}
	return int64(n)
}

// list_get(list, idx, field, buf, cap)
func listGet(c *Call, m Memory, p []uint64) int64 {
	dst := out(m, p[3], p[4])
	l := lists(p[0])
	if l == nil {
		return int64(abi.Unsupported)
	}
	if !slices.Contains(l.texts, abi.ListField(p[2])) {
		return int64(abi.Unsupported)
	}
	i, code := c.element(l, Read, p[1])
	if code < 0 {
		return int64(code)
	}
	b, code := l.bytes(c, i, abi.ListField(p[2]), c.scratch[:0])
	if code < 0 {
		return int64(code)
	}
	return c.output(dst, b)
}

// list_num(list, idx, field)
func listNum(c *Call, _ Memory, p []uint64) int64 {
	l := lists(p[0])
	if l == nil || !slices.Contains(l.numbers, abi.ListField(p[2])) {
		return int64(abi.Unsupported)
	}
	i, code := c.element(l, Read, p[1])
	if code < 0 {
		return int64(code)
	}
	return l.num(c, i, abi.ListField(p[2]))
}

// list_set(list, idx, field, ptr, len)
func listSet(c *Call, m Memory, p []uint64) int64 {
	v := in(m, p[3], p[4])
	l := lists(p[0])
	if l == nil || !slices.Contains(l.settable, abi.ListField(p[2])) {
		return int64(abi.Unsupported)
	}
	i, code := c.element(l, Write, p[1])
	if code < 0 {
		return int64(code)
	}
	if code := l.count(c, len(v)); code < 0 {
		return int64(code)
	}
	return result(l.set(c, i, v))
}

// list_insert(list, idx, ptr, len): before the element idx; -1 is the end.
func listInsert(c *Call, m Memory, p []uint64) int64 {
	v := in(m, p[2], p[3])
	l := lists(p[0])
	if l == nil || l.insert == nil {
		return int64(abi.Unsupported)
	}
	n, code := c.open(l, Write)
	if code < 0 {
		return int64(code)
	}
	i := int(int32(p[1]))
	if i == -1 {
		i = n
	}
	if i < 0 || i > n {
		return int64(abi.NotFound)
	}
	if code := l.count(c, len(v)); code < 0 {
		return int64(code)
	}
	return result(l.insert(c, i, v))
}

// list_remove(list, idx)
func listRemove(c *Call, _ Memory, p []uint64) int64 {
	l := lists(p[0])
	if l == nil || l.remove == nil {
		return int64(abi.Unsupported)
	}
	i, code := c.element(l, Write, p[1])
	if code < 0 {
		return int64(code)
	}
	if code := l.count(c, 0); code < 0 {
		return int64(code)
	}
	return result(l.remove(c, i))
}

// list_find(list, from, key, klen): the first element at or after from, without
// regard to case.
func listFind(c *Call, m Memory, p []uint64) int64 {
	key := in(m, p[2], p[3])
	l := lists(p[0])
	if l == nil || l.find == nil {
		return int64(abi.Unsupported)
	}
	n, code := c.open(l, Read)
	if code < 0 {
		return int64(code)
	}
	from := int(int32(p[1]))
	if from < 0 {
		return int64(abi.Invalid)
	}
	if from >= n {
		return int64(abi.NotFound)
	}
	if i := l.find(c, from, key); i >= 0 {
		return int64(i)
	}
	return int64(abi.NotFound)
}
