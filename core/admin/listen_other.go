//go:build !unix

package admin

import "syscall"

func private(_, _ string, _ syscall.RawConn) error { return nil }

func refused(error) bool { return true }
