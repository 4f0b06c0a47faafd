package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// Certificate is one [[certificate]]: one more than that of [tls], chosen by the
// name that a client asks for (SNI, RFC 6066 3).
type Certificate struct {
	Names       []string `toml:"names"` // "mx.example.org", "*.example.org"; empty: those that it is for
	Certificate string   `toml:"certificate"`
	Key         string   `toml:"key"`
}

// ACME is [acme]: certificates from an authority (RFC 8555).
type ACME struct {
	Directory   string   `toml:"directory"` // URL; default: Let's Encrypt
	Email       string   `toml:"email"`
	Domains     []Domain `toml:"domains"` // empty: ACME is not used
	AcceptTerms bool     `toml:"accept_terms"`
	HTTP        string   `toml:"http"` // host:port where HTTP-01 is answered; empty: TLS-ALPN-01 only
	Root        string   `toml:"root"` // PEM file of who signed the directory's certificate; empty: the system's
}

// TLSReport is [tls_report] (RFC 8460).
type TLSReport struct {
	Collect      bool   `toml:"collect"`
	Send         bool   `toml:"send"`
	From         string `toml:"from"`         // default: postmaster at hostname
	Organization string `toml:"organization"` // default: hostname
	Contact      string `toml:"contact"`      // default: From
}

// Credential is one line of [credentials]: who we are at a next hop.
type Credential struct {
	User       string   `toml:"user"`
	Secret     string   `toml:"secret"`     // name of [secrets]: the password, or the token
	Mechanisms []string `toml:"mechanisms"` // in order of liking; empty: the safest that both sides know
}

// Source is one [[source]]: where connections to next hops come from.
type Source struct {
	Name      string   `toml:"name"`
	Addresses []string `toml:"addresses"` // of this machine, at most one of each family
	Helo      string   `toml:"helo"`      // empty: hostname
}

// Pool is one [[pool]]: sources that are used in turn.
type Pool struct {
	Name    string       `toml:"name"`
	Sources []PoolSource `toml:"sources"`
}

// PoolSource is a source in a pool.
type PoolSource struct {
	Name   string `toml:"name"`
	Weight int    `toml:"weight"` // 1 to 1000; 0: 1
}

// Rate is a number of events in a time, such as "100/1m".
type Rate struct {
	Count int
	Per   Duration
}

// UnmarshalText reads the value.
func (r *Rate) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("rate %q: write a number, a slash and a time, such as \"100/1m\" or \"5000/1h\"", text)
	n, per, ok := strings.Cut(string(text), "/")
	if !ok {
		return bad
	}
	if _, err := fmt.Sscanf(n+"\n", "%d\n", &r.Count); err != nil || r.Count < 1 || r.Count > 1<<30 {
		return bad
	}
	if strings.Trim(per, "smhd") == "" { // "100/m"
		per = "1" + per
	}
	if err := r.Per.UnmarshalText([]byte(per)); err != nil || r.Per > Day {
		return bad
	}
	return nil
}

// Shape is one [[shape]]: limits of next hops. The first that matches is used;
// what it leaves out is as in [limits] and [delivery].
type Shape struct {
	Domains  []string `toml:"domains"`   // patterns, as of a route, of the domain of an mx next hop
	NextHops []string `toml:"next_hops"` // as "to" of a route, for the others; "*": all

	Connections int      `toml:"connections"`             // at once
	Messages    int      `toml:"messages_per_connection"` // then a new connection
	Recipients  int      `toml:"recipients"`              // of one transaction
	Rate        *Rate    `toml:"rate"`                    // messages handed over
	Adaptive    *bool    `toml:"adaptive"`                // default true: fewer connections while it defers, more while it takes
	Pool        string   `toml:"pool"`                    // egress pool, where neither route nor plugin names one
	Suspended   bool     `toml:"suspended"`               // nothing is sent there
	On          []OnText `toml:"on"`                      // what replies mean
}

// OnText is what follows from a reply.
type OnText struct {
	Reply   string   `toml:"reply"`   // regular expression for "421 4.7.0 Text"
	Suspend Duration `toml:"suspend"` // the next hop, or of an egress pool the source, for so long
}

