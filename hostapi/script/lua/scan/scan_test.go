package scan_test

import (
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/script/lua/scan"
)

func words(r scan.Result) string {
	s := strings.Join(r.Hooks, " ")
	if r.Test {
		s += " selftest"
	}
	if len(r.Modules) > 0 {
		s += " | " + strings.Join(r.Modules, " ")
	}
	return strings.TrimSpace(s)
}

func TestScript(t *testing.T) {
	for source, want := range map[string]string{
		"":                                   "",
		"function on_rcpt(s) end":            "rcpt",
		"function on_mail(s)end on_rcpt=f":   "mail rcpt",
		"on_rcpt = function(s) end":          "rcpt",
		"on_rcpt\n--[[ so ]]=\nfunction()":   "rcpt",
		"function--\non_rcpt--[==[\n]==](s)": "rcpt",
		"#!/usr/bin/lua on_mail =\nfunction on_rcpt() end": "rcpt",
		"function on_selftest() end":                       "selftest",

		"local function on_rcpt(s) end":              "",
		"local on_rcpt = function(s) end":            "",
		"local a, on_rcpt = 1, 2":                    "",
		"function policy.on_rcpt(s) end":             "",
		"function policy:on_rcpt(s) end":             "",
		"function on_rcpt.x(s) end":                  "",
		"policy.on_rcpt = f":                         "",
		"local t = { on_rcpt = f }":                  "",
		"t = { { } on_rcpt = f } on_mail = f":        "mail",
		"if on_rcpt == f then end":                   "",
		"on_rcpt(s)":                                 "",
		"on_recipient = f":                           "",
		"xon_rcpt = f":                               "",
		"12on_rcpt = f":                              "",
		"-- function on_rcpt(s) end":                 "",
		"--[[ function on_rcpt(s) end ]]":            "",
		"--[==[ ]] ]=] on_rcpt = f ]==] on_mail = f": "mail",
		"--[==[ ]]==] on_rcpt = f":                   "rcpt",
		"--[= on_mail = f\non_rcpt = f":              "rcpt",
		`x = "on_rcpt = f"`:                          "",
		`x = "\" on_rcpt = f" on_mail = f`:           "mail",
		`x = 'a\\' on_rcpt = f`:                      "rcpt",
		"x = 'never closed on_mail = f\non_rcpt = f": "rcpt",
		"x = 'a\\\non_mail = f' on_rcpt = f":         "rcpt",
		"x = [[ on_mail = f\n ]] on_rcpt = f":        "rcpt",
		"x = t[ [[on_mail = f]] ] on_rcpt = f":       "rcpt",
		"x = [[ never closed on_rcpt = f":            "",
		"x = a[b[1]] on_rcpt = f":                    "rcpt",

		"kv.get('x')":                "| mta1_kv",
		"local k = kv":               "| mta1_kv",
		"x = a.kv.b  y = a:dns()":    "",
		"x = a..kv.get('y')":         "| mta1_kv",
		"-- kv\nx = 'kv' y = [[kv]]": "",
		"x = { kv = 1, http = 2 }":   "",
		"x = { kv.get('y') }":        "| mta1_kv",
		"emit('t', crypto.digest('sha1', x)) lookup('t', dns.txt(http.get(x)))": "| mta1_dns mta1_http mta1_crypto mta1_table mta1_event",
	} {
		if got := words(scan.Script(source)); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

func FuzzScript(f *testing.F) {
	for _, s := range []string{"function on_rcpt(s) kv.get('x') end", "--[==[ ]]==] x", "'\\\r\n' \"\\", "[=[", "~=<=..==.", "#", "-", "--[", "\x00\xff{}}{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		r := scan.Script(source)
		if len(r.Hooks) > strings.Count(source, "on_") {
			t.Errorf("%d hooks in %q", len(r.Hooks), source)
		}
		// What stands behind the script on a line of its own is found if the
		// script is closed, and not found in a comment of any script.
		if strings.ContainsAny(source, "[]{}'\"\\") {
			return
		}
		if r := scan.Script(source + "\nlocal x = 1\nfunction on_tick(s) end"); !r.Has("tick") {
			t.Errorf("a hook behind %q is not found", source)
		}
		if !r.Has("tick") && !strings.Contains(source, "on_") {
			if r := scan.Script("--[==[" + source + "\nfunction on_tick(s) end ]==]"); r.Has("tick") {
				t.Errorf("a hook in a comment behind %q is found", source)
			}
		}
	})
}

// Brackets that nearly close must not be read again and again.
func BenchmarkScript(b *testing.B) {
	for name, s := range map[string]string{"closing": "[==[" + strings.Repeat("]=", 1<<19), "opening": strings.Repeat("[=", 1<<19), "equals": "[" + strings.Repeat("=", 1<<20), "words": strings.Repeat("on_rcpt ", 1<<17)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				scan.Script(s)
			}
		})
	}
}
