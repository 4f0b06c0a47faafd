package deliver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
)

const authUser, authSecret = "relay@us.test", "correct horse, battery=staple"

// judge is the server's side of every mechanism. It returns 235 for the user and the secret above.
func judge(t *testing.T) func(*mailtest.Auth) string {
	client, err := scram.SHA256.NewClient(authUser, authSecret, "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt of the test", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		if user != authUser {
			return scram.StoredCredentials{}, fmt.Errorf("no such user")
		}
		return stored, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(a *mailtest.Auth) string {
		ok := false
		switch a.Mechanism {
		case "PLAIN":
			ok = string(a.Initial) == "\x00"+authUser+"\x00"+authSecret
		case "LOGIN":
			user, _ := a.Challenge([]byte("User Name\x00"))
			secret, _ := a.Challenge([]byte("Password\x00"))
			ok = a.Initial == nil && string(user) == authUser && string(secret) == authSecret
		case "XOAUTH2":
			if ok = string(a.Initial) == "user="+authUser+"\x01auth=Bearer "+authSecret+"\x01\x01"; !ok {
				a.Challenge([]byte(`{"status":"401"}`))
			}
		case "OAUTHBEARER":
			if ok = strings.HasPrefix(string(a.Initial), "n,a="+authUser+",\x01host=") && strings.HasSuffix(string(a.Initial), "\x01auth=Bearer "+authSecret+"\x01\x01"); !ok {
				if r, _ := a.Challenge([]byte(`{"status":"invalid_token"}`)); string(r) != "\x01" {
					t.Errorf("%q", r)
				}
			}
		case "EXTERNAL":
			ok = a.State != nil && len(a.State.PeerCertificates) > 0 && string(a.Initial) == authUser
		case "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS":
			conv := server.NewConversation()
			if a.Mechanism == "SCRAM-SHA-256-PLUS" {
				b, err := scram.NewTLSExporterBinding(a.State)
				if err != nil {
					t.Error(err)
				}
				conv = server.NewConversationWithChannelBindingRequired(b)
			}
			msg, err := conv.Step(string(a.Initial))
			for err == nil {
				r, more := a.Challenge([]byte(msg))
				if !more || len(r) == 0 {
					break
				}
				msg, err = conv.Step(string(r))
			}
			ok = err == nil && conv.Valid()
		}
		if ok {
			return "235 2.7.0 Welcome"
		}
		return "535 5.7.8 No: mistaken-secret"
	}
}

func TestAuth(t *testing.T) {
	config, roots := certificate(t, "mx.test")
	config.ClientAuth = tls.RequestClientCert
	other, _ := certificate(t, "mx.test") // of an authority that nobody trusts
	for name, c := range map[string]struct {
		offered string
		cred    deliver.Credential
		tls     *tls.Config
		policy  mail.TLSPolicy
		used    string
		want    string
		log     string
	}{
		"the safest of all":            {"LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS XOAUTH2", deliver.Credential{}, config, mail.TLSVerify, "SCRAM-SHA-256-PLUS", "sent 2.0.0", ""},
		"without channel binding":      {"LOGIN PLAIN SCRAM-SHA-256", deliver.Credential{}, config, mail.TLSVerify, "SCRAM-SHA-256", "sent 2.0.0", ""},
		"PLAIN before LOGIN":           {"LOGIN PLAIN", deliver.Credential{}, config, mail.TLSVerify, "PLAIN", "sent 2.0.0", ""},
		"LOGIN":                        {"login", deliver.Credential{}, config, mail.TLSVerify, "LOGIN", "sent 2.0.0", ""},
		"the order of the operator":    {"LOGIN PLAIN SCRAM-SHA-256", deliver.Credential{Mechanisms: []string{"XOAUTH2", "LOGIN", "PLAIN"}}, config, mail.TLSVerify, "LOGIN", "sent 2.0.0", ""},
		"XOAUTH2":                      {"PLAIN XOAUTH2", deliver.Credential{Mechanisms: []string{"XOAUTH2"}}, config, mail.TLSVerify, "XOAUTH2", "sent 2.0.0", ""},
		"OAUTHBEARER":                  {"PLAIN OAUTHBEARER", deliver.Credential{Mechanisms: []string{"OAUTHBEARER"}}, config, mail.TLSVerify, "OAUTHBEARER", "sent 2.0.0", ""},
		"EXTERNAL":                     {"EXTERNAL", deliver.Credential{Mechanisms: []string{"EXTERNAL"}}, config, mail.TLSVerify, "EXTERNAL", "sent 2.0.0", ""},
		"a token is no password":       {"XOAUTH2 OAUTHBEARER EXTERNAL", deliver.Credential{}, config, mail.TLSVerify, "", "deferred 4.7.4", "offers none"},
		"nothing offered":              {"", deliver.Credential{}, config, mail.TLSVerify, "", "deferred 4.7.4", "offers none"},
		"clear text on this machine":   {"PLAIN SCRAM-SHA-256", deliver.Credential{}, nil, mail.TLSNone, "SCRAM-SHA-256", "sent 2.0.0", ""},
		"a name in the DNS is not":     {"PLAIN SCRAM-SHA-256", deliver.Credential{}, nil, mail.TLSNone, "", "deferred 4.7.11", "not verified"},
		"PLUS needs TLS":               {"SCRAM-SHA-256-PLUS", deliver.Credential{}, nil, mail.TLSNone, "", "deferred 4.7.11", "not verified"},
		"the certificate is not known": {"PLAIN", deliver.Credential{}, other, mail.TLSVerify, "", "deferred 4.7.5", ""},
		"wrong password":               {"PLAIN", deliver.Credential{Secret: "mistaken-secret"}, config, mail.TLSVerify, "", "deferred 4.7.8", "check user and secret"},
		"wrong password, LOGIN":        {"LOGIN", deliver.Credential{Secret: "mistaken-secret"}, config, mail.TLSVerify, "", "deferred 4.7.8", "check user and secret"},
		"wrong password, SCRAM":        {"SCRAM-SHA-256", deliver.Credential{Secret: "mistaken-secret"}, config, mail.TLSVerify, "", "deferred 4.7.8", "check user and secret"},
		"wrong token":                  {"OAUTHBEARER", deliver.Credential{Secret: "mistaken-secret", Mechanisms: []string{"OAUTHBEARER"}}, config, mail.TLSVerify, "", "deferred 4.7.8", "check user and secret"},
		"wrong token, XOAUTH2":         {"XOAUTH2", deliver.Credential{Secret: "mistaken-secret", Mechanisms: []string{"XOAUTH2"}}, config, mail.TLSVerify, "", "deferred 4.7.8", "check user and secret"},
		"a NUL":                        {"PLAIN LOGIN", deliver.Credential{Secret: "a\x00b"}, config, mail.TLSVerify, "", "deferred 4.7.4", "cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			cred := deliver.Credential{User: authUser, Secret: authSecret, Mechanisms: c.cred.Mechanisms}
			if c.cred.Secret != "" {
				cred.Secret = c.cred.Secret
			}
			script := mailtest.Script{TLS: c.tls, Extensions: []string{"PIPELINING", "AUTH " + c.offered}, Auth: judge(t)}
			s := mailtest.ServeSMTP(t, script)
			var log bytes.Buffer
			a := newAgent(t, deliver.Options{
				Resolver: names{addrs: map[string][]string{"mx.test": {"127.0.0.1"}}}, TLS: &tls.Config{RootCAs: roots}, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Credential:  func(name string) (deliver.Credential, bool) { return cred, name == "smarthost" },
				Certificate: func() (*tls.Certificate, error) { return &other.Certificates[0], nil },
			})
			hop := mail.NextHop{Transport: mail.TransportSMTP, Host: "mx.test", Port: s.Port, TLS: c.policy, Credential: "smarthost"}
			if name == "clear text on this machine" {
				hop.Host = "127.0.0.1"
			}
			var res []mail.Result
			for range 2 { // the second time over the kept connection, if there is one
				res = a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test"))
				want(t, res, c.want)
			}
			if got := s.Messages(); c.used != "" && (len(got) != 2 || got[0].Auth != c.used || s.Connections() != 1) || c.used == "" && len(got) != 0 {
				t.Errorf("%d messages, %+v", len(got), got)
			}
			if !strings.Contains(log.String(), c.log) {
				t.Errorf("the log %q does not say %q", &log, c.log)
			}
			for _, secret := range []string{authSecret, cred.Secret} {
				if strings.Contains(log.String()+res[0].Reply.String(), secret) {
					t.Errorf("the secret is told: %s %s", &log, res[0].Reply.String())
				}
			}
		})
	}
}

