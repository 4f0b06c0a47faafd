package mailauth

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// spfRecord is a policy (RFC 7208, section 4.6). All of it has been checked.
type spfRecord struct {
	directives    []spfDirective
	redirect, exp string // domain-spec; empty: none
}

type spfDirective struct {
	result Result // by the qualifier
	name   string // lower case
	spec   string // domain-spec; empty: the current domain
	net    netip.Prefix
	cidr4  int
	cidr6  int
	text   string // as published
}

// isSPF tells whether a TXT record is a policy (RFC 7208, section 4.5).
func isSPF(txt string) bool {
	const v = "v=spf1"
	return len(txt) >= len(v) && strings.EqualFold(txt[:len(v)], v) && (len(txt) == len(v) || txt[len(v)] == ' ')
}

// parseSPF reads a record for which isSPF holds. A syntax error anywhere in it is its result.
func parseSPF(txt string) (rec spfRecord, err error) {
	for term := range strings.SplitSeq(txt[len("v=spf1"):], " ") {
		if term == "" {
			continue
		}
		for i := range len(term) {
			if term[i] <= ' ' || term[i] >= 0x7f {
				return rec, permanent("the SPF record has the octet %#02x", term[i])
			}
		}
		n := strings.IndexAny(term, ":/=")
		if n > 0 && term[n] == '=' {
			err = rec.modifier(term[:n], term[n+1:])
		} else {
			err = rec.directive(term)
		}
		if err != nil {
			return rec, err
		}
	}
	return rec, nil
}

func (rec *spfRecord) modifier(name, value string) error {
	for i := range len(name) {
		if c := name[i]; !isAlpha(c) && (i == 0 || !isDigit(c) && c != '-' && c != '_' && c != '.') {
			return permanent("the SPF record has the modifier %.64q", name)
		}
	}
	var dst *string
	switch strings.ToLower(name) {
	case "redirect":
		dst = &rec.redirect
	case "exp":
		dst = &rec.exp
	default:
		if _, err := macroTail(value, false); err != nil {
			return permanent("the SPF modifier %.64q: %v", name, err)
		}
		return nil
	}
	if *dst != "" {
		return permanent("the SPF record has %s twice", strings.ToLower(name))
	}
	if err := checkDomainSpec(value); err != nil {
		return permanent("the SPF modifier %.64q: %v", name, err)
	}
	*dst = value
	return nil
}

var dualCIDR = regexp.MustCompile(`^(.*?)(?:/(\d+))?(?://(\d+))?$`)

func (rec *spfRecord) directive(term string) error {
	d := spfDirective{result: Pass, cidr4: 32, cidr6: 128, text: term}
	switch term[0] {
	case '+':
		term = term[1:]
	case '-':
		d.result, term = Fail, term[1:]
	case '~':
		d.result, term = SoftFail, term[1:]
	case '?':
		d.result, term = Neutral, term[1:]
	}
	n := strings.IndexAny(term, ":/")
	if n < 0 {
		n = len(term)
	}
	arg := term[n:]
	d.name = strings.ToLower(term[:n])
	ok := true
	switch d.name {
	case "all":
		ok = arg == ""
	case "ip4", "ip6":
		d.net, ok = spfNetwork(arg, d.name == "ip6")
	case "a", "mx":
		m := dualCIDR.FindStringSubmatch(arg)
		arg = m[1]
		ok = cidr(m[2], &d.cidr4) && cidr(m[3], &d.cidr6)
		if ok && arg != "" {
			d.spec, ok = strings.CutPrefix(arg, ":")
			ok = ok && checkDomainSpec(d.spec) == nil
		}
	case "ptr", "include", "exists":
		if arg == "" && d.name == "ptr" {
			break
		}
		d.spec, ok = strings.CutPrefix(arg, ":")
		ok = ok && checkDomainSpec(d.spec) == nil
	default:
		return permanent("the SPF record has the unknown mechanism %.64q", d.text)
	}
	if !ok {
		return permanent("the SPF record has the malformed mechanism %.255q", d.text)
	}
	rec.directives = append(rec.directives, d)
	return nil
}

// cidr reads a prefix length, not above *n, into *n. Empty leaves it.
func cidr(s string, n *int) bool {
	if s == "" {
		return true
	}
	v, err := strconv.Atoi(s)
	if err != nil || v > *n || len(s) > 1 && s[0] == '0' {
		return false
	}
	*n = v
	return true
}

func spfNetwork(arg string, six bool) (netip.Prefix, bool) {
	arg, ok := strings.CutPrefix(arg, ":")
	host, length, has := strings.Cut(arg, "/")
	addr, err := netip.ParseAddr(host)
	if !ok || err != nil || addr.Is4() == six || addr.Zone() != "" || has && length == "" {
		return netip.Prefix{}, false
	}
	bits := addr.BitLen()
	if !cidr(length, &bits) {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits), true
}
