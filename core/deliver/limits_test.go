package deliver_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

func TestANextHopHasLimitsOfItsOwn(t *testing.T) {
	s, other := mailtest.ServeSMTP(t, mailtest.Script{}), mailtest.ServeSMTP(t, mailtest.Script{})
	a := newAgent(t, deliver.Options{Limits: func(n mail.NextHop) deliver.Limits {
		if n.Port == smtpTo(s).Port {
			return deliver.Limits{Messages: 4, Recipients: 2}
		}
		return deliver.Limits{}
	}})
	for range 4 {
		for _, to := range []*mailtest.SMTP{s, other} {
			want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(to)}, message(body, "a@y.test", "b@y.test", "c@y.test")), slices.Repeat([]string{"sent 2.0.0"}, 3)...)
		}
	}
	if s.Count() != 8 || s.Connections() != 2 {
		t.Errorf("%d transactions over %d connections, want 8 over 2", s.Count(), s.Connections())
	}
	if other.Count() != 4 || other.Connections() != 1 {
		t.Errorf("without limits: %d transactions over %d connections", other.Count(), other.Connections())
	}
}

// A connection that waits counts: it is closed before there is one too many.
func TestConnectionsThatWaitCount(t *testing.T) {
	for limit, quits := range map[int]int{0: 0, 1: 2, 2: 1} {
		s := mailtest.ServeSMTP(t, mailtest.Script{})
		a := newAgent(t, deliver.Options{Limits: func(mail.NextHop) deliver.Limits { return deliver.Limits{Connections: limit} }})
		for _, helo := range []string{"one.test", "two.test", "three.test"} {
			hop := smtpTo(s)
			hop.Helo = helo // another name, another connection
			want(t, a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "a@y.test")), "sent 2.0.0")
		}
		ended := func() int { return strings.Count(strings.Join(s.Commands(), "\n"), "QUIT") }
		for ended() < quits { // the server reads them in its own time
			time.Sleep(time.Millisecond)
		}
		if n := ended(); n != quits || s.Connections() != 3 {
			t.Errorf("limit %d: %d connections, of which %d were ended, want 3 and %d", limit, s.Connections(), n, quits)
		}
	}
}

// Two exchangers that fail at random, and want the message in many pieces: nobody gets it twice in one attempt, and what is said
// to be delivered was taken.
func TestNothingIsLostBetweenExchangers(t *testing.T) {
	sent := 0
	for _, period := range []uint32{3, 5, 8} {
		for _, ext := range [][]string{{"PIPELINING", "CHUNKING", "BINARYMIME", "LIMITS MAILMAX=2 RCPTMAX=2 RCPTDOMAINMAX=2"}, {"CHUNKING", "BINARYMIME", "LIMITS RCPTMAX=1"}, {"PIPELINING", "CHUNKING", "BINARYMIME", "LIMITS RCPTMAX=3 MAILMAX=1"}} {
			faults := []string{mailtest.Disconnect, "421 4.3.2 Bye", "451 4.3.0 No", "550 5.7.1 No", "452 4.5.3 Too many"}
			var n atomic.Uint32
			script := mailtest.Script{Address: "127.0.0.2:0", Extensions: ext, Reply: func(c mailtest.Command) string {
				if k := n.Add(1); k%period == 0 {
					return faults[int(k/period)%len(faults)]
				}
				return ""
			}}
			one := mailtest.ServeSMTP(t, script)
			script.Address = fmt.Sprintf("127.0.0.3:%d", one.Port)
			two := mailtest.ServeSMTP(t, script)
			dns := names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "one.test", Preference: 1}, {Host: "two.test", Preference: 2}}},
				addrs: map[string][]string{"one.test": {"127.0.0.2"}, "two.test": {"127.0.0.3"}}}
			a := newAgent(t, deliver.Options{MaxMessages: 5, Resolver: dns, MXPort: one.Port, AllowLoopbackMX: true})
			results := make([][]mail.Result, 40)
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := w; i < len(results); i += 4 {
						var to []string
						for k := range 7 {
							to = append(to, fmt.Sprintf("%c%d@d%d.test", 'a'+k, i, k%3))
						}
						m := message(body, to...)
						if i%2 == 0 {
							m.Envelope.Body = mail.BodyBinaryMIME
						}
						results[i] = a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, Host: "d.test"}}, m)
					}
				})
			}
			wg.Wait()
			taken := make(map[string]int)
			for _, s := range []*mailtest.SMTP{one, two} {
				for _, m := range s.Messages() {
					if string(m.Content) != header+body {
						t.Fatalf("content %q", m.Content)
					}
					for _, to := range m.To {
						taken[to]++
					}
				}
			}
			for i, res := range results {
				for k, r := range res {
					to := fmt.Sprintf("<%c%d@d%d.test>", 'a'+k, i, k%3)
					switch {
					case taken[to] > 1:
						t.Errorf("%d %v: %s: taken %d times: %v", period, ext, to, taken[to], r)
					case r.Outcome == mail.Delivered && taken[to] == 0:
						t.Errorf("%d %v: %s: lost: %s", period, ext, to, r.Reply.String())
					case r.Outcome == mail.Failed && taken[to] > 0:
						t.Errorf("%d %v: %s: bounced although taken: %s", period, ext, to, r.Reply.String())
					}
					if r.Outcome == mail.Delivered {
						sent++
					}
				}
			}
		}
	}
	if sent == 0 {
		t.Error("nothing is delivered")
	}
}
