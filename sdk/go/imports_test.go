package sdk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What an author imports must not bring the server along, and what every plugin
// carries must stay small.
func TestImports(t *testing.T) {
	const module = "github.com/wasmta/wasmta/"
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("go list does not run here: %v", err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Standard   bool
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !p.Standard && !strings.HasPrefix(p.ImportPath+"/", module+"sdk/go/") && p.ImportPath != module+"hostapi/abi" {
			t.Errorf("sdk/go depends on %s", p.ImportPath)
		}
	}
	cmd = exec.Command("go", "list", "-deps", "./mta")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err = cmd.Output(); err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		switch p {
		case "fmt", "encoding/json", "net", "os", "time", "reflect":
			t.Errorf("sdk/go/mta depends on %s, which makes every plugin larger", p)
		}
	}
}
