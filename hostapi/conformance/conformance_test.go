package conformance_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/conformance"
	"github.com/wasmta/wasmta/hostapi/conformance/wat"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/gobuild"
)

// host is this server's engine as the kit sees it.
type host struct{ *engine.Engine }

func (h host) Load(ctx context.Context, spec hostapi.Spec, wasm []byte) (conformance.Plugin, error) {
	p, err := h.Engine.Load(ctx, spec, wasm)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func start(interpreter bool) conformance.Factory {
	return func(t testing.TB, env conformance.Environment) conformance.Host {
		e, err := engine.New(engine.Options{Interpreter: interpreter, Version: env.Version, Log: env.Log, Services: env.Services})
		if err != nil {
			t.Fatal(err)
		}
		return host{e}
	}
}

// both runs cases in machine code and in the interpreter, which must come to the
// same.
func both(t *testing.T, cases []conformance.Case) {
	results := map[bool]conformance.Results{}
	for interpreter, name := range map[bool]string{false: "compiler", true: "interpreter"} {
		t.Run(name, func(t *testing.T) { results[interpreter] = conformance.RunCases(t, start(interpreter), cases) })
	}
	for name, want := range results[false] {
		if got := results[true][name]; got != want {
			t.Errorf("%s: compiled\n%s\ninterpreted\n%s", name, want, got)
		}
	}
}

func all(t testing.TB) []conformance.Case {
	t.Helper()
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestEngine(t *testing.T) { both(t, all(t)) }

func golden(t testing.TB) []conformance.Case {
	t.Helper()
	cases, err := conformance.Golden()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestGoldenModules(t *testing.T) { both(t, golden(t)) }

func TestGoldenModuleInGo(t *testing.T) {
	if testing.Short() {
		t.Skip("building a plugin takes long")
	}
	const dir = "golden/v1_0/goguest"
	wasm, err := gobuild.Build(t.Context(), dir)
	if errors.Is(err, gobuild.ErrNoGo) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := conformance.ParseCase(dir+"/main.go", string(source), wasm)
	if err != nil {
		t.Fatal(err)
	}
	conformance.RunCases(t, start(false), []conformance.Case{c})
}

var writeTo = flag.String("wat", "", "a directory for the modules of all cases, as WebAssembly text")

// The modules that are made from calls are plain text too, to be looked at or run
// elsewhere.
func TestModulesAsText(t *testing.T) {
	if *writeTo == "" {
		t.Skip("-args -wat DIR writes them")
	}
	for _, c := range slices.Concat(all(t), golden(t)) {
		name := strings.NewReplacer("/", "_", " ", "-", ":", "", "\"", "").Replace(c.Name) + ".wat"
		if err := os.WriteFile(filepath.Join(*writeTo, name), []byte(c.Text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// imports are the functions that a module imports, "module.name".
func imports(t testing.TB, c conformance.Case) (list []string) {
	t.Helper()
	wasm, err := wat.Assemble([]byte(c.Text))
	if err != nil {
		t.Fatalf("%s: %v", c.Place, err)
	}
	r, err := engine.Inspect(wasm)
	if err != nil {
		t.Fatalf("%s: %v", c.Place, err)
	}
	for module, names := range r.Imports {
		for _, n := range names {
			list = append(list, module+"."+n)
		}
	}
	return list
}

// contract calls f for each function of the contract.
func contract(f func(name string)) {
	abi.Functions(func(name string, _ abi.Signature) { f(abi.Module + "." + name) })
	abi.Capabilities(func(module, name string, _ abi.Signature, _ []string) { f(module + "." + name) })
}

func TestEveryFunctionHasAGoldenModule(t *testing.T) {
	if abi.Minor > 0 {
		t.Skip("golden/v1_0 has the functions of version 1.0, and is not changed any more")
	}
	used := map[string]bool{}
	for _, c := range golden(t) {
		for _, i := range imports(t, c) {
			used[i] = true
		}
	}
	contract(func(name string) {
		if !used[name] {
			t.Errorf("no golden module uses %s", name)
		}
	})
}

// The cases come to every function, and to each in a good and a bad way; to every
// error, field, list, scope, feature and hook.
func TestCoverage(t *testing.T) {
	text := map[string]string{} // what is asked of a function, by its short name
	var whole strings.Builder
	paths, err := filepath.Glob("calls/*.calls")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole.Write(b)
		for line := range strings.Lines(string(b)) {
			if call, result, ok := strings.Cut(line, " -> "); ok {
				name, _, _ := strings.Cut(call, " ")
				text[name] += result
			}
		}
	}
	onlyGood := []string{"log_level", "now_ms", "mono_ns", "feature"} // these cannot fail
	contract(func(name string) {
		short := strings.TrimPrefix(strings.TrimPrefix(name, "mta1."), "mta1_")
		results := strings.Fields(text[short])
		good := slices.ContainsFunc(results, func(r string) bool { return !strings.HasPrefix(r, "E_") && r != "trap" })
		bad := slices.ContainsFunc(results, func(r string) bool { return strings.HasPrefix(r, "E_") })
		if !good {
			t.Errorf("no case in which %s works", short)
		}
		if !bad && !slices.Contains(onlyGood, short) {
			t.Errorf("no case in which %s fails", short)
		}
	})
	words := map[string]bool{}
	for _, w := range strings.Fields(whole.String()) {
		words[w] = true
	}
	for _, w := range conformance.Words() {
		if !words[w] {
			t.Errorf("no case has %s", w)
		}
	}
	seen := map[string]bool{}
	for _, c := range all(t) {
		for _, s := range c.Sections {
			seen[s.Hook] = true
		}
	}
	hook.AllStages(func(s hook.Stage) {
		if !seen[s.String()] {
			t.Errorf("no case at %s", s)
		}
	})
}

// Every way in which a call can fail is met.
func TestEveryFaultIsMet(t *testing.T) {
	want := map[string]bool{}
	for _, f := range []hostapi.Fault{hostapi.FaultTrap, hostapi.FaultExit, hostapi.FaultRecursion, hostapi.FaultCPU, hostapi.FaultDeadline,
		hostapi.FaultLimit, hostapi.FaultVerdict} {
		want["fails "+string(f)] = true
	}
	for _, c := range all(t) {
		for _, s := range c.Sections {
			delete(want, s.Want)
		}
	}
	if len(want) > 0 {
		t.Errorf("no case %v", slices.Sorted(maps.Keys(want)))
	}
}

// tables are the rows of the tables of the contract's text, by their first row.
func tables(t *testing.T) map[string][][]string {
	t.Helper()
	b, err := os.ReadFile("../abi/README.md")
	if err != nil {
		t.Fatal(err)
	}
	out, header := map[string][][]string{}, ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			header = ""
			continue
		}
		var cells []string
		for c := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(c))
		}
		switch {
		case header == "":
			header = cells[0]
		case !strings.HasPrefix(cells[0], "---"):
			out[header] = append(out[header], cells)
		}
	}
	return out
}

// What the kit counts on is what the contract says.
func TestTheContractSaysSo(t *testing.T) {
	rules := tables(t)
	fields := conformance.Fields()
	for _, row := range rules["Id"] {
		if !strings.HasPrefix(row[0], "0x") {
			continue
		}
		want := strings.Join([]string{row[0], row[1], row[2], row[3], row[4]}, " | ")
		i := slices.Index(fields, want)
		if i < 0 {
			t.Errorf("fields.go has no row %q", want)
			continue
		}
		fields = slices.Delete(fields, i, i+1)
	}
	if len(fields) > 0 {
		t.Errorf("the contract has no fields %q", fields)
	}
	for _, row := range rules["NAME"] {
		if got := conformance.Allowed(row[0]); got != row[2] {
			t.Errorf("at %s the kit allows %q, the contract %q", row[0], got, row[2])
		}
	}
	codes := map[string]bool{}
	for _, w := range conformance.Words() {
		codes[w] = true
	}
	for _, row := range rules["Code"] {
		if strings.HasPrefix(row[1], "E_") && !codes[row[1]] {
			t.Errorf("the kit has no %s", row[1])
		}
	}
}
