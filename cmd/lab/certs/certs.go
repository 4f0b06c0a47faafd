package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA signs certificates.
type CA struct {
	Certificate *x509.Certificate
	RSA         bool // what it signs has RSA keys, for servers that know no others
	key         *ecdsa.PrivateKey
}

// Kind is what is wrong with a certificate.
type Kind int

const (
	Good       Kind = iota
	Expired         // an hour ago
	SelfSigned      // not by the authority
)

// New makes an authority.
func New() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("the laboratory's authority")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{Certificate: c, key: key}, nil
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

// PEM is the authority's certificate, for a file of roots.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})
}

// Pool has the authority as the only root.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Certificate)
	return p
}

// Issue makes a certificate for names, of which some may be addresses, with the authority after it in the chain.
func (ca *CA) Issue(kind Kind, names ...string) (tls.Certificate, error) {
	key, err := ca.newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template(names[0])
	t.ExtKeyUsage, t.KeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, x509.KeyUsageDigitalSignature
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	signer, by := ca.Certificate, crypto.Signer(ca.key)
	switch kind {
	case Expired:
		t.NotAfter = time.Now().Add(-time.Hour)
	case SelfSigned:
		signer, by = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, signer, key.Public(), by)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("a certificate for %q: %w", names, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	if kind != SelfSigned {
		c.Certificate = append(c.Certificate, ca.Certificate.Raw)
	}
	return c, nil
}

func (ca *CA) newKey() (crypto.Signer, error) {
	if ca.RSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Files are a certificate's chain and key as PEM.
func Files(c tls.Certificate) (chain, key []byte, err error) {
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}
