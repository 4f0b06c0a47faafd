package meter

import (
	"fmt"
	"strings"
)

// Rewrite returns the metered module; see the package comment for what it
// does. The result goes to the compiler, which also checks its types. An error
// is an *Error.
func Rewrite(wasm []byte, limits Limits) ([]byte, error) { return rewrite(wasm, limits, nil) }

// rewrite is Rewrite, and with a shell Split.
func rewrite(wasm []byte, limits Limits, shell *Shell) ([]byte, error) {
	lim := limits.WithDefaults()
	if len(wasm) > lim.ModuleBytes {
		return nil, tooLarge("bytes", len(wasm), lim.ModuleBytes,
			"strip debug information (-ldflags='-s -w', --strip-all) or shrink the plugin")
	}
	m, err := parse(wasm)
	if err != nil {
		return nil, err
	}
	if err := m.allowed(&lim); err != nil {
		return nil, err
	}
	w := &rewriter{m: m, lim: &lim, shell: shell, out: make([]byte, 0, len(wasm)+len(wasm)/8+256)}
	if err := w.module(); err != nil {
		return nil, err
	}
	return w.out, nil
}

// allowed checks the outside of the module.
func (m *module) allowed(lim *Limits) error {
	for _, i := range m.imports {
		if i.kind != KindFunc {
			return &Error{Forbidden, -1, fmt.Sprintf("it imports the %s %q.%q; a plugin may import functions only, "+
				"so define it in the module (for example without --import-memory, --import-table)", i.kind, i.module, i.name)}
		}
		if i.module == ImportModule {
			return &Error{Forbidden, -1, fmt.Sprintf("it imports %q.%q; that module belongs to the server's metering, "+
				"give the plugin as your compiler made it", i.module, i.name)}
		}
	}
	for _, e := range m.exports {
		if strings.HasPrefix(e.name, ExportPrefix) {
			return &Error{Forbidden, -1, fmt.Sprintf("it exports %q; names starting with %q belong to the server, rename it",
				e.name, ExportPrefix)}
		}
	}
	if len(m.memories) > 1 {
		return &Error{Unsupported, -1, "it has several memories; build for core WebAssembly 2.0 with one memory"}
	}
	for _, c := range []struct {
		what       string
		got, limit int
		advice     string
	}{
		{"functions", m.defined(), lim.Functions, "remove dependencies or split the plugin"},
		{"globals", m.nGlobals, lim.Globals, "keep variables in memory"},
		{"tables", len(m.tables), lim.Tables, "use one table of functions"},
		{"exports", len(m.exports), lim.Exports, "export the hooks and the memory only"},
		{"data segments", m.nData, lim.Segments, "merge the segments (wasm-opt --memory-packing does)"},
		{"element segments", m.nElem, lim.Segments, "merge the segments"},
	} {
		if c.got > c.limit {
			return tooLarge(c.what, c.got, c.limit, c.advice)
		}
	}
	for _, t := range m.tables {
		if int64(t.Min) > int64(lim.TableEntries) {
			return tooLarge("table entries at start", int(t.Min), lim.TableEntries, "take fewer function addresses")
		}
	}
	for _, b := range m.memories {
		if int64(b.Min) > int64(lim.MemoryPages) {
			return tooLarge("memory pages of 64 KiB at start", int(b.Min), lim.MemoryPages,
				"link with a smaller stack or less static data, or raise the plugin's memory limit")
		}
	}
	return nil
}

type rewriter struct {
	m     *module
	lim   *Limits
	out   []byte
	buf   []byte // section under construction
	added added
	// blocks is, by the encoded results of a function, the block type with
	// these results and no parameters.
	blocks map[string][]byte

	shell    *Shell // nil: the module is to stand on its own
	mutables []int  // the globals in shell.Globals
}

