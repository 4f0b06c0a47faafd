package config

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/wasmta/wasmta/core/mail"
)

// MaxFileSize is the largest configuration file, in octets.
const MaxFileSize = 4 << 20

// Config is a configuration file with its defaults filled in.
type Config struct {
	Path string `toml:"-"` // of the file, absolute

	file string // as it was named, for errors
	at   map[string]position

	Hostname      string   `toml:"hostname"` // default: the machine's name
	DataDir       string   `toml:"data_dir"` // absolute after Load
	LocalDomains  []Domain `toml:"local_domains"`
	RelayDomains  []Domain `toml:"relay_domains"`
	RelayNetworks []Prefix `toml:"relay_networks"`

	Listeners []Listener        `toml:"listener"`
	TLS       TLS               `toml:"tls"`
	DNS       DNS               `toml:"dns"`
	Delivery  Delivery          `toml:"delivery"`
	Routes    []Route           `toml:"route"`
	Queue     Queue             `toml:"queue"`
	Limits    Limits            `toml:"limits"`
	Plugins   []Plugin          `toml:"plugin"`
	Tables    []Table           `toml:"table"`
	Events    []Event           `toml:"event"`
	Secrets   map[string]Secret `toml:"secrets"`
	Keys      map[string]Key    `toml:"keys"`
	Admin     Admin             `toml:"admin"`

	Certificates []Certificate         `toml:"certificate"`
	ACME         ACME                  `toml:"acme"`
	TLSReport    TLSReport             `toml:"tls_report"`
	Credentials  map[string]Credential `toml:"credentials"`
	Sources      []Source              `toml:"source"`
	Pools        []Pool                `toml:"pool"`
	Shapes       []Shape               `toml:"shape"`
	Notify       Notify                `toml:"notify"`
	Sendmail     Sendmail              `toml:"sendmail"`

	Trace Trace `toml:"trace"`
	Log   Log   `toml:"log"`
}

// Listener is one [[listener]].
type Listener struct {
	Name          string  `toml:"name"`
	Role          Role    `toml:"role"`           // mx | submission | lmtp
	Address       string  `toml:"address"`        // host:port, unix:PATH, or systemd:NAME
	TLS           TLSMode `toml:"tls"`            // none | starttls | implicit
	ProxyProtocol bool    `toml:"proxy_protocol"` // from ProxyNetworks only

	ProxyNetworks  []Prefix `toml:"proxy_networks"`   // default: relay_networks
	AuthWithoutTLS bool     `toml:"auth_without_tls"` // AUTH in clear text too
	AuthMechanisms []string `toml:"auth_mechanisms"`  // of SASL, in upper case; default: PLAIN, LOGIN
	AuthRelay      *bool    `toml:"auth_relay"`       // who is authenticated may send to anyone; not nil after Load

	BinaryMIME        bool     `toml:"binarymime"`         // take BODY=BINARYMIME, where all next hops take it too
	XClientNetworks   []Prefix `toml:"xclient_networks"`   // who may say XCLIENT; empty: nobody
	ClientCertificate string   `toml:"client_certificate"` // none | ask | require: for AUTH EXTERNAL
	ClientCA          string   `toml:"client_ca"`          // PEM file; absolute after Load
	Mode              string   `toml:"mode"`               // of a unix socket, octal; empty: as the umask says
}

