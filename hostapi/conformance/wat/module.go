package wat

import "strings"

// Assemble makes the binary of a module from its text, of at most MaxText
// octets. A failure is an *Error.
func Assemble(src []byte) (wasm []byte, err error) {
	s := string(src)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case mistake:
			before := s[:min(r.at, len(s))]
			line := strings.LastIndexByte(before, '\n') + 1
			wasm, err = nil, &Error{strings.Count(before, "\n") + 1, len(before) - line + 1, r.reason}
		default:
			panic(r)
		}
	}()
	if len(s) > MaxText {
		fail(0, "the text has %d octets, the limit is %d", len(s), MaxText)
	}
	m := &module{known: map[string]uint32{}}
	return m.assemble(&cursor{parse(s), len(s)}), nil
}

// space is one of the index spaces: names and how many there are.
type space struct {
	what  string
	n     uint32
	taken uint32 // how many have been defined
	names map[string]uint32
}

// take is the index of the next one to define: they are declared and defined in
// the same order.
func (s *space) take() uint32 {
	s.taken++
	return s.taken - 1
}

// add gives the next index to what may have a name.
func (s *space) add(c *cursor) uint32 {
	at := c.at()
	if name := c.name(); name != "" {
		if _, twice := s.names[name]; twice {
			fail(at, "there are two %ss %s", s.what, quote(name))
		}
		if s.names == nil {
			s.names = map[string]uint32{}
		}
		s.names[name] = s.n
	}
	s.n++
	return s.n - 1
}

// index reads a name or number.
func (s *space) index(c *cursor) uint32 { return resolve(c.word("a "+s.what), s.names, s.what) }

func (s *space) append(b []byte, c *cursor) []byte { return uleb(b, uint64(s.index(c))) }

// resolve is the index that a word names.
func resolve(w *node, names map[string]uint32, what string) uint32 {
	if w.name() {
		v, ok := names[w.text]
		if !ok {
			fail(w.at, "there is no %s %s", what, quote(w.text))
		}
		return v
	}
	v, wrong := unsigned(w.text, 32)
	if wrong != "" {
		fail(w.at, "%s, which should be a %s, %s", quote(w.text), what, wrong)
	}
	return uint32(v)
}

// funcType is a type of functions: a letter for each value.
type funcType struct{ params, results string }

// typeUse is what stands for a type: its index, or -1, and what was written of
// it, and the names of parameters.
type typeUse struct {
	at      int
	index   int
	written bool
	typ     funcType
	names   []string
}

// module is what is being assembled.
type module struct {
	fn, table, mem, global, typ, elem, data space

	typeList []funcType
	known    map[string]uint32 // the first index of a type

	imports, funcs, tables, mems, globals, exports, elems, code, datas entries

	start    []byte // nil: none
	custom   []byte
	usesData bool
	defined  bool // something that is not imported
}

func (m *module) assemble(top *cursor) []byte {
	m.fn.what, m.table.what, m.mem.what, m.global.what, m.typ.what = "function", "table", "memory", "global", "type"
	m.elem.what, m.data.what = "element segment", "data segment"
	if top.is("module") {
		n := top.next()
		top.finish()
		top = inside(n)
		top.name()
	}
	var fields []*node
	for !top.empty() {
		n := top.next()
		if n.kind != list || len(n.list) == 0 || n.list[0].kind != word {
			fail(n.at, "%s is no part of a module", show(n))
		}
		fields = append(fields, n)
	}
	for _, n := range fields {
		m.declare(n)
	}
	for _, n := range fields {
		m.define(n)
	}
	types := entries{n: len(m.typeList)}
	for _, t := range m.typeList {
		types.body = vec(vec(append(types.body, 0x60), t.params), t.results)
	}
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = section(b, 1, types)
	b = section(b, 2, m.imports)
	b = section(b, 3, m.funcs)
	b = section(b, 4, m.tables)
	b = section(b, 5, m.mems)
	b = section(b, 6, m.globals)
	b = section(b, 7, m.exports)
	if m.start != nil {
		b = append(append(b, 8, byte(len(m.start))), m.start...)
	}
	b = section(b, 9, m.elems)
	if m.usesData && m.datas.n > 0 {
		count := uleb(nil, uint64(m.datas.n))
		b = append(append(b, 12, byte(len(count))), count...)
	}
	b = section(b, 10, m.code)
	b = section(b, 11, m.datas)
	return append(b, m.custom...)
}

