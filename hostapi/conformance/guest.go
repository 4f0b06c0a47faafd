package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// prelude is what every guest made from calls begins with. A call that goes
// wrong is logged with its line and ends the hook with a trap.
const prelude = `
  ;; is traps unless a result is the one that line wants.
  (func $is (param $line i32) (param $got i64) (param $want i64)
    (if (i64.ne (local.get $got) (local.get $want)) (then (call $wrong (local.get $line) (local.get $got)))))
  ;; good traps if a result is an error.
  (func $good (param $line i32) (param $got i64)
    (if (i64.lt_s (local.get $got) (i64.const 0)) (then (call $wrong (local.get $line) (local.get $got)))))
  ;; there traps if a result is E_DENIED, E_STATE or E_UNSUPPORTED.
  (func $there (param $line i32) (param $got i64)
    (if (i32.or (i32.or (i64.eq (local.get $got) (i64.const -3)) (i64.eq (local.get $got) (i64.const -4))) (i64.eq (local.get $got) (i64.const -7)))
      (then (call $wrong (local.get $line) (local.get $got)))))
  ;; blank fills the buffer, and one octet more, with 0xAA.
  (func $blank (param $len i32) (memory.fill (global.get $buf) (i32.const 0xAA) (i32.add (local.get $len) (i32.const 1))))
  ;; holds traps unless the buffer begins with a text, and the octet behind it
  ;; is as it was.
  (func $holds (param $line i32) (param $text i32) (param $len i32) (local $i i32)
    (block $end (loop $next
      (br_if $end (i32.ge_u (local.get $i) (local.get $len)))
      (if (i32.ne (i32.load8_u (i32.add (global.get $buf) (local.get $i))) (i32.load8_u (i32.add (local.get $text) (local.get $i))))
        (then (call $wrong (local.get $line) (i64.extend_i32_u (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (call $untouched (local.get $line) (local.get $len) (i32.add (local.get $len) (i32.const 1))))
  ;; untouched traps unless the buffer is as it was in a range.
  (func $untouched (param $line i32) (param $i i32) (param $end i32)
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $end))
        (then
          (if (i32.ne (i32.load8_u (i32.add (global.get $buf) (local.get $i))) (i32.const 0xAA))
            (then (call $wrong (local.get $line) (i64.extend_i32_u (local.get $i)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next)))))
  ;; wrong logs "line 00012 gave -0000000003" and traps.
  (func $wrong (param $line i32) (param $got i64)
    (i32.store8 (i32.const 16) (i32.const 32)) ;; the sign
    (if (i64.lt_s (local.get $got) (i64.const 0))
      (then (i32.store8 (i32.const 16) (i32.const 45)) (local.set $got (i64.sub (i64.const 0) (local.get $got)))))
    (call $digits (i32.const 10) (i32.const 5) (i64.extend_i32_u (local.get $line)))
    (call $digits (i32.const 27) (i32.const 10) (local.get $got))
    (drop (call $mta1.log (i32.const 3) (i32.const 0) (i32.const 27)))
    (unreachable))
  (func $digits (param $end i32) (param $n i32) (param $v i64)
    (loop $next
      (local.set $end (i32.sub (local.get $end) (i32.const 1)))
      (i32.store8 (local.get $end) (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $v) (i64.const 10)))))
      (local.set $v (i64.div_u (local.get $v) (i64.const 10)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $next (local.get $n))))
`

// texts is the memory of a guest: its texts, each once, and behind them the
// buffer.
type texts struct {
	at   map[string]int
	next int
	data strings.Builder
}

const firstText = 1024

// place puts a text into memory.
func (t *texts) place(s string) int {
	if at, ok := t.at[s]; ok {
		return at
	}
	at := t.next
	t.at[s] = at
	t.next += len(s)
	if s != "" {
		fmt.Fprintf(&t.data, "  (data (i32.const %d) %s)\n", at, quoteWAT(s))
	}
	return at
}

