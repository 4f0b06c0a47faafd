package hostapi

import (
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// numOfTx makes a getter of a number of the transaction.
func numOfTx(f func(*hook.Transaction) int64) func(*Call) int64 {
	return func(c *Call) int64 {
		if c.event.Tx == nil {
			return int64(abi.State)
		}
		return f(c.event.Tx)
	}
}

func ofTx(f func(tx *hook.Transaction, b []byte) ([]byte, abi.Code)) func(*Call, []byte) ([]byte, abi.Code) {
	return func(c *Call, b []byte) ([]byte, abi.Code) {
		if c.event.Tx == nil {
			return nil, abi.State
		}
		return f(c.event.Tx, b)
	}
}

func envelopeFields() []field {
	beforeContent := hook.Stages(hook.Mail, hook.Rcpt, hook.Data, hook.Headers, hook.Message)
	return []field{
		{id: abi.TxID, name: "TX_ID", stages: inTx, bytes: ofTx(func(tx *hook.Transaction, b []byte) ([]byte, abi.Code) {
			return text(b, tx.ID)
		})},
		{id: abi.MailFrom, name: "MAIL_FROM", stages: inTx, bytes: ofTx(func(tx *hook.Transaction, b []byte) ([]byte, abi.Code) {
			return appendPath(b, tx.Envelope.ReversePath), abi.OK
		}), setStages: beforeContent, setBytes: setMailFrom},
		{id: abi.MailSize, name: "MAIL_SIZE", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return tx.Envelope.Size })},
		{id: abi.MailBody, name: "MAIL_BODY", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return int64(tx.Envelope.Body) })},
		{id: abi.SMTPUTF8, name: "SMTPUTF8", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return bit(tx.Envelope.SMTPUTF8) })},
		{id: abi.RequireTLS, name: "REQUIRETLS", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return bit(tx.Envelope.RequireTLS) })},
		{id: abi.DSNRet, name: "DSN_RET", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return int64(tx.Envelope.Return) })},
		{id: abi.DSNEnvid, name: "DSN_ENVID", stages: inTx, bytes: ofTx(func(tx *hook.Transaction, b []byte) ([]byte, abi.Code) {
			return text(b, tx.Envelope.EnvID)
		})},
		{id: abi.RcptCount, name: "RCPT_COUNT", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return int64(len(tx.Envelope.Recipients)) })},
		{id: abi.CurRcpt, name: "CUR_RCPT", stages: hook.Stages(hook.Rcpt), num: func(c *Call) int64 {
			if c.event.Recipient < 0 {
				return int64(abi.State)
			}
			return int64(c.event.Recipient)
		}},
		{id: abi.HoldUntil, name: "HOLD_UNTIL", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return instant(tx.Envelope.HoldUntil) })},
		{id: abi.DeliverBy, name: "DELIVER_BY", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 { return instant(tx.Envelope.By.Time) })},
		{id: abi.DeliverByMode, name: "DELIVER_BY_MODE", stages: inTx, num: numOfTx(func(tx *hook.Transaction) int64 {
			if tx.Envelope.By.Time.IsZero() {
				return int64(abi.NotFound)
			}
			return 1 + bit(tx.Envelope.By.Return)
		})},
		{id: abi.MTPriority, name: "MT_PRIORITY", stages: inTx, bytes: ofTx(func(tx *hook.Transaction, b []byte) ([]byte, abi.Code) {
			return strconv.AppendInt(b, int64(tx.Envelope.Priority), 10), abi.OK
		})},
		{id: abi.SizeLimit, name: "SIZE_LIMIT", stages: beforeContent, num: numOfTx(func(tx *hook.Transaction) int64 { return max(tx.SizeLimit, 0) }),
			setStages: hook.Stages(hook.Data), setNum: func(c *Call, v int64) error {
				if v < 0 {
					return abi.Invalid
				}
				return c.event.SetSizeLimit(v)
			}},
	}
}

// instant is a time in ms since 1970, or that there is none.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return int64(abi.NotFound)
	}
	return max(t.UnixMilli(), 0)
}

func appendPath(b []byte, p mail.Path) []byte {
	b = append(b, p.Local...)
	if p.Domain != "" {
		b = append(append(b, '@'), p.Domain...)
	}
	return b
}

// setMailFrom takes a mailbox, or nothing for the null reverse-path.
func setMailFrom(c *Call, v []byte) error {
	p, err := c.mailbox(v, true)
	if err != nil {
		return err
	}
	return c.event.SetReversePath(p)
}

