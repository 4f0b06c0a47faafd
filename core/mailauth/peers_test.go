package mailauth_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mailauth"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// peer runs a program with a message on its standard input. The test is skipped if probe, the same program with other
// arguments, does not run.
func peer(t *testing.T, pkg string, probe []string, input string, argv ...string) string {
	t.Helper()
	if out, err := exec.Command(probe[0], probe[1:]...).CombinedOutput(); err != nil {
		t.Skipf("install %s: %v: %.100s", pkg, err, out)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", pkg, err, out, stderr.Bytes())
	}
	return string(out)
}

// keyFile is the RSA key of the tests as OpenSSL writes it.
func keyFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())}
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const dkimpyVerify = `
import sys, dkim
zone = dict(a.split("|", 1) for a in sys.argv[1:])
def txt(name, timeout=5):
    return zone.get(name.decode().rstrip(".")).encode()
msg = sys.stdin.buffer.read()
d = dkim.DKIM(msg)
for i in range(2):
    print(d.verify(idx=i, dnsfunc=txt))
`

const dkimpySign = `
import sys, dkim
msg = sys.stdin.buffer.read()
canon = tuple(c.encode() for c in sys.argv[2:4])
sys.stdout.buffer.write(dkim.sign(msg, b"r", b"example.org", open(sys.argv[1], "rb").read(), canonicalize=canon) + msg)
`

// Debian's packages are for Debian's interpreter, which is not always the first in the path.
const python = "/usr/bin/python3"

func TestDKIMWithDkimpy(t *testing.T) {
	k, z := keys()
	const pkg = "python3-dkim, python3-nacl"
	probe := []string{python, "-c", "import dkim, nacl"}
	args := []string{python, "-c", dkimpyVerify}
	for name, rows := range z {
		args = append(args, name+"|"+strings.TrimPrefix(rows[0], "TXT "))
	}
	signed := sign(t, letter, mailauth.SignOptions{}, k...)
	if got := peer(t, pkg, probe, signed, args...); got != "True\nTrue\n" {
		t.Errorf("dkimpy says %q of\n%s", got, signed)
	}
	for _, canon := range [][2]string{{"simple", "simple"}, {"relaxed", "simple"}, {"relaxed", "relaxed"}, {"simple", "relaxed"}} {
		theirs := peer(t, pkg, probe, strings.ReplaceAll(letter, "\n", "\r\n"), python, "-c", dkimpySign, keyFile(t), canon[0], canon[1])
		if got := verify(t, z, theirs); results(got) != "pass" {
			t.Errorf("%v: %+v of\n%s", canon, got, theirs)
		}
	}
}

const mailDKIMVerify = `
use Mail::DKIM::Verifier; use Net::DNS;
my %zone = map { split /\|/, $_, 2 } @ARGV;
no warnings 'redefine';
*Mail::DKIM::DNS::query = sub { my ($name) = @_; $@ = ''; return exists $zone{$name} ? (Net::DNS::RR->new("$name. 300 IN TXT \"$zone{$name}\"")) : () };
my $v = Mail::DKIM::Verifier->new;
binmode STDIN;
while (<STDIN>) { s/\r?\n$//; $v->PRINT("$_\r\n") }
$v->CLOSE;
print $_->result, "\n" for $v->signatures;
`

const mailDKIMSign = `
use Mail::DKIM::Signer; use Mail::DKIM::PrivateKey;
my $s = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => $ARGV[1], Domain => 'example.org', Selector => 'r', KeyFile => $ARGV[0]);
binmode STDIN; binmode STDOUT;
my $msg = '';
while (<STDIN>) { s/\r?\n$//; $msg .= "$_\r\n"; $s->PRINT("$_\r\n") }
$s->CLOSE;
print $s->signature->as_string, "\r\n", $msg;
`

// Mail::DKIM of Debian 12 has no Ed25519.
func TestDKIMWithMailDKIM(t *testing.T) {
	k, z := keys()
	const pkg = "libmail-dkim-perl"
	probe := []string{"perl", "-MMail::DKIM::Verifier", "-e", "1"}
	record := "r._domainkey.example.org|" + strings.TrimPrefix(z["r._domainkey.example.org"][0], "TXT ")
	signed := sign(t, letter, mailauth.SignOptions{}, k[0])
	if got := peer(t, pkg, probe, signed, "perl", "-e", mailDKIMVerify, record); got != "pass\n" {
		t.Errorf("Mail::DKIM says %q of\n%s", got, signed)
	}
	for _, canon := range []string{"simple", "relaxed", "relaxed/simple", "simple/relaxed"} {
		theirs := peer(t, pkg, probe, letter, "perl", "-e", mailDKIMSign, keyFile(t), canon)
		if got := verify(t, z, theirs); results(got) != "pass" {
			t.Errorf("%s: %+v of\n%s", canon, got, theirs)
		}
	}
}