// module writes all sections in their order; custom sections come last.
func (w *rewriter) module() error {
	m := w.m
	w.clamp()
	w.added.refuel = uint32(m.nImport)
	w.added.fuelGlobal = uint32(m.nGlobals)
	w.added.depthGlobal = uint32(m.nGlobals) + 1

	w.out = append(w.out, "\x00asm\x01\x00\x00\x00"...)
	refuelType := w.types()
	w.imports(refuelType)
	w.copy(secFunction)
	w.tables()
	w.memory()
	if err := w.globals(); err != nil {
		return err
	}
	w.exports()
	if m.start >= 0 && w.shell == nil {
		w.section(secStart, appendU32(w.buf[:0], w.moved(uint32(m.start))))
	}
	if err := w.elements(); err != nil {
		return err
	}
	w.copy(secDataCount)
	if err := w.code(); err != nil {
		return err
	}
	if err := w.data(); err != nil {
		return err
	}
	w.custom()
	return nil
}

func (w *rewriter) section(id byte, content []byte) {
	w.out = appendSection(w.out, id, content)
	w.buf = content[:0]
}

func (w *rewriter) copy(id byte) {
	if s := w.m.raw[id]; s != nil {
		w.out = appendSection(w.out, id, s.b)
	}
}

// moved is a function index after the added import.
func (w *rewriter) moved(f uint32) uint32 {
	if f >= uint32(w.m.nImport) {
		return f + 1
	}
	return f
}

// clamp settles how far tables and the memory may grow.
func (w *rewriter) clamp() {
	clamp := func(b *Bounds, limit int) {
		if !b.HasMax || int64(b.Max) > int64(limit) {
			b.Max, b.HasMax = uint32(limit), true
		}
	}
	for i := range w.m.tables {
		clamp(&w.m.tables[i], w.lim.TableEntries)
		w.added.tableMax = append(w.added.tableMax, w.m.tables[i].Max)
	}
	for i := range w.m.memories {
		clamp(&w.m.memories[i], w.lim.MemoryPages)
		w.added.memoryMax = w.m.memories[i].Max
	}
}

func appendSignature(b []byte, s Signature) []byte {
	b = append(b, 0x60)
	for _, list := range [][]ValueType{s.Params, s.Results} {
		b = appendU32(b, uint32(len(list)))
		for _, t := range list {
			b = append(b, byte(t))
		}
	}
	return b
}

func results(s Signature) string {
	b := make([]byte, len(s.Results))
	for i, t := range s.Results {
		b[i] = byte(t)
	}
	return string(b)
}

// types writes the type section with the type of the import and one type for
// each list of several results, and returns the index of the import's.
func (w *rewriter) types() uint32 {
	types := append([]Signature(nil), w.m.types...)
	types = append(types, Signature{})
	refuel := uint32(len(types) - 1)
	w.blocks = map[string][]byte{"": {blockVoid}}
	for _, t := range w.m.funcs[w.m.nImport:] {
		sig := w.m.types[t]
		key := results(sig)
		if _, ok := w.blocks[key]; ok {
			continue
		}
		if len(key) == 1 {
			w.blocks[key] = []byte(key)
			continue
		}
		w.blocks[key] = appendS64(nil, int64(len(types)))
		types = append(types, Signature{Results: sig.Results})
	}
	b := appendU32(w.buf, uint32(len(types)))
	for _, t := range types {
		b = appendSignature(b, t)
	}
	w.section(secType, b)
	return refuel
}

func (w *rewriter) imports(refuelType uint32) {
	b := appendU32(w.buf, uint32(len(w.m.imports))+1)
	for _, i := range w.m.imports {
		b = appendName(appendName(b, i.module), i.name)
		b = append(append(b, byte(i.kind)), i.desc...)
	}
	b = appendName(appendName(b, ImportModule), ImportName)
	w.section(secImport, appendU32(append(b, byte(KindFunc)), refuelType))
}

func appendBounds(b []byte, s Bounds) []byte {
	return appendU32(appendU32(append(b, 1), s.Min), s.Max)
}

