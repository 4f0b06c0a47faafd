package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Key signs for a domain.
type Key struct {
	Domain   string // d=
	Selector string // s=
	// Signer is an RSA key of 1024 to 4096 bits or an Ed25519 key.
	Signer crypto.Signer
}

// SignOptions say what is signed. The canonicalization is relaxed/relaxed.
type SignOptions struct {
	// Fields are the names of the fields that are signed where they are; nil: SignedFields().
	Fields []string
	// Oversigned are the names that are signed once oftener than they are there, so that nobody can add one; nil:
	// OversignedFields(). From is always one.
	Oversigned []string
	// Lifetime is how long the signatures are good for (x=); 0: for ever.
	Lifetime time.Duration
	Now      time.Time
}

// SignedFields are the fields that say what the message is (RFC 6376, section 5.4.1).
func SignedFields() []string {
	return []string{"From", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Help", "List-Unsubscribe",
		"List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive", "Feedback-ID", "TLS-Required"}
}

// OversignedFields are those that a reader sees, or that change what he sees.
func OversignedFields() []string {
	return []string{"From", "Sender", "Reply-To", "Subject", "Date", "To", "Cc", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
}

// maxSignedNames bounds h=.
const maxSignedNames = 500

// SignDKIM signs a message with several keys, at most MaxSignatures, reading the body once; it has CRLF at the end of
// each line. It returns one field for each key, in their order, with its CRLF, ready for [mail.Header.PrependRaw].
func SignDKIM(h mail.Header, body io.Reader, o SignOptions, keys ...Key) ([]string, error) {
	if len(keys) == 0 || len(keys) > MaxSignatures {
		return nil, fmt.Errorf("mailauth: sign with 1 to %d keys, not %d", MaxSignatures, len(keys))
	}
	names, err := o.names(h)
	if err != nil {
		return nil, err
	}
	algorithms := make([]string, len(keys))
	for i, k := range keys {
		if algorithms[i], err = k.check(); err != nil {
			return nil, err
		}
	}
	bodySum := newBodyHash(true)
	if err := readBody(body, bodySum); err != nil {
		return nil, fmt.Errorf("mailauth: reading the body: %w", err)
	}
	bh := base64.StdEncoding.EncodeToString(bodySum.Sum())
	fields := newFieldPicker(h)
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(n)
	}
	out := make([]string, len(keys))
	for i, k := range keys {
		var f folder
		f.add(signatureField + ": v=1;")
		f.add(" a=" + algorithms[i] + ";")
		f.add(" c=relaxed/relaxed;")
		f.add(" d=" + mail.DomainKey(k.Domain) + ";")
		f.add(" s=" + mail.DomainKey(k.Selector) + ";")
		f.add(" t=" + strconv.FormatInt(o.Now.Unix(), 10) + ";")
		if o.Lifetime > 0 {
			f.add(" x=" + strconv.FormatInt(o.Now.Add(o.Lifetime).Unix(), 10) + ";")
		}
		for i, n := range names {
			switch i {
			case 0:
				n = " h=" + n
			default:
				n = ":" + n
			}
			f.add(n)
		}
		f.add(";")
		f.add(" bh=" + bh + ";")
		f.add(" b=")
		sum := sha256.New()
		fields.hash(sum, lower, true)
		own := canonicalField([]byte(f.String()), true)
		sum.Write(own[:len(own)-len("\r\n")])
		hash := crypto.SHA256
		if algorithms[i] == "ed25519-sha256" {
			hash = 0 // PureEdDSA over the digest (RFC 8463, section 3)
		}
		sig, err := k.Signer.Sign(rand.Reader, sum.Sum(nil), hash)
		if err != nil {
			return nil, fmt.Errorf("mailauth: signing for %q with the selector %q: %w", k.Domain, k.Selector, err)
		}
		for b := base64.StdEncoding.EncodeToString(sig); b != ""; {
			n := min(len(b), max(f.room(), 1))
			f.add(b[:n])
			b = b[n:]
		}
		out[i] = f.String() + "\r\n"
	}
	return out, nil
}

// names are those of h=.
func (o SignOptions) names(h mail.Header) ([]string, error) {
	if o.Fields == nil {
		o.Fields = SignedFields()
	}
	if o.Oversigned == nil {
		o.Oversigned = OversignedFields()
	}
	if h.Count("From") == 0 {
		return nil, errors.New("mailauth: a message without From cannot be signed")
	}
	seen := map[string]bool{}
	var names []string
	for i, name := range slices.Concat([]string{"From"}, o.Oversigned, o.Fields) {
		key := strings.ToLower(name)
		if seen[key] {
			continue
		}
		seen[key] = true
		for j := range len(name) {
			if c := name[j]; c <= ' ' || c >= 0x7f || c == ':' || c == ';' {
				return nil, fmt.Errorf("mailauth: a field %q cannot be signed", name)
			}
		}
		n := h.Count(name)
		if i <= len(o.Oversigned) {
			n++
		}
		if len(names)+n > maxSignedNames {
			return nil, fmt.Errorf("mailauth: the message has too many fields to sign, more than %d", maxSignedNames)
		}
		for range n {
			names = append(names, name)
		}
	}
	return names, nil
}

// check returns the algorithm of a key.
func (k Key) check() (string, error) {
	_, okDomain := hostName(k.Domain)
	_, okSelector := hostName(k.Selector)
	if !okDomain || !okSelector || !validName(mail.DomainKey(k.Selector)+"._domainkey."+mail.DomainKey(k.Domain)) {
		return "", fmt.Errorf("mailauth: the selector %q of %q cannot have a key", k.Selector, k.Domain)
	}
	if k.Signer == nil {
		return "", fmt.Errorf("mailauth: the selector %q of %q has no key", k.Selector, k.Domain)
	}
	switch pub := k.Signer.Public().(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSA || bits > maxRSA {
			return "", fmt.Errorf("mailauth: the key of the selector %q of %q has %d bits; make one with 2048", k.Selector, k.Domain, bits)
		}
		return "rsa-sha256", nil
	case ed25519.PublicKey:
		return "ed25519-sha256", nil
	default:
		return "", fmt.Errorf("mailauth: the key of the selector %q of %q is neither RSA nor Ed25519", k.Selector, k.Domain)
	}
}
