package hostapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// Memory is the linear memory of a guest. The views that Read returns are the
// memory itself: writing to one writes to the guest. They are valid until the
// guest runs again, and the host never runs the guest from a host function.
type Memory interface {
	Read(offset, count uint32) (view []byte, ok bool)
}

// Meter is what the engine knows of the call that is running.
type Meter interface {
	// Charge takes fuel for about so many nanoseconds of work that the host
	// does for the guest. It panics with a *Trap when none is left.
	Charge(ns int64)
	FuelLeft() int64
	WallLeft() time.Duration
	MemoryLimit() int64 // octets
	// Wait calls f, which may wait for something outside: another guest runs
	// meanwhile. The context of f ends when the session does, and shortly
	// before the wall time of the call is used up, so that the guest can still
	// be told.
	Wait(f func(ctx context.Context))
}

// What host functions cost beside the instructions of the guest, in
// nanoseconds: a tariff, not a measurement.
const (
	costCall  = 20  // leaving the guest and coming back
	costField = 8   // looking at one header field or recipient
	costClone = 10  // copying one recipient, header field or attribute for an edit
	costRead  = 500 // reading from the spool
	perUnit   = 64  // octets copied in one

	costSplice   = 5000     // finding a place in the spool, and a nanosecond for each octet that is copied
	splicePiece  = 1 << 20  // octets that are paid for at a time
	spliceAtOnce = 64 << 10 // octets that are copied without letting others run
)

// Guest is one generation of a plugin: what stays the same in all its calls.
type Guest struct {
	Name       string
	Generation string
	Grant      Grant
	Config     Config
	Script     string           // the section mta1.script; empty: there is none
	Version    string           // of the server
	Log        func(Line)       // required
	LogLevel   int32            // lines below it are not wanted
	Now        func() time.Time // required
	Random     io.Reader        // required; cryptographic
	Started    time.Time        // where the monotonic clock begins
	Metrics    *MetricSet       // nil: there are none
	Services

	dnsWaiting atomic.Int32 // prefetches that run
	httpRate   rate
}

// Line is one line that a plugin logged.
type Line struct {
	Plugin, Generation string
	Hook               string // as in the export's name, or init, selftest
	Session            string // id; empty: none
	Message            string // id of the transaction or queue entry; empty: none
	Level              int32  // abi.LogDebug to abi.LogError
	Text               string // one line of printable text, at most about abi.MaxLogLine
}

// Fault says how a call failed.
type Fault string

const (
	FaultTrap      Fault = "trap"      // the guest did something impossible, or gave up
	FaultExit      Fault = "exit"      // the guest ended itself
	FaultRecursion Fault = "recursion" // calls nested too deep
	FaultCPU       Fault = "cpu"       // the CPU time of the call is used up
	FaultDeadline  Fault = "deadline"  // the wall time of the call is used up, or the session is gone
	FaultLimit     Fault = "limit"     // too many host calls
	FaultMemory    Fault = "memory"    // no memory for the instance
	FaultBusy      Fault = "busy"      // too many instances or running calls
	FaultVerdict   Fault = "verdict"   // the verdict is not one
	FaultInit      Fault = "init"      // mta1_init failed for a session's instance
	FaultHost      Fault = "host"      // a host function failed; the server's mistake
)

// Trap ends the call. A host function panics with one.
type Trap struct {
	Fault  Fault
	Reason string
}

func (t *Trap) Error() string { return t.Reason }

// Call is one guest being called: for a hook, or to initialise it. It is used
// again for the next call of the same instance and belongs to one goroutine.
type Call struct {
	guest *Guest
	meter Meter

	event *hook.Event // nil: init or selftest
	name  string      // of the hook

	reply       *mail.Reply
	calls       int
	lines       int
	edits       int
	rcptEdits   int
	headerEdits int
	headerBytes int
	bodyEdits   int
	last        string // line logged
	used        usage
	ends        []func() // called by End, to release what the call opened
	dns         dnsCall
	http        httpCall
	digests     digests

	scratch [256]byte
}

// usage counts the calls of capabilities since Begin.
type usage struct{ kv, dns, events, signatures, passwords int }

// NewCall makes the state for an instance of g.
func NewCall(g *Guest, m Meter) *Call { return &Call{guest: g, meter: m} }

// Begin prepares the next call: the hook of e, or the phase named init or
// selftest with a nil e.
func (c *Call) Begin(name string, e *hook.Event) {
	c.name, c.event = name, e
	c.reply = nil
	c.calls, c.lines, c.edits, c.rcptEdits, c.headerEdits, c.headerBytes, c.bodyEdits = 0, 0, 0, 0, 0, 0, 0
	c.last = ""
	c.used, c.dns, c.http, c.digests = usage{}, dnsCall{}, httpCall{}, digests{}
}

// End forgets the event, which must not be kept after the call, and releases
// what the guest left open.
func (c *Call) End() {
	c.event, c.reply = nil, nil
	for _, f := range c.ends {
		f()
	}
	clear(c.ends)
	c.ends = c.ends[:0]
}

// effects tells whether the call may change what outlives it: not while a
// plugin is loaded.
func (c *Call) effects() abi.Code {
	if c.event == nil {
		return abi.State
	}
	return abi.OK
}

// quota counts a call of a capability.
func quota(used *int, limit int) abi.Code {
	if *used >= limit {
		return abi.Limit
	}
	*used++
	return abi.OK
}