// spaceOf is the index space of a kind of thing.
func (m *module) spaceOf(what string) *space {
	switch what {
	case "func":
		return &m.fn
	case "table":
		return &m.table
	case "memory":
		return &m.mem
	case "global":
		return &m.global
	}
	return nil
}

// declare gives indexes and names, so that they are known wherever they are
// used.
func (m *module) declare(n *node) {
	c := inside(n)
	switch what := n.list[0].text; what {
	case "type":
		m.typ.add(c)
		if !c.is("func") {
			fail(c.at(), "(func ...) is missing")
		}
		t := c.next()
		c.finish()
		inner := inside(t)
		use := m.signature(inner)
		inner.finish()
		m.addType(use.typ)
	case "import":
		m.mustImportFirst(n)
		for range 2 {
			if c.empty() || c.nodes[0].kind != text {
				fail(c.at(), "the names of an import are two strings")
			}
			c.next()
		}
		if c.empty() || c.nodes[0].kind != list || len(c.nodes[0].list) == 0 {
			fail(c.at(), "what is imported is missing")
		}
		item := c.next()
		s := m.spaceOf(item.list[0].text)
		if s == nil {
			fail(item.at, "%s cannot be imported", show(item))
		}
		s.add(inside(item))
		c.finish()
	case "func", "table", "memory", "global":
		m.spaceOf(what).add(c)
		for c.is("export") {
			c.next()
		}
		if c.is("import") {
			m.mustImportFirst(n)
			break
		}
		m.defined = true
		if what == "memory" && c.is("data") {
			m.data.n++
		}
		if what == "table" && !c.empty() && c.nodes[0].kind == word && valueTypes[c.nodes[0].text] != 0 {
			m.elem.n++
		}
	case "elem":
		m.elem.add(c)
	case "data":
		m.data.add(c)
	case "export", "start", "@custom":
	default:
		fail(n.at, "%s is no part of a module", show(n))
	}
}

func (m *module) mustImportFirst(n *node) {
	if m.defined {
		fail(n.at, "imports come before everything that is defined here")
	}
}

// define assembles what declare has given an index.
func (m *module) define(n *node) {
	c := inside(n)
	switch n.list[0].text {
	case "import":
		names := vec(vec(nil, c.next().text), c.next().text)
		item := c.next()
		c = inside(item)
		c.name()
		m.spaceOf(item.list[0].text).take()
		m.imported(names, item.list[0].text, c)
	case "func":
		m.define1(c, "func", &m.fn, m.function)
	case "table":
		m.define1(c, "table", &m.table, m.tableOf)
	case "memory":
		m.define1(c, "memory", &m.mem, m.memoryOf)
	case "global":
		m.define1(c, "global", &m.global, func(c *cursor, _ uint32) {
			m.globals.body = m.globalType(m.globals.body, c)
			m.globals.body = m.constant(m.globals.body, c)
			m.globals.n++
		})
	case "export":
		name := c.str("the name of the export")
		if c.empty() || c.nodes[0].kind != list || len(c.nodes[0].list) == 0 || m.spaceOf(c.nodes[0].list[0].text) == nil {
			fail(c.at(), "what is exported is missing: (func $name)")
		}
		item := c.next()
		c.finish()
		inner := inside(item)
		m.export(name, item.list[0].text, m.spaceOf(item.list[0].text).index(inner))
		inner.finish()
	case "start":
		if m.start != nil {
			fail(n.at, "there are two starts")
		}
		m.start = m.fn.append(nil, c)
		c.finish()
	case "elem":
		m.element(c)
	case "data":
		m.segment(c)
	case "@custom":
		name := c.str("the name of the section")
		if c.is("before", "after") {
			fail(c.at(), "custom sections come at the end of the module")
		}
		body := vec(nil, name)
		for !c.empty() {
			body = append(body, c.str("the content of the section")...)
		}
		m.custom = vec(append(m.custom, 0), string(body))
	}
}

// str takes a string that must come next.
func (c *cursor) str(what string) string {
	if c.empty() || c.nodes[0].kind != text {
		fail(c.at(), "%s is missing, a string", what)
	}
	return c.next().text
}

