package mta

import (
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// QueueID is the message's name in the queue and in the log.
func (s *Session) QueueID() string { return text(abi.QueueID) }

// Domain is the domain of the recipients that are routed or delivered.
func (s *Session) Domain() string { return text(abi.Domain) }

// Attempt is the number of this attempt, 1 for the first.
func (s *Session) Attempt() int { return number(abi.Attempt) }

// Queued is when the message was accepted, in milliseconds since 1970.
func (s *Session) Queued() int64 { return number64(abi.FirstQueued) }

// LastReply is what the remote server said last, at result in this attempt; code
// 0: nothing.
func (s *Session) LastReply() (code int, line string) {
	return number(abi.LastCode), text(abi.LastText)
}

// LastMX is the host that said it.
func (s *Session) LastMX() string { return text(abi.LastMX) }

// NextHop is where the recipients go, as the configuration writes it. Hooks
// attempt and result; at route what was set.
func (s *Session) NextHop() string { return text(abi.Transport) }

// SetNextHop says where the recipients go: "smtp:HOST:PORT",
// "lmtp:HOST:PORT", "lmtp:unix:PATH", "maildir:PATH", "mx", "mx:DOMAIN" or
// "discard". Hook route, with the verdict Accept, which ends the asking; and
// hook result, for the attempts that follow.
func (s *Session) SetNextHop(hop string) error { return setText(abi.Transport, hop) }

// TLS policies of a next hop.
const (
	TLSOpportunistic = 0 // use STARTTLS if it is offered
	TLSNone          = 1 // never
	TLSEncrypt       = 2 // require TLS, with any certificate
	TLSVerify        = 3 // require TLS and a valid certificate
)

// SetTLSPolicy says how much TLS the next hop must do. Hooks route, attempt.
func (s *Session) SetTLSPolicy(policy int) error { return setNumber(abi.TLSPolicy, int64(policy)) }

// SetSourceIP sets the local address to connect from. Hooks route, attempt.
func (s *Session) SetSourceIP(ip string) error { return setText(abi.SourceIP, ip) }

// SetEHLOName sets the name to give in EHLO. Hooks route, attempt.
func (s *Session) SetEHLOName(name string) error { return setText(abi.EhloName, name) }

// Priority is the message's place among others: higher first, 0 normal.
func (s *Session) Priority() int64 { return guest.GetNum(abi.Priority) }

// SetPriority sets it. Hooks route, attempt, result.
func (s *Session) SetPriority(p int64) error { return setNumber(abi.Priority, p) }

// SetRetry sets when to try again, in milliseconds since 1970. Hook result.
func (s *Session) SetRetry(at int64) error { return setNumber(abi.NextRetry, at) }

// SetExpire sets when to give up, in milliseconds since 1970. Hooks route,
// attempt, result.
func (s *Session) SetExpire(at int64) error { return setNumber(abi.Expire, at) }

// SuspendNextHop keeps all messages from the next hop of this attempt until a
// time in milliseconds since 1970, at most a day ahead. Hook result.
func (s *Session) SuspendNextHop(until int64) error { return setNumber(abi.SuspendUntil, until) }

// NotificationAction is what the notification tells: "failed", "delayed" or
// "delivered". Hook dsn; the recipients that it is about are Recipients.
func (s *Session) NotificationAction() string { return text(abi.DSNAction) }

// NotificationTo is whom the notification is for: the reverse-path. Hook dsn.
func (s *Session) NotificationTo() string { return text(abi.DSNTo) }

// SetNotificationTo sends it to somebody else. Hook dsn.
func (s *Session) SetNotificationTo(path string) error { return setText(abi.DSNTo, path) }

// SetNotificationText puts a text for people in the place of the usual one. Its
// lines are paragraphs; what happened to each recipient follows. Hook dsn.
func (s *Session) SetNotificationText(text string) error { return setText(abi.DSNText, text) }
