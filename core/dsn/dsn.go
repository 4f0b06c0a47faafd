package dsn

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// MaxReturn is how much of the content a notification brings back, in octets,
// where a report does not say another figure.
const MaxReturn = 50 << 10

// Action is what a notification reports (RFC 3464 2.3.3). "relayed" is
// reported for a recipient of a Success report whose Result is Relayed.
type Action uint8

const (
	Failed   Action = iota // permanent, or expired
	Delayed                // still being tried
	Success                // delivered, or relayed beyond the reach of DSN
	Expanded               // handed on to several recipients, about whom nothing more is said (RFC 3461 5.2.7.3)
)

// notify is the value of NOTIFY that asks for the action.
func (a Action) notify() mail.Notify {
	return [...]mail.Notify{mail.NotifyFailure, mail.NotifyDelay, mail.NotifySuccess, mail.NotifySuccess}[a]
}

// String is the action's name in the log.
func (a Action) String() string { return [...]string{"failed", "delayed", "delivered", "expanded"}[a] }

// Report is what there is to tell about a message.
type Report struct {
	Action     Action
	Hostname   string // the reporting MTA
	ID         mail.ID
	Now        time.Time
	Arrived    time.Time
	Envelope   mail.Envelope // of the message; Recipients is not used
	Recipients []Recipient
	Header     []byte // header block of the message
	Body       []byte // its body, if Size allows to return it; else nil
	Size       int64  // of its content, in octets

	To   mail.Path // whom it is for, if not the reverse-path
	Text string    // for people, in the place of the usual one; its lines are paragraphs

	Template  *Template // wording, where Text is empty; nil: the built-in one
	MaxReturn int64     // of the content, in octets; 0: [MaxReturn]
}

// Recipient is one recipient and its result.
type Recipient struct {
	mail.Recipient
	Result     mail.Result
	Attempted  time.Time // last attempt; zero: none was made
	RetryUntil time.Time // Delayed: when it expires
}

// WantsBody tells whether Compose would return the body of a message with this
// envelope and size, in octets, so that the caller need not read it in vain.
// limit is the report's MaxReturn. Of a message with REQUIRETLS the header
// section is enough (RFC 8689 5).
func WantsBody(env mail.Envelope, size, limit int64) bool {
	return env.Return == mail.ReturnFull && !env.RequireTLS && env.Body != mail.BodyBinaryMIME && size <= cmp.Or(limit, MaxReturn)
}

// Wanted returns the recipients that asked for a notification of this action.
// Whoever gave BY in mode N asked for that of a delay too (RFC 2852 4.1.5), and
// with BY for that of the message going on to where it does not count (4.1.4).
func Wanted(a Action, env mail.Envelope, recipients []Recipient) []Recipient {
	if env.ReversePath.IsNull() {
		return nil
	}
	late := a == Delayed && !env.By.Time.IsZero() && !env.By.Return
	var wanted []Recipient
	for _, r := range recipients {
		beyond := a == Success && r.Result.Relayed && !env.By.Time.IsZero()
		if (r.Notify.Wants(a.notify()) || late || beyond) && r.Notify&mail.NotifyNever == 0 {
			wanted = append(wanted, r)
		}
	}
	return wanted
}

