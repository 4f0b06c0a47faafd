package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

const (
	// chunkSize is the size of every chunk of a body but the last.
	chunkSize = 256 << 10
	// smallBody is the largest body that waits for Commit in memory.
	smallBody = 64 << 10
	// maxBody is the largest body; far above what any server takes.
	maxBody = 1 << 40
	// separateFrom is the value size from which Pebble keeps values (chunks,
	// long header blocks) in blob files, so that mail that waits is not
	// rewritten at each level. Zero turns this off; the format stays the same.
	separateFrom = 8 << 10
	// stripes is the number of locks that messages share.
	stripes = 2048
	// itemSize is about what one recipient takes in all tables.
	itemSize = 256
	// openWait is how long Open waits for space to replay the log into.
	openWait = 5 * time.Second
	// closeWait is how long Close waits for a flush that may be failing.
	closeWait = 10 * time.Second
	// exitTempFail is EX_TEMPFAIL: the supervisor shall start us again.
	exitTempFail = 75
)

// Options say where a Store is and how it reports.
type Options struct {
	// Dir is the directory of the store; it is made if it does not exist.
	Dir string
	// FS is the file system; nil is the disk.
	FS vfs.FS
	// Logger gets what an operator should know; nil is slog.Default().
	Logger *slog.Logger
	// Fatal is called when a write failed and the store cannot go on. It must
	// not return; if it does, the goroutine that called it stops there for ever.
	// nil logs the message and exits with code 75.
	Fatal func(msg string)
	// MinFree is how many octets of the disk new mail leaves alone, beyond what
	// Pebble needs; of a small disk at most an eighth. 0 is 256 MiB.
	MinFree int64

	tune func(*pebble.Options) // by tests
}

// Store is the embedded queue.
type Store struct {
	opts   Options
	log    *slog.Logger
	db     *pebble.DB
	lock   *pebble.Lock
	ids    ids
	space  *space
	budget budget
	spare  *ballast // nil if FS is not the disk
	locks  [stripes]sync.Mutex
	failed atomic.Bool
	began  time.Time // Open was called
	opened atomic.Bool
	dirty  atomic.Bool // something was written since the last flush for space
	relief atomic.Bool // under way

	gate struct { // calls in progress
		sync.RWMutex
		closed bool
		calls  sync.WaitGroup
	}

	inDoubt struct { // messages whose batch is visible but perhaps not durable
		sync.Mutex
		ids map[mail.ID]struct{}
	}

	drafts struct { // chunks written by drafts that are open
		sync.Mutex
		chunks map[mail.ID]uint32
	}

	totals    counters // since Open
	base      atomic.Pointer[queue.Counts]
	recovery  chan struct{} // closed when it has ended
	stop      chan struct{} // closed to end it early
	swept     mail.ID       // no chunk below is without a message; owned by recovery until it ended
	firstID   mail.ID       // first id of this run
	chunkPool sync.Pool
	smallPool sync.Pool
}

var _ queue.Store = (*Store)(nil)

type counters struct{ messages, items, held atomic.Int64 }

// errClosed is returned by calls after Close.
var errClosed = fmt.Errorf("%w: the queue is closed", queue.ErrStorage)

// errFailed is returned by calls after a write failed.
var errFailed = fmt.Errorf("%w: an earlier write failed; see the log", queue.ErrStorage)

// Open opens the queue in o.Dir or makes a new one. It fails when another
// process holds the directory, when the data was written by a newer version,
// and when Pebble finds its log or manifest damaged.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(msg string) {
			logger.Error("the queue cannot be written; exiting", "error", msg)
			os.Exit(exitTempFail)
		}
	}
	s := &Store{opts: o, log: o.Logger, began: time.Now(), recovery: make(chan struct{}), stop: make(chan struct{})}
	s.inDoubt.ids = make(map[mail.ID]struct{})
	s.drafts.chunks = make(map[mail.ID]uint32)
	s.space = &space{fs: o.FS, dir: o.Dir, minFree: o.MinFree, short: s.relieve, ample: s.fillBallast}
	if !durable {
		s.log.Error("this build does not sync the queue and loses mail; it is for tests only")
	}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("queue: cannot make the directory %q: %w", o.Dir, err)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		if errors.As(err, new(*os.PathError)) {
			return nil, fmt.Errorf("queue: cannot write in %q: %w", o.Dir, err)
		}
		return nil, fmt.Errorf("queue: another wasmta serves %q; stop it first (%w)", o.Dir, err)
	}
	s.lock = lock
	s.share()
	s.db, err = pebble.Open(o.Dir, s.pebbleOptions())
	if err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w: the disk is full; free some space: %w", queue.ErrStorage, err)
		}
		return nil, errors.Join(fmt.Errorf("queue: cannot open %q: %w", o.Dir, err), lock.Close())
	}
	s.opened.Store(true)
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.db.Close(), lock.Close())
	}
	return s, nil
}

