//go:build unix

package scene

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// blackHole listens at an address so that nobody can connect: its backlog is full, and what else comes is dropped.
func blackHole(addr string) (end func(), err error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	syscall.CloseOnExec(fd)
	var open []net.Conn
	end = func() {
		for _, c := range open {
			c.Close()
		}
		syscall.Close(fd)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		end()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}); err != nil {
		end()
		return nil, os.NewSyscallError("bind", err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		end()
		return nil, os.NewSyscallError("listen", err)
	}
	for misses := 0; len(open) < 16; {
		c, err := net.DialTimeout("tcp4", addr, 500*time.Millisecond)
		if err == nil {
			open = append(open, c)
			misses = 0
		} else if misses++; misses == 2 { // one may be due to a busy machine
			return end, nil
		}
	}
	end()
	return nil, fmt.Errorf("%s: the backlog of a socket does not fill up here", addr)
}
