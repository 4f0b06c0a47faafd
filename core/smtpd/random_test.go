package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/smtpd"
)

// Sessions of random commands, pipelined as RFC 2920 and RFC 3030 allow, with a
// plugin of random verdicts that sometimes fails: each command and each chunk
// has its reply, what was acknowledged is what was sent and nothing else was
// committed, and the session and the engine agree to the end.
func TestRandomSessions(t *testing.T) {
	for seed := range uint64(300) {
		randomSession(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomSession(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	judge := rand.New(rand.NewPCG(seed, 1)) // used by the session's goroutine
	actions := []hook.Action{hook.Continue, hook.Accept, hook.Reject, hook.Defer, hook.Discard, hook.Hold, hook.Continue, hook.Continue}
	role := smtpd.Role(r.IntN(3))
	h := start(t, nil, func(o *smtpd.Options) {
		o.Role = role
		o.MaxSize, o.MaxRecipients, o.ErrorBudget = 200, 3, 1<<30
		o.Source = hook.Static{{Name: "random", OnError: hook.FailurePolicy(seed % 3), Stages: hook.Stages(everyStage[1:]...), Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				switch judge.IntN(20) {
				case 0:
					return hook.Verdict{}, errors.New("trap")
				case 1:
					if e.Stage != hook.Ehlo {
						return hook.Verdict{Action: actions[judge.IntN(len(actions))]}, nil // may not be allowed
					}
				}
				return hook.Verdict{}, nil
			})}}
	})
	c := h.dial()
	c.want("220")
	hello := "EHLO client.test\r\n"
	if role == smtpd.LMTP {
		hello = "LHLO client.test\r\n"
	}

	// The model is what the replies say.
	var acknowledged []string
	content, open, taken := "", false, 0
	reset := func() { content, open, taken = "", false, 0 }
	n := 0
	fresh := func() string { n++; return fmt.Sprintf("X%d: %s\r\n", n, strings.Repeat("x", r.IntN(90))) }
	var wire strings.Builder // of the batch
	var then []func(reply string)
	command := func(line string, f func(reply string)) {
		wire.WriteString(line)
		then = append(then, f)
	}
	flush := func() {
		text := wire.String()
		wire.Reset()
		for len(text) > 0 {
			k := 1 + r.IntN(len(text))
			c.send(text[:k])
			text = text[k:]
		}
		for _, f := range then {
			reply := c.reply()
			if reply == closed {
				t.Fatalf("seed %d: closed", seed)
			}
			f(reply)
		}
		then = nil
	}
	yes := func(reply string) bool { return reply[0] == '2' }
	// end is the reply to the end of a message, and under LMTP more of them.
	end := func(reply string) {
		if role == smtpd.LMTP && open && taken > 1 {
			for range taken - 1 {
				if more := c.reply(); more != reply {
					t.Errorf("one recipient has %q, another %q", reply, more)
				}
			}
		}
		if strings.Contains(reply, "queued as") || strings.HasPrefix(reply, "250 2.6.0") {
			acknowledged = append(acknowledged, content)
		}
		reset()
	}
	command(hello, func(string) {})
	flush()
	for range 60 {
		switch r.IntN(12) {
		case 0, 1, 2:
			command("MAIL FROM:<a@client.test>\r\n", func(reply string) {
				if yes(reply) {
					reset()
					open = true
				}
			})
		case 3, 4, 5:
			to := []string{"b@ours.test", "c@ours.test", "x@else.test", "bad@@"}[r.IntN(4)]
			command("RCPT TO:<"+to+">\r\n", func(reply string) {
				if yes(reply) {
					taken++
				}
			})
		case 6:
			command("NOOP\r\n", func(string) {})
		case 7:
			if r.IntN(4) == 0 {
				command("RSET\r\n", func(string) { reset() })
			}
		case 8:
			if r.IntN(8) == 0 {
				flush()
				command(hello, func(string) { reset() })
				flush()
			}
		case 9:
			command("DATA\r\n", func(reply string) {
				switch {
				case strings.HasPrefix(reply, "354"):
					content = fresh() + "\r\nRSET\r\n"
					c.send(content + ".\r\n")
					end(c.reply())
				case strings.HasPrefix(reply, "503") || strings.Contains(reply, "No valid"):
				default:
					reset()
				}
			})
			flush()
		case 10, 11:
			chunk := fresh()
			last := r.IntN(2) == 0
			word := ""
			if last {
				word = " LAST"
			}
			command(fmt.Sprintf("BDAT %d%s\r\n%s", len(chunk), word, chunk), func(reply string) {
				switch {
				case yes(reply) && !last:
					content += chunk
				case yes(reply):
					content += chunk
					end(reply)
				case strings.HasPrefix(reply, "503") || strings.Contains(reply, "No valid"):
				default:
					if last {
						end(reply)
					}
					reset()
				}
			})
		}
		if r.IntN(3) == 0 {
			flush()
		}
	}
	flush()
	command("QUIT\r\n", func(string) {})
	flush()
	if l := c.line(); l != closed {
		t.Errorf("%q after QUIT", l)
	}
	waitFor(t, func() bool { return h.Sessions() == 0 })
	var committed []string
	for _, m := range h.intake.all() {
		committed = append(committed, m.content())
	}
	if got, want := strings.Join(committed, "|"), strings.Join(acknowledged, "|"); got != want {
		t.Errorf("committed %q, acknowledged %q", got, want)
	}
}
