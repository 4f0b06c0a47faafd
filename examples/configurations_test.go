package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/config"
)

// TestConfigurations reads every configuration here as the server does, and
// looks for what would hurt whoever copies one.
func TestConfigurations(t *testing.T) {
	files, err := filepath.Glob("*/wasmta.toml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, file := range files {
		c, err := config.Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, p := range c.RelayNetworks {
			if p.Bits() < 8 {
				t.Errorf("%s: %s may relay", file, p)
			}
		}
		for _, l := range c.Listeners {
			if l.TLS == config.TLSNone && !l.Local() {
				t.Errorf("%s: the listener %q has no TLS", file, l.Name)
			}
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), "README.md")); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if len(line) > 125 {
				t.Errorf("%s:%d: a line of %d characters", file, i+1, len(line))
			}
		}
	}
}
