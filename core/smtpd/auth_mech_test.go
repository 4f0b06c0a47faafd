package smtpd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// The keys of "pencil" (RFC 7677 3).
const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

var allMechanisms = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"}

// directory knows tim by his password's keys, a token of ann's, and certificates
// of ours.test; it notes who is asked about.
func directory(seen *[]string) hook.Static {
	return hook.Static{{Name: "directory", Stages: hook.Stages(hook.Auth), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		c := e.Auth
		*seen = append(*seen, c.Mechanism+" "+c.User+" "+c.AuthzID+" "+string(c.Password))
		accept, refuse := hook.Verdict{Action: hook.Accept}, hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(535, "5.7.8", "no such name")}
		switch {
		case c.User == "later":
			return hook.Verdict{Action: hook.Defer}, nil
		case c.WantsScram() && c.User == "blind":
			return accept, nil
		case c.WantsScram() && c.User == "tim":
			return accept, e.SetScram(pencil)
		case c.WantsScram():
			return refuse, nil
		case c.Mechanism == "EXTERNAL" && strings.HasSuffix(c.User, "@ours.test"):
			return accept, nil
		case string(c.Password) == "anns-token":
			return accept, e.SetAuthID("ann")
		case string(c.Password) == "nobodys-token":
			return accept, nil
		}
		return refuse, nil
	})}}
}

// sasl plays an exchange of SCRAM as another's client does, to its last reply.
func (c *client) scram(mechanism, password string, conv *scram.ClientConversation) string {
	c.t.Helper()
	out, err := conv.Step("")
	if err != nil {
		c.t.Fatal(err)
	}
	c.send("AUTH " + mechanism + " " + b64(out) + "\r\n")
	for {
		r := c.reply()
		text, ok := strings.CutPrefix(r, "334 ")
		if !ok {
			return r
		}
		challenge, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			c.t.Fatalf("%q: %v", r, err)
		}
		if out, err = conv.Step(string(challenge)); err != nil {
			c.t.Fatalf("the client: %v", err)
		}
		c.send(b64(out) + "\r\n")
	}
}

func conversation(t *testing.T, user, password, authzID string) *scram.Client {
	t.Helper()
	k, err := scram.SHA256.NewClient(user, password, authzID)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestScram(t *testing.T) {
	server, trust := testTLS(t)
	var seen []string
	h := start(t, nil, func(o *smtpd.Options) {
		o.TLS, o.AuthDelay, o.AuthFailures, o.AuthMechanisms, o.Source = server, -1, 100, allMechanisms, directory(&seen)
		o.AuthWithoutTLS = true
	})
	c := h.dial()
	c.want("220")
	if r := c.do("EHLO client.test", "250-mx.test"); !strings.Contains(r, "AUTH SCRAM-SHA-256 PLAIN OAUTHBEARER XOAUTH2") {
		t.Errorf("in clear text there is no channel to bind, and no certificate: %q", r)
	}
	c.do("AUTH SCRAM-SHA-256-PLUS", "504")
	c.do("AUTH EXTERNAL", "504")
	if r := c.scram("SCRAM-SHA-256", "pencil", conversation(t, "tim", "pencil", "").NewConversationAdvertisingChannelBinding()); !strings.HasPrefix(r, "235 2.7.0") {
		t.Errorf("who could bind a channel, where none is offered: %q", r)
	}
	c.do("AUTH PLAIN "+goodPlain, "503")

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := trust.Clone()
		config.MinVersion, config.MaxVersion = version, version
		dial := func() (*client, tls.ConnectionState) {
			c := h.dial().hello().startTLS(config)
			c.do("EHLO client.test", "250-mx.test(?s:.*)AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN OAUTHBEARER XOAUTH2")
			return c, c.conn.(*tls.Conn).ConnectionState()
		}
		c, state := dial()
		exporter, err := scram.NewTLSExporterBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		endPoint, err := scram.NewTLSServerEndpointBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		k := conversation(t, "tim", "pencil", "")
		// A proxy in the middle has a TLS session of its own, and a certificate.
		other := exporter
		other.Data = slices.Repeat([]byte{1}, 32)
		for _, bad := range []struct {
			mechanism string
			conv      *scram.ClientConversation
		}{
			{"SCRAM-SHA-256-PLUS", k.NewConversationWithChannelBinding(other)},
			{"SCRAM-SHA-256-PLUS", k.NewConversationWithChannelBinding(scram.NewTLSUniqueBinding([]byte("x")))},
			{"SCRAM-SHA-256-PLUS", k.NewConversation()},
			{"SCRAM-SHA-256", k.NewConversationWithChannelBinding(exporter)},
			{"SCRAM-SHA-256", k.NewConversationAdvertisingChannelBinding()}, // somebody took -PLUS from our list
			{"SCRAM-SHA-256", conversation(t, "tim", "wrong", "").NewConversation()},
			{"SCRAM-SHA-256", conversation(t, "nobody", "pencil", "").NewConversation()},
			{"SCRAM-SHA-256", conversation(t, "blind", "pencil", "").NewConversation()},
			{"SCRAM-SHA-256", conversation(t, "tim", "pencil", "boss").NewConversation()},
		} {
			if r := c.scram(bad.mechanism, "", bad.conv); r != "535 5.7.8 Authentication credentials are invalid" {
				t.Errorf("%s: %q", bad.mechanism, r)
			}
		}
		if r := c.scram("SCRAM-SHA-256", "pencil", conversation(t, "later", "pencil", "").NewConversation()); !strings.HasPrefix(r, "454 4.7.0") {
			t.Errorf("deferred: %q", r)
		}
		if r := c.scram("SCRAM-SHA-256-PLUS", "pencil", k.NewConversationWithChannelBinding(exporter)); !strings.HasPrefix(r, "235 2.7.0") {
			t.Errorf("tls-exporter: %q", r)
		}
		c.deliver("x: y\r\n")
		c, state = dial()
		if r := c.scram("SCRAM-SHA-256-PLUS", "pencil", k.NewConversationWithChannelBinding(endPoint)); !strings.HasPrefix(r, "235 2.7.0") {
			t.Errorf("tls-server-end-point: %q", r)
		}
	}
	if got := h.intake.all()[0].Env.Client; got.Auth != "tim" || got.AuthMech != "SCRAM-SHA-256-PLUS" || got.AuthUser != "tim" {
		t.Errorf("%+v", got)
	}
	for _, s := range seen {
		if !strings.HasSuffix(s, " ") {
			t.Errorf("there was a password: %q", s)
		}
	}
	for _, want := range []string{"SASL SCRAM-SHA-256-PLUS authentication failed: the channel binding is not that of this connection",
		"SASL SCRAM-SHA-256 authentication failed: the client was not told of the channel binding that is offered here",
		"SASL SCRAM-SHA-256 authentication failed: the proof does not fit the keys, sasl_username=tim",
		"SASL SCRAM-SHA-256 authentication failed: 535 5.7.8 no such name, sasl_username=nobody",
		"SASL SCRAM-SHA-256 authentication failed: accepted without keys, sasl_username=blind",
		`SASL SCRAM-SHA-256 authentication failed: nobody lets it act as "boss", sasl_username=tim`} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, h.log)
		}
	}
}

