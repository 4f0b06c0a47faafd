package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
)

// Case is one guest and what a host must make of it.
type Case struct {
	Name  string // file/what it shows
	Place string // file:line
	Text  string // the module in WebAssembly text
	Wasm  []byte // the module, if it was not made from Text

	Grant  hostapi.Grant
	Config string
	Limits hostapi.Limits
	// Refused are words that the error of loading has; nil: it loads.
	Refused []string
	// Log are the lines that it logs, "info: text"; nil: not looked at.
	Log      []string
	Sections []Section

	denied bool // its capabilities are optional, and none is granted
}

// Section is one hook that is asked, and its answer.
type Section struct {
	Hook  string   // as in the export's name; init and selftest come with loading
	With  []string // changes of the world before it
	Want  string   // the outcome
	Edits []string // what has changed in the world after it
	line  int
	calls []call
	value int32 // that the hook returns
}

// call is one host call and its result.
type call struct {
	line   int
	source string
	module string
	name   string
	args   []argument
	want   result
	times  int
}

// argument is a value, or a text that becomes a pointer and a length.
type argument struct {
	value  int64
	text   string
	repeat int  // of a text; 0: it is a value
	buffer bool // pointer and length of the buffer, value is the length
	bare   bool // the pointer alone
}

// result is what a call must give.
type result struct {
	kind  resultKind
	value int64
	text  string // of the buffer
	reads bool   // text counts
}

type resultKind uint8

const (
	exactly resultKind = iota // value
	success                   // 0 or above
	there                     // anything but E_DENIED, E_STATE and E_UNSUPPORTED
	anything
	traps
)

// parser reads cases.
type parser struct {
	file  string
	line  int
	cases []Case
}

func (p *parser) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

// parseCalls reads a file of calls; README.md says what there is.
func parseCalls(file, content string) ([]Case, error) {
	p := &parser{file: file}
	for line := range strings.Lines(content) {
		p.line++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := p.directive(line, true); err != nil {
			return nil, err
		}
	}
	for i := range p.cases {
		p.cases[i].Text = p.cases[i].module()
	}
	return p.cases, nil
}

// parseModules reads a file of modules, whose directives are comments that
// begin with ;;!
func parseModules(file, content string) ([]Case, error) {
	p := &parser{file: file}
	for line := range strings.Lines(content) {
		p.line++
		directive, ok := strings.CutPrefix(strings.TrimSpace(line), ";;!")
		if ok {
			if err := p.directive(strings.TrimSpace(directive), false); err != nil {
				return nil, err
			}
		}
		if n := len(p.cases); n > 0 {
			p.cases[n-1].Text += line
		}
	}
	return p.cases, nil
}

// directive reads one line.
func (p *parser) directive(line string, calls bool) error {
	if name, ok := strings.CutPrefix(line, "== "); ok {
		c := Case{Name: p.file + "/" + name, Place: fmt.Sprintf("%s:%d", p.file, p.line), Config: "{}"}
		// A busy machine and an interpreter shall not meet limits that a case is not
		// about.
		c.Limits.CPU, c.Limits.Wall = 10*time.Second, time.Minute
		p.cases = append(p.cases, c)
		return nil
	}
	if len(p.cases) == 0 {
		return p.fail("a case begins with ==")
	}
	c := &p.cases[len(p.cases)-1]
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	var s *Section
	if n := len(c.Sections); n > 0 {
		s = &c.Sections[n-1]
	}
	switch word {
	case "grant":
		return p.grant(&c.Grant, rest)
	case "denied":
		c.denied = true
	case "configuration":
		c.Config = rest
	case "limits":
		return p.limits(&c.Limits, rest)
	case "refused":
		words, err := p.strings(rest)
		c.Refused = append([]string{}, words...)
		return err
	case "logs":
		level, quoted, _ := strings.Cut(rest, " ")
		c.Log = append(c.Log, level+": "+quoted)
	case "at":
		f := strings.Fields(rest)
		if len(f) == 0 {
			return p.fail("at which hook?")
		}
		c.Sections = append(c.Sections, Section{Hook: f[0], With: f[1:], Want: "continue", line: p.line})
	case "return", "=>", "edit":
		switch {
		case s == nil:
			return p.fail("%s belongs to a hook: write at before it", word)
		case word == "=>":
			s.Want = rest
		case word == "edit":
			s.Edits = append(s.Edits, rest)
		default:
			v, err := verdict(strings.Fields(rest))
			if err != nil {
				return p.fail("%v", err)
			}
			s.value = v
		}
	default:
		if !calls || s == nil {
			return p.fail("there is no directive %q", word)
		}
		k, err := p.call(line)
		if err != nil {
			return err
		}
		if k.want.kind == traps {
			s.Want = "fails trap"
		}
		s.calls = append(s.calls, k)
	}
	return nil
}

