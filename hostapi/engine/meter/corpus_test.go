package meter_test

import (
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// corpus is one module with every way in and out of functions and blocks that
// the rewriter changes or must leave alone. All exports are (i32) -> i32 or,
// for "pair", (i32) -> (i32, i32).
func corpus() *Module {
	m := New()
	tick := m.Import("env", "tick", None, I32)
	m.Memory(1, 4)
	m.Table(FuncRef, 8, 20)
	m.Table(ExternRef, 1, NoMax)
	started := m.Global(I32, true, I32Const(0))
	unary := m.Type(I32, I32)
	i32i32 := m.Type(None, I32+I32)
	passThrough := m.Type(I32, I32)

	double := m.Func("double", I32, I32, None, LocalGet(0)+LocalGet(0)+I32Add)
	fact := m.NextFunc()
	m.Func("fact", I32, I32, None, LocalGet(0)+I32Eqz+
		If(None, I32Const(1)+Return, "")+
		LocalGet(0)+LocalGet(0)+I32Const(1)+I32Sub+Call(fact)+I32Mul)
	fib := m.NextFunc()
	m.Func("fib", I32, I32, None, LocalGet(0)+I32Const(2)+I32LtS+
		If(I32, LocalGet(0), LocalGet(0)+I32Const(1)+I32Sub+Call(fib)+
			LocalGet(0)+I32Const(2)+I32Sub+Call(fib)+I32Add))
	even := m.NextFunc()
	m.Func("even", I32, I32, None, LocalGet(0)+I32Eqz+
		If(I32, I32Const(1), LocalGet(0)+I32Const(1)+I32Sub+Call(even+1)))
	m.Func("odd", I32, I32, None, LocalGet(0)+I32Eqz+
		If(I32, I32Const(0), LocalGet(0)+I32Const(1)+I32Sub+Call(even)))

	// A switch whose cases return, fall through, and branch to the function's label.
	m.Func("switch", I32, I32, I32,
		Block(None, Block(None, Block(None, Block(None,
			LocalGet(0)+BrTable(0, 1, 2, 3, 2))+
			I32Const(100)+Return)+
			I32Const(200)+Call(double)+Br(2))+
			I32Const(300)+LocalSet(1))+
			LocalGet(1)+I32Const(400)+I32Add)

	// br_table straight to the function's label, with a value.
	m.Func("brtable0", I32, I32, None,
		Block(I32, I32Const(7)+LocalGet(0)+BrTable(0, 1, 0))+Call(double))

	// Early return from nested loops.
	m.Func("nested", I32, I32, I32+I32,
		Loop(None, I32Const(0)+LocalSet(2)+
			Loop(None,
				LocalGet(1)+LocalGet(2)+I32Mul+LocalGet(0)+I32Eq+
					If(None, LocalGet(1)+I32Const(8)+I32Shl+LocalGet(2)+I32Or+Call(double)+Return, "")+
					LocalGet(2)+I32Const(1)+I32Add+LocalTee(2)+I32Const(40)+I32LtS+BrIf(0))+
			LocalGet(1)+I32Const(1)+I32Add+LocalTee(1)+I32Const(40)+I32LtS+BrIf(0))+
			I32Const(-1))

	// br_if to the function's label from inside a loop, and values on the stack below.
	m.Func("brif", I32, I32, I32,
		I32Const(5)+Drop+
			Loop(None, LocalGet(1)+Call(double)+LocalGet(1)+LocalGet(0)+I32GtS+BrIf(1)+Drop+
				LocalGet(1)+I32Const(1)+I32Add+LocalSet(1)+Br(0))+Unreachable)

	// Several results, from a function, a block and a loop with parameters.
	pair := m.Func("pair", I32, I32+I32, None,
		LocalGet(0)+I32Const(10)+I32LtS+If(None, I32Const(1)+LocalGet(0)+Call(double)+Return, "")+
			Block(TypeIndex(i32i32), LocalGet(0)+Call(double)+I32Const(3)))
	m.Func("pairsum", I32, I32, I32, LocalGet(0)+Call(pair)+I32Mul+
		Loop(TypeIndex(passThrough), I32Const(1)+I32Add+LocalTee(1)+LocalGet(1)+I32Const(500)+I32LtS+BrIf(0)))

	// Indirect calls, references, segments.
	m.Elem(1, double, fact)
	seg := m.ElemPassive(fib, even)
	m.RawElem("\x04\x41\x03\x0b\x02\xd2" + string(rune(fib)) + "\x0b\xd0\x70\x0b") // entry 3: fib, 4: null
	m.Func("indirect", I32, I32, None, LocalGet(0)+I32Const(3)+I32And+LocalGet(0)+I32Const(6)+I32RemU+CallIndirect(unary, 0))
	m.Func("refs", I32, I32, None,
		I32Const(5)+RefFunc(even)+TableSet(0)+
			I32Const(6)+I32Const(0)+I32Const(2)+TableInit(seg, 0)+
			LocalGet(0)+I32Const(5)+CallIndirect(unary, 0)+
			LocalGet(0)+I32Const(15)+I32And+I32Const(6)+CallIndirect(unary, 0)+I32Add)
	m.Func("tablegrow", I32, I32, None, RefNull(FuncRef)+LocalGet(0)+TableGrow(0)+TableSize(0)+I32Const(8)+I32Shl+I32Or)
	m.Func("tablefill", I32, I32, None,
		I32Const(6)+RefFunc(double)+I32Const(2)+TableFill(0)+
			I32Const(4)+I32Const(6)+I32Const(2)+TableCopy(0, 0)+
			LocalGet(0)+I32Const(5)+CallIndirect(unary, 0))

	// Bulk memory, loads and stores.
	text := m.DataPassive("metering")
	m.Data(64, "\x01\x02\x03\x04")
	m.Func("bulk", I32, I32, None,
		I32Const(100)+LocalGet(0)+I32Const(50)+MemoryFill+
			I32Const(120)+I32Const(64)+I32Const(4)+MemoryCopy+
			I32Const(124)+I32Const(0)+I32Const(8)+MemoryInit(text)+
			I32Const(116)+I32Load(0)+I32Const(120)+I32Load(0)+I32Add+I32Const(128)+I32Load8U(3)+I32Xor)
	m.Func("memgrow", I32, I32, None, LocalGet(0)+MemoryGrow+MemorySize+I32Const(8)+I32Shl+I32Or)

	m.Func("host", I32, I32, None, Call(tick)+Drop+LocalGet(0)+Call(double))
	init := m.Func("", None, None, None, I32Const(20)+Call(double)+GlobalSet(started))
	m.Start(init)
	m.Func("started", I32, I32, None, GlobalGet(started)+LocalGet(0)+I32Add)

	// Code after a branch, and traps.
	m.Func("dead", I32, I32, None, Block(I32, LocalGet(0)+Br(0)+I32Const(1)+I32Add+Block(None, Nop+Br(0)+Loop(None, Br(0))))+
		Call(double)+Return+Drop+I32Const(4))
	m.Func("div", I32, I32, None, I32Const(1000)+LocalGet(0)+I32DivS+Call(double))
	m.Func("select", I32, I32, None, I32Const(4)+I32Const(9)+LocalGet(0)+Select)
	// Vectors: splat, multiply, extract.
	m.Func("vector", I32, I32, V128, LocalGet(0)+"\xfd\x11"+LocalTee(1)+LocalGet(1)+"\xfd\xb5\x01\xfd\x1b\x02")
	// A long function that pays in several places.
	long := Code("")
	for range 60 {
		long += LocalGet(0) + I32Const(3) + I32And +
			If(None, LocalGet(1)+LocalGet(0)+I32Const(17)+I32Mul+I32Add+I32Const(9)+I32Xor+LocalSet(1)+
				LocalGet(1)+LocalGet(0)+I32Const(17)+I32Mul+I32Add+I32Const(9)+I32Xor+LocalSet(1),
				LocalGet(1)+I32Const(1)+I32Add+LocalSet(1)) +
			LocalGet(0) + I32Const(1) + I32ShrU + LocalSet(0)
	}
	m.Func("long", I32, I32, I32, long+LocalGet(1))

	m.Custom("mta1.manifest", `{"name":"corpus"}`)
	m.Custom(".debug_line", "points into the code")
	m.Names("corpus", map[uint32]string{tick: "tick", double: "double", fact: "fact"})
	return m
}
