package exercise_test

import (
	"errors"
	"testing"

	"github.com/wasmta/wasmta/hostapi/gobuild"
	"github.com/wasmta/wasmta/sdk/internal/exercise"
)

// What the SDK for Go gives is what the others must give.
func TestCapabilitiesInGo(t *testing.T) {
	if testing.Short() {
		t.Skip("building a plugin takes long")
	}
	wasm, err := gobuild.Build(t.Context(), "testdata/capabilities")
	if errors.Is(err, gobuild.ErrNoGo) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	exercise.Capabilities(t, wasm)
}
