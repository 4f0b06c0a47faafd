package hostapi

import (
	"slices"

	"github.com/wasmta/wasmta/hostapi/abi"
)

func eventFunctions() []Function {
	return []Function{{abi.ModuleEvent, "emit", "iiii>i", emit}}
}

// topic checks a topic: what may be written anywhere without escapes.
func topic(b []byte) bool {
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= abi.MaxTopic
}

// emit(topic, tlen, data, dlen)
func emit(c *Call, m Memory, p []uint64) int64 {
	name, data := in(m, p[0], p[1]), in(m, p[2], p[3])
	g := &c.guest.Grant
	if !slices.Contains(g.Events, "*") && !slices.Contains(g.Events, string(name)) {
		return int64(abi.Denied)
	}
	if code := c.effects(); code < 0 {
		return int64(code)
	}
	switch {
	case !topic(name):
		return int64(abi.Invalid)
	case len(data) > abi.MaxEvent:
		return int64(abi.TooLarge)
	case c.guest.Events == nil:
		return int64(abi.Unavailable)
	}
	if code := quota(&c.used.events, abi.MaxEventCalls); code < 0 {
		return int64(code)
	}
	c.meter.Charge(costKV + int64(len(data)))
	e := Event{Time: c.guest.Now(), Plugin: c.guest.Name, Topic: string(name), Data: data}
	e.Session, e.Message = c.ids()
	return outcome(c.guest.Events.Emit(e))
}
