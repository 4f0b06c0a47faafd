package certificate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ca is as much of an ACME authority as an order for one name needs (RFC 8555).
// Signatures are not looked at: the client is a library's. It reaches every
// domain at the two addresses.
type ca struct {
	*httptest.Server
	root       string // file
	http, alpn string // host:port that it validates at
	life       time.Duration
	now        func() time.Time // for validity

	mu       sync.Mutex
	key      *ecdsa.PrivateKey
	cert     *x509.Certificate
	serial   int64
	accounts int
	orders   []*order
	keys     []string // public keys of the certificates, in order
	refuse   string   // problem type that new orders get
	options  []string // challenge types that are offered
}

type order struct{ name, challenge, status, pem, problem string }

func startCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{life: 90 * 24 * time.Hour, now: time.Now, options: []string{"dns-01", "http-01", "tls-alpn-01"}}
	c.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	c.cert, _ = x509.ParseCertificate(der)
	c.Server = httptest.NewTLSServer(c)
	t.Cleanup(c.Close)
	c.root = filepath.Join(t.TempDir(), "root.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
	if err := os.WriteFile(c.root, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *ca) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial++
	w.Header().Set("Replay-Nonce", fmt.Sprint("nonce", c.serial))
	var jws struct{ Protected, Payload string }
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &jws)
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	var n int
	_, _ = fmt.Sscanf(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], "%d", &n)
	say := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	type object = map[string]any
	show := func(status int) {
		o := c.orders[n]
		w.Header().Set("Location", fmt.Sprintf("%s/order/%d", c.URL, n))
		say(status, object{"status": o.status, "identifiers": []object{{"type": "dns", "value": o.name}},
			"authorizations": []string{fmt.Sprintf("%s/authz/%d", c.URL, n)}, "finalize": fmt.Sprintf("%s/finalize/%d", c.URL, n), "certificate": fmt.Sprintf("%s/cert/%d", c.URL, n)})
	}
	switch strings.Split(r.URL.Path, "/")[1] {
	case "dir":
		say(200, object{"newNonce": c.URL + "/nonce", "newAccount": c.URL + "/account", "newOrder": c.URL + "/new", "revokeCert": c.URL, "keyChange": c.URL})
	case "account":
		c.accounts++
		w.Header().Set("Location", c.URL+"/account/1")
		say(201, object{"status": "valid"})
	case "new":
		if c.refuse != "" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "7200")
			say(403, object{"type": "urn:ietf:params:acme:error:" + c.refuse, "detail": "not\ntoday"})
			return
		}
		var in struct{ Identifiers []struct{ Value string } }
		_ = json.Unmarshal(payload, &in)
		c.orders = append(c.orders, &order{name: in.Identifiers[0].Value, status: "pending"})
		n = len(c.orders) - 1
		show(201)
	case "order":
		show(200)
	case "authz":
		o := c.orders[n]
		status := map[string]string{"pending": "pending", "invalid": "invalid"}[o.status]
		if status == "" {
			status = "valid"
		}
		var list []object
		for _, kind := range c.options {
			v := object{"type": kind, "url": fmt.Sprintf("%s/challenge/%s/%d", c.URL, kind, n), "token": "token", "status": status}
			if o.problem != "" {
				v["error"] = object{"type": "urn:ietf:params:acme:error:connection", "detail": o.problem}
			}
			list = append(list, v)
		}
		say(200, object{"status": status, "identifier": object{"type": "dns", "value": o.name}, "challenges": list})
	case "challenge":
		o := c.orders[n]
		o.challenge, o.status = strings.Split(r.URL.Path, "/")[2], "ready"
		if err := c.validate(o); err != nil {
			o.status, o.problem = "invalid", err.Error()
		}
		say(200, object{"type": o.challenge, "url": c.URL + r.URL.Path, "token": "token", "status": "processing"})
	case "finalize":
		var in struct{ CSR string }
		_ = json.Unmarshal(payload, &in)
		der, _ := base64.RawURLEncoding.DecodeString(in.CSR)
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || c.orders[n].status != "ready" {
			say(403, object{"type": "urn:ietf:params:acme:error:orderNotReady", "detail": fmt.Sprint(err)})
			return
		}
		public, _ := x509.MarshalPKIXPublicKey(csr.PublicKey)
		c.keys = append(c.keys, string(public))
		template := &x509.Certificate{SerialNumber: big.NewInt(c.serial), DNSNames: csr.DNSNames, NotBefore: c.now(), NotAfter: c.now().Add(c.life)}
		der, _ = x509.CreateCertificate(rand.Reader, template, c.cert, csr.PublicKey, c.key)
		var out bytes.Buffer
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
		c.orders[n].pem, c.orders[n].status = out.String(), "valid"
		show(200)
	case "cert":
		_, _ = io.WriteString(w, c.orders[n].pem)
	}
}

// validate looks for the answer to a challenge (RFC 8555 8.3, RFC 8737 3).
func (c *ca) validate(o *order) error {
	if o.challenge == "tls-alpn-01" {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		d := tls.Dialer{Config: &tls.Config{ServerName: o.name, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}}
		conn, err := d.DialContext(ctx, "tcp", c.alpn)
		if err != nil {
			return err
		}
		defer conn.Close()
		state := conn.(*tls.Conn).ConnectionState()
		for _, e := range state.PeerCertificates[0].Extensions {
			if state.NegotiatedProtocol == "acme-tls/1" && e.Critical && e.Id.String() == "1.3.6.1.5.5.7.1.31" {
				return nil
			}
		}
		return fmt.Errorf("no acmeIdentifier")
	}
	h := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, c.http)
	}}}
	res, err := h.Get("http://" + o.name + "/.well-known/acme-challenge/token")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.HasPrefix(string(body), "token.") {
		return fmt.Errorf("status %d, %q", res.StatusCode, body)
	}
	return nil
}
