package script_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/script"
)

func TestIs(t *testing.T) {
	for path, want := range map[string]bool{
		"policy.js": true, "/a/b.MJS": true, "policy.lua": true, "policy.wasm": false, "js": false, "policy.js/": false, "policy.js.wasm": false, "": false,
	} {
		if got := script.Is(path); got != want {
			t.Errorf("%q is a script: %v", path, got)
		}
	}
}

func TestBuild(t *testing.T) {
	dir := t.TempDir()
	write := func(name, source string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const policy = "export function onRcpt(s) {}"
	a, err := script.Build(t.Context(), write("policy.js", policy))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "other"), 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := script.Build(t.Context(), write("other/policy.js", policy))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the module depends on the directory: %v", err)
	}
	if r, err := engine.Inspect(a); err != nil || len(r.Problems) > 0 || strings.Join(r.Hooks, " ") != "rcpt" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.js"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		write("policy.py", policy):                                "is no script",
		write("empty.js", ""):                                     "is empty",
		write("octets.js", "\xff"):                                "octets.js\": the script is not UTF-8",
		filepath.Join(dir, "dir.js"):                              "is not a regular file",
		filepath.Join(dir, "gone.js"):                             "no such file",
		write("long.js", strings.Repeat(" ", script.MaxSource+1)): "has more than 1048576 octets",
	} {
		if _, err := script.Build(t.Context(), path); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", path, err, why)
		}
	}
}
