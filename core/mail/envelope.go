package mail

import (
	"io"
	"net/netip"
	"time"
)

// Recipient is one forward-path with what the client asked for it.
type Recipient struct {
	ForwardPath Path
	RcptParams
	// Original is the forward-path as the client gave it, when a plugin
	// rewrote or added this one; the null path: unchanged.
	Original Path
	// Attrs are the recipient-scope attributes of plugins, key
	// "plugin/key"; stored with the queue entry.
	Attrs Attrs
}

// Envelope is what MAIL and RCPT carried (RFC 5598 3.2), and the facts of the
// session that brought it.
type Envelope struct {
	ReversePath Path
	MailParams
	Recipients []Recipient
	Client     Client
	Attrs      Attrs // message-scope attributes of plugins, key "plugin/key"
}

// Attrs are attributes that plugins left, key "plugin/key".
type Attrs map[string][]byte

// Client is what is known of the session that brought a message. It is kept
// with the message: routing and delivery policy may ask for it.
type Client struct {
	Session  string         // session id, for the log
	Listener string         // its name in the configuration
	Remote   netip.AddrPort // the client; after PROXY, the one it speaks for
	Local    netip.AddrPort
	PTR      string // forward-confirmed name of Remote; empty: none
	Helo     string // as validated; never raw
	ESMTP    bool   // EHLO or LHLO rather than HELO
	TLS      *TLS   // nil: clear text
	Auth     string // authenticated identity; empty: none
	AuthMech string // SASL mechanism by which it was; empty: none
	AuthUser string // name the client gave for it (the authentication identity); often the same as Auth
	Arrived  time.Time
}

// TLS is what is known of a TLS session.
type TLS struct {
	Version     uint16 // as in crypto/tls
	Cipher      string
	ServerName  string
	Fingerprint string // SHA-256 of the client certificate in hex; empty: none
}

// Protocol is the transmission type for Received (RFC 3848, RFC 6531).
func (c Client) Protocol(utf8, lmtp bool) string {
	if !c.ESMTP && !lmtp {
		return "SMTP"
	}
	p := "ESMTP"
	switch {
	case lmtp && utf8:
		p = "UTF8LMTP"
	case lmtp:
		p = "LMTP"
	case utf8:
		p = "UTF8SMTP"
	}
	if c.TLS != nil {
		p += "S"
	}
	if c.Auth != "" {
		p += "A"
	}
	return p
}

// Message is envelope and content as they are handed to a delivery agent.
type Message struct {
	ID       ID
	Envelope Envelope // Recipients: those to deliver to
	Header   []byte   // header block, with the empty line that ends it if there is one; not modified
	BodySize int64
	// OpenBody reads the body from its beginning; it may be called again for
	// another attempt. A read error other than io.EOF means that the body is
	// damaged or cannot be read: the agent must then not complete the message.
	OpenBody func() (io.ReadCloser, error)
}

// Size is the length of the content in octets.
func (m *Message) Size() int64 { return int64(len(m.Header)) + m.BodySize }
