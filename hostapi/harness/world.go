package harness

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/operator"
	"github.com/wasmta/wasmta/hostapi/state"
)

// world is what the plugin finds outside of itself.
type world struct {
	scenario *Scenario
	quota    int // of its memory, in MiB
	zone     zone
	tables   *operator.Tables
	keys     operator.Keys

	mu       sync.Mutex // guards what follows: requests run beside the guest
	now      time.Time
	random   *rand.ChaCha8
	store    *state.Store // nil: not needed yet
	memory   *state.Memory
	log      []string // of the step, as the rest
	requests []request
	events   []string
	faults   []string
}

// request is one that the plugin made.
type request struct{ line, body string }

var (
	_ hostapi.KV         = (*world)(nil)
	_ hostapi.Resolver   = (*world)(nil)
	_ hostapi.HTTPClient = (*world)(nil)
	_ hostapi.Events     = (*world)(nil)
)

func newWorld(s *Scenario) (*world, error) {
	w := &world{scenario: s, quota: s.Grant.KV.MB, tables: operator.NewTables(nil)}
	var err error
	if w.zone, err = newZone(s.DNS); err != nil {
		return nil, err
	}
	if err := w.load(); err != nil {
		return nil, err
	}
	return w, w.reset()
}

// load reads tables and keys as the server does, which wants files.
func (w *world) load() error {
	if len(w.scenario.Tables)+len(w.scenario.Keys) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "wasmta-test-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n := 0
	file := func(text string) (string, error) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		return path, os.WriteFile(path, []byte(text), 0o600)
	}
	var tables []operator.TableSpec
	for _, name := range slices.Sorted(maps.Keys(w.scenario.Tables)) {
		t := w.scenario.Tables[name]
		typ, err := operator.ParseTableType(t.Type)
		if err != nil {
			return fmt.Errorf("tables.%s: %w", name, err)
		}
		var b strings.Builder
		for _, key := range slices.Sorted(maps.Keys(t.Rows)) {
			if strings.ContainsAny(key, " \t\r\n") || strings.ContainsAny(t.Rows[key], "\r\n") {
				return fmt.Errorf("tables.%s: the row %q has a blank in its key or a line end", name, key)
			}
			fmt.Fprintf(&b, "%s %s\n", key, t.Rows[key])
		}
		path, err := file(b.String())
		if err != nil {
			return err
		}
		tables = append(tables, operator.TableSpec{Name: name, File: path, Type: typ})
	}
	if _, err := w.tables.Apply(tables); err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	var keys []operator.KeySpec
	for _, name := range slices.Sorted(maps.Keys(w.scenario.Keys)) {
		path, err := file(w.scenario.Keys[name])
		if err != nil {
			return err
		}
		keys = append(keys, operator.KeySpec{Name: name, File: path})
	}
	if _, err := w.keys.Apply(keys); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}

// reset makes the world as it was at the beginning.
func (w *world) reset() error {
	err := w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if c := w.scenario.Clock; c != nil {
		w.now = c.UTC()
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(w.scenario.Seed))
	w.random = rand.NewChaCha8(seed)
	w.log, w.requests, w.events, w.faults = nil, nil, nil, nil
	return err
}

func (w *world) close() error {
	w.mu.Lock()
	store := w.store
	w.store, w.memory = nil, nil
	w.mu.Unlock()
	if store == nil {
		return nil
	}
	return store.Close()
}

// step begins the next step.
func (w *world) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log, w.requests, w.events, w.faults = nil, nil, nil, nil
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Read gives random octets, the same for each run.
func (w *world) Read(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Read(b)
}

var levels = [...]string{abi.LogDebug: "debug", abi.LogInfo: "info", abi.LogWarn: "warn", abi.LogError: "error"}

func (w *world) said(l hostapi.Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, levels[min(max(l.Level, abi.LogDebug), abi.LogError)]+": "+l.Text)
}

