package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/mail"
)

type checkCmd struct{ configFlag }

// expiresSoon is when the end of a certificate is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

func (c *checkCmd) Run(e *env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return exit{exConfig, err}
	}
	k := checker{e: e, cfg: cfg}
	k.relay()
	k.routes()
	k.certificate(time.Now())
	k.dataDir()
	k.plugins()
	if k.faults > 0 {
		return exit{code: exConfig}
	}
	fmt.Fprintf(e.out, "configuration is good: %s, %s, %s, %s, data in %s\n", cfg.Hostname,
		count(len(cfg.Listeners), "listener"), count(len(cfg.Routes), "route"), count(len(cfg.Plugins), "plugin"), cfg.DataDir)
	return nil
}

// checker looks at what config does not: what the values mean together, and
// the files that they name.
type checker struct {
	e      *env
	cfg    *config.Config
	faults int
}

// fault says what is wrong at a key, such as "plugin.0.module".
func (k *checker) fault(key, format string, args ...any) {
	k.faults++
	k.say(k.cfg.Fault(key, format, args...))
}

func (k *checker) warn(key, format string, args ...any) {
	k.say(k.cfg.Fault(key, "warning: "+format, args...))
}

func (k *checker) say(e *config.Error) { fmt.Fprintln(k.e.err, visible(e.Error())) }

// relay: a network of all addresses makes an open relay, which is found and
// used within hours.
func (k *checker) relay() {
	for _, p := range k.cfg.RelayNetworks {
		bits, all := p.Bits(), p.Addr().BitLen()
		if p.Addr().Is4In6() {
			bits, all = max(bits-96, 0), 32
		}
		switch {
		case bits == 0:
			k.fault("relay_networks", "relay_networks has %q, all addresses there are: this would be an open relay; write the networks of your own clients", p.Prefix)
		case bits < 8 && !p.Addr().IsPrivate():
			k.warn("relay_networks", "relay_networks has %q, %d bits of %d: whoever is in there may send to anyone through this server", p.Prefix, bits, all)
		}
	}
}

// routes: without a route a local domain goes to its MX, which is this server.
// A plugin may route it, so that with plugins this is only a warning.
func (k *checker) routes() {
	say, unless := k.fault, ""
	if len(k.cfg.Plugins) > 0 {
		say, unless = k.warn, " unless a plugin routes it"
	}
	for _, d := range k.cfg.LocalDomains {
		i := routeOf(k.cfg.Routes, string(d))
		switch {
		case i < 0:
			say("local_domains", "the local domain %q has no route: its mail goes to its MX, that is to this server, in a loop%s; "+
				"add [[route]] with domains = [%q] and to = \"maildir:PATH\", \"lmtp:unix:PATH\" or another next hop", d, unless, d)
		case k.cfg.Routes[i].To.Transport == mail.TransportMX && k.cfg.Routes[i].To.Host == "":
			say(fmt.Sprintf("route.%d.to", i), "the local domain %q is routed to its MX, that is to this server, in a loop%s; "+
				"write to = \"maildir:PATH\", \"lmtp:unix:PATH\" or another next hop, or move it to relay_domains", d, unless)
		}
	}
}

// routeOf is the index of the first route for a domain; -1: none.
func routeOf(routes []config.Route, domain string) int {
	for i, r := range routes {
		for _, d := range r.Domains {
			suffix, below := strings.CutPrefix(d, ".")
			if d == "*" || below && strings.HasSuffix(domain, "."+mail.DomainKey(suffix)) || !below && mail.DomainKey(d) == domain {
				return i
			}
		}
	}
	return -1
}

func (k *checker) certificate(now time.Time) {
	t := k.cfg.TLS
	if t.Certificate == "" {
		return
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		key := "certificate"
		var file *fs.PathError
		if errors.As(err, &file) && file.Path == t.Key || strings.Contains(err.Error(), "key") {
			key = "key"
		}
		k.fault("tls."+key, "certificate %q with key %q: %v", t.Certificate, t.Key, err)
		return
	}
	leaf := pair.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			k.fault("tls.certificate", "certificate %q: %v", t.Certificate, err)
			return
		}
	}
	day := leaf.NotAfter.UTC().Format("2006-01-02")
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		k.warn("tls.certificate", "certificate %q expired on %s", t.Certificate, day)
	case left < expiresSoon:
		k.warn("tls.certificate", "certificate %q expires on %s, in %s", t.Certificate, day, count(int(left.Hours()/24), "day"))
	case now.Before(leaf.NotBefore):
		k.warn("tls.certificate", "certificate %q is not valid before %s", t.Certificate, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if err := leaf.VerifyHostname(k.cfg.Hostname); err != nil {
		k.warn("tls.certificate", "certificate %q is not for hostname %q", t.Certificate, k.cfg.Hostname)
	}
}

// dataDir: the directory, or the nearest one above that exists, can be
// written.
func (k *checker) dataDir() {
	dir := k.cfg.DataDir
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			k.fault("data_dir", "data_dir %q: %q is not a directory", k.cfg.DataDir, dir)
			return
		case err == nil:
			probe, err := os.MkdirTemp(dir, ".wasmta-check-*")
			if err == nil {
				err = os.Remove(probe)
			}
			if err != nil {
				what := "cannot be written"
				if dir != k.cfg.DataDir {
					what = "cannot be created"
				}
				k.fault("data_dir", "data_dir %q %s by this user: %v", k.cfg.DataDir, what, err)
			}
			return
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			k.fault("data_dir", "data_dir %q: %v", k.cfg.DataDir, err)
			return
		}
		dir = filepath.Dir(dir)
	}
}

// plugins: each loads as it would in the server.
func (k *checker) plugins() {
	for i, p := range k.cfg.Plugins {
		spec, err := pluginSpec(p)
		if err == nil {
			err = k.e.loadPlugin(k.e.ctx, spec)
		}
		if err != nil {
			k.fault(fmt.Sprintf("plugin.%d.module", i), "%s", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
		}
	}
}
