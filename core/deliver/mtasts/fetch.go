package mtasts

import (
	"context"
	"crypto/tls"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Fetcher fetches policies over HTTPS.
type Fetcher struct {
	// Addrs looks up the addresses of a host.
	Addrs func(ctx context.Context, host string) ([]netip.Addr, error)
	// Allow tells whether an address may be connected to: a domain must not make this server talk to its own network.
	Allow func(netip.Addr) bool
	// TLS is the base of the client's configuration; nil: the system's roots.
	TLS *tls.Config
	// Port of policy hosts; 0: 443. For tests.
	Port uint16
}

// Fetch gets the policy of a domain from its policy host (RFC 8461 3.3).
func (f *Fetcher) Fetch(ctx context.Context, domain string) ([]byte, error) {
	host := "mta-sts." + domain
	port := f.Port
	if port == 0 {
		port = 443
	}
	transport := &http.Transport{
		Proxy:                  nil,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    20 * time.Second,
		ResponseHeaderTimeout:  20 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		TLSClientConfig:        f.TLS.Clone(),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			addrs, err := f.Addrs(ctx, host)
			if err != nil {
				return nil, err
			}
			err = fmt.Errorf("%s has no address that may be connected to", host)
			for _, a := range addrs[:min(len(addrs), 4)] {
				if !f.Allow(a.Unmap()) {
					continue
				}
				d := net.Dialer{Timeout: 10 * time.Second}
				var c net.Conn
				if c, err = d.DialContext(ctx, "tcp", netip.AddrPortFrom(a.Unmap(), port).String()); err == nil {
					return c, nil
				}
			}
			return nil, err
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "wasmta")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d; redirects are not followed", host, resp.StatusCode)
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "text/plain" {
		return nil, fmt.Errorf("%s serves a policy of the type %.60q and not text/plain", host, resp.Header.Get("Content-Type"))
	}
	return readAll(resp.Body)
}
