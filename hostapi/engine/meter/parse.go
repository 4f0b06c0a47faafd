package meter

import "bytes"

// Ceilings of the decoder, so that a hostile file cannot make it allocate more
// than a small multiple of the file's size. The Limits are below them.
const (
	maxItems   = 100_000
	maxSegment = 1_000_000
	maxFuncs   = 1_000_000
	maxParams  = 255
	maxResults = 64
	maxPages   = 65_536
)

// Section numbers of the binary format.
const (
	secCustom byte = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag
)

// sectionRank puts the sections into the order in which they must appear.
func sectionRank(id byte) int {
	switch id {
	case secDataCount:
		return 2*int(secElement) + 1
	default:
		return 2 * int(id)
	}
}

type imported struct {
	module, name string
	kind         Kind
	typ          int    // index of the function type
	desc         []byte // encoded description
}

type exported struct {
	name  string
	kind  Kind
	index int
}

// module is the decoded outside. Spaces (funcs, tables, memories, globals)
// hold imports first, as the index spaces of WebAssembly do.
type module struct {
	types    []Signature
	imports  []imported
	funcs    []uint32 // type of each function
	nImport  int      // imported functions
	tables   []Bounds
	memories []Bounds
	nGlobals int
	exports  []exported
	start    int // -1 without

	custom []CustomSection
	// The contents of the sections that Rewrite walks itself; nil when absent.
	raw       [secDataCount + 1]*reader
	nElem     int
	nData     int // from the data section
	dataCount int // from the data count section; -1 without
	nCode     int
}

func (m *module) defined() int { return len(m.funcs) - m.nImport }

