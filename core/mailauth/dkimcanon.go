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
		if b.cr {
			b.cr = false
			if p[0] == '\n' {
				b.lines++
				b.blank = false
				p = p[1:]
				continue
			}
			text(b, "\r")
		}
		if k := b.plain(p); k > 0 {
			text(b, p[:k])
			p = p[k:]
			continue
		}
		if p[0] == '\r' {
			b.cr = true
		} else {
			b.blank = true
		}
		p = p[1:]
	}
	return n, nil
}

// plain is how much at the start of p stays as it is.
func (b *bodyHash) plain(p []byte) int {
	if !b.relaxed {
		if k := bytes.IndexByte(p, '\r'); k >= 0 {
			return k
		}
		return len(p)
	}
	for k, c := range p {
		if c == ' ' || c == '\t' || c == '\r' {
			return k
		}
	}
	return len(p)
}

// text writes p after what has turned out not to be at the end.
func text[T string | []byte](b *bodyHash, p T) {
	for ; b.lines > 0; b.lines-- {
		put(b, "\r\n")
	}
	if b.blank {
		put(b, " ")
		b.blank = false
	}
	b.any = true
	put(b, p)
}

func put[T string | []byte](b *bodyHash, p T) {
	if len(b.buf)+len(p) > cap(b.buf) {
		b.flush()
	}
	if len(p) > cap(b.buf) {
		b.sum.Write([]byte(p))
		return
	}
	b.buf = append(b.buf, p...)
}

func (b *bodyHash) flush() {
	b.sum.Write(b.buf)
	b.buf = b.buf[:0]
}

// Sum ends the body. A simple body ends with one CRLF, also an empty one; a relaxed one too unless it is empty.
func (b *bodyHash) Sum() []byte {
	if b.cr {
		b.cr = false
		text(b, "\r")
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
