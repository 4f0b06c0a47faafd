package certificate

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// File is a certificate with its key, as the configuration names them.
type File struct {
	Place       string   // in the configuration, for errors: "[tls]"
	Names       []string // host names, "*.example.org" for one label more; empty: those of the certificate
	Certificate string   // PEM file
	Key         string   // PEM file
}

// Options are what a [Set] is built from.
type Options struct {
	Hostname string // ours: the default certificate should be for it
	ACME     *ACME  // nil: files only
	Log      *slog.Logger
}

// Set is all certificates. Its methods may be called concurrently.
type Set struct {
	opt       Options
	authority *authority // nil: files only
	current   atomic.Pointer[table]

	mu    sync.Mutex // files, and the making of a table
	files []entry
}

// entry is a certificate and the names that it stands for.
type entry struct {
	names     []string
	cert      *tls.Certificate
	temporary bool // ours, until the authority gives one
}

// table is what handshakes look at.
type table struct {
	byName  map[string][]*tls.Certificate
	unnamed []*tls.Certificate
	expires time.Time
}

// New makes a Set without any file: Load them. It makes the directory of ACME
// and keys that are missing in it.
func New(o Options) (*Set, error) {
	s := &Set{opt: o}
	if o.ACME != nil {
		a, err := newAuthority(o, s.build)
		if err != nil {
			return nil, err
		}
		s.authority = a
	}
	s.build()
	return s, nil
}

// Load reads files, the default first. Nothing changes until use is called;
// then new handshakes have them. A certificate that clients will not trust is
// taken all the same, and the log says so. The error is all bad files, joined.
func (s *Set) Load(files []File) (use func(), err error) {
	var entries []entry
	var bad []error
	for i, f := range files {
		e, err := f.load()
		if err == nil && len(e.names) == 0 && i > 0 {
			err = fmt.Errorf("%s certificate %q is for no host name and would never be shown: set names", f.Place, f.Certificate)
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		s.warn(f, e.cert.Leaf, i == 0)
		entries = append(entries, e)
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	return func() {
		s.mu.Lock()
		s.files = entries
		s.mu.Unlock()
		s.build()
	}, nil
}

func (f File) load() (entry, error) {
	cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err == nil && cert.Leaf == nil {
		cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	if err != nil {
		return entry{}, fmt.Errorf("%s certificate %q with key %q: %w", f.Place, f.Certificate, f.Key, err)
	}
	names := f.Names
	if len(names) == 0 {
		names = cert.Leaf.DNSNames
	}
	e := entry{cert: &cert}
	for _, n := range names {
		e.names = append(e.names, plain(n))
	}
	return e, nil
}

// warn tells of what clients will not trust.
func (s *Set) warn(f File, leaf *x509.Certificate, first bool) {
	if err := leaf.VerifyHostname(s.opt.Hostname); err != nil && first {
		s.opt.Log.Warn("the certificate is not for this server's hostname; clients that check it will not send", "certificate", f.Certificate, "error", err.Error())
	}
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		s.opt.Log.Warn("the certificate is not valid now; renew it and send SIGHUP", "certificate", f.Certificate,
			"from", leaf.NotBefore.UTC().Format(time.RFC3339), "to", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}

// build makes the table of the files and of what the authority gave.
func (s *Set) build() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.files
	if s.authority != nil {
		all = slices.Concat(s.files, s.authority.entries())
	}
	t := &table{byName: map[string][]*tls.Certificate{}}
	waiting := false
	for i, e := range all {
		waiting = waiting || e.temporary
		if until := e.cert.Leaf.NotAfter; !e.temporary && (t.expires.IsZero() || until.Before(t.expires)) {
			t.expires = until
		}
		for _, n := range e.names {
			// What stands in for a certificate is for nobody who can have a real one.
			if !e.temporary || len(t.byName[n]) == 0 {
				t.byName[n] = append(t.byName[n], e.cert)
			}
		}
		// The default, and what shares a name with it for clients that cannot use it.
		if i == 0 || !e.temporary && slices.ContainsFunc(e.names, func(n string) bool { return slices.Contains(all[0].names, n) }) {
			t.unnamed = append(t.unnamed, e.cert)
		}
	}
	if waiting {
		t.expires = time.Time{}
	}
	for _, list := range t.byName {
		smallFirst(list)
	}
	smallFirst(t.unnamed)
	s.current.Store(t)
}

func smallFirst(list []*tls.Certificate) {
	slices.SortStableFunc(list, func(a, b *tls.Certificate) int { return weight(a) - weight(b) })
}

func weight(c *tls.Certificate) int {
	if _, ok := c.Leaf.PublicKey.(*rsa.PublicKey); ok {
		return 1
	}
	return 0
}

// plain is a host name as tables have it.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Get is the certificate for a client, for [tls.Config.GetCertificate].
func (s *Set) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	t := s.current.Load()
	name := plain(hello.ServerName)
	list := t.byName[name]
	if _, above, ok := strings.Cut(name, "."); ok && len(list) == 0 {
		list = t.byName["*."+above]
	}
	if len(list) == 0 {
		list = t.unnamed
	}
	if len(list) == 0 {
		return nil, errors.New("there is no certificate")
	}
	// Whether the client can use the kind; the name is decided.
	kind := *hello
	kind.ServerName = ""
	for _, c := range list {
		if kind.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return list[0], nil // and the handshake says what is missing
}

// Expires is when the first certificate expires; zero: there is none, or the
// authority has not given all of them.
func (s *Set) Expires() time.Time { return s.current.Load().expires }

// Clients are the client certificates that a listener asks for.
type Clients struct {
	CA      string // PEM file of who signs them; empty: they are not asked for
	Require bool   // a handshake fails without one
}

// Listener is the TLS of one listener. Its methods may be called concurrently.
type Listener struct {
	set     *Set
	clients Clients
	base    *tls.Config
	loaded  atomic.Pointer[tls.Config]
}

// Listener makes the TLS of a listener, and reads the file of c.
func (s *Set) Listener(c Clients) (*Listener, error) {
	l := &Listener{set: s, clients: c, base: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Get}}
	use, err := l.Load()
	if err != nil {
		return nil, err
	}
	use()
	return l, nil
}

// Load reads the file of client certificates' authorities again, as
// [Set.Load] does certificates.
func (l *Listener) Load() (use func(), err error) {
	if l.clients.CA == "" {
		return func() {}, nil
	}
	pool, err := readPool(l.clients.CA)
	if err != nil {
		return nil, fmt.Errorf("client_ca: %w", err)
	}
	c := l.base.Clone()
	c.ClientCAs, c.ClientAuth = pool, tls.VerifyClientCertIfGiven
	if l.clients.Require {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return func() { l.loaded.Store(c) }, nil
}

// Config is for [tls.Server]. With implicit TLS it answers TLS-ALPN-01.
func (l *Listener) Config(implicit bool) *tls.Config {
	var challenge *tls.Config
	if a := l.set.authority; a != nil && implicit && l.clients.CA == "" {
		challenge = a.challengeConfig()
	}
	c := l.base.Clone()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if challenge != nil && isChallenge(hello) {
			return challenge, nil
		}
		return l.loaded.Load(), nil // nil: this one
	}
	return c
}

func readPool(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%q has no certificate; write those of the authorities in PEM", path)
	}
	return pool, nil
}
