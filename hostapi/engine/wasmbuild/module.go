package wasmbuild

import (
	"encoding/binary"
	"fmt"
)

// Types is a list of value types, concatenated with +: I32+I64.
type Types string

// Value types, and None for the empty list. One value type, None, or
// TypeIndex(n) is also what Block, Loop and If take as their block type.
const (
	None      Types = ""
	I32       Types = "\x7f"
	I64       Types = "\x7e"
	F32       Types = "\x7d"
	F64       Types = "\x7c"
	V128      Types = "\x7b"
	FuncRef   Types = "\x70"
	ExternRef Types = "\x6f"
)

// Kinds of imports and exports.
const (
	KindFunc byte = iota
	KindTable
	KindMemory
	KindGlobal
)

// NoMax leaves a memory or table without a declared maximum.
const NoMax = -1

// Module is a module under construction; New makes one. It is not safe for
// concurrent use.
type Module struct {
	types   []string
	imports []string
	nImport uint32 // imported functions
	funcs   []uint32
	codes   []string
	tables  []string
	mems    []string
	globals []string
	exports []string
	start   string
	elems   []string
	datas   []string
	count   bool
	customs []string
}

// New returns an empty module.
func New() *Module { return &Module{} }

// Type returns the index of the function type, which is added when new.
func (m *Module) Type(params, results Types) uint32 {
	enc := "\x60" + vec(string(params)) + vec(string(results))
	for i, t := range m.types {
		if t == enc {
			return uint32(i)
		}
	}
	m.types = append(m.types, enc)
	return uint32(len(m.types) - 1)
}

// Import adds an imported function and returns its index. All imports come
// before the first Func.
func (m *Module) Import(module, name string, params, results Types) uint32 {
	t := m.Type(params, results)
	m.RawImport(module, name, KindFunc, uleb(uint64(t)))
	m.nImport++
	return m.nImport - 1
}

// RawImport adds an import of any kind with its encoded description; it does
// not count as a function.
func (m *Module) RawImport(module, name string, kind byte, desc string) {
	if len(m.funcs) > 0 {
		panic("wasmbuild: imports must be added before functions")
	}
	m.imports = append(m.imports, vec(module)+vec(name)+string(rune(kind))+desc)
}

// NextFunc is the index that the next Func will get: for recursion, and with
// +1, +2 for functions that call each other.
func (m *Module) NextFunc() uint32 { return m.nImport + uint32(len(m.funcs)) }

// Func adds a function and returns its index. A non-empty export exports it.
// The final end is added to code.
func (m *Module) Func(export string, params, results, locals Types, code Code) uint32 {
	index := m.NextFunc()
	m.funcs = append(m.funcs, m.Type(params, results))
	var decl string
	n := 0
	for i := 0; i < len(locals); n++ {
		j := i
		for j < len(locals) && locals[j] == locals[i] {
			j++
		}
		decl += uleb(uint64(j-i)) + string(locals[i:i+1])
		i = j
	}
	m.codes = append(m.codes, vec(uleb(uint64(n))+decl+string(code)+string(End)))
	if export != "" {
		m.Export(export, KindFunc, index)
	}
	return index
}

// RawFunc adds a function whose whole body (local declarations and code, with
// its end) is given.
func (m *Module) RawFunc(params, results Types, body string) uint32 {
	index := m.NextFunc()
	m.funcs = append(m.funcs, m.Type(params, results))
	m.codes = append(m.codes, vec(body))
	return index
}

// Memory adds a memory of min to max pages of 64 KiB (max may be NoMax) and
// exports it as "memory".
func (m *Module) Memory(min, max int) {
	m.Export("memory", KindMemory, uint32(len(m.mems)))
	m.mems = append(m.mems, limits(min, max))
}

// Table adds a table of FuncRef or ExternRef and returns its index.
func (m *Module) Table(ref Types, min, max int) uint32 {
	m.tables = append(m.tables, string(ref)+limits(min, max))
	return uint32(len(m.tables) - 1)
}

// Global adds a global with a constant initialiser, such as I32Const(0), and
// returns its index.
func (m *Module) Global(t Types, mutable bool, init Code) uint32 {
	mut := "\x00"
	if mutable {
		mut = "\x01"
	}
	m.globals = append(m.globals, string(t)+mut+string(init)+string(End))
	return uint32(len(m.globals) - 1)
}

