package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/hook"
)

// generated are the cases that a table says better than lines: every pointer,
// every field, list and verdict at every hook.
func generated() ([]Case, error) {
	var list []Case
	for _, f := range []func() string{pointers, readFields, setFields, listAccess, actions} {
		cases, err := parseCalls("generated", f())
		if err != nil {
			return nil, err
		}
		list = append(list, cases...)
	}
	return list, nil
}

// short is a function's name in a file of calls.
func (f imported) short() string {
	if f.module == "mta1" {
		return f.name
	}
	return strings.TrimPrefix(f.module, "mta1_") + "." + f.name
}

// pointers tries each pair of pointer and length at the borders of the memory,
// which has two pages (clauses 1.5 and 1.9): what is outside traps whatever the
// other arguments are, and a length of 0 is never outside.
func pointers() string {
	var b strings.Builder
	for _, f := range functions() {
		params, _, _ := strings.Cut(f.sig, ">")
		for n := range params {
			pair := n+1 < len(params) && slices.Contains([]string{"cap", "len", "klen", "nlen", "vlen", "tlen", "ulen", "hlen", "blen", "slen",
				"dlen", "olen", "pwlen", "zlen", "iplen"}, f.params[n+1]) && params[n:n+2] == "ii"
			out4 := f.params[n] == "out4"
			if !pair && !out4 {
				continue
			}
			fmt.Fprintf(&b, "== %s: %s outside\ngrant all\n", f.short(), f.params[n])
			for _, v := range []struct {
				hook      string
				ptr, size int64
				traps     bool
			}{
				{"mail", 0xffffffff, 1, true}, {"rcpt", 0x10000, 1, true}, {"data", 0xffff, 2, true}, {"headers", 0, 0xffffffff, true},
				{"message", 0x10, 0xfffffff8, true}, {"route", 0xfffffffe, 0, false}, {"dsn", 0xffff, 1, false},
			} {
				if out4 {
					v.traps = v.ptr > 0xfffc // it has 4 octets
					if v.ptr < 0x10 || v.hook == "dsn" {
						v.ptr, v.traps = 0xfffd, true
					}
				}
				fmt.Fprintf(&b, "at %s\n%s", v.hook, f.short())
				for k := range params {
					switch {
					case k == n:
						fmt.Fprintf(&b, " %d", v.ptr)
					case k == n+1 && pair:
						fmt.Fprintf(&b, " %d", v.size)
					default:
						b.WriteString(" 0")
					}
				}
				want := "any"
				if v.traps {
					want = "trap"
				}
				fmt.Fprintf(&b, " -> %s\n", want)
			}
		}
	}
	return b.String()
}

// stagesOf reads where a field exists, as section 6 writes it.
func stagesOf(words string) hook.StageSet {
	session := hook.Stages(hook.Connect, hook.TLS, hook.Ehlo, hook.Auth, hook.Command, hook.Mail, hook.Rcpt, hook.Data, hook.Headers,
		hook.Message, hook.Reset, hook.Close)
	delivery := hook.Stages(hook.Route, hook.Attempt, hook.Result, hook.DSN)
	content := hook.Stages(hook.Message, hook.Route, hook.Attempt, hook.Result)
	var set hook.StageSet
	for w := range strings.SplitSeq(words, ", ") {
		switch w {
		case "":
		case "always":
			return ^hook.StageSet(0)
		case "all":
			set |= session | delivery
		case "session":
			set |= session
		case "delivery":
			set |= delivery
		case "transaction":
			set |= hook.Stages(hook.Mail, hook.Rcpt, hook.Data, hook.Headers, hook.Message, hook.Reset) | delivery
		case "content":
			set |= content
		case "header":
			set |= content | hook.Stages(hook.Headers)
		default:
			s, ok := hook.ParseStage(w)
			if !ok {
				panic("conformance: no hook " + w)
			}
			set |= hook.Stages(s)
		}
	}
	return set
}

// everyHook writes lines for mta1_init and for each hook; f gets the stages
// that the hook is, none for mta1_init.
func everyHook(b *strings.Builder, f func(hook.StageSet)) {
	b.WriteString("at init\n")
	f(0)
	hook.AllStages(func(s hook.Stage) {
		fmt.Fprintf(b, "at %s hops\n", s)
		f(hook.Stages(s))
	})
}

