package core

import (
	"net"
	"sync"
)

// peer is the address of a connection from inside the server.
type peer struct{ user, session string }

// Network implements net.Addr.
func (peer) Network() string { return "maildrop" }

// String implements net.Addr.
func (p peer) String() string { return p.user }

func known(a net.Addr) (user, session string) {
	p, _ := a.(peer)
	return p.user, p.session
}

// pipes is a listener for connections from inside the server.
type pipes struct {
	name   pipesAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes(name string) *pipes {
	return &pipes{name: pipesAddr(name), conns: make(chan net.Conn), closed: make(chan struct{})}
}

// dial connects. ended is closed when the session at the other end is over.
func (l *pipes) dial(from peer) (conn net.Conn, ended <-chan struct{}, err error) {
	ours, theirs := net.Pipe()
	over := make(chan struct{})
	select {
	case l.conns <- pipeConn{theirs, from, sync.OnceFunc(func() { close(over) })}:
		return ours, over, nil
	case <-l.closed:
		return nil, nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipes) Addr() net.Addr { return l.name }

type pipesAddr string

func (pipesAddr) Network() string  { return "maildrop" }
func (a pipesAddr) String() string { return string(a) }

type pipeConn struct {
	net.Conn
	from peer
	over func()
}

func (c pipeConn) RemoteAddr() net.Addr { return c.from }

// Close implements net.Conn.
func (c pipeConn) Close() error {
	defer c.over()
	return c.Conn.Close()
}
