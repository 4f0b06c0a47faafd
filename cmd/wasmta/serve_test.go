package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/config"
)

// A reload says what it leaves as it was.
func TestWhatNeedsARestart(t *testing.T) {
	const file = `hostname = "mx.example.org"
local_domains = ["a.example"]
[[listener]]
address = "127.0.0.1:2525"
[[route]]
domains = ["a.example"]
to = "discard"
[queue]
retry = ["5m"]
[[plugin]]
name = "p"
module = "p.wasm"
[log]
format = "line"
`
	read := func(edits ...string) *config.Config {
		t.Helper()
		c, err := config.Parse([]byte(strings.NewReplacer(edits...).Replace(file)), "w.toml", "/etc/wasmta")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		edits, want []string
	}{
		{nil, nil},
		{[]string{"p.wasm", "q.wasm", `"line"`, `"json"`}, nil},
		{[]string{"mx.example.org", "mx2.example.org", "discard", "maildir:/m"}, []string{"hostname", "route"}},
		{[]string{"2525", "2526", "5m", "6m"}, []string{"listener", "queue"}},
	} {
		if got := restartKeys(read(), read(c.edits...)); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.edits, got, c.want)
		}
	}
}
