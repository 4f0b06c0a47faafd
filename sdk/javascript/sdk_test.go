package javascript_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// The types are those of what there is: the names of the prelude and of mta.d.ts
// are the same, in both directions.
func TestTypes(t *testing.T) {
	types, err := os.ReadFile("mta.d.ts")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../hostapi/script/javascript/prelude/*.js")
	if err != nil || len(files) != 7 {
		t.Fatalf("%v, %v", files, err)
	}
	var prelude []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		prelude = append(prelude, b...)
	}
	names := func(source []byte, patterns ...string) map[string]bool {
		found := map[string]bool{}
		for _, p := range patterns {
			for _, m := range regexp.MustCompile(p).FindAllSubmatch(source, -1) {
				found[string(m[1])] = true
			}
		}
		return found
	}
	compare := func(what string, a, b map[string]bool) {
		t.Helper()
		delete(a, "constructor")
		delete(b, "constructor")
		if len(a) < 3 {
			t.Errorf("%s: found only %v", what, a)
		}
		for n := range a {
			if !b[n] {
				t.Errorf("%s: mta.d.ts does not have %s", what, n)
			}
		}
		for n := range b {
			if !a[n] {
				t.Errorf("%s: there is no %s, which mta.d.ts has", what, n)
			}
		}
	}
	verdicts := names(prelude, `(?:const|,) ([A-Z]{4,}) = \d`)
	exports := names(prelude, `(?m)^export (?:const|class|function) (\w+)`)
	for v := range verdicts {
		exports[v] = true
	}
	compare("exports", exports, names(types, `(?m)^  export (?:const|class|function) (\w+)`))

	// Members: of the classes, between "class NAME" and the brace that ends it, and
	// of the interfaces.
	block := func(source []byte, begin string) []byte {
		_, rest, ok := bytes.Cut(source, []byte(begin))
		if !ok {
			t.Fatalf("there is no %q", begin)
		}
		indent := begin[:len(begin)-len(strings.TrimLeft(begin, "\n "))]
		body, _, _ := bytes.Cut(rest, []byte(indent+"}"))
		return body
	}
	for _, c := range [][2]string{
		{"class Session", "interface Session"}, {"export class Recipient", "export class Recipient"}, {"class Headers", "interface Headers"},
		{"class Body", "interface Body"}, {"class Config {", "interface Config"}, {"class Response", "interface Response"},
	} {
		export := "export "
		if c[1] == "interface Response" || strings.HasPrefix(c[1], "export ") {
			export = ""
		}
		compare(c[0], names(block(prelude, "\n"+c[0]), `(?m)^  (?:get |set |\*)?(\w+)\(`), names(block(types, "\n  "+export+c[1]), `(?m)^    (?:readonly )?(\w+)[(?:]`))
	}
	for _, c := range []string{"kv", "dns", "http", "crypto"} {
		compare(c, names(block(prelude, "\nexport const "+c+" = Object.freeze({"), `(?m)^  (?:get )?(\w+)[:(]`),
			names(block(types, "\n  export const "+c+": {"), `(?m)^    (?:readonly )?(\w+)[(?:]`))
	}
}