// Notify is [notify]: notifications that we make.
type Notify struct {
	Template string `toml:"template"` // text file; empty: the built-in text
	Delayed  *bool  `toml:"delayed"`  // default true
	// Strangers says of what senders are notified who neither authenticated nor
	// are of relay_networks: all | some | none.
	Strangers string `toml:"strangers"`
	MaxSize   Size   `toml:"max_size"` // of the returned message, in octets; larger ones are returned as headers
}

// defaultDirectory is Let's Encrypt's.
const defaultDirectory = "https://acme-v02.api.letsencrypt.org/directory"

func (c *Config) transportDefaults() {
	yes := true
	if len(c.ACME.Domains) > 0 {
		def(&c.ACME.Directory, defaultDirectory)
	}
	def(&c.TLSReport.From, "postmaster@"+c.Hostname)
	def(&c.TLSReport.Organization, c.Hostname)
	def(&c.TLSReport.Contact, c.TLSReport.From)
	for i := range c.Shapes {
		if c.Shapes[i].Adaptive == nil {
			c.Shapes[i].Adaptive = &yes
		}
	}
	if c.Notify.Delayed == nil {
		c.Notify.Delayed = &yes
	}
	def(&c.Notify.Strangers, "some")
	for i := range c.Pools {
		for j := range c.Pools[i].Sources {
			def(&c.Pools[i].Sources[j].Weight, 1)
		}
	}
}

func (c *Config) resolveTransport(abs func(*string)) {
	for i := range c.Certificates {
		abs(&c.Certificates[i].Certificate)
		abs(&c.Certificates[i].Key)
	}
	for i := range c.Listeners {
		abs(&c.Listeners[i].ClientCA)
	}
	abs(&c.ACME.Root)
	abs(&c.Notify.Template)
}

// saslServer are the mechanisms by which clients can authenticate with us.
var saslServer = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"}

// saslClient are the mechanisms that we can authenticate with.
var saslClient = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"}

