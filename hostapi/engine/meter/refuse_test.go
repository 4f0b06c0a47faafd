package meter_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func TestRefuses(t *testing.T) {
	code := func(c Code) func(*Module) {
		return func(m *Module) {
			m.Memory(1, 2)
			m.Table(FuncRef, 1, 2)
			m.Global(I32, true, I32Const(0))
			m.Func("f", I32, None, I32, c)
		}
	}
	for name, c := range map[string]struct {
		build  func(*Module)
		reason meter.Reason
		text   string
	}{
		"imported memory":  {func(m *Module) { m.RawImport("env", "memory", KindMemory, "\x00\x01") }, meter.Forbidden, "--import-memory"},
		"imported table":   {func(m *Module) { m.RawImport("env", "t", KindTable, "\x70\x00\x01") }, meter.Forbidden, "functions only"},
		"imported global":  {func(m *Module) { m.RawImport("env", "g", KindGlobal, "\x7f\x01") }, meter.Forbidden, "functions only"},
		"imported refuel":  {func(m *Module) { m.Import(meter.ImportModule, meter.ImportName, None, None) }, meter.Forbidden, "belongs to the server"},
		"reserved export":  {func(m *Module) { m.Func("wasmta.fuel", None, None, None, Nop) }, meter.Forbidden, "rename it"},
		"shared memory":    {func(m *Module) { m.RawImport("env", "m", KindMemory, "\x03\x01\x02") }, meter.Unsupported, "threads"},
		"64-bit memory":    {func(m *Module) { m.RawImport("env", "m", KindMemory, "\x04\x01") }, meter.Unsupported, "wasm32"},
		"two memories":     {func(m *Module) { m.Memory(1, 2); m.Memory(1, 2) }, meter.Unsupported, "one memory"},
		"large memory":     {func(m *Module) { m.Memory(5000, NoMax) }, meter.TooLarge, "memory limit"},
		"large table":      {func(m *Module) { m.Table(FuncRef, 40_000, NoMax) }, meter.TooLarge, "table entries"},
		"memory max < min": {func(m *Module) { m.Memory(2, 1) }, meter.Malformed, "below minimum"},

		"fuel global read":    {code(GlobalGet(1) + Drop), meter.Malformed, "global 1 does not exist"},
		"fuel global set":     {code(I32Const(0) + GlobalSet(1)), meter.Malformed, "global 1 does not exist"},
		"depth global":        {code(I32Const(0) + GlobalSet(2)), meter.Malformed, "global 2 does not exist"},
		"function beyond":     {code(Call(1)), meter.Malformed, "function 1 does not exist"},
		"ref.func beyond":     {code(RefFunc(1) + Drop), meter.Malformed, "function 1 does not exist"},
		"scratch local":       {code(LocalGet(2) + MemoryGrow + Drop), meter.Malformed, "local 2 does not exist"},
		"added type":          {code(I32Const(0) + CallIndirect(1, 0)), meter.Malformed, "type 1 does not exist"},
		"added block type":    {code(Block(TypeIndex(1), "")), meter.Malformed, "type 1 does not exist"},
		"label of the block":  {code(Block(None, Br(2))), meter.Malformed, "label 2 does not exist"},
		"br_table beyond":     {code(LocalGet(0) + BrTable(0, 1)), meter.Malformed, "label 1 does not exist"},
		"table beyond":        {code(I32Const(0) + TableGet(1) + Drop), meter.Malformed, "table 1 does not exist"},
		"segment beyond":      {code(I32Const(0) + I32Const(0) + I32Const(0) + MemoryInit(0)), meter.Malformed, "data"},
		"export beyond":       {func(m *Module) { m.Export("f", KindFunc, 0) }, meter.Malformed, "does not exist"},
		"global export":       {func(m *Module) { m.Export("g", KindGlobal, 0) }, meter.Malformed, "does not exist"},
		"start beyond":        {func(m *Module) { m.Start(0) }, meter.Malformed, "does not exist"},
		"element beyond":      {func(m *Module) { m.Table(FuncRef, 1, 2); m.Elem(0, 7) }, meter.Malformed, "function 7 does not exist"},
		"initialiser beyond":  {func(m *Module) { m.Global(I32, false, GlobalGet(1)) }, meter.Malformed, "global 1 does not exist"},
		"else without if":     {code(Block(None, Else)), meter.Malformed, "else without if"},
		"end too early":       {code(End + Nop), meter.Malformed, "left over"},
		"no end":              {func(m *Module) { m.RawFunc(None, None, "\x00\x01") }, meter.Malformed, "cut off"},
		"overlong number":     {code("\x41\x80\x80\x80\x80\x80\x00" + Drop), meter.Malformed, "32 bits"},
		"tail call":           {code("\x12\x00"), meter.Unsupported, "-mtail-call"},
		"indirect tail call":  {code("\x13\x00\x00"), meter.Unsupported, "-mtail-call"},
		"try":                 {code("\x06\x40\x0b"), meter.Unsupported, "exceptions"},
		"throw":               {code("\x08\x00"), meter.Unsupported, "exceptions"},
		"try_table":           {code("\x1f\x40\x00\x0b"), meter.Unsupported, "exceptions"},
		"call_ref":            {code("\x14\x00"), meter.Unsupported, "GC"},
		"atomics":             {code("\xfe\x03\x00"), meter.Unsupported, "threads"},
		"gc":                  {code("\xfb\x00\x00"), meter.Unsupported, "GC"},
		"relaxed simd":        {code("\xfd\x80\x02"), meter.Unsupported, "relaxed SIMD"},
		"second memory":       {code("\x3f\x01" + Drop), meter.Unsupported, "several memories"},
		"extended constant":   {func(m *Module) { m.Global(I32, false, I32Const(1)+I32Const(2)+I32Add) }, meter.Unsupported, "extended"},
		"long function":       {code(Code(strings.Repeat("\x01", 100_000))), meter.TooLarge, "split the function"},
		"many locals":         {func(m *Module) { m.RawFunc(None, None, "\x01\xff\xff\xff\xff\x0f\x7f\x0b") }, meter.TooLarge, "locals"},
		"many branches":       {code(Code(strings.Repeat("\x20\x00\x04\x40\x0b", 19_500))), "", ""},
		"locals at loops":     {func(m *Module) { m.Func("", None, None, Types(strings.Repeat("\x7f", 3000)), nest(1500)) }, meter.TooLarge, "compiling"},
		"globals after calls": {manyGlobals, "", ""},
		"million blocks":      {func(m *Module) { m.RawFunc(None, None, "\x00"+strings.Repeat("\x02\x40", 1<<20)) }, meter.TooLarge, "bytes of code"},
	} {
		t.Run(name, func(t *testing.T) {
			m := New()
			c.build(m)
			_, err := meter.Rewrite(m.Bytes(), meter.Limits{})
			if c.reason == "" {
				// Costly, but within the limits.
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			wantError(t, err, c.reason, c.text)
		})
	}
}

func nest(n int) Code {
	return Code(strings.Repeat("\x03\x40", n) + strings.Repeat("\x0b", n))
}

func manyGlobals(m *Module) {
	for range 900 {
		m.Global(I32, true, I32Const(0))
	}
	f := m.Func("", None, None, None, Nop)
	m.Func("", None, None, None, Code(strings.Repeat(string(Call(f)), 10_000)))
}

func TestHostileFiles(t *testing.T) {
	head := "\x00asm\x01\x00\x00\x00"
	huge := "\xff\xff\xff\xff\x0f"
	for name, b := range map[string]string{
		"empty":            "",
		"text":             "(module)",
		"component":        "\x00asm\x0d\x00\x01\x00",
		"huge section":     head + "\x01" + huge,
		"huge type vector": head + "\x01\x05" + huge,
		"huge functions":   head + "\x01\x04\x01\x60\x00\x00\x03\x05" + huge,
		"huge name":        head + "\x02\x06\x01" + huge,
		"order":            head + "\x03\x01\x00\x01\x01\x00",
		"twice":            head + "\x01\x01\x00\x01\x01\x00",
		"unknown section":  head + "\x0e\x00",
		"trailing byte":    head + "\x01\x02\x00\x00",
		"no bodies":        head + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00",
		"name not UTF-8":   head + "\x00\x02\x01\xff",
		"endless number":   head + "\x01" + strings.Repeat("\x80", 100),
	} {
		if _, err := meter.Inspect([]byte(b)); err == nil {
			t.Errorf("%s: Inspect accepts it", name)
		}
		if _, err := meter.Rewrite([]byte(b), meter.Limits{}); err == nil {
			t.Errorf("%s: Rewrite accepts it", name)
		}
	}
	wasm := corpus().Bytes()
	for n := range wasm {
		// Custom sections stand last: cut between them, the file is whole.
		out, err := meter.Rewrite(wasm[:n], meter.Limits{})
		if err == nil && !compiles(wasm[:n]) {
			t.Errorf("cut after %d bytes: rewritten to %d bytes, but the original is invalid", n, len(out))
		}
	}
	// Branches may nest as deep as the size of a function allows.
	m := New()
	m.Func("", None, None, None, Code(strings.Repeat("\x02\x40", 1<<20)+strings.Repeat("\x0b", 1<<20)))
	_, err := meter.Rewrite(m.Bytes(), meter.Limits{FunctionBytes: 1 << 24})
	wantError(t, err, meter.TooLarge, "compiling")
}

func compiles(wasm []byte) bool {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false))
	defer r.Close(ctx)
	_, err := r.CompileModule(ctx, wasm)
	return err == nil
}

