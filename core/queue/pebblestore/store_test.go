package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/queue/storetest"
)

var ctx = context.Background()

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// small makes Pebble flush, rotate and separate values all the time.
func small(o *pebble.Options) {
	o.MemTableSize = 256 << 10
	o.CacheSize = 1 << 20
}

// large never rotates the log in a test.
func large(o *pebble.Options) { o.CacheSize = 1 << 20 }

func testOptions(fs vfs.FS, tune func(*pebble.Options)) Options {
	return Options{Dir: "/var/lib/wasmta/queue", FS: fs, Logger: discard(), tune: tune,
		Fatal: func(msg string) { panic("fatal: " + msg) }}
}

func harness(t storetest.TB, fs *vfs.MemFS, tune func(*pebble.Options)) *storetest.Harness {
	open := func(t storetest.TB) *Store {
		t.Helper()
		s, err := Open(testOptions(fs, tune))
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return s
	}
	s := open(t)
	h := &storetest.Harness{Store: s}
	h.Reopen = func(t storetest.TB) {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		s = open(t)
		h.Store = s
	}
	h.Crash = func(t storetest.TB, unsynced int) *storetest.Harness {
		return harness(t, crashClone(t, fs, unsynced), tune)
	}
	h.Recovered = func(storetest.TB) { <-s.Recovered() }
	h.Stray = func(t storetest.TB, live map[mail.ID]bool) (stray []string) {
		for _, k := range dump(t, s) {
			ref, ok := keyRef(k.key)
			id := ref.ID
			if k.key[0] == tableMessage || k.key[0] == tableChunk {
				id, ok = keyID(k.key)
			}
			if k.key[0] != tableState && (!ok || !live[id]) {
				stray = append(stray, string(k.key))
			}
		}
		return stray
	}
	h.Damage = func(t storetest.TB, id mail.ID, part storetest.Part) { damage(t, s, id, part) }
	h.Fill = func(_ storetest.TB, full bool) {
		u := vfs.DiskUsage{TotalBytes: 1000 << 30, AvailBytes: 51 << 30}
		if full {
			u.AvailBytes = 500 << 20
		}
		fs.TestingSetDiskUsage(u)
		s.space.mu.Lock()
		s.space.looked = time.Time{}
		s.space.mu.Unlock()
	}
	return h
}

// crashClone is what a power failure would leave. Pebble's crashable file
// system can deadlock when a log is rotated at the same time; a test that meets
// that shall say so.
func crashClone(t storetest.TB, fs *vfs.MemFS, unsynced int) *vfs.MemFS {
	t.Helper()
	c := make(chan *vfs.MemFS, 1)
	go func() {
		c <- fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(3, uint64(unsynced)))})
	}()
	select {
	case clone := <-c:
		return clone
	case <-time.After(time.Minute):
		t.Fatal("the crashable file system is stuck (known fault of Pebble v2.1)")
		return nil
	}
}

type pair struct{ key, value []byte }

func dump(t storetest.TB, s *Store) (all []pair) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		all = append(all, pair{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

func damage(t storetest.TB, s *Store, id mail.ID, part storetest.Part) {
	t.Helper()
	get := func(key []byte) []byte {
		v, ok, err := s.get(key)
		if err != nil || !ok {
			t.Fatalf("%q: %v, %v", key, ok, err)
		}
		return v
	}
	set := func(key, value []byte) {
		if err := s.db.Set(key, value, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(key []byte) {
		v := get(key)
		v[len(v)/2] ^= 0x10
		set(key, v)
	}
	switch part {
	case storetest.PartMessage:
		flip(messageKey(id))
	case storetest.PartItem:
		flip(itemKey(queue.Ref{ID: id}))
	case storetest.PartBody:
		flip(chunkKey(id, 1))
	case storetest.PartBodyOrder:
		a, b := get(chunkKey(id, 0)), get(chunkKey(id, 1))
		set(chunkKey(id, 0), b)
		set(chunkKey(id, 1), a)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) *storetest.Harness { return harness(t, vfs.NewCrashableMem(), small) })
}

// TestStoreOnDisk runs on the real file system with the options of production.
func TestStoreOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("writes to the disk")
	}
	storetest.Run(t, func(t testing.TB) *storetest.Harness {
		o := Options{Dir: t.TempDir() + "/queue", Logger: discard(), tune: large}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		s.space.fs = vfs.NewMem() // that the developer's disk is full is not the matter here
		return &storetest.Harness{Store: s}
	})
}

// TestCrash: nothing that was acknowledged is lost. It fails without the sync:
//
//	go test -tags wasmta_nosync ./core/queue/pebblestore -run Crash
func TestCrash(t *testing.T) {
	for name, tune := range map[string]func(*pebble.Options){
		"Rotating": small,
		"OneLog":   large,
		"ValuesInline": func(o *pebble.Options) {
			small(o)
			o.Experimental.ValueSeparationPolicy = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.RunCrash(t, func(t testing.TB) *storetest.Harness { return harness(t, vfs.NewCrashableMem(), tune) })
		})
	}
}

