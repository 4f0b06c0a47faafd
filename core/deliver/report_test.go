package deliver_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/deliver/tlsrpt"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// reports keeps what it is told.
type reports struct {
	mu   sync.Mutex
	list []tlsrpt.Session
}

func (r *reports) Add(s tlsrpt.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, s)
}

// faulty are policies that cannot be had.
type faulty struct{ policies }

func (faulty) Fault(string) string { return mtasts.FaultCertificate }

// TestWhatIsReported has RFC 8460 4.3: each new session is told once, with what went wrong first.
func TestWhatIsReported(t *testing.T) {
	config, roots := certificate(t, "mx.d.test")
	stranger, leaf, _ := chain(t, false, "mx.d.test")
	_, otherLeaf, _ := chain(t, false, "mx.d.test")
	wrong, wrongRoots, _ := chain(t, false, "other.test")
	old, _, oldCA := chain(t, true, "mx.d.test")
	roots.AddCert(oldCA)
	roots.AddCert(wrongRoots)
	broken := config.Clone()
	broken.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
	policy := func(mode mtasts.Mode, mx string) policies {
		return policies{"d.test": {Mode: mode, MX: []string{mx}, MaxAge: 86400e9}}
	}
	offers := mailtest.Script{TLS: config}
	for name, c := range map[string]struct {
		script mailtest.Script
		sts    deliver.Policies
		tlsa   []byte
		err    error // of the TLSA look-up
		route  mail.TLSPolicy
		want   string
	}{
		"no policy":                          {offers, policies{}, nil, nil, 0, "no-policy-found "},
		"no policy, no TLS":                  {mailtest.Script{}, policies{}, nil, nil, 0, "no-policy-found starttls-not-supported"},
		"no policy, any certificate":         {mailtest.Script{TLS: stranger}, policies{}, nil, nil, 0, "no-policy-found "},
		"no policy, clear text in the end":   {mailtest.Script{TLS: broken}, policies{}, nil, nil, 0, "no-policy-found validation-failure"},
		"the operator wants none":            {offers, policies{}, nil, nil, mail.TLSNone, ""},
		"enforce":                            {offers, policy(mtasts.Enforce, "mx.d.test"), nil, nil, 0, "sts "},
		"enforce, no TLS":                    {mailtest.Script{}, policy(mtasts.Enforce, "mx.d.test"), nil, nil, 0, "sts starttls-not-supported"},
		"enforce, 454":                       {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "454 4.7.0 No"}}, policy(mtasts.Enforce, "mx.d.test"), nil, nil, 0, "sts starttls-not-supported"},
		"enforce, expired":                   {mailtest.Script{TLS: old}, policy(mtasts.Enforce, "mx.d.test"), nil, nil, 0, "sts certificate-expired"},
		"enforce, another name":              {mailtest.Script{TLS: wrong}, policy(mtasts.Enforce, "mx.d.test"), nil, nil, 0, "sts certificate-host-mismatch"},
		"enforce, not trusted":               {mailtest.Script{TLS: stranger}, policy(mtasts.Enforce, "mx.d.test"), nil, nil, 0, "sts certificate-not-trusted"},
		"enforce, not named":                 {offers, policy(mtasts.Enforce, "x.d.test"), nil, nil, 0, "sts validation-failure"},
		"testing":                            {offers, policy(mtasts.Testing, "mx.d.test"), nil, nil, 0, "sts "},
		"testing, not named":                 {offers, policy(mtasts.Testing, "x.d.test"), nil, nil, 0, "sts validation-failure"},
		"testing, expired":                   {mailtest.Script{TLS: old}, policy(mtasts.Testing, "mx.d.test"), nil, nil, 0, "sts certificate-expired"},
		"testing, another name":              {mailtest.Script{TLS: wrong}, policy(mtasts.Testing, "mx.d.test"), nil, nil, 0, "sts certificate-host-mismatch"},
		"testing, not trusted":               {mailtest.Script{TLS: stranger}, policy(mtasts.Testing, "mx.d.test"), nil, nil, 0, "sts certificate-not-trusted"},
		"a policy that cannot be had":        {offers, faulty{}, nil, nil, 0, "sts sts-webpki-invalid"},
		"DANE":                               {mailtest.Script{TLS: stranger}, policy(mtasts.Enforce, "x.d.test"), tlsaRecord(3, 1, 1, leaf), nil, 0, "tlsa "},
		"DANE, wrong key":                    {mailtest.Script{TLS: stranger}, policies{}, tlsaRecord(3, 1, 1, otherLeaf), nil, 0, "tlsa validation-failure"},
		"DANE, unusable":                     {offers, policies{}, []byte{3, 1, 1, 0}, nil, 0, "tlsa tlsa-invalid"},
		"DANE, unusable, no TLS":             {mailtest.Script{}, policies{}, []byte{3, 1, 1, 0}, nil, 0, "tlsa starttls-not-supported"},
		"DANE, bogus":                        {offers, policies{}, nil, resolve.ErrBogus, 0, "tlsa dnssec-invalid"},
		"a host that refuses before all TLS": {mailtest.Script{TLS: config, Replies: map[string]string{"CONNECT": "554 5.7.1 No"}}, policies{}, nil, nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ServeSMTP(t, c.script)
			at := fmt.Sprintf("_%d._tcp.mx.d.test", s.Port)
			z := zone{names: names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.d.test", Secure: true}}}, addrs: map[string][]string{"mx.d.test": {"127.0.0.1"}}},
				tlsa: map[string]resolve.Records{}, tlsaErr: map[string]error{at: c.err}}
			if c.tlsa != nil {
				z.tlsa[at] = resolve.Records{Secure: true, Data: [][]byte{c.tlsa}}
			}
			r := &reports{}
			a := newAgent(t, deliver.Options{Resolver: z, DANE: z, STS: c.sts, Reports: r, AllowLoopbackMX: true, MXPort: s.Port, TLS: &tls.Config{RootCAs: roots}})
			a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, TLS: c.route}}, message(body, "b@d.test"))
			var got []string
			for _, v := range r.list {
				got = append(got, v.Policy.Type+" "+string(v.Result))
				if v.Domain != "d.test" || v.ReceivingMX != "mx.d.test" || v.ReceivingIP.IsValid() && (v.SendingIP.String() != "127.0.0.1" || v.ReceivingHelo != "mx.test") {
					t.Errorf("%+v", v)
				}
				if v.Policy.Type == tlsrpt.STS && len(v.Policy.Strings) == 0 && name != "a policy that cannot be had" {
					t.Errorf("without its policy: %+v", v)
				}
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	// A connection that is used again is no new session, and a next hop of the operator's is nobody's policy.
	s := mailtest.ServeSMTP(t, offers)
	dns := names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.d.test"}}}, addrs: map[string][]string{"mx.d.test": {"127.0.0.1"}}}
	r := &reports{}
	a := newAgent(t, deliver.Options{Resolver: dns, Reports: r, AllowLoopbackMX: true, MXPort: s.Port})
	for range 3 {
		want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@d.test")), "sent 2.0.0")
	}
	want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@d.test")), "sent 2.0.0")
	if len(r.list) != 1 {
		t.Errorf("%d sessions", len(r.list))
	}
}

