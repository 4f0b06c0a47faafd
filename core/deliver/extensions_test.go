package deliver_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// What a client asked for is handed on where the next hop offers it, and what becomes of it where it does not is what the
// RFCs say.
func TestExtensionsAreHandedOn(t *testing.T) {
	since := time.Date(2014, 4, 3, 23, 1, 0, 0, time.FixedZone("", 3600))
	by := func(in time.Duration, mode string) func(*mail.Message) {
		return func(m *mail.Message) {
			m.Envelope.By = mail.DeliverBy{Time: time.Now().Add(in), Return: mode[0] == 'R', Trace: len(mode) > 1}
		}
	}
	for name, c := range map[string]struct {
		offered string
		change  func(m *mail.Message)
		want    string
		from    string // parameters of MAIL
		to      string // and of RCPT
		relayed bool   // the sender is to hear of it
	}{
		"RFC 6710 5: MT-PRIORITY":                  {"MT-PRIORITY", func(m *mail.Message) { m.Envelope.Priority = -3 }, "sent 2.0.0", "MT-PRIORITY=-3", "", false},
		"RFC 6710 5: not offered":                  {"DSN", func(m *mail.Message) { m.Envelope.Priority = 4 }, "sent 2.0.0", "", "", false},
		"RFC 2852 4: by-mode R":                    {"DELIVERBY", by(90*time.Second+time.Minute, "R"), "sent 2.0.0", "BY=149;R", "", false},
		"RFC 2852 4: by-mode N, with trace":        {"DELIVERBY", by(time.Hour+time.Second, "NT"), "sent 2.0.0", "BY=3600;NT", "", true},
		"RFC 2852 4: N, and the time is over":      {"DELIVERBY", by(-90*time.Second, "N"), "sent 2.0.0", "BY=-90;N", "", false},
		"RFC 2852 4: R, and the time is over":      {"DELIVERBY", by(-time.Second, "R"), "bounced 5.4.7", "", "", false},
		"RFC 2852 4: R, less than the server's":    {"DELIVERBY 3600", by(time.Hour-time.Minute, "R"), "bounced 5.4.7", "", "", false},
		"RFC 2852 4: N, less than the server's":    {"DELIVERBY 3600", by(time.Minute+time.Second, "N"), "sent 2.0.0", "BY=60;N", "", false},
		"RFC 2852 4: N, not offered":               {"DSN", by(time.Hour, "N"), "sent 2.0.0", "", "", true},
		"RFC 2852 4: N, not offered, NOTIFY=NEVER": {"X", func(m *mail.Message) { by(time.Hour, "N")(m); m.Envelope.Recipients[0].Notify = mail.NotifyNever }, "sent 2.0.0", "", "", false},
		"RFC 2852 4: R, not offered":               {"DSN", by(time.Hour, "R"), "sent 2.0.0", "", "", false},
		"RFC 7293 5: RRVS":                         {"RRVS", func(m *mail.Message) { m.Envelope.Recipients[0].ValidSince = since }, "sent 2.0.0", "", "RRVS=2014-04-03T22:01:00Z;R", false},
		"RFC 7293 5: RRVS ;C": {"RRVS", func(m *mail.Message) {
			m.Envelope.Recipients[0].ValidSince, m.Envelope.Recipients[0].ValidSinceContinue = since, true
		}, "sent 2.0.0", "", "RRVS=2014-04-03T22:01:00Z;C", false},
		"RFC 7293 5: not offered, ;R": {"DSN", func(m *mail.Message) { m.Envelope.Recipients[0].ValidSince = since }, "bounced 5.7.19", "", "", false},
		"RFC 7293 5: not offered, ;C": {"DSN", func(m *mail.Message) {
			m.Envelope.Recipients[0].ValidSince, m.Envelope.Recipients[0].ValidSinceContinue = since, true
		}, "sent 2.0.0", "", "", false},
		"RFC 4865: the hold is ours":    {"FUTURERELEASE 100 2030-01-01T00:00:00Z", func(m *mail.Message) { m.Envelope.HoldUntil = time.Now().Add(-time.Second) }, "sent 2.0.0", "", "", false},
		"RFC 3030 3: BINARYMIME":        {"CHUNKING,BINARYMIME,PIPELINING", func(m *mail.Message) { m.Envelope.Body = mail.BodyBinaryMIME }, "sent 2.0.0", "BODY=BINARYMIME", "", false},
		"RFC 3030 3: only CHUNKING":     {"CHUNKING,8BITMIME", func(m *mail.Message) { m.Envelope.Body = mail.BodyBinaryMIME }, "bounced 5.6.3", "", "", false},
		"RFC 3030 3: BINARYMIME alone":  {"BINARYMIME,8BITMIME", func(m *mail.Message) { m.Envelope.Body = mail.BodyBinaryMIME }, "bounced 5.6.3", "", "", false},
		"RFC 6152 3: 8BITMIME":          {"8BITMIME", func(m *mail.Message) { m.Envelope.Body = mail.Body8BitMIME }, "sent 2.0.0", "BODY=8BITMIME", "", false},
		"RFC 6152 3: sent all the same": {"X", func(m *mail.Message) { m.Envelope.Body = mail.Body8BitMIME }, "sent 2.0.0", "", "", false},
		"RFC 3461 5.2.2: not offered":   {"X", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifySuccess }, "sent 2.0.0", "", "", true},
		"RFC 3461 5.2.1: NOTIFY and ORCPT": {"DSN", func(m *mail.Message) {
			m.Envelope.Recipients[0].RcptParams = mail.RcptParams{Notify: mail.NotifyNever, OrcptType: "rfc822", Orcpt: "x@y.test"}
		}, "sent 2.0.0", "", "NOTIFY=NEVER ORCPT=rfc822;x@y.test", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: strings.Split(c.offered, ",")})
			m := message(body, "b@y.test")
			c.change(m)
			start := time.Now()
			res := deliverTo(t, s, m)
			want(t, res, c.want)
			if res[0].Relayed != c.relayed {
				t.Errorf("relayed: %v", res[0].Relayed)
			}
			got := s.Messages()
			if c.want != "sent 2.0.0" {
				if len(got) > 0 || slices.ContainsFunc(s.Commands(), func(l string) bool { return strings.HasPrefix(l, "DATA") || strings.HasPrefix(l, "BDAT") }) {
					t.Errorf("sent: %q", s.Commands())
				}
				return
			}
			if c.from != got[0].FromParams && !soonAfter(c.from, got[0].FromParams, time.Since(start)) || c.to != got[0].ToParams[0] {
				t.Errorf("%q %q, want %q %q", got[0].FromParams, got[0].ToParams[0], c.from, c.to)
			}
			if m.Envelope.Body == mail.BodyBinaryMIME && got[0].Chunks == 0 {
				t.Error("BINARYMIME went with DATA")
			}
		})
	}
}

