package mtasts_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/deliver/mtasts"
)

func TestRecord(t *testing.T) {
	for _, c := range []struct {
		records []string
		id      string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1 ; id=a1 ; future=yes;"}, "a1"},
		{[]string{"other", "v=STSv1; id=x"}, "x"},
		{[]string{"v=STSv1; id=x", "v=STSv1; id=x"}, ""}, // more than one: none (RFC 8461 3.1)
		{[]string{"v=STSv1; id=a-b"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("a", 33)}, ""},
		{[]string{"v=STSv1;"}, ""},
		{[]string{"v=STSv1; id=a; id=b"}, ""},
		{[]string{"v=STSv10; id=a"}, ""},
		{[]string{"V=STSv1; id=a"}, ""},
		{[]string{" v=STSv1; id=a"}, ""},
		{nil, ""},
	} {
		if id, ok := mtasts.ParseRecord(c.records); id != c.id || ok != (c.id != "") {
			t.Errorf("%q: %q, %v; want %q", c.records, id, ok, c.id)
		}
	}
}

func policy(mode string, age int, mx ...string) string {
	s := fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmax_age: %d\r\n", mode, age)
	for _, m := range mx {
		s += "mx: " + m + "\r\n"
	}
	return s
}

func TestPolicy(t *testing.T) {
	p, err := mtasts.ParsePolicy([]byte("version:STSv1\nmode: enforce \nmx: Mail.Example.COM.\nmx:*.example.net\nmode: testing\nfuture: x\nmax_age:604800\n\n"))
	if err != nil || p.Mode != mtasts.Enforce || !slices.Equal(p.MX, []string{"mail.example.com", "*.example.net"}) || p.MaxAge != 7*24*time.Hour {
		t.Errorf("%+v, %v", p, err)
	}
	for host, want := range map[string]bool{
		"mail.example.com": true, "MAIL.example.com.": true, "a.example.net": true, "example.net": false, "a.b.example.net": false,
		".example.net": false, "xmail.example.com": false, "mail.example.com.evil.test": false, "": false, "*.example.net": true,
	} {
		if got := p.Match(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	if p, err := mtasts.ParsePolicy([]byte(policy("none", 86400))); err != nil || p.Mode != mtasts.None {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := mtasts.ParsePolicy([]byte(policy("testing", 4294967295, "a.test"))); err != nil || p.MaxAge != 31557600*time.Second {
		t.Errorf("%+v, %v; want at most a year", p, err)
	}
	for _, bad := range []string{
		"", "version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1\n", policy("enforce", 1), policy("strict", 1, "a.test"),
		"version: STSv1\nmode: enforce\nmx: a.test\n", "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1\n",
		"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 99999999999\n", "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n",
		policy("enforce", 1, "a.*.test"), policy("enforce", 1, "a b"), policy("enforce", 1, "[192.0.2.1]"), policy("enforce", 1, "*.*.test"),
		"<html>\n", policy("enforce", 1, "a.test") + strings.Repeat("x", mtasts.MaxPolicy), policy("enforce", 1, slices.Repeat([]string{"a.test"}, 201)...),
	} {
		if p, err := mtasts.ParsePolicy([]byte(bad)); err == nil {
			t.Errorf("%.200q is taken: %+v", bad, p)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(policy("enforce", 86400, "a.test", "*.b.test")))
	f.Add([]byte("version: STSv1\nmode: none\nmax_age: 1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := mtasts.ParsePolicy(b)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("%q", err)
			}
			return
		}
		if p.MaxAge < 0 || p.Mode != mtasts.None && len(p.MX) == 0 {
			t.Errorf("%+v", p)
		}
		p.Match(string(b))
	})
}

// world is a DNS and a policy host.
type world struct {
	mu      sync.Mutex
	record  string // empty: none
	dns     error
	body    string
	fetch   error
	queries atomic.Int32
	fetches atomic.Int32
	slow    time.Duration
}

var errAbsent = errors.New("no such name")

func (w *world) TXT(_ context.Context, name string) ([]string, error) {
	w.queries.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.dns != nil:
		return nil, w.dns
	case name != "_mta-sts.example.org" || w.record == "":
		return nil, errAbsent
	}
	return []string{w.record}, nil
}

func (w *world) set(record, body string, dns, fetch error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record, w.body, w.dns, w.fetch = record, body, dns, fetch
}

func (w *world) cache(t *testing.T, dir string) *mtasts.Cache {
	t.Helper()
	c, err := mtasts.New(mtasts.Options{Resolver: w, Dir: dir, Absent: func(err error) bool { return errors.Is(err, errAbsent) },
		Fetch: func(_ context.Context, domain string) ([]byte, error) {
			w.fetches.Add(1)
			time.Sleep(w.slow)
			w.mu.Lock()
			defer w.mu.Unlock()
			if domain != "example.org" {
				return nil, errors.New("another domain")
			}
			return []byte(w.body), w.fetch
		}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAPolicyHoldsUntilAnotherIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{slow: time.Second}
		c := w.cache(t, "")
		mode := func() mtasts.Mode {
			p, ok := c.Policy(t.Context(), "Example.ORG")
			if !ok {
				return "-"
			}
			return p.Mode
		}
		step := func(what string, want mtasts.Mode, fetches int32) {
			t.Helper()
			if got := mode(); got != want {
				t.Errorf("%s: mode %s, want %s", what, got, want)
			}
			if n := w.fetches.Swap(0); n != fetches {
				t.Errorf("%s: %d fetches, want %d", what, n, fetches)
			}
		}
		step("no record", "-", 0)
		w.set("v=STSv1; id=1", policy("enforce", 86400, "mx.example.org"), nil, nil)
		step("not asked again at once", "-", 0)
		time.Sleep(6 * time.Minute)
		step("a record", mtasts.Enforce, 1)
		time.Sleep(6 * time.Minute)
		step("the same record", mtasts.Enforce, 0)
		// Whoever can forge the DNS, or keep the policy host away, changes nothing.
		for _, attack := range []func(){
			func() { w.set("", "", nil, nil) },
			func() { w.set("", "", errors.New("SERVFAIL"), nil) },
			func() { w.set("v=STSv1; id=2", "", nil, errors.New("connection refused")) },
			func() { w.set("v=STSv1; id=3", "<html>", nil, nil) },
		} {
			attack()
			time.Sleep(6 * time.Minute)
			if got := mode(); got != mtasts.Enforce {
				t.Errorf("the policy is gone: %s", got)
			}
		}
		w.fetches.Store(0)
		w.set("v=STSv1; id=4", policy("testing", 3600, "mx.example.org"), nil, nil)
		time.Sleep(6 * time.Minute)
		step("a new policy", mtasts.Testing, 1)
		w.set("v=STSv1; id=4", "", nil, errors.New("gone"))
		time.Sleep(2 * time.Hour)
		step("an expired policy that cannot be fetched again", "-", 1)
		step("which is not tried again at once", "-", 0)
		w.set("v=STSv1; id=5", policy("none", 3600), nil, nil)
		time.Sleep(6 * time.Minute)
		step("mode none", "-", 1)
		time.Sleep(6 * time.Minute)
		step("mode none is kept", "-", 0)
	})
}

func TestManyWhoAskAreOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{slow: time.Second}
		w.set("v=STSv1; id=1", policy("enforce", 86400, "mx.example.org"), nil, nil)
		c := w.cache(t, "")
		impatient, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, ok := c.Policy(impatient, "example.org"); ok {
				t.Error("who gave up got an answer")
			}
		})
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				if p, ok := c.Policy(t.Context(), "example.org"); !ok || p.Mode != mtasts.Enforce {
					t.Errorf("%+v %v", p, ok)
				}
			})
		}
		synctest.Wait()
		cancel() // takes the fetch from nobody else
		all.Wait()
		if w.fetches.Load() != 1 || w.queries.Load() != 1 {
			t.Errorf("%d fetches, %d queries", w.fetches.Load(), w.queries.Load())
		}
	})
}

func TestPoliciesOutliveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sts")
	w := &world{}
	w.set("v=STSv1; id=1", policy("enforce", 86400, "mx.example.org"), nil, nil)
	if _, ok := w.cache(t, dir).Policy(t.Context(), "example.org"); !ok {
		t.Fatal("no policy")
	}
	w.set("", "", errors.New("SERVFAIL"), nil)
	if p, ok := w.cache(t, dir).Policy(t.Context(), "example.org"); !ok || p.Mode != mtasts.Enforce || !p.Match("mx.example.org") {
		t.Errorf("after a restart: %+v, %v", p, ok)
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	if err := os.WriteFile(filepath.Join(dir, files[0].Name()), []byte("{dam"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.cache(t, dir).Policy(t.Context(), "example.org"); ok {
		t.Error("a damaged file is a policy")
	}
	if files, _ = os.ReadDir(dir); len(files) != 0 {
		t.Error("the damaged file is still there")
	}
}

func TestFetch(t *testing.T) {
	var answer http.HandlerFunc
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	s.StartTLS()
	defer s.Close()
	cert, err := x509.ParseCertificate(s.TLS.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	_, portText, _ := net.SplitHostPort(s.Listener.Addr().String())
	port, _ := strconv.Atoi(portText)
	// The certificate of httptest is for example.com and *.example.com.
	f := &mtasts.Fetcher{
		Addrs: func(_ context.Context, host string) ([]netip.Addr, error) {
			if !strings.HasPrefix(host, "mta-sts.") {
				t.Errorf("looked up %s", host)
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Allow: func(netip.Addr) bool { return true }, TLS: &tls.Config{RootCAs: pool}, Port: uint16(port),
	}
	good := func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "mta-sts.example.com" || r.URL.Path != "/.well-known/mta-sts.txt" {
			t.Errorf("asked for %s%s", r.Host, r.URL)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, policy("enforce", 86400, "mx.example.com"))
	}
	answer = good
	if b, err := f.Fetch(t.Context(), "example.com"); err != nil || string(b) != policy("enforce", 86400, "mx.example.com") {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := f.Fetch(t.Context(), "example.org"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate for another name: %v", err)
	}
	for name, bad := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) },
		"error":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); good(w, r) },
		"HTML": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, policy("enforce", 86400, "mx.example.com"))
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		},
	} {
		answer = bad
		if b, err := f.Fetch(t.Context(), "example.com"); err == nil {
			t.Errorf("%s: %.100q", name, b)
		}
	}
	f.Allow = func(netip.Addr) bool { return false }
	if _, err := f.Fetch(t.Context(), "example.com"); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("a forbidden address: %v", err)
	}
}

