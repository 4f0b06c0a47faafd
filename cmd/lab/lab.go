package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/cmd/lab/scene"
	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/event"
)

// lab is a scene with a server in it.
type lab struct {
	dir   string
	scene *scene.Scene
	addr  string // of the server
	log   *journal
	ended chan error // the server
	stops []func()
}

// inNamespace is where the scene is when all ports are ours. The addresses (RFC 2544) are public by their form, so the
// server needs no word from us to go there.
var inNamespace = scene.Options{Net: netip.MustParseAddr("192.0.2.0"), MXPort: 25, PolicyPort: 443, DNS: "127.0.0.1:53"}

// open starts the scene and a server of this tree: in this process, told where mail exchangers and policy hosts are, or
// in a namespace as a program that is told nothing but its resolver and the roots to trust.
func open(rows []scene.Row, f flags, errs io.Writer) (_ *lab, err error) {
	dir, err := os.MkdirTemp("", "wasmta-lab-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, ended: make(chan error, 1)}
	l.stops = append(l.stops, func() { os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	file, err := os.Create(l.path("log"))
	if err != nil {
		return nil, err
	}
	l.stops = append(l.stops, func() { file.Close() })
	l.log = &journal{file: file}
	if f.verbose {
		l.log.also = errs
	}
	namespace := os.Getenv(insideNamespace) != ""
	var o scene.Options
	if namespace {
		o = inNamespace
	}
	if l.scene, err = scene.Start(rows, o); err != nil {
		return nil, fmt.Errorf("%w; the laboratory needs all of 127.0.0.0/8, as Linux has it", err)
	}
	l.stops = append(l.stops, l.scene.Close)
	if err := os.WriteFile(l.path("ca.pem"), l.scene.CA.PEM(), 0o644); err != nil {
		return nil, err
	}
	listen := "127.0.0.1:0"
	if namespace {
		listen = "127.0.0.1:2525"
	}
	text := fmt.Sprintf(`hostname = %q
data_dir = "data"
relay_networks = ["127.0.0.0/8"]
[[listener]]
role = "mx"
address = %q
[dns]
resolvers = [%q]
[queue]
retry = ["1h"]
[[route]]
domains = ["home.%s"]
to = "maildir:%s/{user}"
`, scene.Hostname, listen, l.scene.DNS, scene.Zone, l.path("home"))
	if err := os.WriteFile(l.path("wasmta.toml"), []byte(text), 0o644); err != nil {
		return nil, err
	}
	if namespace {
		l.addr = listen
		return l, l.startProgram(f.wasmta)
	}
	return l, l.startHere(f.tamper)
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) close() {
	for len(l.stops) > 0 {
		last := len(l.stops) - 1
		l.stops[last]()
		l.stops = l.stops[:last]
	}
}

func (l *lab) target() scene.Target {
	return scene.Target{Addr: l.addr, Log: l.log.String, Home: l.path("home")}
}

// startHere runs the server in this process.
func (l *lab) startHere(tamper func(*deliver.Options)) error {
	c, err := config.Load(l.path("wasmta.toml"))
	if err != nil {
		return err
	}
	roots := &tls.Config{RootCAs: l.scene.CA.Pool()}
	server, err := core.New(core.Options{
		Config: c,
		Log:    event.NewLog(event.NewLineHandler(l.log, c.Hostname, slog.LevelInfo)),
		Deliver: func(o *deliver.Options) {
			o.MXPort, o.AllowLoopbackMX, o.TLS = l.scene.MXPort, true, roots
			o.Timeouts = deliver.Timeouts{Connect: 5 * time.Second}
			if tamper != nil {
				tamper(o)
			}
		},
		PolicyHosts: func(f *mtasts.Fetcher) {
			f.Port, f.TLS, f.Allow = l.scene.PolicyPort, roots, func(netip.Addr) bool { return true }
		},
	})
	if err != nil {
		return err
	}
	l.addr = server.Addr(c.Listeners[0].Name).String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		l.ended <- server.Run(ctx)
		close(done)
	}()
	l.stops = append(l.stops, func() {
		stop()
		<-done
	})
	return nil
}

// startProgram runs the program wasmta.
func (l *lab) startProgram(path string) error {
	c := exec.Command(path, "serve", "--config", l.path("wasmta.toml"))
	c.Env = append(os.Environ(), "SSL_CERT_FILE="+l.path("ca.pem"), "SSL_CERT_DIR=/nonexistent")
	c.Stdout, c.Stderr = l.log, l.log
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		l.ended <- c.Wait()
		close(done)
	}()
	l.stops = append(l.stops, func() {
		_ = c.Process.Signal(os.Interrupt)
		select {
		case <-done:
		case <-time.After(5 * time.Second): // attempts in flight are nothing to wait for
			_ = c.Process.Kill()
			<-done
		}
	})
	for range 600 {
		if conn, err := net.DialTimeout("tcp", l.addr, time.Second); err == nil {
			conn.Close()
			return nil
		}
		select {
		case err := <-l.ended:
			l.ended <- err
			return fmt.Errorf("%s ended: %v\n%s", path, err, l.log.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not listen at %s\n%s", path, l.addr, l.log.tail())
}

// journal keeps the server's log in memory and in a file.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
	file io.Writer
	also io.Writer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Write(b)
	if j.also != nil {
		_, _ = j.also.Write(b)
	}
	return j.file.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// tail is the end of the log.
func (j *journal) tail() string {
	s := j.String()
	return s[max(0, len(s)-6000):]
}
