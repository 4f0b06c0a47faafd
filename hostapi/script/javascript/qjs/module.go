package qjs

import (
	"encoding/binary"
	"slices"
	"strings"

	quickjs "github.com/aperturerobotics/go-quickjs-wasi-reactor"

	"github.com/wasmta/wasmta/hostapi/abi"
	//lint:ignore ST1001 code in WebAssembly reads better without a package before each instruction
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// Policy is what a module is made of.
type Policy struct {
	Name         string          // of the script, for messages
	Script       string          // the policy
	Prelude      string          // the source of the module "mta", which calls host.boot
	Capabilities map[string]bool // modules of the contract, mta1_NAME, that the prelude calls
	Hooks        []Hook          // all that there are
}

// Hook is a hook in JavaScript and in the contract.
type Hook struct {
	Name       string // onRcpt
	Export     string // mta1_on_rcpt
	Subscribed bool
}

// specifier is the name of the prelude's module.
const specifier = "mta"

// Link makes the module of a policy. The error says that the engine is not the
// one this package was made for.
func Link(p Policy) (wasm []byte, err error) {
	err = open(func() { wasm = link(p) })
	return wasm, err
}

func link(p Policy) []byte {
	o := parse(string(quickjs.QuickJSWASM))
	var names, subscribed []string
	for _, h := range p.Hooks {
		names = append(names, h.Name)
		if h.Subscribed {
			subscribed = append(subscribed, h.Name)
		}
	}

	table := o.withoutFiles()
	l := &linker{object: o, index: map[uint32]uint32{}}
	roots := []uint32{}
	for _, u := range uses {
		roots = append(roots, o.fn(u))
	}
	live := o.live(append(roots, table...))
	var traps []uint32 // imports that nothing calls any more, as far as it matters
	for i, imp := range o.imports {
		switch {
		case slices.Contains(wasi, imp.name):
			l.index[uint32(i)] = uint32(len(l.imports))
			l.imports = append(l.imports, imp)
		case live[i]:
			traps = append(traps, uint32(i))
		}
	}
	functions := l.contract(p.Capabilities)
	for f := uint32(len(o.imports)); int(f) < len(o.funcs); f++ {
		if live[f] {
			l.index[f] = uint32(len(l.imports) + len(l.kept))
			l.kept = append(l.kept, f)
		}
	}
	l.first = uint32(len(l.imports) + len(l.kept))

	// Globals: those of the engine, whose first is the stack pointer, and ours.
	base := o.pages << 16
	n := uint32(len(o.globals))
	zero := "\x7f\x01" + string(I32Const(0)+End)
	globals := append([]string{"\x7f\x01" + string(I32Const(int32(base+stackSize))+End)}, o.globals[1:]...)
	globals = append(globals, zero, zero, zero)
	s := &shim{linker: l, base: base, context: n, runtime: n + 1, bad: n + 2}
	s.helpers(l.fn(fdWrite))
	for _, f := range functions {
		if js, ok := facts[f.name]; ok {
			f.name, f.facts = js, true
			functions = append(functions, f)
		}
	}
	for i := range functions {
		functions[i].imports = s.primitive(&functions[i])
	}
	functions = append(functions, s.give()...)
	call := s.hook()
	check, prologue := s.guards()
	trap := s.add(None, None, None, Unreachable)
	for _, f := range traps {
		l.added = append(l.added, function{o.funcs[f], "\x00" + string(Unreachable+End)})
		l.index[f] = l.first + uint32(len(l.added)-1)
	}

	l.export(abi.Memory, KindMemory, 0)
	l.export(abi.ExportInit, KindFunc, s.start())
	n = 0
	for _, h := range p.Hooks {
		if h.Subscribed {
			l.export(h.Export, KindFunc, s.add(None, I32, None, I32Const(int32(n))+Call(call)))
			n++
		}
	}

	interpreter := o.fn("JS_CallInternal")
	bodies := make([]string, len(l.kept))
	for i, f := range l.kept {
		var first Code
		if f == interpreter {
			first = prologue
		}
		bodies[i] = o.relink(f, l.index, first, check)
	}
	entries := make([]uint32, 0, len(o.table)+len(functions))
	for _, f := range o.table {
		to, ok := l.index[f]
		if !ok {
			to = trap
		}
		entries = append(entries, to)
	}

	// The data: the header, texts, names and functions of the host, the scripts.
	data := append(make([]byte, static-header), s.texts...)
	put := func(t string) uint32 {
		at := uint32(base + header + len(data))
		data = append(append(data, t...), 0)
		return at
	}
	var triples []uint32
	for _, f := range functions {
		triples = append(triples, put(f.name), uint32(len(entries)+1), uint32(f.arity()))
		entries = append(entries, f.imports)
	}
	head := func(at int, v uint32) { binary.LittleEndian.PutUint32(data[at-header:], v) }
	for _, t := range []struct {
		at   int
		text string
	}{
		{headName, p.Name}, {headHooks, strings.Join(names, " ")}, {headSubscribed, strings.Join(subscribed, " ")},
		{headPrelude, p.Prelude}, {headScript, p.Script},
	} {
		head(t.at, put(t.text))
		head(t.at+4, uint32(len(t.text)))
	}
	for len(data)%4 != 0 {
		data = append(data, 0)
	}
	head(headPrimitives, uint32(base+header+len(data)))
	for _, v := range append(triples, 0) {
		data = binary.LittleEndian.AppendUint32(data, v)
	}
	pages := (base + header + len(data) + 1<<16 - 1) >> 16
	return l.bytes(bodies, entries, pages, globals, append(o.datas, segment(base+header, string(data))), producers(quickjs.Version))
}

// wasi is what the module may call of WASI. Another call of the engine traps.
var wasi = []string{"clock_time_get", "fd_write"}

// withoutFiles is the table without the functions of quickjs-libc, which stand
// before those of the engine and are reached only through the modules std and
// os, that nobody makes; and without the streams of the C library, to which the
// engine writes only when it is debugged.
func (o *object) withoutFiles() []uint32 {
	engine := o.fn("JS_GetVersion")
	streams := map[uint32]bool{}
	for name, f := range o.names {
		streams[f] = streams[f] || strings.HasPrefix(name, "__stdio_") || strings.HasPrefix(name, "__stdout_")
	}
	return slices.DeleteFunc(slices.Clone(o.table), func(f uint32) bool { return f < engine || streams[f] })
}

// contract imports the functions of the contract: all of mta1 that is offered,
// and those of the capabilities.
func (l *linker) contract(imports map[string]bool) []primitive {
	var list []primitive
	add := func(module, name, js string, sig abi.Signature, params []string) {
		p := shape(js, sig, params)
		p.imports = uint32(len(l.imports))
		enc := map[byte]Types{'i': I32, 'I': I64}
		in, out, _ := strings.Cut(string(sig), ">")
		var types [2]Types
		for i, letters := range []string{in, out} {
			for _, c := range []byte(letters) {
				types[i] += enc[c]
			}
		}
		l.imports = append(l.imports, imported{module, name, l.typ(types[0], types[1])})
		list = append(list, p)
	}
	params := map[string][]string{}
	abi.Parameters(func(name, p string) {
		if p != "" {
			params[name] = strings.Split(p, ", ")
		}
	})
	abi.Functions(func(name string, sig abi.Signature) {
		if slices.Contains(unused, name) {
			return
		}
		add(abi.Module, name, name, sig, params[name])
	})
	abi.Capabilities(func(module, name string, sig abi.Signature, params []string) {
		capability := strings.TrimPrefix(module, abi.Module+"_")
		if imports[capability] {
			add(module, name, capability+"_"+name, sig, params)
		}
	})
	return list
}

// facts are functions of the contract under a second name, under which what
// cannot be read is empty or 0. Nearly all of a policy's calls are these.
var facts = map[string]string{"get": "text", "get_num": "amount", "list_get": "item", "list_num": "item_amount"}

// unused are the functions of mta1 that the prelude does not call.
var unused = []string{"now_ms"}
