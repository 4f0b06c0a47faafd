package meter

import "math"

const (
	// siteCost is the cost up to which one site pays for code that may be
	// branched over, minSite the cost of code that may even double that.
	siteCost = 256
	minSite  = 64

	// leafCost is the cost up to which a function without loops and calls
	// leaves the check to its callers.
	leafCost = 64

	// slotsPerWeight is the number of 8-byte stack slots of one depth weight.
	slotsPerWeight = 16

	// pageCost is the cost of growing memory by one page: 64 KiB at 64 bytes
	// for one unit, as for memory.fill.
	pageCost      = 1 << pageCostShift
	pageCostShift = 10
	byteShift     = 6 // 64 bytes for one unit
	entryShift    = 3 // 8 table entries for one unit
)

// site is a place where fuel is taken: the cost of the code from there, up to
// the next site, as far as it can be reached only through there.
type site struct {
	cost   int
	parent int  // the site that dominates this one; pays when this one is tiny
	check  bool // loop header or function entry: never left out
}

// frame is one open block of the function.
type frame struct {
	op              byte // opBlock, opLoop, opIf, opElse; 0 for the function
	params, results int
	height          int  // operands below the block's own
	site            int  // who pays for the code that follows
	dead            bool // the code that follows cannot be reached
}

// edit is one change of the body at pos; skip original bytes are replaced.
type edit struct {
	pos, skip int
	kind      editKind
	arg       int
}

type editKind byte

const (
	editSite   editKind = iota // take the cost of site arg
	editReturn                 // return becomes br arg
	editFunc                   // function index arg is moved
	editBulk                   // take the cost of a bulk operation, the top shifted right by arg
	editMemoryGrow
	editTableGrow // of table arg
)

// body rewrites function bodies; its slices are reused from one to the next.
type body struct {
	m      *module
	lim    *Limits
	r      *reader
	code   int // where the code starts, after the local declarations
	locals int // with parameters
	v128   bool

	frames []frame
	sites  []site
	edits  []edit
	high   int // operands at most
	now    int // operands now
	blocks int
	calls  int
	loops  int
	bulk   bool
	apart  bool // it changes state outside memory and globals: tables, dropped segments
	// straight says that the code so far had no branch and no call; checked
	// that such code leads into a loop, whose check stands for that at the entry.
	straight, checked bool
}

// scan decodes one function and collects the edits.
func (f *body) scan(sig Signature) {
	r := f.r
	f.frames = append(f.frames[:0], frame{results: len(sig.Results)})
	f.sites = append(f.sites[:0], site{check: true})
	f.edits = f.edits[:0]
	f.high, f.now, f.blocks = 0, 0, 0
	f.calls, f.loops, f.bulk, f.apart = 0, 0, false, false
	f.straight, f.checked = true, false
	for len(f.frames) > 0 && r.err == nil {
		f.instruction()
	}
	r.end("function")
}

func (f *body) top() *frame { return &f.frames[len(f.frames)-1] }

func (f *body) apply(pop, push int) {
	if !f.top().dead {
		f.now = max(f.now-pop, f.top().height) + push
		f.high = max(f.high, f.now)
	}
}

// die marks the code up to the end of the block as not reachable.
func (f *body) die() {
	f.top().dead = true
	f.now = f.top().height
}

// boundary opens a site where code begins that may be branched over; settle
// decides which of them stay.
func (f *body) boundary() {
	if t := f.top(); !t.dead && f.sites[t.site].cost > 0 {
		f.open(false)
	}
}

func (f *body) open(check bool) {
	t := f.top()
	f.sites = append(f.sites, site{parent: t.site, check: check})
	t.site = len(f.sites) - 1
	f.edit(editSite, f.r.pos, 0, t.site)
}

func (f *body) edit(kind editKind, pos, skip, arg int) {
	f.edits = append(f.edits, edit{pos, skip, kind, arg})
}

func (f *body) label() int {
	l := f.r.index("label", len(f.frames))
	if f.r.err != nil {
		return 0
	}
	return l
}

// arity is the number of operands that a branch to label takes.
func (f *body) arity(label int) int {
	t := &f.frames[len(f.frames)-1-label]
	if t.op == opLoop {
		return t.params
	}
	return t.results
}

func (f *body) funcIndex() Signature {
	pos := f.r.pos
	i := f.r.index("function", len(f.m.funcs))
	if f.r.err != nil {
		return Signature{}
	}
	if i >= f.m.nImport {
		f.edit(editFunc, pos, f.r.pos-pos, i+1)
	}
	return f.m.types[f.m.funcs[i]]
}

