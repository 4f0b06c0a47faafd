package hostapi

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
	passwords "github.com/wasmta/wasmta/hostapi/password"
)

// keyring is an operator's keys.
type keyring struct {
	signers map[string]crypto.Signer
	secrets map[string][]byte
}

func (k keyring) Signer(name string) (crypto.Signer, error) {
	if s := k.signers[name]; s != nil {
		return s, nil
	}
	return nil, abi.NotFound
}

func (k keyring) Secret(name string) ([]byte, error) {
	if s := k.secrets[name]; s != nil {
		return s, nil
	}
	return nil, abi.NotFound
}

// cryptoHost has one key of each kind.
func cryptoHost(t testing.TB, g Grant, e *hook.Event) (*host, keyring) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rk, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := keyring{map[string]crypto.Signer{"ed": ed, "rsa": rk, "ec": ec}, map[string][]byte{"mac": []byte("secret")}}
	h := newHost(t, g, e)
	h.c.guest.Keys = k
	h.c.guest.Passwords = passwords.NewChecker(1)
	return h, k
}

const mc = "crypto."

func sum256(s string) string { x := sha256.Sum256([]byte(s)); return string(x[:]) }

func TestDigests(t *testing.T) {
	h, _ := cryptoHost(t, Grant{}, nil)
	s1, s5 := sha1.Sum([]byte("abc")), sha512.Sum512([]byte("abc"))
	h.text(string(s1[:]), mc+"digest", abi.AlgSHA1, "abc")
	h.text(sum256("abc"), mc+"digest", abi.AlgSHA256, "abc")
	h.text(string(s5[:]), mc+"digest", abi.AlgSHA512, "abc")
	h.text(sum256(""), mc+"digest", abi.AlgSHA256, "")
	h.number(32, mc+"digest", abi.AlgSHA256, "abc", half, 31)
	h.code(abi.Unsupported, mc+"digest", 4, "abc", half, 100)
	h.code(abi.Unsupported, mc+"digest", abi.AlgEd25519, "abc", half, 100)

	h.number(1, mc+"digest_open", abi.AlgSHA256)
	h.code(abi.OK, mc+"digest_update", 1, "a")
	h.code(abi.OK, mc+"digest_update", 1, "bc")
	h.number(32, mc+"digest_final", 1, half, 3) // too small: still open
	h.text(sum256("abc"), mc+"digest_final", 1)
	h.code(abi.NotFound, mc+"digest_final", 1, half, 100)
	for _, handle := range []int{0, -1, 1, 2, 9, 1 << 31} {
		h.code(abi.NotFound, mc+"digest_update", handle, "x")
		h.code(abi.NotFound, mc+"digest_body", handle, 0, -1, 0)
	}
	h.code(abi.Unsupported, mc+"digest_open", 16)
	for i := range abi.MaxDigests {
		h.number(int64(i+1), mc+"digest_open", abi.AlgSHA1)
	}
	h.code(abi.Limit, mc+"digest_open", abi.AlgSHA1)
	h.c.End()
	h.c.Begin("init", nil)
	h.code(abi.NotFound, mc+"digest_update", 1, "x")
	h.number(1, mc+"digest_open", abi.AlgSHA1)
}

func contentEvent(body string) *hook.Event {
	e := event(hook.Message)
	e.Content.Body, e.Content.BodySize = strings.NewReader(body), int64(len(body))
	return e
}

