package certificate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mailtest"
)

// TestPebble has certificates from Let's Encrypt's own test authority, which
// checks signatures, nonces and everything else, and says "bad nonce" now and
// then as a real one may.
func TestPebble(t *testing.T) {
	program, err := exec.LookPath("pebble")
	if err != nil {
		t.Skip("needs pebble: go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1")
	}
	dns := mailtest.ServeDNS(t, mailtest.Zone{Records: "http.example.org. IN A 127.0.0.1\nalpn.example.org. IN A 127.0.0.1\n"})
	dir := t.TempDir()
	own := write(t, dir, "own", ec(t), time.Now().AddDate(0, 1, 0), "localhost")
	var l *Listener
	ready := make(chan struct{})
	alpn := listenTLS(t, "127.0.0.1:0", func() *tls.Config { <-ready; return l.Config(true) })
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()

	// Pebble takes no port 0: with bad luck somebody else has got the port.
	var directory string
	for try := 0; ; try++ {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := free.Addr().String()
		free.Close()
		config, err := json.Marshal(map[string]any{"pebble": map[string]any{
			"listenAddress": addr, "certificate": own.Certificate, "privateKey": own.Key, "httpPort": port(t, web.Addr().String()), "tlsPort": port(t, alpn),
			"retryAfter": map[string]any{"authz": 1, "order": 1}, // seconds
			"profiles":   map[string]any{"default": map[string]any{"description": "90 days", "validityPeriod": 7776000}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "pebble.json")
		if err := os.WriteFile(file, config, 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, program, "-config", file, "-dnsserver", dns)
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		stop := func() { cancel(); <-ended }
		directory = "https://localhost:" + strconv.Itoa(port(t, addr)) + "/dir"
		if answers(addr, ended) {
			t.Cleanup(stop)
			break
		}
		if stop(); try == 5 {
			t.Fatalf("pebble does not start:\n%s", out.String())
		}
	}
	for _, c := range []struct {
		name string
		opt  ACME
	}{
		{"http.example.org", ACME{HTTP: anyPort}},
		{"alpn.example.org", ACME{TLSALPN: true}},
	} {
		c.opt.Directory, c.opt.Domains, c.opt.Dir, c.opt.Root, c.opt.Email = directory, []string{c.name}, filepath.Join(dir, c.name), own.Certificate, "postmaster@example.org"
		s, err := New(Options{Hostname: c.name, ACME: &c.opt, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s.authority.listen = func() (net.Listener, error) { return web, nil } // for one order
		if c.opt.TLSALPN {
			if l, err = s.Listener(Clients{}); err != nil {
				t.Fatal(err)
			}
			close(ready)
		}
		// The attempt of Run, without the waiting between attempts: "bad nonce" is
		// the library's to retry.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		kind := s.authority.challenges[0]
		cert, err := s.authority.obtain(ctx, s.authority.domains[0], kind)
		cancel()
		s.authority.http.CloseIdleConnections()
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if err := cert.Leaf.VerifyHostname(c.name); err != nil || len(cert.Certificate) < 2 {
			t.Errorf("%s: %v, a chain of %d", kind, err, len(cert.Certificate))
		}
	}
}

func port(t *testing.T, addr string) int {
	t.Helper()
	_, text, _ := net.SplitHostPort(addr)
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// answers waits for a server, until it has ended.
func answers(addr string, ended <-chan struct{}) bool {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for range 600 {
		if res, err := client.Get("https://" + addr + "/dir"); err == nil {
			res.Body.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}
