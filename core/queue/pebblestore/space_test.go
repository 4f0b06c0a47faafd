package pebblestore

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/core/queue"
)

const mib = 1 << 20

// TestBudget: what is kept free of disks of all sizes.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		total          uint64
		minFree        int64
		memTable, keep uint64 // MiB
	}{
		{16 * mib, 0, 1, 13},
		{64 * mib, 0, 1, 13},
		{1024 * mib, 0, 16, 128 + 80},
		{252 << 30, 0, 64, 256 + 320},
		{10 << 40, 0, 64, 256 + 320},
		{0, 0, 64, 256 + 320}, // unknown
		{64 * mib, 2 * mib, 1, 7},
		{252 << 30, 10 << 30, 64, 10<<10 + 320},
	} {
		b := newBudget(c.total, c.minFree)
		if b.memTable != c.memTable*mib || b.headroom+b.reserve != c.keep*mib {
			t.Errorf("%+v: memtable %d MiB, keeps %d MiB", c, b.memTable/mib, (b.headroom+b.reserve)/mib)
		}
	}
}

// diskOf is a disk of 64 MiB with so much available.
func diskOf(avail uint64) *vfs.MemFS {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 64 * mib, AvailBytes: avail})
	return fs
}

func openOn(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	o := testOptions(fs, nil)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestClaims: what all drafts hold together fits on the disk before any of it
// is written, and what is given up is free for others.
func TestClaims(t *testing.T) {
	s := openOn(t, diskOf(23*mib)) // 10 MiB for new mail
	var drafts []queue.Draft
	var mu sync.Mutex
	var taken, refused atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			d, err := s.Begin(ctx)
			if err != nil {
				t.Errorf("begin: %v", err)
				return
			}
			mu.Lock()
			drafts = append(drafts, d)
			mu.Unlock()
			for range 24 { // less than a chunk
				n, err := d.Write(make([]byte, 10<<10))
				taken.Add(int64(n))
				if errors.Is(err, queue.ErrStorage) {
					refused.Add(1)
					return
				} else if err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if refused.Load() > 0 {
		t.Errorf("%d drafts were refused although all fit", refused.Load())
	}
	for range 30 {
		wg.Go(func() {
			d, err := s.Begin(ctx)
			if err != nil {
				return
			}
			mu.Lock()
			drafts = append(drafts, d)
			mu.Unlock()
			for range 24 {
				n, err := d.Write(make([]byte, 10<<10))
				taken.Add(int64(n))
				if errors.Is(err, queue.ErrStorage) {
					refused.Add(1)
					return
				}
			}
		})
	}
	wg.Wait()
	if refused.Load() == 0 || taken.Load() > 10*mib {
		t.Errorf("%d octets were taken for 10 MiB of room, %d drafts refused", taken.Load(), refused.Load())
	}
	for _, d := range drafts {
		d.Abort()
	}
	if s.space.claimed != 0 {
		t.Errorf("%d octets stay claimed", s.space.claimed)
	}
	if _, err := commit(s, make([]byte, 5*mib)); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if s.space.claimed != 0 {
		t.Errorf("%d octets stay claimed after a commit", s.space.claimed)
	}
}

// TestSettleInReserve: without room for new mail, attempts and notices go on.
func TestSettleInReserve(t *testing.T) {
	fs := diskOf(40 * mib)
	s := openOn(t, fs)
	refs, err := commit(s, make([]byte, mib))
	if err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 64 * mib, AvailBytes: 0})
	s.space.looked = time.Time{}
	if _, err := commit(s, []byte("x")); !errors.Is(err, queue.ErrStorage) {
		t.Fatalf("commit on a full disk: %v", err)
	}
	it, err := s.Item(ctx, refs[0])
	if err != nil {
		t.Fatal(err)
	}
	it.Recipients = nil
	if _, err := s.Settle(ctx, queue.Settlement{Item: it}); err != nil {
		t.Errorf("settle on a full disk: %v", err)
	}
}

// TestRelief: when new mail is refused, what delivered mail holds is given
// back, without any other cause.
func TestRelief(t *testing.T) {
	fs := diskOf(60 * mib)
	s := openOn(t, fs)
	var all []queue.Ref
	for range 10 {
		refs, err := commit(s, make([]byte, mib))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, refs...)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, ref := range all {
		if err := s.Remove(ctx, ref.ID); err != nil {
			t.Fatal(err)
		}
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 64 * mib, AvailBytes: 12 * mib})
	s.space.looked = time.Time{}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.Begin(ctx); !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("begin: %v", err)
		}
		m := s.db.Metrics()
		if m.BlobFiles.LiveSize+uint64(m.Total().TablesSize) < mib {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("what was removed still takes %d octets of blobs", m.BlobFiles.LiveSize)
		}
	}
}

// fullFS refuses writes to logs or tables while it is full.
type fullFS struct {
	vfs.FS
	full atomic.Bool
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if c == "pebble-memtable-flush" && err == nil {
		file = fullFile{file, f}
	}
	return file, err
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

func (f fullFile) Write(p []byte) (int, error) {
	if f.fs.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// TestFlushRetried: a flush that finds no space is tried again, not more often
// than each second, and nothing is lost.
func TestFlushRetried(t *testing.T) {
	fs := &fullFS{FS: diskOf(60 * mib)}
	var failures atomic.Int64
	o := testOptions(fs, func(o *pebble.Options) {
		o.EventListener.BackgroundError = func(error) { failures.Add(1) }
	})
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refs, err := commit(s, make([]byte, 100<<10))
	if err != nil {
		t.Fatal(err)
	}
	fs.full.Store(true)
	done, err := s.db.AsyncFlush()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	if n := failures.Load(); n > 5 {
		t.Errorf("the flush failed %d times in 1.5 s", n)
	}
	fs.full.Store(false)
	<-done
	b, err := s.Body(ctx, refs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n, err := io.Copy(io.Discard, b); n != 100<<10 || err != nil {
		t.Errorf("%d octets, %v", n, err)
	}
}

// TestGuard: compactions leave the headroom alone; logs and flushes may use it.
func TestGuard(t *testing.T) {
	fs := diskOf(5 * mib)
	g := &guardFS{FS: fs, dir: "/", floor: 5 * mib}
	for category, ok := range map[vfs.DiskWriteCategory]bool{
		"pebble-wal": true, "pebble-manifest": true, "pebble-memtable-flush": true,
		"pebble-compaction": false, "pebble-blob-file-rewrite": false,
	} {
		f, err := g.Create("f", category)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("x")); (err == nil) != ok || err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", category, err)
		}
		f.Close()
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 64 * mib, AvailBytes: 6 * mib})
	f, err := g.Create("f", "pebble-compaction")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err != nil {
		t.Errorf("above the floor: %v", err)
	}
}

// TestBallast: its blocks exist, go on demand and come back once.
func TestBallast(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir() + "/queue", Logger: discard(), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.spare.size = mib
	s.fillBallast()
	i, err := vfs.Default.Stat(s.spare.path)
	if err != nil {
		t.Skipf("no ballast on this file system: %v", err)
	}
	if i.Size() != mib {
		t.Errorf("the ballast has %d octets", i.Size())
	}
	s.dropBallast()
	if _, err := vfs.Default.Stat(s.spare.path); err == nil {
		t.Error("the ballast is still there")
	}
	s.dropBallast() // gone already
	s.fillBallast()
	if _, err := vfs.Default.Stat(s.spare.path); err != nil {
		t.Errorf("the ballast does not come back: %v", err)
	}
}
