package mta

import (
	"strconv"
	"unicode/utf8"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

var onInit func(*Config) error

// OnInit gives the function that reads the configuration. An error refuses the
// plugin; the generation before it stays in force. So does a value of the
// wrong type, whether f looks at [Config.Err] or not.
func OnInit(f func(c *Config) error) { onInit = f }

func init() { guest.OnInit(start) }

// start is called once in an instance, before any hook.
//
//go:wasmexport mta1_init
func start() int32 {
	// A test calls this again; what its OnInit makes it makes anew.
	made := len(metrics)
	defer func() { metrics = metrics[:made] }()
	c := new(Config)
	var err error
	if onInit != nil {
		err = onInit(c)
	}
	if err == nil {
		err = c.err
	}
	if err == nil {
		err = defineMetrics()
	}
	if err == nil {
		return 0
	}
	Log(Error, err.Error())
	if code, ok := err.(abi.Code); ok && code < 0 {
		return int32(code)
	}
	return int32(abi.Invalid)
}

// Config is the table [plugin.config] of the configuration. Read it in
// [OnInit], where a mistake in it is told to the operator at once. Package
// sdk/go/config decodes it into a struct.
type Config struct{ err error }

// Err is the first value that had the wrong type.
func (c *Config) Err() error { return c.err }

// JSON is the whole configuration, a JSON object.
func (c *Config) JSON() string {
	s, err := read(func(b []byte) int32 { return guest.Config("", b) })
	if err != nil {
		return "{}"
	}
	return s
}

// Has tells whether there is a value.
func (c *Config) Has(key string) bool { _, ok := c.lookup(key); return ok }

// String is a text; of another type, its JSON. Empty if it is missing.
func (c *Config) String(key string) string { s, _ := c.lookup(key); return s }

// Strings is a list of texts; nil if it is missing.
func (c *Config) Strings(key string) []string {
	s, ok := c.lookup(key)
	if !ok {
		return nil
	}
	list, ok := parseStrings(s)
	if !ok {
		c.fail(key, "a list of strings")
	}
	return list
}

// Int is a whole number; def if it is missing.
func (c *Config) Int(key string, def int64) int64 {
	s, ok := c.lookup(key)
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		c.fail(key, "a whole number")
		return def
	}
	return n
}

// Bool is true or false; def if it is missing.
func (c *Config) Bool(key string, def bool) bool {
	s, ok := c.lookup(key)
	if ok && s != "true" && s != "false" {
		c.fail(key, "true or false")
	}
	if !ok {
		return def
	}
	return s == "true"
}

func (c *Config) lookup(key string) (string, bool) {
	if key == "" {
		return "", false // would be the whole
	}
	s, err := read(func(b []byte) int32 { return guest.Config(key, b) })
	return s, err == nil
}

func (c *Config) fail(key, want string) {
	if c.err == nil {
		c.err = configError("config: " + key + " must be " + want)
	}
}

type configError string

func (e configError) Error() string { return string(e) }

// parseStrings reads a JSON array of strings as the host writes it. It saves
// small plugins encoding/json, which is larger than all the rest of them.
func parseStrings(s string) ([]string, bool) {
	list := []string{}
	p := jsonText{s, 0}
	if !p.next('[') {
		return nil, false
	}
	if p.next(']') {
		return list, p.end()
	}
	for {
		text, ok := p.quoted()
		if !ok {
			return nil, false
		}
		list = append(list, text)
		if p.next(']') {
			return list, p.end()
		}
		if !p.next(',') {
			return nil, false
		}
	}
}

type jsonText struct {
	s string
	i int
}

func (p *jsonText) blanks() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t' || p.s[p.i] == '\n' || p.s[p.i] == '\r') {
		p.i++
	}
}

func (p *jsonText) next(c byte) bool {
	p.blanks()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *jsonText) end() bool { p.blanks(); return p.i == len(p.s) }

func (p *jsonText) quoted() (string, bool) {
	if !p.next('"') {
		return "", false
	}
	var b []byte
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			return string(b), true
		case c < ' ':
			return "", false
		case c != '\\':
			b = append(b, c)
			continue
		case p.i == len(p.s):
			return "", false
		}
		c = p.s[p.i]
		p.i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := p.hex()
			if !ok {
				return "", false
			}
			if r >= 0xd800 && r < 0xdc00 && p.i+1 < len(p.s) && p.s[p.i] == '\\' && p.s[p.i+1] == 'u' {
				mark := p.i
				p.i += 2
				low, ok := p.hex()
				if !ok {
					return "", false
				}
				if low >= 0xdc00 && low < 0xe000 {
					r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
				} else {
					p.i = mark
				}
			}
			b = utf8.AppendRune(b, r) // half a pair becomes U+FFFD
		default:
			return "", false
		}
	}
	return "", false
}

func (p *jsonText) hex() (rune, bool) {
	if p.i+4 > len(p.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.s[p.i:p.i+4], 16, 16)
	p.i += 4
	return rune(n), err == nil
}
