package mailauth

import (
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

const authresField = "Authentication-Results"

// Bounds of a field that is read, and of a value that is written.
const (
	maxMethods    = 100
	maxProperties = 32
	maxValue      = 255 // octets
)

// MethodResult is one result in Authentication-Results (RFC 8601, section 2.2).
type MethodResult struct {
	Method     string // "spf", "dkim", "dmarc", ...
	Result     Result
	Reason     string // free text; empty: none
	Properties []Property
}

// Property is what the result is about.
type Property struct {
	Type  string // "smtp", "header", "body" or "policy"
	Name  string // "mailfrom", "d", ...
	Value string
}

// AuthResults is a field that was read.
type AuthResults struct {
	ID      string // the authserv-id, without quotes
	Results []MethodResult
}

// FormatAuthResults writes the field with its CRLF, ready for [mail.Header.PrependRaw]. Values are escaped, and cut at 255
// octets; what is not printable becomes "?", and 8-bit text too unless utf8 is set. A result whose method or property is
// no token is left out. Without any the field says "none".
func FormatAuthResults(id string, results []MethodResult, utf8 bool) string {
	var f folder
	f.add(authresField + ":")
	f.add(" " + quoteValue(id, utf8))
	written := false
	for _, r := range results {
		if !isToken(r.Method) || !isToken(string(r.Result)) {
			continue
		}
		written = true
		f.add(";")
		f.newLine()
		f.add(r.Method + "=" + string(r.Result))
		if r.Reason != "" {
			f.add(" reason=" + quoted8(clean(r.Reason, utf8)))
		}
		for _, p := range r.Properties {
			if isToken(p.Type) && isToken(p.Name) {
				f.add(" " + p.Type + "." + p.Name + "=" + quoteValue(p.Value, utf8))
			}
		}
	}
	if !written {
		f.add("; none")
	}
	return f.String() + "\r\n"
}

// Report puts the results of the three methods into the words of the field. sender is the
// reverse-path.
func Report(spf SPF, sender mail.Path, dkim []DKIM, dmarc DMARC) []MethodResult {
	var out []MethodResult
	if spf.Result != "" {
		r := MethodResult{Method: "spf", Result: spf.Result, Reason: spf.Reason}
		if spf.Helo {
			r.Properties = []Property{{"smtp", "helo", spf.Domain}}
		} else {
			r.Properties = []Property{{"smtp", "mailfrom", sender.String()}}
		}
		out = append(out, r)
	}
	for _, d := range dkim {
		r := MethodResult{Method: "dkim", Result: d.Result, Reason: d.Reason}
		for _, p := range []Property{{"header", "d", d.Domain}, {"header", "s", d.Selector}, {"header", "b", d.Prefix}} {
			if p.Value != "" {
				r.Properties = append(r.Properties, p)
			}
		}
		if d.Testing && d.Reason == "" {
			r.Reason = "the domain is testing"
		}
		out = append(out, r)
	}
	if dkim == nil {
		out = append(out, MethodResult{Method: "dkim", Result: None})
	}
	if dmarc.Result != "" {
		r := MethodResult{Method: "dmarc", Result: dmarc.Result}
		if dmarc.Result != Fail {
			r.Reason = dmarc.Reason
		}
		if dmarc.Author != "" {
			r.Properties = []Property{{"header", "from", dmarc.Author}}
		}
		if dmarc.Result == Fail {
			r.Properties = append(r.Properties, Property{"policy", "dmarc", string(dmarc.Disposition)})
		}
		out = append(out, r)
	}
	return out
}

// isToken tells whether s is a keyword of the field.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// clean makes a value printable and of bounded length.
func clean(s string, utf8 bool) string {
	s = mail.Printable(s)
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && !utf8 {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "")
	}
	return s
}

// quoteValue is a value as it is, if it is a token or an address or a domain, otherwise quoted (RFC 8601, section 2.2;
// RFC 2045).
func quoteValue(s string, utf8 bool) string {
	s = clean(s, utf8)
	ok := s != ""
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`()<>,;:\"/[]?=`, c) >= 0 || c >= 0x80 && !utf8 {
			ok = false
		}
	}
	if ok && strings.Count(s, "@") <= 1 {
		return s
	}
	return quoted8(s)
}

