package core_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports guards the borders of the tree. A failure here is a design
// question, not a test to adjust.
func TestImports(t *testing.T) {
	const us = "github.com/wasmta/wasmta/"
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}} | {{join .TestImports \" \"}} {{join .XTestImports \" \"}}", us+"core/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	only := map[string][]string{ // outside module -> packages that may import it
		"github.com/tetratelabs/wazero":   nil,
		"github.com/cockroachdb/pebble":   {"core/queue/pebblestore"},
		"github.com/miekg/dns":            {"core/resolve", "core/mailtest"},
		"github.com/emersion/go-smtp":     {"core/smtpd", "core/smtpd/gate"},
		"github.com/emersion/go-msgauth":  nil, // tests: another implementation to agree with
		"github.com/alecthomas/kong":      nil,
		"github.com/pelletier/go-toml/v2": {"core/config"},
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], us)
		test := false
		for _, imp := range words[1:] {
			test = test || imp == "|"
			for _, wall := range []string{"hostapi", "sdk", "plugins", "cmd", "examples"} {
				if strings.HasPrefix(imp, us+wall) {
					t.Errorf("%s imports %s: core never looks across the sandbox wall", pkg, imp)
				}
			}
			for mod, allowed := range only {
				if strings.HasPrefix(imp, mod) && !test && !slices.Contains(allowed, pkg) {
					t.Errorf("%s imports %s: that belongs in %v only", pkg, imp, allowed)
				}
			}
		}
	}
	for pkg, never := range map[string][]string{
		"core/mail":     {us},
		"core/smtpd":    {us + "core/queue", us + "core/qmgr"},
		"core/hook":     {us + "core/event", us + "core/queue"},
		"core/route":    {us + "core/resolve", "net/http"},
		"core/dsn":      {us + "core/queue", us + "core/hook"},
		"core/qmgr":     {us + "core/smtpd", us + "core/deliver", us + "core/resolve"},
		"core/deliver":  {us + "core/queue", us + "core/hook", us + "core/qmgr"},
		"core/event":    {us + "core/hook"},
		"core/mailauth": {us + "core/smtpd", us + "core/queue", us + "core/hook", us + "core/event", us + "core/config"},
		"core/trace":    {us + "core/queue", us + "core/smtpd", us + "core/qmgr", us + "core/deliver", us + "core/event"},
		"core/config":   {us + "core/queue", us + "core/smtpd", us + "core/hook"},
	} {
		out, err := exec.Command("go", "list", "-f", "{{join .Imports \" \"}}", us+pkg).Output()
		if err != nil {
			t.Errorf("go list %s: %v", pkg, err)
		}
		for _, imp := range strings.Fields(string(out)) {
			for _, n := range never {
				if strings.HasPrefix(imp, n) {
					t.Errorf("%s must not import %s", pkg, imp)
				}
			}
		}
	}
}
