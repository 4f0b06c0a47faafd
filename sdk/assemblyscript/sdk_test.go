package sdk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wasmta/wasmta/sdk/internal/exercise"
)

func TestHelpers(t *testing.T) {
	asc := exercise.Tool(t, "asc", "npm install assemblyscript, and put node_modules/.bin on the PATH")
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	packages := t.TempDir() // where npm would put @wasmta/sdk
	if err := os.Mkdir(filepath.Join(packages, "@wasmta"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, filepath.Join(packages, "@wasmta", "sdk")); err != nil {
		t.Skipf("this machine makes no symbolic links: %v", err)
	}
	out := filepath.Join(packages, "exercise.wasm")
	exercise.Run(t, exercise.Build(t, ".", out, asc, "testdata/exercise.ts", "--path", packages, "--outFile", out))
}
