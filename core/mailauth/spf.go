package mailauth

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Limits of SPF (RFC 7208, section 4.6.4).
const (
	maxSPFTerms = 10 // terms that look something up
	maxSPFVoid  = 2  // look-ups without an answer
	maxSPFNames = 10 // exchanges of one mx, reverse names
	spfTime     = 20 * time.Second

	maxExplanation = 400 // octets
)

// SPFQuery is whom SPF is asked about.
type SPFQuery struct {
	Client netip.Addr
	Helo   string    // as the client said it
	Sender mail.Path // the reverse-path; null: postmaster at Helo stands for it (RFC 7208, section 2.4)
	// Receiver is our host name, and Now the time; both occur in explanations only.
	Receiver string
	Now      time.Time
}

// SPF is what check_host() found (RFC 7208, section 4). Result is one of None, Neutral, Pass, Fail, SoftFail, TempError
// and PermError.
type SPF struct {
	Result Result
	Domain string // the identity's domain, as given; A-labels
	Helo   bool   // the identity is that of HELO, because the reverse-path is null
	// Mechanism is the directive that matched, as published; "default" if none did; empty if it did not come to that.
	Mechanism string
	// Explanation is what the domain says about a Fail: foreign text, printable ASCII, at most 400 octets.
	Explanation string
	Reason      string // why there is no other result, in our words
}

// CheckSPF asks whether a client may use a reverse-path. It takes 20 s at most.
func CheckSPF(ctx context.Context, r Resolver, q SPFQuery) SPF {
	ctx, cancel := context.WithTimeout(ctx, spfTime)
	defer cancel()
	c := spfCheck{r: r, q: q, ip: q.Client.Unmap().WithZone(""), local: "postmaster", domain: q.Sender.Domain}
	if q.Sender.Domain == "" {
		c.domain = q.Helo
	}
	if l := q.Sender.Local; l != "" && q.Sender.Domain != "" {
		c.local = l
		if len(l) > 1 && l[0] == '"' {
			c.local = q.Sender.Unquoted()
		}
	}
	c.domain = strings.TrimSuffix(c.domain, ".")
	for i := range len(c.domain) {
		if c.domain[i] >= 0x80 {
			c.domain = mail.DomainKey(c.domain)
			break
		}
	}
	out := SPF{Domain: c.domain, Helo: q.Sender.Domain == ""}
	if !c.ip.IsValid() {
		out.Result, out.Reason = None, "the client has no address"
		return out
	}
	v, err := c.host(ctx, c.domain)
	if err != nil {
		p := asProblem(err)
		out.Result, out.Reason = p.result, p.reason
		return out
	}
	out.Result, out.Mechanism, out.Reason = v.result, v.mechanism, v.reason
	if v.result == Fail && v.exp != "" {
		out.Explanation = c.explain(ctx, v.exp, v.domain)
	}
	return out
}

// spfCheck is one evaluation, includes and redirects with it.
type spfCheck struct {
	r             Resolver
	q             SPFQuery
	ip            netip.Addr
	local, domain string // of the sender

	terms, voids int
	names        []string // validated names of the client
	named        bool     // names has been found
}

type spfVerdict struct {
	result    Result
	mechanism string
	reason    string
	exp       string // of the record that decided, and
	domain    string // where it stands
}

