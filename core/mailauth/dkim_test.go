package mailauth_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailauth"
)

var now = time.Unix(1_700_000_000, 0)

// The keys of the tests, made once.
var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(rsa.GenerateKey(nil, 2048)) })
	edKey  = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) })
)

func mustKey(k *rsa.PrivateKey, err error) *rsa.PrivateKey {
	if err != nil {
		panic(err)
	}
	return k
}

func rsaRecord(pub *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

func edRecord(pub crypto.PublicKey) string {
	return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub.(ed25519.PublicKey))
}

// keys are those that sign for example.org, and their zone.
func keys() ([]mailauth.Key, zone) {
	return []mailauth.Key{{Domain: "example.org", Selector: "r", Signer: rsaKey()}, {Domain: "example.org", Selector: "e", Signer: edKey()}},
		zone{"r._domainkey.example.org": {"TXT " + rsaRecord(&rsaKey().PublicKey)}, "e._domainkey.example.org": {"TXT " + edRecord(edKey().Public())}}
}

// split cuts a message, whose lines end with LF or CRLF, into header section and body.
func split(t testing.TB, msg string) (mail.Header, string) {
	t.Helper()
	msg = strings.ReplaceAll(strings.ReplaceAll(msg, "\r\n", "\n"), "\n", "\r\n")
	var s mail.HeaderScanner
	end, _ := s.Scan([]byte(msg), true)
	h, err := mail.ParseHeader([]byte(msg[:end]))
	if err != nil {
		t.Fatal(err)
	}
	return h, msg[end:]
}

