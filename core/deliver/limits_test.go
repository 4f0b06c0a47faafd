package deliver_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
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
