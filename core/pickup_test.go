//go:build unix

package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hold"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/maildrop"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/queue/pebblestore"
)

func address(t *testing.T, s string) mail.Path {
	t.Helper()
	p, err := mail.ParseMailbox(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// drop leaves a message in the maildrop of the server in dir, and makes the
// maildrop if there is none.
func drop(t *testing.T, dir, from string, to ...string) {
	t.Helper()
	path := filepath.Join(dir, "data", "maildrop")
	if m, err := maildrop.Open(path, -1); err != nil {
		t.Fatal(err)
	} else {
		m.Close()
	}
	e := maildrop.Envelope{}
	if from != "" {
		e.Sender = address(t, from)
	}
	for _, r := range to {
		e.Recipients = append(e.Recipients, address(t, r))
	}
	d, err := maildrop.Create(path, e)
	if err == nil {
		_, err = d.Write([]byte("From: <a@src.test>\r\nSubject: dropped\r\n\r\n.\r\nQUIT\r\n"))
	}
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// inDrop counts files in a directory of the maildrop.
func inDrop(t *testing.T, dir, sub string) (n int) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, "data", "maildrop", sub))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if !e.IsDir() {
			n++
		}
	}
	return n
}

// TestDroppedMailTakesTheWayOfAllMail: what was left while the server was down,
// and what is left while it runs, is seen by plugins as a submission of its
// owner, and delivered once.
func TestDroppedMailTakesTheWayOfAllMail(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	var mu sync.Mutex
	var seen []string
	policy := hook.Static{{Name: "watch", Stages: hook.Stages(hook.Mail, hook.Message), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		mu.Lock()
		defer mu.Unlock()
		c := e.Session.Client
		seen = append(seen, fmt.Sprintf("%s %s %s %s", e.Stage, c.Listener, c.Remote.Addr(), c.Auth))
		return hook.Verdict{}, nil
	})}}
	s := &server{t: t, dir: t.TempDir(), rest: routeTo("*", "smtp:"+peer.Addr), policy: policy}
	drop(t, s.dir, "a@src.test", "x@else.test", "y@else.test")
	s.start()
	t.Cleanup(s.stop)
	eventually(t, 20*time.Second, "what was left while the server was down arrives", func() bool { return peer.Count() == 1 })
	drop(t, s.dir, "", "z@else.test")
	eventually(t, 20*time.Second, "what is left while it runs arrives", func() bool { return peer.Count() == 2 })
	s.stop()
	got := peer.Messages()
	if fmt.Sprint(got[0].To) != "[<x@else.test> <y@else.test>]" || got[0].From != "<a@src.test>" || got[1].From != "<>" ||
		!strings.HasSuffix(string(got[0].Content), "Subject: dropped\r\n\r\n.\r\nQUIT\r\n") {
		t.Errorf("arrived: %+v", got)
	}
	for _, line := range seen {
		if _, rest, _ := strings.Cut(line, " "); !strings.HasPrefix(rest, "local 127.0.0.1 ") || strings.HasSuffix(rest, " ") {
			t.Errorf("a plugin saw %q, want the listener local and the user", line)
		}
	}
	if len(seen) != 4 || inDrop(t, s.dir, "active")+inDrop(t, s.dir, ".")+inDrop(t, s.dir, "bad") != 0 {
		t.Errorf("plugins saw %q; or something is left in the maildrop", seen)
	}
}

// TestManyDroppedAtOnce: none of them has to wait for a minute because a limit
// that is for clients of the network turned it away.
func TestManyDroppedAtOnce(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := &server{t: t, dir: t.TempDir(), rest: routeTo("*", "smtp:"+peer.Addr)}
	for range 300 {
		drop(t, s.dir, "a@src.test", "x@else.test")
	}
	s.start()
	t.Cleanup(s.stop)
	eventually(t, 50*time.Second, "all arrive", func() bool { return peer.Count() == 300 })
	if strings.Contains(s.text(), "is tried again") {
		t.Errorf("some were turned away at first")
	}
}

// TestDroppedMailThatIsRefused: the sender is told, for good refusals; others
// get it. A message that nobody can be told of is kept for a person.
func TestDroppedMailThatIsRefused(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	policy := hook.Static{{Name: "judge", Stages: hook.Stages(hook.Rcpt), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		if e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Local == "no" {
			return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.7.1", "not to this one")}, nil
		}
		return hook.Verdict{}, nil
	})}}
	s := newServer(t, routeTo("*", "smtp:"+peer.Addr), policy)
	drop(t, s.dir, "a@src.test", "x@else.test", "no@else.test")
	eventually(t, 20*time.Second, "the message and the notification arrive", func() bool { return peer.Count() == 2 })
	for _, m := range peer.Messages() {
		text := string(m.Content)
		switch m.From {
		case "<a@src.test>":
			if fmt.Sprint(m.To) != "[<x@else.test>]" {
				t.Errorf("sent to %v", m.To)
			}
		default:
			if fmt.Sprint(m.To) != "[<a@src.test>]" || !strings.Contains(text, "Final-Recipient: rfc822; no@else.test") || !strings.Contains(text, "not to this one") ||
				strings.Contains(text, "Final-Recipient: rfc822; x@else.test") || !strings.Contains(text, "Subject: dropped") {
				t.Errorf("the notification:\n%s", text)
			}
		}
	}
	drop(t, s.dir, "", "no@else.test")
	eventually(t, 20*time.Second, "what nobody can be told of is kept", func() bool { return inDrop(t, s.dir, "bad") == 1 })
	if err := os.WriteFile(filepath.Join(s.dir, "data", "maildrop", strings.Repeat("0", 32)), []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "what is no message is kept", func() bool { return inDrop(t, s.dir, "bad") == 2 })
	if !strings.Contains(s.text(), "a message in the maildrop is not what sendmail writes; it was moved away") {
		t.Error("the log does not say so")
	}
}

