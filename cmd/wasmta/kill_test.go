package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ledgers is what both ends of the server saw during a kill test.
type ledgers struct {
	mu    sync.Mutex
	acked []string // tokens of messages that got 250
	kills []time.Time
	sink  *sink
}

// hammer sends mail through a server that is killed again and again, and
// returns when everything is quiet.
func hammer(t *testing.T, tags string, kills int, stopAt func(*ledgers) bool) *ledgers {
	next := freeAddr(t)
	l := &ledgers{sink: newSink(t, next, nil)}
	s := newServer(t, tags, fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n[queue]\nretry = [\"1s\"]\n%s", next, threePlugins(t)))
	s.start()

	var stop atomic.Bool
	var serial atomic.Int64
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for !stop.Load() {
				k, err := dial(s.addr)
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				for !stop.Load() {
					// A token is used once: what got no 250 is never sent again, so
					// that each second copy at the sink is of the server's making.
					token := fmt.Sprintf("t%d", serial.Add(1))
					if err := k.send("a@src.test", "b@dst.test", message(token, 500+rand.IntN(4000))); err != nil {
						break
					}
					l.mu.Lock()
					l.acked = append(l.acked, token)
					l.mu.Unlock()
				}
				k.c.Close()
			}
		})
	}
	for range kills {
		time.Sleep(time.Duration(20+rand.IntN(400)) * time.Millisecond)
		s.kill()
		l.mu.Lock()
		l.kills = append(l.kills, time.Now())
		l.mu.Unlock()
		s.start()
		if stopAt != nil && stopAt(l) {
			break
		}
	}
	stop.Store(true)
	senders.Wait()
	// Liveness: when the faults stop, the queue drains.
	last, quiet := -1, time.Now()
	for time.Since(quiet) < 5*time.Second {
		if n := l.sink.count(); n != last {
			last, quiet = n, time.Now()
		}
		if len(l.lost()) == 0 && time.Since(quiet) > 1500*time.Millisecond {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	return l
}

// lost are the messages that got 250 and did not arrive.
func (l *ledgers) lost() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sink.mu.Lock()
	defer l.sink.mu.Unlock()
	var lost []string
	for _, token := range l.acked {
		if len(l.sink.got[token]) == 0 {
			lost = append(lost, token)
		}
	}
	return lost
}

// TestKillLosesNothing kills the server at random under load. Every message
// that got 250 arrives; a second copy of one only if the server was killed
// between the next hop's 250 and the end of its own settling.
//
// The number of kills is WASMTA_KILLS, or 15.
func TestKillLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills the server for many seconds; not with -short")
	}
	kills := 15
	if n, err := strconv.Atoi(os.Getenv("WASMTA_KILLS")); err == nil {
		kills = n
	}
	l := hammer(t, "", kills, nil)
	if lost := l.lost(); len(lost) > 0 {
		t.Errorf("%d of %d messages that got 250 are lost, such as %s", len(lost), len(l.acked), lost[0])
	}
	if len(l.acked) < kills {
		t.Errorf("only %d messages were accepted over %d kills: the test shows little", len(l.acked), kills)
	}
	l.sink.mu.Lock()
	defer l.sink.mu.Unlock()
	copies := 0
	for token, at := range l.sink.got {
		copies += len(at) - 1
		for i := 1; i < len(at); i++ {
			between := false
			for _, k := range l.kills {
				// The copy sent before the kill is recorded before it.
				between = between || at[i-1].Before(k) && k.Before(at[i])
			}
			if !between {
				t.Errorf("%s arrived twice, and no kill explains it", token)
			}
		}
	}
	t.Logf("%d kills, %d messages got 250, %d arrived, %d second copies, 0 lost", len(l.kills), len(l.acked), len(l.sink.got), copies)
}

// TestKillFindsAMissingSync is the control: the same test must catch a server
// that answers 250 without having synced.
func TestKillFindsAMissingSync(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills the server for many seconds; not with -short")
	}
	l := hammer(t, "wasmta_nosync", 40, func(l *ledgers) bool {
		time.Sleep(2 * time.Second) // what is merely late arrives meanwhile
		l.mu.Lock()
		n := len(l.acked)
		l.mu.Unlock()
		return n > 0 && len(l.lost()) > 20
	})
	if len(l.lost()) == 0 {
		t.Errorf("%d kills of a server that does not sync lost none of %d messages: the test cannot see a loss", len(l.kills), len(l.acked))
	}
	t.Logf("without sync: %d kills, %d messages got 250, %d lost", len(l.kills), len(l.acked), len(l.lost()))
}

// threePlugins is the configuration of three modules that take part in every
// message.
func threePlugins(t *testing.T) string {
	module := guest(t, "tag", "")
	out := ""
	for i := range 3 {
		out += fmt.Sprintf("[[plugin]]\nname = \"tag%d\"\nmodule = %q\n[plugin.grant]\nheaders = \"write\"\n", i+1, module)
	}
	return out
}
