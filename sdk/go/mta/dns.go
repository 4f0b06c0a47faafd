package mta

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// NoSuchDomain is the error for a name that does not exist.
const NoSuchDomain = abi.NXDomain

// RecordType is a type of DNS records, by its number in the RFCs.
type RecordType int32

const (
	TypeA     RecordType = 1
	TypeNS    RecordType = 2
	TypeCNAME RecordType = 5
	TypePTR   RecordType = 12
	TypeMX    RecordType = 15
	TypeTXT   RecordType = 16
	TypeAAAA  RecordType = 28
	TypeSRV   RecordType = 33
	TypeTLSA  RecordType = 52
	TypeCAA   RecordType = 257
)

// DNS asks the server's resolver, which caches. It needs the grant dns. A name
// without such records has none, which is no error.
func (s *Session) DNS() *DNS { return new(DNS) }

// DNS is the module mta1_dns. In one call 30 different questions may be asked.
type DNS struct{}

// Prefetch starts a question that will be asked later, at most 8 at a time.
func (*DNS) Prefetch(t RecordType, name string) error {
	return check(guest.DNSPrefetch(int32(t), name))
}

// Query gives the records in the form of the contract: addresses have 4 or 16
// octets, an MX is "10 host".
func (*DNS) Query(t RecordType, name string) ([]string, error) {
	s, err := read(func(b []byte) int32 { return guest.DNSQuery(int32(t), name, b) })
	if err != nil {
		return nil, err
	}
	var list []string
	for len(s) >= 4 {
		n := int(s[0]) | int(s[1])<<8 | int(s[2])<<16 | int(s[3])<<24
		if s = s[4:]; n < 0 || n > len(s) {
			return nil, abi.Invalid
		}
		list = append(list, s[:n])
		s = s[n:]
	}
	return list, nil
}

// Addresses are the IPv4 and IPv6 addresses of a host. If one family fails and
// the other does not, the other is the answer.
func (d *DNS) Addresses(host string) ([]netip.Addr, error) {
	_ = d.Prefetch(TypeAAAA, host) // its failure shows in the query
	four, err := d.Query(TypeA, host)
	six, err6 := d.Query(TypeAAAA, host)
	if err != nil && err6 != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, s := range append(six, four...) {
		if a, ok := netip.AddrFromSlice([]byte(s)); ok {
			list = append(list, a)
		}
	}
	return list, nil
}

// Exchange is an MX record. A null MX has the host ".".
type Exchange struct {
	Preference int
	Host       string
}

// MX gives the MX records, in no order.
func (d *DNS) MX(domain string) ([]Exchange, error) {
	records, err := d.Query(TypeMX, domain)
	var list []Exchange
	for _, r := range records {
		pref, host, _ := strings.Cut(r, " ")
		if n, err := strconv.Atoi(pref); err == nil {
			list = append(list, Exchange{n, host})
		}
	}
	return list, err
}

// TXT gives the TXT records, the strings of each joined.
func (d *DNS) TXT(name string) ([]string, error) { return d.Query(TypeTXT, name) }

// Listed asks a DNS list, such as "zen.example", for an address. answer is what
// the list says of it: "127.0.0.2".
func (*DNS) Listed(zone, ip string) (answer string, listed bool, err error) {
	var a [4]byte
	n := guest.DNSBL(zone, ip, &a)
	if n <= 0 {
		return "", false, check(n)
	}
	return netip.AddrFrom4(a).String(), true, nil
}

// TTL is how long the last answer holds, in seconds.
func (*DNS) TTL() int { return number(abi.DNSTTL) }

// Secure tells whether DNSSEC proved the last answer.
func (*DNS) Secure() bool { return flag(abi.DNSAD) }
