package examples_test

import (
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// A machine for which there is no compiler interprets, and comes to the same.
func TestPoliciesAreTheSameInterpreted(t *testing.T) {
	e, err := engine.New(engine.Options{Interpreter: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			for _, p := range policies {
				t.Run(p.example, func(t *testing.T) {
					loaded, err := e.Load(t.Context(), hostapi.Spec{Name: p.example, Config: []byte(p.config), Grant: p.grant,
						Limits: hostapi.Limits{CPU: time.Minute, Wall: 2 * time.Minute}}, module(t, l, p.example))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(loaded.Close)
					k := hook.Chain{{Name: p.example, Stages: loaded.Stages(), Handler: loaded}}.Open("mx", nil)
					defer k.Close()
					for _, c := range cases {
						if c.example != p.example {
							continue
						}
						event := c.event(t)
						if got := answer(event, k.Ask(t.Context(), event)); got != c.want {
							t.Errorf("%s:\n got %s\nwant %s", c.name, quote(got), quote(c.want))
						}
					}
				})
			}
		})
	}
}
