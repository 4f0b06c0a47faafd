package deliver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// zone is a resolver with the proofs of DNSSEC.
type zone struct {
	names
	insecure map[string]bool   // addresses that nothing proves
	alias    map[string]string // host -> canonical name
	tlsa     map[string]resolve.Records
	tlsaErr  map[string]error
}

func (z zone) Host(ctx context.Context, host string) (resolve.Host, error) {
	h := resolve.Host{Canonical: host, Secure: !z.insecure[host]}
	if c := z.alias[host]; c != "" {
		h.Canonical = c
	}
	var err error
	h.Addrs, err = z.Addrs(ctx, host)
	return h, err
}

func (z zone) Lookup(_ context.Context, name string, typ uint16) (resolve.Records, error) {
	if typ != 52 {
		return resolve.Records{}, resolve.ErrBadName
	}
	if err := z.tlsaErr[name]; err != nil {
		return resolve.Records{}, err
	}
	if r, ok := z.tlsa[name]; ok {
		return r, nil
	}
	return resolve.Records{Secure: true}, resolve.ErrNoDomain
}

// chain is a certificate for names under an authority of its own.
func chain(t *testing.T, expired bool, names ...string) (config *tls.Config, leaf, ca *x509.Certificate) {
	t.Helper()
	issue := func(tmpl, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	from, to := time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour)
	ca, caKey := issue(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	if expired {
		to = time.Now().Add(-24 * time.Hour)
	}
	leaf, key := issue(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, DNSNames: names,
		NotBefore: from, NotAfter: to, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, caKey)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key}}}, leaf, ca
}

func tlsaRecord(usage, selector, matching byte, c *x509.Certificate) []byte {
	of := c.Raw
	if selector == 1 {
		of = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		s := sha256.Sum256(of)
		of = s[:]
	case 2:
		s := sha512.Sum512(of)
		of = s[:]
	}
	return append([]byte{usage, selector, matching}, of...)
}

// policies are MTA-STS policies by domain.
type policies map[string]mtasts.Policy

func (p policies) Policy(_ context.Context, domain string) (mtasts.Policy, bool) {
	x, ok := p[domain]
	return x, ok
}

