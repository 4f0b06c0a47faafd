package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	// MaxSignatures is how many signatures of a message are looked at, from the top, and how many are made at a time.
	MaxSignatures = 10

	maxField = 64 << 10 // octets of a field that is read
	dkimTime = 20 * time.Second
)

// DKIM is what became of one signature (RFC 6376, section 6). Result is one of Pass; Fail, the signature is wrong or has
// expired; Policy, it may be right but is of a kind that we do not take; Neutral, it cannot be read; PermError, there is
// no key for it; TempError.
type DKIM struct {
	Result     Result
	Domain     string // d=, lower case, A-labels; empty if it is no domain
	Selector   string // s=, the same
	Identifier string // i=, as it is; empty: none
	Algorithm  string // "rsa-sha256" or "ed25519-sha256", or what else a= says
	Prefix     string // the first 8 characters of b= (RFC 6008)
	Reason     string // why it is no Pass, in our words
	Testing    bool   // the domain says that it is only testing (t=y)
	Field      int    // index of the field in the header section
	// Signed are the names in h=, lower case. Time and Expires are t= and x=; zero: none.
	Signed        []string
	Time, Expires time.Time
}

// VerifyDKIM verifies the signatures of a message, at most MaxSignatures from the top. It reads the body only as far as
// it must, once, with CRLF at the end of each line. The error is that of reading it; without signatures there is
// neither result nor error.
func VerifyDKIM(ctx context.Context, r Resolver, h mail.Header, body io.Reader, now time.Time) ([]DKIM, error) {
	var sigs []*signature
	for i := h.Find(0, signatureField); i >= 0 && len(sigs) < MaxSignatures; i = h.Find(i+1, signatureField) {
		s := &signature{DKIM: DKIM{Field: i}, raw: h.Raw(i)}
		s.err = s.parse(now)
		sigs = append(sigs, s)
	}
	if len(sigs) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dkimTime)
	defer cancel()
	var keys sync.WaitGroup
	for _, s := range sigs {
		if s.err == nil {
			keys.Go(func() { s.err = s.fetch(ctx, r) })
		}
	}
	keys.Wait()

	var bodies [2]*bodyHash // simple, relaxed
	for _, s := range sigs {
		if s.err == nil && bodies[s.bodyKind()] == nil {
			bodies[s.bodyKind()] = newBodyHash(s.relaxedBody)
		}
	}
	var sums [2][]byte
	if bodies != [2]*bodyHash{} {
		if err := readBody(body, bodies[:]...); err != nil {
			return nil, fmt.Errorf("mailauth: reading the body: %w", err)
		}
		for i, b := range bodies {
			if b != nil {
				sums[i] = b.Sum()
			}
		}
	}
	fields := newFieldPicker(h)
	out := make([]DKIM, len(sigs))
	for i, s := range sigs {
		if s.err == nil {
			s.err = s.check(fields, sums[s.bodyKind()])
		}
		s.Result = Pass
		if s.err != nil {
			p := asProblem(s.err)
			s.Result, s.Reason = p.result, p.reason
		}
		out[i] = s.DKIM
	}
	return out, nil
}

const signatureField = "DKIM-Signature"

// signature is one that is being verified.
type signature struct {
	DKIM
	raw          []byte
	tags         tagList
	value        int // where the field's value begins in raw
	relaxedHead  bool
	relaxedBody  bool
	bodySum, sig []byte
	key          dkimKey
	err          error
}

func (s *signature) bodyKind() int {
	if s.relaxedBody {
		return 1
	}
	return 0
}

func unreadable(format string, args ...any) error {
	return &problem{Neutral, fmt.Sprintf(format, args...)}
}

