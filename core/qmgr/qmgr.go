package qmgr

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/route"
	"github.com/wasmta/wasmta/core/trace"
)

// Deliverer makes one attempt. It tries hops in their order until one takes
// the message or answers for it, and returns one result for each recipient of
// msg, in their order. A result that no remote host gave has an empty
// RemoteMTA; Reached tells that a session was had nevertheless. It must end
// soon after ctx is cancelled.
type Deliverer interface {
	Deliver(ctx context.Context, hops []mail.NextHop, msg *mail.Message) []mail.Result
}

// Options are what a Manager works with. Zero values mean the defaults.
type Options struct {
	Store     queue.Store
	Source    hook.Source // the plugins in force; nil: none
	Router    *route.Router
	Deliverer Deliverer
	Log       event.Log
	Trace     *trace.Store // nil: none is kept
	Hostname  string       // the reporting MTA of notifications

	Retry     []time.Duration // wait after the nth attempt, +-10 %; the last one repeats; default 5m 15m 30m 1h 2h 4h
	Lifetime  time.Duration   // of our notifications, and of items without an expiry time; default 5 days
	WarnAfter time.Duration   // age at which a delay is notified, once; default 4 h; negative: never

	Template  *dsn.Template // wording of notifications; nil: the built-in one
	MaxReturn int64         // of the content that a notification brings back, in octets; default dsn.MaxReturn
	// Backscatter tells whether a notification must not be made about a recipient
	// with a result; by is the plugin that decided, if one did. nil: all are made.
	Backscatter func(client *mail.Client, to mail.Path, r mail.Result, by string) bool

	Attempts       int           // at the same time; default 200
	AttemptsPerHop int           // of these to one next hop; default 20
	AttemptLimit   time.Duration // after which an attempt is cancelled; default 1 h
	MaxRefs        int           // items in memory; default 100,000, some 20 MB
	Drain          time.Duration // how long Run waits for attempts in flight when it ends; default 25 s

	Shapes Shapes              // limits of next hops; what they leave out is as above
	Pools  map[string][]Source // egress pools
	Pool   string              // for mail exchangers, where neither next hop nor shape names one; empty: none
	State  string              // file that keeps suspensions and the like over a restart; empty: they are forgotten

	Rand func() float64 // in [0,1), for jitter, called concurrently; default math/rand
}

