package meter

import (
	"fmt"
	"unicode/utf8"
)

// reader walks over bytes and keeps the first error; after an error it stands
// at the end and yields zeros, so that loops over counted items must look at
// err, and everything else may look once at the end.
type reader struct {
	b    []byte
	pos  int
	base int // offset of b[0] in the module
	err  *Error
}

func (r *reader) fail(reason Reason, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{reason, r.base + r.pos, fmt.Sprintf(format, args...)}
	}
	r.pos = len(r.b)
}

func (r *reader) malformed(format string, args ...any) { r.fail(Malformed, format, args...) }

func (r *reader) more() bool { return r.err == nil && r.pos < len(r.b) }

func (r *reader) byte() byte {
	if r.pos >= len(r.b) {
		r.malformed("the file is cut off; build or copy it again")
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b)-r.pos {
		r.malformed("%d bytes announced, %d left; build or copy the file again", n, len(r.b)-r.pos)
		return nil
	}
	r.pos += n
	return r.b[r.pos-n : r.pos : r.pos]
}

// sub is a reader over the next n bytes.
func (r *reader) sub(n uint32) *reader {
	base := r.base + r.pos
	return &reader{b: r.bytes(int(n)), base: base, err: r.err}
}

func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.malformed("number beyond 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// signed reads a signed number of the given width (32, 33 or 64 bits).
func (r *reader) signed(width int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if left := width - shift; left <= 7 {
			// Of the last byte, the bits from the sign on must be equal.
			if ext := int8(b<<1) >> left; b >= 0x80 || ext != 0 && ext != -1 {
				r.malformed("number beyond %d bits", width)
				return 0
			}
		}
		if b < 0x80 {
			if shift += 7; shift < 64 && b&0x40 != 0 {
				v |= -1 << shift
			}
			return v
		}
	}
}

// count reads the length of a vector whose items take at least one byte.
func (r *reader) count(what string, limit int) int {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.pos) {
		r.malformed("%d %s announced in %d bytes", n, what, len(r.b)-r.pos)
		return 0
	}
	if int(n) > limit {
		r.fail(TooLarge, "%d %s, at most %d are possible; split or shrink the plugin", n, what, limit)
		return 0
	}
	return int(n)
}

func (r *reader) index(what string, count int) int {
	i := r.u32()
	if uint64(i) >= uint64(count) && r.err == nil {
		r.malformed("%s %d does not exist, there are %d", what, i, count)
		return 0
	}
	return int(i)
}

func (r *reader) name(what string) string {
	b := r.bytes(int(r.u32()))
	if !utf8.Valid(b) {
		r.malformed("%s is not UTF-8", what)
	}
	return string(b)
}

func (r *reader) end(what string) {
	if r.err == nil && r.pos != len(r.b) {
		r.malformed("%d bytes left over in the %s", len(r.b)-r.pos, what)
	}
}

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendVec(b, content []byte) []byte {
	return append(appendU32(b, uint32(len(content))), content...)
}

func appendName(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}

func appendSection(b []byte, id byte, content []byte) []byte {
	return appendVec(append(b, id), content)
}
