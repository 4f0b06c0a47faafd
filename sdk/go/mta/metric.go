package mta

import (
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// metrics are the series that were made, in their order.
var metrics []*metric

// metric is a series. The server knows it after OnInit.
type metric struct {
	kind int32
	name string
	id   int32
}

func newMetric(kind int32, name string) *metric {
	m := &metric{kind, name, int32(abi.NotFound)}
	metrics = append(metrics, m)
	return m
}

// defineMetrics tells the server of them. It refuses a name that is malformed
// or has two kinds, and more than 64.
func defineMetrics() error {
	for _, m := range metrics {
		if m.id = guest.MetricDef(m.kind, m.name); m.id < 0 {
			return configError("metric " + m.name + ": " + abi.Code(m.id).Error())
		}
	}
	return nil
}

func (m *metric) add(n int64) {
	// What is wrong with a sample is no reason to fail a message.
	guest.MetricAdd(m.id, n)
}

// Counter counts what happened. It goes on in new versions of the plugin.
type Counter struct{ m *metric }

// NewCounter makes a counter: for a package variable, or in [OnInit]. A name has
// 1 to 64 lower-case letters, digits and '_'; a plugin has at most 64 series.
func NewCounter(name string) Counter { return Counter{newMetric(abi.MetricCounter, name)} }

// Add adds n, which is not below 0.
func (c Counter) Add(n int64) { c.m.add(n) }

// Gauge is what something is now.
type Gauge struct{ m *metric }

// NewGauge makes a gauge, as [NewCounter].
func NewGauge(name string) Gauge { return Gauge{newMetric(abi.MetricGauge, name)} }

// Set sets the gauge.
func (g Gauge) Set(n int64) { g.m.add(n) }

// Histogram is how large things are.
type Histogram struct{ m *metric }

// NewHistogram makes a histogram, as [NewCounter]. Its buckets are the powers of
// two.
func NewHistogram(name string) Histogram { return Histogram{newMetric(abi.MetricHistogram, name)} }

// Observe counts one of the size n, which is not below 0.
func (h Histogram) Observe(n int64) { h.m.add(n) }