// TestDroppedMailThatIsDeferred waits in the maildrop, also over a restart.
func TestDroppedMailThatIsDeferred(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	no := hook.Static{{Name: "later", Stages: hook.Stages(hook.Rcpt), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{Action: hook.Defer}, nil
	})}}
	s := newServer(t, routeTo("*", "smtp:"+peer.Addr), no)
	drop(t, s.dir, "a@src.test", "x@else.test")
	eventually(t, 20*time.Second, "the message is refused for now", func() bool {
		return strings.Contains(s.text(), "a message of the maildrop was not taken; it is tried again")
	})
	if inDrop(t, s.dir, "active") != 1 {
		t.Error("the message does not wait")
	}
	s.stop()
	s.policy = nil
	s.start()
	eventually(t, 20*time.Second, "it arrives", func() bool { return peer.Count() == 1 })
	eventually(t, 20*time.Second, "nothing is left", func() bool { return inDrop(t, s.dir, "active") == 0 })
}

// TestDroppedMailIsNotDoubledByACrash: the server was ended after the queue had
// the message and before the file was removed.
func TestDroppedMailIsNotDoubledByACrash(t *testing.T) {
	ctx := context.Background()
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := &server{t: t, dir: t.TempDir(), rest: routeTo("*", "smtp:"+peer.Addr)}
	drop(t, s.dir, "a@src.test", "x@else.test") // in the queue, too
	drop(t, s.dir, "b@src.test", "y@else.test") // taken only
	m, err := maildrop.Open(filepath.Join(s.dir, "data", "maildrop"), -1)
	if err != nil {
		t.Fatal(err)
	}
	names, err := m.Waiting(10, time.Now(), nil)
	if err != nil || len(names) != 2 {
		t.Fatalf("%v, %v", names, err)
	}
	queued := ""
	for _, name := range names {
		active, err := m.Take(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.Open(active, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if e, _, _ := f.Decode(); e.Sender.Local == "a" {
			queued = active
		}
		f.Close()
	}
	m.Close()
	store, err := pebblestore.Open(pebblestore.Options{Dir: filepath.Join(s.dir, "data", "queue"), Logger: slog.New(slog.DiscardHandler), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.Begin(ctx)
	if err == nil {
		_, err = d.Commit(ctx, mail.Envelope{ReversePath: address(t, "a@src.test"), Client: mail.Client{Session: queued, Listener: "local", Arrived: time.Now()},
			Recipients: []mail.Recipient{{ForwardPath: address(t, "x@else.test")}}}, []byte("Subject: dropped\r\n\r\n"), queue.CommitOptions{Due: time.Now()})
	}
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.stop)
	eventually(t, 20*time.Second, "both arrive", func() bool { return peer.Count() >= 2 })
	eventually(t, 20*time.Second, "nothing is left", func() bool { return inDrop(t, s.dir, "active") == 0 })
	s.stop()
	if n := peer.Count(); n != 2 || !strings.Contains(s.text(), "a message was in the queue already when the server ended") {
		t.Errorf("%d messages arrived, want 2", n)
	}
}

// TestHoldRules: what matches a rule waits, other recipients of the same message
// do not, and the log names the rule.
func TestHoldRules(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := &server{t: t, dir: t.TempDir(), rest: routeTo("*", "smtp:"+peer.Addr)}
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	rules, err := hold.Open(filepath.Join(s.dir, "data", "hold-rules"))
	if err == nil {
		_, err = rules.Add(hold.Rule{Filter: queue.Filter{Domain: "slow.test"}, Reason: "they asked us to wait", Created: time.Now()})
	}
	if err == nil {
		_, err = rules.Add(hold.Rule{Filter: queue.Filter{Sender: "spam@src.test"}, Created: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.stop)
	s.send("a@src.test", "x@slow.test", "y@fast.test")
	s.send("spam@src.test", "z@fast.test")
	eventually(t, 20*time.Second, "the other recipient's arrives", func() bool { return peer.Count() == 1 })
	s.stop()
	if got := peer.Messages(); len(got) != 1 || fmt.Sprint(got[0].To) != "[<y@fast.test>]" {
		t.Errorf("arrived: %+v", got)
	}
	for _, want := range []string{"operator=hold, detail=hold rule 1: they asked us to wait; recipients in slow.test", "operator=hold, detail=hold rule 2\n"} {
		if !strings.Contains(s.text(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}
