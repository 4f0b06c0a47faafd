package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxPathLength is the longest path we take, in octets without the angle
// brackets. RFC 5321 4.5.3.1.3 asks for 256 with punctuation. The local part
// has no limit of its own: VERP and SRS addresses go beyond the 64 octets that
// every server must be able to take.
const MaxPathLength = 254

// Path is a reverse-path or forward-path (RFC 5321 4.1.2, RFC 6531 3.3).
// The zero value is the null reverse-path <>.
//
// Local keeps the form that it must have on the wire: a quoted string stays
// quoted, so that no later printing can turn its inside into syntax. Domain is
// the name as given, without a trailing dot, or an address literal in brackets.
// Two Paths that compare equal are the same; use [Path.Equal] to disregard the
// case of the domain.
//
// Make a Path from foreign text only with [ParsePath] or [ParseMailbox].
type Path struct {
	Local  string
	Domain string
}

var (
	errControl = errors.New("it contains a control character")
	errUTF8    = errors.New("it is not valid UTF-8")
)

// IsNull tells whether p is the null reverse-path.
func (p Path) IsNull() bool { return p == Path{} }

// String is the path without angle brackets; empty for the null path.
func (p Path) String() string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// NeedsUTF8 tells whether p can only travel with SMTPUTF8 (RFC 6531).
func (p Path) NeedsUTF8() bool { return !isASCII(p.Local) || !isASCII(p.Domain) }

// Equal compares two paths: the domain without regard to case, the local part
// exactly (RFC 5321 2.4).
func (p Path) Equal(q Path) bool {
	return p.Local == q.Local && strings.EqualFold(p.Domain, q.Domain)
}

// DomainKey is the domain in the one form used for comparing, grouping and
// DNS: lower case, A-labels. An address literal is returned as it is.
func (p Path) DomainKey() string { return DomainKey(p.Domain) }

// DomainKey brings a domain into lower-case A-labels without a trailing dot.
// A name that IDNA refuses is only lower-cased.
func DomainKey(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	if !isASCII(domain) {
		if a, err := idna.Lookup.ToASCII(domain); err == nil {
			domain = a
		}
	}
	return strings.ToLower(domain)
}

// Unquoted is the local part with quotes and backslashes resolved: what a
// mailbox is called, never what goes on the wire.
func (p Path) Unquoted() string {
	if !strings.HasPrefix(p.Local, `"`) {
		return p.Local
	}
	var b strings.Builder
	in := p.Local[1 : len(p.Local)-1]
	for i := 0; i < len(in); i++ {
		if in[i] == '\\' {
			i++
		}
		b.WriteByte(in[i])
	}
	return b.String()
}

// ParsePath reads a path in angle brackets from the start of s and returns
// what follows it. It takes the null path <>, drops a source route (RFC 5321
// 4.1.1.3), and takes <postmaster> without a domain (RFC 5321 4.5.1).
func ParsePath(s string) (p Path, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return Path{}, s, errors.New("a path must stand in angle brackets")
	}
	end := closingBracket(s)
	if end < 0 {
		return Path{}, s, errors.New("a path must end with '>'")
	}
	in, rest := s[1:end], s[end+1:]
	if in == "" {
		return Path{}, rest, nil
	}
	if strings.HasPrefix(in, "@") {
		colon := strings.IndexByte(in, ':')
		if colon < 0 {
			return Path{}, s, errors.New("a source route must end with ':'")
		}
		for hop := range strings.SplitSeq(in[:colon], ",") {
			if !strings.HasPrefix(hop, "@") || checkDomain(hop[1:]) != nil {
				return Path{}, s, errors.New("the source route is malformed")
			}
		}
		in = in[colon+1:]
	}
	if strings.EqualFold(in, "postmaster") {
		return Path{Local: in}, rest, nil
	}
	p, err = ParseMailbox(in)
	return p, rest, err
}

// closingBracket finds the '>' that ends a path, not one inside quotes.
func closingBracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == '>':
			return i
		}
	}
	return -1
}

// ParseMailbox reads local-part@domain without brackets (RFC 5321 4.1.2,
// Mailbox; RFC 6531 for 8-bit text, which is taken here: the caller checks
// [Path.NeedsUTF8] against what was negotiated). The error says what is wrong
// without repeating the text.
func ParseMailbox(s string) (Path, error) {
	if len(s) > MaxPathLength {
		return Path{}, fmt.Errorf("it is longer than %d octets", MaxPathLength)
	}
	if !utf8.ValidString(s) {
		return Path{}, errUTF8
	}
	for _, r := range s {
		// Bidi and other format characters would forge what a log or a header shows.
		if r < ' ' || r == 0x7f || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return Path{}, errControl
		}
	}
	at, err := endOfLocal(s)
	if err != nil {
		return Path{}, err
	}
	if at == len(s) || s[at] != '@' {
		return Path{}, errors.New("it has no '@' and domain")
	}
	p := Path{Local: s[:at], Domain: s[at+1:]}
	if err := checkDomain(p.Domain); err != nil {
		return Path{}, err
	}
	return p, nil
}

// endOfLocal returns the index after the local part, which is a dot-string or
// a quoted string.
func endOfLocal(s string) (int, error) {
	if strings.HasPrefix(s, `"`) {
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				return i + 1, nil
			}
		}
		return 0, errors.New("its quoted local part does not end")
	}
	atoms := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '@':
			if atoms == 0 {
				return 0, errors.New("its local part is empty or has an empty atom; quote it if that is meant")
			}
			return i, nil
		case c == '.':
			if atoms == 0 {
				return 0, errors.New("its local part has an empty atom; quote it if that is meant")
			}
			atoms = 0
		case isAtext(c):
			atoms++
		default:
			return 0, errors.New("its local part has a character that must be quoted")
		}
	}
	return len(s), nil
}

func isAtext(c byte) bool {
	return c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// ParseDomain checks a domain name or address literal as it may stand after
// the '@' of a mailbox or as the argument of EHLO (RFC 5321 4.1.2, 4.1.3).
func ParseDomain(s string) (string, error) {
	if err := checkDomain(s); err != nil {
		return "", err
	}
	return s, nil
}

func checkDomain(s string) error {
	if strings.HasPrefix(s, "[") {
		return checkLiteral(s)
	}
	if s == "" {
		return errors.New("its domain is empty")
	}
	ascii := s
	if !isASCII(s) {
		if !utf8.ValidString(s) {
			return errUTF8
		}
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return errors.New("its domain is not a valid internationalized name")
		}
		ascii = a
	}
	if len(ascii) > 253 {
		return errors.New("its domain is longer than 253 octets")
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("its domain has a label that is empty or longer than 63 octets")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("its domain has a label that begins or ends with '-'")
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; c != '-' && c != '_' && !isAlnum(c) {
				return errors.New("its domain has a character other than letters, digits and '-'")
			}
		}
	}
	return nil
}

func checkLiteral(s string) error {
	if _, ok := LiteralAddr(s); !ok {
		return errors.New("its address literal is malformed")
	}
	return nil
}

// LiteralAddr returns the address inside an address literal such as
// [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 4.1.3).
func LiteralAddr(domain string) (netip.Addr, bool) {
	in, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	if in, ok = strings.CutSuffix(in, "]"); !ok {
		return netip.Addr{}, false
	}
	if len(in) > 5 && strings.EqualFold(in[:5], "IPv6:") {
		a, err := netip.ParseAddr(in[5:])
		return a, err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(in)
	return a, err == nil && a.Is4()
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
