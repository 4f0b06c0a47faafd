package meter

// The instructions that the rewriter treats one by one or emits.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelect       = 0x1b
	opSelectT      = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LeU       = 0x4d
	opI32GtU       = 0x4b
	opI64LtS       = 0x53
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Sub       = 0x7d
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opSIMD         = 0xfd

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17

	blockVoid = 0x40
)

// numeric is the stack effect of the plain numeric instructions 0x45 to 0xc4.
func numeric(op byte) (pop, push int) {
	switch {
	case op == 0x45, op == 0x50, // eqz
		op >= 0x67 && op <= 0x69, op >= 0x79 && op <= 0x7b, // clz ctz popcnt
		op >= 0x8b && op <= 0x91, op >= 0x99 && op <= 0x9f, // abs to sqrt
		op >= 0xa7: // conversions, sign extension
		return 1, 1
	}
	return 2, 1
}

// unsupported names the proposal that an opcode belongs to and what to do.
func unsupported(op byte) string {
	switch op {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return "exceptions are not supported; build without -fwasm-exceptions"
	case 0x12, 0x13, 0x15:
		return "tail calls are not supported; build without -mtail-call"
	case 0x14, 0xd3, 0xd4, 0xd5, 0xd6, 0xfb:
		return "typed references and GC are not supported; build for core WebAssembly 2.0"
	case 0xfe:
		return "atomic instructions are not supported; build without threads (-pthread, +atomics)"
	}
	return "the instruction is not in core WebAssembly 2.0"
}

// simd reads the immediates of a vector instruction and gives its stack
// effect; ok is false for codes outside core WebAssembly 2.0.
func (r *reader) simd() (pop, push int, ok bool) {
	op := r.u32()
	switch {
	case op <= 0x0a: // loads
		r.memarg()
		return 1, 1, true
	case op == 0x0b: // store
		r.memarg()
		return 2, 0, true
	case op == 0x0c: // const
		r.bytes(16)
		return 0, 1, true
	case op == 0x0d: // shuffle
		r.bytes(16)
		return 2, 1, true
	case op == 0x0e: // swizzle
		return 2, 1, true
	case op <= 0x14: // splat
		return 1, 1, true
	case op <= 0x22: // lanes
		r.byte()
		switch op {
		case 0x17, 0x1a, 0x1c, 0x1e, 0x20, 0x22:
			return 2, 1, true
		}
		return 1, 1, true
	case op == 0x52: // bitselect
		return 3, 1, true
	case op >= 0x54 && op <= 0x57: // load lane
		r.memarg()
		r.byte()
		return 2, 1, true
	case op >= 0x58 && op <= 0x5b: // store lane
		r.memarg()
		r.byte()
		return 2, 0, true
	case op == 0x5c, op == 0x5d: // load zero
		r.memarg()
		return 1, 1, true
	}
	switch op {
	case 0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6,
		0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee:
		return 0, 0, false
	case 0x4d, 0x53, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x64, 0x67, 0x68, 0x69, 0x6a,
		0x74, 0x75, 0x7a, 0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x83, 0x84, 0x87, 0x88, 0x89,
		0x8a, 0x94, 0xa0, 0xa1, 0xa3, 0xa4, 0xa7, 0xa8, 0xa9, 0xaa, 0xc0, 0xc1, 0xc3, 0xc4,
		0xc7, 0xc8, 0xc9, 0xca, 0xe0, 0xe1, 0xe3, 0xec, 0xed, 0xef,
		0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff:
		return 1, 1, true
	}
	return 2, 1, op <= 0xff
}

func (r *reader) memarg() {
	if align := r.u32(); align > 4 && r.err == nil {
		r.fail(Unsupported, "alignment 2^%d of a memory access; build for wasm32 with one memory", align)
	}
	r.u32()
}

// zeroByte reads the memory index of an instruction, which must be 0.
func (r *reader) zeroByte() {
	if b := r.byte(); b != 0 {
		r.fail(Unsupported, "memory %d: several memories are not supported", b)
	}
}
