package hostapi

import (
	"net/netip"
	"strings"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// client is the session's facts, after acceptance those kept with the message;
// nil: there are none here.
func (c *Call) client() *mail.Client {
	e := c.event
	switch {
	case e == nil:
	case e.Session != nil:
		return e.Session.Client
	case e.Tx != nil:
		return &e.Tx.Envelope.Client
	}
	return nil
}

// ofClient makes a getter of a fact of the client that is a text.
func ofClient(f func(*mail.Client) string) func(*Call, []byte) ([]byte, abi.Code) {
	return func(c *Call, b []byte) ([]byte, abi.Code) {
		cl := c.client()
		if cl == nil {
			return nil, abi.State
		}
		return text(b, f(cl))
	}
}

func numOfClient(f func(*mail.Client) int64) func(*Call) int64 {
	return func(c *Call) int64 {
		cl := c.client()
		if cl == nil {
			return int64(abi.State)
		}
		return f(cl)
	}
}

func ofTLS(f func(*mail.TLS) string) func(*Call, []byte) ([]byte, abi.Code) {
	return ofClient(func(cl *mail.Client) string {
		if cl.TLS == nil {
			return ""
		}
		return f(cl.TLS)
	})
}

func ofAddr(f func(*mail.Client) netip.AddrPort) func(*Call, []byte) ([]byte, abi.Code) {
	return func(c *Call, b []byte) ([]byte, abi.Code) {
		cl := c.client()
		if cl == nil {
			return nil, abi.State
		}
		a := f(cl).Addr()
		if !a.IsValid() {
			return nil, abi.NotFound
		}
		return a.Unmap().AppendTo(b), abi.OK
	}
}

func portOf(f func(*mail.Client) netip.AddrPort) func(*Call) int64 {
	return numOfClient(func(cl *mail.Client) int64 { return int64(f(cl).Port()) })
}

func remote(cl *mail.Client) netip.AddrPort { return cl.Remote }
func local(cl *mail.Client) netip.AddrPort  { return cl.Local }

// notOffered is the getter of fields that have a number and no source yet.
func notOffered(*Call, []byte) ([]byte, abi.Code) { return nil, abi.Unsupported }

func sessionFields() []field {
	connect, ehlo, auth := hook.Stages(hook.Connect), hook.Stages(hook.Ehlo), hook.Stages(hook.Auth)
	return []field{
		{id: abi.RemoteIP, name: "REMOTE_IP", stages: inAll, bytes: ofAddr(remote)},
		{id: abi.RemotePort, name: "REMOTE_PORT", stages: inAll, num: portOf(remote)},
		{id: abi.LocalIP, name: "LOCAL_IP", stages: inAll, bytes: ofAddr(local)},
		{id: abi.LocalPort, name: "LOCAL_PORT", stages: inAll, num: portOf(local)},
		{id: abi.Listener, name: "LISTENER", stages: inAll, bytes: ofClient(func(cl *mail.Client) string { return cl.Listener })},
		{id: abi.PTRName, name: "PTR_NAME", stages: inAll, bytes: ofClient(func(cl *mail.Client) string { return cl.PTR })},
		{id: abi.SessionID, name: "SESSION_ID", stages: inAll, bytes: ofClient(func(cl *mail.Client) string { return cl.Session })},
		{id: abi.ConnCountIP, name: "CONN_COUNT_IP", stages: inSession, num: connections},
		{id: abi.ProxyIP, name: "PROXY_IP", stages: inSession, bytes: proxyIP},
		{id: abi.Banner, name: "BANNER", stages: connect, bytes: banner, setStages: connect, setBytes: setBanner},

		{id: abi.Helo, name: "HELO", stages: inAll, bytes: helo},
		{id: abi.ESMTP, name: "ESMTP", stages: inAll, num: numOfClient(func(cl *mail.Client) int64 { return bit(cl.ESMTP) })},
		{id: abi.TLS, name: "TLS", stages: inAll, num: numOfClient(func(cl *mail.Client) int64 { return bit(cl.TLS != nil) })},
		{id: abi.TLSVersion, name: "TLS_VERSION", stages: inAll, num: numOfClient(func(cl *mail.Client) int64 {
			if cl.TLS == nil {
				return int64(abi.NotFound)
			}
			return int64(cl.TLS.Version)
		})},
		{id: abi.TLSCipher, name: "TLS_CIPHER", stages: inAll, bytes: ofTLS(func(t *mail.TLS) string { return t.Cipher })},
		{id: abi.TLSSNI, name: "TLS_SNI", stages: inAll, bytes: ofTLS(func(t *mail.TLS) string { return t.ServerName })},
		{id: abi.ClientCertFP, name: "CLIENT_CERT_FP", stages: inAll, bytes: ofTLS(func(t *mail.TLS) string { return t.Fingerprint })},
		{id: abi.ClientCertNames, name: "CLIENT_CERT_NAMES", stages: inSession, bytes: certNames},
		{id: abi.Extensions, name: "EXTENSIONS", stages: ehlo, bytes: extensions, setStages: ehlo, setBytes: setExtensions},

		{id: abi.Verb, name: "VERB", stages: ehlo | auth | hook.Stages(hook.Command), bytes: func(c *Call, b []byte) ([]byte, abi.Code) {
			return text(b, c.event.Verb)
		}},
		{id: abi.Argument, name: "ARGUMENT", stages: ehlo | auth | hook.Stages(hook.Command), bytes: func(c *Call, b []byte) ([]byte, abi.Code) {
			return append(b, c.event.Arg...), abi.OK
		}},
		{id: abi.Reason, name: "REASON", stages: hook.Stages(hook.Reset, hook.Close), bytes: func(c *Call, b []byte) ([]byte, abi.Code) {
			return append(b, c.event.Reason...), abi.OK
		}},
	}
}

// helo is the name of the greeting: at ehlo the one that is being given.
func helo(c *Call, b []byte) ([]byte, abi.Code) {
	if c.event.Stage == hook.Ehlo && c.event.Arg != "" {
		return append(b, c.event.Arg...), abi.OK
	}
	cl := c.client()
	if cl == nil {
		return nil, abi.State
	}
	return text(b, cl.Helo)
}

// connections counts the client's open connections; E_NOT_FOUND: nobody counts.
func connections(c *Call) int64 {
	if s := c.event.Session; s != nil && s.Connections != nil {
		return int64(s.Connections())
	}
	return int64(abi.NotFound)
}

func proxyIP(c *Call, b []byte) ([]byte, abi.Code) {
	if s := c.event.Session; s != nil && s.Proxy.IsValid() {
		return s.Proxy.Unmap().WithZone("").AppendTo(b), abi.OK
	}
	return nil, abi.NotFound
}

func certNames(c *Call, b []byte) ([]byte, abi.Code) {
	if s := c.event.Session; s != nil {
		return text(b, strings.Join(s.CertNames, "\n"))
	}
	return nil, abi.State
}

func banner(c *Call, b []byte) ([]byte, abi.Code) {
	if c.event.Session == nil {
		return nil, abi.State
	}
	return append(b, c.event.Session.Banner...), abi.OK
}

// setBanner takes one line that fits a reply.
func setBanner(c *Call, v []byte) error {
	s := string(v)
	if len(s) > mail.MaxReplyLine {
		return abi.TooLarge
	}
	if mail.Printable(s) != s || s == "" {
		return abi.Invalid
	}
	return c.event.SetBanner(s)
}

func extensions(c *Call, b []byte) ([]byte, abi.Code) {
	if c.event.Session == nil {
		return nil, abi.State
	}
	for i, x := range c.event.Session.Extensions {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, x...)
	}
	return b, abi.OK
}

// Limits of an EHLO list that a plugin sets; RFC 5321 4.5.3.1.5 gives a line
// 512 octets.
const (
	maxExtensions = 64
	maxExtension  = 400
)

func setExtensions(c *Call, v []byte) error {
	var list []string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(v), "\n"), "\n") {
		if line == "" && len(v) == 0 {
			break
		}
		if len(list) == maxExtensions || len(line) > maxExtension {
			return abi.TooLarge
		}
		if !ehloLine(line) {
			return abi.Invalid
		}
		list = append(list, line)
	}
	return c.event.SetExtensions(list)
}

// ehloLine checks a keyword and its parameters (RFC 5321 4.1.1.1, ehlo-line).
func ehloLine(s string) bool {
	keyword, params, more := strings.Cut(s, " ")
	if keyword == "" || keyword[0] == '-' {
		return false
	}
	for _, r := range keyword {
		if r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	if !more {
		return true
	}
	for p := range strings.SplitSeq(params, " ") {
		if p == "" {
			return false
		}
		for i := 0; i < len(p); i++ {
			if p[i] <= ' ' || p[i] >= 0x7f {
				return false
			}
		}
	}
	return true
}
