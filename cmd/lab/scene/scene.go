package scene

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/cmd/lab/certs"
	"github.com/wasmta/wasmta/core/mailtest"
)

// Options are where the scene is. The zero value is on loopback addresses and free ports.
type Options struct {
	// Net is where servers get their addresses from, 256 of them; all of it must be this machine's. Zero: 127.0.1.0.
	Net netip.Addr
	// MXPort, PolicyPort and DNS are ports of mail exchangers, of policy hosts, and the address of the DNS. Zero: free ones.
	MXPort, PolicyPort uint16
	DNS                string
}

// Scene is what is started.
type Scene struct {
	CA         *certs.CA
	DNS        string // host:port of the resolver
	MXPort     uint16
	PolicyPort uint16
	Rows       []Row

	opt     Options
	dns     *mailtest.DNS
	zone    mailtest.Zone
	next    byte // address
	servers map[string][]*exchanger
	policy  map[string]policy // by host name
	http    *http.Server
	close   []func()
}

// exchanger is a mail exchanger that is up.
type exchanger struct {
	*mailtest.SMTP
	clear   atomic.Int32 // MAIL commands in clear text
	noTLS   atomic.Bool  // STARTTLS is refused from now on
	offered bool         // STARTTLS
}

type policy struct {
	cert tls.Certificate
	host PolicyHost
	text string
	down *atomic.Bool
}

// Start starts the servers for rows.
func Start(rows []Row, o Options) (_ *Scene, err error) {
	if !o.Net.IsValid() {
		o.Net = netip.MustParseAddr("127.0.1.0")
	}
	s := &Scene{Rows: rows, opt: o, MXPort: o.MXPort, servers: make(map[string][]*exchanger), policy: make(map[string]policy)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.CA, err = certs.New(); err != nil {
		return nil, err
	}
	s.zone = mailtest.Zone{Secure: true, Address: o.DNS, Faults: make(map[string]mailtest.Fault)}
	var b strings.Builder
	if err := s.startPolicies(); err != nil {
		return nil, err
	}
	for _, r := range rows {
		if err := s.start(r, &b); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	s.zone.Records = b.String()
	if s.dns, err = mailtest.NewDNS(s.zone); err != nil {
		return nil, err
	}
	s.DNS = s.dns.Addr
	s.close = append(s.close, s.dns.Close)
	return s, nil
}

// Close ends all servers.
func (s *Scene) Close() {
	for _, f := range slices.Backward(s.close) {
		f()
	}
	s.close = nil
}

// address is the next one.
func (s *Scene) address() string {
	s.next++
	a := s.opt.Net.As4()
	a[3] = s.next
	return netip.AddrFrom4(a).String()
}

// Domain of a row.
func (r Row) Domain() string { return r.Name + "." + Zone }

func (r Row) host(i int) string {
	switch h := r.MX[i].Host; h {
	case "":
		return fmt.Sprintf("mx%d.%s", i+1, r.Domain())
	case "@":
		return r.Domain()
	case "self":
		return Hostname
	default:
		return h
	}
}

// start starts a row's servers and writes its part of the zone.
func (s *Scene) start(r Row, b *strings.Builder) error {
	domain := r.Domain()
	if r.Unsigned || r.STS != nil && !slices.ContainsFunc(r.MX, func(m MX) bool { return m.TLSA != NoTLSA }) {
		s.zone.Unsigned = append(s.zone.Unsigned, domain)
	}
	for i, m := range r.MX {
		host, pref := r.host(i), m.Pref
		if pref == 0 {
			pref = 10
		}
		switch m.Host {
		case "@":
		default:
			owner := domain
			if strings.Contains(r.Records, domain+". CNAME") {
				owner = "real." + domain
			}
			fmt.Fprintf(b, "%s. MX %d %s.\n", owner, pref, host)
		}
		if m.Host == "self" {
			continue
		}
		addr := s.address()
		fmt.Fprintf(b, "%s. A %s\n", host, addr)
		if err := s.exchanger(r, m, host, addr, b); err != nil {
			return err
		}
	}
	b.WriteString(strings.ReplaceAll(r.Records, "@", domain+"."))
	for _, name := range r.Bogus {
		switch name, typ, _ := strings.Cut(name, " "); {
		case typ == "": // a type alone: of the first exchanger's TLSA
			s.zone.Faults[fmt.Sprintf("_%d._tcp.%s TLSA", s.MXPort, r.host(0))] = mailtest.BogusServFail
		case name == "":
			s.zone.Faults[domain+" "+typ] = mailtest.BogusServFail
		default:
			s.zone.Faults[name+"."+domain+" "+typ] = mailtest.BogusServFail
		}
	}
	if r.STS == nil {
		return nil
	}
	return s.publish(r, b)
}

// listen takes the port of all exchangers at another address. The first one chooses it.
func (s *Scene) listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", addr, s.MXPort))
	if err == nil && s.MXPort == 0 {
		s.MXPort = l.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	return l, err
}

func (s *Scene) exchanger(r Row, m MX, host, addr string, b *strings.Builder) error {
	if s.MXPort == 0 {
		l, err := s.listen(addr)
		if err != nil {
			return err
		}
		l.Close()
	}
	at := fmt.Sprintf("%s:%d", addr, s.MXPort)
	name := host
	if m.Cert == WrongName {
		name = "other.example"
	}
	cert, err := s.CA.Issue(m.Cert.kind(), name)
	if err != nil {
		return err
	}
	if m.TLSA != NoTLSA {
		fmt.Fprintf(b, "_%d._tcp.%s. TLSA %s\n", s.MXPort, host, s.tlsa(m.TLSA, cert))
	}
	switch m.State {
	case Refusing:
		s.servers[r.Name] = append(s.servers[r.Name], nil)
		return nil
	case BlackHole:
		end, err := blackHole(at)
		if err != nil {
			return err
		}
		s.close = append(s.close, end)
		s.servers[r.Name] = append(s.servers[r.Name], nil)
		return nil
	}
	x := &exchanger{offered: m.Cert != NoTLS}
	script := m.Script
	script.Address = at
	script.Reply = func(c mailtest.Command) string {
		switch {
		case c.Verb == "MAIL" && !c.TLS:
			x.clear.Add(1)
		case c.Verb == "STARTTLS" && x.noTLS.Load():
			return "454 4.7.0 TLS is not available"
		}
		return ""
	}
	switch m.Cert {
	case NoTLS:
	case BrokenTLS:
		script.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("broken on purpose") }}
	default:
		script.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	if x.SMTP, err = mailtest.NewSMTP(script); err != nil {
		return err
	}
	s.close = append(s.close, x.Close)
	s.servers[r.Name] = append(s.servers[r.Name], x)
	return nil
}

// tlsa is the data of a record.
func (s *Scene) tlsa(t TLSA, cert tls.Certificate) string {
	sum := func(of []byte) string {
		h := sha256.Sum256(of)
		return hex.EncodeToString(h[:])
	}
	switch t {
	case EE:
		return "3 1 1 " + sum(cert.Leaf.RawSubjectPublicKeyInfo)
	case TA:
		return "2 0 1 " + sum(s.CA.Certificate.Raw)
	case Unusable:
		return "0 0 1 " + sum(s.CA.Certificate.Raw)
	default:
		return "3 1 1 " + sum([]byte("another"))
	}
}

// startPolicies starts the web server of all policies.
func (s *Scene) startPolicies() error {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", s.address(), s.opt.PolicyPort))
	if err != nil {
		return err
	}
	s.PolicyPort = l.Addr().(*net.TCPAddr).AddrPort().Port()
	s.http = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(s.serve), ErrorLog: nil, TLSConfig: &tls.Config{
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			p, ok := s.policy[h.ServerName]
			if !ok || p.down.Load() {
				return nil, errors.New("no such policy host")
			}
			return &p.cert, nil
		}}}
	s.http.ErrorLog = discard()
	var running sync.WaitGroup
	running.Go(func() { _ = s.http.ServeTLS(l, "", "") })
	s.close = append(s.close, func() {
		s.http.Close()
		running.Wait()
	})
	return nil
}

