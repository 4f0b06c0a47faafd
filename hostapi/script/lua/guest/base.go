package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand"
	"slices"
	"strings"

	"github.com/yuin/gopher-lua"

	"github.com/wasmta/wasmta/sdk/go/mta"
)

// openBase opens the libraries of Lua without what needs files, processes or the
// environment, none of which there are.
func (l *interpreter) openBase() {
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString,
		lua.MathLibName: lua.OpenMath, lua.CoroutineLibName: lua.OpenCoroutine, lua.DebugLibName: lua.OpenDebug,
		lua.OsLibName: lua.OpenOs,
	} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	for _, name := range []string{"dofile", "loadfile", "module", "require", "_printregs", "newproxy"} {
		l.SetGlobal(name, lua.LNil)
	}
	times := l.NewTable()
	for _, name := range []string{"clock", "date", "difftime", "time"} {
		times.RawSetString(name, l.GetField(l.GetGlobal("os"), name))
	}
	l.SetGlobal("os", times)

	// Lua's generator would give the same numbers in all sessions: each begins
	// with a copy of one memory.
	numbers := l.GetGlobal("math").(*lua.LTable)
	var seeded *rand.Rand
	numbers.RawSetString("random", l.NewFunction(func(l *lua.LState) int { return random(l, seeded) }))
	numbers.RawSetString("randomseed", l.NewFunction(func(l *lua.LState) int {
		seeded = rand.New(rand.NewSource(l.CheckInt64(1)))
		return 0
	}))

	line := func(level int32) *lua.LFunction {
		return l.NewFunction(func(l *lua.LState) int {
			if level >= mta.LogLevel() {
				mta.Log(level, join(l, 1))
			}
			return 0
		})
	}
	l.SetGlobal("print", line(mta.Info))
	log := l.NewTable()
	log.RawSetString("debug", line(mta.Debug))
	log.RawSetString("info", line(mta.Info))
	log.RawSetString("warn", line(mta.Warn))
	log.RawSetString("error", line(mta.Error))
	l.SetGlobal("log", log)

	l.library("json", map[string]lua.LGFunction{"encode": encodeJSON, "decode": decodeJSON})
	l.library("hex", map[string]lua.LGFunction{
		"encode": func(l *lua.LState) int {
			l.Push(lua.LString(hex.EncodeToString([]byte(l.CheckString(1)))))
			return 1
		},
		"decode": func(l *lua.LState) int {
			b, err := hex.DecodeString(l.CheckString(1))
			return answer(l, lua.LString(b), err)
		},
	})
	l.library("base64", map[string]lua.LGFunction{
		"encode": func(l *lua.LState) int {
			l.Push(lua.LString(base64.StdEncoding.EncodeToString([]byte(l.CheckString(1)))))
			return 1
		},
		"decode": func(l *lua.LState) int {
			b, err := base64.StdEncoding.DecodeString(l.CheckString(1))
			return answer(l, lua.LString(b), err)
		},
	})
	l.SetGlobal("now_ms", l.NewFunction(func(l *lua.LState) int { l.Push(lua.LNumber(mta.Now())); return 1 }))
	l.SetGlobal("random_bytes", l.NewFunction(func(l *lua.LState) int {
		n := l.CheckInt(1)
		if n < 0 || n > 65536 {
			l.ArgError(1, "0 to 65536 octets")
		}
		b := make([]byte, n)
		must(l, "random_bytes", mta.Random(b))
		l.Push(lua.LString(b))
		return 1
	}))
	l.SetGlobal("secret", l.NewFunction(func(l *lua.LState) int {
		v, err := mta.Secret(l.CheckString(1))
		return answer(l, lua.LString(v), err)
	}))
	for name, make := range map[string]func(string) func(int64){
		"counter":   func(n string) func(int64) { return mta.NewCounter(n).Add },
		"gauge":     func(n string) func(int64) { return mta.NewGauge(n).Set },
		"histogram": func(n string) func(int64) { return mta.NewHistogram(n).Observe },
	} {
		l.SetGlobal(name, l.NewFunction(func(l *lua.LState) int {
			if vm.running {
				l.RaiseError("%s: make it outside of functions, or in init", name)
			}
			sample := make(l.CheckString(1))
			l.Push(l.NewFunction(func(l *lua.LState) int { sample(l.OptInt64(1, 1)); return 0 }))
			return 1
		}))
	}
}

func (l *interpreter) library(name string, functions map[string]lua.LGFunction) {
	l.SetGlobal(name, l.SetFuncs(l.NewTable(), functions))
}

// answer gives a value, or nil and what went wrong.
func answer(l *lua.LState, v lua.LValue, err error) int {
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	l.Push(v)
	return 1
}

// random is math.random: a number below 1, or a whole one from 1 or low to high.
func random(l *lua.LState, seeded *rand.Rand) int {
	var f float64
	if seeded != nil {
		f = seeded.Float64()
	} else {
		var b [8]byte
		must(l, "math.random", mta.Random(b[:]))
		f = float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
	}
	if l.GetTop() == 0 {
		l.Push(lua.LNumber(f))
		return 1
	}
	low, high := 1.0, float64(l.CheckNumber(1))
	if l.GetTop() > 1 {
		low, high = high, float64(l.CheckNumber(2))
	}
	if high < low {
		l.ArgError(l.GetTop(), "the interval is empty")
	}
	l.Push(lua.LNumber(low + math.Floor(f*(high-low+1))))
	return 1
}

