package mtasts

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// MaxPolicy is the largest policy that is read, in octets (RFC 8461 3.3 suggests 64 KiB).
const MaxPolicy = 64 << 10

// maxAge is the longest time that a policy may ask to be kept (RFC 8461 3.2).
const maxAge = 31557600 * time.Second

// maxPatterns is how many exchangers a policy may name.
const maxPatterns = 200

// Mode is what a policy asks of a sender whose connection does not fit it.
type Mode string

// The modes of RFC 8461 3.2.
const (
	Enforce Mode = "enforce" // do not deliver
	Testing Mode = "testing" // deliver, and report
	None    Mode = "none"    // there is no policy any more
)

// Policy is the policy of a domain.
type Policy struct {
	ID     string        `json:"id"` // of the DNS record that announced it
	Mode   Mode          `json:"mode"`
	MX     []string      `json:"mx,omitempty"` // patterns: a host, or "*." and a domain; lower case, A-labels
	MaxAge time.Duration `json:"max_age_ns"`
	Since  time.Time     `json:"since"` // when it was fetched
}

// Expired tells whether the policy is not in force any more.
func (p Policy) Expired(now time.Time) bool { return now.After(p.Since.Add(p.MaxAge)) }

// Stale tells whether the policy is to be fetched again though it is in force.
func (p Policy) Stale(now time.Time) bool { return now.After(p.Since.Add(min(renewTime, p.MaxAge/2))) }

// Match tells whether the policy allows an exchanger of this name (RFC 8461 4.1): a wildcard stands for one label.
func (p Policy) Match(host string) bool {
	host = mail.DomainKey(host)
	for _, pattern := range p.MX {
		if rest, ok := strings.CutPrefix(pattern, "*."); ok {
			if label, parent, found := strings.Cut(host, "."); found && label != "" && parent == rest {
				return true
			}
		} else if host == pattern {
			return true
		}
	}
	return false
}

// ParseRecord reads the id out of the TXT records at _mta-sts.DOMAIN (RFC 8461 3.1). Without exactly one record of this
// version there is no policy: ok is false.
func ParseRecord(records []string) (id string, ok bool) {
	found := ""
	for _, r := range records {
		if r == "v=STSv1" || strings.HasPrefix(r, "v=STSv1;") || strings.HasPrefix(r, "v=STSv1 ") {
			if found != "" {
				return "", false
			}
			found = r
		}
	}
	for n, field := range strings.Split(found, ";") {
		name, value, pair := strings.Cut(strings.Trim(field, " \t"), "=")
		switch {
		case n == 0:
			if name != "v" || value != "STSv1" {
				return "", false
			}
		case name == "" && !pair: // after the last semicolon
		case name == "id" && id == "":
			if !alphanumeric(value) || len(value) > 32 {
				return "", false
			}
			id = value
		case !pair || name == "id" || name == "v":
			return "", false
		}
	}
	return id, id != ""
}

func alphanumeric(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}

// ParsePolicy reads a policy as its host serves it (RFC 8461 3.2). Fields that are not known are passed over; of a field
// that stands more than once the first counts, except for mx.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if len(body) > MaxPolicy {
		return p, fmt.Errorf("the policy has more than %d octets", MaxPolicy)
	}
	version, age := "", ""
	for line := range bytes.Lines(body) {
		text := strings.TrimRight(string(line), "\r\n \t")
		if text == "" {
			continue
		}
		key, value, ok := strings.Cut(text, ":")
		if key = strings.TrimRight(key, " \t"); !ok || key == "" {
			return p, fmt.Errorf("the line %.80q of the policy is not a key and a value", text)
		}
		value = strings.Trim(value, " \t")
		switch key {
		case "version":
			if version == "" {
				version = value
			}
		case "mode":
			if p.Mode == "" {
				p.Mode = Mode(value)
			}
		case "max_age":
			if age == "" {
				age = value
			}
		case "mx":
			name, wild := strings.CutPrefix(strings.TrimSuffix(value, "."), "*.")
			domain, err := mail.ParseDomain(name)
			if err != nil || strings.HasPrefix(name, "[") {
				return p, fmt.Errorf("the mx %.80q of the policy is not a host or \"*.\" and a domain", value)
			}
			if domain = mail.DomainKey(domain); wild {
				domain = "*." + domain
			}
			if len(p.MX) >= maxPatterns {
				return p, fmt.Errorf("the policy names more than %d exchangers", maxPatterns)
			}
			p.MX = append(p.MX, domain)
		}
	}
	seconds, err := strconv.ParseUint(age, 10, 32)
	switch {
	case version != "STSv1":
		return p, fmt.Errorf("the version of the policy is %.20q and not STSv1", version)
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != None:
		return p, fmt.Errorf("the mode of the policy is %.20q; there are enforce, testing and none", string(p.Mode))
	case err != nil || len(age) > 10:
		return p, fmt.Errorf("the max_age of the policy is %.20q and not a number of seconds", age)
	case len(p.MX) == 0 && p.Mode != None:
		return p, errors.New("the policy names no exchanger")
	}
	p.MaxAge = min(time.Duration(seconds)*time.Second, maxAge)
	return p, nil
}