func (s *Scene) serve(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	p, ok := s.policy[host]
	switch {
	case !ok || r.URL.Path != "/.well-known/mta-sts.txt" && r.URL.Path != "/elsewhere":
		http.NotFound(w, r)
	case p.host == Redirects && r.URL.Path != "/elsewhere":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case p.host == ServerOops:
		http.Error(w, "oops", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", map[bool]string{true: "text/html", false: "text/plain"}[p.host == WrongType])
		fmt.Fprint(w, p.text)
	}
}

// publish writes a row's policy. Its host is at the address of the web server, or at one where nothing listens.
func (s *Scene) publish(r Row, b *strings.Builder) error {
	host := "mta-sts." + r.Domain()
	kind := certs.Good
	if r.STS.Host == BadCert {
		kind = certs.SelfSigned
	}
	cert, err := s.CA.Issue(kind, host)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmax_age: 86400\r\n", r.STS.Mode)
	names := r.STS.MX
	if names == nil {
		for i := range r.MX {
			names = append(names, r.host(i))
		}
	}
	for _, n := range names {
		text += "mx: " + n + "\r\n"
	}
	a := s.opt.Net.As4()
	a[3] = 1 // the first that was given
	if r.STS.Host == Down {
		a[3] = 254
	}
	fmt.Fprintf(b, "%s. A %s\n_mta-sts.%s. TXT \"v=STSv1; id=1;\"\n", host, netip.AddrFrom4(a), r.Domain())
	s.policy[host] = policy{cert: cert, host: r.STS.Host, text: text, down: new(atomic.Bool)}
	return nil
}

// outage takes away what keeps a row's mail safe.
func (s *Scene) outage(r Row) error {
	s.policy["mta-sts."+r.Domain()].down.Store(true)
	var kept strings.Builder
	for line := range strings.Lines(s.zone.Records) {
		if !strings.HasPrefix(line, "_mta-sts."+r.Domain()) {
			kept.WriteString(line)
		}
	}
	s.zone.Records = kept.String()
	for _, x := range s.servers[r.Name] {
		if x != nil {
			x.noTLS.Store(true)
			x.Drop()
		}
	}
	return s.dns.Set(s.zone)
}
