package qmgr_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/route"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func path(s string) mail.Path {
	p, _, err := mail.ParsePath("<" + s + ">")
	if err != nil {
		panic(err)
	}
	return p
}

func nextHop(s string) mail.NextHop {
	h, err := mail.ParseNextHop(s)
	if err != nil {
		panic(err)
	}
	return h
}

// attempt is one call of the delivery agent.
type attempt struct {
	at     time.Duration // since the start of the test
	hops   []mail.NextHop
	to     []string
	header string
	null   bool // the reverse-path is null: a notification
	body   string
}

// agent is a Deliverer that records its calls and answers by a function.
type agent struct {
	start  time.Time
	answer func(ctx context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result // nil: delivered

	mu       sync.Mutex
	attempts []attempt
	active   map[mail.NextHop]int
	total    int
	peak     int // of total
	hopPeak  int // of one next hop
}

func (a *agent) Deliver(ctx context.Context, hops []mail.NextHop, msg *mail.Message) []mail.Result {
	body := ""
	if b, err := msg.OpenBody(); err == nil {
		all, _ := io.ReadAll(b)
		body = string(all)
		_ = b.Close()
	}
	a.mu.Lock()
	at := attempt{at: time.Since(a.start), hops: hops, header: string(msg.Header), null: msg.Envelope.ReversePath.IsNull(), body: body}
	for _, r := range msg.Envelope.Recipients {
		at.to = append(at.to, r.ForwardPath.String())
	}
	a.attempts = append(a.attempts, at)
	if a.active == nil {
		a.active = make(map[mail.NextHop]int)
	}
	a.active[hops[0]]++
	a.total++
	a.peak, a.hopPeak = max(a.peak, a.total), max(a.hopPeak, a.active[hops[0]])
	answer := a.answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.active[hops[0]]--
		a.total--
		a.mu.Unlock()
	}()
	if answer != nil {
		return answer(ctx, hops[0], msg)
	}
	return same(msg, sent)
}

func (a *agent) list() []attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.attempts)
}

// mails are the attempts that are not notifications.
func (a *agent) mails() (list []attempt) {
	for _, at := range a.list() {
		if !at.null {
			list = append(list, at)
		}
	}
	return list
}

func (a *agent) notices() (list []attempt) {
	for _, at := range a.list() {
		if at.null {
			list = append(list, at)
		}
	}
	return list
}

func same(msg *mail.Message, r mail.Result) []mail.Result {
	return slices.Repeat([]mail.Result{r}, len(msg.Envelope.Recipients))
}

var (
	sent    = mail.Result{Outcome: mail.Delivered, RemoteMTA: "mx.test", Relay: "mx.test[192.0.2.1]:25", Reply: *mail.NewReply(250, "2.0.0", "Ok"), Connect: 20 * time.Millisecond, Transmit: 30 * time.Millisecond}
	greyed  = mail.Result{Outcome: mail.Deferred, RemoteMTA: "mx.test", Relay: "mx.test[192.0.2.1]:25", Reply: *mail.NewReply(450, "4.2.0", "Greylisted")}
	refused = mail.Result{Outcome: mail.Failed, RemoteMTA: "mx.test", Relay: "mx.test[192.0.2.1]:25", Reply: *mail.NewReply(550, "5.1.1", "User unknown")}
	down    = mail.Result{Outcome: mail.Deferred, Reply: *mail.NewReply(451, "4.4.1", "connect to mx.test: connection refused")}
)

// bench is a manager at work in a bubble of virtual time.
type bench struct {
	t     *testing.T
	store *memory
	agent *agent
	m     *qmgr.Manager
	start time.Time
	log   *lockedBuffer
	stop  func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newBench(t *testing.T, o qmgr.Options) *bench {
	b := &bench{t: t, store: newMemory(), agent: &agent{start: time.Now()}, start: time.Now(), log: new(lockedBuffer)}
	o.Store, o.Deliverer, o.Hostname = b.store, b.agent, "mx.example.org"
	o.Log = event.NewLog(event.NewLineHandler(b.log, "mx", slog.LevelInfo))
	if o.Rand == nil {
		o.Rand = func() float64 { return 0.5 }
	}
	b.m = qmgr.New(o)
	return b
}

// run starts the manager. The test's end stops it.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.m.Run(ctx) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-done })
	b.t.Cleanup(func() { _ = b.stop() })
}

func bubble(t *testing.T, f func(*testing.T)) { t.Helper(); synctest.Test(t, f) }

const header = "From: <alice@example.org>\r\nSubject: lunch\r\nMessage-ID: <lunch@example.org>\r\n\r\n"

// submit commits a message from alice and hands it over.
func (b *bench) submit(to ...string) []queue.Ref {
	refs := b.commit(queue.CommitOptions{}, to...)
	b.m.Enqueue(refs)
	return refs
}

func (b *bench) commit(o queue.CommitOptions, to ...string) []queue.Ref {
	env := mail.Envelope{ReversePath: path("alice@example.org"), Client: mail.Client{Listener: "mx", Arrived: time.Now()}}
	for _, s := range to {
		env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: path(s)})
	}
	return b.commitEnvelope(o, env)
}

func (b *bench) commitEnvelope(o queue.CommitOptions, env mail.Envelope) []queue.Ref {
	if o.Due.IsZero() {
		o.Due = time.Now()
	}
	if o.Expire.IsZero() {
		o.Expire = time.Now().Add(5 * 24 * time.Hour)
	}
	return b.store.put(env, []byte(header), []byte("Lunch?\r\n"), o)
}

func (b *bench) item(ref queue.Ref) queue.Item {
	b.t.Helper()
	it, err := b.store.Item(context.Background(), ref)
	if err != nil {
		b.t.Fatalf("item %v: %v", ref, err)
	}
	return it
}

func (b *bench) left() int64 { return b.store.Counts().Items }

func (b *bench) sleep(d time.Duration) { time.Sleep(d); synctest.Wait() }

var logLine = regexp.MustCompile(`^(\S+) mx wasmta/(\w+)\[\d+\]: `)

// events is the log with the time since the start.
func (b *bench) events() string {
	var lines []string
	for line := range strings.Lines(b.log.String()) {
		m := logLine.FindStringSubmatch(line)
		at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", m[1])
		if err != nil {
			b.t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%10.0f %s: %s", at.Sub(b.start).Seconds(), m[2], line[len(m[0]):]))
	}
	slices.Sort(lines) // at the same time: in any order
	return strings.Join(lines, "")
}

func (b *bench) golden(name string) {
	b.t.Helper()
	file := filepath.Join("testdata", name+".golden")
	got := b.events()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		b.t.Error(diff)
	}
}

func TestDaysOfRetries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(time.Second)
			switch hop.Host {
			case "slow.example":
				return same(msg, greyed)
			case "mixed.example":
				return []mail.Result{sent, greyed, refused}[:len(msg.Envelope.Recipients)]
			}
			return same(msg, sent)
		}
		b.run()
		b.submit("bob@slow.example")
		b.submit("ok@mixed.example", "later@mixed.example", "unknown@mixed.example", "x@fine.example")
		b.sleep(6 * 24 * time.Hour)
		if b.left() != 0 {
			t.Errorf("%d items left", b.left())
		}
		b.golden("retries")
	})
}

