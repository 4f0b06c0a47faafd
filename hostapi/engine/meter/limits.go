package meter

import "fmt"

// What the rewritten module imports and exports, for the host to wire.
const (
	// ImportModule and ImportName name the function () -> () that the guest
	// calls when its fuel is negative.
	ImportModule = "wasmta_meter"
	ImportName   = "refuel"

	// ExportPrefix is reserved: plugins may not export names with it.
	ExportPrefix = "wasmta."
	// FuelExport is the mutable i64 global of fuel left. It starts at 0, so
	// that the first function asks for fuel.
	FuelExport = ExportPrefix + "fuel"
	// DepthExport is the mutable i32 global of the weight of the running
	// calls. Between calls it is 0; above [Limits.Depth] after a trap, the
	// trap was the recursion limit.
	DepthExport = ExportPrefix + "depth"
)

// Limits bounds what a module may contain. A field of zero or less means its
// default.
type Limits struct {
	ModuleBytes   int // size of the module; 16 MiB
	Functions     int // functions defined in the module; 50,000
	FunctionBytes int // size of one function, local declarations included; 96 KiB: a parser of yacc compiled by Go has 74
	Locals        int // parameters and locals of one function; 4,000
	Globals       int // globals; 1,000
	Tables        int // tables; 4
	TableEntries  int // entries of one table, also after table.grow; 32,768 (Go: 4,096 and one for each function)
	Segments      int // data segments and, apart from them, element segments; 200,000 (Go: 50,000)
	Exports       int // exports; 10,000
	// CompileMillis bounds the estimated time of compiling the module on one
	// slow core, in milliseconds; 20,000. Branches, loops with many locals, and
	// calls with many globals take more than linear time, so that a file of a
	// few hundred KiB could keep the compiler busy for hours.
	CompileMillis int
	MemoryPages   int // pages of 64 KiB, also after memory.grow; 1,024 (64 MiB)
	Depth         int // weight of the calls that may run at once; 20,000
}

// WithDefaults returns l with every zero field replaced by its default.
func (l Limits) WithDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.ModuleBytes, 16 << 20},
		{&l.Functions, 50_000},
		{&l.FunctionBytes, 96 << 10},
		{&l.CompileMillis, 20_000},
		{&l.Locals, 4_000},
		{&l.Globals, 1_000},
		{&l.Tables, 4},
		{&l.TableEntries, 32_768},
		{&l.Segments, 200_000},
		{&l.Exports, 10_000},
		{&l.MemoryPages, 1_024},
		{&l.Depth, 20_000},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	l.MemoryPages = min(l.MemoryPages, maxPages)
	return l
}

// Reason says what kind of fault an Error is.
type Reason string

// The reasons of an Error.
const (
	Malformed   Reason = "malformed"   // not a WebAssembly module, or damaged
	Unsupported Reason = "unsupported" // a feature beyond core WebAssembly 2.0
	Forbidden   Reason = "forbidden"   // well-formed, but not for plugins
	TooLarge    Reason = "too large"   // beyond one of the Limits
)

// Error tells the author of a plugin why it was refused and what to do.
type Error struct {
	Reason Reason
	Offset int    // byte offset in the module, -1 when there is none
	Detail string // what is wrong and what to do
}

func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("wasm module %s: %s", e.Reason, e.Detail)
	}
	return fmt.Sprintf("wasm module %s at offset %#x: %s", e.Reason, e.Offset, e.Detail)
}

func tooLarge(what string, got, limit int, advice string) *Error {
	return &Error{TooLarge, -1, fmt.Sprintf("%s: %d, the limit is %d; %s", what, got, limit, advice)}
}
