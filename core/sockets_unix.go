//go:build unix

package core

import "syscall"

func socketMode(fd uintptr, mode uint32) { _ = syscall.Fchmod(int(fd), mode) }
