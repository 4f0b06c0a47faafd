package engine

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

func TestDefaultLimitsAreThoseOfTheContract(t *testing.T) {
	b, err := os.ReadFile("../abi/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(b), "| Hook | CPU | Wall |\n")
	d := defaults()
	seen := map[string]bool{}
	for line := range strings.Lines(rows) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			break
		}
		if strings.HasPrefix(cells[0], "---") {
			continue
		}
		duration := func(s string) time.Duration {
			s, _, _ = strings.Cut(strings.TrimSpace(s), ",")
			v, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
			if err != nil {
				t.Error(err)
			}
			return v
		}
		want := CallLimit{duration(cells[1]), duration(cells[2])}
		for name := range strings.SplitSeq(strings.TrimSpace(cells[0]), ", ") {
			got := d.Init
			if s, ok := hook.ParseStage(name); ok {
				got = d.Calls[s]
			} else if name != "mta1_init" && name != "selftest" {
				t.Errorf("README.md has limits of %q, which is no hook", name)
			}
			if got != want {
				t.Errorf("limits of %s are %v, README.md says %v", name, got, want)
			}
			seen[name] = true
		}
	}
	hook.AllStages(func(s hook.Stage) {
		if !seen[s.String()] {
			t.Errorf("README.md has no limits of %s", s)
		}
	})
}

func TestInterpretersHaveMoreTime(t *testing.T) {
	d := defaults()
	for _, r := range []Report{{Script: 1}, {Toolchain: map[string][]string{"language": {"JavaScript"}}}} {
		if got := d.of(&r); got.Calls[hook.Rcpt].CPU != 40*time.Millisecond || got.Init.CPU != time.Second || got.Calls[hook.Rcpt].Wall != d.Calls[hook.Rcpt].Wall {
			t.Errorf("%+v: %+v", r, got)
		}
	}
	if got := d.of(&Report{Toolchain: map[string][]string{"language": {"Rust"}}}); got != d {
		t.Errorf("%+v", got)
	}
}
