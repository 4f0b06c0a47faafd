package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/certificate"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hold"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue/pebblestore"
	"github.com/wasmta/wasmta/core/resolve"
	"github.com/wasmta/wasmta/core/route"
	"github.com/wasmta/wasmta/core/smtpd"
	"github.com/wasmta/wasmta/core/trace"
)

// drainTime is how long sessions may take to finish a message when the server
// ends, and then the same for attempts in flight.
const drainTime = 30 * time.Second

// Options are what a Server is built from.
type Options struct {
	Config  *config.Config // required
	Source  hook.Source    // the policy; nil: none but the configuration's
	Plugins admin.Plugins  // what the control interface calls a plugin; nil: nothing
	Log     event.Log
	// Deliver and PolicyHosts, if not nil, change how others are reached, for a laboratory whose mail exchangers and
	// policy hosts have loopback addresses and ports of their own.
	Deliver     func(*deliver.Options)
	PolicyHosts func(*mtasts.Fetcher)
	// Sockets are what listeners with an address systemd:NAME accept at, by that
	// name. The Server closes those that it uses.
	Sockets map[string][]net.Listener
	// Fatal is called when the queue cannot be written any more, and must not
	// return; nil logs the message and exits with code 75.
	Fatal func(msg string)
}

// Server is a mail server.
type Server struct {
	opt       Options
	log       event.Log
	store     *pebblestore.Store
	resolver  *resolve.Resolver
	agent     *deliver.Agent
	outbound  outbound
	shapes    qmgr.Shapes
	queue     *qmgr.Manager
	listeners []*listener
	admin     *admin.Server
	control   []net.Listener
	certs     *certificate.Set
	template  *dsn.Template
	trace     *trace.Store // nil: none is kept
	rules     *hold.Rules
	pickup    *pickup // nil: there is no maildrop
	guard     *smtpd.Guard
	draining  atomic.Bool
	closing   sync.Once
	local     interfaces
}

type listener struct {
	name  string
	nets  []net.Listener // one, unless systemd has handed over more
	smtpd *smtpd.Server
	tls   *certificate.Listener // nil: no TLS
}

// New builds the parts in the order of the walk: it opens the queue, which
// fails if another server has it, and binds the listeners, so that [Server.Run]
// has nothing left to fail on. Close what New returned if Run is not called.
func New(o Options) (*Server, error) {
	if o.Source == nil {
		o.Source = hook.Static(nil)
	}
	s := &Server{opt: o, log: o.Log}
	if err := s.build(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) build() (err error) {
	o, c := s.opt, s.opt.Config
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w; create it, or set another one in %s", err, c.Path)
	}
	if err := syncParents(c.DataDir); err != nil {
		return fmt.Errorf("data_dir %s cannot be made durable: %w", c.DataDir, err)
	}
	s.store, err = pebblestore.Open(pebblestore.Options{
		Dir: filepath.Join(c.DataDir, "queue"), Logger: o.Log.Program("queue"), MinFree: int64(c.Limits.MinFree), Fatal: o.Fatal,
	})
	if err != nil {
		return err
	}
	// Who has the queue has the directory, and may make keys in it.
	if err := s.buildCertificates(); err != nil {
		return err
	}
	if s.rules, err = hold.Open(filepath.Join(c.DataDir, "hold-rules")); err != nil {
		return err
	}
	servers := make([]string, len(c.DNS.Resolvers))
	for i, r := range c.DNS.Resolvers {
		servers[i] = string(r)
	}
	if s.resolver, err = resolve.New(resolve.Options{Servers: servers, TrustAD: c.DNS.TrustAD}); err != nil {
		return fmt.Errorf("[dns] resolvers: %w", err)
	}
	if s.shapes, err = shapes(c); err != nil {
		return err
	}
	if err := s.buildOutbound(); err != nil {
		return err
	}

	table, err := routes(c)
	if err != nil {
		return err
	}
	retry := make([]time.Duration, len(c.Queue.Retry))
	for i, d := range c.Queue.Retry {
		retry[i] = d.Std()
	}
	if s.template, err = LoadTemplate(c.Notify.Template); err != nil {
		return fmt.Errorf("[notify] template %s: %w", c.Notify.Template, err)
	}
	warnAfter := c.Queue.WarnAfter.Std()
	if !*c.Notify.Delayed {
		warnAfter = -1
	}
	if c.Trace.Enabled {
		s.trace, err = trace.Open(trace.Options{
			Dir: filepath.Join(c.DataDir, "trace"), MaxSize: int64(c.Trace.MaxSize), Keep: c.Trace.Keep.Std(), Log: o.Log.Program("trace"),
		})
		if err != nil { // mail goes on
			o.Log.Program("trace").Error("messages cannot be traced; wasmta explain will not know them", "error", err.Error())
		}
	}
	s.queue = qmgr.New(qmgr.Options{
		Trace:    s.trace,
		Template: s.template, MaxReturn: int64(c.Notify.MaxSize), Backscatter: backscatter(c),
		Store: s.store, Source: o.Source, Router: &route.Router{Table: table}, Deliverer: s.agent, Log: o.Log, Hostname: c.Hostname,
		Retry: retry, Lifetime: c.Queue.Lifetime.Std(), WarnAfter: warnAfter,
		Attempts: c.Limits.Deliveries, AttemptsPerHop: c.Limits.DeliveriesPerHop, Drain: drainTime,
		Shapes: s.shapes, Pools: pools(c), Pool: c.Delivery.Pool, State: filepath.Join(c.DataDir, "hops.json"),
	})

	s.guard = smtpd.NewGuard(smtpd.GuardOptions{
		PerAddress: c.Limits.AuthFailuresPerAddress, PerUser: c.Limits.AuthFailuresPerUser, Window: c.Limits.AuthWindow.Std(),
	})
	for i := range c.Listeners {
		if err := s.listen(&c.Listeners[i]); err != nil {
			return err
		}
	}
	if err := s.buildPickUp(); err != nil {
		return err
	}
	return s.listenControl()
}

