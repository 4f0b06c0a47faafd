package harness_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
	"github.com/wasmta/wasmta/hostapi/harness"
)

// guest counts recipients in its memory and refuses the third, asks the DNS and
// a server at connect, tags messages, routes, and fails at tick.
func guest() []byte {
	const i = wb.I32
	m := wb.New()
	reply := m.Import("mta1", "reply", i+i+i+i, i)
	insert := m.Import("mta1", "list_insert", i+i+i+i, i)
	log := m.Import("mta1", "log", i+i+i, i)
	now := m.Import("mta1", "now_ms", wb.None, wb.I64)
	random := m.Import("mta1", "random", i+i, i)
	attr := m.Import("mta1", "attr_set", i+i+i+i+i, i)
	incr := m.Import("mta1_kv", "incr", i+i+wb.I64+wb.I64+i, wb.I64)
	query := m.Import("mta1_dns", "query", i+i+i+i+i, i)
	start := m.Import("mta1_http", "start", i+i+i+i+i+i+i+i, i)
	wait := m.Import("mta1_http", "wait", i+i, i)
	emit := m.Import("mta1_event", "emit", i+i+i+i, i)
	m.Memory(1, 2)
	texts := map[string]int32{}
	at := int32(16)
	text := func(s string) wb.Code {
		if texts[s] == 0 {
			texts[s] = at
			m.Data(at, s)
			at += int32(len(s))
		}
		return wb.I32Const(texts[s]) + wb.I32Const(int32(len(s)))
	}
	n := wb.I32Const
	say := func(s string) wb.Code { return n(1) + text(s) + wb.Call(log) + wb.Drop }
	when := func(cond wb.Code, s string) wb.Code { return cond + wb.If(wb.None, say(s), "") }
	m.Func("mta1_init", wb.None, i, wb.None, n(0))
	m.Func("mta1_on_connect", wb.None, i, wb.None,
		when(n(1)+text("c.test")+n(2048)+n(16)+wb.Call(query)+n(8)+wb.I32Eq, "an address")+
			when(n(1)+text("no.test")+n(2048)+n(16)+wb.Call(query)+n(-20)+wb.I32Eq, "no such name")+
			n(1)+text("https://rep.test/q")+n(0)+n(0)+n(0)+n(0)+n(0)+wb.Call(start)+n(5000)+wb.Call(wait)+n(404)+wb.I32Eq+
			wb.If(wb.None, say("not known there"), "")+
			text("seen")+text("client")+wb.Call(emit)+wb.Drop+n(0))
	m.Func("mta1_on_rcpt", wb.None, i, wb.None,
		text("n")+wb.I64Const(1)+wb.I64Const(60000)+n(0)+wb.Call(incr)+wb.I64Const(3)+wb.I64Eq+
			wb.If(wb.None, n(550)+n(0x501c01)+text("enough")+wb.Call(reply)+wb.Drop+n(2)+wb.Return, "")+n(0))
	m.Func("mta1_on_message", wb.None, i, wb.None,
		n(2)+n(-1)+text("X-Tag: yes")+wb.Call(insert)+wb.Drop+
			n(2)+text("k")+text("v")+wb.Call(attr)+wb.Drop+
			n(1024)+n(4)+wb.Call(random)+wb.Drop+
			when(wb.Call(now)+wb.I64Const(1767225660000)+wb.I64Eq, "a minute later")+n(1))
	m.Func("mta1_on_tick", wb.None, i, wb.None, wb.Unreachable)
	m.Func("mta1_on_reset", wb.None, i, wb.None, n(0))
	return m.Bytes()
}

const good = `
title = "all of it"
clock = 2026-01-01T00:00:00Z
[grant]
headers = "write"
kv = { mb = 1 }
dns = { zones = ["*"] }
http = [{ url = "https://rep.test/" }]
events = ["seen"]
[kv]
n = 0
[[dns]]
name = "c.test"
type = "a"
records = ["192.0.2.7"]
[[http]]
url = "https://rep.test/q"
status = 404

[[step]]
do = "connect"
ip = "2001:db8::1"
want = { action = "continue", log = ["an address", "info: no such name", "not known"], http = ["GET https://rep.test/q"], events = ["seen client"] }
[[step]]
do = "mail"
from = "a@example.com"
want = { action = "none", from = "a@example.com" }
[[step]]
do = "rcpt"
to = "b@example.org"
want = { action = "continue", recipients = ["b@example.org"], log = [], kv = { n = "1" } }
[[step]]
do = "rcpt"
to = "c@example.net"
[[step]]
do = "rcpt"
to = "d@example.org"
[step.want]
action = "reject"
code = 550
enhanced = "5.7.1"
text = "enough"
[[step]]
do = "wait"
for = "1m"
want = { kv_absent = ["nothing"] }
[[step]]
do = "message"
content = """
Subject: hi

text
"""
[step.want]
action = "accept"
hook = "message"
header = """
Subject: hi
X-Tag: yes
"""
fields = { X-Tag = "yes" }
absent = ["Bcc"]
recipients = ["b@example.org", "c@example.net"]
attrs = { message = { k = "v" } }
log = ["a minute later"]
[[step]]
do = "route"
domain = "example.net"
want = { action = "none", recipients = ["c@example.net"], attrs = { message = { k = "v" } } }
[[step]]
do = "result"
reply = "451 4.2.0 busy"
[[step]]
do = "tick"
want = { action = "failed", fault = "trap" }
[[step]]
do = "quit"
`

