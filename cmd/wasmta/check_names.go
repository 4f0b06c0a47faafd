package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/resolve"
)

// lookupLimit bounds all the questions to the DNS together.
const lookupLimit = 4 * time.Second

// engine warns where plugins would be slow.
func (k *checker) engine(kind string) {
	if kind != "compiler" {
		k.warn("", "plugins would run in the interpreter, some 20 times slower: this machine does not let the engine make code executable "+
			"(systemd: remove MemoryDenyWriteExecute=yes) or has no compiler for its processor")
	}
}

// files: what the configuration names beside certificates and modules.
func (k *checker) files() {
	if _, err := core.LoadTemplate(k.cfg.Notify.Template); err != nil {
		k.fault("notify.template", "template %q: %v", k.cfg.Notify.Template, err)
	}
	for i, l := range k.cfg.Listeners {
		k.authorities(fmt.Sprintf("listener.%d.client_ca", i), l.ClientCA)
	}
	k.authorities("acme.root", k.cfg.ACME.Root)
	k.readers(os.Geteuid(), func() bool { _, err := user.Lookup(serviceUser); return err == nil })
	ours, err := net.InterfaceAddrs()
	for i, l := range k.cfg.Listeners {
		if a, bad := netip.ParseAddrPort(l.Address); err == nil && bad == nil && !a.Addr().IsUnspecified() && !a.Addr().IsLoopback() && !has(ours, a.Addr()) {
			k.warn(fmt.Sprintf("listener.%d.address", i), "listener %q: this machine has no address %s now: the server would not start", l.Name, a.Addr())
		}
	}
	for i, s := range k.cfg.Sources {
		for _, a := range s.Addresses {
			if addr, bad := netip.ParseAddr(a); err == nil && bad == nil && !has(ours, addr) {
				k.warn(fmt.Sprintf("source.%d.addresses", i), "source %q: this machine has no address %s now: what is sent from there waits", s.Name, a)
			}
		}
	}
}

// authorities: a PEM file of those that sign.
func (k *checker) authorities(key, path string) {
	if path == "" {
		return
	}
	data, err := os.ReadFile(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		err = errors.New("it has no certificate in PEM")
	}
	if err != nil {
		k.fault(key, "%q: %v", path, err)
	}
}

// serviceUser is whom the packages let the server run as.
const serviceUser = "wasmta"

// readers: root can read what the server's user cannot.
func (k *checker) readers(uid int, service func() bool) {
	c := k.cfg
	if uid == 0 && (c.TLS.Key != "" || len(c.Certificates)+len(c.Secrets)+len(c.Keys)+len(c.Tables) > 0) && service() {
		k.warn("", "checked as root, who may read what the user %s cannot: runuser -u %s -- wasmta check --config %s tells", serviceUser, serviceUser, c.Path)
	}
}

func has(list []net.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(n net.Addr) bool {
		p, ok := n.(*net.IPNet)
		if !ok {
			return false
		}
		ip, _ := netip.AddrFromSlice(p.IP)
		return ip.Unmap() == a
	})
}

// lookup is what is asked of the DNS; *resolve.Resolver is one.
type lookup interface {
	MX(ctx context.Context, domain string) ([]resolve.Exchange, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, error)
}

// names asks the DNS what others will find there: our own name, and the MX of
// the domains whose mail we take. What is reserved for examples (RFC 2606, 6761)
// is asked only where the configuration names resolvers, which may know better.
func (k *checker) names(ctx context.Context) {
	var servers []string
	for _, r := range k.cfg.DNS.Resolvers {
		servers = append(servers, string(r))
	}
	domains := slices.DeleteFunc(slices.Clone(k.cfg.LocalDomains), func(d config.Domain) bool { return len(servers) == 0 && reserved(string(d)) })
	if len(domains) == 0 || !slices.ContainsFunc(k.cfg.Listeners, func(l config.Listener) bool { return l.Role == config.RoleMX && !l.Local() }) {
		return // mail from the Internet does not come here
	}
	r, err := resolve.New(resolve.Options{Servers: servers, Timeout: time.Second, Total: lookupLimit})
	if err != nil {
		k.fault("dns.resolvers", "resolvers: %v", err)
		return
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	ours, _ := net.InterfaceAddrs() // without them names alone are compared
	k.exchangers(ctx, r, domains, func(a netip.Addr) bool { return has(ours, a) })
}

func (k *checker) exchangers(ctx context.Context, dns lookup, domains []config.Domain, ours func(netip.Addr) bool) {
	self := mail.DomainKey(k.cfg.Hostname)
	if _, err := dns.Addrs(ctx, self); unknown(err) {
		k.warn("hostname", "hostname %q has no address in the DNS: many servers refuse mail from one that has none; add A or AAAA", k.cfg.Hostname)
	}
	for i, d := range domains {
		list, err := dns.MX(ctx, string(d))
		switch {
		case errors.Is(err, resolve.ErrNullMX):
			k.warn("local_domains", "%q has a null MX: it tells the world that it takes no mail; replace it by \"MX 10 %s\"", d, self)
			continue
		case unknown(err):
			k.warn("local_domains", "%q is not in the DNS: nobody can send to it; add \"MX 10 %s\"", d, self)
			continue
		case err != nil:
			// Mostly no network, and then nothing can be said of any of them.
			k.warn("local_domains", "the MX of %s could not be looked up: %s; try again, or see [dns] resolvers", some(domains[i:]), oneLine(err))
			return
		}
		var hosts []string
		here := false
		for _, x := range list {
			hosts = append(hosts, x.Host)
			if here = here || mail.DomainKey(x.Host) == self; here {
				break
			}
			addrs, err := dns.Addrs(ctx, x.Host)
			here = slices.ContainsFunc(addrs, ours) || err != nil && !unknown(err)
		}
		if !here {
			k.warn("local_domains", "mail for %q goes elsewhere: its MX is %s, which is neither hostname %q nor an address of this machine "+
				"(behind NAT that may be right)", d, strings.Join(hosts, ", "), k.cfg.Hostname)
		}
	}
}

func unknown(err error) bool {
	return errors.Is(err, resolve.ErrNoDomain) || errors.Is(err, resolve.ErrNoData)
}

func some(domains []config.Domain) string {
	if len(domains) == 1 {
		return fmt.Sprintf("%q", domains[0])
	}
	return fmt.Sprintf("%q and %d more", domains[0], len(domains)-1)
}

// reserved tells whether a domain is one of those for examples and tests.
func reserved(domain string) bool {
	labels := strings.Split(domain, ".")
	last := labels[len(labels)-1]
	switch last {
	case "test", "example", "invalid", "localhost", "local":
		return true
	}
	return len(labels) == 1 || len(labels) >= 2 && labels[len(labels)-2] == "example" && (last == "org" || last == "com" || last == "net")
}
