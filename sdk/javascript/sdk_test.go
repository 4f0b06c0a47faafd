package javascript_test

import (
	"path/filepath"
	"testing"

	"github.com/wasmta/wasmta/hostapi/script"
	"github.com/wasmta/wasmta/sdk/internal/exercise"
)

func module(t *testing.T, name string) []byte {
	t.Helper()
	wasm, err := script.Build(t.Context(), filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestHelpers(t *testing.T) { exercise.Run(t, module(t, "exercise.js")) }

func TestCapabilities(t *testing.T) {
	wasm := module(t, "capabilities.js")
	exercise.Honest(t, wasm, "mta1_crypto", "mta1_dns", "mta1_event", "mta1_http", "mta1_kv", "mta1_table")
	exercise.Capabilities(t, wasm)
	exercise.Honest(t, module(t, "exercise.js"))
}
