package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
)

// Limits of RSA keys, in bits. The lower is that of RFC 8301, section 3.2; the upper bounds the work.
const (
	minRSA = 1024
	maxRSA = 4096

	maxKeyRecord = 8 << 10 // octets
)

// dkimKey is a key record (RFC 6376, section 3.6.1; RFC 8463).
type dkimKey struct {
	public  crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	testing bool             // t=y
	strict  bool             // t=s: i= must not be in a subdomain of d=
}

// lookupKey fetches the key of a selector. The error is a problem.
func lookupKey(ctx context.Context, r Resolver, domain, selector, algorithm string) (dkimKey, error) {
	name := selector + "._domainkey." + domain
	if !validName(name) {
		return dkimKey{}, permanent("no key can be at %.300q", name)
	}
	data, _, err := lookup(ctx, r, name, typeTXT)
	if err != nil {
		return dkimKey{}, temporary(err)
	}
	// Other records at the name, by a wildcard for example, are no keys.
	var record tagList
	for _, txt := range data {
		if len(txt) > maxKeyRecord {
			continue
		}
		tags, err := parseTags(string(txt))
		if err != nil {
			continue
		}
		if _, ok := tags.find("p"); !ok || tags[0].name == "v" && tags[0].value != "DKIM1" {
			continue
		}
		if record != nil {
			return dkimKey{}, permanent("%.253q has several keys", name)
		}
		record = tags
	}
	if record == nil {
		return dkimKey{}, permanent("no key at %.253q", name)
	}
	key, err := parseKey(record, algorithm)
	if p, ok := err.(*problem); ok {
		return key, &problem{p.result, fmt.Sprintf("the key at %.253q %s", name, p.reason)}
	}
	return key, err
}

func parseKey(tags tagList, algorithm string) (key dkimKey, err error) {
	if v, ok := tags.find("v"); ok && (v.value != "DKIM1" || tags[0].name != "v") {
		return key, permanent("is of another version")
	}
	if tags.get("p") == "" {
		return key, permanent("was revoked")
	}
	if h := tags.list("h"); h != nil && !slices.Contains(h, "sha256") {
		return key, permanent("is not for SHA-256")
	}
	if s := tags.list("s"); s != nil && !slices.Contains(s, "*") && !slices.Contains(s, "email") {
		return key, permanent("is not for mail")
	}
	flags := tags.list("t")
	key.testing, key.strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	der, err := tags.base64("p")
	if err != nil {
		return key, permanent("cannot be read: %v", err)
	}
	kind := tags.get("k")
	if kind == "" {
		kind = "rsa"
	}
	if kind+"-sha256" != algorithm {
		return key, permanent("is of the kind %.64q", kind)
	}
	if kind == "ed25519" {
		if len(der) != ed25519.PublicKeySize {
			return key, permanent("has %d octets, not %d", len(der), ed25519.PublicKeySize)
		}
		key.public = ed25519.PublicKey(der)
		return key, nil
	}
	var pub *rsa.PublicKey
	if any, err := x509.ParsePKIXPublicKey(der); err == nil {
		pub, _ = any.(*rsa.PublicKey)
	} else if pub, err = x509.ParsePKCS1PublicKey(der); err != nil { // RFC 6376, erratum 3017
		pub = nil
	}
	if pub == nil {
		return key, permanent("is no RSA key")
	}
	if bits := pub.N.BitLen(); bits < minRSA || bits > maxRSA {
		return key, &problem{Policy, fmt.Sprintf("has %d bits, not %d to %d", bits, minRSA, maxRSA)}
	}
	key.public = pub
	return key, nil
}

// verifies tells whether sig is the key's signature of a SHA-256 digest.
func (k dkimKey) verifies(digest, sig []byte) bool {
	switch pub := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig) == nil
	case ed25519.PublicKey:
		return len(digest) == sha256.Size && ed25519.Verify(pub, digest, sig)
	}
	return false
}
