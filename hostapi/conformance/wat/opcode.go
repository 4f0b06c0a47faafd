package wat

import (
	"strings"
	"sync"
)

// operand is what stands behind an instruction's name.
type operand uint8

const (
	none   operand = iota
	memory         // offset= and align=
	i32            // a number
	i64
	f32
	f64
	localIndex
	globalIndex
	funcIndex
	label
	labels      // of br_table
	indirect    // a table, and a type
	tableIndex  // a table; 0 if it is not said
	tablePair   // two tables, or none
	tableInit   // a table, 0 if it is not said, and an element segment
	elemIndex   //
	dataIndex   //
	memoryInit  // a data segment, and memory 0
	memoryZero  // memory 0, which is not written
	memoryPair  // twice
	heapType    // func or extern
	selectTypes // (result t), or none
)

// opcode is one instruction.
type opcode struct {
	code    string // the octets
	operand operand
	align   uint32 // the natural one, as its logarithm
}

// opcodes finds instructions by their names.
var opcodes = sync.OnceValue(func() map[string]opcode {
	m := map[string]opcode{}
	// Consecutive opcodes from first, in words of names; _ is none.
	row := func(prefix string, first byte, operand operand, names string) {
		for n, name := range strings.Fields(names) {
			if name == "_" {
				continue
			}
			name, align, _ := strings.Cut(name, ":")
			op := opcode{prefix + string([]byte{first + byte(n)}), operand, 0}
			if align != "" {
				op.align = uint32(align[0] - '0')
			}
			m[name] = op
		}
	}
	row("", 0x00, none, "unreachable nop")
	row("", 0x0c, label, "br br_if")
	row("", 0x0e, labels, "br_table")
	row("", 0x0f, none, "return")
	row("", 0x10, funcIndex, "call")
	row("", 0x11, indirect, "call_indirect")
	row("", 0x1a, none, "drop")
	row("", 0x1b, selectTypes, "select")
	row("", 0x20, localIndex, "local.get local.set local.tee")
	row("", 0x23, globalIndex, "global.get global.set")
	row("", 0x25, tableIndex, "table.get table.set")
	row("", 0x28, memory, `i32.load:2 i64.load:3 f32.load:2 f64.load:3 i32.load8_s:0 i32.load8_u:0 i32.load16_s:1 i32.load16_u:1
		i64.load8_s:0 i64.load8_u:0 i64.load16_s:1 i64.load16_u:1 i64.load32_s:2 i64.load32_u:2
		i32.store:2 i64.store:3 f32.store:2 f64.store:3 i32.store8:0 i32.store16:1 i64.store8:0 i64.store16:1 i64.store32:2`)
	row("", 0x3f, memoryZero, "memory.size memory.grow")
	row("", 0x41, i32, "i32.const")
	row("", 0x42, i64, "i64.const")
	row("", 0x43, f32, "f32.const")
	row("", 0x44, f64, "f64.const")
	row("", 0x45, none, `i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u
		i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u
		f32.eq f32.ne f32.lt f32.gt f32.le f32.ge f64.eq f64.ne f64.lt f64.gt f64.le f64.ge
		i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u i32.and i32.or i32.xor
		i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr
		i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u i64.and i64.or i64.xor
		i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr
		f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign
		f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign
		i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u i64.extend_i32_s i64.extend_i32_u
		i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s
		f32.convert_i64_u f32.demote_f64 f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32
		i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64
		i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s`)
	row("", 0xd0, heapType, "ref.null")
	row("", 0xd1, none, "ref.is_null")
	row("", 0xd2, funcIndex, "ref.func")
	const bulk = "\xfc"
	row(bulk, 0x00, none, `i32.trunc_sat_f32_s i32.trunc_sat_f32_u i32.trunc_sat_f64_s i32.trunc_sat_f64_u
		i64.trunc_sat_f32_s i64.trunc_sat_f32_u i64.trunc_sat_f64_s i64.trunc_sat_f64_u`)
	row(bulk, 0x08, memoryInit, "memory.init")
	row(bulk, 0x09, dataIndex, "data.drop")
	row(bulk, 0x0a, memoryPair, "memory.copy")
	row(bulk, 0x0b, memoryZero, "memory.fill")
	row(bulk, 0x0c, tableInit, "table.init")
	row(bulk, 0x0d, elemIndex, "elem.drop")
	row(bulk, 0x0e, tablePair, "table.copy")
	row(bulk, 0x0f, tableIndex, "table.grow table.size table.fill")
	return m
})

// valueTypes are the types of values by their names.
var valueTypes = map[string]byte{"i32": 0x7f, "i64": 0x7e, "f32": 0x7d, "f64": 0x7c, "funcref": 0x70, "externref": 0x6f}
