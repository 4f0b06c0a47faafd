package mta

import (
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// Times to live and times to wait are in milliseconds.
const (
	Second int64 = 1000
	Minute       = 60 * Second
	Hour         = 60 * Minute
	Day          = 24 * Hour
)

// KV is the plugin's memory, which outlives sessions, restarts and new versions
// of the plugin. It needs the grant kv.
func (s *Session) KV() KV { return KV{} }

// KV is the module mta1_kv: 64 operations in one call, keys of 1 to 512 octets,
// values of at most 65536. A time to live of 0 is for ever. Each operation is
// atomic, among all sessions.
type KV struct{}

// Get is a value, and whether it is there. A counter is its number in decimal
// digits.
func (KV) Get(key string) (value string, ok bool) {
	value, err := read(func(b []byte) int32 { return guest.KVGet(key, b) })
	return value, err == nil
}

// Set sets a value for ttl milliseconds.
func (KV) Set(key, value string, ttl int64) error { return check(guest.KVSet(key, value, ttl, 0)) }

// SetSync is Set, and returns when the value is on disk.
func (KV) SetSync(key, value string, ttl int64) error {
	return check(guest.KVSet(key, value, ttl, abi.KVSync))
}

// Add sets a value if there is none, and tells whether it did.
func (KV) Add(key, value string, ttl int64) (added bool, err error) {
	return unless(guest.KVSet(key, value, ttl, abi.KVIfAbsent), abi.Conflict)
}

// Replace sets a value if there is one, and tells whether it did.
func (KV) Replace(key, value string, ttl int64) (replaced bool, err error) {
	return unless(guest.KVSet(key, value, ttl, abi.KVIfPresent), abi.NotFound)
}

// CompareAndSwap sets a value if it is old, or, with an empty old, if there is
// none, and tells whether it did.
func (KV) CompareAndSwap(key, old, value string, ttl int64) (swapped bool, err error) {
	return unless(guest.KVCas(key, old, value, ttl), abi.Conflict)
}

// Delete deletes a value, and tells whether there was one.
func (KV) Delete(key string) (deleted bool, err error) {
	return unless(guest.KVDel(key), abi.NotFound)
}

// unless is false without an error for the code no.
func unless(code int32, no abi.Code) (bool, error) {
	if abi.Code(code) == no {
		return false, nil
	}
	return code >= 0, check(code)
}

// Incr adds delta to a counter, which does not go below 0, and returns its new
// value. A counter that is new lives for ttl milliseconds; one that is there
// keeps its time.
func (KV) Incr(key string, delta, ttl int64) (int64, error) {
	return number64OrError(guest.KVIncr(key, delta, ttl, 0))
}

// IncrRefresh is Incr, and the counter lives for ttl milliseconds from now on.
func (KV) IncrRefresh(key string, delta, ttl int64) (int64, error) {
	return number64OrError(guest.KVIncr(key, delta, ttl, abi.KVRefresh))
}

// Take takes cost tokens from a bucket that holds burst of them, begins full,
// and gains perSecond in a second, down to a thousandth. If it has fewer, none
// is taken, and wait is the time in milliseconds until it has enough.
func (KV) Take(key string, cost, burst int, perSecond float64) (wait int64, err error) {
	return number64OrError(guest.KVTake(key, int32(cost), int32(burst), int64(perSecond*1000+0.5)))
}

func number64OrError(n int64) (int64, error) {
	if n < 0 {
		return 0, abi.Code(n)
	}
	return n, nil
}

// Lookup is the value of a key in one of the operator's tables, and whether it
// is there. It needs the grant tables.
func (s *Session) Lookup(table, key string) (value string, ok bool) {
	value, err := read(func(b []byte) int32 { return guest.TableLookup(table, key, b) })
	return value, err == nil
}

// Emit hands an event to the operator's sinks for its topic: 16 in one call, of
// at most 65536 octets. It needs the grant events.
func (s *Session) Emit(topic, data string) error { return check(guest.Emit(topic, data)) }

// Secret is one of the operator's secrets. It needs the grant secrets, and can
// be read in [OnInit] too.
func Secret(name string) (string, error) {
	return read(func(b []byte) int32 { return guest.Secret(name, b) })
}
