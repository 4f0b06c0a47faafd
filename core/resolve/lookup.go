package resolve

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Exchange is a host that takes mail for a domain.
type Exchange struct {
	Host       string // lower case, A-labels, without the final dot
	Preference uint16 // the lower, the sooner
	Implicit   bool   // the domain has no MX; the host is the domain itself
	Secure     bool   // DNSSEC proved the MX set, or its absence
}

// MX returns the hosts that take mail for domain in the order in which they are to be tried: by preference, random
// among equals (RFC 5321, section 5.1), at most 20. A domain without MX records is its own exchange. Hosts are not
// looked up; one that turns out to be an alias is tolerated.
//
// The error is ErrNullMX for a domain that accepts no mail, ErrNoDomain, ErrBadName (also for an address in place of a
// domain), ErrBadData when no MX record names a host, or ErrTemporary.
func (r *Resolver) MX(ctx context.Context, domain string) ([]Exchange, error) {
	name, err := hostName(domain)
	if err != nil {
		return nil, badName(domain, dns.TypeMX, err)
	}
	if isLocalhost(name) {
		return []Exchange{{Host: name, Implicit: true}}, nil
	}
	a, err := r.lookup(ctx, name, dns.TypeMX)
	if errors.Is(err, ErrNoData) {
		return []Exchange{{Host: name, Implicit: true, Secure: a.secure}}, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]Exchange, len(a.mx))
	for i, x := range a.mx {
		list[i] = Exchange{Host: x.host, Preference: x.pref, Secure: a.secure}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b Exchange) int { return int(a.Preference) - int(b.Preference) })
	return list, nil
}

// Host is what the DNS knows of the addresses of a host.
type Host struct {
	Addrs     []netip.Addr // IPv6 and IPv4 in turn, IPv6 first; at most 40; each family in the order of the server
	Canonical string       // the name at the end of the alias chain
	Secure    bool         // DNSSEC proved every address and alias
}

// Host looks up the addresses of a host, A and AAAA at the same time. If one family fails and the other does not, the
// other is the answer. An address in place of a name stands for itself; localhost and the names under it are 127.0.0.1
// and ::1 without a query.
//
// The error is ErrNoDomain, ErrNoData, ErrBadName, ErrBadData or ErrTemporary.
func (r *Resolver) Host(ctx context.Context, host string) (Host, error) {
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		return Host{Addrs: []netip.Addr{a.Unmap()}, Canonical: a.Unmap().String()}, nil
	}
	name, err := hostName(host)
	if err != nil {
		return Host{}, badName(host, dns.TypeA, err)
	}
	if isLocalhost(name) {
		return Host{Addrs: []netip.Addr{netip.IPv6Loopback(), loopback4}, Canonical: name}, nil
	}
	type result struct {
		a   *answer
		err error
	}
	other := make(chan result, 1)
	go func() {
		a, err := r.lookup(ctx, name, dns.TypeAAAA)
		other <- result{a, err}
	}()
	a, err := r.lookup(ctx, name, dns.TypeA)
	v4, v6 := result{a, err}, <-other
	if v4.err != nil && v6.err != nil {
		return Host{}, worse(v4.err, v6.err)
	}
	h := Host{Canonical: name, Secure: true}
	var families [2][]netip.Addr
	for i, f := range []result{v6, v4} {
		if f.err != nil {
			continue
		}
		families[i] = f.a.addrs
		h.Canonical = f.a.end
		h.Secure = h.Secure && f.a.secure
	}
	if h.Canonical == "" { // an alias to something that is no host name
		h.Canonical, h.Secure = name, false
	}
	h.Addrs = interleave(families[0], families[1])
	return h, nil
}

// Addrs returns the addresses that [Resolver.Host] finds.
func (r *Resolver) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	h, err := r.Host(ctx, host)
	return h.Addrs, err
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func interleave(v6, v4 []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, min(len(v6)+len(v4), maxAddrs))
	for i := 0; len(out) < cap(out); i++ {
		if i < len(v6) {
			out = append(out, v6[i])
		}
		if i < len(v4) && len(out) < cap(out) {
			out = append(out, v4[i])
		}
	}
	return out
}

// worse picks the error that stands for both families: doubt before denial, and a name that exists for one type exists.
func worse(a, b error) error {
	for _, kind := range []error{ErrTemporary, ErrBadData, ErrNoData} {
		for _, err := range []error{a, b} {
			if errors.Is(err, kind) {
				return err
			}
		}
	}
	return a
}

// PTR returns the host name of an address. If several are published, one whose own addresses include addr comes first,
// and confirmed reports whether there is one; an unconfirmed name is only what the owner of the address claims. Of many
// names 8 are considered. 127.0.0.1 and ::1 are localhost, confirmed, without a query.
//
// The error is ErrNoDomain, ErrNoData, ErrBadData (no name is a host name) or ErrTemporary; the last may come with an
// unconfirmed name whose confirmation failed.
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) (name string, confirmed bool, err error) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return "", false, badName(addr.String(), dns.TypePTR, errors.New("no address"))
	}
	if addr == loopback4 || addr == netip.IPv6Loopback() {
		return "localhost", true, nil
	}
	arpa, err := dns.ReverseAddr(addr.String())
	if err != nil {
		return "", false, badName(addr.String(), dns.TypePTR, err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.total)
	defer cancel()
	a, err := r.lookup(ctx, strings.TrimSuffix(arpa, "."), dns.TypePTR)
	if err != nil {
		return "", false, err
	}
	family := dns.TypeA
	if addr.Is6() {
		family = dns.TypeAAAA
	}
	for _, host := range a.text {
		if isLocalhost(host) {
			continue
		}
		fwd, ferr := r.lookup(ctx, host, family)
		if ferr == nil && slices.Contains(fwd.addrs, addr) {
			return host, true, nil
		}
		if Temporary(ferr) {
			err = ferr
		}
	}
	return a.text[0], false, err
}

// TXT returns the TXT records of name, the strings of each joined, as the bytes that were published: at most 100
// records, in the order of the server.
//
// The error is ErrNoDomain, ErrNoData, ErrBadName or ErrTemporary, or ErrBadData for an alias loop.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	n, err := queryName(name)
	if err != nil {
		return nil, badName(name, dns.TypeTXT, err)
	}
	if isLocalhost(n) {
		return nil, &Error{Name: n, Type: "TXT", Kind: KindNoData}
	}
	a, err := r.lookup(ctx, n, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	return slices.Clone(a.text), nil
}

func badName(name string, typ uint16, err error) error {
	return &Error{Name: name, Type: dns.TypeToString[typ], Kind: KindBadName, Err: err}
}
