package smtpd

import (
	"crypto/tls"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// received is our trace field (RFC 5321 4.4), with its final CR LF, and room
// behind it for so many octets. All that goes in was validated when it was
// made: domains, addresses, paths, ids.
func received(hostname string, lmtp bool, id mail.ID, env *mail.Envelope, room int) []byte {
	c := &env.Client
	b := make([]byte, 0, 512+room)
	add := func(parts ...string) {
		for _, p := range parts {
			b = append(b, p...)
		}
	}
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
	add("Received: from ", helo)
	gap := " "
	if len(b)+len(name)+len(literal)+5 > 78 {
		gap = "\r\n\t"
	}
	add(gap, "(", name, " [", literal, "])\r\n")
	if c.TLS != nil {
		add("\t(using ", strings.ReplaceAll(tls.VersionName(c.TLS.Version), " ", "v"), " with cipher ", c.TLS.Cipher, ")\r\n")
	}
	add("\tby ", hostname, " (wasmta) with ", c.Protocol(env.SMTPUTF8, lmtp), " id ", id.String())
	priority := ""
	if env.Priority != 0 {
		priority = " PRIORITY " + strconv.Itoa(int(env.Priority)) // RFC 6710
	}
	if to, ok := forClause(env); ok {
		gap = " "
		if len(to)+len(priority) > 40 {
			gap = "\r\n\t"
		}
		add("\r\n\tfor <", to, ">", priority, ";", gap)
	} else {
		add(priority, ";\r\n\t")
	}
	b = c.Arrived.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, '\r', '\n')
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
