package smtpd

import (
	"crypto/tls"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// received is our trace field (RFC 5321 4.4), with its final CR LF. All that
// goes in was validated when it was made: domains, addresses, paths, ids.
func received(hostname string, lmtp bool, id mail.ID, env *mail.Envelope) []byte {
	c := &env.Client
	var b strings.Builder
	b.Grow(320)
	helo := c.Helo
	if !strings.HasPrefix(helo, "[") {
		helo = asciiDomain(helo, env.SMTPUTF8)
	}
	name := "unknown"
	if c.PTR != "" {
		name = asciiDomain(c.PTR, env.SMTPUTF8)
	}
	addr := c.Remote.Addr().Unmap().WithZone("")
	literal := addr.String()
	if addr.Is6() {
		literal = "IPv6:" + literal
	}
	b.WriteString("Received: from " + helo)
	gap := " "
	if b.Len()+len(name)+len(literal)+5 > 78 {
		gap = "\r\n\t"
	}
	b.WriteString(gap + "(" + name + " [" + literal + "])\r\n")
	if c.TLS != nil {
		b.WriteString("\t(using " + strings.ReplaceAll(tls.VersionName(c.TLS.Version), " ", "v") + " with cipher " + c.TLS.Cipher + ")\r\n")
	}
	b.WriteString("\tby " + hostname + " (wasmta) with " + c.Protocol(env.SMTPUTF8, lmtp) + " id " + id.String())
	if to, ok := forClause(env); ok {
		b.WriteString("\r\n\tfor <" + to + ">;")
		if len(to) > 40 {
			b.WriteString("\r\n\t")
		} else {
			b.WriteByte(' ')
		}
	} else {
		b.WriteString(";\r\n\t")
	}
	b.WriteString(c.Arrived.Format("Mon, 02 Jan 2006 15:04:05 -0700") + "\r\n")
	return []byte(b.String())
}

func asciiDomain(name string, utf8 bool) string {
	if utf8 {
		return name
	}
	if a := mail.DomainKey(name); !(mail.Path{Domain: name}).NeedsUTF8() {
		return name
	} else if !(mail.Path{Domain: a}).NeedsUTF8() {
		return a
	}
	return "unknown"
}

// forClause names the recipient, if there is exactly one, as the client gave
// it. With more it would show them to each other.
func forClause(env *mail.Envelope) (string, bool) {
	if len(env.Recipients) != 1 {
		return "", false
	}
	p := env.Recipients[0].ForwardPath
	if o := env.Recipients[0].Original; !o.IsNull() {
		p = o
	}
	return p.String(), env.SMTPUTF8 || !p.NeedsUTF8()
}
