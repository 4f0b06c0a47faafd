package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/gate"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
	"github.com/wasmta/wasmta/core/trace"
)

// Intake takes messages that the server accepts.
//
// An error of Intake or [Draft] that is a *mail.Reply of class 4 or 5 (by
// errors.As) is what the client hears; any other is logged and becomes
// [mail.ReplyInternal].
type Intake interface {
	// Begin starts a message, before its content is asked for: a full disk is
	// best said here.
	Begin(ctx context.Context) (Draft, error)
}

// Draft is a message that is not ours yet. It belongs to one goroutine.
type Draft interface {
	// ID names the message; it stands in the Received field and the reply.
	ID() mail.ID
	// Write appends octets of the body, in order.
	io.Writer
	// ReadAt reads octets of the body that were written. It alone may be called
	// concurrently.
	io.ReaderAt
	// Size is the length of the body so far, in octets.
	Size() int64
	// Commit makes the message ours: when it returns nil the message is
	// durable. header is the header section with our Received field, and the
	// empty line that ends it if there was one. A hold that is not empty is
	// the reason for which the message waits for an operator. After an error
	// Abort is called.
	Commit(ctx context.Context, env mail.Envelope, header []byte, hold string) error
	// Abort forgets the message. It is called once, unless Commit returned nil.
	Abort()
}

// Role is what a listener is for.
type Role uint8

const (
	MX         Role = iota // SMTP from other servers
	Submission             // SMTP from users and programs (RFC 6409): MAIL needs AUTH, unless from RelayNetworks
	LMTP                   // RFC 2033: LHLO, and one reply for each recipient
)

// String is the configuration's word.
func (r Role) String() string { return [...]string{"mx", "submission", "lmtp", ""}[r&3] }