// openConfig makes the table of the configuration, with methods that also say
// what is wrong with a value.
func (l *interpreter) openConfig(c *mta.Config) (*lua.LTable, error) {
	v, err := parseJSON(l.LState, c.JSON())
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	config, ok := v.(*lua.LTable)
	if !ok {
		return nil, errors.New("config: it must be a table")
	}
	// A value of another type refuses the plugin when it is loaded (mta.OnInit). A
	// hook that asks for it first must not go on with what it did not get.
	checked := func(l *lua.LState) int {
		if err := c.Err(); err != nil && vm.running {
			l.RaiseError("%s", err.Error())
		}
		return 1
	}
	methods := l.SetFuncs(l.NewTable(), map[string]lua.LGFunction{
		"strings": func(l *lua.LState) int {
			t := l.NewTable()
			for _, s := range c.Strings(l.CheckString(2)) {
				t.Append(lua.LString(s))
			}
			l.Push(t)
			return checked(l)
		},
		"string": func(l *lua.LState) int {
			if key := l.CheckString(2); c.Has(key) {
				l.Push(lua.LString(c.String(key)))
			} else {
				l.Push(l.Get(3))
			}
			return 1
		},
		"int": func(l *lua.LState) int {
			l.Push(lua.LNumber(c.Int(l.CheckString(2), l.OptInt64(3, 0))))
			return checked(l)
		},
		"bool": func(l *lua.LState) int {
			l.Push(lua.LBool(c.Bool(l.CheckString(2), l.OptBool(3, false))))
			return checked(l)
		},
	})
	meta := l.NewTable()
	meta.RawSetString("__index", methods)
	l.SetMetatable(config, meta)
	l.SetGlobal("config", config)
	return config, nil
}

// maxDepth is how deep values may lie within each other in JSON.
const maxDepth = 100

func decodeJSON(l *lua.LState) int {
	v, err := parseJSON(l, l.CheckString(1))
	return answer(l, v, err)
}

func parseJSON(l *lua.LState, s string) (lua.LValue, error) {
	d := json.NewDecoder(strings.NewReader(s))
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return fromJSON(l, v, 0)
		}
		err = errors.New("more follows the value")
	}
	return nil, fmt.Errorf("not JSON: %w", err)
}

func fromJSON(l *lua.LState, v any, depth int) (lua.LValue, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case bool:
		return lua.LBool(v), nil
	case float64:
		return lua.LNumber(v), nil
	case string:
		return lua.LString(v), nil
	case []any:
		t := l.NewTable()
		for _, e := range v {
			lv, err := fromJSON(l, e, depth+1)
			if err != nil {
				return nil, err
			}
			t.Append(lv)
		}
		return t, nil
	case map[string]any:
		t := l.NewTable()
		for k, e := range v {
			lv, err := fromJSON(l, e, depth+1)
			if err != nil {
				return nil, err
			}
			t.RawSetString(k, lv)
		}
		return t, nil
	}
	return lua.LNil, nil
}

func encodeJSON(l *lua.LState) int {
	v, err := toJSON(l.Get(1), 0)
	if err == nil {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err = e.Encode(v); err == nil {
			l.Push(lua.LString(bytes.TrimSuffix(b.Bytes(), []byte("\n"))))
			return 1
		}
	}
	l.RaiseError("json.encode: %s", err.Error())
	return 0
}

func toJSON(v lua.LValue, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values more than %d deep, or in a circle", maxDepth)
	}
	switch v := v.(type) {
	case *lua.LNilType:
		return nil, nil
	case lua.LBool:
		return bool(v), nil
	case lua.LNumber:
		return float64(v), nil
	case lua.LString:
		return string(v), nil
	case *lua.LTable:
		n := v.Len()
		list := make([]any, 0, n)
		object := map[string]any{}
		var err error
		v.ForEach(func(k, e lua.LValue) {
			if err != nil {
				return
			}
			var j any
			if j, err = toJSON(e, depth+1); err != nil {
				return
			}
			if _, isNumber := k.(lua.LNumber); isNumber && len(object) == 0 {
				list = append(list, j)
			} else {
				object[k.String()] = j
			}
		})
		switch {
		case err != nil:
			return nil, err
		case len(list) > 0 && len(object) > 0, len(list) != n:
			return nil, errors.New("a table is either a list or has names")
		case n > 0:
			return list, nil
		}
		return object, nil
	}
	return nil, fmt.Errorf("a %s is no JSON", v.Type())
}

// sortedKeys are the string keys of a table.
func sortedKeys(t *lua.LTable) []string {
	var keys []string
	t.ForEach(func(k, _ lua.LValue) { keys = append(keys, k.String()) })
	slices.Sort(keys)
	return keys
}