// syncParents makes the entries that lead to dir durable: a queue in a new
// directory must not vanish with it after a power failure. What cannot be
// opened was there before us.
func syncParents(dir string) error {
	for parent := filepath.Dir(dir); ; dir, parent = parent, filepath.Dir(parent) {
		d, err := os.Open(parent)
		if err != nil {
			return nil
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
			return err
		}
		if parent == dir || parent == filepath.Dir(parent) {
			return nil
		}
	}
}

func prefixes(list []config.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = p.Prefix
	}
	return out
}

func (s *Server) newIntake() *intake {
	c := s.opt.Config
	in := &intake{
		store: s.store, lifetime: c.Queue.Lifetime.Std(), enqueue: s.queue.Enqueue,
		hostname: c.Hostname, template: s.template, maxReturn: int64(c.Notify.MaxSize), log: s.log, trace: s.trace, rules: s.rules,
		backscatter: backscatter(c),
	}
	in.postmaster, in.domain = ownPostmaster(c)
	return in
}

func (s *Server) listen(l *config.Listener) error {
	c := s.opt.Config
	o := smtpd.Options{
		Hostname: c.Hostname, Listener: l.Name, Role: [...]smtpd.Role{smtpd.MX, smtpd.Submission, smtpd.LMTP}[l.Role],
		ImplicitTLS:  l.TLS == config.TLSImplicit,
		LocalDomains: c.IsLocal, RelayDomains: c.IsRelay, RelayNetworks: prefixes(c.RelayNetworks),
		AuthWithoutTLS: l.AuthWithoutTLS, AuthRelay: l.AuthRelay != nil && *l.AuthRelay, AuthFailures: c.Limits.AuthFailures, AuthDelay: c.Limits.AuthDelay.Std(),
		AuthMechanisms: l.AuthMechanisms, Guard: s.guard,
		MaxSize: int64(c.Limits.MessageSize), MaxRecipients: c.Limits.Recipients,
		MaxSessions: c.Limits.Sessions, MaxSessionsPerAddress: c.Limits.SessionsPerAddress,
		XClientNetworks: prefixes(l.XClientNetworks), BinaryMIME: l.BinaryMIME, MaxHold: maxHold(c.Queue.Lifetime.Std()),
		Timeouts: smtpd.Timeouts{Command: c.Limits.CommandTimeout.Std()},
		Source:   s.opt.Source, Trace: s.trace, Log: s.log, PTR: s.ptr,
	}
	o.Intake = s.newIntake()
	var shown *certificate.Listener
	if l.TLS != config.TLSNone {
		var err error
		if shown, err = s.certs.Listener(certificate.Clients{CA: l.ClientCA, Require: l.ClientCertificate == "require"}); err != nil {
			return fmt.Errorf("listener %q: %w", l.Name, err)
		}
		o.TLS = shown.Config(o.ImplicitTLS)
	}
	if l.ProxyProtocol {
		o.ProxyNetworks = prefixes(l.ProxyNetworks)
	}
	server, err := smtpd.New(o)
	if err != nil {
		return err
	}
	sockets, err := s.bind(l)
	if err != nil {
		return err
	}
	s.listeners = append(s.listeners, &listener{l.Name, sockets, server, shown})
	return nil
}

