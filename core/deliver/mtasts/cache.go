package mtasts

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	// FetchTime bounds the look-up of a record and the fetch of a policy, together.
	FetchTime = 60 * time.Second
	// RetryTime is how long a failure to fetch is remembered (RFC 8461 3.3 suggests five minutes).
	RetryTime = 5 * time.Minute
	// checkTime is how long the DNS is not asked again about a domain of which a policy is kept, and how long a domain
	// without one counts as such.
	checkTime = 5 * time.Minute
	// newerTime is how long who asks waits for that while there is a policy in force.
	newerTime = 5 * time.Second
	// renewTime is after what time a policy is fetched again though it has not changed.
	renewTime = 24 * time.Hour
	// renewEvery is how often policies are looked through for those, and renewMost how many are fetched then.
	renewEvery = time.Hour
	renewMost  = 500
	// maxDomains bounds what is kept in memory and on the disk.
	maxDomains = 50_000
)

// Resolver looks TXT records up; *resolve.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, error)
}

// Options of a Cache. Resolver and Fetch are required.
type Options struct {
	Resolver Resolver
	Fetch    func(ctx context.Context, domain string) ([]byte, error) // the policy; see [Fetcher]
	Dir      string                                                   // where policies outlive a restart; empty: nowhere
	Absent   func(error) bool                                         // the look-up says that there is no record; nil: never
	Log      *slog.Logger
}

// Cache keeps policies. It is safe for concurrent use.
type Cache struct {
	o      Options
	flight singleflight.Group

	mu      sync.Mutex
	domains map[string]*entry
}

type entry struct {
	policy  Policy    // zero: none was ever fetched
	checked time.Time // when the DNS was asked for the last time
	failed  time.Time // when a fetch failed for the last time
	tried   string    // the id that this fetch was for
	fault   string    // what was wrong with it; see Fault
}

// New makes a cache, and reads what an earlier one kept in Options.Dir.
func New(o Options) (*Cache, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Absent == nil {
		o.Absent = func(error) bool { return false }
	}
	c := &Cache{o: o, domains: make(map[string]*entry)}
	if o.Dir == "" {
		return c, nil
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("mta-sts: %w", err)
	}
	files, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("mta-sts: %w", err)
	}
	for _, f := range files {
		c.recall(filepath.Join(o.Dir, f.Name()))
	}
	return c, nil
}

// stored is a file of Options.Dir.
type stored struct {
	Domain string `json:"domain"`
	Policy
}

// recall reads a file. What is damaged or has expired is removed: the policy host has it.
func (c *Cache) recall(path string) {
	var s stored
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && (s.Domain == "" || path != c.path(s.Domain) || len(c.domains) >= maxDomains) {
		err = errors.New("not a policy that was kept here")
	}
	if err != nil || s.Expired(time.Now()) {
		if err != nil {
			c.o.Log.Warn("a kept MTA-STS policy is not used and removed", "file", path, "error", err)
		}
		_ = os.Remove(path)
		return
	}
	c.domains[s.Domain] = &entry{policy: s.Policy}
}

func (c *Cache) path(domain string) string {
	h := sha256.Sum256([]byte(domain))
	return filepath.Join(c.o.Dir, hex.EncodeToString(h[:])+".json")
}

// Policy returns the policy in force for a domain, the part of a forward-path; ok is false if there is none, or one of
// mode none. An error is never returned: what cannot be found out is not in force (RFC 8461 3.3), and the log says why.
func (c *Cache) Policy(ctx context.Context, domain string) (p Policy, ok bool) {
	domain = mail.DomainKey(domain)
	if domain == "" || strings.HasPrefix(domain, "[") {
		return Policy{}, false
	}
	now := time.Now()
	c.mu.Lock()
	e := c.domains[domain]
	inForce := e != nil && e.policy.ID != "" && !e.policy.Expired(now)
	fresh := e != nil && now.Sub(e.checked) < checkTime && (e.policy.ID == "" || inForce)
	c.mu.Unlock()
	if !fresh {
		done := c.flight.DoChan(domain, func() (any, error) {
			// For all who ask, so not with the context of one of them.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), FetchTime)
			defer cancel()
			c.refresh(ctx, domain)
			return nil, nil
		})
		patience := FetchTime
		if inForce { // mail does not wait long for whether there is a newer one
			patience = newerTime
		}
		timer := time.NewTimer(patience)
		select {
		case <-done:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e = c.domains[domain]; e == nil || e.policy.ID == "" || e.policy.Expired(now) {
		return Policy{}, false
	}
	return e.policy, e.policy.Mode != None
}

// What can be wrong with a policy that a domain announces, in the words of RFC 8460 4.3.2.2.
const (
	FaultFetch       = "sts-policy-fetch-error"
	FaultPolicy      = "sts-policy-invalid"
	FaultCertificate = "sts-webpki-invalid"
)

// Fault is why the policy that a domain announced could not be had when it was last tried; empty: it could, or there is none.
func (c *Cache) Fault(domain string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.domains[mail.DomainKey(domain)]; e != nil {
		return e.fault
	}
	return ""
}

// Run fetches policies again before they expire, also of domains that get no mail meanwhile, until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		var stale []string
		c.mu.Lock()
		for domain, e := range c.domains {
			if e.policy.ID != "" && !e.policy.Expired(now) && e.policy.Stale(now) && len(stale) < renewMost {
				stale = append(stale, domain)
			}
		}
		c.mu.Unlock()
		for _, domain := range stale {
			if ctx.Err() != nil {
				return
			}
			c.Policy(ctx, domain)
		}
	}
}