// soonAfter tells whether two BY parameters differ by no more than the time that has passed.
func soonAfter(want, got string, passed time.Duration) bool {
	var a, b int
	var x, y string
	if n, _ := fmt.Sscanf(want, "BY=%d;%s", &a, &x); n != 2 {
		return false
	}
	if n, _ := fmt.Sscanf(got, "BY=%d;%s", &b, &y); n != 2 || x != y {
		return false
	}
	return b <= a && time.Duration(a-b)*time.Second <= passed+time.Second
}

// A time that is over before the message could be sent is over, however many next hops are left.
func TestDeliverByEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := deliver.New(deliver.Options{Hostname: "us.test"})
		defer a.Close()
		m := message(body, "b@y.test", "c@y.test")
		m.Envelope.By = mail.DeliverBy{Time: time.Now().Add(time.Minute), Return: true}
		time.Sleep(2 * time.Minute)
		want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportDiscard}}, m), "bounced 5.4.7", "bounced 5.4.7")
	})
}

// What one host of a next hop does not offer, another may; only if none does, it is refused.
func TestWhatOneHostLacksAnotherMayHave(t *testing.T) {
	config, roots := certificate(t, "a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test")
	requireTLS := func(m *mail.Message) { m.Envelope.RequireTLS = true }
	for name, c := range map[string]struct {
		change func(*mail.Message)
		has    string   // the extension
		hosts  []string // + offers it, - does not, ! is down, . has no TLS, ~ offers it and defers the recipient, x refuses every client
		want   string
	}{
		"RFC 8689 4.2.1: the seventh has REQUIRETLS": {requireTLS, "REQUIRETLS", []string{"-", "-", "-", "-", "-", "-", "+"}, "sent 2.0.0"},
		"RFC 8689 4.2.1: none has":                   {requireTLS, "REQUIRETLS", []string{"-", "-", "-", "-"}, "bounced 5.7.30"},
		"RFC 8689 4.2.1: one is down":                {requireTLS, "REQUIRETLS", []string{"-", "!", "-"}, "deferred 4.4.1"},
		"RFC 8689 4.2.1: one without TLS":            {requireTLS, "REQUIRETLS", []string{".", "+"}, "sent 2.0.0"},
		"RFC 8689 4.2.1: only without TLS":           {requireTLS, "REQUIRETLS", []string{".", "."}, "deferred 4.7.4"},
		"RFC 8689 5: a notification, none has":       {func(m *mail.Message) { m.Envelope.RequireTLS, m.Envelope.ReversePath = true, mail.Path{} }, "SIZE", []string{"+"}, "sent 2.0.0"},
		"RFC 8689 5: a notification, no TLS":         {func(m *mail.Message) { m.Envelope.RequireTLS, m.Envelope.ReversePath = true, mail.Path{} }, "SIZE", []string{"."}, "deferred 4.7.4"},
		"SMTPUTF8":                                   {func(m *mail.Message) { m.Envelope.ReversePath = path("ü@x.test") }, "SMTPUTF8", []string{"-", "+"}, "sent 2.0.0"},
		"SMTPUTF8, none":                             {func(m *mail.Message) { m.Envelope.ReversePath = path("ü@x.test") }, "SMTPUTF8", []string{"-", "-"}, "bounced 5.6.7"},
		"SMTPUTF8, down":                             {func(m *mail.Message) { m.Envelope.ReversePath = path("ü@x.test") }, "SMTPUTF8", []string{"-", "!"}, "deferred 4.4.1"},
		"SMTPUTF8 for one":                           {func(m *mail.Message) { m.Envelope.Recipients[0].ForwardPath = path("ü@y.test") }, "SMTPUTF8", []string{"-", "+"}, "sent 2.0.0"},
		"RRVS":                                       {func(m *mail.Message) { m.Envelope.Recipients[0].ValidSince = time.Unix(1e9, 0) }, "RRVS", []string{"-", "+"}, "sent 2.0.0"},
		"RRVS, none":                                 {func(m *mail.Message) { m.Envelope.Recipients[0].ValidSince = time.Unix(1e9, 0) }, "RRVS", []string{"-", "-"}, "bounced 5.7.19"},
		"RRVS, a greylisting host has":               {func(m *mail.Message) { m.Envelope.Recipients[0].ValidSince = time.Unix(1e9, 0) }, "RRVS", []string{"~", "-"}, "deferred 4.7.1"},
		"SMTPUTF8, a greylisting host has":           {func(m *mail.Message) { m.Envelope.ReversePath = path("ü@x.test") }, "SMTPUTF8", []string{"~", "-"}, "deferred 4.7.1"},
		"SMTPUTF8, the last is a greylisting host":   {func(m *mail.Message) { m.Envelope.ReversePath = path("ü@x.test") }, "SMTPUTF8", []string{"-", "~"}, "deferred 4.7.1"},
		"nothing, and the second refuses clients":    {func(*mail.Message) {}, "DSN", []string{"~", "x"}, "deferred 4.7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			dns := names{mx: map[string][]resolve.Exchange{"y.test": nil}, addrs: map[string][]string{}}
			port, servers := uint16(0), []*mailtest.SMTP{}
			for i, kind := range c.hosts {
				host := string(rune('a'+i)) + ".test"
				script := mailtest.Script{Address: fmt.Sprintf("127.0.0.%d:%d", i+2, port), TLS: config, Extensions: []string{"PIPELINING"}}
				switch kind {
				case "+":
					script.Extensions = append(script.Extensions, c.has)
				case ".":
					script.TLS = nil
				case "~":
					script.Extensions = append(script.Extensions, c.has)
					script.Replies = map[string]string{"RCPT": "451 4.7.1 Later"}
				case "x":
					script.Replies = map[string]string{"CONNECT": "554 5.7.1 No"}
				}
				s := mailtest.ServeSMTP(t, script)
				port = s.Port
				servers = append(servers, s)
				if kind == "!" {
					s.Close()
				}
				dns.mx["y.test"] = append(dns.mx["y.test"], resolve.Exchange{Host: host, Preference: uint16(i), Secure: true})
				dns.addrs[host] = []string{s.Host}
			}
			m := message(body, "b@y.test")
			c.change(m)
			a := newAgent(t, deliver.Options{Resolver: dns, MXPort: port, AllowLoopbackMX: true, TLS: &tls.Config{RootCAs: roots}})
			want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, m), c.want)
			for i, s := range servers {
				if n := len(s.Messages()); n > 0 && c.hosts[i] != "+" {
					t.Errorf("host %d took %d messages", i, n)
				}
			}
		})
	}
}

