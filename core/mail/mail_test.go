package mail

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestParsePathKeepsQuotedFormsAndRefusesTheRest(t *testing.T) {
	good := map[string]string{
		"<>": "", "<a@b.example>": "a@b.example", `<"a b> NOTIFY=NEVER"@y.example>`: `"a b> NOTIFY=NEVER"@y.example`,
		"<@x.example,@y.example:a@b.example>": "a@b.example", "<postmaster>": "postmaster", "<PostMaster>": "PostMaster",
		"<a@[192.0.2.1]>": "a@[192.0.2.1]", "<a@[IPv6:2001:db8::1]>": "a@[IPv6:2001:db8::1]",
		"<a%b@us.example>": "a%b@us.example", "<jürgen@bücher.example>": "jürgen@bücher.example", `<"a\"b"@c>`: `"a\"b"@c`,
		"<a+b=c@d>": "a+b=c@d",
	}
	for in, want := range good {
		p, rest, err := ParsePath(in + " X=1")
		if err != nil || p.String() != want || rest != " X=1" {
			t.Errorf("ParsePath(%q) = %q, %q, %v; want %q", in, p, rest, err, want)
		}
	}
	bad := []string{
		"", "a@b", "<a@b", "<a>", "<@x>", "<a@>", "<@b>", "<a..b@c>", "<.a@c>", "<a.@c>", "<a b@c>", "<a@b..c>", "<a@b;c>",
		"<a@-b.c>", "<a@b-.c>", "<a@[1.2.3.4>", "<a@[1.2.3.400]>", "<a@[foo:1]>", "<a\r@b>", "<\"a\r\"@b>", "<\"\\\r\"@b>",
		"<a\x00@b>", "<a\x7f@b>", "<\xff\xfe@b>", "<a@b.>", "<a\u202e@b>", "<a@b\u0085>", `<"a@b>`, `<"a"b@c>`,
		"<" + strings.Repeat("a", 250) + "@b.example>", "<a@" + strings.Repeat("a", 64) + ".example>", "<@x@y:a@b>", "<@:a@b>",
	}
	for _, in := range bad {
		if p, _, err := ParsePath(in); err == nil {
			t.Errorf("ParsePath(%q) = %q, want an error", in, p)
		}
	}
}

func TestParametersAreValidatedAfterDecoding(t *testing.T) {
	all := func(string) bool { return true }
	_, m, r := ParseMail("<a@b> SIZE=100 BODY=8bitmime RET=HDRS ENVID=x+2By SMTPUTF8", all)
	if r != nil || m != (MailParams{Size: 100, Body: Body8BitMIME, Return: ReturnHeaders, EnvID: "x+y", SMTPUTF8: true}) {
		t.Errorf("good parameters: %+v, %v", m, r)
	}
	for arg, code := range map[string]int{
		"<a@b> AUTH=e@f+0D+0AX-Evil:1": 501, "<a@b> ENVID=a+0Ab": 501, "<a@b> SIZE=-1": 501, "<a@b> SIZE=+1": 501,
		"<a@b> SIZE": 501, "<a@b> BODY": 501, "<a@b> SIZE=1 size=2": 501, "<a@b> FOO=1": 555, "<a@b>SIZE=1": 501,
		"<ü@b>": 553, "<a@b> SMTPUTF8=1": 501, "<postmaster>": 501, "<a@b> AUTH": 501, "<a@b> =": 501, "<a@b> SIZE=": 501,
		"<a@b> SIZE=99999999999999999999999": 501, "<a@b>" + strings.Repeat(" SIZE", 100): 501,
	} {
		if _, _, r := ParseMail(arg, all); r == nil || r.Code != code {
			t.Errorf("ParseMail(%q) = %v, want %d", arg, r, code)
		}
	}
	_, rc, r := ParseRcpt("<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+40y", false, all)
	if r != nil || rc != (RcptParams{Notify: NotifySuccess | NotifyDelay, OrcptType: "rfc822", Orcpt: "x@y"}) {
		t.Errorf("good RCPT parameters: %+v, %v", rc, r)
	}
	// Postfix writes UTF-8 in ORCPT as xtext.
	for arg, utf8 := range map[string]bool{"<ü@b> ORCPT=rfc822;+C3+BC@b": true, "<ü@b> ORCPT=utf-8;ü@b": true, "<ü@b> ORCPT=utf-8;+C3@b": false,
		"<ü@b> ORCPT=utf-8;+C2+80@b": false, "<ü@b> ORCPT=utf-8;+7F@b": false, "<ü@b> ORCPT=utf-8;+0A@b": false} {
		if _, rc, r := ParseRcpt(arg, true, all); (r == nil) != utf8 || utf8 && rc.Orcpt != "ü@b" {
			t.Errorf("%s: %+v, %v", arg, rc, r)
		}
	}
	if _, _, r := ParseRcpt("<a@b> ORCPT=rfc822;+C3+BC@b", false, all); r == nil || r.Code != 501 {
		t.Errorf("UTF-8 as xtext without SMTPUTF8: %v", r)
	}
	for arg, code := range map[string]int{
		"<>": 501, "<a@b> NOTIFY=NEVER,DELAY": 501, "<a@b> ORCPT=rfc822;x+0D+0A": 501, "<a@b> ORCPT=x": 501, "<ü@b>": 553,
	} {
		if _, _, r := ParseRcpt(arg, false, all); r == nil || r.Code != code {
			t.Errorf("ParseRcpt(%q) = %v, want %d", arg, r, code)
		}
	}
	if _, _, r := ParseMail("<a@b> RET=FULL", func(k string) bool { return k != "RET" }); r == nil || r.Code != 555 {
		t.Errorf("a parameter that is not offered: %v", r)
	}
}