// Export exports index of the given kind under name.
func (m *Module) Export(name string, kind byte, index uint32) {
	m.exports = append(m.exports, vec(name)+string(rune(kind))+uleb(uint64(index)))
}

// Start names the start function.
func (m *Module) Start(f uint32) { m.start = uleb(uint64(f)) }

// Elem fills table 0 from offset with functions.
func (m *Module) Elem(offset int32, funcs ...uint32) {
	m.RawElem("\x00" + string(I32Const(offset)) + string(End) + funcVec(funcs))
}

// ElemPassive adds a passive segment of functions, for table.init, and
// returns its index.
func (m *Module) ElemPassive(funcs ...uint32) uint32 {
	return m.RawElem("\x01\x00" + funcVec(funcs))
}

// ElemDeclare declares functions so that ref.func may name them.
func (m *Module) ElemDeclare(funcs ...uint32) uint32 {
	return m.RawElem("\x03\x00" + funcVec(funcs))
}

// RawElem adds an encoded element segment and returns its index.
func (m *Module) RawElem(segment string) uint32 {
	m.elems = append(m.elems, segment)
	return uint32(len(m.elems) - 1)
}

// Data puts bytes at offset of the memory.
func (m *Module) Data(offset int32, data string) {
	m.datas = append(m.datas, "\x00"+string(I32Const(offset))+string(End)+vec(data))
}

// DataPassive adds a passive segment, for memory.init, and returns its index.
func (m *Module) DataPassive(data string) uint32 {
	m.count = true
	m.datas = append(m.datas, "\x01"+vec(data))
	return uint32(len(m.datas) - 1)
}

// Custom adds a custom section at the end of the module.
func (m *Module) Custom(name, data string) {
	m.customs = append(m.customs, vec(name)+data)
}

// Names adds a name section with the module's and the functions' names.
func (m *Module) Names(module string, funcs map[uint32]string) {
	var n uint32
	var entries string
	for i := range m.NextFunc() {
		if name, ok := funcs[i]; ok {
			entries += uleb(uint64(i)) + vec(name)
			n++
		}
	}
	m.Custom("name", "\x00"+vec(vec(module))+"\x01"+vec(uleb(uint64(n))+entries))
}

// Bytes encodes the module.
func (m *Module) Bytes() []byte {
	out := "\x00asm\x01\x00\x00\x00"
	section := func(id byte, items []string) {
		if len(items) > 0 {
			out += Section(id, items...)
		}
	}
	section(1, m.types)
	section(2, m.imports)
	var funcs []string
	for _, t := range m.funcs {
		funcs = append(funcs, uleb(uint64(t)))
	}
	section(3, funcs)
	section(4, m.tables)
	section(5, m.mems)
	section(6, m.globals)
	section(7, m.exports)
	if m.start != "" {
		out += "\x08" + vec(m.start)
	}
	section(9, m.elems)
	if m.count {
		out += "\x0c" + vec(uleb(uint64(len(m.datas))))
	}
	section(10, m.codes)
	section(11, m.datas)
	for _, c := range m.customs {
		out += "\x00" + vec(c)
	}
	return []byte(out)
}

// Section encodes one section that is a vector of items.
func Section(id byte, items ...string) string {
	body := uleb(uint64(len(items)))
	for _, item := range items {
		body += item
	}
	return string(rune(id)) + vec(body)
}

func limits(min, max int) string {
	if max == NoMax {
		return "\x00" + uleb(uint64(min))
	}
	return "\x01" + uleb(uint64(min)) + uleb(uint64(max))
}

func funcVec(funcs []uint32) string {
	s := uleb(uint64(len(funcs)))
	for _, f := range funcs {
		s += uleb(uint64(f))
	}
	return s
}

func vec(s string) string { return uleb(uint64(len(s))) + s }

func uleb(v uint64) string { return string(binary.AppendUvarint(nil, v)) }

func sleb(v int64) string {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return string(append(out, b))
		}
		out = append(out, b|0x80)
	}
}

// TypeIndex is a block type with parameters or several results: the index
// that Module.Type gave.
func TypeIndex(n uint32) Types { return Types(sleb(int64(n))) }

func blockType(t Types) string {
	if t == None {
		return "\x40"
	}
	return string(t)
}

// String shows the size, so that a module in a failed assertion stays short.
func (m *Module) String() string {
	return fmt.Sprintf("module of %d functions", len(m.funcs))
}
