package core_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/mailtest"
)

// shortDir is a directory whose name leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mta")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestSocketsOfSystemd(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	var list []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	s := &server{t: t, dir: t.TempDir(), listen: "systemd:smtp", sockets: map[string][]net.Listener{"smtp": list},
		rest: routeTo("there.test", "smtp:"+peer.Addr) + routeTo("loop.test", "smtp:"+list[1].Addr().String())}
	s.start()
	defer s.stop()
	for _, l := range list {
		s.addr = l.Addr().String()
		s.send("a@src.test", "b@there.test")
	}
	eventually(t, 20*time.Second, "a message from each socket", func() bool { return peer.Count() == 2 })
	s.send("a@src.test", "b@loop.test")
	eventually(t, 20*time.Second, "the loop through the second socket is noticed", func() bool { return strings.Contains(s.text(), "is this server") })
}

func TestASocketThatSystemdHasNotHandedOver(t *testing.T) {
	c, err := config.Parse(fmt.Appendf(nil, settings, "systemd:smtp", filepath.Join(shortDir(t), "s"), ""), "test.toml", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := core.New(core.Options{Config: c}); err == nil || !strings.Contains(err.Error(), "FileDescriptorName=smtp") {
		t.Errorf("%v", err)
	}
}

func TestTheModeOfASocket(t *testing.T) {
	dir := shortDir(t)
	var rest string
	for _, mode := range []string{"0600", "0660", "0666"} {
		rest += fmt.Sprintf("[[listener]]\nname = 'm%s'\naddress = 'unix:%s'\nmode = '%s'\n", mode, filepath.Join(dir, mode), mode)
	}
	s := newServer(t, rest, nil)
	for _, mode := range []string{"0600", "0660", "0666"} {
		info, err := os.Stat(filepath.Join(dir, mode))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != mode && runtime.GOOS != "windows" {
			t.Errorf("%s, want %s", got, mode)
		}
		conn, err := net.Dial("unix", filepath.Join(dir, mode))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3)
		if _, err := conn.Read(b); err != nil || string(b) != "220" {
			t.Errorf("%q %v", b, err)
		}
		conn.Close()
	}
	s.stop()
}

// A reload takes certificates that were added, and changes nothing if one of
// them is bad.
func TestMoreCertificates(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeCertificate(t, filepath.Join(dir, name), name+".test", time.Now().Add(time.Hour))
	}
	const one = "[tls]\ncertificate='one/cert.pem'\nkey='one/key.pem'\n"
	const two = "[[certificate]]\nnames=['two.test', '*.two.test']\ncertificate='two/cert.pem'\nkey='two/key.pem'\n"
	parse := func(certificates string) *config.Config {
		c, err := config.Parse([]byte("hostname='one.test'\ndata_dir='d'\n[[listener]]\nname='mx'\naddress='127.0.0.1:0'\ntls='implicit'\n[limits]\nmin_free='1MB'\n[admin]\nsocket='"+
			filepath.Join(shortDir(t), "s")+"'\n"+certificates), "test.toml", dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	m, err := core.New(core.Options{Config: parse(one), Log: event.NewLog(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	shown := func(name string) string {
		t.Helper()
		conn, err := tls.Dial("tcp", m.Addr("mx").String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := shown("a.two.test"); got != "one.test" {
		t.Error(got)
	}
	use, err := m.LoadCertificate(parse(one + two))
	if err != nil {
		t.Fatal(err)
	}
	use()
	for name, want := range map[string]string{"a.two.test": "two.test", "two.test": "two.test", "one.test": "one.test", "": "one.test"} {
		if got := shown(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "two", "cert.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LoadCertificate(parse(one + two)); err == nil || !strings.Contains(err.Error(), "[[certificate]] 1") || shown("two.test") != "two.test" {
		t.Errorf("%v", err)
	}
	none := parse(one)
	none.TLS = config.TLS{}
	if _, err := m.LoadCertificate(none); err == nil || !strings.Contains(err.Error(), "no certificate would be left") {
		t.Errorf("%v", err)
	}
}

// Who writes an IPv4 address means no other, and can have another listener for
// IPv6 at the same port.
func TestAnAddressOfIPv4IsForIPv4Alone(t *testing.T) {
	s := &server{t: t, dir: t.TempDir(), listen: "0.0.0.0:0"}
	s.start()
	defer s.stop()
	if !strings.HasPrefix(s.addr, "0.0.0.0:") {
		t.Errorf("listens at %s", s.addr)
	}
}

// The socket of a server that is too busy to answer is not that of a dead one.
func TestTheSocketOfABusyServerStays(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("how full a queue of connections is differs")
	}
	path := filepath.Join(shortDir(t), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := net.Dial("unix", path)
		if err != nil { // the queue is full
			break
		}
		defer c.Close()
	}
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = core.New(core.Options{Config: parseListener(t, "unix:"+path)})
	if err == nil || !strings.Contains(err.Error(), "cannot tell whether another server has the socket") {
		t.Errorf("%v", err)
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket was taken away: %v", err)
	}
}

func TestWhatIsNoSocketStays(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := core.New(core.Options{Config: parseListener(t, "unix:"+path)}); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("%v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "mine" {
		t.Errorf("%q %v", data, err)
	}
}

// A second server for the same directory finds it taken before it writes there:
// it would replace keys that the first has in use.
func TestTheSecondServerLeavesTheKeys(t *testing.T) {
	dir := t.TempDir()
	parse := func(rest string) *config.Config {
		c, err := config.Parse(fmt.Appendf(nil, settings, "127.0.0.1:0", filepath.Join(shortDir(t), "a"), rest), "test.toml", dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, err := core.New(core.Options{Config: parse(""), Log: event.NewLog(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second := parse("[acme]\ndomains = ['mx.here.test']\naccept_terms = true\nhttp = '127.0.0.1:80'\n")
	if _, err := core.New(core.Options{Config: second, Log: event.NewLog(slog.DiscardHandler)}); err == nil {
		t.Fatal("two servers have one queue")
	}
	if _, err := os.Lstat(filepath.Join(dir, "data", "acme")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the second has written keys: %v", err)
	}
}

// parseListener is a configuration with one listener.
func parseListener(t *testing.T, address string) *config.Config {
	t.Helper()
	c, err := config.Parse(fmt.Appendf(nil, settings, address, filepath.Join(shortDir(t), "a"), ""), "test.toml", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
