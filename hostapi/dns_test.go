package hostapi

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// zone answers by "type name". A name that is missing does not exist.
type zone struct {
	mu      sync.Mutex
	answers map[string]Answer
	errors  map[string]error
	asked   map[string]int
	hold    chan struct{} // answers wait for it; nil: they do not
}

func (z *zone) Lookup(ctx context.Context, name string, typ uint16) (Answer, error) {
	k := fmt.Sprintf("%d %s", typ, name)
	z.mu.Lock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	z.asked[k]++
	z.mu.Unlock()
	if z.hold != nil {
		select {
		case <-z.hold:
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
	if err := z.errors[k]; err != nil {
		return Answer{TTL: 5 * time.Second}, err
	}
	a, ok := z.answers[k]
	if !ok {
		return Answer{TTL: time.Minute, Secure: true}, abi.NXDomain
	}
	return a, nil
}

func (z *zone) count(k string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[k]
}

func records(list ...string) Answer {
	a := Answer{TTL: 90 * time.Second}
	for _, s := range list {
		a.Records = append(a.Records, []byte(s))
	}
	return a
}

const (
	typeA   = 1
	typeMX  = 15
	typeTXT = 16
)

func TestDNSQuery(t *testing.T) {
	z := &zone{answers: map[string]Answer{
		"15 example.org":        records("10 mx1.example.org", "20 mx2.example.org"),
		"16 secure.example.org": {Records: [][]byte{[]byte("v=spf1 -all"), {}}, TTL: time.Hour, Secure: true},
		"1 example.org":         records("\xc0\x00\x02\x01"),
		"16 example.org":        {TTL: time.Second},
	}, errors: map[string]error{"1 fail.example.org": abi.ServFail, "1 bogus.example.org": abi.Bogus, "1 odd.example.org": context.Canceled}}
	h := newHost(t, Grant{DNS: DNSGrant{Zones: []string{"Example.org."}}}, event(hook.Mail))
	h.c.guest.Resolver = z
	h.code(abi.NotFound, "get_num", abi.DNSTTL)
	h.code(abi.NotFound, "get_num", abi.DNSAD)
	h.text("\x12\x00\x00\x0010 mx1.example.org\x12\x00\x00\x0020 mx2.example.org", "dns.query", typeMX, "EXAMPLE.ORG.")
	h.number(90, "get_num", abi.DNSTTL)
	h.number(0, "get_num", abi.DNSAD)
	h.number(44, "dns.query", typeMX, "example.org", half, 43) // too small: once more, from memory
	h.text("\x12\x00\x00\x0010 mx1.example.org\x12\x00\x00\x0020 mx2.example.org", "dns.query", typeMX, "example.org")
	if n := z.count("15 example.org"); n != 1 {
		t.Errorf("the same question went out %d times", n)
	}
	h.text("\x0b\x00\x00\x00v=spf1 -all\x00\x00\x00\x00", "dns.query", typeTXT, "secure.example.org")
	h.number(1, "get_num", abi.DNSAD)
	h.text("\x04\x00\x00\x00\xc0\x00\x02\x01", "dns.query", typeA, "example.org")
	h.text("", "dns.query", typeTXT, "example.org")
	h.number(1, "get_num", abi.DNSTTL)
	h.code(abi.NXDomain, "dns.query", typeA, "none.example.org", half, half)
	h.number(60, "get_num", abi.DNSTTL)
	h.number(1, "get_num", abi.DNSAD)
	h.code(abi.ServFail, "dns.query", typeA, "fail.example.org", half, half)
	h.code(abi.Bogus, "dns.query", typeA, "bogus.example.org", half, half)
	h.code(abi.Unavailable, "dns.query", typeA, "odd.example.org", half, half)

	for _, typ := range []int{0, 3, 6, 255, 65536 + 1, -1} {
		h.code(abi.Unsupported, "dns.query", typ, "example.org", half, half)
	}
	for _, name := range []string{"", ".", "a b.example.org", "b\u00fccher.example.org", "a..example.org", "-a.example.org", "*.example.org", "a\x00.example.org",
		strings.Repeat("a", 64) + ".example.org", strings.Repeat("a.", 130) + "example.org", "192.0.2.1/24"} {
		h.code(abi.Invalid, "dns.query", typeA, name, half, half)
		h.code(abi.Invalid, "dns.prefetch", typeA, name)
	}
	for _, name := range []string{"example.com", "notexample.org", "org", "example.org.evil.example"} {
		h.code(abi.Denied, "dns.query", typeA, name, half, half)
		h.code(abi.Denied, "dns.prefetch", typeA, name)
	}
	h.c.End()
	h.c.Begin("mail", event(hook.Mail))
	h.code(abi.NotFound, "get_num", abi.DNSTTL)
	for n := range abi.MaxDNSCalls {
		h.code(abi.NXDomain, "dns.query", typeA, fmt.Sprintf("n%d.example.org", n), half, half)
	}
	h.code(abi.Limit, "dns.query", typeA, "example.org", half, half)
	h.code(abi.Limit, "dns.prefetch", typeA, "example.org")
	h.code(abi.NXDomain, "dns.query", typeA, "n0.example.org", half, half) // asked already

	h = newHost(t, Grant{}, event(hook.Mail))
	h.c.guest.Resolver = z
	h.code(abi.Denied, "dns.query", typeMX, "example.org", half, half)
	h.code(abi.Denied, "dns.prefetch", typeMX, "example.org")
	h.code(abi.Denied, "dns.dnsbl", "example.org", "192.0.2.1", half)
	h = newHost(t, Grant{DNS: DNSGrant{Zones: []string{"*"}}}, event(hook.Mail))
	h.code(abi.Unavailable, "dns.query", typeMX, "example.org", half, half)
	h.c.guest.Resolver = z
	h.c.meter = impatient{h.c.meter}
	z.hold = make(chan struct{})
	h.code(abi.Timeout, "dns.query", typeMX, "example.org", half, half)
}

func TestDNSPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{hold: make(chan struct{})}
		h := newHost(t, Grant{DNS: DNSGrant{Zones: []string{"*"}}}, event(hook.Mail))
		h.c.guest.Resolver = z
		for n := range abi.MaxDNSInFlight {
			h.code(abi.OK, "dns.prefetch", typeA, fmt.Sprintf("n%d.example", n))
		}
		h.code(abi.Limit, "dns.prefetch", typeA, "more.example")
		synctest.Wait()
		if z.count("1 n7.example") != 1 || h.c.guest.dnsWaiting.Load() != abi.MaxDNSInFlight {
			t.Error("prefetch does not ask")
		}
		close(z.hold)
		synctest.Wait()
		h.code(abi.OK, "dns.prefetch", typeA, "more.example")
		synctest.Wait()

		// All calls of a plugin together have their limit, and each its end.
		z.hold = make(chan struct{})
		granted := 0
		for range 20 {
			h.c.End()
			h.c.Begin("mail", event(hook.Mail))
			for n := range abi.MaxDNSInFlight {
				if h.call("dns.prefetch", typeA, fmt.Sprintf("x%d.example", n)) == 0 {
					granted++
				}
			}
		}
		if granted != maxPrefetch {
			t.Errorf("%d prefetches at once; want %d", granted, maxPrefetch)
		}
		time.Sleep(prefetchFor + time.Second)
		synctest.Wait()
		if n := h.c.guest.dnsWaiting.Load(); n != 0 {
			t.Errorf("%d prefetches go on for ever", n)
		}
	})
}