func (w *rewriter) tables() {
	if w.m.raw[secTable] == nil {
		return
	}
	b := appendU32(w.buf, uint32(len(w.m.tables)))
	for _, t := range w.m.tables {
		b = appendBounds(append(b, byte(t.Type)), t)
	}
	w.section(secTable, b)
}

func (w *rewriter) memory() {
	if w.m.raw[secMemory] == nil {
		return
	}
	b := appendU32(w.buf, uint32(len(w.m.memories)))
	for _, s := range w.m.memories {
		b = appendBounds(b, s)
	}
	w.section(secMemory, b)
}

func (w *rewriter) globals() error {
	b := appendU32(w.buf, uint32(w.m.nGlobals)+2)
	if s := w.m.raw[secGlobal]; s != nil {
		for i := range s.count("globals", maxItems) {
			start := s.pos
			s.globalType()
			b = append(b, s.b[start:s.pos]...)
			b = w.constant(b, s)
			if s.err != nil {
				return s.err
			}
			if w.shell != nil && s.b[start+1] == 1 {
				if w.shell.mutable(i, ValueType(s.b[start])); len(w.shell.Globals) > len(w.mutables) {
					w.mutables = append(w.mutables, i) // imported globals are refused, so i is its index
				}
			}
		}
		if s.end("global section"); s.err != nil {
			return s.err
		}
	}
	b = append(b, byte(I64), 1, opI64Const, 0, opEnd)
	w.section(secGlobal, append(b, byte(I32), 1, opI32Const, 0, opEnd))
	return nil
}

// constant copies a constant expression, one instruction and end, to b.
func (w *rewriter) constant(b []byte, s *reader) []byte {
	start := s.pos
	op := s.byte()
	switch op {
	case opI32Const:
		s.signed(32)
	case opI64Const:
		s.signed(64)
	case opF32Const:
		s.bytes(4)
	case opF64Const:
		s.bytes(8)
	case opGlobalGet:
		s.index("global", w.m.nGlobals)
	case opRefNull:
		if t := ValueType(s.byte()); !t.ref() {
			s.fail(Unsupported, "null of type %#x; build for core WebAssembly 2.0", byte(t))
		}
	case opRefFunc:
		f := w.function(s)
		b = appendU32(append(b, opRefFunc), f)
		start = s.pos
	case opSIMD:
		if sub := s.u32(); sub != 0x0c {
			s.malformed("vector instruction %#x in a constant", sub)
		}
		s.bytes(16)
	default:
		s.malformed("opcode %#x in a constant", op)
	}
	if end := s.byte(); end != opEnd && s.err == nil {
		s.fail(Unsupported, "constant of several instructions; build without extended constant expressions (-mno-extended-const, not position independent)")
	}
	if s.err != nil {
		return b
	}
	return append(b, s.b[start:s.pos]...)
}

// function reads a function index and returns it moved.
func (w *rewriter) function(s *reader) uint32 {
	return w.moved(uint32(s.index("function", len(w.m.funcs))))
}

func (w *rewriter) exports() {
	var more []byte
	n := len(w.m.exports) + 2
	if w.shell != nil {
		var k int
		more, k = w.shell.exports(nil, w)
		n += k
	}
	b := append(appendU32(w.buf, uint32(n)), more...)
	for _, e := range w.m.exports {
		index := uint32(e.index)
		if e.kind == KindFunc {
			index = w.moved(index)
		}
		b = appendU32(append(appendName(b, e.name), byte(e.kind)), index)
	}
	b = appendU32(append(appendName(b, FuelExport), byte(KindGlobal)), w.added.fuelGlobal)
	w.section(secExport, appendU32(append(appendName(b, DepthExport), byte(KindGlobal)), w.added.depthGlobal))
}

func (w *rewriter) elements() error {
	s := w.m.raw[secElement]
	if s == nil {
		return nil
	}
	n := s.count("element segments", maxSegment)
	b := appendU32(w.buf, uint32(n))
	for range n {
		b = w.element(b, s)
		if s.err != nil {
			return s.err
		}
	}
	if s.end("element section"); s.err != nil {
		return s.err
	}
	w.section(secElement, b)
	return nil
}