// kinds are the numbers of what is imported and exported.
var kinds = map[string]byte{"func": 0, "table": 1, "memory": 2, "global": 3}

func (m *module) export(name, what string, index uint32) {
	m.exports.body = uleb(append(vec(m.exports.body, name), kinds[what]), uint64(index))
	m.exports.n++
}

// define1 takes the name, the inline exports and the inline import of what is
// in an index space, and leaves the rest to f.
func (m *module) define1(c *cursor, what string, s *space, f func(c *cursor, index uint32)) {
	index := s.take()
	c.name()
	for c.is("export") {
		e := inside(c.next())
		m.export(e.str("the name of the export"), what, index)
		e.finish()
	}
	if !c.is("import") {
		f(c, index)
		c.finish()
		return
	}
	i := inside(c.next())
	names := vec(vec(nil, i.str("the module of the import")), i.str("the name of the import"))
	i.finish()
	m.imported(names, what, c)
}

// imported writes what is imported and reads its type.
func (m *module) imported(names []byte, what string, c *cursor) {
	b := append(append(m.imports.body, names...), kinds[what])
	switch what {
	case "func":
		use := m.typeUse(c)
		b = uleb(b, uint64(m.typeIndex(use)))
	case "table":
		b = tableType(b, c)
	case "memory":
		b = limits(b, c)
	case "global":
		b = m.globalType(b, c)
	}
	c.finish()
	m.imports.body = b
	m.imports.n++
}

// addType adds a type.
func (m *module) addType(t funcType) uint32 {
	index := uint32(len(m.typeList))
	m.typeList = append(m.typeList, t)
	if key := t.params + ">" + t.results; m.known[key] == 0 {
		m.known[key] = index + 1
	}
	return index
}

// typeIndex is the index of the type that is used: one that is not there yet
// is added.
func (m *module) typeIndex(u typeUse) uint32 {
	if u.index >= 0 {
		return uint32(u.index)
	}
	if known := m.known[u.typ.params+">"+u.typ.results]; known > 0 {
		return known - 1
	}
	return m.addType(u.typ)
}

// typeUse reads (type $t), (param ...) and (result ...), in this order; each may
// be missing.
func (m *module) typeUse(c *cursor) typeUse {
	at, index := c.at(), -1
	if c.is("type") {
		t := inside(c.next())
		index = int(m.typ.index(t))
		t.finish()
	}
	use := m.signature(c)
	use.at, use.index = at, index
	if index < 0 {
		return use
	}
	if index >= len(m.typeList) {
		fail(at, "there is no type %d", index)
	}
	if t := m.typeList[index]; use.written && use.typ != t {
		fail(at, "what is written here is not type %d", index)
	} else {
		use.typ = t
	}
	return use
}

// signature reads (param ...) and (result ...).
func (m *module) signature(c *cursor) typeUse {
	var u typeUse
	for c.is("param") {
		p := inside(c.next())
		u.written = true
		if name := p.name(); name != "" {
			u.names = append(append(u.names, make([]string, len(u.typ.params)-len(u.names))...), name)
			u.typ.params += string([]byte{valueType(p.word("the type of the parameter"))})
			p.finish()
			continue
		}
		u.typ.params += m.types(p)
	}
	for c.is("result") {
		u.written = true
		u.typ.results += m.types(inside(c.next()))
	}
	return u
}

// types reads types to the end of c.
func (m *module) types(c *cursor) string {
	var b []byte
	for !c.empty() {
		b = append(b, valueType(c.word("a type")))
	}
	return string(b)
}

func valueType(w *node) byte {
	t, ok := valueTypes[w.text]
	if !ok {
		fail(w.at, "there is no type %s", quote(w.text))
	}
	return t
}

func refType(c *cursor) byte {
	w := c.word("funcref or externref")
	if w.text != "funcref" && w.text != "externref" {
		fail(w.at, "%s is not funcref or externref", quote(w.text))
	}
	return valueTypes[w.text]
}