// TestDANE has the rows of RFC 7672: what may be delivered to, and what must not, be it in clear text or at all.
func TestDANE(t *testing.T) {
	config, leaf, ca := chain(t, false, "mx.test")
	wrongName, wrongLeaf, wrongCA := chain(t, false, "other.test")
	expired, expiredLeaf, expiredCA := chain(t, true, "mx.test")
	forDomain, _, domainCA := chain(t, false, "d.test")
	alone := &tls.Config{Certificates: []tls.Certificate{{Certificate: config.Certificates[0].Certificate[:1], PrivateKey: config.Certificates[0].PrivateKey}}}
	offers := mailtest.Script{TLS: config}
	clear := mailtest.Script{}
	set := func(r ...[]byte) resolve.Records { return resolve.Records{Data: r, Secure: true} }
	type row struct {
		script mailtest.Script
		tlsa   resolve.Records
		want   string
		tls    bool
		change func(z *zone)
	}
	for name, c := range map[string]row{
		"3 1 1":                     {offers, set(tlsaRecord(3, 1, 1, leaf)), "sent 2.0.0", true, nil},
		"3 0 1":                     {offers, set(tlsaRecord(3, 0, 1, leaf)), "sent 2.0.0", true, nil},
		"3 1 2":                     {offers, set(tlsaRecord(3, 1, 2, leaf)), "sent 2.0.0", true, nil},
		"3 0 0":                     {offers, set(tlsaRecord(3, 0, 0, leaf)), "sent 2.0.0", true, nil},
		"3 1 1, one of several":     {offers, set(tlsaRecord(3, 1, 1, wrongLeaf), tlsaRecord(3, 1, 1, leaf)), "sent 2.0.0", true, nil},
		"3 1 1, wrong key":          {offers, set(tlsaRecord(3, 1, 1, wrongLeaf)), "deferred 4.7.5", false, nil},
		"3 1 1, any name":           {mailtest.Script{TLS: wrongName}, set(tlsaRecord(3, 1, 1, wrongLeaf)), "sent 2.0.0", true, nil},
		"3 1 1, expired":            {mailtest.Script{TLS: expired}, set(tlsaRecord(3, 1, 1, expiredLeaf)), "sent 2.0.0", true, nil},
		"2 0 1":                     {offers, set(tlsaRecord(2, 0, 1, ca)), "sent 2.0.0", true, nil},
		"2 1 1":                     {offers, set(tlsaRecord(2, 1, 1, ca)), "sent 2.0.0", true, nil},
		"2 0 1, wrong name":         {mailtest.Script{TLS: wrongName}, set(tlsaRecord(2, 0, 1, wrongCA)), "deferred 4.7.5", false, nil},
		"2 0 1, name of the domain": {mailtest.Script{TLS: forDomain}, set(tlsaRecord(2, 0, 1, domainCA)), "sent 2.0.0", true, nil},
		"2 0 1, expired":            {mailtest.Script{TLS: expired}, set(tlsaRecord(2, 0, 1, expiredCA)), "deferred 4.7.5", false, nil},
		"2 0 1, another authority":  {offers, set(tlsaRecord(2, 0, 1, wrongCA)), "deferred 4.7.5", false, nil},
		"2 0 1, authority not sent": {mailtest.Script{TLS: alone}, set(tlsaRecord(2, 0, 1, ca)), "deferred 4.7.5", false, nil},
		"2 0 0, authority not sent": {mailtest.Script{TLS: alone}, set(tlsaRecord(2, 0, 0, ca)), "sent 2.0.0", true, nil},
		"2 and 3":                   {offers, set(tlsaRecord(2, 0, 1, wrongCA), tlsaRecord(3, 1, 1, leaf)), "sent 2.0.0", true, nil},
		"3 1 1, no TLS":             {clear, set(tlsaRecord(3, 1, 1, leaf)), "deferred 4.7.4", false, nil},
		"3 1 1, 454":                {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "454 4.7.0 Not now"}}, set(tlsaRecord(3, 1, 1, leaf)), "deferred 4.7.4", false, nil},
		"only 0 and 1, TLS":         {offers, set(tlsaRecord(1, 1, 1, wrongLeaf), tlsaRecord(0, 1, 1, wrongCA)), "sent 2.0.0", true, nil},
		"only 0 and 1, no TLS":      {clear, set(tlsaRecord(1, 1, 1, leaf)), "deferred 4.7.4", false, nil},
		"damaged, no TLS":           {clear, set([]byte{3, 1, 1, 7}, []byte{3, 9, 1}, nil), "deferred 4.7.4", false, nil},
		"insecure records":          {clear, resolve.Records{Data: [][]byte{tlsaRecord(3, 1, 1, wrongLeaf)}}, "sent 2.0.0", false, nil},
		"no records":                {clear, set(), "sent 2.0.0", false, nil},
		"look-up fails":             {offers, set(), "deferred 4.4.3", false, func(z *zone) { z.tlsaErr["_PORT._tcp.mx.test"] = resolve.ErrTemporary }},
		"look-up is bogus":          {offers, set(), "deferred 4.4.3", false, func(z *zone) { z.tlsaErr["_PORT._tcp.mx.test"] = resolve.ErrBogus }},
		"addresses are not proven":  {clear, set(tlsaRecord(3, 1, 1, wrongLeaf)), "sent 2.0.0", false, func(z *zone) { z.insecure["mx.test"] = true }},
		"MX is not proven":          {clear, set(tlsaRecord(3, 1, 1, wrongLeaf)), "sent 2.0.0", false, func(z *zone) { z.mx["d.test"][0].Secure = false }},
		"records at the alias's end": {offers, resolve.Records{}, "sent 2.0.0", true, func(z *zone) {
			z.alias["mx.test"] = "real.test"
			z.tlsa["_PORT._tcp.real.test"] = set(tlsaRecord(3, 1, 1, leaf))
		}},
		"wrong at the alias's end": {offers, set(tlsaRecord(3, 1, 1, leaf)), "deferred 4.7.5", false, func(z *zone) {
			z.alias["mx.test"] = "real.test"
			z.tlsa["_PORT._tcp.real.test"] = set(tlsaRecord(3, 1, 1, wrongLeaf))
		}},
		"none at the alias's end": {offers, set(tlsaRecord(3, 1, 1, wrongLeaf)), "deferred 4.7.5", false, func(z *zone) { z.alias["mx.test"] = "real.test" }},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ServeSMTP(t, c.script)
			at := fmt.Sprintf("_%d._tcp.", s.Port)
			z := &zone{
				names:    names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.test", Secure: true}}}, addrs: map[string][]string{"mx.test": {"127.0.0.1"}}},
				insecure: map[string]bool{}, alias: map[string]string{}, tlsa: map[string]resolve.Records{}, tlsaErr: map[string]error{},
			}
			if c.tlsa.Secure || c.tlsa.Data != nil {
				z.tlsa["_PORT._tcp.mx.test"] = c.tlsa
			}
			if c.change != nil {
				c.change(z)
			}
			for k, v := range z.tlsa {
				z.tlsa[at+k[len("_PORT._tcp."):]] = v
			}
			for k, v := range z.tlsaErr {
				z.tlsaErr[at+k[len("_PORT._tcp."):]] = v
			}
			a := newAgent(t, deliver.Options{Resolver: z, DANE: z, AllowLoopbackMX: true, MXPort: s.Port})
			for range 2 { // the second time over the kept connection
				want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@d.test")), c.want)
			}
			for _, m := range s.Messages() {
				if m.TLS != c.tls {
					t.Errorf("over TLS: %v", m.TLS)
				}
			}
			if c.want != "sent 2.0.0" && bytes.Contains(s.Bytes(1), []byte("MAIL FROM")) {
				t.Error("sent in clear text")
			}
		})
	}
}

