package mail

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Outcome is how an attempt ended for one recipient.
type Outcome uint8

const (
	Deferred  Outcome = iota // try again; also the zero value, so that nothing is lost by omission
	Delivered                // handed over; the next hop is responsible
	Failed                   // permanent; a DSN is owed
	Expired                  // deferred for too long; a DSN is owed
	Discarded                // dropped by a rule, which the log names
	Held                     // waits for an operator
)

// String is the word used in the log.
func (o Outcome) String() string {
	return [...]string{"deferred", "sent", "bounced", "expired", "discarded", "hold"}[o]
}

// Result is the outcome of one attempt for one recipient.
type Result struct {
	Outcome   Outcome
	Reply     Reply         // the remote reply word for word, or ours when there was none
	RemoteMTA string        // host name of who said it; empty: we did
	Relay     string        // "host[addr]:port" for the log; empty: none
	Connect   time.Duration // for the log: reaching the next hop, TLS included
	Transmit  time.Duration // for the log: from there to the reply
	Reached   bool          // a session was had; not kept with the queue entry
	TLS       string        // version, cipher and how the server was verified; empty: clear text, or no connection; not kept with the queue entry
	Earlier   string        // hosts that were tried before Relay, each on a line with why it was not the last; not kept with the queue entry
	Relayed   bool          // success is to be notified, and the next hop, SMTP or LMTP, does not do DSN (RFC 3461 5.2.2)
}

// Attempt is one past attempt, kept with the queue entry.
type Attempt struct {
	At     time.Time
	Relay  string
	Result Result
}

// Transport is the way a next hop is reached.
type Transport uint8

const (
	TransportMX       Transport = iota // look the domain's MX up, then SMTP
	TransportSMTP                      // SMTP to a given host
	TransportLMTP                      // LMTP over TCP
	TransportLMTPUnix                  // LMTP over a unix socket
	TransportMaildir                   // a Maildir on this machine
	TransportDiscard                   // accept and forget
)

// TLSPolicy is how much TLS a next hop must do.
type TLSPolicy uint8

const (
	TLSOpportunistic TLSPolicy = iota // use STARTTLS if offered, any certificate
	TLSNone                           // never
	TLSEncrypt                        // require TLS, any certificate
	TLSVerify                         // require TLS and a valid certificate
)

// NextHop is where a recipient goes now (Postfix: nexthop). Comparable: equal
// next hops share connections and limits.
type NextHop struct {
	Transport Transport
	Host      string // domain for mx; host or address for smtp and lmtp; absolute path for lmtp:unix and maildir
	Port      uint16 // smtp, lmtp; 0: the transport's default
	TLS       TLSPolicy
	Source    string // local address to connect from; empty: any
	Helo      string // name given in EHLO; empty: the server's

	Pool       string // egress pool that Source and Helo are chosen from, if they are empty; empty: the default one
	Credential string // name of [credentials] to authenticate with; empty: none
}

// String prints the next hop as the configuration writes it.
func (n NextHop) String() string {
	switch n.Transport {
	case TransportMX:
		if n.Host == "" {
			return "mx"
		}
		return "mx:" + n.Host
	case TransportSMTP:
		return "smtp:" + hostPort(n.Host, n.Port, 25)
	case TransportLMTP:
		return "lmtp:" + hostPort(n.Host, n.Port, 24)
	case TransportLMTPUnix:
		return "lmtp:unix:" + n.Host
	case TransportMaildir:
		return "maildir:" + n.Host
	case TransportDiscard:
		return "discard"
	}
	return "unknown"
}

func hostPort(host string, port, def uint16) string {
	if port == 0 {
		port = def
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// ParseNextHop reads what a route's "to" says: mx | mx:DOMAIN |
// smtp:HOST[:PORT] | lmtp:HOST:PORT | lmtp:unix:PATH | maildir:PATH | discard.
// A path may hold the placeholders {user} and {domain}, which routing fills in.
func ParseNextHop(s string) (NextHop, error) {
	kind, arg, _ := strings.Cut(s, ":")
	bad := func(why string) (NextHop, error) {
		return NextHop{}, fmt.Errorf("next hop %q: %s; write mx, mx:DOMAIN, smtp:HOST:PORT, lmtp:HOST:PORT, lmtp:unix:PATH, maildir:PATH or discard", s, why)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return bad("it has a control character")
		}
	}
	switch kind {
	case "discard":
		if arg != "" {
			return bad("discard takes nothing more")
		}
		return NextHop{Transport: TransportDiscard}, nil
	case "mx":
		if arg != "" {
			if err := checkDomain(arg); err != nil {
				return bad(err.Error())
			}
		}
		return NextHop{Transport: TransportMX, Host: DomainKey(arg)}, nil
	case "maildir":
		if !strings.HasPrefix(arg, "/") && !strings.HasPrefix(arg, "./") {
			return bad("the path must begin with / or ./")
		}
		return NextHop{Transport: TransportMaildir, Host: arg}, nil
	case "lmtp":
		if path, ok := strings.CutPrefix(arg, "unix:"); ok {
			if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "./") {
				return bad("the path must begin with / or ./")
			}
			return NextHop{Transport: TransportLMTPUnix, Host: path}, nil
		}
		return parseHostPort(NextHop{Transport: TransportLMTP}, arg, bad)
	case "smtp":
		return parseHostPort(NextHop{Transport: TransportSMTP}, arg, bad)
	}
	return bad("unknown transport")
}

func parseHostPort(n NextHop, arg string, bad func(string) (NextHop, error)) (NextHop, error) {
	host, port, err := net.SplitHostPort(arg)
	if err != nil {
		host, port = strings.Trim(arg, "[]"), ""
	}
	if _, ok := LiteralAddr("[IPv6:" + host + "]"); !ok {
		if err := checkDomain(host); err != nil {
			return bad(err.Error())
		}
	}
	if port != "" {
		p, err := strconv.ParseUint(port, 10, 16)
		if err != nil || p == 0 {
			return bad("the port must be 1 to 65535")
		}
		n.Port = uint16(p)
	}
	n.Host = strings.ToLower(host)
	return n, nil
}