func TestDelayedWarningOnceAndExpiryWithOneDSN(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Host == "example.org" {
				return same(msg, sent)
			}
			return same(msg, greyed)
		}
		b.run()
		b.submit("bob@slow.example")
		b.sleep(7 * 24 * time.Hour)
		n := b.agent.notices()
		if len(n) != 2 {
			t.Fatalf("%d notifications, want one delayed and one failed", len(n))
		}
		if !strings.Contains(n[0].body, "Action: delayed") || n[0].at < 4*time.Hour || n[0].at > 9*time.Hour {
			t.Errorf("the first came at %v:\n%s", n[0].at, n[0].body)
		}
		if !strings.Contains(n[1].body, "Action: failed\r\nStatus: 4.4.7") || n[1].at < 5*24*time.Hour || n[1].at > 5*24*time.Hour+time.Minute {
			t.Errorf("the second came at %v:\n%s", n[1].at, n[1].body)
		}
	})
}

func TestPermanentFailureIsOneDSNAndNoneForADSN(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result { return same(msg, refused) }
		b.run()
		b.submit("bob@example.net", "carol@example.net")
		b.sleep(24 * time.Hour)
		if n := b.agent.notices(); len(n) != 1 || n[0].to[0] != "alice@example.org" || strings.Count(n[0].body, "Action: failed") != 2 {
			t.Errorf("notifications: %+v", n)
		}
		if len(b.agent.list()) != 2 || b.left() != 0 {
			t.Errorf("%d attempts, %d items left: the notification itself must not be notified about", len(b.agent.list()), b.left())
		}
	})
}

func TestSuccessIsNotifiedOnlyWhereNobodyElseDoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Router: &route.Router{Table: mustTable(t,
			route.Rule{Domains: []string{"box.example"}, To: nextHop("maildir:/v/{user}")})}})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			r := sent
			r.Relayed = hop.Host == "old.example"
			return same(msg, r)
		}
		b.run()
		env := mail.Envelope{ReversePath: path("alice@example.org"), Client: mail.Client{Arrived: time.Now()}}
		for _, s := range []string{"a@old.example", "b@dsn.example", "c@box.example", "d@old.example"} {
			r := mail.Recipient{ForwardPath: path(s)}
			r.Notify = mail.NotifySuccess
			env.Recipients = append(env.Recipients, r)
		}
		env.Recipients[3].Notify = mail.NotifyNever
		b.m.Enqueue(b.commitEnvelope(queue.CommitOptions{}, env))
		b.sleep(time.Minute)
		var got []string
		for _, n := range b.agent.notices() {
			for _, line := range regexp.MustCompile(`(?m)^(Final-Recipient|Action): .*$`).FindAllString(n.body, -1) {
				got = append(got, strings.TrimSpace(line))
			}
		}
		slices.Sort(got)
		want := []string{"Action: delivered", "Action: relayed", "Final-Recipient: rfc822; a@old.example", "Final-Recipient: rfc822; c@box.example"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func mustTable(t testing.TB, rules ...route.Rule) route.Table {
	t.Helper()
	tab, err := route.NewTable(rules)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestNextHopDownAndBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		var up atomic.Bool
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if !up.Load() && hop.Host == "down.example" {
				time.Sleep(30 * time.Second) // a connection that times out
				return same(msg, down)
			}
			time.Sleep(10 * time.Millisecond)
			return same(msg, sent)
		}
		b.run()
		const n = 3000
		for i := range n {
			b.submit(fmt.Sprintf("u%d@down.example", i))
		}
		b.sleep(3 * time.Hour)
		if c := len(b.agent.mails()); c < 6 || c > 200 {
			t.Errorf("%d connections to a dead next hop in three hours with %d messages", c, n)
		}
		if b.left() != n {
			t.Fatalf("%d items left, want %d: nothing is lost and nothing bounces", b.left(), n)
		}
		if s := b.m.Snapshot(); len(s.Hops) != 1 || s.Hops[0].Failures < 3 {
			t.Errorf("snapshot %+v", s)
		}
		up.Store(true)
		b.sleep(5 * time.Hour)
		if b.left() != 0 {
			t.Errorf("%d items left five hours after the next hop came back", b.left())
		}
		if s := b.m.Snapshot(); len(s.Hops) != 0 || s.Active+s.Parked+s.Ready != 0 {
			t.Errorf("something stayed in memory: %+v", s)
		}
	})
}

func TestSessionsThatBreakOffSuspendNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			if msg.Envelope.Recipients[0].ForwardPath.Local == "poison" {
				return same(msg, mail.Result{Reply: *mail.NewReply(451, "4.4.2", "Lost connection"), Reached: true})
			}
			return same(msg, sent)
		}
		b.run()
		for range 10 {
			b.submit("poison@dst.example")
		}
		b.sleep(time.Second)
		ref := b.submit("bob@dst.example")[0]
		b.sleep(time.Second)
		if _, err := b.store.Item(context.Background(), ref); !errors.Is(err, queue.ErrGone) {
			t.Error("messages on which the next hop breaks off keep others from being sent there")
		}
	})
}

func TestAPluginsOwnNextHopSaysNothingAboutTheRoutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		chain := hook.Static{{Name: "p", Stages: hook.Stages(hook.Attempt), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			if e.Tx.Envelope.Recipients[0].ForwardPath.Local != "odd" {
				return hook.Verdict{}, nil
			}
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				d.NextHops = []mail.NextHop{nextHop("smtp:down.example:25")}
				return nil
			})
		})}}
		b := newBench(t, qmgr.Options{Source: chain})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Host == "down.example" {
				return same(msg, down)
			}
			return same(msg, sent)
		}
		b.run()
		for range 10 {
			b.submit("odd@dst.example")
		}
		b.sleep(time.Second)
		ref := b.submit("bob@dst.example")[0]
		b.sleep(time.Second)
		if _, err := b.store.Item(context.Background(), ref); !errors.Is(err, queue.ErrGone) {
			t.Error("the route's next hop is suspended because another one is down")
		}
	})
}

func TestManyNextHopsThatLetUsWaitLeaveRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(ctx context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if strings.HasPrefix(hop.Host, "pit") {
				<-ctx.Done()
				return same(msg, down)
			}
			return same(msg, sent)
		}
		b.run()
		for i := range 20 * 30 {
			b.submit(fmt.Sprintf("u%d@pit%d.example", i, i/30))
		}
		b.sleep(time.Second)
		ref := b.submit("bob@live.example")[0]
		b.sleep(time.Second)
		if _, err := b.store.Item(context.Background(), ref); !errors.Is(err, queue.ErrGone) {
			t.Error("twenty domains that let us wait stop the mail for all others")
		}
	})
}

