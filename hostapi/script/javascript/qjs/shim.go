package qjs

import (
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
	//lint:ignore ST1001 code in WebAssembly reads better without a package before each instruction
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// Instructions that wasmbuild does not name.
const (
	i64Load        = Code("\x29\x03\x00")
	i64Store       = Code("\x37\x03\x00")
	i64ShrU        = Code("\x88")
	i64ExtendS     = Code("\xac")
	f64ConvertI64S = Code("\xb9")
)

// A JSValue is a number of 64 bits: the tag above, a pointer or integer below.
const (
	tagInt       = 0
	tagNull      = 2
	tagUndefined = 3
	tagException = 6
	tagObject    = -1
	tagModule    = -3

	valueTrue      = 1<<32 | 1
	valueUndefined = tagUndefined << 32
	valueException = tagException << 32
)

// Flags of JS_Eval.
const (
	evalModule  = 1
	evalCompile = 1 << 5
)

// The memory of the module: that of the engine as it is in its file, and then
// what stands here, in octets from the end of the engine's.
const (
	stackSize  = 256 << 10 // of the engine's code in C; its own has 64 KiB
	stackSpare = 64 << 10  // for what it does when JavaScript has used up the rest
	redZone    = 256       // what functions use below the stack without saying so

	slots   = stackSize // one value for the engine to write
	argv    = slots + 8 // one argument of a call
	iovec   = slots + 16
	written = slots + 24
	values  = slots + 32 // what the prelude gives: report, the session, start; then the hooks
	hooked  = values + 3*8
	buffer  = slots + 256 // for what the host writes; longer texts are asked for again
	header  = buffer + bufferSize
	static  = header + 64

	bufferSize = 4096
)

// The header says where the rest is, so that the code is the same for every
// script: pointers, and lengths behind those of texts.
const (
	headPrimitives = header + 4*iota // triples of name, entry of the table and arity, up to a 0
	headName                         // of the script
	headNameLen
	headPrelude
	headPreludeLen
	headScript
	headScriptLen
	headHooks // in JavaScript's names, separated by spaces
	headHooksLen
	headSubscribed // those of them that the module exports, in their order
	headSubscribedLen
)

// primitive is a function of the contract as JavaScript calls it.
type primitive struct {
	name    string // in JavaScript: get, kv_get
	imports uint32
	args    []arg
	result  byte // of the import: 'i' or 'I'
	out     outcome
	facts   bool // an error is an empty text, or 0
}

type arg byte

const (
	argInt   arg = iota // i32
	argLong             // i64
	argBytes            // a text or a Uint8Array: pointer and length
	argBuf              // the buffer; its length is in JavaScript only for outRead and outFill
)

type outcome byte

const (
	outNumber outcome = iota // the result itself
	outValue                 // a text, or with true as the last argument octets; written whole or not at all
	outRead                  // the same; the result says how many were written
	outFill                  // the same; all were written if the result is 0
	outFour                  // the same; four were written if the result is 1
)

// shape finds out from the names of parameters how JavaScript calls a function.
func shape(name string, sig abi.Signature, params []string) primitive {
	p := primitive{name: name, result: sig[len(sig)-1]}
	for i := 0; i < len(params); i++ {
		next := ""
		if i+1 < len(params) {
			next = params[i+1]
		}
		switch {
		case params[i] == "out4":
			p.args, p.out = append(p.args, argBuf), outFour
		case (params[i] == "buf" || params[i] == "out") && next == "cap":
			p.args, p.out = append(p.args, argBuf), outValue
			i++
		case params[i] == "buf" && next == "len":
			p.args, p.out = append(p.args, argBuf), outFill
			i++
		case sig[i] == 'i' && strings.HasSuffix(next, "len"):
			p.args = append(p.args, argBytes)
			i++
		case sig[i] == 'I':
			p.args = append(p.args, argLong)
		default:
			p.args = append(p.args, argInt)
		}
	}
	if name == "body_read" || name == "http_read" { // they give a part, and never say how much there is
		p.out = outRead
	}
	return p
}

// arity is how many arguments p has in JavaScript.
func (p *primitive) arity() int {
	n := len(p.args)
	switch p.out {
	case outValue, outFour:
		return n // the flag instead of the buffer
	case outRead, outFill:
		return n + 1 // the length, and the flag
	}
	return n
}

// shim are the functions that are added to the engine.
type shim struct {
	*linker
	base    int    // where the memory described above begins
	context uint32 // globals
	runtime uint32
	bad     uint32 // 1: an argument was none, and an exception is pending

	toInt, toLong, toBytes, free, value, settle, say, report uint32

	texts []byte // what the code refers to, from static on
}

// text keeps a text for the code, with a zero behind it, and returns its offset.
func (s *shim) text(t string) int {
	at := static + len(s.texts)
	s.texts = append(append(s.texts, t...), 0)
	return at
}

// uses are the functions of the engine that the shim calls.
var uses = []string{
	"JS_Call", "JS_Eval", "JS_EvalFunction", "JS_ExecutePendingJob", "JS_FreeCString", "JS_FreeValue", "JS_DupValue", "JS_GetException",
	"JS_GetGlobalObject", "JS_GetModuleNamespace", "JS_GetUint8Array", "JS_NewCFunction2", "JS_NewContext", "JS_NewNumber", "JS_NewObject",
	"JS_NewRuntime", "JS_NewStringLen", "JS_NewUint8ArrayCopy", "JS_PromiseResult", "JS_PromiseState", "JS_SetPropertyStr", "JS_Throw",
	"JS_ThrowRangeError", "JS_ThrowTypeError", "JS_ToCStringLen2", "JS_ToInt32", "JS_ToInt64", "__wasi_init_tp", "free", "malloc", fdWrite,
}

const fdWrite = "__imported_wasi_snapshot_preview1_fd_write"

func (s *shim) at(offset int) Code        { return I32Const(int32(s.base + offset)) }
func (s *shim) ctx() Code                 { return GlobalGet(s.context) }
func tagOf(v Code) Code                   { return v + I64Const(32) + i64ShrU + I32WrapI64 }
func (s *shim) loadLong(at int) Code      { return s.at(at) + i64Load }
func (s *shim) loadInt(at int) Code       { return s.at(at) + I32Load(0) }
func exception() Code                     { return I64Const(valueException) }
func isTag(v Code, tag int32) Code        { return tagOf(v) + I32Const(tag) + I32Eq }
func asInt(v Code) Code                   { return v + I64ExtendI32 }
func (s *shim) store(at int, v Code) Code { return s.at(at) + v + i64Store }

// helpers adds what the primitives and the exports share.
func (s *shim) helpers(fdWrite uint32) {
	// say writes a text of the guest to standard error.
	s.say = s.add(I32+I32, None, None,
		s.at(iovec)+LocalGet(0)+I32Store(0)+s.at(iovec)+LocalGet(1)+I32Store(4)+
			I32Const(2)+s.at(iovec)+I32Const(1)+s.at(written)+Call(fdWrite)+Drop)

	pending := I32Const(1) + GlobalSet(s.bad)
	s.toInt = s.add(I64, I32, None,
		isTag(LocalGet(0), tagInt)+If(None, LocalGet(0)+I32WrapI64+Return, "")+
			s.ctx()+s.at(slots)+LocalGet(0)+s.call("JS_ToInt32")+If(None, pending+I32Const(0)+Return, "")+
			s.loadInt(slots))
	s.toLong = s.add(I64, I64, None,
		isTag(LocalGet(0), tagInt)+If(None, LocalGet(0)+I32WrapI64+i64ExtendS+Return, "")+
			s.ctx()+s.at(slots)+LocalGet(0)+s.call("JS_ToInt64")+If(None, pending+I64Const(0)+Return, "")+
			s.loadLong(slots))
	// toBytes gives a pointer, and the length in the slot.
	s.toBytes = s.add(I64, I32, I32,
		isTag(LocalGet(0), tagObject)+If(I32,
			s.ctx()+s.at(slots)+LocalGet(0)+s.call("JS_GetUint8Array"),
			s.ctx()+s.at(slots)+LocalGet(0)+I32Const(0)+s.call("JS_ToCStringLen2"))+
			LocalTee(1)+I32Eqz+If(None, pending+s.at(slots)+I32Const(0)+I32Store(0), "")+
			LocalGet(1))
	s.free = s.add(I64+I32, None, None,
		LocalGet(1)+I32Eqz+isTag(LocalGet(0), tagObject)+I32Or+If(None, Return, "")+
			s.ctx()+LocalGet(1)+s.call("JS_FreeCString"))
	// value makes a text of octets, or with true a Uint8Array.
	s.value = s.add(I32+I32+I64, I64, None,
		LocalGet(2)+I64Const(valueTrue)+I64Eq+If(I64,
			s.ctx()+LocalGet(0)+LocalGet(1)+s.call("JS_NewUint8ArrayCopy"),
			s.ctx()+LocalGet(0)+LocalGet(1)+s.call("JS_NewStringLen")))

	// settle runs what waits to be run, and gives what a promise came to.
	const v, state, r = 0, 1, 2
	// An exception ends the call; running more would lose it.
	s.settle = s.add(I64, I64, I32+I64,
		isTag(LocalGet(v), tagException)+If(None, LocalGet(v)+Return, "")+Block(None, Loop(None,
			GlobalGet(s.runtime)+s.at(slots)+s.call("JS_ExecutePendingJob")+LocalTee(state)+I32Eqz+BrIf(1)+
				LocalGet(state)+I32Const(0)+I32LtS+If(None, s.ctx()+s.ctx()+s.call("JS_GetException")+s.call("JS_FreeValue"), "")+
				Br(0)))+
			isTag(LocalGet(v), tagObject)+I32Eqz+If(None, LocalGet(v)+Return, "")+
			s.ctx()+LocalGet(v)+s.call("JS_PromiseState")+LocalTee(state)+I32Const(0)+I32LtS+If(None, LocalGet(v)+Return, "")+
			LocalGet(state)+I32Eqz+If(None,
			s.ctx()+LocalGet(v)+s.call("JS_FreeValue")+
				s.ctx()+s.at(s.text("what it waits for never comes"))+I32Const(0)+s.call("JS_ThrowTypeError")+Return, "")+
			s.ctx()+LocalGet(v)+s.call("JS_PromiseResult")+LocalSet(r)+
			s.ctx()+LocalGet(v)+s.call("JS_FreeValue")+
			LocalGet(state)+I32Const(2)+I32Eq+If(None, s.ctx()+LocalGet(r)+s.call("JS_Throw")+Return, "")+
			LocalGet(r))

	// report writes what went wrong: the prelude makes a line of it.
	const e, line, p = 0, 1, 2
	const nothing = "an exception for which there is no text, or no memory for one\n"
	s.report = s.add(None, None, I64+I64+I32,
		s.ctx()+s.call("JS_GetException")+LocalSet(e)+
			s.loadLong(values)+I64Eqz+If(None, LocalGet(e)+LocalSet(line),
			s.store(argv, LocalGet(e))+
				s.ctx()+s.loadLong(values)+I64Const(valueUndefined)+I32Const(1)+s.at(argv)+s.call("JS_Call")+LocalSet(line))+
			s.ctx()+s.at(slots)+LocalGet(line)+I32Const(0)+s.call("JS_ToCStringLen2")+LocalTee(p)+I32Eqz+If(None, s.at(s.text(nothing))+I32Const(int32(len(nothing)))+Call(s.say)+Return, "")+
			LocalGet(p)+s.loadInt(slots)+Call(s.say))
}

// primitive adds the function of JavaScript for p and returns its number.
func (s *shim) primitive(p *primitive) uint32 {
	// (ctx, this, argc, argv) -> value; then a pointer and a length for each
	// text, and the numbers.
	const argvParam = 3
	locals := Types("")
	local := func(t Types) uint32 {
		locals += t
		return uint32(3 + len(locals))
	}
	argument := func(n int) Code { return LocalGet(argvParam) + Code("\x29\x03"+uleb(8*n)) }
	var get, pass, free Code
	n := 0
	buf, room, res := local(I32), local(I32), uint32(0)
	if p.result == 'I' {
		res = local(I64)
	} else {
		res = local(I32)
	}
	for _, a := range p.args {
		switch a {
		case argInt:
			l := local(I32)
			get += argument(n) + Call(s.toInt) + LocalSet(l)
			pass += LocalGet(l)
		case argLong:
			l := local(I64)
			get += argument(n) + Call(s.toLong) + LocalSet(l)
			pass += LocalGet(l)
		case argBytes:
			ptr, length := local(I32), local(I32)
			get += argument(n) + Call(s.toBytes) + LocalSet(ptr) + s.loadInt(slots) + LocalSet(length)
			pass += LocalGet(ptr) + LocalGet(length)
			free += argument(n) + LocalGet(ptr) + Call(s.free)
		case argBuf:
			pass += LocalGet(buf)
			if p.out != outFour {
				pass += LocalGet(room)
			}
			continue
		}
		n++
	}
	code := get
	call := pass + Call(p.imports) + LocalSet(res)
	larger := func(size Code) Code { // what the heap does not have is E_LIMIT
		return size + s.call("malloc") + LocalTee(buf) + I32Eqz + If(None, free+asInt(I32Const(int32(abi.Limit)))+Return, "")
	}
	refuse := GlobalGet(s.bad) + If(None, I32Const(0)+GlobalSet(s.bad)+free+exception()+Return, "")
	flag := n
	switch p.out {
	case outNumber:
		code += refuse + call + free
		if p.facts {
			code += LocalGet(res) + I64Const(0) + I64LtS + If(None, I64Const(0)+LocalSet(res), "")
		}
		if p.result == 'I' {
			// Most are small.
			code += LocalGet(res) + LocalGet(res) + I32WrapI64 + i64ExtendS + I64Eq + If(None, asInt(LocalGet(res)+I32WrapI64)+Return, "") +
				s.ctx() + LocalGet(res) + f64ConvertI64S + s.call("JS_NewNumber")
		} else {
			code += asInt(LocalGet(res))
		}
		return s.add(I32+I64+I32+I32, I64, locals, code)
	case outValue, outFour:
		code += refuse + s.at(buffer) + LocalSet(buf) + I32Const(bufferSize) + LocalSet(room) + call
	case outRead, outFill:
		flag++
		code += argument(n) + Call(s.toInt) + LocalSet(room) + refuse + larger(LocalGet(room)) + call
	}
	switch p.out {
	case outValue:
		code += LocalGet(res) + I32Const(bufferSize) + I32GtS + If(None,
			LocalGet(res)+LocalSet(room)+larger(LocalGet(room))+call+
				LocalGet(res)+LocalGet(room)+I32GtS+If(None, I32Const(int32(abi.Conflict))+LocalSet(res), ""), "")
	case outFour:
		// 0 stays a number, and with 1 the text has 4 octets.
		code += LocalGet(res) + I32Eqz + If(None, free+asInt(I32Const(0))+Return, "") +
			LocalGet(res) + I32Const(1) + I32Eq + If(None, I32Const(4)+LocalSet(res), "")
	case outFill:
		code += LocalGet(res) + I32Eqz + If(None, LocalGet(room)+LocalSet(res), "")
	}
	if p.facts {
		code += LocalGet(res) + I32Const(0) + I32LtS + If(None, I32Const(0)+LocalSet(res), "")
	}
	made := local(I64)
	code += free + LocalGet(res) + I32Const(0) + I32LtS + If(I64, asInt(LocalGet(res)),
		LocalGet(buf)+LocalGet(res)+argument(flag)+Call(s.value)) + LocalSet(made) +
		LocalGet(buf) + s.at(buffer) + I32Ne + If(None, LocalGet(buf)+s.call("free"), "") + LocalGet(made)
	return s.add(I32+I64+I32+I32, I64, locals, code)
}

// give adds the functions of JavaScript that are not of the contract: what the
// prelude says to the shim, and conversions.
func (s *shim) give() []primitive {
	argument := func(n int) Code { return LocalGet(3) + Code("\x29\x03"+uleb(8*n)) }
	var boot Code
	for n := range 3 {
		boot += s.store(values+8*n, s.ctx()+argument(n)+s.call("JS_DupValue"))
	}
	undefined := I64Const(valueUndefined)
	octets := func(flag int64) Code { // of a text, and the reverse
		return argument(0) + Call(s.toBytes) + LocalSet(4) + s.loadInt(slots) + LocalSet(5) +
			GlobalGet(s.bad) + If(None, I32Const(0)+GlobalSet(s.bad)+exception()+Return, "") +
			LocalGet(4) + LocalGet(5) + I64Const(flag) + Call(s.value) + argument(0) + LocalGet(4) + Call(s.free)
	}
	hook := argument(0) + Call(s.toInt) + I32Const(3) + I32Shl + s.at(hooked) + I32Add + s.ctx() + argument(1) + s.call("JS_DupValue") + i64Store + undefined
	var list []primitive
	for _, f := range []struct {
		name   string
		arity  int
		locals Types
		code   Code
	}{{"boot", 3, None, boot + undefined}, {"hook", 2, None, hook}, {"decode", 1, I32 + I32, octets(0)}, {"encode", 1, I32 + I32, octets(valueTrue)}} {
		list = append(list, primitive{name: f.name, args: make([]arg, f.arity), imports: s.add(I32+I64+I32+I32, I64, f.locals, f.code)})
	}
	return list
}

// start adds mta1_init.
func (s *shim) start() uint32 {
	const entry, host, v = 0, 1, 2
	pair := func(head int) Code { return s.loadInt(head) + s.loadInt(head+4) }
	fails := If(None, Call(s.report)+I32Const(int32(abi.Invalid))+Return, "")
	do := func(c Code) Code { // ends the start if c throws
		return c + Call(s.settle) + LocalTee(v) + I64Const(32) + i64ShrU + I32WrapI64 + I32Const(tagException) + I32Eq + fails +
			s.ctx() + LocalGet(v) + s.call("JS_FreeValue")
	}
	property := func(name string, value Code) Code {
		return s.ctx() + LocalGet(host) + s.at(s.text(name)) + value + s.call("JS_SetPropertyStr") + Drop
	}
	str := func(head int) Code { return s.ctx() + pair(head) + s.call("JS_NewStringLen") }
	return s.add(None, I32, I32+I64+I64,
		s.call("__wasi_init_tp")+
			s.call("JS_NewRuntime")+LocalTee(entry)+GlobalSet(s.runtime)+LocalGet(entry)+I32Eqz+If(None, Unreachable, "")+
			GlobalGet(s.runtime)+s.call("JS_NewContext")+LocalTee(entry)+GlobalSet(s.context)+LocalGet(entry)+I32Eqz+If(None, Unreachable, "")+
			s.ctx()+s.call("JS_NewObject")+LocalSet(host)+
			s.loadInt(headPrimitives)+LocalSet(entry)+
			Block(None, Loop(None,
				LocalGet(entry)+I32Load(0)+I32Eqz+BrIf(1)+
					s.ctx()+LocalGet(host)+LocalGet(entry)+I32Load(0)+
					s.ctx()+LocalGet(entry)+I32Load(4)+LocalGet(entry)+I32Load(0)+LocalGet(entry)+I32Load(8)+I32Const(0)+I32Const(0)+s.call("JS_NewCFunction2")+
					s.call("JS_SetPropertyStr")+Drop+
					LocalGet(entry)+I32Const(12)+I32Add+LocalSet(entry)+Br(0)))+
			property("script", str(headName))+property("hooks", str(headHooks))+property("subscribed", str(headSubscribed))+
			s.ctx()+s.ctx()+s.call("JS_GetGlobalObject")+LocalTee(v)+s.at(s.text("host"))+LocalGet(host)+s.call("JS_SetPropertyStr")+Drop+
			s.ctx()+LocalGet(v)+s.call("JS_FreeValue")+
			do(s.ctx()+pair(headPrelude)+s.at(s.text(specifier))+I32Const(evalModule)+s.call("JS_Eval"))+
			s.ctx()+pair(headScript)+s.loadInt(headName)+I32Const(evalModule|evalCompile)+s.call("JS_Eval")+LocalTee(host)+
			I64Const(32)+i64ShrU+I32WrapI64+I32Const(tagException)+I32Eq+fails+
			do(s.ctx()+LocalGet(host)+s.call("JS_EvalFunction"))+
			s.store(argv, s.ctx()+LocalGet(host)+I32WrapI64+s.call("JS_GetModuleNamespace"))+
			do(s.ctx()+s.loadLong(values+16)+I64Const(valueUndefined)+I32Const(1)+s.at(argv)+s.call("JS_Call"))+
			I32Const(0))
}

// hook adds the function (n) -> verdict that calls the nth hook.
func (s *shim) hook() uint32 {
	const n, v, tag = 0, 1, 2
	return s.add(I32, I32, I64+I32,
		s.store(argv, s.loadLong(values+8))+
			s.ctx()+LocalGet(n)+I32Const(3)+I32Shl+s.at(hooked)+I32Add+i64Load+
			I64Const(valueUndefined)+I32Const(1)+s.at(argv)+s.call("JS_Call")+Call(s.settle)+LocalTee(v)+
			I64Const(32)+i64ShrU+I32WrapI64+LocalTee(tag)+I32Eqz+If(None, LocalGet(v)+I32WrapI64+Return, "")+
			LocalGet(tag)+I32Const(tagUndefined)+I32Eq+LocalGet(tag)+I32Const(tagNull)+I32Eq+I32Or+If(None, I32Const(0)+Return, "")+
			LocalGet(tag)+I32Const(tagException)+I32Ne+If(None,
			s.ctx()+s.at(s.text("a hook must return a verdict, such as s.reject(), or nothing"))+I32Const(0)+s.call("JS_ThrowTypeError")+Drop, "")+
			Call(s.report)+Unreachable)
}

// guards adds what ends a call whose stack is used up: exhausted, which the
// check calls, and deep, which throws the RangeError of JavaScript.
func (s *shim) guards() (check, prologue Code) {
	const tooDeep = "the stack of the JavaScript engine is used up\n"
	exhausted := s.add(None, None, None, s.at(stackSize)+GlobalSet(0)+s.at(s.text(tooDeep))+I32Const(int32(len(tooDeep)))+Call(s.say)+Unreachable)
	deep := s.add(I32, I64, None, LocalGet(0)+s.at(s.text("Maximum call stack size exceeded"))+I32Const(0)+s.call("JS_ThrowRangeError"))
	below := func(limit int) Code { return GlobalGet(0) + s.at(limit) + I32LtU }
	return below(redZone) + If(None, Call(exhausted), ""), below(stackSpare) + If(None, LocalGet(0)+Call(deep)+Return, "")
}