// seeds are modules for both fuzzers.
func seeds(f *testing.F) {
	f.Add(corpus().Bytes())
	f.Add(New().Bytes())
	for _, c := range []Code{
		Loop(None, Br(0)), Call(0), Block(None, Br(1)), GlobalGet(0) + Drop, I32Const(1) + MemoryGrow + Drop,
		LocalGet(0) + BrTable(0, 0), RefFunc(0) + Drop, Return + Nop, Unreachable + I32Add + Drop,
		"\xfd\x0c" + Code(strings.Repeat("\x00", 16)) + Drop,
	} {
		m := New()
		m.Memory(1, NoMax)
		m.Table(FuncRef, 1, NoMax)
		m.Global(I64, true, I64Const(1))
		m.Elem(0, 0)
		m.Func("f", I32, None, I32, c)
		f.Add(m.Bytes())
	}
}

func FuzzInspect(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := meter.Inspect(wasm)
		if err != nil {
			return
		}
		for _, e := range m.Exports {
			_ = e.Signature.String()
		}
		if _, ok := m.CustomData("name"); ok && len(m.Custom) == 0 {
			t.Error("a section out of nowhere")
		}
	})
}

// FuzzRewrite: the rewritten module is valid exactly when the original is.
func FuzzRewrite(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := meter.Rewrite(wasm, meter.Limits{MemoryPages: 64, Functions: 100, TableEntries: 100})
		if err != nil {
			return
		}
		m, err := meter.Inspect(wasm)
		if err != nil {
			t.Fatalf("Rewrite accepts what Inspect refuses: %v", err)
		}
		if _, ok := m.CustomData("name"); ok {
			// WebAssembly ignores a broken name section, wazero does not.
			return
		}
		if before, after := compiles(wasm), compiles(out); before != after {
			t.Fatalf("valid before: %v, after: %v\n%x\n%x", before, after, wasm, out)
		}
	})
}
