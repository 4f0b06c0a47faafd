package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
	"github.com/wasmta/wasmta/hostapi/manifest"
)

// Report is what a module's binary shows of itself.
type Report struct {
	Hash       string              `json:"hash"` // SHA-256 in hex
	Size       int                 `json:"size"` // octets
	ABI        string              `json:"abi"`  // of the contract that it is built for; empty: not a plugin
	Hooks      []string            `json:"hooks"`
	Selftest   bool                `json:"selftest"`
	Imports    map[string][]string `json:"imports"` // functions by module
	Memory     *MemoryReport       `json:"memory,omitempty"`
	Functions  int                 `json:"functions"`
	Toolchain  map[string][]string `json:"toolchain,omitempty"` // the producers section
	Go         bool                `json:"go"`                  // carries Go's runtime
	Script     int                 `json:"script,omitempty"`    // octets of what it interprets
	Unknown    []string            `json:"unknown_exports,omitempty"`
	Manifest   json.RawMessage     `json:"manifest,omitempty"`
	Asks       []string            `json:"asks"`               // lines of [plugin.grant]: by its manifest, or as far as its imports tell
	Optional   []string            `json:"optional,omitempty"` // import modules that it can do without
	Problems   []string            `json:"problems,omitempty"` // why it would not be loaded
	hooks      hook.StageSet
	initialize bool
	manifest   *manifest.Manifest
	script     string
	imports    []meter.Import
}

// MemoryReport is the memory a module declares, in pages of 64 KiB.
type MemoryReport struct {
	Min uint32  `json:"min_pages"`
	Max *uint32 `json:"max_pages,omitempty"`
}

// Inspect reads a module from the binary alone. An error means that it is no
// WebAssembly module; what else keeps it from being loaded is in Problems.
func Inspect(wasm []byte) (Report, error) {
	m, err := meter.Inspect(wasm)
	if err != nil {
		return Report{}, err
	}
	sum := sha256.Sum256(wasm)
	r := Report{
		Hash:      hex.EncodeToString(sum[:]),
		Size:      len(wasm),
		Hooks:     []string{},
		Imports:   map[string][]string{},
		Functions: m.Functions,
		Asks:      []string{},
		imports:   m.Imports,
	}
	for _, i := range m.Imports {
		r.Imports[i.Module] = append(r.Imports[i.Module], i.Name)
	}
	if m.Memory != nil {
		r.Memory = &MemoryReport{Min: m.Memory.Min}
		if m.Memory.HasMax {
			r.Memory.Max = &m.Memory.Max
		}
	}
	r.exports(&m)
	if data, ok := m.CustomData("producers"); ok {
		r.Toolchain = producers(data)
	}
	r.Go = goRuntime(&m, r.Toolchain)
	r.readManifest(&m)
	if data, ok := m.CustomData(abi.ScriptSection); len(data) > abi.MaxScript {
		r.problem(fmt.Sprintf("its section %s has %d octets; the limit is %d", abi.ScriptSection, len(data), abi.MaxScript))
	} else if ok {
		r.script, r.Script = string(data), len(data)
	}
	if r.Go && r.ABI != "" && !r.initialize {
		r.problem("it was built as a program; build it with -buildmode=c-shared")
	}
	r.Problems = append(r.Problems, checkImports(&m)...)
	return r, nil
}

// readManifest reads the manifest in the module, if there is one, and what it
// asks for.
func (r *Report) readManifest(m *meter.Module) {
	data, ok := m.CustomData(abi.ManifestSection)
	if !ok {
		var none hostapi.Grant
		for _, module := range slices.Sorted(maps.Keys(r.Imports)) {
			if line := none.Missing(module); line != "" {
				r.Asks = append(r.Asks, line)
			}
		}
		return
	}
	parsed, err := manifest.Parse(data)
	if err == nil {
		var compact bytes.Buffer
		err = json.Compact(&compact, data) // for one line
		r.manifest, r.Manifest = parsed, compact.Bytes()
		r.Asks = append(r.Asks, manifest.Lines(parsed.Asks())...)
		r.Optional = parsed.Capabilities.Optional
	}
	if err == nil {
		err = parsed.Fits(r.Hooks, r.Selftest)
	}
	if err != nil {
		r.problem("in its section " + abi.ManifestSection + ": " + oneLine(err.Error()))
	}
}

