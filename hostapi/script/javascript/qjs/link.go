package qjs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	//lint:ignore ST1001 code in WebAssembly reads better without a package before each instruction
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// object is the engine's module, taken apart. Its functions are numbered as in
// the file, imports first.
type object struct {
	types   []string // encoded
	imports []imported
	funcs   []uint32 // type of each function, imports included
	bodies  []string // of the functions that are no imports
	names   map[string]uint32
	table   []uint32 // functions from entry 1 on
	datas   []string // encoded segments
	globals []string // encoded, the stack pointer first
	pages   int
}

type imported struct {
	module, name string
	typ          uint32
}

var errEngine = errors.New("the JavaScript engine is not the one that this server was made for")

// parse takes the engine apart. It is part of this program: what is not as it
// must be panics, and open makes an error of it.
func parse(wasm string) *object {
	o := &object{names: map[string]uint32{}}
	r := &reader{wasm[8:]}
	for len(r.s) > 0 {
		id := r.byte()
		s := &reader{r.bytes(r.u32())}
		switch id {
		case 0:
			if s.name() == "name" {
				o.readNames(s)
			}
		case 1:
			for range s.u32() {
				from := s.s
				s.byte()
				s.bytes(s.u32())
				s.bytes(s.u32())
				o.types = append(o.types, from[:len(from)-len(s.s)])
			}
		case 2:
			for range s.u32() {
				i := imported{module: s.name(), name: s.name()}
				must(s.byte() == 0)
				i.typ = s.u32()
				o.imports = append(o.imports, i)
				o.funcs = append(o.funcs, i.typ)
			}
		case 3:
			for range s.u32() {
				o.funcs = append(o.funcs, s.u32())
			}
		case 5:
			must(s.u32() == 1 && s.byte() == 0)
			o.pages = int(s.u32())
		case 6:
			for range s.u32() {
				from := s.s
				s.bytes(2)
				s.instruction()
				must(s.byte() == 0x0b)
				o.globals = append(o.globals, from[:len(from)-len(s.s)])
			}
		case 9:
			must(s.u32() == 1 && s.bytes(4) == "\x00\x41\x01\x0b")
			for range s.u32() {
				o.table = append(o.table, s.u32())
			}
		case 10:
			for range s.u32() {
				o.bodies = append(o.bodies, s.bytes(s.u32()))
			}
		case 11:
			for range s.u32() {
				from := s.s
				must(s.byte() == 0)
				s.instruction()
				must(s.byte() == 0x0b)
				s.bytes(s.u32())
				o.datas = append(o.datas, from[:len(from)-len(s.s)])
			}
		}
	}
	return o
}

func (o *object) readNames(s *reader) {
	for len(s.s) > 0 {
		id := s.byte()
		sub := &reader{s.bytes(s.u32())}
		if id != 1 {
			continue
		}
		for range sub.u32() {
			i := sub.u32()
			name := sub.name()
			if _, twice := o.names[name]; !twice {
				o.names[name] = i
			}
		}
	}
}

// fn is the function of this name.
func (o *object) fn(name string) uint32 {
	i, ok := o.names[name]
	must(ok)
	return i
}

// body is a function's local declarations and instructions.
func (o *object) body(f uint32) (locals string, code *reader) {
	s := o.bodies[int(f)-len(o.imports)]
	r := &reader{s}
	for range r.u32() {
		r.u32()
		r.byte()
	}
	return s[:len(s)-len(r.s)], r
}

// live are the functions that roots may call.
func (o *object) live(roots []uint32) []bool {
	live := make([]bool, len(o.funcs))
	todo := roots
	for len(todo) > 0 {
		f := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if live[f] {
			continue
		}
		live[f] = true
		if int(f) < len(o.imports) {
			continue
		}
		_, code := o.body(f)
		for len(code.s) > 0 {
			if op, arg := code.instruction(); op == opCall {
				todo = append(todo, arg)
			}
		}
	}
	return live
}

const (
	opCall      = 0x10
	opGlobalSet = 0x24
	opAdd       = 0x6a
)

// relink is a function with calls to the new numbers, and with check behind
// each place that lowers the stack pointer, global 0. prologue comes first.
func (o *object) relink(f uint32, index map[uint32]uint32, prologue, check Code) string {
	locals, code := o.body(f)
	var b strings.Builder
	b.WriteString(locals)
	b.WriteString(string(prologue))
	var before byte
	for len(code.s) > 0 {
		from := code.s
		op, arg := code.instruction()
		if op == opCall {
			to, ok := index[arg]
			must(ok)
			b.WriteString(string(Call(to)))
		} else {
			b.WriteString(from[:len(from)-len(code.s)])
		}
		// A function gives the stack back by adding to the pointer.
		if op == opGlobalSet && arg == 0 && before != opAdd {
			b.WriteString(string(check))
		}
		before = op
	}
	return b.String()
}

func must(ok bool) {
	if !ok {
		panic(errEngine)
	}
}

// open runs f, whose panics with errEngine are its error.
func open(f func()) (err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case errEngine:
			err = errEngine
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

type reader struct{ s string }

func (r *reader) byte() byte { return r.bytes(1)[0] }

func (r *reader) bytes(n uint32) string {
	must(uint64(n) <= uint64(len(r.s)))
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) name() string { return r.bytes(r.u32()) }

func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; ; shift += 7 {
		b := r.byte()
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
		must(shift < 28)
	}
}