// A TLS session that knows our certificate is not resumed for mail that has no such credential, nor the other way round.
func TestClientCertificatesAreApart(t *testing.T) {
	config, roots := certificate(t, "mx.test")
	config.ClientAuth = tls.RequestClientCert
	other, _ := certificate(t, "us.test")
	var known []bool // sessions in which the server knows the certificate
	var mu sync.Mutex
	config.VerifyConnection = func(s tls.ConnectionState) error {
		mu.Lock()
		defer mu.Unlock()
		known = append(known, len(s.PeerCertificates) > 0)
		return nil
	}
	s := mailtest.ServeSMTP(t, mailtest.Script{TLS: config, Extensions: []string{"AUTH EXTERNAL"}, Auth: judge(t)})
	a := newAgent(t, deliver.Options{
		Resolver: names{addrs: map[string][]string{"mx.test": {"127.0.0.1"}}}, TLS: &tls.Config{RootCAs: roots}, IdleTime: -1,
		Credential: func(string) (deliver.Credential, bool) {
			return deliver.Credential{User: authUser, Mechanisms: []string{"EXTERNAL"}}, true
		},
		Certificate: func() (*tls.Certificate, error) { return &other.Certificates[0], nil },
	})
	hop := mail.NextHop{Transport: mail.TransportSMTP, Host: "mx.test", Port: s.Port, TLS: mail.TLSVerify}
	for _, name := range []string{"", "external", "", "external"} {
		hop.Credential = name
		want(t, a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test")), "sent 2.0.0")
	}
	mu.Lock()
	defer mu.Unlock()
	if got := fmt.Sprint(known); got != "[false true false true]" {
		t.Errorf("the server knows our certificate in sessions %s", got)
	}
}

// Servers that do not keep to the protocol get nothing, and nothing bounces.
func TestAuthWithHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		offered string
		auth    func(*mailtest.Auth) string
		want    string
	}{
		"235 without proof":      {"SCRAM-SHA-256", func(*mailtest.Auth) string { return "235 2.7.0 Come in" }, "deferred 4.7.8"},
		"235 after half of it":   {"SCRAM-SHA-256", func(a *mailtest.Auth) string { return challenged(a, "r=", ",s=c2FsdA==,i=4096") }, "deferred 4.7.8"},
		"too few iterations":     {"SCRAM-SHA-256", func(a *mailtest.Auth) string { return challenged(a, "r=", ",s=c2FsdA==,i=1") }, "deferred 4.7.8"},
		"iterations for ever":    {"SCRAM-SHA-256", func(a *mailtest.Auth) string { return challenged(a, "r=", ",s=c2FsdA==,i=2000000000") }, "deferred 4.7.8"},
		"another nonce":          {"SCRAM-SHA-256", func(a *mailtest.Auth) string { return challenged(a, "r=x", ",s=c2FsdA==,i=4096") }, "deferred 4.7.8"},
		"challenges for ever":    {"PLAIN", func(a *mailtest.Auth) string { return forEver(a) }, "deferred 4.7.8"},
		"challenges after LOGIN": {"LOGIN", func(a *mailtest.Auth) string { return forEver(a) }, "deferred 4.7.8"},
		"no base64":              {"LOGIN", func(*mailtest.Auth) string { return "334 ***" }, "deferred 4.7.8"},
		"534 5.7.9":              {"PLAIN", func(*mailtest.Auth) string { return "534 5.7.9 Too weak" }, "deferred 4.7.8"},
		"454":                    {"PLAIN", func(*mailtest.Auth) string { return "454 4.7.0 Not now" }, "deferred 4.7.8"},
		"421":                    {"PLAIN", func(*mailtest.Auth) string { return "421 4.7.0 Bye" }, "deferred 4.7.0"},
		"421 with the secret":    {"PLAIN", func(*mailtest.Auth) string { return "421 4.7.0 Who says " + authSecret + "?" }, "deferred 4.7.0"},
		"421 with what was sent": {"PLAIN", func(a *mailtest.Auth) string {
			return "421-4.7.0 Bye\r\n421 4.7.0 " + base64.StdEncoding.EncodeToString(a.Initial)
		}, "deferred 4.7.0"},
		"421 unasked, with the secret": {"LOGIN", func(a *mailtest.Auth) string {
			a.Challenge(nil)
			return "334 \r\n421 4.7.0 " + authSecret + "\r\n"
		}, "deferred 4.7.0"},
		"250": {"PLAIN", func(*mailtest.Auth) string { return "250 2.7.0 Hm" }, "deferred 4.7.8"},
		"504, and the next is": {"PLAIN LOGIN", func(a *mailtest.Auth) string {
			return map[string]string{"PLAIN": "504 5.5.4 No", "LOGIN": "235 2.7.0 Ok"}[a.Mechanism]
		}, "sent 2.0.0"},
		"504 to all":               {"PLAIN LOGIN", func(*mailtest.Auth) string { return "504 5.5.4 No" }, "deferred 4.7.4"},
		"gone":                     {"PLAIN", func(*mailtest.Auth) string { return mailtest.Disconnect }, "deferred 4.4.2"},
		"more than it was asked":   {"PLAIN", func(*mailtest.Auth) string { return "235 2.7.0 Ok\r\n250 2.0.0 Delivered" }, "deferred 4.5.0"},
		"the end, and no listener": {"PLAIN", func(*mailtest.Auth) string { return mailtest.Silent }, "deferred 4.4.2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING", "AUTH " + c.offered}, Auth: c.auth})
			a := newAgent(t, deliver.Options{
				Credential: func(string) (deliver.Credential, bool) {
					return deliver.Credential{User: authUser, Secret: authSecret}, true
				},
				Timeouts: deliver.Timeouts{Hello: hello(name)},
			})
			hop := smtpTo(s)
			hop.Credential = "x"
			res := a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test"))
			want(t, res, c.want)
			for _, secret := range []string{authSecret, base64.StdEncoding.EncodeToString([]byte("\x00" + authUser + "\x00" + authSecret))} {
				if text := res[0].Reply.Text + res[0].Earlier; strings.Contains(text, secret) {
					t.Errorf("the secret is told: %q", text)
				}
			}
		})
	}
}