// parse decodes everything but function bodies, initialisers and segments.
func parse(wasm []byte) (*module, error) {
	r := &reader{b: wasm}
	if !bytes.Equal(r.bytes(min(8, len(wasm))), []byte("\x00asm\x01\x00\x00\x00")) {
		if bytes.HasPrefix(wasm, []byte("\x00asm\x0d\x00\x01\x00")) {
			return nil, &Error{Unsupported, 0, "this is a component; build a core module instead (for example wasm32-wasip1, without componentising)"}
		}
		return nil, &Error{Malformed, 0, "not a WebAssembly 1.0 binary; build the plugin for wasm32 and give the .wasm file"}
	}
	m := &module{start: -1, dataCount: -1}
	last := 0
	for r.more() {
		id := r.byte()
		s := r.sub(r.u32())
		if s.err == nil && id != secCustom {
			if id > secTag {
				s.malformed("unknown section %d", id)
			} else if sectionRank(id) <= last {
				s.malformed("section %d is repeated or out of order", id)
			}
			last = sectionRank(id)
		}
		m.section(id, s)
		if s.err != nil {
			return nil, s.err
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if m.nCode != m.defined() {
		return nil, &Error{Malformed, -1, "the function and code sections differ in length"}
	}
	if m.dataCount >= 0 && m.dataCount != m.nData {
		return nil, &Error{Malformed, -1, "the data count and data sections differ"}
	}
	return m, nil
}

func (m *module) section(id byte, s *reader) {
	if id < byte(len(m.raw)) {
		m.raw[id] = &reader{b: s.b, base: s.base}
	}
	switch id {
	case secCustom:
		name := s.name("the name of a custom section")
		if len(m.custom) >= maxItems {
			s.fail(TooLarge, "more than %d custom sections", maxItems)
		}
		m.custom = append(m.custom, CustomSection{name, s.b[s.pos:]})
		return
	case secType:
		for range s.count("types", maxItems) {
			if b := s.byte(); b != 0x60 && s.err == nil {
				s.fail(Unsupported, "type form %#x is not a function type; build without the GC proposal", b)
			}
			params := s.valueTypes("parameters", maxParams)
			m.types = append(m.types, Signature{params, s.valueTypes("results", maxResults)})
			if s.err != nil {
				return
			}
		}
	case secImport:
		for range s.count("imports", maxItems) {
			m.importEntry(s)
			if s.err != nil {
				return
			}
		}
	case secFunction:
		n := s.count("functions", maxFuncs)
		m.funcs = append(make([]uint32, 0, n+len(m.funcs)), m.funcs...)
		for range n {
			m.funcs = append(m.funcs, uint32(s.index("type", len(m.types))))
			if s.err != nil {
				return
			}
		}
	case secTable:
		for range s.count("tables", maxItems) {
			m.tables = append(m.tables, s.table())
			if s.err != nil {
				return
			}
		}
	case secMemory:
		for range s.count("memories", maxItems) {
			m.memories = append(m.memories, s.memory())
			if s.err != nil {
				return
			}
		}
	case secGlobal:
		n := s.count("globals", maxItems)
		m.nGlobals += n
		return
	case secExport:
		for range s.count("exports", maxItems) {
			m.exportEntry(s)
			if s.err != nil {
				return
			}
		}
	case secStart:
		m.start = s.index("start function", len(m.funcs))
	case secElement:
		m.nElem = s.count("element segments", maxSegment)
		return
	case secDataCount:
		m.dataCount = int(s.u32())
	case secCode:
		m.nCode = s.count("function bodies", maxFuncs)
		return
	case secData:
		m.nData = s.count("data segments", maxSegment)
		return
	case secTag:
		s.fail(Unsupported, "exceptions are not supported; build without -fwasm-exceptions")
	}
	s.end("section")
}

func (r *reader) valueTypes(what string, limit int) []ValueType {
	b := r.bytes(r.count(what, limit))
	for _, t := range b {
		if !ValueType(t).valid() {
			r.fail(Unsupported, "value type %#x is not in core WebAssembly 2.0", t)
			return nil
		}
	}
	if len(b) == 0 {
		return nil
	}
	types := make([]ValueType, len(b))
	for i, t := range b {
		types[i] = ValueType(t)
	}
	return types
}

// bounds reads limits of a memory or table.
func (r *reader) bounds(what string) Bounds {
	var b Bounds
	switch flag := r.byte(); flag {
	case 0:
		b.Min = r.u32()
	case 1:
		b.Min, b.Max, b.HasMax = r.u32(), r.u32(), true
		if b.Max < b.Min {
			r.malformed("%s: maximum %d is below minimum %d", what, b.Max, b.Min)
		}
	case 2, 3:
		r.fail(Unsupported, "%s is shared; build without threads (-pthread, atomics)", what)
	default:
		r.fail(Unsupported, "%s has limits of kind %#x; build for wasm32, not wasm64", what, flag)
	}
	return b
}

func (r *reader) table() Bounds {
	t := ValueType(r.byte())
	if !t.ref() {
		r.fail(Unsupported, "table of element type %#x; only funcref and externref are supported", byte(t))
	}
	b := r.bounds("the table")
	b.Type = t
	return b
}

func (r *reader) memory() Bounds {
	b := r.bounds("the memory")
	if b.Min > maxPages || b.Max > maxPages {
		r.malformed("the memory is larger than 4 GiB")
	}
	return b
}

func (r *reader) globalType() {
	if t := ValueType(r.byte()); !t.valid() {
		r.fail(Unsupported, "global of type %#x is not in core WebAssembly 2.0", byte(t))
	}
	if mut := r.byte(); mut > 1 {
		r.malformed("mutability %#x of a global", mut)
	}
}

func (m *module) importEntry(s *reader) {
	i := imported{module: s.name("an import's module"), name: s.name("an import's name"), kind: Kind(s.byte())}
	start := s.pos
	switch i.kind {
	case KindFunc:
		i.typ = s.index("type", len(m.types))
		m.funcs = append(m.funcs, uint32(i.typ))
		m.nImport++
	case KindTable:
		m.tables = append(m.tables, s.table())
	case KindMemory:
		m.memories = append(m.memories, s.memory())
	case KindGlobal:
		s.globalType()
		m.nGlobals++
	default:
		s.fail(Unsupported, "import %q.%q of kind %d", i.module, i.name, i.kind)
	}
	if s.err == nil {
		i.desc = s.b[start:s.pos]
		m.imports = append(m.imports, i)
	}
}

func (m *module) exportEntry(s *reader) {
	e := exported{name: s.name("an export's name"), kind: Kind(s.byte())}
	switch e.kind {
	case KindFunc:
		e.index = s.index("exported function", len(m.funcs))
	case KindTable:
		e.index = s.index("exported table", len(m.tables))
	case KindMemory:
		e.index = s.index("exported memory", len(m.memories))
	case KindGlobal:
		e.index = s.index("exported global", m.nGlobals)
	default:
		s.fail(Unsupported, "export %q of kind %d", e.name, e.kind)
	}
	m.exports = append(m.exports, e)
}
