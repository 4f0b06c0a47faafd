package javascript

import (
	"slices"
	"strings"
)

// scanned is what a policy's source shows without being run.
type scanned struct {
	exports map[string]bool // names that it exports
	imports map[string]bool // names that it imports from "mta"
}

// scan reads the export and import declarations of a module. It knows the words
// of JavaScript and not its grammar, takes time linear in the source, and may
// be wrong about odd ones: what it finds is compared with what the policy
// really exports before any hook is called.
func scan(source string) scanned {
	s := scanner{src: source, members: map[[2]string]bool{}}
	out := scanned{map[string]bool{}, map[string]bool{}}
	spaces := map[string]bool{}
	if strings.HasPrefix(source, "#!") {
		s.line()
	}
	for t := s.next(); t.kind != end; t = s.next() {
		switch {
		case t.kind != word || !s.top() || s.before.text == ".":
		case t.text == "export":
			s.export(out)
		case t.text == "import":
			s.imported(out, spaces)
		}
	}
	for m := range s.members {
		if spaces[m[0]] {
			out.imports[m[1]] = true
		}
	}
	return out
}

// export reads what follows the word export.
func (s *scanner) export(out scanned) {
	t := s.next()
	if t.text == "async" {
		t = s.next()
	}
	switch t.text {
	case "function":
		if t = s.next(); t.text == "*" {
			t = s.next()
		}
		if t.kind == word {
			out.exports[t.text] = true
		}
	case "const", "let", "var":
		// One name for each declarator: what follows a comma outside brackets.
		depth := len(s.open)
		for name := true; ; {
			if t = s.next(); name && t.kind == word {
				out.exports[t.text] = true
			}
			name = t.text == "," && len(s.open) == depth
			if t.kind == end || t.text == ";" && len(s.open) == depth {
				return
			}
			// Without a semicolon the declaration ends somewhere before the next one.
			if t.kind == word && len(s.open) == depth && s.newline && declares(t.text) {
				s.back = &t
				return
			}
		}
	case "{":
		names, from := s.clause()
		for _, n := range names {
			out.exports[n.as] = true
			if from == Specifier {
				out.imports[n.original] = true
			}
		}
	}
}

// declares tells whether a word begins a statement and never goes on one.
func declares(word string) bool {
	switch word {
	case "export", "import", "const", "let", "var", "function", "class", "if", "for", "while", "return", "throw", "try", "switch":
		return true
	}
	return false
}

// imported reads what follows the word import.
func (s *scanner) imported(out scanned, spaces map[string]bool) {
	for t := s.next(); ; t = s.next() {
		switch {
		case t.text == "{":
			if names, from := s.clause(); from == Specifier {
				for _, n := range names {
					out.imports[n.original] = true
				}
			}
			return
		case t.text == "*":
			if t = s.next(); t.text == "as" {
				name := s.next()
				if s.next().text == "from" && s.next().value == Specifier {
					spaces[name.text] = true
				}
			}
			return
		case t.kind == word || t.text == ",": // a default import
		default:
			return
		}
	}
}

// renamed is "original as as", or original as itself.
type renamed struct{ original, as string }

// clause reads the names up to a closing brace, and where they come from.
func (s *scanner) clause() (names []renamed, from string) {
	for t := s.next(); t.text != "}"; {
		if t.kind == end {
			return names, ""
		}
		original, name := t, t
		if t = s.next(); t.text == "as" {
			name = s.next()
			t = s.next()
		}
		if a, b := original.name(), name.name(); a != "" && b != "" {
			names = append(names, renamed{a, b})
		}
		if t.text == "," {
			t = s.next()
		}
	}
	t := s.next()
	if t.text != "from" {
		s.back = &t
		return names, ""
	}
	return names, s.next().value
}

type kind byte

const (
	end kind = iota
	word
	text // of quotation marks: value is what is between them
	mark // one character
	number
	regexp
	template // a part of one
)

type token struct {
	kind  kind
	text  string // a word or mark; empty for the others
	value string
}

// name is what a token names in a clause: export { f as "onRcpt" } is one too.
func (t token) name() string {
	if t.kind == text {
		return t.value
	} else if t.kind == word {
		return t.text
	}
	return ""
}

// maxOpen is how many brackets may be open at once; scan gives up beyond it.
const maxOpen = 10_000

type scanner struct {
	src     string
	pos     int
	open    []byte // brackets; '`' is the ${ of a template, 'i' the ( behind if, for or while
	before  token
	last    token
	back    *token             // to be read again
	newline bool               // before the last token
	control bool               // the last token ends the brackets of an if, for or while
	members map[[2]string]bool // name.capability, wherever it stands
}

// top tells whether the last token stands outside all brackets.
func (s *scanner) top() bool { return len(s.open) == 0 }

