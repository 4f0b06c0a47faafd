package mailtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Zone is everything a test DNS server knows. Names it does not hold do not exist.
type Zone struct {
	// Records are master file lines (RFC 1035, section 5): `example.org. 300 IN MX 10 mx.example.org.` The origin is
	// the root, the default TTL 300 s.
	Records string
	// Faults are what goes wrong, by "name" or, for one type only, "name TYPE". "*" is every name.
	Faults map[string]Fault
	// Secure sets the AD bit in every reply,
	Secure bool
	// except about these domains and what is below them, which are not signed.
	Unsigned []string
	// Address is the host:port to listen on; empty: 127.0.0.1 and a free port. A change of the zone does not change it.
	Address string
}

// Fault is a way in which a DNS server misbehaves.
type Fault int

const (
	NoFault       Fault = iota
	ServFail            // answers SERVFAIL
	BogusServFail       // SERVFAIL with the extended error "DNSSEC Bogus" (RFC 8914)
	Refused             // answers REFUSED
	Held                // answers over UDP only after Release
	NoReply             // never answers, over TCP either
	Truncate            // sets TC over UDP; the answer is had over TCP
	TruncateOnly        // sets TC over UDP, and closes TCP connections without an answer
	SlowTCP             // sets TC over UDP, and sends the answer over TCP one octet a second
	WrongID             // answers with another id
	WrongQuestion       // answers another question
	Forged              // sends forgeries with a wrong id and a wrong question before the answer
	Flooded             // sends 100 replies with a wrong id over UDP; the answer is had over TCP
	Poison              // adds records of other names to every section
	NoEDNS              // answers FORMERR, a bare header, to a query with EDNS
	Referral            // answers with nothing, neither authoritative nor recursive
	OneAlias            // stops at the first CNAME instead of following it
	UpperCase           // spells every name in the reply in upper case
	Garbage             // answers with octets that are no DNS message
)

// PoisonAddr is the address in the records that Poison, Forged and WrongQuestion add.
const PoisonAddr = "198.18.66.66"

// DNS is a DNS server on a loopback address, UDP and TCP on one port. It ends with its test.
type DNS struct {
	Addr string // host:port

	done    chan struct{}
	release chan struct{}
	end     func()
	running sync.WaitGroup

	mu       sync.Mutex
	records  []dns.RR
	faults   map[string]Fault
	secure   bool
	unsigned []string
	queries  map[string]int
	last     *dns.Msg
}

// ServeDNS starts a DNS server for zone and returns its host:port.
func ServeDNS(t testing.TB, zone Zone) (addr string) {
	t.Helper()
	return StartDNS(t, zone).Addr
}

// StartDNS starts a DNS server for zone whose queries can be counted and whose zone can be changed.
func StartDNS(t testing.TB, zone Zone) *DNS {
	t.Helper()
	d, err := NewDNS(zone)
	if err != nil {
		t.Fatalf("mailtest: DNS server: %v", err)
	}
	t.Cleanup(d.Close)
	return d
}

// NewDNS starts a DNS server that is no test's. Close ends it.
func NewDNS(zone Zone) (*DNS, error) {
	d := &DNS{queries: make(map[string]int), done: make(chan struct{}), release: make(chan struct{})}
	if err := d.Set(zone); err != nil {
		return nil, err
	}
	udp, tcp, err := listenBoth(zone.Address)
	if err != nil {
		return nil, err
	}
	d.Addr = udp.LocalAddr().String()
	d.running.Go(func() { d.serveUDP(udp) })
	d.running.Go(func() { d.serveTCP(tcp) })
	d.end = sync.OnceFunc(func() {
		close(d.done)
		udp.Close()
		tcp.Close()
		d.running.Wait()
	})
	return d, nil
}

// Close ends the server.
func (d *DNS) Close() { d.end() }

// listenBoth listens with UDP and TCP on one port.
func listenBoth(addr string) (_ net.PacketConn, _ net.Listener, err error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	for range 20 { // the port that one is given may not be free for the other
		var udp net.PacketConn
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			break
		}
		var tcp net.Listener
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		udp.Close()
	}
	return nil, nil, err
}

// SetZone replaces the zone. The counts stay.
func (d *DNS) SetZone(t testing.TB, zone Zone) {
	t.Helper()
	if err := d.Set(zone); err != nil {
		t.Fatalf("mailtest: %v", err)
	}
}

