//go:build unix

package systemd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the service that systemd would start: with SERVICE in its
// environment it takes the sockets, answers one connection at each, and says
// what it got. LISTEN_PID is its own process, which only it knows.
func TestMain(m *testing.M) {
	mode := os.Getenv("SERVICE")
	if mode == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("LISTEN_PID") == "self" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	ours, _ := os.Open(os.DevNull) // at the first descriptor that is free
	sockets, err := Sockets()
	if err != nil {
		fmt.Println("error:", err)
		if _, err := ours.Stat(); err != nil {
			fmt.Println("a file of ours was closed:", err)
		}
		os.Exit(1)
	}
	for name, list := range sockets {
		for range list {
			fmt.Println("socket", name)
		}
	}
	if again, err := Sockets(); again != nil || err != nil || os.Getenv("LISTEN_FDS") != "" {
		fmt.Println("error: there is a second time", again, err)
	}
	// A program that we start has none of them.
	for fd := firstFD; fd < firstFD+3; fd++ {
		if flags, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); e == 0 && flags&syscall.FD_CLOEXEC == 0 && len(sockets) > 0 {
			fmt.Println("error: descriptor", fd, "would be inherited")
		}
	}
	for name, list := range sockets {
		for _, l := range list {
			c, err := l.Accept()
			if err != nil {
				fmt.Println("error:", err)
				os.Exit(1)
			}
			fmt.Fprintf(c, "%s", name)
			c.Close()
		}
	}
	os.Exit(0)
}

// service starts this test binary with files passed as systemd does.
func service(t *testing.T, files []*os.File, env ...string) (wait func() string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), "SERVICE=1"), env...)
	cmd.ExtraFiles = files
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		_ = cmd.Wait()
		return out.String()
	}
}

// file is the descriptor of a listener, and the address.
func file(t *testing.T, network, addr string) (*os.File, net.Addr) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, l.Addr()
}

func TestSocketsOfAChild(t *testing.T) {
	dir, err := os.MkdirTemp("", "sd") // a path of t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	one, addr1 := file(t, "tcp", "127.0.0.1:0")
	two, addr2 := file(t, "tcp", "127.0.0.1:0")
	lmtp, addr3 := file(t, "unix", filepath.Join(dir, "l"))
	wait := service(t, []*os.File{one, two, lmtp}, "LISTEN_FDS=3", "LISTEN_FDNAMES=smtp:smtp:lmtp", "LISTEN_PID=self")
	open := map[net.Conn]string{} // all at once: the service takes them in any order
	for addr, want := range map[net.Addr]string{addr1: "smtp", addr2: "smtp", addr3: "lmtp"} {
		c, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		open[c] = want
	}
	for c, want := range open {
		if got, err := io.ReadAll(c); string(got) != want || err != nil {
			t.Errorf("%s: %q %v, want %q", c.RemoteAddr(), got, err, want)
		}
	}
	if out := wait(); strings.Count(out, "socket smtp\n") != 2 || strings.Count(out, "socket lmtp\n") != 1 || strings.Contains(out, "error") {
		t.Errorf("the service says\n%s", out)
	}
}

func TestSocketsThatAreNotForUs(t *testing.T) {
	f, _ := file(t, "tcp", "127.0.0.1:0")
	for _, env := range [][]string{
		{"LISTEN_FDS=1", "LISTEN_FDNAMES=smtp", "LISTEN_PID=1"}, // our parent's
		{"LISTEN_FDS=1", "LISTEN_FDNAMES=smtp"},
		{"LISTEN_FDS=0", "LISTEN_PID=self"},
		{},
	} {
		if out := service(t, []*os.File{f}, env...)(); out != "" {
			t.Errorf("%q: %s", env, out)
		}
	}
}

func TestSocketsThatCannotBeServed(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	datagram, err := udp.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	l, addr := file(t, "tcp", "127.0.0.1:0")
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	connected, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	plain, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for name, c := range map[string]struct {
		files []*os.File
		count string
		want  string
	}{
		"datagrams":     {[]*os.File{l, datagram}, "2", `the socket "b" of systemd does not listen for streams: write ListenStream=`},
		"a connection":  {[]*os.File{connected}, "1", "Accept=no"},
		"a file":        {[]*os.File{plain}, "1", "is not a socket"},
		"nothing":       {nil, "1", "is not a socket"},
		"too many":      {[]*os.File{l}, "20", "is not a socket"},
		"no number":     {nil, "x", "LISTEN_FDS is"},
		"a huge number": {nil, "999999999", "LISTEN_FDS is"},
	} {
		out := service(t, c.files, "LISTEN_FDS="+c.count, "LISTEN_FDNAMES=a:b", "LISTEN_PID=self")()
		if !strings.Contains(out, c.want) || strings.Contains(out, "of ours") {
			t.Errorf("%s: %q, want %q", name, out, c.want)
		}
	}
}

func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "n")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := NewNotifier()
	if n.Watchdog() != 30*time.Second || os.Getenv("NOTIFY_SOCKET") != "" || os.Getenv("WATCHDOG_USEC") != "" {
		t.Errorf("watchdog %v", n.Watchdog())
	}
	heard := func() string {
		b := make([]byte, 1000)
		_ = systemd.SetReadDeadline(time.Now().Add(30 * time.Second))
		k, err := systemd.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:k])
	}
	for want, say := range map[string]func() error{
		"READY=1\nSTATUS=serving STOPPING=1": func() error { return n.Ready("serving\nSTOPPING=1") },
		"STOPPING=1\nSTATUS=draining":        n.Stopping,
		"STATUS=compiling":                   func() error { return n.Status("compiling") },
		"WATCHDOG=1":                         n.Alive,
	} {
		if err := say(); err != nil {
			t.Error(err)
		}
		if got := heard(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := n.Reloading(); err != nil {
		t.Error(err)
	}
	if got := heard(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("%q", got)
	}
	systemd.Close()
	os.Remove(path)
	if err := n.Alive(); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("systemd is gone: %v", err)
	}
	t.Setenv("WATCHDOG_PID", "1")
	t.Setenv("WATCHDOG_USEC", "30000000")
	if n := NewNotifier(); n.Watchdog() != 0 || n.Alive() != nil || n.Ready("x") != nil {
		t.Error("a watchdog for another process, or no silence without systemd")
	}
}
