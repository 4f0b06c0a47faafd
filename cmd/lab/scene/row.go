package scene

import (
	"time"

	"github.com/wasmta/wasmta/cmd/lab/certs"
	"github.com/wasmta/wasmta/core/mailtest"
)

// Zone is what all domains of the laboratory are below.
const Zone = "lab.test"

// Hostname is the name of the server under test.
const Hostname = "mta." + Zone

// Row is a domain and what becomes of a message to it.
type Row struct {
	Name     string // of the domain, below Zone
	What     string
	RFC      string // and section
	MX       []MX
	Records  string   // more of the zone; @ is the domain, $ the first address of its exchangers
	Unsigned bool     // the zone has no DNSSEC
	Bogus    []string // names below the domain ("" is the domain itself) with a type ("MX"), whose signatures are broken
	STS      *STS
	User     string // the local part, if another than of the other rows; with more than ASCII it asks for SMTPUTF8
	Want     Want
	// Outage: when the message was delivered, the policy host goes away, its record too, and the exchangers refuse STARTTLS.
	// Then another message comes.
	Outage *Want
}

// MX is a mail exchanger of a row.
type MX struct {
	Pref   int // 0: 10
	State  State
	Cert   Cert
	TLSA   TLSA
	Script mailtest.Script // Replies, Delays, Hangup and Extensions of it are used
	Host   string          // another name than mx1, mx2 ...; "self": the server under test
}

// State is whether a server is there.
type State int

const (
	Up        State = iota
	Refusing        // its port is closed
	BlackHole       // connecting to it takes forever
)

// Cert is the certificate of a server, or why TLS fails.
type Cert int

const (
	GoodCert Cert = iota
	NoTLS         // STARTTLS is not offered
	Expired
	WrongName
	SelfSigned
	BrokenTLS // the handshake fails
)

func (c Cert) kind() certs.Kind {
	switch c {
	case Expired:
		return certs.Expired
	case SelfSigned:
		return certs.SelfSigned
	}
	return certs.Good
}

// TLSA is a record of a server.
type TLSA int

const (
	NoTLSA   TLSA = iota
	EE            // 3 1 1 of its certificate
	TA            // 2 0 1 of the authority
	Wrong         // 3 1 1 of another certificate
	Unusable      // 0 0 1, a usage that does not count for mail
)

// STS is a domain's policy (RFC 8461).
type STS struct {
	Mode string   // enforce, testing, none
	MX   []string // patterns; nil: the exchangers' names
	Host PolicyHost
}

// PolicyHost is how a policy is served.
type PolicyHost int

const (
	Serving    PolicyHost = iota
	Down                  // its port is closed
	BadCert               // with a certificate that nobody signed
	Redirects             // to where it is served
	ServerOops            // answers 500
	WrongType             // as text/html
)

// Outcomes of a message.
const (
	Sent     = "sent"
	Deferred = "deferred"
	Bounced  = "bounced"
)

// Want is what must come of a message.
type Want struct {
	Status string
	Reply  string // the log's reply has this in it
	By     int    // which exchanger takes it, 1 the first; 0: any
	TLS    Over
}

// Over is how a message came.
type Over int

const (
	Any   Over = iota
	TLS        // and nothing of a message was said in clear text
	Clear      // there was no TLS to be had
)

func sent(over Over) Want { return Want{Status: Sent, TLS: over} }

func sentBy(by int, over Over) Want { return Want{Status: Sent, By: by, TLS: over} }

// held is a message that is deferred; nothing of it may have been said in clear text.
func held(reply string) Want { return Want{Status: Deferred, Reply: reply, TLS: TLS} }

func replies(verb, reply string) mailtest.Script {
	return mailtest.Script{Replies: map[string]string{verb: reply}}
}

func one(m MX) []MX { return []MX{m} }

