//go:build unix

package core

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/maildrop"
	"github.com/wasmta/wasmta/core/mailtest"
)

// picking is a server with a maildrop whose waits a test may end. top and rest are
// of its configuration.
func picking(t *testing.T, peer *mailtest.SMTP, top, rest string, policy hook.Handler, stages ...hook.Stage) *pickup {
	t.Helper()
	short, err := os.MkdirTemp("", "mta")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	c, err := config.Parse(fmt.Appendf(nil, `
hostname = "mx.here.test"
data_dir = "data"
%s
[[listener]]
name = "mx"
role = "mx"
address = "127.0.0.1:0"
[[route]]
domains = ["*"]
to = "smtp:%s"
[dns]
resolvers = ["127.0.0.1:9"]
[admin]
socket = %q
[limits]
min_free = "1MB"
%s
`, top, peer.Addr, filepath.Join(short, "s"), rest), "test.toml", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Config: c, Source: hook.Static{{Name: "judge", Stages: hook.Stages(stages...), Handler: policy}},
		Log: event.NewLog(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s.pickup
}

func (p *pickup) drop(t *testing.T, from string, to ...string) {
	t.Helper()
	var e maildrop.Envelope
	var err error
	if e.Sender, err = mail.ParseMailbox(from); err != nil {
		t.Fatal(err)
	}
	for _, s := range to {
		r, err := mail.ParseMailbox(s)
		if err != nil {
			t.Fatal(err)
		}
		e.Recipients = append(e.Recipients, r)
	}
	d, err := maildrop.Create(filepath.Join(p.server.opt.Config.DataDir, "maildrop"), e)
	if err == nil {
		_, err = d.Write([]byte("Subject: dropped\r\n\r\nbody\r\n"))
	}
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for ok, which is asked with the lock held.
func (p *pickup) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		is := ok()
		p.mu.Unlock()
		if is {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// refused waits for the message to be refused for now, and ends its wait, as if
// it had been there for so long.
func (p *pickup) refused(t *testing.T, age time.Duration) {
	t.Helper()
	p.until(t, "a message waits for another try", func() bool {
		for name, w := range p.waiting {
			if p.underWay[name] || w.at.After(time.Now().Add(pickLimit/2)) {
				return false
			}
			w.at, w.since = time.Now(), w.since.Add(-age)
			p.waiting[name] = w
			return true
		}
		return false
	})
	p.poke()
}

// A message that is submitted again and again tells its sender once who will not
// get it.
func TestASenderIsToldOnce(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	var tries atomic.Int32
	p := picking(t, peer, "", "", hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		if e.Stage == hook.Rcpt && e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Local == "no" {
			return hook.Verdict{Action: hook.Reject}, nil
		}
		if e.Stage == hook.Message && tries.Add(1) <= 2 {
			return hook.Verdict{Action: hook.Defer}, nil
		}
		return hook.Verdict{}, nil
	}), hook.Rcpt, hook.Message)
	p.drop(t, "a@src.test", "x@else.test", "no@else.test")
	p.refused(t, 0)
	p.until(t, "a second try", func() bool { return tries.Load() == 2 })
	p.refused(t, 0)
	p.until(t, "the message and the notification arrive", func() bool { return peer.Count() >= 2 })
	p.until(t, "nothing is left in the queue", func() bool {
		return p.server.store.Counts().Items == 0
	})
	told := 0
	for _, m := range peer.Messages() {
		if m.From == "<>" {
			told++
		}
	}
	if told != 1 || peer.Count() != 2 {
		t.Errorf("the sender was told %d times; %d messages arrived", told, peer.Count())
	}
}

// A session that ends without an answer is tried again, but not for ever.
func TestAMessageThatGetsNoAnswerIsReturned(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	p := picking(t, peer, "", "", hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{Action: hook.Drop, NoReply: true}, nil
	}), hook.Mail)
	p.drop(t, "a@src.test", "x@else.test")
	p.refused(t, p.in.lifetime)
	p.until(t, "the sender is told", func() bool { return peer.Count() == 1 })
	if m := peer.Messages()[0]; m.From != "<>" || fmt.Sprint(m.To) != "[<a@src.test>]" || !strings.Contains(string(m.Content), "Status: 5.4.7") {
		t.Errorf("arrived: %s %v\n%s", m.From, m.To, m.Content)
	}
	p.until(t, "nothing is left", func() bool {
		left, err := p.dir.Active()
		return err == nil && len(left) == 0
	})
}

// What cannot be moved or removed now, because too many files are open, is
// neither forgotten nor sent a second time.
func TestTheMaildropOutlastsWhatTheSystemRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	dir, err := maildrop.Open(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p := &pickup{dir: dir, log: slog.New(slog.DiscardHandler), waiting: make(map[string]wait), finished: make(map[string]bool)}
	active := filepath.Join(path, "active")
	for _, name := range []string{"again", "done"} {
		if err := os.WriteFile(filepath.Join(active, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := map[mail.Path]bool{{Local: "no", Domain: "else.test"}: true}
	p.waiting["again"] = wait{pause: time.Minute, told: told}
	p.waiting["gone"] = wait{pause: time.Minute}
	if err := errors.Join(os.Rename(active, active+".away"), os.WriteFile(active, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p.remove("done")
	if names := p.due(now); len(names) != 0 || len(p.waiting) != 2 || len(p.finished) != 1 {
		t.Errorf("%v, %v, %v: want nothing to be lost", names, p.waiting, p.finished)
	}
	if err := errors.Join(os.Remove(active), os.Rename(active+".away", active)); err != nil {
		t.Fatal(err)
	}
	p.sweep()
	names := p.due(now.Add(time.Minute))
	if len(names) != 1 || len(p.waiting) != 1 || len(p.waiting[names[0]].told) != 1 || len(p.finished) != 0 {
		t.Errorf("%v, %v, %v: want one to submit", names, p.waiting, p.finished)
	}
	if _, err := os.Lstat(filepath.Join(active, "done")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is done with: %v", err)
	}
}

// The other end may still be at work when ours is closed.
func TestAPipeTellsWhenItsSessionIsOver(t *testing.T) {
	l := newPipes("x")
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	ours, ended, err := l.dial(peer{"ann", "s"})
	if err != nil {
		t.Fatal(err)
	}
	theirs := <-accepted
	ours.Close()
	select {
	case <-ended:
		t.Error("over, while it is at work")
	default:
	}
	theirs.Close()
	<-ended
}