// Policies are fetched again long before they expire, though their id stays (RFC 8461 10.2): whoever keeps the policy host
// or the DNS away for a while never gets a moment without a policy.
func TestAPolicyIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		const week = 7 * 86400
		w.set("v=STSv1; id=1", policy("enforce", week, "mx.example.org"), nil, nil)
		c := w.cache(t, "")
		ask := func(what string, want bool, fetches int32) {
			t.Helper()
			if p, ok := c.Policy(t.Context(), "example.org"); ok != want || ok && p.Mode != mtasts.Enforce {
				t.Errorf("%s: %+v, %v", what, p, ok)
			}
			if n := w.fetches.Swap(0); n != fetches {
				t.Errorf("%s: %d fetches, want %d", what, n, fetches)
			}
		}
		ask("the first mail", true, 1)
		time.Sleep(23 * time.Hour)
		ask("within a day", true, 0)
		time.Sleep(2 * time.Hour)
		ask("after a day", true, 1)
		time.Sleep(25 * time.Hour)
		w.set("", "", errors.New("SERVFAIL"), nil)
		w.mu.Lock()
		w.body = policy("enforce", week, "mx.example.org")
		w.mu.Unlock()
		ask("the DNS is broken, the policy host is not", true, 1)
		w.set("v=STSv1; id=1", "", nil, errors.New("unreachable"))
		time.Sleep(6 * 24 * time.Hour)
		ask("the policy host is away for six days", true, 1)
		if f := c.Fault("Example.org"); f != mtasts.FaultFetch {
			t.Errorf("fault %q", f)
		}
		time.Sleep(time.Minute)
		ask("and is not asked at once again", true, 0)
		time.Sleep(2 * 24 * time.Hour)
		ask("and for longer than max_age", false, 1)
		w.set("v=STSv1; id=1", policy("enforce", week, "mx.example.org"), nil, nil)
		time.Sleep(6 * time.Minute)
		ask("it is back", true, 1)
		if f := c.Fault("example.org"); f != "" {
			t.Errorf("fault %q", f)
		}
	})
}

// A policy host that hangs does not hold mail up for which there is a policy.
func TestMailDoesNotWaitForANewerPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.set("v=STSv1; id=1", policy("enforce", 7*86400, "mx.example.org"), nil, nil)
		c := w.cache(t, "")
		c.Policy(t.Context(), "example.org")
		time.Sleep(30 * time.Hour)
		w.slow = time.Minute
		start := time.Now()
		if p, ok := c.Policy(t.Context(), "example.org"); !ok || p.Mode != mtasts.Enforce || time.Since(start) > 6*time.Second {
			t.Errorf("%+v, %v after %v", p, ok, time.Since(start))
		}
		time.Sleep(2 * time.Minute) // the fetch goes on
		start = time.Now()
		if _, ok := c.Policy(t.Context(), "example.org"); !ok || time.Since(start) > 0 || w.fetches.Load() != 2 {
			t.Errorf("%v after %v, %d fetches", ok, time.Since(start), w.fetches.Load())
		}
	})
}

// Also of domains that get no mail.
func TestRunRenewsWhatNobodyAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.set("v=STSv1; id=1", policy("enforce", 86400, "mx.example.org"), nil, nil)
		c := w.cache(t, t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { c.Run(ctx) })
		c.Policy(t.Context(), "example.org")
		time.Sleep(10 * 24 * time.Hour)
		w.set("", "", errors.New("SERVFAIL"), errors.New("unreachable"))
		time.Sleep(11 * time.Hour) // less than half of its time
		if p, ok := c.Policy(t.Context(), "example.org"); !ok || p.Mode != mtasts.Enforce {
			t.Errorf("after ten days without mail: %+v, %v", p, ok)
		}
		cancel()
		run.Wait()
		if n := w.fetches.Load(); n < 15 || n > 30 {
			t.Errorf("%d fetches in ten days, of a policy for a day", n)
		}
	})
}

func TestFaultsOfPolicies(t *testing.T) {
	for want, err := range map[string]error{
		mtasts.FaultFetch:       errors.New("connection refused"),
		mtasts.FaultCertificate: fmt.Errorf("Get: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
		mtasts.FaultPolicy:      nil,
	} {
		w := &world{}
		w.set("v=STSv1; id=1", "<html>", nil, err)
		c := w.cache(t, "")
		if _, ok := c.Policy(t.Context(), "example.org"); ok || c.Fault("example.org") != want {
			t.Errorf("%q, want %q", c.Fault("example.org"), want)
		}
	}
	if w := (&world{}); w.cache(t, "").Fault("example.org") != "" {
		t.Error("a domain that was never asked for has a fault")
	}
}
