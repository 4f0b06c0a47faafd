package hostapi

import "github.com/wasmta/wasmta/hostapi/abi"

// pluginFields are what a guest may know of itself and its limits.
func pluginFields() []field {
	ofGuest := func(f func(*Guest) string) func(*Call, []byte) ([]byte, abi.Code) {
		return func(c *Call, b []byte) ([]byte, abi.Code) { return append(b, f(c.guest)...), abi.OK }
	}
	return []field{
		{id: abi.Plugin, name: "PLUGIN", stages: always, bytes: ofGuest(func(g *Guest) string { return g.Name })},
		{id: abi.Generation, name: "GENERATION", stages: always, bytes: ofGuest(func(g *Guest) string { return g.Generation })},
		{id: abi.HostVer, name: "HOST_VERSION", stages: always, bytes: ofGuest(func(g *Guest) string { return g.Version })},
		{id: abi.HostMinor, name: "HOST_ABI_MINOR", stages: always, num: func(*Call) int64 { return abi.Minor }},
		{id: abi.FuelLeft, name: "FUEL_LEFT", stages: always, num: func(c *Call) int64 { return max(c.meter.FuelLeft(), 0) }},
		{id: abi.WallLeft, name: "WALL_LEFT_MS", stages: always, num: func(c *Call) int64 { return max(c.meter.WallLeft().Milliseconds(), 0) }},
		{id: abi.MemLimit, name: "MEM_LIMIT", stages: always, num: func(c *Call) int64 { return c.meter.MemoryLimit() }},
		{id: abi.Shadow, name: "SHADOW", stages: always, num: func(*Call) int64 { return 0 }},
		{id: abi.DNSTTL, name: "DNS_TTL", stages: always, num: dnsTTL},
		{id: abi.DNSAD, name: "DNS_AD", stages: always, num: dnsAD},
		{id: abi.Script, name: "SCRIPT", stages: always, bytes: notOffered}, // get gives it without a copy
	}
}
