package smtpd

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
)

// GuardOptions are the limits of a [Guard]; zero is the default.
type GuardOptions struct {
	PerAddress int           // failures of an address, or IPv6 /64, in Window; 20; negative: no limit
	PerUser    int           // failures for a name in Window; 20; negative: no limit
	Window     time.Duration // 15 min, from the first failure on
}

// Guard counts who guesses passwords, over all sessions of the listeners that
// share it.
//
// An address that has used up its failures is refused whatever it says, and so
// is a name, without asking anybody. But where a name has once succeeded from an
// address, in the last 30 days, the two are counted by themselves: whoever
// guesses at a name from elsewhere does not lock its owner out, nor does one
// phone with an old password lock out an office. RelayNetworks are not counted as
// addresses, only the names are: behind one are many users, as with webmail, and
// they may send without a password anyway.
//
// What is being asked counts as failed until the answer is there, so that many
// guesses at once are not more than one after the other; who is over the limit
// only for that waits a while.
//
// Names are counted without regard to case and to whether they exist. Memory
// is bounded: the longest untouched is forgotten first.
type Guard struct {
	opts   GuardOptions
	secret [32]byte

	mu        sync.Mutex
	addresses recent // of addresses that failed
	users     recent
	pairs     recent // that succeeded

	iterations, salt int // of keys that were given last
}

const (
	guardEntries = 50_000
	guardKnown   = 30 * 24 * time.Hour
	guardWait    = 10 * time.Second
)

// NewGuard makes a Guard.
func NewGuard(o GuardOptions) *Guard {
	orDefault(&o.PerAddress, 20)
	orDefault(&o.PerUser, 20)
	orDefault(&o.Window, 15*time.Minute)
	g := &Guard{opts: o, iterations: mail.MinScramIterations, salt: 16}
	_, _ = rand.Read(g.secret[:]) // it does not fail
	return g
}

// guardKey is a hash: entries are small, and hold no names.
type guardKey [16]byte

func (g *Guard) key(kind string, parts ...string) (k guardKey) {
	h := sha256.New()
	h.Write(g.secret[:])
	h.Write([]byte(kind))
	for _, p := range parts {
		h.Write([]byte{0})
		h.Write([]byte(p))
	}
	copy(k[:], h.Sum(nil))
	return k
}

// attempt is an AUTH that was admitted.
type attempt struct {
	address, user, pair guardKey
	known               bool // the pair is
	counted             bool // the address is
	named               bool // the user is
}

const (
	overAddress = "too many failures from this address"
	overUser    = "too many failures for this name"
)

// admit tells whether user may be tried from addr; user is empty where a token
// says who it is, and addr counts only if counted. If refusal is not empty it may
// not; if settled is not nil, either, that may change when it is closed.
func (g *Guard) admit(addr netip.Addr, counted bool, user string, now time.Time) (a attempt, refusal string, settled <-chan struct{}) {
	user = strings.ToLower(user)
	where := addressKey(addr.Unmap()).String()
	a = attempt{address: g.key("address", where), user: g.key("user", user), pair: g.key("pair", where, user), counted: counted, named: user != ""}
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.pairs.get(a.pair); p != nil && now.Sub(p.succeeded) < guardKnown {
		a.known = true
	}
	var holds []*tries
	for _, v := range g.counts(&a) {
		t := v.entries.touch(v.key)
		if t.failures(now, g.opts.Window) >= v.limit {
			return a, v.over, nil
		}
		if t.failed+t.asking >= v.limit {
			if t.settled == nil {
				t.settled = make(chan struct{})
			}
			refusal, settled = v.over, t.settled
		}
		holds = append(holds, t)
	}
	if settled != nil {
		return a, refusal, settled
	}
	for _, t := range holds {
		t.asking++
	}
	return a, "", nil
}

// count is where an attempt counts, and how much of that there may be.
type count struct {
	entries *recent
	key     guardKey
	limit   int
	over    string
}

func (g *Guard) counts(a *attempt) (list []count) {
	if a.known {
		list = []count{{&g.pairs, a.pair, g.opts.PerUser, overUser}}
	} else {
		if a.counted {
			list = append(list, count{&g.addresses, a.address, g.opts.PerAddress, overAddress})
		}
		if a.named {
			list = append(list, count{&g.users, a.user, g.opts.PerUser, overUser})
		}
	}
	return slices.DeleteFunc(list, func(c count) bool { return c.limit <= 0 })
}

// outcome is what became of an attempt.
type outcome uint8

const (
	wrong outcome = iota
	right
	unknown // nobody could say
)

// settle counts an attempt that was admitted.
func (g *Guard) settle(a attempt, o outcome, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o == right && a.named {
		g.pairs.touch(a.pair).succeeded = now
	}
	for _, c := range g.counts(&a) {
		t := c.entries.touch(c.key)
		t.asking = max(t.asking-1, 0)
		if t.settled != nil {
			close(t.settled)
			t.settled = nil
		}
		if o == wrong {
			t.fail(now, g.opts.Window)
		} else if t.failed+t.asking == 0 && t.succeeded.IsZero() {
			c.entries.forget(c.key)
		}
	}
}

// saw remembers what keys look like here.
func (g *Guard) saw(k *mail.ScramKeys) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.iterations, g.salt = k.Iterations, len(k.Salt)
}

// madeUp are keys that look like others and fit no password.
func (g *Guard) madeUp(user string) mail.ScramKeys {
	g.mu.Lock()
	defer g.mu.Unlock()
	return sasl.MadeUp(g.secret[:], user, g.iterations, g.salt)
}

// tries are what is known of an address, a name, or both together.
type tries struct {
	key            guardKey
	failed, asking int
	since          time.Time // of the first failure that counts
	succeeded      time.Time
	settled        chan struct{} // closed when one that is asking is done; nil: nobody waits for it
}

func (t *tries) failures(now time.Time, window time.Duration) int {
	if t.failed > 0 && now.Sub(t.since) >= window {
		t.failed = 0
	}
	return t.failed
}

func (t *tries) fail(now time.Time, window time.Duration) {
	if t.failures(now, window) == 0 {
		t.since = now
	}
	t.failed++
}

// recent holds the guardEntries that were touched last. The zero value is ready.
type recent struct {
	order   list.List // of *tries, the last touched in front
	entries map[guardKey]*list.Element
}

func (r *recent) get(k guardKey) *tries {
	e, ok := r.entries[k]
	if !ok {
		return nil
	}
	r.order.MoveToFront(e)
	return e.Value.(*tries)
}

// touch is get, of a new entry if there is none.
func (r *recent) touch(k guardKey) *tries {
	if t := r.get(k); t != nil {
		return t
	}
	if r.entries == nil {
		r.entries = map[guardKey]*list.Element{}
	}
	if len(r.entries) >= guardEntries {
		r.forget(r.order.Back().Value.(*tries).key)
	}
	t := &tries{key: k}
	r.entries[k] = r.order.PushFront(t)
	return t
}

func (r *recent) forget(k guardKey) {
	if e, ok := r.entries[k]; ok {
		r.order.Remove(e)
		delete(r.entries, k)
	}
}
