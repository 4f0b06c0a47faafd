//go:build unix

package smtpd

import "syscall"

// openFiles is how many files the process may have open; 0: not known.
func openFiles() uint64 {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return uint64(r.Cur)
}
