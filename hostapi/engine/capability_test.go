package engine_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
	"github.com/wasmta/wasmta/hostapi/outbound"
)

// script is a hook that makes calls one after the other, and rejects with the
// number of the first that did not give what it should.
type script struct {
	*guest
	sig   map[string]string
	code  wb.Code
	data  uint32
	steps int
}

const (
	scriptData = 16 << 10
	scriptOut  = 2048
)

func newScript(modules ...string) *script {
	s := &script{guest: newGuest(), sig: map[string]string{}, data: scriptData}
	abi.Functions(func(name string, sig abi.Signature) { s.sig[name] = string(sig) })
	abi.Capabilities(func(module, name string, sig abi.Signature, _ []string) {
		if slices.Contains(modules, module) {
			params, results, _ := strings.Cut(string(sig), ">")
			k := strings.TrimPrefix(module, "mta1_") + "." + name
			s.sig[k] = string(sig)
			s.fn[k] = s.Import(module, name, types(params), types(results))
		}
	})
	return s
}

// push makes a call: a string is its place and length in memory.
func (s *script) push(name string, args ...any) wb.Code {
	params := s.sig[name]
	var c wb.Code
	number := func(v int64) {
		if params[0] == 'I' {
			c += wb.I64Const(v)
		} else {
			c += wb.I32Const(int32(v))
		}
		params = params[1:]
	}
	for _, a := range args {
		switch a := a.(type) {
		case string:
			s.Data(int32(s.data), a)
			number(int64(s.data))
			number(int64(len(a)))
			s.data += uint32(len(a)+7) &^ 7
		case int:
			number(int64(a))
		case int32:
			number(int64(a))
		case abi.Field:
			number(int64(a))
		default:
			panic(fmt.Sprintf("argument %T", a))
		}
	}
	return c + wb.Call(s.fn[name])
}

func (s *script) want(result int, name string, args ...any) {
	s.code += s.push(name, args...)
	if strings.HasSuffix(s.sig[name], ">I") {
		s.code += wb.I32WrapI64
	}
	s.code += wb.LocalTee(0) + wb.I32Const(int32(result)) + wb.I32Ne + wb.If(wb.None, s.fail(), "")
	s.steps++
}

// says wants n octets, which it logs.
func (s *script) says(n int, name string, args ...any) {
	s.want(n, name, append(args, scriptOut, 1024)...)
	s.code += wb.I32Const(1) + wb.I32Const(scriptOut) + wb.I32Const(int32(n)) + wb.Call(s.fn["log"]) + wb.Drop
}

func (s *script) fail() wb.Code {
	return wb.I32Const(512) + wb.LocalGet(0) + wb.I32Store(0) +
		wb.I32Const(1) + wb.I32Const(512) + wb.I32Const(4) + wb.Call(s.fn["log"]) + wb.Drop +
		wb.I32Const(abi.Verdict(abi.Reject, 0, 500+s.steps)) + wb.Return
}

func (s *script) run(t *testing.T, opt engine.Options, g hostapi.Grant, e *hook.Event) []string {
	t.Helper()
	var log lines
	opt.Log = log.add
	eng := newEngine(t, opt)
	s.on(e.Stage.String(), s.code+wb.I32Const(0))
	p := load(t, eng, hostapi.Spec{Grant: g}, s.finish())
	v, err := ask(t, p, e)
	if err != nil {
		t.Fatal(err)
	}
	if v.Action != hook.Continue {
		t.Errorf("step %d (of %d, from 0) gave something else: %q", v.Reply.Code-500, s.steps, log.texts())
	}
	return log.texts()
}

func with(services hostapi.Services) engine.Options {
	return engine.Options{Services: func(hostapi.Spec) (hostapi.Services, error) { return services, nil }}
}

func messageEvent(body string) *hook.Event {
	h, err := mail.ParseHeader([]byte("Subject: one\r\n\r\n"))
	if err != nil {
		panic(err)
	}
	e := rcptEvent()
	e.Stage, e.Recipient = hook.Message, -1
	e.Content = &hook.Content{Header: h, Body: strings.NewReader(body), BodySize: int64(len(body))}
	return e
}

// names answers A and TXT of a few names.
type names struct {
	hold  chan struct{} // nil: answers at once
	asked chan string
}

