package mailauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/resolve"
)

// Result is what a method found, in the words of RFC 8601, section 2.7.
type Result string

// The results. Which of them a method has is said there.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"
	Neutral   Result = "neutral"
	Policy    Result = "policy"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Resolver looks DNS records up; a [resolve.Resolver] does.
type Resolver interface {
	// Lookup returns the records of a name and type, none for a name without such records, or an error of
	// package resolve. TXT is the strings joined, MX "10 host", PTR a host name, an address 4 or 16 octets.
	Lookup(ctx context.Context, name string, typ uint16) (resolve.Records, error)
}

// Types of records (RFC 1035, section 3.2.2; RFC 3596).
const (
	typeA    = 1
	typePTR  = 12
	typeMX   = 15
	typeTXT  = 16
	typeAAAA = 28
)

// lookup is Lookup with what is no failure but an absence told apart: exists is false for a name that does not exist,
// or that the resolver cannot ask for, or whose records cannot be used. The error is a temporary one.
func lookup(ctx context.Context, r Resolver, name string, typ uint16) (data [][]byte, exists bool, err error) {
	rec, err := r.Lookup(ctx, name, typ)
	switch {
	case err == nil:
		return rec.Data, true, nil
	case errors.Is(err, resolve.ErrNoDomain), errors.Is(err, resolve.ErrBadName):
		return nil, false, nil
	case errors.Is(err, resolve.ErrNoData), errors.Is(err, resolve.ErrBadData), errors.Is(err, resolve.ErrNullMX):
		return nil, true, nil
	}
	return nil, false, fmt.Errorf("the DNS did not answer for %.253q", name)
}

// problem is a failure that is itself the result.
type problem struct {
	result Result
	reason string
}

func (p *problem) Error() string { return p.reason }

func permanent(format string, args ...any) error {
	return &problem{PermError, fmt.Sprintf(format, args...)}
}

func temporary(err error) error { return &problem{TempError, err.Error()} }

// asProblem is the problem in err; one of another kind is temporary.
func asProblem(err error) *problem {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{TempError, err.Error()}
	}
	return p
}

// validName tells whether s can be asked of the DNS: labels of 1 to 63 octets, 253 in all.
func validName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// hostName is a domain in the form for comparing, and whether it is one: letters, digits, hyphens and underscores.
func hostName(s string) (string, bool) {
	s = mail.DomainKey(s)
	if !validName(s) {
		return "", false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return "", false
		}
	}
	return s, true
}

// under tells whether name is zone or lies in it.
func under(name, zone string) bool {
	rest, ok := strings.CutSuffix(name, zone)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
