package qmgr_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/queue/pebblestore"
)

func openPebble(t testing.TB, fs vfs.FS) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(pebblestore.Options{Dir: "queue", FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t testing.TB, s queue.Store, body string, to ...string) []queue.Ref {
	t.Helper()
	ctx := context.Background()
	d, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, body); err != nil {
		t.Fatal(err)
	}
	env := mail.Envelope{ReversePath: path("alice@example.org"), Client: mail.Client{Listener: "mx", Arrived: time.Now()}}
	for _, p := range to {
		env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: path(p)})
	}
	refs, err := d.Commit(ctx, env, []byte(header), queue.CommitOptions{Due: time.Now(), Expire: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// start runs a manager and returns what stops it.
func start(t testing.TB, m *qmgr.Manager) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestOnPebbleAcrossARestart(t *testing.T) {
	fs := vfs.NewMem()
	s := openPebble(t, fs)
	var mu sync.Mutex
	tries, bodies := map[string]int{}, map[string]string{}
	up := false
	a := &agent{start: time.Now(), answer: func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
		mu.Lock()
		defer mu.Unlock()
		results := make([]mail.Result, len(msg.Envelope.Recipients))
		for i, r := range msg.Envelope.Recipients {
			to := r.ForwardPath.String()
			tries[to]++
			switch {
			case hop.Host == "down.example" && !up, r.ForwardPath.Local == "later" && tries[to] == 1:
				results[i] = greyed
			case r.ForwardPath.Local == "unknown":
				results[i] = refused
			default:
				results[i] = sent
				b, _ := msg.OpenBody()
				all, _ := io.ReadAll(b)
				bodies[to] = string(all)
				_ = b.Close()
			}
		}
		return results
	}}
	log := new(lockedBuffer)
	options := qmgr.Options{Deliverer: a, Hostname: "mx.example.org", Log: event.NewLog(event.NewLineHandler(log, "mx", slog.LevelInfo)),
		Retry: []time.Duration{200 * time.Millisecond}}
	options.Store = s
	m := qmgr.New(options)
	stop := start(t, m)
	const n = 50
	for i := range n {
		m.Enqueue(commit(t, s, fmt.Sprintf("body %d \xff\r\n", i), fmt.Sprintf("ok%d@a.example", i), fmt.Sprintf("u%d@down.example", i)))
	}
	m.Enqueue(commit(t, s, "x\r\n", "later@a.example", "unknown@a.example"))
	until(t, "delivery of what can be delivered", func() bool {
		c := s.Counts()
		return c.Items == n && c.Messages == n
	})
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openPebble(t, fs)
	defer s.Close()
	mu.Lock()
	up = true
	mu.Unlock()
	options.Store = s
	m = qmgr.New(options)
	stop = start(t, m)
	defer stop()
	until(t, "delivery of the rest after a restart", func() bool { return s.Counts().Items == 0 })
	stop() // so that every line is in the log
	mu.Lock()
	defer mu.Unlock()
	for i := range n {
		for _, to := range []string{fmt.Sprintf("ok%d@a.example", i), fmt.Sprintf("u%d@down.example", i)} {
			if want := fmt.Sprintf("body %d \xff\r\n", i); bodies[to] != want {
				t.Errorf("%s got %q, want %q", to, bodies[to], want)
			}
		}
	}
	if tries["later@a.example"] != 2 || tries["unknown@a.example"] != 1 || tries["alice@example.org"] != 1 {
		t.Errorf("attempts: later %d, unknown %d, notification %d", tries["later@a.example"], tries["unknown@a.example"], tries["alice@example.org"])
	}
	if got := strings.Count(log.String(), ": removed"); got != n+2 {
		t.Errorf("%d messages were removed in the log, want %d", got, n+2)
	}
}

type quick struct{}

func (quick) Deliver(_ context.Context, _ []mail.NextHop, msg *mail.Message) []mail.Result {
	return same(msg, sent)
}

// BenchmarkMessage is commit, hand-off, routing, an attempt that does nothing,
// and settling, without a disk and without plugins.
func BenchmarkMessage(b *testing.B) {
	s := openPebble(b, vfs.NewMem())
	defer s.Close()
	m := qmgr.New(qmgr.Options{Store: s, Deliverer: quick{}, Hostname: "mx.example.org", Log: event.NewLog(event.NewLineHandler(io.Discard, "mx", slog.LevelInfo))})
	defer start(b, m)()
	b.ReportAllocs()
	for b.Loop() {
		m.Enqueue(commit(b, s, "hello\r\n", "bob@example.net"))
	}
	until(b, "an empty queue", func() bool { return s.Counts().Items == 0 })
}
