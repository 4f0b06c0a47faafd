package hostapi

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/hostapi/abi"
)

const (
	costDNS     = 5_000 // nanoseconds, of a question
	maxPrefetch = 64    // that run at once, of one plugin
	prefetchFor = 15 * time.Second
	maxDNSName  = 253
	maxDNSLabel = 63
)

// dnsTypes are the types that may be asked for, by their RFC numbers: A, NS,
// CNAME, PTR, MX, TXT, AAAA, SRV, TLSA, CAA.
var dnsTypes = []uint16{1, 2, 5, 12, 15, 16, 28, 33, 52, 257}

func dnsFunctions() []Function {
	return []Function{
		{abi.ModuleDNS, "prefetch", "iii>i", dnsPrefetch},
		{abi.ModuleDNS, "query", "iiiii>i", dnsQuery},
		{abi.ModuleDNS, "dnsbl", "iiiii>i", dnsbl},
	}
}

// dnsCall is what one hook call has asked.
type dnsCall struct {
	asked  []question // each counts once
	flying *atomic.Int32
	last   question // of which answer and code are kept
	answer Answer
	code   int64
}

type question struct {
	name string
	typ  uint16
}

// dnsTTL is DNS_TTL, in seconds.
func dnsTTL(c *Call) int64 {
	if c.dns.last.name == "" {
		return int64(abi.NotFound)
	}
	return int64(c.dns.answer.TTL / time.Second)
}

// dnsAD is DNS_AD.
func dnsAD(c *Call) int64 {
	if c.dns.last.name == "" {
		return int64(abi.NotFound)
	}
	return bit(c.dns.answer.Secure)
}

// dnsName makes the form in which names are compared: lower case, without the
// final dot. A name that is not ASCII is refused, because its A-labels are
// another name than the one that the zones were compared with.
func dnsName(b []byte) (string, bool) {
	s := strings.ToLower(strings.TrimSuffix(string(b), "."))
	if s == "" || len(s) > maxDNSName {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxDNSLabel || label[0] == '-' {
			return "", false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", false
			}
		}
	}
	return s, true
}

// covers tells whether the grant reaches name, of [dnsName].
func (g *DNSGrant) covers(name string) bool {
	for _, z := range g.Zones {
		if z == "*" {
			return true
		}
		z = strings.ToLower(strings.Trim(z, "."))
		if rest, ok := strings.CutSuffix(name, z); ok && z != "" && (rest == "" || strings.HasSuffix(rest, ".")) {
			return true
		}
	}
	return false
}

// ask checks grant and quota of a question.
func (c *Call) ask(typ uint64, b []byte) (question, abi.Code) {
	q := question{typ: uint16(typ)}
	g := &c.guest.Grant.DNS
	if len(g.Zones) == 0 {
		return q, abi.Denied
	}
	if uint32(typ) != uint32(q.typ) || !slices.Contains(dnsTypes, q.typ) {
		return q, abi.Unsupported
	}
	var ok bool
	if q.name, ok = dnsName(b); !ok {
		return q, abi.Invalid
	}
	switch {
	case !g.covers(q.name):
		return q, abi.Denied
	case c.guest.Resolver == nil:
		return q, abi.Unavailable
	}
	c.meter.Charge(costDNS)
	if slices.Contains(c.dns.asked, q) {
		return q, abi.OK
	}
	if code := quota(&c.used.dns, abi.MaxDNSCalls); code < 0 {
		return q, code
	}
	c.dns.asked = append(c.dns.asked, q)
	return q, abi.OK
}

// resolve waits for the answer to q, unless it was the last question.
func (c *Call) resolve(q question) {
	d := &c.dns
	if d.last == q && d.code != int64(abi.Timeout) {
		return
	}
	var a Answer
	var err error
	c.meter.Wait(func(ctx context.Context) {
		if a, err = c.guest.Resolver.Lookup(ctx, q.name, q.typ); err != nil && ctx.Err() != nil {
			err = abi.Timeout
		}
	})
	if err != nil {
		a.Records = nil
	}
	d.last, d.answer, d.code = q, a, outcome(err)
}

