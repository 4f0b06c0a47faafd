package certificate

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// ACME is how certificates are got from an authority.
type ACME struct {
	Directory string   // URL of its directory (RFC 8555 7.1.1)
	Email     string   // given to it when the account is made; empty: none
	Domains   []string // in lower-case A-labels, each gets its own certificate
	Dir       string   // where accounts, keys and certificates are kept
	HTTP      string   // host:port where HTTP-01 is answered; empty: it is not
	TLSALPN   bool     // TLS-ALPN-01 can be answered
	Root      string   // PEM file of who signed the certificate of Directory; empty: the system's
}

const (
	attemptTime = 5 * time.Minute
	// recheck bounds a wait: the clock can be set, and machines sleep.
	recheck = time.Hour
)

// backoff is how long after each failure in a row the next attempt is.
var backoff = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour}

// authority is one ACME server and what it gave us.
type authority struct {
	opt     ACME
	log     *slog.Logger
	shelf   shelf
	http    *http.Client
	changed func() // the entries have
	kick    chan struct{}
	account *acme.Client // nil until it is registered; of run alone

	// Tests have their own of these: the clock, where wait returns when d is
	// over, when kick says something and when ctx ends; and the port of HTTP-01.
	now    func() time.Time
	wait   func(ctx context.Context, d time.Duration)
	listen func() (net.Listener, error)

	mu         sync.Mutex
	domains    []*domain
	tokens     map[string]*tls.Certificate // TLS-ALPN-01, by name
	replies    map[string]string           // HTTP-01, by path
	challenges []string                    // types, in the order in which they are tried
}

// domain is one certificate. Only cert and temporary are read outside run.
type domain struct {
	name      string
	key       crypto.Signer
	cert      *tls.Certificate
	temporary bool
	due       time.Time // of the next attempt
	failures  int       // in a row
	early     int       // certificates in a row that were due when they came
}

func newAuthority(o Options, changed func()) (*authority, error) {
	a := &authority{
		opt: *o.ACME, log: o.Log, changed: changed, kick: make(chan struct{}, 1), now: time.Now,
		tokens: map[string]*tls.Certificate{}, replies: map[string]string{},
	}
	a.wait = a.sleep
	a.listen = func() (net.Listener, error) { return net.Listen("tcp", a.opt.HTTP) }
	if a.opt.HTTP != "" {
		a.challenges = append(a.challenges, "http-01")
	}
	if a.opt.TLSALPN {
		a.challenges = append(a.challenges, "tls-alpn-01")
	}
	if len(a.challenges) == 0 {
		return nil, errors.New("[acme] cannot prove that the domains are ours: set http, or have a listener with tls = \"implicit\" at port 443")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if a.opt.Root != "" {
		pool, err := readPool(a.opt.Root)
		if err != nil {
			return nil, fmt.Errorf("[acme] root: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	a.http = &http.Client{Transport: bounded{transport}, Timeout: 30 * time.Second}
	var err error
	if a.shelf, err = newShelf(a.opt.Dir, a.opt.Directory); err != nil {
		return nil, err
	}
	for _, name := range a.opt.Domains {
		d := &domain{name: name}
		if d.key, err = a.shelf.key(name + ".key"); err != nil {
			return nil, err
		}
		if d.cert = a.shelf.chain(name, d.key); d.cert != nil {
			d.due = renewal(d.cert.Leaf)
		}
		if d.cert == nil || a.now().After(d.cert.Leaf.NotAfter) {
			d.temporary, d.due = true, time.Time{}
			if d.cert, err = selfSigned(name, d.key, a.now()); err != nil {
				return nil, err
			}
		}
		a.domains = append(a.domains, d)
	}
	return a, nil
}

// renewal is when a certificate is due: a third of its life before its end, at
// most 30 days.
func renewal(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-min(leaf.NotAfter.Sub(leaf.NotBefore)/3, 30*24*time.Hour))
}

func (a *authority) entries() []entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []entry
	for _, d := range a.domains {
		list = append(list, entry{[]string{d.name}, d.cert, d.temporary})
	}
	return list
}

// Run gets and renews the certificates of ACME until ctx ends. It returns at
// once if there is no ACME.
func (s *Set) Run(ctx context.Context) {
	if s.authority != nil {
		s.authority.run(ctx)
	}
}

// Retry tries at once what has failed before.
func (s *Set) Retry() {
	if s.authority != nil {
		select {
		case s.authority.kick <- struct{}{}:
		default:
		}
	}
}

func (a *authority) run(ctx context.Context) {
	defer a.http.CloseIdleConnections()
	for ctx.Err() == nil {
		next := recheck
		for _, d := range a.domains {
			if !d.due.After(a.now()) {
				a.attempt(ctx, d)
			}
			next = min(next, d.due.Sub(a.now()))
		}
		a.wait(ctx, max(next, time.Second))
	}
}

func (a *authority) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-a.kick:
		a.retryNow()
	}
}

// retryNow makes due what has failed.
func (a *authority) retryNow() {
	for _, d := range a.domains {
		if d.failures > 0 {
			d.due = a.now()
		}
	}
}

