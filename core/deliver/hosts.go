package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/deliver/mtasts"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/resolve"
)

// Limits of one attempt at one next hop, as in Postfix (smtp_mx_address_limit, smtp_mx_session_limit).
const (
	maxAddrs    = 5
	maxSessions = 2  // that end in an SMTP failure
	maxLacking  = 20 // that do not offer REQUIRETLS: it is not given up before the others were asked
)

// Source is where connections come from: at most one address of each family, and the name that belongs to them.
type Source struct {
	V4, V6 netip.Addr // invalid: none
	Helo   string     // given in EHLO; an MX of this name is us; empty: Options.Hostname
}

// to is the address from which remote is reached.
func (s Source) to(remote netip.Addr) (from netip.Addr, ok bool) {
	from = s.V6
	if remote.Unmap().Is4() {
		from = s.V4
	}
	return from, from.IsValid()
}

// endpoint is a server and the way to speak to it. Equal endpoints share connections.
type endpoint struct {
	host   string // the name that was asked for: RemoteMTA, and what a certificate must be for
	addr   netip.AddrPort
	path   string // of a unix socket; then there is no addr
	lmtp   bool
	tls    mail.TLSPolicy
	source netip.Addr // invalid: any
	helo   string

	credential string // empty: no AUTH

	tlsa   string // records that the certificate must match (DANE); empty: none
	base   string // the name under which they stand
	domain string // whose exchanger it is; empty: the next hop was given by name
	sts    bool   // an MTA-STS policy asks for tls
}

// name is what the server is to prove that it is.
func (e *endpoint) name() string {
	if e.tlsa != "" {
		return e.base
	}
	return e.host
}