func (o Options) withDefaults() Options {
	if o.Source == nil {
		o.Source = hook.Static(nil)
	}
	if o.Router == nil {
		o.Router = new(route.Router)
	}
	if len(o.Retry) == 0 {
		o.Retry = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Lifetime, 5*24*time.Hour)
	def(&o.WarnAfter, 4*time.Hour)
	def(&o.AttemptLimit, time.Hour)
	def(&o.Drain, 25*time.Second)
	num := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	num(&o.Attempts, 200)
	num(&o.AttemptsPerHop, 20)
	num(&o.MaxRefs, 100_000)
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

const (
	// scanPage is how many items one read of the due index returns.
	scanPage = 512
	// scanGap is the least time between two reads that found all there is, so
	// that a million items becoming due one by one are not read one by one.
	scanGap = 100 * time.Millisecond
	// maxSleep bounds a sleep: a wall clock may jump, a timer does not notice.
	maxSleep = time.Minute
	// storePause is the wait after the store could not read.
	storePause = 30 * time.Second
	// killGrace is how long cancelled attempts may take to end.
	killGrace = 5 * time.Second
)

// Manager runs the queue. Make one with New.
type Manager struct {
	opts Options
	log  *slog.Logger
	kick chan struct{} // wakes the loop; capacity 1

	ctx    context.Context // of attempts; cancelled when draining took too long
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	running  bool
	stopping bool
	workers  int
	wg       sync.WaitGroup
	known    map[queue.Ref]*entry // every item in memory
	settling map[mail.ID]departure
	handed   fifo[*entry] // ready, by Enqueue
	scanned  fifo[*entry] // ready, from the due index
	turn     bool         // whose turn it is among handed and scanned
	hops     map[mail.NextHop]*hop
	habits   map[string]habit // by domain
	active   int              // entries that workers and sorters have
	sorters  int
	sorting  int           // entries that sorters have
	seq      uint64        // of the last entry parked
	room     chan struct{} // closed when there is room again; nil: nobody waits

	seed     maphash.Seed
	senders  map[string]*sender
	ring     fifo[*sender] // those who call for a next hop, in turn
	unrouted *hop          // where those wait of whom only plugins know where they go
	strain   int           // slots with next hops that are not good
	squeezed fifo[*sender] // those whose next hops may have no more of all slots, in turn
	self     *sender       // for workers that wait in place
	alarms   alarms
	deferred uint64 // see Figures
	moved    uint64
	resumes  uint64 // how often an operator ended suspensions

	saving sync.Mutex // taken before mu
	dirty  bool       // Options.State is not as it should be

	cursor  queue.Mark // the index has been read up to here
	horizon time.Time  // and this was the time of the last reading
	wake    time.Time  // when to read on; zero: nothing is due ever
	rescan  time.Time  // when to read from the beginning; zero: not needed
	starved bool       // there is more to read, but no room
}

// entry is an item in memory.
type entry struct {
	ref    queue.Ref
	state  state
	hop    *hop          // of which it holds a slot while ready or active; nil: none
	unsent bool          // nothing was handed over for the slot yet
	seized time.Time     // when it got the slot
	saw    uint64        // Manager.resumes when a worker took it
	prio   int           // of the item
	rcpts  int           // of the item
	sender *sender       // whose turn it takes, once it was parked
	since  time.Time     // when it was parked first
	rank   time.Time     // order in a line
	seq    uint64        // and among equals
	early  bool          // attempt it even if it is not due
	insist bool          // attempt it even if the next hop is suspended
	done   chan struct{} // closed when it stops being active or owned; nil: nobody waits
	wait   chan bool     // set: not an item but a worker that waits for a slot
}

type state uint8

const (
	ready  state = iota // in handed or scanned
	parked              // waits for a next hop
	active              // a worker or sorter has it
	owned               // an operator's call has it
	gone                // to be skipped where it is still listed
)

// New makes a Manager, and reads Options.State. Nothing else happens before Run.
func New(o Options) *Manager {
	m := &Manager{
		opts:  o.withDefaults(),
		log:   o.Log.Program("qmgr"),
		kick:  make(chan struct{}, 1),
		known: make(map[queue.Ref]*entry),
		hops:  make(map[mail.NextHop]*hop),

		settling: make(map[mail.ID]departure),
		habits:   make(map[string]habit),
		senders:  make(map[string]*sender),
		seed:     maphash.MakeSeed(),
	}
	m.unrouted, m.self = &hop{free: true, place: -1}, new(sender)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.load()
	return m
}

// Run works until ctx ends, then lets attempts in flight finish for
// Options.Drain, cancels the rest and returns. It may be called once.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	if m.running || m.stopping {
		m.mu.Unlock()
		return errors.New("qmgr: Run was called twice")
	}
	m.running = true
	m.wake = time.Now() // read the index from its beginning
	m.spawn()
	m.mu.Unlock()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for kept := time.Now(); ctx.Err() == nil; {
		wait := m.scan(ctx)
		now := time.Now()
		if now.Sub(kept) >= saveEvery || now.Before(kept) {
			m.upkeep(now)
			kept = now
		}
		if t := m.ringAlarms(now); !t.IsZero() && (wait < 0 || t.Sub(now) < wait) {
			wait = t.Sub(now)
		}
		if m.mayForget() && (wait < 0 || saveEvery < wait) {
			wait = saveEvery
		}
		if wait >= 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-m.kick:
		case <-timer.C:
		}
	}
	return m.drain()
}

