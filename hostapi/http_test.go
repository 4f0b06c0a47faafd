package hostapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/outbound"
)

// httpHost has a grant for a server on this machine.
func httpHost(t testing.TB, g Grant, e *hook.Event, handler http.HandlerFunc) (h *host, base string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	base = "http://rep.example:" + port
	if g.HTTP == nil {
		g.HTTP = []HTTPGrant{{URL: base + "/v1/", Methods: []string{"GET", "POST"}, Private: true}, {URL: base + "/open/"}}
	}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	h = newHost(t, g, e)
	client := outbound.New(outbound.Options{Addrs: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	t.Cleanup(client.Close)
	h.c.guest.HTTP = client
	t.Cleanup(h.c.End)
	return h, base
}

// again ends the call and begins the next.
func (h *host) again(e *hook.Event) {
	h.c.End()
	h.c.Begin(e.Stage.String(), e)
	h.c.guest.httpRate.second = 0
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Method", r.Method)
	w.Header().Add("X-Two", "a")
	w.Header().Add("X-Two", "b")
	w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
	w.Header().Set("X-Type", r.Header.Get("Content-Type"))
	w.Header().Set("X-Given", r.Header.Get("X-Given"))
	if r.URL.Path == "/v1/missing" {
		w.WriteHeader(404)
	}
	if r.URL.Path == "/v1/away" {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusMovedPermanently)
		return
	}
	io.Copy(w, r.Body)
}

func TestHTTP(t *testing.T) {
	e := event(hook.Rcpt)
	h, base := httpHost(t, Grant{}, e, echo)
	h.number(1, "http.start", abi.HTTPPost, base+"/v1/x", "X-Given: g\nContent-Type: text/plain", "hello", 0)
	h.number(200, "http.wait", 1, -1)
	h.number(200, "http.wait", 1, 0)
	h.text("POST", "http.header", 1, "x-method")
	h.text("a, b", "http.header", 1, "X-Two")
	h.text("text/plain", "http.header", 1, "X-Type")
	h.text("g", "http.header", 1, "X-Given")
	h.text("5", "http.header", 1, "X-Length")
	h.number(4, "http.header", 1, "X-Method", half, 3)
	h.code(abi.NotFound, "http.header", 1, "X-None", half, half)
	h.code(abi.TooLarge, "http.header", 1, strings.Repeat("x", 600), half, half)
	h.number(3, "http.read", 1, half, 3)
	h.text("lo", "http.read", 1)
	h.number(0, "http.read", 1, half, half)
	h.number(0, "http.read", 1, half, half)
	h.code(abi.Invalid, "http.read", 1, half, 0)
	h.code(abi.Invalid, "http.wait", 1, -2)
	h.code(abi.OK, "http.close", 1)
	for _, handle := range []int{1, 0, -1, 2, 5, 1 << 31} {
		h.code(abi.NotFound, "http.close", handle)
		h.code(abi.NotFound, "http.wait", handle, -1)
		h.code(abi.NotFound, "http.read", handle, half, half)
		h.code(abi.NotFound, "http.header", handle, "x", half, half)
	}
	h.number(2, "http.start", abi.HTTPGet, base+"/v1/missing", "", "", 1000)
	h.number(404, "http.wait", 2, 5000)
	h.number(3, "http.start", abi.HTTPGet, base+"/v1/away", "", "", 1000)
	h.number(301, "http.wait", 3, -1)
	h.text("http://127.0.0.1:1/", "http.header", 3, "Location")
	h.code(abi.Limit, "http.start", abi.HTTPGet, base+"/v1/x", "", "", 0) // two are open
	h.code(abi.OK, "http.close", 2)
	h.number(4, "http.start", abi.HTTPGet, base+"/v1/x", "", "", 0)
	h.code(abi.OK, "http.close", 3)
	h.code(abi.Limit, "http.start", abi.HTTPGet, base+"/v1/x", "", "", 0) // the fifth
	h.again(e)
	h.code(abi.NotFound, "http.wait", 4, -1)

	for _, x := range []struct {
		want              abi.Code
		method            int32
		url, header, body string
	}{
		{abi.Denied, abi.HTTPPut, base + "/v1/x", "", ""},
		{abi.Denied, abi.HTTPPost, base + "/open/x", "", ""},
		{abi.Denied, abi.HTTPGet, base + "/v2/x", "", ""},
		{abi.Denied, abi.HTTPGet, "https" + strings.TrimPrefix(base, "http") + "/v1/", "", ""},
		{abi.Denied, abi.HTTPGet, "http://127.0.0.1/v1/", "", ""},
		{abi.Invalid, abi.HTTPGet, base + "/v1/../v2", "", ""},
		{abi.Invalid, abi.HTTPGet, "ftp://rep.example/v1/", "", ""},
		{abi.Invalid, abi.HTTPGet, "", "", ""},
		{abi.Invalid, abi.HTTPGet, base + "/v1/ HTTP/1.1\r\nX: y", "", ""},
		{abi.TooLarge, abi.HTTPGet, base + "/v1/" + strings.Repeat("x", 3000), "", ""},
		{abi.Invalid, abi.HTTPGet, base + "/v1/x", "Host: other.example", ""},
		{abi.Invalid, abi.HTTPGet, base + "/v1/x", "X: a\rY: b", ""},
		{abi.TooLarge, abi.HTTPGet, base + "/v1/x", "X: " + strings.Repeat("x", 20_000), ""},
		{abi.Invalid, abi.HTTPGet, base + "/v1/x", "", "body"},
		{abi.Unsupported, 0, base + "/v1/x", "", ""},
		{abi.Unsupported, 7, base + "/v1/x", "", ""},
		{abi.Unsupported, -1, base + "/v1/x", "", ""},
	} {
		h.code(x.want, "http.start", x.method, x.url, x.header, x.body, 0)
	}
	h.code(abi.Invalid, "http.start", abi.HTTPGet, base+"/v1/x", "", "", -1)
	if len(h.lines) == 0 || !strings.Contains(h.lines[0].Text, "no place of the grant") {
		t.Errorf("the author is told %+v; want why", h.lines)
	}

	// Loopback is not for a place that is not private.
	h.number(1, "http.start", abi.HTTPGet, base+"/open/x", "", "", 0)
	h.code(abi.Denied, "http.wait", 1, -1)
	h.code(abi.Denied, "http.read", 1, half, half)

	h.again(e)
	h.c.guest.HTTP = nil
	h.code(abi.Unavailable, "http.start", abi.HTTPGet, base+"/v1/x", "", "", 0)
	h = newHost(t, Grant{}, e)
	h.code(abi.Denied, "http.start", abi.HTTPGet, base+"/v1/x", "", "", 0)
	h.code(abi.Denied, "http.start_msg", base+"/v1/x", "", abi.SendBody, 0)
	h, base = httpHost(t, Grant{}, nil, echo)
	h.code(abi.State, "http.start", abi.HTTPGet, base+"/v1/x", "", "", 0)
}

func TestHTTPIsBounded(t *testing.T) {
	var hanging atomic.Int32
	var ends = make(chan struct{}, 10)
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/big":
			w.Write(make([]byte, abi.MaxHTTPResponse+1))
		case "/v1/full":
			w.Write(make([]byte, abi.MaxHTTPResponse))
		case "/v1/broken":
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("x"))
		case "/v1/drip":
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			ends <- struct{}{}
		default:
			hanging.Add(1)
			<-r.Context().Done()
			ends <- struct{}{}
		}
	}
	e := event(hook.Rcpt)
	h, base := httpHost(t, Grant{}, e, handler)
	readAll := func() (total int64, last int64) {
		for {
			n := h.call("http.read", 1, half, half)
			if n <= 0 {
				return total, n
			}
			total += n
		}
	}
	h.call("http.start", abi.HTTPGet, base+"/v1/full", "", "", 0)
	if n, last := readAll(); n != abi.MaxHTTPResponse || last != 0 {
		t.Errorf("read %d, then %d", n, last)
	}
	h.again(e)
	h.call("http.start", abi.HTTPGet, base+"/v1/big", "", "", 0)
	if n, last := readAll(); n > abi.MaxHTTPResponse || last != int64(abi.TooLarge) {
		t.Errorf("read %d, then %d; want E_TOO_LARGE", n, last)
	}
	h.code(abi.TooLarge, "http.read", 1, half, half)
	h.again(e)
	h.call("http.start", abi.HTTPGet, base+"/v1/broken", "", "", 0)
	h.text("x", "http.read", 1)
	h.code(abi.Unavailable, "http.read", 1, half, half)

	// The time of the request, and that of waiting for it.
	h.again(e)
	h.call("http.start", abi.HTTPGet, base+"/v1/hang", "", "", 50)
	h.code(abi.Timeout, "http.wait", 1, 0)
	h.code(abi.Timeout, "http.wait", 1, 1)
	h.code(abi.Timeout, "http.wait", 1, -1)
	h.code(abi.Timeout, "http.read", 1, half, half)
	<-ends
	h.again(e)
	h.call("http.start", abi.HTTPGet, base+"/v1/drip", "", "", 100)
	h.number(200, "http.wait", 1, -1)
	h.text("x", "http.read", 1)
	h.code(abi.Timeout, "http.read", 1, half, half)
	<-ends

	// The end of the call ends its requests.
	h.again(e)
	h.call("http.start", abi.HTTPGet, base+"/v1/hang", "", "", 0)
	h.call("http.start", abi.HTTPGet, base+"/v1/drip", "", "", 0)
	h.number(200, "http.wait", 2, -1)
	for hanging.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	h.c.End()
	<-ends
	<-ends

	// When the session ends, so does the wait.
	h.again(e)
	h.call("http.start", abi.HTTPGet, base+"/v1/drip", "", "", 0)
	h.number(200, "http.wait", 1, -1)
	h.text("x", "http.read", 1)
	h.c.meter = impatient{h.c.meter}
	h.code(abi.Timeout, "http.read", 1, half, half)
	<-ends

	h.again(e)
	limit := 0
	h.c.guest.Now = func() time.Time { return time.Unix(1e9, 0) }
	for range abi.MaxHTTPRate + 1 {
		n := h.call("http.start", abi.HTTPGet, base+"/v1/full", "", "", 0)
		if n == int64(abi.Limit) {
			limit++
		} else {
			h.code(abi.OK, "http.close", int(n))
		}
		h.c.End()
		h.c.Begin("rcpt", e)
	}
	if limit != 1 {
		t.Errorf("%d of %d requests in a second were refused, want 1", limit, abi.MaxHTTPRate+1)
	}
}

