package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a resolver that ends with the test. A try takes at most 2 s unless o says otherwise.
func open(t testing.TB, o resolve.Options) *resolve.Resolver {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	r, err := resolve.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func serve(t testing.TB, records string) (*resolve.Resolver, *mailtest.DNS) {
	t.Helper()
	d := mailtest.StartDNS(t, mailtest.Zone{Records: records})
	return open(t, resolve.Options{Servers: []string{d.Addr}}), d
}

func hosts(list []resolve.Exchange) []string {
	var out []string
	for _, x := range list {
		out = append(out, x.Host)
	}
	return out
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

var sameAddr = cmpopts.EquateComparable(netip.Addr{})

func TestMXOrder(t *testing.T) {
	r, d := serve(t, `
x.example. MX 10 ten.x.example.
x.example. MX 20 b.x.example.
x.example. MX 5  FIVE.x.example.
x.example. MX 20 a.x.example.
x.example. MX 30 five.x.example.`)
	seen := make(map[string]bool)
	for range 64 {
		list, err := r.MX(t.Context(), "X.Example.")
		if err != nil {
			t.Fatal(err)
		}
		got := hosts(list)
		if len(got) != 4 || got[0] != "five.x.example" || got[1] != "ten.x.example" {
			t.Fatalf("order %v, want five, ten, then a and b", got)
		}
		seen[got[2]] = true
	}
	if len(seen) != 2 {
		t.Errorf("of equal exchanges only %v came first in 64 look-ups", seen)
	}
	if n := d.Total(); n != 1 {
		t.Errorf("64 look-ups made %d queries, want 1", n)
	}
}

func TestMX(t *testing.T) {
	r, _ := serve(t, `
plain.example.    A   192.0.2.1
null.example.     MX  0 .
null.example.     A   192.0.2.1
mixed.example.    MX  0 .
mixed.example.    MX  10 mx.mixed.example.
literal.example.  MX  10 192.0.2.1.
partly.example.   MX  10 192.0.2.1.
partly.example.   MX  20 mx.partly.example.
self.example.     MX  10 localhost.
odd.example.      MX  10 a\032b.example.
odd.example.      MX  10 a\010b.example.
odd.example.      MX  10 -oProxyCommand.example.
odd.example.      MX  10 caf\195\169.example.
odd.example.      MX  10 a\.b.example.
under.example.    MX  10 _mx-1.under.example.
toalias.example.  MX  10 alias.example.
alias.example.    CNAME plain.example.
xn--bcher-kva.example. MX 10 mx.example.
sub.ent.example.  MX  10 mx.example.
`)
	for _, tc := range []struct {
		domain string
		want   []resolve.Exchange
		err    error
	}{
		{"plain.example", []resolve.Exchange{{Host: "plain.example", Implicit: true}}, nil},
		{"null.example", nil, resolve.ErrNullMX},
		{"mixed.example", []resolve.Exchange{{Host: "mx.mixed.example", Preference: 10}}, nil},
		{"literal.example", nil, resolve.ErrBadData},
		{"partly.example", []resolve.Exchange{{Host: "mx.partly.example", Preference: 20}}, nil},
		{"self.example", nil, resolve.ErrBadData},
		{"odd.example", nil, resolve.ErrBadData},
		{"under.example", []resolve.Exchange{{Host: "_mx-1.under.example", Preference: 10}}, nil},
		{"toalias.example", []resolve.Exchange{{Host: "alias.example", Preference: 10}}, nil},
		{"alias.example", []resolve.Exchange{{Host: "alias.example", Implicit: true}}, nil},
		{"bücher.example", []resolve.Exchange{{Host: "mx.example", Preference: 10}}, nil},
		{"BÜCHER。example", []resolve.Exchange{{Host: "mx.example", Preference: 10}}, nil},
		{"ent.example", []resolve.Exchange{{Host: "ent.example", Implicit: true}}, nil},
		{"nx.example", nil, resolve.ErrNoDomain},
		{"localhost", []resolve.Exchange{{Host: "localhost", Implicit: true}}, nil},
	} {
		got, err := r.MX(t.Context(), tc.domain)
		if !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) {
			t.Errorf("MX of %s: error %v, want %v", tc.domain, err, tc.err)
		}
		if resolve.Temporary(err) {
			t.Errorf("MX of %s: %v is temporary", tc.domain, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("MX of %s (-want +got):\n%s", tc.domain, diff)
		}
	}
}

func TestNamesNeverAsked(t *testing.T) {
	r, d := serve(t, "")
	for _, name := range []string{
		"", ".", "..", ".example", "a..example", "a b.example", "a\r\nb.example", "a\x00.example", "[192.0.2.1]",
		"192.0.2.1", "2001:db8::1", "-a.example", `a\046b.example`, "a/b.example", "user@x.example",
		strings.Repeat("a", 64) + ".example", strings.Repeat("abcdefg.", 32) + "example",
		strings.Repeat("ü", 60) + ".example", "\xff\xfe.example", "\ufffd.example", "a\u202eb.example", strings.Repeat("ü.", 100_000),
	} {
		_, err := r.MX(t.Context(), name)
		if !errors.Is(err, resolve.ErrBadName) {
			t.Errorf("MX of %.40q: %v, want ErrBadName", name, err)
			continue
		}
		if text := err.Error(); len(text) > 2000 || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("MX of %.40q: the error is not fit for a log line: %.100q", name, text)
		}
	}
	for _, name := range []string{"x.invalid", "a.onion"} {
		if _, err := r.Addrs(t.Context(), name); !errors.Is(err, resolve.ErrNoDomain) {
			t.Errorf("addresses of %s: %v, want ErrNoDomain", name, err)
		}
	}
	for _, name := range []string{"localhost", "LOCALHOST.", "a.b.localhost"} {
		got, err := r.Addrs(t.Context(), name)
		if err != nil || !slices.Equal(got, addrs("::1", "127.0.0.1")) {
			t.Errorf("addresses of %s: %v, %v; want ::1 and 127.0.0.1", name, got, err)
		}
	}
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		name, confirmed, err := r.PTR(t.Context(), netip.MustParseAddr(a))
		if name != "localhost" || !confirmed || err != nil {
			t.Errorf("PTR of %s: %q, %v, %v; want localhost, confirmed", a, name, confirmed, err)
		}
	}
	if n := d.Total(); n != 0 {
		t.Errorf("%d queries were made, the last %v", n, d.Last())
	}
}

