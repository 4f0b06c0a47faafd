package admin

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

// counted is the fake with figures.
type counted struct{ *fake }

func (counted) ListPlugins() []PluginStatus {
	figures := []hook.Figures{{
		Hook: "rcpt", Calls: 7, Skipped: 2, Verdicts: map[string]uint64{"reject": 4, "continue": 2}, Failures: map[string]uint64{"trap": 1},
		Wall: hook.Histogram{Sum: 3 * time.Second, Buckets: []hook.Bucket{{LE: time.Millisecond, Count: 5}, {LE: 0, Count: 2}}},
	}}
	return []PluginStatus{{Name: `a"b`, Sessions: 3, Generations: []PluginGeneration{
		{Generation: "g1", Hash: "h1", Breaker: "closed", Hooks: figures},
		{Generation: "g2", Hash: "h2", Breaker: "closed"},
		{Generation: "g2", Hash: "h2", Breaker: "open", InForce: true},
	}}}
}

func TestMetrics(t *testing.T) {
	f := counted{newFake()}
	s := New(Options{Queue: f, Operator: f, Plugins: f, Gauges: []Gauge{{Name: "sessions", Help: "x", Value: func() float64 { return 12 }}}})
	r := httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil)
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	text := w.Body.String()
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %v\n%s", w.Code, w.Header(), text)
	}
	for _, want := range []string{
		"wasmta_sessions 12",
		"wasmta_queue_items 4",
		`wasmta_plugin_sessions{plugin="a\"b"} 3`,
		`wasmta_plugin_info{generation="g2",plugin="a\"b",sha256="h2"} 1`,
		`wasmta_plugin_breaker_open{generation="g2",plugin="a\"b"} 1`,
		`wasmta_plugin_calls_total{generation="g1",hook="rcpt",plugin="a\"b"} 7`,
		`wasmta_plugin_verdicts_total{generation="g1",hook="rcpt",plugin="a\"b",verdict="reject"} 4`,
		`wasmta_plugin_failures_total{generation="g1",hook="rcpt",kind="trap",plugin="a\"b"} 1`,
		`wasmta_plugin_skipped_total{generation="g1",hook="rcpt",plugin="a\"b"} 2`,
		`wasmta_plugin_call_seconds_bucket{generation="g1",hook="rcpt",plugin="a\"b",le="0.001"} 5`,
		`wasmta_plugin_call_seconds_bucket{generation="g1",hook="rcpt",plugin="a\"b",le="+Inf"} 7`,
		`wasmta_plugin_call_seconds_sum{generation="g1",hook="rcpt",plugin="a\"b"} 3`,
		`wasmta_plugin_counter_total{name="seen",plugin="a"} 3`,
		`wasmta_plugin_gauge{name="seen",plugin="b"} -2`,
		`wasmta_plugin_histogram_bucket{name="size",plugin="a",le="8"} 3`,
		`wasmta_plugin_histogram_count{name="size",plugin="a"} 3`,
		"go_goroutines ",
	} {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, "\n"+want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestMetricsWithoutPlugins(t *testing.T) {
	w := httptest.NewRecorder()
	New(Options{}).http.Handler.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
