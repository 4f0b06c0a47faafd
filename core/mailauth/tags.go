package mailauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// tagList is a list "name=value; name=value" (RFC 6376, section 3.2) of a DKIM signature, a DKIM key or a DMARC record.
type tagList []tag

type tag struct {
	name, value string // the value without white space around it
	start, end  int    // of the value with that white space, in the text
}

const maxTags = 100

func parseTags(s string) (tagList, error) {
	var out tagList
	for start := 0; start <= len(s); {
		end := strings.IndexByte(s[start:], ';')
		if end < 0 {
			end = len(s)
		} else {
			end += start
		}
		part := s[start:end]
		if trimFWS(part) != "" {
			name, value, ok := strings.Cut(part, "=")
			t := tag{name: trimFWS(name), value: trimFWS(value), start: end - len(value), end: end}
			if !ok || !tagName(t.name) {
				return nil, fmt.Errorf("%.64q is no tag", part)
			}
			for i := range len(value) {
				if c := value[i]; c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
					return nil, fmt.Errorf("the tag %.64q has the octet %#02x", t.name, c)
				}
			}
			if _, twice := out.find(t.name); twice {
				return nil, fmt.Errorf("the tag %.64q is there twice", t.name)
			}
			if len(out) == maxTags {
				return nil, fmt.Errorf("it has more than %d tags", maxTags)
			}
			out = append(out, t)
		}
		start = end + 1
	}
	return out, nil
}

func tagName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlpha(c) && (i == 0 || !isDigit(c) && c != '_') {
			return false
		}
	}
	return s != ""
}

func (l tagList) find(name string) (tag, bool) {
	for _, t := range l {
		if t.name == name {
			return t, true
		}
	}
	return tag{}, false
}

// get is the value of a tag; empty: none.
func (l tagList) get(name string) string {
	t, _ := l.find(name)
	return t.value
}

// list splits a value at colons.
func (l tagList) list(name string) []string {
	v, ok := l.find(name)
	if !ok {
		return nil
	}
	parts := strings.Split(v.value, ":")
	for i, p := range parts {
		parts[i] = trimFWS(p)
	}
	return parts
}

var errBase64 = errors.New("it is not base64")

func (l tagList) base64(name string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(noFWS(l.get(name)))
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

func trimFWS(s string) string { return strings.Trim(s, " \t\r\n") }

// noFWS is s without any white space.
func noFWS(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
}
