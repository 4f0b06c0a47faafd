package mailauth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailauth"
)

func from(t testing.TB, value string) mail.Header {
	t.Helper()
	h, err := mail.ParseHeader([]byte("From: " + value + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestTreeWalk asks for the names of RFC 9989, section 4.10, and picks the organization by section 4.10.2.
func TestTreeWalk(t *testing.T) {
	for _, c := range []struct {
		author string
		zone   zone
		org    string
		policy string // where the record is; empty: none
		asked  string
	}{
		// A long name: the name itself, then from 7 labels down.
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", zone{"_dmarc.example.com": {"TXT v=DMARC1; p=reject"}}, "example.com", "example.com",
			"a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com"},
		// 8 labels, and 7: one is taken away at a time.
		{"a.b.c.d.e.mail.example.com", zone{}, "a.b.c.d.e.mail.example.com", "",
			"a.b.c.d.e.mail.example.com b.c.d.e.mail.example.com c.d.e.mail.example.com d.e.mail.example.com e.mail.example.com mail.example.com example.com com"},
		{"b.c.d.e.mail.example.com", zone{}, "b.c.d.e.mail.example.com", "",
			"b.c.d.e.mail.example.com c.d.e.mail.example.com d.e.mail.example.com e.mail.example.com mail.example.com example.com com"},
		// The author's own record holds, the shortest name is the organization.
		{"a.example.com", zone{"_dmarc.a.example.com": {"TXT v=DMARC1; p=none"}, "_dmarc.example.com": {"TXT v=DMARC1; p=reject"}},
			"example.com", "a.example.com", "a.example.com example.com com"},
		// A record between the author and the organization does not count.
		{"a.b.example.com", zone{"_dmarc.b.example.com": {"TXT v=DMARC1; p=none"}, "_dmarc.example.com": {"TXT v=DMARC1; p=reject"}},
			"example.com", "example.com", "a.b.example.com b.example.com example.com com"},
		// psd=n ends the walk: this is an organization.
		{"a.b.example.com", zone{"_dmarc.b.example.com": {"TXT v=DMARC1; p=none; psd=n"}, "_dmarc.example.com": {"TXT v=DMARC1; p=reject"}},
			"b.example.com", "b.example.com", "a.b.example.com b.example.com"},
		{"example.com", zone{"_dmarc.example.com": {"TXT v=DMARC1; p=none; psd=n"}}, "example.com", "example.com", "example.com"},
		// psd=y: the organization is one label below, and the suffix's record holds where there is no other.
		{"a.b.bank.example", zone{"_dmarc.bank.example": {"TXT v=DMARC1; p=reject; psd=y"}}, "b.bank.example", "bank.example", "a.b.bank.example b.bank.example bank.example"},
		{"a.b.bank.example", zone{"_dmarc.bank.example": {"TXT v=DMARC1; p=reject; psd=y"}, "_dmarc.b.bank.example": {"TXT v=DMARC1; p=none"}}, "b.bank.example", "b.bank.example",
			"a.b.bank.example b.bank.example bank.example"},
		// The suffix itself as an author.
		{"bank.example", zone{"_dmarc.bank.example": {"TXT v=DMARC1; p=reject; psd=y"}}, "bank.example", "bank.example", "bank.example"},
		// Two records are none; what is no DMARC record does not count.
		{"a.example.com", zone{"_dmarc.a.example.com": {"TXT v=DMARC1; p=none", "TXT v=DMARC1; p=reject"}, "_dmarc.example.com": {"TXT v=spf1 -all", "TXT v=DMARC1; p=reject"}},
			"example.com", "example.com", "a.example.com example.com com"},
		{"example.com", zone{"_dmarc.example.com": {"TXT p=reject; v=DMARC1", "TXT v=DMARC2; p=reject", "TXT v=dmarc1; p=reject"}}, "example.com", "", "example.com com"},
		// An alias is followed.
		{"example.com", zone{"_dmarc.example.com": {"CNAME d.example.net"}, "d.example.net": {"TXT v=DMARC1; p=reject"}}, "example.com", "example.com", "example.com com"},
	} {
		d := &fakeDNS{zone: c.zone}
		got := mailauth.CheckDMARC(t.Context(), d, from(t, "x@"+c.author), mailauth.SPF{Result: mailauth.Pass, Domain: c.author}, nil)
		var asked []string
		for _, q := range d.queries {
			asked = append(asked, strings.TrimPrefix(q, "TXT _dmarc."))
		}
		if got.Organization != c.org || got.PolicyDomain != c.policy || strings.Join(asked, " ") != c.asked {
			t.Errorf("%s: organization %q, record at %q, want %q, %q\nasked %s\n want %s", c.author, got.Organization, got.PolicyDomain, c.org, c.policy, strings.Join(asked, " "), c.asked)
		}
		want := mailauth.Pass
		if c.policy == "" {
			want = mailauth.None
		}
		if got.Result != want || got.Disposition != mailauth.NoDisposition {
			t.Errorf("%s: %+v", c.author, got)
		}
	}
}

func TestDMARCAlignment(t *testing.T) {
	z := zone{
		"_dmarc.example.com":        {"TXT v=DMARC1; p=reject"},
		"_dmarc.strict.example":     {"TXT v=DMARC1; p=reject; adkim=s; aspf=s"},
		"_dmarc.halves.example":     {"TXT v=DMARC1; p=reject; aspf=s"},
		"_dmarc.suffix.example":     {"TXT v=DMARC1; p=reject; psd=y"},
		"_dmarc.unit.example.com":   {"TXT v=DMARC1; p=quarantine; psd=n"},
		"_dmarc.a.suffix.example":   {"TXT v=DMARC1; p=reject"},
		"_dmarc.slow.example":       {"TXT v=DMARC1; p=reject"},
		"_dmarc.x.slow.example":     {"TIMEOUT"},
		"_dmarc.timeout.example":    {"TIMEOUT"},
		"_dmarc.xn--bcher-kva.test": {"TXT v=DMARC1; p=reject"},
		"_dmarc.cut.down":           {"TXT v=DMARC1; p=reject"},
		"_dmarc.strict.down":        {"TXT v=DMARC1; p=reject; aspf=s; adkim=s"},
		"_dmarc.down":               {"TIMEOUT"},
	}
	const pass, fail, none, temp = mailauth.Pass, mailauth.Fail, mailauth.None, mailauth.TempError
	for _, c := range []struct {
		author string
		spf    string // domain
		spfRes mailauth.Result
		dkim   string
		dkRes  mailauth.Result
		want   mailauth.Result
		disp   mailauth.Disposition
	}{
		{"example.com", "example.com", pass, "", none, pass, "none"},
		{"example.com", "EXAMPLE.com.", pass, "", none, pass, "none"},
		{"example.com", "bounce.example.com", pass, "", none, pass, "none"},
		{"mail.example.com", "example.com", pass, "", none, pass, "none"},
		{"a.example.com", "b.example.com", pass, "", none, pass, "none"},
		{"a.example.com", "", none, "b.example.com", pass, pass, "none"},
		{"example.com", "example.net", pass, "example.net", pass, fail, "reject"},
		{"example.com", "badexample.com", pass, "example.com.evil.example", pass, fail, "reject"},
		{"example.com", "example.com", fail, "example.com", fail, fail, "reject"},
		{"example.com", "example.com", mailauth.SoftFail, "example.com", mailauth.Policy, fail, "reject"},
		{"example.com", "com", pass, "", none, fail, "reject"},
		{"strict.example", "a.strict.example", pass, "a.strict.example", pass, fail, "reject"},
		{"strict.example", "strict.example", pass, "", none, pass, "none"},
		{"halves.example", "a.halves.example", pass, "", none, fail, "reject"},
		{"halves.example", "", none, "a.halves.example", pass, pass, "none"},
		// psd=n below the organization makes another organization.
		{"example.com", "unit.example.com", pass, "", none, fail, "reject"},
		{"a.unit.example.com", "unit.example.com", pass, "", none, pass, "none"},
		{"a.unit.example.com", "example.com", pass, "", none, fail, "quarantine"},
		// Neighbours under a public suffix are strangers, and so is the suffix.
		{"a.suffix.example", "b.suffix.example", pass, "", none, fail, "reject"},
		{"a.suffix.example", "suffix.example", pass, "", none, fail, "reject"},
		{"a.suffix.example", "x.a.suffix.example", pass, "", none, pass, "none"},
		// Doubt is not a failure.
		{"example.com", "example.com", temp, "", none, temp, "none"},
		{"example.com", "example.com", temp, "example.com", pass, pass, "none"},
		{"example.com", "example.net", temp, "", none, fail, "reject"},
		{"example.com", "", none, "example.com", temp, temp, "none"},
		{"slow.example", "x.slow.example", pass, "", none, temp, "none"},
		{"timeout.example", "timeout.example", pass, "", none, temp, "none"},
		// The author's own record holds although the walk does not end.
		{"cut.down", "cut.down", pass, "", none, pass, "none"},
		{"cut.down", "sub.cut.down", pass, "", none, temp, "none"},
		{"cut.down", "sub.cut.down", pass, "cut.down", pass, pass, "none"},
		{"cut.down", "example.com", pass, "example.net", pass, fail, "reject"},
		{"strict.down", "sub.strict.down", pass, "", none, fail, "reject"},
		{"sub.cut.down", "sub.cut.down", pass, "", none, temp, "none"},
		{"nothing.example", "nothing.example", pass, "", none, none, "none"},
		{"bücher.test", "xn--bcher-kva.test", pass, "", none, pass, "none"},
		{"bücher.test", "bücher.test", pass, "", none, pass, "none"},
	} {
		var dkim []mailauth.DKIM
		if c.dkim != "" {
			dkim = []mailauth.DKIM{{Result: fail, Domain: "example.com"}, {Result: c.dkRes, Domain: c.dkim}}
		}
		got := mailauth.CheckDMARC(t.Context(), &fakeDNS{zone: z}, from(t, "x@"+c.author), mailauth.SPF{Result: c.spfRes, Domain: c.spf}, dkim)
		if got.Result != c.want || got.Disposition != c.disp || (got.Reason == "") != (got.Result == pass) {
			t.Errorf("%s with SPF %s of %s, DKIM %s of %s: %+v, want %s, %s", c.author, c.spfRes, c.spf, c.dkRes, c.dkim, got, c.want, c.disp)
		}
	}
}

func TestDMARCDisposition(t *testing.T) {
	for _, c := range []struct {
		record, author string
		want           mailauth.Disposition // empty: no policy
	}{
		{"p=reject", "example.com", "reject"},
		{"p=reject", "sub.example.com", "reject"},
		{"p=reject; sp=quarantine", "sub.example.com", "quarantine"},
		{"p=reject; sp=quarantine", "example.com", "reject"},
		{"p=none; sp=none; np=reject", "sub.example.com", "none"},
		{"p=none; sp=none; np=reject", "gone.example.com", "reject"},
		{"p=none; sp=quarantine", "gone.example.com", "quarantine"},
		{"p=none; np=reject", "example.com", "none"},
		{"p=reject; t=y", "example.com", "quarantine"},
		{"p=quarantine; t=y", "example.com", "none"},
		{"p=none; sp=reject; t=y", "sub.example.com", "quarantine"},
		{"p=reject; t=n", "example.com", "reject"},
		{"p=reject; t=maybe", "example.com", "reject"},
		{"p=reject; pct=0", "example.com", "reject"}, // removed by RFC 9989
		{"p=REJECT", "example.com", "reject"},
		{" p = reject ; ", "example.com", "reject"},
		{"p=reject; sp", "example.com", "reject"},
		{"p=reject; p=none", "example.com", "reject"},
		{"p=maybe", "example.com", ""},
		{"", "example.com", ""},
		{"rua=mailto:a@example.com", "example.com", "none"},
		{"p=maybe; rua=mailto:a@example.com", "example.com", "none"},
		{"p=reject; sp=maybe", "example.com", ""},
		{"p=reject; np=maybe; rua=mailto:a@example.com", "example.com", "none"},
		{"p=maybe; rua=nobody", "example.com", ""},
	} {
		d := &fakeDNS{zone: zone{"_dmarc.example.com": {"TXT v=DMARC1; " + c.record}, "sub.example.com": {"MX 10 mx.example.com"}, "example.com": {"A 192.0.2.1"}}}
		got := mailauth.CheckDMARC(t.Context(), d, from(t, "x@"+c.author), mailauth.SPF{Result: mailauth.None}, nil)
		want, res := c.want, mailauth.Fail
		if want == "" {
			want, res = "none", mailauth.None
		}
		if got.Result != res || got.Disposition != want {
			t.Errorf("%q for %s: %+v, want %s", c.record, c.author, got, want)
		}
	}
	d := &fakeDNS{zone: zone{"_dmarc.example.com": {"TXT v=DMARC1; p=none; np=reject"}, "gone.example.com": {"TIMEOUT"}}}
	if got := mailauth.CheckDMARC(t.Context(), d, from(t, "x@gone.example.com"), mailauth.SPF{}, nil); got.Result != mailauth.TempError {
		t.Errorf("whether the domain exists is not known: %+v", got)
	}
}

func TestParseRecord(t *testing.T) {
	got, ok := mailauth.ParseRecord("v=DMARC1;p=quarantine;np=reject;adkim=s;psd=n;t=y;rua=mailto:a@example.com!10m, https://example.com/r ,x;ruf=mailto:b@example.com")
	want := mailauth.Record{Policy: "quarantine", Subdomain: "quarantine", NonExistent: "reject", StrictDKIM: true, Testing: true, PSD: 'n',
		Aggregate: []string{"mailto:a@example.com", "https://example.com/r"}, Failure: []string{"mailto:b@example.com"}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(mailauth.Record{})); !ok || diff != "" {
		t.Error(diff)
	}
	if got, _ := mailauth.ParseRecord("v=DMARC1; p=none; rua=" + strings.Repeat("mailto:a@example.com,", 100)); len(got.Aggregate) != 10 {
		t.Errorf("%d addresses for reports", len(got.Aggregate))
	}
}

// From must show one author and no other.
func TestAuthor(t *testing.T) {
	for value, want := range map[string]string{
		"a@example.org":                                "a@example.org",
		"<a@example.org>":                              "a@example.org",
		"  A. Writer <a@example.org> ":                 "a@example.org",
		`"Writer, A; <b@example.com>" <a@example.org>`: "a@example.org",
		`"quoted \" b@example.com" <a@example.org>`:    "a@example.org",
		"=?utf-8?q?Post=C3=A4mter?= <a@example.org>":   "a@example.org",
		"Jürgen <j@bücher.example>":                    "j@bücher.example",
		"a@example.org (b@example.com, (c) x)":         "a@example.org",
		"(one) A (two\\)) <a@example.org> (three)":     "a@example.org",
		`"a b"@example.org`:                            `"a b"@example.org`,
		`x <"a>b"@example.org>`:                        `"a>b"@example.org`,
		"a@example.org <A@Example.org>":                "A@Example.org",
		"[list] A <a@example.org>":                     "a@example.org",
		"a@example.org, b@example.com":                 "",
		"a@example.org,":                               "",
		"A <a@example.org>, B <b@example.com>":         "",
		"A <a@example.org> B <b@example.com>":          "",
		"<a@example.org><b@example.com>":               "",
		"<a@example.org> b@example.com":                "",
		`<a@example.org> "x"`:                          "",
		"b@example.com <a@example.org>":                "",
		"friends: a@example.org;":                      "",
		"friends:;":                                    "",
		"friends: <a@example.org>":                     "",
		"=?utf-8?q?a=40example.org?=":                  "",
		"=?utf-8?q?a?=@=?utf-8?q?example.org?=":        "",
		"=?utf-8?b?PGFAZXhhbXBsZS5vcmc+?=":             "",
		"<@example.com:a@example.org>":                 "",
		"a@[192.0.2.1]":                                "",
		"a":                                            "",
		"":                                             "",
		"<>":                                           "",
		"a@":                                           "",
		"a@example.org\x00@example.com":                "",
		"(a@example.org":                               "",
		`"a@example.org`:                               "",
		"<a@example.org":                               "",
		"a@example.org>":                               "",
		"a@exa mple.org":                               "",
		"a@example.org\u202e <b@example.com>":          "",
		strings.Repeat("(", 1<<16) + "a@example.org":   "",
		strings.Repeat("(x)", 100) + "a@example.org":   "a@example.org",
		"a@" + strings.Repeat("a", 64) + ".example":    "",
		"a@example.org\tb":                             "",
		"\"" + strings.Repeat("\\", 100) + "\" <a@example.org>": "a@example.org",
	} {
		got, err := mailauth.Author(from(t, value))
		if got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%.80q: %q, %v; want %q", value, got, err, want)
		}
	}
	for name, block := range map[string]string{"none": "To: a@example.org\r\n", "two": "From: a@example.org\r\nFROM : a@example.org\r\n"} {
		h, err := mail.ParseHeader([]byte(block))
		if err != nil {
			t.Fatal(err)
		}
		got := mailauth.CheckDMARC(t.Context(), &fakeDNS{}, h, mailauth.SPF{Result: mailauth.Pass, Domain: "example.org"}, nil)
		if got.Result != mailauth.PermError || got.Author != "" || got.Disposition != mailauth.NoDisposition {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Ten signatures of the deepest names cost a bounded number of look-ups, no name twice.
func TestDMARCIsBounded(t *testing.T) {
	deep := func(i int) string { return fmt.Sprintf("d%d.", i) + strings.Repeat("x.", 60) + "example.com" }
	var dkim []mailauth.DKIM
	for i := range 100 {
		dkim = append(dkim, mailauth.DKIM{Result: mailauth.Pass, Domain: deep(i)})
	}
	d := &fakeDNS{zone: zone{"_dmarc.example.com": {"TXT v=DMARC1; p=reject"}}}
	got := mailauth.CheckDMARC(t.Context(), d, from(t, "a@"+deep(999)), mailauth.SPF{}, dkim)
	all := d.sorted()
	if got.Result != mailauth.Pass || len(all) > 18 || len(slices.Compact(all)) != len(d.queries) {
		t.Errorf("%+v after %d look-ups: %q", got, len(d.queries), all)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; rua=mailto:a@example.com,https://x; t=y; psd=n; adkim=s")
	f.Add("v=DMARC1")
	f.Fuzz(func(t *testing.T, txt string) {
		rec, ok := mailauth.ParseRecord(txt)
		if !ok {
			return
		}
		again, ok := mailauth.ParseRecord(rec.String())
		if diff := cmp.Diff(rec, again, cmpopts.IgnoreUnexported(rec)); rec.Policy != "" && (!ok || diff != "") {
			t.Fatalf("%q became %q: %s", txt, rec, diff)
		}
	})
}

func FuzzAuthor(f *testing.F) {
	f.Add(`"a" (b) <c@example.org>`)
	f.Add("a@example.org, b@example.org")
	f.Fuzz(func(t *testing.T, value string) {
		h, err := mail.ParseHeader([]byte("From: " + value + "\r\n"))
		if err != nil || h.Len() != 1 {
			return
		}
		p, err := mailauth.Author(h)
		if err != nil {
			return
		}
		if again, err := mail.ParseMailbox(p.String()); err != nil || again != p {
			t.Fatalf("%q gave %q: %v", value, p, err)
		}
	})
}
