package scan

import "github.com/wasmta/wasmta/hostapi/abi"

// HookPrefix and a stage's name make the global function of a hook: on_rcpt.
const HookPrefix = "on_"

// Selftest is the global function that is called when the plugin is loaded.
const Selftest = HookPrefix + "selftest"

// Result is what the words of a script say.
type Result struct {
	Hooks   []string // names of stages, in the order of a message's life
	Modules []string // capability modules, in the order of [Words]
	Test    bool     // it has a Selftest
}

// Words calls f with each global of the interpreter that stands for a
// capability, and the import module that it needs.
func Words(f func(word, module string)) {
	f("kv", abi.ModuleKV)
	f("dns", abi.ModuleDNS)
	f("http", abi.ModuleHTTP)
	f("crypto", abi.ModuleCrypto)
	f("lookup", abi.ModuleTable)
	f("emit", abi.ModuleEvent)
}

// Uses tells whether a script uses a module.
func (r *Result) Uses(module string) bool {
	for _, m := range r.Modules {
		if m == module {
			return true
		}
	}
	return false
}

// Has tells whether a script subscribes to a stage.
func (r *Result) Has(stage string) bool {
	for _, h := range r.Hooks {
		if h == stage {
			return true
		}
	}
	return false
}

// Script reads a script. A hook is a global function: "function on_rcpt(" or
// "on_rcpt =", neither local nor a field. A capability is used where its word
// stands as a name and is not a field.
func Script(source string) Result {
	interesting := map[string]*bool{}
	note := func(word string) *bool { seen := new(bool); interesting[word] = seen; return seen }
	var r Result
	var hooks, words []*bool
	abi.Hooks(func(name string) { hooks = append(hooks, note(HookPrefix+name)) })
	Words(func(word, _ string) { words = append(words, note(word)) })
	test := note(Selftest)

	s := scanner{s: source}
	braces := 0 // open ones: within, "name =" is a field
	before, prev, this := "", "", s.next()
	for this != "" {
		next := s.next()
		switch seen := interesting[this]; {
		case this == "{":
			braces++
		case this == "}":
			braces = max(braces-1, 0)
		case seen == nil || *seen || prev == "." || prev == ":":
		case this[:min(3, len(this))] != HookPrefix:
			*seen = next != "=" || braces == 0
		case prev == "function":
			*seen = before != "local" && next == "("
		case next == "=":
			*seen = prev != "local" && prev != "," && braces == 0
		}
		before, prev, this = prev, this, next
	}

	i := 0
	abi.Hooks(func(name string) {
		if *hooks[i] {
			r.Hooks = append(r.Hooks, name)
		}
		i++
	})
	i = 0
	Words(func(_, module string) {
		if *words[i] {
			r.Modules = append(r.Modules, module)
		}
		i++
	})
	r.Test = *test
	return r
}

// scanner gives the tokens of a script: names, numbers, "==" and "..", strings
// as a quote, and other characters one by one.
type scanner struct {
	s string
	i int
}

// at is the octet k places on; 0 behind the end.
func (s *scanner) at(k int) byte {
	if s.i+k < len(s.s) {
		return s.s[s.i+k]
	}
	return 0
}

// next is the next token; empty at the end.
func (s *scanner) next() string {
	for s.i < len(s.s) {
		start, c := s.i, s.s[s.i]
		switch {
		case c == ' ' || '\t' <= c && c <= '\r':
			s.i++
		case c == '#' && s.i == 0: // the line that names an interpreter
			s.line()
		case c == '-' && s.at(1) == '-':
			s.i += 2
			if !s.long() {
				s.line()
			}
		case c == '[' && s.long():
			return `"`
		case c == '"' || c == '\'':
			s.quoted(c)
			return `"`
		case word(c):
			// 12on_rcpt is one token, and no name.
			for s.i < len(s.s) && word(s.s[s.i]) {
				s.i++
			}
			return s.s[start:s.i]
		default:
			s.i++
			if (c == '=' || c == '.') && s.at(0) == c {
				s.i++
			} else if (c == '~' || c == '<' || c == '>') && s.at(0) == '=' {
				s.i++
			}
			return s.s[start:s.i]
		}
	}
	return ""
}

func word(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func (s *scanner) line() {
	for s.i < len(s.s) && s.s[s.i] != '\n' && s.s[s.i] != '\r' {
		s.i++
	}
}

// quoted skips a string; it ends with its line if nothing else ends it.
func (s *scanner) quoted(quote byte) {
	for s.i++; s.i < len(s.s); s.i++ {
		switch c := s.s[s.i]; c {
		case quote:
			s.i++
			return
		case '\n', '\r':
			return
		case '\\':
			s.i++
			if s.at(0) == '\r' && s.at(1) == '\n' {
				s.i++
			}
		}
	}
	s.i = len(s.s)
}

// long skips a long bracket, such as [==[ ... ]==], if there is one. A bracket
// that nothing closes reaches to the end.
func (s *scanner) long() bool {
	if s.at(0) != '[' {
		return false
	}
	level := 0
	for s.at(1+level) == '=' {
		level++
	}
	if s.at(1+level) != '[' {
		return false
	}
	for s.i += level + 2; s.i < len(s.s); s.i++ {
		if s.s[s.i] != ']' {
			continue
		}
		n := 0
		for s.at(1+n) == '=' {
			n++
		}
		if n == level && s.at(1+n) == ']' {
			s.i += n + 2
			return true
		}
		s.i += n // the next may be the bracket that closes
	}
	return true
}
