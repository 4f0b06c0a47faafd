package tlsrpt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Transport posts to hosts whose addresses addrs looks up, and allow lets through: a domain must not make this server talk
// to its own network. base is that of the client's TLS; nil: the system's roots.
func Transport(addrs func(ctx context.Context, host string) ([]netip.Addr, error), allow func(netip.Addr) bool, base *tls.Config) http.RoundTripper {
	return &http.Transport{
		Proxy: nil, DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: base.Clone(),
		TLSHandshakeTimeout: 20 * time.Second, ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 32 << 10,
		DialContext: func(ctx context.Context, network, hostPort string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(hostPort)
			if err != nil {
				return nil, err
			}
			list, err := addrs(ctx, host) // an address stands for itself
			if err != nil {
				return nil, err
			}
			err = fmt.Errorf("%s has no address that may be connected to", host)
			for _, a := range list[:min(len(list), 4)] {
				if !allow(a.Unmap()) {
					continue
				}
				d := net.Dialer{Timeout: 10 * time.Second}
				var c net.Conn
				if c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(a.Unmap().String(), port)); err == nil {
					return c, nil
				}
			}
			return nil, err
		},
	}
}