func TestADeadNextHopExpiresItsMailWithFewConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Host == "dead.example" {
				time.Sleep(30 * time.Second)
				return same(msg, down)
			}
			return same(msg, sent)
		}
		b.run()
		const n = 300
		for i := range n {
			b.submit(fmt.Sprintf("u%d@dead.example", i))
		}
		b.sleep(6 * 24 * time.Hour)
		if b.left() != 0 {
			t.Errorf("%d left", b.left())
		}
		failed := 0
		for _, a := range b.agent.notices() {
			if strings.Contains(a.body, "Action: failed\r\nStatus: 4.4.7") && strings.Contains(a.body, "connection refused") {
				failed++
			}
		}
		if failed != n || len(b.agent.notices()) != 2*n {
			t.Errorf("%d of %d were reported as failed, %d notifications", failed, n, len(b.agent.notices()))
		}
		if c := len(b.agent.mails()); c > 20*n {
			t.Errorf("%d connections to a dead next hop", c)
		} else {
			t.Log(c, "connections")
		}
	})
}

func TestTheAgentMayHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			return same(msg, mail.Result{Outcome: mail.Held, Reply: *mail.NewReply(450, "4.3.0", "odd mailbox")})
		}
		b.run()
		ref := b.submit("bob@example.net")[0]
		b.sleep(24 * time.Hour)
		if it := b.item(ref); !it.Held || it.Reason != "held by the delivery agent: odd mailbox" || len(b.agent.list()) != 1 {
			t.Errorf("%+v", it)
		}
	})
}

func TestSlowNextHopDoesNotBlockOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{MaxRefs: 640, Attempts: 40, AttemptsPerHop: 10})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if hop.Host == "slow.example" {
				time.Sleep(5 * time.Second)
			} else {
				time.Sleep(100 * time.Millisecond)
			}
			return same(msg, sent)
		}
		const n = 1500
		// A long backlog for the slow one is on the disk, before live mail.
		for i := range n {
			b.commit(queue.CommitOptions{}, fmt.Sprintf("u%d@slow.example", i))
		}
		old := b.commit(queue.CommitOptions{}, "old@other.example")
		b.run()
		b.sleep(time.Second)
		for i := range 500 {
			b.submit(fmt.Sprintf("u%d@d%d.example", i, i%50))
		}
		b.sleep(10 * time.Second)
		live := 0
		for _, a := range b.agent.mails() {
			if a.hops[0].Host != "slow.example" {
				live++
			}
		}
		if live != 501 {
			t.Errorf("%d of 501 messages for other next hops were sent within ten seconds", live)
		}
		if _, err := b.store.Item(context.Background(), old[0]); !errors.Is(err, queue.ErrGone) {
			t.Error("an old message behind the backlog waits for the slow next hop")
		}
		// The slow one is used to its limit: 10 at a time, 5 s each.
		b.sleep(n / 10 * 5 * time.Second * 13 / 10)
		if b.left() != 0 {
			t.Errorf("%d items left", b.left())
		}
		if b.agent.peak > 40 || b.agent.hopPeak > 10 {
			t.Errorf("peaks: %d in total, %d for one next hop", b.agent.peak, b.agent.hopPeak)
		}
		if u := b.store.calls["Update"]; u > 10*n {
			t.Errorf("%d due times were moved for %d messages", u, n)
		}
	})
}

func TestLimitsAreNeverExceededAndEverythingIsDelivered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{MaxRefs: 64, Attempts: 7, AttemptsPerHop: 3, Rand: rand.Float64})
		rnd := rand.New(rand.NewPCG(3, 4))
		var mu sync.Mutex
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			mu.Lock()
			d, lot := time.Duration(rnd.IntN(3000))*time.Millisecond, rnd.IntN(10)
			mu.Unlock()
			time.Sleep(d)
			switch lot {
			case 0:
				return same(msg, greyed)
			case 1:
				return same(msg, down)
			}
			return same(msg, sent)
		}
		b.run()
		for i := range 1000 { // far more than fits into memory
			b.submit(fmt.Sprintf("u%d@d%d.example", i, i%5), fmt.Sprintf("v%d@d%d.example", i, i%7+10))
			if i%100 == 0 {
				b.sleep(time.Second)
			}
		}
		b.sleep(2 * 24 * time.Hour)
		if b.left() != 0 {
			t.Errorf("%d items left", b.left())
		}
		if b.agent.peak > 7 || b.agent.hopPeak > 3 {
			t.Errorf("peaks: %d in total, %d for one next hop", b.agent.peak, b.agent.hopPeak)
		}
		delivered := len(regexp.MustCompile(`to=<[uv]\d.*status=sent`).FindAllString(b.log.String(), -1))
		if delivered != 2000 {
			t.Errorf("%d deliveries of 2000 recipients", delivered)
		}
	})
}

func TestTheFrontOfTheIndexIsNotReadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		const n = 2000
		for i := range n { // deferred: due one after the other over an hour
			b.commit(queue.CommitOptions{Due: time.Now().Add(time.Hour + time.Duration(i)*1800*time.Millisecond)}, fmt.Sprintf("u%d@example.net", i))
		}
		b.run()
		b.sleep(59 * time.Minute)
		if c := b.store.calls["Due"]; c != 1 {
			t.Errorf("the index was read %d times while nothing was due", c)
		}
		for i := range 100 {
			b.submit(fmt.Sprintf("live%d@example.net", i))
		}
		b.sleep(2 * time.Hour)
		if b.left() != 0 {
			t.Errorf("%d items left", b.left())
		}
		// A few are read twice: a page of the index is old when it is looked at.
		if c := b.store.calls["Item"]; c > n+100+n/4 {
			t.Errorf("items were read %d times, for %d items", c, n+100)
		}
		if c := b.store.calls["Settle"]; c != n+100 {
			t.Errorf("%d settlements for %d messages", c, n+100)
		}
	})
}

func TestAClockJumpExpiresNothingUntried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		past := time.Now().Add(-time.Hour)
		b.commit(queue.CommitOptions{Due: past, Expire: past}, "bob@example.net")
		b.run()
		b.sleep(time.Second)
		if len(b.agent.mails()) != 1 || len(b.agent.notices()) != 0 || b.left() != 0 {
			t.Errorf("%d attempts, %d notifications, %d left: an old message is tried before it expires", len(b.agent.mails()), len(b.agent.notices()), b.left())
		}
	})
}

