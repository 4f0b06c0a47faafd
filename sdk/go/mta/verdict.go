package mta

import "github.com/wasmta/wasmta/hostapi/abi"

// Verdict is a handler's answer. Without a reply of its own it gets the
// server's for this verdict.
type Verdict int32

const (
	Continue = Verdict(abi.Continue) // no opinion: ask the next plugin, finally the server's default
	Accept   = Verdict(abi.Accept)   // stop asking at this hook; at rcpt: take the recipient
	Reject   = Verdict(abi.Reject)   // permanently; after acceptance: bounce
	Defer    = Verdict(abi.Defer)    // try again later
	Discard  = Verdict(abi.Discard)  // take it and forget it
	Hold     = Verdict(abi.Hold)     // take it and keep it for an operator
	Drop     = Verdict(abi.Drop)     // reply and close the connection
)

// DetachTransaction also ends the asking of this plugin for the transaction.
func (v Verdict) DetachTransaction() Verdict { return v | Verdict(abi.DetachTransaction)<<8 }

// DetachSession also ends the asking of this plugin for the session.
func (v Verdict) DetachSession() Verdict { return v | Verdict(abi.DetachSession)<<8 }

// NoReply makes Drop silent.
func (v Verdict) NoReply() Verdict { return v | Verdict(abi.NoReply)<<8 }

// Reject is the verdict Reject with a reply: a code of 500 to 599, an enhanced
// status code such as "5.7.1" (empty: the server's choice), and text, whose
// lines are separated by LF.
func (s *Session) Reject(code int, enhanced, text string) Verdict {
	return answer(abi.Reject, code, enhanced, text)
}

// Defer is the verdict Defer with a reply: a code of 400 to 499; see Reject.
func (s *Session) Defer(code int, enhanced, text string) Verdict {
	return answer(abi.Defer, code, enhanced, text)
}

// Drop is the verdict Drop with a reply: 421 or 554; see Reject.
func (s *Session) Drop(code int, enhanced, text string) Verdict {
	return answer(abi.Drop, code, enhanced, text)
}

// Accept is the verdict Accept with a reply: a code of 200 to 299, for commands
// that have no reply of the server's; see Reject.
func (s *Session) Accept(code int, enhanced, text string) Verdict {
	return answer(abi.Accept, code, enhanced, text)
}
