package meter

import "fmt"

// ValueType is a value type by its WebAssembly encoding.
type ValueType byte

// The value types of core WebAssembly 2.0.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return fmt.Sprintf("type(%#x)", byte(t))
}

func (t ValueType) valid() bool { return t >= V128 && t <= I32 || t.ref() }
func (t ValueType) ref() bool   { return t == FuncRef || t == ExternRef }

// Signature is a function type.
type Signature struct {
	Params, Results []ValueType
}

// String is the signature as in "(i32, i64) -> i32".
func (s Signature) String() string {
	list := func(types []ValueType) string {
		out := "("
		for i, t := range types {
			if i > 0 {
				out += ", "
			}
			out += t.String()
		}
		return out + ")"
	}
	if len(s.Results) == 1 {
		return list(s.Params) + " -> " + s.Results[0].String()
	}
	return list(s.Params) + " -> " + list(s.Results)
}

// Kind is what an import or export is.
type Kind byte

// The kinds of imports and exports.
const (
	KindFunc Kind = iota
	KindTable
	KindMemory
	KindGlobal
)

func (k Kind) String() string {
	switch k {
	case KindFunc:
		return "function"
	case KindTable:
		return "table"
	case KindMemory:
		return "memory"
	case KindGlobal:
		return "global"
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// Import is one import; Signature is set for functions.
type Import struct {
	Module, Name string
	Kind         Kind
	Signature    Signature
}

// Export is one export; Signature is set for functions.
type Export struct {
	Name      string
	Kind      Kind
	Signature Signature
}

// Bounds is the declared size of a memory (pages of 64 KiB) or of a table
// (entries of Type).
type Bounds struct {
	Type     ValueType // tables only
	Min, Max uint32
	HasMax   bool
}

// CustomSection is a named section that the runtime ignores.
type CustomSection struct {
	Name string
	Data []byte // part of the inspected bytes
}

// Module is what the outside of a module shows.
type Module struct {
	Imports   []Import
	Exports   []Export
	Memory    *Bounds         // nil without one
	Tables    []Bounds        // as Memory, imported ones first
	Custom    []CustomSection // in the order of the file
	Functions int             // defined in the module, without imports
	Start     bool            // has a start function, which runs at instantiation
}

// CustomData returns the first custom section of that name.
func (m *Module) CustomData(name string) ([]byte, bool) {
	for _, c := range m.Custom {
		if c.Name == name {
			return c.Data, true
		}
	}
	return nil, false
}

// Inspect reads the outside of a module from the binary alone. It accepts what
// Rewrite refuses for its limits or its imports, so that a tool can show it;
// function bodies are not read. An error is an *Error.
func Inspect(wasm []byte) (Module, error) {
	p, err := parse(wasm)
	if err != nil {
		return Module{}, err
	}
	m := Module{
		Tables:    p.tables,
		Custom:    p.custom,
		Functions: p.defined(),
		Start:     p.start >= 0,
	}
	if len(p.memories) > 0 {
		m.Memory = &p.memories[0]
	}
	for _, i := range p.imports {
		m.Imports = append(m.Imports, Import{i.module, i.name, i.kind, Signature{}})
		if i.kind == KindFunc {
			m.Imports[len(m.Imports)-1].Signature = p.types[i.typ]
		}
	}
	for _, e := range p.exports {
		m.Exports = append(m.Exports, Export{e.name, e.kind, Signature{}})
		if e.kind == KindFunc {
			m.Exports[len(m.Exports)-1].Signature = p.types[p.funcs[e.index]]
		}
	}
	return m, nil
}
