package manager

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The rules of the circuit breaker.
const (
	breakerFailures = 5                 // open it, within breakerWindow
	breakerCalls    = 20                // in breakerWindow, before the rate counts
	breakerPercent  = 5                 // of calls that fail: more open it
	breakerWindow   = time.Minute       // looked at
	breakerSlot     = breakerWindow / 6 // of the count of calls: the rate is of the last 50 to 60 s
	breakerPause    = 30 * time.Second  // until one call may try again
)

// BreakerState is whether a generation is asked.
type BreakerState int32

// The states of a circuit breaker.
const (
	BreakerClosed BreakerState = iota // all calls pass
	BreakerOpen                       // no call passes: on_error answers
	BreakerTrying                     // one call passes, and decides
)

// String is closed, open or trying.
func (s BreakerState) String() string { return [...]string{"closed", "open", "trying", ""}[s&3] }

var errBreakerOpen = errors.New("not asked: it failed too often, and its circuit breaker is open")

// breaker keeps a failing generation from being asked. Calls of a healthy one
// cost it two loads.
type breaker struct {
	state atomic.Int32
	until atomic.Int64 // open: when one may try
	slot  atomic.Int64 // of the last sample

	mu       sync.Mutex
	failures []time.Duration // the last, at most breakerFailures, oldest first
	samples  []sample        // how many calls there were when a slot began, oldest first
	reason   string          // it opened for
}

type sample struct {
	slot  int64
	calls uint64
}

// admit tells whether a call may pass now, and whether it is the one that
// decides; done must then be told what became of it.
func (b *breaker) admit(now time.Duration) (pass, trying bool) {
	switch BreakerState(b.state.Load()) {
	case BreakerClosed:
		return true, false
	case BreakerOpen:
		if int64(now) >= b.until.Load() && b.state.CompareAndSwap(int32(BreakerOpen), int32(BreakerTrying)) {
			return true, true
		}
	}
	return false, false
}

// count notes how many calls there were, once in a slot, before a call is
// counted.
func (b *breaker) count(now time.Duration, calls func() uint64) {
	slot := int64(now / breakerSlot)
	if last := b.slot.Load(); slot == last || !b.slot.CompareAndSwap(last, slot) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.samples = append(b.samples, sample{slot, calls()})
	for len(b.samples) > 1 && b.samples[0].slot <= slot-int64(breakerWindow/breakerSlot) {
		b.samples = b.samples[1:]
	}
}

// fail notes a failure of a call that passed the closed breaker, after it was
// counted. It tells why the breaker opens; empty: it does not.
func (b *breaker) fail(now time.Duration, calls uint64) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if BreakerState(b.state.Load()) != BreakerClosed {
		return "" // a call that was on its way when it opened
	}
	b.failures = append(b.failures, now)
	for len(b.failures) > breakerFailures || now-b.failures[0] > breakerWindow {
		b.failures = b.failures[1:]
	}
	n := uint64(len(b.failures))
	recent := calls
	for _, s := range b.samples {
		if s.slot > int64(now/breakerSlot)-int64(breakerWindow/breakerSlot) {
			recent = calls - s.calls
			break
		}
	}
	switch {
	case n >= breakerFailures:
		b.reason = fmt.Sprintf("%d failures within %v", n, breakerWindow)
	case recent >= breakerCalls && n*100 > recent*breakerPercent:
		b.reason = fmt.Sprintf("%d of the last %d calls failed, more than %d %%", n, recent, breakerPercent)
	default:
		return ""
	}
	b.open(now)
	return b.reason
}

func (b *breaker) open(now time.Duration) {
	b.until.Store(int64(now + breakerPause))
	b.state.Store(int32(BreakerOpen))
}

// outcome is what became of the call that decides.
type outcome uint8

const (
	answered outcome = iota // close it
	failed                  // wait again
	unclear                 // let another one decide
)

func (b *breaker) done(now time.Duration, o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch o {
	case answered:
		b.failures, b.samples, b.reason = nil, nil, ""
		b.slot.Store(-1 << 62) // the next call takes a sample
		b.state.Store(int32(BreakerClosed))
	case failed:
		b.open(now)
	case unclear:
		b.until.Store(int64(now))
		b.state.Store(int32(BreakerOpen))
	}
}

// status is its state, and why it is not closed.
func (b *breaker) status() (BreakerState, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BreakerState(b.state.Load()), b.reason
}
