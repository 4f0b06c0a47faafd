//go:build wasip1

package guest

import "unsafe"

//go:wasmimport mta1_kv get
//go:noescape
func kvGet(key string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1_kv set
//go:noescape
func kvSet(key, value string, ttl int64, flags int32) int32

//go:wasmimport mta1_kv del
//go:noescape
func kvDel(key string) int32

//go:wasmimport mta1_kv incr
//go:noescape
func kvIncr(key string, delta, ttl int64, flags int32) int64

//go:wasmimport mta1_kv take
//go:noescape
func kvTake(key string, cost, burst int32, perSecMilli int64) int64

//go:wasmimport mta1_kv cas
//go:noescape
func kvCas(key, old, value string, ttl int64) int32

//go:wasmimport mta1_table lookup
//go:noescape
func tableLookup(table, key string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1_event emit
//go:noescape
func emit(topic, data string) int32

//go:wasmimport mta1 secret
//go:noescape
func secret(name string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 metric_def
//go:noescape
func metricDef(kind int32, name string) int32

//go:wasmimport mta1 metric_add
func metricAdd(id int32, value int64) int32

// KVGet reads a value into buf.
func KVGet(key string, buf []byte) int32 { p, n := ptr(buf); return kvGet(key, p, n) }

// KVSet sets a value.
func KVSet(key, value string, ttl int64, flags int32) int32 { return kvSet(key, value, ttl, flags) }

// KVDel deletes a value.
func KVDel(key string) int32 { return kvDel(key) }

// KVIncr adds to a counter.
func KVIncr(key string, delta, ttl int64, flags int32) int64 { return kvIncr(key, delta, ttl, flags) }

// KVTake takes tokens from a bucket.
func KVTake(key string, cost, burst int32, perSecMilli int64) int64 {
	return kvTake(key, cost, burst, perSecMilli)
}

// KVCas sets a value that is old.
func KVCas(key, old, value string, ttl int64) int32 { return kvCas(key, old, value, ttl) }

// TableLookup reads the value of a key of a table into buf.
func TableLookup(table, key string, buf []byte) int32 {
	p, n := ptr(buf)
	return tableLookup(table, key, p, n)
}

// Emit hands an event to the operator's sinks.
func Emit(topic, data string) int32 { return emit(topic, data) }

// Secret reads a secret into buf.
func Secret(name string, buf []byte) int32 { p, n := ptr(buf); return secret(name, p, n) }

// MetricDef defines a series of metrics.
func MetricDef(kind int32, name string) int32 { return metricDef(kind, name) }

// MetricAdd adds a sample to a series.
func MetricAdd(id int32, value int64) int32 { return metricAdd(id, value) }
