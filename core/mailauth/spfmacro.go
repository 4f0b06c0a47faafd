package mailauth

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxExpanded bounds the expansion of a macro-string, in octets.
const maxExpanded = 64 << 10

// macro is one "%{...}" (RFC 7208, section 7.1).
type macro struct {
	letter  byte // lower case
	escape  bool // the letter was upper case
	keep    int  // parts to keep, from the right; 0: all
	reverse bool
	delims  string
}

// nextMacro takes the text before the first macro, the macro (letter 0 for text only), and what is left from s.
func nextMacro(s string, exp bool) (text string, m macro, rest string, err error) {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, macro{}, "", nil
	}
	text, s = s[:i], s[i+1:]
	if s == "" {
		return "", m, "", errors.New("it ends with a single %")
	}
	switch s[0] {
	case '%':
		return text + "%", m, s[1:], nil
	case '_':
		return text + " ", m, s[1:], nil
	case '-':
		return text + "%20", m, s[1:], nil
	case '{':
	default:
		return "", m, "", fmt.Errorf("%q is no macro", "%"+s[:1])
	}
	end := strings.IndexByte(s, '}')
	if end < 2 {
		return "", m, "", errors.New("it has an unfinished macro")
	}
	in, rest := s[1:end], s[end+1:]
	m.letter = in[0] | 0x20
	m.escape = in[0] < 'a'
	letters := "slodiphv"
	if exp {
		letters += "crt"
	}
	if !isAlpha(in[0]) || !strings.Contains(letters, string(m.letter)) {
		return "", m, "", fmt.Errorf("%.64q is no macro here", "%{"+in+"}")
	}
	in = in[1:]
	digits := len(in) - len(strings.TrimLeft(in, "0123456789"))
	if digits > 0 {
		m.keep, _ = strconv.Atoi(in[:min(digits, 9)])
		if m.keep == 0 {
			return "", m, "", errors.New("it has a macro that keeps nothing")
		}
		in = in[digits:]
	}
	if in != "" && in[0]|0x20 == 'r' {
		m.reverse, in = true, in[1:]
	}
	if strings.Trim(in, ".-+,/_=") != "" {
		return "", m, "", fmt.Errorf("%.64q is no delimiter of a macro", in)
	}
	m.delims = in
	return text, m, rest, nil
}

// macroTail checks a macro-string and returns the text after its last macro; tail is "}" if it ends with one.
func macroTail(s string, exp bool) (tail string, err error) {
	for strings.Contains(s, "%") {
		_, _, rest, err := nextMacro(s, exp)
		if err != nil {
			return "", err
		}
		if rest == "" {
			return "}", nil
		}
		s = rest
	}
	return s, nil
}

// checkDomainSpec checks a domain-spec: it ends with a macro or a dot and a top label (RFC 7208, section 7.1).
func checkDomainSpec(s string) error {
	tail, err := macroTail(s, false)
	if err != nil {
		return err
	}
	if tail == "}" {
		return nil
	}
	tail = strings.TrimSuffix(tail, ".")
	dot := strings.LastIndexByte(tail, '.')
	if dot < 0 || !topLabel(tail[dot+1:]) {
		return fmt.Errorf("%.255q does not end with a top-level domain", s)
	}
	return nil
}

func topLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' || strings.Trim(s, "0123456789") == "" {
		return false
	}
	for i := range len(s) {
		if !isAlpha(s[i]) && !isDigit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// expand makes the text of a macro-string; value tells what a letter stands for.
func expand(s string, exp bool, value func(letter byte) string) (string, error) {
	var b strings.Builder
	for s != "" {
		text, m, rest, err := nextMacro(s, exp)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
		if m.letter != 0 {
			b.WriteString(m.apply(value(m.letter)))
		}
		if b.Len() > maxExpanded {
			return "", fmt.Errorf("a macro-string expands to more than %d octets", maxExpanded)
		}
		s = rest
	}
	return b.String(), nil
}

func (m macro) apply(v string) string {
	if m.keep > 0 || m.reverse || m.delims != "" {
		delims := m.delims
		if delims == "" {
			delims = "."
		}
		var parts []string
		for {
			i := strings.IndexAny(v, delims)
			if i < 0 {
				parts = append(parts, v)
				break
			}
			parts = append(parts, v[:i])
			v = v[i+1:]
		}
		if m.reverse {
			slices.Reverse(parts)
		}
		if m.keep > 0 && len(parts) > m.keep {
			parts = parts[len(parts)-m.keep:]
		}
		v = strings.Join(parts, ".")
	}
	if !m.escape {
		return v
	}
	var b strings.Builder
	for i := range len(v) {
		if c := v[i]; isAlpha(c) || isDigit(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
