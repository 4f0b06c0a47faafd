package mailauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"
	"github.com/google/go-cmp/cmp"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailauth"
)

func TestFormatAuthResults(t *testing.T) {
	results := mailauth.Report(
		mailauth.SPF{Result: mailauth.Pass, Domain: "example.org"}, mail.Path{Local: "a", Domain: "example.org"},
		[]mailauth.DKIM{
			{Result: mailauth.Pass, Domain: "example.org", Selector: "s1", Prefix: "ab+/12=="},
			{Result: mailauth.Fail, Domain: "example.net", Selector: "s2", Prefix: "xyz", Reason: `the body is "another"`}},
		mailauth.DMARC{Result: mailauth.Fail, Disposition: mailauth.Reject, Author: "example.com", Reason: "neither"})
	const want = "Authentication-Results: mx.example.net;\r\n" +
		"\tspf=pass smtp.mailfrom=a@example.org;\r\n" +
		"\tdkim=pass header.d=example.org header.s=s1 header.b=\"ab+/12==\";\r\n" +
		"\tdkim=fail reason=\"the body is \\\"another\\\"\" header.d=example.net header.s=s2\r\n" +
		"\theader.b=xyz;\r\n" +
		"\tdmarc=fail header.from=example.com policy.dmarc=reject\r\n"
	if got := mailauth.FormatAuthResults("mx.example.net", results, false); got != want {
		t.Errorf("%q\n%q", got, want)
	}
	if got := mailauth.FormatAuthResults("mx.example.net", nil, false); got != "Authentication-Results: mx.example.net; none\r\n" {
		t.Errorf("without results: %q", got)
	}
	null := mailauth.Report(mailauth.SPF{Result: mailauth.None, Domain: "mta.example.org", Helo: true, Reason: "no record"}, mail.Path{}, nil, mailauth.DMARC{Result: mailauth.PermError, Reason: "two authors"})
	const wantNull = "Authentication-Results: mx.example.net;\r\n" +
		"\tspf=none reason=\"no record\" smtp.helo=mta.example.org;\r\n\tdkim=none;\r\n\tdmarc=permerror reason=\"two authors\"\r\n"
	if got := mailauth.FormatAuthResults("mx.example.net", null, false); got != wantNull {
		t.Errorf("%q\n%q", got, wantNull)
	}
}

// What we write is one well-formed field, whatever the values are; we and another parser read it alike.
func FuzzFormatAuthResults(f *testing.F) {
	f.Add("mx.example.net", "spf", "pass", "why", "mailfrom", "a@example.org", true)
	f.Add("mx", "dkim", "fail", "x\r\nBcc: y", "b", "\";\\ (=", false)
	f.Add("mx", "dkim", "fail", strings.Repeat("é", 300), "b", strings.Repeat("long ", 1000), true)
	f.Fuzz(func(t *testing.T, id, method, result, reason, name, value string, utf8 bool) {
		in := []mailauth.MethodResult{{Method: method, Result: mailauth.Result(result), Reason: reason, Properties: []mailauth.Property{{Type: "smtp", Name: name, Value: value}}},
			{Method: "dkim", Result: mailauth.None}}
		raw := mailauth.FormatAuthResults(id, in, utf8)
		h, err := mail.ParseHeader([]byte(raw))
		if err != nil || h.Len() != 1 || h.Name(0) != "Authentication-Results" {
			t.Fatalf("%q: %d fields, %v", raw, h.Len(), err)
		}
		for line := range strings.Lines(raw) {
			if len(line) > 1000 || strings.TrimSpace(line) == "" || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Fatalf("line %q", line)
			}
		}
		got, err := mailauth.ParseAuthResults(h.Value(0))
		if err != nil {
			if id == "" {
				return
			}
			t.Fatalf("%q: %v", raw, err)
		}
		if n := len(got.Results); n < 1 || n > 2 || got.Results[n-1].Method != "dkim" {
			t.Fatalf("%q: %+v", raw, got)
		}
		again, err := mailauth.ParseAuthResults(strings.TrimPrefix(mailauth.FormatAuthResults(got.ID, got.Results, utf8), "Authentication-Results:"))
		if diff := cmp.Diff(got, again); diff != "" || err != nil {
			t.Fatalf("%q: %v, %s", raw, err, diff)
		}
	})
}

