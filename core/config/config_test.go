package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

func TestTheSampleLoads(t *testing.T) {
	c, err := Load("sample.toml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "mx.example.org" || c.Queue.Lifetime.Std() != 120*time.Hour || c.Routes[0].To.String() != "maildir:/var/mail/{user}" ||
		c.Limits.MessageSize != 50<<20 || c.Admin.Socket != "/var/lib/wasmta/admin.sock" || !c.IsLocal("example.org") || len(c.RelayNetworks) != 2 {
		t.Errorf("%+v", c)
	}
	g := c.Plugins[0].Grant
	if g.KV.MB != 16 || g.DNS.Zones[0] != "*" || g.HTTP[0].URL != "https://rep.example/v1/" || c.Secrets["api_key"].File == "api_key" ||
		!filepath.IsAbs(c.Keys["dkim"].File) || !filepath.IsAbs(c.Tables[0].File) || c.Events[0].To != "log" || c.Events[0].File() != "" {
		t.Errorf("%+v", c)
	}
	if j, _ := c.Plugins[0].ConfigJSON(); string(j) != `{"domains":["spam.example"]}` {
		t.Errorf("%s", j)
	}
}

func TestDefaultsAreTheSamples(t *testing.T) {
	c, err := Parse([]byte("hostname='h.example'\n[[listener]]\naddress='127.0.0.1:2525'\n"), "x.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := Load("sample.toml")
	if c.Limits != s.Limits || c.Queue.Lifetime != s.Queue.Lifetime || c.Queue.WarnAfter != s.Queue.WarnAfter || len(c.Queue.Retry) != len(s.Queue.Retry) ||
		c.DataDir != s.DataDir || c.Log != s.Log || c.Trace != s.Trace || c.Admin != s.Admin || c.Sendmail != s.Sendmail || c.Listeners[0].Name != "mx" {
		t.Errorf("defaults differ from the sample:\n%+v\n%+v", c, s)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	c, err := Parse([]byte("hostname='h'\ndata_dir='data'\n[[listener]]\naddress='unix:l.sock'\n[[route]]\ndomains=['*']\nto='maildir:./mail//x/../{user}/'\n[[plugin]]\nname='p'\nmodule='policy'\n"), "q.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/etc/w/data" || c.Routes[0].To.Host != "/etc/w/mail/{user}" || c.Plugins[0].Module != "/etc/w/policy" ||
		c.Sendmail.Maildrop != "/etc/w/data/maildrop" || c.Admin.Socket != "/etc/w/data/admin.sock" || c.Listeners[0].Address != "unix:/etc/w/l.sock" {
		t.Errorf("%+v", c)
	}
}

func TestFaultsSayWhereAndWhatToDo(t *testing.T) {
	const head = "hostname = \"h.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n"
	for in, want := range map[string]string{
		head + "role = \"mta\"":                           `x.toml:4:8: `,
		head + "colour = 1":                               `x.toml:4:1: unknown key "listener.colour"`,
		head + "[[route]]\ndomains = [\"a b\"]\nto='mx'":  `x.toml:5:1: domain "a b"`,
		head + "[[route]]\ndomains = [\"*\"]":             `x.toml:4:3: a route needs to`,
		head + "[[route]]\ndomains=['*']\nto = 'ftp:x'":   `x.toml:6:6: `,
		head + "proxy_networks = ['192.0.2.1']":           `x.toml:4:1: proxy_networks are of use with proxy_protocol = true only`,
		head + "proxy_protocol = true":                    `x.toml:4:1: proxy_protocol needs proxy_networks`,
		head + "proxy_networks = ['192.0.2.1/8']":         `x.toml:4:19: `,
		head + "[limits]\nauth_failures = 0":              `x.toml:5:1: auth_failures must be at least 1`,
		head + "[limits]\nauth_delay = '1ms'":             `x.toml:5:1: limits.auth_delay must be at least 1s`,
		head + "auth_mechanisms = ['PLAIN', 'CRAM-MD5']":  `x.toml:4:1: auth_mechanisms "CRAM-MD5": write, each once, some of SCRAM`,
		head + "auth_mechanisms = ['PLAIN', 'PLAIN']":     `x.toml:4:1: auth_mechanisms "PLAIN": write, each once`,
		head + "auth_mechanisms = ['EXTERNAL']":           `x.toml:4:1: EXTERNAL is for clients with a certificate`,
		head + "auth_mechanisms = ['SCRAM-SHA-256-PLUS']": `x.toml:4:1: SCRAM-SHA-256-PLUS is bound to TLS`,
		head + "[limits]\nauth_failures_per_user = 0":     `x.toml:5:1: auth_failures_per_user must be at least 1`,
		head + "[trace]\nkeep = '1s'":                     `x.toml:5:1: keep must be between`,
		head + "[trace]\nmax_size = '1MB'":                `x.toml:5:1: max_size must be between 8MB`,
		head + "tls = \"starttls\"":                       `x.toml:4:1: tls = "starttls" needs a certificate`,
		head + "[[listener]]\naddress='x'":                `x.toml:4:3: the listener name "mx" is used twice`,
		head + "[[route]]\ndomains=['*']\nto='mx:x.example'\ncredential='c'\n[credentials]\nc = { user='u', secret='s' }\n[secrets]\ns = { value='x' }": `x.toml:7:1: a credential is for a server that the route names`,
		head + "[tls_report]\ncollect = false\nsend = true":                                                  `x.toml:6:1: send = true reports what was counted`,
		head + "[queue]\nretry = ['1h', '5x']":                                                               `x.toml:5:16: `,
		head + "[[plugin]]\nname='a b'\nmodule='x'":                                                          `x.toml:5:1: a plugin needs a name`,
		head + "[[plugin]]\nname='a'":                                                                        `x.toml:4:3: a plugin needs module`,
		head + "[[plugin]]\nname='a'\nmodule='x'\non_error='maybe'":                                          `x.toml:7:1: on_error = "maybe"`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nheaders='all'":                             `x.toml:8:1: headers = "all"`,
		head + "[[plugin]]\nname='a'\nmodule='x'\nlisteners=['nope']":                                        `x.toml:7:1: there is no listener called "nope"`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nkv={mb=-1}":                                `x.toml:8:1: kv = { mb = -1 } must be`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nkv={gb=1}":                                 `x.toml:8:5: unknown key`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\ndns={zones=['a b']}":                       `x.toml:8:1: zone "a b"`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nhttp=[{url='ftp://a/'}]":                   `x.toml:8:1: url = "ftp://a/": write https://`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nhttp=[{url='https://a/',methods=['get']}]": `x.toml:8:1: method "get": write GET`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nsign_keys=['k']":                           `x.toml:8:1: there is no key called "k"; add k = { file`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nsecrets=['s']":                             `x.toml:8:1: there is no secret called "s"; add s = { file`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\ntables=['t']":                              `x.toml:8:1: there is no table called "t"; add [[table]]`,
		head + "[[plugin]]\nname='a'\nmodule='x'\n[plugin.grant]\nevents=['t t']":                            `x.toml:8:1: topic "t t"`,
		head + "[[table]]\nname='t'\nfile='f'\ntype='regex'":                                                 `x.toml:7:1: type = "regex": write exact`,
		head + "[[table]]\nname='t'":                                                                         `x.toml:4:3: a table needs file`,
		head + "[[table]]\nname='t'\nfile='f'\n[[table]]\nname='t'\nfile='f'":                                `x.toml:8:1: the table name "t" is used twice`,
		head + "[[event]]\nto='syslog'\ntopics=['*']":                                                        `x.toml:5:1: to = "syslog": write "log"`,
		head + "[[event]]\nto='log'":                                                                         `x.toml:4:3: a sink for events needs topics`,
		head + "[secrets]\ns={}":                                                                             `x.toml:5:1: the secret "s" needs either`,
		head + "[secrets]\ns={file='a',value='b'}":                                                           `x.toml:5:1: the secret "s" needs either`,
		head + "[keys]\nk={}":                                    `x.toml:5:1: the key "k" needs file`,
		head + "[admin]\nhttp = '0.0.0.0:80'":                    `x.toml:5:1: http = "0.0.0.0:80" must be a loopback`,
		head + "[queue]\nlifetime = 5":                           `x.toml:5:1: queue.lifetime must be at least 1s; write a number and a unit`,
		head + "[queue]\nwarn_after = 0":                         `x.toml:5:1: queue.warn_after must be`,
		head + "[limits]\nrecipients = -1":                       `x.toml:5:1: recipients must be at least 1`,
		head + "[limits]\nsessions = \"many\"":                   `x.toml:5:12: limits.sessions: a whole number is expected here, not a string`,
		head + "[admin]\nhttp = '127.0.0.1:99999'":               `x.toml:5:1: http = `,
		head + "[dns]\nresolvers = ['dns.example']":              `x.toml:5:1: resolver "dns.example": write ADDRESS`,
		head + "[[listener]]\nname='b'\naddress='127.0.0.1:25'":  `x.toml:6:1: the address "127.0.0.1:25" is used by two listeners`,
		head + "[[listener]]\nname='b'\naddress='unix:'":         `x.toml:6:1: address "unix:" must be`,
		head + "[[listener]]\nname='b'\naddress='[::]:65536'":    `x.toml:6:1: address "[::]:65536" must be`,
		head + "[[route]]\ndomains=['*']\nto='maildir:/m/{usr}'": `x.toml:6:1: to = "maildir:/m/{usr}": the placeholders there are are {user}`,
		"local_domains = ['a..example']":                         `x.toml:1:1: domain "a..example": `,
		"relay_domains = ['a b']":                                `x.toml:1:1: domain "a b": `,
		"local_domains = 'a.example'":                            `x.toml:1:17: local_domains: a list in brackets is expected here, not a string`,
		"hostname = \"a b\"\n":                                   `x.toml:1:1: hostname "a b"`,
		"relay_networks = ['10.0.0.1/8']":                        `x.toml:1:19: `,
		"hostname = ":                                            `x.toml:1:1`,
		"":                                                       `there is no [[listener]]`,
	} {
		_, err := Parse([]byte(in), "x.toml", "/etc/w")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
}

func TestDomainsAreNormalised(t *testing.T) {
	c, err := Parse([]byte("hostname='h'\nlocal_domains=['Example.ORG']\nrelay_domains=['b\u00fccher.example']\n"+
		"[dns]\nresolvers=['192.0.2.53']\n[[listener]]\naddress='127.0.0.1:25'\n"), "x.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	if !c.IsLocal("example.org") || !c.IsRelay("xn--bcher-kva.example") || c.DNS.Resolvers[0] != "192.0.2.53:53" {
		t.Errorf("local %q, relay %q, resolvers %q", c.LocalDomains, c.RelayDomains, c.DNS.Resolvers)
	}
}

func TestAMissingFileIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "none.toml") || !strings.Contains(err.Error(), "--config") {
		t.Errorf("%v", err)
	}
}

func TestValues(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("1d12h")); err != nil || d.Std() != 36*time.Hour {
		t.Errorf("%v %v", d, err)
	}
	var z Size
	for in, want := range map[string]Size{"50MB": 50 << 20, "1 KiB": 1024, "7": 7, "2g": 2 << 30} {
		if err := z.UnmarshalText([]byte(in)); err != nil || z != want {
			t.Errorf("%q: %v %v", in, z, err)
		}
	}
	for _, in := range []string{"", "-1", "x", "9999999999G", "0"} {
		if err := z.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q: %v", in, z)
		}
	}
	var n NextHop
	if err := n.UnmarshalText([]byte("mx")); err != nil || n.Transport != mail.TransportMX {
		t.Errorf("%v %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	sample, _ := os.ReadFile("sample.toml")
	f.Add(sample)
	f.Add([]byte("[[a]]\n[a.b]\n[[a.c]]\nx=1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1<<14 {
			_, _ = Parse(data, "x.toml", "/")
		}
	})
}

func TestWhatAuthenticationGivesDependsOnTheRole(t *testing.T) {
	c, err := Parse([]byte(`relay_networks = ["10.0.0.0/8"]
[[listener]]
address = "0.0.0.0:25"
[[listener]]
role = "submission"
address = "[::1]:587"
auth_without_tls = true
proxy_protocol = true
[[listener]]
name = "other"
role = "submission"
address = "unix:s"
auth_relay = false
proxy_protocol = true
proxy_networks = ["192.0.2.1"]
`), "x.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	l := c.Listeners
	if *l[0].AuthRelay || !*l[1].AuthRelay || *l[2].AuthRelay || l[0].AuthWithoutTLS || !l[1].AuthWithoutTLS {
		t.Errorf("%+v", l)
	}
	if got := strings.Join(l[0].AuthMechanisms, " "); got != "PLAIN LOGIN" {
		t.Errorf("mechanisms: %s", got)
	}
	if l[0].Local() || !l[1].Local() || !l[2].Local() {
		t.Errorf("local: %v %v %v", l[0].Local(), l[1].Local(), l[2].Local())
	}
	if len(l[0].ProxyNetworks) != 0 || l[1].ProxyNetworks[0].String() != "10.0.0.0/8" || l[2].ProxyNetworks[0].String() != "192.0.2.1/32" {
		t.Errorf("%+v", l)
	}
	if c.Limits.AuthFailures != 3 || c.Limits.AuthDelay != 2*Second {
		t.Errorf("%+v", c.Limits)
	}
}

func TestTheHostnameAsADomain(t *testing.T) {
	c, err := Parse([]byte("hostname='MX.example.org'\nlocal_domains=['{hostname}', 'a.example']\n[[listener]]\naddress='127.0.0.1:25'\n"+
		"[[route]]\ndomains=['{hostname}', '.{hostname}']\nto='discard'\n"), "x.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	if !c.IsLocal("mx.example.org") || !c.IsLocal("a.example") || c.Routes[0].Domains[1] != ".MX.example.org" {
		t.Errorf("%q %q", c.LocalDomains, c.Routes[0].Domains)
	}
}

func TestACMEFaults(t *testing.T) {
	const head = "hostname = 'h.example'\n[[listener]]\naddress = '127.0.0.1:25'\n[acme]\naccept_terms = true\n"
	for in, want := range map[string]string{
		head + "domains=['mx.example.org']":                                                                  "[acme] cannot prove",
		head + "domains=['mx.example.org']\nhttp='80'":                                                       "x.toml:7:1: http = \"80\": write HOST:PORT",
		head + "domains=['localhost']\nhttp=':80'":                                                           `x.toml:6:1: the domain "localhost" cannot have`,
		head + "domains=['[192.0.2.1]']\nhttp=':80'":                                                         `x.toml:6:1: the domain "[192.0.2.1]" cannot have`,
		head + "domains=['../../etc']\nhttp=':80'":                                                           `x.toml:6:1: domain "../../etc"`,
		head + "domains=['a.example']\nhttp=':80'\ndirectory='ftp:x'":                                        "x.toml:8:1: directory",
		"hostname='h'\n[[listener]]\naddress='systemd:smtp'\n[[listener]]\nname='b'\naddress='systemd:smtp'": `x.toml:6:1: the address "systemd:smtp" is used by two listeners`,
	} {
		_, err := Parse([]byte(in), "x.toml", "/etc/w")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
}
