package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Duration is a time such as "90s", "5m", "4h", "5d"; units may be joined:
// "1d12h".
type Duration time.Duration

// Units of Duration.
const (
	Second = Duration(time.Second)
	Minute = Duration(time.Minute)
	Hour   = Duration(time.Hour)
	Day    = 24 * Hour
)

// UnmarshalText reads the value.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("duration %q: write a number and a unit, such as \"30s\", \"5m\", \"4h\", \"5d\"", s)
		}
		total, s = time.Duration(n)*24*time.Hour, rest
	}
	if s != "" {
		v, err := time.ParseDuration(s)
		if err != nil || v < 0 {
			return fmt.Errorf("duration %q: write a number and a unit, such as \"30s\", \"5m\", \"4h\", \"5d\"", string(text))
		}
		total += v
	}
	if total <= 0 {
		return fmt.Errorf("duration %q must be more than nothing", string(text))
	}
	*d = Duration(total)
	return nil
}

// Std is the value as time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of octets such as "50MB" or "256KiB"; K, M and G count in
// 1024.
type Size int64

// UnmarshalText reads the value.
func (z *Size) UnmarshalText(text []byte) error {
	s := strings.ToUpper(strings.TrimSpace(string(text)))
	s = strings.TrimSuffix(strings.TrimSuffix(s, "B"), "I")
	shift := 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		if v, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(v), 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return fmt.Errorf("size %q: write octets, or a number with KB, MB or GB, such as \"50MB\"", string(text))
	}
	*z = Size(n << shift)
	return nil
}

// Domain is a domain name, in lower-case A-labels once read.
type Domain string

// UnmarshalText reads the value.
func (d *Domain) UnmarshalText(text []byte) error {
	if _, err := mail.ParseDomain(string(text)); err != nil {
		return fmt.Errorf("domain %q: %v", text, err)
	}
	*d = Domain(mail.DomainKey(string(text)))
	return nil
}

// Prefix is an address range such as "192.0.2.0/24"; a bare address is itself.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads the value.
func (p *Prefix) UnmarshalText(text []byte) error {
	s := string(text)
	if a, err := netip.ParseAddr(s); err == nil {
		p.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	v, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("network %q: write an address or a range such as \"192.0.2.0/24\" or \"2001:db8::/32\"", s)
	}
	if v.Masked() != v {
		return fmt.Errorf("network %q has bits behind its length; did you mean %q?", s, v.Masked())
	}
	p.Prefix = v
	return nil
}

// HostPort is address:port; the port is 53 if left out.
type HostPort string

// UnmarshalText reads the value.
func (h *HostPort) UnmarshalText(text []byte) error {
	s := string(text)
	if _, err := netip.ParseAddr(s); err == nil {
		*h = HostPort(net.JoinHostPort(s, "53"))
		return nil
	}
	if a, err := netip.ParseAddrPort(s); err != nil || a.Port() == 0 {
		return fmt.Errorf("resolver %q: write ADDRESS or ADDRESS:PORT, such as \"127.0.0.1:53\"", s)
	}
	*h = HostPort(s)
	return nil
}

// NextHop is a route's "to".
type NextHop struct{ mail.NextHop }

// UnmarshalText reads the value.
func (n *NextHop) UnmarshalText(text []byte) error {
	v, err := mail.ParseNextHop(string(text))
	if err != nil {
		return err
	}
	n.NextHop = v
	return nil
}

// Role is what a listener is for.
type Role uint8

const (
	RoleMX Role = iota
	RoleSubmission
	RoleLMTP
)

// String is the configuration's word.
func (r Role) String() string { return [...]string{"mx", "submission", "lmtp", ""}[r&3] }

// UnmarshalText reads the value.
func (r *Role) UnmarshalText(text []byte) error {
	for v := RoleMX; v <= RoleLMTP; v++ {
		if string(text) == v.String() {
			*r = v
			return nil
		}
	}
	return fmt.Errorf("role %q: write mx, submission or lmtp", text)
}

// TLSMode is when a listener does TLS.
type TLSMode uint8

const (
	TLSNone TLSMode = iota
	TLSStart
	TLSImplicit
)

// String is the configuration's word.
func (m TLSMode) String() string { return [...]string{"none", "starttls", "implicit", ""}[m&3] }

// UnmarshalText reads the value.
func (m *TLSMode) UnmarshalText(text []byte) error {
	for v := TLSNone; v <= TLSImplicit; v++ {
		if string(text) == v.String() {
			*m = v
			return nil
		}
	}
	return fmt.Errorf("tls %q: write none, starttls or implicit", text)
}

// ParseTLSPolicy reads a route's "tls".
func ParseTLSPolicy(s string) (mail.TLSPolicy, bool) {
	switch s {
	case "", "opportunistic":
		return mail.TLSOpportunistic, true
	case "none":
		return mail.TLSNone, true
	case "encrypt":
		return mail.TLSEncrypt, true
	case "verify":
		return mail.TLSVerify, true
	}
	return 0, false
}
