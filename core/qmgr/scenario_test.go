package qmgr_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/qmgr"
	"github.com/wasmta/wasmta/core/queue"
)

// world is what next hops do: those called dead time out, slow ones take their
// time, busy ones answer 421, metered and others take what they get.
type world struct {
	latency time.Duration // of those that work
	mended  bool          // all work

	mu      sync.Mutex
	active  map[string]int
	total   int
	peak    int            // of total
	peaks   map[string]int // of one next hop, by kind
	handed  map[string][]time.Time
	tries   map[mail.ID][]time.Time // of messages for busy ones
	took    []time.Duration         // from submission to delivery, of those that work
	probes  map[string][]time.Time  // attempts at dead ones
	sent    map[string]int          // by kind
	started time.Time
}

func newWorld() *world {
	return &world{latency: 100 * time.Millisecond, active: map[string]int{}, peaks: map[string]int{}, handed: map[string][]time.Time{},
		tries: map[mail.ID][]time.Time{}, probes: map[string][]time.Time{}, sent: map[string]int{}, started: time.Now()}
}

func kind(host string) string {
	for _, k := range []string{"dead", "slow", "busy", "metered"} {
		if len(host) > len(k) && host[:len(k)] == k {
			return k
		}
	}
	return "fine"
}

func (w *world) Deliver(ctx context.Context, hops []mail.NextHop, msg *mail.Message) []mail.Result {
	host := hops[0].Host
	k, now := kind(host), time.Now()
	w.mu.Lock()
	w.active[host]++
	w.total++
	w.peak = max(w.peak, w.total)
	w.peaks[k] = max(w.peaks[k], w.active[host])
	mended := w.mended
	switch {
	case k == "metered":
		w.handed[host] = append(w.handed[host], now)
	case k == "busy" && !msg.Envelope.ReversePath.IsNull():
		w.tries[msg.ID] = append(w.tries[msg.ID], now)
	case k == "dead":
		w.probes[host] = append(w.probes[host], now)
	}
	w.mu.Unlock()
	res, d := sent, w.latency
	if !mended {
		switch k {
		case "dead":
			res, d = down, 30*time.Second
		case "slow":
			d = 20 * time.Second
		case "busy":
			res, d = tooMany, time.Second
		}
	}
	time.Sleep(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active[host]--
	w.total--
	if res.Outcome == mail.Delivered {
		w.sent[k]++
		if k == "fine" {
			w.took = append(w.took, time.Since(msg.Envelope.Client.Arrived))
		}
	}
	return same(msg, res)
}

var tooMany = mail.Result{Outcome: mail.Deferred, RemoteMTA: "mx.test", Relay: "mx.test[192.0.2.1]:25", Reached: true, Reply: *mail.NewReply(421, "4.7.0", "Too many connections")}

// quantile of the times that it took to deliver to those that work.
func (w *world) quantile(q float64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.took)
	if len(w.took) == 0 {
		return 0
	}
	return w.took[min(int(q*float64(len(w.took))), len(w.took)-1)]
}

// most is how many of times lie within any stretch of length d.
func most(times []time.Time, d time.Duration) (n int) {
	for from, to := 0, 0; to < len(times); to++ {
		for !times[to].Before(times[from].Add(d)) {
			from++
		}
		n = max(n, to-from+1)
	}
	return n
}

// crowd submits messages for one host after the other, in a random order, at a
// steady pace.
func crowd(m *qmgr.Manager, s *memory, hosts []string, each int, pace time.Duration) {
	list := slices.Repeat(hosts, each)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for i, host := range list {
		now := time.Now()
		env := mail.Envelope{ReversePath: path(fmt.Sprintf("news@s%d.example", i%7)), Client: mail.Client{Listener: "mx", Arrived: now},
			Recipients: []mail.Recipient{{ForwardPath: path("u@" + host)}}}
		m.Enqueue(s.put(env, []byte(header), nil, queue.CommitOptions{Due: now, Expire: now.Add(5 * 24 * time.Hour)}))
		if i%10 == 9 {
			time.Sleep(10 * pace)
		}
	}
}

var shapesOfTheWorld = qmgr.Shapes{
	{Domains: []string{".metered.example"}, Shape: qmgr.Shape{Connections: 3, Rate: qmgr.Rate{Count: 10, Per: time.Minute}}},
	{Domains: []string{"*"}, Shape: qmgr.Shape{Connections: 10}},
}

func hostsOf(kind string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%d.%[1]s.example", kind, i))
	}
	return list
}

// TestAThousandDestinations is the traffic of a large sender: a twentieth of the
// next hops is dead, a twentieth slow, a twentieth answers 421, and a twentieth
// has a rate. With WASMTA_SCALE=1: 100,000 messages to 2,000 next hops.
func TestAThousandDestinations(t *testing.T) {
	hops, each, pace, slots := 200, 50, 2*time.Millisecond, 200
	if os.Getenv("WASMTA_SCALE") != "" {
		hops, each, pace, slots = 2000, 50, time.Millisecond, 1000
	}
	thousandDestinations(t, hops, each, pace, slots)
}

