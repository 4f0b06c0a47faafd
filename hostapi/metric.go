package hostapi

import (
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// Metrics are the series that plugins keep. They live as long as the server:
// a new generation that defines a series of the same name and kind goes on
// with it.
type Metrics struct {
	mu   sync.Mutex
	sets map[string]*MetricSet // in force, by plugin
}

// MetricSet is what one generation of a plugin has defined.
type MetricSet struct {
	mu   sync.Mutex
	old  *MetricSet // in force before; nil: none
	list []*series
}

type series struct {
	kind    int32
	name    string
	value   atomic.Int64 // of a counter or gauge; the sum of a histogram
	buckets [65]atomic.Int64
}

// Series is one series at one moment.
type Series struct {
	Plugin, Name string
	Kind         int32 // abi.MetricCounter, MetricGauge or MetricHistogram
	Value        int64 // of a histogram the sum of the samples
	// Buckets count the samples of a histogram: number n those below 2^n that
	// are not in the one before. Empty ones at the end are left out.
	Buckets []int64
}

// Begin makes the set for a generation of plugin that is being loaded.
func (m *Metrics) Begin(plugin string) *MetricSet {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &MetricSet{old: m.sets[plugin]}
}

// Commit puts the set of a generation that was loaded in force: what it did
// not define is gone.
func (m *Metrics) Commit(plugin string, s *MetricSet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sets == nil {
		m.sets = make(map[string]*MetricSet)
	}
	s.mu.Lock()
	s.old = nil
	s.mu.Unlock()
	m.sets[plugin] = s
}

// Snapshot is all series, ordered by plugin and name.
func (m *Metrics) Snapshot() []Series {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Series
	for plugin, s := range m.sets {
		s.mu.Lock()
		for _, x := range s.list {
			v := Series{Plugin: plugin, Name: x.name, Kind: x.kind, Value: x.value.Load()}
			if x.kind == abi.MetricHistogram {
				for n := range x.buckets {
					if count := x.buckets[n].Load(); count > 0 {
						v.Buckets = append(append(v.Buckets, make([]int64, n-len(v.Buckets))...), count)
					}
				}
			}
			out = append(out, v)
		}
		s.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Series) int {
		if c := strings.Compare(a.Plugin, b.Plugin); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

func (s *MetricSet) find(name string) int {
	return slices.IndexFunc(s.list, func(x *series) bool { return x.name == name })
}

// define gives the id of a series, which is made if there is none yet: each
// instance that initialises itself defines the same.
func (s *MetricSet) define(kind int32, name string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(name); i >= 0 {
		if s.list[i].kind != kind {
			return int64(abi.Conflict)
		}
		return int64(i)
	}
	if len(s.list) >= abi.MaxMetrics {
		return int64(abi.Limit)
	}
	x := &series{kind: kind, name: name}
	if s.old != nil {
		s.old.mu.Lock()
		if i := s.old.find(name); i >= 0 && s.old.list[i].kind == kind {
			x = s.old.list[i]
		}
		s.old.mu.Unlock()
	}
	s.list = append(s.list, x)
	return int64(len(s.list) - 1)
}

func (s *MetricSet) add(id int32, value int64) abi.Code {
	s.mu.Lock()
	if id < 0 || int(id) >= len(s.list) {
		s.mu.Unlock()
		return abi.NotFound
	}
	x := s.list[id]
	s.mu.Unlock()
	switch {
	case x.kind == abi.MetricGauge:
		x.value.Store(value)
	case value < 0:
		return abi.Invalid
	default:
		x.value.Add(value)
		if x.kind == abi.MetricHistogram {
			x.buckets[bits.Len64(uint64(value))].Add(1)
		}
	}
	return abi.OK
}

// metricName is a name that every system of metrics takes.
func metricName(b []byte) bool {
	for i, c := range b {
		if (c < 'a' || c > 'z') && c != '_' && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return len(b) > 0 && len(b) <= abi.MaxMetricName
}

// metric_def(kind, name, nlen): in mta1_init only.
func metricDef(c *Call, m Memory, p []uint64) int64 {
	name := in(m, p[1], p[2])
	kind := int32(p[0])
	switch {
	case kind < abi.MetricCounter || kind > abi.MetricHistogram:
		return int64(abi.Unsupported)
	case c.name != "init":
		return int64(abi.State)
	case !metricName(name):
		return int64(abi.Invalid)
	case c.guest.Metrics == nil:
		return int64(abi.Unavailable)
	}
	c.meter.Charge(costRead)
	return c.guest.Metrics.define(kind, string(name))
}

// metric_add(id, value): a counter grows by value, a gauge becomes it, a
// histogram has one sample more.
func metricAdd(c *Call, _ Memory, p []uint64) int64 {
	if code := c.effects(); code < 0 {
		return int64(code)
	}
	if c.guest.Metrics == nil {
		return int64(abi.Unavailable)
	}
	return int64(c.guest.Metrics.add(int32(p[0]), int64(p[1])))
}
