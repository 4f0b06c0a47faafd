package deliver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/resolve"
)

// Resolver looks names up; *resolve.Resolver is one. Errors are told apart by errors.Is with the sentinels of package
// resolve; an error that is none of them counts as temporary.
type Resolver interface {
	MX(ctx context.Context, domain string) ([]resolve.Exchange, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
}

// Policies tells the MTA-STS policy in force for a domain; *mtasts.Cache is one. It waits no longer than ctx.
type Policies interface {
	Policy(ctx context.Context, domain string) (mtasts.Policy, bool)
}

// Timeouts bound the phases of a session. Zero means the default in parentheses, mostly that of RFC 5321 4.5.3.2.
type Timeouts struct {
	Connect  time.Duration // (30 s) TCP
	TLS      time.Duration // (1 min) handshake
	Greeting time.Duration // (5 min)
	Hello    time.Duration // (5 min) EHLO, HELO, LHLO, STARTTLS, RSET
	Mail     time.Duration // (5 min)
	Rcpt     time.Duration // (5 min)
	Data     time.Duration // (2 min) the reply to DATA
	Block    time.Duration // (3 min) sending up to 128 KiB
	Dot      time.Duration // (10 min) the reply to the end of the content
}

// Options configure an Agent. Hostname and Resolver are required; a Resolver is not needed for next hops that are
// addresses, sockets or directories.
type Options struct {
	Hostname string // given in EHLO; an MX of this name is us
	Resolver Resolver

	// DANE looks up what DNSSEC proves of servers (RFC 7672); nil: DANE is not used. Without a resolver that may be
	// believed nothing is proven, and nothing changes.
	DANE SecureResolver
	// STS keeps the MTA-STS policies of domains (RFC 8461); nil: they are not used.
	STS Policies

	// Reports is told how TLS went with the exchangers of domains (RFC 8460); nil: nobody is.
	Reports Reports

	// Credential is the one of a name, asked for at each AUTH; nil: there are none.
	Credential func(name string) (Credential, bool)
	// Certificate is the one that a server gets where a credential names EXTERNAL; nil: none.
	Certificate func() (*tls.Certificate, error)
	// Sources are where connections can come from, by the name that mail.NextHop.Source may have in place of an address.
	Sources map[string]Source

	// TLS is the base configuration of the client side; nil: the system's roots. The name and the kind of verification
	// are set for each connection.
	TLS      *tls.Config
	Timeouts Timeouts

	// Self tells whether a server of ours listens at an address; nil: never. Such an address is never dialled.
	Self func(netip.AddrPort) bool
	// Deny are networks that are not dialled because an MX record says so. Next hops given by name are not affected.
	Deny []netip.Prefix
	// AllowLoopbackMX lets MX records lead to loopback addresses, for tests.
	AllowLoopbackMX bool
	// MXPort is the port of mail exchangers where the next hop has none. Default 25.
	MXPort uint16

	// IdleTime is how long an unused connection is kept. Default 5 s; negative: connections are not used again.
	IdleTime time.Duration
	// MaxIdle bounds the connections kept, over all (default 200) and for each server (MaxIdlePerServer, default 20).
	MaxIdle, MaxIdlePerServer int
	// MaxMessages is how many messages go over a connection. Default 100.
	MaxMessages int
	// MaxRecipients is how many recipients a transaction has; more make more transactions. Default 100.
	MaxRecipients int

	// Limits are those of a next hop; nil: those above are for all.
	Limits func(mail.NextHop) Limits

	// Log is told what no result says, such as TLS given up. nil: nobody.
	Log *slog.Logger
}

// Agent delivers messages.
type Agent struct {
	o       Options
	helo    string
	own     map[string]bool // names that we say in EHLO: an MX of such a name is us
	pool    pool
	buffers sync.Pool

	files    atomic.Uint64        // Maildir files so far, for unique names
	syncFile func(*os.File) error // a variable for tests of what happens when
	now      func() time.Time
}

// New returns an agent. Zero options get their defaults.
func New(o Options) *Agent {
	def(&o.Timeouts.Connect, 30*time.Second)
	def(&o.Timeouts.TLS, time.Minute)
	def(&o.Timeouts.Greeting, 5*time.Minute)
	def(&o.Timeouts.Hello, 5*time.Minute)
	def(&o.Timeouts.Mail, 5*time.Minute)
	def(&o.Timeouts.Rcpt, 5*time.Minute)
	def(&o.Timeouts.Data, 2*time.Minute)
	def(&o.Timeouts.Block, 3*time.Minute)
	def(&o.Timeouts.Dot, 10*time.Minute)
	def(&o.MXPort, 25)
	def(&o.IdleTime, 5*time.Second)
	def(&o.MaxIdle, 200)
	def(&o.MaxIdlePerServer, 20)
	def(&o.MaxMessages, 100)
	def(&o.MaxRecipients, 100)
	if o.Self == nil {
		o.Self = func(netip.AddrPort) bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Credential == nil {
		o.Credential = func(string) (Credential, bool) { return Credential{}, false }
	}
	if o.TLS == nil {
		o.TLS = new(tls.Config)
	}
	o.TLS = o.TLS.Clone()
	if o.TLS.ClientSessionCache == nil {
		o.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	helo := mail.DomainKey(o.Hostname)
	own := map[string]bool{helo: true}
	for _, s := range o.Sources {
		if s.Helo != "" {
			own[mail.DomainKey(s.Helo)] = true
		}
	}
	return &Agent{
		o:        o,
		helo:     helo,
		own:      own,
		pool:     pool{idle: make(map[endpoint]*conn), sites: make(map[mail.NextHop]*use), max: o.MaxIdle, perServer: o.MaxIdlePerServer, keep: o.IdleTime},
		buffers:  sync.Pool{New: func() any { return new(buffers) }},
		syncFile: (*os.File).Sync,
		now:      time.Now,
	}
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// giveBack keeps b for another delivery unless a large header section has blown it up.
func (a *Agent) giveBack(b *buffers) {
	if cap(b.out) > 2*blockSize {
		b.out = nil
	}
	a.buffers.Put(b)
}

// Close closes the idle connections. Deliveries in progress go on; their connections are closed when they end.
func (a *Agent) Close() error {
	a.pool.close()
	return nil
}

// Deliver tries to bring m to its recipients, over the hops in their order, and returns one result for each of
// m.Envelope.Recipients, in their order. When ctx ends, what is open is deferred. Texts of replies that are ours may go
// into a DSN: they name remote hosts, but no paths.
func (a *Agent) Deliver(ctx context.Context, hops []mail.NextHop, m *mail.Message) []mail.Result {
	n := len(m.Envelope.Recipients)
	j := &job{m: m, results: make([]mail.Result, n), states: make([]state, n)}
	if by := m.Envelope.By; by.Return && !by.Time.IsZero() && !by.Time.After(a.now()) { // RFC 2852 4.1
		j.each(settled, func(i int) {
			j.set(i, settled, mail.Result{Outcome: mail.Failed, Reply: *mail.NewReply(554, "5.4.7", "The time within which the message was to be delivered is over")})
		})
	}
	for _, hop := range hops {
		if ctx.Err() != nil || !j.any(unreached) {
			break
		}
		switch hop.Transport {
		case mail.TransportMX, mail.TransportSMTP, mail.TransportLMTP, mail.TransportLMTPUnix:
			a.remote(ctx, hop, j)
			j.each(answered, func(i int) {
				if j.states[i] == answered {
					j.states[i] = postponed
				}
			})
		case mail.TransportMaildir:
			a.maildir(ctx, hop, j)
		case mail.TransportDiscard:
			j.each(unreached, func(i int) {
				j.set(i, settled, mail.Result{Outcome: mail.Discarded, Reply: *mail.NewReply(250, "2.0.0", "Discarded"), Relay: "discard"})
			})
		}
	}
	j.each(untried, func(i int) {
		text := "No next hop to try"
		if ctx.Err() != nil {
			text = "Delivery was interrupted"
		}
		j.set(i, unreached, mail.Result{Reply: *mail.NewReply(451, "4.3.2", text)})
	})
	j.tell()
	return j.results
}

// state is what is known of a recipient in the course of Deliver.
type state uint8

const (
	untried   state = iota
	unreached       // deferred, and nobody has replied for it: another next hop may
	answered        // deferred by a 4yz reply: another host of this next hop may take it
	postponed       // deferred, and nothing more is to be tried now
	settled
)

// job is one call of Deliver.
type job struct {
	m       *mail.Message
	results []mail.Result
	states  []state
	tried   []string // hosts, each with why it was not the end
}

// maxTried is how many hosts a result tells of.
const maxTried = 20

func (j *job) noteTried(host, why string) {
	if len(j.tried) < maxTried {
		j.tried = append(j.tried, host+": "+why)
	}
}

// tell puts into the results what was tried in vain before.
func (j *job) tell() {
	if len(j.tried) == 0 {
		return
	}
	for i := range j.results {
		r := &j.results[i]
		own := r.Relay + ": " + r.Reply.String()
		others := slices.DeleteFunc(slices.Clone(j.tried), func(line string) bool { return line == own })
		r.Earlier = strings.Join(others, "\n")
	}
}

// set records a result unless a more telling one is there. That one host has deferred a recipient, and may take it later, is
// more than that another one does not want, or cannot have, the message at all.
func (j *job) set(i int, s state, r mail.Result) {
	if s == answered && j.states[i] == answered && r.Outcome == mail.Failed && j.results[i].Outcome == mail.Deferred {
		return
	}
	if s >= j.states[i] {
		j.states[i], j.results[i] = s, r
	}
}

// any tells whether a recipient is at most in state s.
func (j *job) any(s state) bool {
	for _, t := range j.states {
		if t <= s {
			return true
		}
	}
	return false
}

// each calls f for the recipients that are at most in state s.
func (j *job) each(s state, f func(i int)) {
	for i, t := range j.states {
		if t <= s {
			f(i)
		}
	}
}

// failure is why no transaction could be had, or why one broke off.
type failure struct {
	reply   mail.Reply
	state   state // of the recipients it leaves without a result
	remote  bool  // the server said so
	smtp    bool  // it got beyond connecting
	reached bool  // there was a session: EHLO was answered
	tls     bool  // it is TLS that failed
	again   bool  // nothing is lost: do it over on a new connection,
	exact   bool  // with BDAT
	inStep  bool  // the connection is good for another message
	lacks   bool  // the server does not offer what the message needs
}

func failed(enhanced, text string) *failure {
	code := 451
	if strings.HasPrefix(enhanced, "5") {
		code = 554
	}
	return &failure{reply: mail.NewReply(code, enhanced, text).Clean(), state: unreached}
}