// quoteWAT is a string of the text format.
func quoteWAT(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// module writes the guest of a case of calls.
func (c *Case) module() string {
	t := &texts{at: map[string]int{}, next: firstText}
	used := map[string]imported{}
	use := func(module, name string) string {
		for _, f := range functions() {
			if f.module == module && f.name == name {
				used[module+"."+name] = f
			}
		}
		return "$" + module + "." + name
	}
	use("mta1", "log")
	var body strings.Builder
	size := 64
	count := map[string]int{} // sections of each hook
	hooks := []string{}
	for i := range c.Sections {
		s := &c.Sections[i]
		if count[s.Hook]++; count[s.Hook] == 1 {
			hooks = append(hooks, s.Hook)
		}
		fmt.Fprintf(&body, "  (func $%s.%d (result i32) (local $i i32)\n", s.Hook, count[s.Hook])
		for _, k := range s.calls {
			writeCall(&body, k, t, use(k.module, k.name), &size)
		}
		fmt.Fprintf(&body, "    (i32.const %#x))\n", uint32(s.value))
	}
	for _, h := range []string{"init", "rcpt"} { // a plugin has these
		if count[h] == 0 {
			hooks = append(hooks, h)
			fmt.Fprintf(&body, "  (func $%s.1 (result i32) (i32.const 0))\n", h)
			count[h] = 1
		}
	}
	for _, h := range hooks {
		export := "mta1_on_" + h
		if h == "init" {
			export = "mta1_init"
		}
		// The first time the first section, then the second.
		fmt.Fprintf(&body, "  (global $turn.%s (mut i32) (i32.const 0))\n  (func (export %q) (result i32)\n", h, export)
		fmt.Fprintf(&body, "    (global.set $turn.%s (i32.add (global.get $turn.%[1]s) (i32.const 1)))\n", h)
		for n := range count[h] {
			fmt.Fprintf(&body, "    (if (i32.eq (global.get $turn.%s) (i32.const %d)) (then (return (call $%[1]s.%[2]d))))\n", h, n+1)
		}
		body.WriteString("    (unreachable))\n")
	}
	var b strings.Builder
	fmt.Fprintf(&b, ";; %s, made from %s\n(module\n", c.Name, c.Place)
	if c.denied {
		var optional []string
		for _, f := range used {
			if f.module != "mta1" && !slices.Contains(optional, f.module) {
				optional = append(optional, f.module)
			}
		}
		slices.Sort(optional)
		var names []string
		for _, h := range hooks {
			if h != "init" && h != "selftest" {
				names = append(names, "on_"+h)
			}
		}
		m, _ := json.Marshal(map[string]any{"name": "kit", "hooks": names, "capabilities": map[string]any{"optional": optional}})
		fmt.Fprintf(&b, "  (@custom \"mta1.manifest\" %s)\n", quoteWAT(string(m)))
	}
	for _, key := range slices.Sorted(maps.Keys(used)) {
		f := used[key]
		params, results, _ := strings.Cut(f.sig, ">")
		fmt.Fprintf(&b, "  (import %q %q (func $%s", f.module, f.name, key)
		for i, p := range params {
			fmt.Fprintf(&b, " (param $%s %s)", f.params[i], watType(p))
		}
		for _, r := range results {
			fmt.Fprintf(&b, " (result %s)", watType(r))
		}
		b.WriteString("))\n")
	}
	buffer := (t.next + 15) &^ 15
	fmt.Fprintf(&b, "  (memory (export \"memory\") %d)\n  (global $buf i32 (i32.const %d))\n", (buffer+size)>>16+1, buffer)
	b.WriteString("  (data (i32.const 0) \"line 00000 gave            \")\n")
	b.WriteString(t.data.String())
	b.WriteString(prelude)
	b.WriteString(body.String())
	b.WriteString(")\n")
	return b.String()
}

func watType(r rune) string {
	if r == 'I' {
		return "i64"
	}
	return "i32"
}

// writeCall writes one call and its checks.
func writeCall(b *strings.Builder, k call, t *texts, function string, size *int) {
	fmt.Fprintf(b, "    ;; %d: %s\n", k.line, shorten(k.source))
	sig, _ := signature(k.module, k.name)
	params, results, _ := strings.Cut(sig, ">")
	var args strings.Builder
	capacity, slot := -1, 0
	push := func(v int64) {
		fmt.Fprintf(&args, " (%s.const %d)", watType(rune(params[slot])), v)
		slot++
	}
	for _, a := range k.args {
		switch {
		case a.buffer:
			capacity = int(a.value)
			*size = max(*size, capacity+64)
			args.WriteString(" (global.get $buf)")
			if slot++; !a.bare {
				push(a.value)
			}
		case a.repeat > 0:
			s := strings.Repeat(a.text, a.repeat)
			push(int64(t.place(s)))
			push(int64(len(s)))
		case params[slot] == 'i':
			push(int64(int32(a.value)))
		default:
			push(a.value)
		}
	}
	got := "(call " + function + args.String() + ")"
	if results == "i" {
		got = "(i64.extend_i32_s " + got + ")"
	}
	if k.times > 1 {
		fmt.Fprintf(b, "    (local.set $i (i32.const %d)) (loop $again\n", k.times)
	}
	if capacity >= 0 {
		fmt.Fprintf(b, "    (call $blank (i32.const %d))\n", capacity)
	}
	switch k.want.kind {
	case exactly:
		fmt.Fprintf(b, "    (call $is (i32.const %d) %s (i64.const %d))\n", k.line, got, k.want.value)
	case success:
		fmt.Fprintf(b, "    (call $good (i32.const %d) %s)\n", k.line, got)
	case there:
		fmt.Fprintf(b, "    (call $there (i32.const %d) %s)\n", k.line, got)
	case traps, anything:
		fmt.Fprintf(b, "    (drop %s)\n", got)
	}
	switch {
	case capacity < 0:
	case k.want.reads:
		fmt.Fprintf(b, "    (call $holds (i32.const %d) (i32.const %d) (i32.const %d))\n", k.line, t.place(k.want.text), len(k.want.text))
		*size = max(*size, len(k.want.text)+64)
	case k.want.kind == exactly && (k.want.value < 0 || k.want.value > int64(capacity)):
		fmt.Fprintf(b, "    (call $untouched (i32.const %d) (i32.const 0) (i32.const %d))\n", k.line, capacity+1)
	}
	if k.times > 1 {
		b.WriteString("    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))\n")
	}
}

// shorten keeps a comment on one line of some length.
func shorten(s string) string {
	if len(s) > 160 {
		return s[:160] + "..."
	}
	return s
}