func TestLargestSets(t *testing.T) {
	var zone strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&zone, "many.example. MX %d m%d.example.\n", (i*7)%2000, i)
		fmt.Fprintf(&zone, "many.example. A 10.0.%d.%d\n", i/250, i%250)
		fmt.Fprintf(&zone, "many.example. AAAA 2001:db8::%x\n", i+1)
	}
	r, _ := serve(t, zone.String())
	list, err := r.MX(t.Context(), "many.example")
	if err != nil || len(list) != 20 {
		t.Fatalf("got %d exchanges, %v; want 20", len(list), err)
	}
	for i, x := range list {
		if int(x.Preference) != i {
			t.Errorf("exchange %d has preference %d: not the best were kept", i, x.Preference)
		}
	}
	got, err := r.Addrs(t.Context(), "many.example")
	if err != nil || len(got) != 40 {
		t.Fatalf("got %d addresses, %v; want 40", len(got), err)
	}
	if !got[0].Is6() || !got[1].Is4() || !got[38].Is6() || !got[39].Is4() {
		t.Errorf("families do not alternate: %v", got)
	}
}

func TestTemporary(t *testing.T) {
	for _, tc := range []struct {
		fault   mailtest.Fault
		text    string
		timeout time.Duration
	}{
		{mailtest.ServFail, "SERVFAIL from 127.0.0.1:", 0},
		{mailtest.BogusServFail, "SERVFAIL (DNSSEC Bogus) from 127.0.0.1:", 0},
		{mailtest.Refused, "REFUSED from", 0},
		{mailtest.Referral, "referral", 0},
		{mailtest.NoReply, "no reply in time from", 40 * time.Millisecond},
		{mailtest.WrongID, "no reply in time from", 40 * time.Millisecond},
		{mailtest.WrongQuestion, "no reply in time from", 40 * time.Millisecond},
		{mailtest.Garbage, "no reply in time from", 40 * time.Millisecond},
		{mailtest.TruncateOnly, "TCP: connection closed within the reply from", 0},
		{mailtest.SlowTCP, "TCP: no reply in time from", 40 * time.Millisecond},
	} {
		d := mailtest.StartDNS(t, mailtest.Zone{
			Records: "x.example. MX 10 mx.x.example.\nx.example. A 192.0.2.1\nx.example. TXT t\n1.2.0.192.in-addr.arpa. PTR x.example.",
			Faults:  map[string]mailtest.Fault{"*": tc.fault},
		})
		r := open(t, resolve.Options{Servers: []string{d.Addr}, Timeout: tc.timeout})
		_, err := r.MX(t.Context(), "x.example")
		if !resolve.Temporary(err) || errors.Is(err, resolve.ErrNoDomain) || errors.Is(err, resolve.ErrNoData) {
			t.Errorf("fault %d: MX: %v, want a temporary failure", tc.fault, err)
			continue
		}
		if s := err.Error(); !strings.Contains(s, tc.text) || strings.Contains(s, "forged") {
			t.Errorf("fault %d: %q does not say %q", tc.fault, s, tc.text)
		}
		if got, err := r.Addrs(t.Context(), "x.example"); !resolve.Temporary(err) {
			t.Errorf("fault %d: addresses: %v, %v", tc.fault, got, err)
		}
		if got, err := r.TXT(t.Context(), "x.example"); !resolve.Temporary(err) {
			t.Errorf("fault %d: TXT: %v, %v", tc.fault, got, err)
		}
		if got, _, err := r.PTR(t.Context(), netip.MustParseAddr("192.0.2.1")); !resolve.Temporary(err) {
			t.Errorf("fault %d: PTR: %v, %v", tc.fault, got, err)
		}
		if n := d.Queries("x.example", "MX"); tc.fault == mailtest.ServFail && n != 2 {
			t.Errorf("fault %d: %d queries in two rounds over one server", tc.fault, n)
		}
		before := d.Total()
		r.MX(t.Context(), "x.example")
		if d.Total() != before {
			t.Errorf("fault %d: asked again at once after a failure", tc.fault)
		}
	}
}