// gauges are the figures of the parts for the metrics.
func (s *Server) gauges() []admin.Gauge {
	attempts := func(pick func(qmgr.Figures) int) func() float64 {
		return func() float64 { return float64(pick(s.queue.Figures())) }
	}
	return []admin.Gauge{
		s.certificateGauge(),
		{Name: "sessions", Help: "Connections of SMTP and LMTP clients.", Value: func() float64 {
			n := 0
			for _, l := range s.listeners {
				n += l.smtpd.Sessions()
			}
			return float64(n)
		}},
		{Name: "attempts_active", Help: "Delivery attempts under way, routing included.", Value: attempts(func(q qmgr.Figures) int { return q.Active })},
		{Name: "attempts_ready", Help: "Queue items that are due and wait for a slot.", Value: attempts(func(q qmgr.Figures) int { return q.Ready })},
		{Name: "trace_dropped", Help: "Records of the trace that were not kept, because the disk did not keep up.", Value: func() float64 { return float64(s.trace.Stats().Dropped) }},
		{Name: "trace_bytes", Help: "Octets of the trace on the disk.", Value: func() float64 { return float64(s.trace.Stats().Size) }},
		{Name: "attempts_parked", Help: "Queue items that are due and wait for their next hop.", Value: attempts(func(q qmgr.Figures) int { return q.Parked })},
		{Name: "attempts_rate_waiting", Help: "Of these, items that wait because the rate of their next hop is used up.", Value: attempts(func(q qmgr.Figures) int { return q.Metered })},
		{Name: "hops_suspended", Help: "Next hops that nothing is sent to, whatever the reason.", Value: attempts(func(q qmgr.Figures) int { return q.Suspended })},
		{Name: "hops_deferred_total", Help: "Recipients that were put off because their next hop was suspended.", Total: true, Value: func() float64 { return float64(s.queue.Figures().Deferred) }},
		{Name: "hops_moved_total", Help: "Times that an item was put off because too many waited for its next hop.", Total: true, Value: func() float64 { return float64(s.queue.Figures().Moved) }},
	}
}

func (s *Server) listenControl() error {
	c := s.opt.Config
	var pickUp func()
	if s.pickup != nil {
		pickUp = s.pickup.poke
	}
	s.admin = admin.New(admin.Options{Queue: s.store, Rules: s.rules, PickUp: pickUp, Operator: s.queue, Hops: nextHops{s.queue}, Plugins: s.opt.Plugins, Trace: s.trace, Log: s.log.Program("admin"), Gauges: s.gauges(), Ready: func() error {
		if s.draining.Load() {
			return errors.New("the server is draining")
		}
		return nil
	}})
	if err := os.MkdirAll(filepath.Dir(c.Admin.Socket), 0o700); err != nil {
		return fmt.Errorf("[admin] socket: %w", err)
	}
	l, err := admin.ListenUnix(c.Admin.Socket)
	if err != nil {
		return err
	}
	s.control = append(s.control, l)
	if c.Admin.HTTP != "" {
		l, err := admin.ListenTCP(c.Admin.HTTP)
		if err != nil {
			return err
		}
		s.control = append(s.control, l)
	}
	return nil
}

// routes is the table of the configuration. Mail for postmaster at our own name
// is always taken (RFC 5321 4.5.1), so without a rule of its own our name goes
// where the first local domain goes.
func routes(c *config.Config) (route.Table, error) {
	rules := make([]route.Rule, len(c.Routes))
	for i, r := range c.Routes {
		to := r.To.NextHop
		to.TLS, _ = config.ParseTLSPolicy(r.TLS)
		to.Pool, to.Credential = r.Pool, r.Credential
		rules[i] = route.Rule{Domains: r.Domains, Senders: r.Senders, Recipients: r.Recipients, Listeners: r.Listeners, To: to}
	}
	table, err := route.NewTable(rules)
	if err != nil || len(c.LocalDomains) == 0 {
		return table, err
	}
	if _, ok := table.Match(mail.Path{}, "", mail.Path{Local: "postmaster", Domain: c.Hostname}); ok {
		return table, nil
	}
	to, ok := table.Match(mail.Path{}, "", mail.Path{Local: "postmaster", Domain: string(c.LocalDomains[0])})
	if !ok {
		return table, nil
	}
	return route.NewTable(append(rules, route.Rule{Domains: []string{c.Hostname}, To: to}))
}