func play(t *testing.T, wasm []byte, text string) ([]harness.Played, []harness.Usage) {
	t.Helper()
	s, err := harness.Parse([]byte(text), "test.toml", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, err := harness.New("1.0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	subject, err := h.Load(t.Context(), s, wasm, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer subject.Close()
	first, err := subject.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	usage := h.Usage()
	again, err := subject.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, again) {
		t.Errorf("the second time it is\n%+v\nand was\n%+v", again, first)
	}
	return first, usage
}

func TestAScenarioPasses(t *testing.T) {
	steps, usage := play(t, guest(), good)
	for _, p := range steps {
		if !p.OK {
			t.Errorf("step %d, line %d, %s: %q", p.Step, p.Line, p.Do, p.Faults)
		}
	}
	if p := steps[4]; p.Verdict != "reject 550 5.7.1 enough" || p.Hook != "rcpt" || p.Line != 35 {
		t.Errorf("%+v", p)
	}
	want := map[string]string{"init": "1 0 0", "connect": "1 0 8", "rcpt": "3 0 4", "message": "1 0 5", "tick": "1 1 0"}
	for _, u := range usage {
		if got := fmt.Sprint(u.Calls, u.Failed, u.HostCalls); got != want[u.Hook] {
			t.Errorf("%s: calls, failures, host calls %s, want %s", u.Hook, got, want[u.Hook])
		}
		if u.Memory != 64<<10 || u.Hook == "rcpt" && (u.Fuel == 0 || u.MaxFuel > u.Fuel) {
			t.Errorf("%+v", u)
		}
		delete(want, u.Hook)
	}
	if len(want) > 0 {
		t.Errorf("no figures of %v", want)
	}
}

// What is wanted of a plugin that was not asked, or that failed, is said once.
func TestAPluginThatGivesNoVerdict(t *testing.T) {
	want := "want = { action = \"reject\", code = 550, enhanced = \"5.7.1\", text = \"no\" }\n"
	steps, _ := play(t, guest(), "grant = { kv = { mb = 1 }, dns = { zones = [\"*\"] }, http = [{ url = \"https://rep.test/\" }], events = [\"*\"] }\n"+
		"[[step]]\ndo = \"wait\"\nfor = \"1s\"\n"+want+"[[step]]\ndo = \"tick\"\n"+want)
	if f := steps[0].Faults; len(f) != 1 || !strings.Contains(f[0], `action: want "reject", but the plugin was not asked: it subscribes to connect`) {
		t.Errorf("not asked: %q", f)
	}
	if f := steps[1].Faults; len(f) != 1 || f[0] != `action: want "reject", got "failed: trap: unreachable"` {
		t.Errorf("failed: %q", f)
	}
}

// Whatever is not as wanted is said.
func TestAScenarioFails(t *testing.T) {
	text := good
	for _, r := range [][2]string{
		{`http = ["GET https://rep.test/q"]`, `http = []`}, {`["seen client"]`, `["seen nobody"]`}, {`from = "a@example.com" }`, `from = "x@example.com" }`},
		{`log = []`, `log = ["more"]`}, {`n = "1"`, `n = "2"`}, {`action = "reject"`, `action = "defer"`}, {`code = 550`, `code = 551`},
		{`"5.7.1"`, `"5.7.2"`}, {`"enough"`, `"more"`}, {`kv_absent = ["nothing"]`, `kv_absent = ["n"]`}, {`X-Tag = "yes"`, `X-Tag = "no"`},
		{`["Bcc"]`, `["Subject"]`}, {`{ k = "v" } }` + "\nlog", `{ k = "w" } }` + "\nlog"}, {`fault = "trap"`, `fault = "cpu"`},
	} {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("no %q", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	var faults []string
	steps, _ := play(t, guest(), text)
	for _, p := range steps {
		for _, f := range p.Faults {
			faults = append(faults, fmt.Sprintf("%s: %s", p.Do, f))
		}
	}
	got := strings.Join(faults, "\n")
	for _, want := range []string{
		`connect: http: want [], got ["GET https://rep.test/q"]`, `connect: events: want ["seen nobody"], got ["seen client"]`,
		`mail: from: want "x@example.com", got "a@example.com"`, `rcpt: log: want "more", got []`, `rcpt: kv n: want "2", got "1"`,
		`rcpt: action: want "defer", got "reject 550 5.7.1 enough"`, `rcpt: code: want 551, got 550`, `rcpt: enhanced: want "5.7.2", got "5.7.1"`,
		`rcpt: text: want "more", got "enough"`, `wait: kv n: want "nothing", got "3"`, `message: field X-Tag: want "no", got "yes"`,
		`message: field Subject: want "none", got "hi"`, `message: attrs.message.k: want "w", got "v"`, `tick: fault: want "cpu", got "trap"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing is said of %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestAFailureOfThePluginIsOne(t *testing.T) {
	steps, _ := play(t, guest(), "grant = { kv = { mb = 1 }, dns = { zones = [\"*\"] }, http = [{ url = \"https://rep.test/\" }], events = [\"*\"] }\n"+
		"[[step]]\ndo = \"tick\"\n[[step]]\ndo = \"connect\"\n[[step]]\ndo = \"rcpt\"\nto = \"a@b.test\"\n")
	if p := steps[0]; p.OK || !strings.Contains(p.Faults[0], "failed: trap: unreachable") || p.Failure == nil {
		t.Errorf("%+v", p)
	}
	if p := steps[1]; p.OK || !strings.Contains(p.Faults[0], "https://rep.test/q") {
		t.Errorf("a request that nothing answers: %+v", p)
	}
	if p := steps[2]; p.OK || !strings.Contains(p.Faults[0], "no transaction") {
		t.Errorf("a recipient without MAIL: %+v", p)
	}
}

func TestMistakesInAScenarioAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"titel = 1":                                                            "f.toml:1:1: unknown key \"titel\"",
		"[[step]]\ndo = \"mail\"\nfrm = \"\"":                                  "f.toml:3:1: unknown key \"step.frm\"",
		"title = 1":                                                            "f.toml:1:9: ",
		"\n[[step]]\ndo = \"jump\"":                                            "f.toml:2: step 1: do = \"jump\": write connect, tls",
		"[[step]]\ndo = \"mail\"\nto = \"a@b\"":                                "\"mail\" has no fact \"to\"; it may have: from params want",
		"[[step]]\ndo = \"mail\"\nfrom = \"a b\"":                              "step 1: from = \"a b\"",
		"[[step]]\ndo = \"mail\"\nparams = \"SIZE=x\"":                         "params = \"SIZE=x\"",
		"[[step]]\ndo = \"rcpt\"":                                              "needs to = ",
		"[[step]]\ndo = \"rcpt\"\nto = \"a@b>\"":                               "to has \"a@b>\"",
		"[[step]]\ndo = \"wait\"\nfor = \"soon\"":                              "for = \"soon\"",
		"[[step]]\ndo = \"connect\"\nip = \"x\"":                               "ip = \"x\" is no IP address",
		"[[step]]\ndo = \"result\"\nreply = \"no\"":                            "reply = \"no\": write a code",
		"[[step]]\ndo = \"attempt\"\nnext_hops = [\"x:y\"]":                    "next_hops has \"x:y\"",
		"[[step]]\ndo = \"attr\"\nscope = \"x\"":                               "scope = \"x\": write session",
		"[[step]]\ndo = \"data\"\nwant = { action = \"yes\" }":                 "want.action = \"yes\": write continue",
		"[[step]]\ndo = \"data\"\nwant = { enhanced = \"5.7\" }":               "want.enhanced = \"5.7\"",
		"[[step]]\ndo = \"data\"\nwant = { retry = \"x\" }":                    "want.retry = \"x\"",
		"[[step]]\ndo = \"data\"\nwant = { attrs = { me = { a = \"b\" } } }":   "want.attrs.me",
		"on_error = \"no\"":                                                    "on_error \"no\"",
		"grant = { headers = \"all\" }":                                        "grant.headers: access \"all\"",
		"limits = { cpu_ms = -1 }":                                             "less than 0",
		"[[dns]]\nname = \"a\"\ntype = \"B\"":                                  "type: write A, AAAA",
		"[[dns]]\nname = \"a\"\ntype = \"A\"\nrecords = [\"::1\"]":             "\"::1\" is no address of this type",
		"[[http]]\nurl = \"x\"":                                                "url = \"x\": write http",
		"[kv]\nx = 1.5":                                                        "kv.x: write a text",
		"[tables.x]\ntype = \"list\"":                                          "tables.x: type = \"list\"",
		"[grant]\nkv = true":                                                   "f.toml:2:6: grant.kv: wrong type: boolean",
		"title = \"nothing happens\"":                                          "f.toml: has no [[step]], so it tests nothing",
		"\n[config" + strings.Repeat(".a", 200_000) + "]":                      "f.toml:2: tables are nested more than 100 deep",
		"config.a = {" + strings.Repeat("a.b={", 60) + strings.Repeat("}", 61): "tables are nested more than 100 deep",
		strings.Repeat("[[step]]\n", 300_000):                                  "f.toml:10001: has more than 10000 steps",
		strings.Repeat("#", harness.MaxScenario+1):                             "is larger than",
	} {
		_, err := harness.Parse([]byte(text), "f.toml", "")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f.toml") {
			t.Errorf("%.100q: %v, want %q", text, err, want)
		}
		var e *harness.Error
		if !errors.As(err, &e) {
			t.Errorf("%.100q: %T", text, err)
		}
	}
}

func TestTheScenarioMustHaveWhatIsGranted(t *testing.T) {
	h, err := harness.New("1.0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s, err := harness.Parse([]byte("grant = { secrets = [\"key\"] }\n[[step]]\ndo = \"connect\"\n"), "f.toml", "")
	if err != nil {
		t.Fatal(err)
	}
	m := wb.New()
	m.Memory(1, 2)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	_, err = h.Load(t.Context(), s, m.Bytes(), nil)
	var load *engine.LoadError
	if !errors.As(err, &load) || !strings.Contains(err.Error(), `"key", which the scenario does not have: add it to [secrets]`) {
		t.Errorf("%v", err)
	}
}

// The scenario that authors read about is one.
func TestTheScenarioOfTheREADME(t *testing.T) {
	b, err := os.ReadFile("../../sdk/README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range strings.Split(string(b), "```toml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if !strings.Contains(text, "[[step]]") {
			continue
		}
		n++
		if _, err := harness.Parse([]byte(text), "README.md", ""); err != nil {
			t.Error(err)
		}
	}
	if n == 0 {
		t.Error("there is none")
	}
}

// fragile fails when a message has the octet 0x7a somewhere in its header
// section, and gives a wrong verdict for a recipient list of two.
func fragile() []byte {
	const i = wb.I32
	n := wb.I32Const
	m := wb.New()
	get := m.Import("mta1", "get", i+i+i, i)
	count := m.Import("mta1", "list_len", i, i)
	m.Memory(16, 17)
	m.Func("mta1_init", wb.None, i, wb.None, n(0))
	m.Func("mta1_on_rcpt", wb.None, i, wb.None, n(1)+wb.Call(count)+n(2)+wb.I32Eq+wb.If(wb.None, n(99)+wb.Return, "")+n(0))
	// local 0: where, local 1: end.
	m.Func("mta1_on_message", wb.None, i, i+i,
		n(0x0503)+n(0)+n(1<<20)+wb.Call(get)+wb.LocalSet(1)+
			wb.Block(wb.None, wb.Loop(wb.None,
				wb.LocalGet(0)+wb.LocalGet(1)+wb.I32GeS+wb.BrIf(1)+
					wb.LocalGet(0)+wb.I32Load8U(0)+n('z')+wb.I32Eq+wb.If(wb.None, wb.Unreachable, "")+
					wb.LocalGet(0)+n(1)+wb.I32Add+wb.LocalSet(0)+wb.Br(0)))+n(0))
	return m.Bytes()
}

func TestFuzz(t *testing.T) {
	h, err := harness.New("1.0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	fuzz := func() (list []harness.Finding) {
		base := &harness.Scenario{Grant: harness.Grant{Headers: "read"}}
		runs, err := h.Fuzz(t.Context(), base, fragile(), nil, harness.FuzzOptions{Seed: 3, Runs: 60, Found: func(f harness.Finding) { list = append(list, f) }})
		if err != nil || runs != 60 {
			t.Fatalf("%d runs, %v", runs, err)
		}
		return list
	}
	found := fuzz()
	if !reflect.DeepEqual(found, fuzz()) {
		t.Error("the same seed finds something else")
	}
	faults := map[hostapi.Fault]harness.Finding{}
	for _, f := range found {
		faults[f.Failure.Fault] = f
	}
	if len(found) != 2 || faults["trap"].Scenario == nil || faults["verdict"].Scenario == nil {
		t.Fatalf("found %+v", found)
	}
	if steps := faults["verdict"].Scenario.Steps; len(steps) != 3 || steps[0].Do != "mail" {
		t.Errorf("for a second recipient it takes %+v", steps)
	}
	last := faults["trap"].Scenario.Steps[len(faults["trap"].Scenario.Steps)-1]
	if n := len(last.Content); n == 0 || n > 200 || !strings.Contains(last.Content, "z") {
		t.Errorf("the message is still %q", last.Content)
	}
	for _, f := range found { // what is written down plays the same
		text, err := f.Scenario.TOML()
		if err != nil {
			t.Fatal(err)
		}
		steps, _ := play(t, fragile(), string(text))
		if p := steps[len(steps)-1]; p.Failure == nil || p.Failure.Hook != f.Failure.Hook || p.Failure.Fault != f.Failure.Fault {
			t.Errorf("%s\nends with %+v", text, p)
		}
		if len(f.Transcript) != len(steps) {
			t.Errorf("the transcript has %d steps, the scenario %d", len(f.Transcript), len(steps))
		}
	}
}

func TestFuzzEndsWithTheTime(t *testing.T) {
	h, err := harness.New("1.0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	m := wb.New()
	m.Memory(1, 2)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func("mta1_on_mail", wb.None, wb.I32, wb.None, wb.I32Const(0))
	runs, err := h.Fuzz(ctx, &harness.Scenario{}, m.Bytes(), nil, harness.FuzzOptions{Found: func(f harness.Finding) { t.Errorf("%+v", f) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(runs, "dialogues")
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("[[step]]\ndo = \"rcpt\"\nto = [\"a@b\", 1]\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := harness.Parse([]byte(text), "f.toml", t.TempDir())
		if err != nil {
			return
		}
		for i := range s.Steps {
			s.Steps[i].File = ""
		}
		written, err := s.TOML()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := harness.Parse(written, "f.toml", ""); err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, written)
		}
	})
}

// keysOfPencil are those of RFC 7677 3.
const keysOfPencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

// A step says how a client authenticates, and who it is then: by SCRAM who has
// the password of the keys.
func TestAuthentication(t *testing.T) {
	const i = wb.I32
	m := wb.New()
	set := m.Import("mta1", "set", i+i+i, i)
	get := m.Import("mta1", "get", i+i+i, i)
	m.Memory(1, 2)
	m.Data(16, keysOfPencil)
	n := wb.I32Const
	m.Func("mta1_init", wb.None, i, wb.None, n(0))
	m.Func("mta1_on_auth", wb.None, i, wb.None,
		n(0x0305)+n(16)+n(int32(len(keysOfPencil)))+wb.Call(set)+wb.Drop+
			n(0x0209)+n(1024)+n(64)+wb.Call(get)+n(-2)+wb.I32Eq+wb.If(wb.None, n(1)+wb.Return, "")+n(2))
	step := func(facts, want string) string {
		return "[[step]]\ndo = \"auth\"\nauth = \"ann\"\n" + facts + "\nwant = { " + want + " }\n"
	}
	text := "[grant]\nauth_password = true\n" +
		step(`mechanism = "SCRAM-SHA-256"
password = "pencil"`, `action = "accept", auth = "ann"`) +
		step(`mechanism = "SCRAM-SHA-256-PLUS"
password = "wrong"`, `action = "accept", auth = ""`) +
		step(`mechanism = "SCRAM-SHA-256"
password = "pencil"
authzid = "boss"`, `action = "accept", auth = ""`) +
		step(`mechanism = "OAUTHBEARER"
password = "token"`, `action = "accept", auth = "ann"`) +
		"[[step]]\ndo = \"tls\"\nnames = [\"email:ann@ours.test\"]\n" +
		step(``, `action = "reject", code = 535, auth = ""`)
	steps, _ := play(t, m.Bytes(), text)
	for _, p := range steps {
		if !p.OK {
			t.Errorf("step %d, line %d, %s: %q", p.Step, p.Line, p.Do, p.Faults)
		}
	}
	if _, err := harness.Parse([]byte(step(`mechanism = "CRAM-MD5"`, `auth = ""`)), "x.toml", ""); err == nil || !strings.Contains(err.Error(), `mechanism = "CRAM-MD5": write one of PLAIN`) {
		t.Errorf("%v", err)
	}
}
