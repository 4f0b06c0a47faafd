package deliver

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/deliver/tlsrpt"
	"github.com/wasmta/wasmta/core/mail"
)

// Reports is told how TLS went in each new session with an exchanger of a domain; *tlsrpt.Store is one.
type Reports interface {
	Add(s tlsrpt.Session)
}

// watch is what sessions with an exchanger are reported under (RFC 8460). nil: nobody is told.
type watch struct {
	reports Reports
	domain  string
	host    string
	policy  tlsrpt.Policy
	testing bool          // the certificate is looked at, and nothing follows from it
	fault   tlsrpt.Result // what is wrong whatever the session says
}

// watch is that of an exchanger.
func (t *attempt) watch(host string) *watch {
	if t.a.o.Reports == nil || !t.byMX || t.report || t.hop.TLS == mail.TLSNone || strings.HasPrefix(t.domain, "[") {
		return nil
	}
	w := &watch{reports: t.a.o.Reports, domain: t.domain, host: host, policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy}}
	switch {
	case t.sts != nil:
		w.policy = stsPolicy(t.sts)
		w.testing = t.sts.Mode == mtasts.Testing
		if w.testing && !t.sts.Match(host) {
			w.fault = tlsrpt.ValidationFailure
		}
	case t.stsFault != "":
		w.policy = tlsrpt.Policy{Type: tlsrpt.STS}
		w.fault = tlsrpt.Result(t.stsFault)
	}
	return w
}

// isReport tells whether a message is a report of package tlsrpt: it has come from no client and has no reverse-path.
func isReport(m *mail.Message) bool {
	e := &m.Envelope
	if !e.ReversePath.IsNull() || e.RequireTLS || e.Client.Remote.IsValid() {
		return false
	}
	h, err := mail.ParseHeader(m.Header)
	return err == nil && h.Get("TLS-Report-Domain") != ""
}

// stsPolicy is a policy as its host serves it (RFC 8460 4.4).
func stsPolicy(p *mtasts.Policy) tlsrpt.Policy {
	out := tlsrpt.Policy{Type: tlsrpt.STS, MX: p.MX, Strings: []string{"version: STSv1", "mode: " + string(p.Mode)}}
	for _, mx := range p.MX {
		out.Strings = append(out.Strings, "mx: "+mx)
	}
	out.Strings = append(out.Strings, fmt.Sprintf("max_age: %d", int64(p.MaxAge.Seconds())))
	return out
}

// dane says that DANE decides here. records are those that can be used, as an endpoint has them.
func (w *watch) dane(records string, unusable bool) {
	if w == nil {
		return
	}
	w.policy, w.testing, w.fault = tlsrpt.Policy{Type: tlsrpt.TLSA, MX: []string{w.host}}, false, tlsrpt.Success
	for b := []byte(records); len(b) > 2; {
		d := b[2 : 2+int(binary.BigEndian.Uint16(b))]
		w.policy.Strings = append(w.policy.Strings, fmt.Sprintf("%d %d %d %s", d[0], d[1], d[2], hex.EncodeToString(d[3:])))
		b = b[2+len(d):]
	}
	if unusable {
		w.fault = tlsrpt.TLSAInvalid
	}
}

// unused says that the exchanger is passed over.
func (w *watch) unused(why error) {
	if w == nil {
		return
	}
	s := tlsrpt.Session{Domain: w.domain, Policy: w.policy, Result: tlsrpt.ValidationFailure, ReceivingMX: w.host, Info: why.Error()}
	if errors.Is(why, errTLSA) {
		s.Policy, s.Result, s.Info = tlsrpt.Policy{Type: tlsrpt.TLSA, MX: []string{w.host}}, tlsrpt.DNSSECInvalid, errTLSA.Error()
	}
	w.reports.Add(s)
}

// tell says how TLS went in a session; err is nil if it did.
func (w *watch) tell(c *conn, r tlsrpt.Result, err error) {
	if w == nil {
		return
	}
	s := tlsrpt.Session{Domain: w.domain, Policy: w.policy, Result: r, ReceivingMX: w.host, ReceivingHelo: c.name, ReceivingIP: c.ep.addr.Addr()}
	if a, ok := c.nc.LocalAddr().(*net.TCPAddr); ok {
		s.SendingIP, _ = netip.AddrFromSlice(a.IP)
		s.SendingIP = s.SendingIP.Unmap()
	}
	if err != nil {
		s.Reason = errText(err)
	}
	if r == tlsrpt.Success {
		s.Result = w.fault
	}
	w.reports.Add(s)
}

// inspect verifies a certificate as MTA-STS in mode enforce would.
func (w *watch) inspect(config *tls.Config, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate was presented")
	}
	rest := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		rest.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: w.host, Roots: config.RootCAs, Intermediates: rest})
	return err
}

// tlsFault is what RFC 8460 4.3 calls a failed handshake.
func tlsFault(err error) tlsrpt.Result {
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &host):
		return tlsrpt.HostMismatch
	case errors.As(err, &unknown):
		return tlsrpt.NotTrusted
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsrpt.Expired
	case errors.As(err, &invalid):
		return tlsrpt.NotTrusted
	}
	return tlsrpt.ValidationFailure
}
