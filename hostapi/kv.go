package hostapi

import (
	"context"
	"math"
	"time"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// costKV is what an operation on the store costs, in nanoseconds.
const costKV = 2_000

// maxTTL is the longest time to live.
const maxTTL = 100 * 365 * 24 * time.Hour

func kvFunctions() []Function {
	return []Function{
		{abi.ModuleKV, "get", "iiii>i", kvGet},
		{abi.ModuleKV, "set", "iiiiIi>i", kvSet},
		{abi.ModuleKV, "del", "ii>i", kvDel},
		{abi.ModuleKV, "incr", "iiIIi>I", kvIncr},
		{abi.ModuleKV, "take", "iiiiI>I", kvTake},
		{abi.ModuleKV, "cas", "iiiiiiI>i", kvCAS},
	}
}

// kv checks grant, hook and quota of an operation on key.
func (c *Call) kv(key []byte, write bool) (KV, abi.Code) {
	if c.guest.Grant.KV.MB <= 0 {
		return nil, abi.Denied
	}
	if write {
		if code := c.effects(); code < 0 {
			return nil, code
		}
	}
	switch {
	case len(key) == 0:
		return nil, abi.Invalid
	case len(key) > abi.MaxKVKey:
		return nil, abi.TooLarge
	case c.guest.KV == nil:
		return nil, abi.Unavailable
	}
	if code := quota(&c.used.kv, abi.MaxKVCalls); code < 0 {
		return nil, code
	}
	c.meter.Charge(costKV)
	return c.guest.KV, abi.OK
}

// ttl is a time to live in milliseconds; 0 has no end.
func ttl(p uint64) (time.Duration, bool) {
	ms := int64(p)
	return time.Duration(ms) * time.Millisecond, ms >= 0 && ms <= maxTTL.Milliseconds()
}

// outcome turns an error of a service into a code.
func outcome(err error) int64 {
	if code, ok := err.(abi.Code); ok && code < 0 {
		return int64(code)
	}
	if err != nil {
		return int64(abi.Unavailable)
	}
	return 0
}

// get(key, klen, buf, cap)
func kvGet(c *Call, m Memory, p []uint64) int64 {
	key, dst := in(m, p[0], p[1]), out(m, p[2], p[3])
	kv, code := c.kv(key, false)
	if code < 0 {
		return int64(code)
	}
	v, err := kv.Get(key)
	if err != nil {
		return outcome(err)
	}
	return c.output(dst, v)
}

// set(key, klen, val, vlen, ttl_ms, flags)
func kvSet(c *Call, m Memory, p []uint64) int64 {
	key, value := in(m, p[0], p[1]), in(m, p[2], p[3])
	kv, code := c.kv(key, true)
	if code < 0 {
		return int64(code)
	}
	flags := int32(p[5])
	if flags&^(abi.KVIfAbsent|abi.KVIfPresent|abi.KVSync) != 0 {
		return int64(abi.Unsupported)
	}
	life, ok := ttl(p[4])
	if !ok || flags&abi.KVIfAbsent != 0 && flags&abi.KVIfPresent != 0 {
		return int64(abi.Invalid)
	}
	if len(value) > abi.MaxKVValue {
		return int64(abi.TooLarge)
	}
	c.meter.Charge(int64(len(value)) / 8)
	if flags&abi.KVSync == 0 {
		return outcome(kv.Set(key, value, life, flags))
	}
	var err error
	c.meter.Wait(func(context.Context) { err = kv.Set(key, value, life, flags) })
	return outcome(err)
}

// del(key, klen)
func kvDel(c *Call, m Memory, p []uint64) int64 {
	key := in(m, p[0], p[1])
	kv, code := c.kv(key, true)
	if code < 0 {
		return int64(code)
	}
	return outcome(kv.Delete(key))
}

// incr(key, klen, delta, ttl_ms, flags)
func kvIncr(c *Call, m Memory, p []uint64) int64 {
	key := in(m, p[0], p[1])
	kv, code := c.kv(key, true)
	if code < 0 {
		return int64(code)
	}
	flags := int32(p[4])
	if flags&^abi.KVRefresh != 0 {
		return int64(abi.Unsupported)
	}
	life, ok := ttl(p[3])
	if !ok {
		return int64(abi.Invalid)
	}
	n, err := kv.Incr(key, int64(p[2]), life, flags&abi.KVRefresh != 0)
	if err != nil {
		return outcome(err)
	}
	return n
}

// maxRate is the fastest bucket: a billion tokens in a second.
const maxRate = 1e12

// take(key, klen, cost, burst, per_sec_milli)
func kvTake(c *Call, m Memory, p []uint64) int64 {
	key := in(m, p[0], p[1])
	kv, code := c.kv(key, true)
	if code < 0 {
		return int64(code)
	}
	cost, burst, rate := int64(int32(p[2])), int64(int32(p[3])), int64(p[4])
	if cost < 0 || burst < cost || burst == 0 || rate < 1 || rate > maxRate {
		return int64(abi.Invalid)
	}
	wait, err := kv.Take(key, cost, burst, rate)
	if err != nil {
		return outcome(err)
	}
	if wait <= 0 {
		return 0
	}
	return int64(math.Ceil(float64(wait) / float64(time.Millisecond)))
}

// cas(key, klen, old, olen, new, nlen, ttl_ms)
func kvCAS(c *Call, m Memory, p []uint64) int64 {
	key, old, value := in(m, p[0], p[1]), in(m, p[2], p[3]), in(m, p[4], p[5])
	kv, code := c.kv(key, true)
	if code < 0 {
		return int64(code)
	}
	life, ok := ttl(p[6])
	if !ok {
		return int64(abi.Invalid)
	}
	if len(value) > abi.MaxKVValue {
		return int64(abi.TooLarge)
	}
	c.meter.Charge(int64(len(value)+len(old)) / 8)
	return outcome(kv.CompareAndSwap(key, old, value, life))
}
