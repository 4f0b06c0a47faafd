package admin

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wasmta/wasmta/core/hook"
)

// Gauge is a figure of the server that goes up and down. Its name in the
// metrics is wasmta_ and Name.
type Gauge struct {
	Name, Help string
	Value      func() float64
	Total      bool // it only grows, as a counter
}

// PluginSeries is a series of metrics that a plugin keeps. Names of plugins and
// series are labels, never names of metrics: two plugins may use one name for
// different kinds.
type PluginSeries struct {
	Plugin, Name string
	Kind         string   // counter | gauge | histogram
	Value        float64  // of a histogram the sum of the samples
	Buckets      []Bucket // of a histogram, rising
}

// Bucket counts the samples up to LE that are above the bucket before.
type Bucket struct {
	LE    float64
	Count uint64
}

// metrics collects what the server can tell when it is asked; nothing is
// counted twice, and a plugin that is gone is gone here too.
type metrics struct {
	opt Options

	messages, items                               *prometheus.Desc
	info, sessions, breaker                       *prometheus.Desc
	calls, verdicts, failures, skipped, wall, cpu *prometheus.Desc
	ownCounter, ownGauge, ownHistogram            *prometheus.Desc
	gauges                                        []*prometheus.Desc
}

func newMetrics(opt Options) http.Handler {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("wasmta_"+name, help, labels, nil)
	}
	m := &metrics{
		opt:      opt,
		messages: desc("queue_messages", "Messages in the queue."),
		items:    desc("queue_items", "Queue items: recipients of one message that share a domain."),

		info:     desc("plugin_info", "Generations of plugins that are kept ready; 1: it is in force.", "plugin", "generation", "sha256"),
		sessions: desc("plugin_sessions", "Sessions and deliveries that hold the generation in force.", "plugin"),
		breaker:  desc("plugin_breaker_open", "1: the plugin failed too often and is not asked.", "plugin", "generation"),
		calls:    desc("plugin_calls_total", "Times that a plugin was asked.", "plugin", "generation", "hook"),
		verdicts: desc("plugin_verdicts_total", "Answers by verdict.", "plugin", "generation", "hook", "verdict"),
		failures: desc("plugin_failures_total", "Calls that failed, by kind of failure.", "plugin", "generation", "hook", "kind"),
		skipped:  desc("plugin_skipped_total", "Times that on_error answered without asking.", "plugin", "generation", "hook"),
		wall:     desc("plugin_call_seconds", "Time from question to answer.", "plugin", "generation", "hook"),
		cpu:      desc("plugin_cpu_seconds", "CPU time of the guest in a call.", "plugin", "generation", "hook"),

		ownCounter:   desc("plugin_counter_total", "Counters that plugins define.", "plugin", "name"),
		ownGauge:     desc("plugin_gauge", "Gauges that plugins define.", "plugin", "name"),
		ownHistogram: desc("plugin_histogram", "Histograms that plugins define.", "plugin", "name"),
	}
	for _, g := range opt.Gauges {
		m.gauges = append(m.gauges, desc(g.Name, g.Help))
	}
	r := prometheus.NewRegistry()
	r.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Describe describes nothing: which series there are is known only when they
// are collected, since plugins come and go.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	if m.opt.Queue != nil {
		c := m.opt.Queue.Counts()
		gauge(m.messages, float64(c.Messages))
		gauge(m.items, float64(c.Items))
	}
	for i, g := range m.opt.Gauges {
		kind := prometheus.GaugeValue
		if g.Total {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(m.gauges[i], kind, g.Value())
	}
	if m.opt.Plugins == nil {
		return
	}
	for _, p := range m.opt.Plugins.ListPlugins() {
		gauge(m.sessions, float64(p.Sessions), p.Name)
		seen := make(map[string]bool)
		for _, g := range slices.Backward(p.Generations) {
			if seen[g.Generation] {
				continue // two that do the same share an id: the later one is told
			}
			seen[g.Generation] = true
			gauge(m.info, truth(g.InForce), p.Name, g.Generation, g.Hash)
			gauge(m.breaker, truth(g.Breaker != "closed"), p.Name, g.Generation)
			for _, f := range g.Hooks {
				counter(m.calls, f.Calls, p.Name, g.Generation, f.Hook)
				counter(m.skipped, f.Skipped, p.Name, g.Generation, f.Hook)
				for verdict, n := range f.Verdicts {
					counter(m.verdicts, n, p.Name, g.Generation, f.Hook, verdict)
				}
				for kind, n := range f.Failures {
					counter(m.failures, n, p.Name, g.Generation, f.Hook, kind)
				}
				out <- durations(m.wall, f.Wall, p.Name, g.Generation, f.Hook)
				out <- durations(m.cpu, f.CPU, p.Name, g.Generation, f.Hook)
			}
		}
	}
	for _, s := range m.opt.Plugins.PluginSeries() {
		switch s.Kind {
		case "counter":
			out <- prometheus.MustNewConstMetric(m.ownCounter, prometheus.CounterValue, s.Value, s.Plugin, s.Name)
		case "gauge":
			gauge(m.ownGauge, s.Value, s.Plugin, s.Name)
		case "histogram":
			buckets, total := make(map[float64]uint64), uint64(0)
			for _, b := range s.Buckets {
				total += b.Count
				buckets[b.LE] = total
			}
			out <- prometheus.MustNewConstHistogram(m.ownHistogram, total, s.Value, buckets, s.Plugin, s.Name)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// durations is h in seconds.
func durations(d *prometheus.Desc, h hook.Histogram, labels ...string) prometheus.Metric {
	buckets, total := make(map[float64]uint64), uint64(0)
	for _, b := range h.Buckets {
		total += b.Count
		if b.LE > 0 {
			buckets[b.LE.Seconds()] = total
		}
	}
	return prometheus.MustNewConstHistogram(d, total, h.Sum.Seconds(), buckets, labels...)
}