func TestHoldReleaseAndTheOtherActs(t *testing.T) {
	ctx := context.Background()
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(10 * time.Second)
			if hop.Host == "example.net" {
				return same(msg, greyed)
			}
			return same(msg, sent)
		}
		b.run()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		ref := b.submit("bob@example.net")[0]
		b.sleep(time.Second)
		began := time.Now()
		must(b.m.Hold(ctx, ref, "looks odd\r\nforged"))
		if d := time.Since(began); d != 9*time.Second {
			t.Errorf("hold came back after %v, want the end of the attempt in flight", d)
		}
		if it := b.item(ref); !it.Held || it.Reason != "looks oddforged" || it.Attempts != 1 {
			t.Errorf("held item %+v", it)
		}
		b.sleep(24 * time.Hour)
		if n := len(b.agent.mails()); n != 1 {
			t.Fatalf("%d attempts, want none while held", n-1)
		}
		if err := b.m.Retry(ctx, ref); !errors.Is(err, qmgr.ErrHeld) {
			t.Errorf("retry of a held item: %v", err)
		}
		must(b.m.Release(ctx, ref))
		b.sleep(20 * time.Second)
		if n := len(b.agent.mails()); n != 2 {
			t.Fatalf("%d attempts after release", n)
		}
		must(b.m.Retry(ctx, ref)) // its due time is far away
		b.sleep(20 * time.Second)
		if n := len(b.agent.mails()); n != 3 {
			t.Fatalf("%d attempts after retry", n)
		}
		if n, err := b.m.Flush(ctx); n != 1 || err != nil {
			t.Errorf("flush: %d, %v", n, err)
		}
		b.sleep(20 * time.Second)
		if n := len(b.agent.mails()); n != 4 {
			t.Fatalf("%d attempts after flush", n)
		}
		hop := nextHop("smtp:other.example:26")
		must(b.m.Reroute(ctx, qmgr.Whole(ref.ID), &hop))
		b.sleep(20 * time.Second)
		if list := b.agent.mails(); len(list) != 5 || list[4].hops[0] != hop {
			t.Fatalf("attempts after reroute: %+v", list)
		}
		if b.left() != 0 {
			t.Errorf("%d left", b.left())
		}

		ref = b.submit("bob@example.net", "carol@example.com")[0]
		b.sleep(time.Second)
		must(b.m.Bounce(ctx, ref, *mail.NewReply(550, "5.7.1", "Operator's decision")))
		b.sleep(20 * time.Second)
		n := b.agent.notices() // the first is that of the delay
		if len(n) != 2 || !strings.Contains(n[1].body, "550 5.7.1 Operator's decision") {
			t.Errorf("notifications after bounce: %+v", n)
		}
		ref = b.submit("bob@example.net", "dave@example.net")[0]
		b.sleep(20 * time.Second)
		must(b.m.Delete(ctx, ref))
		ref = b.submit("bob@example.net", "x@example.net")[0]
		must(b.m.Delete(ctx, qmgr.Whole(ref.ID)))
		b.sleep(24 * time.Hour)
		if b.left() != 0 || len(b.agent.notices()) != 2 {
			t.Errorf("%d left, %d notifications after delete", b.left(), len(b.agent.notices()))
		}
		for _, err := range []error{b.m.Hold(ctx, ref, ""), b.m.Retry(ctx, ref), b.m.Delete(ctx, ref), b.m.Release(ctx, qmgr.Whole(ref.ID)), b.m.Bounce(ctx, ref, *mail.ReplyRejected())} {
			if !errors.Is(err, queue.ErrGone) {
				t.Errorf("act on what is gone: %v", err)
			}
		}
		if err := b.m.Bounce(ctx, ref, *mail.ReplyDeferred()); err == nil {
			t.Error("bounce with a transient reply")
		}
		if !strings.Contains(b.events(), "operator=reroute, detail=smtp:other.example:26") {
			t.Errorf("log:\n%s", b.events())
		}
	})
}

// policy makes a chain of one Go function for some stages.
func policy(f func(*hook.Event) (hook.Verdict, error), onError hook.FailurePolicy, stages ...hook.Stage) hook.Source {
	return hook.Static(hook.Chain{{Name: "p", Generation: "1", Stages: hook.Stages(stages...), OnError: onError,
		Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) { return f(e) })}})
}

func TestAFailingPluginOnlyDefers(t *testing.T) {
	for _, stage := range []hook.Stage{hook.Route, hook.Attempt, hook.Result} {
		for _, onError := range []hook.FailurePolicy{hook.FailTemporary, hook.FailReject, hook.FailContinue} {
			t.Run(stage.String()+"/"+onError.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var repaired atomic.Bool
					b := newBench(t, qmgr.Options{Source: policy(func(*hook.Event) (hook.Verdict, error) {
						if !repaired.Load() {
							panic("trap")
						}
						return hook.Verdict{}, nil
					}, onError, stage)})
					b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
						if msg.Envelope.ReversePath.IsNull() || repaired.Load() {
							return same(msg, sent)
						}
						return same(msg, refused)
					}
					b.run()
					ref := b.submit("bob@example.net")[0]
					b.sleep(8 * 24 * time.Hour) // beyond its lifetime
					if onError == hook.FailContinue {
						if b.left() != 0 {
							t.Errorf("%d left: on_error=continue means as if there were no plugin", b.left())
						}
						return
					}
					if it := b.item(ref); it.Held || len(it.Recipients) != 1 {
						t.Fatalf("%+v", it)
					}
					repaired.Store(true)
					b.sleep(5 * time.Hour)
					if b.left() != 0 {
						t.Errorf("%d left after the plugin was repaired", b.left())
					}
					for _, n := range b.agent.notices() {
						if !strings.Contains(n.body, "Action: delayed") {
							t.Errorf("a broken plugin must not bounce:\n%s", n.body)
						}
					}
					if !strings.Contains(b.log.String(), "plugin failed") {
						t.Error("the failure was not reported")
					}
				})
			})
		}
	}
}