func TestHTTPSendsTheMessage(t *testing.T) {
	body := strings.Repeat("0123456789abcdef\r\n", 50_000)
	e := contentEvent(body)
	h, base := httpHost(t, Grant{Headers: Write, Body: Read}, e, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %s", r.Method, r.Header.Get("Content-Type"), r.ContentLength, sum256(string(b)))
	})
	for _, x := range []struct {
		what    int32
		typ     string
		content string
	}{
		{abi.SendMessage, "message/rfc822", headerBlock + body},
		{abi.SendBody, "application/octet-stream", body},
		{abi.SendHeaders, "text/rfc822-headers", headerBlock},
	} {
		h.again(e)
		h.number(1, "http.start_msg", base+"/v1/scan", "", x.what, 0)
		h.text(fmt.Sprintf("POST %s %d %s", x.typ, len(x.content), sum256(x.content)), "http.read", 1)
	}
	h.again(e)
	h.number(1, "http.start_msg", base+"/v1/scan", "Content-Type: a/b", abi.SendHeaders, 0)
	h.text(fmt.Sprintf("POST a/b %d %s", len(headerBlock), sum256(headerBlock)), "http.read", 1)
	h.code(abi.Unsupported, "http.start_msg", base+"/v1/scan", "", 0, 0)
	h.code(abi.Unsupported, "http.start_msg", base+"/v1/scan", "", 4, 0)
	h.code(abi.Denied, "http.start_msg", base+"/open/scan", "", abi.SendBody, 0)
	h.again(event(hook.Headers))
	h.code(abi.State, "http.start_msg", base+"/v1/scan", "", abi.SendMessage, 0)
	h.number(1, "http.start_msg", base+"/v1/scan", "", abi.SendHeaders, 0)
	h.number(200, "http.wait", 1, -1)

	h, base = httpHost(t, Grant{Headers: Read}, e, echo)
	h.code(abi.Denied, "http.start_msg", base+"/v1/", "", abi.SendMessage, 0)
	h.code(abi.Denied, "http.start_msg", base+"/v1/", "", abi.SendBody, 0)
	h, base = httpHost(t, Grant{Body: Read}, e, echo)
	h.code(abi.Denied, "http.start_msg", base+"/v1/", "", abi.SendMessage, 0)
	h.code(abi.Denied, "http.start_msg", base+"/v1/", "", abi.SendHeaders, 0)
}