// parse reads the field and refuses what needs no key to be refused.
func (s *signature) parse(now time.Time) (err error) {
	if len(s.raw) > maxField {
		return unreadable("the field has more than %d octets", maxField)
	}
	s.value = bytes.IndexByte(s.raw, ':') + 1
	if s.tags, err = parseTags(string(s.raw[s.value:])); err != nil {
		return unreadable("the signature cannot be read: %v", err)
	}
	t := s.tags
	s.Algorithm = strings.ToLower(noFWS(t.get("a")))
	s.Identifier = noFWS(t.get("i"))
	b := noFWS(t.get("b"))
	s.Prefix = b[:min(len(b), 8)]
	domain, okDomain := hostName(t.get("d"))
	selector, okSelector := hostName(t.get("s"))
	s.Domain, s.Selector = domain, selector
	if v := t.get("v"); v != "1" {
		return unreadable("the signature is of version %.64q", v)
	}
	for _, name := range []string{"a", "b", "bh", "d", "h", "s"} {
		if t.get(name) == "" {
			return unreadable("the signature has no %s=", name)
		}
	}
	if !okDomain || !okSelector {
		return unreadable("d=%.255q, s=%.255q: not domain names", t.get("d"), t.get("s"))
	}
	s.Signed = t.list("h")
	for i, name := range s.Signed {
		s.Signed[i] = strings.ToLower(name)
	}
	if !slices.Contains(s.Signed, "from") {
		return unreadable("the signature does not cover From")
	}
	if s.Identifier != "" {
		i := strings.LastIndexByte(s.Identifier, '@')
		if host, ok := hostName(s.Identifier[i+1:]); i < 0 || !ok || !under(host, domain) {
			return unreadable("i=%.255q is not of d=%.255q", s.Identifier, domain)
		}
	}
	if q := t.list("q"); q != nil && !slices.Contains(q, "dns/txt") {
		return unreadable("the key is to be had by q=%.64q only", t.get("q"))
	}
	switch strings.ToLower(noFWS(t.get("c"))) {
	case "", "simple", "simple/simple":
	case "simple/relaxed":
		s.relaxedBody = true
	case "relaxed", "relaxed/simple":
		s.relaxedHead = true
	case "relaxed/relaxed":
		s.relaxedHead, s.relaxedBody = true, true
	default:
		return unreadable("the canonicalization %.64q is unknown", t.get("c"))
	}
	if s.Time, err = tagTime(t.get("t")); err == nil {
		s.Expires, err = tagTime(t.get("x"))
	}
	if err != nil {
		return err
	}
	if s.bodySum, err = t.base64("bh"); err != nil {
		return unreadable("bh=: %v", err)
	}
	if s.sig, err = t.base64("b"); err != nil {
		return unreadable("b=: %v", err)
	}
	switch s.Algorithm {
	case "rsa-sha256", "ed25519-sha256":
	case "rsa-sha1":
		return &problem{Policy, "SHA-1 is not safe (RFC 8301)"}
	default:
		return unreadable("the algorithm %.64q is unknown", s.Algorithm)
	}
	if _, ok := t.find("l"); ok {
		return &problem{Policy, "with l= it covers only a part of the body"}
	}
	if !s.Expires.IsZero() && now.After(s.Expires) {
		return &problem{Fail, "the signature has expired"}
	}
	return nil
}

// tagTime reads seconds since 1970, up to 12 digits (RFC 6376, section 3.5).
func tagTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || len(s) > 12 {
		return time.Time{}, unreadable("%.64q is no time", s)
	}
	return time.Unix(int64(n), 0), nil
}

func (s *signature) fetch(ctx context.Context, r Resolver) (err error) {
	if s.key, err = lookupKey(ctx, r, s.Domain, s.Selector, s.Algorithm); err != nil {
		return err
	}
	s.Testing = s.key.testing
	if s.key.strict && s.Identifier != "" {
		host, _ := hostName(s.Identifier[strings.LastIndexByte(s.Identifier, '@')+1:])
		if host != s.Domain {
			return permanent("i=%.255q is in a subdomain, which the key forbids", s.Identifier)
		}
	}
	return nil
}

// check compares body and fields with the signature.
func (s *signature) check(fields fieldPicker, body []byte) error {
	if subtle.ConstantTimeCompare(body, s.bodySum) != 1 {
		return &problem{Fail, "the body is not the one that was signed"}
	}
	sum := sha256.New()
	fields.hash(sum, s.Signed, s.relaxedHead)
	b, _ := s.tags.find("b")
	own := slices.Concat(s.raw[:s.value+b.start], s.raw[s.value+b.end:])
	sum.Write(bytes.TrimSuffix(canonicalField(own, s.relaxedHead), []byte("\r\n")))
	if !s.key.verifies(sum.Sum(nil), s.sig) {
		return &problem{Fail, "the signature does not verify"}
	}
	return nil
}
