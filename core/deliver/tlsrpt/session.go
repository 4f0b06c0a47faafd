package tlsrpt

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// Result is how TLS went in a session (RFC 8460 4.3).
type Result string

// The results; the empty one is success.
const (
	Success              Result = ""
	StartTLSNotSupported Result = "starttls-not-supported"
	HostMismatch         Result = "certificate-host-mismatch"
	Expired              Result = "certificate-expired"
	NotTrusted           Result = "certificate-not-trusted"
	ValidationFailure    Result = "validation-failure"
	TLSAInvalid          Result = "tlsa-invalid"
	DNSSECInvalid        Result = "dnssec-invalid"
	STSFetchError        Result = "sts-policy-fetch-error"
	STSInvalid           Result = "sts-policy-invalid"
	STSWebPKIInvalid     Result = "sts-webpki-invalid"
)

// Types of policies (RFC 8460 4.4).
const (
	TLSA     = "tlsa"
	STS      = "sts"
	NoPolicy = "no-policy-found"
)

// Policy is what a session was held to.
type Policy struct {
	Type    string   `json:"policy-type"`
	Strings []string `json:"policy-string,omitempty"`
	Domain  string   `json:"policy-domain"` // set by the store
	MX      []string `json:"mx-host,omitempty"`
}

// Session is one session with an exchanger of Domain, or the attempt to have one.
type Session struct {
	Domain        string
	Policy        Policy
	Result        Result
	SendingIP     netip.Addr
	ReceivingIP   netip.Addr
	ReceivingMX   string
	ReceivingHelo string
	Reason        string // of the failure, in words
	Info          string // more to know
}

// Limits of what is kept.
const (
	MaxDomains  = 10_000 // of a day
	MaxPolicies = 8      // of a domain
	MaxDetails  = 50     // of a policy

	maxStrings = 60  // of a policy
	maxString  = 300 // octets of what others have said
)

// clean makes a text of others fit to be kept.
func clean(s string) string {
	if s = mail.Printable(s); len(s) > maxString {
		s = strings.ToValidUTF8(s[:maxString], "")
	}
	return s
}

func cleanAll(list []string) []string {
	out := slices.Clone(list[:min(len(list), maxStrings)])
	for i := range out {
		out[i] = clean(out[i])
	}
	return out
}
