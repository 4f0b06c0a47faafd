package tlsrpt

import (
	"net/url"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// maxURIs is how many addresses of a record get a report.
const maxURIs = 4

// Address is where reports are wanted: one of the two is set.
type Address struct {
	Mail mail.Path
	URL  string // https
}

func (a Address) String() string {
	if a.URL != "" {
		return a.URL
	}
	return "mailto:" + a.Mail.String()
}

// ParseRecord reads the TXT records at _smtp._tls.DOMAIN (RFC 8460 3). Without exactly one record of this version reports
// are not wanted: ok is false. Addresses of other schemes, and those that are malformed, are passed over; at most four
// are returned.
func ParseRecord(records []string) (to []Address, ok bool) {
	found := ""
	for _, r := range records {
		version, _, _ := strings.Cut(r, ";")
		if strings.TrimRight(version, " \t") != "v=TLSRPTv1" {
			continue
		}
		if found != "" {
			return nil, false
		}
		found = r
	}
	seen := false
	for field := range strings.SplitSeq(found, ";") {
		name, value, _ := strings.Cut(strings.Trim(field, " \t"), "=")
		if name != "rua" || seen {
			continue // an extension, or the version
		}
		seen = true
		for uri := range strings.SplitSeq(value, ",") {
			if a, ok := parseAddress(strings.Trim(uri, " \t")); ok && len(to) < maxURIs {
				to = append(to, a)
			}
		}
	}
	return to, len(to) > 0
}

func parseAddress(uri string) (Address, bool) {
	if len(uri) > 1000 {
		return Address{}, false
	}
	u, err := url.Parse(uri)
	if err != nil {
		return Address{}, false
	}
	switch u.Scheme { // url.Parse makes it lower case
	case "mailto":
		text, err := url.PathUnescape(u.Opaque)
		if err != nil {
			return Address{}, false
		}
		p, err := mail.ParseMailbox(text)
		return Address{Mail: p}, err == nil && !p.IsNull() && p.Domain != ""
	case "https":
		return Address{URL: u.String()}, u.Hostname() != "" && u.User == nil
	}
	return Address{}, false
}
