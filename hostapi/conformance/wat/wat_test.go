package wat_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/wasmta/wasmta/hostapi/conformance/wat"
)

// run assembles a module and calls its export f.
func run(t *testing.T, text string, args ...uint64) []uint64 {
	t.Helper()
	wasm, err := wat.Assemble([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r := wazero.NewRuntime(t.Context())
	defer r.Close(context.Background())
	mod, err := r.Instantiate(t.Context(), wasm)
	if err != nil {
		t.Fatalf("%v\n%s\n%x", err, text, wasm)
	}
	out, err := mod.ExportedFunction("f").Call(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// programs are modules whose export f, which may have one parameter, gives want.
var programs = []struct {
	name, text string
	args       []uint64
	want       uint64
}{
	{"flat", `(module (func (export "f") (result i32) i32.const 2 i32.const 3 i32.add))`, nil, 5},
	{"folded", `(func (export "f") (result i32) (i32.sub (i32.const 7) (i32.const 2)))`, nil, 5},
	{"mixed", `(func (export "f") (result i32) i32.const 7 (i32.mul (i32.const 2)))`, nil, 14},
	{"names", `(module $m (func $g (param $a i32) (param i32 i32) (param $d i32) (result i32) (local $x i32) (local i64 i64) (local $y i32)
		(local.set $x (local.get $a)) (local.set $y (local.get $d)) (i32.sub (local.get $x) (local.get $y)))
		(func (export "f") (result i32) (call $g (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 4))))`, nil, 5},
	{"loop", `(func (export "f") (param $n i32) (result i32) (local $sum i32)
		(block $done (loop $next
			(br_if $done (i32.eqz (local.get $n)))
			(local.set $sum (i32.add (local.get $sum) (local.get $n)))
			(local.set $n (i32.sub (local.get $n) (i32.const 1)))
			(br $next)))
		(local.get $sum))`, []uint64{10}, 55},
	{"flat blocks", `(func (export "f") (param i32) (result i32)
		local.get 0
		if $a (result i32)
			block $b (result i32) i32.const 1 br $b end $b
		else $a
			i32.const 2
		end $a)`, []uint64{0}, 2},
	{"if", `(func (export "f") (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2))))`, []uint64{1}, 1},
	{"if without else", `(func (export "f") (param i32) (result i32) (if (local.get 0) (then (return (i32.const 1)))) (i32.const 3))`, []uint64{0}, 3},
	{"br_table", `(func (export "f") (param i32) (result i32)
		(block $c (block $b (block $a (br_table $a $b 2 (local.get 0))) (return (i32.const 10))) (return (i32.const 20))) (i32.const 30))`, []uint64{1}, 20},
	{"call_indirect", `(type $t (func (param i32) (result i32)))
		(table funcref (elem $one $two))
		(func $one (type $t) (i32.add (local.get 0) (i32.const 1)))
		(func $two (param $x i32) (result i32) (i32.add (local.get $x) (i32.const 2)))
		(func (export "f") (param i32) (result i32) (call_indirect (type $t) (i32.const 40) (local.get 0)))`, []uint64{1}, 42},
	{"block with parameters", `(func (export "f") (result i32) i32.const 1 i32.const 2 (block (param i32 i32) (result i32) i32.add) (loop (param i32) (result i32)))`, nil, 3},
	{"several results", `(func $two (result i32 i32) (i32.const 30) (i32.const 12)) (func (export "f") (result i32) call $two i32.add)`, nil, 42},
	{"select", `(func (export "f") (param i32) (result i32) (select (result i32) (i32.const 1) (i32.const 2) (local.get 0)))`, []uint64{0}, 2},
	{"data", `(memory 1) (data (i32.const 8) "ab" "\00\ff\u{20ac}\t") (func (export "f") (result i64) (i64.load offset=8 align=1 (i32.const 0)))`, nil, 0x09ac82e2ff006261},
	{"inline data", `(memory (data "\01\02")) (func (export "f") (result i32) (i32.add (i32.load16_u (i32.const 0)) (i32.shl (memory.size) (i32.const 16))))`, nil, 0x10201},
	{"passive data", `(memory 1) (data $d "abcd") (func (export "f") (result i32)
		(memory.init $d (i32.const 0) (i32.const 1) (i32.const 2)) (data.drop $d)
		(memory.copy (i32.const 2) (i32.const 0) (i32.const 2)) (memory.fill (i32.const 4) (i32.const 120) (i32.const 1))
		(i32.load (i32.const 1)))`, nil, 0x78636263 >> 0 & 0xffffffff},
	{"globals", `(global $g (mut i32) (i32.const 1)) (global $c (export "c") i64 (i64.const -1))
		(func $start (global.set $g (i32.const 5))) (start $start)
		(func (export "f") (result i32) (global.get $g))`, nil, 5},
	{"references", `(table $t 2 funcref) (elem declare func $g) (elem $e func $g $g) (func $g)
		(func (export "f") (result i32)
			(table.set $t (i32.const 0) (ref.func $g)) (table.init $t $e (i32.const 1) (i32.const 0) (i32.const 1)) (elem.drop $e)
			(table.copy (i32.const 0) (i32.const 1) (i32.const 1))
			(drop (table.grow $t (ref.null func) (i32.const 3))) (table.fill $t (i32.const 2) (ref.func $g) (i32.const 1))
			(i32.add (i32.mul (table.size $t) (i32.const 10)) (ref.is_null (table.get $t (i32.const 4)))))`, nil, 51},
	{"element expressions", `(table $t (export "t") 3 funcref) (elem (table $t) (offset (i32.const 1)) funcref (ref.func $g) (item ref.null func)) (func $g)
		(func (export "f") (result i32) (i32.add (ref.is_null (table.get 0 (i32.const 1))) (ref.is_null (table.get 0 (i32.const 2)))))`, nil, 1},
	{"sign extension", `(func (export "f") (result i64) (i64.extend8_s (i64.const 0xfe)))`, nil, 1<<64 - 2},
	{"saturating", `(func (export "f") (result i32) (i32.trunc_sat_f64_s (f64.const 1e300)))`, nil, 1<<31 - 1},
	{"numbers", `(func (export "f") (result i64) (i64.add (i64.const 0x1_000) (i64.add (i64.const -9_223_372_036_854_775_808) (i64.const 0xffff_ffff_ffff_ffff))))`, nil, 1<<63 + 0xfff},
	{"f32", `(func (export "f") (result i32) (i32.reinterpret_f32 (f32.const -0x1.8p+1)))`, nil, 0xc0400000},
	{"f32 rounding", `(func (export "f") (result i32) (i32.reinterpret_f32 (f32.const 0.1)))`, nil, 0x3dcccccd},
	{"f64", `(func (export "f") (result i64) (i64.reinterpret_f64 (f64.const 1_0.5e-1)))`, nil, 0x3ff0cccccccccccd},
	{"hexadecimal without exponent", `(func (export "f") (result i64) (i64.reinterpret_f64 (f64.const 0xA.8)))`, nil, 0x4025000000000000},
	{"infinity", `(func (export "f") (result i64) (i64.reinterpret_f64 (f64.const -inf)))`, nil, 0xfff0000000000000},
	{"nan", `(func (export "f") (result i32) (i32.reinterpret_f32 (f32.const nan:0x200001)))`, nil, 0x7fa00001},
	{"comments", "(func (export \"f\") (result i32) ;; one\n (; two (; three ;) ;) i32.const 1)", nil, 1},
	{"inline type of imports", `(type $unused (func (param f64))) (func (export "f") (export "g") (type 1) i32.const 3) (type (func (result i32)))`, nil, 3},
}

func TestPrograms(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			if got := run(t, p.text, p.args...); len(got) != 1 || got[0] != p.want {
				t.Errorf("got %#x, want %#x", got, p.want)
			}
		})
	}
}

func TestCustomSections(t *testing.T) {
	wasm, err := wat.Assemble([]byte(`(module (@custom "mta1.manifest" "{\22name\22:" "1}") (memory (export "memory") 1))`))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(wasm, []byte("\x00\x18\x0dmta1.manifest{\"name\":1}")) {
		t.Errorf("%q", wasm)
	}
}

func TestImports(t *testing.T) {
	wasm, err := wat.Assemble([]byte(`(import "a" "b" (func $f (param i32) (result i64))) (func $g (import "a" "c") (param i64)) (import "a" "t" (table 1 2 funcref))
		(import "a" "m" (memory $m 1)) (global (import "a" "g") (mut f32)) (export "x" (func $g)) (export "m" (memory $m))`))
	if err != nil {
		t.Fatal(err)
	}
	want := "\x00asm\x01\x00\x00\x00\x01\x0a\x02\x60\x01\x7f\x01\x7e\x60\x01\x7e\x00" +
		"\x02\x24\x05\x01a\x01b\x00\x00\x01a\x01c\x00\x01\x01a\x01t\x01\x70\x01\x01\x02\x01a\x01m\x02\x00\x01\x01a\x01g\x03\x7d\x01" +
		"\x07\x09\x02\x01x\x00\x01\x01m\x02\x00"
	if string(wasm) != want {
		t.Errorf("\n got %x\nwant %x", wasm, want)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"(module\n  (func (bogus)))":                     `2:10: there is no instruction "bogus"`,
		"(func":                                          "1:1: there is no ) for this (",
		"(func))":                                        "1:7: there is no ( for this )",
		"(func (local.get $x))":                          `1:18: there is no local "$x"`,
		"(func (call $x))":                               `1:13: there is no function "$x"`,
		"(func (br $x))":                                 `1:11: there is no label "$x" around this`,
		"(func (i32.const))":                             "1:8: a number is missing",
		"(func (i32.const 4294967296))":                  `1:18: "4294967296" is too large: it has 32 bits`,
		"(func (i32.const -2147483649))":                 `1:18: "-2147483649" is too small: it has 32 bits`,
		"(func (i32.const 1__0))":                        `1:18: "1__0" is not a number`,
		"(func (i32.const 0x))":                          `1:18: "0x" is not a number`,
		"(func (f32.const 1e999))":                       `1:18: "1e999" is too large for 32 bits`,
		"(func (f64.const 0x1e))\n(func (f64.const .5))": `2:18: ".5" is not a number`,
		"(func $a) (func $a)":                            `1:17: there are two functions "$a"`,
		"(func (param $a i32) (local $a i32))":           `1:29: there are two locals "$a"`,
		"(func block)":                                   "1:7: a block has no end",
		"(func end)":                                     "1:7: there is no block for this end",
		"(func block $a end $b)":                         `1:16: the label of this end is "$b", that of its block "$a"`,
		"(func loop else end)":                           "1:12: there is no if for this else",
		"(func (if (then) (then)))":                      `1:18: "(then" is nothing here`,
		"(func (if (i32.const 1)))":                      "1:11: (then ...) is missing",
		"(func (block (param $x i32)))":                  "1:14: the parameters of a block have no names",
		"(func) (import \"a\" \"b\" (func))":             "1:8: imports come before everything that is defined here",
		"(data \"\\zz\")":                                `1:8: an unknown escape: there are \t \n \r \" \' \\ \hh and \u{...}`,
		"(data \"\\u{d800}\")":                           `1:8: not a character: write \u{1f600}`,
		"(data \"a\nb\")":                                "1:7: this string does not end",
		"(; (; ;)":                                       "1:1: this comment does not end: write ;)",
		"(memory 99999999999)":                           `1:9: "99999999999" is too large: it has 32 bits`,
		"(func (i32.load align=3 (i32.const 0)))":        "1:17: an alignment is a power of two",
		"(funk)":                            `1:1: "(funk" is no part of a module`,
		"(module) x":                        `1:10: "x" is nothing here`,
		"(func (v128.const i32x4 0 0 0 0))": `1:8: there is no instruction "v128.const"`,
		"(type $t (func)) (func (type $t) (param i32))": "1:24: what is written here is not type 0",
		"(func (type 7))":         "1:7: there is no type 7",
		"(start $x)":              `1:8: there is no function "$x"`,
		"\x80":                    `1:1: '�' is nothing here`,
		strings.Repeat("(", 2000): "1:1001: more than 1000 parentheses within each other",
		"(func " + strings.Repeat("block ", 2000) + ")":            "1:6007: more than 1000 blocks within each other",
		"(data (i32.const 0) " + strings.Repeat("\"x\"", 2) + "x)": `1:27: data is missing, a string`,
	} {
		wasm, err := wat.Assemble([]byte(text))
		var place *wat.Error
		if wasm != nil || !errors.As(err, &place) || err.Error() != want {
			t.Errorf("%.60q: %v; want %s", text, err, want)
		}
	}
	if _, err := wat.Assemble(make([]byte, wat.MaxText+1)); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("a text that is too long: %v", err)
	}
}