// services are those of the plugin: what the grant names must be there.
func (w *world) services(spec hostapi.Spec) (hostapi.Services, error) {
	var faults []error
	missing := func(grant, name, where string) {
		faults = append(faults, fmt.Errorf("the grant %s names %q, which the scenario does not have: add it to [%s]", grant, name, where))
	}
	for _, name := range spec.Grant.Tables {
		if !w.tables.Has(name) {
			missing("tables", name, "tables."+name)
		}
	}
	for _, name := range spec.Grant.Secrets {
		if _, ok := w.Secret(name); !ok {
			missing("secrets", name, "secrets")
		}
	}
	for _, name := range spec.Grant.SignKeys {
		if _, ok := w.scenario.Keys[name]; !ok {
			missing("sign_keys", name, "keys")
		}
	}
	return hostapi.Services{KV: w, Resolver: w, HTTP: w, Keys: keyring{w}, Secrets: w, Tables: w.tables, Events: w, Pools: func(string) bool { return true }}, errors.Join(faults...)
}

// Secret implements hostapi.Secrets.
func (w *world) Secret(name string) ([]byte, bool) {
	v, ok := w.scenario.Secrets[name]
	return []byte(v), ok
}

// keyring keeps the two methods called Secret apart.
type keyring struct{ w *world }

func (k keyring) Signer(name string) (crypto.Signer, error) { return k.w.keys.Signer(name) }
func (k keyring) Secret(name string) ([]byte, error)        { return k.w.keys.Secret(name) }

// Emit implements hostapi.Events.
func (w *world) Emit(e hostapi.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e.Topic+" "+string(e.Data))
	return nil
}

// kv is the plugin's memory, made when it is used first.
func (w *world) kv() (*state.Memory, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.memory != nil {
		return w.memory, nil
	}
	store, err := state.Open(state.Options{Now: w.time, MinFree: 1})
	if err != nil {
		return nil, err
	}
	m, err := store.Plugin("plugin", max(w.quota, 1))
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	w.store, w.memory = store, m
	w.mu.Unlock()
	defer w.mu.Lock()
	for key, v := range w.scenario.KV {
		var err error
		if n, ok := v.(int64); ok {
			_, err = m.Incr([]byte(key), n, 0, false)
		} else {
			err = m.Set([]byte(key), fmt.Append(nil, v), 0, 0)
		}
		if err != nil {
			return nil, fmt.Errorf("kv: %q: %w", key, err)
		}
	}
	return m, nil
}

// Get implements hostapi.KV, as the methods that follow.
func (w *world) Get(key []byte) ([]byte, error) {
	m, err := w.kv()
	if err != nil {
		return nil, err
	}
	return m.Get(key)
}

func (w *world) Set(key, value []byte, ttl time.Duration, flags int32) error {
	m, err := w.kv()
	if err != nil {
		return err
	}
	return m.Set(key, value, ttl, flags)
}

func (w *world) Delete(key []byte) error {
	m, err := w.kv()
	if err != nil {
		return err
	}
	return m.Delete(key)
}

func (w *world) Incr(key []byte, delta int64, ttl time.Duration, refresh bool) (int64, error) {
	m, err := w.kv()
	if err != nil {
		return 0, err
	}
	return m.Incr(key, delta, ttl, refresh)
}

func (w *world) Take(key []byte, cost, burst, perSecMilli int64) (time.Duration, error) {
	m, err := w.kv()
	if err != nil {
		return 0, err
	}
	return m.Take(key, cost, burst, perSecMilli)
}

func (w *world) CompareAndSwap(key, old, value []byte, ttl time.Duration) error {
	m, err := w.kv()
	if err != nil {
		return err
	}
	return m.CompareAndSwap(key, old, value, ttl)
}

// zone is the DNS by name in lower case.
type zone map[string]map[uint16]answer

type answer struct {
	hostapi.Answer
	err error
}

var dnsTypes = map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "TLSA": 52, "CAA": 257}