// Local tells whether only this machine can reach the listener.
func (l *Listener) Local() bool {
	if strings.HasPrefix(l.Address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(l.Address)
	return err == nil && loopback(host)
}

// TLS is [tls].
type TLS struct {
	Certificate string `toml:"certificate"` // PEM file
	Key         string `toml:"key"`         // PEM file
}

// DNS is [dns].
type DNS struct {
	Resolvers []HostPort `toml:"resolvers"` // empty: /etc/resolv.conf
	TrustAD   bool       `toml:"trust_ad"`  // believe what they say of DNSSEC though they are not on this machine
}

// Delivery is [delivery].
type Delivery struct {
	DANE   bool `toml:"dane"`    // RFC 7672
	MTASTS bool `toml:"mta_sts"` // RFC 8461

	Pool string `toml:"pool"` // egress pool, where nobody names one; empty: any address of the machine

	DenyNetworks []Prefix `toml:"deny_networks"` // where MX records must not lead to, beside what can be no one's exchanger
}

// Route is one [[route]].
type Route struct {
	Domains    []string `toml:"domains"`    // exact, ".suffix", or "*"; empty: all, if another condition is given
	Senders    []string `toml:"senders"`    // addresses, domains, ".suffix", or "<>" for the null reverse-path; empty: all
	Recipients []string `toml:"recipients"` // regular expressions for the whole address; empty: all
	Listeners  []string `toml:"listeners"`  // that took the message; empty: all
	Credential string   `toml:"credential"` // name of [credentials]
	Pool       string   `toml:"pool"`       // name of a [[pool]]
	To         *NextHop `toml:"to"`         // not nil after Load
	TLS        string   `toml:"tls"`        // opportunistic | none | encrypt | verify
}

// Queue is [queue].
type Queue struct {
	Retry     []Duration `toml:"retry"`
	Lifetime  Duration   `toml:"lifetime"`
	WarnAfter Duration   `toml:"warn_after"`
}

// Limits is [limits].
type Limits struct {
	MessageSize        Size     `toml:"message_size"`
	Recipients         int      `toml:"recipients"`
	Sessions           int      `toml:"sessions"`
	SessionsPerAddress int      `toml:"sessions_per_address"`
	MinFree            Size     `toml:"min_free"`
	Deliveries         int      `toml:"deliveries"`
	DeliveriesPerHop   int      `toml:"deliveries_per_hop"`
	PluginMemory       Size     `toml:"plugin_memory"` // all instances together; 0: a quarter of RAM
	CommandTimeout     Duration `toml:"command_timeout"`
	AuthFailures       int      `toml:"auth_failures"` // of one session

	AuthFailuresPerAddress int      `toml:"auth_failures_per_address"` // or IPv6 /64, in AuthWindow
	AuthFailuresPerUser    int      `toml:"auth_failures_per_user"`    // in AuthWindow
	AuthWindow             Duration `toml:"auth_window"`

	AuthDelay Duration `toml:"auth_delay"` // before credentials are refused
}

// Plugin is one [[plugin]].
type Plugin struct {
	Name      string         `toml:"name"`
	Module    string         `toml:"module"` // absolute after Load
	Listeners []string       `toml:"listeners"`
	OnError   string         `toml:"on_error"`
	Tick      Duration       `toml:"tick"` // interval of the hook tick; 0: the module's manifest says
	Dev       bool           `toml:"dev"`
	Config    map[string]any `toml:"config"`
	Grant     Grant          `toml:"grant"`
	Limits    PluginLimits   `toml:"limits"`
}

// Grant is [plugin.grant].
type Grant struct {
	Envelope     string      `toml:"envelope"`
	Headers      string      `toml:"headers"`
	Body         string      `toml:"body"`
	AuthPassword bool        `toml:"auth_password"`
	AttrsRead    []string    `toml:"attrs_read"`
	KV           GrantKV     `toml:"kv"`
	DNS          GrantDNS    `toml:"dns"`
	HTTP         []GrantHTTP `toml:"http"`
	SignKeys     []string    `toml:"sign_keys"` // names of [keys]
	Secrets      []string    `toml:"secrets"`   // names of [secrets]
	Tables       []string    `toml:"tables"`    // names of [[table]]
	Events       []string    `toml:"events"`    // topics, or "*"
}

// GrantKV is kv = { mb = 16 }.
type GrantKV struct {
	MB int `toml:"mb"`
}

// GrantDNS is dns = { zones = ["*"] }.
type GrantDNS struct {
	Zones []string `toml:"zones"`
}

// GrantHTTP is one place that requests may go to.
type GrantHTTP struct {
	URL     string   `toml:"url"`
	Methods []string `toml:"methods"` // empty: GET
	Private bool     `toml:"private"`
}

// Table is one [[table]]: data for plugins.
type Table struct {
	Name string `toml:"name"`
	File string `toml:"file"` // absolute after Load
	Type string `toml:"type"` // exact | domain | cidr
}

// Event is one [[event]]: where events of plugins go.
type Event struct {
	Topics []string `toml:"topics"` // "*": all
	To     string   `toml:"to"`     // log, or file:PATH, absolute after Load
}

// File is the path of To; empty: the log.
func (e Event) File() string {
	path, _ := strings.CutPrefix(e.To, "file:")
	if path == e.To {
		return ""
	}
	return path
}

// Secret is one line of [secrets]: either of the two.
type Secret struct {
	File  string `toml:"file"` // absolute after Load
	Value string `toml:"value"`
}

// Key is one line of [keys].
type Key struct {
	File string `toml:"file"` // absolute after Load
}

// PluginLimits is [plugin.limits]; zero: the default.
type PluginLimits struct {
	MemoryMB   int `toml:"memory_mb"`
	CPUms      int `toml:"cpu_ms"`
	WallMs     int `toml:"wall_ms"`
	Concurrent int `toml:"concurrent"`
}

// ConfigJSON is the plugin's [plugin.config] as JSON; {} if there is none.
func (p Plugin) ConfigJSON() (json.RawMessage, error) {
	if len(p.Config) == 0 {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(p.Config)
}

// Admin is [admin].
type Admin struct {
	Socket string `toml:"socket"` // absolute after Load
	HTTP   string `toml:"http"`   // host:port; empty: off
}

// Log is [log].
type Log struct {
	Format string `toml:"format"` // line | json
	Level  string `toml:"level"`  // debug | info | warn | error
}

// Error is one fault in a configuration file.
type Error struct {
	File         string
	Line, Column int // 1-based; 0: not known
	What         string
}

// Error is file:line:column: what.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.What
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
}

// Load reads and checks a file. The error is all faults that were found,
// joined, each an [*Error].
func Load(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{File: path, What: fmt.Sprintf("cannot be read: %v; name another file with --config", errors.Unwrap(err))}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, &Error{File: path, What: fmt.Sprintf("cannot be read: %v", err)}
	}
	if len(data) > MaxFileSize {
		return nil, &Error{File: path, What: "is larger than 4 MiB"}
	}
	return Parse(data, path, filepath.Dir(abs))
}

