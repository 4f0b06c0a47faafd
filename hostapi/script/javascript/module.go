package javascript

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/script/javascript/qjs"
)

// Specifier is what policies import from: import { reject } from "mta".
const Specifier = "mta"

// MaxSource is the largest script, in octets.
const MaxSource = 1 << 20

// capabilities are what "mta" has only for scripts that import it: each has
// its functions of the contract, in the module mta1_NAME, and its prelude.
var capabilities = []string{"crypto", "dns", "event", "http", "kv", "table"}

var (
	//go:embed prelude/mta.js
	preludeMTA string
	//go:embed prelude/crypto.js
	preludeCrypto string
	//go:embed prelude/dns.js
	preludeDNS string
	//go:embed prelude/event.js
	preludeEvent string
	//go:embed prelude/http.js
	preludeHTTP string
	//go:embed prelude/kv.js
	preludeKV string
	//go:embed prelude/table.js
	preludeTable string
)

// prelude is the source of the module "mta" with these capabilities.
func prelude(imports map[string]bool) string {
	source := preludeMTA
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		switch name {
		case "crypto":
			source += preludeCrypto
		case "dns":
			source += preludeDNS
		case "event":
			source += preludeEvent
		case "http":
			source += preludeHTTP
		case "kv":
			source += preludeKV
		case "table":
			source += preludeTable
		}
	}
	return source
}

// Module makes a plugin of a script. name is for messages: "policy.js" of
// "policy.js:3:7: ...", without directories. The error tells what is wrong with
// the file as a file; whether it is JavaScript shows when the plugin starts.
//
// It takes some ten milliseconds, and the module has about 0.9 MB.
func Module(ctx context.Context, name string, source []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	source = bytes.TrimPrefix(source, []byte("\ufeff"))
	switch {
	case len(source) > MaxSource:
		return nil, fmt.Errorf("the script has %d octets, the limit is %d", len(source), MaxSource)
	case !utf8.Valid(source):
		return nil, errors.New("the script is not UTF-8; save it so")
	case bytes.IndexByte(source, 0) >= 0:
		return nil, errors.New("the script holds a zero octet; it must be plain text")
	}
	found := scan(string(source))
	return qjs.Link(qjs.Policy{
		Name: fileName(name), Script: string(source), Prelude: prelude(found.imports), Capabilities: found.imports, Hooks: hooks(found.exports),
	})
}

// fileName makes a name that messages can show and that is not "mta".
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '(' || r == ')' || r == ':' {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(filepath.Base(name), "_"))
	for len(name) > 100 {
		_, n := utf8.DecodeRuneInString(name)
		name = name[n:]
	}
	if !strings.Contains(strings.TrimLeft(name, "."), ".") {
		name += ".js"
	}
	return name
}

// hooks are all hooks in JavaScript's names, in the contract's order.
func hooks(exports map[string]bool) []qjs.Hook {
	var list []qjs.Hook
	add := func(stage, export string) {
		name := "on" + strings.ToUpper(stage[:1]) + stage[1:]
		list = append(list, qjs.Hook{Name: name, Export: export, Subscribed: exports[name]})
	}
	hook.AllStages(func(s hook.Stage) { add(s.String(), abi.HookPrefix+s.String()) })
	add("selftest", abi.ExportSelftest)
	return list
}
