package state

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/hostapi/abi"
)

const (
	// stripes is the number of locks that keys share.
	stripes = 256
	// defaultMinFree is what writes leave of the disk, in octets.
	defaultMinFree = 128 << 20
	// sweepEvery is how often what has expired is removed.
	sweepEvery = time.Minute
	// lookEvery is how often the room on the disk is asked for.
	lookEvery = time.Second
)

// Options say where a Store is and how it reports.
type Options struct {
	Dir    string           // made if it does not exist; empty: nothing is kept
	FS     vfs.FS           // nil: the disk
	Logger *slog.Logger     // nil: nothing is said
	Now    func() time.Time // nil: time.Now
	// MinFree is how many octets of the disk writes leave free for others; of a
	// small disk an eighth. 0: 128 MiB.
	MinFree uint64
}

// Store is the memory of all plugins. It is safe for concurrent use.
type Store struct {
	o     Options
	db    *pebble.DB
	seed  maphash.Seed
	locks [stripes]sync.Mutex

	mu      sync.Mutex
	plugins map[string]*Memory

	gate   sync.RWMutex // read: an operation is under way
	closed bool

	dead     chan struct{} // closed when the disk failed
	failing  sync.Once
	stop     chan struct{}
	stopping sync.Once
	sweeper  sync.WaitGroup

	looked atomic.Int64 // when the room was asked for last, ns
	full   atomic.Bool
}

// Open opens the store or makes a new one. It fails when another process has it
// open, and when a newer version wrote it.
func Open(o Options) (*Store, error) {
	switch {
	case o.Dir == "":
		o.Dir, o.FS = "state", vfs.NewMem()
	case o.FS == nil:
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	s := &Store{o: o, seed: maphash.MakeSeed(), plugins: map[string]*Memory{}, dead: make(chan struct{}), stop: make(chan struct{})}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the memory of plugins: cannot make the directory %q: %w", o.Dir, err)
	}
	db, err := pebble.Open(o.Dir, &pebble.Options{
		FS:                 o.FS,
		FormatMajorVersion: pebble.FormatValueSeparation,
		Merger:             merger(),
		CacheSize:          16 << 20,
		MemTableSize:       4 << 20,
		MaxOpenFiles:       512,
		Logger:             logger{s},
		EventListener: &pebble.EventListener{
			// Without a listener Pebble would end the process; a damaged block
			// costs the keys in it.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				o.Logger.Error("the memory of plugins: a file is damaged", "path", i.Path, "error", i.Details)
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("the memory of plugins: cannot open %q: %w", o.Dir, err)
	}
	s.db = db
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.sweeper.Go(s.sweepAlways)
	return s, nil
}

func (s *Store) checkFormat() error {
	v, closer, err := s.db.Get([]byte{tableMeta})
	if errors.Is(err, pebble.ErrNotFound) {
		return s.db.Set([]byte{tableMeta}, []byte(format), pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("the memory of plugins in %q: %w", s.o.Dir, err)
	}
	defer closer.Close()
	if string(v) != format {
		return fmt.Errorf("the memory of plugins in %q has the format %q, this version reads %q: use the version that wrote it, or move the directory away",
			s.o.Dir, v, format)
	}
	return nil
}

// enter begins an operation; leave ends it.
func (s *Store) enter() error {
	s.gate.RLock()
	if s.closed {
		s.gate.RUnlock()
		return abi.Unavailable
	}
	return nil
}

func (s *Store) leave() { s.gate.RUnlock() }

// Close waits for operations that are under way, writes everything to disk and
// ends the use of the store: whatever is asked later is abi.Unavailable.
func (s *Store) Close() error {
	err := error(nil)
	s.stopping.Do(func() {
		close(s.stop)
		s.sweeper.Wait()
		s.gate.Lock()
		s.closed = true
		s.gate.Unlock()
		if s.isDead() {
			err = errors.New("the memory of plugins: an earlier write failed; see the log")
			return // what waits in Pebble would never end
		}
		err = errors.Join(s.db.Flush(), s.db.Close())
	})
	return err
}

// Plugin is the memory of the plugin called name, of at most mb MiB from now
// on.
func (s *Store) Plugin(name string, mb int) (*Memory, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("the memory of plugins: the name %q must have 1 to %d octets", name, maxName)
	}
	m, err := s.memory(name)
	if err == nil {
		m.limit.Store(int64(mb) << 20)
	}
	return m, err
}

func (s *Store) memory(name string) (*Memory, error) {
	if err := s.enter(); err != nil {
		return nil, fmt.Errorf("the memory of plugin %q: %w", name, err)
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.plugins[name]; m != nil {
		return m, nil
	}
	m := &Memory{store: s, name: name}
	v, closer, err := s.db.Get(usageKey(name))
	switch {
	case err == nil:
		m.used, err = decodeUsage(v)
		err = errors.Join(err, closer.Close())
	case errors.Is(err, pebble.ErrNotFound):
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("the memory of plugin %q: %w", name, err)
	}
	s.plugins[name] = m
	return m, nil
}

// lock locks a key of the table of data.
func (s *Store) lock(key []byte) *sync.Mutex {
	l := &s.locks[maphash.Bytes(s.seed, key)%stripes]
	l.Lock()
	return l
}

// read gives a record, also an expired one.
func (s *Store) read(key []byte) (r record, ok bool, err error) {
	if s.isDead() {
		return r, false, abi.Unavailable
	}
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return r, false, nil
	}
	if err == nil {
		r, err = decodeRecord(append([]byte(nil), v...))
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		s.o.Logger.Error("the memory of plugins: reading failed", "error", err)
		return r, false, abi.Unavailable
	}
	return r, true, nil
}

// commit applies a batch. When the disk fails Pebble does not come back: the
// goroutine is given up then and not the caller.
func (s *Store) commit(b *pebble.Batch, sync bool) error {
	if s.isDead() {
		return abi.Unavailable
	}
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.fail(fmt.Sprint(r))
			}
		}()
		err := b.Commit(o)
		done <- errors.Join(err, b.Close())
	}()
	select {
	case err := <-done:
		if err != nil {
			s.o.Logger.Error("the memory of plugins: writing failed", "error", err)
			return abi.Unavailable
		}
		return nil
	case <-s.dead:
		return abi.Unavailable
	}
}

