package hostapi_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What may be imported where, below hostapi and, for wazero, in the whole tree.
func TestImports(t *testing.T) {
	const module = "github.com/wasmta/wasmta/"
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if !strings.HasSuffix(rel, ".go") || rel == "zz_deps.go" || strings.Contains(rel, "/testdata/") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		within := func(dir string) bool { return strings.HasPrefix(rel, dir+"/") }
		test := strings.HasSuffix(rel, "_test.go")
		for _, i := range f.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			bad := func(why string) { t.Errorf("%s imports %s: %s", rel, p, why) }
			own, ours := strings.CutPrefix(p, module)
			switch {
			case strings.HasPrefix(p, "github.com/tetratelabs/wazero"):
				if !within("hostapi") {
					bad("only hostapi knows wazero")
				} else if !within("hostapi/engine") && !within("hostapi/conformance") {
					bad("only hostapi/engine drives wazero")
				}
			case !within("hostapi"):
			case within("hostapi/script/lua/guest"): // on the other side of the wall
				if !strings.HasPrefix(p, "github.com/yuin/gopher-lua") && strings.Contains(p, ".") &&
					!strings.HasPrefix(own, "sdk/go/") && own != "hostapi/abi" && own != "hostapi/script/lua/scan" {
					bad("a guest knows the SDK only")
				}
			case strings.HasPrefix(p, "github.com/cockroachdb/pebble") && !within("hostapi/state"):
				bad("plugin memory is the business of hostapi/state")
			case within("hostapi/abi") && !test && strings.Contains(p, "."):
				bad("the contract imports nothing, so that it compiles for guests")
			case ours && strings.HasPrefix(own, "core/") && own != "core/mail" && own != "core/hook" && !test:
				bad("the sandbox knows core/mail and core/hook only")
			case ours && !test && !strings.HasPrefix(own, "core/") && !strings.HasPrefix(own, "hostapi"):
				bad("hostapi stands on core/mail and core/hook")
			case !ours && !within("hostapi/engine") && strings.Contains(p, ".") && !test && !within("hostapi/manager") && !within("hostapi/manifest") && !within("hostapi/state") && !within("hostapi/harness") &&
				!(within("hostapi/password") && strings.HasPrefix(p, "golang.org/x/crypto/")) &&
				!(within("hostapi/script/javascript/qjs") && p == "github.com/aperturerobotics/go-quickjs-wasi-reactor"):
				bad("the host functions need the standard library only")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
