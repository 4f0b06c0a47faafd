package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Options are what a Store works with.
type Options struct {
	Dir     string        // is made if it is not there
	MaxSize int64         // octets of all files; 0: 256 MiB; at least [MinSize]
	Keep    time.Duration // how long; 0: 7 days
	Log     *slog.Logger  // of faults; nil: nobody
}

// MinSize is the least that Options.MaxSize can be: there are some segments,
// and a record must fit into one.
const MinSize = 8 << 20

const (
	segments     = 16       // that MaxSize is divided into
	largeSegment = 16 << 20 // they need not be larger
	mostPending  = 4 << 20  // octets that wait for the writer
	muchPending  = 256 << 10
	writeDelay   = time.Second
	complainGap  = time.Minute
)

// Stats are figures of a Store.
type Stats struct {
	Dropped uint64 // records that were not kept, because the disk did not keep up or failed
	Size    int64  // octets of all files
}

// Store keeps the trace. Its methods may be called concurrently, and on nil.
type Store struct {
	opt      Options
	segment  int64         // octets of one, about
	pause    time.Duration // between two looks at what is too old
	wake     chan struct{} // something waits; capacity 1
	full     chan struct{} // much waits; capacity 1
	sync     chan chan struct{}
	stop     chan struct{}
	done     chan struct{}
	stopping sync.Once

	mu      sync.Mutex // guards what follows
	pending []byte
	dropped uint64
	closed  bool

	files    sync.Mutex // guards what follows
	sealed   []*segment
	active   *segment  // nil: the next write makes one
	file     *os.File  // of active
	total    int64     // octets of sealed and their indexes
	next     uint64    // number of the next segment
	complain time.Time // when a fault was logged last

	spare []byte // of the writer: what pending is next
}