func (f *body) instruction() {
	r := f.r
	at := r.pos
	op := r.byte()
	if t := f.top(); !t.dead {
		f.sites[t.site].cost++
	}
	switch op {
	case opLoop:
		f.checked = f.checked || f.straight
		f.straight = false
	case opIf, opBr, opBrIf, opBrTable, opReturn, opUnreachable, opCall, opCallIndirect:
		f.straight = false
	}
	switch {
	case op == opBlock, op == opLoop, op == opIf:
		f.enter(op)
	case op == opElse:
		f.elseArm()
	case op == opEnd:
		f.leave()
	case op == opUnreachable:
		f.die()
	case op == 0x01: // nop
	case op == opBr:
		f.apply(f.arity(f.label()), 0)
		f.die()
	case op == opBrIf:
		f.label()
		f.apply(1, 0)
		f.blocks++
		f.boundary()
	case op == opBrTable:
		for range r.count("branch targets", math.MaxInt32) {
			f.label()
			if r.err != nil {
				return
			}
		}
		f.label()
		f.blocks++
		f.die()
	case op == opReturn:
		f.edit(editReturn, at, 1, len(f.frames)-1)
		f.die()
	case op == opCall:
		f.calls++
		sig := f.funcIndex()
		f.apply(len(sig.Params), len(sig.Results))
	case op == opCallIndirect:
		f.calls++
		t := r.index("type", len(f.m.types))
		r.index("table", len(f.m.tables))
		if r.err == nil {
			sig := f.m.types[t]
			f.apply(1+len(sig.Params), len(sig.Results))
		}
	case op == 0x1a: // drop
		f.apply(1, 0)
	case op == opSelect:
		f.apply(3, 1)
	case op == opSelectT:
		r.valueTypes("types of select", 1)
		f.apply(3, 1)
	case op == opLocalGet:
		r.index("local", f.locals)
		f.apply(0, 1)
	case op == opLocalSet:
		r.index("local", f.locals)
		f.apply(1, 0)
	case op == opLocalTee:
		r.index("local", f.locals)
	case op == opGlobalGet:
		r.index("global", f.m.nGlobals)
		f.apply(0, 1)
	case op == opGlobalSet:
		r.index("global", f.m.nGlobals)
		f.apply(1, 0)
	case op == opTableGet:
		r.index("table", len(f.m.tables))
		f.apply(1, 1)
	case op == opTableSet:
		f.apart = true
		r.index("table", len(f.m.tables))
		f.apply(2, 0)
	case op >= 0x28 && op <= 0x35: // loads
		r.memarg()
		f.apply(1, 1)
	case op >= 0x36 && op <= 0x3e: // stores
		r.memarg()
		f.apply(2, 0)
	case op == opMemorySize:
		r.zeroByte()
		f.apply(0, 1)
	case op == opMemoryGrow:
		r.zeroByte()
		f.bulkEdit(editMemoryGrow, at, 0)
	case op == opI32Const:
		r.signed(32)
		f.apply(0, 1)
	case op == opI64Const:
		r.signed(64)
		f.apply(0, 1)
	case op == opF32Const:
		r.bytes(4)
		f.apply(0, 1)
	case op == opF64Const:
		r.bytes(8)
		f.apply(0, 1)
	case op >= 0x45 && op <= 0xc4:
		f.apply(numeric(op))
	case op == opRefNull:
		if t := ValueType(r.byte()); !t.ref() {
			r.fail(Unsupported, "null of type %#x; build for core WebAssembly 2.0", byte(t))
		}
		f.apply(0, 1)
	case op == opRefIsNull:
	case op == opRefFunc:
		f.funcIndex()
		f.apply(0, 1)
	case op == opMisc:
		f.misc(at)
	case op == opSIMD:
		f.v128 = true
		pop, push, ok := r.simd()
		if !ok {
			r.fail(Unsupported, "vector instruction outside core WebAssembly 2.0; build without relaxed SIMD")
		}
		f.apply(pop, push)
	default:
		r.pos = at
		r.fail(Unsupported, "opcode %#x: %s", op, unsupported(op))
	}
}

