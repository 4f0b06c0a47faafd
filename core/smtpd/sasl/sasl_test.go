package sasl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mail"
)

func TestPlain(t *testing.T) {
	long := strings.Repeat("x", mail.MaxIdentity)
	for _, c := range []struct {
		message, user, authzid, password string
		err                              error
	}{
		{"\x00tim\x00tanstaaftanstaaf", "tim", "", "tanstaaftanstaaf", nil}, // RFC 4616 4
		{"Ursel\x00Kurt\x00xipj3plmq", "Kurt", "Ursel", "xipj3plmq", nil},
		{"\x00bu\u0308ch\u00ader@ours.test\x00bu\u0308ch\u00ad", "b\u00fccher@ours.test", "", "bu\u0308ch\u00ad", nil}, // names are prepared, passwords are not
		{"\x00\u00ad\x00p", "", "", "", ErrMalformed},
		{"\x00b\u00fccher@ours.test\x00p\xff \t\n", "b\u00fccher@ours.test", "", "p\xff \t\n", nil},
		{long + "\x00" + long + "\x00" + strings.Repeat("p", MaxPassword), long, long, strings.Repeat("p", MaxPassword), nil},
		{"", "", "", "", ErrMalformed},
		{"a", "", "", "", ErrMalformed},
		{"a\x00b", "", "", "", ErrMalformed},
		{"\x00\x00", "", "", "", ErrEmpty},
		{"\x00a\x00", "", "", "", ErrEmpty},
		{"\x00\x00p", "", "", "", ErrEmpty},
		{"z\x00a\x00p\x00", "", "", "", ErrMalformed},
		{"\x00a\x00p\x00q", "", "", "", ErrMalformed},
		{"\x00a\x00\x00", "", "", "", ErrMalformed},
		{"\x00" + long + "x\x00p", "", "", "", ErrTooLong},
		{long + "x\x00a\x00p", "", "", "", ErrTooLong},
		{"\x00a\x00" + strings.Repeat("p", MaxPassword+1), "", "", "", ErrTooLong},
		{"\x00a\xff\x00p", "", "", "", ErrMalformed},
		{"\x00a\r\nb\x00p", "", "", "", ErrMalformed},
		{"\x00a\u202eb\x00p", "", "", "", ErrMalformed},
		{"a\x1b\x00a\x00p", "", "", "", ErrMalformed},
	} {
		x := New("PLAIN", Options{})
		if challenge, done, err := x.Next(nil); challenge == nil || len(challenge) != 0 || done || err != nil {
			t.Fatalf("without an initial response: %q %v %v", challenge, done, err)
		}
		response := []byte(c.message)
		challenge, done, err := x.Next(response)
		clear(response)
		got := x.Credentials()
		if challenge != nil || done != (err == nil) || err != c.err || got.User != c.user || got.AuthzID != c.authzid || string(got.Password) != c.password {
			t.Errorf("%q: %q %v %v %q", c.message, challenge, done, err, got)
		}
		if again := x.Credentials(); again.Password != nil {
			t.Errorf("%q: the exchange keeps the password", c.message)
		}
	}
}

func TestLogin(t *testing.T) {
	for _, initial := range []bool{false, true} {
		x := New("LOGIN", Options{})
		if !initial {
			if challenge, done, err := x.Next(nil); string(challenge) != "Username:" || done || err != nil {
				t.Fatalf("%q %v %v", challenge, done, err)
			}
		}
		if challenge, done, err := x.Next([]byte("tim")); string(challenge) != "Password:" || done || err != nil {
			t.Fatalf("%q %v %v", challenge, done, err)
		}
		if _, done, err := x.Next([]byte("p w")); !done || err != nil {
			t.Fatal(done, err)
		}
		if c := x.Credentials(); c.User != "tim" || string(c.Password) != "p w" || c.AuthzID != "" {
			t.Errorf("%q", c)
		}
	}
	for _, bad := range []string{"", "a\x00b", "a\nb", "\xff", strings.Repeat("x", mail.MaxIdentity+1)} {
		x := New("LOGIN", Options{})
		_, _, _ = x.Next(nil)
		if _, done, err := x.Next([]byte(bad)); done || err == nil {
			t.Errorf("name %q: %v %v", bad, done, err)
		}
	}
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", MaxPassword+1)} {
		x := New("LOGIN", Options{})
		_, _, _ = x.Next([]byte("tim"))
		if _, done, err := x.Next([]byte(bad)); done || err == nil {
			t.Errorf("password %q: %v %v", bad, done, err)
		}
	}
}

func TestAnExchangeThatIsClosedKeepsNothing(t *testing.T) {
	x := new(plain)
	if _, done, err := x.Next([]byte("\x00tim\x00secret")); !done || err != nil {
		t.Fatal(done, err)
	}
	held := x.c.Password
	x.Close()
	if !bytes.Equal(held, make([]byte, 6)) {
		t.Errorf("%q", held)
	}
	if New("CRAM-MD5", Options{}) != nil || New("plain", Options{}) != nil {
		t.Error("a mechanism that there is not")
	}
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte("Ursel\x00Kurt\x00xipj3plmq"), []byte("x"), true)
	f.Add([]byte("\x00tim\x00tanstaaf"), []byte{}, false)
	f.Add([]byte("tim"), []byte("tanstaaf"), true)
	f.Fuzz(func(t *testing.T, one, two []byte, initial bool) {
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			x := New(mechanism, Options{})
			first := one
			if !initial {
				if _, done, err := x.Next(nil); done || err != nil {
					t.Fatal("an end without a response")
				}
			}
			_, done, err := x.Next(bytes.Clone(first))
			if !done && err == nil {
				_, done, err = x.Next(bytes.Clone(two))
			}
			if err != nil && done || err == nil && !done {
				t.Fatalf("%s: %v %v", mechanism, done, err)
			}
			if err != nil {
				continue
			}
			c := x.Credentials()
			if !mail.ValidIdentity(c.User) || c.AuthzID != "" && !mail.ValidIdentity(c.AuthzID) || len(c.Password) == 0 || len(c.Password) > MaxPassword || bytes.IndexByte(c.Password, 0) >= 0 {
				t.Errorf("%s: %q", mechanism, c)
			}
			if mechanism == "PLAIN" && utf8Free(first) && c.AuthzID+"\x00"+c.User+"\x00"+string(c.Password) != string(first) {
				t.Errorf("%q is not %q", c, first)
			}
		}
	})
}

// utf8Free tells whether there is nothing that SASLprep could map.
func utf8Free(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r >= 0x80 }) < 0
}