// guarded is a spool that must not be read after the call.
type guarded struct {
	over atomic.Bool
	late atomic.Int32
}

func (g *guarded) ReadAt(b []byte, _ int64) (int, error) {
	if g.over.Load() {
		g.late.Add(1)
		return 0, errors.New("closed")
	}
	clear(b)
	return len(b), nil
}

func TestTheSpoolIsNotReadAfterTheCall(t *testing.T) {
	h, base := httpHost(t, Grant{Body: Read}, nil, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	})
	for range 20 {
		g := &guarded{}
		e := event(hook.Message)
		e.Content.Body, e.Content.BodySize = g, 1<<40
		h.again(e)
		h.number(1, "http.start_msg", base+"/v1/scan", "", abi.SendBody, 0)
		h.code(abi.Timeout, "http.wait", 1, rand.IntN(5))
		h.c.End()
		g.over.Store(true)
		time.Sleep(time.Millisecond)
		if g.late.Load() > 0 {
			t.Fatal("the spool was read after the end of the call")
		}
	}
}

func TestGrantsThatCannotBeMeantAreRefused(t *testing.T) {
	for _, g := range []Grant{
		{HTTP: []HTTPGrant{{URL: "rep.example"}}},
		{HTTP: []HTTPGrant{{URL: "https://rep.example/?x"}}},
		{HTTP: []HTTPGrant{{URL: "https://rep.example/", Methods: []string{"get"}}}},
		{HTTP: []HTTPGrant{{URL: "https://rep.example/", Methods: []string{"CONNECT"}}}},
		{HTTP: []HTTPGrant{{URL: "https://rep.example/", Methods: []string{""}}}},
		{DNS: DNSGrant{Zones: []string{""}}},
		{DNS: DNSGrant{Zones: []string{"*.example"}}},
	} {
		if err := g.Check(); err == nil {
			t.Errorf("%+v is taken", g)
		}
	}
	g := Grant{HTTP: []HTTPGrant{{URL: "https://rep.example/v1", Methods: []string{"GET"}}}, DNS: DNSGrant{Zones: []string{"*", "example.org", ".example.net."}}}
	if err := g.Check(); err != nil {
		t.Error(err)
	}
}

