package hostapi

import (
	"strings"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// ofHeader makes a getter of a number of the header section.
func ofHeader(f func(c *Call, h *mail.Header) int64) func(*Call) int64 {
	return func(c *Call) int64 {
		if c.event.Content == nil {
			return int64(abi.State)
		}
		return f(c, &c.event.Content.Header)
	}
}

func ofContent(f func(*hook.Content) int64) func(*Call) int64 {
	return func(c *Call) int64 {
		if c.event.Content == nil {
			return int64(abi.State)
		}
		return f(c.event.Content)
	}
}

func contentFields() []field {
	return []field{
		{id: abi.MsgSize, name: "MSG_SIZE", stages: inContent, num: ofContent(func(x *hook.Content) int64 { return x.Size() })},
		{id: abi.BodySize, name: "BODY_SIZE", stages: inContent, num: ofContent(func(x *hook.Content) int64 { return x.BodySize })},
		{id: abi.RawHeaders, name: "RAW_HEADERS", stages: inHeader, grant: headers, bytes: notOffered}, // get does it
		{id: abi.HeaderCount, name: "HEADER_COUNT", stages: inHeader, num: ofHeader(func(_ *Call, h *mail.Header) int64 { return int64(h.Len()) })},
		{id: abi.ReceivedCount, name: "RECEIVED_COUNT", stages: inHeader, num: ofHeader(func(c *Call, h *mail.Header) int64 {
			c.meter.Charge(int64(h.Len()) * costField)
			return int64(h.Count("Received"))
		})},
		{id: abi.MsgID, name: "MSG_ID", stages: inHeader, grant: headers, bytes: func(c *Call, b []byte) ([]byte, abi.Code) {
			if c.event.Content == nil {
				return nil, abi.State
			}
			h := &c.event.Content.Header
			c.meter.Charge(int64(h.Len()) * costField)
			return text(b, h.Get("Message-ID"))
		}},
		{id: abi.Tenant, name: "TENANT", stages: inTx, bytes: notOffered},
		{id: abi.SPFResult, name: "SPF_RESULT", stages: inTx, bytes: notOffered},
		{id: abi.DKIMResult, name: "DKIM_RESULT", stages: inTx, bytes: notOffered},
		{id: abi.DMARCResult, name: "DMARC_RESULT", stages: inTx, bytes: notOffered},
		{id: abi.ARCResult, name: "ARC_RESULT", stages: inTx, bytes: notOffered},
	}
}

// headerField reads a field of the header section.
func (c *Call) headerField(i int, f abi.ListField, b []byte) ([]byte, abi.Code) {
	h := &c.event.Content.Header
	switch f {
	case abi.HeaderName:
		return append(b, h.Name(i)...), abi.OK
	case abi.HeaderValue:
		c.meter.Charge(int64(len(h.Raw(i))) / perUnit)
		return append(b, h.Value(i)...), abi.OK
	case abi.HeaderRaw:
		return h.Raw(i), abi.OK
	}
	return nil, abi.Unsupported
}

// edit changes the header section.
func (c *Call) editHeader(f func(h *mail.Header, utf8 bool) error) error {
	utf8 := c.event.Tx != nil && c.event.Tx.Envelope.SMTPUTF8
	return c.event.EditHeader(func(h *mail.Header) error { return f(h, utf8) })
}

// The list HEADER.

var headerList = list{
	stages:   inHeader,
	texts:    []abi.ListField{abi.HeaderName, abi.HeaderValue, abi.HeaderRaw},
	settable: []abi.ListField{abi.HeaderValue},
	grant:    func(g *Grant) Access { return g.Headers },
	len: func(c *Call) int {
		if c.event.Content == nil {
			return int(abi.State)
		}
		return c.event.Content.Header.Len()
	},
	bytes: (*Call).headerField,
	find: func(c *Call, from int, key []byte) int {
		h := &c.event.Content.Header
		i := h.Find(from, string(key))
		end := i
		if i < 0 {
			end = h.Len()
		}
		c.meter.Charge(int64(end-from) * costField)
		return i
	},
	count: func(c *Call, size int) abi.Code {
		if c.headerEdits >= abi.MaxHeaderEdits || c.headerBytes+size > abi.MaxHeaderBytes {
			return abi.Limit
		}
		c.headerEdits++
		c.headerBytes += size
		c.meter.Charge(int64(c.event.Content.Header.Len())*costClone + int64(size))
		return abi.OK
	},
	set: func(c *Call, i int, v []byte) error {
		return c.editHeader(func(h *mail.Header, utf8 bool) error { return h.Set(i, string(v), utf8) })
	},
	insert: func(c *Call, i int, v []byte) error {
		name, value, ok := strings.Cut(string(v), ":")
		if !ok {
			return abi.Invalid
		}
		return c.editHeader(func(h *mail.Header, utf8 bool) error { return h.Insert(i, name, value, utf8) })
	},
	remove: func(c *Call, i int) error {
		return c.editHeader(func(h *mail.Header, _ bool) error { return h.Remove(i) })
	},
}

// The list RECEIVED: the trace fields among the header fields, the last hop
// first.
var receivedList = list{
	stages: inHeader,
	texts:  []abi.ListField{abi.HeaderName, abi.HeaderValue, abi.HeaderRaw},
	grant:  func(g *Grant) Access { return min(g.Headers, Read) },
	len: func(c *Call) int {
		if c.event.Content == nil {
			return int(abi.State)
		}
		h := &c.event.Content.Header
		c.meter.Charge(int64(h.Len()) * costField)
		return h.Count("Received")
	},
	bytes: func(c *Call, i int, f abi.ListField, b []byte) ([]byte, abi.Code) {
		h := &c.event.Content.Header
		c.meter.Charge(int64(h.Len()) * costField)
		at := h.Find(0, "Received")
		for range i {
			at = h.Find(at+1, "Received")
		}
		return c.headerField(at, f, b)
	},
}
