//go:build unix

package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// firstFD is SD_LISTEN_FDS_START.
const firstFD = 3

// maxSockets bounds what the environment may claim.
const maxSockets = 1024

// Sockets takes over the listening stream sockets that systemd has opened, by
// their FileDescriptorName=. Several of a unit share its name. They are closed
// when another program is executed. Without any the map is nil; a second call
// finds none.
func Sockets() (map[string][]net.Listener, error) {
	count, names, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"), os.Getenv("LISTEN_PID")
	for _, v := range []string{"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID"} {
		os.Unsetenv(v)
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) { // for the program that started us
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("LISTEN_FDS is %q, not a number up to %d", count, maxSockets)
	}
	list := strings.Split(names, ":")
	name := func(i int) string {
		if names == "" || i >= len(list) {
			return "unknown" // as sd_listen_fds_with_names(3) has it
		}
		return list[i]
	}
	// All are looked at before one is touched: of a count that is wrong the rest
	// are files of our own.
	for i := range n {
		if err := listens(firstFD+i, name(i)); err != nil {
			return nil, err
		}
	}
	for i := range n {
		syscall.CloseOnExec(firstFD + i)
	}
	found := map[string][]net.Listener{}
	for i := range n {
		l, err := listener(firstFD+i, name(i))
		if err != nil {
			for _, all := range found {
				for _, l := range all {
					l.Close()
				}
			}
			return nil, err
		}
		found[name(i)] = append(found[name(i)], l)
	}
	return found, nil
}

// listens tells why a descriptor is not a socket that accepts streams.
func listens(fd int, name string) error {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil {
		return fmt.Errorf("the file %d that systemd has passed as %q is not a socket: %w", fd, name, err)
	}
	listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if kind != syscall.SOCK_STREAM || err != nil || listens == 0 {
		return fmt.Errorf("the socket %q of systemd does not listen for streams: write ListenStream= and Accept=no in its unit", name)
	}
	return nil
}

func listener(fd int, name string) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket %q of systemd: %w", name, err)
	}
	return l, nil
}