// TestDKIMWithOpenDKIM lets opendkim read the message as it does for its own tests, with the keys from a file.
func TestDKIMWithOpenDKIM(t *testing.T) {
	k, z := keys()
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	public := write("public", "r._domainkey.example.org "+strings.TrimPrefix(z["r._domainkey.example.org"][0], "TXT ")+"\n")
	conf := write("conf", "Mode v\nDomain example.net\nTestPublicKeys "+public+"\nAuthservID mx.example.net\nSyslog no\nAlwaysAddARHeader yes\n")
	signed := sign(t, letter, mailauth.SignOptions{}, k[0])
	msg := write("msg", signed)
	got := peer(t, "opendkim", []string{"opendkim", "-V"}, "", "opendkim", "-x", conf, "-t", msg, "-v", "-v")
	if !strings.Contains(got, "dkim=pass") {
		t.Errorf("opendkim says %s of\n%s", got, signed)
	}
}

// TestAllWithNodeMailauth asks mailauth of npm about SPF, DKIM and DMARC.
func TestAllWithNodeMailauth(t *testing.T) {
	k, z := keys()
	z["example.org"] = []string{"TXT v=spf1 ip4:192.0.2.0/24 -all"}
	z["_dmarc.example.org"] = []string{"TXT v=DMARC1; p=reject"}
	cache := map[string]map[string][][]string{}
	for name, rows := range z {
		cache[name] = map[string][][]string{"TXT": {{strings.TrimPrefix(rows[0], "TXT ")}}}
	}
	text, err := json.Marshal(cache)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dns.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	signed := sign(t, letter, mailauth.SignOptions{}, k...)
	out := peer(t, "mailauth of npm (npm install -g mailauth)", []string{"mailauth", "report", "--help"}, signed,
		"mailauth", "report", "-n", file, "-i", "192.0.2.1", "-e", "mta.example.org", "-f", "a@example.org", "-m", "mx.example.net")
	type status struct{ Status struct{ Result string } }
	var got struct {
		SPF, DMARC status
		DKIM       struct{ Results []status }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if d := got.DKIM.Results; got.SPF.Status.Result != "pass" || got.DMARC.Status.Result != "pass" || len(d) != 2 || d[0].Status.Result != "pass" || d[1].Status.Result != "pass" {
		t.Errorf("mailauth says %+v of\n%s", got, signed)
	}
}

// With the server's own resolver the three methods find what they find in memory.
func TestWithResolver(t *testing.T) {
	k, z := keys()
	_, key, _ := strings.Cut(z["e._domainkey.example.org"][0], " ")
	addr := mailtest.ServeDNS(t, mailtest.Zone{Records: `
example.org. IN MX 10 mx.example.org.
mx.example.org. IN A 192.0.2.1
example.org. IN TXT "v=spf1 mx include:spf.example.org ?all"
spf.example.org. IN TXT "v=spf1 ip4:198.51.100.0/24 -al" "l"
null.example. IN MX 0 .
null.example. IN TXT "v=spf1 mx -all"
implicit.example. IN A 192.0.2.1
implicit.example. IN TXT "v=spf1 mx -all"
name.example. IN TXT "v=spf1 ptr:example.org -all"
1.2.0.192.in-addr.arpa. IN PTR mx.example.org.
void.example. IN TXT "v=spf1 a:1.void.example a:2.void.example a:3.void.example +all"
down.example. IN TXT "v=spf1 a:fault.example +all"
e._domainkey.example.org. IN TXT "` + key + `"
_dmarc.example.org. IN TXT "v=DMARC1; p=none; np=reject"
`, Faults: map[string]mailtest.Fault{"fault.example": mailtest.ServFail}})
	r, err := resolve.New(resolve.Options{Servers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for sender, want := range map[string]mailauth.Result{
		"a@example.org": mailauth.Pass, "a@null.example": mailauth.Fail, "a@implicit.example": mailauth.Fail, "a@name.example": mailauth.Pass,
		"a@void.example": mailauth.PermError, "a@down.example": mailauth.TempError, "a@none.example": mailauth.None,
	} {
		if got := spf(t, r, sender); got.Result != want {
			t.Errorf("SPF of %s: %+v, want %s", sender, got, want)
		}
	}
	h, body := split(t, sign(t, letter, mailauth.SignOptions{}, k[1]))
	dkim, err := mailauth.VerifyDKIM(t.Context(), r, h, strings.NewReader(body), now)
	if err != nil || results(dkim) != "pass" {
		t.Fatalf("%v, %+v", err, dkim)
	}
	if got := mailauth.CheckDMARC(t.Context(), r, h, mailauth.SPF{}, dkim); got.Result != mailauth.Pass || !got.DKIMAligned {
		t.Errorf("%+v", got)
	}
	if got := mailauth.CheckDMARC(t.Context(), r, from(t, "a@gone.example.org"), mailauth.SPF{}, nil); got.Disposition != mailauth.Reject {
		t.Errorf("a name that does not exist: %+v", got)
	}
}
