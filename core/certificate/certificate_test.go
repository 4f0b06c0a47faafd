package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// write makes a certificate in dir and returns it as the configuration would name it.
func write(t *testing.T, dir, file string, key crypto.Signer, until time.Time, names ...string) File {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: until.AddDate(0, -3, 0), NotAfter: until, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := File{Place: "[" + file + "]", Certificate: filepath.Join(dir, file+".pem"), Key: filepath.Join(dir, file+".key")}
	for path, block := range map[string]*pem.Block{f.Certificate: {Type: "CERTIFICATE", Bytes: der}, f.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func ec(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newSet is a Set of files.
func newSet(t *testing.T, files ...File) *Set {
	t.Helper()
	s, err := New(Options{Hostname: "mx.example.org", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	use, err := s.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	use()
	return s
}

// shake does a handshake; each side's error is its own.
func shake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for _, c := range []net.Conn{a, b} {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
	}
	var done sync.WaitGroup
	done.Go(func() {
		conn := tls.Server(a, server)
		if serverErr = conn.Handshake(); serverErr == nil {
			_, serverErr = conn.Write([]byte("220\r\n"))
		}
		if serverErr != nil {
			a.Close()
		}
	})
	client.InsecureSkipVerify = client.RootCAs == nil
	conn := tls.Client(b, client)
	if _, clientErr = io.ReadFull(conn, make([]byte, 5)); clientErr != nil {
		b.Close()
	}
	state = conn.ConnectionState()
	done.Wait()
	return state, serverErr, clientErr
}

// shown is the first name of the certificate that a client sees, and its kind.
func shown(t *testing.T, s *Set, client *tls.Config) string {
	t.Helper()
	l, err := s.Listener(Clients{})
	if err != nil {
		t.Fatal(err)
	}
	state, serverErr, err := shake(t, l.Config(true), client)
	if err != nil {
		return "failed: " + err.Error() + "; server: " + serverErr.Error()
	}
	c := state.PeerCertificates[0]
	return c.PublicKeyAlgorithm.String() + " " + strings.Join(c.DNSNames, ",")
}

func TestTheNameChoosesTheCertificate(t *testing.T) {
	dir, until := t.TempDir(), time.Now().AddDate(0, 1, 0)
	renamed := write(t, dir, "renamed", ec(t), until, "internal.test")
	renamed.Names = []string{"Public.Test."}
	s := newSet(t,
		write(t, dir, "one", ec(t), until, "mx.example.org"),
		write(t, dir, "net", ec(t), until, "*.example.net", "example.net"),
		write(t, dir, "exact", ec(t), until, "mail.example.net"),
		renamed)
	for name, want := range map[string]string{
		"":                 "mx.example.org", // most servers ask for none
		"mx.example.org":   "mx.example.org",
		"MX.Example.ORG":   "mx.example.org",
		"example.net":      "*.example.net,example.net",
		"a.example.net":    "*.example.net,example.net",
		"mail.example.net": "mail.example.net",
		"b.a.example.net":  "mx.example.org", // a wildcard is one label
		"public.test":      "internal.test",
		"internal.test":    "mx.example.org",
		"unknown.test":     "mx.example.org",
	} {
		if got := shown(t, s, &tls.Config{ServerName: name}); got != "ECDSA "+want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestBothKindsOfKey(t *testing.T) {
	dir, until := t.TempDir(), time.Now().AddDate(0, 1, 0)
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t, write(t, dir, "rsa", old, until, "mx.example.org"), write(t, dir, "ec", ec(t), until, "mx.example.org"))
	for _, name := range []string{"mx.example.org", ""} {
		if got := shown(t, s, &tls.Config{ServerName: name}); got != "ECDSA mx.example.org" {
			t.Errorf("%q: %s", name, got)
		}
		ancient := &tls.Config{ServerName: name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
		if got := shown(t, s, ancient); got != "RSA mx.example.org" {
			t.Errorf("%q without ECDSA: %s", name, got)
		}
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	dir, until := t.TempDir(), time.Now().AddDate(0, 1, 0)
	one, two := write(t, dir, "one", ec(t), until, "one.test"), write(t, dir, "two", ec(t), until, "two.test")
	s := newSet(t, one, two)
	write(t, dir, "one", ec(t), until, "new.test")
	if err := os.WriteFile(two.Key, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load([]File{one, two}); err == nil || !strings.Contains(err.Error(), "[two]") || !strings.Contains(err.Error(), two.Key) || strings.Contains(err.Error(), "[one]") {
		t.Errorf("%v", err)
	}
	write(t, dir, "two", ec(t), until, "two.test")
	use, err := s.Load([]File{one, two})
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(t, s, &tls.Config{}); got != "ECDSA one.test" {
		t.Errorf("used before it was to be: %s", got)
	}
	use()
	if got := shown(t, s, &tls.Config{}); got != "ECDSA new.test" {
		t.Errorf("after use: %s", got)
	}
	if _, err := s.Load([]File{one, write(t, dir, "nameless", ec(t), until)}); err == nil || !strings.Contains(err.Error(), "set names") {
		t.Errorf("a certificate that would never be shown: %v", err)
	}
}

func TestExpiryIsOfTheFirstToExpire(t *testing.T) {
	dir, soon := t.TempDir(), time.Now().AddDate(0, 0, 3).Truncate(time.Second)
	s := newSet(t, write(t, dir, "one", ec(t), soon.AddDate(0, 1, 0), "one.test"), write(t, dir, "two", ec(t), soon, "two.test"))
	if got := s.Expires(); !got.Equal(soon) {
		t.Errorf("%v, want %v", got, soon)
	}
	if got := newSet(t).Expires(); !got.IsZero() {
		t.Errorf("of no certificate: %v", got)
	}
}

func TestWhatClientsWillNotTrustIsSaid(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Options{Hostname: "mx.example.org", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	past := write(t, dir, "past", ec(t), time.Now().Add(-time.Hour), "other.test")
	if _, err := s.Load([]File{past, past}); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Count(text, "not for this server's hostname") != 1 || strings.Count(text, "not valid now") != 2 {
		t.Errorf("want one warning of the name, for the default, and two of the time:\n%s", text)
	}
}

func TestClientCertificates(t *testing.T) {
	dir, until := t.TempDir(), time.Now().AddDate(0, 1, 0)
	s := newSet(t, write(t, dir, "one", ec(t), until, "mx.example.org"))
	load := func(f File) []tls.Certificate {
		c, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	known, stranger := write(t, dir, "known", ec(t), until, "client.test"), write(t, dir, "stranger", ec(t), until, "client.test")
	for _, c := range []struct {
		require bool
		client  []tls.Certificate
		ok      bool
	}{
		{false, nil, true}, {false, load(known), true}, {false, load(stranger), false},
		{true, nil, false}, {true, load(known), true}, {true, load(stranger), false},
	} {
		l, err := s.Listener(Clients{CA: known.Certificate, Require: c.require})
		if err != nil {
			t.Fatal(err)
		}
		// The client sends what it has, whoever the server asks for.
		send := &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(c.client) == 0 {
				return &tls.Certificate{}, nil
			}
			return &c.client[0], nil
		}}
		if _, err, _ := shake(t, l.Config(true), send); (err == nil) != c.ok {
			t.Errorf("require=%v, %d certificates: %v", c.require, len(c.client), err)
		}
	}
	if _, err := s.Listener(Clients{CA: filepath.Join(dir, "none.pem")}); err == nil {
		t.Error("an authority that is not there was taken")
	}
	if _, err := s.Listener(Clients{CA: known.Key}); err == nil || !strings.Contains(err.Error(), "has no certificate") {
		t.Errorf("a key as an authority: %v", err)
	}
	l, err := s.Listener(Clients{CA: known.Certificate, Require: true})
	if err != nil {
		t.Fatal(err)
	}
	server := l.Config(false)
	data, _ := os.ReadFile(stranger.Certificate)
	if err := os.WriteFile(known.Certificate, data, 0o600); err != nil {
		t.Fatal(err)
	}
	use, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	use()
	pair := load(stranger)
	if _, err, _ := shake(t, server, &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair[0], nil }}); err != nil {
		t.Errorf("after a reload: %v", err)
	}
}