func TestSizesOutOfRangeAreTooLargeNotMalformed(t *testing.T) {
	for text, want := range map[string]int64{"9223372036854775807": math.MaxInt64, "9223372036854775808": math.MaxInt64, "99999999999999999999": math.MaxInt64, "0": 0} {
		if _, m, r := ParseMail("<a@b> SIZE="+text, func(string) bool { return true }); r != nil || m.Size != want {
			t.Errorf("SIZE=%s: %d, %v", text, m.Size, r)
		}
	}
	var many strings.Builder
	for i := range maxParams + 1 {
		fmt.Fprintf(&many, " X%d", i)
	}
	if _, err := ParseParams(many.String()); err == nil {
		t.Errorf("%d parameters are taken", maxParams+1)
	}
}

func TestReplyTextCannotForgeLines(t *testing.T) {
	r := NewReply(550, "5.7.1", "no\r\n250 yes\x00\x1b[31m\nsecond\xff")
	want := "550-5.7.1 no\r\n550-5.7.1 250 yes[31m\r\n550 5.7.1 second?\r\n"
	if got := r.Lines(); got != want {
		t.Errorf("Lines() = %q, want %q", got, want)
	}
	long := NewReply(550, "", strings.Repeat("x\n", 50)+strings.Repeat("é", 1000)).Lines()
	if n := strings.Count(long, "\r\n"); n != MaxReplyLines {
		t.Errorf("%d lines", n)
	}
}

func TestIDsSortAsStringsAndParseBack(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 14, 45, 678e6, time.UTC)
	a, b := FirstID(now), FirstID(now)+1
	if a.String() >= b.String() || !a.Time().Equal(now) {
		t.Errorf("%s %s %s", a, b, a.Time())
	}
	for _, id := range []ID{0, a, b, 1<<64 - 1} {
		if got, err := ParseID(id.String()); err != nil || got != id {
			t.Errorf("ParseID(%s) = %v, %v", id, got, err)
		}
	}
	for _, s := range []string{"", "zzzzzzzzzzzz", "00000000000A", "0000000000000", "00000000000\n"} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) succeeded", s)
		}
	}
}

func TestHeaderScanFindsTheBodyAtEverySplit(t *testing.T) {
	cases := map[string]int{ // message -> length of the header block
		"A: 1\r\nB: 2\r\n 3\r\n\r\nbody\r\n": 18, "A: 1\r\nno field\r\n": 6, "...\r\n": 0, "": 0, "\r\nbody": 2,
		"A: 1\r\n": 6, "A: 1": 4, " x\r\n": 0, "A : 1\r\n\r\n": 9, "From x\r\nA: 1\r\n\r\n": 0, "A: 1\r\n x": 8, "A: 1\r\nxx": 6,
	}
	for in, want := range cases {
		for split := 0; split <= len(in); split++ {
			var s HeaderScanner
			end, done := s.Scan([]byte(in[:split]), false)
			if !done {
				end, done = s.Scan([]byte(in), true)
			}
			if !done || end != want {
				t.Errorf("%q split at %d: %d, %v; want %d", in, split, end, done, want)
			}
		}
		h, err := ParseHeader([]byte(in[:want]))
		if err != nil || string(h.Bytes()) != in[:want] {
			t.Errorf("%q: %q, %v", in, h.Bytes(), err)
		}
	}
}