// verdict is a number that a hook returns, from ACTION, flags and a code.
func verdict(words []string) (int32, error) {
	var v int64
	for _, w := range words {
		n, ok := verdicts[w]
		if !ok {
			code, err := strconv.ParseInt(w, 0, 64)
			if err != nil {
				return 0, fmt.Errorf("%q is no action, flag or code", w)
			}
			n = code << 16
			if strings.HasPrefix(w, "0x") {
				n = code
			}
		}
		v |= n
	}
	return int32(v), nil
}

func (p *parser) strings(s string) (list []string, err error) {
	for s != "" {
		prefix, err := strconv.QuotedPrefix(s)
		if err != nil {
			return nil, p.fail("%q is no string in quotes", s)
		}
		text, _ := strconv.Unquote(prefix)
		list = append(list, text)
		s = strings.TrimSpace(s[len(prefix):])
	}
	return list, nil
}

// everything is the grant of all there is.
var everything = hostapi.Grant{
	Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Write, AuthPassword: true, AttrsRead: []string{"other/*"},
	KV: hostapi.KVGrant{MB: 1}, DNS: hostapi.DNSGrant{Zones: []string{"*"}},
	HTTP:     []hostapi.HTTPGrant{{URL: "https://api.test/", Methods: []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"}}},
	SignKeys: []string{"ed", "ec", "rsa", "mac", "gone"}, Secrets: []string{"api", "gone"}, Tables: []string{"users", "domains", "nets", "gone"},
	Events: []string{"seen", "full", "bad topic"},
}

func (p *parser) grant(g *hostapi.Grant, line string) error {
	for _, f := range strings.Fields(line) {
		key, value, _ := strings.Cut(f, "=")
		list := strings.Split(value, ",")
		var err error
		switch key {
		case "all":
			*g = everything
		case "none":
			*g = hostapi.Grant{}
		case "envelope":
			g.Envelope, err = hostapi.ParseAccess(value)
		case "headers":
			g.Headers, err = hostapi.ParseAccess(value)
		case "body":
			g.Body, err = hostapi.ParseAccess(value)
		case "auth_password":
			g.AuthPassword = true
		case "attrs_read":
			g.AttrsRead = list
		case "kv":
			g.KV.MB, err = strconv.Atoi(value)
		case "dns":
			g.DNS.Zones = list
		case "http": // http=METHOD,METHOD@URL
			methods, url, _ := strings.Cut(value, "@")
			h := hostapi.HTTPGrant{URL: url, Methods: strings.Split(methods, ",")}
			h.Methods = slices.DeleteFunc(h.Methods, func(m string) bool {
				h.Private = h.Private || m == "private"
				return m == "private"
			})
			g.HTTP = append(g.HTTP, h)
		case "sign_keys":
			g.SignKeys = list
		case "secrets":
			g.Secrets = list
		case "tables":
			g.Tables = list
		case "events":
			g.Events = list
		default:
			err = fmt.Errorf("there is no grant %q", key)
		}
		if err != nil {
			return p.fail("%v", err)
		}
	}
	return nil
}

func (p *parser) limits(l *hostapi.Limits, line string) error {
	for _, f := range strings.Fields(line) {
		key, value, _ := strings.Cut(f, "=")
		var err error
		switch key {
		case "memory_mb":
			l.MemoryMB, err = strconv.Atoi(value)
		case "cpu":
			l.CPU, err = time.ParseDuration(value)
		case "wall":
			l.Wall, err = time.ParseDuration(value)
		case "concurrent":
			l.Concurrent, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("there is no limit %q", key)
		}
		if err != nil {
			return p.fail("%v", err)
		}
	}
	return nil
}

// words splits a line at spaces that are not in a string.
func (p *parser) words(line string) (list []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end, quoted := 0, false
		for ; end < len(line) && (quoted || line[end] != ' '); end++ {
			switch {
			case line[end] == '\\' && quoted:
				end++
			case line[end] == '"':
				quoted = !quoted
			}
		}
		if quoted || end > len(line) {
			return nil, p.fail("a string does not end")
		}
		list = append(list, line[:end])
		line = line[end:]
	}
	return list, nil
}

// call reads [module.]name arguments -> result [= "text"] [xTIMES].
func (p *parser) call(line string) (call, error) {
	words, err := p.words(line)
	if err != nil {
		return call{}, err
	}
	k := call{line: p.line, source: line, module: "mta1", name: words[0], times: 1}
	if family, name, ok := strings.Cut(words[0], "."); ok {
		k.module, k.name = "mta1_"+family, name
	}
	sig, ok := signature(k.module, k.name)
	if !ok {
		return k, p.fail("there is no function %s", words[0])
	}
	arrow := slices.Index(words, "->")
	if arrow < 0 || arrow+1 == len(words) {
		return k, p.fail("the result is missing: -> E_NOT_FOUND")
	}
	slots := 0
	for _, w := range words[1:arrow] {
		a, err := p.argument(w)
		if err != nil {
			return k, err
		}
		slots++
		if (a.buffer || a.repeat > 0) && !a.bare {
			slots++
		}
		k.args = append(k.args, a)
	}
	params, _, _ := strings.Cut(sig, ">")
	if slots != len(params) {
		return k, p.fail("%s has %d parameters, %d are given", words[0], len(params), slots)
	}
	switch w := words[arrow+1]; {
	case w == "trap":
		k.want.kind = traps
	case w == "any":
		k.want.kind = anything
	case w == "ok":
		k.want.kind = success
	case w == "there":
		k.want.kind = there
	case w[0] == '"':
		a, err := p.argument(w)
		if err != nil {
			return k, err
		}
		k.want.text, k.want.reads = strings.Repeat(a.text, a.repeat), true
		k.want.value = int64(len(k.want.text))
	default:
		a, err := p.argument(w)
		if err != nil {
			return k, err
		}
		k.want.value = a.value
	}
	rest := words[arrow+2:]
	if len(rest) >= 2 && rest[0] == "=" {
		a, err := p.argument(rest[1])
		if err != nil {
			return k, err
		}
		k.want.text, k.want.reads = strings.Repeat(a.text, a.repeat), true
		rest = rest[2:]
	}
	if len(rest) == 1 && rest[0][0] == 'x' {
		if k.times, err = strconv.Atoi(rest[0][1:]); err != nil {
			return k, p.fail("%q is no number of times", rest[0])
		}
		rest = nil
	}
	if len(rest) > 0 {
		return k, p.fail("%q is nothing here", rest[0])
	}
	return k, nil
}

func (p *parser) argument(w string) (a argument, err error) {
	if w[0] == '"' {
		quoted, times, repeated := w, "", false
		if i := strings.LastIndexByte(w, '"'); i < len(w)-1 {
			quoted = w[:i+1]
			times, repeated = strings.CutPrefix(w[i+1:], "*")
		}
		a.repeat = 1
		if repeated {
			if a.repeat, err = strconv.Atoi(times); err != nil || a.repeat < 1 {
				return a, p.fail("%q is no number of times", times)
			}
		}
		if a.text, err = strconv.Unquote(quoted); err != nil {
			return a, p.fail("%q is no string", quoted)
		}
		return a, nil
	}
	size, ok := strings.CutPrefix(w, "buf:")
	if ok {
		a.buffer = true
		w = size
	} else if size, ok = strings.CutPrefix(w, "out:"); ok {
		a.buffer, a.bare = true, true
		w = size
	}
	if v, known := constants()[w]; known {
		a.value = v
		return a, nil
	}
	if a.value, err = strconv.ParseInt(w, 0, 64); err != nil {
		return a, p.fail("there is no %q", w)
	}
	return a, nil
}

// stage is the hook of a section; false: it comes with loading.
func (s *Section) stage() (hook.Stage, bool) { return hook.ParseStage(s.Hook) }