func TestDNSLists(t *testing.T) {
	six := "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.example"
	z := &zone{answers: map[string]Answer{
		"1 1.2.0.192.zen.example": records("\x7f\x00\x00\x0a", "\x7f\x00\x00\x02"),
		"1 " + six:                records("\x7f\x00\x00\x04"),
		"1 3.2.0.192.zen.example": records("\x7f\xff\xff\xfe"),
		"1 4.2.0.192.zen.example": records("\xc0\x00\x02\x01"),
		"1 5.2.0.192.zen.example": {},
		"1 6.2.0.192.zen.example": records("\x7f\xff\x00\x01"),
	}, errors: map[string]error{"1 7.2.0.192.zen.example": abi.ServFail}}
	h := newHost(t, Grant{DNS: DNSGrant{Zones: []string{"zen.example"}}}, event(hook.Connect))
	h.c.guest.Resolver = z
	for _, x := range []struct {
		ip     string
		want   int64
		answer string
	}{
		{"192.0.2.1", 1, "\x7f\x00\x00\x02"},
		{"::ffff:192.0.2.1", 1, "\x7f\x00\x00\x02"},
		{"2001:db8::1", 1, "\x7f\x00\x00\x04"},
		{"192.0.2.2", 0, "none"},
		{"192.0.2.3", int64(abi.Unavailable), "none"}, // the list refuses us
		{"192.0.2.4", int64(abi.Unavailable), "none"}, // not a list's answer
		{"192.0.2.5", 0, "none"},
		{"192.0.2.6", 1, "\x7f\xff\x00\x01"},
		{"192.0.2.7", int64(abi.ServFail), "none"},
		{"192.0.2", int64(abi.Invalid), "none"},
		{"fe80::1%eth0", int64(abi.Invalid), "none"},
		{"", int64(abi.Invalid), "none"},
	} {
		copy(h.m[half:], "none")
		h.number(x.want, "dns.dnsbl", "Zen.example.", x.ip, half)
		if got := string(h.m[half : half+4]); got != x.answer {
			t.Errorf("%s: the answer is %q, want %q", x.ip, got, x.answer)
		}
	}
	h.code(abi.Denied, "dns.dnsbl", "other.example", "192.0.2.1", half)
	h.code(abi.Invalid, "dns.dnsbl", "", "192.0.2.1", half)
	h.code(abi.Invalid, "dns.dnsbl", strings.Repeat("a.", 120)+"zen.example", "192.0.2.1", half)
}