// host is check_host() for domain.
func (c *spfCheck) host(ctx context.Context, domain string) (spfVerdict, error) {
	if !validName(domain) || !strings.Contains(domain, ".") || domain[0] == '[' {
		return spfVerdict{result: None, reason: "the identity has no domain that could have a policy"}, nil
	}
	data, _, err := lookup(ctx, c.r, domain, typeTXT)
	if err != nil {
		return spfVerdict{}, temporary(err)
	}
	policy, found := "", false
	for _, txt := range data {
		if !isSPF(string(txt)) {
			continue
		}
		if found {
			return spfVerdict{}, permanent("%.253q has several SPF records", domain)
		}
		policy, found = string(txt), true
	}
	if !found {
		return spfVerdict{result: None, reason: "the domain has no SPF record"}, nil
	}
	rec, err := parseSPF(policy)
	if err != nil {
		return spfVerdict{}, err
	}
	for _, d := range rec.directives {
		match, err := c.match(ctx, d, domain)
		if err != nil {
			return spfVerdict{}, err
		}
		if match {
			return spfVerdict{result: d.result, mechanism: d.text, exp: rec.exp, domain: domain}, nil
		}
	}
	if rec.redirect == "" {
		return spfVerdict{result: Neutral, mechanism: "default"}, nil
	}
	if err := c.count(); err != nil {
		return spfVerdict{}, err
	}
	target, err := c.target(ctx, rec.redirect, domain)
	if err != nil {
		return spfVerdict{}, err
	}
	v, err := c.host(ctx, target)
	if err == nil && v.result == None {
		err = permanent("SPF of %.253q redirects to %.253q, which has no policy", domain, target)
	}
	return v, err
}

// count takes one of the terms that may look something up.
func (c *spfCheck) count() error {
	if c.terms++; c.terms > maxSPFTerms {
		return permanent("SPF takes more than %d look-ups", maxSPFTerms)
	}
	return nil
}

// lookup asks for a mechanism, and counts an empty answer.
func (c *spfCheck) lookup(ctx context.Context, name string, typ uint16) ([][]byte, error) {
	var data [][]byte
	if validName(name) {
		var err error
		if data, _, err = lookup(ctx, c.r, name, typ); err != nil {
			return nil, temporary(err)
		}
	}
	if len(data) == 0 {
		if c.voids++; c.voids > maxSPFVoid {
			return nil, permanent("SPF has more than %d look-ups without an answer", maxSPFVoid)
		}
	}
	return data, nil
}

// target is the name that a domain-spec makes.
func (c *spfCheck) target(ctx context.Context, spec, domain string) (string, error) {
	if spec == "" {
		return domain, nil
	}
	s, err := expand(spec, false, func(letter byte) string { return c.value(ctx, letter, domain) })
	if err != nil {
		return "", permanent("SPF of %.253q: %v", domain, err)
	}
	s = strings.TrimSuffix(s, ".")
	for len(s) > 253 { // RFC 7208, section 7.3
		_, rest, ok := strings.Cut(s, ".")
		if !ok {
			return "", nil
		}
		s = rest
	}
	return s, nil
}

// match evaluates a directive (RFC 7208, section 5).
func (c *spfCheck) match(ctx context.Context, d spfDirective, domain string) (bool, error) {
	switch d.name {
	case "all":
		return true, nil
	case "ip4", "ip6":
		// An IPv4-mapped network is never that of an IPv4 client.
		return d.net.Contains(c.ip), nil
	}
	if err := c.count(); err != nil {
		return false, err
	}
	target, err := c.target(ctx, d.spec, domain)
	if err != nil {
		return false, err
	}
	switch d.name {
	case "include":
		v, err := c.host(ctx, target)
		if err == nil && v.result == None {
			err = permanent("SPF of %.253q includes %.253q, which has no policy", domain, target)
		}
		return v.result == Pass, err
	case "exists":
		data, err := c.lookup(ctx, target, typeA)
		return len(data) > 0, err
	case "ptr":
		target = strings.ToLower(target)
		return slices.ContainsFunc(c.validated(ctx), func(name string) bool { return under(name, target) }), nil
	case "a":
		return c.hasAddr(ctx, target, d)
	}
	data, err := c.lookup(ctx, target, typeMX)
	if err != nil {
		return false, err
	}
	if len(data) > maxSPFNames {
		return false, permanent("SPF asks for mx:%.253s, which has more than %d exchanges", strconv.Quote(target), maxSPFNames)
	}
	for _, mx := range data {
		_, host, _ := strings.Cut(string(mx), " ")
		host = strings.TrimSuffix(host, ".")
		if host == "" { // null MX (RFC 7505)
			continue
		}
		if match, err := c.hasAddr(ctx, host, d); match || err != nil {
			return match, err
		}
	}
	return false, nil
}