// ParseRole is the reverse of [Role.String].
func ParseRole(s string) (Role, error) {
	for r := MX; r <= LMTP; r++ {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("role %q: write mx, submission or lmtp", s)
}

// BareLF is what is done with content that has LF without CR, or CR without
// LF. Neither ever ends a line of the protocol. NUL is always refused.
type BareLF uint8

const (
	// BareLFDefault is BareLFReject for strangers at an MX, where such content
	// comes from broken or hostile software. It is BareLFNormalize for
	// RelayNetworks and authenticated clients, and for Submission and LMTP:
	// there a program, or our own side, hands over a text file.
	BareLFDefault   BareLF = iota
	BareLFReject           // 550 5.6.0 at the end of data
	BareLFNormalize        // LF becomes CR LF, CR becomes a blank
)

// Timeouts of a session; zero is the default.
type Timeouts struct {
	Handshake time.Duration // a PROXY header, a TLS handshake; 30 s
	Command   time.Duration // a whole command line; 5 min (RFC 5321 4.5.3.2.7)
	DataBlock time.Duration // any octet of content; 3 min (RFC 5321 4.5.3.2.5)
	DataTotal time.Duration // the content; 4 h
	RateGrace time.Duration // of the content before MinRate counts; as DataBlock
	Write     time.Duration // replies that the client does not read; 1 min
	Lookup    time.Duration // PTR; 5 s
}

// Options configure a [Server]. Hostname, Source and Intake must be set.
type Options struct {
	Hostname string // ours, in banner, EHLO and Received
	Listener string // its name in the configuration; plugins and the log see it
	Role     Role

	TLS         *tls.Config // nil: no TLS
	ImplicitTLS bool        // TLS from the first octet (RFC 8314)

	// ProxyNetworks must send a PROXY header, version 1 or 2, and are believed.
	// From anywhere else such a header is a bad command.
	ProxyNetworks []netip.Prefix

	// XClientNetworks may say XCLIENT, and are believed what they say of their
	// clients. Where a proxy speaks for the client, it is the client's address
	// that counts. Until then they are not held to MaxSessionsPerAddress.
	XClientNetworks []netip.Prefix

	// BinaryMIME offers BINARYMIME (RFC 3030). Nothing converts such a message for a
	// next hop that does not take it, which then is a bounce to a sender who would
	// have encoded it: it is for listeners whose mail goes to hosts that do.
	BinaryMIME bool

	// AuthWithoutTLS offers AUTH also in clear text, where whoever listens
	// reads the password: for a listener that only this machine reaches.
	AuthWithoutTLS bool
	// AuthMechanisms are the SASL mechanisms to offer, of [sasl.Names], in this
	// order; nil: PLAIN and LOGIN, which is what every policy answers. SCRAM is
	// for policy that has its keys: a client that sees it tries nothing else. -PLUS
	// is offered under TLS only, EXTERNAL to a client whose certificate was verified.
	AuthMechanisms []string
	// Guard counts failures over sessions; listeners may share one. nil: one of
	// its own, with the defaults.
	Guard *Guard
	// AuthRelay lets authenticated clients send to anyone. Without it they may
	// do what others may, and what plugins accept.
	AuthRelay bool
	// AuthFailures ends a session with 421 when so many attempts to authenticate
	// have failed; 0: 3.
	AuthFailures int
	// AuthDelay is how long after the last response a refusal is given: guessing
	// becomes slow, and how long a plugin took does not show. 0: 2 s;
	// negative: none.
	AuthDelay time.Duration

	// LocalDomains and RelayDomains tell whether we take mail for a domain,
	// to deliver it or to pass it on. The domain is as [mail.DomainKey] makes
	// it; an address literal comes in its brackets. nil: none.
	LocalDomains func(domain string) bool
	RelayDomains func(domain string) bool
	// RelayNetworks are clients that may send to anyone. They are not held to
	// MaxSessionsPerAddress. A client on a unix socket counts as 127.0.0.1.
	RelayNetworks []netip.Prefix

	MaxSize               int64 // octets of content; 0: 50 MiB
	MaxRecipients         int   // of one message; 0: 1000
	MaxSessions           int   // 0: 20000; but no more than a quarter of the files we may open; negative: no limit
	MaxSessionsPerAddress int   // or IPv6 /64; 0: 100; negative: no limit
	MinRate               int64 // octets of content a second; 0: 500
	ErrorBudget           int   // points; 0: 100. See the package comment.
	Timeouts              Timeouts
	BareLF                BareLF

	// MaxHold is how long a client that we know may have a message held
	// (FUTURERELEASE, RFC 4865), to the second; 0: it may not.
	MaxHold time.Duration

	// EarlyTalkerDelay is how long an MX listener waits, before its banner,
	// for a client that talks too soon; such a client gets 554 5.5.1. With 0
	// it only looks at what has arrived by then; negative: it does not look.
	// RelayNetworks are not held to it.
	EarlyTalkerDelay time.Duration

	Source hook.Source
	Intake Intake
	Log    event.Log
	Trace  *trace.Store // nil: none is kept
	// PTR returns the forward-confirmed name of an address, or nothing. nil:
	// names are not looked up.
	PTR func(ctx context.Context, addr netip.Addr) string
	// Known tells of a connection from inside this server who it is from, by its
	// remote address: the user, authenticated from the beginning, and the id of
	// the session. Empty: nobody, and a new one. nil: nobody is known.
	Known func(remote net.Addr) (user, session string)
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (o *Options) complete() error {
	if _, err := mail.ParseDomain(o.Hostname); err != nil {
		return fmt.Errorf("hostname %q: %w", o.Hostname, err)
	}
	switch {
	case o.Role > LMTP:
		return fmt.Errorf("role %d is not known", o.Role)
	case o.Source == nil:
		return errors.New("there is no source of hooks; hook.Static(nil) has none")
	case o.Intake == nil:
		return errors.New("there is no intake")
	case o.ImplicitTLS && o.TLS == nil:
		return errors.New("implicit TLS needs a TLS configuration")
	case o.MaxHold < 0 || o.MaxHold >= 1e9*time.Second:
		return errors.New("the longest hold is negative, or too long to announce")
	case o.MaxSize < 0 || o.MaxRecipients < 0 || o.MinRate < 0 || o.ErrorBudget < 0 || o.AuthFailures < 0:
		return errors.New("a limit is negative")
	case o.MaxSize > 1<<40:
		return errors.New("the limit of size is over a tebibyte")
	case o.MaxRecipients > hook.MaxRecipients:
		return fmt.Errorf("the limit of recipients is over %d", hook.MaxRecipients)
	}
	for _, m := range o.AuthMechanisms {
		if !slices.Contains(sasl.Names(), m) {
			return fmt.Errorf("there is no SASL mechanism %q here; there are %s", m, strings.Join(sasl.Names(), " "))
		}
	}
	if o.AuthMechanisms == nil {
		o.AuthMechanisms = []string{"PLAIN", "LOGIN"}
	}
	if o.Guard == nil {
		o.Guard = NewGuard(GuardOptions{})
	}
	if o.TLS != nil {
		o.TLS = noting(o.TLS)
	}
	none := func(string) bool { return false }
	if o.LocalDomains == nil {
		o.LocalDomains = none
	}
	if o.RelayDomains == nil {
		o.RelayDomains = none
	}
	orDefault(&o.MaxSize, 50<<20)
	orDefault(&o.MaxRecipients, 1000)
	orDefault(&o.MaxSessions, 20_000)
	o.MaxSessions = capSessions(o.MaxSessions, openFiles())
	orDefault(&o.MaxSessionsPerAddress, 100)
	orDefault(&o.MinRate, 500)
	orDefault(&o.ErrorBudget, 100)
	orDefault(&o.AuthFailures, 3)
	orDefault(&o.AuthDelay, 2*time.Second)
	t := &o.Timeouts
	orDefault(&t.Handshake, 30*time.Second)
	orDefault(&t.Command, 5*time.Minute)
	orDefault(&t.DataBlock, 3*time.Minute)
	orDefault(&t.DataTotal, 4*time.Hour)
	orDefault(&t.RateGrace, t.DataBlock) // less would only hurt a client that hesitates
	orDefault(&t.Write, time.Minute)
	orDefault(&t.Lookup, 5*time.Second)
	return nil
}

// capSessions leaves files for the queue, deliveries and other listeners: a
// queue that cannot open a file is worse than a client that has to wait.
func capSessions(sessions int, files uint64) int {
	if sessions < 0 || files == 0 {
		return sessions
	}
	return int(max(1, min(uint64(sessions), files/4)))
}

func (o *Options) limits() gate.Limits {
	t := o.Timeouts
	return gate.Limits{Command: t.Command, Block: t.DataBlock, Total: t.DataTotal, Grace: t.RateGrace, MinRate: o.MinRate, Write: t.Write}
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