var dnsErrors = map[string]error{"": nil, "nxdomain": abi.NXDomain, "servfail": abi.ServFail, "bogus": abi.Bogus, "timeout": abi.Timeout}

func newZone(list []DNS) (zone, error) {
	z := zone{}
	for _, d := range list {
		fail := func(format string, args ...any) (zone, error) {
			return nil, fmt.Errorf("dns %q %s: %s", d.Name, d.Type, fmt.Sprintf(format, args...))
		}
		typ, ok := dnsTypes[strings.ToUpper(d.Type)]
		if !ok {
			return fail("type: write A, AAAA, MX, TXT, PTR, NS, CNAME, SRV, TLSA or CAA")
		}
		a := answer{Answer: hostapi.Answer{TTL: 5 * time.Minute, Secure: d.Secure}}
		if a.err, ok = dnsErrors[d.Error]; !ok {
			return fail("error = %q: write nxdomain, servfail, bogus or timeout", d.Error)
		}
		if d.TTL != "" {
			var err error
			if a.TTL, err = time.ParseDuration(d.TTL); err != nil || a.TTL < 0 {
				return fail("ttl = %q: write a time such as \"5m\"", d.TTL)
			}
		}
		for _, text := range d.Records {
			r := []byte(text)
			switch typ {
			case 1, 28:
				ip, err := netip.ParseAddr(text)
				if err != nil || ip.Is4() != (typ == 1) {
					return fail("%q is no address of this type", text)
				}
				r = ip.AsSlice()
			case 52:
				var err error
				if r, err = hex.DecodeString(strings.ReplaceAll(text, " ", "")); err != nil {
					return fail("%q: write the record in hex", text)
				}
			}
			a.Records = append(a.Records, r)
		}
		name := dnsName(d.Name)
		if z[name] == nil {
			z[name] = map[uint16]answer{}
		}
		z[name][typ] = a
	}
	return z, nil
}

func dnsName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// Lookup implements hostapi.Resolver.
func (w *world) Lookup(_ context.Context, name string, typ uint16) (hostapi.Answer, error) {
	types, ok := w.zone[dnsName(name)]
	if !ok {
		return hostapi.Answer{}, abi.NXDomain
	}
	a := types[typ]
	return a.Answer, a.err
}

func (h *HTTP) check() error {
	if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("http: url = %q: write http://host/path or https://host/path", h.URL)
	}
	if h.Status != 0 && (h.Status < 200 || h.Status > 599) {
		return fmt.Errorf("http %q: status = %d: write 200 to 599", h.URL, h.Status)
	}
	if h.Error != "" && h.Error != "timeout" && h.Error != "unavailable" {
		return fmt.Errorf("http %q: error = %q: write timeout or unavailable", h.URL, h.Error)
	}
	return nil
}

// maxRequest is how much of a request's body is kept, in octets.
const maxRequest = 1 << 20

// Do implements hostapi.HTTPClient.
func (w *world) Do(r *http.Request, _ bool) (*http.Response, error) {
	q := request{line: r.Method + " " + r.URL.String()}
	if r.Body != nil {
		b, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
		if err != nil {
			return nil, err
		}
		q.body = string(b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, q)
	for _, h := range w.scenario.HTTP {
		method := strings.ToUpper(h.Method)
		if method == "" {
			method = http.MethodGet
		}
		if method != r.Method || h.URL != r.URL.String() {
			continue
		}
		switch h.Error {
		case "timeout":
			return nil, abi.Timeout
		case "unavailable":
			return nil, abi.Unavailable
		}
		status := h.Status
		if status == 0 {
			status = http.StatusOK
		}
		header := http.Header{}
		for k, v := range h.Headers {
			header.Set(k, v)
		}
		return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
			ContentLength: int64(len(h.Body)), Body: io.NopCloser(bytes.NewReader([]byte(h.Body))), Request: r}, nil
	}
	w.faults = append(w.faults, fmt.Sprintf("it asked for %s, and no [[http]] of the scenario answers that", q.line))
	return nil, abi.Unavailable
}