func (n names) Lookup(ctx context.Context, name string, typ uint16) (hostapi.Answer, error) {
	if n.asked != nil {
		n.asked <- name
	}
	if n.hold != nil {
		select {
		case <-n.hold:
		case <-ctx.Done():
			return hostapi.Answer{}, ctx.Err()
		}
	}
	switch name {
	case "txt.example":
		return hostapi.Answer{Records: [][]byte{[]byte("hello")}, TTL: time.Minute, Secure: true}, nil
	case "1.2.0.192.list.example":
		return hostapi.Answer{Records: [][]byte{{127, 0, 0, 2}}}, nil
	case "3.2.0.192.list.example":
		return hostapi.Answer{Records: [][]byte{{127, 255, 255, 254}}}, nil
	case "fail.example":
		return hostapi.Answer{}, abi.ServFail
	case "bogus.example":
		return hostapi.Answer{}, abi.Bogus
	case "empty.example":
		return hostapi.Answer{}, nil
	}
	return hostapi.Answer{}, abi.NXDomain
}

func TestGuestAsksTheDNS(t *testing.T) {
	s := newScript(abi.ModuleDNS)
	s.want(int(abi.NotFound), "get_num", abi.DNSTTL)
	s.want(0, "dns.prefetch", 16, "txt.example")
	s.says(9, "dns.query", 16, "txt.example")
	s.want(60, "get_num", abi.DNSTTL)
	s.want(1, "get_num", abi.DNSAD)
	s.want(9, "dns.query", 16, "txt.example", scriptOut, 8)
	s.want(0, "dns.query", 1, "empty.example", scriptOut, 8)
	s.want(1, "dns.dnsbl", "list.example", "192.0.2.1", scriptOut)
	s.want(0, "dns.dnsbl", "list.example", "192.0.2.2", scriptOut)
	s.want(int(abi.Unavailable), "dns.dnsbl", "list.example", "192.0.2.3", scriptOut)
	s.want(int(abi.Invalid), "dns.dnsbl", "list.example", "nobody", scriptOut)
	s.want(int(abi.NXDomain), "dns.query", 1, "none.example", scriptOut, 8)
	s.want(int(abi.ServFail), "dns.query", 1, "fail.example", scriptOut, 8)
	s.want(int(abi.Bogus), "dns.query", 1, "bogus.example", scriptOut, 8)
	s.want(int(abi.Denied), "dns.query", 1, "example.org", scriptOut, 8)
	s.want(int(abi.Invalid), "dns.query", 1, "a b.example", scriptOut, 8)
	s.want(int(abi.Unsupported), "dns.query", 99, "txt.example", scriptOut, 8)
	for n := range 22 {
		s.want(int(abi.NXDomain), "dns.query", 1, fmt.Sprintf("n%d.example", n), scriptOut, 8)
	}
	s.want(int(abi.Limit), "dns.query", 1, "more.example", scriptOut, 8)
	s.want(int(abi.Limit), "dns.prefetch", 1, "more.example")
	g := hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"example"}}}
	if got := s.run(t, with(hostapi.Services{Resolver: names{}}), g, rcptEvent()); !slices.Equal(got, []string{"\\x05\\x00\\x00\\x00hello"}) {
		t.Errorf("it read %q", got)
	}

	s = newScript(abi.ModuleDNS)
	s.want(int(abi.Unavailable), "dns.query", 1, "txt.example", scriptOut, 8)
	s.run(t, engine.Options{}, g, rcptEvent())

	// The wall time of the call is the end of waiting, and the guest is told.
	s = newScript(abi.ModuleDNS)
	s.want(int(abi.Timeout), "dns.query", 1, "slow.example", scriptOut, 8)
	opt := with(hostapi.Services{Resolver: names{hold: make(chan struct{})}})
	opt.Limits = func(d *engine.Defaults) { d.Calls[hook.Rcpt].Wall = 300 * time.Millisecond }
	s.run(t, opt, g, rcptEvent())
}

// A guest that waits leaves its place to others.
func TestWaitingGuestsDoNotHoldUpOthers(t *testing.T) {
	hold, asked := make(chan struct{}), make(chan string, 1000)
	e := newEngine(t, with(hostapi.Services{Resolver: names{hold, asked}}))
	s := newScript(abi.ModuleDNS)
	s.want(int(abi.NXDomain), "dns.query", 1, "slow.example", scriptOut, 8)
	s.on("rcpt", s.code+wb.I32Const(0))
	waiting := load(t, e, hostapi.Spec{Name: "waiting", Grant: hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"*"}}}}, s.finish())
	quick := newGuest()
	quick.on("rcpt", wb.I32Const(int32(abi.Accept)))
	other := load(t, e, hostapi.Spec{Name: "other"}, quick.finish())

	n := 4*runtime.GOMAXPROCS(0) + 3
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if v, err := ask(t, waiting, rcptEvent()); err != nil || v.Action != hook.Continue {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
	for range n {
		<-asked
	}
	if v, err := ask(t, other, rcptEvent()); err != nil || v.Action != hook.Accept {
		t.Errorf("while %d guests wait: %v, %v; want accept", n, v, err)
	}
	close(hold)
	wg.Wait()
}

func TestGuestSpeaksHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Type", r.Header.Get("Content-Type"))
		if r.URL.Path == "/v1/slow" {
			<-r.Context().Done()
		}
		fmt.Fprintf(w, "%s %q", r.Method, b)
	}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	base := "http://rep.example:" + port
	client := outbound.New(outbound.Options{Addrs: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	defer client.Close()
	g := hostapi.Grant{Headers: hostapi.Read, Body: hostapi.Read, HTTP: []hostapi.HTTPGrant{
		{URL: base + "/v1/", Methods: []string{"GET", "POST"}, Private: true}, {URL: base + "/public/"}}}

	s := newScript(abi.ModuleHTTP)
	s.want(1, "http.start", abi.HTTPPost, base+"/v1/a", "Content-Type: x/y", "hi", 0)
	s.want(200, "http.wait", 1, -1)
	s.says(3, "http.header", 1, "X-Type")
	s.want(int(abi.NotFound), "http.header", 1, "X-None", scriptOut, 10)
	s.says(9, "http.read", 1)
	s.want(0, "http.read", 1, scriptOut, 100)
	s.want(2, "http.start_msg", base+"/v1/a", "", abi.SendMessage, 0)
	s.want(int(abi.Limit), "http.start", abi.HTTPGet, base+"/v1/a", "", "", 0)
	s.want(0, "http.close", 1)
	s.want(int(abi.NotFound), "http.close", 1)
	s.says(35, "http.read", 2)
	s.want(0, "http.close", 2)
	s.want(3, "http.start", abi.HTTPGet, base+"/v1/slow", "", "", 20)
	s.want(int(abi.Timeout), "http.wait", 3, 0)
	s.want(int(abi.Timeout), "http.wait", 3, -1)
	s.want(4, "http.start", abi.HTTPGet, base+"/public/", "", "", 0)
	s.want(int(abi.Denied), "http.wait", 4, -1)
	s.want(0, "http.close", 4)
	s.want(int(abi.Limit), "http.start", abi.HTTPGet, base+"/v1/a", "", "", 0)
	s.want(int(abi.Denied), "http.start", abi.HTTPPut, base+"/v1/a", "", "", 0)
	s.want(int(abi.Denied), "http.start", abi.HTTPGet, base+"/v2/a", "", "", 0)
	s.want(int(abi.Invalid), "http.start", abi.HTTPGet, base+"/v1/../a", "", "", 0)
	s.want(int(abi.Invalid), "http.start", abi.HTTPGet, base+"/v1/a", "Host: x", "", 0)
	s.want(int(abi.TooLarge), "http.start", abi.HTTPGet, base+"/v1/"+strings.Repeat("x", 3000), "", "", 0)
	s.want(int(abi.Unsupported), "http.start", 99, base+"/v1/a", "", "", 0)
	got := s.run(t, with(hostapi.Services{HTTP: client}), g, messageEvent("body\r\n"))
	for _, want := range []string{"x/y", `POST "hi"`, `POST "Subject: one\r\n\r\nbody\r\n"`} {
		if !slices.Contains(got, want) {
			t.Errorf("it read %q; want %q among it", got, want)
		}
	}

	s = newScript(abi.ModuleHTTP)
	s.want(int(abi.Unavailable), "http.start", abi.HTTPGet, base+"/v1/a", "", "", 0)
	s.run(t, engine.Options{}, g, rcptEvent())

	// A hook that leaves a request open is over at once.
	begin := time.Now()
	s = newScript(abi.ModuleHTTP)
	s.want(1, "http.start", abi.HTTPGet, base+"/v1/slow", "", "", 0)
	s.run(t, with(hostapi.Services{HTTP: client}), g, rcptEvent())
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the hook took %s", d)
	}
}

