package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
)

type checkCmd struct{ configFlag }

// expiresSoon is when the end of a certificate is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

func (c *checkCmd) Run(e *env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return exit{exConfig, err}
	}
	k := checker{cfg: cfg, said: func(f *config.Error) { fmt.Fprintln(e.err, visible(f.Error())) }}
	k.listeners()
	k.relay()
	k.routes()
	k.certificates(time.Now())
	k.files()
	k.directory("data_dir", "data_dir", k.cfg.DataDir)
	if dir := filepath.Dir(k.cfg.Admin.Socket); dir != k.cfg.DataDir {
		k.directory("admin.socket", "the directory of the control socket", dir)
	}
	for i, l := range k.cfg.Listeners {
		if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
			k.exists(fmt.Sprintf("listener.%d.address", i), filepath.Dir(path))
		}
	}
	k.plugins(e)
	k.names(e.ctx)
	if len(k.faults) > 0 {
		return exit{code: exConfig}
	}
	fmt.Fprintf(e.out, "configuration is good: %s, %s, %s, %s, data in %s\n", cfg.Hostname,
		count(len(cfg.Listeners), "listener"), count(len(cfg.Routes), "route"), count(len(cfg.Plugins), "plugin"), cfg.DataDir)
	return nil
}

// checker looks at what config does not: what the values mean together, and
// the files that they name.
type checker struct {
	cfg      *config.Config
	said     func(*config.Error) // called for each fault and warning, if not nil
	faults   []error
	warnings []error
}

// fault says what is wrong at a key, such as "plugin.0.module".
func (k *checker) fault(key, format string, args ...any) {
	k.faults = append(k.faults, k.say(key, format, args...))
}

func (k *checker) warn(key, format string, args ...any) {
	k.warnings = append(k.warnings, k.cfg.Fault(key, format, args...))
	k.say(key, "warning: "+format, args...)
}

func (k *checker) say(key, format string, args ...any) *config.Error {
	e := k.cfg.Fault(key, format, args...)
	if k.said != nil {
		k.said(e)
	}
	return e
}

// listeners: who may authenticate there, and how.
func (k *checker) listeners() {
	for i, l := range k.cfg.Listeners {
		key := fmt.Sprintf("listener.%d.", i)
		switch {
		case l.Role != config.RoleSubmission:
		case !asked(k.cfg.Plugins, l):
			k.warn(key+"role", "listener %q: nobody can authenticate, since no plugin is asked there: only clients in relay_networks may send mail; "+
				"add a [[plugin]] that answers the hook auth", l.Name)
		case l.TLS == config.TLSNone && !l.AuthWithoutTLS:
			k.warn(key+"tls", "listener %q: nobody can authenticate without TLS: only clients in relay_networks may send mail; "+
				"set tls = \"starttls\" or \"implicit\"", l.Name)
		}
		if l.AuthWithoutTLS && !l.Local() {
			k.warn(key+"auth_without_tls", "listener %q: auth_without_tls lets passwords travel where others can read them: use it on loopback and unix sockets", l.Name)
		}
	}
}

// asked tells whether any of the plugins is asked at a listener.
func asked(plugins []config.Plugin, l config.Listener) bool {
	return slices.ContainsFunc(plugins, func(p config.Plugin) bool { return len(p.Listeners) == 0 || slices.Contains(p.Listeners, l.Name) })
}

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

// certificates: they can be read, are valid, and for the names that clients ask
// for.
func (k *checker) certificates(now time.Time) {
	t := k.cfg.TLS
	if leaf := k.certificate("tls", t.Certificate, t.Key, now); leaf != nil {
		if err := leaf.VerifyHostname(k.cfg.Hostname); err != nil {
			k.warn("tls.certificate", "certificate %q is not for hostname %q", t.Certificate, k.cfg.Hostname)
		}
	}
	for i, c := range k.cfg.Certificates {
		key := fmt.Sprintf("certificate.%d", i)
		leaf := k.certificate(key, c.Certificate, c.Key, now)
		for _, name := range c.Names {
			if leaf == nil {
				break
			}
			if err := leaf.VerifyHostname(strings.Replace(name, "*", "any", 1)); err != nil {
				k.warn(key+".names", "certificate %q is not for %q", c.Certificate, name)
			}
		}
	}
	for i, l := range k.cfg.Listeners {
		if l.Role != config.RoleLMTP && l.TLS == config.TLSNone && !l.Local() {
			k.warn(fmt.Sprintf("listener.%d.tls", i), "listener %q has no TLS: whoever is on the way reads its mail; set certificate and key in [tls], or "+
				"domains in [acme], and tls = \"starttls\"", l.Name)
		}
	}
}