// hasAddr tells whether the client is within the prefix of an address of host.
func (c *spfCheck) hasAddr(ctx context.Context, host string, d spfDirective) (bool, error) {
	typ, bits := c.family(d)
	data, err := c.lookup(ctx, host, typ)
	if err != nil {
		return false, err
	}
	for _, x := range data {
		if a, ok := netip.AddrFromSlice(x); ok && netip.PrefixFrom(a, bits).Contains(c.ip) {
			return true, nil
		}
	}
	return false, nil
}

func (c *spfCheck) family(d spfDirective) (typ uint16, bits int) {
	if c.ip.Is4() {
		return typeA, d.cidr4
	}
	return typeAAAA, d.cidr6
}

// validated are the names of the client that lead back to its address (RFC 7208, section 5.5), found once. A failure is
// no match.
func (c *spfCheck) validated(ctx context.Context) []string {
	if c.named {
		return c.names
	}
	c.named = true
	data, _, err := lookup(ctx, c.r, reverseName(c.ip), typePTR)
	if err != nil {
		return nil
	}
	typ, _ := c.family(spfDirective{})
	for _, x := range data[:min(len(data), maxSPFNames)] {
		name := strings.ToLower(strings.TrimSuffix(string(x), "."))
		if !validName(name) {
			continue
		}
		addrs, _, err := lookup(ctx, c.r, name, typ)
		if err == nil && slices.ContainsFunc(addrs, func(b []byte) bool { return string(b) == string(c.ip.AsSlice()) }) {
			c.names = append(c.names, name)
		}
	}
	return c.names
}

// reverseName is where the names of an address are published (RFC 1035, section 3.5; RFC 3596, section 2.5).
func reverseName(a netip.Addr) string {
	parts := strings.Split(strings.ToLower(dotted(a)), ".")
	slices.Reverse(parts)
	if a.Is4() {
		return strings.Join(parts, ".") + ".in-addr.arpa"
	}
	return strings.Join(parts, ".") + ".ip6.arpa"
}

// dotted is an address as macro i has it: IPv4 as usual, IPv6 in nibbles, upper case as the suite of RFC 7208 has them.
func dotted(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	const hex = "0123456789ABCDEF"
	var b []byte
	for _, o := range a.As16() {
		b = append(b, hex[o>>4], '.', hex[o&15], '.')
	}
	return string(b[:len(b)-1])
}

// value is what a macro letter stands for (RFC 7208, section 7.2).
func (c *spfCheck) value(ctx context.Context, letter byte, domain string) string {
	switch letter {
	case 's':
		return c.local + "@" + c.domain
	case 'l':
		return c.local
	case 'o':
		return c.domain
	case 'd':
		return domain
	case 'i':
		return dotted(c.ip)
	case 'h':
		return c.q.Helo
	case 'v':
		if c.ip.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'p':
		return c.name(ctx, strings.ToLower(domain))
	case 'c':
		return c.ip.String()
	case 'r':
		if c.q.Receiver == "" {
			return "unknown"
		}
		return c.q.Receiver
	}
	return strconv.FormatInt(c.q.Now.Unix(), 10) // t
}

// name is the validated name of the client that is nearest to domain.
func (c *spfCheck) name(ctx context.Context, domain string) string {
	names := c.validated(ctx)
	if slices.Contains(names, domain) {
		return domain
	}
	for _, n := range names {
		if under(n, domain) {
			return n
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return "unknown"
}

// explain fetches an explanation (RFC 7208, section 6.2). Whatever goes wrong, there is none.
func (c *spfCheck) explain(ctx context.Context, spec, domain string) string {
	target, err := c.target(ctx, spec, domain)
	if err != nil || !validName(target) {
		return ""
	}
	data, _, err := lookup(ctx, c.r, target, typeTXT)
	if err != nil || len(data) != 1 {
		return ""
	}
	s, err := expand(string(data[0]), true, func(letter byte) string { return c.value(ctx, letter, domain) })
	if err != nil {
		return ""
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return ""
		}
	}
	return s[:min(len(s), maxExplanation)]
}