func TestDigestOfTheBody(t *testing.T) {
	long := strings.Repeat("x \t y\r\n\r\n", 20_000)
	for _, x := range []struct {
		body            string
		simple, relaxed string
	}{
		// RFC 6376 3.4.5
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{" \t\r\n \r\n", " \t\r\n \r\n", ""},
		{" ", " \r\n", ""},
		{"a", "a\r\n", "a\r\n"},
		{"a\r\n", "a\r\n", "a\r\n"},
		{"a \r\n\r\n b", "a \r\n\r\n b\r\n", "a\r\n\r\n b\r\n"},
		{"a\rb\nc\r", "a\rb\nc\r\r\n", "a\rb\nc\r\r\n"},
		{"a \r b", "a \r b\r\n", "a \r b\r\n"},
		{"a\r\r\n", "a\r\r\n", "a\r\r\n"},
		{long, strings.TrimSuffix(long, "\r\n"), strings.TrimSuffix(strings.Repeat("x y\r\n\r\n", 20_000), "\r\n")},
	} {
		h, _ := cryptoHost(t, Grant{Body: Read}, contentEvent(x.body))
		for canon, want := range []string{x.body, x.simple, x.relaxed} {
			for _, cut := range [][2]int{{0, -1}, {0, len(want)}, {0, len(want) / 2}, {1, 3}, {len(want) / 3, -1}, {len(want) + 5, 7}} {
				from := min(cut[0], len(want))
				to := len(want)
				if cut[1] >= 0 {
					to = min(from+cut[1], to)
				}
				handle := h.call(mc+"digest_open", abi.AlgSHA256)
				h.code(abi.OK, mc+"digest_body", int(handle), cut[0], cut[1], canon)
				n := h.call(mc+"digest_final", int(handle), half, 32)
				if got := string(h.m[half : half+n]); got != sum256(want[from:to]) {
					t.Errorf("%.40q canon %d from %d, %d octets: not the digest of %.40q", x.body, canon, cut[0], cut[1], want[from:to])
				}
			}
		}
	}

	h, _ := cryptoHost(t, Grant{}, contentEvent("x"))
	h.call(mc+"digest_open", abi.AlgSHA1)
	h.code(abi.Denied, mc+"digest_body", 1, 0, -1, 0)
	h, _ = cryptoHost(t, Grant{Body: Read}, event(hook.Mail))
	h.c.event.Content = nil
	h.call(mc+"digest_open", abi.AlgSHA1)
	h.code(abi.State, mc+"digest_body", 1, 0, -1, 0)
	h, _ = cryptoHost(t, Grant{Body: Read}, contentEvent("x"))
	h.call(mc+"digest_open", abi.AlgSHA1)
	h.code(abi.Unsupported, mc+"digest_body", 1, 0, -1, 3)
	h.code(abi.Invalid, mc+"digest_body", 1, -1, -1, 0)
	h.code(abi.Invalid, mc+"digest_body", 1, 0, -2, 0)
	h.c.event.Content.BodySize = 5 // more than there is
	h.code(abi.Unavailable, mc+"digest_body", 1, 0, -1, 2)

	// A big body is paid for, piece by piece.
	e := event(hook.Message)
	e.Content.Body, e.Content.BodySize = zeros{}, 1<<40
	h, _ = cryptoHost(t, Grant{Body: Read}, e)
	h.c.meter = &meter{10e6}
	h.call(mc+"digest_open", abi.AlgSHA1)
	func() {
		defer func() {
			if trap, ok := recover().(*Trap); !ok || trap.Fault != FaultCPU {
				t.Error("hashing a terabyte in 10 ms did not end for lack of time")
			}
		}()
		h.call(mc+"digest_body", 1, 0, -1, 0)
	}()
}

type zeros struct{}

func (zeros) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// The canonical form does not depend on how the body comes in pieces.
func FuzzCanonical(f *testing.F) {
	f.Add(" C \r\nD \t E\r\n\r\n\r\n", uint8(3))
	f.Add("\r\r\n \r\n\r", uint8(1))
	f.Fuzz(func(t *testing.T, body string, piece uint8) {
		for _, relaxed := range []bool{false, true} {
			var whole, parts bytes.Buffer
			a := canonical{relaxed: relaxed, left: 1 << 62, out: &whole}
			io.WriteString(&a, body)
			a.end()
			b := canonical{relaxed: relaxed, left: 1 << 62, out: &parts}
			for rest := body; rest != ""; {
				n := min(int(piece)+1, len(rest))
				io.WriteString(&b, rest[:n])
				rest = rest[n:]
			}
			b.end()
			if whole.String() != parts.String() {
				t.Fatalf("%q in pieces of %d: %q and %q", body, piece, whole.String(), parts.String())
			}
			// It is its own canonical form.
			var again bytes.Buffer
			c := canonical{relaxed: relaxed, left: 1 << 62, out: &again}
			c.Write(whole.Bytes())
			c.end()
			if again.String() != whole.String() {
				t.Fatalf("%q gives %q, which gives %q", body, whole.String(), again.String())
			}
		}
	})
}

