package mail

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxHeaderBytes is the largest header section we take, in octets. A larger
// one is refused (552 5.3.4): header sections are held in memory.
const MaxHeaderBytes = 1 << 20

// maxLine is the longest line of a field that we write (RFC 5322 2.1.1,
// without CRLF); foldAt is where we prefer to fold.
const (
	maxLine = 998
	foldAt  = 76
)

// Header is the header section of a message: the fields in their order, each
// with the bytes it came with. Reading and editing never change the bytes of
// another field. The zero value is an empty section.
type Header struct {
	fields []field
	blank  bool // the empty line that ends the section was there
}

type field struct {
	raw  []byte // with its folds and final CRLF; not modified after it is set
	name int    // length of the name
}

// HeaderScanner finds the end of the header section in a message that is
// still arriving.
type HeaderScanner struct{ pos int }

// Scan looks at buf, the message from its first byte on, which may have grown
// since the last call. It returns the length of the header block: the fields
// and the empty line after them, or only the fields when a line follows that
// is neither a field nor a continuation, where the body begins without a
// separator. done is false while more must be read; atEOF says that no more
// will come.
func (s *HeaderScanner) Scan(buf []byte, atEOF bool) (end int, done bool) {
	for {
		line := buf[s.pos:]
		nl := bytes.IndexByte(line, '\n')
		if nl < 0 {
			if !atEOF {
				return 0, false
			}
			if len(line) > 0 && (s.isContinuation(line) || fieldName(line) > 0) {
				return len(buf), true
			}
			return s.pos, true
		}
		line = line[:nl+1]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return s.pos + len(line), true
		}
		if !s.isContinuation(line) && fieldName(line) == 0 {
			return s.pos, true
		}
		s.pos += len(line)
	}
}

func (s *HeaderScanner) isContinuation(line []byte) bool {
	return s.pos > 0 && (line[0] == ' ' || line[0] == '\t')
}

// fieldName is the length of the field name at the start of line, 0 if line
// does not begin a field (RFC 5322 2.2; a blank before the colon is obsolete
// syntax that still occurs).
func fieldName(line []byte) int {
	n := 0
	for n < len(line) && line[n] > ' ' && line[n] < 0x7f && line[n] != ':' {
		n++
	}
	for i := n; i < len(line); i++ {
		switch line[i] {
		case ' ', '\t':
		case ':':
			return n
		default:
			return 0
		}
	}
	return 0
}

// ParseHeader reads a header block as [HeaderScanner] delimits it. It keeps
// the slice. Bytes after the block are an error.
func ParseHeader(block []byte) (Header, error) {
	var s HeaderScanner
	if end, _ := s.Scan(block, true); end != len(block) {
		return Header{}, fmt.Errorf("header section: octet %d begins neither a field nor a continuation", end)
	}
	var h Header
	for len(block) > 0 {
		end := 0
		for {
			nl := bytes.IndexByte(block[end:], '\n')
			if nl < 0 {
				end = len(block)
				break
			}
			end += nl + 1
			if end == len(block) || block[end] != ' ' && block[end] != '\t' {
				break
			}
		}
		raw := block[:end:end]
		block = block[end:]
		n := fieldName(raw)
		if n == 0 {
			h.blank = true
			break
		}
		h.fields = append(h.fields, field{raw, n})
	}
	return h, nil
}

// Clone returns a copy that can be edited without changing h.
func (h Header) Clone() Header {
	h.fields = slices.Clone(h.fields)
	return h
}

// Len is the number of fields.
func (h Header) Len() int { return len(h.fields) }

// Name is the name of field i as it stands.
func (h Header) Name(i int) string { return string(h.fields[i].raw[:h.fields[i].name]) }

// Raw is field i with its folds and final CRLF. Do not modify it.
func (h Header) Raw(i int) []byte { return h.fields[i].raw }

// Value is the value of field i, unfolded (RFC 5322 2.2.3), without blanks
// around it.
func (h Header) Value(i int) string {
	raw := h.fields[i].raw
	v := raw[bytes.IndexByte(raw, ':')+1:]
	v = bytes.TrimSpace(v)
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	return string(bytes.ReplaceAll(bytes.ReplaceAll(v, []byte("\r"), nil), []byte("\n"), nil))
}

// Find is the index of the first field called name at or after from, without
// regard to case; -1: none.
func (h Header) Find(from int, name string) int {
	for i := max(from, 0); i < len(h.fields); i++ {
		f := h.fields[i]
		if f.name == len(name) && strings.EqualFold(string(f.raw[:f.name]), name) {
			return i
		}
	}
	return -1
}

// Get is the value of the first field called name; empty: none.
func (h Header) Get(name string) string {
	if i := h.Find(0, name); i >= 0 {
		return h.Value(i)
	}
	return ""
}

// Count is the number of fields called name.
func (h Header) Count(name string) int {
	n := 0
	for i := h.Find(0, name); i >= 0; i = h.Find(i+1, name) {
		n++
	}
	return n
}

