package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mailtest"
)

// TestExplainTellsTheWholeStory: of a message that was delivered, of one that is
// deferred, and of a session that brought none; with the server and without it.
func TestExplainTellsTheWholeStory(t *testing.T) {
	next := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{
		"RCPT <later@dst.test>": "451 4.7.1 Greylisted\x1b[31m", "RCPT <no@dst.test>": "550 5.1.1 No such mailbox"}})
	s := newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n"+
		"[[plugin]]\nname = \"broken\"\nmodule = %q\non_error = \"continue\"\n[plugin.config]\nmode = \"trap\"\n"+
		"[[plugin]]\nname = \"tag\"\nmodule = %q\n[plugin.grant]\nheaders = \"write\"\n", next.Addr, guest(t, "broken", ""), guest(t, "tag", "")))
	s.start()
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	id := func(from, to string) string {
		t.Helper()
		for _, step := range []struct {
			code int
			line string
		}{{250, "MAIL FROM:<" + from + ">"}, {250, "RCPT TO:<" + to + ">"}, {354, "DATA"}} {
			if err := k.cmd(step.code, "%s", step.line); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := k.c.Write(append(message("x", 100), ".\r\n"...)); err != nil {
			t.Fatal(err)
		}
		reply, err := k.expect(250)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(reply[strings.LastIndex(reply, " ")+1:])
	}
	sent, deferred := id("a@src.test", "b@dst.test"), id("a@src.test", "later@dst.test")
	if err := k.cmd(501, "MAIL FROM:a b"); err != nil {
		t.Error(err)
	}
	if err := k.cmd(221, "QUIT"); err != nil {
		t.Error(err)
	}
	k.c.Close()

	explain := func(id string, want ...string) string {
		t.Helper()
		var out, missing string
		defer func() {
			if missing != "" {
				t.Logf("explain %s lacks %q:\n%s", id, missing, out)
			}
		}()
		eventually(t, 20*time.Second, "explain "+id, func() bool {
			var err error
			if out, err = s.run("explain", id); err != nil {
				return false
			}
			rest := out
			for _, w := range want { // in this order
				at := regexp.MustCompile(`(?m)` + w).FindStringIndex(rest)
				if missing = w; at == nil {
					return false
				}
				rest = rest[at[1]:]
			}
			missing = ""
			return true
		})
		return out
	}
	const hooks = `hook mail: tag: continue, [\d.]+(ns|µs|ms|s) \(generation [0-9a-f]{12}, module [0-9a-f]{16}\)$`
	begun := []string{
		`connect: \S*\[127\.0\.0\.1\]:\d+, listener mx, session [0-9a-f]{16}$`, `EHLO client\.test$`, hooks, `MAIL FROM:<a@src\.test>$`,
		`hook rcpt: broken: FAILED, `, `error: .*trap`, `on_error = "continue": continue stands for its answer$`,
	}
	out := explain(sent, append(begun, `RCPT TO:<b@dst\.test>$`,
		`hook message: tag: continue, `, `changed: header field X-Tag-tag added: \d+ octets$`,
		`accepted as `+sent+`: \d+ octets, 1 recipient, durable after `,
		`route: smtp:127\.0\.0\.1:\d+, by the routing table$`,
		`attempt 1: smtp:127\.0\.0\.1:\d+: sent, `, `for <b@dst\.test>$`, `relay 127\.0\.0\.1\[127\.0\.0\.1\]:\d+, no TLS; connected in `, `127\.0\.0\.1 said: 250 `,
		`nothing is left of the message`, `^not in the queue$`)...)
	if strings.Contains(out, "later@dst.test") {
		t.Errorf("another message is in it:\n%s", out)
	}
	out = explain(deferred, append(begun[:1:1], hooks, `RCPT TO:<later@dst\.test>$`, `accepted as `+deferred,
		`attempt 1: .*: deferred, `, `said: 451 4\.7\.1 Greylisted`, `deferred after 1 attempt: due 2\d\d\d-`, `^in the queue: item \d+ for dst\.test, queued, due .*: 451 4\.7\.1 Greylisted`, `<later@dst\.test>`)...)
	if strings.Contains(out, "\x1b") {
		t.Errorf("what a remote host says reaches the terminal:\n%q", out)
	}
	session := regexp.MustCompile(`session ([0-9a-f]{16})`).FindStringSubmatch(out)[1]
	explain(session, `connect: `, sent, deferred, `replied to MAIL: 501 `, `session ends: QUIT$`)

	refused := regexp.MustCompile(`NOQUEUE: reject: MAIL .*session=([0-9a-f]{16})`).FindStringSubmatch(s.log.String())
	if refused == nil || refused[1] != session {
		t.Errorf("the reject line does not name the session: %q", refused)
	}
	if out, err := s.run("queue", "bounce", deferred); err != nil {
		t.Errorf("%v %s", err, out)
	}
	out = explain(deferred, `operator: bounce`, `^not in the queue$`)
	notice := regexp.MustCompile(`notification \(failed\) for <a@src\.test>: (\S+)`).FindStringSubmatch(out)
	if notice == nil {
		t.Fatalf("no notification:\n%s", out)
	}
	explain(notice[1], `this is a notification \(failed\) about `+deferred)

	lines, err := s.run("explain", sent, "--json")
	if err != nil {
		t.Fatal(err, lines)
	}
	names := make(map[string]int)
	for line := range strings.Lines(lines) {
		var e struct{ Event, Message, Session string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event == "" || e.Message != sent && e.Session != session {
			t.Errorf("%v: %s", err, line)
		}
		names[e.Event]++
	}
	for _, n := range []string{"connect", "helo", "hook", "mail", "rcpt", "accept", "route", "attempt", "gone"} {
		if names[n] == 0 {
			t.Errorf("no event %s in\n%s", n, lines)
		}
	}
	s.stop()
	explain(sent, `connect: `, `accepted as `, `attempt 1: `, `^note: no server runs`)
	for arg, code := range map[string]int{"nonsense": 65, "0123456789bc": 66, "ffffffffffffffff": 66} {
		_, err := s.run("explain", arg)
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != code {
			t.Errorf("explain %s: %v, want exit code %d", arg, err, code)
		}
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("the server runs still")
	}
}
