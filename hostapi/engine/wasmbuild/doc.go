// Package wasmbuild assembles small WebAssembly modules, for tests and for what is
// linked to the interpreter of a script, so that a guest of a test stands in the
// test itself and needs no other tool.
//
// A Module collects functions, memory, tables and the rest in the order in
// which they are added; Bytes gives the binary. Code is a string of encoded
// instructions, so code is concatenated with +, and raw bytes can be mixed in:
//
//	m := wasmbuild.New()
//	log := m.Import("mta1", "log", wasmbuild.I32+wasmbuild.I32+wasmbuild.I32, wasmbuild.I32)
//	m.Memory(1, 2)                     // exported as "memory"
//	m.Data(16, "hello")
//	m.Func("mta1_on_ehlo", wasmbuild.None, wasmbuild.I32, wasmbuild.None,
//		wasmbuild.I32Const(1)+wasmbuild.I32Const(16)+wasmbuild.I32Const(5)+
//			wasmbuild.Call(log)+wasmbuild.Drop+
//			wasmbuild.I32Const(0))
//	wasm := m.Bytes()
//
// Nothing is validated: a test of a decoder wants broken modules too. Only the
// order of imports before functions is enforced, by a panic, because a wrong
// index is a mistake of the test.
package wasmbuild
