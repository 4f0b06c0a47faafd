package main_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// keysOfPencil are those of RFC 7677 3, as PostgreSQL writes them.
const keysOfPencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

// scramAuth lets xdg-go's client speak through net/smtp.
type scramAuth struct {
	name string
	conv *scram.ClientConversation
}

func (a scramAuth) Start(*smtp.ServerInfo) (string, []byte, error) {
	first, err := a.conv.Step("")
	return a.name, []byte(first), err
}

func (a scramAuth) Next(challenge []byte, more bool) ([]byte, error) {
	if !more {
		if !a.conv.Valid() {
			return nil, fmt.Errorf("the server has not proved that it has the keys")
		}
		return nil, nil
	}
	out, err := a.conv.Step(string(challenge))
	return []byte(out), err
}

// saslAuth lets a client of go-sasl do so.
type saslAuth struct{ sasl.Client }

func (a saslAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return a.Client.Start() }

func (a saslAuth) Next(challenge []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	return a.Client.Next(challenge)
}

// externalAuth is RFC 4422 A; net/smtp has no way to send an empty response with
// the command.
type externalAuth struct{}

func (externalAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "EXTERNAL", nil, nil }
func (externalAuth) Next([]byte, bool) ([]byte, error)              { return nil, nil }

// TestMechanisms: one policy, and clients of all kinds.
func TestMechanisms(t *testing.T) {
	s, delivered := submission(t, "auth_password = true", `auth_mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"]`,
		`client_certificate = "ask"`, `client_ca = "client.pem"`)
	dir := filepath.Dir(s.config)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	connect := func(t *testing.T, shown ...tls.Certificate) (*smtp.Client, tls.ConnectionState) {
		t.Helper()
		c, err := smtp.Dial(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true, Certificates: shown}); err != nil {
			t.Fatal(err)
		}
		state, _ := c.TLSConnectionState()
		_, list := c.Extension("AUTH")
		want := "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2"
		if len(shown) > 0 {
			want += " EXTERNAL"
		}
		if list != want {
			t.Errorf("AUTH %s", list)
		}
		return c, state
	}

	c, _ := connect(t)
	wantAuth(t, c.Auth(smtp.PlainAuth("", "ann", "pencil", "127.0.0.1")), "<nil>")
	c, _ = connect(t)
	wantAuth(t, c.Auth(smtp.PlainAuth("", "ann", "pencil2", "127.0.0.1")), "535 5.7.8")
	for password, want := range map[string]string{"pencil": "<nil>", "pencil2": "535 5.7.8"} {
		k, err := scram.SHA256.NewClient("ann", password, "")
		if err != nil {
			t.Fatal(err)
		}
		c, _ = connect(t)
		wantAuth(t, c.Auth(scramAuth{"SCRAM-SHA-256", k.NewConversation()}), want)
		c, state := connect(t)
		exporter, err := scram.NewTLSExporterBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		wantAuth(t, c.Auth(scramAuth{"SCRAM-SHA-256-PLUS", k.NewConversationWithChannelBinding(exporter)}), want)
		if want != "<nil>" {
			continue
		}
		c, state = connect(t)
		endPoint, err := scram.NewTLSServerEndpointBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		wantAuth(t, c.Auth(scramAuth{"SCRAM-SHA-256-PLUS", k.NewConversationWithChannelBinding(endPoint)}), want)
		// The binding of another connection, as a proxy in the middle would have it.
		c, _ = connect(t)
		wantAuth(t, c.Auth(scramAuth{"SCRAM-SHA-256-PLUS", k.NewConversationWithChannelBinding(exporter)}), "535 5.7.8")
	}
	for token, want := range map[string]string{"t0ken-of-tim": "<nil>", "wr0ng-token": "invalid_token"} {
		c, _ = connect(t)
		if err := c.Auth(saslAuth{sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "tim@src.test", Token: token, Host: "127.0.0.1", Port: 587})}); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("OAUTHBEARER: %v, want %s", err, want)
		}
	}
	c, _ = connect(t, certificate)
	wantAuth(t, c.Auth(externalAuth{}), "<nil>")

	// Programs that people use.
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	mail := filepath.Join(dir, "mail.txt")
	if err := os.WriteFile(mail, []byte("From: tim@src.test\r\nTo: x@else.test\r\nSubject: hello\r\n\r\nbody\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	msmtp := func(mechanism, user string) func(string) []string {
		return func(secret string) []string {
			return []string{"sh", "-c", `exec msmtp -C /dev/null --host=127.0.0.1 --port="$0" --tls=on --tls-certcheck=off --auth="$1" --user="$2" --passwordeval="echo $3" --from=tim@src.test x@else.test <"$4"`,
				port, mechanism, user, secret, mail}
		}
	}
	curl := func(mechanism string) func(string) []string {
		return func(secret string) []string {
			return []string{"curl", "-sS", "--ssl-reqd", "-k", "--url", "smtp://" + s.addr, "--login-options", "AUTH=" + mechanism, "--user", "tim@src.test:",
				"--oauth2-bearer", secret, "--mail-from", "tim@src.test", "--mail-rcpt", "x@else.test", "--upload-file", mail}
		}
	}
	const python = `
import smtplib, ssl, sys
s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
s.starttls(context=ssl._create_unverified_context())
s.ehlo()
def token(challenge=None):
    return "user=tim@src.test\x01auth=Bearer " + sys.argv[2] + "\x01\x01" if challenge is None else ""
try:
    s.auth("XOAUTH2", token)
    s.sendmail("tim@src.test", ["x@else.test"], open(sys.argv[3], "rb").read())
except smtplib.SMTPAuthenticationError as e:
    sys.exit(1)
s.quit()
`
	for _, p := range []struct {
		tool, mechanism, needs string
		args                   func(secret string) []string
		good, bad              string
	}{
		{"msmtp", "SCRAM-SHA-256", "scram-sha-256", msmtp("scram-sha-256", "ann"), "pencil", "wr0ng-pass"},
		{"msmtp", "OAUTHBEARER", "oauthbearer", msmtp("oauthbearer", "tim@src.test"), "t0ken-of-tim", "wr0ng-token"},
		{"msmtp", "XOAUTH2", "xoauth2", msmtp("xoauth2", "tim@src.test"), "t0ken-of-tim", "wr0ng-token"},
		{"msmtp", "EXTERNAL", "external", func(string) []string {
			return []string{"sh", "-c", `exec msmtp -C /dev/null --host=127.0.0.1 --port="$0" --tls=on --tls-certcheck=off --auth=external --user=tim@src.test --tls-cert-file="$1/client.pem" --tls-key-file="$1/client.key" --from=tim@src.test x@else.test <"$2"`,
				port, dir, mail}
		}, "", ""},
		{"curl", "OAUTHBEARER", "", curl("OAUTHBEARER"), "t0ken-of-tim", "wr0ng-token"},
		{"python3", "XOAUTH2", "", func(secret string) []string { return []string{"python3", "-c", python, port, secret, mail} }, "t0ken-of-tim", "wr0ng-token"},
	} {
		t.Run(p.tool+" "+p.mechanism, func(t *testing.T) {
			if _, err := exec.LookPath(p.tool); err != nil {
				t.Skipf("%s is not installed (Debian has a package of this name)", p.tool)
			}
			if out, err := exec.Command(p.tool, "--version").CombinedOutput(); err == nil && !strings.Contains(string(out), p.needs) {
				t.Skipf("this %s is built without %s", p.tool, p.mechanism)
			}
			run := func(secret string) ([]byte, error) {
				args := p.args(secret)
				return exec.Command(args[0], args[1:]...).CombinedOutput()
			}
			before := len(delivered())
			if out, err := run(p.good); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			eventually(t, time.Minute, "the message is delivered", func() bool { return len(delivered()) == before+1 })
			if p.bad == "" {
				return
			}
			if out, err := run(p.bad); err == nil {
				t.Errorf("with a wrong one: sent\n%s", out)
			}
		})
	}
	log := s.log.String()
	for _, want := range []string{"checking token [password]", "SASL SCRAM-SHA-256-PLUS authentication failed: the channel binding is not that of this connection, sasl_username=ann",
		"SASL SCRAM-SHA-256 authentication failed: the proof does not fit the keys, sasl_username=ann",
		"SASL OAUTHBEARER authentication failed: 535 5.7.8"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q", want)
		}
	}
	for _, secret := range []string{"pencil", "wr0ng", "t0ken", "WG5d8oPm3Otc", base64.StdEncoding.EncodeToString([]byte("pencil"))} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
	s.stop()
}
