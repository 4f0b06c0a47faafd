package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxName  = 253 // octets of a name in text form, without the final dot (RFC 1035, section 2.3.4)
	maxLabel = 63
	maxInput = 1024 // octets given to IDNA, whose A-labels are at most a few times shorter
)

// queryName makes the form of a name in which it is asked for and cached: lower case, A-labels (RFC 5891), no final
// dot.
func queryName(name string) (string, error) {
	if len(name) > maxInput {
		return "", fmt.Errorf("longer than %d octets", maxInput)
	}
	s := strings.TrimSuffix(name, ".")
	if !isASCII(s) {
		if !utf8.ValidString(s) {
			return "", errors.New("not UTF-8")
		}
		// Underscores are allowed by not asking for the STD 3 rules; checkName applies ours to the result.
		profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))
		a, err := profile.ToASCII(s)
		if err != nil {
			return "", errors.New("not valid by IDNA (RFC 5891)")
		}
		s = strings.TrimSuffix(a, ".")
	}
	s = strings.ToLower(s)
	return s, checkName(s)
}

// hostName is queryName for a name that must be able to have an address: its last label is not a number, or the name
// would read as an IPv4 address (RFC 1123, section 2.1).
func hostName(name string) (string, error) {
	s, err := queryName(name)
	if err == nil && !namesHost(s) {
		err = errors.New("an address, not a name")
	}
	return s, err
}

// answerHost is the form of a host name found in an answer. Presentation escapes contain a backslash and so fail.
func answerHost(name string) (string, bool) {
	s := strings.ToLower(strings.TrimSuffix(name, "."))
	if checkName(s) != nil || !namesHost(s) {
		return "", false
	}
	return s, true
}

func namesHost(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	if strings.Trim(last, "0123456789") == "" {
		return false
	}
	_, err := netip.ParseAddr(s)
	return err != nil
}

// checkName accepts letters, digits, hyphens and underscores in labels of 1 to 63 octets. A label does not start with
// a hyphen, so that no name reads as an option of a command.
func checkName(s string) error {
	if s == "" {
		return errors.New("empty")
	}
	if len(s) > maxName {
		return fmt.Errorf("longer than %d octets", maxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return errors.New("empty label")
		case len(label) > maxLabel:
			return fmt.Errorf("label longer than %d octets", maxLabel)
		case label[0] == '-':
			return errors.New("label starts with a hyphen")
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("character %q", c)
			}
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// under reports whether name is zone or lies in it.
func under(name, zone string) bool {
	rest, ok := strings.CutSuffix(name, zone)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// localhost names never leave the machine (RFC 6761, section 6.3).
func isLocalhost(name string) bool { return under(name, "localhost") }

// neverExists holds for names whose answer is known (RFC 6761, section 6.4; RFC 7686).
func neverExists(name string) bool { return under(name, "invalid") || under(name, "onion") }
