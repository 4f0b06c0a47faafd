package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrAddress: the host has no address that a request may go to.
var ErrAddress = errors.New("the host has no address that requests may go to")

// Options of a Client.
type Options struct {
	// Addrs looks up the addresses of a host; nil: the system's resolver.
	Addrs func(ctx context.Context, host string) ([]netip.Addr, error)
	// Self tells whether an address is this machine's; nil: one of its
	// interfaces has it.
	Self func(netip.Addr) bool
	// RootCAs verify servers; nil: the system's.
	RootCAs *x509.CertPool
}

const (
	maxDialed      = 4 // addresses tried for one connection
	dialTimeout    = 5 * time.Second
	idleTimeout    = 30 * time.Second
	maxIdle        = 32
	maxIdlePerHost = 4
	maxPerHost     = 64       // connections to one host
	maxHeader      = 64 << 10 // octets of a response's header
	agent          = "wasmta"
)

// Client makes requests. It is safe for concurrent use. What a request may
// take of time, and a response of room, is the caller's to bound.
type Client struct{ public, private *http.Transport }

// New makes a Client.
func New(o Options) *Client {
	if o.Addrs == nil {
		o.Addrs = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Self == nil {
		o.Self = isLocal
	}
	transport := func(private bool) *http.Transport {
		d := dialer{o: o, private: private}
		return &http.Transport{
			Proxy:                  nil,
			DialContext:            d.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
			TLSHandshakeTimeout:    dialTimeout,
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
			DisableCompression:     true,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerHost,
			MaxConnsPerHost:        maxPerHost,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeader,
		}
	}
	return &Client{public: transport(false), private: transport(true)}
}

// Do sends one request and returns its response, whatever its status. private
// lets it go to any host's address. The error is ErrAddress, the context's, or
// another one that may go away by itself.
func (c *Client) Do(r *http.Request, private bool) (*http.Response, error) {
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", agent)
	}
	t := c.public
	if private {
		t = c.private
	}
	return t.RoundTrip(r)
}

// Close closes the connections that wait for another request.
func (c *Client) Close() {
	c.public.CloseIdleConnections()
	c.private.CloseIdleConnections()
}

type dialer struct {
	o       Options
	private bool
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		list = []netip.Addr{a}
	} else if list, err = d.o.Addrs(ctx, host); err != nil {
		return nil, fmt.Errorf("looking up %q: %w", host, err)
	}
	nd := net.Dialer{Timeout: dialTimeout, Control: d.control}
	failure := fmt.Errorf("%w: %q", ErrAddress, host)
	tried := 0
	for _, a := range list {
		if a = a.Unmap(); !d.allowed(a) {
			continue
		}
		if tried++; tried > maxDialed {
			break
		}
		conn, err := nd.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		failure = err
	}
	return nil, failure
}

// control sees the address that the socket is about to be connected to.
func (d *dialer) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !d.allowed(ap.Addr()) {
		return ErrAddress
	}
	return nil
}

func (d *dialer) allowed(a netip.Addr) bool {
	a = a.Unmap()
	if d.private {
		return reachable(a)
	}
	return Public(a) && !d.o.Self(a)
}

// isLocal tells whether an interface of this machine has the address.
func isLocal(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return true // not known: better no request than one to ourselves
	}
	for _, x := range list {
		if n, ok := x.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == a {
				return true
			}
		}
	}
	return false
}