// Parse is Load for data that was read before. path is named in errors, dir
// is what relative paths are relative to.
func Parse(data []byte, path, dir string) (*Config, error) {
	c := &Config{
		Delivery: Delivery{DANE: true, MTASTS: true},
		Queue:    Queue{Lifetime: 5 * Day, WarnAfter: 4 * Hour},
		Limits: Limits{
			MessageSize: 50 << 20, Recipients: 1000, Sessions: 10_000, SessionsPerAddress: 100, MinFree: 256 << 20,
			Deliveries: 200, DeliveriesPerHop: 20, CommandTimeout: 5 * Minute,
			AuthFailures: 3, AuthDelay: 2 * Second, AuthFailuresPerAddress: 20, AuthFailuresPerUser: 20, AuthWindow: 15 * Minute,
		},
		TLSReport: TLSReport{Collect: true},
		Trace:     Trace{Enabled: true, MaxSize: 256 << 20, Keep: 7 * Day},
		Notify:    Notify{MaxSize: 50 << 10},
	}
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, decodeError(err, path)
	}
	c.file, c.at = path, positions(data)
	p := checker{config: c}
	c.Path = filepath.Join(dir, filepath.Base(path))
	c.nameUs()
	// The decoder takes an array of strings as it is, without UnmarshalText.
	for i := range c.LocalDomains {
		p.read("local_domains", &c.LocalDomains[i], string(c.LocalDomains[i]))
	}
	for i := range c.RelayDomains {
		p.read("relay_domains", &c.RelayDomains[i], string(c.RelayDomains[i]))
	}
	for i := range c.ACME.Domains {
		p.read("acme.domains", &c.ACME.Domains[i], string(c.ACME.Domains[i]))
	}
	for i := range c.DNS.Resolvers {
		p.read("dns.resolvers", &c.DNS.Resolvers[i], string(c.DNS.Resolvers[i]))
	}
	c.defaults()
	c.resolve(dir)
	c.check(&p)
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *Error) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
		all := make([]error, len(p.errs))
		for i, e := range p.errs {
			all[i] = e
		}
		return nil, errors.Join(all...)
	}
	return c, nil
}

