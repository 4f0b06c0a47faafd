package smtpd

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// minDeliverBy is the shortest time in which we promise to deliver a message or
// to return it (RFC 2852 4): that of an attempt at a host that is slow.
const minDeliverBy = time.Minute

// extensions are what EHLO offers on this connection; the package comment says
// when, and why.
func (s *session) extensions() []string {
	list := []string{
		"PIPELINING", "SIZE " + strconv.FormatInt(s.opts.MaxSize, 10), "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8",
		"CHUNKING", "DSN", "LIMITS RCPTMAX=" + strconv.Itoa(s.opts.MaxRecipients),
		"DELIVERBY " + strconv.Itoa(int(minDeliverBy/time.Second)), "MT-PRIORITY MIXER",
	}
	if s.opts.BinaryMIME {
		list = append(list, "BINARYMIME")
	}
	if s.mayHold() {
		list = append(list, "FUTURERELEASE "+strconv.Itoa(int(s.opts.MaxHold/time.Second))+" "+
			time.Now().Add(s.opts.MaxHold).UTC().Format(time.RFC3339))
	}
	if s.chain != nil && s.chain.Wants(hook.Rcpt) {
		list = append(list, "RRVS")
	}
	if s.client.TLS != nil {
		list = append(list, "REQUIRETLS")
	}
	if s.opts.TLS != nil && s.client.TLS == nil && !s.spoken.given {
		list = append(list, "STARTTLS")
	}
	if m := s.possible(); len(m) > 0 {
		list = append(list, "AUTH "+strings.Join(m, " "))
	}
	if s.mayXClient {
		list = append(list, "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT")
	}
	return list
}

// mayHold tells whether HOLDFOR and HOLDUNTIL are for this client: they fill the
// queue of whoever offers them. On a submission listener nobody else gets to
// MAIL.
func (s *session) mayHold() bool {
	return s.opts.MaxHold > 0 && (s.opts.Role == Submission || s.trusted())
}

func keyword(extension string) string {
	k, _, _ := strings.Cut(extension, " ")
	return strings.ToUpper(k)
}

// dependent leaves out what does not work without an extension that a plugin
// took from the list.
func dependent(list []string) []string {
	has := func(k string) bool {
		return slices.ContainsFunc(list, func(e string) bool { return keyword(e) == k })
	}
	if has("CHUNKING") && has("8BITMIME") {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(e string) bool { return keyword(e) == "BINARYMIME" })
}

// extension is one of those that change what we take.
type extension uint16

const (
	extSize extension = 1 << iota
	ext8BitMIME
	extSMTPUTF8
	extChunking
	extBinaryMIME
	extDSN
	extDeliverBy
	extPriority
	extFutureRelease
	extRRVS
	extRequireTLS
	extStartTLS
	extAuth
	extXClient
)

// offered are the extensions of ours that plugins left in the list. What they
// added has no effect here.
func offered(ours, list []string) (set extension) {
	for _, l := range list {
		k := keyword(l)
		if !slices.ContainsFunc(ours, func(e string) bool { return keyword(e) == k }) {
			continue
		}
		switch k {
		case "SIZE":
			set |= extSize
		case "8BITMIME":
			set |= ext8BitMIME
		case "SMTPUTF8":
			set |= extSMTPUTF8
		case "CHUNKING":
			set |= extChunking
		case "BINARYMIME":
			set |= extBinaryMIME
		case "DSN":
			set |= extDSN
		case "DELIVERBY":
			set |= extDeliverBy
		case "MT-PRIORITY":
			set |= extPriority
		case "FUTURERELEASE":
			set |= extFutureRelease
		case "RRVS":
			set |= extRRVS
		case "REQUIRETLS":
			set |= extRequireTLS
		case "STARTTLS":
			set |= extStartTLS
		case "AUTH":
			set |= extAuth
		case "XCLIENT":
			set |= extXClient
		}
	}
	return set
}

// Limits of the EHLO list that plugins may extend.
const (
	maxExtensions    = 64
	maxExtensionLine = 400
)

func helloReply(hostname string, list []string) string {
	lines := []string{hostname}
	for _, e := range list[:min(len(list), maxExtensions)] {
		if e = mail.Printable(e); e != "" && len(e) <= maxExtensionLine {
			lines = append(lines, e)
		}
	}
	var b strings.Builder
	for i, line := range lines {
		b.WriteString("250")
		if i == len(lines)-1 {
			b.WriteByte(' ')
		} else {
			b.WriteByte('-')
		}
		b.WriteString(line)
		b.WriteString("\r\n")
	}
	return b.String()
}

func (s *session) offers(e extension) bool { return s.offered&e != 0 }

// parameter tells whether a parameter of MAIL or RCPT belongs to an extension
// that was offered.
func (s *session) parameter(keyword string) bool {
	switch keyword {
	case "SIZE":
		return s.offers(extSize)
	case "SMTPUTF8":
		return s.offers(extSMTPUTF8)
	case "BODY":
		return s.offers(ext8BitMIME)
	case "BINARYMIME": // of BODY
		return s.offers(extBinaryMIME)
	case "AUTH":
		// Whoever relays for its own users says by it who they are (RFC 4954 5).
		// We vouch for nobody, so what it says is read over.
		return s.offers(extAuth)
	case "RET", "ENVID", "NOTIFY", "ORCPT":
		return s.offers(extDSN)
	case "BY":
		return s.offers(extDeliverBy)
	case "MT-PRIORITY":
		return s.offers(extPriority)
	case "HOLDFOR", "HOLDUNTIL":
		return s.offers(extFutureRelease)
	case "RRVS":
		return s.offers(extRRVS)
	case "REQUIRETLS":
		return s.offers(extRequireTLS)
	}
	return false
}

// checkParams holds the parameters of MAIL to the limits that were announced for
// them.
func (s *session) checkParams(p *mail.MailParams) *mail.Reply {
	now := time.Now()
	switch {
	case p.Size > s.opts.MaxSize:
		return mail.ReplyTooBig()
	case p.HoldUntil.After(now.Add(s.opts.MaxHold)):
		return mail.NewReply(501, "5.5.4", "Message cannot be held so long")
	case p.By.Return && p.By.Time.Before(now.Add(minDeliverBy-time.Second)):
		return mail.NewReply(550, "5.4.7", "Message cannot be delivered in so short a time")
	case p.By.Return && !p.By.Time.After(p.HoldUntil):
		return mail.NewReply(501, "5.5.4", "Message is to be held for longer than it may take")
	}
	return nil
}

// lowerPriority takes from a client that we do not know what would put its mail
// before that of others (RFC 6710), and tells whether it did.
func (s *session) lowerPriority(p *mail.MailParams) bool {
	if p.Priority <= 0 || s.trusted() {
		return false
	}
	p.Priority = 0
	return true
}
