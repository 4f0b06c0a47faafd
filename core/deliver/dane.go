package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/resolve"
)

// SecureResolver looks up what DANE needs, with whether DNSSEC proved it; *resolve.Resolver is one.
type SecureResolver interface {
	Host(ctx context.Context, host string) (resolve.Host, error)
	Lookup(ctx context.Context, name string, typ uint16) (resolve.Records, error)
}

const (
	typeCNAME = 5
	typeTLSA  = 52
)

// maxTLSA is how many TLSA records of a server are used.
const maxTLSA = 50

// Usages of TLSA records that count for mail (RFC 7672 3.1).
const (
	usageTA = 2 // a certificate authority of the server's own
	usageEE = 3 // the certificate of the server
)

// errTLSA is a failure to look up whether a server has TLSA records. The server is not to be used then (RFC 7672 2.1.1):
// whoever can break the look-up could take TLS away.
var errTLSA = errors.New("its TLSA records could not be looked up")

// dane says what DNSSEC-proven TLSA records ask of the connection to a host with these addresses (RFC 7672 2.2).
// usable holds the records that a certificate can match, empty if there are none; ask tells that there are records at
// all: TLS is mandatory then. base is the name under which they were found.
func (a *Agent) dane(ctx context.Context, host string, h resolve.Host, port uint16) (usable, base string, ask bool, err error) {
	names := []string{host}
	switch {
	case h.Secure && h.Canonical != host:
		names = []string{h.Canonical, host}
	case !h.Secure && (h.Canonical == "" || h.Canonical == host || len(h.Addrs) == 0):
		return "", "", false, nil
	case !h.Secure:
		// An alias may be proven and what it leads to not; its owner's records count then (RFC 7672 2.2.2).
		r, err := a.o.DANE.Lookup(ctx, host, typeCNAME)
		switch {
		case err != nil && !errors.Is(err, resolve.ErrNoDomain) && !errors.Is(err, resolve.ErrBadName) && !errors.Is(err, resolve.ErrBadData):
			return "", "", false, fmt.Errorf("%w: %w", errTLSA, err)
		case err != nil || !r.Secure || len(r.Data) == 0:
			return "", "", false, nil
		}
	}
	for _, name := range names {
		r, err := a.o.DANE.Lookup(ctx, fmt.Sprintf("_%d._tcp.%s", port, name), typeTLSA)
		switch {
		case errors.Is(err, resolve.ErrNoDomain), errors.Is(err, resolve.ErrBadName), err == nil && !r.Secure, err == nil && len(r.Data) == 0:
			continue
		case err != nil:
			return "", "", false, fmt.Errorf("%w: %w", errTLSA, err)
		}
		var b []byte
		for _, d := range r.Data[:min(len(r.Data), maxTLSA)] {
			if usableTLSA(d) {
				b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
				b = append(b, d...)
			}
		}
		return string(b), name, true, nil
	}
	return "", "", false, nil
}

// usableTLSA tells whether a record, as RFC 6698 2.1 has it, can match a certificate of a mail server.
func usableTLSA(d []byte) bool {
	if len(d) < 4 || len(d) > 1<<14 || d[0] != usageTA && d[0] != usageEE || d[1] > 1 {
		return false
	}
	switch d[2] {
	case 0:
		return true
	case 1:
		return len(d) == 3+sha256.Size
	case 2:
		return len(d) == 3+sha512.Size
	}
	return false
}

// matchTLSA tells whether a record is that of a certificate.
func matchTLSA(d []byte, c *x509.Certificate) bool {
	of := c.Raw
	if d[1] == 1 {
		of = c.RawSubjectPublicKeyInfo
	}
	switch d[2] {
	case 1:
		sum := sha256.Sum256(of)
		of = sum[:]
	case 2:
		sum := sha512.Sum512(of)
		of = sum[:]
	}
	return bytes.Equal(d[3:], of)
}