func decodeError(err error, path string) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for _, e := range strict.Errors {
			line, col := e.Position()
			all = append(all, &Error{path, line, col, fmt.Sprintf("unknown key %q; see sample.toml for the keys there are", strings.Join(e.Key(), "."))})
		}
		return errors.Join(all...)
	}
	var one *toml.DecodeError
	if errors.As(err, &one) {
		line, col := one.Position()
		what := strings.TrimPrefix(one.Error(), "toml: ")
		if m := wrongType.FindStringSubmatch(what); m != nil {
			what = fmt.Sprintf("%s is expected here, not %s %s", kindOf(m[2]), article(m[1]), m[1])
		}
		if key := strings.Join(one.Key(), "."); key != "" && !strings.Contains(what, key) {
			what = key + ": " + what
		}
		return &Error{path, line, col, what}
	}
	return &Error{File: path, What: strings.TrimPrefix(err.Error(), "toml: ")}
}

// wrongType is how the decoder speaks of its Go types.
var wrongType = regexp.MustCompile(`^cannot decode TOML (.+) into .*?([^ ]+)$`)

// kindOf says in the words of TOML what a Go type takes.
func kindOf(t string) string {
	switch {
	case strings.HasPrefix(t, "[]"):
		return "a list in brackets"
	case strings.HasPrefix(t, "int"):
		return "a whole number"
	case t == "bool":
		return "true or false"
	case oneOf(strings.TrimPrefix(t, "*"), "string", "config.NextHop", "config.Duration", "config.Size", "config.Prefix", "config.Role", "config.TLSMode", "config.Rate"):
		return "a text in quotes"
	}
	return "a table"
}

func article(word string) string {
	if strings.ContainsRune("aeiou", rune(word[0])) {
		return "an"
	}
	return "a"
}

// nameUs sets the hostname, and puts it where {hostname} stands: so one file does
// for many machines.
func (c *Config) nameUs() {
	if c.Hostname == "" {
		c.Hostname, _ = os.Hostname()
	}
	for i, d := range c.LocalDomains {
		c.LocalDomains[i] = Domain(strings.ReplaceAll(string(d), "{hostname}", c.Hostname))
	}
	for i := range c.Routes {
		for j, d := range c.Routes[i].Domains {
			c.Routes[i].Domains[j] = strings.ReplaceAll(d, "{hostname}", c.Hostname)
		}
	}
}

func (c *Config) defaults() {
	if c.DataDir == "" {
		c.DataDir = "/var/lib/wasmta"
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Name == "" {
			l.Name = l.Role.String()
		}
		if l.ProxyProtocol && len(l.ProxyNetworks) == 0 {
			l.ProxyNetworks = c.RelayNetworks
		}
		if len(l.AuthMechanisms) == 0 {
			l.AuthMechanisms = []string{"PLAIN", "LOGIN"}
		}
		if l.AuthRelay == nil {
			submission := l.Role == RoleSubmission
			l.AuthRelay = &submission
		}
	}
	if len(c.Queue.Retry) == 0 {
		c.Queue.Retry = []Duration{5 * Minute, 15 * Minute, 30 * Minute, Hour, 2 * Hour, 4 * Hour}
	}
	c.transportDefaults()
	def(&c.Admin.Socket, "{data_dir}/admin.sock")
	def(&c.Log.Format, "line")
	def(&c.Log.Level, "info")
}