// element copies one segment. Bit 0 of its kind says passive or declared, bit
// 1 explicit table or declared, bit 2 expressions instead of indices.
func (w *rewriter) element(b []byte, s *reader) []byte {
	kind := s.u32()
	if kind > 7 {
		s.malformed("element segment of kind %d", kind)
		return b
	}
	b = appendU32(b, kind)
	if kind&1 == 0 {
		table := 0
		if kind&2 != 0 {
			table = s.index("table", len(w.m.tables))
			b = appendU32(b, uint32(table))
		} else if len(w.m.tables) == 0 {
			s.malformed("element segment without a table")
		}
		b = w.constant(b, s)
	}
	if kind&3 != 0 {
		t := s.byte()
		if kind&4 == 0 && t != 0 || kind&4 != 0 && !ValueType(t).ref() {
			s.fail(Unsupported, "elements of type %#x; build for core WebAssembly 2.0", t)
		}
		b = append(b, t)
	}
	n := s.count("elements", maxFuncs)
	b = appendU32(b, uint32(n))
	for range n {
		if kind&4 != 0 {
			b = w.constant(b, s)
		} else {
			b = appendU32(b, w.function(s))
		}
		if s.err != nil {
			return b
		}
	}
	return b
}

func (w *rewriter) code() error {
	s := w.m.raw[secCode]
	if s == nil {
		return nil
	}
	n := s.count("function bodies", maxFuncs)
	b := appendU32(w.buf, uint32(n))
	f := &body{m: w.m, lim: w.lim}
	var code, locals []byte
	var nanos, dearest int64
	dearestFunc := 0
	for i := range n {
		index := w.m.nImport + i
		sig := w.m.types[w.m.funcs[index]]
		f.r = s.sub(s.u32())
		if size := len(f.r.b); size > w.lim.FunctionBytes {
			return tooLarge(fmt.Sprintf("bytes of code in function %d", index), size, w.lim.FunctionBytes,
				"split the function, or build for size and with less inlining")
		}
		groups := f.declarations(sig)
		f.scan(sig)
		if f.apart && w.shell != nil {
			w.shell.Image = false
		}
		if f.r.err != nil {
			f.r.err.Detail = fmt.Sprintf("function %d: %s", index, f.r.err.Detail)
			return f.r.err
		}
		cost := f.compileNanos()
		if nanos += cost; cost > dearest {
			dearest, dearestFunc = cost, index
		}
		if nanos > int64(w.lim.CompileMillis)*1e6 {
			return tooLarge("estimated milliseconds of compiling", int(nanos/1e6), w.lim.CompileMillis,
				fmt.Sprintf("build for size and with less inlining, or split what is large; function %d takes longest", dearestFunc))
		}
		start := f.r.b[:f.code]
		locals = append(locals[:0], start...)
		if f.bulk {
			// One more local, after all others, holds the operand that is charged.
			skip := &reader{b: start}
			skip.u32()
			locals = appendU32(locals[:0], groups+1)
			locals = append(locals, start[skip.pos:]...)
			locals = append(locals, 1, byte(I32))
		}
		code = f.emit(append(code[:0], locals...), &w.added, w.blocks[results(sig)])
		b = appendVec(b, code)
	}
	if s.end("code section"); s.err != nil {
		return s.err
	}
	w.section(secCode, b)
	return nil
}

// declarations reads the local declarations and returns their number.
func (f *body) declarations(sig Signature) uint32 {
	r := f.r
	groups := r.count("local declarations", maxItems)
	total := uint64(len(sig.Params))
	f.v128 = false
	for range groups {
		total += uint64(r.u32())
		t := ValueType(r.byte())
		if !t.valid() {
			r.fail(Unsupported, "local of type %#x is not in core WebAssembly 2.0", byte(t))
		}
		f.v128 = f.v128 || t == V128
		if total > uint64(f.lim.Locals) {
			r.fail(TooLarge, "more than %d parameters and locals; split the function, or build with optimisation", f.lim.Locals)
		}
		if r.err != nil {
			break
		}
	}
	f.locals, f.code = int(total), r.pos
	return uint32(groups)
}

