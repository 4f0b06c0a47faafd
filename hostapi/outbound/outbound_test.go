package outbound

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestPlaces(t *testing.T) {
	for _, x := range []struct {
		place, url string
		want       bool
	}{
		{"https://rep.example/v1/", "https://rep.example/v1/", true},
		{"https://rep.example/v1/", "https://rep.example/v1/a/b?c=d", true},
		{"https://rep.example/v1/", "https://REP.example:443/v1/a", true},
		{"https://rep.example/v1/", "https://rep.example/v1", false},
		{"https://rep.example/v1/", "https://rep.example/v2/", false},
		{"https://rep.example/v1/", "http://rep.example/v1/", false},
		{"https://rep.example/v1/", "https://rep.example:8443/v1/", false},
		{"https://rep.example/v1/", "https://rep.example.evil.example/v1/", false},
		{"https://rep.example/v1/", "https://evil.example/https://rep.example/v1/", false},
		{"https://rep.example/v1", "https://rep.example/v1", true},
		{"https://rep.example/v1", "https://rep.example/v1?q", true},
		{"https://rep.example/v1", "https://rep.example/v1/x", true},
		{"https://rep.example/v1", "https://rep.example/v1x", false},
		{"https://rep.example", "https://rep.example/any/thing", true},
		{"http://[::1]:8080/", "http://[::1]:8080/x", true},
		{"http://192.0.2.1", "http://192.0.2.1:80/", true},
	} {
		p, err := ParsePlace(x.place)
		if err != nil {
			t.Fatal(err)
		}
		u, err := ParseURL(x.url)
		if err != nil {
			if x.want {
				t.Errorf("%s: %v", x.url, err)
			}
			continue
		}
		if got := p.Covers(u); got != x.want {
			t.Errorf("%s covers %s: %v, want %v", x.place, x.url, got, x.want)
		}
	}
}

var badURLs = []string{
	"", "/", "rep.example", "//rep.example/", "ftp://rep.example/", "file:///etc/passwd", "https:rep.example",
	"https://user@rep.example/", "https://user:pw@rep.example/", "https://rep.example/#x", "https://rep.example/a b",
	"https://rep.example/\r\nHost: x", "https://rep.example/a/../b", "https://rep.example/..", "https://rep.example/./a",
	"https://rep.example/a/%2e%2e/b", "https://rep.example/a%2Fb", "https://rep.example/a%5cb", "https://rep.example/a\\b",
	"https://rep.example//a", "https://rep.example/a/..;x/b", "https://rep.example/%00", "https://rep.example/%zz",
	"https://rep.example:/", "https://rep.example:0/", "https://rep.example:99999/", "https://rep.example:080/",
	"https:///x", "https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://[fe80::1%25eth0]/",
	"https://b\u00fccher.example/", "https://rep..example/", "https://-x.example/", "https://rep.example./",
	"https://rep.example/" + strings.Repeat("x", MaxURL),
}

func TestBadURLsAreRefused(t *testing.T) {
	for _, s := range badURLs {
		if u, err := ParseURL(s); err == nil {
			t.Errorf("%q is taken as %v", s, u)
		}
	}
	if _, err := ParsePlace("https://rep.example/?q=1"); err == nil {
		t.Error("a place with a query is taken")
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range badURLs {
		f.Add(s)
	}
	f.Add("https://rep.example/v1/a?b")
	place, err := ParsePlace("https://rep.example/v1/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.EscapedPath() != u.EscapedPath() {
			t.Errorf("%q is read again as %v, %v", s, again, err)
		}
		if place.Covers(u) && !strings.HasPrefix(u.JoinPath().String(), "https://rep.example/v1/") && !strings.HasPrefix(u.JoinPath().String(), "https://rep.example:443/v1/") {
			t.Errorf("%q is covered, and is %s", s, u.JoinPath())
		}
	})
}

func TestHeader(t *testing.T) {
	h, err := ParseHeader("Accept: a\r\nX-One:  b \nX-One: c\n")
	if err != nil || h.Get("Accept") != "a" || strings.Join(h["X-One"], "|") != "b|c" || len(h) != 2 {
		t.Errorf("%v, %v", h, err)
	}
	for _, s := range []string{
		"Host: x", "host: x", "Content-Length: 1", "transfer-encoding: chunked", "Connection: close", "Proxy-Authorization: x",
		"Upgrade: h2c", "TE: x", "Expect: 100-continue", "Keep-Alive: 1", "Trailer: x",
		"no colon", ": x", "A B: x", "A\x00: x", "A: x\x00y", "A: x\ry", " A: x", "A\t: x", "\u00fc: x",
		"A: " + strings.Repeat("x", MaxHeader), strings.Repeat("A: x\n", maxFields+1),
	} {
		if h, err := ParseHeader(s); err == nil {
			t.Errorf("%.60q is taken as %v", s, h)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add("Accept: a\r\nX: b\n")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHeader(s)
		if err != nil {
			return
		}
		var b strings.Builder
		if err := h.Write(&b); err != nil {
			t.Fatal(err)
		}
		n := 0
		for range h {
			n++
		}
		lines := 0
		for _, v := range h {
			lines += len(v)
		}
		if got := strings.Count(b.String(), "\n"); got != lines {
			t.Errorf("%q becomes %q: %d lines for %d values", s, b.String(), got, lines)
		}
	})
}