func TestPluginsDecide(t *testing.T) {
	edit := func(e *hook.Event, f func(*hook.Delivery)) {
		if err := e.EditDelivery(func(d *hook.Delivery) error { f(d); return nil }); err != nil {
			panic(err)
		}
	}
	action := func(a hook.Action) func(*hook.Event) (hook.Verdict, error) {
		return func(*hook.Event) (hook.Verdict, error) { return hook.Verdict{Action: a}, nil }
	}
	for _, c := range []struct {
		name   string
		stage  hook.Stage
		answer func(*hook.Event) (hook.Verdict, error)
		remote mail.Result
		check  func(t *testing.T, b *bench, ref queue.Ref)
	}{
		{"route reject bounces", hook.Route, action(hook.Reject), sent, func(t *testing.T, b *bench, _ queue.Ref) {
			if len(b.agent.mails()) != 0 || len(b.agent.notices()) != 1 {
				t.Errorf("%d attempts, %d notifications", len(b.agent.mails()), len(b.agent.notices()))
			}
		}},
		{"route discard is logged", hook.Route, action(hook.Discard), sent, func(t *testing.T, b *bench, _ queue.Ref) {
			if len(b.agent.list()) != 0 || b.left() != 0 || !strings.Contains(b.log.String(), "to=<bob@example.net>, status=discarded, plugin=p") {
				t.Errorf("%d left\n%s", b.left(), b.log.String())
			}
		}},
		{"route hold", hook.Route, action(hook.Hold), sent, func(t *testing.T, b *bench, ref queue.Ref) {
			if it := b.item(ref); !it.Held || it.Reason != "held by p" {
				t.Errorf("%+v", it)
			}
		}},
		{"route says where", hook.Route, func(e *hook.Event) (hook.Verdict, error) {
			edit(e, func(d *hook.Delivery) { d.NextHops = []mail.NextHop{nextHop("smtp:a.test:1"), nextHop("mx")} })
			return hook.Verdict{}, nil
		}, sent, func(t *testing.T, b *bench, _ queue.Ref) {
			if diff := cmp.Diff([]mail.NextHop{nextHop("smtp:a.test:1"), nextHop("mx:example.net")}, b.agent.mails()[0].hops); diff != "" {
				t.Error(diff)
			}
		}},
		{"attempt edits this attempt only", hook.Attempt, func(e *hook.Event) (hook.Verdict, error) {
			if e.Delivery.Attempt == 1 {
				edit(e, func(d *hook.Delivery) { d.NextHops[0].Source, d.NextHops[0].Helo = "192.0.2.9", "nine.test" })
				return hook.Verdict{}, e.EditHeader(func(h *mail.Header) error { return h.Insert(0, "X-Try", "one", false) })
			}
			return hook.Verdict{}, nil
		}, greyed, func(t *testing.T, b *bench, _ queue.Ref) {
			b.sleep(6 * time.Minute)
			l := b.agent.mails()
			if len(l) != 2 || l[0].hops[0].Helo != "nine.test" || l[1].hops[0].Helo != "" || l[0].header != "X-Try: one\r\n"+header || l[1].header != header {
				t.Errorf("%+v", l)
			}
		}},
		{"attempt defers without attempt", hook.Attempt, action(hook.Defer), sent, func(t *testing.T, b *bench, ref queue.Ref) {
			if it := b.item(ref); len(b.agent.list()) != 0 || it.Attempts != 1 || it.Due.Sub(b.start) != 5*time.Minute {
				t.Errorf("%+v", it)
			}
		}},
		{"attempt hold", hook.Attempt, func(*hook.Event) (hook.Verdict, error) {
			return hook.Verdict{Action: hook.Hold, Reply: mail.NewReply(450, "4.7.1", "quota")}, nil
		}, sent, func(t *testing.T, b *bench, ref queue.Ref) {
			if it := b.item(ref); !it.Held || it.Reason != "held by p: quota" {
				t.Errorf("%+v", it)
			}
		}},
		{"result reject makes deferred failed", hook.Result, action(hook.Reject), greyed, func(t *testing.T, b *bench, _ queue.Ref) {
			if n := b.agent.notices(); b.left() != 0 || len(n) != 1 || !strings.Contains(n[0].body, "Status: 5.2.0") || !strings.Contains(n[0].body, "Greylisted") {
				t.Errorf("%d left, %+v", b.left(), n)
			}
		}},
		{"result defer makes failed deferred", hook.Result, action(hook.Defer), refused, func(t *testing.T, b *bench, ref queue.Ref) {
			if it := b.item(ref); it.Attempts != 1 || !strings.HasPrefix(it.Reason, "451 4.1.1 by policy, after: 550 5.1.1 User unknown") {
				t.Errorf("%+v", it)
			}
		}},
		{"result never changes what is delivered", hook.Result, action(hook.Defer), sent, func(t *testing.T, b *bench, _ queue.Ref) {
			if b.left() != 0 || len(b.agent.list()) != 1 {
				t.Errorf("%d left", b.left())
			}
		}},
		{"result sets time, next hop, priority and expiry", hook.Result, func(e *hook.Event) (hook.Verdict, error) {
			if e.Delivery.Attempt == 1 {
				edit(e, func(d *hook.Delivery) {
					d.Retry, d.Priority, d.Expire = time.Now().Add(7*time.Minute), 3, d.Expire.Add(-time.Hour)
					d.NextHops = []mail.NextHop{nextHop("smtp:b.test:2")}
				})
			}
			return hook.Verdict{}, e.SetAttr(hook.ScopeRecipient, "p/seen", []byte{byte(e.Delivery.Attempt)})
		}, greyed, func(t *testing.T, b *bench, ref queue.Ref) {
			it := b.item(ref)
			if it.Due.Sub(b.start) != 7*time.Minute || it.Priority != 3 || it.Expire.Sub(b.start) != 119*time.Hour || it.Pinned == nil || string(it.Recipients[0].Attrs["p/seen"]) != "\x01" {
				t.Errorf("%+v", it)
			}
			b.sleep(8 * time.Minute)
			if l := b.agent.mails(); len(l) != 2 || l[1].hops[0] != nextHop("smtp:b.test:2") {
				t.Errorf("%+v", l)
			}
		}},
		{"result sees what was answered", hook.Result, func(e *hook.Event) (hook.Verdict, error) {
			h := e.Delivery.History
			if len(h) != 1 || e.Delivery.Last.Reply.Code != 450 || h[0].Result.Reply.Code != 450 || e.Delivery.Results[0].Reply.Code != 450 {
				return hook.Verdict{}, fmt.Errorf("%+v", e.Delivery)
			}
			return hook.Verdict{Action: hook.Reject}, nil
		}, greyed, func(t *testing.T, b *bench, _ queue.Ref) {
			if b.left() != 0 {
				t.Error("the plugin did not see it")
			}
		}},
		{"result suspends the next hop", hook.Result, func(e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				d.Suspend = time.Now().Add(20 * time.Minute)
				return nil
			})
		}, sent, func(t *testing.T, b *bench, _ queue.Ref) {
			other := b.submit("carol@example.net")[0]
			b.sleep(time.Second)
			if it := b.item(other); len(b.agent.mails()) != 1 || it.Due.Sub(b.start) < 20*time.Minute || it.Due.Sub(b.start) > 23*time.Minute || !strings.Contains(it.Reason, "suspended by policy") {
				t.Errorf("%d sent, %+v", len(b.agent.mails()), it)
			}
			b.submit("dan@example.org") // another next hop is not held up
			b.sleep(time.Second)
			if n := len(b.agent.mails()); n != 2 {
				t.Errorf("%d sent", n)
			}
			b.sleep(23 * time.Minute)
			if n := len(b.agent.mails()); n != 3 || b.left() != 0 {
				t.Errorf("%d sent in the end, %d left", n, b.left())
			}
		}},
		{"result suspends the next hop again and again", hook.Result, func(e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				d.Suspend = time.Now().Add(hook.MaxSuspend)
				return nil
			})
		}, sent, func(t *testing.T, b *bench, _ queue.Ref) {
			b.submit("carol@example.net")
			for range 8 * 24 { // each hour one more is sent there, if it can be
				b.sleep(time.Hour)
				b.submit("dan@example.net")
			}
			told := 0
			for _, n := range b.agent.notices() {
				if strings.Contains(n.body, "<carol@example.net>") && strings.Contains(n.body, "suspended by policy") && strings.Contains(n.body, "Action: failed") {
					told++
				}
			}
			if told != 1 {
				t.Errorf("the sender was told %d times that a message cannot leave\n%s", told, b.log.String())
			}
		}},
		{"dsn is sent elsewhere with another text", hook.DSN, func(e *hook.Event) (hook.Verdict, error) {
			if n := e.Delivery.Notice; n.Action != "failed" || n.To != e.Tx.Envelope.ReversePath || n.Text != "" {
				return hook.Verdict{Action: hook.Discard}, nil
			}
			if err := e.EditNotice(func(n *hook.Notice) error { n.To = mail.Path{}; return nil }); err == nil {
				return hook.Verdict{Action: hook.Discard}, nil
			}
			return hook.Verdict{}, e.EditNotice(func(n *hook.Notice) error {
				n.To, n.Text = mail.Path{Local: "bounces", Domain: "example.org"}, "Leider unzustellbar.\n\x00\r.\nGr\u00fc\u00dfe\n"
				return nil
			})
		}, refused, func(t *testing.T, b *bench, _ queue.Ref) {
			n := b.agent.notices()
			if len(n) != 1 || !slices.Equal(n[0].to, []string{"bounces@example.org"}) ||
				!strings.Contains(n[0].header, "To: <bounces@example.org>\r\n") || !strings.Contains(n[0].body, "\r\nLeider unzustellbar.\r\n\r\n.\r\n\r\nGr\u00fc\u00dfe\r\n") ||
				strings.Contains(n[0].body, "I'm sorry") || !strings.Contains(n[0].body, "<bob@example.net>: host") || !strings.Contains(n[0].body, "charset=utf-8") {
				t.Errorf("%+v", n)
			}
		}},
		{"dsn discard suppresses", hook.DSN, action(hook.Discard), refused, func(t *testing.T, b *bench, _ queue.Ref) {
			if b.left() != 0 || len(b.agent.notices()) != 0 {
				t.Errorf("%d left, %d notifications", b.left(), len(b.agent.notices()))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{Source: policy(func(e *hook.Event) (hook.Verdict, error) {
					if e.Stage != hook.DSN && e.Tx.Envelope.ReversePath.IsNull() {
						return hook.Verdict{}, nil
					}
					return c.answer(e)
				}, hook.FailTemporary, c.stage)})
				b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
					if msg.Envelope.ReversePath.IsNull() {
						return same(msg, sent)
					}
					return same(msg, c.remote)
				}
				b.run()
				ref := b.submit("bob@example.net")[0]
				b.sleep(time.Second)
				c.check(t, b, ref)
			})
		})
	}
}

