package dsn

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	maxSaid    = 2000     // octets of what one remote host said
	maxAllSaid = 64 << 10 // octets of what all of them said, in each of the two parts, or 80 for each
	foldAt     = 76       // columns
	maxWord    = 900      // octets; a longer word is broken
)

// clean makes foreign text one line of bounded length.
func clean(s string) string {
	// Bound it before looking at all of it.
	cut := len(s) > 4*maxSaid
	if cut {
		s = s[:4*maxSaid]
	}
	s = mail.Printable(s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxSaid {
		cut, s = true, strings.ToValidUTF8(s[:maxSaid], "")
	}
	if cut {
		s += "..."
	}
	return s
}

// ascii replaces what is not ASCII by '?'.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

// words splits at blanks and breaks what is too long.
func words(s string) []string {
	var list []string
	for w := range strings.FieldsSeq(s) {
		for len(w) > maxWord {
			n := maxWord
			for n > 0 && !utf8.RuneStart(w[n]) {
				n--
			}
			if n == 0 {
				n = maxWord
			}
			list = append(list, w[:n])
			w = w[n:]
		}
		list = append(list, w)
	}
	return list
}

// writeField writes a field and folds it at blanks.
func writeField(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ":")
	line := len(name) + 1
	for i, w := range words(value) {
		if i > 0 && line+1+len(w) > foldAt {
			b.WriteString("\r\n   ")
			line = 3
		}
		b.WriteString(" " + w)
		line += 1 + len(w)
	}
	b.WriteString("\r\n")
}

// writeWhole writes a field without folding: a quoted local part or an envelope
// id may hold blanks that count. What is too long for a line is cut.
func writeWhole(b *bytes.Buffer, name, value string) {
	if len(value) > maxWord {
		value = strings.ToValidUTF8(value[:maxWord], "")
	}
	b.WriteString(name + ": " + value + "\r\n")
}

// wrap sets a paragraph for people: indented lines, CRLF after each.
func wrap(indent, s string) []byte {
	var b bytes.Buffer
	line := 0
	for _, w := range words(s) {
		switch {
		case line > 0 && line+1+len(w) <= foldAt:
			b.WriteByte(' ')
			line++
		case line > 0:
			b.WriteString("\r\n" + indent)
			line = len(indent)
		}
		b.WriteString(w)
		line += len(w)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