// RFC 8460 3: reports of ours arrive although TLS fails, and are not what the next report is about.
func TestReportsArriveAndAreNotReported(t *testing.T) {
	stranger, _, _ := chain(t, false, "mx.d.test")
	_, leaf, _ := chain(t, false, "mx.d.test")
	s := mailtest.ServeSMTP(t, mailtest.Script{TLS: stranger})
	z := zone{names: names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.d.test", Secure: true}}}, addrs: map[string][]string{"mx.d.test": {"127.0.0.1"}}},
		tlsa: map[string]resolve.Records{fmt.Sprintf("_%d._tcp.mx.d.test", s.Port): {Secure: true, Data: [][]byte{tlsaRecord(3, 1, 1, leaf)}}}}
	enforce := policies{"d.test": {Mode: mtasts.Enforce, MX: []string{"x.test"}, MaxAge: 86400e9}}
	for name, o := range map[string]deliver.Options{"DANE": {Resolver: z, DANE: z}, "MTA-STS": {Resolver: z.names, STS: enforce}} {
		r := &reports{}
		o.Reports, o.AllowLoopbackMX, o.MXPort, o.IdleTime = r, true, s.Port, -1
		a := newAgent(t, o)
		report := func() *mail.Message {
			m := message(body, "tls@d.test")
			m.Envelope.ReversePath = mail.Path{}
			m.Header = []byte("From: <tls@us.test>\r\nTLS-Report-Domain: d.test\r\nTLS-Report-Submitter: us.test\r\n\r\n")
			return m
		}
		deliverMX := func(m *mail.Message) []mail.Result {
			return a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, m)
		}
		want(t, deliverMX(report()), "sent 2.0.0")
		if len(r.list) != 0 {
			t.Errorf("%s: reported %+v", name, r.list)
		}
		// Whoever else says so is not believed.
		for _, change := range []func(*mail.Message){
			func(m *mail.Message) { m.Envelope.ReversePath = path("tls@us.test") },
			func(m *mail.Message) { m.Envelope.Client.Remote = netip.MustParseAddrPort("192.0.2.1:25") },
			func(m *mail.Message) { m.Header = []byte(header) },
		} {
			m := report()
			change(m)
			want(t, deliverMX(m), "deferred 4.7.5")
		}
		if len(r.list) != 3 {
			t.Errorf("%s: %d reported, want 3", name, len(r.list))
		}
	}
}
