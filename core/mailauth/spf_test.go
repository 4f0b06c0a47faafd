package mailauth_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"context"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailauth"
	"github.com/wasmta/wasmta/core/resolve"
)

type suite struct {
	Description string
	Zone        map[string][][2]string
	Tests       []struct {
		Name, Helo, Host, MailFrom, Explanation string
		Result                                  []mailauth.Result
	}
}

func rfc7208(t testing.TB) []suite {
	t.Helper()
	b, err := os.ReadFile("testdata/rfc7208.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []suite
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (s suite) dns() *fakeDNS {
	z := zone{}
	for name, rows := range s.Zone {
		name = strings.ToLower(name)
		z[name] = append(z[name], []string{}...)
		for _, r := range rows {
			z[name] = append(z[name], r[0]+" "+r[1])
		}
	}
	return &fakeDNS{zone: z}
}

// asPath is the reverse-path as the suite writes it, which is not always one that SMTP would take.
func asPath(s string) mail.Path {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return mail.Path{Domain: s}
	}
	return mail.Path{Local: s[:at], Domain: s[at+1:]}
}

func TestRFC7208Suite(t *testing.T) {
	ran := 0
	for _, s := range rfc7208(t) {
		for _, test := range s.Tests {
			ran++
			t.Run(s.Description+"/"+test.Name, func(t *testing.T) {
				q := mailauth.SPFQuery{Client: netip.MustParseAddr(test.Host), Helo: test.Helo, Sender: asPath(test.MailFrom), Now: time.Unix(1e9, 0)}
				got := mailauth.CheckSPF(t.Context(), s.dns(), q)
				// Where the suite allows several results the first is preferred; of those it names we must have one.
				if !slices.Contains(test.Result, got.Result) {
					t.Fatalf("%s from %s: %+v, want %v", test.MailFrom, test.Host, got, test.Result)
				}
				want := test.Explanation
				if want == "DEFAULT" {
					want = ""
				}
				if test.Explanation != "" && got.Explanation != want {
					t.Errorf("explanation %q, want %q", got.Explanation, want)
				}
				if (got.Result == mailauth.PermError || got.Result == mailauth.TempError || got.Result == mailauth.None) == (got.Reason == "") {
					t.Errorf("%s with the reason %q", got.Result, got.Reason)
				}
			})
		}
	}
	if ran != 203 {
		t.Errorf("ran %d tests, the suite has 203", ran)
	}
}

var client = netip.MustParseAddr("192.0.2.1")

func spf(t testing.TB, d mailauth.Resolver, sender string) mailauth.SPF {
	t.Helper()
	return mailauth.CheckSPF(t.Context(), d, mailauth.SPFQuery{Client: client, Helo: "mta.example.org", Sender: asPath(sender), Receiver: "mx.example.net"})
}

func TestSPFSaysWhatDecided(t *testing.T) {
	d := &fakeDNS{zone: zone{
		"example.org": {"TXT v=spf1 ip4:192.0.2.0/24 -all"},
		"example.com": {"TXT v=spf1 -all exp=why.example.com"}, "why.example.com": {"TXT %{i} is not ours, says %{r}"},
		"rude.example": {"TXT v=spf1 -all exp=why.rude.example"}, "why.rude.example": {"TXT go\r\n250 away"},
		"long.example": {"TXT v=spf1 -all exp=why.long.example"}, "why.long.example": {"TXT " + strings.Repeat("x", 5000)},
		"mta.example.org": {"TXT v=spf1 a ~all"},
	}}
	for _, c := range []struct {
		sender string
		want   mailauth.SPF
	}{
		{"a@example.org", mailauth.SPF{Result: mailauth.Pass, Domain: "example.org", Mechanism: "ip4:192.0.2.0/24"}},
		{"a@example.com", mailauth.SPF{Result: mailauth.Fail, Domain: "example.com", Mechanism: "-all", Explanation: "192.0.2.1 is not ours, says mx.example.net"}},
		{"a@rude.example", mailauth.SPF{Result: mailauth.Fail, Domain: "rude.example", Mechanism: "-all"}},
		{"a@long.example", mailauth.SPF{Result: mailauth.Fail, Domain: "long.example", Mechanism: "-all", Explanation: strings.Repeat("x", 400)}},
		{"", mailauth.SPF{Result: mailauth.SoftFail, Domain: "mta.example.org", Helo: true, Mechanism: "~all"}},
	} {
		if got := spf(t, d, c.sender); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.sender, got, c.want)
		}
	}
}