// makeDir makes a directory with its parents and syncs the entries it made.
func makeDir(fs vfs.FS, dir string) error {
	var made []string
	for d := dir; ; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil {
			break
		}
		made = append(made, d)
		if fs.PathDir(d) == d {
			break
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range made {
		parent, err := fs.OpenDir(fs.PathDir(d))
		if err != nil {
			return err
		}
		if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) pebbleOptions() *pebble.Options {
	table := int64(s.budget.memTable)
	o := &pebble.Options{
		FS:                          s.guard(),
		Lock:                        s.lock,
		FormatMajorVersion:          pebble.FormatValueSeparation, // one-way; raised by an explicit act only
		MemTableSize:                uint64(table),                // 64 MiB but on small disks: most mail is gone before a flush
		MemTableStopWritesThreshold: memTables,
		MaxManifestFileSize:         2 * table,
		CacheSize:                   64 << 20,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       32,
		LBaseMaxBytes:               4 * table,
		MaxOpenFiles:                4096,
		WALBytesPerSync:             512 << 10, // chunks trickle out before Commit waits for them
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(2, runtime.GOMAXPROCS(0)/2) },
		Logger:                      pebbleLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: s.backgroundError,
			// Without a listener Pebble would exit; a damaged block costs the
			// messages in it and no others.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.log.Error("queue: a file is damaged", "path", i.Path, "error", i.Details)
			},
			DiskSlow: func(i pebble.DiskSlowInfo) {
				s.log.Warn("queue: the disk is slow", "path", i.Path, "duration", i.Duration)
			},
			LowDiskSpace: func(i pebble.LowDiskSpaceInfo) {
				s.log.Warn("queue: the disk is filling up", "available", i.AvailBytes, "total", i.TotalBytes)
			},
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				s.log.Warn("queue: writes wait for compaction", "reason", i.Reason)
			},
		},
	}
	if separateFrom > 0 {
		o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
			return pebble.ValueSeparationPolicy{
				Enabled:               true,
				MinimumSize:           separateFrom,
				MaxBlobReferenceDepth: 10,
				RewriteMinimumAge:     5 * time.Minute,
				TargetGarbageRatio:    0.5,
			}
		}
	}
	o.TargetFileSizes[0] = max(table/32, 128<<10)
	if s.opts.FS == vfs.Default {
		o.WithFSDefaults() // watched for slowness
	}
	if s.opts.tune != nil {
		s.opts.tune(o)
	}
	return o
}

// pebbleLogger passes on what Pebble says of failures; its chatter is dropped.
type pebbleLogger struct{ s *Store }

func (pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.log.Error("queue: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) { l.s.die(fmt.Sprintf(format, args...)) }

// die ends the use of the store. It does not return: whoever waits for a write
// must not learn that it succeeded, and the locks of Pebble are as they are.
func (s *Store) die(msg string) {
	s.failed.Store(true)
	s.opts.Fatal(msg)
	select {}
}

// Close waits for calls in progress, drops the chunks of drafts that are still
// open, marks a clean shutdown and closes. Calls after it return ErrStorage.
func (s *Store) Close() error {
	s.gate.Lock()
	if s.gate.closed {
		s.gate.Unlock()
		return nil
	}
	s.gate.closed = true
	s.gate.Unlock()
	if s.failed.Load() {
		return errFailed // nothing that waits in Pebble would ever end
	}
	close(s.stop)
	s.gate.calls.Wait()
	<-s.recovery
	err := s.markClean()
	if err == nil {
		// Tables have a checksum for each block. Damage at the very end of the
		// log cannot be told from a write that the power failure cut short.
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		err = s.flush(ctx)
		cancel()
	}
	return errors.Join(err, s.db.Close(), s.lock.Close())
}

// enter begins a call; leave ends it.
func (s *Store) enter() error {
	if s.failed.Load() {
		return errFailed
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.gate.closed {
		return errClosed
	}
	s.gate.calls.Add(1)
	return nil
}

func (s *Store) leave() { s.gate.calls.Done() }

// write applies a batch. Pebble reports a failed write by Fatalf and in places
// by a panic; both end in die.
func (s *Store) write(b *pebble.Batch, o *pebble.WriteOptions) error {
	defer s.dieOnPanic()
	s.dirty.Store(true)
	if err := b.Commit(o); err != nil {
		return fmt.Errorf("%w: %w", queue.ErrStorage, err)
	}
	return b.Close()
}

// barrier waits until everything that was applied before is on the disk.
func (s *Store) barrier() {
	defer s.dieOnPanic()
	if err := s.db.LogData(nil, writeOptions()); err != nil {
		s.die(fmt.Sprintf("cannot wait for the log: %v", err))
	}
}

// Sync writes a record of nothing and returns when it is on the disk: whether
// the queue can be written at all. A disk that hangs makes it hang.
func (s *Store) Sync() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.barrier()
	return nil
}

func (s *Store) dieOnPanic() {
	if r := recover(); r != nil {
		s.die(fmt.Sprintf("pebble panicked: %v", r))
	}
}

// transition lets fill read the message id and fill a batch while nobody else
// changes that message, and returns when the batch is durable.
func (s *Store) transition(id mail.ID, fill func(*pebble.Batch) error) error {
	if err := s.applyLocked(id, fill); err != nil {
		return err
	}
	s.barrier()
	return nil
}

func (s *Store) applyLocked(id mail.ID, fill func(*pebble.Batch) error) error {
	// The low bits of an id are often all zero: mix.
	mu := &s.locks[uint64(id)*0x9e3779b97f4a7c15>>32%stripes]
	mu.Lock()
	defer mu.Unlock()
	b := s.db.NewBatch()
	if err := fill(b); err != nil {
		return errors.Join(err, b.Close())
	}
	return s.write(b, pebble.NoSync)
}

// get returns a copy of a value; ok is false if there is none.
func (s *Store) get(key []byte) (value []byte, ok bool, err error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, readError(err)
	}
	value = append([]byte(nil), v...)
	return value, true, closer.Close()
}

// readError gives an error of Pebble its name in package queue.
func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", queue.ErrCorrupt, err)
	}
	return fmt.Errorf("queue: cannot read: %w", err)
}