func TestSurvivesFaults(t *testing.T) {
	for _, fault := range []mailtest.Fault{
		mailtest.NoFault, mailtest.Truncate, mailtest.Forged, mailtest.Flooded, mailtest.Poison, mailtest.NoEDNS,
		mailtest.OneAlias, mailtest.UpperCase,
	} {
		d := mailtest.StartDNS(t, mailtest.Zone{
			Records: "x.example. CNAME y.example.\ny.example. MX 10 mx.x.example.\ny.example. A 192.0.2.1",
			Faults:  map[string]mailtest.Fault{"x.example": fault},
		})
		r := open(t, resolve.Options{Servers: []string{d.Addr}})
		list, err := r.MX(t.Context(), "x.example")
		if want := []resolve.Exchange{{Host: "mx.x.example", Preference: 10}}; err != nil || !cmp.Equal(list, want) {
			t.Errorf("fault %d: MX: %v, %v", fault, list, err)
		}
		h, err := r.Host(t.Context(), "x.example")
		if want := (resolve.Host{Addrs: addrs("192.0.2.1"), Canonical: "y.example"}); err != nil || !cmp.Equal(h, want, sameAddr) {
			t.Errorf("fault %d: host: %v, %v", fault, h, err)
		}
		for _, name := range []string{"victim.example", "sub.x.example", "sub.y.example"} {
			if got, err := r.Addrs(t.Context(), name); !errors.Is(err, resolve.ErrNoDomain) {
				t.Errorf("fault %d: the cache is poisoned: %s has %v, %v", fault, name, got, err)
			}
		}
	}
}

func TestLargeReplyOverTCP(t *testing.T) {
	r, d := serve(t, `x.example. TXT "short"
x.example. TXT "`+strings.Repeat("a", 255)+`" "`+strings.Repeat("b", 255)+`" "`+strings.Repeat("c", 255)+`"
x.example. TXT "`+strings.Repeat("d", 255)+`" "`+strings.Repeat("e", 255)+`"`)
	got, err := r.TXT(t.Context(), "x.example")
	if err != nil || len(got) != 3 || len(got[1]) != 765 {
		t.Errorf("got %d records, %v; want 3, the second of 765 octets", len(got), err)
	}
	if n := d.Queries("x.example", "TXT"); n != 2 {
		t.Errorf("%d queries, want one over UDP and one over TCP", n)
	}
}