// root is the top of the tree.
const root = "../../.."

// sources are all files of WebAssembly text in the tree.
func sources(t testing.TB) (list []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".wat") {
			list = append(list, path)
		}
		return err
	})
	if err != nil || len(list) == 0 {
		t.Fatalf("%d files, %v", len(list), err)
	}
	return list
}

func TestTheTreeAssembles(t *testing.T) {
	for _, path := range sources(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wasm, err := wat.Assemble(text)
		if err != nil {
			t.Errorf("%s:%v", path, err)
			continue
		}
		r := wazero.NewRuntime(t.Context())
		if _, err := r.CompileModule(t.Context(), wasm); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		r.Close(context.Background())
	}
}

// wabt is the reference: the same octets for all files of the tree, and for all
// programs above.
func TestAgainstWabt(t *testing.T) {
	tool, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("wat2wasm of wabt is not installed")
	}
	compare := func(name string, path string, text []byte) {
		out := filepath.Join(t.TempDir(), "out.wasm")
		args := []string{path, "-o", out}
		if bytes.Contains(text, []byte("(@custom")) {
			args = append(args, "--enable-annotations")
		}
		said, err := exec.Command(tool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %s", name, said)
			return
		}
		want, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wat.Assemble(text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n got %x\nwant %x", name, err, got, want)
		}
	}
	for _, path := range sources(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		compare(path, path, text)
	}
	for _, p := range programs {
		path := filepath.Join(t.TempDir(), "in.wat")
		if err := os.WriteFile(path, []byte(p.text), 0o600); err != nil {
			t.Fatal(err)
		}
		compare(p.name, path, []byte(p.text))
	}
}

// What is accepted is accepted or refused by the engine; nothing panics.
func FuzzAssemble(f *testing.F) {
	for _, p := range programs {
		f.Add(p.text)
	}
	for _, path := range sources(f) {
		if text, err := os.ReadFile(path); err == nil {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		wasm, err := wat.Assemble([]byte(text))
		if err != nil {
			var place *wat.Error
			if !errors.As(err, &place) || place.Line < 1 || place.Column < 1 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("error %q", err)
			}
			return
		}
		if len(wasm) > 64*len(text)+64 {
			t.Errorf("%d octets of %d", len(wasm), len(text))
		}
		r := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
		defer r.Close(context.Background())
		_, _ = r.CompileModule(context.Background(), wasm) // an error, not a panic
	})
}
