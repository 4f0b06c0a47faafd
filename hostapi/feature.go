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
	}
	if ok {
		return 1
	}
	return 0
}
