package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/wasmta/wasmta/core/mailtest"
)

func TestCacheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(100)
		pos, neg := key{"pos.example", dns.TypeA}, key{"neg.example", dns.TypeA}
		c.put(pos, &answer{ttl: time.Minute})
		c.put(neg, &answer{ttl: time.Minute, kind: KindNoDomain})
		time.Sleep(time.Minute - 1)
		if c.get(pos) == nil || c.get(neg) == nil {
			t.Fatal("gone before its time")
		}
		time.Sleep(time.Nanosecond)
		if c.get(pos) != nil || c.get(neg) != nil {
			t.Fatal("still there after its time")
		}
		if c.revive(neg) != nil {
			t.Error("an expired denial was revived")
		}
		if a := c.revive(pos); a == nil || !a.stale {
			t.Fatalf("an expired answer was not revived as stale: %v", a)
		}
		time.Sleep(failureTTL - 1)
		if c.get(pos) == nil {
			t.Error("a revived answer does not last 5 s")
		}
		time.Sleep(time.Nanosecond)
		if c.get(pos) != nil {
			t.Error("a revived answer lasts longer than 5 s")
		}
		time.Sleep(time.Hour - 3*time.Second - failureTTL)
		if c.revive(pos) == nil {
			t.Error("not revived within the hour")
		}
		time.Sleep(3 * time.Second)
		if c.get(pos) != nil || c.revive(pos) != nil {
			t.Error("used more than an hour after its time")
		}
	})
}

func TestCacheBound(t *testing.T) {
	c := newCache(64)
	for i := range 10_000 {
		c.put(key{fmt.Sprint(i), dns.TypeA}, &answer{ttl: time.Hour})
	}
	big := &answer{ttl: time.Hour, text: []string{strings.Repeat("x", 60_000)}}
	for i := range 100 {
		c.put(key{fmt.Sprint(i), dns.TypeTXT}, big)
	}
	cost, n := 0, 0
	for i := range c.shards {
		s := &c.shards[i]
		if len(s.byID) != s.used.Len() {
			t.Errorf("shard %d: map has %d entries, list %d", i, len(s.byID), s.used.Len())
		}
		cost, n = cost+s.cost, n+len(s.byID)
	}
	if cost > 64 || n > 64 || n == 0 {
		t.Errorf("%d entries of cost %d in a cache of 64", n, cost)
	}

	c = newCache(4) // one shard: the oldest unused goes first
	for i := range 4 {
		c.put(key{fmt.Sprint(i), dns.TypeA}, &answer{ttl: time.Hour})
	}
	c.get(key{"0", dns.TypeA})
	c.put(key{"4", dns.TypeA}, &answer{ttl: time.Hour})
	if c.get(key{"0", dns.TypeA}) == nil || c.get(key{"1", dns.TypeA}) != nil {
		t.Error("the entry used last went before the oldest")
	}
}