// Size is the length of [Header.Bytes].
func (h Header) Size() int {
	n := 0
	for _, f := range h.fields {
		n += len(f.raw)
	}
	if h.blank {
		n += 2
	}
	return n
}

// Bytes is the header block, with the empty line if there was one.
func (h Header) Bytes() []byte {
	b := make([]byte, 0, h.Size())
	for _, f := range h.fields {
		b = append(b, f.raw...)
	}
	if h.blank {
		b = append(b, '\r', '\n')
	}
	return b
}

// Errors of editing.
var (
	ErrFieldName  = errors.New("a field name must be printable ASCII without ':'")
	ErrFieldValue = errors.New("a field value must be text without control characters; 8-bit text needs SMTPUTF8")
	ErrFieldLong  = errors.New("the field has a word longer than 998 octets or the section would exceed its limit")
	ErrFieldTwice = errors.New("RFC 5322 3.6 allows this field once, and it is there")
	ErrFieldIndex = errors.New("there is no field with this index")
)

// once are the fields that may occur once (RFC 5322 3.6).
const once = " date from sender reply-to to cc bcc message-id in-reply-to references subject "

// Insert puts "name: value" before field i, folding it; i = -1 or Len appends.
// Nothing changes on an error.
func (h *Header) Insert(i int, name, value string, utf8 bool) error {
	if i == -1 {
		i = len(h.fields)
	}
	if i < 0 || i > len(h.fields) {
		return ErrFieldIndex
	}
	f, err := makeField(name, value, utf8)
	if err != nil {
		return err
	}
	if strings.Contains(once, " "+strings.ToLower(name)+" ") && h.Find(0, name) >= 0 {
		return ErrFieldTwice
	}
	if h.Size()+len(f.raw) > MaxHeaderBytes {
		return ErrFieldLong
	}
	if h.unterminated() {
		last := &h.fields[len(h.fields)-1]
		last.raw = append(slices.Clip(last.raw), '\r', '\n')
	}
	h.fields = slices.Insert(h.fields, i, f)
	return nil
}

// unterminated: a message may end inside its header section, without CRLF.
func (h *Header) unterminated() bool {
	n := len(h.fields)
	return n > 0 && !bytes.HasSuffix(h.fields[n-1].raw, []byte("\n"))
}

// Set replaces the value of field i.
func (h *Header) Set(i int, value string, utf8 bool) error {
	if i < 0 || i >= len(h.fields) {
		return ErrFieldIndex
	}
	f, err := makeField(h.Name(i), value, utf8)
	if err != nil {
		return err
	}
	if h.Size()-len(h.fields[i].raw)+len(f.raw) > MaxHeaderBytes {
		return ErrFieldLong
	}
	h.fields[i] = f
	return nil
}

// Remove takes field i out.
func (h *Header) Remove(i int) error {
	if i < 0 || i >= len(h.fields) {
		return ErrFieldIndex
	}
	h.fields = slices.Delete(h.fields, i, i+1)
	return nil
}

// PrependRaw puts a trace field in front as it is: name, colon, value, folds
// and final CRLF are the caller's. It is for the server's own fields, built
// from validated parts only.
func (h *Header) PrependRaw(raw string) {
	h.fields = slices.Insert(h.fields, 0, field{[]byte(raw), strings.IndexByte(raw, ':')})
}

func makeField(name, value string, utf8 bool) (field, error) {
	if name == "" || len(name) > 76 || fieldName([]byte(name+":")) != len(name) {
		return field{}, ErrFieldName
	}
	value = strings.Trim(value, " \t")
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f || c >= 0x80 && !utf8 {
			return field{}, ErrFieldValue
		}
	}
	if Printable(value) != value { // invalid UTF-8, C1 controls, line separators
		return field{}, ErrFieldValue
	}
	raw, ok := fold(name, value)
	if !ok {
		return field{}, ErrFieldLong
	}
	return field{raw, len(name)}, nil
}

// fold breaks "name: value" before blanks so that lines stay under foldAt
// where blanks allow it (RFC 5322 2.2.3). The blanks stay, so that unfolding
// gives value again. A line of blanks only is never made.
func fold(name, value string) ([]byte, bool) {
	b := append(make([]byte, 0, len(name)+len(value)+16), name...)
	b = append(b, ':', ' ')
	line := len(b)
	for len(value) > 0 {
		// A word is its leading blanks and what follows up to the next blank.
		n := len(value) - len(strings.TrimLeft(value, " \t"))
		if k := strings.IndexAny(value[n:], " \t"); k >= 0 {
			n += k
		} else {
			n = len(value)
		}
		word := value[:n]
		value = value[n:]
		if line+len(word) > foldAt && (word[0] == ' ' || word[0] == '\t') && line > len(name)+2 {
			b = append(b, '\r', '\n')
			line = 0
		}
		b = append(b, word...)
		line += len(word)
		if line > maxLine {
			return nil, false
		}
	}
	return append(b, '\r', '\n'), true
}
