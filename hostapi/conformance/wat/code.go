package wat

import (
	"encoding/binary"
	"strings"
)

// function assembles the instructions of one function, or of a constant
// expression.
type function struct {
	*module
	locals map[string]uint32
	labels []string // of the blocks around, the innermost last; empty: without name
	out    []byte
}

// cursor is a place in a list of nodes.
type cursor struct {
	nodes []node
	end   int // where the list ends, for errors
}

func (c *cursor) empty() bool { return len(c.nodes) == 0 }

// at is the offset of what comes next.
func (c *cursor) at() int {
	if c.empty() {
		return c.end
	}
	return c.nodes[0].at
}

func (c *cursor) next() *node {
	n := &c.nodes[0]
	c.nodes = c.nodes[1:]
	return n
}

// word takes a word that must come next.
func (c *cursor) word(what string) *node {
	if c.empty() || c.nodes[0].kind != word {
		fail(c.at(), "%s is missing", what)
	}
	return c.next()
}

// name takes a name if one comes next.
func (c *cursor) name() string {
	if c.empty() || !c.nodes[0].name() {
		return ""
	}
	return c.next().text
}

// is tells whether a list that begins with one of the words comes next.
func (c *cursor) is(words ...string) bool { return !c.empty() && c.nodes[0].is(words...) }

// index tells whether a name or number comes next.
func (c *cursor) index() bool {
	return !c.empty() && c.nodes[0].kind == word && (c.nodes[0].name() || c.nodes[0].text[0] >= '0' && c.nodes[0].text[0] <= '9')
}

// finish fails if something is left.
func (c *cursor) finish() {
	if !c.empty() {
		fail(c.at(), "%s is nothing here", show(&c.nodes[0]))
	}
}

// show is a node for an error.
func show(n *node) string {
	switch {
	case n.kind == text:
		return "a string"
	case n.kind == word:
		return quote(n.text)
	case len(n.list) > 0 && n.list[0].kind == word:
		return quote("(" + n.list[0].text)
	}
	return "a list"
}

// inside is a cursor at what follows the first word of a list.
func inside(n *node) *cursor {
	end := n.at
	if k := len(n.list); k > 0 {
		end = n.list[k-1].at
	}
	return &cursor{n.list[1:], end}
}

// sequence assembles instructions to the end of c. Blocks that are written flat
// are closed within it.
func (f *function) sequence(c *cursor) {
	base, elses := len(f.labels), []bool(nil) // of each open block: whether it may have an else
	for !c.empty() {
		n := c.next()
		switch {
		case n.kind == list:
			f.folded(n)
		case n.kind == text:
			fail(n.at, "a string is no instruction")
		case n.text == "block" || n.text == "loop" || n.text == "if":
			f.open(n, c)
			elses = append(elses, n.text == "if")
		case n.text == "else" || n.text == "end":
			if len(f.labels) == base {
				fail(n.at, "there is no block for this %s", n.text)
			}
			open := len(f.labels) - 1
			if name := c.name(); name != "" && name != f.labels[open] {
				fail(n.at, "the label of this %s is %s, that of its block %s", n.text, quote(name), quote(f.labels[open]))
			}
			k := len(elses) - 1
			if n.text == "end" {
				f.out = append(f.out, 0x0b)
				f.labels, elses = f.labels[:open], elses[:k]
				break
			}
			if !elses[k] {
				fail(n.at, "there is no if for this else")
			}
			f.out = append(f.out, 0x05)
			elses[k] = false
		default:
			f.plain(n, c)
		}
	}
	if len(f.labels) > base {
		fail(c.end, "a block has no end")
	}
}

// blockOpcodes begin blocks.
var blockOpcodes = map[string]byte{"block": 0x02, "loop": 0x03, "if": 0x04}

// head reads the label and type of a block; what it returns begins the block.
func (f *function) head(n *node, c *cursor) (begin func()) {
	name := c.name()
	at := c.at()
	use := f.typeUse(c)
	if len(use.names) > 0 {
		fail(at, "the parameters of a block have no names")
	}
	return func() {
		if len(f.labels) >= maxNesting {
			fail(n.at, "more than %d blocks within each other", maxNesting)
		}
		f.out = append(f.out, blockOpcodes[n.text])
		params, results := use.typ.params, use.typ.results
		switch {
		case use.index < 0 && params == "" && results == "":
			f.out = append(f.out, 0x40)
		case use.index < 0 && params == "" && len(results) == 1:
			f.out = append(f.out, results[0])
		default:
			f.out = sleb(f.out, int64(f.typeIndex(use)))
		}
		f.labels = append(f.labels, name)
	}
}

// open begins a flat block.
func (f *function) open(n *node, c *cursor) { f.head(n, c)() }

// folded assembles an instruction in parentheses: what it takes comes first.
func (f *function) folded(n *node) {
	if len(n.list) == 0 || n.list[0].kind != word {
		fail(n.at, "an instruction is missing behind this (")
	}
	first, c := &n.list[0], inside(n)
	switch first.text {
	case "block", "loop":
		f.open(first, c)
		f.sequence(c)
		f.end()
	case "if":
		begin := f.head(first, c)
		for !c.empty() && c.nodes[0].kind == list && !c.is("then") {
			f.folded(c.next())
		}
		begin()
		if !c.is("then") {
			fail(c.at(), "(then ...) is missing")
		}
		f.sequence(inside(c.next()))
		if c.is("else") {
			f.out = append(f.out, 0x05)
			f.sequence(inside(c.next()))
		}
		c.finish()
		f.end()
	default:
		op, rest := f.operation(first, c)
		for !rest.empty() {
			if rest.nodes[0].kind != list {
				rest.finish()
			}
			f.folded(rest.next())
		}
		f.out = append(f.out, op...)
	}
}

