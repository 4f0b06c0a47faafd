package lua_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/script/lua"
)

// host is an engine with its log.
type host struct {
	*engine.Engine
	mu    sync.Mutex
	lines []string
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := new(host)
	e, err := engine.New(engine.Options{LogLevel: -4, Log: func(l hostapi.Line) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lines = append(h.lines, fmt.Sprintf("%d %s", l.Level, l.Text))
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = e
	t.Cleanup(func() { e.Close() })
	return h
}

// log is what was logged since the last time.
func (h *host) log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.lines, "\n")
	h.lines = nil
	return s
}

func module(t testing.TB, source string) []byte {
	t.Helper()
	wasm, err := lua.Module(context.Background(), "/etc/wasmta/policy.lua", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func (h *host) load(t testing.TB, spec hostapi.Spec, source string) *engine.Plugin {
	t.Helper()
	spec.Name = "policy"
	p, err := h.Load(context.Background(), spec, module(t, source))
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log())
	}
	t.Cleanup(p.Close)
	return p
}

func session() *hook.Session {
	return &hook.Session{Client: &mail.Client{Listener: "mx", Helo: "mx.test", Remote: netip.MustParseAddrPort("192.0.2.1:1025")}, Attrs: mail.Attrs{}}
}

func rcpt(local string) *hook.Event {
	tx := &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}}
	tx.Envelope.Recipients = []mail.Recipient{{ForwardPath: mail.Path{Local: local, Domain: "example.org"}}}
	return &hook.Event{Stage: hook.Rcpt, Session: session(), Tx: tx}
}

func message(header, body string) *hook.Event {
	h, err := mail.ParseHeader([]byte(header + "\r\n"))
	if err != nil {
		panic(err)
	}
	e := rcpt("ann")
	e.Stage, e.Recipient = hook.Message, -1
	e.Content = &hook.Content{Header: h, Body: strings.NewReader(body), BodySize: int64(len(body))}
	return e
}

// ask gives the outcome as one line.
func ask(t testing.TB, p *engine.Plugin, e *hook.Event) string {
	t.Helper()
	chain := hook.Chain{{Name: "policy", Stages: p.Stages(), Handler: p}}
	k := chain.Open("mx", nil)
	defer k.Close()
	o := k.Ask(context.Background(), e)
	s := o.Action.String()
	if o.Failed {
		return s + " after a failure"
	}
	if o.Reply != nil {
		s += " " + o.Reply.String()
	}
	return s
}