func quoted8(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// ParseAuthResults reads a foreign field's value (RFC 8601, section 2.2), leniently: results that cannot be read are
// left out, at most 100 are taken, with 32 properties each. The error is that there is no authserv-id, or that it is
// too long.
func ParseAuthResults(value string) (AuthResults, error) {
	if len(value) > maxField {
		return AuthResults{}, fmt.Errorf("the field has more than %d octets", maxField)
	}
	segments, _ := lex(value)
	var out AuthResults
	if len(segments[0]) == 0 || segments[0][0].equals {
		return out, errors.New("there is no authserv-id")
	}
	out.ID = segments[0][0].text
	for _, words := range segments[1:] {
		if len(out.Results) == maxMethods {
			break
		}
		if r, ok := parseMethod(words); ok {
			out.Results = append(out.Results, r)
		}
	}
	return out, nil
}

// parseMethod reads "method[/version] = result [reason = value] *(ptype.property = value)".
func parseMethod(words []word) (r MethodResult, ok bool) {
	if len(words) < 3 || !words[1].equals {
		return r, false
	}
	method, _, _ := strings.Cut(words[0].text, "/")
	r.Method, r.Result = strings.ToLower(method), Result(strings.ToLower(words[2].text))
	if !isToken(r.Method) || !isToken(string(r.Result)) {
		return r, false
	}
	words = words[3:]
	for len(words) >= 3 {
		if !words[1].equals {
			words = words[1:]
			continue
		}
		name, value := strings.ToLower(words[0].text), words[2].text
		words = words[3:]
		ptype, property, dotted := strings.Cut(name, ".")
		switch {
		case name == "reason":
			r.Reason = value
		case dotted && isToken(ptype) && isToken(property) && len(r.Properties) < maxProperties:
			r.Properties = append(r.Properties, Property{ptype, property, value})
		}
	}
	return r, true
}

// word is an atom or a quoted string without its quotes, or an equals sign between two.
type word struct {
	text   string
	equals bool
}

// lex splits a value at semicolons into words. Comments are left out. whole is false if a comment or a quoted string has
// no end.
func lex(s string) (segments [][]word, whole bool) {
	segments = [][]word{nil}
	last := 0
	var atom strings.Builder
	inAtom := false
	end := func() {
		if inAtom {
			segments[last] = append(segments[last], word{text: atom.String()})
			atom.Reset()
			inAtom = false
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			end()
			i++
		case c == '(':
			end()
			n, err := comment(s[i:])
			if err != nil {
				return segments, false
			}
			i += n
		case c == '"':
			n, err := quoted(s[i:])
			if err != nil {
				end()
				return segments, false
			}
			for in := s[i+1 : i+n-1]; in != ""; in = in[1:] {
				if in[0] == '\\' && len(in) > 1 {
					in = in[1:]
				}
				atom.WriteByte(in[0])
			}
			inAtom = true
			i += n
		case c == ';':
			end()
			segments = append(segments, nil)
			last++
			i++
		case c == '=':
			end()
			segments[last] = append(segments[last], word{"=", true})
			i++
		default:
			atom.WriteByte(c)
			inAtom = true
			i++
		}
	}
	end()
	return segments, true
}

// ForgedAuthResults are the indexes, from the last to the first, of the fields that claim to be ours, and so have to be
// removed from a message that comes in (RFC 8601, section 5): those with an authserv-id that anybody could take for id,
// and those of which nobody can tell. Removing them in this order, the indexes stay right.
func ForgedAuthResults(h mail.Header, id string) []int {
	var out []int
	id = mail.DomainKey(id)
	for i := h.Len() - 1; i >= 0; i-- {
		if strings.EqualFold(h.Name(i), authresField) && claims(string(h.Raw(i)), id) {
			out = append(out, i)
		}
	}
	return out
}

// claims tells whether a field may be read as one of id, which is in its form for comparing.
func claims(raw, id string) bool {
	if len(raw) > maxField {
		return true
	}
	value := raw[strings.IndexByte(raw, ':')+1:]
	for i := range len(value) { // a reader may stop at, or skip, what does not belong there
		if c := value[i]; c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
			return true
		}
	}
	segments, whole := lex(value)
	if !whole || len(segments[0]) == 0 {
		return true
	}
	// By words, and all in one: blanks and comments between the parts of a name are obsolete syntax (RFC 5322, section 4).
	var spaced, joined strings.Builder
	for _, w := range segments[0] {
		spaced.WriteString(w.text + " ")
		joined.WriteString(w.text)
	}
	if contains(spaced.String(), id) || contains(joined.String(), id) {
		return true
	}
	// Without heed to quotes and comments, for a reader who knows none.
	head, _, _ := strings.Cut(value, ";")
	return contains(head, id)
}

// contains tells whether the name id stands in s, not as a part of another name.
func contains(s, id string) bool {
	if dec, err := new(mime.WordDecoder).DecodeHeader(s); err == nil && dec != s && contains(dec, id) {
		return true
	}
	s = strings.ToLower(strings.ToValidUTF8(s, "?"))
	for i := 0; id != ""; {
		n := strings.Index(s[i:], id)
		if n < 0 {
			break
		}
		start, end := i+n, i+n+len(id)
		if (start == 0 || !inName(s[start-1])) && !goesOn(s[end:]) {
			return true
		}
		i = start + 1
	}
	// Other spellings of the same name: U-labels, full-width letters.
	for word := range strings.FieldsSeq(s) {
		if len(word) <= 1024 && mail.DomainKey(word) == id {
			return true
		}
	}
	return false
}

func inName(c byte) bool {
	return isAlpha(c) || isDigit(c) || c == '-' || c == '_' || c == '.' || c >= 0x80
}

// goesOn tells whether a name goes on in rest: a dot at its end is none of it, nor is a version ("1", "/1").
func goesOn(rest string) bool {
	rest = strings.TrimPrefix(rest, ".")
	rest = strings.TrimLeft(rest, "0123456789")
	return rest != "" && inName(rest[0])
}
