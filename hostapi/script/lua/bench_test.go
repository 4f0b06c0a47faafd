package lua_test

import (
	"testing"

	"github.com/wasmta/wasmta/hostapi"
)

const benchScript = `
local blocked = { ["spam.test"] = true }
function on_rcpt(s)
  local r = s.rcpt
  if blocked[r.domain] then return s:reject(550, "5.7.1", "no") end
end`

// BenchmarkHook is a hook with two host calls in an open instance.
func BenchmarkHook(b *testing.B) {
	p := newHost(b).load(b, hostapi.Spec{}, benchScript)
	e := rcpt("ann")
	i, err := p.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Handle(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSession is a session of one hook in a clean instance.
func BenchmarkSession(b *testing.B) {
	p := newHost(b).load(b, hostapi.Spec{}, benchScript)
	e := rcpt("ann")
	b.ReportAllocs()
	for b.Loop() {
		i, err := p.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Handle(b.Context(), e); err != nil {
			b.Fatal(err)
		}
		i.Close()
	}
}