// Who asks for a name cannot see whether there is one: not in the salt, which
// stays, nor in the iterations, the replies and the time they take.
func TestScramTellsNoNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		h := start(t, newPipeListener(), func(o *smtpd.Options) {
			o.AuthDelay, o.AuthFailures, o.AuthMechanisms, o.Source, o.AuthWithoutTLS = 0, 100, allMechanisms, directory(&seen), true
		})
		first := func(c *client, name string) string {
			r := c.do("AUTH SCRAM-SHA-256 "+b64("n,,n="+name+",r=nonce"), "334 ")
			text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r, "334 "))
			if err != nil {
				t.Fatal(err)
			}
			nonce, rest, _ := strings.Cut(strings.TrimPrefix(string(text), "r="), ",")
			begin := time.Now()
			c.do(b64("c=biws,r="+nonce+",p="+b64(strings.Repeat("p", 32))), "535 5.7.8 Authentication credentials are invalid")
			if d := time.Since(begin); d != 2*time.Second {
				t.Errorf("%s: refused after %s", name, d)
			}
			return rest
		}
		salts := map[string]string{}
		for _, session := range []int{1, 2} {
			c := h.dial().hello()
			for _, name := range []string{"tim", "nobody", "somebody", "blind"} {
				got := first(c, name)
				salt, iterations, _ := strings.Cut(got, ",")
				if iterations != "i=4096" || len(salt) != len("s=W22ZaJ0SNY7soEsUEjb6gQ==") || session == 2 && salts[name] != got {
					t.Errorf("%s: %q", name, got)
				}
				salts[name] = got
			}
		}
		if salts["nobody"] == salts["somebody"] {
			t.Error("two names have one salt")
		}
	})
}