func (w *rewriter) data() error {
	s := w.m.raw[secData]
	if s == nil {
		return nil
	}
	c := &reader{b: s.b, base: s.base}
	var kinds []bool // of a shell: active
	var passive [][]byte
	for range c.count("data segments", maxSegment) {
		var offset []byte
		switch kind := c.u32(); kind {
		case 0, 2:
			if kind == 2 {
				c.index("memory", len(w.m.memories))
			} else if len(w.m.memories) == 0 {
				c.malformed("data segment without a memory")
			}
			start := c.pos
			w.constant(nil, c)
			if c.err == nil && c.b[start] == opRefFunc {
				c.malformed("a function as offset of a data segment")
			}
			offset = c.b[start:c.pos]
		case 1:
		default:
			c.malformed("data segment of kind %d", kind)
		}
		content := c.bytes(int(c.u32()))
		if c.err != nil {
			return c.err
		}
		if w.shell != nil {
			if offset != nil {
				if err := w.shell.segment(offset, content); err != nil {
					return err
				}
			}
			kinds, passive = append(kinds, offset != nil), append(passive, content)
		}
	}
	if c.end("data section"); c.err != nil {
		return c.err
	}
	switch {
	case w.shell == nil:
		w.copy(secData)
	case w.m.dataCount >= 0:
		w.section(secData, emptySegments(kinds, passive))
	default: // no instruction names a segment
	}
	return nil
}

// custom copies the custom sections. What points into the code is dropped:
// debug information would name wrong lines.
func (w *rewriter) custom() {
	for _, c := range w.m.custom {
		data := c.Data
		switch {
		case strings.HasPrefix(c.Name, ".debug_"), strings.HasPrefix(c.Name, "reloc."),
			c.Name == "linking", c.Name == "sourceMappingURL", c.Name == "external_debug_info":
			continue
		case c.Name == "name":
			if data = w.names(data); data == nil {
				continue
			}
		}
		w.section(secCustom, append(appendName(w.buf, c.Name), data...))
	}
}

// names moves the function names and keeps the name of the module. The rest
// (locals, labels) is dropped, as is a broken section: traps name functions,
// and that is what it is for.
func (w *rewriter) names(data []byte) []byte {
	const moduleName, functionNames = 0, 1
	var out []byte
	r := &reader{b: data}
	last := -1
	for r.more() {
		id := r.byte()
		s := r.sub(r.u32())
		if int(id) <= last {
			return nil
		}
		last = int(id)
		switch id {
		case moduleName:
			name := s.name("module name")
			out = appendSection(out, id, appendName(nil, name))
		case functionNames:
			var entries []byte
			n := s.count("function names", maxFuncs)
			before, known := int64(-1), uint32(n)
			refuel := func() {
				entries = appendName(appendU32(entries, w.added.refuel), ImportModule+"."+ImportName)
				known++
			}
			for range n {
				f := s.u32()
				if int64(f) <= before || int(f) >= len(w.m.funcs) {
					return nil
				}
				if before < int64(w.m.nImport) && int(f) >= w.m.nImport {
					refuel()
				}
				before = int64(f)
				entries = appendName(appendU32(entries, w.moved(f)), s.name("function name"))
				if s.err != nil {
					return nil
				}
			}
			if before < int64(w.m.nImport) {
				refuel()
			}
			out = appendSection(out, id, append(appendU32(nil, known), entries...))
		default:
			continue
		}
		if s.end("names"); s.err != nil {
			return nil
		}
	}
	if r.err != nil {
		return nil
	}
	return out
}