// A next hop that stage attempt chose, or changed, is left alone too when it is
// suspended.
func TestAChosenNextHopIsSuspended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Source: policy(func(e *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
				if e.Stage == hook.Attempt {
					d.NextHops[0].Helo = "out1.example.org"
				} else {
					d.Suspend = time.Now().Add(20 * time.Minute)
				}
				return nil
			})
		}, hook.FailTemporary, hook.Attempt, hook.Result)})
		b.run()
		b.submit("bob@example.net")
		b.sleep(time.Second)
		other := b.submit("carol@example.net")[0]
		b.sleep(time.Second)
		if it := b.item(other); len(b.agent.mails()) != 1 || it.Due.Sub(b.start) < 20*time.Minute || !strings.Contains(it.Reason, "suspended by policy") {
			t.Errorf("%d sent, %+v", len(b.agent.mails()), it)
		}
		b.sleep(23 * time.Minute)
		if n := len(b.agent.mails()); n != 2 || b.left() != 0 {
			t.Errorf("%d sent in the end, %d left", n, b.left())
		}
	})
}

// instance counts how a conversation is used.
type instance struct{ stages []hook.Stage }

type opener struct {
	mu     sync.Mutex
	opened []*instance
	closed int
}

func (o *opener) Handle(context.Context, *hook.Event) (hook.Verdict, error) {
	return hook.Verdict{}, errors.New("not opened")
}

func (o *opener) Open(context.Context) (hook.Instance, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := new(instance)
	o.opened = append(o.opened, i)
	return handle{o, i}, nil
}

type handle struct {
	*opener
	i *instance
}

func (h handle) Handle(_ context.Context, e *hook.Event) (hook.Verdict, error) {
	h.i.stages = append(h.i.stages, e.Stage)
	var p [6]byte
	if n, err := e.Content.Body.ReadAt(p[:], 0); n != 6 || string(p[:]) != "Lunch?" {
		return hook.Verdict{}, err
	}
	return hook.Verdict{}, nil
}

func (h handle) Close() { h.mu.Lock(); h.closed++; h.mu.Unlock() }

func TestOneChainForEachAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := new(opener)
		b := newBench(t, qmgr.Options{Source: hook.Static(hook.Chain{{Name: "p", Handler: o, Stages: hook.Stages(hook.Route, hook.Attempt, hook.Result)}})})
		n := 0
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			if n++; n == 1 {
				return same(msg, greyed)
			}
			return same(msg, sent)
		}
		b.run()
		b.submit("bob@example.net")
		b.sleep(time.Hour)
		if len(o.opened) != 2 || o.closed != 2 {
			t.Fatalf("%d opened, %d closed in two attempts", len(o.opened), o.closed)
		}
		for _, i := range o.opened {
			if diff := cmp.Diff([]hook.Stage{hook.Route, hook.Attempt, hook.Result}, i.stages); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestPluginsThatRouteAreAskedOnceAlsoWhenTheNextHopIsBusy(t *testing.T) {
	for name, c := range map[string]struct {
		hops int
		most int // times that routing is asked for 200 messages
	}{"one next hop for the domain": {1, 230}, "several, in turn": {4, 400}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var asked atomic.Int32
				b := newBench(t, qmgr.Options{AttemptsPerHop: 2, Source: policy(func(e *hook.Event) (hook.Verdict, error) {
					asked.Add(1)
					return hook.Verdict{}, e.EditDelivery(func(d *hook.Delivery) error {
						d.NextHops = []mail.NextHop{{Transport: mail.TransportSMTP, Host: "h.example", Port: uint16(1 + int(e.Delivery.ID)%c.hops)}}
						return nil
					})
				}, hook.FailTemporary, hook.Route)})
				b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
					if c.hops > 1 && hop.Port == 1 {
						time.Sleep(time.Minute)
					}
					time.Sleep(time.Second)
					return same(msg, sent)
				}
				b.run()
				for i := range 200 {
					b.submit(fmt.Sprintf("u%d@example.net", i))
					b.sleep(10 * time.Millisecond)
				}
				b.sleep(100 * time.Second)
				others := 0
				for _, a := range b.agent.mails() {
					if c.hops == 1 || a.hops[0].Port != 1 {
						others++
					}
				}
				if want := 200 - 200/4*(c.hops-1)/3; others < want {
					t.Errorf("%d messages were sent, want %d: a slow next hop of the same domain is in the way", others, want)
				}
				b.sleep(time.Hour)
				if n := int(asked.Load()); n > c.most || b.left() != 0 || b.agent.hopPeak > 2 {
					t.Errorf("asked %d times, %d left, peak %d", n, b.left(), b.agent.hopPeak)
				}
			})
		})
	}
}

func TestPanicOrNonsenseOfTheAgentOnlyDefers(t *testing.T) {
	for name, answer := range map[string]func(*mail.Message) []mail.Result{
		"panic":          func(*mail.Message) []mail.Result { panic("boom") },
		"no results":     func(*mail.Message) []mail.Result { return nil },
		"zero results":   func(m *mail.Message) []mail.Result { return same(m, mail.Result{}) },
		"too few":        func(m *mail.Message) []mail.Result { return same(m, sent)[1:] },
		"goexit-free ok": func(m *mail.Message) []mail.Result { return same(m, greyed) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{})
				var repaired atomic.Bool
				b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
					if !repaired.Load() {
						return answer(msg)
					}
					return same(msg, sent)
				}
				b.run()
				ref := b.submit("bob@example.net", "carol@example.net")[0]
				b.sleep(time.Minute)
				if it := b.item(ref); len(it.Recipients) == 0 || it.Due.Sub(b.start) != 5*time.Minute {
					t.Fatalf("%+v", it)
				}
				repaired.Store(true)
				b.sleep(time.Hour)
				if b.left() != 0 || len(b.agent.notices()) != 0 {
					t.Errorf("%d left", b.left())
				}
			})
		})
	}
}

