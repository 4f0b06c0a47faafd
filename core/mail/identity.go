package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
)

// MaxIdentity is the length of an identity, in octets (RFC 4616 2).
const MaxIdentity = 255

// ValidIdentity tells whether s can name an authenticated client: 1 to
// [MaxIdentity] octets of UTF-8, without control characters and without those
// that break or turn a line.
func ValidIdentity(s string) bool {
	return s != "" && len(s) <= MaxIdentity && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	})
}

// Prepare is s as SASLprep (RFC 4013) maps it, so that a name or password is
// the same however it was typed: with or without a soft hyphen, composed or
// not. What the profile prohibits, or does not know because it is younger than
// Unicode 3.2, stays as it is, as in PostgreSQL: nothing that SASLprep makes can
// be equal to it.
func Prepare(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return s // the profile maps nothing there
	}
	if p, err := stringprep.SASLprep.Prepare(s); err == nil {
		return p
	}
	return s
}
