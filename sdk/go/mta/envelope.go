package mta

import (
	"iter"
	"strconv"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// TransactionID is the transaction's name in the log.
func (s *Session) TransactionID() string { return text(abi.TxID) }

// ReversePath is what MAIL FROM carries, without brackets; empty: the null
// reverse-path.
func (s *Session) ReversePath() string { return text(abi.MailFrom) }

// SetReversePath replaces it. Hooks mail to message.
func (s *Session) SetReversePath(path string) error { return setText(abi.MailFrom, path) }

// DeclaredSize is the SIZE parameter of MAIL in octets; 0: not given.
func (s *Session) DeclaredSize() int64 { return number64(abi.MailSize) }

// BodyType is the BODY parameter of MAIL: 0 not given, 1 7BIT, 2 8BITMIME, 3
// BINARYMIME.
func (s *Session) BodyType() int { return number(abi.MailBody) }

// SMTPUTF8 tells whether MAIL has this parameter.
func (s *Session) SMTPUTF8() bool { return flag(abi.SMTPUTF8) }

// RequireTLS tells whether MAIL has this parameter.
func (s *Session) RequireTLS() bool { return flag(abi.RequireTLS) }

// EnvelopeID is the ENVID parameter of MAIL.
func (s *Session) EnvelopeID() string { return text(abi.DSNEnvid) }

// HoldUntil is the time before which the message is not to be delivered
// (FUTURERELEASE), in milliseconds since 1970; 0: at once.
func (s *Session) HoldUntil() int64 { return instant(guest.GetNum(abi.HoldUntil)) }

// DeliverBy is the deadline that the client gave with BY, in milliseconds since
// 1970; 0: none. returned tells that the message goes back when it is late; else
// its sender is told.
func (s *Session) DeliverBy() (deadline int64, returned bool) {
	return instant(guest.GetNum(abi.DeliverBy)), guest.GetNum(abi.DeliverByMode) == 2
}

// MTPriority is the MT-PRIORITY parameter of MAIL, -9 to 9; 0: normal, or not
// given.
func (s *Session) MTPriority() int {
	n, _ := strconv.Atoi(text(abi.MTPriority))
	return n
}

// instant is a number that may be an error. Package time would make every plugin
// larger.
func instant(ms int64) int64 { return max(ms, 0) }

// SizeLimit is the largest content that is taken, in octets.
func (s *Session) SizeLimit() int64 { return number64(abi.SizeLimit) }

// SetSizeLimit lowers it. Hook data.
func (s *Session) SetSizeLimit(octets int64) error { return setNumber(abi.SizeLimit, octets) }

// Recipient is the recipient that is asked about. Hook rcpt.
func (s *Session) Recipient() Recipient { return Recipient{int32(guest.GetNum(abi.CurRcpt))} }

// RecipientCount is the number of recipients.
func (s *Session) RecipientCount() int { return int(max(guest.ListLen(abi.ListRcpt), 0)) }

// Recipients are the recipients in their order. Do not remove any while you
// range; see RemoveRecipients.
func (s *Session) Recipients() iter.Seq[Recipient] {
	return func(yield func(Recipient) bool) {
		for i := int32(0); i < guest.ListLen(abi.ListRcpt); i++ {
			if !yield(Recipient{i}) {
				return
			}
		}
	}
}

// AddRecipient adds a recipient behind the others. Hooks rcpt to message.
func (s *Session) AddRecipient(path string) error {
	return check(guest.ListInsert(abi.ListRcpt, -1, path))
}

// RemoveRecipients removes those that unwanted says. Hook message, and at rcpt
// any but the current one. It ends at the first error.
func (s *Session) RemoveRecipients(unwanted func(Recipient) bool) error {
	for i := guest.ListLen(abi.ListRcpt) - 1; i >= 0; i-- {
		if unwanted(Recipient{i}) {
			if err := (Recipient{i}).Remove(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Recipient is one recipient of the message, by its place in the list. Adding
// and removing others may change the place.
type Recipient struct{ index int32 }

// ForwardPath is the address, without brackets.
func (r Recipient) ForwardPath() string { return r.text(abi.RcptAddr) }

// Local is the local part, unquoted.
func (r Recipient) Local() string { return r.text(abi.RcptLocal) }

// Domain is the domain in lower case and A-labels.
func (r Recipient) Domain() string { return r.text(abi.RcptDomain) }

// Original is the forward-path before it was rewritten; empty: it was not.
func (r Recipient) Original() string { return r.text(abi.RcptOriginal) }

// Orcpt is the ORCPT parameter of RCPT.
func (r Recipient) Orcpt() string { return r.text(abi.RcptOrcpt) }

// Notify is the NOTIFY parameter of RCPT: a sum of 1 NEVER, 2 SUCCESS, 4
// FAILURE, 8 DELAY; 0: not given.
func (r Recipient) Notify() int { return r.number(abi.RcptNotify) }

// ValidSince is the time since which the mailbox must have had its owner (RRVS),
// in milliseconds since 1970; 0: that is not asked. If it has changed hands
// since, refuse it with 550 5.7.17.
func (r Recipient) ValidSince() int64 {
	return instant(guest.ListNum(abi.ListRcpt, r.index, abi.RcptValidSince))
}

// Status is 0 deferred, 1 delivered, 2 failed. Hook result.
func (r Recipient) Status() int { return r.number(abi.RcptStatus) }

// SetForwardPath replaces the address. Hooks rcpt (the current one) to message.
func (r Recipient) SetForwardPath(path string) error {
	return check(guest.ListSet(abi.ListRcpt, r.index, abi.RcptAddr, path))
}

// Remove takes the recipient out; see [Session.RemoveRecipients].
func (r Recipient) Remove() error { return check(guest.ListRemove(abi.ListRcpt, r.index)) }

func (r Recipient) text(f abi.ListField) string {
	t, _ := read(func(b []byte) int32 { return guest.ListGet(abi.ListRcpt, r.index, f, b) })
	return t
}

func (r Recipient) number(f abi.ListField) int {
	return int(max(guest.ListNum(abi.ListRcpt, r.index, f), 0))
}