func (c *Config) checkTransport(p *checker) {
	for i, l := range c.Listeners {
		key := fmt.Sprintf("listener.%d.", i)
		if !oneOf(l.ClientCertificate, "", "none", "ask", "require") {
			p.fault(key+"client_certificate", "client_certificate = %q: write none, ask or require", l.ClientCertificate)
		}
		if (l.ClientCA != "") != oneOf(l.ClientCertificate, "ask", "require") {
			p.fault(key+"client_certificate", "client_certificate and client_ca belong together: certificates are believed that one of client_ca signed")
		}
		for k, m := range l.AuthMechanisms {
			switch at := key + "auth_mechanisms"; {
			case !slices.Contains(saslServer, m) || slices.Contains(l.AuthMechanisms[:k], m):
				p.fault(at, "auth_mechanisms %q: write, each once, some of %s", m, strings.Join(saslServer, " "))
			case m == "EXTERNAL" && l.ClientCA == "":
				p.fault(at, "EXTERNAL is for clients with a certificate: the listener needs client_certificate and client_ca")
			case m == "SCRAM-SHA-256-PLUS" && l.TLS == TLSNone:
				p.fault(at, "SCRAM-SHA-256-PLUS is bound to TLS, which the listener does not have: set tls, or leave it out")
			}
		}
		if name, ok := strings.CutPrefix(l.Address, "systemd:"); ok && (name == "" || strings.ContainsFunc(name, func(r rune) bool { return r != '.' && notName(r) })) {
			p.fault(key+"address", "address %q: write systemd: and the FileDescriptorName= of the socket unit", l.Address)
		}
		if l.Mode != "" && (len(l.Mode) != 4 || strings.Trim(l.Mode, "01234567") != "" || !strings.HasPrefix(l.Address, "unix:")) {
			p.fault(key+"mode", "mode = %q: write four octal digits such as \"0660\", for a listener on unix:PATH", l.Mode)
		}
	}
	for i, t := range c.Certificates {
		key := fmt.Sprintf("certificate.%d.", i)
		if t.Certificate == "" || t.Key == "" {
			p.fault(key+"certificate", "a [[certificate]] needs certificate and key: PEM files")
		}
		for _, n := range t.Names {
			if _, err := mail.ParseDomain(strings.TrimPrefix(n, "*.")); err != nil {
				p.fault(key+"names", "name %q: %v; write a host name, or \"*.example.org\"", n, err)
			}
		}
	}
	if len(c.ACME.Domains) > 0 {
		if !c.ACME.AcceptTerms {
			p.fault("acme.accept_terms", "[acme] needs accept_terms = true: read the terms of the authority at %s", c.ACME.Directory)
		}
		if !strings.HasPrefix(c.ACME.Directory, "https://") {
			p.fault("acme.directory", "directory = %q: write the https:// address of the authority's directory", c.ACME.Directory)
		}
		if c.ACME.HTTP != "" {
			if _, port, err := net.SplitHostPort(c.ACME.HTTP); err != nil || !portNumber(port) {
				p.fault("acme.http", "http = %q: write HOST:PORT; the authority connects to port 80", c.ACME.HTTP)
			}
		} else if !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.TLS == TLSImplicit && l.ClientCA == "" }) {
			p.fault("acme.http", "[acme] cannot prove that the domains are ours: set http = \":80\", or have a listener with tls = \"implicit\" at port 443")
		}
		for _, d := range c.ACME.Domains {
			if !strings.Contains(string(d), ".") || strings.HasPrefix(string(d), "[") {
				p.fault("acme.domains", "the domain %q cannot have a certificate of an authority: write a host name with all its labels", d)
			}
		}
	} else if c.ACME.AcceptTerms || c.ACME.Email != "" || c.ACME.HTTP != "" {
		p.fault("acme", "[acme] without domains does nothing: name the domains that certificates are wanted for, or remove it")
	}
	if _, err := mail.ParseMailbox(c.TLSReport.From); err != nil && c.TLSReport.Send {
		p.fault("tls_report.from", "from = %q: %v; write an address of ours", c.TLSReport.From, err)
	}
	if c.TLSReport.Send && !c.TLSReport.Collect {
		p.fault("tls_report.send", "send = true reports what was counted: it needs collect = true")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Credentials)) {
		key, v := "credentials."+name, c.Credentials[name]
		if name == "" || strings.ContainsFunc(name, notName) {
			p.fault(key, "a credential's name must be letters, digits, '-' and '_'")
		}
		if _, ok := c.Secrets[v.Secret]; !ok && !slices.Equal(v.Mechanisms, []string{"EXTERNAL"}) {
			p.fault(key, "the credential %q needs secret = the name of one of [secrets], with the password", name)
		}
		for _, m := range v.Mechanisms {
			if !oneOf(m, saslClient...) {
				p.fault(key, "mechanism %q: write %s", m, strings.Join(saslClient, ", "))
			}
		}
	}
	c.checkEgress(p)
	for i, r := range c.Routes {
		key := fmt.Sprintf("route.%d.", i)
		if _, ok := c.Credentials[r.Credential]; r.Credential != "" && !ok {
			p.fault(key+"credential", "there is no credential called %q; add %s = { user = \"NAME\", secret = \"SECRET\" } to [credentials]", r.Credential, r.Credential)
		}
		if r.Credential != "" && r.To != nil && r.To.Transport != mail.TransportSMTP && r.To.Transport != mail.TransportLMTP && r.To.Transport != mail.TransportLMTPUnix {
			p.fault(key+"credential", "a credential is for a server that the route names: write to = \"smtp:HOST:PORT\" or \"lmtp:...\"; who changes MX records must not be told a secret")
		}
		c.checkPool(p, key+"pool", r.Pool)
		for _, re := range r.Recipients {
			if _, err := regexp.Compile(re); err != nil {
				p.fault(key+"recipients", "recipients %q: %v; write a regular expression for the whole address (RE2)", re, err)
			}
		}
		for _, l := range r.Listeners {
			if !slices.ContainsFunc(c.Listeners, func(v Listener) bool { return v.Name == l }) && l != c.Sendmail.Listener {
				p.fault(key+"listeners", "there is no listener called %q", l)
			}
		}
	}
	c.checkShapes(p)
	if !oneOf(c.Notify.Strangers, "all", "some", "none") {
		p.fault("notify.strangers", "strangers = %q: write all, some or none", c.Notify.Strangers)
	}
	if c.Notify.MaxSize < 1 || c.Notify.MaxSize > 1<<20 {
		p.fault("notify.max_size", "max_size must be 1 octet to 1MB")
	}
}

