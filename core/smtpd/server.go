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

	mu        sync.Mutex
	sessions  map[*session]struct{}
	byAddress map[netip.Addr]int
	draining  bool
}

// New checks the options and makes a Server.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("listener %q: %w", o.Listener, err)
	}
	s := &Server{opts: o, log: o.Log.Program("smtpd"), sessions: make(map[*session]struct{}), byAddress: make(map[netip.Addr]int)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	e := smtp.NewServer(smtp.BackendFunc(newEngineSession))
	e.Domain = o.Hostname
	e.LMTP = o.Role == LMTP
	e.MaxLineLength = 0 // the gate has its own limit
	e.ErrorLog = engineLog{s.log}
	s.engine = e
	return s, nil
}

// Serve accepts connections until Shutdown, then returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()
	if draining {
		return l.Close()
	}
	return s.engine.Serve(listener{l, s})
}

// Shutdown accepts no more, says 421 4.3.2 to sessions that wait for a
// command, and lets content that is arriving finish until ctx ends; then it
// closes what is left and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for c := range s.sessions {
		c.wire.Drain()
	}
	s.mu.Unlock()
	err := s.engine.Shutdown(ctx)
	s.cancel()
	if errors.Is(err, smtp.ErrServerClosed) {
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	s.mu.Lock()
	for c := range s.sessions {
		c.wire.Kill()
	}
	s.mu.Unlock()
	// What they still hold is the intake and plugins, which the caller is
	// about to close: give them a moment to let go.
	for range 500 {
		s.mu.Lock()
		left := len(s.sessions)
		s.mu.Unlock()
		if left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// Sessions is the number of open sessions.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// listener gives the engine connections whose peer is a session of ours.
type listener struct {
	net.Listener
	server *Server
}

func (l listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.server.newSession(raw).conn, nil
}

// add counts a session; full says that there are too many.
func (s *Server) add(c *session) (full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[c] = struct{}{}
	if s.draining {
		c.wire.Drain()
	}
	return s.opts.MaxSessions > 0 && len(s.sessions) > s.opts.MaxSessions
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

// remove takes a session out; a is invalid if its address was not counted.
func (s *Server) remove(c *session, a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if !a.IsValid() {
		return
	}
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
