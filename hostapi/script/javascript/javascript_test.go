package javascript_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
	"github.com/wasmta/wasmta/hostapi/script/javascript"
)

// server is the engine of all tests, and what plugins log in one of them. They
// share it because compiling takes longer than everything else, and what has
// been compiled is kept as long as a plugin uses it.
type server struct {
	t      testing.TB
	engine *engine.Engine
}

var logs struct {
	sync.Mutex
	lines []string
}

var shared = sync.OnceValues(func() (*engine.Engine, error) {
	e, err := engine.New(engine.Options{Log: func(l hostapi.Line) {
		logs.Lock()
		logs.lines = append(logs.lines, l.Text)
		logs.Unlock()
	}})
	if err != nil {
		return nil, err
	}
	wasm, err := javascript.Module(context.Background(), "policy.js", []byte("export function onRcpt() {}"))
	if err == nil {
		_, err = e.Load(context.Background(), hostapi.Spec{Name: "keeper"}, wasm)
	}
	return e, err
})

func newServer(t testing.TB) *server {
	t.Helper()
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t, e}
	s.logged()
	return s
}

// logged are the lines since it was asked last.
func (s *server) logged() []string {
	logs.Lock()
	defer logs.Unlock()
	lines := logs.lines
	logs.lines = nil
	return lines
}

func module(t testing.TB, source string) []byte {
	t.Helper()
	wasm, err := javascript.Module(t.Context(), "policy.js", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// all is what can be granted without services.
var all = hostapi.Grant{Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read}

func (s *server) load(source string, spec hostapi.Spec) (*engine.Plugin, error) {
	s.t.Helper()
	spec.Name = "p"
	if spec.Limits.CPU == 0 {
		spec.Limits.CPU = time.Second // speeds are measured at the start, perhaps of a busy machine
	}
	p, err := s.engine.Load(s.t.Context(), spec, module(s.t, source))
	if err == nil {
		s.t.Cleanup(p.Close)
	}
	return p, err
}

// open loads a policy that is granted all, and begins a session.
func (s *server) open(source string) (*hook.Conversation, *[]error) {
	s.t.Helper()
	p, err := s.load(source, hostapi.Spec{Grant: all, Limits: hostapi.Limits{CPU: 100 * time.Millisecond}}) // a busy machine is slow
	if err != nil {
		s.t.Fatal(err)
	}
	return s.session(p)
}

func (s *server) session(p *engine.Plugin) (*hook.Conversation, *[]error) {
	var failures []error
	k := hook.Chain{{Name: "p", Stages: p.Stages(), Handler: p}}.Open("mx", func(f hook.Failure) { failures = append(failures, f.Err) })
	s.t.Cleanup(k.Close)
	return k, &failures
}

func event(st hook.Stage, to ...string) *hook.Event {
	e := &hook.Event{Stage: st, Session: &hook.Session{Client: &mail.Client{Listener: "mx"}, Attrs: mail.Attrs{}}, Recipient: len(to) - 1}
	e.Tx = &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}, SizeLimit: 1 << 20}
	e.Tx.Envelope.ReversePath = mail.Path{Local: "ann", Domain: "example.com"}
	for _, local := range to {
		e.Tx.Envelope.Recipients = append(e.Tx.Envelope.Recipients, mail.Recipient{ForwardPath: mail.Path{Local: local, Domain: "example.com"}})
	}
	return e
}

// ask is the answer to RCPT for a local part.
func ask(t testing.TB, k *hook.Conversation, to string) string {
	t.Helper()
	o := k.Ask(t.Context(), event(hook.Rcpt, to))
	s := o.Action.String()
	if o.Failed {
		return s + " after a failure"
	}
	if o.Reply != nil {
		s += " " + o.Reply.String()
	}
	return s
}

