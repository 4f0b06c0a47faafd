package deliver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// A source has an address for each family, and a name; what it has no address for is not dialled.
func TestSourcesOfTwoFamilies(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{})
	six := ""
	if l, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", s.Port)); err == nil {
		l.Close()
		mailtest.ServeSMTP(t, mailtest.Script{Address: fmt.Sprintf("[::1]:%d", s.Port)})
		six = "::1"
	} else {
		t.Log("no IPv6 on this machine: only IPv4 is tried")
	}
	dns := names{
		mx:    map[string][]resolve.Exchange{"d.test": {{Host: "mx.test"}}, "us.test": {{Host: "out.us.test", Preference: 1}, {Host: "mx.test", Preference: 2}}},
		addrs: map[string][]string{"mx.test": {"::1", "127.0.0.1"}, "six.test": {"::1"}, "out.us.test": {"127.0.0.1"}},
	}
	sources := map[string]deliver.Source{
		"four": {V4: netip.MustParseAddr("127.0.0.7"), Helo: "Out.us.test"},
		"six":  {V6: netip.MustParseAddr("::1")},
		"both": {V4: netip.MustParseAddr("127.0.0.8"), V6: netip.MustParseAddr("::1"), Helo: "both.test"},
		"gone": {V4: netip.MustParseAddr("192.0.2.7")}, // not of this machine
	}
	var log bytes.Buffer
	a := newAgent(t, deliver.Options{Resolver: dns, Sources: sources, MXPort: s.Port, AllowLoopbackMX: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	type row struct{ source, helo, host, want, from, said string }
	rows := []row{
		{"four", "", "mx.test", "sent 2.0.0", "127.0.0.7", "out.us.test"}, // its IPv6 address is passed over
		{"four", "own.test", "mx.test", "sent 2.0.0", "127.0.0.7", "own.test"},
		{"both", "", "127.0.0.1", "sent 2.0.0", "127.0.0.8", "both.test"},
		{"127.0.0.9", "", "127.0.0.1", "sent 2.0.0", "127.0.0.9", "us.test"},
		{"four", "", "six.test", "deferred 4.4.4", "", ""},
		{"six", "", "127.0.0.1", "deferred 4.4.4", "", ""},
		{"none", "", "127.0.0.1", "deferred 4.3.5", "", ""},
	}
	if six != "" {
		rows = append(rows, row{"six", "", "six.test", "sent 2.0.0", "", ""}, row{"both", "", "six.test", "sent 2.0.0", "", ""})
	}
	bindable, err := net.Listen("tcp", "192.0.2.7:0")
	if err == nil {
		bindable.Close() // net.ipv4.ip_nonlocal_bind
	} else {
		rows = append(rows, row{"gone", "", "127.0.0.1", "deferred 4.3.5", "", ""})
	}
	for _, c := range rows {
		before := len(s.Messages())
		hop := mail.NextHop{Transport: mail.TransportSMTP, Host: c.host, Port: s.Port, Source: c.source, Helo: c.helo}
		res := a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@d.test"))
		want(t, res, c.want)
		if c.from != "" {
			got := s.Messages()[before]
			if host, _, _ := net.SplitHostPort(got.Remote); host != c.from || got.Helo != c.said {
				t.Errorf("%+v: came from %s as %s", c, got.Remote, got.Helo)
			}
		}
		if c.want == "deferred 4.4.4" && !strings.Contains(res[0].Reply.Text, c.source) {
			t.Errorf("%q does not say from where", res[0].Reply.Text)
		}
	}
	for _, line := range []string{"is it an address of this machine?", "the name of a [[source]]"} {
		if (bindable == nil || line[0] == 't') && !strings.Contains(log.String(), line) {
			t.Errorf("the log does not say %q:\n%s", line, &log)
		}
	}
	// The name of a source is ours, too: an exchanger that is called so is us.
	want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@us.test")), "bounced 5.4.6")
}

// TestAddressesThatMXRecordsMustNotLeadTo are the forms in which an address of this machine, or of its network, can stand in
// the DNS.
func TestAddressesThatMXRecordsMustNotLeadTo(t *testing.T) {
	a := newAgent(t, deliver.Options{Resolver: everywhere{}, Deny: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7")}})
	for _, addr := range []string{
		"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1", "::127.0.0.1",
		"0.0.0.0", "0.1.2.3", "::", "64:ff9b::", "169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::",
		"224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "64:ff9b:1::1",
		"10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "192.168.0.1", "100.64.0.1", "fd00::1", "::10.1.2.3",
	} {
		res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@["+literal(addr)+"]"))
		want(t, res, "bounced 5.4.4")
		if res[0].Relay != "" {
			t.Errorf("%s was dialled: %+v", addr, res[0])
		}
		m := message(body, "b@d.test")
		res = a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, Host: "at." + strings.NewReplacer(":", "-", ".", "_").Replace(addr) + ".test"}}, m)
		if res[0].Outcome != mail.Failed || res[0].Relay != "" {
			t.Errorf("%s: %+v", addr, res[0])
		}
	}
}

func literal(addr string) string {
	if strings.Contains(addr, ":") {
		return "IPv6:" + addr
	}
	return addr
}

// everywhere is a resolver whose names say to where they lead.
type everywhere struct{}

func (everywhere) MX(_ context.Context, domain string) ([]resolve.Exchange, error) {
	return []resolve.Exchange{{Host: domain, Implicit: true}}, nil
}

func (everywhere) Addrs(_ context.Context, host string) ([]netip.Addr, error) {
	_, text, _ := strings.Cut(host, ".")
	text = strings.NewReplacer("-", ":", "_", ".").Replace(strings.TrimSuffix(text, ".test"))
	a, err := netip.ParseAddr(text)
	return []netip.Addr{a}, err
}