// The script that authors begin with.
func TestTheReadmesExample(t *testing.T) {
	b, err := os.ReadFile("../../../sdk/lua/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, ok := strings.Cut(string(b), "```lua\n")
	script, _, _ = strings.Cut(script, "```")
	if !ok {
		t.Fatal("the README has no script")
	}
	p := newHost(t).load(t, hostapi.Spec{Config: []byte(`{"blocked": ["nobody"]}`)}, script)
	if a, b := ask(t, p, rcpt("nobody")), ask(t, p, rcpt("ann")); a != "reject 550 5.1.1 there is no such mailbox" || b != "continue" {
		t.Errorf("%s, %s", a, b)
	}
}

// What a script may read, change and answer, at the hooks where it may.
func TestTheSessionInLua(t *testing.T) {
	h := newHost(t)
	p := h.load(t, hostapi.Spec{
		Config: []byte(`{"words": ["a", "b"], "depth": {"list": [1, {"x": true}]}, "n": 3}`),
		Grant:  hostapi.Grant{Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read},
	}, `#!/usr/bin/env lua
local calls = 0
function init(c)
  assert(c == config and c.words[2] == "b" and #c:strings("words") == 2 and c:int("n") == 3 and c:int("m", 7) == 7)
  assert(c.depth.list[2].x == true and c:bool("flag") == false and c:string("name", "none") == "none" and c.nothing == nil)
end
function on_connect(s)
  s.banner = "hello"
  return s:accept()
end
function on_rcpt(s)
  calls = calls + 1
  assert(calls == 1, "a session sees another's memory")
  assert(s.remote_ip == "192.0.2.1" and s.remote_port == 1025 and s.helo == "mx.test" and s.listener == "mx")
  assert(s.auth_id == nil and s.ptr == nil and s.tls == false and s.mail_from == "")
  assert(tostring(s.rcpt) == "who@example.org" and s.rcpt.domain == "example.org" and #s.recipients == 1)
  s:set_attr("session", "seen", "yes")
  assert(s:attr("session", "seen") == "yes" and s:attr("session", "other") == nil)
  s:set_attr("session", "seen", nil)
  assert(s:attr("session", "seen") == nil)
  s.rcpt.address = "else@example.org"
  s:add_recipient("more@example.org")
  print("rewritten", #s.recipients, s.recipients[2].address)
  return s:defer("later")
end
function on_message(s)
  local names = {}
  for name, value in s.headers:each() do names[#names + 1] = name .. "=" .. value end
  assert(table.concat(names, " ") == "From=a@b.test Received=one Received=two", table.concat(names, " "))
  assert(s.headers.count == 3 and s.headers:get("subject") == nil and s.headers:get("RECEIVED") == "one")
  assert(table.concat(s.headers:values("received"), ",") == "one,two")
  s.headers:add("X-B", "2")
  s.headers:set("From", "c@d.test")
  assert(s.body.size == 11 and s.body:read(6, 99) == "world" and s.body:text(5) == "hello" and s.body:read(99, 1) == "")
  s:remove_recipients(function(r) return r.local_part == "ann" end)
  assert(#s.recipients == 0)
  return s:hold()
end
function on_command(s)
  return s:drop(421, "4.7.0", s.verb .. " " .. s.argument):detach_session()
end`)
	e := rcpt("who")
	if got := ask(t, p, e); got != "defer 451 4.7.1 later" {
		t.Errorf("%s\n%s", got, h.log())
	}
	if got := h.log(); got != "1 rewritten 2 more@example.org" {
		t.Errorf("logged %q", got)
	}
	e = message("From: a@b.test\r\nReceived: one\r\nReceived: two\r\n", "hello world")
	if got := ask(t, p, e); !strings.HasPrefix(got, "hold") {
		t.Errorf("%s\n%s", got, h.log())
	}
	e = &hook.Event{Stage: hook.Command, Session: session(), Verb: "VRFY", Arg: "ann", Recipient: -1}
	if got := ask(t, p, e); got != "drop 421 4.7.0 VRFY ann" {
		t.Errorf("%s\n%s", got, h.log())
	}
	e = &hook.Event{Stage: hook.Connect, Session: session(), Recipient: -1}
	if got := ask(t, p, e); got != "accept" || e.Session.Banner != "hello" {
		t.Errorf("%s, banner %q\n%s", got, e.Session.Banner, h.log())
	}
}

// What Lua itself has, and has not.
func TestTheLibraries(t *testing.T) {
	h := newHost(t)
	h.load(t, hostapi.Spec{}, `
for _, name in ipairs{"io", "require", "module", "package", "dofile", "loadfile", "channel"} do assert(_G[name] == nil, name) end
for _, name in ipairs{"execute", "getenv", "exit", "remove", "rename", "tmpname", "setlocale"} do assert(os[name] == nil, name) end
for _, name in ipairs{"kv", "d" .. "ns", "ht" .. "tp"} do assert(rawget(_G, name) == nil, name) end
assert(os.time() > 1.6e9 and #os.date("%Y-%m-%d") == 10 and now_ms() > 1.6e12)
local r = math.random(1, 6)
assert(r >= 1 and r <= 6 and r % 1 == 0 and math.random() < 1)
math.randomseed(7); local a = math.random(1000); math.randomseed(7); assert(a == math.random(1000))
assert(("a-b"):match("(%w)-(%w)") == "a" and ("%d"):format(3) == "3")
assert(json.encode({a = {1, "x", true}, b = {}}) == '{"a":[1,"x",true],"b":{}}' and json.decode('[1,{"b":null}]')[1] == 1)
local v, err = json.decode("{")
assert(v == nil and err:find("not JSON"))
local round = {}; round.round = round
assert(not pcall(json.encode, round))
assert(hex.encode("\1\255") == "01ff" and hex.decode("01ff") == "\1\255" and base64.encode("hi") == "aGk=" and base64.decode("aGk=") == "hi")
assert(#random_bytes(16) == 16 and loadstring("return 1 + 1")() == 2)
local co = coroutine.wrap(function() coroutine.yield(1); coroutine.yield(2) end)
assert(co() == 1 and co() == 2)
assert(pcall(error, "x") == false and xpcall(error, debug.traceback) == false)
local hits = counter("hits"); hits(); hits(2)
log.warn("ready", 1, nil)
function on_selftest() return true end
function on_tick() end`)
	if got := h.log(); got != "2 ready 1 nil" {
		t.Errorf("logged %q", got)
	}
}

func TestCapabilitiesFollowTheScript(t *testing.T) {
	h := newHost(t)
	// Neither hook nor capability that is only in comments and strings counts.
	plain := module(t, `-- kv.get dns.txt
function on_rcpt(s) log.info("http", s.rcpt) end`)
	r, err := engine.Inspect(plain)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Asks) > 0 || strings.Join(r.Hooks, " ") != "rcpt" || len(r.Problems) > 0 || r.Script == 0 {
		t.Errorf("%+v", r)
	}
	for module := range r.Imports {
		if module != "mta1" && module != "mta1_none" && module != "wasi_snapshot_preview1" {
			t.Errorf("a plain script imports %s", module)
		}
	}
	source := `function on_rcpt(s)
  local n, err = kv.incr("n")
  return s:reject("n is " .. tostring(n) .. ", " .. tostring(err))
end`
	if _, err := h.Load(t.Context(), hostapi.Spec{Name: "policy"}, module(t, source)); err == nil || !strings.Contains(err.Error(), "add kv = { mb = 16 }") {
		t.Errorf("a script that uses kv without its grant: %v", err)
	}
	p := h.load(t, hostapi.Spec{Grant: hostapi.Grant{KV: hostapi.KVGrant{MB: 1}}}, source)
	// This engine has no memory to give: the script is told so.
	if got := ask(t, p, rcpt("ann")); !strings.HasPrefix(got, "reject 550 5.7.1 n is nil, ") {
		t.Error(got)
	}
	p = h.load(t, hostapi.Spec{}, `function on_rcpt(s)
  assert(crypto.check_password("$2a$04$zVHmKQtGGQob.b/Nc7l9NO8UlrYcW05FiuCj/SxsFO/ZtiN9.mNzy", "wrong") == false)
  return s:reject(hex.encode(crypto.digest("sha1", "abc")))
end`)
	if got := ask(t, p, rcpt("ann")); got != "reject 550 5.7.1 a9993e364706816aba3e25717850c26c9cd0d89d" {
		t.Errorf("%s\n%s", got, h.log())
	}
}

