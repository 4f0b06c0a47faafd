package plugintest

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// Event is an event that the plugin emitted.
type Event struct{ Topic, Data string }

// memory is what a plugin keeps, and its series.
type memory struct {
	values map[string]*entry
	series []series
}

// entry is a value, a counter or a token bucket.
type entry struct {
	kind   byte // of the three: v, c, b
	value  string
	number int64
	tokens float64
	filled int64 // when tokens was right
	expire int64 // 0: never
}

type series struct {
	kind  int32
	name  string
	value int64
}

// memoryCall counts the operations of one call.
type memoryCall struct{ kv, events int }

// Value is a value of the plugin's memory, and whether it is there. A counter is
// its digits.
func (p *Plugin) Value(key string) (string, bool) {
	e := p.entry(key)
	if e == nil || e.kind == 'b' {
		return "", false
	}
	return e.text(), true
}

// SetValue puts a value into the plugin's memory.
func (p *Plugin) SetValue(key, value string) { p.put(key, &entry{kind: 'v', value: value}) }

// Metric is the value of a series: of a histogram the sum of what was observed.
func (p *Plugin) Metric(name string) int64 {
	for _, s := range p.memory.series {
		if s.name == name {
			return s.value
		}
	}
	p.t.Helper()
	p.t.Fatalf("Metric: the plugin has no series %q", name)
	return 0
}

func (p *Plugin) entry(key string) *entry {
	e := p.memory.values[key]
	if e == nil || e.expire != 0 && e.expire <= p.Now {
		return nil
	}
	return e
}

func (p *Plugin) put(key string, e *entry) {
	if p.memory.values == nil {
		p.memory.values = make(map[string]*entry)
	}
	p.memory.values[key] = e
}

func (e *entry) text() string {
	if e.kind == 'c' {
		return strconv.FormatInt(e.number, 10)
	}
	return e.value
}

// kv checks what every operation needs.
func (h *host) kv(key string, write bool) abi.Code {
	h.count()
	switch {
	case !h.p.o.KV:
		return abi.Denied
	case write && !h.inHook:
		return abi.State
	case key == "":
		return abi.Invalid
	case len(key) > abi.MaxKVKey:
		return abi.TooLarge
	case h.used.kv >= abi.MaxKVCalls:
		return abi.Limit
	}
	h.used.kv++
	return abi.OK
}

// expiry is when what lives for ttl from now on expires.
func (h *host) expiry(ttl int64) (int64, bool) {
	const longest = 100 * 365 * 24 * 3600 * 1000
	if ttl == 0 {
		return 0, true
	}
	return h.p.Now + ttl, ttl > 0 && ttl <= longest
}

// KVGet is the function get of mta1_kv.
func (h *host) KVGet(key string, buf []byte) int32 {
	if code := h.kv(key, false); code < 0 {
		return int32(code)
	}
	e := h.p.entry(key)
	switch {
	case e == nil:
		return int32(abi.NotFound)
	case e.kind == 'b':
		return int32(abi.Invalid)
	}
	return give(buf, e.text())
}

// KVSet is the function set of mta1_kv.
func (h *host) KVSet(key, value string, ttl int64, flags int32) int32 {
	if flags&^(abi.KVIfAbsent|abi.KVIfPresent|abi.KVSync) != 0 {
		h.count()
		return int32(abi.Unsupported)
	}
	if code := h.kv(key, true); code < 0 {
		return int32(code)
	}
	expire, ok := h.expiry(ttl)
	absent, present := flags&abi.KVIfAbsent != 0, flags&abi.KVIfPresent != 0
	e := h.p.entry(key)
	switch {
	case !ok || absent && present:
		return int32(abi.Invalid)
	case len(value) > abi.MaxKVValue:
		return int32(abi.TooLarge)
	case absent && e != nil:
		return int32(abi.Conflict)
	case present && e == nil:
		return int32(abi.NotFound)
	}
	h.p.put(key, &entry{kind: 'v', value: value, expire: expire})
	return 0
}

// KVDel is the function del of mta1_kv.
func (h *host) KVDel(key string) int32 {
	if code := h.kv(key, true); code < 0 {
		return int32(code)
	}
	if h.p.entry(key) == nil {
		return int32(abi.NotFound)
	}
	delete(h.p.memory.values, key)
	return 0
}

// KVIncr is the function incr of mta1_kv.
func (h *host) KVIncr(key string, delta, ttl int64, flags int32) int64 {
	if flags&^abi.KVRefresh != 0 {
		h.count()
		return int64(abi.Unsupported)
	}
	if code := h.kv(key, true); code < 0 {
		return int64(code)
	}
	expire, ok := h.expiry(ttl)
	if !ok {
		return int64(abi.Invalid)
	}
	e := h.p.entry(key)
	if e == nil {
		e = &entry{kind: 'c', expire: expire}
		h.p.put(key, e)
	}
	if e.kind != 'c' {
		return int64(abi.Invalid)
	}
	if flags&abi.KVRefresh != 0 {
		e.expire = expire
	}
	if delta > math.MaxInt64-e.number {
		e.number = math.MaxInt64
	} else {
		e.number = max(e.number+delta, 0)
	}
	return e.number
}

