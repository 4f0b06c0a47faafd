package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	udpSize    = 1232 // octets, fits an unfragmented packet anywhere (DNS flag day 2020)
	maxForeign = 32   // replies to other questions on one socket before it is given up as under attack
	headerSize = 12   // octets
)

// Causes for which a query is repeated in another way at the same server.
var (
	errTruncated = errors.New("truncated")
	errForeign   = errors.New("only replies to other questions")
)

// exchange asks the servers, the last one that worked first, for as many rounds as configured. The reply's code is
// NOERROR or NXDOMAIN; anything else is an error, which lists what each try met.
func (r *Resolver) exchange(ctx context.Context, name string, typ uint16) (*dns.Msg, *server, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%d look-ups were in progress all the time", cap(r.slots))
	}
	first := int(r.first.Load())
	var errs []error
	for range r.rounds {
		for i := range r.servers {
			n := (first + i) % len(r.servers)
			srv := &r.servers[n]
			m, err := r.ask(ctx, srv, name, typ)
			if err == nil {
				err = usable(m)
				if err == nil || m.Rcode == dns.RcodeServerFailure {
					// It is alive; SERVFAIL is mostly the fault of the domain. CompareAndSwap: of many look-ups that
					// left a dead server, the first decides.
					r.first.CompareAndSwap(uint32(first), uint32(n))
				}
			}
			if err == nil {
				return m, srv, nil
			}
			errs = append(errs, fmt.Errorf("%w from %s", err, srv.addr))
			if ctx.Err() != nil {
				return nil, nil, joined(errs)
			}
		}
	}
	return nil, nil, joined(errs)
}

// usable tells an answer from a refusal to answer.
func usable(m *dns.Msg) error {
	switch m.Rcode {
	case dns.RcodeNameError:
		return nil
	case dns.RcodeSuccess:
		if len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable {
			return errors.New("referral (the server does not resolve for us)")
		}
		return nil
	}
	text := dns.RcodeToString[m.Rcode]
	if text == "" {
		text = fmt.Sprintf("response code %d", m.Rcode)
	}
	// RFC 8914: the code says what is wrong, such as a bad signature. Its free text is not ours to log.
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok && dns.ExtendedErrorCodeToString[ede.InfoCode] != "" {
				text += " (" + dns.ExtendedErrorCodeToString[ede.InfoCode] + ")"
				if bogus(ede.InfoCode) {
					return fmt.Errorf("%s%w", text, silent{ErrBogus})
				}
				break
			}
		}
	}
	return errors.New(text)
}

// bogus tells whether an extended error (RFC 8914, section 4) says that DNSSEC validation failed.
func bogus(code uint16) bool {
	switch code {
	case dns.ExtendedErrorCodeDNSBogus, dns.ExtendedErrorCodeSignatureExpired, dns.ExtendedErrorCodeSignatureNotYetValid,
		dns.ExtendedErrorCodeDNSKEYMissing, dns.ExtendedErrorCodeRRSIGsMissing, dns.ExtendedErrorCodeNoZoneKeyBitSet,
		dns.ExtendedErrorCodeNSECMissing:
		return true
	}
	return false
}

// joinedError is errors.Join on one line, each text once.
type joinedError []error

func (e joinedError) Unwrap() []error { return e }

func (e joinedError) Error() string {
	var texts []string
	seen := make(map[string]bool)
	for _, err := range e {
		if s := err.Error(); !seen[s] {
			seen[s] = true
			texts = append(texts, s)
		}
	}
	return strings.Join(texts, "; ")
}

func joined(errs []error) error { return joinedError(errs) }

// ask puts one question to one server: UDP with EDNS, without EDNS where that is not understood, TCP where UDP does not
// carry the reply.
func (r *Resolver) ask(ctx context.Context, srv *server, name string, typ uint16) (*dns.Msg, error) {
	q := query(name, typ)
	m, err := r.roundTrip(ctx, "udp", srv, q)
	if err == nil && refusesEDNS(m) {
		q.Extra = nil
		m, err = r.roundTrip(ctx, "udp", srv, q)
	}
	if errors.Is(err, errTruncated) || errors.Is(err, errForeign) {
		q.Id = dns.Id()
		m, err = r.roundTrip(ctx, "tcp", srv, q)
		if err == nil && refusesEDNS(m) && len(q.Extra) > 0 {
			q.Extra = nil
			m, err = r.roundTrip(ctx, "tcp", srv, q)
		}
		if err != nil {
			return nil, fmt.Errorf("TCP: %w", err)
		}
	}
	return m, err
}

func query(name string, typ uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	q.AuthenticatedData = true // RFC 6840, section 5.7: tell us whether it is authentic, without the signatures
	q.SetEdns0(udpSize, false)
	return q
}

func refusesEDNS(m *dns.Msg) bool {
	return m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers
}

// roundTrip sends q and waits for its reply, at most r.timeout. Each query has a socket, and so a random port, of its
// own.
func (r *Resolver) roundTrip(ctx context.Context, network string, srv *server, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	m, err := r.transfer(ctx, network, srv, q)
	return m, plain(err)
}

func (r *Resolver) transfer(ctx context.Context, network string, srv *server, q *dns.Msg) (*dns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, srv.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if t, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(t); err != nil {
			return nil, err
		}
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	if network == "tcp" {
		return overTCP(conn, wire, q)
	}
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, udpSize)
	for range maxForeign {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		// A reply that is not to this question may be forged: the right one may still come.
		if m, ok := match(buf[:n], q); ok {
			if m.Truncated {
				return nil, errTruncated
			}
			return m, nil
		}
	}
	return nil, errForeign
}

func overTCP(conn net.Conn, wire []byte, q *dns.Msg) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wire)), uint16(len(wire)))
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	m, ok := match(buf, q)
	switch {
	case !ok:
		return nil, errForeign
	case m.Truncated:
		return nil, errTruncated
	}
	return m, nil
}

// match reads b as the reply to q: same id, same question, response bit, and parsable. A truncated reply need not be
// parsable behind its header, and a server that does not understand EDNS may send back a bare FORMERR header
// (RFC 6891, section 7).
func match(b []byte, q *dns.Msg) (*dns.Msg, bool) {
	if len(b) < headerSize || binary.BigEndian.Uint16(b) != q.Id || b[2]&0x80 == 0 || b[2]>>3&0x0f != dns.OpcodeQuery {
		return nil, false
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		if b[2]&0x02 == 0 {
			return nil, false
		}
		m = new(dns.Msg)
		m.Truncated = true
		return m, true
	}
	if len(m.Question) == 0 && m.Rcode == dns.RcodeFormatError {
		return m, true
	}
	want := q.Question[0]
	return m, len(m.Question) == 1 && m.Question[0].Qtype == want.Qtype && m.Question[0].Qclass == want.Qclass &&
		dns.CanonicalName(m.Question[0].Name) == dns.CanonicalName(want.Name)
}

// plain replaces the addresses and system calls in net's errors by a word; the server is named anyway.
func plain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no reply in time%w", silent{os.ErrDeadlineExceeded})
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed within the reply")
	}
	return err
}

// silent lets errors.Is see an error whose text adds nothing.
type silent struct{ error }

func (s silent) Error() string { return "" }
func (s silent) Unwrap() error { return s.error }