func (f *body) misc(at int) {
	r := f.r
	tables := len(f.m.tables)
	switch sub := r.u32(); sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case miscMemoryInit:
		f.dataIndex()
		r.zeroByte()
		f.bulkEdit(editBulk, at, byteShift)
		f.apply(3, 0)
	case miscDataDrop:
		f.apart = true
		f.dataIndex()
	case miscMemoryCopy:
		r.zeroByte()
		r.zeroByte()
		f.bulkEdit(editBulk, at, byteShift)
		f.apply(3, 0)
	case miscMemoryFill:
		r.zeroByte()
		f.bulkEdit(editBulk, at, byteShift)
		f.apply(3, 0)
	case miscTableInit:
		f.apart = true
		r.index("element segment", f.m.nElem)
		r.index("table", tables)
		f.bulkEdit(editBulk, at, entryShift)
		f.apply(3, 0)
	case miscElemDrop:
		f.apart = true
		r.index("element segment", f.m.nElem)
	case miscTableCopy:
		f.apart = true
		r.index("table", tables)
		r.index("table", tables)
		f.bulkEdit(editBulk, at, entryShift)
		f.apply(3, 0)
	case miscTableGrow:
		f.apart = true
		f.bulkEdit(editTableGrow, at, r.index("table", tables))
		f.apply(2, 1)
	case miscTableSize:
		r.index("table", tables)
		f.apply(0, 1)
	case miscTableFill:
		f.apart = true
		r.index("table", tables)
		f.bulkEdit(editBulk, at, entryShift)
		f.apply(3, 0)
	default:
		r.fail(Unsupported, "instruction 0xfc %#x is not in core WebAssembly 2.0", sub)
	}
}

func (f *body) dataIndex() {
	if f.m.dataCount < 0 {
		f.r.malformed("memory.init or data.drop without a data count section")
	}
	f.r.index("data segment", f.m.dataCount)
}

func (f *body) bulkEdit(kind editKind, at, arg int) {
	f.bulk = true
	f.blocks++
	f.edit(kind, at, 0, arg)
}

// compileNanos estimates how long the compiler needs, from what wazero 1.12
// took for extreme functions: the square of the blocks, each local at each
// loop, each global after each call.
func (f *body) compileNanos() int64 {
	blocks, loops, calls := int64(f.blocks), int64(f.loops), int64(f.calls)
	globals := int64(f.m.nGlobals)
	return 250*int64(len(f.r.b)) + 20*blocks*blocks +
		20_000*loops*int64(f.locals) + 200*globals*(calls+blocks)
}

func (f *body) enter(op byte) {
	r := f.r
	n := frame{op: op, site: f.top().site, dead: f.top().dead}
	switch t := r.signed(33); {
	case t >= 0:
		if t >= int64(len(f.m.types)) {
			r.malformed("type %d does not exist, there are %d", t, len(f.m.types))
			return
		}
		n.params, n.results = len(f.m.types[t].Params), len(f.m.types[t].Results)
	case t == blockVoid-0x80:
	case t >= -0x40 && ValueType(t+0x80).valid():
		n.results = 1
	default:
		r.malformed("block type %d", t)
		return
	}
	f.blocks++
	if op == opIf {
		f.apply(1, 0)
	}
	n.height = max(f.now-n.params, f.top().height)
	f.frames = append(f.frames, n)
	if op == opLoop {
		f.loops++
		f.blocks++ // the check
		f.open(true)
	} else {
		f.boundary()
	}
}

func (f *body) elseArm() {
	t := f.top()
	if t.op != opIf {
		f.r.malformed("else without if")
		return
	}
	parent := &f.frames[len(f.frames)-2]
	t.op, t.site, t.dead = opElse, parent.site, parent.dead
	f.now = t.height + t.params
	f.boundary()
}

func (f *body) leave() {
	t := *f.top()
	f.frames = f.frames[:len(f.frames)-1]
	if len(f.frames) == 0 {
		return
	}
	f.now = t.height + t.results
	f.high = max(f.high, f.now)
	f.boundary()
}

// weight is what a call of the function adds to the depth.
func (f *body) weight() int {
	slots := f.locals + f.high
	if f.v128 {
		slots *= 2
	}
	return 1 + slots/slotsPerWeight
}

// settle lets a dominator pay for what follows it, as long as both are cheap
// or what follows is tiny. A dominator has the smaller number, so one pass
// from the end is enough.
func (f *body) settle() {
	f.sites[0].cost += f.weight()
	for i := len(f.sites) - 1; i > 0; i-- {
		s := &f.sites[i]
		p := &f.sites[s.parent]
		if sum := p.cost + s.cost; !s.check && (sum <= siteCost || s.cost < minSite && sum <= 2*siteCost) {
			p.cost, s.cost = sum, 0
		}
	}
}