func TestAliases(t *testing.T) {
	var zone strings.Builder
	for i := range 12 { // c0 has 12 aliases before the host, c4 has 8
		fmt.Fprintf(&zone, "c%d.example. CNAME c%d.example.\n", i, i+1)
	}
	zone.WriteString(`
c12.example. A 192.0.2.1
loop1.example. CNAME loop2.example.
loop2.example. CNAME loop1.example.
self.example. CNAME self.example.
gone.example. CNAME nx.example.
bare.example. CNAME text.example.
text.example. TXT t
odd.example. CNAME a\032b.example.
a\032b.example. A 192.0.2.2`)
	for _, step := range []mailtest.Fault{mailtest.NoFault, mailtest.OneAlias} {
		d := mailtest.StartDNS(t, mailtest.Zone{Records: zone.String(), Faults: map[string]mailtest.Fault{"*": step}})
		r := open(t, resolve.Options{Servers: []string{d.Addr}})
		for _, tc := range []struct {
			name string
			want resolve.Host
			err  error
		}{
			{"c4.example", resolve.Host{Addrs: addrs("192.0.2.1"), Canonical: "c12.example"}, nil},
			{"c3.example", resolve.Host{}, resolve.ErrBadData},
			{"loop1.example", resolve.Host{}, resolve.ErrBadData},
			{"self.example", resolve.Host{}, resolve.ErrBadData},
			{"gone.example", resolve.Host{}, resolve.ErrNoDomain},
			{"bare.example", resolve.Host{}, resolve.ErrNoData},
			{"odd.example", resolve.Host{Addrs: addrs("192.0.2.2"), Canonical: "odd.example"}, nil},
		} {
			got, err := r.Host(t.Context(), tc.name)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || !cmp.Equal(got, tc.want, sameAddr) {
				t.Errorf("step %d: %s: %v, %v; want %v, %v", step, tc.name, got, err, tc.want, tc.err)
			}
		}
		if n := d.Total(); n > 100 {
			t.Errorf("%d queries for 7 names", n)
		}
	}
}

func TestAddrs(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{
		Records: `
both.example. A 192.0.2.1
both.example. A 192.0.2.2
both.example. A 192.0.2.3
both.example. AAAA 2001:db8::1
v4.example.   A 192.0.2.1
v6.example.   AAAA 2001:db8::1
half.example. A 192.0.2.1
doubt.example. TXT t
text.example. TXT t
bad.example.  A 0.0.0.0
bad.example.  A 224.0.0.1
bad.example.  AAAA ::ffff:127.0.0.1
bad.example.  AAAA ::
`,
		Faults: map[string]mailtest.Fault{"half.example AAAA": mailtest.ServFail, "doubt.example AAAA": mailtest.ServFail},
	})
	r := open(t, resolve.Options{Servers: []string{d.Addr}})
	for _, tc := range []struct {
		host string
		want []netip.Addr
		err  error
	}{
		{"both.example", addrs("2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"), nil},
		{"v4.example", addrs("192.0.2.1"), nil},
		{"v6.example", addrs("2001:db8::1"), nil},
		{"half.example", addrs("192.0.2.1"), nil},
		{"doubt.example", nil, resolve.ErrTemporary},
		{"text.example", nil, resolve.ErrNoData},
		{"bad.example", nil, resolve.ErrBadData},
		{"nx.example", nil, resolve.ErrNoDomain},
		{"192.0.2.9", addrs("192.0.2.9"), nil},
		{"2001:db8::9", addrs("2001:db8::9"), nil},
		{"fe80::1%eth0", nil, resolve.ErrBadName},
	} {
		got, err := r.Addrs(t.Context(), tc.host)
		if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || !slices.Equal(got, tc.want) {
			t.Errorf("addresses of %s: %v, %v; want %v, %v", tc.host, got, err, tc.want, tc.err)
		}
	}
	got, _ := r.Addrs(t.Context(), "both.example")
	got[0] = netip.Addr{}
	if again, _ := r.Addrs(t.Context(), "both.example"); !again[0].IsValid() {
		t.Error("a caller can change the cache")
	}
}