func TestSignaturesVerify(t *testing.T) {
	h, keys := cryptoHost(t, Grant{SignKeys: []string{"ed", "rsa", "ec", "mac", "gone"}}, nil)
	dig := sum256("message")
	for _, x := range []struct {
		name string
		alg  int32
	}{{"ed", abi.AlgEd25519}, {"rsa", abi.AlgRSA}, {"rsa", abi.AlgRSAPSS}, {"ec", abi.AlgECDSAP256}} {
		n := h.call(mc+"sign", x.name, x.alg, dig, half, half)
		if n <= 0 {
			t.Fatalf("sign with %s: %v", x.name, abi.Code(n))
		}
		sig := string(h.m[half : half+n])
		der, err := x509.MarshalPKIXPublicKey(keys.signers[x.name].Public())
		if err != nil {
			t.Fatal(err)
		}
		key := string(der)
		h.code(abi.OK, mc+"verify", x.alg, key, sig, dig)
		h.code(abi.BadSig, mc+"verify", x.alg, key, sig, sum256("other"))
		h.code(abi.BadSig, mc+"verify", x.alg, key, sig[1:], dig)
		h.code(abi.BadSig, mc+"verify", x.alg, key, "", dig)
		h.code(abi.Invalid, mc+"verify", x.alg, key[1:], sig, dig)
		h.code(abi.Invalid, mc+"verify", x.alg, "", sig, dig)
		h.code(abi.Invalid, mc+"verify", x.alg, strings.Repeat("x", 3000), sig, dig)
		if x.alg != abi.AlgEd25519 {
			h.code(abi.Invalid, mc+"verify", x.alg, key, sig, dig[1:])
			h.code(abi.Invalid, mc+"sign", x.name, x.alg, dig[1:], half, half)
			h.code(abi.Invalid, mc+"verify", abi.AlgEd25519, key, sig, dig)
		} else {
			h.code(abi.OK, mc+"verify", x.alg, string(keys.signers["ed"].Public().(ed25519.PublicKey)), sig, dig)
			h.code(abi.Invalid, mc+"verify", abi.AlgRSA, key, sig, dig)
		}
		h.code(abi.Unsupported, mc+"verify", 20, key, sig, dig)
		h.code(abi.Unsupported, mc+"verify", abi.AlgSHA256, key, sig, dig)
	}
	h.c.Begin("init", nil)
	h.code(abi.Denied, mc+"sign", "other", abi.AlgRSA, dig, half, half)
	h.code(abi.NotFound, mc+"sign", "gone", abi.AlgRSA, dig, half, half)
	h.code(abi.NotFound, mc+"sign", "mac", abi.AlgRSA, dig, half, half)
	h.code(abi.Invalid, mc+"sign", "ec", abi.AlgRSA, dig, half, half)
	h.code(abi.Unsupported, mc+"sign", "ec", 2, dig, half, half)
	h.number(64, mc+"sign", "ed", abi.AlgEd25519, dig, half, 63)

	m := hmac.New(sha256.New, []byte("secret"))
	m.Write([]byte("data"))
	h.text(string(m.Sum(nil)), mc+"hmac", "mac", abi.AlgSHA256, "data")
	h.code(abi.Denied, mc+"hmac", "other", abi.AlgSHA256, "data", half, half)
	h.code(abi.NotFound, mc+"hmac", "rsa", abi.AlgSHA256, "data", half, half)
	h.code(abi.Unsupported, mc+"hmac", "mac", 17, "data", half, half)

	h.c.Begin("init", nil)
	for range abi.MaxSignCalls {
		h.number(32, mc+"hmac", "mac", abi.AlgSHA256, "data", half, half)
	}
	h.code(abi.Limit, mc+"hmac", "mac", abi.AlgSHA256, "data", half, half)
	h.code(abi.Limit, mc+"sign", "rsa", abi.AlgRSA, dig, half, half)

	h.c.Begin("init", nil)
	h.c.guest.Keys = nil
	h.code(abi.Unavailable, mc+"sign", "rsa", abi.AlgRSA, dig, half, half)
}

func TestKeysOfOddSizesAreRefused(t *testing.T) {
	h, _ := cryptoHost(t, Grant{SignKeys: []string{"p384"}}, nil)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h.c.guest.Keys = keyring{signers: map[string]crypto.Signer{"p384": p384}}
	dig := sum256("x")
	h.code(abi.Invalid, mc+"sign", "p384", abi.AlgECDSAP256, dig, half, half)
	der, err := x509.MarshalPKIXPublicKey(p384.Public())
	if err != nil {
		t.Fatal(err)
	}
	h.code(abi.Invalid, mc+"verify", abi.AlgECDSAP256, string(der), "sig", dig)
	for _, bits := range []int{1023, 4097} {
		n := make([]byte, (bits+7)/8)
		for i := range n {
			n[i] = 0xff
		}
		n[0] = 0xff >> ((8 - bits%8) % 8)
		pub := &rsa.PublicKey{E: 65537, N: new(big.Int).SetBytes(n)}
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		h.code(abi.Invalid, mc+"verify", abi.AlgRSA, string(der), "sig", dig)
		h.code(abi.Invalid, mc+"verify", abi.AlgRSAPSS, string(der), "sig", dig)
	}
}

func TestPasswords(t *testing.T) {
	h, _ := cryptoHost(t, Grant{}, event(hook.Auth))
	const hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
	h.number(1, mc+"password_verify", hash, "secret")
	h.number(0, mc+"password_verify", hash, "wrong")
	h.code(abi.Unsupported, mc+"password_verify", "{PLAIN}secret", "secret")
	h.code(abi.Limit, mc+"password_verify", strings.Replace(hash, "$04$", "$20$", 1), "secret")
	h.code(abi.Limit, mc+"password_verify", hash, "secret") // the fifth
	h.c.Begin("auth", event(hook.Auth))
	h.code(abi.TooLarge, mc+"password_verify", hash, strings.Repeat("x", 513))
	h.c.guest.Passwords = slowPasswords{}
	h.c.meter = impatient{h.c.meter}
	h.code(abi.Timeout, mc+"password_verify", hash, "secret")
	h.c.guest.Passwords = nil
	h.code(abi.Unavailable, mc+"password_verify", hash, "secret")
}

type slowPasswords struct{}

func (slowPasswords) Check(ctx context.Context, _, _ []byte) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

// impatient is a meter whose wall time is up.
type impatient struct{ Meter }

func (impatient) Wait(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f(ctx)
}