// refresh asks the DNS, and if it announces another policy than the one that is kept, the policy host.
func (c *Cache) refresh(ctx context.Context, domain string) {
	records, err := c.o.Resolver.TXT(ctx, "_mta-sts."+domain)
	now := time.Now()
	id, announced := "", false
	if err == nil {
		id, announced = ParseRecord(records)
	}
	c.mu.Lock()
	e := c.domains[domain]
	if e == nil {
		c.evict(now)
		e = &entry{}
		c.domains[domain] = e
	}
	// Only what is known in the end counts as checked: who asks meanwhile waits.
	defer func() {
		c.mu.Lock()
		e.checked = now
		c.mu.Unlock()
	}()
	unknown := err != nil && !c.o.Absent(err)
	if unknown && e.policy.ID != "" && !e.policy.Expired(now) && e.policy.Stale(now) {
		// Who can break the DNS shall not be able to let a policy expire: its host may still be there.
		id, announced = e.policy.ID, true
	}
	current := e.policy.ID == id && !e.policy.Stale(now)
	waits := e.tried == id && now.Sub(e.failed) < RetryTime
	c.mu.Unlock()
	switch {
	case unknown && !announced:
		c.o.Log.Info("the MTA-STS record cannot be looked up; what was fetched before stays in force", "domain", domain, "error", err)
		return
	case !announced:
		c.mu.Lock()
		e.fault = ""
		c.mu.Unlock()
		return
	case current || waits:
		return
	}
	body, err := c.o.Fetch(ctx, domain)
	var p Policy
	fault := FaultFetch
	if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
		fault = FaultCertificate
	}
	if err == nil {
		fault = FaultPolicy
		p, err = ParsePolicy(body)
	}
	if err != nil {
		c.mu.Lock()
		e.failed, e.tried, e.fault = now, id, fault
		c.mu.Unlock()
		c.o.Log.Warn("the MTA-STS policy cannot be had; what was fetched before stays in force", "domain", domain, "error", err)
		return
	}
	p.ID, p.Since = id, now
	c.mu.Lock()
	e.policy, e.failed, e.tried, e.fault = p, time.Time{}, "", ""
	c.mu.Unlock()
	if err := c.store(domain, p); err != nil {
		c.o.Log.Error("an MTA-STS policy does not outlive a restart", "domain", domain, "error", err)
	}
}

// evict makes room for one more domain: first those without a policy go. mu is held.
func (c *Cache) evict(now time.Time) {
	if len(c.domains) < maxDomains {
		return
	}
	maps.DeleteFunc(c.domains, func(_ string, e *entry) bool { return e.policy.ID == "" || e.policy.Expired(now) })
	for domain := range c.domains {
		if len(c.domains) < maxDomains {
			return
		}
		delete(c.domains, domain)
		if c.o.Dir != "" {
			_ = os.Remove(c.path(domain))
		}
	}
}

// store writes a policy so that a crash leaves the old or the new one.
func (c *Cache) store(domain string, p Policy) error {
	if c.o.Dir == "" {
		return nil
	}
	b, err := json.Marshal(stored{domain, p})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.o.Dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.path(domain))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// readAll reads at most MaxPolicy octets.
func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxPolicy+1))
	if err == nil && len(b) > MaxPolicy {
		err = fmt.Errorf("the policy has more than %d octets", MaxPolicy)
	}
	return b, err
}
