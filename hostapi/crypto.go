package hostapi

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/wasmta/wasmta/hostapi/abi"
	passwords "github.com/wasmta/wasmta/hostapi/password"
)

// What cryptography costs, in nanoseconds.
const (
	costDigest = 300
	costVerify = 60_000
	costSign   = 500_000
	costCanon  = 3 // an octet; hashing one: 1
)

const (
	minRSA, maxRSA = 1024, 4096 // bits of a modulus
	maxKeyDER      = 2 << 10    // octets
	maxSigned      = 64 << 10   // octets that Ed25519 signs itself
	hashChunk      = 64 << 10
)

func cryptoFunctions() []Function {
	return []Function{
		{abi.ModuleCrypto, "digest", "iiiii>i", digest},
		{abi.ModuleCrypto, "digest_open", "i>i", digestOpen},
		{abi.ModuleCrypto, "digest_update", "iii>i", digestUpdate},
		{abi.ModuleCrypto, "digest_body", "iIIi>i", digestBody},
		{abi.ModuleCrypto, "digest_final", "iii>i", digestFinal},
		{abi.ModuleCrypto, "verify", "iiiiiii>i", verify},
		{abi.ModuleCrypto, "sign", "iiiiiii>i", sign},
		{abi.ModuleCrypto, "hmac", "iiiiiii>i", mac},
		{abi.ModuleCrypto, "password_verify", "iiii>i", passwordVerify},
	}
}

// digests are the open handles: a handle is an index and 1.
type digests [abi.MaxDigests]hash.Hash

// hashOf is the constructor of a digest; nil: there is no such algorithm.
func hashOf(alg uint64) func() hash.Hash {
	switch int32(alg) {
	case abi.AlgSHA1:
		return sha1.New
	case abi.AlgSHA256:
		return sha256.New
	case abi.AlgSHA512:
		return sha512.New
	}
	return nil
}

// digest(alg, ptr, len, out, cap)
func digest(c *Call, m Memory, p []uint64) int64 {
	data, dst := in(m, p[1], p[2]), out(m, p[3], p[4])
	fresh := hashOf(p[0])
	if fresh == nil {
		return int64(abi.Unsupported)
	}
	h := fresh()
	if len(dst) < h.Size() {
		return int64(h.Size())
	}
	c.meter.Charge(costDigest + int64(len(data)))
	h.Write(data)
	return c.output(dst, h.Sum(c.scratch[:0]))
}

// digest_open(alg)
func digestOpen(c *Call, _ Memory, p []uint64) int64 {
	fresh := hashOf(p[0])
	if fresh == nil {
		return int64(abi.Unsupported)
	}
	for i := range c.digests {
		if c.digests[i] == nil {
			c.digests[i] = fresh()
			c.meter.Charge(costDigest)
			return int64(i + 1)
		}
	}
	return int64(abi.Limit)
}

// opened finds a handle's place; nil: it is none.
func (c *Call) opened(handle uint64) *hash.Hash {
	i := int32(handle) - 1
	if i < 0 || int(i) >= len(c.digests) || c.digests[i] == nil {
		return nil
	}
	return &c.digests[i]
}

// digest_update(h, ptr, len)
func digestUpdate(c *Call, m Memory, p []uint64) int64 {
	data := in(m, p[1], p[2])
	h := c.opened(p[0])
	if h == nil {
		return int64(abi.NotFound)
	}
	c.meter.Charge(int64(len(data)))
	(*h).Write(data)
	return 0
}

// digest_body(h, off, len, canon): hashes len octets of the body from off, -1
// for all that follow, without showing them to the guest. With a
// canonicalisation both count in the canonical body, as DKIM's l= does.
func digestBody(c *Call, _ Memory, p []uint64) int64 {
	off, n, canon := int64(p[1]), int64(p[2]), int32(p[3])
	h := c.opened(p[0])
	if h == nil {
		return int64(abi.NotFound)
	}
	if canon < abi.CanonRaw || canon > abi.CanonRelaxed {
		return int64(abi.Unsupported)
	}
	if c.guest.Grant.Body < Read {
		return int64(abi.Denied)
	}
	if c.event == nil || c.event.Content == nil || c.event.Content.Body == nil {
		return int64(abi.State)
	}
	if off < 0 || n < -1 {
		return int64(abi.Invalid)
	}
	if n < 0 {
		n = 1<<63 - 1
	}
	content := c.event.Content
	if canon == abi.CanonRaw {
		off = min(off, content.BodySize)
		return c.hashBody(io.NewSectionReader(content.Body, off, min(n, content.BodySize-off)), 1, (*h).Write)
	}
	w := canonical{relaxed: canon == abi.CanonRelaxed, skip: off, left: n, out: *h}
	code := c.hashBody(io.NewSectionReader(content.Body, 0, content.BodySize), costCanon, w.Write)
	w.end()
	return code
}

// hashBody feeds write in pieces that are paid for one by one.
func (c *Call) hashBody(r *io.SectionReader, cost int64, write func([]byte) (int, error)) int64 {
	buf := make([]byte, min(hashChunk, r.Size()))
	for left := r.Size(); left > 0; {
		piece := buf[:min(left, hashChunk)]
		c.meter.Charge(costRead + int64(len(piece))*cost)
		if _, err := io.ReadFull(r, piece); err != nil {
			return int64(abi.Unavailable) // the spool is shorter than it was, or cannot be read
		}
		write(piece)
		left -= int64(len(piece))
	}
	return 0
}

// digest_final(h, out, cap): the digest, and the end of the handle, unless out
// is too small.
func digestFinal(c *Call, m Memory, p []uint64) int64 {
	dst := out(m, p[1], p[2])
	h := c.opened(p[0])
	if h == nil {
		return int64(abi.NotFound)
	}
	if n := (*h).Size(); len(dst) < n {
		return int64(n)
	}
	sum := (*h).Sum(c.scratch[:0])
	*h = nil
	return c.output(dst, sum)
}