func TestHeaderEditsChangeOnlyTheirField(t *testing.T) {
	h, _ := ParseHeader([]byte("Subject:  a\r\n\tb \r\nX-Odd :c\r\nFrom: x@y\r\n\r\n"))
	before := h.Clone()
	if h.Get("subject") != "a\tb" || h.Find(0, "x-odd") != 1 || h.Value(1) != "c" {
		t.Errorf("read: %q %d", h.Get("subject"), h.Find(0, "x-odd"))
	}
	for _, bad := range []error{
		h.Insert(0, "X-Y", "a\r\nEvil: 1", false), h.Insert(0, "X Y", "a", false), h.Insert(0, "X-Y", "é", false),
		h.Insert(0, "Subject", "again", false), h.Insert(9, "X-Y", "a", false), h.Set(7, "a", false), h.Remove(-1),
		h.Insert(0, "X-Y", strings.Repeat("x", 2000), false), h.Insert(0, "X-Y", "a\x00", true), h.Insert(0, "", "a", true),
	} {
		if bad == nil {
			t.Error("a bad edit was taken")
		}
	}
	if !bytes.Equal(h.Bytes(), before.Bytes()) {
		t.Errorf("a refused edit changed the section: %q", h.Bytes())
	}
	words := strings.TrimSpace(strings.Repeat("word ", 40))
	if err := h.Insert(-1, "X-Long", words, false); err != nil {
		t.Fatal(err)
	}
	if err := h.Set(0, "new", false); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(1); err != nil {
		t.Fatal(err)
	}
	if got := h.Get("x-long"); got != words {
		t.Errorf("folding changed the value: %q", got)
	}
	for line := range strings.SplitSeq(string(h.Bytes()), "\r\n") {
		if len(line) > 80 {
			t.Errorf("line not folded: %q", line)
		}
	}
	if !strings.HasPrefix(string(h.Bytes()), "Subject: new\r\nFrom: x@y\r\nX-Long: word") {
		t.Errorf("%q", h.Bytes())
	}
	if string(before.Bytes()) != "Subject:  a\r\n\tb \r\nX-Odd :c\r\nFrom: x@y\r\n\r\n" {
		t.Errorf("the clone changed: %q", before.Bytes())
	}
}

func TestNextHopPrintsAsItParses(t *testing.T) {
	for _, s := range []string{"mx", "mx:example.org", "smtp:mail.example.org:2525", "smtp:[2001:db8::1]:25", "lmtp:127.0.0.1:24",
		"lmtp:unix:/run/lmtp.sock", "maildir:/var/mail/{user}", "discard"} {
		n, err := ParseNextHop(s)
		if err != nil || n.String() != s {
			t.Errorf("ParseNextHop(%q) = %q, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "smtp:", "smtp:a b:25", "smtp:h:0", "smtp:h:70000", "maildir:x", "lmtp:unix:x", "ftp:x", "discard:x", "mx:a b", "maildir:/x\n"} {
		if n, err := ParseNextHop(s); err == nil {
			t.Errorf("ParseNextHop(%q) = %v", s, n)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b>", `<"a\"b"@c>`, "<@a:b@c>", "<a@[IPv6:::1]>", "<ü@ü>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, _, err := ParsePath(s)
		if err != nil {
			return
		}
		out := "<" + p.String() + ">"
		if strings.ContainsAny(out, "\r\n\x00") {
			t.Fatalf("%q came through", out)
		}
		q, rest, err := ParsePath(out + " X=1")
		if err != nil || q != p || rest != " X=1" {
			t.Fatalf("%q -> %q -> %q %q %v", s, out, q, rest, err)
		}
	})
}

func FuzzParseMail(f *testing.F) {
	f.Add("<a@b> SIZE=1 BODY=7BIT ENVID=a+2Bb RET=FULL")
	f.Add("<a@b> NOTIFY=SUCCESS ORCPT=rfc822;a@b")
	f.Add("<a@b> HOLDFOR=3600 MT-PRIORITY=-3 BY=+120;RT BODY=BINARYMIME REQUIRETLS")
	f.Add("<a@b> HOLDUNTIL=2030-01-01T00:00:00.5+02:00 BY=-1;N")
	f.Add("<a@b> RRVS=2014-04-03T23:01:00Z;C")
	year := func(t *testing.T, what string, at time.Time) {
		if !at.IsZero() && (at.Unix() < 0 || at.Year() > 10_000) {
			t.Fatalf("%s %v", what, at)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, m, r := ParseMail(s, anyParam); r == nil {
			if strings.ContainsAny(m.EnvID, "\r\n\x00") {
				t.Fatalf("ENVID %q", m.EnvID)
			}
			if m.Priority < -9 || m.Priority > 9 || m.By.Return && !m.By.Time.After(time.Now().Add(-time.Minute)) || m.By.Time.IsZero() && m.By != (DeliverBy{}) {
				t.Fatalf("%+v", m)
			}
			year(t, "HOLDUNTIL", m.HoldUntil)
		}
		if _, c, r := ParseRcpt(s, true, anyParam); r == nil {
			if strings.ContainsAny(c.OrcptType, "\r\n\x00 ") || strings.ContainsAny(c.Orcpt, "\r\n\x00") {
				t.Fatalf("ORCPT %q", c.Orcpt)
			}
			if c.ValidSinceContinue && c.ValidSince.IsZero() {
				t.Fatalf("RRVS %+v", c)
			}
			year(t, "RRVS", c.ValidSince)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("A: 1\r\n B\r\n\r\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s HeaderScanner
		end, done := s.Scan(b, true)
		if !done || end > len(b) {
			t.Fatal("scan does not end")
		}
		h, err := ParseHeader(b[:end])
		if err != nil {
			t.Fatal(err)
		}
		for i := range h.Len() {
			_, _, _ = h.Name(i), h.Value(i), h.Raw(i)
		}
	})
}
