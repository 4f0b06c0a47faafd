package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/script/lua/scan"
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onattempt"
	"github.com/wasmta/wasmta/sdk/go/onauth"
	"github.com/wasmta/wasmta/sdk/go/onclose"
	"github.com/wasmta/wasmta/sdk/go/oncommand"
	"github.com/wasmta/wasmta/sdk/go/onconnect"
	"github.com/wasmta/wasmta/sdk/go/ondata"
	"github.com/wasmta/wasmta/sdk/go/ondsn"
	"github.com/wasmta/wasmta/sdk/go/onehlo"
	"github.com/wasmta/wasmta/sdk/go/onheaders"
	"github.com/wasmta/wasmta/sdk/go/onmail"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
	"github.com/wasmta/wasmta/sdk/go/onreset"
	"github.com/wasmta/wasmta/sdk/go/onresult"
	"github.com/wasmta/wasmta/sdk/go/onroute"
	"github.com/wasmta/wasmta/sdk/go/ontick"
	"github.com/wasmta/wasmta/sdk/go/ontls"
)

// The stacks of Lua begin small, for what an instance begins with is copied for
// each session.
const (
	callDepth    = 200     // calls of Lua functions within each other
	registrySize = 1 << 10 // values on Lua's stack, at first
	registryMax  = 64 << 10
)

// interpreter is the one of this instance: a guest is alone in its memory.
type interpreter struct {
	*lua.LState
	name                   string // of the script, for messages
	session, headers, body *lua.LUserData
	verdicts               lua.LValue // metatable
	recipientMeta          *lua.LTable
	hooks                  map[string]*lua.LFunction
	running                bool // the script was loaded: series of metrics are settled
	refused                bool // the hook made a verdict, which it must return
}

var vm *interpreter

func init() {
	mta.OnInit(start)
	for stage, handle := range map[string]func(func(*mta.Session) mta.Verdict){
		"connect": onconnect.Handle, "tls": ontls.Handle, "ehlo": onehlo.Handle, "auth": onauth.Handle,
		"command": oncommand.Handle, "mail": onmail.Handle, "rcpt": onrcpt.Handle, "data": ondata.Handle,
		"headers": onheaders.Handle, "message": onmessage.Handle, "reset": onreset.Handle, "close": onclose.Handle,
		"route": onroute.Handle, "attempt": onattempt.Handle, "result": onresult.Handle, "dsn": ondsn.Handle, "tick": ontick.Handle,
	} {
		handle(func(*mta.Session) mta.Verdict { return vm.call(stage) })
	}
}

func main() {}

// start loads the script and runs what is outside its functions, and init.
func start(c *mta.Config) error {
	section, err := mta.Script()
	if err != nil {
		return fmt.Errorf("the interpreter has no script (%w): load the script and not the interpreter", err)
	}
	name, source, ok := strings.Cut(section, "\n")
	if !ok {
		return errors.New("the section " + abi.ScriptSection + " does not begin with the name of the script")
	}
	words := scan.Script(source)
	vm = &interpreter{
		LState: lua.NewState(lua.Options{
			SkipOpenLibs: true, CallStackSize: callDepth, RegistrySize: registrySize, RegistryMaxSize: registryMax,
		}),
		name:  name,
		hooks: map[string]*lua.LFunction{},
	}
	vm.openBase()
	vm.openSession()
	vm.openServices(&words)
	config, err := vm.openConfig(c)
	if err != nil {
		return err
	}
	if strings.HasPrefix(source, "#") {
		source = "--" + source // the line that names an interpreter
	}
	main, err := vm.Load(strings.NewReader(source), name)
	if err != nil {
		return syntaxError(name, err)
	}
	if err := vm.run(main, nil, 0); err != nil {
		return err
	}
	if f, ok := vm.GetGlobal("init").(*lua.LFunction); ok {
		if err := vm.run(f, config, 0); err != nil {
			return err
		}
	}
	if err := vm.subscribe(&words); err != nil {
		return err
	}
	vm.running = true
	prepareHeap()
	return nil
}

