package mailauth

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// bodyHash hashes a body canonicalized (RFC 6376, section 3.4), in any pieces. A line ends with CRLF only.
type bodyHash struct {
	relaxed bool
	sum     hash.Hash
	buf     []byte
	lines   int64 // line ends that may turn out to be those at the end
	cr      bool  // the last octet was a CR
	blank   bool  // relaxed: white space that may turn out to be that at the end of a line
	any     bool  // something is in the hash
}

func newBodyHash(relaxed bool) *bodyHash {
	return &bodyHash{relaxed: relaxed, sum: sha256.New(), buf: make([]byte, 0, 4096)}
}

func (b *bodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if !b.relaxed && !b.cr { // all up to the next CR is as it is
			k := bytes.IndexByte(p, '\r')
			if k < 0 {
				k = len(p)
			}
			if k > 0 {
				b.pending()
				b.flush()
				b.sum.Write(p[:k])
				p = p[k:]
				continue
			}
		}
		c := p[0]
		p = p[1:]
		if b.cr {
			b.cr = false
			if c == '\n' {
				b.lines++
				b.blank = false
				continue
			}
			b.octet('\r')
		}
		switch {
		case c == '\r':
			b.cr = true
		case b.relaxed && (c == ' ' || c == '\t'):
			b.blank = true
		default:
			b.octet(c)
		}
	}
	return n, nil
}

// pending writes what has turned out not to be at the end.
func (b *bodyHash) pending() {
	for ; b.lines > 0; b.lines-- {
		b.put('\r')
		b.put('\n')
	}
	if b.blank {
		b.put(' ')
		b.blank = false
	}
	b.any = true
}

func (b *bodyHash) octet(c byte) {
	if b.lines > 0 || b.blank || !b.any {
		b.pending()
	}
	b.put(c)
}

func (b *bodyHash) put(c byte) {
	if len(b.buf) == cap(b.buf) {
		b.flush()
	}
	b.buf = append(b.buf, c)
}

func (b *bodyHash) flush() {
	b.sum.Write(b.buf)
	b.buf = b.buf[:0]
}

// Sum ends the body. A simple body ends with one CRLF, also an empty one; a relaxed one too unless it is empty.
func (b *bodyHash) Sum() []byte {
	if b.cr {
		b.cr = false
		b.octet('\r')
	}
	b.flush()
	if b.any || !b.relaxed {
		b.sum.Write([]byte("\r\n"))
	}
	return b.sum.Sum(nil)
}

// readBody feeds a body to the hashes that are not nil.
func readBody(body io.Reader, to ...*bodyHash) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		for _, b := range to {
			if b != nil {
				b.Write(buf[:n])
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// canonicalField is a field as it is hashed (RFC 6376, sections 3.4.1 and 3.4.2), with its CRLF.
func canonicalField(raw []byte, relaxed bool) []byte {
	if !relaxed {
		if bytes.HasSuffix(raw, []byte("\r\n")) {
			return raw
		}
		return append(bytes.Clone(raw), "\r\n"...)
	}
	colon := bytes.IndexByte(raw, ':')
	out := make([]byte, 0, len(raw)+2)
	out = append(out, bytes.ToLower(bytes.TrimRight(raw[:colon], " \t"))...)
	out = append(out, ':')
	start, blank := len(out), false
	for _, c := range raw[colon+1:] {
		switch c {
		case '\r', '\n':
		case ' ', '\t':
			blank = true
		default:
			if blank && len(out) > start {
				out = append(out, ' ')
			}
			blank = false
			out = append(out, c)
		}
	}
	return append(out, "\r\n"...)
}

// fieldPicker takes fields from the bottom of a header section up (RFC 6376, section 5.4.2).
type fieldPicker struct {
	h       mail.Header
	indexes map[string][]int // by lower-case name
}

func newFieldPicker(h mail.Header) fieldPicker {
	p := fieldPicker{h, make(map[string][]int)}
	for i := range h.Len() {
		name := strings.ToLower(h.Name(i))
		p.indexes[name] = append(p.indexes[name], i)
	}
	return p
}

// hash writes the fields of a list of lower-case names; of a name that is there oftener than the field, nothing.
func (p fieldPicker) hash(to hash.Hash, names []string, relaxed bool) {
	used := make(map[string]int)
	for _, name := range names {
		at := p.indexes[name]
		if n := used[name]; n < len(at) {
			to.Write(canonicalField(p.h.Raw(at[len(at)-1-n]), relaxed))
			used[name]++
		}
	}
}
