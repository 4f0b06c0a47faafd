package core_test

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/trace"
)

// told is the trace of a message or session, an event to the line, as soon as it
// has what is wanted in this order.
func (s *server) told(id string, want ...string) string {
	s.t.Helper()
	var text string
	eventually(s.t, 20*time.Second, "the trace of "+id+": "+strings.Join(want, " ... "), func() bool {
		r, err := trace.ReadDir(filepath.Join(s.dir, "data", "trace"), id)
		if err != nil {
			return false
		}
		var b strings.Builder
		for _, e := range r.Events {
			fmt.Fprintf(&b, "%s stage=%s plugin=%s verdict=%s error=%q on_error=%s by=%s to=%v status=%s reply=%q changes=%q hops=%v due=%v detail=%q\n",
				e.Event, e.Stage, e.Plugin, e.Verdict, e.Error, e.OnError, e.By, e.To, e.Status, e.Reply, e.Changes, e.NextHops, !e.Due.IsZero(), e.Detail)
		}
		text = b.String()
		rest := text
		for _, w := range want {
			at := regexp.MustCompile(`(?m)` + w).FindStringIndex(rest)
			if at == nil {
				return false
			}
			rest = rest[at[1]:]
		}
		return true
	})
	return text
}

func TestTheTraceTellsWhatPluginsAndNextHopsDid(t *testing.T) {
	next := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"RCPT <late@out.test>": "450 4.2.1 Mailbox busy"}})
	policy := hook.Chain{
		{Name: "fragile", Generation: "g1", Stages: hook.Stages(hook.Rcpt), OnError: hook.FailTemporary, Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			if e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Local == "boom" {
				panic("trap")
			}
			return hook.Verdict{}, nil
		})},
		{Name: "rules", Generation: "g2", Stages: hook.Stages(hook.Rcpt, hook.Message, hook.Route, hook.Result), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			switch {
			case e.Stage == hook.Rcpt && e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Local == "spam":
				return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.7.1", "Not here")}, nil
			case e.Stage == hook.Message:
				return hook.Verdict{}, e.EditHeader(func(h *mail.Header) error { return h.Insert(0, "X-Seen", "yes", false) })
			case e.Stage == hook.Route:
				to, err := mail.ParseNextHop("smtp:" + next.Addr)
				if err != nil {
					return hook.Verdict{}, err
				}
				return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error { d.NextHops = []mail.NextHop{to}; return nil })
			case e.Stage == hook.Result && e.Delivery.Last.Outcome == mail.Deferred && e.Delivery.Attempt == 2:
				return hook.Verdict{Action: hook.Reject}, nil
			}
			return hook.Verdict{}, nil
		})},
	}
	s := newServer(t, "[queue]\nretry = [\"1s\"]\n", hook.Static(policy))
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.send("a@src.test", []string{"late@out.test", "b@out.test"}, text("x")); err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`(\w{12}): from=<a@src.test>`).FindStringSubmatch(s.text())[1]
	hop := regexp.QuoteMeta("hops=[smtp:" + next.Addr + "]")
	s.told(id, `^connect `, `^helo `, `^mail `, `^hook stage=rcpt plugin=fragile verdict=continue`, `^hook stage=rcpt plugin=rules`, `^rcpt .*<late@out.test>`, `^rcpt .*<b@out.test>`,
		`^hook stage=message plugin=rules .*"header field X-Seen added: 13 octets"`, `^accept `,
		`^hook stage=route plugin=rules .*next hops \(none\) -> smtp:`, `^route .*by=plugin rules .*`+hop,
		`^attempt .*to=\[<late@out.test>\] status=deferred reply="450 4.2.1 Mailbox busy"`, `^attempt .*to=\[<b@out.test>\] status=sent`,
		`^hook stage=result plugin=rules verdict=continue`, `^retry .*due=true`,
		`^attempt .*to=\[<late@out.test>\] status=deferred`, `^hook stage=result plugin=rules verdict=reject`,
		`^outcome .*by=rules to=\[<late@out.test>\] status=bounced reply="554 5.2.1 by policy, after: 450 4.2.1 Mailbox busy"`, `^notify .*to=\[<a@src.test>\]`, `^gone `)

	fmt.Fprintf(k, "MAIL FROM:<c@src.test>\r\nRCPT TO:<boom@out.test>\r\nRCPT TO:<spam@out.test>\r\nDATA\r\nQUIT\r\n")
	for _, code := range []int{250, 451, 550, 554, 221} {
		if _, _, err := k.ReadResponse(code); err != nil {
			t.Fatal(err)
		}
	}
	session := regexp.MustCompile(`reject: RCPT .*to=<spam@out.test>.* session=([0-9a-f]{16})`).FindStringSubmatch(s.text())[1]
	all := s.told(session, `^connect `, `^accept `, `^mail `,
		`^hook stage=rcpt plugin=fragile verdict=defer error="panic: trap" on_error=tempfail`, `^reply stage=RCPT .*by=fragile to=\[<boom@out.test>\] .*reply="451 4.7.1 Policy is not available`,
		`^hook stage=rcpt plugin=rules verdict=reject .*reply="550 5.7.1 Not here"`, `^reply stage=RCPT .*by=rules to=\[<spam@out.test>\]`,
		`^reply stage=DATA .*"554 5.5.1 No valid recipients"`, `^abort `, `^close .*detail="QUIT"`)
	if n := strings.Count(all, "reply stage=RCPT"); n != 2 {
		t.Errorf("%d refusals are told, want 2:\n%s", n, all)
	}
}

func TestWithoutTraceNothingIsWritten(t *testing.T) {
	s := newServer(t, "[[route]]\ndomains = [\"*\"]\nto = \"discard\"\n[trace]\nenabled = false\n", nil)
	s.send("a@src.test", "b@here.test")
	s.stop()
	if names, _ := filepath.Glob(filepath.Join(s.dir, "data", "trace*")); len(names) > 0 {
		t.Errorf("%q", names)
	}
}