// skip reads over a number of any width.
func (r *reader) skip() {
	for r.byte() >= 0x80 {
	}
}

// instruction reads one instruction. arg is its first immediate if that is an
// index.
func (r *reader) instruction() (op byte, arg uint32) {
	op = r.byte()
	switch {
	case op >= 0x02 && op <= 0x04, op == 0x41, op == 0x42: // blocks, constants
		r.skip()
	case op == 0x0e: // br_table
		for range r.u32() + 1 {
			r.skip()
		}
	case op == 0x0c, op == 0x0d, op == opCall, op >= 0x20 && op <= 0x26, op == 0x3f, op == 0x40:
		arg = r.u32()
	case op == 0x11, op >= 0x28 && op <= 0x3e: // call_indirect, loads and stores
		r.skip()
		r.skip()
	case op == 0x1c: // select with types
		r.bytes(r.u32())
	case op == 0x43:
		r.bytes(4)
	case op == 0x44:
		r.bytes(8)
	case op == 0xfc:
		switch sub := r.u32(); {
		case sub < 8: // conversions
		case sub == 10: // memory.copy
			r.bytes(2)
		case sub == 11: // memory.fill
			r.bytes(1)
		default:
			must(false)
		}
	default:
		must(op <= 0x01 || op == 0x05 || op == 0x0b || op == 0x0f || op == 0x1a || op == 0x1b || op >= 0x45 && op <= 0xc4)
	}
	return op, arg
}

func uleb(n int) string { return string(binary.AppendUvarint(nil, uint64(n))) }

func vec(s string) string { return uleb(len(s)) + s }

// linker makes the module of an engine and of what is added to it.
type linker struct {
	*object
	index   map[uint32]uint32 // functions of the engine that are kept, by their new number
	imports []imported
	kept    []uint32 // of the engine, in order
	added   []function
	first   uint32 // number of the first added function
	exports []string
}

type function struct {
	typ  uint32
	body string
}

// typ is the index of a function type.
func (l *linker) typ(params, results Types) uint32 {
	enc := "\x60" + vec(string(params)) + vec(string(results))
	if i := slices.Index(l.types, enc); i >= 0 {
		return uint32(i)
	}
	l.types = append(l.types, enc)
	return uint32(len(l.types) - 1)
}

// fn is the new number of a function of the engine.
func (l *linker) fn(name string) uint32 {
	i, ok := l.index[l.object.fn(name)]
	must(ok)
	return i
}

// call calls a function of the engine.
func (l *linker) call(name string) Code { return Call(l.fn(name)) }

// add adds a function, and export exports it under a name.
func (l *linker) add(params, results, locals Types, code Code) uint32 {
	decl := uleb(len(locals))
	for _, t := range []byte(locals) {
		decl += "\x01" + string([]byte{t})
	}
	l.added = append(l.added, function{l.typ(params, results), decl + string(code+End)})
	return l.first + uint32(len(l.added)-1)
}

func (l *linker) export(name string, kind byte, index uint32) {
	l.exports = append(l.exports, vec(name)+string([]byte{kind})+uleb(int(index)))
}

// bytes encodes the module. bodies are those of the kept functions.
func (l *linker) bytes(bodies []string, table []uint32, pages int, globals, datas []string, custom string) []byte {
	var b strings.Builder
	b.WriteString("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items []string) {
		b.WriteString(string([]byte{id}))
		n := len(uleb(len(items)))
		for _, i := range items {
			n += len(i)
		}
		b.WriteString(uleb(n) + uleb(len(items)))
		for _, i := range items {
			b.WriteString(i)
		}
	}
	section(1, l.types)
	var imports, funcs, codes []string
	for _, i := range l.imports {
		imports = append(imports, vec(i.module)+vec(i.name)+"\x00"+uleb(int(i.typ)))
	}
	for n, f := range l.kept {
		funcs = append(funcs, uleb(int(l.funcs[f])))
		codes = append(codes, vec(bodies[n]))
	}
	for _, f := range l.added {
		funcs = append(funcs, uleb(int(f.typ)))
		codes = append(codes, vec(f.body))
	}
	section(2, imports)
	section(3, funcs)
	entries := uleb(len(table) + 1)
	section(4, []string{"\x70\x01" + entries + entries})
	section(5, []string{"\x00" + uleb(pages)})
	section(6, globals)
	section(7, l.exports)
	elem := "\x00\x41\x01\x0b" + uleb(len(table))
	for _, f := range table {
		elem += uleb(int(f))
	}
	section(9, []string{elem})
	section(10, codes)
	section(11, datas)
	b.WriteString("\x00" + vec(vec("producers")+custom))
	return []byte(b.String())
}

// producers is the content of the section of this name.
func producers(version string) string {
	return uleb(2) + vec("language") + uleb(1) + vec("JavaScript") + vec("") +
		vec("processed-by") + uleb(1) + vec("QuickJS-NG") + vec(strings.TrimPrefix(version, "v"))
}

// segment is a data segment.
func segment(at int, data string) string {
	must(at < 1<<30)
	return fmt.Sprintf("\x00%s\x0b%s", I32Const(int32(at)), vec(data))
}