// subscribe finds the functions of the hooks, and holds the script to what its
// words said.
func (l *interpreter) subscribe(words *scan.Result) error {
	misplaced := ""
	l.G.Global.ForEach(func(k, v lua.LValue) {
		stage, isHook := strings.CutPrefix(lua.LVAsString(k), scan.HookPrefix)
		f, isFunction := v.(*lua.LFunction)
		if !isHook || !isFunction || k.Type() != lua.LTString {
			return
		}
		switch {
		case words.Has(stage):
			l.hooks[stage] = f
		case k.String() == scan.Selftest && words.Test:
			l.hooks["selftest"] = f
		case misplaced == "" || k.String() < misplaced:
			misplaced = k.String()
		}
	})
	for _, stage := range words.Hooks {
		if l.hooks[stage] == nil {
			return fmt.Errorf("%s: %s%s is not a global function: write \"function %s%s(s) ... end\", outside other functions and not local",
				l.name, scan.HookPrefix, stage, scan.HookPrefix, stage)
		}
	}
	if words.Test && l.hooks["selftest"] == nil {
		return fmt.Errorf("%s: %s is not a global function", l.name, scan.Selftest)
	}
	if misplaced == "" && len(l.hooks) == 0 {
		return fmt.Errorf("%s: it has no hook: write \"function on_rcpt(s) ... end\", not local", l.name)
	} else if misplaced == "" {
		return nil
	}
	known := misplaced == scan.Selftest
	abi.Hooks(func(name string) { known = known || scan.HookPrefix+name == misplaced })
	if known {
		return fmt.Errorf("%s: the function %s cannot be seen in the text: write \"function %s(s) ... end\"", l.name, misplaced, misplaced)
	}
	return fmt.Errorf("%s: there is no hook %s: rename the function, or make it local", l.name, misplaced)
}

// run calls a function with an argument, or none if it is nil. Its results stay
// on the stack.
func (l *interpreter) run(f *lua.LFunction, arg lua.LValue, results int) error {
	l.Push(f)
	n := 0
	if arg != nil {
		l.Push(arg)
		n = 1
	}
	if err := l.PCall(n, results, nil); err != nil {
		return l.explain(err)
	}
	return nil
}

// call asks the script at a hook.
func (l *interpreter) call(stage string) mta.Verdict {
	l.refused = false
	if err := l.run(l.hooks[stage], l.session, 1); err != nil {
		fail(err)
	}
	result := l.Get(-1)
	l.Pop(1)
	if u, ok := result.(*lua.LUserData); ok {
		if v, ok := u.Value.(mta.Verdict); ok {
			return v
		}
	}
	hook := scan.HookPrefix + stage
	if result != lua.LNil {
		fail(fmt.Errorf("%s: %s returned a %s: return s:reject(...) or another verdict, or nothing", l.name, hook, result.Type()))
	}
	if l.refused {
		fail(fmt.Errorf("%s: %s made a verdict and did not return it: write \"return s:reject(...)\"", l.name, hook))
	}
	return mta.Continue
}

// selftest calls the script's on_selftest, which fails by an error or by
// returning false.
func (l *interpreter) selftest() error {
	if err := l.run(l.hooks["selftest"], nil, 1); err != nil {
		return err
	}
	result := l.Get(-1)
	l.Pop(1)
	if result == lua.LFalse {
		return fmt.Errorf("%s: %s returned false", l.name, scan.Selftest)
	}
	return nil
}

// explain makes one line of an error of Lua: "policy.lua:3: what went wrong".
func (l *interpreter) explain(err error) error {
	var e *lua.ApiError
	if !errors.As(err, &e) {
		return err
	}
	if e.Type == lua.ApiErrorPanic || e.Object == nil {
		// A fault in the interpreter, which an unlucky script can find.
		return fmt.Errorf("%s: %v", l.place(e), firstLine(err.Error()))
	}
	object := e.Object
	if t, ok := object.(*lua.LTable); ok && lua.LVCanConvToString(t.RawGetString("message")) {
		object = t.RawGetString("message")
	}
	if !lua.LVCanConvToString(object) {
		return fmt.Errorf("%s: an error of the type %s", l.place(e), object.Type())
	}
	if text := firstLine(object.String()); strings.HasPrefix(text, l.name+":") {
		return errors.New(text)
	} else {
		return fmt.Errorf("%s: %s", l.place(e), text)
	}
}

// place is the line of the script where an error was raised, or the script's
// name if that is not known.
func (l *interpreter) place(e *lua.ApiError) string {
	for line := range strings.Lines(e.StackTrace) {
		line, found := strings.CutPrefix(strings.TrimSpace(line), l.name+":")
		if number, _, ok := strings.Cut(line, ":"); found && ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return l.name + ":" + number
		}
	}
	return l.name
}

// syntaxError has the place in the form of the others.
func syntaxError(name string, err error) error {
	var e *lua.ApiError
	if !errors.As(err, &e) {
		return err
	}
	switch cause := e.Cause.(type) {
	case *parse.Error:
		if cause.Pos.Line == parse.EOF {
			return fmt.Errorf("%s: %s at the end: is an \"end\" or a bracket missing?", name, cause.Message)
		}
		return fmt.Errorf("%s:%d: %s near %q", name, cause.Pos.Line, cause.Message, cause.Token)
	case *lua.CompileError:
		return fmt.Errorf("%s:%d: %s", name, cause.Line, cause.Message)
	}
	return fmt.Errorf("%s: %s", name, firstLine(err.Error()))
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(s, "\r")
}