func verify(t testing.TB, z zone, msg string) []mailauth.DKIM {
	t.Helper()
	h, body := split(t, msg)
	got, err := mailauth.VerifyDKIM(t.Context(), &fakeDNS{zone: z}, h, strings.NewReader(body), now)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sign(t testing.TB, msg string, o mailauth.SignOptions, keys ...mailauth.Key) string {
	t.Helper()
	h, body := split(t, msg)
	o.Now = now
	fields, err := mailauth.SignDKIM(h, strings.NewReader(body), o, keys...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range slices.Backward(fields) {
		h.PrependRaw(f)
	}
	return string(h.Bytes()) + body
}

func results(list []mailauth.DKIM) string {
	var words []string
	for _, d := range list {
		words = append(words, string(d.Result))
	}
	return strings.Join(words, " ")
}

const letter = `From: "A. Writer" <a@example.org>
To: b@example.net,
	c@example.net
Subject: =?utf-8?q?a_letter?=
Date: Sun, 22 Nov 2026 03:14:45 +0000
Message-ID: <1@example.org>
MIME-Version: 1.0
Content-Type: text/plain

Hello  there, 	you. 

.dots and trailing blanks  


`

// TestDKIMVectors verifies the signed messages of RFC 6376, appendix A, and RFC 8463, appendix A.
func TestDKIMVectors(t *testing.T) {
	const message = `From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`
	for name, c := range map[string]struct {
		zone zone
		msg  string
		want string
	}{
		"RFC 6376": {zone{"brisbane._domainkey.example.com": {"TXT v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ" +
			"DwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v" +
			"/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"}},
			`DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
` + message, "pass"},
		"RFC 8463": {zone{
			"brisbane._domainkey.football.example.com": {"TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
			"test._domainkey.football.example.com": {"TXT v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" +
				"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lx" +
				"j+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"}},
			`DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
` + message, "pass pass"},
	} {
		if got := verify(t, c.zone, c.msg); results(got) != c.want {
			t.Errorf("%s: %+v", name, got)
		}
		if got := verify(t, c.zone, strings.Replace(c.msg, "lost", "won", 1)); strings.Contains(results(got), "pass") {
			t.Errorf("%s with another body: %+v", name, got)
		}
	}
}

func TestSignedMessageVerifies(t *testing.T) {
	k, z := keys()
	signed := sign(t, letter, mailauth.SignOptions{Lifetime: time.Hour}, k...)
	for line := range strings.Lines(signed[:strings.Index(signed, "\nFrom: ")]) {
		if len(line) > 78 {
			t.Errorf("a line of %d octets: %q", len(line), line)
		}
	}
	got := verify(t, z, signed)
	if results(got) != "pass pass" {
		t.Fatalf("%+v\n%s", got, signed)
	}
	d := got[1]
	if d.Domain != "example.org" || d.Selector != "e" || d.Algorithm != "ed25519-sha256" || len(d.Prefix) != 8 || d.Field != 1 || !d.Time.Equal(now) || !d.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(signed, "b="+d.Prefix) && !strings.Contains(strings.ReplaceAll(signed, "\r\n\t", ""), "b="+d.Prefix) {
		t.Errorf("%q does not begin a b=", d.Prefix)
	}
	for change, msg := range map[string]string{
		"the body":             strings.Replace(signed, "Hello", "Hullo", 1),
		"more body":            signed + "PS: send money\r\n",
		"the subject":          strings.Replace(signed, "a_letter", "a_bill", 1),
		"another From":         "From: ceo@example.com\r\n" + signed,
		"another Subject":      "Subject: bill\r\n" + signed,
		"a Reply-To":           "Reply-To: evil@example.com\r\n" + signed,
		"another Content-Type": strings.Replace(signed, "MIME-Version: 1.0", "MIME-Version: 1.0\r\nContent-Type: text/html", 1),
		"a removed To":         strings.Replace(signed, "To: b@example.net,\r\n\tc@example.net\r\n", "", 1),
	} {
		if got := verify(t, z, msg); results(got) != "fail fail" {
			t.Errorf("%s: %+v", change, got)
		}
	}
	for change, msg := range map[string]string{
		"a Received":          "Received: from x by y; now\r\n" + signed,
		"blanks in a field":   strings.Replace(signed, "Message-ID: <1", "MESSAGE-ID:   <1", 1),
		"blanks in the body":  strings.Replace(signed, "Hello  there", "Hello \t there", 1),
		"lines at the end":    signed + "\r\n  \r\n",
		"the fold of a field": strings.Replace(signed, ",\r\n\tc@", ", c@", 1),
	} {
		if got := verify(t, z, msg); results(got) != "pass pass" {
			t.Errorf("%s: %+v", change, got)
		}
	}
}

func TestDKIMRefuses(t *testing.T) {
	k, z := keys()
	signed := sign(t, letter, mailauth.SignOptions{Lifetime: time.Hour}, k[0])
	key := z["r._domainkey.example.org"][0]
	weak := "TXT v=DKIM1; p=MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhAMxIPt55fDkATSBGKl9WTQwoFwIjSSm/vdWGnmDPQSjYPA98ImjIc1FJuukl/5DLCRPRjXm4QFwPoTDB9kE4mFWRu/iHQ9HMHYKwSqKYkutQe2UfAWoBbgt4tLJXzqC7kwIDAQAB"
	for name, c := range map[string]struct {
		old, new string
		key      []string
		want     mailauth.Result
		reason   string
	}{
		"as it is":             {"", "", nil, "pass", ""},
		"version 2":            {"v=1", "v=2", nil, "neutral", "version"},
		"no tags":              {"v=1;", "v;", nil, "neutral", "no tag"},
		"twice the domain":     {"v=1;", "v=1; d=example.com;", nil, "neutral", "twice"},
		"no From":              {"h=From:From:", "h=X:", nil, "neutral", "From"},
		"no body hash":         {"bh=", "bx=", nil, "neutral", "bh="},
		"another canon":        {"c=relaxed/relaxed", "c=nowsp", nil, "neutral", "canonicalization"},
		"bad base64":           {"bh=", "bh=!", nil, "neutral", "base64"},
		"SHA-1":                {"a=rsa-sha256", "a=rsa-sha1", nil, "policy", "SHA-1"},
		"another algorithm":    {"a=rsa-sha256", "a=rsa-md5", nil, "neutral", "algorithm"},
		"the wrong algorithm":  {"a=rsa-sha256", "a=ed25519-sha256", nil, "permerror", "kind"},
		"a body length":        {"v=1;", "v=1; l=10;", nil, "policy", "l="},
		"expired":              {fmt.Sprint("x=", now.Add(time.Hour).Unix()), fmt.Sprint("x=", now.Unix()-1), nil, "fail", "expired"},
		"no time":              {"t=1", "t=-1", nil, "neutral", "time"},
		"a domain of spaces":   {"d=example.org", "d=exa mple", nil, "neutral", "domain"},
		"a foreign identifier": {"v=1;", "v=1; i=@example.com;", nil, "neutral", "i="},
		"a suffix identifier":  {"v=1;", "v=1; i=@evilexample.org;", nil, "neutral", "i="},
		"no key":               {"s=r", "s=q", nil, "permerror", "no key"},
		"revoked":              {"", "", []string{"TXT v=DKIM1; p="}, "permerror", "revoked"},
		"another version":      {"", "", []string{strings.Replace(key, "DKIM1", "DKIM2", 1)}, "permerror", "no key"},
		"for SHA-1":            {"", "", []string{key + "; h=sha1"}, "permerror", "SHA-256"},
		"not for mail":         {"", "", []string{key + "; s=tlsrpt"}, "permerror", "mail"},
		"two keys":             {"", "", []string{key, key + "; n=2"}, "permerror", "several"},
		"a key and SPF":        {"", "", []string{"TXT v=spf1 -all", key, "TXT junk"}, "pass", ""},
		"no RSA key":           {"", "", []string{"TXT p=AAAA"}, "permerror", "no RSA"},
		"time-out":             {"", "", []string{"TIMEOUT"}, "temperror", "did not answer"},
		"weak":                 {"", "", []string{weak}, "policy", "768 bits"},
		"huge":                 {"", "", []string{"TXT p=" + hugeKey()}, "policy", "bits"},
	} {
		z := zone{"r._domainkey.example.org": z["r._domainkey.example.org"]}
		if c.key != nil {
			z["r._domainkey.example.org"] = c.key
		}
		msg := signed
		if c.old != "" {
			if msg = strings.Replace(signed, c.old, c.new, 1); msg == signed {
				t.Fatalf("%s: %q is not in %s", name, c.old, signed)
			}
		}
		got := verify(t, z, msg)
		if len(got) != 1 || got[0].Result != c.want || !strings.Contains(got[0].Reason, c.reason) || (got[0].Result == mailauth.Pass) != (got[0].Reason == "") {
			t.Errorf("%s: %+v, want %s, %s", name, got, c.want, c.reason)
		}
	}
}

func hugeKey() string {
	n := mustKey(rsa.GenerateKey(nil, 1024)).PublicKey
	n.N = n.N.Lsh(n.N, 4096)
	der, err := x509.MarshalPKIXPublicKey(&n)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestKeyFlags(t *testing.T) {
	k, z := keys()
	msg := sign(t, letter, mailauth.SignOptions{}, k[1])
	z["e._domainkey.example.org"][0] += "; t=y:s"
	if got := verify(t, z, msg); results(got) != "pass" || !got[0].Testing {
		t.Errorf("t=y:s: %+v", got)
	}
	if got := verify(t, z, strings.Replace(msg, "v=1;", "v=1; i=a@sub.example.org;", 1)); results(got) != "permerror" {
		t.Errorf("i= in a subdomain under t=s: %+v", got)
	}
}

// Only the ten at the top are looked at, and a body is not read for signatures that cannot verify.
func TestManySignatures(t *testing.T) {
	k, z := keys()
	one := sign(t, letter, mailauth.SignOptions{}, k[1])
	field := one[:strings.Index(one, "\nFrom:")+1]
	d := &fakeDNS{zone: z}
	h, body := split(t, strings.Repeat(field, 1000)+letter)
	got, err := mailauth.VerifyDKIM(t.Context(), d, h, iotest.OneByteReader(strings.NewReader(body)), now)
	if err != nil || results(got) != strings.Repeat("pass ", 9)+"pass" || len(d.queries) != 10 {
		t.Errorf("%s, %v after %d look-ups", results(got), err, len(d.queries))
	}
	broken := iotest.ErrReader(errors.New("disk"))
	if _, err := mailauth.VerifyDKIM(t.Context(), d, h, broken, now); err == nil {
		t.Error("a body that cannot be read is no error")
	}
	h, _ = split(t, strings.Replace(one, "s=e", "s=q", 1))
	if got, err := mailauth.VerifyDKIM(t.Context(), d, h, broken, now); err != nil || results(got) != "permerror" {
		t.Errorf("a body was read for nothing: %+v, %v", got, err)
	}
	h, _ = split(t, letter)
	if got, err := mailauth.VerifyDKIM(t.Context(), d, h, broken, now); err != nil || got != nil {
		t.Errorf("no signature: %+v, %v", got, err)
	}
}

func TestSignRefuses(t *testing.T) {
	k, _ := keys()
	h, body := split(t, letter)
	none, _ := split(t, "To: b@example.net\n\n")
	many, _ := split(t, "From: a@example.org\n"+strings.Repeat("To: b@example.net\n", 1000)+"\n")
	small := mailauth.Key{Domain: "example.org", Selector: "s", Signer: fakeSigner{}}
	for name, c := range map[string]struct {
		h    mail.Header
		o    mailauth.SignOptions
		keys []mailauth.Key
	}{
		"no keys":            {h, mailauth.SignOptions{}, nil},
		"11 keys":            {h, mailauth.SignOptions{}, slices.Repeat(k[1:], 11)},
		"no From":            {none, mailauth.SignOptions{}, k},
		"1000 To":            {many, mailauth.SignOptions{}, k},
		"a field of two":     {h, mailauth.SignOptions{Fields: []string{"To:Cc"}}, k},
		"a domain injected":  {h, mailauth.SignOptions{}, []mailauth.Key{{Domain: "example.org; l=0", Selector: "e", Signer: edKey()}}},
		"a selector of CRLF": {h, mailauth.SignOptions{}, []mailauth.Key{{Domain: "example.org", Selector: "e\r\nX:", Signer: edKey()}}},
		"no signer":          {h, mailauth.SignOptions{}, []mailauth.Key{{Domain: "example.org", Selector: "e"}}},
		"another kind":       {h, mailauth.SignOptions{}, []mailauth.Key{small}},
	} {
		if got, err := mailauth.SignDKIM(c.h, strings.NewReader(body), c.o, c.keys...); err == nil {
			t.Errorf("%s: signed: %q", name, got)
		}
	}
}

type fakeSigner struct{}

func (fakeSigner) Public() crypto.PublicKey { return "no key" }
func (fakeSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no key")
}

// TestDKIMAgreesWithGoMsgauth lets another implementation verify what we sign, and signs with it what we verify, in all
// canonicalizations, over bodies of blanks, line ends and few letters.
func TestDKIMAgreesWithGoMsgauth(t *testing.T) {
	k, z := keys()
	txt := func(name string) ([]string, error) {
		if r := z[name]; r != nil {
			return []string{strings.TrimPrefix(r[0], "TXT ")}, nil
		}
		return nil, errors.New("none")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\r\n", "\r\n", " ", "\t", "a", "b ", ".", "\r\n\r\n", "  \r\n"}
	for i := range 60 {
		var body strings.Builder
		for range rnd.IntN(30) {
			body.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		if b := body.String(); b != "" && !strings.HasSuffix(b, "\r\n") {
			body.WriteString("\r\n")
		}
		msg := strings.ReplaceAll(letter[:strings.Index(letter, "\n\n")+2], "\n", "\r\n") + body.String()
		msg = strings.Replace(msg, "Message-ID: ", "X-Empty:\r\nX-Blank:  \r\n \t x\t\r\nMessage-ID : ", 1)

		theirs, err := msgauth.VerifyWithOptions(strings.NewReader(sign(t, msg, mailauth.SignOptions{}, k...)), &msgauth.VerifyOptions{LookupTXT: txt})
		if err != nil || len(theirs) != 2 || theirs[0].Err != nil || theirs[1].Err != nil {
			t.Fatalf("they refuse ours: %v, %v of %q", err, theirs, msg)
		}
		canon := []msgauth.Canonicalization{msgauth.CanonicalizationSimple, msgauth.CanonicalizationRelaxed}
		var signed bytes.Buffer
		err = msgauth.Sign(&signed, strings.NewReader(msg), &msgauth.SignOptions{Domain: "example.org", Selector: k[i%2].Selector, Signer: k[i%2].Signer,
			HeaderCanonicalization: canon[i/2%2], BodyCanonicalization: canon[i/4%2]})
		if err != nil {
			t.Fatal(err)
		}
		// Their time is that of the machine, which does not matter without x=.
		h, rest := split(t, signed.String())
		if got, err := mailauth.VerifyDKIM(t.Context(), &fakeDNS{zone: z}, h, strings.NewReader(rest), now); err != nil || results(got) != "pass" {
			t.Fatalf("we refuse theirs: %v, %+v of %q", err, got, signed.String())
		}
	}
}

func FuzzVerifyDKIM(f *testing.F) {
	k, z := keys()
	f.Add(sign(f, letter, mailauth.SignOptions{}, k[1]), z["e._domainkey.example.org"][0])
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; b=; bh=; d=a.b; s=c; h=from\r\n\r\n", "TXT p=")
	f.Fuzz(func(t *testing.T, msg, key string) {
		var s mail.HeaderScanner
		end, _ := s.Scan([]byte(msg), true)
		h, err := mail.ParseHeader([]byte(msg[:end]))
		if err != nil {
			return
		}
		d := &fakeDNS{zone: zone{"e._domainkey.example.org": {"TXT " + strings.TrimPrefix(key, "TXT ")}}}
		got, err := mailauth.VerifyDKIM(t.Context(), d, h, strings.NewReader(msg[end:]), now)
		if err != nil || len(got) > mailauth.MaxSignatures {
			t.Fatalf("%v, %+v", err, got)
		}
		for _, g := range got {
			if g.Result == "" || len(g.Reason) > 2000 || strings.ContainsAny(g.Reason+g.Domain+g.Selector, "\r\n") {
				t.Fatalf("%+v", g)
			}
		}
		again, err := mailauth.VerifyDKIM(t.Context(), d, h, iotest.OneByteReader(strings.NewReader(msg[end:])), now)
		if err != nil || results(again) != results(got) {
			t.Fatalf("%+v, then %+v", got, again)
		}
	})
}