// KVTake is the function take of mta1_kv.
func (h *host) KVTake(key string, cost, burst int32, perSecMilli int64) int64 {
	if code := h.kv(key, true); code < 0 {
		return int64(code)
	}
	e := h.p.entry(key)
	if cost < 0 || burst < cost || burst == 0 || perSecMilli < 1 || perSecMilli > 1e12 || e != nil && e.kind != 'b' {
		return int64(abi.Invalid)
	}
	if e == nil {
		e = &entry{kind: 'b', tokens: float64(burst), filled: h.p.Now}
		h.p.put(key, e)
	}
	perMS := float64(perSecMilli) / 1e6
	e.tokens = min(e.tokens+float64(max(h.p.Now-e.filled, 0))*perMS, float64(burst))
	e.filled = h.p.Now
	if need := float64(cost) - e.tokens; need > 1e-9 {
		return max(int64(math.Ceil(need/perMS-1e-6)), 1)
	}
	e.tokens -= float64(cost)
	return 0
}

// KVCas is the function cas of mta1_kv.
func (h *host) KVCas(key, old, value string, ttl int64) int32 {
	if code := h.kv(key, true); code < 0 {
		return int32(code)
	}
	expire, ok := h.expiry(ttl)
	have := ""
	e := h.p.entry(key)
	if e != nil {
		have = e.text()
	}
	switch {
	case !ok || e != nil && e.kind == 'b':
		return int32(abi.Invalid)
	case len(value) > abi.MaxKVValue:
		return int32(abi.TooLarge)
	case have != old:
		return int32(abi.Conflict)
	}
	h.p.put(key, &entry{kind: 'v', value: value, expire: expire})
	return 0
}

// TableLookup is the function lookup of mta1_table.
func (h *host) TableLookup(table, key string, buf []byte) int32 {
	h.count()
	t, ok := h.p.o.Tables[table]
	switch {
	case !ok:
		return int32(abi.Denied)
	case key == "":
		return int32(abi.Invalid)
	case len(key) > abi.MaxKey:
		return int32(abi.TooLarge)
	}
	v, ok := t[strings.ToLower(key)]
	if !ok {
		return int32(abi.NotFound)
	}
	return give(buf, v)
}

// Emit is the function emit of mta1_event.
func (h *host) Emit(topic, data string) int32 {
	h.count()
	switch {
	case !slices.Contains(h.p.o.Topics, topic) && !slices.Contains(h.p.o.Topics, "*"):
		return int32(abi.Denied)
	case !h.inHook:
		return int32(abi.State)
	case topic == "" || len(topic) > abi.MaxTopic || strings.ContainsFunc(topic, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}):
		return int32(abi.Invalid)
	case len(data) > abi.MaxEvent:
		return int32(abi.TooLarge)
	case h.used.events >= abi.MaxEventCalls:
		return int32(abi.Limit)
	}
	h.used.events++
	h.p.Events = append(h.p.Events, Event{topic, data})
	return 0
}

// Secret is the function secret.
func (h *host) Secret(name string, buf []byte) int32 {
	h.count()
	v, ok := h.p.o.Secrets[name]
	if !ok {
		return int32(abi.Denied)
	}
	return give(buf, v)
}

// MetricDef is the function metric_def.
func (h *host) MetricDef(kind int32, name string) int32 {
	h.count()
	switch {
	case kind < abi.MetricCounter || kind > abi.MetricHistogram:
		return int32(abi.Unsupported)
	case h.inHook:
		return int32(abi.State)
	case name == "" || len(name) > abi.MaxMetricName || name[0] >= '0' && name[0] <= '9' ||
		strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }):
		return int32(abi.Invalid)
	}
	all := &h.p.memory.series
	if i := slices.IndexFunc(*all, func(s series) bool { return s.name == name }); i >= 0 {
		if (*all)[i].kind != kind {
			return int32(abi.Conflict)
		}
		return int32(i)
	}
	if len(*all) >= abi.MaxMetrics {
		return int32(abi.Limit)
	}
	*all = append(*all, series{kind: kind, name: name})
	return int32(len(*all) - 1)
}

// MetricAdd is the function metric_add.
func (h *host) MetricAdd(id int32, value int64) int32 {
	h.count()
	all := h.p.memory.series
	switch {
	case !h.inHook:
		return int32(abi.State)
	case id < 0 || int(id) >= len(all):
		return int32(abi.NotFound)
	case all[id].kind == abi.MetricGauge:
		all[id].value = value
	case value < 0:
		return int32(abi.Invalid)
	default:
		all[id].value += value
	}
	return 0
}