// room tells whether there is room on the disk for what plugins add.
func (s *Store) room() bool {
	now := time.Now().UnixNano()
	last := s.looked.Load()
	if now-last < int64(lookEvery) || !s.looked.CompareAndSwap(last, now) {
		return !s.full.Load()
	}
	u, err := s.o.FS.GetDiskUsage(s.o.Dir)
	full := err == nil && u.AvailBytes < min(s.o.MinFree, u.TotalBytes/8)
	if full != s.full.Swap(full) && full {
		s.o.Logger.Warn("the memory of plugins: the disk is nearly full; plugins cannot add to it", "available", u.AvailBytes)
	}
	return !full
}

func (s *Store) isDead() bool {
	select {
	case <-s.dead:
		return true
	default:
		return false
	}
}

func (s *Store) fail(what string) {
	s.failing.Do(func() {
		s.o.Logger.Error("the memory of plugins cannot be written; it is not available until the server is started again", "error", what)
		close(s.dead)
	})
}

// logger passes on what Pebble says of failures.
type logger struct{ s *Store }

func (logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.s.o.Logger.Error("the memory of plugins: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return: Pebble's locks are as they are.
func (l logger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Sprintf(format, args...))
	select {}
}

func (s *Store) sweepAlways() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.dead:
			return
		case <-t.C:
			if err := s.sweep(); err != nil {
				s.o.Logger.Error("the memory of plugins: removing what has expired failed", "error", err)
			}
		}
	}
}

// sweep looks at the records that the index has in minutes that are over.
func (s *Store) sweep() (err error) {
	now := s.o.Now().UnixMilli()
	end := indexKey(minuteOf(now), "", nil)[:9]
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableIndex}, UpperBound: end})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for iter.First(); iter.Valid(); iter.Next() {
		select {
		case <-s.stop:
			return nil
		default:
		}
		minute, name, key, ok := parseIndexKey(iter.Key())
		if !ok {
			return errRecord
		}
		m, err := s.memory(name)
		if err != nil {
			return err
		}
		if err := m.settle(minute, key, now); err != nil {
			return err
		}
	}
	return iter.Error()
}