// Addr is the address of the listener called name, of the first of its sockets;
// nil: there is none.
func (s *Server) Addr(name string) net.Addr {
	for _, l := range s.listeners {
		if l.name == name {
			return l.nets[0].Addr()
		}
	}
	return nil
}

// Run serves until ctx ends, then drains: no new sessions, messages that are
// arriving are finished, then attempts in flight, each for at most 30 s. What
// is left in the queue stays there. Run closes the Server.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	log := s.log.Program("wasmta")
	stop, failed := context.WithCancelCause(ctx)
	defer failed(nil)

	attempts, endAttempts := context.WithCancel(context.Background())
	defer endAttempts()
	var manager, servers sync.WaitGroup
	manager.Go(func() { s.runOutbound(attempts) })
	manager.Go(func() {
		if err := s.queue.Run(attempts); err != nil {
			failed(fmt.Errorf("queue manager: %w", err))
		}
	})
	for _, l := range s.listeners {
		for _, n := range l.nets {
			servers.Go(func() {
				if err := l.smtpd.Serve(n); err != nil {
					failed(fmt.Errorf("listener %q: %w", l.name, err))
				}
			})
			log.Info("listening for mail", "listener", l.name, "address", n.Addr().String())
		}
	}
	var renewal sync.WaitGroup
	renewal.Go(func() { s.certs.Run(stop) })
	if s.pickup != nil {
		servers.Go(func() { s.pickup.run(stop) })
	}
	servers.Go(func() {
		if err := s.admin.Serve(s.control...); err != nil {
			failed(err)
		}
	})

	<-stop.Done()
	renewal.Wait()
	s.draining.Store(true)
	log.Info("draining: no new sessions")
	limit, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var shutdown sync.WaitGroup
	for _, l := range s.listeners {
		shutdown.Go(func() {
			if err := l.smtpd.Shutdown(limit); err != nil {
				log.Warn("sessions were cut off while draining", "listener", l.name, "error", err.Error())
			}
		})
	}
	shutdown.Wait()
	endAttempts()
	manager.Wait()
	final, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.admin.Shutdown(final) // cut off what does not end: nothing of the mail is lost by it
	servers.Wait()
	if err := context.Cause(stop); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close releases what New opened. Run calls it.
func (s *Server) Close() (err error) {
	s.closing.Do(func() { err = s.close() })
	return err
}

func (s *Server) close() error {
	for _, l := range s.listeners {
		for _, n := range l.nets {
			n.Close()
		}
	}
	for _, l := range s.control {
		l.Close()
	}
	if s.pickup != nil {
		s.pickup.dir.Close()
	}
	s.closeOutbound()
	if s.resolver != nil {
		s.resolver.Close()
	}
	// What was cut off while draining may still be using all of this: it gets
	// errors, so nothing is set to nil.
	err := s.trace.Close()
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

// ptr is the forward-confirmed name of a client.
func (s *Server) ptr(ctx context.Context, addr netip.Addr) string {
	name, confirmed, _ := s.resolver.PTR(ctx, addr)
	if !confirmed {
		return ""
	}
	return name
}

// isSelf tells whether a listener of ours is at an address: mail sent there
// would come back.
func (s *Server) isSelf(a netip.AddrPort) bool {
	for _, l := range s.listeners {
		for _, n := range l.nets {
			if tcp, ok := n.Addr().(*net.TCPAddr); ok && s.reaches(a, tcp.AddrPort()) {
				return true
			}
		}
	}
	return false
}

// reaches tells whether a connection to an address ends at a socket of ours.
func (s *Server) reaches(a, socket netip.AddrPort) bool {
	if socket.Port() != a.Port() {
		return false
	}
	ours, to := socket.Addr().Unmap(), a.Addr().Unmap()
	switch {
	case to.IsUnspecified(): // the system takes it for the loopback address
		return ours.IsUnspecified() || ours.IsLoopback()
	case !ours.IsUnspecified():
		return ours == to
	}
	return to.IsLoopback() || s.local.has(to)
}

// interfaces are the addresses of this machine. They can change while the
// server runs, and asking for them is dear.
type interfaces struct {
	mu    sync.Mutex
	asked time.Time
	addrs map[netip.Addr]bool
}

func (n *interfaces) has(a netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); now.Sub(n.asked) > 10*time.Second {
		list, err := net.InterfaceAddrs()
		if err != nil {
			return n.addrs[a]
		}
		n.asked, n.addrs = now, make(map[netip.Addr]bool, len(list))
		for _, l := range list {
			if p, ok := l.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(p.IP)
				n.addrs[ip.Unmap()] = true
			}
		}
	}
	return n.addrs[a]
}
