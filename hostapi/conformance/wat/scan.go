package wat

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a text.
const (
	MaxText    = 4 << 20 // octets
	maxNesting = 1000    // parentheses, and blocks, within each other
)

// Error is where a text is wrong, and how.
type Error struct {
	Line, Column int // from 1 up; a column is an octet
	Reason       string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Reason) }

// kind is what a node is.
type kind uint8

const (
	word kind = iota // a keyword, number or name
	text             // a string
	list             // what stands between parentheses
)

// node is a token, or a list with what is in it. In a list text is empty.
type node struct {
	kind kind
	at   int    // its offset
	text string // of a word as it stands, of a string its octets
	list []node
}

// is tells whether n is a list that begins with one of the words.
func (n *node) is(words ...string) bool {
	if n.kind != list || len(n.list) == 0 || n.list[0].kind != word {
		return false
	}
	for _, w := range words {
		if n.list[0].text == w {
			return true
		}
	}
	return false
}

// name tells whether n is a name like $x.
func (n *node) name() bool {
	return n.kind == word && strings.HasPrefix(n.text, "$") && len(n.text) > 1
}

// mistake ends the assembling; Assemble recovers it.
type mistake struct {
	at     int
	reason string
}

func fail(at int, format string, args ...any) { panic(mistake{at, fmt.Sprintf(format, args...)}) }

// quote makes words from the text safe and short for an error.
func quote(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// scanner reads tokens.
type scanner struct {
	src string
	pos int
}

// skip goes over space and comments.
func (s *scanner) skip() {
	for s.pos < len(s.src) {
		rest := s.src[s.pos:]
		switch {
		case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\n' || rest[0] == '\r':
			s.pos++
		case strings.HasPrefix(rest, ";;"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			s.pos += n
		case strings.HasPrefix(rest, "(;"):
			s.comment()
		default:
			return
		}
	}
}

// comment goes over a block comment, which may hold others.
func (s *scanner) comment() {
	start, depth := s.pos, 0
	for {
		rest := s.src[s.pos:]
		switch {
		case rest == "":
			fail(start, "this comment does not end: write ;)")
		case strings.HasPrefix(rest, "(;"):
			depth++
			s.pos += 2
		case strings.HasPrefix(rest, ";)"):
			depth--
			s.pos += 2
			if depth == 0 {
				return
			}
		default:
			s.pos++
		}
	}
}

// parse makes the tree of the text: the lists and words at its top.
func parse(src string) []node {
	s := scanner{src: src}
	stack := [][]node{nil}
	var starts []int
	for {
		s.skip()
		if s.pos == len(src) {
			break
		}
		top := len(stack) - 1
		switch at, c := s.pos, src[s.pos]; {
		case c == '(':
			if len(starts) >= maxNesting {
				fail(at, "more than %d parentheses within each other", maxNesting)
			}
			starts, stack = append(starts, at), append(stack, nil)
			s.pos++
		case c == ')':
			if top == 0 {
				fail(at, "there is no ( for this )")
			}
			stack[top-1] = append(stack[top-1], node{kind: list, at: starts[top-1], list: stack[top]})
			starts, stack = starts[:top-1], stack[:top]
			s.pos++
		case c == '"':
			stack[top] = append(stack[top], node{kind: text, at: at, text: s.str()})
		default:
			stack[top] = append(stack[top], node{kind: word, at: at, text: s.word()})
		}
	}
	if n := len(starts); n > 0 {
		fail(starts[n-1], "there is no ) for this (")
	}
	return stack[0]
}

// word reads idchars (6.3.5).
func (s *scanner) word() string {
	start := s.pos
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),;[]{}", c) >= 0 {
			break
		}
		s.pos++
	}
	if s.pos == start {
		r, _ := utf8.DecodeRuneInString(s.src[start:])
		fail(start, "%q is nothing here", r)
	}
	return s.src[start:s.pos]
}

// str reads a string and its escapes (6.3.3).
func (s *scanner) str() string {
	start := s.pos
	var b []byte
	for s.pos++; ; {
		if s.pos == len(s.src) || s.src[s.pos] == '\n' {
			fail(start, "this string does not end")
		}
		c := s.src[s.pos]
		switch {
		case c == '"':
			s.pos++
			return string(b)
		case c < ' ' || c == 0x7f:
			fail(s.pos, "a control character in a string: write it as \\%02x", c)
		case c != '\\':
			b = append(b, c)
			s.pos++
		default:
			b = s.escape(b)
		}
	}
}

func (s *scanner) escape(b []byte) []byte {
	at, rest := s.pos, s.src[s.pos+1:]
	if rest != "" {
		if i := strings.IndexByte(`tnr"'\`, rest[0]); i >= 0 {
			s.pos += 2
			return append(b, "\t\n\r\"'\\"[i])
		}
	}
	if strings.HasPrefix(rest, "u{") {
		digits, _, ok := strings.Cut(rest[2:min(len(rest), 14)], "}")
		v, err := natural(digits, 16, 32)
		if !ok || err != "" || !utf8.ValidRune(rune(v)) || v > utf8.MaxRune {
			fail(at, "not a character: write \\u{1f600}")
		}
		s.pos += len(`\u{}`) + len(digits)
		return utf8.AppendRune(b, rune(v))
	}
	if len(rest) >= 2 {
		if v, err := natural(rest[:2], 16, 8); err == "" && rest[1] != '_' {
			s.pos += 3
			return append(b, byte(v))
		}
	}
	fail(at, "an unknown escape: there are \\t \\n \\r \\\" \\' \\\\ \\hh and \\u{...}")
	return nil
}