// HostCalls is the number of host calls since Begin.
func (c *Call) HostCalls() int { return c.calls }

// LastLine is the last line that was logged since Begin; empty: none.
func (c *Call) LastLine() string { return c.last }

// Function is a host function. Call gets the parameters in the order of the
// signature and returns the result; it panics with a *Trap where the contract
// says trap.
type Function struct {
	Module    string
	Name      string
	Signature abi.Signature
	call      func(c *Call, m Memory, p []uint64) int64
}

// Call counts the call and makes it.
func (f *Function) Call(c *Call, m Memory, p []uint64) int64 {
	c.Count(f.Name)
	return f.call(c, m, p)
}

// Count counts one host call and its cost. It panics with a *Trap beyond
// abi.MaxHostCalls.
func (c *Call) Count(name string) {
	if c.calls++; c.calls > abi.MaxHostCalls {
		panic(&Trap{FaultLimit, fmt.Sprintf("%s: more than %d host calls in one hook", name, abi.MaxHostCalls)})
	}
	c.meter.Charge(costCall)
}

// Functions are all functions: those of the core in the order of
// abi.Functions, and those of the capabilities in that of abi.Capabilities.
func Functions() []Function {
	return slices.Concat(coreFunctions(), kvFunctions(), dnsFunctions(), httpFunctions(), cryptoFunctions(), tableFunctions(), eventFunctions())
}

func coreFunctions() []Function {
	return []Function{
		{abi.Module, "get", "iii>i", get},
		{abi.Module, "get_num", "i>I", getNum},
		{abi.Module, "set", "iii>i", setField},
		{abi.Module, "set_num", "iI>i", setNum},
		{abi.Module, "list_len", "i>i", listLen},
		{abi.Module, "list_get", "iiiii>i", listGet},
		{abi.Module, "list_num", "iii>I", listNum},
		{abi.Module, "list_set", "iiiii>i", listSet},
		{abi.Module, "list_insert", "iiii>i", listInsert},
		{abi.Module, "list_remove", "ii>i", listRemove},
		{abi.Module, "list_find", "iiii>i", listFind},
		{abi.Module, "reply", "iiii>i", reply},
		{abi.Module, "body_read", "Iii>i", bodyRead},
		{abi.Module, "body_write", "ii>i", bodyWrite},
		{abi.Module, "body_splice", "II>i", bodySplice},
		{abi.Module, "attr_get", "iiiii>i", attrGet},
		{abi.Module, "attr_set", "iiiii>i", attrSet},
		{abi.Module, "attr_del", "iii>i", attrDel},
		{abi.Module, "config", "iiii>i", config},
		{abi.Module, "secret", "iiii>i", secret},
		{abi.Module, "log", "iii>i", log},
		{abi.Module, "log_level", ">i", logLevel},
		{abi.Module, "now_ms", ">I", nowMs},
		{abi.Module, "mono_ns", ">I", monoNs},
		{abi.Module, "random", "ii>i", random},
		{abi.Module, "metric_def", "iii>i", metricDef},
		{abi.Module, "metric_add", "iI>i", metricAdd},
		{abi.Module, "feature", "i>i", feature},
	}
}

// in is an input (ptr, len): a view of guest memory. Out of bounds traps; a
// length of 0 is never out of bounds.
func in(m Memory, ptr, n uint64) []byte {
	if uint32(n) == 0 {
		return []byte{}
	}
	b, ok := m.Read(uint32(ptr), uint32(n))
	if !ok {
		panic(&Trap{FaultTrap, fmt.Sprintf("pointer %#x with length %d is outside its memory", uint32(ptr), uint32(n))})
	}
	return b
}

// out is an output (buf, cap): a view to write to. The rules are those of in.
func out(m Memory, buf, n uint64) []byte { return in(m, buf, n) }

// output writes b to dst if it fits and returns the full length.
func (c *Call) output(dst, b []byte) int64 {
	if len(b) <= len(dst) {
		copy(dst, b)
		c.meter.Charge(int64(len(b)) / perUnit)
	}
	return int64(min(len(b), math.MaxInt32))
}

// outputText is output for a text that is too long to be copied twice.
func (c *Call) outputText(dst []byte, s string) int64 {
	if len(s) <= len(dst) {
		copy(dst, s)
		c.meter.Charge(int64(len(s)) / perUnit)
	}
	return int64(min(len(s), math.MaxInt32))
}

// result turns an error of an edit into a code.
func result(err error) int64 {
	var code abi.Code
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
	case errors.Is(err, hook.ErrStage):
		code = abi.State
	case errors.Is(err, hook.ErrIndex), errors.Is(err, mail.ErrFieldIndex):
		code = abi.NotFound
	case errors.Is(err, hook.ErrLimit):
		code = abi.Limit
	case errors.Is(err, mail.ErrFieldTwice):
		code = abi.Conflict
	case errors.Is(err, mail.ErrFieldLong):
		code = abi.TooLarge
	default:
		code = abi.Invalid
	}
	return int64(code)
}

// mayWrite checks the grant for a change to session, envelope or delivery.
func (c *Call) mayWrite() abi.Code {
	if c.guest.Grant.Envelope < Write {
		return abi.Denied
	}
	return abi.OK
}

// countEdit counts a change other than of headers and recipients. Each one
// keeps what is needed to undo it until the verdict is in.
func (c *Call) countEdit() abi.Code {
	if c.edits >= abi.MaxEdits {
		return abi.Limit
	}
	c.edits++
	return abi.OK
}