func def[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// resolve makes paths absolute.
func (c *Config) resolve(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	abs(&c.DataDir)
	c.Admin.Socket = strings.ReplaceAll(c.Admin.Socket, "{data_dir}", c.DataDir)
	abs(&c.Admin.Socket)
	abs(&c.TLS.Certificate)
	abs(&c.TLS.Key)
	c.resolveTransport(abs)
	c.resolveSendmail(abs)
	for i := range c.Plugins {
		abs(&c.Plugins[i].Module)
	}
	for i := range c.Tables {
		abs(&c.Tables[i].File)
	}
	for i := range c.Events {
		if path := c.Events[i].File(); path != "" {
			abs(&path)
			c.Events[i].To = "file:" + path
		}
	}
	for name, s := range c.Secrets {
		abs(&s.File)
		c.Secrets[name] = s
	}
	for name, k := range c.Keys {
		abs(&k.File)
		c.Keys[name] = k
	}
	for i := range c.Routes {
		if to := c.Routes[i].To; to != nil && (to.Transport == mail.TransportMaildir || to.Transport == mail.TransportLMTPUnix) {
			abs(&to.Host)
			to.Host = filepath.Clean(to.Host) // deliver takes no "//" and no ".."
		}
	}
	for i := range c.Listeners {
		if path, ok := strings.CutPrefix(c.Listeners[i].Address, "unix:"); ok {
			abs(&path)
			c.Listeners[i].Address = "unix:" + path
		}
	}
}

// IsLocal tells whether domain (lower-case A-labels) is one of local_domains.
func (c *Config) IsLocal(domain string) bool { return hasDomain(c.LocalDomains, domain) }

// IsRelay tells whether domain is one of relay_domains.
func (c *Config) IsRelay(domain string) bool { return hasDomain(c.RelayDomains, domain) }

func hasDomain(list []Domain, domain string) bool {
	for _, d := range list {
		if string(d) == domain {
			return true
		}
	}
	return false
}

// Fault is an error at a key such as "listener.0.address"; a key that is not in
// the file is reported at its nearest parent.
func (c *Config) Fault(key, format string, args ...any) *Error {
	e := &Error{File: c.file, What: fmt.Sprintf(format, args...)}
	for {
		if pos, ok := c.at[key]; ok {
			e.Line, e.Column = pos.line, pos.column
			return e
		}
		dot := strings.LastIndexByte(key, '.')
		if dot < 0 {
			return e
		}
		key = key[:dot]
	}
}

// checker collects faults.
type checker struct {
	config *Config
	errs   []*Error
}

func (p *checker) fault(key, format string, args ...any) {
	p.errs = append(p.errs, p.config.Fault(key, format, args...))
}

// name checks the name of one of several, such as a plugin, and notes it in used.
func (p *checker) name(key, kind, name string, used map[string]bool) {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, notName) {
		p.fault(key+"name", "a %s needs a name of letters, digits, '-' and '_', at most 64", kind)
	} else if used[name] {
		p.fault(key+"name", "the %s name %q is used twice; give each its own", kind, name)
	}
	used[name] = true
}

func (p *checker) read(key string, v encoding.TextUnmarshaler, text string) {
	if err := v.UnmarshalText([]byte(text)); err != nil {
		p.fault(key, "%v", err)
	}
}

// maxUnixPath is what a socket's address holds on all systems, in octets.
const maxUnixPath = 100