// exports sorts the exports into hooks and the rest.
func (r *Report) exports(m *meter.Module) {
	names := map[string]hook.Stage{}
	hook.AllStages(func(s hook.Stage) { names[abi.HookPrefix+s.String()] = s })
	has := map[string]bool{}
	for _, e := range m.Exports {
		stage, isHook := names[e.Name]
		want := "() -> i32"
		switch {
		case e.Name == abi.Memory:
			if e.Kind != meter.KindMemory {
				r.problem("the export \"memory\" is a " + e.Kind.String() + "; it must be the memory")
			}
			has[e.Name] = e.Kind == meter.KindMemory
			continue
		case e.Name == abi.ExportInitialize:
			want = "() -> ()"
		case isHook, e.Name == abi.ExportInit, e.Name == abi.ExportSelftest:
		case strings.HasPrefix(e.Name, abi.ExportPrefix):
			name := oneLine(e.Name)
			r.Unknown = append(r.Unknown, name)
			r.problem("the export " + quote(name) + " is not in the contract; is it misspelt? names beginning with " + abi.ExportPrefix + " are reserved")
			continue
		default:
			continue
		}
		if e.Kind != meter.KindFunc || e.Signature.String() != want {
			got := e.Kind.String()
			if e.Kind == meter.KindFunc {
				got = e.Signature.String()
			}
			r.problem("the export " + e.Name + " is " + got + "; it must be a function " + want)
			continue
		}
		has[e.Name] = true
		if isHook {
			r.hooks |= hook.Stages(stage)
		}
	}
	hook.AllStages(func(s hook.Stage) {
		if r.hooks.Has(s) {
			r.Hooks = append(r.Hooks, s.String())
		}
	})
	r.Selftest, r.initialize = has[abi.ExportSelftest], has[abi.ExportInitialize]
	if has[abi.ExportInit] {
		r.ABI = "1"
	} else {
		r.problem("it does not export " + abi.ExportInit + ", which every plugin must")
	}
	if !has[abi.Memory] {
		r.problem("it does not export its memory under the name " + quote(abi.Memory))
	}
}

func (r *Report) problem(s string) { r.Problems = append(r.Problems, s) }

func quote(s string) string { return `"` + s + `"` }

// checkImports tells what the module imports that it cannot have. Whether it
// is granted is a matter of authorisation and not of form, and so is a module
// of the contract that this server does not offer.
func checkImports(m *meter.Module) []string {
	var problems []string
	known := signatures()
	for _, i := range m.Imports {
		name := quote(oneLine(i.Module)) + "." + quote(oneLine(i.Name))
		if i.Kind != meter.KindFunc {
			problems = append(problems, "it imports the "+i.Kind.String()+" "+name+"; a plugin may import functions only")
			continue
		}
		functions, ok := known[i.Module]
		if !ok && reserved(i.Module) {
			continue
		}
		if !ok {
			problems = append(problems, "it imports "+name+"; there is no such module: a plugin may import from "+abi.Module+", "+wasiModule+" and env.abort")
			continue
		}
		want, ok := functions[i.Name]
		if !ok {
			problems = append(problems, "it imports "+name+", which version "+version+" of the contract does not have; does it need a newer server?")
			continue
		}
		if got := i.Signature.String(); got != want {
			problems = append(problems, "it imports "+name+" as "+got+"; it is "+want)
		}
	}
	return problems
}

// reserved tells whether the contract has a capability module of this name.
func reserved(module string) bool {
	found := module == abi.ModuleSubmit || module == abi.ModuleNone
	abi.CapabilityModules(func(m string) { found = found || m == module })
	return found
}

// goRuntime tells whether the module was made by the Go compiler.
func goRuntime(m *meter.Module, producers map[string][]string) bool {
	for _, p := range producers["language"] {
		if p == "Go" || strings.HasPrefix(p, "Go ") {
			return true
		}
	}
	_, ok := m.CustomData("go:buildid")
	return ok
}

// producers reads the producers section of the tool conventions: fields of
// names with versions. What is malformed is left out.
func producers(data []byte) map[string][]string {
	const limit = 64
	out := map[string][]string{}
	number := func() (uint64, bool) {
		v, n := binary.Uvarint(data)
		if n <= 0 || v > limit*16 {
			return 0, false
		}
		data = data[n:]
		return v, true
	}
	str := func() (string, bool) {
		n, ok := number()
		if !ok || n > uint64(len(data)) {
			return "", false
		}
		s := string(data[:n])
		data = data[n:]
		return oneLine(s), true
	}
	fields, _ := number()
	for range min(fields, limit) {
		name, ok := str()
		if !ok {
			break
		}
		values, more := number()
		if !more {
			break
		}
		for range min(values, limit) {
			tool, ok1 := str()
			version, ok2 := str()
			if !ok1 || !ok2 {
				return out
			}
			if version != "" {
				tool += " " + version
			}
			out[name] = append(out[name], tool)
		}
	}
	return out
}
