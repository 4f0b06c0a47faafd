package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// submission starts a server where mail needs AUTH, which the guest auth
// answers from a table: tim has the password "secret".
func submission(t *testing.T, grant string, listener ...string) (s *server, delivered func() []string) {
	t.Helper()
	to := freeAddr(t)
	var mu sync.Mutex
	var got []string
	newSink(t, to, func(_ string, content []byte) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(content))
	})
	s = newServer(t, "", fmt.Sprintf(`auth_delay = "1s"
[tls]
certificate = "cert.pem"
key = "key.pem"
[[route]]
domains = ["*"]
to = "smtp:%s"
[[plugin]]
name = "users"
module = %q
[plugin.grant]
tables = ["users"]
%s
[[table]]
name = "users"
file = "users.txt"
`, to, guest(t, "auth", ""), grant))
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("relay_networks = [\"127.0.0.0/8\"]\n"), nil, 1)
	text = bytes.Replace(text, []byte(`name = "mx"`), []byte("name = \"submission\"\nrole = \"submission\"\ntls = \"starttls\"\n"+strings.Join(listener, "\n")), 1)
	certificate, key := selfSigned(t)
	client, clientKey := selfSigned(t, "tim@src.test")
	for name, content := range map[string][]byte{"wasmta.toml": text, "cert.pem": certificate, "key.pem": key,
		"client.pem": client, "client.key": clientKey,
		"users.txt": []byte("tim $2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\nbroken nothash\nann " + keysOfPencil + "\n")} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(s.config), name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	return s, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
}