func (s *scanner) next() token {
	if t := s.back; t != nil {
		s.back = nil
		return *t
	}
	t := s.read()
	if s.last.text == "." && s.before.kind == word && slices.Contains(capabilities, t.text) {
		s.members[[2]string{s.before.text, t.text}] = true
	}
	s.before, s.last = s.last, t
	return t
}

func (s *scanner) read() token {
	s.newline = false
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		switch {
		case c == ' ' || c == '\t' || c == '\v' || c == '\f':
			s.pos++
		case c == '\n' || c == '\r':
			s.newline = true
			s.pos++
		case s.at("\u2028"), s.at("\u2029"):
			s.newline = true
			s.pos += 3
		case s.at("\ufeff"):
			s.pos += 3
		case s.at("//"):
			s.line()
		case s.at("/*"):
			if n := strings.Index(s.src[s.pos+2:], "*/"); n >= 0 {
				s.pos += n + 4
			} else {
				s.pos = len(s.src)
			}
		case wordByte(c) && !digit(c), c == '#':
			return token{kind: word, text: s.while(func(c byte) bool { return wordByte(c) || c == '#' })}
		case digit(c), c == '.' && s.pos+1 < len(s.src) && digit(s.src[s.pos+1]):
			s.while(func(c byte) bool { return wordByte(c) || c == '.' })
			return token{kind: number}
		case c == '"' || c == '\'':
			return s.quoted(c)
		case c == '`':
			s.pos++
			return s.template()
		case c == '/' && s.value():
			return s.regexp()
		default:
			s.pos++
			return s.mark(c)
		}
	}
	return token{}
}

func (s *scanner) at(prefix string) bool { return strings.HasPrefix(s.src[s.pos:], prefix) }

func (s *scanner) line() {
	if n := strings.IndexAny(s.src[s.pos:], "\n\r\u2028\u2029"); n >= 0 {
		s.pos += n
	} else {
		s.pos = len(s.src)
	}
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c == '\\' || c >= 0x80 || digit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (s *scanner) while(f func(byte) bool) string {
	from := s.pos
	for s.pos < len(s.src) && f(s.src[s.pos]) {
		s.pos++
	}
	return s.src[from:s.pos]
}

func (s *scanner) quoted(q byte) token {
	from := s.pos + 1
	for s.pos = from; s.pos < len(s.src); s.pos++ {
		switch s.src[s.pos] {
		case '\\':
			s.pos++
		case '\n': // not closed: the engine says so
			return token{kind: text}
		case q:
			s.pos++
			return token{kind: text, value: s.src[from : s.pos-1]}
		}
	}
	s.pos = len(s.src)
	return token{kind: text}
}

// template reads on in a template, up to its end or the next ${.
func (s *scanner) template() token {
	for ; s.pos < len(s.src); s.pos++ {
		switch s.src[s.pos] {
		case '\\':
			s.pos++
		case '`':
			s.pos++
			return token{kind: template}
		case '$':
			if s.at("${") {
				s.pos += 2
				s.push('`')
				return token{kind: mark, text: "${"}
			}
		}
	}
	s.pos = len(s.src)
	return token{kind: template}
}

// value tells whether a value may stand here, so that a slash begins a regular
// expression.
func (s *scanner) value() bool {
	switch t := s.last; t.kind {
	case word:
		switch t.text {
		case "return", "typeof", "instanceof", "in", "of", "new", "delete", "void", "throw", "case", "do", "else", "yield", "await",
			"default", "export":
			return true
		}
		return false
	case text, number, regexp, template:
		return false
	default:
		return t.text != ")" && t.text != "]" && t.text != "}" || s.control
	}
}

func (s *scanner) regexp() token {
	class := false
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '\\':
			s.pos++
		case c == '\n':
			return token{kind: regexp}
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '/' && !class:
			s.pos++
			s.while(wordByte)
			return token{kind: regexp}
		}
	}
	s.pos = len(s.src)
	return token{kind: regexp}
}

func (s *scanner) mark(c byte) token {
	s.control = false
	switch c {
	case '(', '[', '{':
		if w := s.last.text; c == '(' && s.before.text != "." && (w == "if" || w == "for" || w == "while") {
			s.push('i')
		} else {
			s.push(c)
		}
	case ')', ']', '}':
		if n := len(s.open); n > 0 {
			last := s.open[n-1]
			s.open = s.open[:n-1]
			if last == '`' && c == '}' {
				return s.template()
			}
			s.control = last == 'i'
		}
	}
	return token{kind: mark, text: string(rune(c))}
}

func (s *scanner) push(c byte) {
	if len(s.open) == maxOpen {
		s.pos = len(s.src)
		return
	}
	s.open = append(s.open, c)
}