// Compose makes the notification. ok is false if none may be sent: the
// reverse-path is null, or no recipient wants one.
func Compose(r Report) (env mail.Envelope, header, body []byte, ok bool) {
	r.Recipients = Wanted(r.Action, r.Envelope, r.Recipients)
	if len(r.Recipients) == 0 {
		return mail.Envelope{}, nil, nil, false
	}
	if r.To.IsNull() {
		r.To = r.Envelope.ReversePath
	}
	c := composer{Report: r}
	c.global = c.needsGlobal()
	parts := []part{c.text(), c.status(), c.content()}
	eight := false
	for i := range parts {
		parts[i].eight = has8Bit(parts[i].body)
		eight = eight || parts[i].eight
	}
	boundary := boundaryFor(parts)

	var b bytes.Buffer
	b.WriteString("This is a MIME-encapsulated message.\r\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "\r\n--%s\r\nContent-Description: %s\r\nContent-Type: %s\r\n", boundary, p.description, p.kind)
		if p.eight {
			b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
		}
		b.WriteString("\r\n")
		b.Write(p.body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)

	env = mail.Envelope{Recipients: []mail.Recipient{{
		ForwardPath: r.To,
		RcptParams:  mail.RcptParams{Notify: mail.NotifyNever},
	}}}
	env.RequireTLS = r.Envelope.RequireTLS
	env.SMTPUTF8 = c.global || r.To.NeedsUTF8()
	if eight {
		env.Body = mail.Body8BitMIME
	}
	return env, c.header(boundary, eight), b.Bytes(), true
}

type composer struct {
	Report
	global bool // RFC 6533 types
}

type part struct {
	description, kind string
	body              []byte // ends with CRLF unless empty
	eight             bool
}

func (c *composer) needsGlobal() bool {
	if !c.Envelope.SMTPUTF8 {
		return false
	}
	need := c.Envelope.ReversePath.NeedsUTF8() || c.To.NeedsUTF8() || has8Bit(c.Header)
	for _, r := range c.Recipients {
		need = need || r.ForwardPath.NeedsUTF8() || r.Original.NeedsUTF8() || has8Bit([]byte(r.Orcpt))
	}
	return need
}

func (c *composer) header(boundary string, eight bool) []byte {
	var b bytes.Buffer
	field := func(name, value string) { writeField(&b, name, value) }
	field("Date", c.Now.Format(time.RFC1123Z))
	field("From", c.from()+" <MAILER-DAEMON@"+c.Hostname+">")
	writeWhole(&b, "To", "<"+c.To.String()+">")
	field("Subject", c.subject())
	field("Message-ID", "<"+c.ID.String()+"."+strconv.FormatInt(c.Now.UnixNano(), 36)+"."+c.Action.String()+"@"+c.Hostname+">")
	if id := c.messageID(); id != "" {
		field("In-Reply-To", id)
		field("References", id)
	}
	field("Auto-Submitted", "auto-replied")
	field("MIME-Version", "1.0")
	kind := "delivery-status"
	if c.global {
		kind = "global-delivery-status" // RFC 6533 6
	}
	b.WriteString("Content-Type: multipart/report; report-type=" + kind + ";\r\n\tboundary=\"" + boundary + "\"\r\n")
	if eight {
		field("Content-Transfer-Encoding", "8bit")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// messageID is that of the message, if it is one that can be copied without a
// thought.
func (c *composer) messageID() string {
	h, err := mail.ParseHeader(c.Header)
	if err != nil {
		return ""
	}
	id := h.Get("Message-ID")
	if len(id) < 5 || len(id) > 250 || id[0] != '<' || id[len(id)-1] != '>' || strings.Count(id, "@") != 1 {
		return ""
	}
	for i := 1; i < len(id)-1; i++ {
		if ch := id[i]; ch <= ' ' || ch >= 0x7f || strings.IndexByte(`<>"()\,;:`, ch) >= 0 {
			return ""
		}
	}
	return id
}

// text is the part for people.
func (c *composer) text() part {
	var b bytes.Buffer
	para := func(s string) { b.Write(wrap("", s)); b.WriteString("\r\n") }
	hello := func() { para("This is the mail system at host " + c.Hostname + ".") }
	switch {
	case c.Text != "":
		hello()
		for line := range strings.SplitSeq(strings.TrimSuffix(c.Text, "\n"), "\n") {
			para(mail.Printable(strings.ToValidUTF8(line, "?")))
		}
	case c.worded(&b):
		b.WriteString("\r\n")
	case c.Action == Failed:
		hello()
		para("I'm sorry to have to inform you that your message could not be delivered to one or more recipients. Its content, or its header section, is attached below.")
		para("For further assistance, please send mail to postmaster. If you do so, please include this report.")
	case c.Action == Delayed:
		hello()
		para("THIS IS A WARNING ONLY. YOU DO NOT NEED TO RESEND YOUR MESSAGE.")
		para("Your message could not be delivered yet. It will be retried until " + c.Recipients[0].RetryUntil.Format(time.RFC1123Z) + ".")
	case c.Action == Expanded:
		hello()
		para("Your message was passed on to several recipients in the place of those listed below. You will get no notifications of success from them.")
	case c.Action == Success:
		hello()
		para("Your message was successfully delivered to the destination(s) listed below. If a recipient was relayed, you may not get further notifications.")
	}
	for _, r := range c.Recipients {
		to := "<" + r.ForwardPath.String() + ">"
		if !r.Original.IsNull() {
			to += " (originally to <" + r.Original.String() + ">)"
		}
		said := c.said(r)
		switch {
		case c.Action == Expanded:
			to += ": passed on to several recipients"
		case c.Action == Success && r.Result.Relayed:
			to += ": relayed to " + host(r.Result) + ", which sends no notifications: " + said
		case c.Action == Success:
			to += ": delivered: " + said
		case r.Result.Outcome == mail.Expired && r.Result.RemoteMTA != "":
			to += ": not delivered within the lifetime of the message; host " + host(r.Result) + " said last: " + said
		case r.Result.Outcome == mail.Expired:
			to += ": not delivered within the lifetime of the message: " + said
		case r.Result.RemoteMTA != "":
			to += ": host " + host(r.Result) + " said: " + said
		default:
			to += ": " + said
		}
		b.Write(wrap("    ", to))
		b.WriteString("\r\n")
	}
	charset := "us-ascii"
	if has8Bit(b.Bytes()) {
		charset = "utf-8"
	}
	return part{description: "Notification", kind: "text/plain; charset=" + charset, body: b.Bytes()}
}

// said is the reply. Its share shrinks with the number of recipients, so that a
// notification about ten thousand is still one that mail servers take.
func (c *composer) said(r Recipient) string {
	s := clean(r.Result.Reply.String())
	if most := max(maxAllSaid/len(c.Recipients), 80); len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

func host(r mail.Result) string {
	if r.RemoteMTA == "" {
		return "the next hop"
	}
	return clean(r.RemoteMTA)
}

// status is the part for programs (RFC 3464 2).
func (c *composer) status() part {
	var b bytes.Buffer
	text := func(s string) string {
		if !c.global {
			return ascii(s)
		}
		return s
	}
	field := func(name, value string) { writeField(&b, name, text(value)) }
	whole := func(name, value string) { writeWhole(&b, name, text(value)) }
	field("Reporting-MTA", "dns; "+c.Hostname)
	if c.Envelope.EnvID != "" {
		whole("Original-Envelope-Id", mail.Printable(c.Envelope.EnvID))
	}
	field("X-Wasmta-Queue-ID", c.ID.String())
	if !c.Arrived.IsZero() {
		field("Arrival-Date", c.Arrived.Format(time.RFC1123Z))
	}
	for _, r := range c.Recipients {
		b.WriteString("\r\n")
		switch {
		case r.Orcpt != "":
			whole("Original-Recipient", c.typed(mail.Printable(r.OrcptType), mail.Printable(r.Orcpt)))
		case !r.Original.IsNull():
			whole("Original-Recipient", c.address(r.Original))
		}
		whole("Final-Recipient", c.address(r.ForwardPath))
		field("Action", c.action(r))
		field("Status", c.code(r))
		if r.Result.RemoteMTA != "" {
			field("Remote-MTA", "dns; "+clean(r.Result.RemoteMTA))
		}
		if said := c.said(r); r.Result.Reply.Code != 0 {
			kind := "smtp; "
			if r.Result.RemoteMTA == "" {
				kind = "X-Wasmta; " // our words, not those of an SMTP server
			}
			field("Diagnostic-Code", kind+said)
		}
		if !r.Attempted.IsZero() {
			field("Last-Attempt-Date", r.Attempted.Format(time.RFC1123Z))
		}
		if c.Action == Delayed && !r.RetryUntil.IsZero() {
			field("Will-Retry-Until", r.RetryUntil.Format(time.RFC1123Z))
		}
	}
	kind := "message/delivery-status"
	if c.global {
		kind = "message/global-delivery-status"
	}
	return part{description: "Delivery report", kind: kind, body: b.Bytes()}
}

func (c *composer) action(r Recipient) string {
	if c.Action == Success && r.Result.Relayed {
		return "relayed"
	}
	return c.Action.String()
}

// code is the status, whose class must fit the action.
func (c *composer) code(r Recipient) string {
	e := r.Result.Reply.Status()
	by := c.Envelope.By
	switch {
	case r.Result.Outcome == mail.Expired && by.Return && !by.Time.IsZero():
		e = mail.Enhanced{5, 4, 7} // RFC 2852 4.1.5: it is the deadline that failed it
	case r.Result.Outcome == mail.Expired:
		e = mail.Enhanced{4, 4, 7}
	case c.Action == Delayed && !by.Time.IsZero() && !c.Now.Before(by.Time):
		e = mail.Enhanced{4, 4, 7}
	case c.Action == Failed && e[0] != 5:
		e = mail.Enhanced{5, 0, 0}
	case c.Action == Delayed && e[0] != 4:
		e = mail.Enhanced{4, 0, 0}
	case c.Action >= Success && e[0] != 2:
		e = mail.Enhanced{2, 0, 0}
	}
	return e.String()
}

// address is a path with its address type (RFC 3464 2.3.2, RFC 6533 3).
func (c *composer) address(p mail.Path) string {
	if p.NeedsUTF8() {
		return c.typed("utf-8", p.String())
	}
	return c.typed("rfc822", p.String())
}

func (c *composer) typed(kind, address string) string {
	if strings.EqualFold(kind, "utf-8") && !c.global {
		address = utf8Xtext(address)
	}
	return kind + "; " + address
}

// utf8Xtext is utf-8-addr-xtext (RFC 6533 3).
func utf8Xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r >= 0x7f || r == '\\' || r == '+' || r == '=' {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// content is what is returned of the message.
func (c *composer) content() part {
	eight := c.global
	if WantsBody(c.Envelope, c.Size, c.MaxReturn) && c.Body != nil && int64(len(c.Header)+len(c.Body)) <= cmp.Or(c.MaxReturn, MaxReturn) && isText(c.Header) && isText(c.Body) {
		full := slices.Clone(c.Header)
		if !endsHeader(full) {
			full = append(full, '\r', '\n')
		}
		full = append(full, c.Body...)
		if !bytes.HasSuffix(full, []byte("\r\n")) {
			full = append(full, '\r', '\n')
		}
		kind := "message/rfc822"
		if eight {
			kind = "message/global"
		}
		return part{description: "Undelivered Message", kind: kind, body: full}
	}
	kind := "text/rfc822-headers"
	switch {
	case eight:
		kind = "message/global-headers"
	case has8Bit(c.Header):
		kind += "; charset=unknown-8bit"
	}
	return part{description: "Message Headers", kind: kind, body: c.returnedHeader()}
}

// returnedHeader leaves out fields that cannot stand in a notification and
// stops at MaxReturn, or at the report's figure if that is less.
func (c *composer) returnedHeader() []byte {
	h, err := mail.ParseHeader(c.Header)
	if err != nil {
		return nil
	}
	limit := MaxReturn
	if c.MaxReturn > 0 {
		limit = int(min(c.MaxReturn, MaxReturn))
	}
	var b []byte
	for i := range h.Len() {
		raw := h.Raw(i)
		if !bytes.HasSuffix(raw, []byte("\r\n")) {
			raw = append(slices.Clone(raw), '\r', '\n')
		}
		if !isText(raw) {
			continue
		}
		if len(b)+len(raw) > limit {
			break
		}
		b = append(b, raw...)
	}
	return b
}

// endsHeader tells whether the block has the empty line that ends it, or needs
// one before a body.
func endsHeader(block []byte) bool {
	return bytes.Equal(block, []byte("\r\n")) || bytes.HasSuffix(block, []byte("\r\n\r\n"))
}

// isText tells whether b may be sent as 7bit or 8bit: lines of at most 998
// octets ended by CRLF, no other CR, LF or NUL (RFC 2045 2.7, 2.8).
func isText(b []byte) bool {
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return false
			}
			line = line[:len(line)-1]
		} else {
			b = nil
		}
		if len(line) > 998 || bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
			return false
		}
	}
	return true
}

func has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// boundaryFor makes a boundary that occurs in no part. It depends on the parts
// only, and nobody can make a part that holds its own hash.
func boundaryFor(parts []part) string {
	for n := byte(0); ; n++ {
		h := sha256.New()
		h.Write([]byte{n})
		for _, p := range parts {
			h.Write(p.body)
		}
		boundary := "=_" + hex.EncodeToString(h.Sum(nil)[:16])
		if !slices.ContainsFunc(parts, func(p part) bool { return bytes.Contains(p.body, []byte(boundary)) }) {
			return boundary
		}
	}
}