func want(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	s := newServer(t)
	k, _ := s.open(`
import * as mta from "mta";
import { reject, ACCEPT } from "mta";
const answers = {
	nothing: () => {},
	nil: () => null,
	number: () => ACCEPT,
	reject: (s) => s.reject(),
	text: (s) => s.reject(550, "5.1.1", "no such mailbox"),
	free: () => reject(551, "", "elsewhere"),
	defer: (s) => s.defer(450, "4.2.0", "two\nlines"),
	namespace: () => mta.defer(452),
	accept: (s) => s.accept(),
	long: (s) => s.reject(550, "5.7.1", "x".repeat(1e5)),
	made: (s) => { s.defer(); return s.reject(554); },
	promise: async (s) => { await null; await Promise.resolve(); return s.reject(553, "5.1.3", "late"); },
};
export function onRcpt(s) { return answers[s.rcpt.local](s); }
`)
	for _, c := range [][2]string{
		{"nothing", "continue"}, {"nil", "continue"}, {"number", "accept"}, {"reject", "reject"},
		{"text", "reject 550 5.1.1 no such mailbox"}, {"free", "reject 551 5.7.1 elsewhere"},
		{"defer", "defer " + mail.NewReply(450, "4.2.0", "two\nlines").String()}, {"namespace", "defer 452"}, {"accept", "accept"},
		{"long", "reject 550 5.7.1 xxx"}, {"made", "reject 554"}, {"promise", "reject 553 5.1.3 late"},
	} {
		if got := ask(t, k, c[0]); !strings.HasPrefix(got, c[1]) {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
}

// What goes wrong in a hook is a failure of the plugin that says where.
func TestFailuresSayWhere(t *testing.T) {
	s := newServer(t)
	const policy = `
function deep(n) { return n === 0 ? 0 : 1 + deep(n - 1); }
const does = {
	type: () => { undefined.x; },
	thrown: () => { throw new RangeError("mine"); },
	text: () => { throw "a text"; },
	rejected: async () => { throw new Error("later"); },
	verdict: () => "reject",
	pending: () => new Promise(() => {}),
	denied: (s) => { s.headers.append("X-A", "b"); },
	nested: () => deep(1e6),
	jobs: () => { Promise.reject(1).catch(() => { throw 2; }); throw new Error("not lost"); },
	lines: () => { throw new Error("one\r\ntwo"); },
	getter: () => { throw Object.defineProperty(new Error("x"), "message", { get() { throw 1; } }); },
	stack: () => { throw Object.defineProperty(new Error("seen"), "stack", { get() { throw 1; } }); },
	object: () => { throw { toString() { throw 1; }, toJSON() { throw 2; } }; },
	forgotten: (s) => { s.reject(550, "5.7.1", "no"); },
	later: async (s) => { await null; s.defer(); },
	code: (s) => s.reject(450, "4.7.1", "no"),
	words: (s) => s.reject("no"),
	enhanced: (s) => s.reject(550, "4.7.1", "no"),
	short: (s) => s.defer(0, "4.7", "no"),
	misspelt: (s) => { s.mailform = "a@example.com"; },
	number: (s) => { s.sizeLimit = "10 MB"; },
};
export function onRcpt(s) {
	return does[s.rcpt.local](s);
}
`
	for _, c := range [][2]string{
		{"type", "policy.js:4:"}, {"type", "TypeError: cannot read property 'x' of undefined"},
		{"thrown", "policy.js:5:"}, {"thrown", "RangeError: mine"},
		{"text", "thrown: a text"}, {"rejected", "policy.js:7:"},
		{"verdict", "TypeError: a hook must return a verdict, such as s.reject(), or nothing"},
		{"pending", "TypeError: what it waits for never comes"},
		{"denied", "policy.js:10:"}, {"denied", "MtaError: add the field X-A: E_"},
		{"jobs", "policy.js:12:71: Error: not lost"}, {"lines", "policy.js:13:"}, {"lines", "Error: one two"},
		{"getter", "policy.js:14:"}, {"stack", "policy.js: Error: seen"}, {"object", "policy.js: thrown: [object]"},
		{"forgotten", "policy.js: TypeError: onRcpt made a verdict and did not return it"},
		{"later", "policy.js: TypeError: onRcpt made a verdict and did not return it"},
		{"code", "policy.js:19:"}, {"code", "the code 450 does not suit this verdict: it has 500 to 599"}, {"words", "policy.js:20:"},
		{"enhanced", "policy.js:21:"}, {"enhanced", "4.7.1 does not suit the code 550"},
		{"short", "policy.js:22:"}, {"short", "4.7 is no enhanced status code"},
		{"misspelt", "policy.js:23:"}, {"number", "set the size limit: 10 MB is no whole number"},
		{"nested", "policy.js:2:"}, {"nested", "RangeError: Maximum call stack size exceeded"},
	} {
		k, failures := s.open(policy)
		s.logged()
		want(t, ask(t, k, c[0]), "defer after a failure")
		if lines := s.logged(); len(lines) != 1 || !strings.Contains(lines[0], c[1]) {
			t.Errorf("%s: logged %q, want %q", c[0], lines, c[1])
		}
		if len(*failures) != 1 || !strings.Contains((*failures)[0].Error(), c[1]) {
			t.Errorf("%s: %v, want %q", c[0], *failures, c[1])
		}
	}
}

// What is wrong with a script refuses it, in words for its author.
func TestRefused(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct{ source, why string }{
		{"export function onRcpt(s) {\n  return s.\n}\n", "policy.js:3:"},
		{"export function onRcpt(s) {\n  return s.\n}\n", "SyntaxError"},
		{"const x = 1;\n", "it exports no hook: write export function onRcpt(s)"},
		{"", "it exports no hook"},
		{"export function onRctp(s) {}\nexport function onMail() {}\n", "there is no hook onRctp; there are onConnect, "},
		{"export const onRcpt = 7;\n", "onRcpt must be a function"},
		{"const f = { onRcpt() {} };\nexport const { onRcpt } = f;\nexport function onMail() {}", "onRcpt is exported in a way that is not seen"},
		{"export function onRcpt() {}\nnothing.there();\n", "policy.js:2:"},
		{"export function onRcpt() {}\nexport function init(config) {\n  config.strings('a');\n  throw new Error('not today');\n}\n", "policy.js:4:"},
		{"export function onRcpt() {}\nexport async function init() { throw new Error('not today'); }", "Error: not today"},
		{"export function onRcpt() {}\nexport const init = 1;", "init must be a function"},
		{"export function onRcpt() {}\nexport function init(c) { c.int('port'); }", "config: port must be a whole number"},
		{"import { kv } from 'other';\nexport function onRcpt() {}", "could not load module 'other'"},
		{"import * as std from 'std';\nexport function onRcpt() {}", "could not load module 'std'"},
		{"import * as std from 'qjs:os';\nexport function onRcpt() {}", "could not load module 'qjs:os'"},
		{"import { nope } from 'mta';\nexport function onRcpt() {}", "Could not find export 'nope' in module 'mta'"},
		{"export function onRcpt() {}\nawait new Promise(() => {});", "what it waits for never comes"},
		{"export function onRcpt() {}\nfor (;;) {}", "CPU time"},
		{"export function onRcpt() {}\nconst all = []; for (;;) all.push(new Uint8Array(1 << 20));", "out of memory"},
		{"export function onRcpt() {}\n" + strings.Repeat("(", 20000) + "1" + strings.Repeat(")", 20000), "nest too deep"},
		{"export function onRcpt() {}\nJSON.parse('['.repeat(100000));", "nest too deep"},
		{"export function onRcpt() {}\neval('{'.repeat(2000) + '}'.repeat(2000));", "the stack of the JavaScript engine is used up"},
		{"export function onRcpt() {}\nlet a = []; for (let i = 0; i < 3000; i++) a = [a]; String(a);", "RangeError: Maximum call stack size exceeded"},
		{"export function onRcpt() {}\nthrow { toString() { throw 1; }, toJSON() { throw 2; } };", "init"},
		{"export function onRcpt() {}\nexport function onSelftest() { throw new Error('it does not work'); }", "it does not work"},
		{"export function onRcpt() {}\nexport async function onSelftest() { return false; }", "onSelftest returned false"},
		{"import { kv as b } from 'mta';\nimport { nope } from 'mta';\nexport function onRcpt() {}", "kv = { mb = 16 }"},
	} {
		_, err := s.load(c.source, hostapi.Spec{Config: []byte(`{"port": "x"}`)})
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.80q: %v; want %q", c.source, err, c.why)
		}
	}
	for _, c := range []struct{ source, why string }{
		{"export function onRcpt() {} // \xff", "not UTF-8"},
		{"export function onRcpt() {} // \x00", "zero octet"},
		{strings.Repeat(" ", javascript.MaxSource+1), "1048577 octets, the limit is 1048576"},
	} {
		if _, err := javascript.Module(t.Context(), "policy.js", []byte(c.source)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.40q: %v; want %q", c.source, err, c.why)
		}
	}
}

// A hook that does not end, or wants too much, costs its verdict.
func TestStopped(t *testing.T) {
	s := newServer(t)
	const policy = `
const all = [];
const does = {
	loop: () => { for (;;); },
	regexp: () => /^(a+)+$/.test("a".repeat(60) + "b"),
	memory: () => { for (;;) all.push(new Array(100000).fill("x")); },
	string: () => { let s = "x"; for (;;) s += s; },
	recursion: () => { const f = () => f() + 1; try { f(); } catch { f(); } },
	getter: () => { const o = { get x() { return this.x; } }; return o.x; },
	proxy: () => { let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x; },
	json: () => { let o = {}; for (let i = 0; i < 1e5; i++) o = { o }; return JSON.stringify(o); },
	sort: () => [3, 2, 1].sort(() => { for (;;); }),
	calls: (s) => { for (;;) s.helo; },
	jobs: async () => { for (;;) await null; },
};
export function onRcpt(s) { return s.rcpt.local === "fine" ? s.accept() : does[s.rcpt.local](s); }
`
	p, err := s.load(policy, hostapi.Spec{Limits: hostapi.Limits{CPU: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"loop", "regexp", "memory", "string", "recursion", "getter", "proxy", "json", "sort", "calls", "jobs"} {
		k, failures := s.session(p)
		want(t, ask(t, k, c), "defer after a failure")
		t.Logf("%s: %v", c, *failures)
		want(t, ask(t, k, "fine"), "accept")
		k.Close()
	}
}

// What one session leaves behind, no other sees; numbers drawn at random differ.
func TestSessionsAreApart(t *testing.T) {
	s := newServer(t)
	p, err := s.load(`
let seen = "nobody";
const cache = new Map();
export function onRcpt(s) {
	const before = [seen, cache.size, Object.prototype.leak ?? "-", globalThis.leak ?? "-", Math.PI].join(" ");
	seen = s.rcpt.local;
	cache.set(seen, 1);
	Object.prototype.leak = globalThis.leak = seen;
	return s.reject(550, "5.0.0", before);
}
export function onMail(s) { return s.reject(550, "5.0.0", String(Math.random())); }
`, hostapi.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	const clean = "reject 550 5.0.0 nobody 0 - - 3.141592653589793"
	n := 1000
	if testing.Short() {
		n = 100
	}
	numbers := map[string]bool{}
	for i := range n {
		k := hook.Chain{{Name: "p", Stages: p.Stages(), Handler: p}}.Open("mx", nil)
		first := fmt.Sprintf("secret%d", i)
		want(t, ask(t, k, first), clean)
		want(t, ask(t, k, "b"), "reject 550 5.0.0 "+first+" 1 "+first+" "+first+" 3.141592653589793")
		if i < 50 {
			numbers[k.Ask(t.Context(), event(hook.Mail)).Reply.String()] = true
		}
		k.Close()
	}
	if len(numbers) != 50 {
		t.Errorf("%d different random numbers in 50 sessions", len(numbers))
	}
}

// The same script is the same generation; other text, of the same hooks, is
// the same code.
func TestDeterministic(t *testing.T) {
	const source = "import { kv, dns } from 'mta'; export function onRcpt() { kv; dns; } export function onMail() {}"
	a, b := module(t, source), module(t, source)
	if !bytes.Equal(a, b) {
		t.Error("two modules of one script differ")
	}
	r, err := engine.Inspect(a)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal([]any{r.Hooks, r.Problems, r.Imports["mta1_kv"], r.Imports["mta1_dns"], r.Imports["mta1_http"], r.Imports["wasi_snapshot_preview1"], r.Go, r.Toolchain})
	want(t, string(got), `[["mail","rcpt"],null,["get","set","del","incr","take","cas"],["prefetch","query","dnsbl"],null,`+
		`["clock_time_get","fd_write"],false,{"language":["JavaScript"],"processed-by":["QuickJS-NG 0.15.1"]}]`)
	limits := meter.Limits{}
	one, err := meter.Split(a, limits)
	if err != nil {
		t.Fatal(err)
	}
	other, err := meter.Split(module(t, source+" // with another text"), limits)
	if err != nil || !bytes.Equal(one.Code, other.Code) {
		t.Errorf("another text of the same hooks is other code; %v", err)
	}
	if len(a) > 1_200_000 {
		t.Errorf("a module has %d octets", len(a))
	}
}

// Nothing but the contract can be reached.
func TestNoWayOut(t *testing.T) {
	s := newServer(t)
	k, _ := s.open(`
export async function onRcpt(s) {
	const there = ["std", "os", "bjson", "host", "require", "process", "Deno", "fetch", "Worker", "print", "scriptArgs", "navigator", "load",
		"loadScript", "setTimeout", "gc"].filter((name) => name in globalThis);
	for (const name of ["std", "qjs:std", "os", "qjs:os", "qjs:bjson", "/etc/passwd", "./other.js", "file:///etc/passwd"]) {
		try {
			await import(name);
			there.push(name);
		} catch (e) {
			if (!(e instanceof ReferenceError)) there.push(String(e));
		}
	}
	const own = await import("mta");
	there.push(...["kv", "dns", "http", "crypto", "table", "event"].filter((name) => name in own));
	return s.reject(550, "5.0.0", "there: " + there.join(", "));
}
`)
	want(t, ask(t, k, "x"), "reject 550 5.0.0 there: ")
}

func TestLibrary(t *testing.T) {
	s := newServer(t)
	k, _ := s.open(`
import { config, text, octets, random, feature, monotonic, secret, MtaError } from "mta";
const wrong = [];
const is = (what, got, want) => { if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push(what + " is " + JSON.stringify(got)); };
console.log("top", { a: [1] }, 2, new TypeError("x"), Object.create(null, { a: { value: 1n, enumerable: true } }));
export function onMail(s) {
	is("path", s.mailFrom, "ann@example.com");
	is("listener", s.listener, "mx");
	is("ptr", s.ptr, "");
	is("port", s.remotePort, 0);
	is("tls", s.tls, false);
	is("utf8", text(octets("ä€😀")), "ä€😀");
	is("octets", Array.from(octets("ä")), [0xc3, 0xa4]);
	is("empty", [text(new Uint8Array(0)), octets("").length], ["", 0]);
	is("bad utf8", text(new Uint8Array([0x61, 0xff, 0x62])), "a\ufffdb");
	is("random", random(16).length, 16);
	is("features", [feature("kv"), feature("envelopeWrite"), feature("nothing")], [false, true, false]);
	is("clock", monotonic() > 0 && Date.now() > 1.7e12 && new Date().getFullYear() >= 2024, true);
	is("config", [config.has("a"), config.get("a"), config.string("s", "d"), config.strings("l"), config.int("n", 3), config.bool("b")], [false, undefined, "d", [], 3, false].map((v) => v ?? null));
	try { secret("key"); } catch (e) { is("secret", [e instanceof MtaError, e.code], [true, "E_DENIED"]); }
	s.attrs.session.set("k", "v".repeat(9000));
	is("attribute", s.attrs.session.get("k").length, 9000);
	is("attributes", [s.attrs.transaction.get("k"), s.attrs.session.delete("k"), s.attrs.session.delete("k"), s.attrs.session.has("k")], [null, true, false, false].map((v) => v ?? undefined));
	s.mailFrom = "bob@example.com";
	is("set", s.mailFrom, "bob@example.com");
	try { s.mailFrom = "not a path\r\n"; } catch (e) { is("malformed", e.code, "E_INVAL"); }
	try { s.helo = "x"; } catch (e) { is("read only", e.name, "TypeError"); }
	is("regexp", /(\d+)/.exec("a12")[1], "12");
	is("deep", (function f(n) { return n ? 1 + f(n - 1) : 0; })(150), 150);
	if (wrong.length) return s.reject(550, "5.0.0", wrong.join("; "));
}
export function onRcpt(s) {
	is("recipient", [s.rcpt.local, s.rcpt.domain, s.rcpt.path, String(s.rcpt), s.rcptCount, s.rcpt.notify], ["b", "example.com", "b@example.com", "b@example.com", 2, 0]);
	s.rcpt.path = "c@example.com";
	s.addRcpt("d@example.com");
	is("recipients", s.rcpts.map((r) => r.path), ["a@example.com", "c@example.com", "d@example.com"]);
	if (wrong.length) return s.reject(550, "5.0.0", wrong.join("; "));
}
export function onMessage(s) {
	const h = s.headers;
	is("header", [h.get("a"), h.get("none"), h.has("A"), h.length, h.getAll("A")], ["1", "", true, 3, ["1", "3"]]);
	is("fields", [...h], [["A", "1"], ["B", "2"], ["a", "3"]]);
	h.set("A", "word ".repeat(1200) + "end");
	h.delete("B");
	h.append("C", "4");
	is("changed", [h.get("A").length, h.length, h.raw.startsWith("A: ")], [6003, 2, true]);
	is("body", [s.body.size, s.body.text(), text(s.body.read(3, 4)), [...s.body.chunks(8)].length], [20, "0123456789abcdefghij", "3456", 3]);
	s.removeRcpts((r) => r.local === "a");
	is("removed", s.rcptCount, 1);
	if (wrong.length) return s.reject(550, "5.0.0", wrong.join("; "));
}
`)
	if lines := s.logged(); len(lines) != 1 || lines[0] != `top {"a":[1]} 2 TypeError: x [object]` {
		t.Errorf("logged %q", lines)
	}
	check := func(e *hook.Event) {
		t.Helper()
		if o := k.Ask(t.Context(), e); o.Action != hook.Continue {
			t.Errorf("%v: %v %v %q", e.Stage, o.Action, o.Reply, s.logged())
		}
	}
	check(event(hook.Mail))
	check(event(hook.Rcpt, "a", "b"))
	e := event(hook.Message, "a", "b")
	e.Recipient = -1
	h, err := mail.ParseHeader([]byte("A: 1\r\nB: 2\r\na: 3\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	e.Content = &hook.Content{Header: h, Body: strings.NewReader("0123456789abcdefghij"), BodySize: 20}
	check(e)
}

// A script of a whole MiB is read, and its name cannot mislead.
func TestSizeAndName(t *testing.T) {
	s := newServer(t)
	long := "/* " + strings.Repeat("x", javascript.MaxSource-60) + " */ export function onRcpt(s) { boom(); }"
	wasm, err := javascript.Module(context.Background(), "/a/b/(od\nd):name"+strings.Repeat("é", 100), []byte(long))
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.engine.Load(t.Context(), hostapi.Spec{Name: "p"}, wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	k, _ := s.session(p)
	s.logged()
	want(t, ask(t, k, "x"), "defer after a failure")
	if lines := s.logged(); len(lines) != 1 || !strings.Contains(lines[0], "ReferenceError: 'boom' is not defined") && !strings.Contains(lines[0], "ReferenceError: boom is not defined") || strings.Contains(lines[0], "\n") {
		t.Errorf("logged %q", lines)
	}
}

// The least memory that the documentation promises, and what takes more than
// there is.
func TestMemory(t *testing.T) {
	s := newServer(t)
	const policy = `
import { crypto, dns, event, http, kv, table } from "mta";
const kept = [];
export function onRcpt(s) {
	if (s.rcpt.local === "more") for (;;) kept.push("x".repeat(100000) + kept.length);
	return s.accept();
}`
	grant := hostapi.Grant{KV: hostapi.KVGrant{MB: 1}, DNS: hostapi.DNSGrant{Zones: []string{"*"}}, Tables: []string{"t"}, Events: []string{"*"},
		HTTP: []hostapi.HTTPGrant{{URL: "https://a.example/", Methods: []string{"GET"}}}}
	p, err := s.load(policy, hostapi.Spec{Grant: grant, Limits: hostapi.Limits{MemoryMB: 2, CPU: 5 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	k, failures := s.session(p)
	want(t, ask(t, k, "fine"), "accept")
	want(t, ask(t, k, "more"), "defer after a failure")
	if len(*failures) != 1 || !strings.Contains((*failures)[0].Error(), "out of memory") {
		t.Errorf("%v", *failures)
	}
	want(t, ask(t, k, "fine"), "accept")
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := javascript.Module(ctx, "policy.js", []byte("export function onRcpt() {}")); err == nil {
		t.Error("a module is made for somebody who is gone")
	}
}

const twoCalls = `
export function onRcpt(s) {
	if (s.helo === "localhost") return s.reject(550, "5.7.1", "not with this name");
}
`

// BenchmarkHook is a hook with two host calls, a text read and a reply.
func BenchmarkHook(b *testing.B) {
	p, e := benchmark(b)
	i, err := p.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Handle(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSession is a clean instance, called once and closed.
func BenchmarkSession(b *testing.B) {
	p, e := benchmark(b)
	b.ReportAllocs()
	for b.Loop() {
		i, err := p.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := i.Handle(b.Context(), e); err != nil {
			b.Fatal(err)
		}
		i.Close()
	}
}

func benchmark(b *testing.B) (*engine.Plugin, *hook.Event) {
	s := newServer(b)
	p, err := s.load(twoCalls, hostapi.Spec{})
	if err != nil {
		b.Fatal(err)
	}
	e := event(hook.Rcpt, "x")
	e.Session.Client.Helo = "localhost"
	return p, e
}

func BenchmarkModule(b *testing.B) {
	for b.Loop() {
		module(b, twoCalls)
	}
}

func TestTimeZoneIsUTC(t *testing.T) {
	s := newServer(t)
	k, _ := s.open(`export function onRcpt(s) { return s.reject(550, "5.0.0", String(new Date(0))); }`)
	if got := ask(t, k, "x"); !strings.Contains(got, time.Unix(0, 0).UTC().Format("Mon Jan 02 2006 15:04:05")) {
		t.Error(got)
	}
}
