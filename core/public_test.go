package core

import (
	"net/netip"
	"testing"
)

// A domain says where the host of its MTA-STS policy is: not in our network.
func TestPolicyHostsArePublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "64:ff9b::c000:201": true, "::ffff:192.0.2.1": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.0.1": false, "100.64.0.1": false,
		"169.254.169.254": false, "fd00::1": false, "fe80::1": false, "0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false,
		"::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "64:ff9b::7f00:1": false,
		"::127.0.0.1": false, "2002:7f00:1::": false, "2002:a00:1::1": false, "64:ff9b:1::a00:1": false, "2001::1": false, "fec0::1": false,
		"0.1.2.3": false, "240.0.0.1": false, "198.18.0.1": false, "192.0.0.8": false,
		"fd00::1%eth0": false, "2002:a00:1::1%eth0": false,
	} {
		if got := public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}