func TestPublicAddresses(t *testing.T) {
	for s, want := range map[string]bool{
		"8.8.8.8": true, "2a00:1450:4001::1": true, "::ffff:8.8.8.8": true, "64:ff9b::808:808": true, "2002:808:808::1": true,
		"127.0.0.1": false, "127.255.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false, "224.0.0.1": false,
		"239.1.1.1": false, "240.0.0.1": false, "255.255.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "198.18.0.1": false,
		"198.51.100.1": false, "203.0.113.1": false, "192.88.99.1": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "fe80::1": false,
		"fec0::1": false, "fc00::1": false, "fd12::1": false, "ff02::1": false, "64:ff9b::7f00:1": false, "64:ff9b::a00:1": false,
		"64:ff9b:1::1": false, "2002:7f00:1::1": false, "2002:a00:1::": false, "2001::1": false, "2001:db8::1": false, "100::1": false,
		"3fff::1": false, "5f00::1": false,
	} {
		if got := Public(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s public: %v, want %v", s, got, want)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func get(t *testing.T, c *Client, target string, private bool) (*http.Response, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r, private)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b), nil
}

func TestOnlyPrivatePlacesReachThisMachine(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	var hits atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
		}
		io.WriteString(w, r.UserAgent()+r.Header.Get("Accept-Encoding"))
	}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	names := map[string][]netip.Addr{
		"local.example": {netip.MustParseAddr("127.0.0.1")},
		"mixed.example": {netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("10.255.255.1"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("224.0.0.1")},
		"zero.example":  {netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::"), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("255.255.255.255")},
		"empty.example": nil,
	}
	c := New(Options{Addrs: func(_ context.Context, host string) ([]netip.Addr, error) { return names[host], nil }})
	defer c.Close()
	for _, host := range []string{"127.0.0.1", "local.example", "mixed.example", "zero.example", "empty.example"} {
		if _, _, err := get(t, c, "http://"+host+":"+port+"/", false); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v; want ErrAddress", host, err)
		}
	}
	if _, _, err := get(t, c, "http://zero.example:"+port+"/", true); !errors.Is(err, ErrAddress) {
		t.Errorf("a private place with addresses that are nobody's: %v; want ErrAddress", err)
	}
	if hits.Load() != 0 {
		t.Error("a refused request came to the server")
	}
	resp, body, err := get(t, c, "http://local.example:"+port+"/", true)
	if err != nil || resp.StatusCode != 200 || body != "wasmta" {
		t.Errorf("private: %v, %q, %v; want 200 with our name and no encoding", resp, body, err)
	}
	// The connection that is open now is not for public places.
	if _, _, err := get(t, c, "http://local.example:"+port+"/", false); !errors.Is(err, ErrAddress) {
		t.Errorf("after a private request: %v; want ErrAddress", err)
	}
	before := hits.Load()
	if resp, _, err = get(t, c, "http://local.example:"+port+"/away", true); err != nil || resp.StatusCode != 302 || hits.Load() != before+1 {
		t.Errorf("a redirect: %v, %v, %d requests; want to see it and not follow it", resp, err, hits.Load()-before)
	}
}

// A name that changes its address between the check and the connection gains
// nothing: the socket is checked.
func TestTheSocketIsChecked(t *testing.T) {
	d := dialer{o: Options{Self: func(a netip.Addr) bool { return a == netip.MustParseAddr("8.8.4.4") }}}
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:10.0.0.1]:80", "169.254.169.254:80", "8.8.4.4:80", "[fe80::1%lo]:80", "x", ""} {
		if err := d.control("tcp", address, nil); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v; want ErrAddress", address, err)
		}
	}
	if err := d.control("tcp", "8.8.8.8:80", nil); err != nil {
		t.Error(err)
	}
	if !isLocal(netip.MustParseAddr("127.0.0.1")) || isLocal(netip.MustParseAddr("192.0.2.77")) {
		t.Error("the machine's own addresses are not known")
	}
}

func TestTLSIsVerified(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer s.Close()
	s.Config.ErrorLog = nil
	addrs := func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	good := New(Options{Addrs: addrs, RootCAs: roots})
	defer good.Close()
	if _, body, err := get(t, good, "https://example.com:"+port+"/", true); err != nil || body != "hello" {
		t.Errorf("%q, %v; want hello", body, err)
	}
	if _, _, err := get(t, good, "https://other.example:"+port+"/", true); err == nil {
		t.Error("a certificate for another name is accepted")
	}
	unknown := New(Options{Addrs: addrs})
	defer unknown.Close()
	if _, _, err := get(t, unknown, "https://example.com:"+port+"/", true); err == nil {
		t.Error("a certificate of nobody known is accepted")
	}
}
