package resolve

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxAliases   = 8
	maxExchanges = 20
	maxAddrs     = 40
	maxPTR       = 8
	maxTXT       = 100
	maxOther     = 40 // records of the types that only Lookup asks for
)

// answer is what one look-up found, or why it found nothing (kind not 0). It is shared through the cache and never
// changed.
type answer struct {
	kind   Kind
	err    error  // detail of kind
	server string // who answered
	secure bool   // every reply it was made of had the AD bit, from a trusted server
	stale  bool   // expired, and used because the servers fail
	ttl    time.Duration

	end   string // the name at the end of the alias chain; "" if that is no host name
	mx    []exchange
	addrs []netip.Addr
	text  []string // PTR, NS, CNAME: host names; TXT: data; SRV, TLSA, CAA: as Lookup gives them
}

type exchange struct {
	host string
	pref uint16
}

func (a *answer) size() int {
	n := 128 + len(a.end) + 24*len(a.addrs)
	for _, x := range a.mx {
		n += 24 + len(x.host)
	}
	for _, s := range a.text {
		n += 16 + len(s)
	}
	return n
}

func failed(err error) *answer {
	return &answer{kind: KindTemporary, err: err, ttl: failureTTL}
}

// reading collects one answer from as many replies as its alias chain takes.
type reading struct {
	typ  uint16
	name string          // where the chain stands: canonical presentation form with the final dot
	seen map[string]bool // aliases passed
	ttl  uint32          // smallest seen
	out  answer
}

func newReading(name string, typ uint16) *reading {
	return &reading{typ: typ, name: dns.CanonicalName(name), seen: make(map[string]bool), ttl: math.MaxInt32, out: answer{secure: true}}
}

// take reads a reply to the question for r.name. It returns false when the chain left the reply, and r.name has to be
// asked for.
//
// Only the answer section is used, and in it only the records of the chain: whatever else a server sends is neither
// believed nor kept.
func (r *reading) take(m *dns.Msg, server string, secure bool) (done bool) {
	r.out.server = server
	r.out.secure = r.out.secure && secure

	aliases := make(map[string]*dns.CNAME)
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET {
			if owner := dns.CanonicalName(c.Hdr.Name); aliases[owner] == nil {
				aliases[owner] = c
			}
		}
	}
	moved := false
	if r.typ == dns.TypeCNAME {
		clear(aliases) // the alias is what was asked for
	}
	for c := aliases[r.name]; c != nil; c = aliases[r.name] {
		r.seen[r.name] = true
		r.saw(&c.Hdr)
		r.name = dns.CanonicalName(c.Target)
		moved = true
		if r.seen[r.name] {
			return r.bad(errors.New("alias (CNAME) loop"))
		}
		if len(r.seen) > maxAliases {
			return r.bad(fmt.Errorf("more than %d aliases (CNAME)", maxAliases))
		}
	}
	r.out.end, _ = answerHost(r.name)
	if m.Rcode == dns.RcodeNameError {
		return r.deny(KindNoDomain, m)
	}
	var found []dns.RR
	for _, rr := range m.Answer {
		if h := rr.Header(); h.Rrtype == r.typ && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == r.name {
			r.saw(h)
			found = append(found, rr)
		}
	}
	switch {
	case len(found) > 0:
		r.out.ttl = clampTTL(r.ttl, maxTTL)
		r.extract(found)
		return true
	case moved:
		return false
	}
	return r.deny(KindNoData, m)
}

func (r *reading) saw(h *dns.RR_Header) { r.ttl = min(r.ttl, saneTTL(h.Ttl)) }

func (r *reading) bad(err error) bool {
	r.out.kind, r.out.err = KindBadData, err
	r.out.ttl = clampTTL(r.ttl, maxDenial)
	return true
}

func (r *reading) deny(k Kind, m *dns.Msg) bool {
	r.out.kind = k
	ttl := uint32(0) // RFC 2308, section 5: without SOA not to be cached; clampTTL makes that 5 s
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = min(r.ttl, saneTTL(soa.Hdr.Ttl), saneTTL(soa.Minttl))
			break
		}
	}
	r.out.ttl = clampTTL(ttl, maxDenial)
	return true
}

// saneTTL reads a TTL with the top bit set as zero (RFC 2181, section 8).
func saneTTL(ttl uint32) uint32 {
	if ttl > math.MaxInt32 {
		return 0
	}
	return ttl
}

func clampTTL(ttl uint32, most time.Duration) time.Duration {
	return min(max(time.Duration(ttl)*time.Second, minTTL), most)
}

