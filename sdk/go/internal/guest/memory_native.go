//go:build !wasip1

package guest

// Memory is the part of a Host for mta1_kv, mta1_table, mta1_event, secrets and
// metrics.
type Memory interface {
	KVGet(key string, buf []byte) int32
	KVSet(key, value string, ttl int64, flags int32) int32
	KVDel(key string) int32
	KVIncr(key string, delta, ttl int64, flags int32) int64
	KVTake(key string, cost, burst int32, perSecMilli int64) int64
	KVCas(key, old, value string, ttl int64) int32
	TableLookup(table, key string, buf []byte) int32
	Emit(topic, data string) int32
	Secret(name string, buf []byte) int32
	MetricDef(kind int32, name string) int32
	MetricAdd(id int32, value int64) int32
}

func KVGet(key string, buf []byte) int32 { return host().KVGet(key, buf) }
func KVSet(key, value string, ttl int64, flags int32) int32 {
	return host().KVSet(key, value, ttl, flags)
}
func KVDel(key string) int32 { return host().KVDel(key) }
func KVIncr(key string, delta, ttl int64, flags int32) int64 {
	return host().KVIncr(key, delta, ttl, flags)
}
func KVTake(key string, cost, burst int32, perSecMilli int64) int64 {
	return host().KVTake(key, cost, burst, perSecMilli)
}
func KVCas(key, old, value string, ttl int64) int32 { return host().KVCas(key, old, value, ttl) }
func TableLookup(table, key string, buf []byte) int32 {
	return host().TableLookup(table, key, buf)
}
func Emit(topic, data string) int32           { return host().Emit(topic, data) }
func Secret(name string, buf []byte) int32    { return host().Secret(name, buf) }
func MetricDef(kind int32, name string) int32 { return host().MetricDef(kind, name) }
func MetricAdd(id int32, value int64) int32   { return host().MetricAdd(id, value) }
