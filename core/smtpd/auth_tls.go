package smtpd

import (
	"context"
	"crypto"
	_ "crypto/sha256" // the hashes of tls-server-end-point
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
)

// What AUTH takes from TLS: channel bindings and the client's certificate.

// servedKey finds in the context of a handshake where to note our certificate:
// the state of a connection does not tell which of several it was.
type servedKey struct{}

// noting is config, whose certificates are noted in the context of handshakes.
func noting(config *tls.Config) *tls.Config {
	c := config.Clone()
	if change := c.GetConfigForClient; change != nil {
		type pair struct{ from, to *tls.Config }
		var last atomic.Pointer[pair] // there is one, until certificates are read again
		c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			other, err := change(h)
			if other == nil || err != nil {
				return nil, err
			}
			p := last.Load()
			if p == nil || p.from != other {
				inner := other.Clone()
				inner.GetConfigForClient = nil
				p = &pair{other, noting(inner)}
				last.Store(p)
			}
			return p.to, nil
		}
	}
	choose, list := c.GetCertificate, c.Certificates
	if choose == nil && len(list) == 0 {
		return c
	}
	c.Certificates = nil // they would be taken without asking
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		served, err := chosen(choose, list, h)
		if note, ok := h.Context().Value(servedKey{}).(**tls.Certificate); ok {
			*note = served
		}
		return served, err
	}
	return c
}

// chosen is the certificate that crypto/tls would choose.
func chosen(choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), list []tls.Certificate, h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if choose != nil && (len(list) == 0 || h.ServerName != "") {
		if c, err := choose(h); c != nil || err != nil {
			return c, err
		}
	}
	for i := range list {
		if h.SupportsCertificate(&list[i]) == nil {
			return &list[i], nil
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return &list[0], nil
}

// handshakeContext is ctx, for a handshake whose certificate is to be noted.
func handshakeContext(ctx context.Context) (context.Context, **tls.Certificate) {
	served := new(*tls.Certificate)
	return context.WithValue(ctx, servedKey{}, served), served
}

// bindings are the channel bindings of a connection that clients may use.
func bindings(state *tls.ConnectionState, served *tls.Certificate) (list []sasl.Binding) {
	// RFC 9266. Before TLS 1.3 it needs the extended master secret, without
	// which Go does not export.
	if key, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		list = append(list, sasl.Binding{Name: "tls-exporter", Data: key})
	}
	if served == nil || len(served.Certificate) == 0 || state.DidResume {
		return list // a session that is resumed shows no certificate
	}
	leaf := served.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(served.Certificate[0]); err != nil {
			return list
		}
	}
	if h := endPointHash(leaf.SignatureAlgorithm); h != 0 {
		d := h.New()
		d.Write(leaf.Raw)
		list = append(list, sasl.Binding{Name: "tls-server-end-point", Data: d.Sum(nil)})
	}
	return list
}

// endPointHash is the hash of RFC 5929 4.1: that of the signature, but SHA-256
// for MD5 and SHA-1. 0: undefined, as for Ed25519.
func endPointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}

// maxCertNames is how many names of a certificate are looked at.
const maxCertNames = 32

// certNames are the names in the client's certificate, with their kind, if
// somebody whom the configuration trusts has signed it; user is the first
// without it.
func certNames(state *tls.ConnectionState) (names []string, user string) {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil, ""
	}
	leaf := state.VerifiedChains[0][0]
	add := func(kind, name string) {
		if len(names) < maxCertNames && mail.ValidIdentity(kind+name) && name != "" {
			names = append(names, kind+name)
			if user == "" {
				user = mail.Prepare(name)
			}
		}
	}
	for _, n := range leaf.EmailAddresses {
		add("email:", n)
	}
	for _, n := range leaf.DNSNames {
		add("dns:", n)
	}
	for _, n := range leaf.URIs {
		add("uri:", n.String())
	}
	add("cn:", leaf.Subject.CommonName)
	return names, user
}
