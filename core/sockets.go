package core

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

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
		n, err := lc.Listen(context.Background(), "tcp", l.Address)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w; is another mail server running, or does the port need privileges (CAP_NET_BIND_SERVICE)?", l.Name, err)
		}
		return []net.Listener{n}, nil
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listener %q: another server answers at %s; stop it or choose another path", l.Name, l.Address)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		os.Remove(path) // left by a server that was killed
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
		return nil, fmt.Errorf("listener %q: %w; can this user write the directory?", l.Name, err)
	}
	if l.Mode != "" {
		if err := os.Chmod(path, os.FileMode(mode)); err != nil {
			n.Close()
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return []net.Listener{n}, nil
}
