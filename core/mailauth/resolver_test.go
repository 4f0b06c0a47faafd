package mailauth_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmta/wasmta/core/mailauth"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// master is the zone as lines of a master file, and what goes wrong in it.
func (s suite) master() mailtest.Zone {
	escape := func(s, also string) string {
		var b strings.Builder
		for i := range len(s) {
			if c := s[i]; c < ' ' || c >= 0x7f || strings.IndexByte(also, c) >= 0 {
				fmt.Fprintf(&b, `\%03d`, c)
			} else {
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	var text strings.Builder
	faults := make(map[string]mailtest.Fault)
	for name, rows := range s.Zone {
		owner := escape(name, ` "()$;@\`) + "."
		for _, row := range rows {
			switch typ, v := row[0], row[1]; typ {
			case "TIMEOUT":
				for _, t := range []string{"A", "AAAA", "MX", "PTR", "TXT"} {
					if !slices.ContainsFunc(rows, func(r [2]string) bool { return r[0] == t }) {
						faults[name+" "+t] = mailtest.ServFail
					}
				}
			case "CNAMELOOP":
				fmt.Fprintf(&text, "%s IN CNAME %s\n", owner, owner)
			case "TXT":
				fmt.Fprintf(&text, `%s IN TXT ""`, owner)
				for part := range slices.Chunk([]byte(v), 200) {
					fmt.Fprintf(&text, ` "%s"`, escape(string(part), `"\`))
				}
				text.WriteByte('\n')
			case "MX", "PTR", "CNAME":
				fmt.Fprintf(&text, "%s IN %s %s.\n", owner, typ, strings.TrimSuffix(v, "."))
			default:
				fmt.Fprintf(&text, "%s IN %s %s\n", owner, typ, v)
			}
		}
	}
	return mailtest.Zone{Records: text.String(), Faults: faults}
}

// The suite through a DNS server and the server's own resolver, which asks for host names only, and counts an exchange
// once however often it is published. RATIONALE.md says why these differences stand.
func TestRFC7208SuiteWithResolver(t *testing.T) {
	differ := map[string]mailauth.Result{}
	for _, s := range rfc7208(t) {
		r, err := resolve.New(resolve.Options{Servers: []string{mailtest.ServeDNS(t, s.master())}})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range s.Tests {
			got := mailauth.CheckSPF(t.Context(), r, mailauth.SPFQuery{Client: netip.MustParseAddr(test.Host), Helo: test.Helo, Sender: asPath(test.MailFrom), Now: time.Unix(1e9, 0)})
			if !slices.Contains(test.Result, got.Result) {
				differ[test.Name] = got.Result
			}
		}
		r.Close()
	}
	want := map[string]mailauth.Result{
		"a-colon-domain": mailauth.Neutral, "a-colon-domain-ip4mapped": mailauth.Neutral,
		"mx-colon-domain": mailauth.Neutral, "mx-colon-domain-ip4mapped": mailauth.Neutral,
		"macro-mania-in-domain": mailauth.Fail,
		"mx-limit":              mailauth.Pass,
	}
	if diff := cmp.Diff(want, differ); diff != "" {
		t.Errorf("other results than the suite's, %v: %s", slices.Sorted(maps.Keys(differ)), diff)
	}
}