func TestBearerTokens(t *testing.T) {
	var seen []string
	h := start(t, nil, func(o *smtpd.Options) {
		o.AuthDelay, o.AuthFailures, o.AuthMechanisms, o.Source, o.AuthWithoutTLS = -1, 100, allMechanisms, directory(&seen), true
	})
	oauth := func(token string) string {
		return b64("n,a=ann@ours.test,\x01host=mx.test\x01port=587\x01auth=Bearer " + token + "\x01\x01")
	}
	x := func(token string) string { return b64("user=ann@ours.test\x01auth=Bearer " + token + "\x01\x01") }
	c := h.dial().hello()
	// A refusal comes with a challenge that says why; what the client says to it
	// means nothing.
	for _, dummy := range []string{b64("\x01"), "", "*", "=", "???", strings.Repeat("A", 13_000), goodPlain} {
		c.do("AUTH OAUTHBEARER "+oauth("wrong"), "334 "+b64(`{"status":"invalid_token"}`))
		c.do(dummy, "535 5.7.8 no such name")
	}
	c.do("AUTH OAUTHBEARER", "334 $")
	c.do(b64("n,,\x01auth=\x01\x01"), "334 "+b64(`{"status":"invalid_request"}`))
	c.do("AQ==", "535 5.7.8")
	c.do("AUTH XOAUTH2 "+x("wrong"), "334 "+b64(`{"status":"401","schemes":"Bearer","scope":""}`))
	c.do("", "535 5.7.8")
	c = h.dial().hello()
	c.do("AUTH OAUTHBEARER "+b64("n,,\x01auth=Bearer nobodys-token\x01\x01"), "334")
	c.do("AQ==", "535 5.7.8")
	c.do("AUTH XOAUTH2 "+b64("user=later\x01auth=Bearer t\x01\x01"), "454 4.7.0")
	c.do("AUTH XOAUTH2 "+x("anns-token"), "235")
	c.deliver("x: y\r\n")
	c = h.dial().hello()
	c.do("AUTH OAUTHBEARER "+oauth("anns-token"), "235")
	c = h.dial().hello()
	long := strings.Repeat("t", 8192)
	c.do("AUTH OAUTHBEARER", "334 ")
	c.do(oauth(long), "334")
	c.do("AQ==", "535")
	if !slices.Contains(seen, "OAUTHBEARER ann@ours.test  "+long) {
		t.Error("a long token did not come to the plugin")
	}
	if got := h.intake.all()[0].Env.Client; got.Auth != "ann" || got.AuthMech != "XOAUTH2" || got.AuthUser != "ann@ours.test" {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"SASL OAUTHBEARER authentication failed: 535 5.7.8 no such name, sasl_username=ann@ours.test",
		"SASL OAUTHBEARER authentication failed: no plugin says whose token it is"} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, h.log)
		}
	}
	if strings.Contains(h.log.String(), "-token") || strings.Contains(h.log.String(), "ttt") {
		t.Errorf("a token is in the log:\n%s", h.log)
	}
}

// A certificate says who a client is if our authority has signed it, and policy
// agrees.
func TestExternal(t *testing.T) {
	server, trust := testTLS(t)
	authority, ca := signer(t, nil, nil, "authority")
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	server.ClientCAs = pool
	var seen []string
	names := make(chan []string, 100)
	for _, how := range []tls.ClientAuthType{tls.VerifyClientCertIfGiven, tls.RequestClientCert} {
		config := server.Clone()
		config.ClientAuth = how
		h := start(t, nil, func(o *smtpd.Options) {
			o.TLS, o.AuthDelay, o.AuthMechanisms = config, -1, allMechanisms
			o.Source = append(directory(&seen), hook.Plugin{Name: "names", Stages: hook.Stages(hook.TLS), Handler: hook.HandlerFunc(
				func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
					names <- e.Session.CertNames
					return hook.Verdict{}, nil
				})})
		})
		dial := func(certificate *tls.Certificate) (*client, string) {
			k := trust.Clone()
			if certificate != nil {
				k.Certificates = []tls.Certificate{*certificate}
			}
			c := h.dial().hello().startTLS(k)
			return c, c.do("EHLO client.test", "250-mx.test")
		}
		if _, r := dial(nil); strings.Contains(r, "EXTERNAL") {
			t.Errorf("without a certificate: %q", r)
		}
		if got := <-names; got != nil {
			t.Errorf("names without a certificate: %q", got)
		}
		ann, _ := signer(t, authority.Leaf, ca, "Ann", "ann@ours.test", "b\x01d@ours.test", "ann@else.test")
		c, r := dial(ann)
		if how == tls.RequestClientCert { // nobody has looked who signed it
			if got := <-names; strings.Contains(r, "EXTERNAL") || got != nil {
				t.Errorf("not verified: %q %q", r, got)
			}
			c.do("AUTH EXTERNAL =", "504")
			continue
		}
		if got := strings.Join(<-names, " "); got != "email:ann@ours.test email:ann@else.test dns:ann.test uri:urn:ann cn:Ann" {
			t.Errorf("names: %q", got)
		}
		c.do("AUTH EXTERNAL "+b64("boss@ours.test"), "535 5.7.8") // accepted, but not as another
		c.do("AUTH EXTERNAL", "334 $")
		c.do("", "235 2.7.0")
		c.deliver("x: y\r\n")
		if got := h.intake.all()[0].Env.Client; got.Auth != "ann@ours.test" || got.AuthMech != "EXTERNAL" {
			t.Errorf("%+v", got)
		}
		bob, _ := signer(t, authority.Leaf, ca, "Bob", "bob@else.test")
		c, _ = dial(bob)
		<-names
		c.do("AUTH EXTERNAL =", "535 5.7.8")
	}
}

// signer makes a certificate, signed by another or itself.
func signer(t *testing.T, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, cn string, emails ...string) (*tls.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial := sha256.Sum256([]byte(cn))
	tmpl := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial[:8]), Subject: pkix.Name{CommonName: cn}, EmailAddresses: emails,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if parent == nil {
		parent, parentKey = tmpl, key
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		tmpl.DNSNames, tmpl.URIs = []string{strings.ToLower(cn) + ".test"}, []*url.URL{{Scheme: "urn", Opaque: strings.ToLower(cn)}}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, key
}
