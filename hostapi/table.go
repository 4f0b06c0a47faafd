package hostapi

import (
	"slices"

	"github.com/wasmta/wasmta/hostapi/abi"
)

func tableFunctions() []Function {
	return []Function{{abi.ModuleTable, "lookup", "iiiiii>i", tableLookup}}
}

// lookup(table, tlen, key, klen, buf, cap)
func tableLookup(c *Call, m Memory, p []uint64) int64 {
	name, key, dst := in(m, p[0], p[1]), in(m, p[2], p[3]), out(m, p[4], p[5])
	if !slices.Contains(c.guest.Grant.Tables, string(name)) {
		return int64(abi.Denied)
	}
	switch {
	case len(key) == 0:
		return int64(abi.Invalid)
	case len(key) > abi.MaxKey:
		return int64(abi.TooLarge)
	case c.guest.Tables == nil:
		return int64(abi.Unavailable)
	}
	c.meter.Charge(costRead + int64(len(key)))
	v, err := c.guest.Tables.Lookup(string(name), key)
	if err != nil {
		return outcome(err)
	}
	return c.output(dst, v)
}