// hasUsage tells whether one of the usable records has a usage.
func hasUsage(records string, usage byte) bool {
	for b := []byte(records); len(b) > 2; b = b[2+int(binary.BigEndian.Uint16(b)):] {
		if b[2] == usage {
			return true
		}
	}
	return false
}

// verifyDANE checks a chain against the records of an endpoint. With the record of the server's own certificate nothing
// else counts, neither names nor dates (RFC 7672 3.1.1); with that of an authority, the chain up to it and one of names
// do (3.1.2).
func verifyDANE(records string, names []string, s tls.ConnectionState) error {
	chain, n := s.PeerCertificates, 0
	if len(chain) == 0 {
		return errors.New("no certificate was presented")
	}
	roots := x509.NewCertPool()
	found := false
	for b := []byte(records); len(b) >= 2; n++ {
		size := int(binary.BigEndian.Uint16(b))
		d := b[2 : 2+size]
		b = b[2+size:]
		if d[0] == usageEE {
			if matchTLSA(d, chain[0]) {
				return nil
			}
			continue
		}
		for _, c := range chain {
			if matchTLSA(d, c) {
				roots.AddCert(c)
				found = true
			}
		}
		if d[1] == 0 && d[2] == 0 { // the record holds the authority whole; the server need not send it
			if c, err := x509.ParseCertificate(d[3:]); err == nil {
				roots.AddCert(c)
				found = true
			}
		}
	}
	if !found {
		return fmt.Errorf("none of its %d TLSA records matches a certificate that it presents", n)
	}
	rest := x509.NewCertPool()
	for _, c := range chain[1:] {
		rest.AddCert(c)
	}
	err := error(nil)
	for _, name := range names {
		if _, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: rest}); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the certificate is not one for %s under the authority of its TLSA records: %w", strings.Join(names, ", "), err)
}

// secure finds what a host's connection must be, beyond what the route says. unfit is why it cannot be used at all.
func (t *attempt) secure(ctx context.Context, x resolve.Exchange, h resolve.Host, ep *endpoint, w *watch) (unfit error) {
	if t.hop.TLS == mail.TLSNone && !t.j.m.Envelope.RequireTLS {
		return nil // the operator's word
	}
	if t.report {
		return nil
	}
	if e := &t.j.m.Envelope; e.RequireTLS && !e.ReversePath.IsNull() && t.byMX && !x.Secure && (t.sts == nil || t.sts.Mode != mtasts.Enforce && !t.sts.Match(x.Host)) && !strings.HasPrefix(t.domain, "[") {
		return errUnvouched // RFC 8689 8.2
	}
	if t.a.o.DANE != nil && x.Secure && !t.ep.lmtp {
		usable, base, ask, err := t.a.dane(ctx, x.Host, h, t.port)
		if err == nil && ask {
			w.dane(usable, usable == "")
		}
		switch {
		case err != nil:
			return err
		case usable != "":
			ep.tls, ep.tlsa, ep.base = mail.TLSEncrypt, usable, base
			if t.byMX && hasUsage(usable, usageTA) {
				ep.domain = t.domain
			}
			return nil // and MTA-STS does not matter (RFC 8461 2)
		case ask && ep.tls == mail.TLSOpportunistic:
			ep.tls = mail.TLSEncrypt // RFC 7672 2.2: records that cannot be used ask for TLS all the same
		}
	}
	if t.sts != nil && t.sts.Mode == mtasts.Enforce {
		if !t.sts.Match(x.Host) {
			return errUnnamed
		}
		ep.tls, ep.sts = mail.TLSVerify, true
	}
	return nil
}

// errUnvouched is an exchanger that anybody can have put in the place of the domain's, for a message with REQUIRETLS.
var errUnvouched = errors.New("neither DNSSEC nor an MTA-STS policy vouches for it, and the message has REQUIRETLS")

// errUnnamed is an exchanger that the MTA-STS policy of the domain does not name.
var errUnnamed = errors.New("the MTA-STS policy of the domain does not name it")