func TestOthersReadOurAuthResults(t *testing.T) {
	raw := mailauth.FormatAuthResults("mx.example.net", []mailauth.MethodResult{{Method: "spf", Result: mailauth.Pass, Properties: []mailauth.Property{{"smtp", "mailfrom", "a@example.org"}}},
		{Method: "dkim", Result: mailauth.Fail, Properties: []mailauth.Property{{"header", "d", "example.org"}, {"header", "i", "@example.org"}}}}, false)
	h, err := mail.ParseHeader([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	id, results, err := authres.Parse(h.Value(0))
	if err != nil || id != "mx.example.net" || len(results) != 2 {
		t.Fatalf("%q, %v, %v", id, results, err)
	}
	spf, _ := results[0].(*authres.SPFResult)
	dkim, _ := results[1].(*authres.DKIMResult)
	if spf == nil || spf.Value != authres.ResultPass || spf.From != "a@example.org" || dkim == nil || dkim.Domain != "example.org" {
		t.Errorf("%+v, %+v", spf, dkim)
	}
}

// The examples of RFC 8601, appendix B, and what is sent besides.
func TestParseAuthResults(t *testing.T) {
	prop := func(s ...string) (out []mailauth.Property) {
		for _, s := range s {
			name, value, _ := strings.Cut(s, "=")
			typ, name, _ := strings.Cut(name, ".")
			out = append(out, mailauth.Property{Type: typ, Name: name, Value: value})
		}
		return out
	}
	for value, want := range map[string]mailauth.AuthResults{
		"example.org 1; none":                             {ID: "example.org"},
		"example.com; spf=pass smtp.mailfrom=example.net": {"example.com", []mailauth.MethodResult{{"spf", "pass", "", prop("smtp.mailfrom=example.net")}}},
		"example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net": {"example.com", []mailauth.MethodResult{{"auth", "pass", "", prop("smtp.auth=sender@example.net")}, {"spf", "pass", "", prop("smtp.mailfrom=example.net")}}},
		`example.com; dkim=pass reason="good signature" header.i=@mail-router.example.net; dkim=fail reason="bad signature" header.i=@newyork.example.com`: {"example.com", []mailauth.MethodResult{
			{"dkim", "pass", "good signature", prop("header.i=@mail-router.example.net")}, {"dkim", "fail", "bad signature", prop("header.i=@newyork.example.com")}}},
		"foo.example.net (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) = (wait for it) fail policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) 1362471462": {ID: "foo.example.net"},
		"foo.example.net; dkim/1 = (wait (for) it) FAIL policy.expired (this) = 1362471462":                                                                                                                          {"foo.example.net", []mailauth.MethodResult{{"dkim", "fail", "", prop("policy.expired=1362471462")}}},
		`"quoted \"id"; spf=pass`:             {`quoted "id`, []mailauth.MethodResult{{Method: "spf", Result: "pass"}}},
		"x; spf; =pass; ; spf=; s p f=pass":   {ID: "x"},
		"x; spf=pass smtp.mailfrom=\"a;b=c\"": {"x", []mailauth.MethodResult{{"spf", "pass", "", prop("smtp.mailfrom=a;b=c")}}},
		"x; spf=pass (no end ; dkim=pass":     {"x", []mailauth.MethodResult{{Method: "spf", Result: "pass"}}},
	} {
		got, err := mailauth.ParseAuthResults(value)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v, %s", value, err, diff)
		}
	}
	for _, value := range []string{"", " ; spf=pass", "(only a comment)", "= x; y", strings.Repeat("x", 1<<17)} {
		if got, err := mailauth.ParseAuthResults(value); err == nil {
			t.Errorf("%.40q: %+v", value, got)
		}
	}
	if got, _ := mailauth.ParseAuthResults("x" + strings.Repeat("; spf=pass"+strings.Repeat(" a.b=c", 90), 100)); len(got.Results) != 100 || len(got.Results[0].Properties) != 32 {
		t.Errorf("%d results", len(got.Results))
	}
}

// A sender cannot put results under our name, whatever the spelling.
func TestForgedAuthResults(t *testing.T) {
	forged := []string{
		"mx.example.org; spf=pass",
		"MX.Example.ORG; spf=pass",
		"mx.example.org.; spf=pass",
		"mx.example.org",
		"\r\n mx.example.org\r\n\t; spf=pass",
		"(hello) mx.example.org (there (nested \\) )); spf=pass",
		"mx.(x)example.(y)org; spf=pass",
		"mx . example . org; spf=pass",
		"mx.\r\n example.org; spf=pass",
		`"mx.example.org"; spf=pass`,
		`"mx.\example.org"; spf=pass`,
		`"mx".example."org"; spf=pass`,
		"mx.example.org 1; spf=pass",
		"mx.example.org/1; spf=pass",
		"mx.example.org1; spf=pass",
		"mx.example.org, mx.example.com; spf=pass",
		"x mx.example.org; spf=pass",
		"<mx.example.org>; spf=pass",
		"(mx.example.org); spf=pass",
		"(mx.example.org; spf=pass",
		`"mx.example.org; spf=pass`,
		"(no end mx.example.com; spf=pass",
		"=?utf-8?q?mx=2Eexample=2Eorg?=; spf=pass",
		"=?utf-8?b?bXguZXhhbXBsZS5vcmc=?=; spf=pass",
		"ｍｘ.example.org; spf=pass",
		"mx。example。org; spf=pass",
		"mx.exam\u00adple.org; spf=pass",
		"mx.example.org\u200b; spf=pass",
		"mx.example.org\x00.example.com; spf=pass",
		"mx.example.com\rmx.example.org; spf=pass",
		"",
		"; spf=pass",
		"(" + strings.Repeat("x", 1<<17) + ") mx.example.com; spf=pass",
	}
	honest := []string{
		"mx.example.com; spf=pass",
		"a.mx.example.org; spf=pass",
		"amx.example.org; spf=pass",
		"a-mx.example.org; spf=pass",
		"mx.example.org.example.com; spf=pass",
		"mx.example.organic; spf=pass",
		"mx.example.com; spf=pass smtp.helo=mx.example.org",
		"example.org; none",
		"mx.example.com; dkim=fail (see mx.example.org; thanks)",
	}
	block := "Received: from x\r\n"
	want := []int{}
	for i, v := range forged {
		name := []string{"Authentication-Results:", "authentication-results:", "AUTHENTICATION-RESULTS :", "Authentication-Results\t: "}[i%4]
		block += name + v + "\r\n"
		want = append([]int{1 + i}, want...)
	}
	for _, v := range honest {
		block += "Authentication-Results: " + v + "\r\n"
	}
	block += "X-Authentication-Results: mx.example.org; spf=pass\r\n\r\n"
	h, err := mail.ParseHeader([]byte(block))
	if err != nil {
		t.Fatal(err)
	}
	got := mailauth.ForgedAuthResults(h, "mx.Example.org.")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields to be removed: %s", diff)
		for _, i := range got {
			t.Logf("%d %.60q", i, h.Raw(i))
		}
	}
	n := h.Len()
	for _, i := range got {
		if err := h.Remove(i); err != nil {
			t.Fatal(err)
		}
	}
	if h.Len() != n-len(forged) || strings.Contains(fmt.Sprintf("%q", h.Get("Authentication-Results")), "mx.example.org") {
		t.Errorf("left: %s", h.Bytes())
	}
}

// Whatever we read as ours, and what a strict parser does, is removed.
func FuzzForgedAuthResults(f *testing.F) {
	f.Add(" mx.example.org; spf=pass")
	f.Add(" (x) \"mx.example.org\" 1; spf=pass")
	f.Fuzz(func(t *testing.T, value string) {
		h, err := mail.ParseHeader([]byte("Authentication-Results:" + value + "\r\n"))
		if err != nil || h.Len() != 1 {
			return
		}
		removed := len(mailauth.ForgedAuthResults(h, "mx.example.org")) == 1
		parsed, err := mailauth.ParseAuthResults(h.Value(0))
		if err == nil && mail.DomainKey(parsed.ID) == "mx.example.org" && !removed {
			t.Fatalf("%q is kept", value)
		}
		if id, _, err := authres.Parse(h.Value(0)); err == nil && mail.DomainKey(id) == "mx.example.org" && !removed {
			t.Fatalf("%q is kept, and go-msgauth takes it for ours", value)
		}
	})
}
