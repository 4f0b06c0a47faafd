package mailtest_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wasmta/wasmta/core/mailtest"
)

const zone = `
$ORIGIN example.org.
@     IN MX 10 mx
mx    IN A  192.0.2.1
alias IN CNAME mx
a.b.c IN TXT "x"
`

func ask(t *testing.T, network, addr, name string, typ uint16) (*dns.Msg, error) {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	q.SetEdns0(1232, false)
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	m, _, err := c.Exchange(q, addr)
	return m, err
}

func TestServeDNS(t *testing.T) {
	d := mailtest.StartDNS(t, mailtest.Zone{Records: zone, Secure: true})
	for _, tc := range []struct {
		name    string
		typ     uint16
		rcode   int
		answers int
	}{
		{"example.org", dns.TypeMX, dns.RcodeSuccess, 1},
		{"EXAMPLE.org", dns.TypeMX, dns.RcodeSuccess, 1},
		{"alias.example.org", dns.TypeA, dns.RcodeSuccess, 2},
		{"alias.example.org", dns.TypeAAAA, dns.RcodeSuccess, 1},
		{"mx.example.org", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"b.c.example.org", dns.TypeTXT, dns.RcodeSuccess, 0}, // an empty non-terminal exists
		{"nx.example.org", dns.TypeA, dns.RcodeNameError, 0},
	} {
		for _, network := range []string{"udp", "tcp"} {
			m, err := ask(t, network, d.Addr, tc.name, tc.typ)
			if err != nil {
				t.Fatal(err)
			}
			if m.Rcode != tc.rcode || len(m.Answer) != tc.answers || !m.AuthenticatedData {
				t.Errorf("%s %s over %s: got\n%v\nwant %s with %d answers and AD", tc.name, dns.TypeToString[tc.typ], network, m, dns.RcodeToString[tc.rcode], tc.answers)
			}
		}
	}
	if n := d.Queries("example.org", "MX"); n != 4 {
		t.Errorf("counted %d MX queries, want 4", n)
	}
	d.SetZone(t, mailtest.Zone{Faults: map[string]mailtest.Fault{"*": mailtest.ServFail}})
	if m, err := ask(t, "udp", d.Addr, "example.org", dns.TypeMX); err != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("after SetZone: %v, %v; want SERVFAIL", m, err)
	}
}

func TestWhatIsSigned(t *testing.T) {
	d, err := mailtest.NewDNS(mailtest.Zone{Secure: true, Unsigned: []string{"plain.test"}, Address: "127.0.0.1:0",
		Records: "mx.plain.test. IN A 192.0.2.1\nmx.signed.test. IN A 192.0.2.1\nalias.signed.test. IN CNAME mx.plain.test.\n"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, want := range map[string]bool{"mx.signed.test": true, "no.signed.test": true, "mx.plain.test": false, "plain.test": false, "alias.signed.test": false} {
		m, err := ask(t, "udp", d.Addr, name, dns.TypeA)
		if err != nil || m.AuthenticatedData != want {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if _, err := mailtest.NewDNS(mailtest.Zone{Records: "no zone"}); err == nil {
		t.Error("a zone that cannot be read is taken")
	}
}
