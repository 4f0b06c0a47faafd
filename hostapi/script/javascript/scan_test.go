package javascript

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func list(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), " ") }

func TestScan(t *testing.T) {
	for _, c := range []struct{ source, exports, imports string }{
		{"export function onRcpt(s) {}", "onRcpt", ""},
		{"export async function onRcpt(s) {}\nexport function* onMail() {}\nexport async function *onData() {}", "onData onMail onRcpt", ""},
		{"export const onRcpt = (s) => { return 1, onMail; }, onData = f(a, b), g = [x, y];", "g onData onRcpt", ""},
		{"export const onRcpt = (s) => {}\nexport let onMail = 1\nconst onData = 1, onTls = 2", "onMail onRcpt", ""},
		{"export var onRcpt\nimport { kv } from 'mta'", "onRcpt", "kv"},
		{"function f() {}\nexport { f as onRcpt, onMail, f as default };", "default onMail onRcpt", ""},
		{"export { onRcpt }\nexport {}\nexport { onMail } from './other.js';", "onMail onRcpt", ""},
		{"export { kv as onRcpt } from 'mta'", "onRcpt", "kv"},
		{"export default function onRcpt() {}", "", ""},
		{"export * from 'mta'; export * as onRcpt from 'mta';", "", ""},
		{"// export function onRcpt() {}\n/* export function onMail() {} */ const s = 'export function onData() {}', t = \"export function onTls() {}\";", "", ""},
		{"const t = `export function onRcpt() {} ${ { a: `${ '}' }` }.a } export function onMail() {}`; export function onData() {}", "onData", ""},
		{"const r = /export function onRcpt() {}[/'\"`]/g; export function onData() {}", "onData", ""},
		{"const a = b / c; const d = '/'; export function onData() {}", "onData", ""},
		{"if (x) { export function onRcpt() {} } ; ({ export: 1 }); a.export; export function onData() {}", "onData", ""},
		{"#!/usr/bin/env wasmta export function onRcpt() {}\nexport function onMail() {}", "onMail", ""},
		{"\ufeffexport\n/* c */function // d\nonRcpt() {}", "onRcpt", ""},
		{"const s = 'not closed\nexport function onRcpt() {}", "onRcpt", ""},
		{"import { kv, dns as resolver, reject } from 'mta'; import { http } from 'other'; kv.x; event; table.lookup;", "", "dns kv reject"},
		{"import * as mta from \"mta\"; import * as other from 'x'; mta.kv.get(); other.dns; mta.none; x.mta.http; mta . crypto", "", "crypto http kv"},
		{"export const onRcpt = (s) => mta.kv.get('x');\nimport * as mta from 'mta';", "onRcpt", "kv"},
		{"import mta, { kv } from 'mta'; import 'mta'; import('mta'); import.meta;", "", "kv"},
		{"import { 'kv' as k } from 'mta'; export { k as 'onRcpt', }; export { k as 'on Mail' }", "on Mail onRcpt", "kv"},
		{"// a comment\rexport function onRcpt() {} // another\u2028export function onMail() {}", "onMail onRcpt", ""},
		{"if (a) /`/.test(b); for (const x of (y)) /'/.test(x); while (a) /{/g.b; export function onRcpt() {}", "onRcpt", ""},
		{"x = a.if(b) / c; y = `${f(a) / 2}`; z = (a) / b; export function onRcpt() {}", "onRcpt", ""},
		{"import type from 'x'; export function onRcpt() {}", "onRcpt", ""},
	} {
		s := scan(c.source)
		if got := list(s.exports); got != c.exports {
			t.Errorf("%q exports %q, want %q", c.source, got, c.exports)
		}
		if got := list(s.imports); got != c.imports {
			t.Errorf("%q imports %q, want %q", c.source, got, c.imports)
		}
	}
}

// Whatever the source, scan ends, and finds only words that stand in it.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		"export function onRcpt(s) {}", "export const a = `${`${1}`}`, b = /[/]/;", "import * as mta from 'mta'; mta.kv", "export {", "import {a as",
		"export {a as b, c} from 'mta'", "`${", "/*", "'\\", "export const", "}}}]])", strings.Repeat("(", 20000), "export let a\nexport let b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		found := scan(source)
		for name := range found.exports {
			if name == "" || !strings.Contains(source, name) {
				t.Errorf("it exports %q", name)
			}
		}
		for name := range found.imports {
			if name == "" || !strings.Contains(source, name) {
				t.Errorf("it imports %q", name)
			}
		}
		if len(source) > 1<<16 || !utf8.ValidString(source) {
			return
		}
		// One more function at the end is found, if the source leaves nothing open.
		if again := scan(source); list(again.exports) != list(found.exports) {
			t.Errorf("%q and then %q", list(found.exports), list(again.exports))
		}
	})
}

// The time that a scan takes grows with the source and not with its square.
func TestScanLongSources(t *testing.T) {
	for _, s := range []string{"(", "`${", "export {a,", "export const a=", "import {", "/", "'", "a.kv ", "import * as a from 'mta';"} {
		scan(strings.Repeat(s, MaxSource/len(s)))
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"policy.js": "policy.js", "/etc/wasmta/a.mjs": "a.mjs", "mta": "mta.js", "a\nb(c).js": "a_b_c_.js", "\xff.js": "_.js", "": "..js",
	} {
		if got := fileName(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	if got := fileName(strings.Repeat("ä", 200) + ".js"); len(got) > 100 || !strings.HasSuffix(got, "ä.js") || !utf8.ValidString(got) {
		t.Errorf("a long name is %q", got)
	}
}