// hello is the time for a reply: short where none comes.
func hello(name string) time.Duration {
	if strings.Contains(name, "no listener") {
		return 50 * time.Millisecond
	}
	return 0
}

// challenged answers a SCRAM client with before, its nonce and after, and then lets it in.
func challenged(a *mailtest.Auth, before, after string) string {
	_, nonce, _ := strings.Cut(string(a.Initial), "r=")
	if _, ok := a.Challenge([]byte(before + nonce + "server" + after)); !ok {
		return "501 5.5.2 As you like"
	}
	return "235 2.7.0 Come in"
}

func forEver(a *mailtest.Auth) string {
	for {
		if _, ok := a.Challenge([]byte("more")); !ok {
			return "501 5.5.2 At last"
		}
	}
}

// Credentials do not share connections, and are for next hops that the operator names.
func TestCredentialsAreApart(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING", "AUTH PLAIN"}, Auth: func(a *mailtest.Auth) string { return "235 2.7.0 Ok" }})
	var log bytes.Buffer
	a := newAgent(t, deliver.Options{MXPort: s.Port, AllowLoopbackMX: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Resolver: names{addrs: map[string][]string{"d.test": {"127.0.0.1"}}},
		Credential: func(name string) (deliver.Credential, bool) {
			return deliver.Credential{User: name, Secret: "x"}, name != "none"
		}})
	for i, name := range []string{"one", "two", "", "one"} {
		hop := smtpTo(s)
		hop.Credential = name
		want(t, a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test")), "sent 2.0.0")
		if got := s.Messages()[i]; got.Auth != map[bool]string{true: "PLAIN"}[name != ""] || got.Session != []int{1, 2, 3, 1}[i] {
			t.Errorf("%q: %+v", name, got)
		}
	}
	hop := smtpTo(s)
	hop.Credential = "none"
	want(t, a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test")), "deferred 4.3.5")
	want(t, a.Deliver(t.Context(), []mail.NextHop{{Host: "d.test", Credential: "one"}}, message(body, "b@d.test")), "deferred 4.3.5")
	for _, line := range []string{"add it to [credentials]", "given by name"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log does not say %q:\n%s", line, &log)
		}
	}
}