// What a hostile domain can make us ask is bounded.
func TestSPFIsBounded(t *testing.T) {
	z := zone{"bomb.example": {"TXT v=spf1 " + strings.Repeat("mx:x.bomb.example ", 10) + "-all"}, "x.bomb.example": nil}
	for i := range 10 {
		host := fmt.Sprintf("h%d.bomb.example", i)
		z["x.bomb.example"] = append(z["x.bomb.example"], "MX 10 "+host)
		z[host] = []string{"A 198.51.100.1"}
	}
	z["loop.example"] = []string{"TXT v=spf1 include:loop.example -all"}
	z["again.example"] = []string{"TXT v=spf1 redirect=again.example"}
	z["void.example"] = []string{"TXT v=spf1 a:1.void.example a:2.void.example a:3.void.example ip4:192.0.2.1 -all"}
	z["big.example"] = []string{"TXT v=spf1 exists:" + strings.Repeat("%{s}", 16000) + ".example -all"}
	z["names.example"] = []string{"TXT v=spf1 exists:%{p}.a.names.example exists:%{p}.b.names.example ptr -all"}
	z["1.2.0.192.in-addr.arpa"] = []string{}
	for i := range 1000 {
		z["1.2.0.192.in-addr.arpa"] = append(z["1.2.0.192.in-addr.arpa"], fmt.Sprintf("PTR n%d.example.net", i))
	}
	for _, c := range []struct {
		sender string
		result mailauth.Result
		most   int
	}{
		{"a@bomb.example", mailauth.Fail, 111},
		{"a@loop.example", mailauth.PermError, 11},
		{"a@again.example", mailauth.PermError, 11},
		{"a@void.example", mailauth.PermError, 4},
		{strings.Repeat("l", 200) + "@big.example", mailauth.PermError, 1},
		{"a@names.example", mailauth.Fail, 14},
	} {
		d := &fakeDNS{zone: z}
		got := spf(t, d, c.sender)
		if got.Result != c.result || len(d.queries) > c.most {
			t.Errorf("%.40s: %+v after %d look-ups, want %s after at most %d", c.sender, got, len(d.queries), c.result, c.most)
		}
	}
}

// stuck is a DNS that answers when its caller gives up.
type stuck struct{}

func (stuck) Lookup(ctx context.Context, name string, typ uint16) (resolve.Records, error) {
	<-ctx.Done()
	return resolve.Records{}, &resolve.Error{Name: name, Kind: resolve.KindTemporary, Err: ctx.Err()}
}

func TestSPFEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		got := spf(t, stuck{}, "a@example.org")
		if took := time.Since(begin); got.Result != mailauth.TempError || took != 20*time.Second {
			t.Errorf("%+v after %v", got, took)
		}
	})
}

func FuzzSPF(f *testing.F) {
	for _, s := range rfc7208(f) {
		for _, rows := range s.Zone {
			for _, r := range rows {
				if r[0] == "TXT" {
					f.Add(r[1], "foo@example.org", "why %{c}")
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, txt, sender, exp string) {
		if len(txt) > 4096 || len(sender) > 254 || len(exp) > 4096 {
			return
		}
		d := &fakeDNS{zone: zone{"example.org": {"TXT " + txt}, "exp.example.org": {"TXT " + exp}}}
		got := mailauth.CheckSPF(t.Context(), d, mailauth.SPFQuery{Client: client, Helo: "example.org", Sender: asPath(sender)})
		if got.Result == "" || len(d.queries) > 150 {
			t.Fatalf("%+v after %d look-ups", got, len(d.queries))
		}
		for _, c := range got.Explanation {
			if c < ' ' || c > '~' {
				t.Fatalf("explanation %q", got.Explanation)
			}
		}
	})
}