// TestRequireTLSWantsExchangersThatSomethingVouchesFor has RFC 8689 8.2: a certificate for a name that a forged MX record
// has proves nothing.
func TestRequireTLSWantsExchangersThatSomethingVouchesFor(t *testing.T) {
	config, roots := certificate(t, "mx.d.test", "127.0.0.1")
	s := mailtest.ServeSMTP(t, mailtest.Script{TLS: config, Extensions: []string{"REQUIRETLS"}})
	for name, c := range map[string]struct {
		secure bool
		sts    deliver.Policies
		want   string
	}{
		"nothing":                          {false, nil, "bounced 5.7.30"},
		"no policy":                        {false, policies{}, "bounced 5.7.30"},
		"a policy that cannot be had":      {false, faulty{}, "deferred 4.7.5"},
		"a policy for testing, not named":  {false, policies{"d.test": {Mode: mtasts.Testing, MX: []string{"x.test"}}}, "bounced 5.7.30"},
		"a policy for testing that names":  {false, policies{"d.test": {Mode: mtasts.Testing, MX: []string{"mx.d.test"}}}, "sent 2.0.0"},
		"a policy in force that names":     {false, policies{"d.test": {Mode: mtasts.Enforce, MX: []string{"mx.d.test"}}}, "sent 2.0.0"},
		"a policy in force, not named":     {false, policies{"d.test": {Mode: mtasts.Enforce, MX: []string{"x.test"}}}, "deferred 4.7.5"},
		"DNSSEC":                           {true, nil, "sent 2.0.0"},
		"DNSSEC, and a policy for testing": {true, policies{"d.test": {Mode: mtasts.Testing, MX: []string{"x.test"}}}, "sent 2.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			dns := names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.d.test", Secure: c.secure}}}, addrs: map[string][]string{"mx.d.test": {"127.0.0.1"}}}
			r := &reports{}
			a := newAgent(t, deliver.Options{Resolver: dns, STS: c.sts, Reports: r, MXPort: s.Port, AllowLoopbackMX: true, IdleTime: -1, TLS: &tls.Config{RootCAs: roots}})
			m := message(body, "b@d.test")
			m.Envelope.RequireTLS = true
			want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, m), c.want)
			if c.want == "bounced 5.7.30" && len(r.list) != 0 {
				t.Errorf("reported: %+v", r.list)
			}
			// A notification is not thrown away because nothing does.
			m.Envelope.ReversePath = mail.Path{}
			switch res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, m); c.want {
			case "bounced 5.7.30":
				want(t, res, "sent 2.0.0")
			default:
				if res[0].Outcome == mail.Failed {
					t.Errorf("a notification is thrown away: %s", res[0].Reply.String())
				}
			}
			// Who is named by the operator, or by the address, is looked up nowhere.
			m.Envelope.Recipients[0].ForwardPath = path("b@[127.0.0.1]")
			want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, m), "sent 2.0.0")
			want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportSMTP, Host: "mx.d.test", Port: s.Port}}, m), "sent 2.0.0")
		})
	}
}

