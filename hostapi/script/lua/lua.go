package lua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/script/lua/scan"
)

// MaxName is the longest name of a script in messages, in octets.
const MaxName = 64

// Module makes the module of a script. name is that of its file, for messages.
// An error says that the script is too long, is no text, or that there is no
// interpreter and what to do; errors of the script itself show when the module
// is loaded.
func Module(ctx context.Context, name string, source []byte) ([]byte, error) {
	name = shortName(name)
	source = bytes.TrimPrefix(source, []byte("\ufeff")) // which editors on Windows write
	if len(source) > abi.MaxScript-MaxName-1 {
		return nil, fmt.Errorf("%s has %d octets; a script has at most %d", name, len(source), abi.MaxScript-MaxName-1)
	}
	if strings.HasPrefix(string(source), "\x1bLua") {
		return nil, fmt.Errorf("%s is compiled Lua; give its source", name)
	}
	wasm, err := interpreter(ctx)
	if err != nil {
		return nil, err
	}
	out, err := assemble(wasm, name, string(source))
	if err != nil {
		return nil, fmt.Errorf("%s: the interpreter is not a plugin: %w; remove it and run: %s", name, err, howToEmbed)
	}
	return out, nil
}

// shortName is the file's name, fit for a line of the log.
func shortName(path string) string {
	name := hostapi.Printable(filepath.Base(path))
	if !utf8.ValidString(name) || len(name) > MaxName {
		name = strings.ToValidUTF8(name[:min(len(name), MaxName)], "")
	}
	if name == "" || name == "." || name == string(filepath.Separator) {
		return "script.lua"
	}
	return name
}

// assemble makes the plugin: the interpreter with the script, exporting its
// hooks and importing its capabilities.
func assemble(wasm []byte, name, source string) ([]byte, error) {
	words := scan.Script(source)
	exports := map[string]bool{abi.ExportInit: true, abi.ExportInitialize: true, abi.Memory: true, abi.ExportSelftest: words.Test}
	for _, h := range words.Hooks {
		exports[abi.HookPrefix+h] = true
	}
	unused := map[string]bool{}
	scan.Words(func(_, module string) { unused[module] = !words.Uses(module) })

	const magic = "\x00asm\x01\x00\x00\x00"
	if !strings.HasPrefix(string(wasm[:min(len(wasm), len(magic))]), magic) {
		return nil, errors.New("it is no WebAssembly")
	}
	out := append(make([]byte, 0, len(wasm)+len(source)+256), magic...)
	r := &reader{b: wasm[len(magic):]}
	for len(r.b) > 0 && !r.bad {
		id := r.byte()
		section := r.take(r.u32())
		switch id {
		case 2:
			section = imports(section, unused)
		case 7:
			section = pruned(section, exports)
		}
		if section == nil {
			r.bad = true
		}
		out = appendSection(out, id, section)
	}
	if r.bad {
		return nil, errors.New("it is malformed")
	}
	script := appendVec(nil, abi.ScriptSection)
	script = append(script, name...)
	script = append(script, '\n')
	return appendSection(out, 0, append(script, source...)), nil
}

// imports writes mta1_none over the modules that are not used. Their functions
// stay where they are, so that nothing need be renumbered.
func imports(section []byte, unused map[string]bool) []byte {
	r := &reader{b: section}
	n := r.u32()
	out := appendU32(make([]byte, 0, len(section)+64), n)
	for range n {
		module, name, kind := r.vec(), r.vec(), r.byte()
		if r.bad || kind != 0 { // functions only
			return nil
		}
		// Two modules may have functions of one name and different types.
		if unused[module] {
			name = strings.TrimPrefix(module, abi.Module+"_") + "." + name
			module = abi.ModuleNone
		}
		out = append(appendVec(appendVec(out, module), name), kind)
		out = appendU32(out, r.u32())
	}
	if r.bad || len(r.b) > 0 {
		return nil
	}
	return out
}

// pruned keeps the exports whose names are in keep.
func pruned(section []byte, keep map[string]bool) []byte {
	r := &reader{b: section}
	var entries []byte
	kept := uint32(0)
	for range r.u32() {
		name, kind, index := r.vec(), r.byte(), r.u32()
		if r.bad {
			return nil
		}
		if keep[name] {
			entries = appendU32(append(appendVec(entries, name), kind), index)
			kept++
		}
	}
	if len(r.b) > 0 {
		return nil
	}
	return append(appendU32(nil, kept), entries...)
}

// reader reads the binary format. What goes beyond the end sets bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}
	r.bad = true
	return 0
}

func (r *reader) vec() string { return string(r.take(r.u32())) }

func appendU32(b []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func appendVec(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendSection(b []byte, id byte, content []byte) []byte {
	return append(appendU32(append(b, id), uint32(len(content))), content...)
}
