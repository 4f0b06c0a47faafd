package mailauth

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// Author returns the only address in the only From field of a message, whose domain DMARC is about (RFC 9989). What could
// show a reader another address than the one it takes is an error: several fields or addresses, a group, text after the
// address, a domain that is none.
func Author(h mail.Header) (mail.Path, error) {
	i := h.Find(0, "From")
	switch {
	case i < 0:
		return mail.Path{}, errors.New("there is no From field")
	case h.Find(i+1, "From") >= 0:
		return mail.Path{}, errors.New("there are several From fields")
	case len(h.Raw(i)) > maxField:
		return mail.Path{}, fmt.Errorf("the From field has more than %d octets", maxField)
	}
	p, err := oneAddress(h.Value(i))
	if err != nil {
		return mail.Path{}, fmt.Errorf("the From field: %w", err)
	}
	if _, ok := hostName(p.Domain); !ok {
		return mail.Path{}, errors.New("the From field: its domain is not a domain name")
	}
	return p, nil
}

// oneAddress reads a mailbox (RFC 5322, section 3.4): an addr-spec, or a phrase and an addr-spec in angle brackets, with
// comments. The obsolete syntax is not taken, apart from dots and 8-bit text in a phrase.
func oneAddress(s string) (mail.Path, error) {
	var outside strings.Builder // without comments and quoted strings, an x for each of those
	bare := strings.Builder{}   // without comments
	angle, after := "", false
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c < ' ' && c != '\t' || c == 0x7f:
			return mail.Path{}, fmt.Errorf("it has the octet %#02x", c)
		case c == '(':
			n, err := comment(s[i:])
			if err != nil {
				return mail.Path{}, err
			}
			outside.WriteByte(' ')
			bare.WriteByte(' ')
			i += n
		case c == '"':
			n, err := quoted(s[i:])
			if err != nil {
				return mail.Path{}, err
			}
			if after {
				return mail.Path{}, errors.New("text follows the address")
			}
			outside.WriteByte('x')
			bare.WriteString(s[i : i+n])
			i += n
		case c == '<':
			end := strings.IndexByte(s[i:], '>')
			if after || end < 0 {
				return mail.Path{}, errors.New("its angle brackets do not match")
			}
			angle, after = s[i+1:i+end], true
			if strings.HasPrefix(strings.TrimLeft(angle, " \t"), `"`) {
				// A quoted local part may contain the bracket.
				p, rest, err := mail.ParsePath("<" + strings.TrimLeft(s[i+1:], " \t"))
				if err != nil {
					return mail.Path{}, err
				}
				angle, end = p.String(), len(s)-i-len(rest)-1
			}
			i += end + 1
		case strings.IndexByte(",;", c) >= 0:
			return mail.Path{}, errors.New("it is a list or a group, not one address")
		case c == '>' || c == ')' || c == '\\':
			return mail.Path{}, fmt.Errorf("%q stands alone in it", c)
		case after && c != ' ' && c != '\t':
			return mail.Path{}, errors.New("text follows the address")
		default:
			outside.WriteByte(c)
			bare.WriteByte(c)
			i++
		}
	}
	if !after {
		return mail.ParseMailbox(strings.Trim(bare.String(), " \t"))
	}
	angle = strings.Trim(angle, " \t")
	name := strings.Trim(outside.String(), " \t")
	if strings.ContainsAny(name, "@:") && !strings.EqualFold(name, angle) { // many clients repeat the address as it is
		return mail.Path{}, errors.New("the name before the address looks like another address")
	}
	return mail.ParseMailbox(angle)
}

// comment is the length of the comment at the start of s; comments nest.
func comment(s string) (int, error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
	}
	return 0, errors.New("a comment has no end")
}

// quoted is the length of the quoted string at the start of s.
func quoted(s string) (int, error) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1, nil
		}
	}
	return 0, errors.New("a quoted string has no end")
}
