package plugintest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

// play plays one rcpt with a handler that returns what it found.
func play(t *testing.T, p *plugintest.Plugin, h func(s *mta.Session)) {
	t.Helper()
	onrcpt.Handle(func(s *mta.Session) mta.Verdict { h(s); return mta.Continue })
	s := p.Session()
	s.Mail("a@example.com")
	s.Rcpt("b@example.org").Want("continue")
}

func is(t *testing.T, want string, got ...any) {
	t.Helper()
	if s := strings.TrimSuffix(fmt.Sprintln(got...), "\n"); s != want {
		t.Errorf("%q, want %q", s, want)
	}
}

func TestMemory(t *testing.T) {
	open(t, plugintest.Options{})
	p := plugintest.New(t, plugintest.Options{KV: true})
	pair := func(a, b any) string { return fmt.Sprint(a, " ", b) }
	play(t, p, func(s *mta.Session) {
		kv := s.KV()
		is(t, " false", pair(kv.Get("a")))
		is(t, "<nil>", kv.Set("a", "1", mta.Minute))
		is(t, "1 true", pair(kv.Get("a")))
		is(t, "false <nil>", pair(kv.Add("a", "2", 0)))
		is(t, "true <nil>", pair(kv.Add("b", "2", 0)))
		is(t, "false <nil>", pair(kv.Replace("c", "2", 0)))
		is(t, "true <nil>", pair(kv.Replace("b", "3", 0)))
		is(t, "false <nil>", pair(kv.CompareAndSwap("b", "2", "4", 0)))
		is(t, "true <nil>", pair(kv.CompareAndSwap("b", "3", "4", 0)))
		is(t, "true <nil>", pair(kv.Delete("b")))
		is(t, "false <nil>", pair(kv.Delete("b")))
		is(t, "<nil>", kv.SetSync("seed", "x", 0))
		is(t, "2 <nil>", pair(kv.Incr("n", 2, mta.Second)))
		is(t, "0 <nil>", pair(kv.IncrRefresh("n", -9, mta.Hour)))
		is(t, "0 invalid argument", pair(kv.Incr("a", 1, 0)))
		is(t, "0 <nil>", pair(kv.Take("t", 1, 2, 0.5)))
		is(t, "0 <nil>", pair(kv.Take("t", 1, 2, 0.5)))
		is(t, "2000 <nil>", pair(kv.Take("t", 1, 2, 0.5)))
		is(t, "0 invalid argument", pair(kv.Take("t", 3, 2, 0.5)))
		is(t, "too large", kv.Set(strings.Repeat("k", 513), "", 0))
		is(t, "invalid argument", kv.Set("k", "", -1))
	})
	p.Now += 59_999
	play(t, p, func(s *mta.Session) {
		is(t, "1 true", pair(s.KV().Get("a")))
		is(t, "0 <nil>", pair(s.KV().Take("t", 2, 2, 0.5)))
	})
	p.Now++
	play(t, p, func(s *mta.Session) {
		is(t, " false", pair(s.KV().Get("a")))
		for range abi.MaxKVCalls {
			s.KV().Get("a")
		}
		is(t, "limit reached", s.KV().Set("a", "1", 0))
	})
	if v, ok := p.Value("seed"); !ok || v != "x" {
		t.Errorf("%q %v", v, ok)
	}
	if v, ok := p.Value("t"); ok {
		t.Errorf("a bucket is %q", v)
	}
	p.SetValue("seed", "y")
	play(t, p, func(s *mta.Session) { is(t, "y true", pair(s.KV().Get("seed"))) })
	play(t, plugintest.New(t, plugintest.Options{}), func(s *mta.Session) { is(t, "not granted", s.KV().Set("a", "1", 0)) })
}

func TestTablesSecretsEventsAndMetrics(t *testing.T) {
	var key string
	var seen mta.Counter
	var level mta.Gauge
	var size mta.Histogram
	mta.OnInit(func(*mta.Config) (err error) {
		seen, level, size = mta.NewCounter("seen"), mta.NewGauge("level"), mta.NewHistogram("size")
		key, err = mta.Secret("api")
		return err
	})
	o := plugintest.Options{
		Secrets: map[string]string{"api": "hush"}, Topics: []string{"seen"},
		Tables: map[string]map[string]string{"users": {"bob": "local"}},
	}
	p := plugintest.New(t, o)
	play(t, p, func(s *mta.Session) {
		v, ok := s.Lookup("users", "BOB")
		is(t, "local true hush", v, ok, key)
		_, ok = s.Lookup("users", "eve")
		is(t, "false", ok)
		_, ok = s.Lookup("others", "bob")
		is(t, "false", ok)
		is(t, "<nil>", s.Emit("seen", "bob"))
		is(t, "not granted", s.Emit("other", "bob"))
		_, err := mta.Secret("other")
		is(t, "not granted", err)
		seen.Add(2)
		seen.Add(-1)
		level.Set(-3)
		size.Observe(5)
		size.Observe(7)
	})
	is(t, "[{seen bob}] 2 -3 12", p.Events, p.Metric("seen"), p.Metric("level"), p.Metric("size"))
	if _, err := plugintest.Load(t, plugintest.Options{}); err != abi.Denied {
		t.Errorf("without the secret mta1_init returns %v", err)
	}
	mta.OnInit(func(*mta.Config) error { mta.NewCounter("seen"); mta.NewGauge("seen"); return nil })
	p, err := plugintest.Load(t, o)
	if err == nil || !strings.Contains(p.Log[0], "metric seen: conflict") {
		t.Errorf("one name for two kinds: %v, %q", err, p.Log)
	}
}
