package plugintest_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onconnect"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

func TestDNSOfTheTest(t *testing.T) {
	zone := plugintest.Zone{
		"TXT example.org":          {Data: []string{"v=spf1 -all", ""}, TTL: 60, Secure: true},
		"MX example.org":           {Data: []string{"10 mx.example.org"}},
		"A mx.example.org":         {Data: []string{"192.0.2.1"}},
		"AAAA mx.example.org":      {Data: []string{"2001:db8::1"}},
		"A 1.2.0.192.list.example": {Data: []string{"127.0.0.4", "127.0.0.2"}},
		"A 2.2.0.192.list.example": {Data: []string{"127.255.255.254"}},
		"TXT fail.example":         {Err: abi.ServFail},
		"TXT empty.example":        {},
	}
	onconnect.Handle(func(s *mta.Session) mta.Verdict {
		d := s.DNS()
		mta.Must(d.Prefetch(mta.TypeTXT, "example.org"))
		txt, err := d.TXT("Example.org.")
		if err != nil || len(txt) != 2 || txt[0] != "v=spf1 -all" || d.TTL() != 60 || !d.Secure() {
			t.Errorf("TXT: %q, %v, %d, %v", txt, err, d.TTL(), d.Secure())
		}
		mx, err := d.MX("example.org")
		if err != nil || len(mx) != 1 || mx[0] != (mta.Exchange{Preference: 10, Host: "mx.example.org"}) {
			t.Errorf("MX: %v, %v", mx, err)
		}
		if a, err := d.Addresses("mx.example.org"); err != nil || fmt.Sprint(a) != "[2001:db8::1 192.0.2.1]" {
			t.Errorf("addresses: %v, %v", a, err)
		}
		if a, listed, err := d.Listed("list.example", s.RemoteIP()); err != nil || !listed || a != "127.0.0.2" {
			t.Errorf("listed: %q, %v, %v", a, listed, err)
		}
		if _, listed, err := d.Listed("list.example", "192.0.2.2"); err != abi.Unavailable || listed {
			t.Errorf("a list that refuses: %v, %v", listed, err)
		}
		if _, listed, err := d.Listed("list.example", "2001:db8::1"); err != nil || listed {
			t.Errorf("not listed: %v, %v", listed, err)
		}
		if _, err := d.TXT("none.example"); err != mta.NoSuchDomain {
			t.Errorf("no such domain: %v", err)
		}
		if _, err := d.TXT("fail.example"); err != abi.ServFail {
			t.Errorf("failure: %v", err)
		}
		if list, err := d.TXT("empty.example"); err != nil || list != nil {
			t.Errorf("empty: %v, %v", list, err)
		}
		if _, err := d.TXT("a b"); err != abi.Invalid {
			t.Errorf("invalid: %v", err)
		}
		return mta.Continue
	})
	open(t, plugintest.Options{DNS: zone}).Connect().Want("continue")

	onconnect.Handle(func(s *mta.Session) mta.Verdict {
		if _, err := s.DNS().TXT("example.org"); err != abi.Denied || mta.Feature(abi.FeatureDNS) {
			t.Errorf("without a zone: %v", err)
		}
		return mta.Continue
	})
	open(t, plugintest.Options{}).Connect().Want("continue")
}

func TestHTTPOfTheTest(t *testing.T) {
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s %s %q", r.Method, r.URL, b)
	})
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		h := s.HTTP()
		resp, err := h.Do(mta.Request{Method: "POST", URL: "https://rep.example/v1", Header: "Content-Type: a/b", Body: "hi"})
		mta.Must(err)
		text, err := resp.Text()
		if status, serr := resp.Status(); serr != nil || status != 201 || err != nil || text != `POST https://rep.example/v1 "hi"` || resp.Header("x-type") != "a/b" || !resp.Ready(0) {
			t.Errorf("%d, %v, %q, %v", status, serr, text, err)
		}
		mta.Must(resp.Close())
		sent, err := h.StartMessage(mta.Request{URL: "https://rep.example/scan"}, mta.WholeMessage)
		mta.Must(err)
		if text, err := sent.Text(); err != nil || text != `POST https://rep.example/scan "Subject: x\r\n\r\nbody\r\n"` || sent.Header("X-Type") != "message/rfc822" {
			t.Errorf("%q, %v", text, err)
		}
		if _, err := h.Do(mta.Request{URL: "https://rep.example/", Header: "Host: x"}); err != abi.Invalid {
			t.Errorf("Host: %v", err)
		}
		if _, err := h.Do(mta.Request{URL: "https://rep.example/", Method: "CONNECT"}); err != abi.Unsupported {
			t.Errorf("CONNECT: %v", err)
		}
		return mta.Continue
	})
	s := open(t, plugintest.Options{HTTP: server, Grant: all})
	s.Mail("a@example.com")
	s.Message("Subject: x\r\n\r\nbody\r\n").Want("continue")
}

func TestCryptographyOfTheTest(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		c := s.Crypto()
		want := sha256.Sum256([]byte("a b\r\n"))
		sum, err := c.BodyDigest(mta.SHA256, mta.Relaxed, -1)
		if err != nil || !bytes.Equal(sum, want[:]) {
			t.Errorf("body: %x, %v", sum, err)
		}
		if again, err := c.Digest(mta.SHA256, []byte("a b\r\n")); err != nil || !bytes.Equal(again, sum) {
			t.Errorf("digest: %x, %v", again, err)
		}
		sig, err := c.Sign("dkim", mta.Ed25519, sum)
		mta.Must(err)
		mta.Must(c.Verify(mta.Ed25519, der, sig, sum))
		if err := c.Verify(mta.Ed25519, der, sig, sum[1:]); !errors.Is(err, abi.BadSig) {
			t.Errorf("another digest: %v", err)
		}
		if _, err := c.Sign("other", mta.Ed25519, sum); err != abi.Denied {
			t.Errorf("another key: %v", err)
		}
		if m, err := c.HMAC("mac", mta.SHA512, []byte("x")); err != nil || len(m) != 64 {
			t.Errorf("HMAC: %x, %v", m, err)
		}
		if ok, err := c.CheckPassword("$6$a", "secret"); err != nil || !ok {
			t.Errorf("password: %v, %v", ok, err)
		}
		if ok, err := c.CheckPassword("$6$a", "wrong"); err != nil || ok {
			t.Errorf("wrong password: %v, %v", ok, err)
		}
		if _, err := c.CheckPassword("plain", "plain"); err != abi.Unsupported {
			t.Errorf("no hash: %v", err)
		}
		return mta.Continue
	})
	s := open(t, plugintest.Options{Grant: all, SignKeys: map[string]crypto.Signer{"dkim": key}, MACKeys: map[string][]byte{"mac": []byte("k")},
		Passwords: map[string]string{"$6$a": "secret"}})
	s.Mail("a@example.com")
	s.Message("Subject: x\r\n\r\na \t b \r\n\r\n").Want("continue")
}