// Set replaces the zone, or says what is wrong with the new one. The counts stay.
func (d *DNS) Set(zone Zone) error {
	var records []dns.RR
	zp := dns.NewZoneParser(strings.NewReader(zone.Records), ".", "zone")
	zp.SetDefaultTTL(300)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		rr, err := asRead(rr)
		if err != nil {
			return fmt.Errorf("zone: %w", err)
		}
		records = append(records, rr)
	}
	if err := zp.Err(); err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	faults := make(map[string]Fault, len(zone.Faults))
	for k, f := range zone.Faults {
		name, typ, _ := strings.Cut(k, " ")
		if name != "*" {
			name = dns.CanonicalName(name)
		}
		faults[strings.TrimSpace(name+" "+typ)] = f
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records, d.faults, d.secure, d.unsigned = records, faults, zone.Secure, zone.Unsigned
	return nil
}

// asRead gives a record's names the escapes that they have when read from a message, so that they compare equal.
func asRead(rr dns.RR) (dns.RR, error) {
	wire := make([]byte, dns.MaxMsgSize)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", rr, err)
	}
	rr, _, err = dns.UnpackRR(wire[:n], 0)
	return rr, err
}

// signed tells whether a name is in a zone with signatures.
func (d *DNS) signed(name string) bool {
	return d.secure && !slices.ContainsFunc(d.unsigned, func(zone string) bool { return dns.IsSubDomain(dns.CanonicalName(zone), name) })
}

// Release lets the replies go that Held keeps back, now and from now on. Call it once.
func (d *DNS) Release() { close(d.release) }

// Queries returns how many queries for name and type ("MX") came, repeated tries and TCP included.
func (d *DNS) Queries(name, typ string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries[dns.CanonicalName(name)+" "+typ]
}

// Total returns how many queries came.
func (d *DNS) Total() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, q := range d.queries {
		n += q
	}
	return n
}

// Last returns the query that came last, nil if none did.
func (d *DNS) Last() *dns.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

func (d *DNS) serveUDP(conn net.PacketConn) {
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		held := d.fault(buf[:n]) == Held
		send := d.replies(buf[:n], true)
		d.running.Go(func() {
			if held {
				select {
				case <-d.release:
				case <-d.done:
				}
			}
			for _, m := range send {
				conn.WriteTo(m, from)
			}
		})
	}
}

func (d *DNS) serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		d.running.Go(func() {
			defer conn.Close()
			stop := make(chan struct{})
			defer close(stop)
			d.running.Go(func() { // a client that keeps its connection does not keep the test
				select {
				case <-d.done:
					conn.Close()
				case <-stop:
				}
			})
			d.serveConn(conn)
		})
	}
}

func (d *DNS) serveConn(conn net.Conn) {
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		slow := d.fault(query) == SlowTCP
		if d.fault(query) == TruncateOnly {
			return
		}
		for _, m := range d.replies(query, false) {
			framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
			if !slow {
				conn.Write(framed)
				continue
			}
			for i := range framed {
				if _, err := conn.Write(framed[i : i+1]); err != nil {
					return
				}
				select {
				case <-time.After(time.Second):
				case <-d.done:
					return
				}
			}
		}
	}
}

// fault is what the zone prescribes for a query.
func (d *DNS) fault(query []byte) Fault {
	var q dns.Msg
	if q.Unpack(query) != nil || len(q.Question) != 1 {
		return NoFault
	}
	name, typ := dns.CanonicalName(q.Question[0].Name), dns.TypeToString[q.Question[0].Qtype]
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range []string{name + " " + typ, name, "* " + typ, "*"} {
		if f, ok := d.faults[k]; ok {
			return f
		}
	}
	return NoFault
}

// replies are the messages to send for a query, in order.
func (d *DNS) replies(query []byte, overUDP bool) [][]byte {
	q := new(dns.Msg)
	if q.Unpack(query) != nil || len(q.Question) != 1 {
		return nil
	}
	fault := d.fault(query)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queries[dns.CanonicalName(q.Question[0].Name)+" "+dns.TypeToString[q.Question[0].Qtype]]++
	d.last = q.Copy()
	reply := d.answer(q, fault)
	send := []*dns.Msg{reply}

	switch fault {
	case NoReply:
		return nil
	case Garbage:
		return [][]byte{append(query[:2:2], "\x81\x80\xff\xffis not a DNS message"...)}
	case NoEDNS:
		if q.IsEdns0() != nil {
			send[0] = &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}}
		}
	case Truncate, TruncateOnly, SlowTCP:
		if overUDP {
			reply.Truncated = true
			reply.Answer = reply.Answer[:len(reply.Answer)/2]
		}
	case WrongID:
		reply.Id++
	case WrongQuestion:
		send[0] = forgery(reply, q, 0)
	case Forged:
		send = []*dns.Msg{forgery(reply, q, 1), forgery(reply, q, 0), reply}
	case Flooded:
		if overUDP {
			send = nil
			for range 100 {
				send = append(send, forgery(reply, q, 1))
			}
		}
	}
	if overUDP {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	var wire [][]byte
	for _, m := range send {
		if b, err := m.Pack(); err == nil {
			wire = append(wire, b)
		}
	}
	return wire
}