// attempt gets one certificate, or says why not and when it is tried again.
func (a *authority) attempt(ctx context.Context, d *domain) {
	limit, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	kind := a.challenges[d.failures%len(a.challenges)]
	cert, err := a.obtain(limit, d, kind)
	if err == nil {
		err = a.shelf.keep(d.name, cert)
		if err != nil && cert != nil { // use it all the same: it was counted
			a.log.Error("a certificate cannot be kept; the next start asks for another", "domain", d.name, "error", err.Error())
		}
		a.mu.Lock()
		d.cert, d.temporary = cert, false
		a.mu.Unlock()
		d.failures, d.due = 0, renewal(cert.Leaf)
		// With a clock that is wrong, or a life of seconds, another is due at once.
		if soon := a.now().Add(backoff[min(d.early, len(backoff)-1)]); d.due.Before(soon) {
			d.due = soon
			d.early++
		} else {
			d.early = 0
		}
		a.changed()
		a.log.Info("certificate obtained", "domain", d.name, "until", cert.Leaf.NotAfter.UTC().Format(time.RFC3339), "renewal", d.due.UTC().Format(time.RFC3339))
		return
	}
	if ctx.Err() != nil {
		return
	}
	pause := backoff[min(d.failures, len(backoff)-1)]
	var said *acme.Error
	if errors.As(err, &said) {
		if after, ok := acme.RateLimit(said); ok {
			pause = min(max(pause, after), 24*time.Hour)
		}
		if problem(said) == "accountDoesNotExist" { // any more: the next attempt makes it again
			a.account = nil
		}
	}
	d.failures++
	d.due = a.now().Add(pause)
	state := "until then there is a self-signed one"
	if !d.temporary {
		state = "the present one is good until " + d.cert.Leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	a.log.Error("no certificate from the authority; "+state, "domain", d.name, "challenge", kind, "error", brief(err),
		"try", advice(kind, d.name, err), "next", d.due.UTC().Format(time.RFC3339))
}

// advice is what to do about an error.
func advice(kind, name string, err error) string {
	var said *acme.Error
	var refused *acme.AuthorizationError
	var ours *portError
	switch {
	case errors.As(err, &ours):
		return "free the address that http of [acme] names, or let the server have it (CAP_NET_BIND_SERVICE)"
	case errors.As(err, &refused):
		port := "80"
		if kind == "tls-alpn-01" {
			port = "443"
		}
		return fmt.Sprintf("let the name %s lead to this machine in DNS, and port %s be reached from the Internet, then send SIGHUP", name, port)
	case errors.As(err, &said):
		switch problem(said) {
		case "rateLimited":
			return "wait: the authority has had too many requests for this domain"
		case "caa":
			return "allow the authority in the CAA records of the domain"
		case "rejectedIdentifier":
			return "remove the domain from [acme]: the authority gives no certificate for it"
		case "userActionRequired", "externalAccountRequired":
			return "do what the authority says, or choose another directory in [acme]"
		}
	}
	var reach *url.Error
	if errors.As(err, &reach) {
		return "let this machine reach the directory of [acme] by HTTPS"
	}
	return "see the error"
}

// problem is the last part of an error's type (RFC 8555 6.7).
func problem(e *acme.Error) string {
	return e.ProblemType[strings.LastIndexByte(e.ProblemType, ':')+1:]
}

// brief is an error on one line, and not as long as the authority likes.
func brief(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 600 {
		text = strings.ToValidUTF8(text[:600], "") + "..."
	}
	return text
}

// obtain goes through an order (RFC 8555 7.4) and returns its certificate.
func (a *authority) obtain(ctx context.Context, d *domain, kind string) (*tls.Certificate, error) {
	client, err := a.register(ctx)
	if err != nil {
		return nil, err
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(d.name))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	for _, at := range order.AuthzURLs {
		if err := a.prove(ctx, client, at, d.name, kind); err != nil {
			return nil, err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{d.name}}, d.key)
	if err != nil {
		return nil, err
	}
	der, _, err := client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := together(d.name, der, d.key)
	if err != nil {
		return nil, fmt.Errorf("the certificate that came cannot be used: %w", err)
	}
	return cert, nil
}

// register makes the account, or finds the one of the key.
func (a *authority) register(ctx context.Context) (*acme.Client, error) {
	if a.account != nil {
		return a.account, nil
	}
	key, err := a.shelf.key("account")
	if err != nil {
		return nil, err
	}
	c := &acme.Client{Key: key, HTTPClient: a.http, DirectoryURL: a.opt.Directory, UserAgent: "wasmta", RetryBackoff: again}
	account := &acme.Account{}
	if a.opt.Email != "" {
		account.Contact = []string{"mailto:" + a.opt.Email}
	}
	// accept_terms was required by the configuration.
	if _, err := c.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("account at %s: %w", a.opt.Directory, err)
	}
	a.account = c
	return c, nil
}

// prove shows the authority that a domain is ours (RFC 8555 7.5).
func (a *authority) prove(ctx context.Context, client *acme.Client, at, name, kind string) error {
	z, err := client.GetAuthorization(ctx, at)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	i := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if i < 0 {
		return fmt.Errorf("the authority offers no challenge %s for %s", kind, name)
	}
	remove, err := a.answer(client, z.Challenges[i], name)
	if err != nil {
		return err
	}
	defer remove()
	if _, err := client.Accept(ctx, z.Challenges[i]); err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	if _, err := client.WaitAuthorization(ctx, at); err != nil {
		return fmt.Errorf("the authority does not see that %s is ours: %w", name, err)
	}
	return nil
}