// verify(alg, key, klen, sig, slen, dig, dlen): key is a DER
// SubjectPublicKeyInfo; an Ed25519 key also its 32 octets (RFC 8463).
func verify(c *Call, m Memory, p []uint64) int64 {
	key, sig, dig := in(m, p[1], p[2]), in(m, p[3], p[4]), in(m, p[5], p[6])
	alg := int32(p[0])
	if alg < abi.AlgEd25519 || alg > abi.AlgECDSAP256 {
		return int64(abi.Unsupported)
	}
	if !signable(alg, dig) || len(key) > maxKeyDER {
		return int64(abi.Invalid)
	}
	c.meter.Charge(costVerify + int64(len(dig)))
	var public any
	if alg == abi.AlgEd25519 && len(key) == ed25519.PublicKeySize {
		public = ed25519.PublicKey(bytes.Clone(key))
	} else {
		var err error
		if public, err = x509.ParsePKIXPublicKey(key); err != nil {
			return int64(abi.Invalid)
		}
	}
	if !suits(alg, public) {
		return int64(abi.Invalid)
	}
	good := false
	switch k := public.(type) {
	case ed25519.PublicKey:
		good = ed25519.Verify(k, dig, sig)
	case *rsa.PublicKey:
		if alg == abi.AlgRSA {
			good = rsa.VerifyPKCS1v15(k, crypto.SHA256, dig, sig) == nil
		} else {
			good = rsa.VerifyPSS(k, crypto.SHA256, dig, sig, nil) == nil
		}
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(k, dig, sig)
	}
	if !good {
		return int64(abi.BadSig)
	}
	return 0
}

// signable tells whether dig can be what alg signs.
func signable(alg int32, dig []byte) bool {
	if alg == abi.AlgEd25519 {
		return len(dig) <= maxSigned
	}
	return len(dig) == sha256.Size
}

// suits tells whether a key is one for alg, of a size that is neither broken
// nor slow.
func suits(alg int32, public any) bool {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return alg == abi.AlgEd25519 && len(k) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		return (alg == abi.AlgRSA || alg == abi.AlgRSAPSS) && k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey:
		return alg == abi.AlgECDSAP256 && k.Curve == elliptic.P256()
	}
	return false
}

// key checks grant and quota of a use of the operator's key name.
func (c *Call) key(name []byte) (Keys, abi.Code) {
	if !slices.Contains(c.guest.Grant.SignKeys, string(name)) {
		return nil, abi.Denied
	}
	if c.guest.Keys == nil {
		return nil, abi.Unavailable
	}
	return c.guest.Keys, quota(&c.used.signatures, abi.MaxSignCalls)
}

// sign(keyname, nlen, alg, dig, dlen, out, cap)
func sign(c *Call, m Memory, p []uint64) int64 {
	name, dig, dst := in(m, p[0], p[1]), in(m, p[3], p[4]), out(m, p[5], p[6])
	alg := int32(p[2])
	if alg < abi.AlgEd25519 || alg > abi.AlgECDSAP256 {
		return int64(abi.Unsupported)
	}
	keys, code := c.key(name)
	if code < 0 {
		return int64(code)
	}
	signer, err := keys.Signer(string(name))
	if err != nil {
		return outcome(err)
	}
	if !signable(alg, dig) || !suits(alg, signer.Public()) {
		return int64(abi.Invalid)
	}
	var opts crypto.SignerOpts = crypto.SHA256
	switch alg {
	case abi.AlgEd25519:
		opts = crypto.Hash(0)
	case abi.AlgRSAPSS:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	c.meter.Charge(costSign)
	sig, err := signer.Sign(c.guest.Random, dig, opts)
	if err != nil {
		return int64(abi.Unavailable)
	}
	return c.output(dst, sig)
}

// hmac(keyname, nlen, alg, ptr, len, out, cap)
func mac(c *Call, m Memory, p []uint64) int64 {
	name, data, dst := in(m, p[0], p[1]), in(m, p[3], p[4]), out(m, p[5], p[6])
	fresh := hashOf(p[2])
	if fresh == nil {
		return int64(abi.Unsupported)
	}
	keys, code := c.key(name)
	if code < 0 {
		return int64(code)
	}
	key, err := keys.Secret(string(name))
	if err != nil {
		return outcome(err)
	}
	c.meter.Charge(4*costDigest + int64(len(data)))
	h := hmac.New(fresh, key)
	h.Write(data)
	return c.output(dst, h.Sum(c.scratch[:0]))
}

// password_verify(hash, hlen, pw, pwlen): 1 if it is the password. It takes
// the wall time of the call and not its CPU time.
func passwordVerify(c *Call, m Memory, p []uint64) int64 {
	hash, pw := in(m, p[0], p[1]), in(m, p[2], p[3])
	if c.guest.Passwords == nil {
		return int64(abi.Unavailable)
	}
	if code := quota(&c.used.passwords, abi.MaxPasswordCalls); code < 0 {
		return int64(code)
	}
	var ok bool
	var err error
	c.meter.Wait(func(ctx context.Context) { ok, err = c.guest.Passwords.Check(ctx, hash, pw) })
	switch {
	case err == nil:
		return bit(ok)
	case errors.Is(err, passwords.ErrFormat):
		return int64(abi.Unsupported)
	case errors.Is(err, passwords.ErrCost):
		return int64(abi.Limit)
	case errors.Is(err, passwords.ErrLong):
		return int64(abi.TooLarge)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return int64(abi.Timeout)
	}
	return outcome(err)
}
