package resolve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

const defaultServer = "127.0.0.1:53" // resolv.conf(5): what is asked when no server is named

type resolvConf struct {
	servers []string
	timeout time.Duration // 0 = not given
	rounds  int           // 0 = not given
	trustAD bool
}

// readResolvConf reads what it can. A missing or broken file is no error: a resolver on this machine is the default,
// and a server that starts before its network is up must start.
func readResolvConf(path string) resolvConf {
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}
	}
	defer f.Close()
	return parseResolvConf(f)
}

// parseResolvConf understands nameserver lines and the options timeout, attempts and trust-ad, with the limits of
// resolv.conf(5). EDNS is always used, and search lists never.
func parseResolvConf(r io.Reader) resolvConf {
	var c resolvConf
	lines := bufio.NewScanner(io.LimitReader(r, 64<<10))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, net.JoinHostPort(a.String(), "53"))
			}
		case "options":
			for _, o := range f[1:] {
				key, val, _ := strings.Cut(o, ":")
				n, err := strconv.Atoi(val)
				switch {
				case key == "trust-ad":
					c.trustAD = true
				case err != nil || n < 1:
				case key == "timeout":
					c.timeout = time.Duration(min(n, 30)) * time.Second
				case key == "attempts":
					c.rounds = min(n, 5)
				}
			}
		}
	}
	return c
}

// parseServer accepts ADDRESS and ADDRESS:PORT. A name would need a resolver.
func parseServer(s string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 {
		return ap, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.AddrPort{}, fmt.Errorf("resolve: DNS server %q: want an IP address with or without a port, such as %q", s, defaultServer)
}
