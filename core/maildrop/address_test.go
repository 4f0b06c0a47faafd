package maildrop

import (
	"fmt"
	"net/mail"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for _, x := range []struct{ field, want string }{
		{"", "[]"},
		{"root", "[root@here.example]"},
		{"a@x.example, b@y.example", "[a@x.example b@y.example]"},
		{" , a@x.example,, ", "[a@x.example]"},
		{"Ann Example <a@x.example>", "[a@x.example]"},
		{`"Example, Ann" <a@x.example>, b`, "[a@x.example b@here.example]"},
		{"=?utf-8?q?Ann=2C_X?= <a@x.example>", "[a@x.example]"},
		{"Jürgen <jürgen@bücher.example>", "[jürgen@bücher.example]"},
		{"a@x.example (Ann (of X) \\) here), b@y.example", "[a@x.example b@y.example]"},
		{"A Group: a@x.example, Bob <b@y.example>;, c@z.example", "[a@x.example b@y.example c@z.example]"},
		{"undisclosed-recipients:;", "[]"},
		{"<@r1.example,@r2.example:a@x.example>", "[a@x.example]"},
		{"a . b @ x . example", "[a.b@x.example]"},
		{`"a b"@x.example`, `["a b"@x.example]`},
		{`"ab"@x.example`, `[ab@x.example]`},
		{`"a\"b"@x.example`, `["a\"b"@x.example]`},
		{`"\"a\""`, `["\"a\""@here.example]`},
		{`"a@b"`, `["a@b"@here.example]`},
		{"a@[192.0.2.1]", "[a@[192.0.2.1]]"},
		{"a@x.example,\r\n\tb@y.example", "[a@x.example b@y.example]"},
		{"Ann E. Example <a@x.example>", "[a@x.example]"},
		{"<root>", "[root@here.example]"},
	} {
		got, err := Addresses(x.field, "here.example", 100)
		if err != nil || fmt.Sprint(got) != x.want {
			t.Errorf("%q: %v, %v; want %s", x.field, got, err, x.want)
		}
	}
	for field, want := range map[string]string{
		"Ann Example":             "angle brackets",
		"a@x.example b@y.example": "angle brackets",
		"<a@x.example":            "without '>'",
		"a@x.example>":            "nothing begins",
		"<>":                      "empty",
		"(a":                      "comment does not end",
		`"a`:                      "quoted string does not end",
		"a@":                      "empty",
		"@x.example":              "empty",
		"a@x@y":                   "angle brackets",
		"g: h: a;;":               "begins no group",
		"a;":                      "ends no group",
		"g: a":                    "does not end with ';'",
		"<a> b":                   "followed by",
		"a@x!y.example":           "character",
		"a\x00@x.example":         "",
		strings.Repeat("(", 100) + strings.Repeat(")", 100): "too deeply",
		strings.Repeat("a,", 101):                           "more than 100",
	} {
		if got, err := Addresses(field, "here.example", 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", field, got, err, want)
		}
	}
}

// FuzzAddresses: nothing that comes out can be more than an address on the wire,
// and what another parser takes without the forms that we know and it does not
// is the same here.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{`"a b" <a@b.example>, (c) d`, "g: a, <b@c>;", `"\"\\"@x`, "a@[IPv6:::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		ours, err := Addresses(field, "here.example", 50)
		if err != nil {
			return
		}
		for _, p := range ours {
			if s := p.String(); strings.ContainsAny(s, "\r\n\x00") || !strings.Contains(s, "@") {
				t.Fatalf("%q gives %q", field, s)
			}
		}
		if theirs, err := mail.ParseAddressList(field); err == nil && !strings.ContainsAny(field, ":;[") {
			if len(theirs) != len(ours) {
				t.Fatalf("%q: %v, and net/mail says %v", field, ours, theirs)
			}
		}
	})
}