// certificate is the leaf of a pair under key; nil: there is none that is good.
func (k *checker) certificate(section, certificate, private string, now time.Time) *x509.Certificate {
	if certificate == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, private)
	if err != nil {
		key := "certificate"
		var file *fs.PathError
		if errors.As(err, &file) && file.Path == private || strings.Contains(err.Error(), "key") {
			key = "key"
		}
		k.fault(section+"."+key, "certificate %q with key %q: %v", certificate, private, err)
		return nil
	}
	leaf := pair.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			k.fault(section+".certificate", "certificate %q: %v", certificate, err)
			return nil
		}
	}
	day := leaf.NotAfter.UTC().Format("2006-01-02")
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		k.warn(section+".certificate", "certificate %q expired on %s", certificate, day)
	case left < expiresSoon:
		k.warn(section+".certificate", "certificate %q expires on %s, in %s", certificate, day, count(int(left.Hours()/24), "day"))
	case now.Before(leaf.NotBefore):
		k.warn(section+".certificate", "certificate %q is not valid before %s", certificate, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return leaf
}

// directory: it, or the nearest one above that exists, can be written.
func (k *checker) directory(key, what, wanted string) {
	dir := wanted
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			k.fault(key, "%s %q: %q is not a directory", what, wanted, dir)
			return
		case err == nil:
			probe, err := os.MkdirTemp(dir, ".wasmta-check-*")
			if err == nil {
				err = os.Remove(probe)
			}
			if err != nil {
				verb := "cannot be written"
				if dir != wanted {
					verb = "cannot be created"
				}
				k.fault(key, "%s %q %s by this user: %v", what, wanted, verb, err)
			}
			return
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			k.fault(key, "%s %q: %v", what, wanted, err)
			return
		}
		dir = filepath.Dir(dir)
	}
}

// exists: the directory of a listener's socket is not made for it.
func (k *checker) exists(key, dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (strings.HasPrefix(dir, "/run/") || strings.HasPrefix(dir, "/var/run/")):
		k.warn(key, "the directory %q of the socket is not there now: it must be when the server starts (systemd: RuntimeDirectory=%s)", dir, filepath.Base(dir))
	case err != nil:
		k.fault(key, "the directory %q of the socket: %v; create it", dir, err)
	case !info.IsDir():
		k.fault(key, "%q is not a directory", dir)
	}
}

// plugins: each loads as it would in the server, with what it is given.
func (k *checker) plugins(e *env) {
	var specs []hostapi.Spec
	var at []int
	for i, p := range k.cfg.Plugins {
		spec, err := pluginSpec(p)
		if err != nil {
			k.fault(fmt.Sprintf("plugin.%d.module", i), "%s", oneLine(err))
			continue
		}
		specs, at = append(specs, spec), append(at, i)
	}
	unknown := len(specs) < len(k.cfg.Plugins) // whether somebody answers
	var answer []config.Plugin
	kind, err := e.loadPlugins(e.ctx, k.cfg, specs, func(i int, hooks []string, err error) {
		p := k.cfg.Plugins[at[i]]
		switch {
		case err != nil:
			unknown = true
			k.fault(fmt.Sprintf("plugin.%d.module", at[i]), "%s", oneLine(err))
		case slices.Contains(hooks, hook.Auth.String()):
			answer = append(answer, p)
			if g := specs[i].Grant; !g.AuthPassword && g.Envelope < hostapi.Write {
				k.warn(fmt.Sprintf("plugin.%d.module", at[i]), "plugin %q answers the hook auth and cannot see the password: whom it accepts is authenticated "+
					"with any; set auth_password = true in its grant, unless it only refuses", p.Name)
			}
		}
	})
	for i, l := range k.cfg.Listeners {
		if l.Role == config.RoleSubmission && err == nil && !unknown && asked(k.cfg.Plugins, l) && !asked(answer, l) {
			k.warn(fmt.Sprintf("listener.%d.role", i), "listener %q: nobody can authenticate, since no plugin that is asked there answers the hook auth: "+
				"only clients in relay_networks may send mail", l.Name)
		}
	}
	if err != nil {
		k.fault("", "%s", oneLine(err))
	} else {
		k.engine(kind)
	}
	for i, s := range k.cfg.Events {
		if path := s.File(); path != "" {
			k.directory(fmt.Sprintf("event.%d.to", i), "the directory of a sink for events", filepath.Dir(path))
		}
	}
}

func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}