func (m *Manager) drain() error {
	m.mu.Lock()
	m.stopping = true
	m.mu.Unlock()
	defer func() {
		if err := m.save(); err != nil {
			m.log.Error(err.Error())
		}
	}()
	idle := make(chan struct{})
	go func() { m.wg.Wait(); close(idle) }()
	defer m.cancel()
	select {
	case <-idle:
		return nil
	case <-time.After(m.opts.Drain):
	}
	m.cancel()
	select {
	case <-idle:
		return nil
	case <-time.After(killGrace):
		return errors.New("qmgr: attempts in flight did not end; their messages stay queued and may be sent twice")
	}
}

// Enqueue hands items over that were just committed. It does not block on
// anything but a short lock. An item for which there is no room in memory is
// left to be found on the disk.
func (m *Manager) Enqueue(refs []queue.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ref := range refs {
		if m.known[ref] != nil {
			continue
		}
		if len(m.known) >= m.opts.MaxRefs {
			m.rescanAt(time.Now())
			continue
		}
		m.add(&entry{ref: ref}, &m.handed)
	}
}

// add puts a new entry into a ready list. mu is held.
func (m *Manager) add(e *entry, list *fifo[*entry]) {
	m.known[e.ref] = e
	e.state = ready
	list.push(e)
	m.spawn()
}

// spawn starts workers for what is ready, as far as there may be more and those
// that have not begun yet are too few, and sorters if there may be no more. A
// worker goes on until nothing is ready. mu is held.
func (m *Manager) spawn() {
	if !m.running || m.stopping {
		return
	}
	unknown := m.handed.len() + m.scanned.len()
	n := m.ring.len() + unknown
	for m.workers-(m.active-m.sorting) < n && m.workers < m.opts.Attempts {
		m.workers++
		m.wg.Go(m.work)
	}
	for m.overrun() && m.sorters < min(unknown, maxSorters) {
		m.sorters++
		m.wg.Go(m.sort)
	}
}

// overrun tells whether all workers are at work. mu is held.
func (m *Manager) overrun() bool {
	return m.workers >= m.opts.Attempts && m.active-m.sorting >= m.workers
}

func (m *Manager) work() {
	for {
		m.mu.Lock()
		e := m.take()
		if e == nil {
			m.workers--
			m.mu.Unlock()
			return
		}
		e.state, e.saw = active, m.resumes
		m.active++
		m.spawn() // there may be more where this one was
		m.mu.Unlock()
		m.process(e)
	}
}

// take returns the next entry for a worker, nil if there is none. Those whose
// next hop is known go first, since the others do not have to wait for a worker:
// sorters have them wait for their turn. mu is held.
func (m *Manager) take() *entry {
	if m.stopping {
		return nil
	}
	if e := m.next(time.Now()); e != nil {
		return e
	}
	return m.unknown()
}

// unknown returns the next entry of which nobody knows yet where it goes: new
// mail and old mail alternate. mu is held.
func (m *Manager) unknown() *entry {
	for !m.stopping {
		m.turn = !m.turn
		first, second := &m.handed, &m.scanned
		if m.turn {
			first, second = second, first
		}
		e := first.pop()
		if e == nil {
			e = second.pop()
		}
		if e == nil || e.state == ready {
			return e
		}
	}
	return nil
}

// forget ends the work on an active entry. mu is held.
func (m *Manager) forget(e *entry) {
	m.active--
	if e.sender != nil {
		e.sender.pace.did(time.Now())
	}
	m.drop(e)
}

// drop takes an entry out of memory. mu is held.
func (m *Manager) drop(e *entry) {
	e.state = gone
	if m.known[e.ref] == e {
		delete(m.known, e.ref)
	}
	if e.done != nil {
		close(e.done)
		e.done = nil
	}
	n := len(m.known)
	if n < max(m.opts.MaxRefs/2, 1) && m.room != nil {
		close(m.room)
		m.room = nil
	}
	if n < max(m.opts.MaxRefs/4, 1) && (m.starved || !m.rescan.IsZero()) {
		m.poke()
	}
}

// finish ends the work on an active entry whose item is due again at due; zero
// means that nobody needs to look for it.
func (m *Manager) finish(e *entry, due time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(e)
	m.forget(e)
	if !due.IsZero() {
		m.dueAt(due)
	}
}