func TestStale(t *testing.T) {
	records := "x.example. MX 10 mx.x.example.\nnull.example. MX 0 ."
	d := mailtest.StartDNS(t, mailtest.Zone{Records: records})
	r, err := New(Options{Servers: []string{d.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	names := []string{"x.example", "null.example", "nx.example"}
	for _, name := range names {
		r.MX(t.Context(), name)
		a := *r.cache.get(key{name, dns.TypeMX})
		a.ttl = 0
		r.cache.put(key{name, dns.TypeMX}, &a)
	}
	d.SetZone(t, mailtest.Zone{Faults: map[string]mailtest.Fault{"*": mailtest.ServFail}})
	list, err := r.MX(t.Context(), "x.example")
	if err != nil || len(list) != 1 {
		t.Errorf("stale MX: %v, %v; want the old answer", list, err)
	}
	before := d.Total()
	if _, err := r.MX(t.Context(), "x.example"); err != nil || d.Total() != before {
		t.Errorf("asked the failing server again at once (%v)", err)
	}
	for _, name := range names[1:] {
		if _, err := r.MX(t.Context(), name); !Temporary(err) {
			t.Errorf("%s: %v; a stale denial must not bounce mail", name, err)
		}
	}
	d.SetZone(t, mailtest.Zone{})
	a := *r.cache.get(key{"x.example", dns.TypeMX})
	a.ttl = 0
	r.cache.put(key{"x.example", dns.TypeMX}, &a)
	if _, err := r.MX(t.Context(), "x.example"); !errors.Is(err, ErrNoDomain) {
		t.Errorf("NXDOMAIN is an answer, not a failure; got %v", err)
	}
}

func TestTTL(t *testing.T) {
	for _, tc := range []struct {
		records, name string
		want          time.Duration
	}{
		{"x.example. 0 A 192.0.2.1", "x.example", 5 * time.Second},
		{"x.example. 300 A 192.0.2.1\nx.example. 60 A 192.0.2.2", "x.example", time.Minute},
		{"x.example. 604800 A 192.0.2.1", "x.example", 24 * time.Hour},
		{"x.example. 4294967295 A 192.0.2.1", "x.example", 5 * time.Second},
		{"x.example. 30 CNAME y.example.\ny.example. 600 A 192.0.2.1", "x.example", 30 * time.Second},
		{"x.example. A 0.0.0.0", "x.example", 5 * time.Minute},
		{"example. 3600 SOA ns. root. 1 1 1 1 90", "x.example", 90 * time.Second},
		{"example. 45 SOA ns. root. 1 1 1 1 90", "x.example", 45 * time.Second},
		{"example. 86400 SOA ns. root. 1 1 1 1 86400", "x.example", 15 * time.Minute},
		{"example. 86400 SOA ns. root. 1 1 1 1 0", "x.example", 5 * time.Second},
	} {
		d := mailtest.StartDNS(t, mailtest.Zone{Records: tc.records})
		r, err := New(Options{Servers: []string{d.Addr}})
		if err != nil {
			t.Fatal(err)
		}
		k := key{tc.name, dns.TypeA}
		a, _ := r.lookup(t.Context(), tc.name, dns.TypeA)
		if a == nil || a.ttl != tc.want || r.cache.get(k) != a {
			t.Errorf("%q: cached %+v, want for %v", tc.records, a, tc.want)
		}
		r.Close()
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := `# comment
search corp.example
nameserver 192.0.2.53
nameserver ns.example
nameserver 2001:db8::53
nameserver ::1
options ndots:5 timeout:2 attempts:99 trust-ad rotate
options timeout:x attempts:-1
nameserver
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{ResolvConf: path})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := []server{{"192.0.2.53:53", true}, {"[2001:db8::53]:53", true}, {"[::1]:53", true}}
	if diff := cmp.Diff(want, r.servers, cmp.AllowUnexported(server{})); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
	if r.timeout != 2*time.Second || r.rounds != 5 {
		t.Errorf("time-out %v, %d rounds; want 2 s and 5", r.timeout, r.rounds)
	}

	r, err = New(Options{ResolvConf: path + ".missing"})
	if err != nil {
		t.Fatalf("without resolv.conf: %v", err)
	}
	defer r.Close()
	want = []server{{"127.0.0.1:53", true}}
	if diff := cmp.Diff(want, r.servers, cmp.AllowUnexported(server{})); diff != "" {
		t.Errorf("without resolv.conf (-want +got):\n%s", diff)
	}
	if r.timeout != 3*time.Second || r.total != 15*time.Second || r.rounds != 2 {
		t.Errorf("defaults: %v, %v, %d", r.timeout, r.total, r.rounds)
	}
}

// Without trust, the AD bit of a server elsewhere means nothing.
func TestTrust(t *testing.T) {
	for _, tc := range []struct {
		server string
		trust  bool
		want   bool
	}{
		{"127.0.0.1", false, true}, {"127.9.9.9:5353", false, true}, {"[::1]:53", false, true}, {"::1", false, true},
		{"192.0.2.1", false, false}, {"192.0.2.1", true, true}, {"2001:db8::1", false, false},
	} {
		r, err := New(Options{Servers: []string{tc.server, tc.server}, TrustAD: tc.trust})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.servers) != 1 || r.servers[0].trusted != tc.want {
			t.Errorf("%s: %+v, want one server, trusted %v", tc.server, r.servers, tc.want)
		}
		r.Close()
	}
	d := mailtest.StartDNS(t, mailtest.Zone{Records: "x.example. MX 10 mx.x.example.", Secure: true})
	r, err := New(Options{Servers: []string{d.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.servers[0].trusted = false
	if list, err := r.MX(t.Context(), "x.example"); err != nil || list[0].Secure {
		t.Errorf("the AD bit of a server that is not trusted counts: %v, %v", list, err)
	}
}

// FuzzReply feeds the payload of a UDP packet to what reads replies. What comes out is bounded and fit for a log.
func FuzzReply(f *testing.F) {
	types := []uint16{dns.TypeMX, dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeTXT}
	const name = "x.example"
	for i, typ := range types {
		q := query(name, typ)
		q.Id = 7
		for _, line := range []string{
			"x.example. MX 10 mx.example.", "x.example. A 192.0.2.1", "x.example. AAAA 2001:db8::1",
			"x.example. PTR a.example.", `x.example. TXT "a\010b"`, "x.example. CNAME y.example.", "x.example. MX 0 .",
			`x.example. MX 1 a\010b.example.`,
		} {
			m := new(dns.Msg)
			m.SetReply(q)
			rr, err := dns.NewRR(line)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = []dns.RR{rr}
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), b)
			f.Add(byte(i), b[:len(b)-3])
		}
	}
	f.Add(byte(0), []byte("\x00\x07\x82\x00\x00\x01\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, i byte, payload []byte) {
		typ := types[int(i)%len(types)]
		q := query(name, typ)
		q.Id = 7
		m, ok := match(payload, q)
		if !ok || m.Truncated {
			return
		}
		if err := usable(m); err != nil {
			if s := err.Error(); len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("error not fit for a log: %q", s)
			}
			return
		}
		r := newReading(name, typ)
		if !r.take(m, "192.0.2.53:53", false) {
			if len(r.seen) == 0 || len(r.seen) > maxAliases {
				t.Fatalf("asks again after %d aliases", len(r.seen))
			}
			if _, ok := dns.IsDomainName(r.name); !ok {
				t.Fatalf("would ask for %q", r.name)
			}
			return
		}
		a := &r.out
		if a.ttl < minTTL || a.ttl > maxTTL || len(a.mx) > maxExchanges || len(a.addrs) > maxAddrs || len(a.text) > maxTXT {
			t.Fatalf("out of bounds: %+v", a)
		}
		if a.kind == 0 && len(a.mx)+len(a.addrs)+len(a.text) == 0 {
			t.Fatalf("an answer without data: %+v", a)
		}
		if a.secure {
			t.Fatal("secure without trust")
		}
		names := []string{a.end}
		for _, x := range a.mx {
			names = append(names, x.host)
		}
		if typ == dns.TypePTR {
			names = append(names, a.text...)
		}
		for _, n := range names {
			if n != "" && (strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || n[0] == '-' || len(n) > maxName) {
				t.Fatalf("host name %q", n)
			}
		}
		for _, addr := range a.addrs {
			if addr.Is4In6() || addr.IsUnspecified() || addr.Is4() != (typ == dns.TypeA) {
				t.Fatalf("address %v", addr)
			}
		}
	})
}

// FuzzName: a name that is accepted can be asked for, and stays the same when it is made ready again.
func FuzzName(f *testing.F) {
	for _, s := range []string{"x.example", "X.Example.", "bücher.example", "a。b", "xn--a", "-a.b", "1.2.3.4", "a\x00", "ß.example", "_dmarc.ü.example", "\u200d.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := queryName(s)
		if err != nil {
			return
		}
		if again, err := queryName(n); err != nil || again != n {
			t.Fatalf("%q became %q, which becomes %q, %v", s, n, again, err)
		}
		if _, err := query(n, dns.TypeMX).Pack(); err != nil {
			t.Fatalf("%q cannot be asked for: %v", n, err)
		}
		if h, err := hostName(s); err == nil {
			if _, err := netip.ParseAddr(h); err == nil {
				t.Fatalf("%q is an address", h)
			}
		}
	})
}