// TestCrashWhileWriting takes the power away in the middle of everything: what
// had been acknowledged before is there, and nothing is there in part.
func TestCrashWhileWriting(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := Open(testOptions(fs, large)) // no rotation: cloning cannot deadlock
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var acked [4]atomic.Uint64 // last id of each writer
	var stop atomic.Bool
	done := make(chan error, len(acked))
	body := func(w int) []byte {
		return bytes.Repeat([]byte{byte('a' + w)}, []int{100, 70_000, 300_000, 600_000}[w])
	}
	for w := range acked {
		go func() {
			var err error
			for n := 0; err == nil && !stop.Load() && n < 100; n++ {
				var d queue.Draft
				if d, err = s.Begin(ctx); err != nil {
					break
				}
				if _, err = d.Write(body(w)); err != nil {
					break
				}
				if n%5 == 4 {
					d.Abort()
					continue
				}
				if _, err = d.Commit(ctx, testEnvelope(), []byte("\r\n"), queue.CommitOptions{Due: time.UnixMilli(int64(w))}); err == nil {
					acked[w].Store(uint64(d.ID()))
				}
			}
			done <- err
		}()
	}
	var before [len(acked)]mail.ID // acknowledged before the crash
	for _, percent := range []int{0, 50, 100, 0} {
		// Let each writer get on by a message, unless it has finished.
		for w := range acked {
			for acked[w].Load() == uint64(before[w]) && len(done) < len(acked) {
				time.Sleep(time.Millisecond)
			}
		}
		for w := range acked {
			before[w] = mail.ID(acked[w].Load())
		}
		c, err := Open(testOptions(crashClone(t, fs, percent), large))
		if err != nil {
			t.Fatalf("open after a crash, %d %% kept: %v", percent, err)
		}
		<-c.Recovered()
		for _, id := range before {
			if _, err := c.Message(ctx, id); err != nil {
				t.Errorf("%d %% kept: an acknowledged message: %v", percent, err)
			}
		}
		seen := make(map[mail.ID]bool)
		if err := c.List(ctx, queue.Filter{}, func(it queue.Item, err error) bool {
			seen[it.ID] = true
			b, err2 := c.Body(ctx, it.ID)
			if err := errors.Join(err, err2); err != nil {
				t.Errorf("%d %% kept: %v", percent, err)
				return true
			}
			got, err := io.ReadAll(b)
			if want := body(int(it.Due.UnixMilli())); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d %% kept: %s: body of %d octets, want %d: %v", percent, it.ID, len(got), len(want), err)
			}
			return true
		}); err != nil {
			t.Error(err)
		}
		for _, k := range dump(t, c) {
			if id, _ := keyID(k.key); k.key[0] == tableChunk && !seen[id] {
				t.Errorf("%d %% kept: %s left a chunk", percent, id)
			}
		}
		if n := c.Counts().Messages; n != int64(len(seen)) {
			t.Errorf("%d %% kept: %d messages counted, %d there", percent, n, len(seen))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	for range acked {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func testEnvelope() mail.Envelope {
	return mail.Envelope{
		ReversePath: mail.Path{Local: "a", Domain: "example.org"},
		Recipients:  []mail.Recipient{{ForwardPath: mail.Path{Local: "b", Domain: "example.net"}}},
		Client:      mail.Client{Helo: "client.example", Arrived: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
	}
}

func commit(s *Store, body []byte) ([]queue.Ref, error) {
	d, err := s.Begin(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := d.Write(body); err != nil {
		return nil, err
	}
	return d.Commit(ctx, testEnvelope(), []byte("Subject: x\r\n\r\n"), queue.CommitOptions{Due: time.UnixMilli(1000)})
}

// TestSyncFails: no call returns nil after a write or a sync that failed, be it
// the n-th one for any n, and the store says that it is at its end.
func TestSyncFails(t *testing.T) {
	if !durable {
		t.Skip("this build does not wait for the disk")
	}
	kinds := map[errorfs.OpKind]bool{errorfs.OpFileSync: true, errorfs.OpFileSyncData: true, errorfs.OpFileSyncTo: true, errorfs.OpFileWrite: true}
	for name, act := range map[string]func(*Store, queue.Item) error{
		"commit":       func(s *Store, _ queue.Item) error { return last(commit(s, []byte("x"))) },
		"large commit": func(s *Store, _ queue.Item) error { return last(commit(s, make([]byte, 600<<10))) },
		"settle": func(s *Store, it queue.Item) error {
			it.Recipients = nil
			return last(s.Settle(ctx, queue.Settlement{Item: it}))
		},
		"update": func(s *Store, it queue.Item) error {
			return s.Update(ctx, it.Ref, func(it *queue.Item) error { it.Held = true; return nil })
		},
		"remove": func(s *Store, it queue.Item) error { return s.Remove(ctx, it.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			for n := int32(0); ; n++ {
				var armed, fired atomic.Bool
				var count atomic.Int32
				fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if armed.Load() && kinds[op.Kind] && strings.HasSuffix(op.Path, ".log") && count.Add(1) > n {
						fired.Store(true)
						return errorfs.ErrInjected
					}
					return nil
				}))
				o := testOptions(fs, large)
				fatal := make(chan string, 10)
				o.Fatal = func(msg string) { fatal <- msg }
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				refs, err := commit(s, []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				it, err := s.Item(ctx, refs[0])
				if err != nil {
					t.Fatal(err)
				}
				// Memtables start small and double. Past that no log is rotated below:
				// when a rotation fails, Pebble brings the whole process down.
				if _, err := commit(s, make([]byte, 6<<20)); err != nil {
					t.Fatal(err)
				}
				armed.Store(true)
				result := make(chan error, 1)
				go func() { result <- act(s, it) }()
				select {
				case err := <-result:
					if fired.Load() {
						t.Fatalf("operation %d on the log failed and the call returned %v", n, err)
					}
					if n == 0 || err != nil {
						t.Fatalf("nothing failed: %v", err)
					}
					armed.Store(false)
					if err := s.Close(); err != nil {
						t.Error(err)
					}
					return // past the last operation
				case msg := <-fatal:
					if !strings.Contains(msg, "injected") {
						t.Errorf("the message does not say why: %s", msg)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("operation %d on the log failed and nothing happened", n)
				}
				if _, err := commit(s, []byte("y")); !errors.Is(err, queue.ErrStorage) {
					t.Fatalf("after the failure: %v, want ErrStorage", err)
				}
				if err := s.Close(); !errors.Is(err, queue.ErrStorage) {
					t.Fatalf("close after the failure: %v, want ErrStorage", err)
				}
			}
		})
	}
}

func last[T any](_ T, err error) error { return err }

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = Open(Options{Dir: dir, Logger: discard()})
	if err == nil || !strings.Contains(err.Error(), "another wasmta serves") || !strings.Contains(err.Error(), "stop it first") {
		t.Fatalf("second open: %v", err)
	}
}

var lockedDir = flag.String("locked-dir", "", "for TestLockedByAnotherProcess: what the other process opens")

// TestLockedByAnotherProcess: two servers never work on one queue.
func TestLockedByAnotherProcess(t *testing.T) {
	if *lockedDir != "" { // this is the other process
		s, err := Open(Options{Dir: *lockedDir, Logger: discard()})
		if err == nil {
			s.Close()
			t.Fatal("opened")
		}
		t.Fatalf("refused: %v", err)
	}
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := last(commit(s, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(self, "-test.run=^TestLockedByAnotherProcess$", "-locked-dir="+dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another wasmta serves") {
		t.Fatalf("the other process: %v\n%s", err, out)
	}
	if got := s.Counts(); got.Messages != 1 {
		t.Errorf("%d messages afterwards", got.Messages)
	}
	if err := last(commit(s, []byte("y"))); err != nil {
		t.Errorf("the first process: %v", err)
	}
}

func TestNewerSchema(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(testOptions(fs, small))
	if err != nil {
		t.Fatal(err)
	}
	key := stateKey(stateSchema)
	if err := s.db.Set(key, encodeState(key, schemaVersion+1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // refused again: the first try changed nothing
		_, err = Open(testOptions(fs, small))
		if err == nil || !strings.Contains(err.Error(), "written by a newer wasmta") {
			t.Fatalf("open: %v", err)
		}
	}
}

func TestForeignData(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("/var/lib/wasmta/queue", &pebble.Options{FS: fs, Logger: pebbleLogger{&Store{log: discard()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("x"), nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testOptions(fs, small)); err == nil || !strings.Contains(err.Error(), "no schema record") {
		t.Fatalf("open: %v", err)
	}
}

// TestClockSetBack: ids go on from where they were, also between two runs and
// when nothing of the first run was kept.
func TestClockSetBack(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := Open(testOptions(fs, small))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.ids.last = mail.FirstID(time.Now().AddDate(10, 0, 0)) // the clock was wrong
	d, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	d.Abort()
	if !durable {
		t.Skip("this build does not keep the reservation")
	}
	c, err := Open(testOptions(crashClone(t, fs, 0), small))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Abort()
	if ahead := e.ID().Time().Sub(d.ID().Time()); e.ID() <= d.ID() || ahead > reserve {
		t.Fatalf("id %s (%v) after %s (%v)", e.ID(), e.ID().Time(), d.ID(), d.ID().Time())
	}
}

// TestDueLeavesOutWhatIsInDoubt: a batch is visible before it is durable.
func TestDueLeavesOutWhatIsInDoubt(t *testing.T) {
	s, err := Open(testOptions(vfs.NewMem(), small))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refs, err := commit(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.doubt(refs[0].ID)
	got, mark, next, err := s.Due(ctx, queue.Mark{}, time.Now(), 10)
	if len(got) != 0 || mark != (queue.Mark{}) || !next.IsZero() || err != nil {
		t.Fatalf("in doubt: %v %v %v %v", got, mark, next, err)
	}
	s.settled(refs[0].ID)
	if got, _, _, err := s.Due(ctx, queue.Mark{}, time.Now(), 10); len(got) != 1 || err != nil {
		t.Fatalf("settled: %v %v", got, err)
	}
}

// TestDigest: chunks that are good each but not this body are not taken.
func TestDigest(t *testing.T) {
	s, err := Open(testOptions(vfs.NewMem(), small))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refs, err := commit(s, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	b := s.db.NewBatch()
	if err := errors.Join(setChunk(b, refs[0].ID, 0, []byte("bodY")), b.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Body(ctx, refs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, queue.ErrCorrupt) {
		t.Fatalf("reading another body: %v", err)
	}
}

// TestDraftMemory: a draft holds one chunk, however long its body is.
func TestDraftMemory(t *testing.T) {
	s, err := Open(testOptions(vfs.NewMem(), small))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q, err := s.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Abort()
	d := q.(*draft)
	for range 40 {
		if _, err := d.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if cap(d.buf) > chunkSize {
			t.Fatalf("the buffer has %d octets", cap(d.buf))
		}
	}
	if d.chunks != 4_000_000/chunkSize {
		t.Fatalf("%d chunks written of %d octets", d.chunks, d.size)
	}
}

func ExampleOpen() {
	s, err := Open(Options{Dir: "/queue", FS: vfs.NewMem(), Logger: discard()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Counts().Messages, s.Close())
	// Output: 0 <nil>
}

func TestSyncOfAClosedStore(t *testing.T) {
	s, err := Open(testOptions(vfs.NewMem(), small))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Sync(); err == nil {
		t.Error("a closed store can be written")
	}
}