func (r *reading) extract(found []dns.RR) {
	switch r.typ {
	case dns.TypeMX:
		r.extractMX(found)
	case dns.TypeA, dns.TypeAAAA:
		r.extractAddrs(found)
	case dns.TypePTR:
		for _, rr := range found {
			if ptr, ok := rr.(*dns.PTR); ok && len(r.out.text) < maxPTR {
				if host, ok := answerHost(ptr.Ptr); ok {
					r.out.text = append(r.out.text, host)
				}
			}
		}
		if r.out.text == nil {
			r.bad(errors.New("the PTR record holds no host name"))
		}
	case dns.TypeTXT:
		for _, rr := range found {
			if txt, ok := rr.(*dns.TXT); ok && len(r.out.text) < maxTXT {
				r.out.text = append(r.out.text, unescape(strings.Join(txt.Txt, "")))
			}
		}
	default:
		for _, rr := range found {
			if s, ok := record(rr); ok && len(r.out.text) < maxOther {
				r.out.text = append(r.out.text, s)
			}
		}
		if r.out.text == nil {
			r.bad(errors.New("no record that can be used"))
		}
	}
}

// record is a record in the form of [Resolver.Lookup].
func record(rr dns.RR) (string, bool) {
	switch rr := rr.(type) {
	case *dns.NS:
		return answerHost(rr.Ns)
	case *dns.CNAME:
		return answerHost(rr.Target)
	case *dns.SRV:
		host, ok := answerHost(rr.Target)
		if rr.Target == "." { // the service is not offered (RFC 2782)
			host, ok = ".", true
		}
		return fmt.Sprintf("%d %d %d %s", rr.Priority, rr.Weight, rr.Port, host), ok
	case *dns.TLSA:
		data, err := hex.DecodeString(rr.Certificate)
		return string([]byte{rr.Usage, rr.Selector, rr.MatchingType}) + string(data), err == nil
	case *dns.CAA:
		return fmt.Sprintf("%d %s %s", rr.Flag, rr.Tag, unescape(rr.Value)), true
	}
	return "", false
}

// extractMX keeps the best exchanges. A "." beside other exchanges is ignored: only alone it means null MX (RFC 7505,
// section 3). An address in place of a name (RFC 5321, section 5.1, wants a name), a name that is no host name, and
// localhost, which would be us, are dropped.
func (r *reading) extractMX(found []dns.RR) {
	best := make(map[string]uint16)
	null, unusable := 0, 0
	for _, rr := range found {
		mx, ok := rr.(*dns.MX)
		if !ok {
			continue
		}
		if mx.Mx == "." {
			null++
			continue
		}
		host, ok := answerHost(mx.Mx)
		if !ok || isLocalhost(host) {
			unusable++
			continue
		}
		if pref, dup := best[host]; !dup || mx.Preference < pref {
			best[host] = mx.Preference
		}
	}
	for host, pref := range best {
		r.out.mx = append(r.out.mx, exchange{host, pref})
	}
	// The order of the map is random, and so is which of many equal exchanges stay.
	slices.SortStableFunc(r.out.mx, func(a, b exchange) int { return int(a.pref) - int(b.pref) })
	r.out.mx = slices.Clip(r.out.mx[:min(len(r.out.mx), maxExchanges)])
	switch {
	case len(r.out.mx) > 0:
	case unusable == 0 && null > 0:
		r.out.kind = KindNullMX
	default:
		r.bad(errors.New("no MX record names a usable host"))
	}
}

// extractAddrs keeps the order of the reply. Unspecified and multicast addresses and IPv4 disguised as IPv6 can be
// nobody's mail server; loopback and private addresses can, and are DNS list answers too, so the caller judges them.
func (r *reading) extractAddrs(found []dns.RR) {
	for _, rr := range found {
		var a netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			a, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			a, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || slices.Contains(r.out.addrs, a) {
			continue
		}
		if r.out.addrs = append(r.out.addrs, a); len(r.out.addrs) == maxAddrs {
			break
		}
	}
	if r.out.addrs == nil {
		r.bad(errors.New("no usable address"))
	}
}

// unescape undoes the presentation form in which the DNS library hands out TXT data: \DDD and \c.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		if d := s[i+1:]; len(d) >= 3 && isDigit(d[0]) && isDigit(d[1]) && isDigit(d[2]) {
			b = append(b, (d[0]-'0')*100+(d[1]-'0')*10+(d[2]-'0'))
			i += 3
			continue
		}
		i++
		b = append(b, s[i])
	}
	return string(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
