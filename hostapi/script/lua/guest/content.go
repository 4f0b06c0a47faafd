package main

import (
	"strings"

	"github.com/yuin/gopher-lua"

	"github.com/wasmta/wasmta/sdk/go/mta"
)

// maxText is the most that body:text reads, in octets: a message of 50 MB does
// not fit into a plugin.
const maxText = 1 << 20

func (l *interpreter) openContent(s *mta.Session) {
	h := s.Header()
	l.headers = l.object("s.headers", h, map[string]property{"count": {get: number(h.Len)}}, map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			name := l.CheckString(2)
			value := h.Get(name)
			if value == "" && !h.Has(name) {
				l.Push(lua.LNil)
			} else {
				l.Push(lua.LString(value))
			}
			return 1
		},
		"has": func(l *lua.LState) int { l.Push(lua.LBool(h.Has(l.CheckString(2)))); return 1 },
		"values": func(l *lua.LState) int {
			t := l.NewTable()
			for v := range h.Values(l.CheckString(2)) {
				t.Append(lua.LString(v))
			}
			l.Push(t)
			return 1
		},
		"each": func(l *lua.LState) int {
			// All at once: the body of the loop may change them.
			var fields [][2]string
			for name, value := range h.All() {
				fields = append(fields, [2]string{name, value})
			}
			l.Push(l.NewFunction(func(l *lua.LState) int {
				if len(fields) == 0 {
					l.Push(lua.LNil)
					return 1
				}
				l.Push(lua.LString(fields[0][0]))
				l.Push(lua.LString(fields[0][1]))
				fields = fields[1:]
				return 2
			}))
			return 1
		},
		"raw": func(l *lua.LState) int {
			raw, err := h.Raw()
			must(l, "headers:raw", err)
			l.Push(lua.LString(raw))
			return 1
		},
		"add":     changeField("headers:add", h.Add),
		"prepend": changeField("headers:prepend", h.Prepend),
		"set":     changeField("headers:set", h.Set),
		"remove": func(l *lua.LState) int {
			must(l, "headers:remove", h.Del(l.CheckString(2)))
			return 0
		},
	})

	b := s.Body()
	read := func(l *lua.LState, off, n int64) lua.LString {
		// As much as there is, so that a large n costs nothing.
		buf := make([]byte, min(max(n, 0), max(b.Size()-off, 0), maxText))
		got, _ := b.ReadAt(buf, off) // an error is the end, or known from Size
		return lua.LString(buf[:got])
	}
	l.body = l.object("s.body", b, map[string]property{"size": {get: number(b.Size)}}, map[string]lua.LGFunction{
		"read": func(l *lua.LState) int {
			off := l.CheckInt64(2)
			if off < 0 {
				l.ArgError(2, "the offset begins at 0")
			}
			l.Push(read(l, off, l.CheckInt64(3)))
			return 1
		},
		"text": func(l *lua.LState) int { l.Push(read(l, 0, l.OptInt64(2, maxText))); return 1 },
	})

	l.recipientMeta = recipientObject(l)
}

func changeField(what string, f func(name, value string) error) lua.LGFunction {
	return func(l *lua.LState) int {
		must(l, what, f(l.CheckString(2), l.CheckString(3)))
		return 0
	}
}

// recipient is the object of a recipient.
func (l *interpreter) recipient(r mta.Recipient) *lua.LUserData {
	return &lua.LUserData{Value: r, Metatable: l.recipientMeta}
}

func (l *interpreter) recipients(s *mta.Session) *lua.LTable {
	t := l.NewTable()
	for r := range s.Recipients() {
		t.Append(l.recipient(r))
	}
	return t
}

// recipientObject is the metatable of recipients, of which there are many.
func recipientObject(l *interpreter) *lua.LTable {
	self := func(l *lua.LState) mta.Recipient {
		r, ok := l.CheckUserData(1).Value.(mta.Recipient)
		if !ok {
			l.ArgError(1, "a recipient is needed: write r:remove(), with a colon")
		}
		return r
	}
	get := map[string]func(mta.Recipient) lua.LValue{
		"address":    func(r mta.Recipient) lua.LValue { return text(r.ForwardPath()) },
		"local_part": func(r mta.Recipient) lua.LValue { return lua.LString(r.Local()) },
		"domain":     func(r mta.Recipient) lua.LValue { return text(r.Domain()) },
		"original":   func(r mta.Recipient) lua.LValue { return text(r.Original()) },
		"orcpt":      func(r mta.Recipient) lua.LValue { return text(r.Orcpt()) },
		"notify":     func(r mta.Recipient) lua.LValue { return lua.LNumber(r.Notify()) },
		"status": func(r mta.Recipient) lua.LValue {
			switch r.Status() {
			case 0:
				return lua.LString("deferred")
			case 1:
				return lua.LString("delivered")
			}
			return lua.LString("failed")
		},
	}
	remove := l.NewFunction(func(l *lua.LState) int { must(l, "remove", self(l).Remove()); return 0 })
	meta := l.NewTable()
	meta.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		name := lua.LVAsString(l.Get(2))
		if f := get[name]; f != nil {
			l.Push(f(self(l)))
		} else if name == "remove" {
			l.Push(remove)
		} else {
			l.RaiseError("a recipient has no field %q", name)
		}
		return 1
	}))
	meta.RawSetString("__newindex", l.NewFunction(func(l *lua.LState) int {
		name := lua.LVAsString(l.Get(2))
		if name != "address" {
			l.RaiseError("a recipient's %s cannot be set", name)
		}
		must(l, "address", self(l).SetForwardPath(l.CheckString(3)))
		return 0
	}))
	meta.RawSetString("__tostring", l.NewFunction(func(l *lua.LState) int { l.Push(lua.LString(self(l).ForwardPath())); return 1 }))
	meta.RawSetString("__metatable", lua.LFalse)
	return meta
}

// join makes a line of values, as print does.
func join(l *lua.LState, from int) string {
	var b strings.Builder
	for i := from; i <= l.GetTop(); i++ {
		if i > from {
			b.WriteByte(' ')
		}
		b.WriteString(l.ToStringMeta(l.Get(i)).String())
	}
	return b.String()
}
