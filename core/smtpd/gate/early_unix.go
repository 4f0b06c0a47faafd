//go:build unix

package gate

import (
	"net"
	"syscall"
)

// arrived tells whether a TCP connection has input, without waiting for it.
func arrived(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		// The descriptor does not block (net sets O_NONBLOCK).
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		found = err == nil && n > 0
	})
	return found
}
