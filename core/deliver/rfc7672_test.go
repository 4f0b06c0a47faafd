package deliver_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

// section reports rows of a table that do not say which part of which RFC they are about.
func section(t *testing.T, name, rfc string) {
	t.Helper()
	if !strings.HasPrefix(name, rfc+" ") || !strings.Contains(name, ":") {
		t.Errorf("%q: begin with %q and the section", name, rfc)
	}
}

// TestRFC7672 has what RFC 7672 says of each state of the DNS and of the server, with a resolver that validates. "never" rows
// must not be delivered, nor may their envelope go out in clear text.
func TestRFC7672(t *testing.T) {
	config, leaf, ca := chain(t, false, "mx.test")
	wrong, wrongLeaf, wrongCA := chain(t, false, "other.test")
	expired, expiredLeaf, _ := chain(t, true, "mx.test")
	old := config.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	broken := config.Clone()
	broken.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
	offers, clear := mailtest.Script{TLS: config}, mailtest.Script{}
	stripped := mailtest.Script{TLS: config, Replies: map[string]string{"EHLO": "250-mx.test\r\n250-STRIPPED\r\n250 PIPELINING"}}
	said := func(reply string) mailtest.Script {
		return mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": reply}}
	}
	const usual = "d.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n"
	tlsa := func(host string, usage, selector, matching byte, c *x509.Certificate) string {
		return fmt.Sprintf("_PORT._tcp.%s. TLSA %d %d %d %s\n", host, usage, selector, matching, hex.EncodeToString(tlsaRecord(usage, selector, matching, c)[3:]))
	}
	good, bad := tlsa("mx.test", 3, 1, 1, leaf), tlsa("mx.test", 3, 1, 1, wrongLeaf)
	fault := func(key string, f mailtest.Fault) map[string]mailtest.Fault { return map[string]mailtest.Fault{key: f} }
	const sent, cleartext = "sent 2.0.0", "clear"
	for name, c := range map[string]struct {
		script   mailtest.Script
		zone     string
		faults   map[string]mailtest.Fault
		insecure []string
		want     string // "clear": sent, and without TLS; else sent means with it
	}{
		"RFC 7672 2.1.1: bogus MX":                                       {clear, usual, fault("d.test MX", mailtest.BogusServFail), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: MX cannot be looked up":                         {clear, usual, fault("d.test MX", mailtest.ServFail), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: bogus addresses":                                {clear, usual, fault("mx.test", mailtest.BogusServFail), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: bogus TLSA":                                     {offers, usual + good, fault("_PORT._tcp.mx.test", mailtest.BogusServFail), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: TLSA answered with SERVFAIL":                    {offers, usual + good, fault("_PORT._tcp.mx.test", mailtest.ServFail), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: TLSA refused":                                   {offers, usual + good, fault("_PORT._tcp.mx.test", mailtest.Refused), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: TLSA cut off, and no TCP":                       {offers, usual + good, fault("_PORT._tcp.mx.test", mailtest.TruncateOnly), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.1: TLSA is garbage on TCP":                         {offers, usual + good, fault("_PORT._tcp.mx.test", mailtest.Referral), nil, "deferred 4.4.3"},
		"RFC 7672 2.1.2: unsigned zone":                                  {clear, usual + bad, nil, []string{"test"}, cleartext},
		"RFC 7672 2.1.3: no TLSA, proven":                                {clear, usual, nil, nil, cleartext},
		"RFC 7672 2.2: TLSA and no STARTTLS":                             {clear, usual + good, nil, nil, "deferred 4.7.4"},
		"RFC 7672 2.2: STARTTLS stripped from EHLO":                      {stripped, usual + good, nil, nil, "deferred 4.7.4"},
		"RFC 7672 2.2: STARTTLS answered with 454":                       {said("454 4.7.0 Not now"), usual + good, nil, nil, "deferred 4.7.4"},
		"RFC 7672 2.2: STARTTLS answered with 502":                       {said("502 5.5.1 What?"), usual + good, nil, nil, "deferred 4.7.4"},
		"RFC 7672 2.2: EHLO refused, HELO would do":                      {mailtest.Script{TLS: config, Replies: map[string]string{"EHLO": "502 What?"}}, usual + good, nil, nil, "deferred 4.7.4"},
		"RFC 7672 2.2: handshake is garbage":                             {mailtest.Script{Extensions: []string{"STARTTLS"}, Replies: map[string]string{"STARTTLS": "220 Go\r\nHTTP/1.0 400 Bad"}}, usual + good, nil, nil, "deferred 4.5.0"},
		"RFC 7672 2.2: handshake fails":                                  {mailtest.Script{TLS: broken}, usual + good, nil, nil, "deferred 4.7.5"},
		"RFC 7672 2.2: old TLS only":                                     {mailtest.Script{TLS: old}, usual + good, nil, nil, "deferred 4.7.5"},
		"RFC 7672 2.2: only unusable records, TLS":                       {mailtest.Script{TLS: wrong}, usual + "_PORT._tcp.mx.test. TLSA 3 1 9 00ff\n_PORT._tcp.mx.test. TLSA 9 1 1 00ff\n", nil, nil, sent},
		"RFC 7672 2.2: only unusable records, no TLS":                    {clear, usual + "_PORT._tcp.mx.test. TLSA 3 1 1 00ff\n", nil, nil, "deferred 4.7.4"},
		"RFC 7672 2.2.1: MX not proven, host is":                         {clear, "d.unsigned.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n" + bad, nil, []string{"unsigned.test"}, cleartext},
		"RFC 7672 2.2.1: no MX, the domain's own address":                {offers, "d.test. A 127.0.0.1\n" + tlsa("d.test", 3, 1, 1, leaf), nil, nil, sent},
		"RFC 7672 2.2.1: no MX, wrong record":                            {offers, "d.test. A 127.0.0.1\n" + tlsa("d.test", 3, 1, 1, wrongLeaf), nil, nil, "deferred 4.7.5"},
		"RFC 7672 2.2.2: alias, record at its end":                       {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.test.\nreal.test. A 127.0.0.1\n" + tlsa("real.test", 3, 1, 1, leaf), nil, nil, sent},
		"RFC 7672 2.2.2: alias, wrong record at its end":                 {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.test.\nreal.test. A 127.0.0.1\n" + good + tlsa("real.test", 3, 1, 1, wrongLeaf), nil, nil, "deferred 4.7.5"},
		"RFC 7672 2.2.2: alias, record of the owner":                     {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.test.\nreal.test. A 127.0.0.1\n" + good, nil, nil, sent},
		"RFC 7672 2.2.2: alias into an unsigned zone":                    {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.unsigned.test.\nreal.unsigned.test. A 127.0.0.1\n" + good, nil, []string{"unsigned.test"}, sent},
		"RFC 7672 2.2.2: alias into an unsigned zone, wrong":             {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.unsigned.test.\nreal.unsigned.test. A 127.0.0.1\n" + bad, nil, []string{"unsigned.test"}, "deferred 4.7.5"},
		"RFC 7672 2.2.2: alias into an unsigned zone, no TLS":            {clear, "d.test. MX 10 mx.test.\nmx.test. CNAME real.unsigned.test.\nreal.unsigned.test. A 127.0.0.1\n" + good, nil, []string{"unsigned.test"}, "deferred 4.7.4"},
		"RFC 7672 2.2.2: alias into an unsigned zone, TLSA fails":        {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.unsigned.test.\nreal.unsigned.test. A 127.0.0.1\n" + good, fault("_PORT._tcp.mx.test", mailtest.ServFail), []string{"unsigned.test"}, "deferred 4.4.3"},
		"RFC 7672 2.2.2: alias into an unsigned zone, alias is bogus":    {offers, "d.test. MX 10 mx.test.\nmx.test. CNAME real.unsigned.test.\nreal.unsigned.test. A 127.0.0.1\n" + good, fault("mx.test CNAME", mailtest.BogusServFail), []string{"unsigned.test"}, "deferred 4.4.3"},
		"RFC 7672 2.2.2: alias into an unsigned zone, no record":         {clear, "d.test. MX 10 mx.test.\nmx.test. CNAME real.unsigned.test.\nreal.unsigned.test. A 127.0.0.1\n", nil, []string{"unsigned.test"}, cleartext},
		"RFC 7672 2.2.2: alias out of an unsigned zone":                  {clear, "d.test. MX 10 mx.unsigned.test.\nmx.unsigned.test. CNAME real.test.\nreal.test. A 127.0.0.1\n" + tlsa("real.test", 3, 1, 1, wrongLeaf), nil, []string{"unsigned.test"}, cleartext},
		"RFC 7672 2.2.2: aliases without end":                            {clear, "d.test. MX 10 mx.test.\nmx.test. CNAME mx2.test.\nmx2.test. CNAME mx.test.\n", nil, nil, "bounced 5.4.4"},
		"RFC 7672 2.2.3: the TLSA name is an alias":                      {offers, usual + "_PORT._tcp.mx.test. CNAME tlsa.test.\ntlsa.test. TLSA 3 1 1 " + hex.EncodeToString(tlsaRecord(3, 1, 1, leaf)[3:]) + "\n", nil, nil, sent},
		"RFC 7672 2.2.3: the TLSA name is an alias into an unsigned one": {clear, usual + "_PORT._tcp.mx.test. CNAME tlsa.unsigned.test.\ntlsa.unsigned.test. TLSA 3 1 1 " + hex.EncodeToString(tlsaRecord(3, 1, 1, wrongLeaf)[3:]) + "\n", nil, []string{"unsigned.test"}, cleartext},
		"RFC 7672 3.1.1: DANE-EE":                                        {offers, usual + good, nil, nil, sent},
		"RFC 7672 3.1.1: DANE-EE, wrong key":                             {offers, usual + bad, nil, nil, "deferred 4.7.5"},
		"RFC 7672 3.1.1: DANE-EE, another name":                          {mailtest.Script{TLS: wrong}, usual + bad, nil, nil, sent},
		"RFC 7672 3.1.1: DANE-EE, expired":                               {mailtest.Script{TLS: expired}, usual + tlsa("mx.test", 3, 0, 2, expiredLeaf), nil, nil, sent},
		"RFC 7672 3.1.2: DANE-TA":                                        {offers, usual + tlsa("mx.test", 2, 1, 1, ca), nil, nil, sent},
		"RFC 7672 3.1.2: DANE-TA, another name":                          {mailtest.Script{TLS: wrong}, usual + tlsa("mx.test", 2, 1, 1, wrongCA), nil, nil, "deferred 4.7.5"},
		"RFC 7672 3.1.2: DANE-TA, another authority":                     {offers, usual + tlsa("mx.test", 2, 1, 1, wrongCA), nil, nil, "deferred 4.7.5"},
		"RFC 7672 3.1.2: DANE-TA, the leaf is no authority":              {offers, usual + tlsa("mx.test", 2, 1, 1, wrongLeaf), nil, nil, "deferred 4.7.5"},
		"RFC 7672 3.1.3: PKIX-TA and PKIX-EE are unusable, TLS":          {mailtest.Script{TLS: wrong}, usual + tlsa("mx.test", 0, 1, 1, ca) + tlsa("mx.test", 1, 1, 1, leaf), nil, nil, sent},
		"RFC 7672 3.1.3: PKIX-TA and PKIX-EE are unusable, no TLS":       {clear, usual + tlsa("mx.test", 0, 1, 1, ca) + tlsa("mx.test", 1, 1, 1, leaf), nil, nil, "deferred 4.7.4"},
		"RFC 7672 3.2.2: DANE-TA, the name of the domain":                {mailtest.Script{TLS: wrong}, "other.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n" + tlsa("mx.test", 2, 1, 1, wrongCA), nil, nil, sent},
		"RFC 7672 8.1: a new key beside the old":                         {offers, usual + bad + good, nil, nil, sent},
	} {
		t.Run(name, func(t *testing.T) {
			section(t, name, "RFC 7672")
			s := mailtest.ServeSMTP(t, c.script)
			at := strings.NewReplacer("_PORT.", fmt.Sprintf("_%d.", s.Port))
			faults := map[string]mailtest.Fault{}
			for k, v := range c.faults {
				faults[at.Replace(k)] = v
			}
			r, err := resolve.New(resolve.Options{Servers: []string{mailtest.ServeDNS(t, mailtest.Zone{Records: at.Replace(c.zone), Faults: faults, Secure: true, Unsigned: c.insecure})}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close() })
			a := newAgent(t, deliver.Options{Resolver: r, DANE: r, AllowLoopbackMX: true, MXPort: s.Port})
			domain, _, _ := strings.Cut(c.zone, ". ")
			wanted := c.want
			if wanted == cleartext {
				wanted = sent
			}
			for range 2 { // the second time with what is remembered
				want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, "b@"+domain)), wanted)
			}
			check(t, s, c.want == sent, c.want == cleartext)
		})
	}
}

// check has the one rule of the tables: what must not be delivered is not, and its envelope never goes out in clear text.
func check(t *testing.T, s *mailtest.SMTP, overTLS, inClear bool) {
	t.Helper()
	got := s.Messages()
	if (len(got) > 0) != (overTLS || inClear) {
		t.Errorf("%d messages", len(got))
	}
	for _, m := range got {
		if m.TLS != overTLS {
			t.Errorf("over TLS: %v", m.TLS)
		}
	}
	for n := 1; !inClear && !overTLS && n <= s.Connections(); n++ {
		if b := s.Bytes(n); bytes.Contains(b, []byte("MAIL FROM")) || bytes.Contains(b, []byte("b@d.test")) {
			t.Errorf("sent in clear text: %q", b)
		}
	}
}

// TestRFC8461 has what RFC 8461 says of each policy and server. The policy is as the cache gives it: what becomes of outages,
// expiry and rollbacks is in package mtasts.
func TestRFC8461(t *testing.T) {
	config, roots := certificate(t, "mx.d.test")
	wrong, _ := certificate(t, "other.test")
	stranger, _ := certificate(t, "mx.d.test") // of an authority that nobody trusts
	old, _, expiredCA := chain(t, true, "mx.d.test")
	roots.AddCert(expiredCA)
	legacy := config.Clone()
	legacy.MinVersion, legacy.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	broken := config.Clone()
	broken.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
	said := func(reply string) mailtest.Script {
		return mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": reply}}
	}
	offers, clear := mailtest.Script{TLS: config}, mailtest.Script{}
	type row struct {
		script mailtest.Script
		mode   mtasts.Mode
		mx     []string
		tls    mail.TLSPolicy // of the route
		want   string
	}
	const sent, cleartext = "sent 2.0.0", "clear"
	named := []string{"mx.d.test"}
	for name, c := range map[string]row{
		"RFC 8461 4.1: exact name":                           {offers, mtasts.Enforce, named, 0, sent},
		"RFC 8461 4.1: wildcard":                             {offers, mtasts.Enforce, []string{"*.d.test"}, 0, sent},
		"RFC 8461 4.1: wildcard of two labels":               {offers, mtasts.Enforce, []string{"*.test"}, 0, "deferred 4.7.5"},
		"RFC 8461 4.1: wildcard is not the domain":           {offers, mtasts.Enforce, []string{"*.mx.d.test"}, 0, "deferred 4.7.5"},
		"RFC 8461 4.1: part of a label":                      {offers, mtasts.Enforce, []string{"x.d.test"}, 0, "deferred 4.7.5"},
		"RFC 8461 4.1: not named":                            {offers, mtasts.Enforce, []string{"mail.d.test"}, 0, "deferred 4.7.5"},
		"RFC 8461 4.1: not named, a route with tls = verify": {offers, mtasts.Enforce, []string{"mail.d.test"}, mail.TLSVerify, "deferred 4.7.5"},
		"RFC 8461 4.2: no STARTTLS":                          {clear, mtasts.Enforce, named, 0, "deferred 4.7.4"},
		"RFC 8461 4.2: STARTTLS stripped":                    {mailtest.Script{TLS: config, Replies: map[string]string{"EHLO": "250-mx.test\r\n250 STRIPPED"}}, mtasts.Enforce, named, 0, "deferred 4.7.4"},
		"RFC 8461 4.2: 454":                                  {said("454 4.7.0 Not now"), mtasts.Enforce, named, 0, "deferred 4.7.4"},
		"RFC 8461 4.2: 421":                                  {said("421 4.7.0 Bye"), mtasts.Enforce, named, 0, "deferred 4.7.4"},
		"RFC 8461 4.2: handshake fails":                      {mailtest.Script{TLS: broken}, mtasts.Enforce, named, 0, "deferred 4.7.5"},
		"RFC 8461 4.2: replies in the packet of STARTTLS":    {said("220 Go\r\n250 PIPELINING"), mtasts.Enforce, named, 0, "deferred 4.5.0"},
		"RFC 8461 4.2: garbage for a handshake":              {mailtest.Script{Extensions: []string{"STARTTLS"}, Replies: map[string]string{"STARTTLS": "220 Go"}}, mtasts.Enforce, named, 0, "deferred 4.7.5"},
		"RFC 8461 4.2: old TLS only":                         {mailtest.Script{TLS: legacy}, mtasts.Enforce, named, 0, "deferred 4.7.5"},
		"RFC 8461 4.2: expired certificate":                  {mailtest.Script{TLS: old}, mtasts.Enforce, named, 0, "deferred 4.7.5"},
		"RFC 8461 4.2: certificate for another name":         {mailtest.Script{TLS: wrong}, mtasts.Enforce, named, 0, "deferred 4.7.5"},
		"RFC 8461 4.2: certificate of a stranger":            {mailtest.Script{TLS: stranger}, mtasts.Enforce, named, 0, "deferred 4.7.5"},
		"RFC 8461 4.2: a route with tls = encrypt":           {mailtest.Script{TLS: stranger}, mtasts.Enforce, named, mail.TLSEncrypt, "deferred 4.7.5"},
		"RFC 8461 5: testing, not named":                     {offers, mtasts.Testing, []string{"mail.d.test"}, 0, sent},
		"RFC 8461 5: testing, certificate of a stranger":     {mailtest.Script{TLS: stranger}, mtasts.Testing, named, 0, sent},
		"RFC 8461 5: testing, expired certificate":           {mailtest.Script{TLS: old}, mtasts.Testing, named, 0, sent},
		"RFC 8461 5: testing, no STARTTLS":                   {clear, mtasts.Testing, named, 0, cleartext},
		"RFC 8461 5: none":                                   {clear, mtasts.None, nil, 0, cleartext},
		"RFC 8461 2: the operator's tls = none goes before":  {clear, mtasts.Enforce, named, mail.TLSNone, cleartext},
	} {
		t.Run(name, func(t *testing.T) {
			section(t, name, "RFC 8461")
			s := mailtest.ServeSMTP(t, c.script)
			dns := names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "mx.d.test"}}}, addrs: map[string][]string{"mx.d.test": {"127.0.0.1"}}}
			sts := policies{}
			if c.mode != mtasts.None { // as Cache.Policy has it
				sts["d.test"] = mtasts.Policy{Mode: c.mode, MX: c.mx}
			}
			a := newAgent(t, deliver.Options{Resolver: dns, STS: sts, AllowLoopbackMX: true, MXPort: s.Port, TLS: &tls.Config{RootCAs: roots}})
			wanted := c.want
			if wanted == cleartext {
				wanted = sent
			}
			for range 2 {
				want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, TLS: c.tls}}, message(body, "b@d.test")), wanted)
			}
			check(t, s, c.want == sent, c.want == cleartext)
		})
	}
}