// limits reads a minimum and perhaps a maximum.
func limits(b []byte, c *cursor) []byte {
	number := func() uint64 {
		w := c.word("a size")
		v, wrong := unsigned(w.text, 32)
		if wrong != "" {
			fail(w.at, "%s %s", quote(w.text), wrong)
		}
		return v
	}
	low := number()
	if !c.index() {
		return uleb(append(b, 0), low)
	}
	return uleb(uleb(append(b, 1), low), number())
}

func tableType(b []byte, c *cursor) []byte {
	size := limits(nil, c)
	return append(append(b, refType(c)), size...)
}

func (m *module) globalType(b []byte, c *cursor) []byte {
	if !c.is("mut") {
		return append(b, valueType(c.word("the type of the global")), 0)
	}
	t := inside(c.next())
	b = append(b, valueType(t.word("the type of the global")), 1)
	t.finish()
	return b
}

// constant assembles a constant expression to the end of c.
func (m *module) constant(b []byte, c *cursor) []byte {
	f := function{module: m, out: b}
	f.sequence(c)
	return append(f.out, 0x0b)
}

// offset reads where an active segment goes: (offset ...) or one instruction.
func (m *module) offset(c *cursor) []byte {
	if c.is("offset") {
		return m.constant(nil, inside(c.next()))
	}
	if c.empty() || c.nodes[0].kind != list {
		fail(c.at(), "where it goes is missing: (i32.const 0)")
	}
	n := c.next()
	return m.constant(nil, &cursor{[]node{*n}, n.at})
}

// tableOf defines a table, perhaps with its elements.
func (m *module) tableOf(c *cursor, index uint32) {
	m.tables.n++
	if c.empty() || c.nodes[0].kind != word || valueTypes[c.nodes[0].text] == 0 {
		m.tables.body = tableType(m.tables.body, c)
		return
	}
	t := refType(c)
	if !c.is("elem") {
		fail(c.at(), "(elem ...) is missing")
	}
	items, n, expressions := m.items(inside(c.next()), t)
	m.tables.body = uleb(uleb(append(m.tables.body, t, 1), uint64(n)), uint64(n))
	m.segmentOf(segmentHead{active: true, table: index, offset: []byte{0x41, 0, 0x0b}, typ: t, expressions: expressions}, items, n)
}

// segmentHead is what comes before the items of an element segment.
type segmentHead struct {
	active, declared bool
	table            uint32
	offset           []byte
	typ              byte
	expressions      bool
}

// segmentOf writes an element segment in the shortest of its forms (5.5.12).
func (m *module) segmentOf(h segmentHead, items []byte, n int) {
	flags := byte(0)
	explicit := h.active && (h.table != 0 || h.typ != valueTypes["funcref"])
	switch {
	case h.declared:
		flags = 3
	case !h.active:
		flags = 1
	case explicit:
		flags = 2
	}
	if h.expressions {
		flags |= 4
	}
	b := append(m.elems.body, flags)
	if h.active {
		if explicit {
			b = uleb(b, uint64(h.table))
		}
		b = append(b, h.offset...)
	}
	if flags&3 != 0 {
		if h.expressions {
			b = append(b, h.typ)
		} else {
			b = append(b, 0) // functions
		}
	}
	m.elems.body = append(uleb(b, uint64(n)), items...)
	m.elems.n++
}

// items reads the elements of a segment: functions by name, or expressions.
func (m *module) items(c *cursor, t byte) (items []byte, n int, expressions bool) {
	if c.empty() || c.nodes[0].kind == word {
		if t != valueTypes["funcref"] {
			expressions = true
		}
		for !c.empty() {
			items = m.fn.append(items, c)
			n++
		}
		if expressions && n > 0 {
			fail(c.at(), "functions are no externref")
		}
		return items, n, expressions
	}
	for !c.empty() {
		e := c.next()
		if e.kind != list {
			fail(e.at, "%s is no element", show(e))
		}
		if e.is("item") {
			items = m.constant(items, inside(e))
		} else {
			items = m.constant(items, &cursor{[]node{*e}, e.at})
		}
		n++
	}
	return items, n, true
}