// names are those that a certificate under a DANE authority may be for (RFC 7672 3.2.2).
func (e *endpoint) names() []string {
	list := []string{e.base}
	for _, n := range []string{e.host, e.domain} {
		if n != "" && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// relay is what the log calls it.
func (e *endpoint) relay() string {
	if e.path != "" {
		return e.host + "[" + e.path + "]"
	}
	return fmt.Sprintf("%s[%s]:%d", e.host, e.addr.Addr(), e.addr.Port())
}

// peer is relay without a path of ours.
func (e *endpoint) peer() string {
	if e.path != "" {
		return "the local LMTP server"
	}
	return e.relay()
}

// local tells whether what is said to it stays on this machine because the operator says so. Another name that leads here
// does so by the word of the DNS, and who listens may be anybody with an account.
func (e *endpoint) local() bool {
	if e.path != "" {
		return true
	}
	return e.addr.Addr().Unmap().IsLoopback() && isHere(e.host)
}

// isHere tells whether a host is this machine whatever the DNS says.
func isHere(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	name := mail.DomainKey(host)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") // which are never looked up (RFC 6761 6.3)
}

// guard asks for a certificate where a secret is to be told: it is for nobody else.
func (e *endpoint) guard() {
	if e.credential != "" && e.tls == mail.TLSOpportunistic && !e.local() {
		e.tls = mail.TLSVerify
	}
}

// attempt is the way through the hosts of one next hop.
type attempt struct {
	a        *Agent
	j        *job
	hop      mail.NextHop
	limits   Limits
	ep       endpoint // what all its endpoints have in common
	port     uint16
	source   Source         // zero: connections come from any address
	domain   string         // whose exchangers these are
	sts      *mtasts.Policy // of domain; nil: none is in force
	stsFault string         // why a policy that is announced cannot be had
	byMX     bool           // hosts and addresses are the choice of the recipient's domain
	report   bool           // it is a report of ours about TLS: it has to arrive although TLS fails (RFC 8460 3)
	addrs    int
	sessions int
	lacking  int          // of addrs, those without REQUIRETLS for a message that has it
	rest     []int        // those whom the session before has left over, when its server wants another one; nil: all
	soft     *mail.Result // a host that may do better later
	hard     bool         // a host refused every message
}

// remote delivers by SMTP or LMTP.
func (a *Agent) remote(ctx context.Context, hop mail.NextHop, j *job) {
	t := &attempt{a: a, j: j, hop: hop, limits: a.limits(hop), port: hop.Port, byMX: hop.Transport == mail.TransportMX}
	t.report = t.byMX && isReport(j.m)
	defer a.pool.enter(site(hop))()
	t.ep = endpoint{tls: hop.TLS, helo: a.helo, credential: hop.Credential, lmtp: hop.Transport == mail.TransportLMTP || hop.Transport == mail.TransportLMTPUnix}
	if f := t.egress(); f != nil {
		t.give(f)
		return
	}
	if j.m.Envelope.RequireTLS && t.ep.tls != mail.TLSVerify && hop.Transport != mail.TransportLMTPUnix && !(t.ep.lmtp && isHere(hop.Host)) {
		t.ep.tls = mail.TLSVerify // RFC 8689 4.2.1
	}
	switch hop.Transport {
	case mail.TransportLMTPUnix:
		if t.ep.tls == mail.TLSOpportunistic {
			t.ep.tls = mail.TLSNone // it does not leave the machine
		}
		t.ep.host, t.ep.path = a.helo, hop.Host
		t.try(ctx, t.ep, nil)
	case mail.TransportMX:
		if hop.Credential != "" { // whoever can change its MX records would be told the secret
			a.o.Log.Error("a credential is only for a next hop that is given by name: write to = \"smtp:HOST:PORT\"", "credential", hop.Credential, "next_hop", hop.String())
			t.give(failed("4.3.5", "The route has a credential for mail exchangers"))
			return
		}
		def(&t.port, a.o.MXPort)
		t.exchanges(ctx)
	default:
		if t.port == 0 {
			t.port = 25
			if t.ep.lmtp {
				t.port = 24
			}
		}
		// The operator's word needs no proof.
		t.hosts(ctx, []resolve.Exchange{{Host: hop.Host, Secure: true}})
	}
}

// egress finds where the connections come from, and the name to say.
func (t *attempt) egress() *failure {
	helo := t.hop.Helo
	if t.hop.Source != "" {
		if addr, err := netip.ParseAddr(t.hop.Source); err == nil {
			if addr = addr.Unmap(); addr.Is4() {
				t.source.V4 = addr
			} else {
				t.source.V6 = addr
			}
		} else if s, ok := t.a.o.Sources[t.hop.Source]; ok {
			t.source = s
			helo = cmp.Or(helo, s.Helo)
		} else {
			t.a.o.Log.Error("a route names a source that there is not; write an address, or the name of a [[source]]", "source", t.hop.Source, "next_hop", t.hop.String())
			return failed("4.3.5", "The route has a source that is neither an address nor one of [[source]]")
		}
	}
	if helo != "" {
		name, err := mail.ParseDomain(helo)
		if err != nil {
			return failed("4.3.5", "The route has a HELO name that is not a domain")
		}
		t.ep.helo = mail.DomainKey(name)
	}
	return nil
}

// give is the end for all recipients that are open.
func (t *attempt) give(f *failure) {
	t.record(f, nil)
}

// exchanges delivers to the mail exchangers of a domain.
func (t *attempt) exchanges(ctx context.Context) {
	domain := t.hop.Host
	if domain == "" {
		for _, r := range t.j.m.Envelope.Recipients {
			d := r.ForwardPath.DomainKey()
			if d == "" || domain != "" && d != domain {
				t.give(failed("4.3.5", "Routing gave recipients of several domains to one mail exchanger"))
				return
			}
			domain = d
		}
	}
	t.domain = domain
	if strings.HasPrefix(domain, "[") {
		addr, ok := mail.LiteralAddr(domain)
		if !ok {
			t.give(failed("5.1.2", "The domain is not an address literal"))
			return
		}
		t.hosts(ctx, []resolve.Exchange{{Host: addr.Unmap().String(), Implicit: true}})
		return
	}
	list, err := t.a.o.Resolver.MX(ctx, domain)
	switch {
	case err == nil:
	case errors.Is(err, resolve.ErrNullMX):
		f := failed("5.1.10", fmt.Sprintf("The domain %s accepts no mail (null MX)", domain))
		f.reply.Code = 556 // RFC 7504
		t.give(f)
		return
	case errors.Is(err, resolve.ErrNoDomain), errors.Is(err, resolve.ErrBadName):
		t.give(failed("5.1.2", fmt.Sprintf("The domain %s does not exist", domain)))
		return
	case errors.Is(err, resolve.ErrBadData):
		t.give(failed("5.4.4", fmt.Sprintf("No MX record of %s names a host", domain)))
		return
	default:
		t.a.o.Log.Info("MX look-up failed", "domain", domain, "error", err)
		t.give(failed("4.4.3", fmt.Sprintf("The MX records of %s could not be looked up", domain)))
		return
	}
	// RFC 5321 5.1: an exchanger of ours ends the list, together with those that are not better than it.
	for _, x := range list {
		if t.a.own[mail.DomainKey(x.Host)] {
			for i, y := range list {
				if y.Preference >= x.Preference {
					list = list[:i]
					break
				}
			}
			break
		}
	}
	if len(list) == 0 {
		t.give(loops(domain))
		return
	}
	if t.a.o.STS != nil && !t.report && (t.hop.TLS != mail.TLSNone || t.j.m.Envelope.RequireTLS) {
		if p, ok := t.a.o.STS.Policy(ctx, domain); ok {
			t.sts = &p
		} else if s, ok := t.a.o.STS.(interface{ Fault(string) string }); ok {
			t.stsFault = s.Fault(domain)
		}
	}
	t.hosts(ctx, list)
}

func loops(domain string) *failure {
	return failed("5.4.6", fmt.Sprintf("Mail for %s loops back to this server", domain))
}

// candidate is an endpoint to be tried, and what a new session with it is reported as.
type candidate struct {
	endpoint
	watch *watch
}

// hosts delivers to the first host of list, which is sorted by preference, that takes the message.
func (t *attempt) hosts(ctx context.Context, list []resolve.Exchange) {
	name := cmp.Or(t.hop.Host, t.domain)
	var temporary, refused, looped, unsuited, unnamed, unproven, unvouched bool
	for len(list) > 0 && !looped && t.open(ctx) {
		equals := 1
		for equals < len(list) && list[equals].Preference == list[0].Preference {
			equals++
		}
		// All equals are looked up before one is tried: if one of them is us, none may be.
		var eps []candidate
		for _, x := range list[:equals] {
			h, err := t.lookup(ctx, x.Host)
			if err != nil {
				permanent := errors.Is(err, resolve.ErrNoDomain) || errors.Is(err, resolve.ErrNoData) ||
					errors.Is(err, resolve.ErrBadName) || errors.Is(err, resolve.ErrBadData)
				temporary = temporary || !permanent
				t.a.o.Log.Debug("address look-up failed", "host", x.Host, "error", err)
			}
			secured, w, unfit := t.ep, t.watch(x.Host), error(nil)
			if err == nil {
				if unfit = t.secure(ctx, x, h, &secured, w); unfit != nil {
					if unvouched = unvouched || unfit == errUnvouched; unfit != errUnvouched {
						w.unused(unfit)
					}
					unnamed = unnamed || errors.Is(unfit, errUnnamed)
					unproven = unproven || errors.Is(unfit, errTLSA)
					temporary = temporary || unproven
					t.a.o.Log.Warn("a mail exchanger is passed over", "id", t.j.m.ID.String(), "host", x.Host, "domain", t.domain, "reason", unfit)
					t.j.noteTried(x.Host, "passed over: "+unfit.Error())
				}
			}
			for _, addr := range h.Addrs {
				ep := secured
				ep.host, ep.addr = x.Host, netip.AddrPortFrom(addr.Unmap(), t.port)
				switch {
				case t.a.o.Self(ep.addr):
					looped = true // also if it is unfit: its equals are not better than we are
				case unfit != nil:
				case t.byMX && t.a.denied(ep.addr.Addr()):
					refused = true
				default:
					if t.source.V4.IsValid() || t.source.V6.IsValid() {
						from, ok := t.source.to(ep.addr.Addr())
						if !ok {
							unsuited = true // no way from there
							continue
						}
						ep.source = from
					}
					ep.guard()
					eps = append(eps, candidate{ep, w})
				}
			}
		}
		if looped && t.byMX {
			eps = nil
		}
		lacking := ""
		for _, e := range eps {
			if e.host != lacking && t.open(ctx) && t.try(ctx, e.endpoint, e.watch) {
				lacking = e.host // its other addresses are the same server
			}
		}
		list = list[equals:]
	}
	if t.addrs > 0 {
		if temporary && t.soft == nil {
			t.soft = &mail.Result{Reply: failed("4.4.3", "The addresses of a host of "+name+" could not be looked up").reply}
		}
		if t.hard && t.soft != nil { // not all hosts refuse: the refusal of one is not the last word
			t.j.each(answered, func(i int) {
				if t.j.results[i].Outcome == mail.Failed {
					t.j.results[i] = *t.soft
				}
			})
		}
		return
	}
	// Nothing could be tried.
	switch {
	case ctx.Err() != nil:
	case looped && t.byMX && !temporary && !unnamed: // else one that is better than we are may do later
		t.give(loops(name))
	case looped && !t.byMX:
		t.give(failed("4.4.6", "The next hop "+name+" is this server"))
	case unproven:
		t.give(failed("4.4.3", "The TLSA records of the hosts of "+name+" could not be looked up"))
	case unnamed:
		t.give(failed("4.7.5", "The MTA-STS policy of "+name+" names none of the mail exchangers that could be tried"))
	case temporary:
		t.give(failed("4.4.3", "The addresses of the hosts of "+name+" could not be looked up"))
	case unvouched && t.stsFault != "": // the policy may be there later
		t.give(failed("4.7.5", "The message has REQUIRETLS, and the MTA-STS policy of "+name+" cannot be had"))
	case unvouched:
		t.give(failed("5.7.30", "The message has REQUIRETLS, and neither DNSSEC nor an MTA-STS policy vouches for the mail exchangers of "+name))
	case unsuited:
		t.give(failed("4.4.4", "The hosts of "+name+" have no address of a family that the source "+t.hop.Source+" has"))
	case refused:
		t.give(failed("5.4.4", "The mail exchangers of "+name+" have addresses that mail is not sent to"))
	case t.byMX:
		t.give(failed("5.4.4", "The mail exchangers of "+name+" have no addresses"))
	default: // ours to repair: nothing bounces
		t.give(failed("4.4.4", "The next hop "+name+" has no usable address"))
	}
}

// open tells whether another address may be tried.
func (t *attempt) open(ctx context.Context) bool {
	return ctx.Err() == nil && t.addrs-t.lacking < maxAddrs && t.lacking < maxLacking && t.sessions < maxSessions && t.j.any(answered)
}

func (t *attempt) lookup(ctx context.Context, host string) (resolve.Host, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return resolve.Host{Addrs: []netip.Addr{addr}}, nil
	}
	if t.a.o.DANE != nil {
		return t.a.o.DANE.Host(ctx, host)
	}
	addrs, err := t.a.o.Resolver.Addrs(ctx, host)
	return resolve.Host{Addrs: addrs}, err
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215: of a network like ours
	sixToFour  = netip.MustParsePrefix("2002::/16")      // RFC 3056
	compatible = netip.MustParsePrefix("::/96")          // RFC 4291 2.5.5.1
)

// embedded is the IPv4 address that packets to addr end up at, or addr.
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	b := addr.As16()
	switch {
	case addr.Is4():
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case nat64.Contains(addr), compatible.Contains(addr) && addr != netip.IPv6Loopback() && !addr.IsUnspecified():
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// denied tells whether an MX record must not lead to addr.
func (a *Agent) denied(addr netip.Addr) bool {
	inner := embedded(addr)
	for _, p := range a.o.Deny {
		if p.Contains(addr.Unmap()) || p.Contains(inner) {
			return true
		}
	}
	if inner.IsLoopback() {
		return !a.o.AllowLoopbackMX
	}
	return nat64Local.Contains(inner) || inner.IsUnspecified() || inner.IsMulticast() || inner.IsLinkLocalUnicast() ||
		inner.Is4() && (inner.As4()[0] == 0 || inner.As4()[0] >= 240)
}