// readFields reads every field at every hook: what section 6 says is there, is.
func readFields() string {
	var b strings.Builder
	for _, granted := range []bool{true, false} {
		if granted {
			b.WriteString("== fields, read with all rights\ngrant all\n")
		} else {
			b.WriteString("== fields, read without rights\n")
		}
		everyHook(&b, func(at hook.StageSet) {
			for _, f := range fields {
				want := "there"
				exists := stagesOf(f.readAt)
				switch {
				case f.right != "" && !granted:
					want = "E_DENIED"
				case at == 0 && exists != ^hook.StageSet(0), at != 0 && exists&at == 0:
					want = "E_STATE"
				case f.offered == 'n':
					want = "E_UNSUPPORTED"
				}
				right, wrong := "get "+f.name+" buf:64", "get_num "+f.name
				if f.number {
					right, wrong = wrong, right
				}
				fmt.Fprintf(&b, "%s -> %s\n%s -> E_UNSUPPORTED\n", right, want, wrong)
			}
			for _, n := range []string{"0", "1", "-1", "0x0100", "0x010f", "0x0800", "0x7fffffff", "0x10201"} {
				fmt.Fprintf(&b, "get %s buf:8 -> E_UNSUPPORTED\nget_num %[1]s -> E_UNSUPPORTED\n", n)
			}
		})
	}
	return b.String()
}

// setFields sets every field at every hook to what none can be: only the order
// of the checks shows.
func setFields() string {
	var b strings.Builder
	for _, granted := range []bool{true, false} {
		if granted {
			b.WriteString("== fields, set with all rights\ngrant all\n")
		} else {
			b.WriteString("== fields, set without rights\n")
		}
		everyHook(&b, func(at hook.StageSet) {
			for _, f := range fields {
				want := "E_STATE"
				switch exists := stagesOf(f.setAt); {
				case f.setAt == "":
					want = "E_UNSUPPORTED"
				case !granted:
					want = "E_DENIED"
				case exists&at != 0 && f.offered != 'y':
					want = "E_UNSUPPORTED"
				case exists&at != 0:
					want = "E_INVAL"
				}
				right, wrong := `set `+f.name+` "\x00"`, "set_num "+f.name+" -1"
				if f.number {
					right, wrong = wrong, right
				}
				fmt.Fprintf(&b, "%s -> %s\n%s -> E_UNSUPPORTED\n", right, want, wrong)
			}
		})
	}
	return b.String()
}

// listRules are section 6 on lists.
var listRules = []struct {
	name, readAt                 string
	write                        bool // its elements may be changed somewhere
	setAt, insertAt, removeAt    string
	right                        string // that reading needs
	value                        string // a field of kind b
	number                       string // a field of kind n; empty: none
	find                         bool
	canSet, canInsert, canRemove bool
}{
	{"RCPT", "transaction", true, "rcpt, data, headers, message", "rcpt, data, headers, message", "rcpt, data, headers, message", "", "RCPT.ADDR", "RCPT.NOTIFY", true, true, true, true},
	{"HEADER", "header", true, "headers, message, attempt", "headers, message, attempt", "headers, message, attempt", "headers", "HEADER.NAME", "", true, true, true, true},
	{"ROUTE", "route, attempt, result", true, "", "route", "route", "", "ROUTE.HOST", "ROUTE.PREF", false, false, true, true},
	{"ATTEMPTS", "delivery", false, "", "", "", "", "ATTEMPT.TEXT", "ATTEMPT.CODE", false, false, false, false},
	{"RECEIVED", "header", false, "", "", "", "headers", "HEADER.NAME", "", false, false, false, false},
}

