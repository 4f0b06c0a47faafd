package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// shelf is the directory of one authority.
type shelf struct{ dir string }

// newShelf makes dir/HOST for the authority at a URL.
func newShelf(dir, directory string) (shelf, error) {
	u, err := url.Parse(directory)
	if err != nil || u.Host == "" {
		return shelf{}, fmt.Errorf("[acme] directory %q: write an https:// address", directory)
	}
	host := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_' // the colon of a port, of IPv6
	}, strings.ToLower(u.Host))
	if strings.Trim(host, ".") == "" {
		return shelf{}, fmt.Errorf("[acme] directory %q: write an https:// address", directory)
	}
	s := shelf{filepath.Join(dir, host)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return shelf{}, fmt.Errorf("[acme]: %w", err)
	}
	return s, nil
}

// key reads a private key, or makes it if there is none.
func (s shelf) key(name string) (crypto.Signer, error) {
	path := filepath.Join(s.dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.newKey(name)
	}
	if err != nil {
		return nil, fmt.Errorf("[acme]: %w", err)
	}
	if block, _ := pem.Decode(data); block != nil {
		if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := k.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	// A certificate can be had again, but a key may be named in TLSA records.
	return nil, fmt.Errorf("[acme]: the private key %q is damaged: restore it, or remove it to have a new one", path)
}

func (s shelf) newKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, s.write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// chain reads a certificate that was kept. nil: there is none that could be
// used with the key.
func (s shelf) chain(domain string, key crypto.Signer) *tls.Certificate {
	data, err := os.ReadFile(filepath.Join(s.dir, domain+".pem"))
	if err != nil {
		return nil
	}
	var der [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		der = append(der, block.Bytes)
	}
	c, err := together(domain, der, key)
	if err != nil {
		return nil
	}
	return c
}

func (s shelf) keep(domain string, c *tls.Certificate) error {
	var data []byte
	for _, der := range c.Certificate {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return s.write(domain+".pem", data)
}

// write replaces a file as a whole.
func (s shelf) write(name string, data []byte) error {
	f, err := os.CreateTemp(s.dir, ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("[acme]: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("[acme]: %w", err)
	}
	if d, err := os.Open(s.dir); err == nil {
		_ = d.Sync() // after a power failure it is fetched again
		d.Close()
	}
	return nil
}

// together makes a certificate of what an authority sent, if it is what was asked for.
func together(domain string, der [][]byte, key crypto.Signer) (*tls.Certificate, error) {
	if len(der) == 0 {
		return nil, errors.New("the chain is empty")
	}
	leaf, err := x509.ParseCertificate(der[0])
	if err != nil {
		return nil, err
	}
	if err := leaf.VerifyHostname(domain); err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	return &tls.Certificate{Certificate: der, PrivateKey: key, Leaf: leaf}, nil
}

// selfSigned stands in for a certificate that is not there yet.
func selfSigned(domain string, key crypto.Signer, now time.Time) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "self-signed by wasmta"}, DNSNames: []string{domain},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return together(domain, [][]byte{der}, key)
}
