package sasl

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/wasmta/wasmta/core/mail"
)

const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

var (
	exporter = Binding{"tls-exporter", []byte(strings.Repeat("e", 32))}
	endPoint = Binding{"tls-server-end-point", []byte(strings.Repeat("c", 32))}
)

// knowing gives the keys of "pencil" to "user" and made-up ones to others.
func knowing(t testing.TB, asked *string) func(user, authzID string) (mail.ScramKeys, error) {
	return func(user, authzID string) (mail.ScramKeys, error) {
		*asked += user + "/" + authzID + " "
		if user != "user" {
			return MadeUp([]byte("secret"), user, 4096, 16), nil
		}
		k, err := mail.ParseScram(pencil)
		if err != nil {
			t.Fatal(err)
		}
		return k, nil
	}
}

func binding(b Binding) scram.ChannelBinding {
	return scram.ChannelBinding{Type: scram.ChannelBindingType(b.Name), Data: b.Data}
}

// play is a dialogue of a client that is not ours.
func play(t *testing.T, x Exchange, conv *scram.ClientConversation) (challenges []string, err error) {
	t.Helper()
	text := ""
	for {
		out, cerr := conv.Step(text)
		if cerr != nil {
			t.Fatalf("the client: %v", cerr)
		}
		challenge, done, err := x.Next([]byte(out))
		if err != nil {
			return challenges, err
		}
		if done {
			t.Fatal("done without the client having heard the end")
		}
		text = string(challenge)
		challenges = append(challenges, text)
		if strings.HasPrefix(text, "v=") {
			if _, err := conv.Step(text); err != nil || !conv.Valid() {
				t.Fatalf("the client does not believe us: %v", err)
			}
			_, done, err := x.Next([]byte{})
			if !done {
				t.Fatalf("not done: %v", err)
			}
			return challenges, err
		}
	}
}

func TestScramWithAnotherClient(t *testing.T) {
	offered := Options{Bindings: []Binding{exporter, endPoint}, Plus: true}
	for _, c := range []struct {
		name, mechanism, user, password, authzID string
		o                                        Options
		client                                   func(*scram.Client) *scram.ClientConversation
		asked                                    string
		err                                      error
	}{
		{"no binding", "SCRAM-SHA-256", "user", "pencil", "", Options{}, (*scram.Client).NewConversation, "user/ ", nil},
		{"no binding, which the client cannot do", "SCRAM-SHA-256", "user", "pencil", "", offered, (*scram.Client).NewConversation, "user/ ", nil},
		{"a name that is prepared", "SCRAM-SHA-256", "us\u00ader", "pen\u00adcil", "", Options{}, (*scram.Client).NewConversation, "user/ ", nil},
		{"a wrong password", "SCRAM-SHA-256", "user", "pencil2", "", Options{}, (*scram.Client).NewConversation, "user/ ", ErrProof},
		{"a name that nobody has", "SCRAM-SHA-256", "a,b=c", "pencil", "", Options{}, (*scram.Client).NewConversation, "a,b=c/ ", ErrProof},
		{"as another", "SCRAM-SHA-256", "user", "pencil", "office", Options{}, (*scram.Client).NewConversation, "user/office ", nil},
		{"tls-exporter", "SCRAM-SHA-256-PLUS", "user", "pencil", "", offered, func(c *scram.Client) *scram.ClientConversation {
			return c.NewConversationWithChannelBinding(binding(exporter))
		}, "user/ ", nil},
		{"tls-server-end-point", "SCRAM-SHA-256-PLUS", "user", "pencil", "", offered, func(c *scram.Client) *scram.ClientConversation {
			return c.NewConversationWithChannelBinding(binding(endPoint))
		}, "user/ ", nil},
		{"another connection's", "SCRAM-SHA-256-PLUS", "user", "pencil", "", offered, func(c *scram.Client) *scram.ClientConversation {
			return c.NewConversationWithChannelBinding(binding(Binding{"tls-exporter", []byte(strings.Repeat("x", 32))}))
		}, "user/ ", ErrBinding},
		{"tls-unique", "SCRAM-SHA-256-PLUS", "user", "pencil", "", offered, func(c *scram.Client) *scram.ClientConversation {
			return c.NewConversationWithChannelBinding(scram.NewTLSUniqueBinding([]byte("x")))
		}, "", ErrBinding},
		{"-PLUS without a binding", "SCRAM-SHA-256-PLUS", "user", "pencil", "", offered, (*scram.Client).NewConversation, "", ErrBinding},
		{"a binding without -PLUS", "SCRAM-SHA-256", "user", "pencil", "", offered, func(c *scram.Client) *scram.ClientConversation {
			return c.NewConversationWithChannelBinding(binding(exporter))
		}, "", ErrBinding},
		{"somebody took -PLUS from the list", "SCRAM-SHA-256", "user", "pencil", "", offered, (*scram.Client).NewConversationAdvertisingChannelBinding, "", ErrDowngrade},
		{"we did not offer it", "SCRAM-SHA-256", "user", "pencil", "", Options{Bindings: offered.Bindings}, (*scram.Client).NewConversationAdvertisingChannelBinding, "user/ ", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := scram.SHA256.NewClient(c.user, c.password, c.authzID)
			if err != nil {
				t.Fatal(err)
			}
			asked := ""
			c.o.Keys = knowing(t, &asked)
			x := New(c.mechanism, c.o)
			defer x.Close()
			if challenge, done, err := x.Next(nil); challenge == nil || len(challenge) != 0 || done || err != nil {
				t.Fatalf("without an initial response: %q %v %v", challenge, done, err)
			}
			challenges, err := play(t, x, c.client(client))
			if err != c.err || asked != c.asked {
				t.Errorf("%v, asked for %q, want %v, %q", err, asked, c.err, c.asked)
			}
			if len(challenges) > 0 && !strings.Contains(challenges[0], ",i=4096") {
				t.Errorf("%q", challenges)
			}
			if got := x.Credentials(); err == nil && (got.User != "user" || got.AuthzID != c.authzID || got.Password != nil) {
				t.Errorf("%q", got)
			}
		})
	}
}

