package core

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/certificate"
	"github.com/wasmta/wasmta/core/config"
)

// certificates are those of a configuration: [tls] first.
func certificates(c *config.Config) []certificate.File {
	var files []certificate.File
	if c.TLS.Certificate != "" {
		files = append(files, certificate.File{Place: "[tls]", Certificate: c.TLS.Certificate, Key: c.TLS.Key})
	}
	for i, f := range c.Certificates {
		files = append(files, certificate.File{Place: fmt.Sprintf("[[certificate]] %d", i+1), Names: f.Names, Certificate: f.Certificate, Key: f.Key})
	}
	return files
}

func (s *Server) buildCertificates() (err error) {
	c := s.opt.Config
	o := certificate.Options{Hostname: c.Hostname, Log: s.log.Program("wasmta")}
	if len(c.ACME.Domains) > 0 {
		a := &certificate.ACME{
			Directory: c.ACME.Directory, Email: c.ACME.Email, Dir: filepath.Join(c.DataDir, "acme"), HTTP: c.ACME.HTTP, Root: c.ACME.Root,
			TLSALPN: answersTLSALPN(c),
		}
		for _, d := range c.ACME.Domains {
			a.Domains = append(a.Domains, string(d))
		}
		o.ACME = a
	}
	if s.certs, err = certificate.New(o); err != nil {
		return err
	}
	use, err := s.certs.Load(certificates(c))
	if err != nil {
		return err
	}
	use()
	return nil
}

// answersTLSALPN tells whether an authority may reach a listener of ours at port
// 443. Without HTTP-01 any will do: something else can lead the port there.
func answersTLSALPN(c *config.Config) bool {
	for _, l := range c.Listeners {
		if l.TLS == config.TLSImplicit && l.ClientCA == "" &&
			(c.ACME.HTTP == "" || strings.HasSuffix(l.Address, ":443") || strings.HasPrefix(l.Address, "systemd:")) {
			return true
		}
	}
	return false
}

// LoadCertificate reads the certificates of c, and who signs those of clients,
// again. Nothing changes until use is called; then new handshakes have them,
// and what an ACME authority has refused is asked for again. A certificate that
// clients will not trust is taken all the same, and the log says so. Only
// [tls] and [[certificate]] of c are looked at; other changes need another
// Server.
func (s *Server) LoadCertificate(c *config.Config) (use func(), err error) {
	files := certificates(c)
	use, err = s.certs.Load(files)
	if err != nil {
		return nil, err
	}
	all := []func(){use}
	for _, l := range s.listeners {
		if l.tls == nil {
			continue
		}
		if len(files) == 0 && len(s.opt.Config.ACME.Domains) == 0 {
			return nil, fmt.Errorf("listener %q has TLS, and no certificate would be left: that needs a restart", l.name)
		}
		use, err := l.tls.Load()
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", l.name, err)
		}
		all = append(all, use)
	}
	return func() {
		for _, use := range all {
			use()
		}
		s.certs.Retry()
	}, nil
}

// certificateGauge is how long all certificates are good.
func (s *Server) certificateGauge() admin.Gauge {
	return admin.Gauge{Name: "certificate_expiry_seconds", Help: "Time until the first certificate expires; 0: one is missing.", Value: func() float64 {
		if at := s.certs.Expires(); !at.IsZero() {
			return time.Until(at).Seconds()
		}
		return 0
	}}
}
