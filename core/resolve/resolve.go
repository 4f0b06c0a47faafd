package resolve

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	maxServers  = 8
	maxInFlight = 1024 // queries at a time; each holds a socket
)

// Options configure a Resolver. The zero value reads /etc/resolv.conf.
type Options struct {
	// Servers are recursive servers, ADDRESS or ADDRESS:PORT, at most 8. Empty means those of ResolvConf, and without
	// any, 127.0.0.1:53.
	Servers []string
	// ResolvConf is the path of a resolv.conf(5) file, read once and only if Servers is empty. Empty means
	// /etc/resolv.conf.
	ResolvConf string
	// TrustAD believes the AD bit of every server, not only of those on a loopback address. Set it only if the way to
	// the servers is safe from forgery. "options trust-ad" in ResolvConf does the same.
	TrustAD bool
	// Timeout bounds one try at one server. Default 3 s.
	Timeout time.Duration
	// Total bounds a look-up with all its tries and aliases. Default 15 s.
	Total time.Duration
	// CacheEntries bounds the cache; an answer takes one entry for each 512 octets. Default 65536.
	CacheEntries int
}

// Resolver answers look-ups. It is safe for use by many goroutines.
type Resolver struct {
	servers []server
	rounds  int
	timeout time.Duration
	total   time.Duration

	first  atomic.Uint32 // index of the server to ask first: the last one that worked
	slots  chan struct{}
	cache  *cache
	flight singleflight.Group

	ctx    context.Context // ends with Close; look-ups outlive their callers
	cancel context.CancelFunc
	mu     sync.Mutex // orders running.Go and Close
	closed bool
	active sync.WaitGroup
}

type server struct {
	addr    string
	trusted bool // its AD bit counts
}

// New returns a resolver. It fails only on a server that is not an address; a missing resolv.conf is no error.
func New(o Options) (*Resolver, error) {
	var conf resolvConf
	if len(o.Servers) == 0 {
		path := o.ResolvConf
		if path == "" {
			path = "/etc/resolv.conf"
		}
		conf = readResolvConf(path)
		o.Servers = conf.servers
	}
	if len(o.Servers) == 0 {
		o.Servers = []string{defaultServer}
	}
	if len(o.Servers) > maxServers {
		return nil, errors.New("resolve: more than 8 DNS servers")
	}
	r := &Resolver{
		rounds:  or(conf.rounds, 2),
		timeout: or(o.Timeout, or(conf.timeout, 3*time.Second)),
		total:   or(o.Total, 15*time.Second),
		slots:   make(chan struct{}, maxInFlight),
		cache:   newCache(or(o.CacheEntries, 65536)),
	}
	for _, s := range o.Servers {
		ap, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		srv := server{addr: ap.String(), trusted: o.TrustAD || conf.trustAD || ap.Addr().Unmap().IsLoopback()}
		if !slices.Contains(r.servers, srv) {
			r.servers = append(r.servers, srv)
		}
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

func or[T int | time.Duration](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// Close ends the look-ups in progress, which report a temporary failure, and waits for them. Later look-ups are
// answered from the cache or fail the same way.
func (r *Resolver) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.active.Wait()
	return nil
}

// lookup returns the answer for name, which queryName has made, from the cache or the servers. It is nil only with an
// error; an answer that denies comes with both, because the AD bit of a denial matters too.
func (r *Resolver) lookup(ctx context.Context, name string, typ uint16) (*answer, error) {
	if neverExists(name) {
		a := &answer{kind: KindNoDomain, err: errors.New("reserved, never asked for"), secure: false}
		return a, a.failure(name, typ)
	}
	k := key{name, typ}
	a := r.cache.get(k)
	if a == nil {
		if err := ctx.Err(); err != nil {
			return nil, failed(err).failure(name, typ)
		}
		// The look-up is nobody's in particular: it goes on when this caller gives up.
		ch := r.flight.DoChan(dns.TypeToString[typ]+" "+name, func() (any, error) { return r.refresh(k), nil })
		select {
		case res := <-ch:
			a = res.Val.(*answer)
		case <-ctx.Done():
			return nil, failed(ctx.Err()).failure(name, typ)
		}
	}
	return a, a.failure(name, typ)
}

// failure is nil for an answer that has records.
func (a *answer) failure(name string, typ uint16) error {
	if a.kind == 0 {
		return nil
	}
	return &Error{Name: name, Type: dns.TypeToString[typ], Kind: a.kind, Server: a.server, Err: a.err}
}

// refresh asks the servers and keeps what they say.
func (r *Resolver) refresh(k key) *answer {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return failed(errClosed)
	}
	r.active.Add(1)
	r.mu.Unlock()
	defer r.active.Done()

	if a := r.cache.get(k); a != nil { // the look-up before ours ended between our two steps
		return a
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.total)
	defer cancel()
	a := r.fetch(ctx, k)
	if a.kind == KindTemporary {
		if r.ctx.Err() != nil {
			return failed(errClosed)
		}
		if old := r.cache.revive(k); old != nil {
			return old
		}
	}
	r.cache.put(k, a)
	return a
}

var errClosed = errors.New("the resolver is closed")

// fetch follows the aliases of a name through as many queries as it takes. It does so by itself and not through
// lookup: two names that are aliases of each other would wait for each other.
func (r *Resolver) fetch(ctx context.Context, k key) *answer {
	read := newReading(k.name, k.typ)
	for {
		m, srv, err := r.exchange(ctx, read.name, k.typ)
		if err != nil {
			return failed(err)
		}
		if read.take(m, srv.addr, m.AuthenticatedData && srv.trusted) {
			return &read.out
		}
	}
}