// Scripts that do not end, or want too much, when they are loaded. What else can
// be wrong with one is tested without an engine, beside the interpreter.
func TestLoadingEnds(t *testing.T) {
	h := newHost(t)
	for source, want := range map[string]string{
		"while true do end":                                                "CPU time",
		"local s = 'x' while true do s = s .. s end":                       "probe",
		"x = " + strings.Repeat("{", 50_000) + strings.Repeat("}", 50_000): "probe",
		"\n\nerror('no list')":                                             "policy.lua:3: no list",
	} {
		p, err := h.Load(t.Context(), hostapi.Spec{Name: "policy"}, module(t, source))
		if err == nil {
			p.Close()
			t.Errorf("%.60q is loaded", source)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %.600v; want %s", source, err, want)
		}
	}
	if _, err := lua.Module(t.Context(), "policy.lua", make([]byte, 1<<20)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a script of 1 MiB: %v", err)
	}
	if _, err := lua.Module(t.Context(), "policy.lua", []byte("\x1bLuaQ")); err == nil || !strings.Contains(err.Error(), "compiled Lua") {
		t.Errorf("bytecode: %v", err)
	}
}

// Mistakes in a hook cost the plugin its instance, and nobody else anything.
func TestAFailureInAHook(t *testing.T) {
	h := newHost(t)
	p := h.load(t, hostapi.Spec{Config: []byte(`{"number": 5}`)}, `
local modes = {
  ["error"] = function(s) error("gone wrong") end,
  ["nil"] = function(s) return s.rcpt.domain.x.y end,
  ["typo"] = function(s) return s.remoteip end,
  ["recipient"] = function(s) return s.rcpt.name end,
  ["code"] = function(s) return s:reject(450, "no") end,
  ["enhanced"] = function(s) return s:reject("571", "no") end,
  ["number"] = function(s) return 550 end,
  ["class"] = function(s) return s:reject(550, "4.7.1", "no") end,
  ["drop"] = function(s) return s:drop(500) end,
  ["config"] = function(s) return s:reject(config:strings("number")[1]) end,
  ["lost"] = function(s) s:reject(550, "5.7.1", "no") end,
  ["denied"] = function(s) s.mail_from = "x@y.test" end,
  ["loop"] = function(s) while true do end end,
  ["hostloop"] = function(s) while true do now_ms() end end,
  ["recursion"] = function(s) local function f() return 1 + f() end f() end,
  ["growth"] = function(s) local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end end,
  ["pattern"] = function(s) return (("a"):rep(40)):find(("a?"):rep(40) .. ("a"):rep(40) .. "b") end,
  ["nil code"] = function(s) return s:reject(nil, nil, "well") end,
  ["nil class"] = function(s) return s:reject(551, nil, "well") end,
  ["caught"] = function(s) pcall(error, "x") return s:reject(550, "5.7.1", "well") end,
}
function on_rcpt(s)
  return modes[s.rcpt.local_part](s)
end`)
	for local, want := range map[string]string{
		"error":     "policy.lua:3: gone wrong",
		"nil":       "policy.lua:4: attempt to index",
		"typo":      `policy.lua:5: s has no field "remoteip"`,
		"recipient": `policy.lua:6: a recipient has no field "name"`,
		"code":      "policy.lua:7: the code 450 does not suit this verdict: it has 500 to 599",
		"enhanced":  `policy.lua:8: "571" is no enhanced status code`,
		"number":    "on_rcpt returned a number: return s:reject(...)",
		"lost":      "on_rcpt made a verdict and did not return it",
		"class":     "policy.lua:10: 4.7.1 does not suit the code 550",
		"drop":      "policy.lua:11: the code 500 does not suit this verdict",
		"config":    "policy.lua:12: config: number must be a list of strings",
		"denied":    "policy.lua:14: s.mail_from: not granted",
		"loop":      "",
		"hostloop":  "",
		"recursion": "", // Lua's own limit, or the CPU time, as the machine is
		"growth":    "",
		"pattern":   "",
	} {
		h.log()
		if got := ask(t, p, rcpt(local)); got != "defer after a failure" {
			t.Errorf("%s: %s", local, got)
		}
		if got := h.log(); !strings.Contains(got, want) {
			t.Errorf("%s: logged %q, want %q", local, got, want)
		}
	}
	for local, want := range map[string]string{"nil code": "reject 550 5.7.1 well", "nil class": "reject 551 5.7.1 well"} {
		if got := ask(t, p, rcpt(local)); got != want {
			t.Errorf("%s: %s\n%s", local, got, h.log())
		}
	}
	if got := ask(t, p, rcpt("caught")); got != "reject 550 5.7.1 well" {
		t.Errorf("after all that: %s\n%s", got, h.log())
	}
}

// Two sessions at once, and many after each other, see the script as it was
// loaded.
func TestSessionsDoNotSeeEachOther(t *testing.T) {
	h := newHost(t)
	p := h.load(t, hostapi.Spec{}, `
local seen = "nothing"
count = 0
string.mark = nil
function on_rcpt(s)
  count = count + 1
  local before = seen .. count .. tostring(string.mark)
  seen, string.mark = s.rcpt.local_part, s.rcpt.local_part
  return s:reject(before)
end`)
	chain := hook.Chain{{Name: "policy", Stages: p.Stages(), Handler: p}}
	say := func(k *hook.Conversation, local string) string {
		return k.Ask(t.Context(), rcpt(local)).Reply.String()
	}
	for n := range 200 {
		a, b := chain.Open("mx", nil), chain.Open("mx", nil)
		local := fmt.Sprintf("secret%d", n)
		got := []string{say(a, local), say(b, "other"), say(a, "x"), say(b, "x")}
		want := []string{"550 5.7.1 nothing1nil", "550 5.7.1 nothing1nil", "550 5.7.1 " + local + "2" + local, "550 5.7.1 other2other"}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("pair %d: %q, want %q", n, got, want)
		}
		a.Close()
		b.Close()
	}
}