func TestGuestUsesCryptography(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("body\r\n"))
	dig := string(sum[:])
	sig, err := key.Sign(nil, sum[:], crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	s := newScript(abi.ModuleCrypto)
	s.want(32, "crypto.digest", abi.AlgSHA256, "body\r\n", scriptOut, 100)
	s.want(int(abi.Unsupported), "crypto.digest", 9, "body\r\n", scriptOut, 100)
	s.want(1, "crypto.digest_open", abi.AlgSHA256)
	s.want(0, "crypto.digest_update", 1, "")
	s.want(0, "crypto.digest_body", 1, 0, -1, abi.CanonRelaxed)
	s.want(int(abi.Unsupported), "crypto.digest_body", 1, 0, -1, 7)
	s.want(int(abi.Invalid), "crypto.digest_body", 1, -1, -1, 0)
	s.want(32, "crypto.digest_final", 1, scriptOut, 100)
	s.want(int(abi.NotFound), "crypto.digest_final", 1, scriptOut, 100)
	s.want(64, "crypto.sign", "dkim", abi.AlgEd25519, dig, scriptOut+100, 100)
	s.want(0, "crypto.verify", abi.AlgEd25519, string(der), string(sig), dig)
	s.want(int(abi.BadSig), "crypto.verify", abi.AlgEd25519, string(der), string(sig), "other")
	s.want(int(abi.Invalid), "crypto.verify", abi.AlgRSA, string(der), string(sig), dig)
	s.want(int(abi.Denied), "crypto.sign", "other", abi.AlgEd25519, dig, scriptOut, 100)
	s.want(int(abi.NotFound), "crypto.hmac", "dkim", abi.AlgSHA256, "x", scriptOut, 100)
	s.want(32, "crypto.hmac", "mac", abi.AlgSHA256, "x", scriptOut, 100)
	const hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1"
	s.want(int(abi.Unsupported), "crypto.password_verify", "secret", "secret")
	s.want(1, "crypto.password_verify", "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret")
	s.want(0, "crypto.password_verify", "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "wrong")
	s.want(int(abi.Limit), "crypto.password_verify", "$pbkdf2-sha256$99999999$c29tZXNhbHQ$j4Aa14inUtOh7Sg/D7hH54ohymuHNQD4+ccfhepGWAY", "x")
	s.want(int(abi.Limit), "crypto.password_verify", hash, "x") // the fifth
	s.run(t, with(hostapi.Services{Keys: operatorKeys{key}}), hostapi.Grant{Body: hostapi.Read, SignKeys: []string{"dkim", "mac"}}, messageEvent("body\r\n"))

	s = newScript(abi.ModuleCrypto)
	s.want(1, "crypto.digest_open", abi.AlgSHA256)
	s.want(int(abi.Denied), "crypto.digest_body", 1, 0, -1, 0)
	s.want(int(abi.Denied), "crypto.sign", "dkim", abi.AlgEd25519, dig, scriptOut, 100)
	s.run(t, engine.Options{}, hostapi.Grant{}, messageEvent("body\r\n"))
	s = newScript(abi.ModuleCrypto)
	s.want(1, "crypto.digest_open", abi.AlgSHA256)
	s.want(int(abi.State), "crypto.digest_body", 1, 0, -1, 0)
	s.want(int(abi.Unavailable), "crypto.sign", "dkim", abi.AlgEd25519, dig, scriptOut, 100)
	s.run(t, engine.Options{}, hostapi.Grant{Body: hostapi.Read, SignKeys: []string{"dkim"}}, rcptEvent())
}

type operatorKeys struct{ key ed25519.PrivateKey }

func (k operatorKeys) Signer(name string) (crypto.Signer, error) {
	if name != "dkim" {
		return nil, abi.NotFound
	}
	return k.key, nil
}

func (k operatorKeys) Secret(name string) ([]byte, error) {
	if name != "mac" {
		return nil, abi.NotFound
	}
	return []byte("secret"), nil
}

// Pointers outside the memory trap, in every function that takes one.
func TestCapabilitiesTrapOnPointersOutside(t *testing.T) {
	modules := []string{abi.ModuleDNS, abi.ModuleHTTP, abi.ModuleCrypto}
	e := newEngine(t, with(hostapi.Services{Resolver: names{}}))
	abi.Capabilities(func(module, name string, sig abi.Signature, params []string) {
		if !slices.Contains(modules, module) || len(params) < 3 || module == abi.ModuleCrypto && name == "digest_body" {
			return
		}
		s := newScript(modules...)
		k := strings.TrimPrefix(module, "mta1_") + "." + name
		var c wb.Code
		letters, _, _ := strings.Cut(string(sig), ">")
		for _, l := range letters {
			if l == 'I' {
				c += wb.I64Const(-2)
			} else {
				c += wb.I32Const(-2)
			}
		}
		s.on("rcpt", c+wb.Call(s.fn[k]))
		p := load(t, e, hostapi.Spec{Name: name, Grant: hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"*"}},
			HTTP: []hostapi.HTTPGrant{{URL: "https://rep.example/"}}}}, s.finish())
		_, err := ask(t, p, rcptEvent())
		callError(t, err, hostapi.FaultTrap)
	})
}