// short says that the function is over soon, so that its callers may check.
func (f *body) short() bool {
	total := 0
	for _, s := range f.sites {
		total += s.cost
	}
	return f.calls == 0 && f.loops == 0 && !f.bulk && total <= leafCost
}

// emit appends the rewritten code of the function to out. resultBlock is the
// encoded type of the block around the body.
func (f *body) emit(out []byte, g *added, resultBlock []byte) []byte {
	f.settle()
	code := f.r.b
	weight := int64(f.weight())
	if f.calls > 0 {
		out = g.depth(out, opI32Add, weight)
		out = appendU32(append(out, opGlobalGet), g.depthGlobal)
		out = appendS64(append(out, opI32Const), int64(f.lim.Depth))
		out = append(out, opI32GtU, opIf, blockVoid, opUnreachable, opEnd)
	}
	out = g.take(out, f.sites[0].cost)
	if !f.short() && !f.checked {
		out = g.check(out)
	}
	if f.calls > 0 {
		out = append(append(out, opBlock), resultBlock...)
	}
	scratch := uint32(f.locals)
	pos := f.code
	for _, e := range f.edits {
		out = append(out, code[pos:e.pos]...)
		pos = e.pos + e.skip
		switch e.kind {
		case editSite:
			s := f.sites[e.arg]
			if s.cost > 0 {
				out = g.take(out, s.cost)
			}
			if s.check {
				out = g.check(out)
			}
		case editReturn:
			if f.calls == 0 {
				out = append(out, opReturn)
			} else {
				out = appendU32(append(out, opBr), uint32(e.arg))
			}
		case editFunc:
			out = appendU32(out, uint32(e.arg))
		case editBulk:
			out = g.bulk(out, scratch, opI64ShrU, int64(e.arg), -1)
		case editMemoryGrow:
			out = g.bulk(out, scratch, opI64Shl, pageCostShift, int64(g.memoryMax))
		case editTableGrow:
			out = g.bulk(out, scratch, opI64ShrU, entryShift, int64(g.tableMax[e.arg]))
		}
	}
	out = append(out, code[pos:]...)
	if f.calls > 0 {
		out = g.depth(out, opI32Sub, weight)
		out = append(out, opEnd)
	}
	return out
}

// added holds the indices of what the rewriter adds.
type added struct {
	fuelGlobal, depthGlobal, refuel uint32
	memoryMax                       uint32
	tableMax                        []uint32
}

func (g *added) depth(out []byte, op byte, weight int64) []byte {
	out = appendU32(append(out, opGlobalGet), g.depthGlobal)
	out = appendS64(append(out, opI32Const), weight)
	return appendU32(append(out, op, opGlobalSet), g.depthGlobal)
}

func (g *added) take(out []byte, cost int) []byte {
	out = appendU32(append(out, opGlobalGet), g.fuelGlobal)
	out = appendS64(append(out, opI64Const), int64(cost))
	return appendU32(append(out, opI64Sub, opGlobalSet), g.fuelGlobal)
}

func (g *added) check(out []byte) []byte {
	out = appendU32(append(out, opGlobalGet), g.fuelGlobal)
	out = append(out, opI64Const, 0, opI64LtS, opIf, blockVoid)
	out = appendU32(append(out, opCall), g.refuel)
	return append(out, opEnd)
}

// bulk takes the i32 on top, shifted, as cost and leaves it on top. With
// limit >= 0, a larger operand is free: the operation will only return -1.
func (g *added) bulk(out []byte, scratch uint32, shift byte, by, limit int64) []byte {
	out = appendU32(append(out, opLocalTee), scratch)
	out = appendU32(append(out, opGlobalGet), g.fuelGlobal)
	out = appendU32(append(out, opLocalGet), scratch)
	out = appendS64(append(out, opI64ExtendU, opI64Const), by)
	out = append(out, shift)
	if limit >= 0 {
		out = append(out, opI64Const, 0)
		out = appendU32(append(out, opLocalGet), scratch)
		out = appendS64(append(out, opI32Const), int64(int32(limit)))
		out = append(out, opI32LeU, opSelect)
	}
	out = appendU32(append(out, opI64Sub, opGlobalSet), g.fuelGlobal)
	return g.check(out)
}