// prefetch(type, name, nlen)
func dnsPrefetch(c *Call, m Memory, p []uint64) int64 {
	q, code := c.ask(p[0], in(m, p[1], p[2]))
	if code < 0 {
		return int64(code)
	}
	if c.dns.flying == nil {
		c.dns.flying = new(atomic.Int32)
	}
	flying, waiting, r := c.dns.flying, &c.guest.dnsWaiting, c.guest.Resolver
	if flying.Load() >= abi.MaxDNSInFlight || waiting.Load() >= maxPrefetch {
		return int64(abi.Limit)
	}
	flying.Add(1)
	waiting.Add(1)
	// What the resolver learns is in its cache, for this call or a later one: the
	// answer is not lost when the call ends first.
	go func() {
		defer flying.Add(-1)
		defer waiting.Add(-1)
		ctx, cancel := context.WithTimeout(context.Background(), prefetchFor)
		defer cancel()
		_, _ = r.Lookup(ctx, q.name, q.typ) // an error is told to the query
	}()
	return 0
}

// query(type, name, nlen, buf, cap)
func dnsQuery(c *Call, m Memory, p []uint64) int64 {
	name, dst := in(m, p[1], p[2]), out(m, p[3], p[4])
	q, code := c.ask(p[0], name)
	if code < 0 {
		return int64(code)
	}
	if c.resolve(q); c.dns.code < 0 {
		return c.dns.code
	}
	size := 0
	for _, r := range c.dns.answer.Records {
		size += 4 + len(r)
	}
	if size > len(dst) {
		return int64(size)
	}
	for _, r := range c.dns.answer.Records {
		binary.LittleEndian.PutUint32(dst, uint32(len(r)))
		copy(dst[4:], r)
		dst = dst[4+len(r):]
	}
	c.meter.Charge(int64(size) / perUnit)
	return int64(size)
}

// dnsbl(zone, zlen, ip, iplen, out4): asks a DNS list (RFC 5782) for an
// address in text form.
func dnsbl(c *Call, m Memory, p []uint64) int64 {
	zone, ip, dst := in(m, p[0], p[1]), in(m, p[2], p[3]), out(m, p[4], 4)
	const typeA = 1
	if len(c.guest.Grant.DNS.Zones) == 0 {
		return int64(abi.Denied)
	}
	addr, err := netip.ParseAddr(string(ip))
	if err != nil || addr.Zone() != "" {
		return int64(abi.Invalid)
	}
	name, ok := dnsName(zone)
	if !ok {
		return int64(abi.Invalid)
	}
	q, code := c.ask(typeA, []byte(reversed(addr.Unmap())+name))
	if code < 0 {
		return int64(code)
	}
	c.resolve(q)
	if c.dns.code == int64(abi.NXDomain) {
		return 0
	}
	if c.dns.code < 0 {
		return c.dns.code
	}
	var lowest []byte
	for _, r := range c.dns.answer.Records {
		// Elsewhere than in 127/8 is no list's answer but that of a domain for
		// sale; 127.255.255.x says that the list does not answer us.
		if len(r) != 4 || r[0] != 127 || r[1] == 255 && r[2] == 255 {
			return int64(abi.Unavailable)
		}
		if lowest == nil || slices.Compare(r, lowest) < 0 {
			lowest = r
		}
	}
	if lowest == nil {
		return 0
	}
	copy(dst, lowest)
	return 1
}

// reversed is an address as it stands before the name of a DNS list.
func reversed(a netip.Addr) string {
	var b []byte
	raw := a.AsSlice()
	for _, octet := range slices.Backward(raw) {
		if a.Is4() {
			b = append(strconv.AppendUint(b, uint64(octet), 10), '.')
			continue
		}
		const hex = "0123456789abcdef"
		b = append(b, hex[octet&15], '.', hex[octet>>4], '.')
	}
	return string(b)
}