func (f *function) end() {
	f.out = append(f.out, 0x0b)
	f.labels = f.labels[:len(f.labels)-1]
}

// plain assembles an instruction that is no block.
func (f *function) plain(n *node, c *cursor) {
	op, _ := f.operation(n, c)
	f.out = append(f.out, op...)
}

// operation reads the operands of an instruction, and returns its octets and c.
func (f *function) operation(n *node, c *cursor) ([]byte, *cursor) {
	op, ok := opcodes()[n.text]
	if !ok {
		fail(n.at, "there is no instruction %s", quote(n.text))
	}
	b := []byte(op.code)
	switch op.operand {
	case memory:
		b = memoryOperand(b, op.align, c)
	case i32, i64:
		w := c.word("a number")
		bits := 32
		if op.operand == i64 {
			bits = 64
		}
		v, wrong := integer(w.text, bits)
		if wrong != "" {
			fail(w.at, "%s %s", quote(w.text), wrong)
		}
		b = sleb(b, v)
	case f32, f64:
		w := c.word("a number")
		bits := 32
		if op.operand == f64 {
			bits = 64
		}
		v, wrong := float(w.text, bits)
		if wrong != "" {
			fail(w.at, "%s %s", quote(w.text), wrong)
		}
		if b = binary.LittleEndian.AppendUint32(b, uint32(v)); bits == 64 {
			b = binary.LittleEndian.AppendUint32(b, uint32(v>>32))
		}
	case localIndex:
		b = uleb(b, uint64(resolve(c.word("a local"), f.locals, "local")))
	case globalIndex:
		b = f.global.append(b, c)
	case funcIndex:
		b = f.fn.append(b, c)
	case label:
		b = f.label(b, c)
	case labels:
		var list []byte
		count := uint64(0)
		for c.index() {
			list = f.label(list, c)
			count++
		}
		if count == 0 {
			fail(c.at(), "a label is missing")
		}
		b = append(uleb(b, count-1), list...)
	case indirect:
		table := f.optional(c, &f.table)
		use := f.typeUse(c)
		b = uleb(uleb(b, uint64(f.typeIndex(use))), uint64(table))
	case tableIndex:
		b = uleb(b, uint64(f.optional(c, &f.table)))
	case tablePair:
		dst, src := uint32(0), uint32(0)
		if c.index() {
			dst, src = f.table.index(c), f.table.index(c)
		}
		b = uleb(uleb(b, uint64(dst)), uint64(src))
	case tableInit:
		table := uint32(0)
		if len(c.nodes) > 1 && c.index() && (&cursor{c.nodes[1:], 0}).index() {
			table = f.table.index(c)
		}
		b = uleb(f.elem.append(b, c), uint64(table))
	case elemIndex:
		b = f.elem.append(b, c)
	case dataIndex:
		f.usesData = true
		b = f.data.append(b, c)
	case memoryInit:
		f.usesData = true
		b = append(f.data.append(b, c), 0)
	case memoryZero:
		b = append(b, 0)
	case memoryPair:
		b = append(b, 0, 0)
	case heapType:
		w := c.word("func or extern")
		t, ok := valueTypes[w.text+"ref"]
		if !ok || w.text != "func" && w.text != "extern" {
			fail(w.at, "%s is not func or extern", quote(w.text))
		}
		b = append(b, t)
	case selectTypes:
		if c.is("result") {
			var types string
			for c.is("result") {
				types += f.types(inside(c.next()))
			}
			b = vec([]byte{0x1c}, types)
		}
	}
	return b, c
}

// optional is an index that is 0 if it is not said.
func (f *function) optional(c *cursor, s *space) uint32 {
	if c.index() {
		return s.index(c)
	}
	return 0
}

// label appends how many blocks out a label is.
func (f *function) label(b []byte, c *cursor) []byte {
	w := c.word("a label")
	if !w.name() {
		v, wrong := unsigned(w.text, 32)
		if wrong != "" {
			fail(w.at, "%s %s", quote(w.text), wrong)
		}
		return uleb(b, v)
	}
	for k := len(f.labels) - 1; k >= 0; k-- {
		if f.labels[k] == w.text {
			return uleb(b, uint64(len(f.labels)-1-k))
		}
	}
	fail(w.at, "there is no label %s around this", quote(w.text))
	return nil
}

// memoryOperand reads offset= and align=.
func memoryOperand(b []byte, align uint32, c *cursor) []byte {
	offset := uint64(0)
	take := func(prefix string) (uint64, bool) {
		if c.empty() || c.nodes[0].kind != word || !strings.HasPrefix(c.nodes[0].text, prefix) {
			return 0, false
		}
		w := c.next()
		v, wrong := unsigned(w.text[len(prefix):], 32)
		if wrong != "" {
			fail(w.at, "%s %s", quote(w.text), wrong)
		}
		if prefix == "align=" && (v == 0 || v&(v-1) != 0) {
			fail(w.at, "an alignment is a power of two")
		}
		return v, true
	}
	if v, ok := take("offset="); ok {
		offset = v
	}
	if v, ok := take("align="); ok {
		for align = 0; v > 1; v >>= 1 {
			align++
		}
	}
	return uleb(uleb(b, uint64(align)), offset)
}
