package state

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// The tables of the store, by the first octet of the key.
const (
	tableMeta  = 'm' // "m": version of the format
	tableUsage = 'u' // u NAME: keys and octets of a plugin, a sum of changes
	tableData  = 'v' // v LENGTH NAME KEY: a record
	tableIndex = 'x' // x MINUTE LENGTH NAME KEY: a record to look at when the minute is over
)

// format is the version of the format.
const format = "1"

// maxName is the longest name of a plugin, in octets.
const maxName = 64

func appendOwner(b []byte, name string, key []byte) []byte {
	b = append(b, byte(len(name)))
	b = append(b, name...)
	return append(b, key...)
}

func dataKey(name string, key []byte) []byte {
	return appendOwner(append(make([]byte, 0, 2+len(name)+len(key)), tableData), name, key)
}

func indexKey(minute int64, name string, key []byte) []byte {
	b := append(make([]byte, 0, 10+len(name)+len(key)), tableIndex)
	return appendOwner(binary.BigEndian.AppendUint64(b, uint64(minute)), name, key)
}

func usageKey(name string) []byte { return append([]byte{tableUsage}, name...) }

// parseIndexKey is the reverse of indexKey.
func parseIndexKey(b []byte) (minute int64, name string, key []byte, ok bool) {
	if len(b) < 10 || b[0] != tableIndex || len(b) < 10+int(b[9]) {
		return 0, "", nil, false
	}
	end := 10 + int(b[9])
	return int64(binary.BigEndian.Uint64(b[1:9])), string(b[10:end]), b[end:], true
}

// Kinds of records.
const (
	kindValue   = 'v'
	kindCounter = 'c' // payload: the number
	kindBucket  = 'b' // payload: tokens, rest, time
)

// record is what a key stands for.
type record struct {
	kind    byte
	expire  int64 // ms since 1970; 0: never
	minute  int64 // where the index has it; 0: nowhere
	payload []byte
}

func minuteOf(ms int64) int64 { return ms / 60_000 }

func (r *record) expired(now int64) bool { return r.expire != 0 && r.expire <= now }

func (r *record) encode() []byte {
	b := append(make([]byte, 0, 24+len(r.payload)), r.kind)
	b = binary.AppendUvarint(b, uint64(r.expire))
	b = binary.AppendUvarint(b, uint64(r.minute))
	return append(b, r.payload...)
}

var errRecord = errors.New("a record is damaged")

func decodeRecord(b []byte) (record, error) {
	if len(b) < 3 {
		return record{}, errRecord
	}
	r := record{kind: b[0]}
	b = b[1:]
	for _, p := range []*int64{&r.expire, &r.minute} {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxInt64 {
			return record{}, errRecord
		}
		*p, b = int64(v), b[n:]
	}
	r.payload = b
	if r.kind != kindValue && r.kind != kindCounter && r.kind != kindBucket ||
		r.kind == kindCounter && len(b) != 8 || r.kind == kindBucket && len(b) != 24 {
		return record{}, errRecord
	}
	return r, nil
}

func counter(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func (r *record) counter() int64 { return int64(binary.BigEndian.Uint64(r.payload)) }

// text is a record as a guest reads it.
func (r *record) text() ([]byte, error) {
	switch r.kind {
	case kindValue:
		return r.payload, nil
	case kindCounter:
		return strconv.AppendInt(nil, r.counter(), 10), nil
	}
	return nil, abi.Invalid
}

// bucket is a token bucket at one moment. It counts millionths of tokens.
type bucket struct {
	tokens int64
	rest   int64 // of the division that gave tokens last
	time   int64 // ns since 1970
}

const micro = 1_000_000

func (r *record) bucket() bucket {
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(r.payload[8*i:])) }
	return bucket{n(0), n(1), n(2)}
}

func (b bucket) payload() []byte {
	var p []byte
	for _, n := range []int64{b.tokens, b.rest, b.time} {
		p = binary.BigEndian.AppendUint64(p, uint64(n))
	}
	return p
}

// fill adds what came since b.time at rate thousandths of tokens in a second:
// rate/1e6 millionths in a nanosecond.
func (b *bucket) fill(now, burst, rate int64) {
	if now > b.time {
		hi, lo := bits.Mul64(uint64(now-b.time), uint64(rate))
		lo, carry := bits.Add64(lo, uint64(b.rest), 0)
		if hi += carry; hi >= micro {
			b.tokens = math.MaxInt64 // and cut below
		} else {
			gain, rest := bits.Div64(hi, lo, micro)
			b.rest = int64(rest)
			b.tokens += int64(min(gain, math.MaxInt64/2))
		}
	}
	b.time = now // also after the clock was set back
	if b.tokens >= burst*micro {
		b.tokens, b.rest = burst*micro, 0
	}
}

// until is how long it takes to have so many millionths, in nanoseconds.
func (b *bucket) until(tokens, rate int64) int64 {
	need := tokens - b.tokens
	if need <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(need), micro)
	lo, borrow := bits.Sub64(lo, uint64(b.rest), 0)
	hi -= borrow
	if hi >= uint64(rate) {
		return math.MaxInt64
	}
	ns, rest := bits.Div64(hi, lo, uint64(rate))
	if rest > 0 {
		ns++
	}
	return int64(min(ns, math.MaxInt64))
}

// usage is what a plugin keeps.
type usage struct{ keys, octets int64 }

func (u usage) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(u.keys))
	return binary.BigEndian.AppendUint64(b, uint64(u.octets))
}

func decodeUsage(b []byte) (usage, error) {
	if len(b) != 16 {
		return usage{}, errRecord
	}
	return usage{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// sum is Pebble's way to add the changes of a usage up.
type sum struct{ usage }

func (s *sum) add(b []byte) error {
	u, err := decodeUsage(b)
	s.keys += u.keys
	s.octets += u.octets
	return err
}

// MergeNewer implements pebble.ValueMerger.
func (s *sum) MergeNewer(b []byte) error { return s.add(b) }

// MergeOlder implements pebble.ValueMerger.
func (s *sum) MergeOlder(b []byte) error { return s.add(b) }

// Finish implements pebble.ValueMerger.
func (s *sum) Finish(bool) ([]byte, io.Closer, error) { return s.encode(), nil, nil }

func merger() *pebble.Merger {
	return &pebble.Merger{Name: "wasmta.usage.1", Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		s := new(sum)
		return s, s.add(value)
	}}
}
