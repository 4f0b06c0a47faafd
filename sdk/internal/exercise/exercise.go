package exercise

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// Missing skips a test that lacks what compiles a language; it fails instead if
// WASMTA_REQUIRE_LANGUAGES, words such as "c,rust,zig", has the language.
func Missing(t testing.TB, language, format string, args ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("WASMTA_REQUIRE_LANGUAGES"), ","), language) {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// languages are those of the commands, for Missing.
var languages = map[string]string{"asc": "assemblyscript", "npm": "assemblyscript", "zig": "zig"}

// Tool is the path of a command; without it the test skips.
func Tool(t testing.TB, name, install string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building a plugin takes long")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, languages[name], "%s is not installed: %s", name, install)
	}
	return path
}

// Build runs a command in dir and returns the module that it left in file.
func Build(t testing.TB, dir, file, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

const config = `{"list": ["a\"b", "\ud83d\ude00"], "text": "é", "number": -5, "yes": true}`

// Run asks the plugin at each hook.
func Run(t *testing.T, wasm []byte) {
	var lines []string
	e, err := engine.New(engine.Options{CacheDir: engine.UserCacheDir(), Log: func(l hostapi.Line) { lines = append(lines, l.Text) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	spec := hostapi.Spec{Name: "exercise", Config: []byte(config),
		Grant: hostapi.Grant{Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read}}

	for value, want := range map[string]string{
		`{"list": "a"}`:      "config: list must be a list of strings",
		`{"list": ["a", 1]}`: "config: list must be a list of strings",
		`{"number": 1.5}`:    "config: number must be a whole number",
		`{"yes": "maybe"}`:   "config: yes must be true or false",
	} {
		wrong := spec
		wrong.Config = []byte(value)
		lines = nil
		if p, err := e.Load(t.Context(), wrong, wasm); err == nil {
			p.Close()
			t.Errorf("the configuration %s passes", value)
		}
		if !slices.Contains(lines, want) {
			t.Errorf("the configuration %s: logged %q, want %q", value, lines, want)
		}
	}

	lines = nil
	p, err := e.Load(t.Context(), spec, wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if want := "init a\"b|\U0001f600 é -5 true missing"; !slices.Contains(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}

	client := &mail.Client{Session: "S1", Listener: "mx", Helo: "client.test", ESMTP: true,
		Remote: netip.MustParseAddrPort("192.0.2.7:2525"), Local: netip.MustParseAddrPort("192.0.2.1:25")}
	session := &hook.Session{Client: client, Attrs: mail.Attrs{}, Extensions: []string{"SIZE 1000"}}
	tx := func(from string, to ...string) *hook.Transaction {
		x := &hook.Transaction{ID: "T1", Attrs: mail.Attrs{}}
		x.Envelope.ReversePath = path(t, from)
		for _, r := range to {
			x.Envelope.Recipients = append(x.Envelope.Recipients, mail.Recipient{ForwardPath: path(t, r)})
		}
		return x
	}
	k := hook.Chain{{Name: "exercise", Stages: p.Stages(), Handler: p}}.Open("mx", nil)
	defer func() { k.Close() }()
	ask := func(name string, e *hook.Event, want string, logged ...string) {
		t.Helper()
		lines = nil
		o := k.Ask(context.Background(), e)
		got := o.Action.String()
		if o.Failed {
			got += " after a failure"
		} else if o.Reply != nil {
			got += " " + o.Reply.String()
		}
		if o.NoReply {
			got += " silently"
		}
		if got != want {
			t.Errorf("%s: %q, want %q; logged %q", name, got, want, lines)
		}
		for _, l := range lines {
			if strings.HasPrefix(l, "wrong: ") { // what only the plugin can see
				t.Errorf("%s: %s", name, l)
			}
		}
		for _, l := range logged {
			if !slices.Contains(lines, l) {
				t.Errorf("%s: logged %q, want %q", name, lines, l)
			}
		}
	}
	equal := func(name string, got any, want string) {
		t.Helper()
		if g := fmt.Sprint(got); g != want {
			t.Errorf("%s: %s, want %s", name, g, want)
		}
	}

	ask("ehlo", &hook.Event{Stage: hook.Ehlo, Session: session, Recipient: -1, Verb: "EHLO", Arg: "client.test"}, "continue",
		"ehlo 192.0.2.7 2525 client.test true mx ")
	equal("extensions", session.Extensions, "[SIZE 1000 X-TEST]")

	for from, want := range map[string]string{
		"reject": "reject 550 5.7.1 no thanks",
		"defer":  "defer 451 4.3.0 later",
		"drop":   "drop 421 4.7.0 bye",
		"silent": "drop silently",
		"plain":  "hold",
	} {
		ask(from, &hook.Event{Stage: hook.Mail, Session: session, Tx: tx(from + "@x.test"), Recipient: -1}, want)
	}
	x := tx("a@x.test", "vip@y.test", "unwanted@y.test", "é@y.test")
	x.Envelope.SMTPUTF8 = true
	ask("mail", &hook.Event{Stage: hook.Mail, Session: session, Tx: x, Recipient: -1}, "continue", "mail a@x.test true")
	equal("reverse-path", x.Envelope.ReversePath, "new@x.test")
	equal("session attributes", session.Attrs, fmt.Sprint(mail.Attrs{"exercise/k": []byte("v€")}))
	equal("transaction attributes", len(x.Attrs), "0")

	ask("rcpt", &hook.Event{Stage: hook.Rcpt, Session: session, Tx: x, Recipient: 0}, "accept 250 2.1.5 welcome", "rcpt vip y.test vip@y.test 3 v€ none")
	ask("rcpt", &hook.Event{Stage: hook.Rcpt, Session: session, Tx: x, Recipient: 2}, "continue", "rcpt é y.test é@y.test 3 v€ none")

	long := strings.Repeat("long ", 2000) + "end"
	h, err := mail.ParseHeader([]byte("Received: one\r\nSubject: " + strings.Repeat("long\r\n ", 2000) + "end\r\nreceived: two\r\nX-Odd: a\xe4b\r\nX-Old: 1\r\nX-Old: 2\r\nMessage-ID: <1@x.test>\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := &hook.Event{Stage: hook.Message, Session: session, Tx: x, Recipient: -1,
		Content: &hook.Content{Header: h, Body: strings.NewReader("hello, world\r\n"), BodySize: 14}}
	ask("message", m, "continue", "message 7 one|two <1@x.test> 14 world", fmt.Sprintf("subject %d", len(long)))
	head := string(m.Content.Header.Bytes())
	for _, want := range []string{"X-Top: 1\r\n", "\r\nX-Old: new\r\n", "\r\nX-Set: é\r\n"} {
		if !strings.Contains("\r\n"+head, want) {
			t.Errorf("the header section %.200q has no %q", head, want)
		}
	}
	equal("fields", m.Content.Header.Len(), "6")
	if !strings.HasPrefix(head, "X-Top: 1\r\n") {
		t.Errorf("the header section begins with %.40q", head)
	}
	var to []string
	for _, r := range x.Envelope.Recipients {
		to = append(to, r.ForwardPath.String())
	}
	equal("recipients", to, "[first@z.test é@y.test more@x.test]")

	// A delivery is another instance.
	k.Close()
	k = hook.Chain{{Name: "exercise", Stages: p.Stages(), Handler: p}}.Open("mx", nil)
	d := &hook.Delivery{Domain: "y.test", Attempt: 3}
	ask("route", &hook.Event{Stage: hook.Route, Tx: x, Delivery: d, Recipient: -1}, "accept", "route y.test 3")
	if len(d.NextHops) != 1 || d.NextHops[0].String() != "smtp:127.0.0.1:2526" || d.NextHops[0].TLS != mail.TLSEncrypt || d.Priority != 7 {
		t.Errorf("next hops %+v, priority %d", d.NextHops, d.Priority)
	}

	// A failed change fails the plugin, and the log has the reason.
	lines = nil
	ask("fail", &hook.Event{Stage: hook.Mail, Session: session, Tx: tx("fail@x.test"), Recipient: -1}, "defer after a failure")
	if got := strings.Join(lines, "\n"); !strings.Contains(got, "not possible in this hook") && !strings.Contains(got, "mail: State") {
		t.Errorf("a failed change: logged %q", lines)
	}

	k.Close()
	k = hook.Chain{{Name: "exercise", Stages: p.Stages(), Handler: p}}.Open("mx", nil)
	ask("detach", &hook.Event{Stage: hook.Mail, Session: session, Tx: tx("detach@x.test"), Recipient: -1}, "continue")
	ask("detached", &hook.Event{Stage: hook.Mail, Session: session, Tx: tx("reject@x.test"), Recipient: -1}, "continue")
}

func path(t testing.TB, s string) mail.Path {
	t.Helper()
	p, err := mail.ParseMailbox(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
