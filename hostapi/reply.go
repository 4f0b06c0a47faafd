package hostapi

import (
	"fmt"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// maxReplyText is the longest text that reply takes; it is then cut to
// mail.MaxReplyLines lines of mail.MaxReplyLine octets.
const maxReplyText = 8 << 10

// reply(code, enh, ptr, len): the reply that goes with the verdict of this
// call. code 0 leaves the code of the verdict, enh 0 derives the enhanced one.
func reply(c *Call, m Memory, p []uint64) int64 {
	text := in(m, p[2], p[3])
	if c.event == nil || c.event.Stage.Ignored() {
		return int64(abi.State)
	}
	code, enh := int32(p[0]), int32(p[1])
	if len(text) > maxReplyText {
		return int64(abi.TooLarge)
	}
	if code != 0 && (code < 200 || code > 599 || code/100 == 3) {
		return int64(abi.Invalid)
	}
	r := mail.Reply{Code: int(code), Text: string(c.WithoutPassword(text))} // it is logged, too
	if enh != 0 {
		class, subject, detail := abi.SplitEnhanced(enh)
		if class != 2 && class != 4 && class != 5 || code != 0 && class != int(code)/100 || subject > 999 || detail > 999 {
			return int64(abi.Invalid)
		}
		r.Enhanced = mail.Enhanced{uint16(class), uint16(subject), uint16(detail)}
	}
	r = r.Clean()
	c.meter.Charge(int64(len(text)))
	c.reply = &r
	return 0
}

// Verdict decodes what the hook returned. An error is a fault of the plugin.
func (c *Call) Verdict(v int32) (hook.Verdict, error) {
	action, flags, code := abi.SplitVerdict(v)
	bad := func(format string, args ...any) (hook.Verdict, error) {
		return hook.Verdict{}, fmt.Errorf("verdict %#x: %s", uint32(v), fmt.Sprintf(format, args...))
	}
	if c.event == nil || c.event.Stage.Ignored() {
		return hook.Verdict{}, nil
	}
	if action > abi.Drop {
		return bad("there is no action %d", action)
	}
	if flags&^(abi.DetachTransaction|abi.DetachSession|abi.NoReply) != 0 {
		return bad("there is no flag %#x", flags)
	}
	a := hook.Action(action)
	out := hook.Verdict{
		Action:            a,
		DetachTransaction: flags&abi.DetachTransaction != 0,
		DetachSession:     flags&abi.DetachSession != 0,
		NoReply:           flags&abi.NoReply != 0,
	}
	if out.NoReply && action != abi.Drop {
		return bad("NO_REPLY goes with DROP only, not with %s", a)
	}
	if !c.event.Stage.Allows(a) {
		return bad("%s is not allowed at %s", a, c.event.Stage)
	}
	if code != 0 && !codeFits(action, code) {
		return bad("%s cannot have the code %d", a, code)
	}
	if a == hook.Continue || a == hook.Accept {
		if err := c.event.CloseBody(); err != nil {
			return hook.Verdict{}, fmt.Errorf("the body that it wrote: %w", err)
		}
	}
	if action == abi.Continue || code == 0 && c.reply == nil {
		return out, nil
	}
	r := defaultReply(action)
	if code != 0 {
		r.Code = code
	}
	if q := c.reply; q != nil {
		if q.Code != 0 {
			if !replyFits(action, q.Code) {
				return bad("%s cannot have the reply %d", a, q.Code)
			}
			r.Code = q.Code
		}
		r.Text, r.Enhanced = q.Text, q.Enhanced
	}
	if r.Enhanced == (mail.Enhanced{}) {
		r.Enhanced = derive(action, r.Code)
	} else if int(r.Enhanced[0]) != r.Code/100 {
		return bad("the reply %d cannot have the enhanced code %s", r.Code, r.Enhanced)
	}
	out.Reply = &r
	return out, nil
}

// codeFits is the rule for codes in verdicts.
func codeFits(a abi.Action, code int) bool {
	switch a {
	case abi.Reject:
		return code >= 500 && code <= 599 && code != 521
	case abi.Defer:
		return code >= 400 && code <= 499
	case abi.Drop:
		return code == 421 || code == 554
	}
	return false
}

// replyFits is the rule for codes given to reply: also a positive reply may
// have a text.
func replyFits(a abi.Action, code int) bool {
	switch a {
	case abi.Accept, abi.Discard, abi.Hold:
		return code/100 == 2
	}
	return codeFits(a, code)
}

// defaultReply is the reply of an action when only its code or its text was
// given. Its enhanced code is derived.
func defaultReply(a abi.Action) mail.Reply {
	var r mail.Reply
	switch a {
	case abi.Reject:
		r = *mail.ReplyRejected()
	case abi.Defer:
		r = *mail.ReplyDeferred()
	case abi.Drop:
		r = *mail.ReplyDropped()
	default:
		r = mail.Reply{Code: 250, Text: "OK"}
	}
	r.Enhanced = mail.Enhanced{}
	return r
}

// derive makes the enhanced code of a reply that has none (RFC 3463): policy
// refuses, except that DROP with 421 closes the connection.
func derive(a abi.Action, code int) mail.Enhanced {
	switch {
	case a == abi.Hold:
		return mail.Enhanced{2, 6, 0}
	case code/100 == 2:
		return mail.Enhanced{2, 0, 0}
	case a == abi.Drop && code == 421:
		return mail.Enhanced{4, 7, 0}
	}
	return mail.Enhanced{uint16(code / 100), 7, 1}
}
