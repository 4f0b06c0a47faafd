package hostapi

import "github.com/wasmta/wasmta/hostapi/abi"

// feature(id): 1 if this server has it and the plugin is granted it.
func feature(c *Call, _ Memory, p []uint64) int64 {
	g := &c.guest.Grant
	ok := false
	switch int32(p[0]) {
	case abi.FeatureEnvelopeWrite:
		ok = g.Envelope >= Write
	case abi.FeatureHeadersRead:
		ok = g.Headers >= Read
	case abi.FeatureHeadersWrite:
		ok = g.Headers >= Write
	case abi.FeatureBodyRead:
		ok = g.Body >= Read
	case abi.FeatureBodyWrite:
		ok = g.Body >= Write
	case abi.FeatureKV:
		ok = g.Missing(abi.ModuleKV) == ""
	case abi.FeatureDNS:
		ok = g.Missing(abi.ModuleDNS) == "" && c.guest.Resolver != nil
	case abi.FeatureHTTP:
		ok = g.Missing(abi.ModuleHTTP) == "" && c.guest.HTTP != nil
	case abi.FeatureCrypto:
		ok = true
	case abi.FeatureTable:
		ok = g.Missing(abi.ModuleTable) == ""
	case abi.FeatureEvent:
		ok = g.Missing(abi.ModuleEvent) == ""
	}
	if ok {
		return 1
	}
	return 0
}