func selfSigned(t *testing.T, emails ...string) (certificate, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), EmailAddresses: emails, DNSNames: []string{"mx.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// login is a client behind STARTTLS that has said who it is.
func login(t *testing.T, s *server, authzid, user, password string) (*smtp.Client, error) {
	t.Helper()
	c, err := smtp.Dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Hello("client.test"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered in clear text")
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	if ok, list := c.Extension("AUTH"); !ok || list != "PLAIN LOGIN" {
		t.Errorf("AUTH %q", list)
	}
	return c, c.Auth(smtp.PlainAuth(authzid, user, password, "127.0.0.1"))
}

func wantAuth(t *testing.T, err error, want string) {
	t.Helper()
	if got := strings.ReplaceAll(fmt.Sprint(err), `"`, ""); !strings.HasPrefix(got, want) {
		t.Errorf("AUTH: %s, want %s", got, want)
	}
}

// A plugin that is granted the password lets users in, and nobody else; the
// password is in no log, however careless the plugin.
func TestAPluginAuthenticates(t *testing.T) {
	s, delivered := submission(t, "auth_password = true")
	c, err := login(t, s, "", "tim", "secret")
	wantAuth(t, err, "<nil>")
	send := func(c *smtp.Client) {
		t.Helper()
		// Its Mail asks for SMTPUTF8 without need, which the sink does not have.
		id, err := c.Text.Cmd("MAIL FROM:<tim@src.test>")
		if err != nil {
			t.Fatal(err)
		}
		c.Text.StartResponse(id)
		if _, _, err := c.Text.ReadResponse(250); err != nil {
			t.Fatal(err)
		}
		c.Text.EndResponse(id)
		if err := c.Rcpt("x@else.test"); err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("Subject: hello\r\n\r\nbody\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	send(c)
	c, err = login(t, s, "office", "tim", "secret")
	wantAuth(t, err, "<nil>")
	send(c)
	eventually(t, time.Minute, "both are delivered", func() bool { return len(delivered()) == 2 })
	for _, m := range delivered() {
		if !strings.Contains(m, " with ESMTPSA id ") {
			t.Errorf("%s", m)
		}
	}

	for _, x := range []struct{ authzid, user, password, want string }{
		{"", "tim", "wr0ng-pass", "535 5.7.8"},
		{"", "nobody", "secret", "535 5.7.8"},
		{"", "trap", "secret", "454 4.7.0"},
		{"", "broken", "secret", "454 4.7.0"},
	} {
		_, err := login(t, s, x.authzid, x.user, x.password)
		wantAuth(t, err, x.want)
	}
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer k.c.Close()
	if reply := k.ask("MAIL FROM:<tim@src.test>"); !strings.HasPrefix(reply, "530 5.7.0") {
		t.Errorf("%q", reply)
	}
	if reply := k.ask("AUTH PLAIN AHRpbQBzZWNyZXQ="); !strings.HasPrefix(reply, "538 5.7.11") {
		t.Errorf("%q", reply)
	}
	eventually(t, time.Minute, "the log has all of it", func() bool {
		log := s.log.String()
		for _, want := range []string{"sasl_method=PLAIN, sasl_username=tim", "sasl_method=PLAIN, sasl_username=office+by-tim",
			"routing for office+by-tim, tim by PLAIN, password not possible in this hook", "checking tim [password]",
			"SASL PLAIN authentication failed: no plugin accepts it, sasl_username=nobody", "panic: on purpose"} {
			if !strings.Contains(log, want) {
				return false
			}
		}
		return true
	})
	for _, secret := range []string{"secret", "wr0ng", "AHRpbQ"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, s.log.String())
		}
	}
	s.stop()
}

// Without the grant the same plugin sees names and no passwords, and lets
// nobody in.
func TestAPluginWithoutTheGrantAuthenticatesNobody(t *testing.T) {
	s, _ := submission(t, "")
	_, err := login(t, s, "", "tim", "secret")
	wantAuth(t, err, "535 5.7.8")
	eventually(t, time.Minute, "the plugin tells of it", func() bool { return strings.Contains(s.log.String(), "no password: not granted") })
	if strings.Contains(s.log.String(), "secret") {
		t.Errorf("the password is in the log:\n%s", s.log.String())
	}
	s.stop()
}

// Mail programs authenticate as users have them do it.
func TestClientsAuthenticate(t *testing.T) {
	s, delivered := submission(t, "auth_password = true")
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(s.config)
	mail := filepath.Join(dir, "mail.txt")
	if err := os.WriteFile(mail, []byte("From: tim@src.test\r\nTo: x@else.test\r\nSubject: hello\r\n\r\nbody\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `
import smtplib, ssl, sys
s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
s.starttls(context=ssl._create_unverified_context())
s.user, s.password = "tim", sys.argv[3]
s.ehlo()
try:
    s.auth(sys.argv[2], getattr(s, "auth_" + sys.argv[2].lower()))
    s.sendmail("tim@src.test", ["x@else.test"], open(sys.argv[4], "rb").read())
except smtplib.SMTPAuthenticationError as e:
    sys.exit(1)
s.quit()
`
	for _, c := range []struct {
		name string
		args func(mechanism, password string) []string
	}{
		{"swaks", func(m, p string) []string {
			return []string{"swaks", "--server", s.addr, "--from", "tim@src.test", "--to", "x@else.test", "--tls", "--auth", m, "--auth-user", "tim",
				"--auth-password", p, "--data", mail, "--hide-all"}
		}},
		{"curl", func(m, p string) []string {
			return []string{"curl", "-sS", "--ssl-reqd", "-k", "--url", "smtp://" + s.addr, "--login-options", "AUTH=" + m, "--user", "tim:" + p,
				"--mail-from", "tim@src.test", "--mail-rcpt", "x@else.test", "--upload-file", mail}
		}},
		{"python3", func(m, p string) []string { return []string{"python3", "-c", script, port, m, p, mail} }},
		{"msmtp", func(m, p string) []string {
			return []string{"sh", "-c", `exec msmtp -C /dev/null --host=127.0.0.1 --port="$0" --tls=on --tls-certcheck=off --auth="$1" --user=tim --passwordeval="echo $2" --from=tim@src.test x@else.test <"$3"`,
				port, strings.ToLower(m), p, mail}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.name); err != nil {
				t.Skipf("%s is not installed (Debian has a package of this name)", c.name)
			}
			for _, mechanism := range []string{"PLAIN", "LOGIN"} {
				before := len(delivered())
				run := func(password string) ([]byte, error) {
					args := c.args(mechanism, password)
					return exec.Command(args[0], args[1:]...).CombinedOutput()
				}
				if out, err := run("secret"); err != nil {
					t.Errorf("%s: %v\n%s", mechanism, err, out)
					continue
				}
				eventually(t, time.Minute, "the message is delivered", func() bool { return len(delivered()) == before+1 })
				if out, err := run("wr0ng-pass"); err == nil {
					t.Errorf("%s with a wrong password: sent\n%s", mechanism, out)
				}
			}
		})
	}
	if log := s.log.String(); strings.Contains(log, "wr0ng") || strings.Contains(log, "secret") {
		t.Errorf("a password is in the log:\n%s", log)
	}
	s.stop()
}

// TestCheckOfAuthentication: check loads the plugins, so it knows who answers,
// and with what.
func TestCheckOfAuthentication(t *testing.T) {
	module := filepath.Join(t.TempDir(), "p.wasm")
	const blind, nobody = "cannot see the password", "no plugin that is asked there answers the hook auth"
	for _, c := range []struct{ hook, rest, want, not string }{
		{"auth", "", blind, nobody},
		{"auth", "[plugin.grant]\nauth_password = true\n", "", blind},
		{"auth", "[plugin.grant]\nenvelope = \"write\"\n", "", blind},
		{"rcpt", "", nobody, blind},
	} {
		m := wasmbuild.New()
		m.Memory(1, 2)
		m.Func("mta1_init", wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(0))
		m.Func("mta1_on_"+c.hook, wasmbuild.None, wasmbuild.I32, wasmbuild.None, wasmbuild.I32Const(1))
		if err := os.WriteFile(module, m.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newServer(t, "", fmt.Sprintf("[[plugin]]\nname = \"p\"\nmodule = %q\n%s", module, c.rest))
		text, err := os.ReadFile(s.config)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte(`name = "mx"`), []byte("name = \"submission\"\nrole = \"submission\"\nauth_without_tls = true"), 1)
		if err := os.WriteFile(s.config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := s.run("check")
		if err != nil || !strings.Contains(out, c.want) || strings.Contains(out, c.not) || c.want == "" && strings.Contains(out, "authenticate") {
			t.Errorf("%s %q: %v\n%s", c.hook, c.rest, err, out)
		}
	}
}
