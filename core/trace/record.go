package trace

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/mail"
)

// Limits of what is remembered. Events and octets are those of one record: a
// transaction, what a session does between two, the work on one queue item.
const (
	MaxEvents = 500
	MaxBytes  = 64 << 10
	MaxText   = 1 << 10 // octets of one text
	maxList   = 20      // texts of one list

	reserve = 16 << 10 // and events that tell how things ended
	small   = 512      // octets of an event that has a place behind those
)

// Record collects the events of one session, or of the work on one queue item,
// in the order of its calls, and hands them to the [Store] piece by piece. It
// belongs to one goroutine at a time. All methods may be called on nil.
type Record struct {
	store   *Store
	part    uint8
	session uint64
	message uint64
	item    uint32

	buf    *[]byte // from the pool; nil: nothing was written since the last piece
	b      []byte  // *buf, as long as it is in use
	frame  int     // where the frame begins that is being written; negative: none
	event  int     // where the event begins
	start  time.Time
	events int
	lost   int
	known  []plugin    // that the frame has
	said   *mail.Reply // the last reply that was recorded, so that it is once
	hop    string      // the plugin that changed the next hops last
}

type plugin struct{ name, generation string }

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// Session begins the record of a session. id is mail.Client.Session.
func (s *Store) Session(id string) *Record {
	if s == nil {
		return nil
	}
	return &Record{store: s, part: partSession, session: sessionNumber(id), frame: -1}
}

// Item begins the record of work on a queue item. [Record.Flush] ends it.
func (s *Store) Item(id mail.ID, item uint32) *Record {
	if s == nil {
		return nil
	}
	return &Record{store: s, part: partItem, message: uint64(id), item: item, frame: -1}
}

// Flush hands over what was recorded.
func (r *Record) Flush() {
	if r == nil || r.buf == nil {
		return
	}
	r.shut()
	r.store.put(r.b)
	if cap(r.b) <= MaxBytes {
		*r.buf = r.b[:0]
		buffers.Put(r.buf)
	}
	r.buf, r.b = nil, nil
}

// open begins a frame.
func (r *Record) open(t time.Time) {
	if r.buf == nil {
		r.buf = buffers.Get().(*[]byte)
		r.b = (*r.buf)[:0]
	}
	r.frame, r.start, r.events, r.lost, r.known = len(r.b), t, 0, 0, r.known[:0]
	r.b = append(r.b, magic...)
	r.b = append(r.b, make([]byte, frameHead-len(magic)+payloadHead)...)
}

// shut ends the frame, if there is one.
func (r *Record) shut() {
	if r.frame < 0 {
		return
	}
	if r.lost > 0 {
		n := int64(r.lost)
		r.begin(evMore, time.Now(), true)
		r.number(keyCount, n)
		r.end()
	}
	f := r.b[r.frame:]
	p := f[frameHead:]
	p[0], p[1] = version, r.part
	binary.LittleEndian.PutUint64(p[2:], r.session)
	binary.LittleEndian.PutUint64(p[10:], r.message)
	binary.LittleEndian.PutUint32(p[18:], r.item)
	binary.LittleEndian.PutUint64(p[22:], uint64(r.start.UnixNano()))
	binary.LittleEndian.PutUint32(f[len(magic):], uint32(len(p)))
	binary.LittleEndian.PutUint32(f[len(magic)+4:], crc32.Checksum(p, castagnoli))
	r.frame = -1
}

// begin begins an event, unless there are too many; last ones have more room.
func (r *Record) begin(k kind, t time.Time, last bool) bool {
	if r == nil {
		return false
	}
	if r.frame < 0 {
		r.open(t)
	}
	events, size := MaxEvents, MaxBytes
	if last {
		events, size = 2*MaxEvents, MaxBytes+reserve+8*small
	}
	if k != evMore && (r.events >= events || len(r.b)-r.frame > size) {
		r.lost++
		return false
	}
	r.events++
	r.event = len(r.b)
	r.b = append(r.b, byte(k), 0, 0)
	r.b = binary.AppendVarint(r.b, t.Sub(r.start).Microseconds())
	return true
}

// now begins an event that happens now.
func (r *Record) now(k kind, last bool) bool {
	return r != nil && r.begin(k, time.Now(), last)
}

func (r *Record) end() {
	size := len(r.b) - r.event - 3
	if size >= 1<<16 || size > small && len(r.b)-r.frame > MaxBytes+reserve {
		r.b = r.b[:r.event]
		r.lost++
		return
	}
	binary.LittleEndian.PutUint16(r.b[r.event+1:], uint16(size))
}

func (r *Record) number(k key, n int64) {
	if n != 0 || k == keyPlugin {
		r.b = append(r.b, byte(k))
		r.b = binary.AppendVarint(r.b, n)
	}
}

func (r *Record) took(k key, d time.Duration) { r.number(k, d.Microseconds()) }

func (r *Record) text(k key, s string) {
	if s == "" {
		return
	}
	s = cut(s)
	r.b = append(r.b, byte(k))
	r.b = binary.AppendUvarint(r.b, uint64(len(s)))
	r.b = append(r.b, s...)
}

// cut is the beginning of a text.
func cut(s string) string {
	if len(s) <= MaxText {
		return s
	}
	n := MaxText - len("...")
	for n > MaxText-8 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

func (r *Record) path(k key, p mail.Path) {
	n := len(p.Local) + len(p.Domain) + 2
	if p.Domain != "" {
		n++
	}
	if n > MaxText {
		r.text(k, "<"+p.String()+">")
		return
	}
	r.b = append(r.b, byte(k))
	r.b = binary.AppendUvarint(r.b, uint64(n))
	r.b = append(append(r.b, '<'), p.Local...)
	if p.Domain != "" {
		r.b = append(append(r.b, '@'), p.Domain...)
	}
	r.b = append(r.b, '>')
}

// firstLine is the first line of an error: a panic has a stack behind it.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