// TestMTASTS has the rows of RFC 8461: under enforce, nothing goes to a host that the policy does not name, nor without
// TLS and a certificate that the public authorities vouch for.
func TestMTASTS(t *testing.T) {
	config, roots := certificate(t, "mx.d.test")
	other, _ := certificate(t, "mx.d.test") // of an authority that nobody trusts
	wrong, _ := certificate(t, "elsewhere.test")
	policy := func(mode mtasts.Mode, mx ...string) mtasts.Policy { return mtasts.Policy{Mode: mode, MX: mx} }
	for name, c := range map[string]struct {
		script mailtest.Script
		policy mtasts.Policy
		want   string
		tls    bool
	}{
		"enforce":                  {mailtest.Script{TLS: config}, policy(mtasts.Enforce, "mx.d.test"), "sent 2.0.0", true},
		"enforce, wildcard":        {mailtest.Script{TLS: config}, policy(mtasts.Enforce, "*.d.test"), "sent 2.0.0", true},
		"enforce, not named":       {mailtest.Script{TLS: config}, policy(mtasts.Enforce, "mail.d.test"), "deferred 4.7.5", false},
		"enforce, no TLS":          {mailtest.Script{}, policy(mtasts.Enforce, "mx.d.test"), "deferred 4.7.4", false},
		"enforce, 454":             {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "454 4.7.0 No"}}, policy(mtasts.Enforce, "mx.d.test"), "deferred 4.7.4", false},
		"enforce, unknown issuer":  {mailtest.Script{TLS: other}, policy(mtasts.Enforce, "mx.d.test"), "deferred 4.7.5", false},
		"enforce, wrong name":      {mailtest.Script{TLS: wrong}, policy(mtasts.Enforce, "mx.d.test"), "deferred 4.7.5", false},
		"testing, not named":       {mailtest.Script{TLS: config}, policy(mtasts.Testing, "mail.d.test"), "sent 2.0.0", true},
		"testing, unknown issuer":  {mailtest.Script{TLS: other}, policy(mtasts.Testing, "mx.d.test"), "sent 2.0.0", true},
		"testing, no TLS":          {mailtest.Script{}, policy(mtasts.Testing, "mx.d.test"), "sent 2.0.0", false},
		"policy of another domain": {mailtest.Script{}, mtasts.Policy{}, "sent 2.0.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ServeSMTP(t, c.script)
			dns := names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.d.test"}}}, addrs: map[string][]string{"mx.d.test": {"127.0.0.1"}}}
			sts := policies{"d.test": c.policy}
			if c.policy.Mode == "" {
				sts = policies{"mx.d.test": policy(mtasts.Enforce, "x.test")}
			}
			a := newAgent(t, deliver.Options{Resolver: dns, STS: sts, AllowLoopbackMX: true, MXPort: s.Port, TLS: &tls.Config{RootCAs: roots},
				Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
			res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@d.test"))
			want(t, res, c.want)
			proof := ""
			if c.tls {
				proof = map[mtasts.Mode]string{mtasts.Enforce: ", verified by MTA-STS", mtasts.Testing: ", not verified"}[c.policy.Mode]
			}
			if got := res[0].TLS; !strings.HasSuffix(got, proof) || (got != "") != c.tls {
				t.Errorf("the result says of TLS: %q", got)
			}
			for _, m := range s.Messages() {
				if m.TLS != c.tls {
					t.Errorf("over TLS: %v", m.TLS)
				}
			}
			if c.want != "sent 2.0.0" && bytes.Contains(s.Bytes(1), []byte("MAIL FROM")) {
				t.Error("sent in clear text")
			}
		})
	}
}

