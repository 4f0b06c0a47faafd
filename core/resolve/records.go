package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Records is what [Resolver.Lookup] finds.
type Records struct {
	Data   [][]byte
	TTL    time.Duration // for which the answer is kept
	Secure bool          // DNSSEC proved the answer, or the denial
}

// lookupTypes are the types that Lookup knows.
var lookupTypes = []uint16{dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV, dns.TypeTLSA, dns.TypeCAA}

// Lookup returns the records of a name and type as octets: an address has 4 or 16; MX is "10 host" and a null MX "0 .";
// TXT is the strings joined; PTR, NS and CNAME a host name; SRV "priority weight port host"; TLSA the octets of the
// record (RFC 6698, section 2.1); CAA "flags tag value". Aliases are followed, except for CNAME.
//
// A name without such records has none. The error is ErrNoDomain, ErrBadName (also for a type that it does not know),
// ErrBadData or ErrTemporary, which may be an ErrBogus too. TTL and Secure are those of the denial.
func (r *Resolver) Lookup(ctx context.Context, name string, typ uint16) (Records, error) {
	n, err := queryName(name)
	if err == nil && !slices.Contains(lookupTypes, typ) {
		err = fmt.Errorf("the type %d is not looked up", typ)
	}
	if err != nil {
		return Records{}, badName(name, typ, err)
	}
	if isLocalhost(n) {
		return localhost(typ), nil
	}
	a, err := r.lookup(ctx, n, typ)
	if a == nil {
		return Records{}, err
	}
	out := Records{Secure: a.secure, TTL: min(a.ttl, maxTTL)}
	if left := r.cache.left(key{n, typ}); left > 0 {
		out.TTL = left
	}
	switch {
	case errors.Is(err, ErrNoData):
		return out, nil
	case errors.Is(err, ErrNullMX):
		out.Data = [][]byte{[]byte("0 .")}
		return out, nil
	case err != nil:
		return out, err
	}
	for _, x := range a.addrs {
		out.Data = append(out.Data, x.AsSlice())
	}
	for _, x := range a.mx {
		out.Data = append(out.Data, fmt.Appendf(nil, "%d %s", x.pref, x.host))
	}
	for _, s := range a.text {
		out.Data = append(out.Data, []byte(s))
	}
	return out, nil
}

// localhost is answered without a query.
func localhost(typ uint16) Records {
	out := Records{TTL: maxTTL}
	switch typ {
	case dns.TypeA:
		out.Data = [][]byte{{127, 0, 0, 1}}
	case dns.TypeAAAA:
		out.Data = [][]byte{{15: 1}}
	}
	return out
}