func thousandDestinations(t *testing.T, hops, each int, pace time.Duration, slots int) {
	began := time.Now()
	bad := hops / 20
	working := hostsOf("fine", hops-4*bad)
	run := func(t *testing.T, hosts []string, then func(*world, *memory, *qmgr.Manager)) {
		bubble(t, func(t *testing.T) {
			w, s := newWorld(), newMemory()
			m := qmgr.New(qmgr.Options{Store: s, Deliverer: w, Hostname: "mx.example.org", Shapes: shapesOfTheWorld, Attempts: slots, WarnAfter: -1,
				Log: event.NewLog(event.NewLineHandler(io.Discard, "mx", slog.LevelError)), Rand: rand.Float64})
			stop := start(t, m)
			defer stop()
			crowd(m, s, hosts, each, pace)
			then(w, s, m)
		})
	}
	var alone, among [3]time.Duration
	quantiles := func(w *world) [3]time.Duration {
		return [3]time.Duration{w.quantile(0.5), w.quantile(0.99), w.quantile(1)}
	}
	run(t, working, func(w *world, s *memory, _ *qmgr.Manager) {
		time.Sleep(time.Hour)
		alone = quantiles(w)
	})
	all := slices.Concat(working, hostsOf("dead", bad), hostsOf("slow", bad), hostsOf("busy", bad), hostsOf("metered", bad))
	run(t, all, func(w *world, s *memory, m *qmgr.Manager) {
		time.Sleep(5*time.Hour - time.Since(w.started))
		among = quantiles(w)
		if n := w.sent["fine"]; n != len(working)*each {
			t.Errorf("%d of %d messages for next hops that work were delivered", n, len(working)*each)
		}
		if n := w.sent["slow"]; n != bad*each {
			t.Errorf("%d of %d messages for slow next hops were delivered", n, bad*each)
		}
		if n := w.sent["metered"]; n != bad*each {
			t.Errorf("%d of %d messages for next hops with a rate were delivered", n, bad*each)
		}
		if w.peak > slots || w.peaks["fine"] > 10 || w.peaks["slow"] > 10 || w.peaks["dead"] > 10 || w.peaks["busy"] > 10 || w.peaks["metered"] > 3 {
			t.Errorf("limits were exceeded: %d at once, %v for one next hop", w.peak, w.peaks)
		}
		for host, times := range w.handed {
			if n := most(times, time.Minute); n > 10 {
				t.Errorf("%s got %d messages within a minute, its rate is 10", host, n)
			}
			if d := times[len(times)-1].Sub(times[0]); d > time.Duration(each)*time.Minute/10*5/4 {
				t.Errorf("%s got its messages in %v, which is far below its rate", host, d)
			}
		}
		// Each attempt of a message is when the schedule says, or when its turn comes.
		schedule := []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
		wait := time.Duration(each)*2*time.Second + time.Minute
		for id, times := range w.tries {
			for i := 1; i < len(times); i++ {
				if d, want := times[i].Sub(times[i-1]), schedule[i-1]; d < want*9/10 || d > want*11/10+wait {
					t.Fatalf("%s was tried again after %v, want %v", id, d, want)
				}
			}
			if len(times) < 6 {
				t.Fatalf("%s was tried %d times in five hours", id, len(times))
			}
		}
		if len(w.tries) != bad*each {
			t.Errorf("%d of %d messages were tried where 421 is the answer", len(w.tries), bad*each)
		}
		probes := 0
		for host, times := range w.probes {
			probes += len(times)
			if len(times) < 5 {
				t.Errorf("%s was probed %d times in five hours", host, len(times))
			}
		}
		if len(w.probes) != bad || probes > bad*100 {
			t.Errorf("%d connections to %d dead next hops", probes, len(w.probes))
		}
		w.mu.Lock()
		w.mended = true
		w.mu.Unlock()
		time.Sleep(6 * time.Hour)
		if n := s.Counts().Items; n != 0 {
			t.Errorf("%d items are left six hours after all next hops came back", n)
		}
	})
	t.Logf("%d messages to %d next hops: p50 %v, p99 %v, at most %v where all work; %v, %v, %v among the others; real time %v",
		hops*each, hops, alone[0], alone[1], alone[2], among[0], among[1], among[2], time.Since(began).Round(time.Millisecond))
	if among[0] > alone[0]*12/10 || among[1] > alone[1]*12/10 {
		t.Errorf("next hops that work had their mail after %v (p50), %v (p99), alone after %v, %v", among[0], among[1], alone[0], alone[1])
	}
}

// BenchmarkAThousandDestinations is the whole of it, once.
func BenchmarkAThousandDestinations(b *testing.B) {
	for b.Loop() {
		if !testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "whole", F: func(t *testing.T) {
			thousandDestinations(t, 2000, 50, time.Millisecond, 1000)
		}}}) {
			b.Fatal("it failed")
		}
	}
}
