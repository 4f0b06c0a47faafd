//go:build unix

package maildrop

import (
	"io/fs"
	"syscall"
)

// noBlock keeps a pipe from making whoever opens it wait.
const noBlock = syscall.O_NONBLOCK | syscall.O_NOFOLLOW

func ownerOf(info fs.FileInfo) (uid int, links uint64, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, 0, false
	}
	return int(st.Uid), uint64(st.Nlink), true
}
