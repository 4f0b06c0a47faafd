package hostapi

import (
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// field is one row of the table of fields: who may read or change it, where,
// and how. The rows stand with their families in session.go, auth.go, envelope.go,
// header.go, delivery.go and plugin.go.
type field struct {
	id     abi.Field
	name   string
	stages hook.StageSet // where it can be read; everywhere, and in init: always
	grant  access        // to read it

	// One of the two: octets, appended to b, or a number from 0 up. A negative
	// number or code is an error.
	bytes func(c *Call, b []byte) ([]byte, abi.Code)
	num   func(c *Call) int64

	// Changing needs what mayChange says, and setStages.
	setStages hook.StageSet
	setBytes  func(c *Call, v []byte) error
	setNum    func(c *Call, v int64) error
}

// access is what reading needs beyond being subscribed.
type access uint8

const (
	facts    access = iota // given to all
	headers                // headers = "read"
	password               // auth_password
)

func (g *Grant) allows(a access) bool {
	switch a {
	case headers:
		return g.Headers >= Read
	case password:
		return g.AuthPassword
	}
	return true
}

// Sets of stages, by what an event carries there.
var (
	inSession  = hook.Stages(hook.Connect, hook.TLS, hook.Ehlo, hook.Auth, hook.Command, hook.Mail, hook.Rcpt, hook.Data, hook.Headers, hook.Message, hook.Reset, hook.Close)
	inDelivery = hook.Stages(hook.Route, hook.Attempt, hook.Result, hook.DSN)
	inMail     = hook.Stages(hook.Mail, hook.Rcpt, hook.Data, hook.Headers, hook.Message, hook.Reset)
	inTx       = inMail | inDelivery
	inAll      = inSession | inDelivery
	inContent  = hook.Stages(hook.Message, hook.Route, hook.Attempt, hook.Result)
	inHeader   = inContent | hook.Stages(hook.Headers)
	always     = ^hook.StageSet(0)
)

// fieldTable finds a field by the two octets of its id.
type fieldTable [8][32]*field

// table is never changed.
var table = newFieldTable()

func newFieldTable() *fieldTable {
	var t fieldTable
	for _, list := range [][]field{sessionFields(), authFields(), envelopeFields(), contentFields(), deliveryFields(), pluginFields()} {
		for i := range list {
			f := &list[i]
			t[f.id>>8][f.id&0xff] = f
		}
	}
	return &t
}

// lookup finds a field, or nil.
func lookup(id uint64) *field {
	f := uint32(id)
	if f>>8 >= uint32(len(table)) || f&0xff >= uint32(len(table[0])) {
		return nil
	}
	return table[f>>8][f&0xff]
}

// readable checks grant and stage, in this order.
func (f *field) readable(c *Call) abi.Code {
	if !c.guest.Grant.allows(f.grant) {
		return abi.Denied
	}
	if f.stages == always {
		return abi.OK
	}
	if c.event == nil || !f.stages.Has(c.event.Stage) {
		return abi.State
	}
	return abi.OK
}

// get(field, buf, cap)
func get(c *Call, m Memory, p []uint64) int64 {
	dst := out(m, p[1], p[2])
	f := lookup(p[0])
	if f == nil || f.bytes == nil {
		return int64(abi.Unsupported)
	}
	if code := f.readable(c); code < 0 {
		return int64(code)
	}
	if f.id == abi.RawHeaders {
		if c.event.Content == nil {
			return int64(abi.State)
		}
		return c.rawHeaders(dst)
	}
	if f.id == abi.Script {
		if c.guest.Script == "" {
			return int64(abi.NotFound)
		}
		return c.outputText(dst, c.guest.Script)
	}
	b, code := f.bytes(c, c.scratch[:0])
	if code < 0 {
		return int64(code)
	}
	return c.output(dst, b)
}

// get_num(field)
func getNum(c *Call, _ Memory, p []uint64) int64 {
	f := lookup(p[0])
	if f == nil || f.num == nil {
		return int64(abi.Unsupported)
	}
	if code := f.readable(c); code < 0 {
		return int64(code)
	}
	return f.num(c)
}

// changeable checks grant and stage, and counts the change.
func (f *field) changeable(c *Call) abi.Code {
	if code := f.mayChange(c); code < 0 {
		return code
	}
	if c.event == nil || !f.setStages.Has(c.event.Stage) {
		return abi.State
	}
	return c.countEdit()
}

// maxSet is the longest value of a field that is set.
const maxSet = 8 << 10

// set(field, ptr, len)
func setField(c *Call, m Memory, p []uint64) int64 {
	v := in(m, p[1], p[2])
	f := lookup(p[0])
	if f == nil || f.setBytes == nil {
		return int64(abi.Unsupported)
	}
	if code := f.changeable(c); code < 0 {
		return int64(code)
	}
	if len(v) > maxSet {
		return int64(abi.TooLarge)
	}
	c.meter.Charge(int64(len(v)))
	return result(f.setBytes(c, v))
}

// set_num(field, value)
func setNum(c *Call, _ Memory, p []uint64) int64 {
	f := lookup(p[0])
	if f == nil || f.setNum == nil {
		return int64(abi.Unsupported)
	}
	if code := f.changeable(c); code < 0 {
		return int64(code)
	}
	return result(f.setNum(c, int64(p[1])))
}

// text is a getter's result for a string: absent when empty.
func text(b []byte, s string) ([]byte, abi.Code) {
	if s == "" {
		return nil, abi.NotFound
	}
	return append(b, s...), abi.OK
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