// Rows is the table.
func Rows() []Row {
	return []Row{
		// Finding and trying mail exchangers.
		{Name: "plain", What: "one MX with STARTTLS", RFC: "5321 5.1", MX: one(MX{}), Want: sent(TLS)},
		{Name: "equal", What: "three MXs of equal preference", RFC: "5321 5.1", MX: []MX{{}, {}, {}}, Want: sent(TLS)},
		{Name: "implicit", What: "no MX record, an address", RFC: "5321 5.1", MX: one(MX{Host: "@"}), Want: sent(TLS)},
		{Name: "alias", What: "the domain is a CNAME", RFC: "5321 5.1", MX: one(MX{}), Records: "alias.lab.test. CNAME real.alias.lab.test.\n", Want: sent(TLS)},
		{Name: "nullmx", What: "null MX", RFC: "7505 3", Records: "@ MX 0 .\n", Want: Want{Status: Bounced, Reply: "5.1.10"}},
		{Name: "nodomain", What: "a domain that does not exist", RFC: "5321 5.1", Want: Want{Status: Bounced, Reply: "5.1.2"}},
		{Name: "noaddress", What: "an MX without an address", RFC: "5321 5.1", Records: "@ MX 10 nowhere.@\n", Want: Want{Status: Bounced, Reply: "5.4.4"}},
		{Name: "servfail", What: "the MX look-up fails", RFC: "5321 5.1", Bogus: []string{" MX"}, MX: one(MX{}), Want: held("4.4.3")},
		{Name: "loop", What: "the best MX is the server itself", RFC: "5321 5.1", MX: []MX{{Host: "self"}, {Pref: 20}}, Want: Want{Status: Bounced, Reply: "5.4.6", TLS: TLS}},
		{Name: "dead", What: "the MX's port is closed", RFC: "5321 4.5.4.1", MX: one(MX{State: Refusing}), Want: held("4.4.1")},
		{Name: "blackhole", What: "the MX does not answer", RFC: "5321 4.5.4.1", MX: one(MX{State: BlackHole}), Want: held("4.4.1")},
		{Name: "deadfirst", What: "the better MX is dead", RFC: "5321 5.1", MX: []MX{{State: Refusing}, {Pref: 20}}, Want: sentBy(2, TLS)},
		{Name: "deadequal", What: "one of two equal MXs is dead", RFC: "5321 5.1", MX: []MX{{State: Refusing}, {}}, Want: sentBy(2, TLS)},
		{Name: "holefirst", What: "the better MX does not answer", RFC: "5321 5.1", MX: []MX{{State: BlackHole}, {Pref: 20}}, Want: sentBy(2, TLS)},
		{Name: "slow", What: "every reply takes a while", RFC: "5321 4.5.3.2", MX: one(MX{Script: mailtest.Script{Delays: map[string]time.Duration{
			"CONNECT": 300 * time.Millisecond, "EHLO": 300 * time.Millisecond, "MAIL": 300 * time.Millisecond, ".": 500 * time.Millisecond}}}), Want: sent(TLS)},

		// What they say.
		{Name: "greet421", What: "421 instead of a greeting", RFC: "5321 3.8", MX: one(MX{Script: replies("CONNECT", "421 4.3.2 Closing")}), Want: held("421 4.3.2")},
		{Name: "greet554", What: "554 instead of a greeting, by the better of two", RFC: "5321 3.1", MX: []MX{{Script: replies("CONNECT", "554 5.3.2 No mail here")}, {Pref: 20}}, Want: sentBy(2, TLS)},
		{Name: "mail421", What: "421 to MAIL by the better of two", RFC: "5321 3.8", MX: []MX{{Script: replies("MAIL", "421 4.7.0 Too many")}, {Pref: 20}}, Want: sentBy(2, TLS)},
		{Name: "rcpt451", What: "greylisting", RFC: "5321 4.5.4.1", MX: one(MX{Script: replies("RCPT", "451 4.7.1 Come back later")}), Want: held("451 4.7.1")},
		{Name: "rcpt550", What: "no such user", RFC: "5321 4.2.1", MX: one(MX{Script: replies("RCPT", "550 5.1.1 No such user")}), Want: Want{Status: Bounced, Reply: "550 5.1.1"}},
		{Name: "data451", What: "451 after the content", RFC: "5321 4.2.1", MX: one(MX{Script: replies(".", "451 4.3.0 Try again")}), Want: held("451 4.3.0")},
		{Name: "data554", What: "554 after the content", RFC: "5321 4.2.1", MX: one(MX{Script: replies(".", "554 5.6.0 Spam")}), Want: Want{Status: Bounced, Reply: "554 5.6.0"}},
		{Name: "hangup", What: "the connection breaks within the content", RFC: "5321 4.5.4.1", MX: one(MX{Script: mailtest.Script{Hangup: 50}}), Want: held("4.4.2")},
		{Name: "bare", What: "an SMTP server of 1982", RFC: "5321 2.2.1", MX: one(MX{Cert: NoTLS, Script: replies("EHLO", "500 What?")}), Want: sent(Clear)},
		{Name: "utf8", What: "a local part that needs SMTPUTF8, and an MX that has it", RFC: "6531 3.1", User: "grüße", MX: one(MX{}), Want: sent(TLS)},
		{Name: "utf8-not", What: "the same, and the MX does not have it", RFC: "6531 3.2", User: "grüße", MX: one(MX{Script: mailtest.Script{Extensions: []string{"PIPELINING", "8BITMIME"}}}),
			Want: Want{Status: Bounced, Reply: "5.6.7", TLS: TLS}},

		// TLS that nobody asked for.
		{Name: "notls", What: "no STARTTLS", RFC: "3207 4", MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "expired", What: "an expired certificate", RFC: "7435 3", MX: one(MX{Cert: Expired}), Want: sent(TLS)},
		{Name: "wrongname", What: "a certificate for another name", RFC: "7435 3", MX: one(MX{Cert: WrongName}), Want: sent(TLS)},
		{Name: "selfsigned", What: "a self-signed certificate", RFC: "7435 3", MX: one(MX{Cert: SelfSigned}), Want: sent(TLS)},
		{Name: "brokentls", What: "handshakes fail", RFC: "7435 3", MX: one(MX{Cert: BrokenTLS}), Want: sent(Clear)},

		// DANE.
		{Name: "dane", What: "TLSA 3 1 1 that matches", RFC: "7672 3.1.1", MX: one(MX{TLSA: EE}), Want: sent(TLS)},
		{Name: "dane-odd", What: "TLSA 3 1 1 that matches a certificate for another name", RFC: "7672 3.1.1", MX: one(MX{Cert: WrongName, TLSA: EE}), Want: sent(TLS)},
		{Name: "dane-old", What: "TLSA 3 1 1 that matches an expired certificate", RFC: "7672 3.1.1", MX: one(MX{Cert: Expired, TLSA: EE}), Want: sent(TLS)},
		{Name: "dane-ta", What: "TLSA 2 0 1 of the authority", RFC: "7672 3.1.2", MX: one(MX{TLSA: TA}), Want: sent(TLS)},
		{Name: "dane-ta-name", What: "TLSA 2 0 1 and a certificate for another name", RFC: "7672 3.2.2", MX: one(MX{Cert: WrongName, TLSA: TA}), Want: held("4.7.")},
		{Name: "dane-wrong", What: "TLSA that matches nothing", RFC: "7672 2.2", MX: one(MX{TLSA: Wrong}), Want: held("4.7.")},
		{Name: "dane-next", What: "TLSA that matches nothing at the better of two", RFC: "7672 2.2", MX: []MX{{TLSA: Wrong}, {Pref: 20, TLSA: EE}}, Want: sentBy(2, TLS)},
		{Name: "dane-strip", What: "TLSA, and STARTTLS is not offered", RFC: "7672 2.2", MX: one(MX{Cert: NoTLS, TLSA: EE}), Want: held("4.7.")},
		{Name: "dane-unusable", What: "only TLSA that does not count for mail", RFC: "7672 2.2", MX: one(MX{Cert: SelfSigned, TLSA: Unusable}), Want: sent(TLS)},
		{Name: "dane-unusable-strip", What: "the same, and STARTTLS is not offered", RFC: "7672 2.2", MX: one(MX{Cert: NoTLS, TLSA: Unusable}), Want: held("4.7.")},
		{Name: "dane-bogus", What: "the TLSA look-up fails", RFC: "7672 2.1.2", MX: one(MX{TLSA: EE}), Bogus: []string{"TLSA"}, Want: held("4.4.3")},
		{Name: "dane-bogus-addr", What: "the address look-up is bogus", RFC: "7672 2.1.2", MX: one(MX{TLSA: EE}), Bogus: []string{"mx1 A", "mx1 AAAA"}, Want: held("4.4.3")},
		{Name: "dane-unsigned", What: "TLSA that matches nothing, in a zone that is not signed", RFC: "7672 2.2.3", Unsigned: true, MX: one(MX{TLSA: Wrong}), Want: sent(TLS)},

		// MTA-STS, in zones that are not signed.
		{Name: "sts", What: "enforce, all is well", RFC: "8461 5", STS: &STS{Mode: "enforce"}, MX: one(MX{}), Want: sent(TLS)},
		{Name: "sts-wildcard", What: "enforce with a pattern", RFC: "8461 4.1", STS: &STS{Mode: "enforce", MX: []string{"*.sts-wildcard.lab.test"}}, MX: one(MX{}), Want: sent(TLS)},
		{Name: "sts-strip", What: "enforce, and STARTTLS is not offered", RFC: "8461 4.2", STS: &STS{Mode: "enforce"}, MX: one(MX{Cert: NoTLS}), Want: held("4.7.")},
		{Name: "sts-expired", What: "enforce, an expired certificate", RFC: "8461 4.2", STS: &STS{Mode: "enforce"}, MX: one(MX{Cert: Expired}), Want: held("4.7.")},
		{Name: "sts-wrongname", What: "enforce, a certificate for another name", RFC: "8461 4.2", STS: &STS{Mode: "enforce"}, MX: one(MX{Cert: WrongName}), Want: held("4.7.")},
		{Name: "sts-selfsigned", What: "enforce, a self-signed certificate", RFC: "8461 4.2", STS: &STS{Mode: "enforce"}, MX: one(MX{Cert: SelfSigned}), Want: held("4.7.")},
		{Name: "sts-unnamed", What: "enforce, and the policy names another MX", RFC: "8461 4.1", STS: &STS{Mode: "enforce", MX: []string{"mx9.sts-unnamed.lab.test"}}, MX: one(MX{}), Want: held("4.7.")},
		{Name: "sts-next", What: "enforce, and the better of two MXs is self-signed", RFC: "8461 5", STS: &STS{Mode: "enforce"}, MX: []MX{{Cert: SelfSigned}, {Pref: 20}}, Want: sentBy(2, TLS)},
		{Name: "sts-testing", What: "testing, a self-signed certificate", RFC: "8461 5", STS: &STS{Mode: "testing"}, MX: one(MX{Cert: SelfSigned}), Want: sent(TLS)},
		{Name: "sts-testing-strip", What: "testing, and STARTTLS is not offered", RFC: "8461 5", STS: &STS{Mode: "testing"}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-none", What: "mode none", RFC: "8461 5", STS: &STS{Mode: "none"}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-down", What: "enforce, but the policy host is down", RFC: "8461 3.3", STS: &STS{Mode: "enforce", Host: Down}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-badhost", What: "enforce, but the policy host's certificate is self-signed", RFC: "8461 3.3", STS: &STS{Mode: "enforce", Host: BadCert}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-redirect", What: "enforce, but the policy host redirects", RFC: "8461 3.3", STS: &STS{Mode: "enforce", Host: Redirects}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-500", What: "enforce, but the policy host answers 500", RFC: "8461 3.3", STS: &STS{Mode: "enforce", Host: ServerOops}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-html", What: "enforce, but the policy is text/html", RFC: "8461 3.2", STS: &STS{Mode: "enforce", Host: WrongType}, MX: one(MX{Cert: NoTLS}), Want: sent(Clear)},
		{Name: "sts-outage", What: "enforce; then policy host, record and STARTTLS vanish", RFC: "8461 3.3", STS: &STS{Mode: "enforce"}, MX: one(MX{}), Want: sent(TLS),
			Outage: &Want{Status: Deferred, Reply: "4.7.", TLS: TLS}},

		// Both: DANE decides (RFC 8461 2).
		{Name: "both", What: "TLSA that matches, and a policy that names another MX", RFC: "7672 3.1.1", MX: one(MX{Cert: SelfSigned, TLSA: EE}), STS: &STS{Mode: "enforce", MX: []string{"mx9.both.lab.test"}}, Want: sent(TLS)},
		{Name: "both-wrong", What: "TLSA that matches nothing, and a policy that is met", RFC: "8461 2", MX: one(MX{TLSA: Wrong}), STS: &STS{Mode: "enforce"}, Want: held("4.7.")},
	}
}
