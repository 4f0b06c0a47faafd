package hostapi

import (
	"strconv"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// log(level, ptr, len): beyond abi.MaxLogLine the text is cut, beyond
// abi.MaxLogLines the line is dropped.
func log(c *Call, m Memory, p []uint64) int64 {
	text := in(m, p[1], p[2])
	level := int32(p[0])
	if level < abi.LogDebug || level > abi.LogError {
		return int64(abi.Invalid)
	}
	return int64(c.Log(level, text))
}

// Log logs a line for the guest, as the function log does.
func (c *Call) Log(level int32, text []byte) abi.Code {
	if level < c.guest.LogLevel {
		return abi.OK
	}
	if c.lines > abi.MaxLogLines {
		return abi.Limit
	}
	c.lines++
	l := Line{Plugin: c.guest.Name, Generation: c.guest.Generation, Hook: c.name, Level: level}
	l.Session, l.Message = c.ids()
	code := abi.OK
	if c.lines > abi.MaxLogLines {
		l.Level, text, code = abi.LogWarn, []byte("further lines of this call are dropped"), abi.Limit
	}
	// Before it is cut: half of a password is one, too.
	text = c.WithoutPassword(text[:min(len(text), abi.MaxLogLine+MaxPassword)])
	l.Text = Printable(string(text[:min(len(text), abi.MaxLogLine)]))
	c.meter.Charge(int64(100 + len(text)))
	if code == abi.OK {
		c.last = l.Text
	}
	c.guest.Log(l)
	if c.event != nil {
		c.event.Say(l.Level, l.Text)
	}
	return code
}

// Printable is s if it is printable text, and s with Go's escapes otherwise:
// what a guest writes stays on one line and visible.
func Printable(s string) string {
	if mail.Printable(s) == s {
		return s
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

func (c *Call) ids() (session, message string) {
	e := c.event
	if e == nil {
		return "", ""
	}
	if cl := c.client(); cl != nil {
		session = cl.Session
	}
	switch {
	case e.Delivery != nil:
		message = e.Delivery.ID.String()
	case e.Tx != nil:
		message = e.Tx.ID
	}
	return session, message
}

// log_level(): the lowest level that is wanted.
func logLevel(c *Call, _ Memory, _ []uint64) int64 { return int64(c.guest.LogLevel) }