func corrupt(what string, id mail.ID, err error) error {
	return fmt.Errorf("%w: %s of message %s: %w", queue.ErrCorrupt, what, id, err)
}

// Item implements queue.Store.
func (s *Store) Item(_ context.Context, ref queue.Ref) (queue.Item, error) {
	if err := s.enter(); err != nil {
		return queue.Item{}, err
	}
	defer s.leave()
	r, err := s.item(ref)
	if err != nil {
		return queue.Item{}, err
	}
	return r.Item, nil
}

func (s *Store) item(ref queue.Ref) (*itemRecord, error) {
	key := itemKey(ref)
	v, closer, err := s.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, fmt.Errorf("%w: item %d of %s", queue.ErrGone, ref.Item, ref.ID)
	case err != nil:
		return nil, readError(err)
	}
	defer closer.Close() //nolint:errcheck // nothing to lose
	r, err := decodeItem(key, v)
	if err != nil {
		return nil, corrupt(fmt.Sprintf("item %d", ref.Item), ref.ID, err)
	}
	return r, nil
}

// Message implements queue.Store.
func (s *Store) Message(_ context.Context, id mail.ID) (queue.Message, error) {
	if err := s.enter(); err != nil {
		return queue.Message{}, err
	}
	defer s.leave()
	r, err := s.message(id)
	if err != nil {
		return queue.Message{}, err
	}
	return r.Message, nil
}

func (s *Store) message(id mail.ID) (*record, error) {
	key := messageKey(id)
	v, closer, err := s.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, s.absent(id)
	case err != nil:
		return nil, readError(err)
	}
	defer closer.Close() //nolint:errcheck // nothing to lose
	r, err := decodeMessage(key, v)
	if err != nil {
		return nil, corrupt("envelope and header", id, err)
	}
	return r, nil
}

// absent tells a message that is gone from one that lost its m key.
func (s *Store) absent(id mail.ID) error {
	it, err := s.db.NewIter(idRange(tableItem, id))
	if err != nil {
		return readError(err)
	}
	orphaned := it.First()
	if err := it.Close(); err != nil {
		return readError(err)
	}
	if orphaned { // they go in one batch
		return corrupt("envelope and header", id, errMissing)
	}
	return fmt.Errorf("%w: %s", queue.ErrGone, id)
}

// Counts implements queue.Store. After an unclean stop the totals of before are
// added when they have been counted.
func (s *Store) Counts() queue.Counts {
	var c queue.Counts
	if base := s.base.Load(); base != nil {
		c = *base
	}
	c.Messages = max(c.Messages+s.totals.messages.Load(), 0)
	c.Items = max(c.Items+s.totals.items.Load(), 0)
	c.Held = max(c.Held+s.totals.held.Load(), 0)
	return c
}

func (s *Store) doubt(ids ...mail.ID) {
	s.inDoubt.Lock()
	for _, id := range ids {
		s.inDoubt.ids[id] = struct{}{}
	}
	s.inDoubt.Unlock()
}

func (s *Store) settled(ids ...mail.ID) {
	s.inDoubt.Lock()
	for _, id := range ids {
		delete(s.inDoubt.ids, id)
	}
	s.inDoubt.Unlock()
}

func (s *Store) doubtful(id mail.ID) bool {
	s.inDoubt.Lock()
	_, ok := s.inDoubt.ids[id]
	s.inDoubt.Unlock()
	return ok
}
