package main

import (
	"bytes"
	"fmt"
	"strings"
)

const notice = "Code generated from hostapi/abi by go run ./hostapi/abi/generate; DO NOT EDIT."

// page collects lines of source.
type page struct{ bytes.Buffer }

func (p *page) line(format string, args ...any) {
	s := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	p.WriteString(s + "\n")
}

// literal is a number as source.
func (g group) literal(n number) string {
	if g.hex {
		return fmt.Sprintf("0x%04x", n.value)
	}
	return fmt.Sprint(n.value)
}

// each calls f for the constants of g, and section before those that begin one.
func (g group) each(section func(string), f func(n number, value string)) {
	for _, n := range g.list {
		if n.section != "" {
			section(n.section)
		}
		f(n, g.literal(n))
	}
}

// signature writes the parameters of f; typ gives the type of each kind.
func (f function) signature(write func(name, typ string) string, typ map[kind]string) string {
	var list []string
	for _, p := range f.params {
		list = append(list, write(p.name, typ[p.kind]))
	}
	return strings.Join(list, ", ")
}

func nameFirst(name, typ string) string { return name + ": " + typ }

// camel is LOG_LEVEL as LogLevel.
func camel(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(strings.ToLower(s), "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

func renderC(c *contract) []byte {
	p := new(page)
	prefix := map[string]string{"field": "F_", "list": "LIST_", "scope": "SCOPE_", "log_level": "LOG_", "feature": "FEATURE_", "max": "MAX_",
		"kv_flag": "KV_", "metric": "METRIC_", "alg": "ALG_", "canon": "CANON_", "method": "HTTP_", "send": "SEND_"}
	p.line("#define MTA1_MAJOR %d", c.version[0])
	p.line("#define MTA1_MINOR %d", c.version[1])
	for _, g := range c.groups {
		p.line("\n/* %s */", g.title)
		p.line("enum mta1_%s {", g.name)
		g.each(func(s string) { p.line("  /* %s */", s) }, func(n number, value string) {
			item := fmt.Sprintf("  MTA1_%s%s = %s,", prefix[g.name], n.name, value)
			if n.comment != "" {
				item = fmt.Sprintf("%-32s /* %s */", item, n.comment)
			}
			p.line("%s", item)
		})
		p.line("};")
	}
	p.line("\n/* The hooks: to define one is to subscribe to it. */")
	for _, h := range c.hooks {
		p.line("MTA1_EXPORT(mta1_on_%s) int32_t mta1_on_%s(void);", h, h)
	}
	p.line("\n/* The functions of the host. Results below zero are those of mta1_code. */")
	typ := map[kind]string{narrow: "int32_t ", long: "int64_t ", size: "uint32_t ", in: "const void *", out: "void *"}
	declare := func(module, prefix string, list []function) {
		for _, f := range list {
			params := f.signature(func(name, typ string) string { return typ + name }, typ)
			if params == "" {
				params = "void"
			}
			if f.comment != "" {
				p.line("/* %s */", f.comment)
			}
			p.line("MTA1_IMPORT(%s, %s) %s%s_%s(%s);", module, f.name, typ[f.result], prefix, f.name, params)
		}
	}
	declare(c.module, "mta1_host", c.functions)
	for _, m := range c.others {
		p.line("\n/* The module %s; the contract says what it needs. */", m.name)
		declare(m.name, "mta1_host_"+m.short(), m.functions)
	}
	return p.Bytes()
}

// documented is a comment, or what stands for one: the crate has no item
// without.
func documented(comment, name string) string {
	if comment == "" {
		return "`" + name + "` of the contract"
	}
	return comment
}

func renderRust(c *contract) []byte {
	p := new(page)
	p.line("// %s\n", notice)
	p.line("//! The contract with the server, ABI %d.%d: numbers and functions by their names in it.", c.version[0], c.version[1])
	p.line("//! The rest of the crate makes it comfortable.\n")
	typ := map[string]string{"action": "u8", "flag": "u8", "max": "usize"}
	for _, g := range c.groups {
		t := typ[g.name]
		if t == "" {
			t = "i32"
		}
		p.line("/// %s", g.title)
		p.line("pub mod %s {", g.name)
		g.each(func(s string) { p.line("    // %s", s) }, func(n number, value string) {
			p.line("    /// %s", documented(n.comment, n.name))
			p.line("    pub const %s: %s = %s;", n.name, t, value)
		})
		p.line("}\n")
	}
	kinds := map[kind]string{narrow: "i32", long: "i64", size: "usize", in: "*const u8", out: "*mut u8"}
	declare := func(module, indent string, list []function) {
		p.line("%s#[link(wasm_import_module = %q)]", indent, module)
		p.line(`%sextern "C" {`, indent)
		for _, f := range list {
			p.line("%s    /// %s", indent, documented(f.comment, f.name))
			p.line("%s    pub fn %s(%s) -> %s;", indent, f.name, f.signature(nameFirst, kinds), kinds[f.result])
		}
		p.line("%s}", indent)
	}
	p.line("// The functions of the host. Results below zero are codes.")
	p.line(`#[cfg(target_arch = "wasm32")]`)
	declare(c.module, "", c.functions)
	for _, m := range c.others {
		p.line("\n/// The module %s; the contract says what it needs.", m.name)
		p.line("#[cfg(target_arch = \"wasm32\")]\npub mod %s {", m.short())
		declare(m.name, "    ", m.functions)
		p.line("}")
	}
	p.line("")
	p.line("/// Exports a hook; `hook!` is what plugins write.")
	p.line("#[doc(hidden)]\n#[macro_export]\nmacro_rules! __export {")
	for _, h := range c.hooks {
		p.line("    (on_%s, $body:expr) => {", h)
		p.line("        #[no_mangle]")
		p.line(`        pub extern "C" fn mta1_on_%s() -> i32 {`, h)
		p.line("            $crate::__call($body)")
		p.line("        }")
		p.line("    };")
	}
	p.line("}")
	return p.Bytes()
}

func renderAssemblyScript(c *contract) []byte {
	p := new(page)
	p.line("// %s\n", notice)
	p.line("// The contract with the server, ABI %d.%d: numbers and functions by their names in it.", c.version[0], c.version[1])
	for _, g := range c.groups {
		p.line("\n/** %s */", g.title)
		p.line("export namespace %s {", camel(g.name))
		g.each(func(s string) { p.line("  // %s", s) }, func(n number, value string) {
			if n.comment != "" {
				p.line("  /** %s */", n.comment)
			}
			// @inline: a number in the code, no global in the module.
			p.line("  // @ts-ignore: decorator\n  @inline")
			p.line("  export const %s: i32 = %s;", n.name, value)
		})
		p.line("}")
	}
	kinds := map[kind]string{narrow: "i32", long: "i64", size: "i32", in: "usize", out: "usize"}
	declare := func(module, prefix string, list []function) {
		for _, f := range list {
			p.line("")
			if f.comment != "" {
				p.line("/** %s */", f.comment)
			}
			p.line("// @ts-ignore: decorator\n@external(%q, %q)", module, f.name)
			p.line("export declare function %s_%s(%s): %s;", prefix, f.name, f.signature(nameFirst, kinds), kinds[f.result])
		}
	}
	p.line("\n// The functions of the host. Results below zero are those of Code.")
	declare(c.module, "host", c.functions)
	for _, m := range c.others {
		p.line("\n// The module %s; the contract says what it needs.", m.name)
		declare(m.name, m.short(), m.functions)
	}
	return p.Bytes()
}

func renderZig(c *contract) []byte {
	p := new(page)
	p.line("// %s\n", notice)
	p.line("//! The contract with the server, ABI %d.%d: numbers and functions by their names in it.", c.version[0], c.version[1])
	typ := map[string]string{"action": "u8", "flag": "u8", "max": "usize"}
	for _, g := range c.groups {
		t := typ[g.name]
		if t == "" {
			t = "i32"
		}
		p.line("\n/// %s", g.title)
		p.line("pub const %s = struct {", camel(g.name))
		g.each(func(s string) { p.line("    // %s", s) }, func(n number, value string) {
			if n.comment != "" {
				p.line("    /// %s", n.comment)
			}
			p.line("    pub const %s: %s = %s;", n.name, t, value)
		})
		p.line("};")
	}
	kinds := map[kind]string{narrow: "i32", long: "i64", size: "usize", in: "[*]const u8", out: "[*]u8"}
	declare := func(module, name string, list []function) {
		p.line("pub const %s = struct {", name)
		for _, f := range list {
			if f.comment != "" {
				p.line("    /// %s", f.comment)
			}
			p.line("    pub extern %q fn %s(%s) %s;", module, f.name, f.signature(nameFirst, kinds), kinds[f.result])
		}
		p.line("};")
	}
	p.line("\n/// The functions of the host. Results below zero are those of Code.")
	declare(c.module, "host", c.functions)
	for _, m := range c.others {
		p.line("\n/// The module %s; the contract says what it needs.", m.name)
		declare(m.name, m.short(), m.functions)
	}
	p.line("\n/// The hooks' names; the export is mta1_on_NAME.")
	p.line("pub const hooks = [_][]const u8{ %s };", `"`+strings.Join(c.hooks, `", "`)+`"`)
	return p.Bytes()
}