// Whatever numbers a guest hands over, a host call ends in a result or a trap.
func FuzzCapabilities(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x02\x03\x04"))
	f.Add([]byte("https://rep.example/v1/\x00\x10"))
	names := []string{}
	for _, fn := range Functions() {
		switch fn.Module {
		case abi.ModuleDNS, abi.ModuleHTTP, abi.ModuleCrypto:
			names = append(names, strings.TrimPrefix(fn.Module, "mta1_")+"."+fn.Name)
		}
	}
	h, _ := cryptoHost(f, Grant{Headers: Read, Body: Read, DNS: DNSGrant{Zones: []string{"*"}}, SignKeys: []string{"", "ed", "rsa", "mac"},
		HTTP: []HTTPGrant{{URL: "https://rep.example/v1/", Methods: []string{"GET", "POST"}}}}, nil)
	h.c.guest.Resolver = &zone{answers: map[string]Answer{"1 a": records("\x7f\x00\x00\x02")}}
	h.c.guest.HTTP = noHTTP{}
	f.Fuzz(func(t *testing.T, script []byte) {
		h.t = t
		h.again(contentEvent("body\r\n"))
		h.c.meter = &meter{1 << 30}
		copy(h.m, script)
		copy(h.m[1024:], "edrsamac192.0.2.1https://rep.example/v1/x")
		next := func() uint64 {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			switch b % 8 {
			case 0:
				return uint64(b >> 3)
			case 1:
				return 1024 + uint64(b>>3)
			case 2:
				return uint64(len(h.m)) - uint64(b>>3)
			case 3:
				return 1<<32 - uint64(b>>3)
			case 4:
				return 1<<63 - uint64(b>>3)
			case 5:
				return ^uint64(0) >> (b >> 3)
			case 6:
				return uint64(b>>3) % 4
			}
			v := binary.LittleEndian.Uint64(append(append([]byte(nil), script[:min(8, len(script))]...), make([]byte, 8)...))
			script = script[min(8, len(script)):]
			return v
		}
		for range 12 {
			if len(script) == 0 {
				break
			}
			fn := h.fn[names[int(script[0])%len(names)]]
			script = script[1:]
			params, _, _ := strings.Cut(string(fn.Signature), ">")
			var p []uint64
			for _, kind := range params {
				v := next()
				if kind == 'i' {
					v = uint64(uint32(v))
				}
				p = append(p, v)
			}
			func() {
				defer func() {
					if r := recover(); r != nil {
						if _, ok := r.(*Trap); !ok {
							panic(fmt.Sprintf("%s%v: %v", fn.Name, p, r))
						}
					}
				}()
				if r := fn.Call(h.c, h.m, p); r < -22 {
					t.Errorf("%s%v = %d", fn.Name, p, r)
				}
			}()
		}
		h.c.End()
	})
}

type noHTTP struct{}

func (noHTTP) Do(r *http.Request, _ bool) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: r.Header, Body: io.NopCloser(strings.NewReader("hello"))}, nil
}