// answer builds the reply of a recursive server that knows only the zone.
func (d *DNS) answer(q *dns.Msg, fault Fault) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.AuthenticatedData = d.signed(dns.CanonicalName(q.Question[0].Name))
	m.Compress = true
	if q.IsEdns0() != nil {
		m.SetEdns0(1232, false)
	}
	switch fault {
	case ServFail, BogusServFail:
		m.Rcode = dns.RcodeServerFailure
		if opt := m.IsEdns0(); opt != nil && fault == BogusServFail {
			opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus, ExtraText: "forged\r\ntext"})
		}
		return m
	case Refused:
		m.Rcode = dns.RcodeRefused
		return m
	case Referral:
		m.RecursionAvailable = false
		return m
	}

	name, typ := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	for range 20 { // bounds alias loops
		exists, alias := false, ""
		for _, rr := range d.records {
			owner := dns.CanonicalName(rr.Header().Name)
			if dns.IsSubDomain(name, owner) {
				exists = true
			}
			if owner != name {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok && typ != dns.TypeCNAME {
				alias = dns.CanonicalName(c.Target)
			} else if rr.Header().Rrtype != typ {
				continue
			}
			m.Answer = append(m.Answer, dns.Copy(rr))
		}
		if alias != "" {
			m.AuthenticatedData = m.AuthenticatedData && d.signed(alias)
			if name = alias; fault == OneAlias {
				break
			}
			continue
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		if len(m.Answer) == 0 || dns.CanonicalName(m.Answer[len(m.Answer)-1].Header().Name) != name {
			m.Ns = append(m.Ns, d.soa(name))
		}
		break
	}
	switch fault {
	case Poison:
		bad := poison(name)
		m.Answer = append(bad, m.Answer...)
		m.Ns = append(m.Ns, bad...)
		m.Extra = append(m.Extra, bad...)
	case UpperCase:
		m.Question[0].Name = strings.ToUpper(m.Question[0].Name)
		for _, rr := range m.Answer {
			rr.Header().Name = strings.ToUpper(rr.Header().Name)
			switch rr := rr.(type) {
			case *dns.MX:
				rr.Mx = strings.ToUpper(rr.Mx)
			case *dns.CNAME:
				rr.Target = strings.ToUpper(rr.Target)
			}
		}
	}
	return m
}

// soa is the closest SOA of the zone above name, or one made up with a minimum of 60 s.
func (d *DNS) soa(name string) dns.RR {
	var best *dns.SOA
	for _, rr := range d.records {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, name) {
			if best == nil || len(soa.Hdr.Name) > len(best.Hdr.Name) {
				best = soa
			}
		}
	}
	if best == nil {
		return &dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.invalid.", Mbox: "root.invalid.", Minttl: 60}
	}
	return dns.Copy(best)
}

// forgery answers with a poisoned address or exchange; idShift 0 keeps the id and changes the question.
func forgery(reply, q *dns.Msg, idShift uint16) *dns.Msg {
	m := reply.Copy()
	m.Rcode, m.Ns = dns.RcodeSuccess, nil
	m.Id = q.Id + idShift
	m.Answer = poison(q.Question[0].Name)
	for _, rr := range m.Answer {
		rr.Header().Name = q.Question[0].Name
	}
	if idShift == 0 {
		m.Question[0].Name = "other." + q.Question[0].Name
	}
	return m
}

// poison is a set of records that must never be believed.
func poison(name string) []dns.RR {
	hdr := func(owner string, typ uint16) dns.RR_Header {
		return dns.RR_Header{Name: owner, Rrtype: typ, Class: dns.ClassINET, Ttl: 86400}
	}
	victim := "victim.example."
	return []dns.RR{
		&dns.A{Hdr: hdr(victim, dns.TypeA), A: net.ParseIP(PoisonAddr)},
		&dns.MX{Hdr: hdr(victim, dns.TypeMX), Mx: "evil.example."},
		&dns.A{Hdr: hdr("sub."+name, dns.TypeA), A: net.ParseIP(PoisonAddr)},
		&dns.TXT{Hdr: hdr(victim, dns.TypeTXT), Txt: []string{"evil"}},
	}
}
