package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/gopher-lua"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

// Mistakes that show when the plugin is loaded, in one line and with the place.
func TestLoadErrors(t *testing.T) {
	for source, want := range map[string]string{
		"function on_rcpt(s)\n  if x the\nend":         `policy.lua:2: syntax error near "the"`,
		"function on_rcpt(s)\n  x = 'a\nend":           "policy.lua:3: unterminated string",
		"function on_rcpt(s)":                          "policy.lua: syntax error at the end",
		"\ngoto nowhere":                               "policy.lua:",
		"\n\nerror('no list')":                         "policy.lua:3: no list",
		"error({message = 'odd'})":                     "policy.lua:1: odd",
		"\nerror(42)":                                  "policy.lua:2: 42",
		"\nerror({})":                                  "policy.lua:2: an error of the type table",
		"\nerror('no place', 0)":                       "policy.lua:2: no place",
		"local function on_rcpt(s) end":                "policy.lua: it has no hook: write",
		"local x = nothing.field":                      "policy.lua:1: attempt to index",
		"function init(c)\n  error('bad config')\nend": "policy.lua:2: bad config",
		"function init(c) c:strings('number') end function on_rcpt(s) end": "config: number must be a list of strings",
		"do local on_rcpt; function on_rcpt(s) end end":                    "on_rcpt is not a global function",
		"on_rcpt = 5":                                                      "on_rcpt is not a global function",
		"_G['on_' .. 'rcpt'] = function(s) end":                            "the function on_rcpt cannot be seen in the text",
		"function on_recipient(s) end":                                     "there is no hook on_recipient",
		"on_selftest = true":                                               "on_selftest is not a global function",
		"_G['kv'].get('x')":                                                "policy.lua:1: attempt to index",
		"local function f() return 1 + f() end f()":                        "policy.lua:1: stack overflow",
		"dns.query('X', 'a.test')":                                         "policy.lua:1: bad argument #1",
		"counter('Bad Name') function on_rcpt(s) end":                      "metric Bad Name: ",
		"x = " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 299): "policy.lua: syntax error",
	} {
		p, err := plugintest.Load(t, plugintest.Options{Script: "policy.lua\n" + source, Config: `{"number": 5}`})
		if err == nil {
			t.Errorf("%.60q is loaded", source)
			continue
		}
		got := err.Error()
		if p != nil {
			got += strings.Join(p.Log, "|")
		}
		if !strings.Contains(got, want) {
			t.Errorf("%.60q:\n got %.600s\nwant %s", source, got, want)
		}
	}
	if _, err := plugintest.Load(t, plugintest.Options{}); err == nil {
		t.Error("no script is a script")
	}
}

func TestSelftest(t *testing.T) {
	for source, want := range map[string]string{
		"": "", "return true": "", "return false": "policy.lua: on_selftest returned false", "error('broken')": "policy.lua:1: broken",
	} {
		plugintest.New(t, plugintest.Options{Script: "policy.lua\nfunction on_selftest() " + source + " end"})
		got := ""
		if err := vm.selftest(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

// What a script finds is what authors are told of.
func TestTheWordsAreInTheReference(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("../../../../sdk/lua", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	readme, annotations := read("README.md"), read("mta.lua")
	for name := range properties(new(mta.Session)) {
		if !regexp.MustCompile(`[| ` + "`" + `]` + name + "[` ]").MatchString(readme) {
			t.Errorf("README.md does not have s.%s", name)
		}
		if !regexp.MustCompile(`---@field ` + name + `\?? `).MatchString(annotations) {
			t.Errorf("mta.lua does not have s.%s", name)
		}
	}
	plugintest.New(t, plugintest.Options{Script: "policy.lua\nlocal all = {kv, dns, http, crypto, lookup, emit} function on_rcpt(s) end"})
	plain := lua.NewState() // what Lua has is in its own manual
	defer plain.Close()
	vm.G.Global.ForEach(func(k, v lua.LValue) {
		name := k.String()
		if plain.GetGlobal(name) != lua.LNil || name == "config" || name == "on_rcpt" {
			return
		}
		if !strings.Contains(readme, "`"+name) {
			t.Errorf("README.md does not have %s", name)
		}
		library, ok := v.(*lua.LTable)
		if !ok {
			if !strings.Contains(annotations, "function "+name+"(") {
				t.Errorf("mta.lua does not have %s", name)
			}
			return
		}
		library.ForEach(func(k, _ lua.LValue) {
			if !strings.Contains(annotations, "function "+name+"."+k.String()+"(") {
				t.Errorf("mta.lua does not have %s.%s", name, k)
			}
		})
	})
}

// The interpreter stands what it is given, as a script and as an argument.
func FuzzScript(f *testing.F) {
	for _, s := range []string{"function on_rcpt(s) end", "local x <const> = 1", "return ...", "x = [==[ ]==] .. 'a\\x'", "goto a ::a::", "json.decode('[[')", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		for _, word := range []string{"while", "for", "repeat", "goto", "function", "rep", "load", "fenv", "coroutine", "(", "="} {
			if strings.Contains(source, word) {
				return // nothing ends a loop here
			}
		}
		p, err := plugintest.Load(t, plugintest.Options{Script: "policy.lua\n" + source})
		if err == nil && p == nil {
			t.Error("neither a plugin nor an error")
		}
	})
}