func TestEnforceTakesTheExchangerThatFits(t *testing.T) {
	config, roots := certificate(t, "good.d.test")
	bad := mailtest.ServeSMTP(t, mailtest.Script{Address: "127.0.0.1:0"})
	good := mailtest.ServeSMTP(t, mailtest.Script{TLS: config, Address: fmt.Sprintf("127.0.0.2:%d", bad.Port)})
	dns := names{
		mx:    map[string][]resolve.Exchange{"d.test": {{Host: "bad.d.test", Preference: 1}, {Host: "evil.test", Preference: 2}, {Host: "good.d.test", Preference: 3}}},
		addrs: map[string][]string{"bad.d.test": {"127.0.0.1"}, "evil.test": {"127.0.0.1"}, "good.d.test": {"127.0.0.2"}},
	}
	a := newAgent(t, deliver.Options{Resolver: dns, STS: policies{"d.test": {Mode: mtasts.Enforce, MX: []string{"*.d.test"}}}, AllowLoopbackMX: true,
		MXPort: bad.Port, TLS: &tls.Config{RootCAs: roots}})
	res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@d.test"))
	want(t, res, "sent 2.0.0")
	if got := res[0].Earlier; !strings.Contains(got, "evil.test: passed over: the MTA-STS policy of the domain does not name it") || !strings.Contains(got, "bad.d.test[127.0.0.1]") {
		t.Errorf("what was tried before: %q", got)
	}
	if bad.Connections() != 1 || len(bad.Messages()) != 0 || len(good.Messages()) != 1 || !good.Messages()[0].TLS {
		t.Errorf("%d connections and %d messages at the wrong host, %d at the right one", bad.Connections(), len(bad.Messages()), len(good.Messages()))
	}
}

// DANE decides where both have something to say (RFC 8461 2).
func TestDANEGoesBeforeMTASTS(t *testing.T) {
	config, leaf, _ := chain(t, false, "anything.test")
	s := mailtest.ServeSMTP(t, mailtest.Script{TLS: config})
	z := zone{
		names: names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.test", Secure: true}}}, addrs: map[string][]string{"mx.test": {"127.0.0.1"}}},
		tlsa:  map[string]resolve.Records{fmt.Sprintf("_%d._tcp.mx.test", s.Port): {Data: [][]byte{tlsaRecord(3, 1, 1, leaf)}, Secure: true}},
	}
	a := newAgent(t, deliver.Options{Resolver: z, DANE: z, STS: policies{"d.test": {Mode: mtasts.Enforce, MX: []string{"mx.test"}}}, AllowLoopbackMX: true, MXPort: s.Port})
	res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@d.test"))
	want(t, res, "sent 2.0.0")
	if !strings.HasSuffix(res[0].TLS, ", verified by DANE") {
		t.Errorf("the result says of TLS: %q", res[0].TLS)
	}
}

// What a domain asks for counts from the moment that it is known: neither a connection that is kept nor a TLS session that
// is remembered from before takes a message past it. A route of the operator's without TLS does, unless the message has
// REQUIRETLS.
func TestWhatIsRememberedDoesNotWeakenTLS(t *testing.T) {
	config, leaf, _ := chain(t, false, "mx.test") // of an authority that nobody trusts
	_, other, _ := chain(t, false, "mx.test")
	mx, none := []mail.NextHop{{Transport: mail.TransportMX}}, []mail.NextHop{{Transport: mail.TransportMX, TLS: mail.TLSNone}}
	for _, idle := range []time.Duration{time.Minute, -1} { // with kept connections, and with TLS sessions only
		s := mailtest.ServeSMTP(t, mailtest.Script{TLS: config})
		bare := mailtest.ServeSMTP(t, mailtest.Script{Address: fmt.Sprintf("127.0.0.2:%d", s.Port)})
		at := fmt.Sprintf("_%d._tcp.", s.Port)
		z := zone{
			names: names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.test", Secure: true}}, "bare.test": {{Host: "mx.bare.test", Secure: true}}},
				addrs: map[string][]string{"mx.test": {"127.0.0.1"}, "mx.bare.test": {"127.0.0.2"}}},
			tlsa: map[string]resolve.Records{},
		}
		sts := policies{}
		a := newAgent(t, deliver.Options{Resolver: z, DANE: z, STS: sts, AllowLoopbackMX: true, MXPort: s.Port, IdleTime: idle})
		send := func(hops []mail.NextHop, to, outcome string) {
			t.Helper()
			want(t, a.Deliver(t.Context(), hops, message(body, to)), outcome)
		}
		send(mx, "b@d.test", "sent 2.0.0")
		send(mx, "b@bare.test", "sent 2.0.0")

		sts["d.test"] = mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.test"}}
		sts["bare.test"] = mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.bare.test"}}
		send(mx, "b@d.test", "deferred 4.7.5")
		send(mx, "b@bare.test", "deferred 4.7.4")
		z.tlsa[at+"mx.test"] = resolve.Records{Secure: true, Data: [][]byte{tlsaRecord(3, 1, 1, leaf)}}
		z.tlsa[at+"mx.bare.test"] = z.tlsa[at+"mx.test"]
		send(mx, "b@d.test", "sent 2.0.0")
		send(mx, "b@bare.test", "deferred 4.7.4")
		z.tlsa[at+"mx.test"] = resolve.Records{Secure: true, Data: [][]byte{tlsaRecord(3, 1, 1, other)}}
		send(mx, "b@d.test", "deferred 4.7.5")
		if n, m := len(s.Messages()), len(bare.Messages()); n != 2 || m != 1 {
			t.Errorf("%d and %d messages", n, m)
		}

		send(none, "b@d.test", "sent 2.0.0")
		send(none, "b@bare.test", "sent 2.0.0")
		m := message(body, "b@d.test")
		m.Envelope.RequireTLS = true
		want(t, a.Deliver(t.Context(), none, m), "deferred 4.7.5")
		m = message(body, "b@bare.test")
		m.Envelope.RequireTLS = true
		want(t, a.Deliver(t.Context(), none, m), "deferred 4.7.4")
		if n, m := len(s.Messages()), len(bare.Messages()); n != 3 || m != 2 {
			t.Errorf("%d and %d messages", n, m)
		}
	}
}

