package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/mailtest"
)

// What check says of a configuration, one complaint in a line.
func check(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wasmta.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := &env{ctx: t.Context(), in: os.Stdin, out: &out, err: &out, loadPlugins: loadPlugins, inspect: inspectModule}
	_ = (&checkCmd{configFlag{Config: path}}).Run(e) // its complaints are what is looked at
	return out.String()
}

func TestCheckFindsWhatWouldHurt(t *testing.T) {
	dns := mailtest.ServeDNS(t, mailtest.Zone{Records: strings.Join([]string{
		"here.test. MX 10 mx.here.test.", "nat.test. MX 10 other.test.", "null.test. MX 0 .", "other.test. A 192.0.2.77",
		"self.test. MX 10 loop.test.", "loop.test. A 127.0.0.1", "",
	}, "\n")})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notify.txt"), []byte("[bounced]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := check(t, `hostname = "mx.here.test"
data_dir = "`+dir+`"
local_domains = ["here.test", "nat.test", "null.test", "self.test", "missing.test"]
[[listener]]
address = "0.0.0.0:25"
[dns]
resolvers = ["`+dns+`"]
[[route]]
domains = ["*"]
to = "discard"
[[source]]
name = "s"
addresses = ["192.0.2.10"]
[notify]
template = "`+filepath.Join(dir, "notify.txt")+`"
`)
	for _, want := range []string{
		`:4:3: warning: listener "mx" has no TLS: whoever is on the way reads its mail`,
		`:1:1: warning: hostname "mx.here.test" has no address in the DNS`,
		`:3:1: warning: mail for "nat.test" goes elsewhere: its MX is other.test`,
		`:3:1: warning: "null.test" has a null MX`,
		`:3:1: warning: "missing.test" is not in the DNS`,
		`:13:1: warning: source "s": this machine has no address 192.0.2.10 now`,
		`template "` + filepath.Join(dir, "notify.txt") + `": line 1: there is no section [bounced]`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %s:\n%s", want, out)
		}
	}
	for _, not := range []string{`"here.test" goes`, `"self.test"`} {
		if strings.Contains(out, not) {
			t.Errorf("check complains of %s:\n%s", not, out)
		}
	}
}

func TestCheckSaysThatTheEngineFellBack(t *testing.T) {
	c, err := config.Parse([]byte("hostname='h.test'\n[[listener]]\naddress='127.0.0.1:25'\n"), "x.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"compiler": 0, "interpreter": 1} {
		k := checker{cfg: c}
		if k.engine(kind); len(k.warnings) != want {
			t.Errorf("%s: %v", kind, k.warnings)
		}
	}
}

func TestCheckAsksNobodyAboutExamples(t *testing.T) {
	out := check(t, "hostname='mx.example.org'\ndata_dir='data'\nlocal_domains=['example.org', 'x.test']\n[[listener]]\naddress='0.0.0.0:25'\n[[route]]\ndomains=['*']\nto='discard'\n")
	if strings.Contains(out, "MX") || strings.Contains(out, "DNS") {
		t.Errorf("%s", out)
	}
}

func TestCheckOfWhatTheServerOpens(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := check(t, `hostname = "mx.here.test"
data_dir = "`+dir+`"
[[listener]]
name = "far"
address = "192.0.2.25:25"
[[listener]]
name = "early"
address = "unix:/run/wasmta-of-a-test/smtp"
[[listener]]
name = "nowhere"
address = "unix:`+dir+`/missing/smtp"
[[listener]]
name = "ca"
address = "127.0.0.1:2525"
tls = "starttls"
client_certificate = "ask"
client_ca = "`+empty+`"
[tls]
certificate = "none.pem"
key = "none.pem"
[acme]
domains = ["mx.here.test"]
accept_terms = true
http = ":80"
root = "missing.pem"
`)
	for _, want := range []string{
		`:5:1: warning: listener "far": this machine has no address 192.0.2.25 now`,
		`:8:1: warning: the directory "/run/wasmta-of-a-test" of the socket is not there now`,
		`:11:1: the directory "` + dir + `/missing" of the socket: `,
		`:17:1: "` + empty + `": it has no certificate in PEM`,
		`:25:1: "`, `missing.pem": open `,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %s:\n%s", want, out)
		}
	}
}

func TestCheckByRootIsNotCheckByTheServersUser(t *testing.T) {
	c, err := config.Parse([]byte("hostname='h.test'\n[[listener]]\naddress='127.0.0.1:25'\n[secrets]\ns={file='s'}\n"), "x.toml", "/etc/w")
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]int{0: 1, 999: 0} {
		k := checker{cfg: c}
		if k.readers(uid, func() bool { return true }); len(k.warnings) != want {
			t.Errorf("as %d: %v", uid, k.warnings)
		}
	}
}