// dueAt notes that something in the index is due at t. mu is held.
func (m *Manager) dueAt(t time.Time) {
	t = t.Truncate(time.Millisecond) // as it is stored
	if !t.After(m.cursor.Due) || !t.After(m.horizon) {
		m.rescanAt(t) // the cursor is past it: the clock was set back
		return
	}
	if m.wake.IsZero() || t.Before(m.wake) {
		m.wake = t
		m.poke()
	}
}

// rescanAt asks for the index to be read from its beginning. mu is held.
func (m *Manager) rescanAt(t time.Time) {
	if m.rescan.IsZero() || t.Before(m.rescan) {
		m.rescan = t
		m.poke()
	}
}

func (m *Manager) poke() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// scan reads what is due while there is room, and returns how long to sleep;
// negative: until poked.
func (m *Manager) scan(ctx context.Context) time.Duration {
	for {
		now := time.Now()
		m.mu.Lock()
		if !m.rescan.IsZero() && !m.rescan.After(now) && len(m.known) < max(m.opts.MaxRefs/4, 1) {
			m.cursor, m.rescan, m.wake = queue.Mark{}, time.Time{}, now
		}
		room := max(m.opts.MaxRefs/2, 1) - len(m.known)
		isDue := !m.wake.IsZero() && !m.wake.After(now)
		m.starved = isDue && room <= 0
		if !isDue || room <= 0 || ctx.Err() != nil {
			wait := m.sleep(now)
			m.mu.Unlock()
			return wait
		}
		cursor, limit := m.cursor, min(room, scanPage)
		m.wake, m.horizon = time.Time{}, now
		m.mu.Unlock()

		refs, mark, next, err := m.opts.Store.Due(ctx, cursor, now, limit)
		if err != nil && ctx.Err() == nil {
			m.log.Error("cannot read what is due; trying again", "error", err)
		}
		m.mu.Lock()
		switch {
		case err != nil:
			next = now.Add(storePause)
		case len(refs) >= limit:
			next = now // there may be more
		case !next.IsZero() && next.Before(now.Add(scanGap)):
			next = now.Add(scanGap)
		}
		if !next.IsZero() && (m.wake.IsZero() || next.Before(m.wake)) {
			m.wake = next
		}
		if err == nil {
			m.cursor = mark
			for _, ref := range refs {
				if m.known[ref] == nil {
					m.add(&entry{ref: ref}, &m.scanned)
				}
			}
		}
		m.mu.Unlock()
	}
}

// sleep is the time until the loop has something to do. mu is held.
func (m *Manager) sleep(now time.Time) time.Duration {
	next := m.wake
	if m.starved {
		next = time.Time{} // poked when there is room
	}
	if t := m.rescan; !t.IsZero() && t.After(now) && (next.IsZero() || t.Before(next)) {
		next = t
	}
	if next.IsZero() {
		return -1
	}
	return min(max(next.Sub(now), 0), maxSleep)
}

// retryAfter is the wait after the nth attempt.
func (m *Manager) retryAfter(n int) time.Duration {
	d := m.opts.Retry[min(max(n, 1), len(m.opts.Retry))-1]
	return time.Duration(float64(d) * (0.9 + 0.2*m.opts.Rand()))
}

// Snapshot is what goes on in memory.
type Snapshot struct {
	Active int // attempts in flight, routing included
	Ready  int // waiting for a slot
	Parked int // waiting for their next hop
	Hops   []HopStatus
}

// Snapshot tells what goes on, for metrics and the operator.
func (m *Manager) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s Snapshot
	for _, e := range m.known {
		switch e.state {
		case ready:
			s.Ready++
		case parked:
			s.Parked++
		case active:
			s.Active++
		}
	}
	now := time.Now()
	for _, h := range m.hops {
		if !h.idle() || h.troubled(now) {
			s.Hops = append(s.Hops, m.status(h, now))
		}
	}
	return s
}

// mayForget tells whether upkeep has something to do in time.
func (m *Manager) mayForget() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dirty || len(m.hops) > 0
}