// Of several exchangers those are passed over that cannot be used now, which is never the last word: a later one takes
// the message, or it stays; it does not bounce because the next best is this server.
func TestSeveralExchangersOfWhichSomeAreUnfit(t *testing.T) {
	config, leaf, _ := chain(t, false, "b.test")
	self := netip.MustParseAddr("127.0.0.3")
	for name, c := range map[string]struct {
		mx      []resolve.Exchange
		tlsaErr error
		policy  []string // of MTA-STS
		want    string
	}{
		"the second is fit":           {[]resolve.Exchange{{Host: "a.test", Preference: 1}, {Host: "b.test", Preference: 2}}, resolve.ErrBogus, nil, "sent 2.0.0"},
		"an equal is fit":             {[]resolve.Exchange{{Host: "a.test"}, {Host: "b.test"}}, resolve.ErrTemporary, nil, "sent 2.0.0"},
		"the next one is us":          {[]resolve.Exchange{{Host: "a.test", Preference: 1}, {Host: "backup.test", Preference: 2}}, resolve.ErrTemporary, nil, "deferred 4.4.3"},
		"unnamed, the next one is us": {[]resolve.Exchange{{Host: "a.test", Preference: 1}, {Host: "backup.test", Preference: 2}}, nil, []string{"backup.test"}, "deferred 4.7.5"},
		"we are unnamed":              {[]resolve.Exchange{{Host: "backup.test"}, {Host: "b.test"}}, nil, []string{"b.test"}, "deferred 4.7.5"},
		"only we are left":            {[]resolve.Exchange{{Host: "backup.test", Preference: 2}}, nil, nil, "bounced 5.4.6"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.ServeSMTP(t, mailtest.Script{TLS: config, Address: "127.0.0.2:0"})
			at := fmt.Sprintf("_%d._tcp.", s.Port)
			for i := range c.mx {
				c.mx[i].Secure = true
			}
			z := zone{
				names: names{mx: map[string][]resolve.Exchange{"d.test": c.mx},
					addrs: map[string][]string{"a.test": {"127.0.0.1"}, "b.test": {"127.0.0.2"}, "backup.test": {self.String()}}},
				tlsa: map[string]resolve.Records{at + "b.test": {Secure: true, Data: [][]byte{tlsaRecord(3, 1, 1, leaf)}}}, tlsaErr: map[string]error{},
			}
			if c.tlsaErr != nil {
				z.tlsaErr[at+"a.test"] = c.tlsaErr
			}
			o := deliver.Options{Resolver: z, DANE: z, AllowLoopbackMX: true, MXPort: s.Port, Self: func(ap netip.AddrPort) bool { return ap.Addr() == self }}
			if c.policy != nil {
				o.STS = policies{"d.test": {Mode: mtasts.Enforce, MX: c.policy}}
			}
			r := newAgent(t, o).Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@d.test"))
			if want(t, r, c.want); c.want != "sent 2.0.0" && !strings.Contains(r[0].Reply.Text, " d.test ") {
				t.Errorf("%q does not name the domain", r[0].Reply.Text)
			}
		})
	}
}
