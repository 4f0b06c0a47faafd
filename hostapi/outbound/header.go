package outbound

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// What the header of a request may have.
const (
	MaxHeader = 16 << 10 // octets as given
	maxFields = 64
)

// framing are the fields that say how the request is carried, which is not the
// plugin's to say. Those that begin with Proxy- belong to them.
var framing = []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Keep-Alive", "Expect", "Http2-Settings"}

// ParseHeader reads fields, "Name: value", one a line; LF or CRLF ends a line.
func ParseHeader(s string) (http.Header, error) {
	h := make(http.Header)
	if len(s) > MaxHeader {
		return nil, fmt.Errorf("the header has more than %d octets", MaxHeader)
	}
	n := 0
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		if n++; n > maxFields {
			return nil, fmt.Errorf("the header has more than %d fields", maxFields)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return nil, errors.New("a header line is not \"Name: value\"")
		}
		value = strings.Trim(value, " \t")
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return nil, fmt.Errorf("the value of %s has a control character", name)
			}
		}
		key := http.CanonicalHeaderKey(name)
		for _, f := range framing {
			if key == f {
				return nil, fmt.Errorf("%s is not the plugin's to set", key)
			}
		}
		if strings.HasPrefix(key, "Proxy-") {
			return nil, fmt.Errorf("%s is not the plugin's to set", key)
		}
		h.Add(key, value)
	}
	return h, nil
}

// token is the grammar of a field name (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
