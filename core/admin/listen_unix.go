//go:build unix

package admin

import (
	"errors"
	"syscall"
)

// private gives the socket its mode before it has a name, so that nobody can
// connect before the chmod that follows. Where a socket cannot have a mode
// (outside Linux) the mode of the directory has to do until then.
func private(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}

// refused: the socket exists, and nobody listens.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
