package sasl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mail"
)

func TestBearerTokens(t *testing.T) {
	const token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" // RFC 7628 4.1
	long := strings.Repeat("t", MaxToken)
	for _, c := range []struct {
		mechanism, message, user, token string
		err                             error
	}{
		{"OAUTHBEARER", "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer " + token + "\x01\x01", "user@example.com", token, nil},
		{"OAUTHBEARER", "y,,\x01auth=bearer  " + token + "\x01\x01", "", token, nil},
		{"OAUTHBEARER", "n,a=a=2Cb=3D,\x01auth=Bearer x\x01mtd=a \t b\x01\x01", "a,b=", "x", nil},
		{"OAUTHBEARER", "n,,\x01auth=Bearer " + long + "\x01\x01", "", long, nil},
		{"OAUTHBEARER", "n,,\x01auth=Bearer " + long + "x\x01\x01", "", "", ErrTooLong},
		{"OAUTHBEARER", "n,,\x01auth=\x01\x01", "", "", ErrEmpty}, // RFC 7628 4.3: which providers do you know?
		{"OAUTHBEARER", "n,,\x01\x01", "", "", ErrEmpty},
		{"OAUTHBEARER", "n,,\x01host=x\x01\x01", "", "", ErrEmpty},
		{"OAUTHBEARER", "\x01", "", "", ErrMalformed}, // the dummy response, where nothing was refused
		{"OAUTHBEARER", "", "", "", ErrMalformed},
		{"OAUTHBEARER", "p=tls-exporter,,\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,b=user,\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,a=us=er,\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,a=us\ner,\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,a=" + strings.Repeat("u", 256) + ",\x01auth=Bearer x\x01\x01", "", "", ErrTooLong},
		{"OAUTHBEARER", "n,,x\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Bearer x\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Bearer x\x01\x01more", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Basic x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Bearerx\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Bearer \x01\x01", "", "", ErrEmpty},
		{"OAUTHBEARER", "n,,\x01auth=Bearer ==\x01\x01", "", "", ErrEmpty},
		{"OAUTHBEARER", "n,,\x01auth=Bearer x\x00\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01auth=Bearer x y\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01host=" + strings.Repeat("h", 256) + "\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01host=a\r\nb\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01host=a\x01host=b\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01port=0\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01port=65536\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01port=+25\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01port=25\x01port=25\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01k1=v\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"OAUTHBEARER", "n,,\x01=v\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"XOAUTH2", "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01", "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg", nil},
		{"XOAUTH2", "user=\x01auth=Bearer x\x01\x01", "", "", ErrEmpty},
		{"XOAUTH2", "user=a\x01auth=Bearer \x01\x01", "", "", ErrEmpty},
		{"XOAUTH2", "auth=Bearer x\x01user=a\x01\x01", "", "", ErrMalformed},
		{"XOAUTH2", "user=a\x01auth=Bearer x\x01", "", "", ErrMalformed},
		{"XOAUTH2", "user=a\x01auth=Bearer x\x01\x01\x01", "", "", ErrMalformed},
		{"XOAUTH2", "user=a\nb\x01auth=Bearer x\x01\x01", "", "", ErrMalformed},
		{"XOAUTH2", "", "", "", ErrMalformed},
	} {
		x := New(c.mechanism, Options{})
		if challenge, done, err := x.Next(nil); challenge == nil || len(challenge) != 0 || done || err != nil {
			t.Fatalf("without an initial response: %q %v %v", challenge, done, err)
		}
		response := []byte(c.message)
		_, done, err := x.Next(response)
		clear(response)
		got := x.Credentials()
		if done != (err == nil) || err != c.err || got.User != c.user || got.AuthzID != "" || string(got.Password) != c.token {
			t.Errorf("%s %.80q: %v %v %q", c.mechanism, c.message, done, err, got)
		}
		x.Close()
	}
}

func FuzzBearer(f *testing.F) {
	f.Add([]byte("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"))
	f.Add([]byte("user=someuser@example.com\x01auth=Bearer ya29.vF9\x01\x01"))
	f.Fuzz(func(t *testing.T, message []byte) {
		for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
			x := New(mechanism, Options{})
			_, done, err := x.Next(bytes.Clone(message))
			if message == nil {
				continue
			}
			if done != (err == nil) {
				t.Fatalf("%s: %v %v", mechanism, done, err)
			}
			c := x.Credentials()
			if done && (len(c.Password) == 0 || len(c.Password) > MaxToken || !bytes.Contains(message, c.Password) || bytes.ContainsAny(c.Password, "\x00\x01 \r\n") ||
				c.User != "" && !mail.ValidIdentity(c.User) || c.User == "" && mechanism == "XOAUTH2") {
				t.Errorf("%s: %q", mechanism, c)
			}
		}
	})
}

func TestExternal(t *testing.T) {
	for _, c := range []struct {
		user, response, authzid string
		err                     error
	}{
		{"ann@ours.test", "", "", nil},
		{"ann@ours.test", "office", "office", nil},
		{"", "", "", ErrEmpty},
		{"", "office", "", ErrEmpty},
		{"ann@ours.test", "a\nb", "", ErrMalformed},
	} {
		x := New("EXTERNAL", Options{External: c.user})
		if _, done, err := x.Next(nil); done || err != nil {
			t.Fatal(done, err)
		}
		_, done, err := x.Next([]byte(c.response))
		if got := x.Credentials(); err != c.err || done != (err == nil) || got.User != c.user || got.AuthzID != c.authzid || got.Password != nil {
			t.Errorf("%+v: %v %v %q", c, done, err, got)
		}
	}
}