// A mailbox store on this machine is the end of the way: there is nothing that TLS would protect.
func TestRequireTLSEndsAtTheMailboxStore(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{LMTP: true})
	a := newAgent(t, deliver.Options{Resolver: names{addrs: map[string][]string{"store.test": {"127.0.0.1"}, "localhost": {"127.0.0.1"}}}})
	for host, w := range map[string]string{"127.0.0.1": "sent 2.0.0", "localhost": "sent 2.0.0", "store.test": "deferred 4.7.4"} {
		m := message(body, "b@d.test")
		m.Envelope.RequireTLS = true
		want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportLMTP, Host: host, Port: s.Port}}, m), w)
	}
	if got := s.Messages(); len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
}

// TestLimitsOfThePeer has RFC 9422: what a server says that it takes is never exceeded, and the rest goes in other sessions.
func TestLimitsOfThePeer(t *testing.T) {
	type bounds struct{ rcpt, mail, domains int }
	for _, c := range []struct {
		limits   string
		bounds   bounds
		to       []string
		sessions int
	}{
		{"RCPTDOMAINMAX=1", bounds{100, 100, 1}, []string{"a@x.test", "b@y.test", "c@X.test", "d@z.test"}, 3},
		{"RCPTDOMAINMAX=2", bounds{100, 100, 2}, []string{"a@x.test", "b@y.test", "c@x.test", "d@z.test"}, 2},
		{"RCPTMAX=2 MAILMAX=1", bounds{2, 1, 100}, []string{"a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"}, 3},
		{"RCPTMAX=1 RCPTDOMAINMAX=2 MAILMAX=3", bounds{1, 3, 2}, []string{"a@x.test", "b@y.test", "c@z.test", "d@x.test"}, 2},
		{"RCPTMAX=0 MAILMAX=x RCPTDOMAINMAX=-1", bounds{100, 100, 100}, []string{"a@x.test", "b@y.test"}, 1},
	} {
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING", "LIMITS " + c.limits}})
		a := newAgent(t, deliver.Options{})
		res := a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, c.to...))
		for _, r := range res {
			if r.Outcome != mail.Delivered {
				t.Errorf("%s: %+v", c.limits, r)
			}
		}
		seen := map[int]bounds{}
		domains := map[string]bool{}
		for _, m := range s.Messages() {
			b := seen[m.Session]
			b.mail++
			b.rcpt = max(b.rcpt, len(m.To))
			for _, to := range m.To {
				key := fmt.Sprint(m.Session, strings.ToLower(to[strings.IndexByte(to, '@'):]))
				if !domains[key] {
					domains[key] = true
					b.domains++
				}
			}
			seen[m.Session] = b
		}
		for n, b := range seen {
			if b.rcpt > c.bounds.rcpt || b.mail > c.bounds.mail || b.domains > c.bounds.domains {
				t.Errorf("%s: session %d had %+v", c.limits, n, b)
			}
		}
		if s.Connections() != c.sessions {
			t.Errorf("%s: %d sessions, want %d", c.limits, s.Connections(), c.sessions)
		}
		// A kept connection has its past.
		want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "z@other.test")), "sent 2.0.0")
		if got := s.Messages(); strings.Contains(c.limits, "RCPTDOMAINMAX=1") && got[len(got)-1].Session <= 3 {
			t.Errorf("%s: session %d was used for one more domain", c.limits, got[len(got)-1].Session)
		}
	}
	// Who defers everybody in every session is not asked for ever.
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"LIMITS RCPTMAX=1 MAILMAX=1"}, Replies: map[string]string{"RCPT": "451 4.7.1 Later"}})
	want(t, deliverTo(t, s, message(body, "a@x.test", "b@x.test", "c@x.test")), "deferred 4.7.1", "deferred 4.7.1", "deferred 4.7.1")
	if s.Connections() != 3 {
		t.Errorf("%d sessions for three recipients", s.Connections())
	}
}