func TestAPanicAfterADeliveryIsNotADeliveryAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Rand: func() float64 { panic("a fault of ours") }})
		b.run()
		ref := b.submit("bob@example.net")[0]
		b.sleep(24 * time.Hour)
		if n := len(b.agent.mails()); n != 1 {
			t.Errorf("delivered %d times", n)
		}
		if it := b.item(ref); !it.Held || !strings.Contains(it.Reason, "release it to send it again") {
			t.Errorf("%+v", it)
		}
		if log := b.log.String(); !strings.Contains(log, "to=bob@example.net, status=sent") {
			t.Errorf("the log does not say for whom it went:\n%s", log)
		}
	})
}

func TestAnActThatFailsLeavesTheItemToBeAttempted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		b.store.fault = func(c string, _ queue.Ref) error {
			if c == "Update" || c == "Remove" {
				return queue.ErrStorage
			}
			return nil
		}
		ref := b.commit(queue.CommitOptions{}, "bob@example.net")[0]
		if err := b.m.Hold(context.Background(), ref, "x"); !errors.Is(err, queue.ErrStorage) {
			t.Error(err)
		}
		ref2 := b.commit(queue.CommitOptions{}, "carol@example.net")[0]
		if err := b.m.Delete(context.Background(), qmgr.Whole(ref2.ID)); !errors.Is(err, queue.ErrStorage) {
			t.Error(err)
		}
		b.run()
		b.sleep(time.Minute)
		if b.left() != 0 || len(b.agent.list()) != 2 {
			t.Errorf("%d left", b.left())
		}
	})
}

func TestCallsAgainstAttemptsInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{MaxRefs: 40, Attempts: 5, AttemptsPerHop: 2, Rand: rand.Float64})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(300 * time.Millisecond)
			if hop.Host == "d1.example" {
				return same(msg, down)
			}
			return same(msg, greyed)
		}
		b.run()
		var refs []queue.Ref
		for i := range 60 {
			refs = append(refs, b.submit(fmt.Sprintf("u%d@d%d.example", i, i%3), "x@d9.example")...)
		}
		var wg sync.WaitGroup
		for seed := range uint64(8) {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, seed))
				ctx := context.Background()
				for range 100 {
					ref := refs[rnd.IntN(len(refs))]
					if rnd.IntN(4) == 0 {
						ref = qmgr.Whole(ref.ID)
					}
					var err error
					switch rnd.IntN(6) {
					case 0:
						err = b.m.Hold(ctx, ref, "test")
					case 1:
						err = b.m.Release(ctx, ref)
					case 2:
						err = b.m.Retry(ctx, ref)
					case 3:
						err = b.m.Reroute(ctx, ref, nil)
					case 4:
						_, err = b.m.Flush(ctx)
					case 5:
						if rnd.IntN(5) == 0 {
							err = b.m.Delete(ctx, ref)
						}
					}
					if err != nil && !errors.Is(err, queue.ErrGone) && !errors.Is(err, qmgr.ErrHeld) {
						t.Error(err)
					}
					time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		b.agent.mu.Lock()
		b.agent.answer = nil
		b.agent.mu.Unlock()
		for _, ref := range refs {
			if err := b.m.Release(context.Background(), ref); err != nil && !errors.Is(err, queue.ErrGone) {
				t.Error(err)
			}
		}
		b.sleep(6 * time.Hour)
		if s := b.m.Snapshot(); b.left() != 0 || s.Active+s.Parked+s.Ready != 0 || len(s.Hops) != 0 {
			t.Errorf("%d left, %+v", b.left(), s)
		}
		if b.agent.peak > 5 || b.agent.hopPeak > 2 {
			t.Errorf("peaks: %d in total, %d for one next hop", b.agent.peak, b.agent.hopPeak)
		}
		if strings.Contains(b.log.String(), "error: ") || strings.Contains(b.log.String(), "was changed during") {
			t.Errorf("log:\n%s", b.log.String())
		}
	})
}

func TestDamageIsHeldAndSaid(t *testing.T) {
	for _, call := range []string{"Item", "Message", "Body", "Read"} {
		t.Run(call, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{})
				b.store.fault = func(c string, _ queue.Ref) error {
					if c == call {
						return fmt.Errorf("%w: checksum", queue.ErrCorrupt)
					}
					return nil
				}
				b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
					return same(msg, mail.Result{}) // the agent could not complete the message
				}
				b.run()
				ref := b.submit("bob@example.net")[0]
				b.sleep(6 * 24 * time.Hour)
				b.store.mu.Lock()
				b.store.fault = nil
				b.store.mu.Unlock()
				if it := b.item(ref); !it.Held || !strings.HasPrefix(it.Reason, "damaged: ") {
					t.Errorf("%+v", it)
				}
				if !strings.Contains(b.log.String(), "error: a message is damaged") {
					t.Errorf("log:\n%s", b.log.String())
				}
			})
		})
	}
}

func TestStoreFaultsLoseNothing(t *testing.T) {
	for _, call := range []string{"Item", "Message", "Settle", "Due"} {
		t.Run(call, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t, qmgr.Options{})
				until := time.Now().Add(time.Minute)
				b.store.fault = func(c string, _ queue.Ref) error {
					if c == call && time.Now().Before(until) {
						return queue.ErrStorage
					}
					return nil
				}
				b.run()
				b.submit("bob@example.net")
				b.m.Enqueue(b.commit(queue.CommitOptions{Due: time.Now().Add(10 * time.Second)}, "carol@example.net"))
				b.sleep(10 * time.Minute)
				if b.left() != 0 {
					t.Errorf("%d left", b.left())
				}
				if n := len(b.agent.mails()); n != 2 {
					t.Errorf("%d attempts for two messages: an outcome that cannot be recorded yet is kept", n)
				}
			})
		})
	}
}

func TestRandomFaultsLoseNothing(t *testing.T) {
	for range 5 {
		bubble(t, func(t *testing.T) {
			var calm atomic.Bool
			trouble := func(percent int) bool { return !calm.Load() && rand.IntN(100) < percent }
			b := newBench(t, qmgr.Options{MaxRefs: 30, Attempts: 6, AttemptsPerHop: 2, Rand: rand.Float64, Source: policy(func(e *hook.Event) (hook.Verdict, error) {
				if trouble(5) {
					panic("trap")
				}
				return hook.Verdict{}, nil
			}, hook.FailTemporary, hook.Route, hook.Attempt, hook.Result)})
			b.store.fault = func(string, queue.Ref) error {
				if trouble(5) {
					return queue.ErrStorage
				}
				return nil
			}
			b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
				time.Sleep(rand.N(2 * time.Second))
				switch {
				case trouble(5):
					panic("boom")
				case trouble(20):
					return same(msg, down)
				case trouble(20):
					return same(msg, greyed)
				}
				return same(msg, sent)
			}
			b.run()
			const n = 200
			for i := range n {
				b.submit(fmt.Sprintf("u%d@d%d.example", i, i%7), fmt.Sprintf("v%d@e%d.example", i, i%3))
				time.Sleep(rand.N(time.Second))
			}
			b.sleep(2 * time.Hour)
			calm.Store(true)
			b.sleep(24 * time.Hour)
			got := make(map[string]int)
			for _, m := range regexp.MustCompile(`to=<([uv]\d+)@.*status=sent`).FindAllStringSubmatch(b.log.String(), -1) {
				got[m[1]]++
			}
			if s := b.m.Snapshot(); b.left() != 0 || s.Active+s.Ready+s.Parked != 0 {
				t.Errorf("%d left, %+v", b.left(), s)
			}
			for i := range n {
				for _, to := range []string{fmt.Sprintf("u%d", i), fmt.Sprintf("v%d", i)} {
					if got[to] != 1 {
						t.Errorf("%s was delivered %d times", to, got[to])
					}
				}
			}
		})
	}
}

func TestConflictAppliesTheResultToWhatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{})
		var ref queue.Ref
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			if err := b.store.Update(context.Background(), ref, func(it *queue.Item) error { it.Held, it.Reason = true, "by hand"; return nil }); err != nil {
				t.Error(err)
			}
			return []mail.Result{sent, greyed}
		}
		ref = b.commit(queue.CommitOptions{}, "bob@example.net", "carol@example.net")[0]
		b.run()
		b.sleep(24 * time.Hour)
		it := b.item(ref)
		if len(it.Recipients) != 1 || it.Recipients[0].ForwardPath != path("carol@example.net") || !it.Held || it.Reason != "by hand" || len(b.agent.list()) != 1 {
			t.Errorf("%+v", it)
		}
	})
}

func TestMailboxesOfOneDomainAreSettledTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Router: &route.Router{Table: mustTable(t, route.Rule{To: nextHop("maildir:/v/{user}")})}})
		var slow atomic.Bool
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			if slow.Load() {
				time.Sleep(time.Second)
			}
			switch hop.Host {
			case "/v/full":
				r := greyed
				r.RemoteMTA = ""
				return same(msg, r)
			case "/v/panic":
				panic("boom")
			}
			return same(msg, mail.Result{Outcome: mail.Delivered})
		}
		b.run()
		to := []string{"a@example.org", "b@example.org", "full@example.org", `""@example.org`, "panic@example.org", "c@example.org"}
		ref := b.submit(to...)[0]
		b.sleep(time.Second)
		if c := b.store.calls["Settle"]; c != 1+1 { // and the notification's
			t.Errorf("%d settlements for fast mailboxes", c)
		}
		it := b.item(ref)
		if len(it.Recipients) != 2 || it.Attempts != 1 || it.Due.Sub(b.start) != 5*time.Minute {
			t.Errorf("%+v", it)
		}
		slow.Store(true)
		b.store.calls["Settle"] = 0
		ref = b.submit("a@example.org", "b@example.org", "full@example.org", "c@example.org")[0]
		b.sleep(10 * time.Second)
		if c := b.store.calls["Settle"]; c != 4 {
			t.Errorf("%d settlements for four slow mailboxes: the results must not wait for each other", c)
		}
		if it := b.item(ref); len(it.Recipients) != 1 || it.Attempts != 1 {
			t.Errorf("%+v", it)
		}
	})
}

func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Attempts: 2, Drain: 20 * time.Second})
		cancelled := 0
		b.agent.answer = func(ctx context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			d := 10 * time.Second
			if hop.Host == "hangs.example" {
				d = time.Hour
			}
			select {
			case <-time.After(d):
				return same(msg, sent)
			case <-ctx.Done():
				cancelled++
				return same(msg, down)
			}
		}
		b.run()
		b.submit("a@quick.example")
		hung := b.submit("b@hangs.example")[0]
		b.submit("c@quick.example")
		b.sleep(time.Second)
		began := time.Now()
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("draining took %v", d)
		}
		b.m.Enqueue(b.commit(queue.CommitOptions{}, "d@quick.example"))
		if n := len(b.agent.list()); n != 2 || cancelled != 1 {
			t.Errorf("%d attempts, %d cancelled: nothing new begins while draining", n, cancelled)
		}
		if it := b.item(hung); it.Attempts != 0 || it.Due.After(began) {
			t.Errorf("a cancelled attempt must leave the item as it was: %+v", it)
		}
		if b.left() != 3 {
			t.Errorf("%d left, want the cancelled one and the two that had not begun", b.left())
		}
	})
}

func TestDrainDoesNotWaitForWhatWillNotBegin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{AttemptsPerHop: 1, Router: &route.Router{Table: mustTable(t,
			route.Rule{Domains: []string{"box.example"}, To: nextHop("maildir:/v/{user}")})}})
		b.agent.answer = func(_ context.Context, hop mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(time.Second)
			return same(msg, sent)
		}
		b.run()
		b.submit("two@box.example")
		b.submit("two@box.example") // waits for the slot
		b.sleep(time.Millisecond)
		last := b.submit("one@box.example", "two@box.example")[0] // waits behind it, in flight
		b.sleep(500 * time.Millisecond)
		began := time.Now()
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("draining took %v", d)
		}
		if _, err := b.store.Item(context.Background(), last); !errors.Is(err, queue.ErrGone) {
			t.Error("what was in flight is not finished")
		}
		if b.left() != 1 {
			t.Errorf("%d left, want what had not begun", b.left())
		}
	})
}

func TestBreakingOffAnAttemptExpiresNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{Lifetime: time.Minute})
		b.agent.answer = func(ctx context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			<-ctx.Done()
			r := same(msg, sent)
			r[1] = down
			return r
		}
		refs := b.commit(queue.CommitOptions{Due: time.Now(), Expire: time.Now().Add(time.Minute)}, "a@dst.example", "b@dst.example")
		b.sleep(time.Hour)
		b.run()
		b.sleep(time.Second)
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if it := b.item(refs[0]); len(it.Recipients) != 1 || it.Recipients[0].ForwardPath.Local != "b" {
			t.Errorf("want the one who was not answered to stay: %+v", it.Recipients)
		}
		if b.left() != 1 {
			t.Errorf("%d items, want no notification", b.left())
		}
	})
}

func TestPriorityGoesFirstAtABusyNextHop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, qmgr.Options{AttemptsPerHop: 1})
		b.agent.answer = func(_ context.Context, _ mail.NextHop, msg *mail.Message) []mail.Result {
			time.Sleep(time.Second)
			return same(msg, sent)
		}
		b.run()
		for i := range 3 {
			b.submit(fmt.Sprintf("normal%d@example.net", i))
			b.sleep(time.Millisecond)
		}
		refs := b.commit(queue.CommitOptions{}, "urgent@example.net")
		b.store.items[refs[0]].Priority = 9
		b.m.Enqueue(refs)
		b.sleep(time.Minute)
		var order []string
		for _, a := range b.agent.mails() {
			order = append(order, strings.TrimSuffix(a.to[0], "@example.net"))
		}
		if diff := cmp.Diff([]string{"normal0", "urgent", "normal1", "normal2"}, order); diff != "" {
			t.Error(diff)
		}
	})
}