func TestPTR(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{
		Records: `
1.2.0.192.in-addr.arpa.  PTR host.example.
host.example.            A   192.0.2.1
2.2.0.192.in-addr.arpa.  PTR claim.example.
claim.example.           A   192.0.2.1
3.2.0.192.in-addr.arpa.  PTR claim.example.
3.2.0.192.in-addr.arpa.  PTR third.example.
third.example.           A   192.0.2.3
4.2.0.192.in-addr.arpa.  PTR a\010b.example.
4.2.0.192.in-addr.arpa.  PTR 192.0.2.4.
5.2.0.192.in-addr.arpa.  CNAME 5.0/25.2.0.192.in-addr.arpa.
5.0/25.2.0.192.in-addr.arpa. PTR five.example.
five.example.            CNAME real.example.
real.example.            A   192.0.2.5
6.2.0.192.in-addr.arpa.  PTR down.example.
7.2.0.192.in-addr.arpa.  PTR localhost.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.example.
six.example.             AAAA 2001:db8::1
`,
		Faults: map[string]mailtest.Fault{"down.example": mailtest.ServFail, "8.2.0.192.in-addr.arpa": mailtest.ServFail},
	})
	r := open(t, resolve.Options{Servers: []string{d.Addr}})
	for _, tc := range []struct {
		addr      string
		name      string
		confirmed bool
		err       error
	}{
		{"192.0.2.1", "host.example", true, nil},
		{"::ffff:192.0.2.1", "host.example", true, nil},
		{"192.0.2.2", "claim.example", false, nil},
		{"192.0.2.3", "third.example", true, nil},
		{"192.0.2.4", "", false, resolve.ErrBadData},
		{"192.0.2.5", "five.example", true, nil},
		{"192.0.2.6", "down.example", false, resolve.ErrTemporary},
		{"192.0.2.7", "localhost", false, nil},
		{"192.0.2.8", "", false, resolve.ErrTemporary},
		{"192.0.2.9", "", false, resolve.ErrNoDomain},
		{"2001:db8::1", "six.example", true, nil},
	} {
		name, confirmed, err := r.PTR(t.Context(), netip.MustParseAddr(tc.addr))
		if name != tc.name || confirmed != tc.confirmed || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("PTR of %s: %q, %v, %v; want %q, %v, %v", tc.addr, name, confirmed, err, tc.name, tc.confirmed, tc.err)
		}
	}
	if _, _, err := r.PTR(t.Context(), netip.Addr{}); !errors.Is(err, resolve.ErrBadName) {
		t.Errorf("PTR of the zero address: %v", err)
	}
}

func TestTXT(t *testing.T) {
	r, _ := serve(t, `
_dmarc.x.example. TXT "v=DMARC1; " "p=none"
x.example. TXT "q\"b\\s\009t\255e\127" ""
`)
	for name, want := range map[string]string{"_dmarc.x.example": "v=DMARC1; p=none", "x.example": "q\"b\\s\tt\xffe\x7f"} {
		got, err := r.TXT(t.Context(), name)
		if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("TXT of %s: %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestQueryAndSecure(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{
		Records: "x.example. MX 10 mx.x.example.\nx.example. A 192.0.2.1\n", Secure: true})
	r := open(t, resolve.Options{Servers: []string{d.Addr}})
	list, err := r.MX(t.Context(), "x.example")
	if err != nil || !list[0].Secure {
		t.Errorf("AD of a loopback server is lost: %v, %v", list, err)
	}
	q := d.Last()
	if opt := q.IsEdns0(); !q.AuthenticatedData || !q.RecursionDesired || opt == nil || opt.UDPSize() != 1232 || opt.Do() {
		t.Errorf("query:\n%v\nwant RD, AD and EDNS with 1232 octets without DO", q)
	}
	if h, err := r.Host(t.Context(), "x.example"); err != nil || !h.Secure {
		t.Errorf("host: %v, %v, want secure", h, err)
	}
	if list, err := r.MX(t.Context(), "mx.x.example"); !errors.Is(err, resolve.ErrNoData) && !errors.Is(err, resolve.ErrNoDomain) {
		t.Errorf("got %v, %v", list, err)
	}
	d.SetZone(t, mailtest.Zone{Records: "y.example. A 192.0.2.1"})
	if list, err := r.MX(t.Context(), "y.example"); err != nil || list[0].Secure {
		t.Errorf("secure without AD: %v, %v", list, err)
	}
}

func TestFailover(t *testing.T) {
	zone := "a.example. A 192.0.2.1\nb.example. A 192.0.2.2\nc.example. A 192.0.2.3"
	silent := mailtest.StartDNS(t, mailtest.Zone{Records: zone, Faults: map[string]mailtest.Fault{"*": mailtest.NoReply}})
	refusing := mailtest.StartDNS(t, mailtest.Zone{Faults: map[string]mailtest.Fault{"*": mailtest.Refused}})
	good := mailtest.StartDNS(t, mailtest.Zone{Records: zone})
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	r := open(t, resolve.Options{Servers: []string{closed.LocalAddr().String(), silent.Addr, refusing.Addr, good.Addr}, Timeout: time.Second})
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		if got, err := r.Addrs(t.Context(), name); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if n := silent.Total(); n > 2 { // A and AAAA of the first name
		t.Errorf("the server that is down got %d queries, want those of the first look-up only", n)
	}
}

