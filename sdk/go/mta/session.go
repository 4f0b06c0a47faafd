package mta

import (
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// Session is what a handler may ask and change. It is valid during the call.
type Session struct{}

// Must panics if err is not nil. A panic fails the plugin, so that its on_error
// is the verdict, and the error is in the log.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// RemoteIP is the client's address.
func (s *Session) RemoteIP() string { return text(abi.RemoteIP) }

// RemotePort is the client's port.
func (s *Session) RemotePort() int { return number(abi.RemotePort) }

// LocalIP is the address that the client connected to.
func (s *Session) LocalIP() string { return text(abi.LocalIP) }

// LocalPort is the port that the client connected to.
func (s *Session) LocalPort() int { return number(abi.LocalPort) }

// Listener is the listener's name in the configuration.
func (s *Session) Listener() string { return text(abi.Listener) }

// PTR is the client's name in the DNS, forward-confirmed.
func (s *Session) PTR() string { return text(abi.PTRName) }

// ID is the session's name in the log.
func (s *Session) ID() string { return text(abi.SessionID) }

// ConnectionsFromIP is the number of open connections from the client's address,
// or its /64 in IPv6, this one included.
func (s *Session) ConnectionsFromIP() int { return number(abi.ConnCountIP) }

// ProxyIP is the proxy's address if one spoke for the client.
func (s *Session) ProxyIP() string { return text(abi.ProxyIP) }

// SetBanner replaces the text of the 220 reply. Hook connect.
func (s *Session) SetBanner(text string) error { return setText(abi.Banner, text) }

// Helo is the name the client gave in HELO, EHLO or LHLO.
func (s *Session) Helo() string { return text(abi.Helo) }

// ESMTP tells whether the client said EHLO or LHLO.
func (s *Session) ESMTP() bool { return flag(abi.ESMTP) }

// Extensions are the EHLO keywords with their arguments, one a line. Hook ehlo.
func (s *Session) Extensions() string { return text(abi.Extensions) }

// SetExtensions replaces them. Hook ehlo.
func (s *Session) SetExtensions(lines string) error { return setText(abi.Extensions, lines) }

// TLS tells whether the connection is encrypted.
func (s *Session) TLS() bool { return flag(abi.TLS) }

// TLSVersion is 0x0303 for TLS 1.2, 0x0304 for TLS 1.3.
func (s *Session) TLSVersion() int { return number(abi.TLSVersion) }

// TLSCipher is the cipher suite's name.
func (s *Session) TLSCipher() string { return text(abi.TLSCipher) }

// TLSServerName is the name the client asked for (SNI).
func (s *Session) TLSServerName() string { return text(abi.TLSSNI) }

// ClientCertificate is the SHA-256 of the client's certificate, in hex.
func (s *Session) ClientCertificate() string { return text(abi.ClientCertFP) }

// CertificateNames are the names in the client's certificate if an authority that
// the listener's client_ca names has signed it: "email:ann@example.org",
// "dns:...", "uri:..." of its alternative names, then "cn:..." of its subject.
func (s *Session) CertificateNames() []string {
	if names := text(abi.ClientCertNames); names != "" {
		return strings.Split(names, "\n")
	}
	return nil
}

// AuthMechanism is the SASL mechanism, in upper case; empty: the client is not
// authenticated.
func (s *Session) AuthMechanism() string { return text(abi.AuthMech) }

// AuthUser is the name that the client gives, or gave when it was
// authenticated.
func (s *Session) AuthUser() string { return text(abi.AuthUser) }

// AuthPassword is the password that the client gave, or by OAUTHBEARER and XOAUTH2
// its token. The error is abi.Denied without the grant auth_password, and
// abi.NotFound if the mechanism has none.
// Hand it to [Crypto.CheckPassword], and to nothing that keeps or logs it. Hook
// auth.
func (s *Session) AuthPassword() (string, error) {
	p, err := textOrError(abi.AuthPass)
	clear(scratch[:min(len(p), len(scratch))])
	return p, err
}

// AuthID is the authenticated identity; empty: none. At hook auth it is the
// identity that the client asks to act as, if it asks for one: who accepts such
// a client must say who it becomes by SetAuthID, or the server refuses it.
func (s *Session) AuthID() string { return text(abi.AuthID) }

// SetAuthID says who the client is if it is accepted; without it, it is
// AuthUser. It needs the grant auth_password or envelope = "write". Hook auth.
func (s *Session) SetAuthID(id string) error { return setText(abi.AuthID, id) }

// WantsScram tells whether the client authenticates by SCRAM-SHA-256 or
// SCRAM-SHA-256-PLUS: then there is no password to be checked, and [Session.SetScram]
// is what the server needs. Hook auth.
func (s *Session) WantsScram() bool { return strings.HasPrefix(s.AuthMechanism(), "SCRAM-SHA-256") }

// SetScram gives the keys of AuthUser, as RFC 5803 and PostgreSQL write them,
// "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey", or as "doveadm pw -s
// SCRAM-SHA-256" does. Accept then lets the client in if the server finds that it has
// their password; [Crypto.CheckPassword] takes the same text, for PLAIN and
// LOGIN. It needs the grant auth_password. abi.Invalid: these are no such keys.
// Hook auth.
func (s *Session) SetScram(keys string) error { return setText(abi.AuthScram, keys) }

// Command is the verb, in upper case, and its argument. Hook command.
func (s *Session) Command() (verb, argument string) { return text(abi.Verb), text(abi.Argument) }

// Reason is why a transaction or session ended. Hooks reset and close.
func (s *Session) Reason() string { return text(abi.Reason) }

// Config is the plugin's configuration.
func (s *Session) Config() *Config { return new(Config) }

// Plugin is this plugin's name in the configuration.
func (s *Session) Plugin() string { return text(abi.Plugin) }

// Generation identifies this module with its configuration in the log.
func (s *Session) Generation() string { return text(abi.Generation) }

// Script is the custom section mta1.script of the module: what an interpreter
// that is a plugin runs. It can be read in [OnInit] too. abi.NotFound: the
// module has none.
func Script() (string, error) { return textOrError(abi.Script) }

// Scope is how long an attribute lasts.
type Scope = abi.Scope

const (
	SessionScope     Scope = abi.ScopeSession     // this connection
	TransactionScope Scope = abi.ScopeTransaction // this MAIL to its end
	MessageScope     Scope = abi.ScopeMessage     // kept with the message, also at routing and delivery
	RecipientScope   Scope = abi.ScopeRecipient   // kept with the current recipient
)

// Attr is an attribute, and whether it is set. key is one of this plugin's own,
// or "plugin/key" if that is granted.
func (s *Session) Attr(scope Scope, key string) (value string, ok bool) {
	value, err := read(func(b []byte) int32 { return guest.AttrGet(scope, key, b) })
	return value, err == nil
}

// SetAttr sets an attribute.
func (s *Session) SetAttr(scope Scope, key, value string) error {
	return check(guest.AttrSet(scope, key, value))
}

// DeleteAttr deletes an attribute.
func (s *Session) DeleteAttr(scope Scope, key string) error { return check(guest.AttrDel(scope, key)) }

// Log levels. The server's configuration says which are wanted.
const (
	Debug = abi.LogDebug
	Info  = abi.LogInfo
	Warn  = abi.LogWarn
	Error = abi.LogError
)

// Log writes a line to the server's log, which adds plugin, session and
// message.
func Log(level int32, text string) { guest.Log(level, text) }

// LogLevel is the lowest level that is wanted: making a text that nobody reads
// can be spared.
func LogLevel() int32 { return guest.LogLevel() }

// Now is the time in milliseconds since 1970.
func Now() int64 { return guest.NowMS() }

// Monotonic is a clock in nanoseconds that is never set, for measuring.
func Monotonic() int64 { return guest.MonoNS() }

// Random fills b with cryptographic random octets.
func Random(b []byte) error { return check(guest.Random(b)) }

// Feature tells whether the server has a feature, one of abi.Feature..., and
// grants it.
func Feature(id int32) bool { return guest.Feature(id) == 1 }
