package resolve

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Kind says why a look-up has no answer.
type Kind uint8

const (
	KindNoDomain  Kind = iota + 1 // the name does not exist (NXDOMAIN)
	KindNoData                    // the name exists without records of this type
	KindNullMX                    // the domain declares that it accepts no mail (RFC 7505)
	KindBadName                   // the name asked for cannot be a domain name; nothing was queried
	KindBadData                   // the published records cannot be used: alias loop, MX to an address
	KindTemporary                 // no usable reply now; ask again later
)

// Sentinels for errors.Is; every *Error matches the one of its kind.
var (
	ErrNoDomain  = errors.New("no such domain")
	ErrNoData    = errors.New("no such record")
	ErrNullMX    = errors.New("the domain accepts no mail (null MX)")
	ErrBadName   = errors.New("not a domain name")
	ErrBadData   = errors.New("the published records cannot be used")
	ErrTemporary = errors.New("temporary failure")

	// ErrBogus is within an ErrTemporary when a server said that DNSSEC validation failed.
	ErrBogus = errors.New("DNSSEC validation failed")
)

func (k Kind) sentinel() error {
	switch k {
	case KindNoDomain:
		return ErrNoDomain
	case KindNoData:
		return ErrNoData
	case KindNullMX:
		return ErrNullMX
	case KindBadName:
		return ErrBadName
	case KindBadData:
		return ErrBadData
	}
	return ErrTemporary
}

// Error is the only error type of look-ups. Its text is for the operator's log; it names servers and must not reach an
// SMTP client. An Error may be shared between callers: do not change it.
type Error struct {
	Name   string // the name asked for, A-labels; for KindBadName as the caller gave it
	Type   string // "MX", "A", "AAAA", "TXT", "PTR", ...
	Kind   Kind
	Server string // the server that gave the answer; empty when none did
	Err    error  // the details, may be nil
}

func (e *Error) Error() string {
	s := fmt.Sprintf("resolve: %s of %.255q: %v", e.Type, e.Name, e.Kind.sentinel())
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Server != "" {
		s += ", says " + e.Server
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Is matches the sentinel of the error's kind.
func (e *Error) Is(target error) bool { return target == e.Kind.sentinel() }

// Temporary and Timeout make Error a net.Error, which is what SPF and DKIM libraries look for.
func (e *Error) Temporary() bool { return e.Kind == KindTemporary }

func (e *Error) Timeout() bool {
	return errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, os.ErrDeadlineExceeded)
}

// Temporary reports whether err is a failure that may go away by itself, so that mail waits instead of bouncing.
func Temporary(err error) bool { return errors.Is(err, ErrTemporary) }
