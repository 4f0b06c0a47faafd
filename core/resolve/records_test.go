package resolve_test

import (
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

func TestLookupGivesRecordsOfEveryType(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{Secure: true, Records: `
example.org. 100 IN A 192.0.2.1
example.org. IN AAAA 2001:db8::1
example.org. 60 IN MX 10 MX1.example.org.
example.org. 60 IN MX 20 mx2.example.org.
example.org. IN TXT "one " "two\010\255"
example.org. IN NS ns1.example.org.
example.org. IN CAA 0 issue "ca.example; x=y"
null.example. IN MX 0 .
bad.example. IN MX 10 192.0.2.1.
alias.example. IN CNAME example.org.
loop.example. IN CNAME loop.example.
_smtp._tcp.example.org. IN SRV 1 2 25 mx1.example.org.
_none._tcp.example.org. IN SRV 0 0 0 .
_25._tcp.mx1.example.org. IN TLSA 3 1 1 00ff
1.2.0.192.in-addr.arpa. IN PTR example.org.
`, Faults: map[string]mailtest.Fault{"fail.example": mailtest.ServFail, "bogus.example": mailtest.BogusServFail}})
	r, err := resolve.New(resolve.Options{Servers: []string{d.Addr}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, x := range []struct {
		name string
		typ  uint16
		want []string
	}{
		{"example.org", dns.TypeA, []string{"\xc0\x00\x02\x01"}},
		{"EXAMPLE.org.", dns.TypeAAAA, []string{"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"}},
		{"example.org", dns.TypeMX, []string{"10 mx1.example.org", "20 mx2.example.org"}},
		{"null.example", dns.TypeMX, []string{"0 ."}},
		{"example.org", dns.TypeTXT, []string{"one two\n\xff"}},
		{"example.org", dns.TypeNS, []string{"ns1.example.org"}},
		{"example.org", dns.TypeCAA, []string{"0 issue ca.example; x=y"}},
		{"alias.example", dns.TypeCNAME, []string{"example.org"}},
		{"loop.example", dns.TypeCNAME, []string{"loop.example"}},
		{"alias.example", dns.TypeA, []string{"\xc0\x00\x02\x01"}},
		{"example.org", dns.TypeCNAME, nil},
		{"_smtp._tcp.example.org", dns.TypeSRV, []string{"1 2 25 mx1.example.org"}},
		{"_none._tcp.example.org", dns.TypeSRV, []string{"0 0 0 ."}},
		{"_25._tcp.mx1.example.org", dns.TypeTLSA, []string{"\x03\x01\x01\x00\xff"}},
		{"1.2.0.192.in-addr.arpa", dns.TypePTR, []string{"example.org"}},
		{"example.org", dns.TypeSRV, nil},
	} {
		got, err := r.Lookup(t.Context(), x.name, x.typ)
		if err != nil || len(got.Data) != len(x.want) || !got.Secure || got.TTL <= 0 {
			t.Errorf("%s %s: %q %+v, %v; want %q, secure", x.name, dns.TypeToString[x.typ], got.Data, got, err, x.want)
			continue
		}
		for i := range got.Data {
			if string(got.Data[i]) != x.want[i] {
				t.Errorf("%s %s: record %d is %q, want %q", x.name, dns.TypeToString[x.typ], i, got.Data[i], x.want[i])
			}
		}
	}
	for _, x := range []struct {
		name string
		typ  uint16
		want error
	}{
		{"none.example", dns.TypeA, resolve.ErrNoDomain},
		{"fail.example", dns.TypeA, resolve.ErrTemporary},
		{"bogus.example", dns.TypeTXT, resolve.ErrBogus},
		{"loop.example", dns.TypeA, resolve.ErrBadData},
		{"bad.example", dns.TypeMX, resolve.ErrBadData},
		{"a b", dns.TypeA, resolve.ErrBadName},
		{"example.org", dns.TypeANY, resolve.ErrBadName},
	} {
		if got, err := r.Lookup(t.Context(), x.name, x.typ); !errors.Is(err, x.want) || got.Data != nil {
			t.Errorf("%s %d: %q, %v; want %v", x.name, x.typ, got.Data, err, x.want)
		}
	}
	if _, err := r.Lookup(t.Context(), "fail.example", dns.TypeA); errors.Is(err, resolve.ErrBogus) {
		t.Errorf("%v is bogus", err)
	}
	if got, err := r.Lookup(t.Context(), "example.org", dns.TypeA); err != nil || got.TTL > 100*time.Second || d.Queries("example.org", "A") != 1 {
		t.Errorf("%+v, %v after %d queries; want it from the cache, for at most 100 s", got, err, d.Queries("example.org", "A"))
	}
	if got, err := r.Lookup(t.Context(), "x.localhost", dns.TypeA); err != nil || string(got.Data[0]) != "\x7f\x00\x00\x01" {
		t.Errorf("localhost: %+v, %v", got, err)
	}
}