// RFC 7677 3, but for our nonce.
func TestScramMessages(t *testing.T) {
	asked := ""
	begin := func(first string) (Exchange, string, error) {
		x := New("SCRAM-SHA-256", Options{Keys: knowing(t, &asked)})
		challenge, done, err := x.Next([]byte(first))
		if done {
			t.Fatalf("%q: done", first)
		}
		return x, string(challenge), err
	}
	_, challenge, err := begin("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
	nonce, rest, _ := strings.Cut(strings.TrimPrefix(challenge, "r="), ",")
	if err != nil || !strings.HasPrefix(nonce, "rOprNGfwEbeRWgbNEkqO") || len(nonce) < 44 || rest != "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" {
		t.Errorf("%q %v", challenge, err)
	}
	for _, first := range []string{"", "n", "n,,n=user", "n,,n=user,r=", "n,,r=x,n=user", "n,,n=user,r=x\r\ny", "n,,n=user,r=\xff", "n,,n=user,r=" + strings.Repeat("r", maxNonce+1),
		"n,,m=ext,n=user,r=x", "n,,n=,r=x", "n,,n=us=er,r=x", "n,b=x,n=user,r=x", "n,a==,n=user,r=x", "z,,n=user,r=x", "n,,n=" + strings.Repeat("u", 256) + ",r=x",
		"n,,n=us\x00er,r=x", "n,,n=us\u202eer,r=x", "n,,n=user,r=x," + strings.Repeat("e", maxMessage), "\x00user\x00pencil"} {
		asked = ""
		if _, challenge, err := begin(first); err == nil || asked != "" || challenge != "" || len(first) > 8 && strings.Contains(err.Error(), first[4:8]) {
			t.Errorf("%.60q: %q %v, asked for %q", first, challenge, err, asked)
		}
	}
	for _, final := range []func(nonce string) string{
		func(string) string { return "" },
		func(n string) string { return "c=biws,r=" + n },
		func(n string) string { return "c=biws,r=" + n + ",p=" },
		func(n string) string { return "c=biws,r=" + n + ",p=AAAA" },
		func(n string) string { return "c=biws,r=" + n + "x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" },
		func(n string) string { return "c=eSws,r=" + n + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" },
		func(n string) string { return "c=biws,r=" + n + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" },
		func(n string) string { return "c=biws,r=" + n + ",p=\x00" },
	} {
		x, challenge, err := begin("n,,n=user,r=x")
		if err != nil {
			t.Fatal(err)
		}
		nonce, _, _ := strings.Cut(strings.TrimPrefix(challenge, "r="), ",")
		if challenge, done, err := x.Next([]byte(final(nonce))); done || err == nil || challenge != nil {
			t.Errorf("%q: %q %v %v", final("..."), challenge, done, err)
		}
	}
	// Whoever is asked may have no answer.
	gone := errors.New("gone")
	x := New("SCRAM-SHA-256", Options{Keys: func(string, string) (mail.ScramKeys, error) { return mail.ScramKeys{}, gone }})
	if _, done, err := x.Next([]byte("n,,n=user,r=x")); done || err != gone {
		t.Errorf("%v %v", done, err)
	}
}

// Made-up keys are a name's own, look like others, and change with the secret.
func TestMadeUpKeys(t *testing.T) {
	one := []byte("one")
	k := MadeUp(one, "ann", 10000, 24)
	if k.Text() != MadeUp(one, "ann", 10000, 24).Text() {
		t.Error("a name has other keys the next time")
	}
	if _, err := mail.ParseScram(k.Text()); err != nil || k.Iterations != 10000 || len(k.Salt) != 24 {
		t.Errorf("%v %q", err, k.Text())
	}
	for _, other := range []mail.ScramKeys{MadeUp(one, "bob", 10000, 24), MadeUp([]byte("two"), "ann", 10000, 24)} {
		if bytes.Equal(other.Salt, k.Salt) || other.StoredKey == k.StoredKey || other.ServerKey == k.ServerKey {
			t.Errorf("%q is like %q", other.Text(), k.Text())
		}
	}
	if len(MadeUp(one, "x", 4096, mail.MaxScramSalt).Salt) != mail.MaxScramSalt {
		t.Error("the longest salt")
	}
}

func FuzzScram(f *testing.F) {
	f.Add([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), []byte("c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), false)
	f.Add([]byte("p=tls-exporter,a=x,n=user,r=x"), []byte("c="+base64.StdEncoding.EncodeToString([]byte("p=tls-exporter,a=x,"))+",r=x,p=AAAA"), true)
	f.Fuzz(func(t *testing.T, one, two []byte, plus bool) {
		name := "SCRAM-SHA-256"
		if plus {
			name += "-PLUS"
		}
		asked := ""
		x := New(name, Options{Bindings: []Binding{exporter}, Plus: true, Keys: knowing(t, &asked)})
		if _, done, err := x.Next(append([]byte{}, one...)); done || err != nil {
			return
		}
		if c := x.Credentials(); !mail.ValidIdentity(c.User) || c.AuthzID != "" && !mail.ValidIdentity(c.AuthzID) {
			t.Errorf("%q", c)
		}
		if _, done, err := x.Next(append([]byte{}, two...)); done || err == nil {
			t.Error("a proof without the password")
		}
	})
}