// element reads (elem ...).
func (m *module) element(c *cursor) {
	c.name()
	h := segmentHead{typ: valueTypes["funcref"]}
	bare := false // (elem (i32.const 0) $f): functions of table 0
	switch {
	case !c.empty() && c.nodes[0].kind == word && c.nodes[0].text == "declare":
		c.next()
		h.declared = true
	case c.is("table"):
		t := inside(c.next())
		h.active, h.table = true, m.table.index(t)
		t.finish()
		h.offset = m.offset(c)
	case !c.empty() && c.nodes[0].kind == list:
		h.active = true
		h.offset = m.offset(c)
		bare = c.empty() || c.index()
	case c.index() && len(c.nodes) > 1 && c.nodes[1].kind == list: // (elem 0 (i32.const 0) $f), of old
		h.active, h.table = true, m.table.index(c)
		h.offset = m.offset(c)
		bare = c.empty() || c.index()
	}
	if !bare {
		w := c.word("func, funcref or externref")
		switch w.text {
		case "func":
			if !c.empty() && c.nodes[0].kind != word {
				c.finish()
			}
		case "funcref", "externref":
			h.typ = valueTypes[w.text]
			if !c.empty() && c.nodes[0].kind == word {
				c.finish()
			}
			h.expressions = true
		default:
			fail(w.at, "%s is not func, funcref or externref", quote(w.text))
		}
	}
	items, n, expressions := m.items(c, h.typ)
	h.expressions = h.expressions || expressions
	m.segmentOf(h, items, n)
}

const page = 64 << 10

// memoryOf defines a memory, perhaps with its data.
func (m *module) memoryOf(c *cursor, index uint32) {
	m.mems.n++
	if !c.is("data") {
		m.mems.body = limits(m.mems.body, c)
		return
	}
	content := strs(inside(c.next()))
	pages := uint64(len(content)+page-1) / page
	m.mems.body = uleb(uleb(append(m.mems.body, 1), pages), pages)
	m.activeData(index, []byte{0x41, 0, 0x0b}, content)
}

// segment reads (data ...).
func (m *module) segment(c *cursor) {
	c.name()
	index, active := uint32(0), false
	if c.is("memory") {
		t := inside(c.next())
		index, active = m.mem.index(t), true
		t.finish()
	} else if c.index() { // (data 0 (i32.const 0) ""), of old
		index, active = m.mem.index(c), true
	}
	if active || !c.empty() && c.nodes[0].kind == list {
		offset := m.offset(c)
		m.activeData(index, offset, strs(c))
		return
	}
	m.datas.body = vec(append(m.datas.body, 1), strs(c))
	m.datas.n++
}

func (m *module) activeData(memory uint32, offset []byte, content string) {
	b := m.datas.body
	if memory == 0 {
		b = append(b, 0)
	} else {
		b = uleb(append(b, 2), uint64(memory))
	}
	m.datas.body = vec(append(b, offset...), content)
	m.datas.n++
}

// strs joins the strings to the end of c.
func strs(c *cursor) string {
	var b strings.Builder
	for !c.empty() {
		b.WriteString(c.str("data"))
	}
	return b.String()
}

// function assembles a function.
func (m *module) function(c *cursor, _ uint32) {
	use := m.typeUse(c)
	m.funcs.body = uleb(m.funcs.body, uint64(m.typeIndex(use)))
	m.funcs.n++
	f := function{module: m, locals: map[string]uint32{}}
	count := uint32(len(use.typ.params))
	name := func(at int, name string, index uint32) {
		if _, twice := f.locals[name]; twice {
			fail(at, "there are two locals %s", quote(name))
		}
		f.locals[name] = index
	}
	for k, n := range use.names {
		if n != "" {
			name(use.at, n, uint32(k))
		}
	}
	var locals []byte // types
	for c.is("local") {
		l := inside(c.next())
		at := l.at()
		if n := l.name(); n != "" {
			name(at, n, count+uint32(len(locals)))
			locals = append(locals, valueType(l.word("the type of the local")))
			l.finish()
			continue
		}
		locals = append(locals, m.types(l)...)
	}
	var runs entries
	for k := 0; k < len(locals); {
		n := 1
		for k+n < len(locals) && locals[k+n] == locals[k] {
			n++
		}
		runs.body = append(uleb(runs.body, uint64(n)), locals[k])
		runs.n++
		k += n
	}
	f.out = append(uleb(nil, uint64(runs.n)), runs.body...)
	f.sequence(c)
	m.code.body = vec(m.code.body, string(append(f.out, 0x0b)))
	m.code.n++
}
