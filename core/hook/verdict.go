package hook

import (
	"fmt"

	"github.com/wasmta/wasmta/core/mail"
)

// Action is what a verdict asks for. The numbers are those of the ABI.
type Action uint8

const (
	Continue Action = iota // no opinion: the next plugin, finally the server's default
	Accept                 // stop asking at this stage; at Rcpt: take the recipient
	Reject                 // 5yz; after acceptance: bounce
	Defer                  // 4yz; after acceptance: try again later
	Discard                // take it and forget it
	Hold                   // take it and keep it for an operator
	Drop                   // reply 421 or 554, or nothing, and close the connection

	numActions
)

// String is the action's name.
func (a Action) String() string {
	if a < numActions {
		return [...]string{"continue", "accept", "reject", "defer", "discard", "hold", "drop"}[a]
	}
	return fmt.Sprintf("action %d", uint8(a))
}

// Verdict answers an event.
type Verdict struct {
	Action            Action
	Reply             *mail.Reply // nil: the default of the action
	DetachTransaction bool        // do not ask this plugin again in this transaction
	DetachSession     bool        // nor in this session
	NoReply           bool        // with Drop: close without a reply
}

// Check tells what is wrong with v as an answer at stage s, if anything. A
// chain takes what is wrong for a failure of the plugin.
func (v Verdict) Check(s Stage) error { return v.check(s) }

// check tells what is wrong with v at stage s, if anything.
func (v Verdict) check(s Stage) error {
	if s.Ignored() {
		return nil
	}
	if !s.Allows(v.Action) {
		return fmt.Errorf("verdict %s is not allowed at %s", v.Action, s)
	}
	if v.NoReply && v.Action != Drop {
		return fmt.Errorf("verdict %s cannot go without a reply: only drop can", v.Action)
	}
	if v.Reply == nil {
		return nil
	}
	code := v.Reply.Code
	ok := true
	switch v.Action {
	case Reject:
		ok = code >= 500 && code <= 599 && code != 521
	case Defer:
		ok = code >= 400 && code <= 499
	case Drop:
		ok = code == 421 || code == 554
	case Accept:
		ok = code >= 200 && code <= 299
	}
	if e := v.Reply.Enhanced; ok && e != (mail.Enhanced{}) && v.Action != Continue {
		ok = int(e[0]) == code/100
	}
	if !ok {
		return fmt.Errorf("verdict %s cannot have the reply %q: the class does not fit", v.Action, v.Reply.String())
	}
	return nil
}

// Outcome is the answer of a chain.
type Outcome struct {
	Verdict
	Plugin     string        // who gave the verdict; empty: nobody had an opinion
	Generation string        // of that plugin
	Failed     bool          // the verdict stands for a plugin that failed
	OnError    FailurePolicy // of that plugin, if Failed
}

// ReplyAt is the reply that the outcome gives an SMTP client at stage s: the
// plugin's, or the default of its action. It is nil for Continue and Accept
// without a reply.
func (o Outcome) ReplyAt(s Stage) *mail.Reply {
	if o.Reply != nil {
		r := o.Reply.Clean()
		return &r
	}
	switch o.Action {
	case Reject:
		if s == Connect {
			return mail.NewReply(554, "5.7.1", "Rejected by policy")
		}
		if s == Auth {
			return mail.NewReply(535, "5.7.8", "Authentication credentials are invalid")
		}
		return mail.ReplyRejected()
	case Defer:
		if s == Connect {
			return mail.NewReply(421, "4.7.1", "Deferred by policy, try again later")
		}
		if s == Auth {
			return mail.NewReply(454, "4.7.0", "Temporary authentication failure")
		}
		if o.Failed {
			return mail.ReplyPolicyUnavailable()
		}
		return mail.ReplyDeferred()
	case Drop:
		return mail.ReplyDropped()
	case Hold:
		return mail.NewReply(250, "2.6.0", "Message accepted")
	}
	return nil
}
