package manager_test

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

// The manager is tested without WebAssembly; it stays so only if it cannot run
// any.
func TestImports(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"github.com/wasmta/wasmta/core/hook", "github.com/wasmta/wasmta/hostapi", "github.com/wasmta/wasmta/hostapi/manifest"}
	for _, path := range p.Imports {
		if strings.Contains(path, ".") && !slices.Contains(allowed, path) {
			t.Errorf("hostapi/manager imports %s", path)
		}
	}
}
