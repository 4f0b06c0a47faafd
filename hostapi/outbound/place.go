package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// MaxURL is the longest URL, in octets.
const MaxURL = 2048

// Place is where requests may go.
type Place struct {
	scheme, host, port string
	prefix             string // of the escaped path; begins with a slash
}

// ParsePlace reads scheme://host[:port]/prefix. A prefix that ends in a slash
// covers what is below it; another one also itself. The scheme is http or
// https.
func ParsePlace(s string) (Place, error) {
	u, err := ParseURL(s)
	if err != nil {
		return Place{}, fmt.Errorf("%q: %w", s, err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return Place{}, fmt.Errorf("%q: a place has no query", s)
	}
	p := Place{u.Scheme, u.Hostname(), port(u), u.EscapedPath()}
	return p, nil
}

// Covers tells whether u, of [ParseURL], is in p.
func (p Place) Covers(u *url.URL) bool {
	if u.Scheme != p.scheme || u.Hostname() != p.host || port(u) != p.port {
		return false
	}
	rest, ok := strings.CutPrefix(u.EscapedPath(), p.prefix)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(p.prefix, "/"))
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// ParseURL reads a URL that means the same to everybody. Its host is in lower
// case, and its path begins with a slash.
func ParseURL(s string) (*url.URL, error) {
	if len(s) > MaxURL {
		return nil, fmt.Errorf("the URL has more than %d octets", MaxURL)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte("\\\"<>^`{|}#", s[i]) >= 0 {
			return nil, fmt.Errorf("a URL must not contain %q", s[i])
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the URL must begin with http:// or https://")
	}
	if u.User != nil || u.Opaque != "" {
		return nil, errors.New("a URL with a user is not accepted")
	}
	u.Host = strings.ToLower(u.Host)
	host := u.Hostname()
	if !goodHost(host) {
		return nil, fmt.Errorf("%q is not a host", host)
	}
	if strings.HasSuffix(u.Host, ":") || u.Port() != "" && !goodPort(u.Port()) {
		return nil, errors.New("the port is not one")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	path := u.EscapedPath()
	lower := strings.ToLower(path)
	if strings.Contains(lower, "%2e") || strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.Contains(lower, "%00") {
		return nil, errors.New("a path with an encoded dot, slash or NUL is not accepted")
	}
	if path[0] != '/' || strings.Contains(path, "//") {
		return nil, errors.New("a path with an empty segment is not accepted")
	}
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";") // some servers take "..;x" for ".."
		if name == "." || name == ".." {
			return nil, errors.New(`a path with "." or ".." is not accepted`)
		}
	}
	return u, nil
}

func goodPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if n = n*10 + int(s[i]-'0'); n > 65535 {
			return false
		}
	}
	return n > 0 && s[0] != '0'
}

// goodHost accepts a host name of letters, digits, hyphens and underscores, and
// an address in its usual form: 127.1 and 0x7f000001 are neither.
func goodHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	if len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
		last = label
	}
	return last[0] < '0' || last[0] > '9'
}