// Open opens the trace in a directory that nobody else writes to, and begins to
// write. What a crash left is repaired.
func Open(opt Options) (*Store, error) {
	def(&opt.MaxSize, 256<<20)
	def(&opt.Keep, 7*24*time.Hour)
	if opt.MaxSize < MinSize {
		return nil, fmt.Errorf("trace: %d octets are too few; the least is %d", opt.MaxSize, MinSize)
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		opt: opt, segment: min(opt.MaxSize/segments, largeSegment), pause: min(max(opt.Keep/8, time.Minute), 24*time.Hour),
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1), sync: make(chan chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	list, err := listSegments(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	for i, g := range list {
		if err := s.recover(g, i == len(list)-1); err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		s.next = g.number + 1
	}
	s.limit(0)
	go s.run()
	return s, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// recover makes a segment that was found one of ours.
func (s *Store) recover(g *segment, last bool) error {
	if g.readIndex() != nil {
		was := g.size
		damaged, err := g.scan()
		if err != nil {
			return err
		}
		if damaged > 0 {
			s.opt.Log.Warn("the trace is damaged; the rest of it is used", "file", g.path(), "octets", damaged)
		}
		if was > g.size {
			s.opt.Log.Info("the end of the trace was not written whole; it is cut", "file", g.path(), "octets", was-g.size)
			if err := os.Truncate(g.path(), g.size); err != nil {
				return err
			}
		}
		if last {
			if s.file, err = os.OpenFile(g.path(), os.O_RDWR, 0o600); err != nil {
				return err
			}
			s.active = g
			return nil
		}
		if err := g.seal(); err != nil {
			return err
		}
	}
	s.sealed = append(s.sealed, g)
	s.total += g.size + g.index
	return nil
}

// put takes a record's frames. It does not wait.
func (s *Store) put(b []byte) {
	s.mu.Lock()
	if s.closed || int64(len(s.pending)+len(b)) > min(mostPending, s.segment) {
		s.dropped++
		s.mu.Unlock()
		return
	}
	first := len(s.pending) == 0
	s.pending = append(s.pending, b...)
	much := len(s.pending) > muchPending
	s.mu.Unlock()
	if first {
		signal(s.wake)
	}
	if much {
		signal(s.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run is the writer.
func (s *Store) run() {
	defer close(s.done)
	old := time.NewTimer(s.pause)
	defer old.Stop()
	for {
		var asked chan struct{}
		select {
		case <-s.stop:
			s.write()
			return
		case <-old.C:
			s.age()
			old.Reset(s.pause)
			continue
		case asked = <-s.sync:
		case <-s.wake:
			wait := time.NewTimer(writeDelay)
			select {
			case <-wait.C:
			case <-s.full:
			case <-s.stop:
			case asked = <-s.sync:
			}
			wait.Stop()
		}
		s.write()
		if asked != nil {
			close(asked)
		}
	}
}

// write puts what waits on the disk.
func (s *Store) write() {
	s.mu.Lock()
	b := s.pending
	s.pending, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	if len(b) == 0 {
		s.spare = b
		return
	}
	s.files.Lock()
	err := s.store(b)
	s.files.Unlock()
	if err != nil {
		s.failed(err)
		s.mu.Lock()
		s.dropped += frames(b)
		s.mu.Unlock()
	}
	if cap(b) <= 1<<20 {
		s.spare = b[:0]
	}
}

// frames counts those in b.
func frames(b []byte) (n uint64) {
	for len(b) > 0 {
		f, err := readFrame(b)
		if err != nil {
			break
		}
		b = b[f.complete:]
		n++
	}
	return n
}

// failed reports a fault of the disk, not too often.
func (s *Store) failed(err error) {
	if now := time.Now(); now.Sub(s.complain) >= complainGap {
		s.complain = now
		s.opt.Log.Error("the trace cannot be written; mail is not affected", "error", err.Error())
	}
}

// store appends b to the segment in use. files is held.
func (s *Store) store(b []byte) error {
	now := time.Now()
	if g := s.active; g != nil && (g.size+int64(len(b)) > s.segment || now.Sub(g.first) >= s.pause) {
		if err := s.seal(); err != nil {
			return err
		}
	}
	s.limit(int64(len(b)) * 2) // with what the index will take
	if s.active == nil {
		g := &segment{dir: s.opt.Dir, number: s.next, first: now, last: now}
		f, err := os.OpenFile(g.path(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		s.active, s.file = g, f
		s.next++
	}
	// At the offset: what a full disk took of the last attempt is written over.
	if _, err := s.file.WriteAt(b, s.active.size); err != nil {
		return err
	}
	s.active.note(b, now)
	return nil
}

// seal ends the segment in use. files is held.
func (s *Store) seal() error {
	g := s.active
	if err := g.seal(); err != nil {
		return err
	}
	err := s.file.Close()
	s.sealed = append(s.sealed, g)
	s.total += g.size + g.index
	s.active, s.file = nil, nil
	return err
}

// age seals and removes what is old.
func (s *Store) age() {
	s.files.Lock()
	defer s.files.Unlock()
	if s.active != nil && time.Since(s.active.first) >= s.pause {
		if err := s.seal(); err != nil {
			s.failed(err)
		}
	}
	s.limit(0)
}

// limit removes the oldest segments: those that are older than wanted, and so
// many that there is room for more octets. files is held, or nobody else is
// there yet.
func (s *Store) limit(more int64) {
	if g := s.active; g != nil {
		more += g.size + int64(indexHead+4+entrySize*len(g.entries))
	}
	for len(s.sealed) > 0 {
		g := s.sealed[0]
		if time.Since(g.last) < s.opt.Keep && s.total+more <= s.opt.MaxSize {
			return
		}
		// The index first: without it a segment is found again after a crash.
		if err := errors.Join(ignoreAbsent(os.Remove(g.indexPath())), ignoreAbsent(os.Remove(g.path()))); err != nil {
			s.failed(err)
			return
		}
		s.sealed = s.sealed[1:]
		s.total -= g.size + g.index
	}
}

// Explain tells what is known of a message, by its queue id, or of a session by
// its id. ErrUnknown, ErrID. Sessions are known when a transaction has ended, or
// the session.
func (s *Store) Explain(id string) (Report, error) {
	if s == nil {
		return Report{}, ErrOff
	}
	asked := make(chan struct{})
	select {
	case s.sync <- asked:
		<-asked
	case <-s.done:
	}
	s.files.Lock()
	list := make([]*segment, 0, len(s.sealed)+1)
	for _, g := range s.sealed {
		c := *g
		list = append(list, &c)
	}
	if s.active != nil {
		c := *s.active
		list = append(list, &c)
	}
	s.files.Unlock()
	r, err := explain(list, id)
	if n := s.Stats().Dropped; n > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%d records were dropped since the server started: what is missing here may be among them", n))
	}
	return r, err
}

// ErrOff: there is no trace.
var ErrOff = errors.New("the trace is switched off: [trace] enabled = false")

// Stats tells figures.
func (s *Store) Stats() (st Stats) {
	if s == nil {
		return st
	}
	s.mu.Lock()
	st.Dropped = s.dropped
	s.mu.Unlock()
	s.files.Lock()
	defer s.files.Unlock()
	st.Size = s.total
	if s.active != nil {
		st.Size += s.active.size
	}
	return st
}

// Close writes what waits and closes. What is handed over later is dropped.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.stopping.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.stop)
	})
	<-s.done
	s.files.Lock()
	defer s.files.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}
