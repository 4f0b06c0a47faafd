package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/wasmta/wasmta/cmd/lab/certs"
)

func TestIssue(t *testing.T) {
	ca, err := certs.New()
	if err != nil {
		t.Fatal(err)
	}
	for kind, valid := range map[certs.Kind]bool{certs.Good: true, certs.Expired: false, certs.SelfSigned: false} {
		c, err := ca.Issue(kind, "mx.test", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"mx.test", "127.0.0.1"} {
			if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: name}); (err == nil) != valid {
				t.Errorf("kind %d for %s: %v", kind, name, err)
			}
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "other.test"}); err == nil {
			t.Errorf("kind %d is for any name", kind)
		}
		chain, key, err := certs.Files(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tls.X509KeyPair(chain, key); err != nil {
			t.Errorf("kind %d as files: %v", kind, err)
		}
	}
}
