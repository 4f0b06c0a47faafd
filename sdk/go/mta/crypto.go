package mta

import (
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// Algorithm is one of mta1_crypto.
type Algorithm int32

const (
	SHA1      = Algorithm(abi.AlgSHA1)
	SHA256    = Algorithm(abi.AlgSHA256)
	SHA512    = Algorithm(abi.AlgSHA512)
	Ed25519   = Algorithm(abi.AlgEd25519)   // for DKIM it signs the SHA-256
	RSA       = Algorithm(abi.AlgRSA)       // PKCS #1 v1.5 with SHA-256
	RSAPSS    = Algorithm(abi.AlgRSAPSS)    // with SHA-256
	ECDSAP256 = Algorithm(abi.AlgECDSAP256) // with SHA-256, ASN.1
)

// Canonicalization is the form in which a body is hashed (RFC 6376 3.4).
type Canonicalization int32

const (
	Raw     = Canonicalization(abi.CanonRaw)
	Simple  = Canonicalization(abi.CanonSimple)
	Relaxed = Canonicalization(abi.CanonRelaxed)
)

// Crypto is cryptography in the server: faster than in the plugin, and with
// keys that the plugin does not see.
func (s *Session) Crypto() *Crypto { return new(Crypto) }

// Crypto is the module mta1_crypto. It needs no grant except for keys
// (sign_keys) and the body.
type Crypto struct{}

// Digest hashes data.
func (*Crypto) Digest(a Algorithm, data []byte) ([]byte, error) {
	return octets(func(b []byte) int32 { return guest.Digest(int32(a), data, b) })
}

// NewDigest begins a digest. Eight may be open at a time, until Sum or the end
// of the call.
func (*Crypto) NewDigest(a Algorithm) (*Digest, error) {
	h := guest.DigestOpen(int32(a))
	if h < 0 {
		return nil, abi.Code(h)
	}
	return &Digest{h}, nil
}

// BodyDigest hashes the canonical body, of it the first limit octets, -1 for
// all: DKIM's bh=. It needs the grant body = "read".
func (c *Crypto) BodyDigest(a Algorithm, form Canonicalization, limit int64) ([]byte, error) {
	d, err := c.NewDigest(a)
	if err != nil {
		return nil, err
	}
	berr := d.Body(0, limit, form)
	sum, err := d.Sum()
	if berr != nil {
		return nil, berr
	}
	return sum, err
}

// Digest is a digest that grows.
type Digest struct{ handle int32 }

// Write hashes p.
func (d *Digest) Write(p []byte) (int, error) {
	if err := check(guest.DigestUpdate(d.handle, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Body hashes n octets of the body from off, -1 for all that follow.
func (d *Digest) Body(off, n int64, form Canonicalization) error {
	return check(guest.DigestBody(d.handle, off, n, int32(form)))
}

// Sum gives the digest and ends it.
func (d *Digest) Sum() ([]byte, error) {
	return octets(func(b []byte) int32 { return guest.DigestFinal(d.handle, b) })
}

// Verify checks a signature; abi.BadSig: it is not good. key is a DER
// SubjectPublicKeyInfo, for Ed25519 also the 32 octets. digest is the SHA-256,
// with Ed25519 what was signed.
func (*Crypto) Verify(a Algorithm, key, signature, digest []byte) error {
	return check(guest.Verify(int32(a), key, signature, digest))
}

// Sign signs a digest with a key of the operator.
func (*Crypto) Sign(key string, a Algorithm, digest []byte) ([]byte, error) {
	return octets(func(b []byte) int32 { return guest.Sign(key, int32(a), digest, b) })
}

// HMAC makes a MAC with a key of the operator.
func (*Crypto) HMAC(key string, a Algorithm, data []byte) ([]byte, error) {
	return octets(func(b []byte) int32 { return guest.HMAC(key, int32(a), data, b) })
}

// CheckPassword tells whether hash is one of password: bcrypt, argon2id,
// scrypt, sha512-crypt or PBKDF2. Four may be checked in a call.
func (*Crypto) CheckPassword(hash, password string) (bool, error) {
	n := guest.PasswordVerify(hash, password)
	return n == 1, check(n)
}

func octets(get func([]byte) int32) ([]byte, error) {
	s, err := read(get)
	if err != nil {
		return nil, err
	}
	return []byte(s), nil
}
