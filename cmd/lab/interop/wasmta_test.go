//go:build linux

package interop_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/cmd/lab/certs"
)

// built holds what the tests build once.
var built struct {
	sync.Mutex
	dir string
	err map[string]error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// build compiles a package of this module, without the race detector, and returns the file.
func build(t *testing.T, name, pkg string, env []string, args ...string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "wasmta-interop-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.err = dir, make(map[string]error)
	}
	path := filepath.Join(built.dir, name)
	err, done := built.err[name]
	if !done {
		c := exec.Command("go", append(append([]string{"build", "-o", path}, args...), pkg)...)
		c.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
		if out, e := c.CombinedOutput(); e != nil {
			err = fmt.Errorf("go build %s: %w\n%s", pkg, e, out)
		}
		built.err[name] = err
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func wasmta(t *testing.T) string {
	return build(t, "wasmta", "github.com/wasmta/wasmta/cmd/wasmta", nil)
}

var lastPort atomic.Uint32

// freePort is one that nothing listens on, outside of the range that the system gives to outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	lastPort.CompareAndSwap(0, rand.Uint32N(9000))
	for range 1000 {
		port := 10_000 + int(lastPort.Add(1)%9000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port from 10000 to 18999")
	return 0
}

// greets waits until a server answers at a port.
func greets(t *testing.T, what string, port int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s does not greet at port %d", what, port), func() bool {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		return err == nil && strings.HasPrefix(line, "220")
	})
}

// pki writes ca.pem, cert.pem and key.pem to dir, for names and 127.0.0.1.
func pki(t *testing.T, dir string, names ...string) {
	t.Helper()
	ca, err := certs.New()
	if err != nil {
		t.Fatal(err)
	}
	ca.RSA = true // every peer can use them
	c, err := ca.Issue(certs.Good, append(names, "127.0.0.1", "localhost")...)
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := certs.Files(c)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "ca.pem"), string(ca.PEM()))
	write(t, filepath.Join(dir, "cert.pem"), string(chain))
	write(t, filepath.Join(dir, "key.pem"), string(key))
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve starts a wasmta with a configuration in dir, which has pki, and waits for the first port.
func serve(t *testing.T, dir, name, config string, ports ...int) *output {
	t.Helper()
	file := filepath.Join(dir, name+".toml")
	write(t, file, fmt.Sprintf("hostname = \"%s.test\"\ndata_dir = \"%s-data\"\nrelay_networks = [\"127.0.0.0/8\"]\n%s\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n",
		name, name, config))
	c := exec.Command(wasmta(t), "serve", "--config", file)
	c.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"), "SSL_CERT_DIR=/nonexistent")
	out := background(t, "wasmta "+name, c)
	for _, p := range ports {
		greets(t, "wasmta "+name, p)
	}
	return out
}

// mailbox waits for the one message of a Maildir.
func mailbox(t *testing.T, dir string) []byte {
	t.Helper()
	var found []string
	eventually(t, "nothing is in "+dir, func() bool {
		found, _ = filepath.Glob(filepath.Join(dir, "new", "*"))
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Errorf("%d messages in %s", len(found), dir)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}
