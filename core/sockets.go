package core

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wasmta/wasmta/core/config"
)

// bind is what a listener accepts at: one socket, or all that systemd has
// handed over under a name.
func (s *Server) bind(l *config.Listener) ([]net.Listener, error) {
	if name, ok := strings.CutPrefix(l.Address, "systemd:"); ok {
		list := s.opt.Sockets[name]
		if len(list) == 0 {
			return nil, fmt.Errorf("listener %q: systemd has handed over no socket called %q: start and enable a socket unit with FileDescriptorName=%s "+
				"and Service=wasmta.service, or write HOST:PORT", l.Name, name, name)
		}
		return list, nil
	}
	// Sessions have time-outs of their own; keep-alives would only cost.
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	path, ok := strings.CutPrefix(l.Address, "unix:")
	if !ok {
		n, err := lc.Listen(context.Background(), family(l.Address, s.opt.Config.Listeners), l.Address)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w%s", l.Name, err, portAdvice(err))
		}
		return []net.Listener{n}, nil
	}
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("listener %q: %w", l.Name, err)
	}
	mode, err := strconv.ParseUint(l.Mode, 8, 12)
	if l.Mode != "" && err == nil {
		// The socket has its mode, less the umask, before it has a name, so that
		// the chmod below can only let more in. Where a socket cannot have one
		// (outside Linux) the mode of the directory has to do until then.
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { socketMode(fd, uint32(mode)) })
		}
	}
	n, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w; its directory must exist, and this user must be able to write it", l.Name, err)
	}
	if l.Mode != "" {
		if err := os.Chmod(path, os.FileMode(mode)); err != nil {
			n.Close()
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return []net.Listener{n}, nil
}

// family is the network of a TCP address. An IPv4 address is for IPv4 alone,
// "0.0.0.0" too, which Go would take for all there are; "[::]" and an empty host
// are for both, unless another listener has IPv4 at that port.
func family(address string, all []config.Listener) string {
	host, port, _ := net.SplitHostPort(address)
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "tcp"
	case a.Is4():
		return "tcp4"
	}
	for _, l := range all {
		h, p, err := net.SplitHostPort(l.Address)
		if b, bad := netip.ParseAddr(h); err == nil && bad == nil && p == port && b.Is4() {
			return "tcp6"
		}
	}
	return "tcp"
}

// portAdvice is what to do about a port that cannot be had.
func portAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another program listens there: stop it, or choose another address (an empty host and [::] are all addresses)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; this machine has no such address now: correct it, or wait for the network before the start"
	case errors.Is(err, syscall.EACCES):
		return "; ports below 1024 need the privilege CAP_NET_BIND_SERVICE, or sockets of systemd"
	}
	return ""
}

// removeDead removes the socket of a server that was killed. One that answers,
// or would if its server were less busy, and whatever else has the name stays.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%q is there and is not a socket; remove it or choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, 2*time.Second)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("another server answers at unix:%s; stop it or choose another path", path)
	case !refused(err):
		return fmt.Errorf("cannot tell whether another server has the socket, remove it if not: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the socket of a dead server: %w", err)
	}
	return nil
}