func (c *Config) check(p *checker) {
	if _, err := mail.ParseDomain(c.Hostname); err != nil {
		p.fault("hostname", "hostname %q cannot be given in EHLO: %v", c.Hostname, err)
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, l := range c.Listeners {
		key := fmt.Sprintf("listener.%d.", i)
		if names[l.Name] {
			p.fault(key+"name", "the listener name %q is used twice; give each its own", l.Name)
		}
		names[l.Name] = true
		if l.Name == "" || strings.ContainsFunc(l.Name, notName) {
			p.fault(key+"name", "a listener's name must be letters, digits, '-' and '_'")
		}
		path, unix := strings.CutPrefix(l.Address, "unix:")
		switch _, port, err := net.SplitHostPort(l.Address); {
		case addresses[l.Address] && !strings.HasSuffix(l.Address, ":0"):
			p.fault(key+"address", "the address %q is used by two listeners; give each its own", l.Address)
		case strings.HasPrefix(l.Address, "systemd:"):
		case unix && path == "", !unix && (err != nil || !portNumber(port)):
			p.fault(key+"address", "address %q must be HOST:PORT (\":25\" for all addresses), unix:PATH or systemd:NAME", l.Address)
		case unix && len(path) > maxUnixPath:
			p.fault(key+"address", "the path %q is %d octets long; unix sockets allow about %d: set a shorter one", path, len(path), maxUnixPath)
		}
		addresses[l.Address] = true
		if l.TLS != TLSNone && c.TLS.Certificate == "" && len(c.Certificates) == 0 && len(c.ACME.Domains) == 0 {
			p.fault(key+"tls", "tls = %q needs a certificate: set certificate and key in [tls], or domains in [acme], or tls = \"none\"", l.TLS)
		}
		switch {
		case !l.ProxyProtocol && len(l.ProxyNetworks) > 0:
			p.fault(key+"proxy_networks", "proxy_networks are of use with proxy_protocol = true only: set it, or remove them")
		case l.ProxyProtocol && len(l.ProxyNetworks) == 0:
			p.fault(key+"proxy_protocol", "proxy_protocol needs proxy_networks = the addresses of your proxies: nobody else is believed")
		}
	}
	if len(c.Listeners) == 0 {
		p.fault("", "there is no [[listener]]: nothing would accept mail; add one with name, role and address")
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		p.fault("tls", "certificate and key belong together: set both or none")
	}
	for i, r := range c.Routes {
		key := fmt.Sprintf("route.%d.", i)
		if len(r.Domains)+len(r.Senders)+len(r.Recipients)+len(r.Listeners) == 0 {
			p.fault(key+"domains", "a route needs domains: a list of names, \".suffix\" or \"*\"; or senders, recipients or listeners")
		}
		for _, d := range r.Domains {
			if _, err := mail.ParseDomain(strings.TrimPrefix(d, ".")); d != "*" && err != nil {
				p.fault(key+"domains", "domain %q: %v; write a name, \".suffix\" or \"*\"", d, err)
			}
		}
		if r.To != nil && strings.ContainsAny(placeholders.Replace(r.To.Host), "{}") {
			p.fault(key+"to", "to = %q: the placeholders there are are {user} and {domain}", r.To.String())
		}
		if r.To == nil {
			p.fault(key+"to", "a route needs to = \"mx\", \"smtp:HOST:PORT\", \"lmtp:HOST:PORT\", \"lmtp:unix:PATH\", \"maildir:PATH\" or \"discard\"")
		}
		if _, ok := ParseTLSPolicy(r.TLS); !ok {
			p.fault(key+"tls", "tls = %q: write opportunistic, none, encrypt or verify", r.TLS)
		}
	}
	for i, d := range c.Queue.Retry {
		if d < Second {
			p.fault(fmt.Sprintf("queue.retry.%d", i), "a retry interval must be at least 1s")
		}
	}
	for _, v := range []struct {
		key string
		is  Duration
	}{{"queue.lifetime", c.Queue.Lifetime}, {"queue.warn_after", c.Queue.WarnAfter}, {"limits.command_timeout", c.Limits.CommandTimeout},
		{"limits.auth_delay", c.Limits.AuthDelay}, {"limits.auth_window", c.Limits.AuthWindow}} {
		if v.is < Second { // a bare number counts nanoseconds
			p.fault(v.key, "%s must be at least 1s; write a number and a unit in quotes, such as \"30s\", \"5m\", \"4h\", \"5d\"", v.key)
		}
	}
	for _, v := range []struct {
		key string
		is  int64
	}{
		{"message_size", int64(c.Limits.MessageSize)}, {"recipients", int64(c.Limits.Recipients)}, {"sessions", int64(c.Limits.Sessions)},
		{"sessions_per_address", int64(c.Limits.SessionsPerAddress)}, {"min_free", int64(c.Limits.MinFree)},
		{"deliveries", int64(c.Limits.Deliveries)}, {"deliveries_per_hop", int64(c.Limits.DeliveriesPerHop)},
		{"auth_failures", int64(c.Limits.AuthFailures)},
		{"auth_failures_per_address", int64(c.Limits.AuthFailuresPerAddress)}, {"auth_failures_per_user", int64(c.Limits.AuthFailuresPerUser)},
	} {
		if v.is < 1 {
			p.fault("limits."+v.key, "%s must be at least 1", v.key)
		}
	}
	if c.Limits.PluginMemory < 0 {
		p.fault("limits.plugin_memory", "plugin_memory must be a size, or left out for a quarter of the memory")
	}
	c.checkSendmail(p)
	c.checkTrace(p)
	c.checkTransport(p)
	c.checkSupplies(p)
	plugins := map[string]bool{}
	for i, g := range c.Plugins {
		key := fmt.Sprintf("plugin.%d.", i)
		p.name(key, "plugin", g.Name, plugins)
		if g.Module == "" {
			p.fault(key+"module", "a plugin needs module = the path of a .wasm file")
		}
		for _, l := range g.Listeners {
			if !names[l] && l != c.Sendmail.Listener {
				p.fault(key+"listeners", "there is no listener called %q", l)
			}
		}
		if !oneOf(g.OnError, "", "tempfail", "continue", "reject") {
			p.fault(key+"on_error", "on_error = %q: write tempfail, continue or reject", g.OnError)
		}
		if g.Tick != 0 && g.Tick < Second {
			p.fault(key+"tick", "tick must be at least 1s; write a number and a unit in quotes, such as \"1m\"")
		}
		for word, value := range map[string]string{"envelope": g.Grant.Envelope, "headers": g.Grant.Headers, "body": g.Grant.Body} {
			if !oneOf(value, "", "none", "read", "write") {
				p.fault(key+"grant."+word, "%s = %q: write none, read or write", word, value)
			}
		}
		c.checkGrant(p, key+"grant.", &g.Grant)
		for word, n := range map[string]int{"memory_mb": g.Limits.MemoryMB, "cpu_ms": g.Limits.CPUms, "wall_ms": g.Limits.WallMs, "concurrent": g.Limits.Concurrent} {
			if n < 0 || n > 1<<20 {
				p.fault(key+"limits."+word, "%s must be 1 to 1048576, or 0 for the default", word)
			}
		}
		if g.Limits.MemoryMB > 4096 {
			p.fault(key+"limits.memory_mb", "memory_mb must be at most 4096: a guest is 32-bit")
		}
	}
	if c.Admin.HTTP != "" {
		if host, port, err := net.SplitHostPort(c.Admin.HTTP); err != nil || !portNumber(port) || !loopback(host) {
			p.fault("admin.http", "http = %q must be a loopback address such as \"127.0.0.1:8025\": the control interface has no password", c.Admin.HTTP)
		}
	}
	if len(c.Admin.Socket) > maxUnixPath {
		p.fault("admin.socket", "the path of the socket is %d octets long; unix sockets allow about %d: set a shorter socket in [admin]", len(c.Admin.Socket), maxUnixPath)
	}
	if !oneOf(c.Log.Format, "line", "json") {
		p.fault("log.format", "format = %q: write line or json", c.Log.Format)
	}
	if !oneOf(c.Log.Level, "debug", "info", "warn", "error") {
		p.fault("log.level", "level = %q: write debug, info, warn or error", c.Log.Level)
	}
}

// checkSupplies looks at what plugins are given.
func (c *Config) checkSupplies(p *checker) {
	tables := map[string]bool{}
	for i, t := range c.Tables {
		key := fmt.Sprintf("table.%d.", i)
		p.name(key, "table", t.Name, tables)
		if t.File == "" {
			p.fault(key+"file", "a table needs file = the path of a text file with one \"key value\" in a line")
		}
		if !oneOf(t.Type, "", "exact", "domain", "cidr") {
			p.fault(key+"type", "type = %q: write exact, domain or cidr", t.Type)
		}
	}
	for i, e := range c.Events {
		key := fmt.Sprintf("event.%d.", i)
		if e.To != "log" && e.File() == "" {
			p.fault(key+"to", "to = %q: write \"log\" or \"file:PATH\"", e.To)
		}
		if len(e.Topics) == 0 {
			p.fault(key+"topics", "a sink for events needs topics: a list of them, or [\"*\"] for all")
		}
		checkTopics(p, key+"topics", e.Topics)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		key, s := "secrets."+name, c.Secrets[name]
		if name == "" || strings.ContainsFunc(name, notName) {
			p.fault(key, "a secret's name must be letters, digits, '-' and '_'")
		}
		if (s.File == "") == (s.Value == "") {
			p.fault(key, "the secret %q needs either file = the path of a file with it (which others cannot read), or value = the text itself", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Keys)) {
		key := "keys." + name
		if name == "" || strings.ContainsFunc(name, notName) {
			p.fault(key, "a key's name must be letters, digits, '-' and '_'")
		}
		if c.Keys[name].File == "" {
			p.fault(key, "the key %q needs file = the path of a PEM file, or for HMAC of a file with the secret", name)
		}
	}
}

// maxKV is the largest memory of one plugin, in MiB.
const maxKV = 64 << 10

// checkGrant looks at the capabilities of [plugin.grant].
func (c *Config) checkGrant(p *checker, key string, g *Grant) {
	if g.KV.MB < 0 || g.KV.MB > maxKV {
		p.fault(key+"kv", "kv = { mb = %d } must be 1 to %d MiB", g.KV.MB, maxKV)
	}
	for _, z := range g.DNS.Zones {
		if _, err := mail.ParseDomain(z); z != "*" && err != nil {
			p.fault(key+"dns", "zone %q: %v; write a domain, which stands for all below it too, or \"*\"", z, err)
		}
	}
	for _, h := range g.HTTP {
		if u, err := url.Parse(h.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			p.fault(key+"http", "url = %q: write https://HOST/PATH/ or http://HOST:PORT/PATH/", h.URL)
		}
		for _, m := range h.Methods {
			if m == "" || strings.ContainsFunc(m, func(r rune) bool { return r < 'A' || r > 'Z' }) {
				p.fault(key+"http", "method %q: write GET, POST or another in capital letters", m)
			}
		}
	}
	for _, name := range g.SignKeys {
		if _, ok := c.Keys[name]; !ok {
			p.fault(key+"sign_keys", "there is no key called %q; add %s = { file = \"PATH\" } to [keys]", name, name)
		}
	}
	for _, name := range g.Secrets {
		if _, ok := c.Secrets[name]; !ok {
			p.fault(key+"secrets", "there is no secret called %q; add %s = { file = \"PATH\" } to [secrets]", name, name)
		}
	}
	for _, name := range g.Tables {
		if !slices.ContainsFunc(c.Tables, func(t Table) bool { return t.Name == name }) {
			p.fault(key+"tables", "there is no table called %q; add [[table]] with name = %q, file and type", name, name)
		}
	}
	checkTopics(p, key+"events", g.Events)
}

func checkTopics(p *checker, key string, topics []string) {
	for _, t := range topics {
		if t != "*" && (t == "" || len(t) > 64 || strings.ContainsFunc(t, func(r rune) bool { return r != '.' && notName(r) })) {
			p.fault(key, "topic %q: write letters, digits, '.', '-' and '_', at most 64, or \"*\" for all", t)
		}
	}
}

// placeholders are those that a path of a route may have.
var placeholders = strings.NewReplacer("{user}", "", "{domain}", "")

func portNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func notName(r rune) bool {
	return !(r == '-' || r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
}

func oneOf(s string, list ...string) bool {
	for _, t := range list {
		if s == t {
			return true
		}
	}
	return false
}