func (c *Config) checkEgress(p *checker) {
	sources := map[string]bool{}
	for i, s := range c.Sources {
		key := fmt.Sprintf("source.%d.", i)
		p.name(key, "source", s.Name, sources)
		var have [2]bool
		for _, text := range s.Addresses {
			a, err := netip.ParseAddr(text)
			six := 0
			if a.Is6() {
				six = 1
			}
			switch {
			case err != nil || a.IsUnspecified() || a.IsMulticast() || a.Is4In6():
				p.fault(key+"addresses", "address %q: write an address of this machine", text)
			case have[six]:
				p.fault(key+"addresses", "a source has at most one IPv4 and one IPv6 address: make another source of %q", text)
			}
			have[six] = true
		}
		if len(s.Addresses) == 0 {
			p.fault(key+"addresses", "a source needs addresses: those of this machine that connections come from")
		}
		if s.Helo != "" {
			if _, err := mail.ParseDomain(s.Helo); err != nil {
				p.fault(key+"helo", "helo %q: %v", s.Helo, err)
			}
		}
	}
	pools := map[string]bool{}
	for i, g := range c.Pools {
		key := fmt.Sprintf("pool.%d.", i)
		p.name(key, "pool", g.Name, pools)
		if len(g.Sources) == 0 {
			p.fault(key+"sources", "a pool needs sources = [{ name = \"SOURCE\", weight = 1 }]")
		}
		for _, s := range g.Sources {
			if !sources[s.Name] {
				p.fault(key+"sources", "there is no source called %q; add [[source]] with name = %q and addresses", s.Name, s.Name)
			}
			if s.Weight < 1 || s.Weight > 1000 {
				p.fault(key+"sources", "the weight of %q must be 1 to 1000", s.Name)
			}
		}
	}
	c.checkPool(p, "delivery.pool", c.Delivery.Pool)
}

func (c *Config) checkPool(p *checker, key, name string) {
	if name != "" && !slices.ContainsFunc(c.Pools, func(g Pool) bool { return g.Name == name }) {
		p.fault(key, "there is no pool called %q; add [[pool]] with name = %q and sources", name, name)
	}
}

func (c *Config) checkShapes(p *checker) {
	for i, s := range c.Shapes {
		key := fmt.Sprintf("shape.%d.", i)
		if len(s.Domains) == 0 && len(s.NextHops) == 0 {
			p.fault(key+"domains", "a shape needs domains or next_hops: whom its limits are for")
		}
		for _, d := range s.Domains {
			if _, err := mail.ParseDomain(strings.TrimPrefix(d, ".")); d != "*" && err != nil {
				p.fault(key+"domains", "domain %q: %v; write a name, \".suffix\" or \"*\"", d, err)
			}
		}
		for _, h := range s.NextHops {
			if _, err := mail.ParseNextHop(h); h != "*" && err != nil {
				p.fault(key+"next_hops", "%v, or \"*\"", err)
			}
		}
		for word, n := range map[string]int{"connections": s.Connections, "messages_per_connection": s.Messages, "recipients": s.Recipients} {
			if n < 0 || n > 1<<20 {
				p.fault(key+word, "%s must be 1 to 1048576", word)
			}
		}
		for _, on := range s.On {
			if _, err := regexp.Compile(on.Reply); err != nil || on.Reply == "" {
				p.fault(key+"on", "reply %q: write a regular expression (RE2) for \"421 4.7.0 Text\"", on.Reply)
			}
			if on.Suspend < Second || on.Suspend > Day {
				p.fault(key+"on", "suspend must be 1s to 1d")
			}
		}
		c.checkPool(p, key+"pool", s.Pool)
	}
}