func TestOneQueryForMany(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{Records: "x.example. MX 10 mx.x.example.", Faults: map[string]mailtest.Fault{"*": mailtest.Held}})
	r := open(t, resolve.Options{Servers: []string{d.Addr}})

	ctx, cancel := context.WithCancel(t.Context())
	var gaveUp, callers sync.WaitGroup
	gaveUp.Go(func() {
		_, err := r.MX(ctx, "x.example")
		if !errors.Is(err, context.Canceled) || !resolve.Temporary(err) {
			t.Errorf("the caller who gave up got %v, want a temporary failure from its context", err)
		}
	})
	for d.Total() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 50 {
		callers.Go(func() {
			if list, err := r.MX(t.Context(), "x.example"); err != nil || len(list) != 1 {
				t.Errorf("a caller who stayed got %v, %v", list, err)
			}
		})
	}
	cancel()
	gaveUp.Wait()
	d.Release()
	callers.Wait()
	if n := d.Total(); n != 1 {
		t.Errorf("51 callers made %d queries, want 1", n)
	}
}

func TestDenialsAreCached(t *testing.T) {
	r, d := serve(t, "x.example. A 192.0.2.1")
	for range 3 {
		r.MX(t.Context(), "x.example")
		r.MX(t.Context(), "nx.example")
	}
	if n := d.Total(); n != 2 {
		t.Errorf("%d queries, want 2", n)
	}
}

func TestDeadline(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{Faults: map[string]mailtest.Fault{"*": mailtest.NoReply}})
	r := open(t, resolve.Options{Servers: []string{d.Addr}, Timeout: time.Hour, Total: 50 * time.Millisecond})
	if _, err := r.MX(t.Context(), "x.example"); !resolve.Temporary(err) {
		t.Errorf("after the total time: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := r.MX(ctx, "y.example"); !resolve.Temporary(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an expired context: %v", err)
	}
}

func TestClose(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{Records: "x.example. A 192.0.2.1", Faults: map[string]mailtest.Fault{"slow.example": mailtest.NoReply}})
	r := open(t, resolve.Options{Servers: []string{d.Addr}, Timeout: time.Hour, Total: time.Hour})
	r.Addrs(t.Context(), "x.example")
	got := make(chan error)
	go func() {
		_, err := r.MX(t.Context(), "slow.example")
		got <- err
	}()
	for d.Queries("slow.example", "MX") == 0 {
		time.Sleep(time.Millisecond)
	}
	r.Close()
	if err := <-got; !resolve.Temporary(err) {
		t.Errorf("a look-up in progress: %v", err)
	}
	if _, err := r.MX(t.Context(), "other.example"); !resolve.Temporary(err) {
		t.Errorf("a later look-up: %v", err)
	}
	if list, err := r.Addrs(t.Context(), "x.example"); err != nil || len(list) != 1 {
		t.Errorf("from the cache: %v, %v", list, err)
	}
}

func TestErrorText(t *testing.T) {
	r, d := serve(t, "x.example. TXT t\nnull.example. MX 0 .")
	for name, want := range map[string]string{
		"nx.example":   `resolve: MX of "nx.example": no such domain, says ` + d.Addr,
		"null.example": `resolve: MX of "null.example": the domain accepts no mail (null MX), says ` + d.Addr,
		"a b":          `resolve: MX of "a b": not a domain name: character ' '`,
	} {
		_, err := r.MX(t.Context(), name)
		if err == nil || err.Error() != want {
			t.Errorf("error\n%v\nwant\n%s", err, want)
		}
		var re *resolve.Error
		if !errors.As(err, &re) || re.Name != name || re.Type != "MX" {
			t.Errorf("%#v is not the Error of %s", err, name)
		}
	}
}

func TestNewRefusesNames(t *testing.T) {
	for _, s := range []string{"ns.example:53", "localhost", "127.0.0.1:0", "127.0.0.1:dns", "", "1.2.3.4:99999"} {
		if _, err := resolve.New(resolve.Options{Servers: []string{s}}); err == nil || !strings.Contains(err.Error(), "IP address") {
			t.Errorf("server %q: %v, want an error that asks for an IP address", s, err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	r, _ := serve(b, "x.example. MX 10 mx.x.example.")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.MX(b.Context(), "x.example"); err != nil {
			b.Fatal(err)
		}
	}
}
