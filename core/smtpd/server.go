package smtpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/wasmta/wasmta/core/smtpd/gate"
)

// Server serves one listener, or several of the same kind.
type Server struct {
	opts   Options
	engine *smtp.Server
	log    *slog.Logger
	ctx    context.Context // of all sessions; ends when they are to end at once
	cancel context.CancelFunc

	stop chan struct{} // closed by Shutdown

	serving   sync.WaitGroup // calls of Serve; added to under mu, unless draining
	mu        sync.Mutex
	listeners []net.Listener
	sessions  map[*session]struct{}
	byAddress map[netip.Addr]int
	draining  bool
}

// New checks the options and makes a Server.
func New(o Options) (*Server, error) {
	wanted := o.MaxSessions
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("listener %q: %w", o.Listener, err)
	}
	s := &Server{opts: o, log: o.Log.Program("smtpd"), stop: make(chan struct{}),
		sessions: make(map[*session]struct{}), byAddress: make(map[netip.Addr]int)}
	if o.MaxSessions < wanted {
		s.log.Warn("fewer sessions than configured: the limit of open files is too low", "listener", o.Listener,
			"sessions", o.MaxSessions, "configured", wanted, "files", openFiles())
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	e := smtp.NewServer(smtp.BackendFunc(newEngineSession))
	e.Domain = o.Hostname
	e.LMTP = o.Role == LMTP
	e.MaxLineLength = 0 // the gate has its own limit
	e.ErrorLog = engineLog{s.log}
	s.engine = e
	return s, nil
}

// Serve accepts connections until Shutdown, then returns nil. Lack of file
// descriptors or memory, and errors of single connections, do not end it.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners = append(s.listeners, l)
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	err := s.engine.Serve(listener{l, s})
	select {
	case <-s.stop:
		return nil
	default:
		return err
	}
}

// Shutdown accepts no more, says 421 4.3.2 to sessions that wait for a
// command, and lets content that is arriving finish until ctx ends; then it
// closes what is left and returns the error of ctx. No session is left when it
// returns nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		close(s.stop)
	}
	for _, l := range s.listeners {
		_ = l.Close() // at worst it is closed already
	}
	for c := range s.sessions {
		c.wire.Drain()
	}
	s.mu.Unlock()
	defer s.cancel()
	// The engine has a Shutdown too, which counts its sessions while others
	// still begin. We know ours; first let nobody accept any more.
	s.serving.Wait()
	if s.emptied(ctx.Done()) {
		return nil
	}
	s.cancel()
	s.mu.Lock()
	for c := range s.sessions {
		c.wire.Kill()
	}
	s.mu.Unlock()
	// What they still hold is the intake and plugins, which the caller is
	// about to close: give them a moment to let go.
	moment, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.emptied(moment.Done())
	return ctx.Err()
}

// Sessions is the number of open sessions.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// emptied waits until no session is left, or for end, and tells which.
func (s *Server) emptied(end <-chan struct{}) bool {
	for {
		if s.Sessions() == 0 {
			return true
		}
		select {
		case <-end:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listener gives the engine connections whose peer is a session of ours.
type listener struct {
	net.Listener
	server *Server
}

// Accept ends with an error only when the listener is closed: it waits out the
// others. Some belong to one connection (accept(2) lists them), some to the
// state of the system, and none is a reason to take no mail for ever.
func (l listener) Accept() (net.Conn, error) {
	const first, longest = 5 * time.Millisecond, time.Second
	for delay := first; ; delay = min(2*delay, longest) {
		raw, err := l.Listener.Accept()
		if err == nil {
			if c := l.server.newSession(raw); l.server.add(c) {
				return c.conn, nil
			}
			_ = raw.Close()
			delay = first
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		l.server.log.Error("cannot accept a connection", "error", err.Error(), "retry_in", delay.String())
		select {
		case <-time.After(delay):
		case <-l.server.stop:
			return nil, net.ErrClosed
		}
	}
}

// add counts a session, unless the server is shutting down.
func (s *Server) add(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.sessions[c] = struct{}{}
	if s.opts.MaxSessions > 0 && len(s.sessions) > s.opts.MaxSessions {
		c.ended = endCrowd
	}
	return true
}

// addressKey is what sessions are counted by: an IPv6 client has a /64.
func addressKey(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

func (s *Server) addAddress(a netip.Addr) (full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byAddress[addressKey(a)]++
	return s.opts.MaxSessionsPerAddress > 0 && s.byAddress[addressKey(a)] > s.opts.MaxSessionsPerAddress
}

// connections counts the open sessions of an address.
func (s *Server) connections(a netip.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byAddress[addressKey(a)]
}

// remove takes a session out; a is invalid if its address was not counted.
func (s *Server) remove(c *session, a netip.Addr) {
	s.mu.Lock()
	delete(s.sessions, c)
	s.mu.Unlock()
	s.removeAddress(a)
}

func (s *Server) removeAddress(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a = addressKey(a)
	if s.byAddress[a]--; s.byAddress[a] <= 0 {
		delete(s.byAddress, a)
	}
}

// engineLog takes what go-smtp has to say, which is little: our driver catches
// its own panics and gives it no cause for complaint.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, v ...any) {
	l.log.Warn("session engine: " + strings.TrimSpace(fmt.Sprintf(format, v...)))
}

func (l engineLog) Println(v ...any) {
	l.log.Warn("session engine: " + strings.TrimSpace(fmt.Sprintln(v...)))
}

// newEngineSession is called by the engine in its first HELO.
func newEngineSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*gate.Conn)
	if !ok {
		return nil, errors.New("a connection that did not come through the gate")
	}
	return engineSession{conn.Driver().(*session)}, nil
}
