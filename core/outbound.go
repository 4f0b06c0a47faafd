package core

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/deliver/tlsrpt"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/resolve"
)

// outbound is what deliveries to other hosts need beside the agent.
type outbound struct {
	credentials atomic.Pointer[map[string]deliver.Credential]
	sts         *mtasts.Cache  // nil: MTA-STS is not used
	reports     *tlsrpt.Sender // nil: nothing is counted
}

// public tells whether an address is one of the Internet, and not of a network like ours, as far as its form tells.
func public(a netip.Addr) bool {
	if a = a.Unmap().WithZone(""); netip.MustParsePrefix("64:ff9b::/96").Contains(a) { // RFC 6052
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, p := range []string{
		"0.0.0.0/8",      // RFC 791
		"100.64.0.0/10",  // RFC 6598
		"192.0.0.0/24",   // RFC 6890
		"198.18.0.0/15",  // RFC 2544
		"240.0.0.0/4",    // RFC 1112
		"::/96",          // RFC 4291 2.5.5.1: an IPv4 address is in it
		"64:ff9b:1::/48", // RFC 8215
		"2001::/32",      // RFC 4380, with an IPv4 address too
		"2002::/16",      // RFC 3056, and this
		"fec0::/10",      // RFC 3879
	} {
		if netip.MustParsePrefix(p).Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate()
}

// absent tells that a look-up has found that there are no records.
func absent(err error) bool {
	return errors.Is(err, resolve.ErrNoDomain) || errors.Is(err, resolve.ErrNoData)
}

// buildOutbound makes the agent.
func (s *Server) buildOutbound() error {
	c, log := s.opt.Config, s.log.Program("smtp")
	use, err := s.LoadCredentials(c)
	if err != nil {
		return err
	}
	use()
	o := deliver.Options{
		Hostname: c.Hostname, Resolver: s.resolver, Self: s.isSelf, Log: log,
		Sources: sources(c), Deny: prefixes(c.Delivery.DenyNetworks), Limits: limitsOf(s.shapes, c),
		Credential: func(name string) (deliver.Credential, bool) {
			cred, ok := (*s.outbound.credentials.Load())[name]
			return cred, ok
		},
		Certificate: func() (*tls.Certificate, error) { return s.certs.Get(&tls.ClientHelloInfo{ServerName: c.Hostname}) },
	}
	denied := prefixes(c.Delivery.DenyNetworks)
	allow := func(a netip.Addr) bool {
		return public(a) && !slices.ContainsFunc(denied, func(p netip.Prefix) bool { return p.Contains(a.Unmap().WithZone("")) })
	}
	if c.Delivery.DANE {
		o.DANE = s.resolver
	}
	if c.Delivery.MTASTS {
		fetch := mtasts.Fetcher{Addrs: s.resolver.Addrs, Allow: allow}
		if s.opt.PolicyHosts != nil {
			s.opt.PolicyHosts(&fetch)
		}
		if s.outbound.sts, err = mtasts.New(mtasts.Options{
			Resolver: s.resolver, Fetch: fetch.Fetch, Dir: filepath.Join(c.DataDir, "mta-sts"), Log: log, Absent: absent,
		}); err != nil {
			return err
		}
		o.STS = s.outbound.sts
	}
	if c.TLSReport.Collect {
		store, err := tlsrpt.Open(filepath.Join(c.DataDir, "tls-reports"), log)
		if err != nil {
			return err
		}
		from, err := mail.ParseMailbox(c.TLSReport.From)
		if err != nil {
			return fmt.Errorf("[tls_report] from: %w", err)
		}
		s.outbound.reports = &tlsrpt.Sender{
			Store: store, TXT: s.resolver.TXT, Absent: absent, Mail: s.sendReport, HTTP: tlsrpt.Transport(s.resolver.Addrs, allow, nil),
			Host: mail.DomainKey(c.Hostname), From: from, Organization: c.TLSReport.Organization, Contact: c.TLSReport.Contact, Log: log,
		}
		o.Reports = store
	}
	if s.opt.Deliver != nil {
		s.opt.Deliver(&o)
	}
	s.agent = deliver.New(o)
	return nil
}

// runOutbound renews MTA-STS policies, and keeps and sends TLS reports, until ctx ends.
func (s *Server) runOutbound(ctx context.Context) {
	var all sync.WaitGroup
	if s.outbound.sts != nil {
		all.Go(func() { s.outbound.sts.Run(ctx) })
	}
	if s.outbound.reports != nil {
		all.Go(func() { s.outbound.reports.Run(ctx, s.opt.Config.TLSReport.Send) })
	}
	all.Wait()
}

// closeOutbound closes the agent's connections and keeps what was counted by the last deliveries.
func (s *Server) closeOutbound() {
	if s.agent != nil {
		s.agent.Close()
	}
	if r := s.outbound.reports; r != nil {
		if err := r.Store.Save(); err != nil {
			r.Log.Error("what was counted for TLS reports does not outlive the restart", "error", err)
		}
	}
}

// sources are the [[source]] of a configuration, which has checked them.
func sources(c *config.Config) map[string]deliver.Source {
	out := make(map[string]deliver.Source, len(c.Sources))
	for _, x := range c.Sources {
		s := deliver.Source{Helo: x.Helo}
		for _, text := range x.Addresses {
			if a, err := netip.ParseAddr(text); err != nil {
				continue
			} else if a.Is4() {
				s.V4 = a
			} else {
				s.V6 = a
			}
		}
		out[x.Name] = s
	}
	return out
}

// LoadCredentials reads the [credentials] of c, with the secrets that they name. Nothing changes until use is called; then
// new sessions with next hops have them.
func (s *Server) LoadCredentials(c *config.Config) (use func(), err error) {
	next := make(map[string]deliver.Credential, len(c.Credentials))
	for name, x := range c.Credentials {
		cred := deliver.Credential{User: x.User, Mechanisms: x.Mechanisms}
		if secret, ok := c.Secrets[x.Secret]; ok {
			if cred.Secret, err = readSecret(secret); err != nil {
				return nil, fmt.Errorf("[credentials] %s: secret %q: %w", name, x.Secret, err)
			}
		}
		next[name] = cred
	}
	return func() { s.outbound.credentials.Store(&next) }, nil
}

// maxSecret is the longest secret, in octets.
const maxSecret = 64 << 10

// readSecret reads a secret. The line end at the end of a file is not part of it.
func readSecret(x config.Secret) (string, error) {
	if x.File == "" {
		return x.Value, nil
	}
	f, err := os.Open(x.File)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", err
	case len(b) > maxSecret:
		return "", fmt.Errorf("%s has more than %d octets", x.File, maxSecret)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return "", fmt.Errorf("%s is empty; write the secret into it", x.File)
	}
	return string(b), nil
}

// sendReport puts a report into the queue.
func (s *Server) sendReport(ctx context.Context, m tlsrpt.Message) error {
	d, err := s.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(m.Body); err != nil {
		return err
	}
	now := time.Now()
	env := mail.Envelope{Recipients: []mail.Recipient{{ForwardPath: m.To, RcptParams: mail.RcptParams{Notify: mail.NotifyNever}}}, Client: mail.Client{Arrived: now}}
	refs, err := d.Commit(ctx, env, m.Header, queue.CommitOptions{Due: now, Expire: now.Add(s.opt.Config.Queue.Lifetime.Std())})
	if err != nil {
		return err
	}
	s.queue.Enqueue(refs)
	return nil
}
