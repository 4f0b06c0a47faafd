//go:build unix

package core

import (
	"errors"
	"syscall"
)

func socketMode(fd uintptr, mode uint32) { _ = syscall.Fchmod(int(fd), mode) }

// refused: nobody listens at a socket any more.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
