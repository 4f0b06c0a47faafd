package meter_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// TestCompilerAndInterpreterAgree runs modules that compilers of WebAssembly got
// wrong once, out of wazero's own collection, after the rewrite: results, traps,
// memory and fuel are the same in the compiler and in the interpreter.
func TestCompilerAndInterpreterAgree(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Skip("the source of wazero is not at hand: ", err)
	}
	files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "fuzzcases", "testdata", "*.wasm"))
	if len(files) < 50 {
		t.Skipf("wazero's collection is not at hand: %d modules", len(files))
	}
	run, refused, calls := 0, 0, 0
	for _, f := range files {
		wasm, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		metered, err := meter.Rewrite(wasm, meter.Limits{})
		if err != nil {
			refused++ // a feature that plugins do not get
			continue
		}
		compiled, ok := transcript(t, metered, wazero.NewRuntimeConfigCompiler())
		interpreted, _ := transcript(t, metered, wazero.NewRuntimeConfigInterpreter())
		for n := range compiled {
			if n >= len(interpreted) || compiled[n] != interpreted[n] {
				t.Errorf("%s: compiler: %s\ninterpreter: %s", filepath.Base(f), compiled[n], strings.Join(interpreted[min(n, len(interpreted)):min(n+1, len(interpreted))], ""))
				break
			}
		}
		if ok {
			run++
			calls += len(compiled)
		}
	}
	t.Logf("%d modules, %d calls, %d modules refused", run, calls, refused)
	if run < 40 {
		t.Errorf("only %d of %d modules ran", run, len(files))
	}
}

// transcript is what every exported function of a module says to a few
// arguments, each in an instance of its own; ok is false if the module cannot
// be instantiated.
func transcript(t *testing.T, wasm []byte, config wazero.RuntimeConfig) (list []string, ok bool) {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(256))
	defer r.Close(ctx)
	g := &guest{quota: 20 * slice}
	if _, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(g.refuel), nil, nil).Export(meter.ImportName).Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	code, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return []string{"does not compile"}, false
	}
	host := map[string]wazero.HostModuleBuilder{}
	for _, f := range code.ImportedFunctions() {
		module, name, _ := f.Import()
		if module == meter.ImportModule {
			continue
		}
		if host[module] == nil {
			host[module] = r.NewHostModuleBuilder(module)
		}
		host[module].NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
			for n := range f.ResultTypes() {
				stack[n] = 0
			}
		}), f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	for _, b := range host {
		if _, err := b.Instantiate(ctx); err != nil {
			return []string{"imports cannot be given"}, false
		}
	}
	for name, f := range code.ExportedFunctions() {
		if strings.HasPrefix(name, meter.ExportPrefix) {
			continue
		}
		for _, arg := range []uint64{0, 1, 0x7fffffff, 0xffffffff} {
			mod, err := r.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
			if err != nil {
				return []string{"not instantiated: " + firstLine(err)}, false
			}
			g.mod, g.given, g.refuels = mod, 0, 0
			args := make([]uint64, len(f.ParamTypes()))
			for n, typ := range f.ParamTypes() {
				if args[n] = arg; typ == vector || typ == api.ValueTypeExternref || typ == 0x70 {
					args[n] = 0
				}
			}
			line := fmt.Sprintf("%s(%#x): ", name, arg)
			if vectors(f) {
				line += "not called" // the API passes no vectors
			} else if result, err := mod.ExportedFunction(name).Call(ctx, args...); err != nil {
				line += firstLine(err)
			} else {
				line += canonical(result, f.ResultTypes())
			}
			for memory := range code.ExportedMemories() {
				m := mod.ExportedMemory(memory)
				b, _ := m.Read(0, m.Size())
				line += fmt.Sprintf(" memory %x", sha256.Sum256(b))[:24]
			}
			list = append(list, fmt.Sprintf("%s fuel %d", line, g.used()))
			mod.Close(ctx)
		}
	}
	return sorted(list), true
}

const vector = api.ValueType(0x7b)

func vectors(f api.FunctionDefinition) bool {
	for _, list := range [][]api.ValueType{f.ParamTypes(), f.ResultTypes()} {
		for _, typ := range list {
			if typ == vector {
				return true
			}
		}
	}
	return false
}

// canonical prints results; any NaN is one: its payload is not defined.
func canonical(result []uint64, types []api.ValueType) string {
	var b strings.Builder
	for n, v := range result {
		switch types[n] {
		case api.ValueTypeF32:
			fmt.Fprintf(&b, " %v", api.DecodeF32(v))
		case api.ValueTypeF64:
			fmt.Fprintf(&b, " %v", api.DecodeF64(v))
		case api.ValueTypeI32:
			fmt.Fprintf(&b, " %#x", uint32(v))
		case api.ValueTypeI64:
			fmt.Fprintf(&b, " %#x", v)
		default:
			fmt.Fprintf(&b, " reference %v", v != 0)
		}
	}
	return b.String()
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func sorted(list []string) []string { slices.Sort(list); return list }
