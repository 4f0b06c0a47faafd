package qmgr

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// A plugin that suspends a next hop after the other, for as long as it may,
// takes no more memory than next hops that cannot be reached.
func TestSuspensionsTakeLimitedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		key := func(n int) mail.NextHop {
			return mail.NextHop{Transport: mail.TransportSMTP, Host: fmt.Sprintf("mx%d.example.net", n)}
		}
		for n := range 2 * maxIdleHops {
			m.suspend(key(n), time.Now().Add(24*time.Hour))
		}
		if n := len(m.hops); n > maxIdleHops {
			t.Errorf("%d next hops are remembered", n)
		}
		last := m.hopAt(key(2*maxIdleHops - 1))
		if !last.suspended(time.Now()) {
			t.Error("the last one is not suspended")
		}
		m.suspend(key(2*maxIdleHops-1), time.Now().Add(-time.Second))
		if last.suspended(time.Now()) {
			t.Error("it is still suspended")
		}
	})
}