// listAccess asks for every list at every hook.
func listAccess() string {
	var b strings.Builder
	for _, granted := range []bool{true, false} {
		if granted {
			b.WriteString("== lists with all rights\ngrant all\n")
		} else {
			b.WriteString("== lists without rights\n")
		}
		everyHook(&b, func(at hook.StageSet) {
			for _, l := range listRules {
				read := "there"
				if stagesOf(l.readAt)&at == 0 {
					read = "E_STATE"
				}
				write := read
				if !granted {
					write = "E_DENIED"
					if l.right != "" {
						read = "E_DENIED"
					}
				}
				or := func(can bool, want string) string {
					if !can {
						return "E_UNSUPPORTED"
					}
					return want
				}
				// An index that there is nowhere: the list itself answers.
				missing := func(want string) string {
					if want == "there" {
						return "E_NOT_FOUND"
					}
					return want
				}
				fmt.Fprintf(&b, "list_len %s -> %s\n", l.name, read)
				fmt.Fprintf(&b, "list_get %s 5000 %s buf:8 -> %s\n", l.name, l.value, missing(read))
				if l.number != "" {
					fmt.Fprintf(&b, "list_num %s 5000 %s -> %s\n", l.name, l.number, missing(read))
				} else {
					fmt.Fprintf(&b, "list_num %s 5000 1 -> E_UNSUPPORTED\n", l.name)
				}
				fmt.Fprintf(&b, "list_find %s 5000 \"x\" -> %s\n", l.name, or(l.find, missing(read)))
				fmt.Fprintf(&b, "list_set %s 5000 %s \"x\" -> %s\n", l.name, map[bool]string{true: "2", false: "1"}[l.name == "HEADER"],
					or(l.canSet, missing(write)))
				fmt.Fprintf(&b, "list_insert %s 5000 \"x\" -> %s\n", l.name, or(l.canInsert, missing(write)))
				fmt.Fprintf(&b, "list_remove %s 5000 -> %s\n", l.name, or(l.canRemove, missing(write)))
			}
			for _, n := range []string{"0", "6", "-1"} {
				fmt.Fprintf(&b, "list_len %s -> E_UNSUPPORTED\nlist_get %[1]s 0 1 buf:8 -> E_UNSUPPORTED\nlist_num %[1]s 0 1 -> E_UNSUPPORTED\n"+
					"list_find %[1]s 0 \"x\" -> E_UNSUPPORTED\nlist_set %[1]s 0 1 \"x\" -> E_UNSUPPORTED\nlist_insert %[1]s 0 \"x\" -> E_UNSUPPORTED\n"+
					"list_remove %[1]s 0 -> E_UNSUPPORTED\n", n)
			}
		})
	}
	return b.String()
}

// allowed are the verdicts besides CONTINUE (section 3); ignored hooks have
// none. A test compares them with the contract.
var allowed = map[string]string{
	"connect": "ACCEPT REJECT DEFER DROP",
	"tls":     "REJECT DROP",
	"ehlo":    "REJECT DEFER DROP",
	"auth":    "ACCEPT REJECT DEFER",
	"command": "ACCEPT REJECT DROP",
	"mail":    "ACCEPT REJECT DEFER DISCARD HOLD DROP",
	"rcpt":    "ACCEPT REJECT DEFER DISCARD HOLD DROP",
	"data":    "REJECT DEFER DROP",
	"headers": "ACCEPT REJECT DEFER",
	"message": "ACCEPT REJECT DEFER DISCARD HOLD",
	"reset":   "ignored",
	"close":   "ignored",
	"route":   "ACCEPT REJECT DEFER DISCARD HOLD",
	"attempt": "ACCEPT REJECT DEFER HOLD",
	"result":  "REJECT DEFER",
	"dsn":     "DISCARD",
	"tick":    "ignored",
}

// actions gives every verdict at every hook.
func actions() string {
	var b strings.Builder
	for _, a := range []string{"CONTINUE", "ACCEPT", "REJECT", "DEFER", "DISCARD", "HOLD", "DROP", "0x07", "0xff"} {
		fmt.Fprintf(&b, "== verdict %s at every hook\n", a)
		hook.AllStages(func(s hook.Stage) {
			want := strings.ToLower(a)
			switch rule := allowed[s.String()]; {
			case rule == "ignored":
				want = "continue"
			case a != "CONTINUE" && !slices.Contains(strings.Fields(rule), a):
				want = "fails verdict"
			}
			fmt.Fprintf(&b, "at %s\nreturn %s\n=> %s\n", s, a, want)
		})
	}
	return b.String()
}