// mailbox validates a path from the guest. 8-bit text needs a transaction with
// SMTPUTF8 (RFC 6531 3.2).
func (c *Call) mailbox(v []byte, null bool) (mail.Path, error) {
	if c.event.Tx == nil {
		return mail.Path{}, abi.State
	}
	if len(v) > mail.MaxPathLength {
		return mail.Path{}, abi.TooLarge
	}
	if len(v) == 0 && null {
		return mail.Path{}, nil
	}
	p, err := mail.ParseMailbox(string(v))
	if err != nil || p.NeedsUTF8() && !c.event.Tx.Envelope.SMTPUTF8 {
		return mail.Path{}, abi.Invalid
	}
	return p, nil
}

// The list RCPT.

var rcptList = list{
	stages:   inTx,
	texts:    []abi.ListField{abi.RcptAddr, abi.RcptOrcpt, abi.RcptLocal, abi.RcptDomain, abi.RcptOriginal},
	numbers:  []abi.ListField{abi.RcptNotify, abi.RcptStatus, abi.RcptValidSince},
	settable: []abi.ListField{abi.RcptAddr},
	len: func(c *Call) int {
		if c.event.Tx == nil {
			return int(abi.State)
		}
		return len(c.event.Tx.Envelope.Recipients)
	},
	bytes: func(c *Call, i int, f abi.ListField, b []byte) ([]byte, abi.Code) {
		r := &c.event.Tx.Envelope.Recipients[i]
		switch f {
		case abi.RcptAddr:
			return appendPath(b, r.ForwardPath), abi.OK
		case abi.RcptOrcpt:
			if r.OrcptType == "" {
				return nil, abi.NotFound
			}
			return append(append(append(b, r.OrcptType...), ';'), r.Orcpt...), abi.OK
		case abi.RcptLocal:
			return append(b, r.ForwardPath.Unquoted()...), abi.OK
		case abi.RcptDomain:
			return append(b, r.ForwardPath.DomainKey()...), abi.OK
		case abi.RcptOriginal:
			if r.Original.IsNull() {
				return nil, abi.NotFound
			}
			return appendPath(b, r.Original), abi.OK
		}
		return nil, abi.Unsupported
	},
	num: func(c *Call, i int, f abi.ListField) int64 {
		switch f {
		case abi.RcptNotify:
			return int64(c.event.Tx.Envelope.Recipients[i].Notify)
		case abi.RcptValidSince:
			return instant(c.event.Tx.Envelope.Recipients[i].ValidSince)
		case abi.RcptStatus:
			d := c.event.Delivery
			if c.event.Stage != hook.Result && c.event.Stage != hook.DSN || d == nil || i >= len(d.Results) {
				return int64(abi.State)
			}
			return int64(d.Results[i].Outcome)
		}
		return int64(abi.Unsupported)
	},
	find: func(c *Call, from int, key []byte) int {
		list := c.event.Tx.Envelope.Recipients
		for i := from; i < len(list); i++ {
			c.meter.Charge(costField)
			p := &list[i].ForwardPath
			if n := len(p.Local); n <= len(key) && strings.EqualFold(p.Local, string(key[:n])) {
				rest := key[n:]
				if len(rest) == 0 && p.Domain == "" || len(rest) > 0 && rest[0] == '@' && strings.EqualFold(p.Domain, string(rest[1:])) {
					return i
				}
			}
		}
		return -1
	},
	grant: func(g *Grant) Access { return max(g.Envelope, Read) },
	count: func(c *Call, _ int) abi.Code {
		if c.rcptEdits >= abi.MaxRcptEdits {
			return abi.Limit
		}
		c.rcptEdits++
		c.meter.Charge(int64(len(c.event.Tx.Envelope.Recipients)) * costClone)
		return abi.OK
	},
	set: func(c *Call, i int, v []byte) error {
		p, err := c.mailbox(v, false)
		if err != nil {
			return err
		}
		return c.event.SetForwardPath(i, p)
	},
	insert: func(c *Call, i int, v []byte) error {
		if i != len(c.event.Tx.Envelope.Recipients) {
			return abi.Invalid // the order of RCPT is the client's
		}
		p, err := c.mailbox(v, false)
		if err != nil {
			return err
		}
		return c.event.AddRecipient(p)
	},
	remove: func(c *Call, i int) error { return c.event.RemoveRecipient(i) },
}
