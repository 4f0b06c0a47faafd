package wasmbuild

import "math"

// Code is a sequence of encoded instructions; concatenate with +. An
// instruction that is missing here is written as raw bytes: Code("\x45").
type Code string

// Instructions without immediates.
const (
	Unreachable  Code = "\x00"
	Nop          Code = "\x01"
	Else         Code = "\x05"
	End          Code = "\x0b"
	Return       Code = "\x0f"
	Drop         Code = "\x1a"
	Select       Code = "\x1b"
	MemorySize   Code = "\x3f\x00"
	MemoryGrow   Code = "\x40\x00"
	I32Eqz       Code = "\x45"
	I32Eq        Code = "\x46"
	I32Ne        Code = "\x47"
	I32LtS       Code = "\x48"
	I32LtU       Code = "\x49"
	I32GtS       Code = "\x4a"
	I32GtU       Code = "\x4b"
	I32LeS       Code = "\x4c"
	I32GeS       Code = "\x4e"
	I32GeU       Code = "\x4f"
	I64Eqz       Code = "\x50"
	I64Eq        Code = "\x51"
	I64LtS       Code = "\x53"
	I32Add       Code = "\x6a"
	I32Sub       Code = "\x6b"
	I32Mul       Code = "\x6c"
	I32DivS      Code = "\x6d"
	I32RemU      Code = "\x70"
	I32And       Code = "\x71"
	I32Or        Code = "\x72"
	I32Xor       Code = "\x73"
	I32Shl       Code = "\x74"
	I32ShrU      Code = "\x76"
	I64Add       Code = "\x7c"
	I64Sub       Code = "\x7d"
	I64Mul       Code = "\x7e"
	I64Or        Code = "\x84"
	I64Shl       Code = "\x86"
	I32WrapI64   Code = "\xa7"
	I64ExtendI32 Code = "\xad" // unsigned
	MemoryCopy   Code = "\xfc\x0a\x00\x00"
	MemoryFill   Code = "\xfc\x0b\x00"
)

// I32Const pushes v.
func I32Const(v int32) Code { return Code("\x41" + sleb(int64(v))) }

// I64Const pushes v.
func I64Const(v int64) Code { return Code("\x42" + sleb(v)) }

// F64Const pushes v.
func F64Const(v float64) Code {
	bits := math.Float64bits(v)
	b := []byte{0x44}
	for range 8 {
		b = append(b, byte(bits))
		bits >>= 8
	}
	return Code(b)
}

// LocalGet pushes a parameter or local.
func LocalGet(i uint32) Code { return op("\x20", i) }

// LocalSet pops into a parameter or local.
func LocalSet(i uint32) Code { return op("\x21", i) }

// LocalTee copies the top into a parameter or local.
func LocalTee(i uint32) Code { return op("\x22", i) }

// GlobalGet pushes a global.
func GlobalGet(i uint32) Code { return op("\x23", i) }

// GlobalSet pops into a global.
func GlobalSet(i uint32) Code { return op("\x24", i) }

// Call calls a function.
func Call(f uint32) Code { return op("\x10", f) }

// CallIndirect pops an entry of a table and calls it with the type.
func CallIndirect(typ, table uint32) Code { return op("\x11", typ, table) }

// RefNull pushes a null of FuncRef or ExternRef.
func RefNull(t Types) Code { return Code("\xd0" + string(t)) }

// RefFunc pushes a reference to a function.
func RefFunc(f uint32) Code { return op("\xd2", f) }

// TableGet pops an index and pushes the entry.
func TableGet(t uint32) Code { return op("\x25", t) }

// TableSet pops an entry and an index.
func TableSet(t uint32) Code { return op("\x26", t) }

// TableGrow pops a count and an entry, pushes the old size or -1.
func TableGrow(t uint32) Code { return op("\xfc\x0f", t) }

// TableSize pushes the size.
func TableSize(t uint32) Code { return op("\xfc\x10", t) }

// TableFill pops a count, an entry and an index.
func TableFill(t uint32) Code { return op("\xfc\x11", t) }

// TableInit copies from a passive segment.
func TableInit(elem, table uint32) Code { return op("\xfc\x0c", elem, table) }

// TableCopy copies between tables.
func TableCopy(dst, src uint32) Code { return op("\xfc\x0e", dst, src) }

// MemoryInit copies from a passive segment.
func MemoryInit(data uint32) Code { return op("\xfc\x08", data, 0) }

// I32Load loads 4 bytes at the popped address plus offset.
func I32Load(offset uint32) Code { return op("\x28", 2, offset) }

// I32Load8U loads one byte.
func I32Load8U(offset uint32) Code { return op("\x2d", 0, offset) }

// I32Store stores 4 bytes: address, then value, are popped.
func I32Store(offset uint32) Code { return op("\x36", 2, offset) }

// I32Store8 stores one byte.
func I32Store8(offset uint32) Code { return op("\x3a", 0, offset) }

// Block is body inside a block; its label is left by Br(0).
func Block(t Types, body Code) Code { return Code("\x02"+blockType(t)) + body + End }

// Loop is body inside a loop; Br(0) repeats it.
func Loop(t Types, body Code) Code { return Code("\x03"+blockType(t)) + body + End }

// If runs then or, when not empty, otherwise.
func If(t Types, then, otherwise Code) Code {
	c := Code("\x04"+blockType(t)) + then
	if otherwise != "" {
		c += Else + otherwise
	}
	return c + End
}

// Br branches to the label depth blocks out.
func Br(depth uint32) Code { return op("\x0c", depth) }

// BrIf branches when the popped value is not zero.
func BrIf(depth uint32) Code { return op("\x0d", depth) }

// BrTable branches to the popped index's label, or to the last one.
func BrTable(labels ...uint32) Code {
	c := Code("\x0e" + uleb(uint64(len(labels)-1)))
	for _, l := range labels {
		c += Code(uleb(uint64(l)))
	}
	return c
}

func op(code string, immediates ...uint32) Code {
	for _, i := range immediates {
		code += uleb(uint64(i))
	}
	return Code(code)
}
