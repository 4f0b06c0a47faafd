package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
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
