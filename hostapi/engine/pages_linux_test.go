package engine

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func testPager(t *testing.T) *pager {
	t.Helper()
	g, err := newPager()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { g.close() })
	return g
}

// testImage is an image of random octets with some pages of zeros.
func testImage(t *testing.T, g *pager, r *rand.Rand, pages int) *frozen {
	t.Helper()
	content := make([]byte, pages*pageSize)
	for page := 0; page < len(content); page += g.page {
		if r.IntN(4) > 0 {
			for k := page; k < page+g.page; k += 8 {
				*(*uint64)(unsafe.Pointer(&content[k])) = r.Uint64()
			}
		}
	}
	f, err := g.freeze(content)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// disturb does what the kernel may do to pages at any time.
func disturb(t *testing.T, r *rand.Rand, m []byte) {
	switch r.IntN(8) {
	case 0:
		unix.Madvise(m, unix.MADV_PAGEOUT) // to swap, if there is some
	case 1:
		unix.Madvise(m, unix.MADV_COLD)
	case 2:
		unix.Madvise(m, unix.MADV_MERGEABLE)
	case 3:
		unix.Madvise(m, unix.MADV_HUGEPAGE)
	case 4:
		unix.Madvise(m, unix.MADV_COLLAPSE)
	case 5:
		unix.Madvise(m, unix.MADV_WILLNEED)
	case 6:
		if r.IntN(20) == 0 {
			exec.CommandContext(t.Context(), "true").Run() // a fork
		}
	}
}

// TestRestoreMissesNoPage: pages are read, written in part or whole, by us and
// by the kernel, in all kinds of patterns and in many goroutines; after restore
// every octet is the image's.
func TestRestoreMissesNoPage(t *testing.T) {
	g := testPager(t)
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	random, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer random.Close()
	var all sync.WaitGroup
	for w := range 6 {
		r := rand.New(rand.NewPCG(7, uint64(w)))
		// Also more pages than one read of the page map tells of.
		f := testImage(t, g, r, []int{1, 3, 38, pagemapChunk*g.page/pageSize + 5}[w%4])
		all.Go(func() {
			m, err := f.attach()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { g.detach(m, 1) }()
			total := len(m) / g.page
			for round := range rounds {
				page := func() []byte { k := r.IntN(total) * g.page; return m[k : k+g.page] }
				written := map[*byte]bool{}
				write := func(p []byte) { written[&p[0]] = true }
				switch round % 7 {
				case 0: // nothing, or reads
					sum := byte(0)
					for range r.IntN(2 * total) {
						sum += page()[r.IntN(g.page)]
					}
					_ = sum
				case 1: // one octet of some pages, the first and the last among them
					for range r.IntN(total) + 1 {
						p := page()
						p[r.IntN(g.page)]++
						write(p)
					}
					m[0]++
					m[len(m)-1]++
				case 2: // every page
					for k := 0; k < len(m); k += g.page {
						m[k+r.IntN(g.page)] ^= 0xff
						write(m[k:])
					}
				case 3: // every octet
					for k := range m {
						m[k] = byte(round)
					}
				case 4: // the kernel writes
					for range 1 + r.IntN(10) {
						p := page()
						if _, err := random.Read(p); err != nil {
							t.Error(err)
						}
						write(p)
					}
				case 5: // zeros and what is there already
					for range r.IntN(total) {
						clear(page())
						p := page()
						p[5] = f.content[uintptr(unsafe.Pointer(&p[5]))-uintptr(unsafe.Pointer(&m[0]))]
					}
				case 6: // every second page, then a new mapping
					for k := 0; k < len(m); k += 2 * g.page {
						m[k]++
					}
				}
				disturb(t, r, m)
				if r.IntN(10) == 0 {
					runtime.GC()
				}
				private, err := g.restore(m, f.content)
				if err != nil {
					t.Error(err)
					return
				}
				if private < len(written)*g.page {
					t.Errorf("round %d: %d octets were private, of %d pages written", round, private, len(written))
				}
				if !bytes.Equal(m, f.content) {
					t.Errorf("round %d: the memory is not the image", round)
					return
				}
				if round%7 == 6 {
					g.detach(m, 1)
					if m, err = f.attach(); err != nil {
						t.Error(err)
						m = nil
						return
					}
				}
			}
		})
	}
	all.Wait()
}

// TestExtendedMappings: a mapping that moved has its content, zeros behind it,
// and is restored as any other.
func TestExtendedMappings(t *testing.T) {
	g := testPager(t)
	g.strict = false
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f := testImage(t, g, r, 4)
		m, err := f.attach()
		if err != nil {
			t.Fatal(err)
		}
		size, limit := len(m), int64(16*pageSize)
		for range 30 {
			m[r.IntN(size)]++
		}
		want := bytes.Clone(m)
		if m, err = g.extend(m, limit); err != nil {
			t.Fatal(err)
		}
		if int64(len(m)) != limit || !bytes.Equal(m[:size], want) {
			t.Fatalf("%d octets after moving, or not the same as before", len(m))
		}
		for range 3 {
			if bytes.ContainsFunc(m[size:], func(c rune) bool { return c != 0 }) {
				t.Fatal("what was added is not zeros")
			}
			for range 40 {
				m[r.IntN(len(m))]--
			}
			for k := size; k < len(m); k++ {
				m[k] = 0x33
			}
			if err := discard(m[size:]); err != nil {
				t.Fatal(err)
			}
			if _, err := g.restore(m[:size], f.content); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m[:size], f.content) {
				t.Fatal("the memory is not the image")
			}
		}
		g.detach(m, 2)
	}
	if n := g.mappings.Load(); n != 0 {
		t.Errorf("%d mappings are still counted", n)
	}
}

// TestAnImageCannotBeChanged: not even by the process itself.
func TestAnImageCannotBeChanged(t *testing.T) {
	f := testImage(t, testPager(t), rand.New(rand.NewPCG(1, 1)), 1)
	if _, err := unix.Pwrite(f.fd, []byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing: %v", err)
	}
	if err := unix.Ftruncate(f.fd, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncating: %v", err)
	}
	if _, err := unix.Mmap(f.fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EPERM) {
		t.Errorf("mapping to write: %v", err)
	}
}

// TestNoMoreMappings: a process may have 65,530 mappings. Instances beyond that
// have their memory on Go's heap, also those that only grow then, and are used
// again like the others.
func TestNoMoreMappings(t *testing.T) {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.pager == nil {
		t.Skip("pages cannot be shared here")
	}
	e.shareFrom = 1
	m := wb.New()
	// Each call counts in memory, twice: in the image's and in what it grew by.
	count := func(at int32) wb.Code {
		return wb.I32Const(at) + wb.I32Const(at) + wb.I32Load(0) + wb.I32Const(1) + wb.I32Add + wb.I32Store(0)
	}
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(1)+wb.MemoryGrow+wb.Drop+count(8)+count(65536+8)+
		wb.I32Const(8)+wb.I32Load(0)+wb.I32Const(65536+8)+wb.I32Load(0)+wb.I32Ne+wb.If(wb.None, wb.Unreachable, "")+
		wb.I32Const(500)+wb.I32Const(8)+wb.I32Load(0)+wb.I32Add+wb.I32Const(16)+wb.I32Shl+wb.I32Const(2)+wb.I32Or)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Memory(1, 8)
	p, err := e.Load(context.Background(), hostapi.Spec{Name: "p"}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var left atomic.Int64
	mmap := e.pager.mmap
	e.pager.mmap = func(fd int, size int64, flags int) (unsafe.Pointer, error) {
		if left.Add(-1) < 0 {
			return nil, unix.ENOMEM
		}
		return mmap(fd, size, flags)
	}
	for mappings := range int64(12) {
		left.Store(mappings)
		var open []hook.Instance
		for range 5 {
			i, err := p.OpenNew(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, i)
		}
		for call := range 3 {
			for n, i := range open {
				v, err := i.Handle(t.Context(), &hook.Event{Stage: hook.Rcpt, Session: &hook.Session{}, Tx: &hook.Transaction{}})
				if err != nil || v.Reply == nil || v.Reply.Code != 501+call {
					t.Fatalf("%d mappings: instance %d, call %d: %+v, %v", mappings, n, call, v, err)
				}
			}
		}
		for _, i := range open {
			i.Close()
		}
		for range 6 {
			i, err := p.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d := Differs(i); d != "" {
				t.Fatalf("%d mappings: %s", mappings, d)
			}
			defer i.Close()
		}
	}
}

// counter is a guest whose hook rcpt grows its memory by a page, and rejects
// with 501 + how often it was called; at mail it writes everywhere and traps.
func counter() []byte {
	m := wb.New()
	m.Func("mta1_on_rcpt", wb.None, wb.I32, wb.None, wb.I32Const(1)+wb.MemoryGrow+wb.Drop+
		wb.I32Const(8)+wb.I32Const(8)+wb.I32Load(0)+wb.I32Const(1)+wb.I32Add+wb.I32Store(0)+
		wb.I32Const(500)+wb.I32Const(8)+wb.I32Load(0)+wb.I32Add+wb.I32Const(16)+wb.I32Shl+wb.I32Const(2)+wb.I32Or)
	m.Func("mta1_on_mail", wb.None, wb.I32, wb.None, wb.I32Const(2)+wb.MemoryGrow+wb.Drop+
		wb.I32Const(0)+wb.I32Const(0x55)+wb.I32Const(3*pageSize)+wb.MemoryFill+wb.Unreachable)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Memory(1, 8)
	return m.Bytes()
}

// shared is an engine whose instances share the pages of any image.
func shared(t *testing.T) *Engine {
	t.Helper()
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	if e.pager == nil {
		t.Skip("pages cannot be shared here")
	}
	e.shareFrom = 1
	return e
}

func loadCounter(t *testing.T, e *Engine) *Plugin {
	t.Helper()
	p, err := e.Load(t.Context(), hostapi.Spec{Name: "p"}, counter())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// session opens an instance, compares it with the image, calls it at rcpt, and
// at mail if it shall fail.
func session(t *testing.T, p *Plugin, fails bool) {
	t.Helper()
	i, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if d := Differs(i); d != "" {
		t.Fatal(d)
	}
	e := &hook.Event{Stage: hook.Rcpt, Session: &hook.Session{}, Tx: &hook.Transaction{}}
	for n := range 2 {
		if v, err := i.Handle(t.Context(), e); err != nil || v.Reply == nil || v.Reply.Code != 501+n {
			t.Fatalf("call %d: %+v, %v", n, v, err)
		}
	}
	if e.Stage = hook.Mail; fails {
		if _, err := i.Handle(t.Context(), e); err == nil {
			t.Fatal("the guest did not trap")
		}
	}
}

// entries are the open files and the mappings of memory of this process.
func entries(t *testing.T) (files, mappings int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, f := range list {
		if name, _ := os.Readlink("/proc/self/fd/" + f.Name()); strings.HasPrefix(name, "/memfd:wasmta-image") {
			files++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	return files, strings.Count(string(maps), "/memfd:wasmta-image")
}

// TestNothingIsLeftOfAGeneration: no file, no mapping and no memory that is
// counted, also of instances that grew, failed, or outlived their generation.
func TestNothingIsLeftOfAGeneration(t *testing.T) {
	e := shared(t)
	files, mappings := entries(t)
	held := e.pager.mappings.Load()
	for n := range 50 {
		p := loadCounter(t, e)
		last, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for k := range 6 {
			session(t, p, k%3 == n%3)
		}
		p.Close()
		if _, m := entries(t); m < mappings+2 {
			t.Fatalf("%d mappings while an instance is open", m-mappings)
		}
		last.Close()
		<-p.Done()
		if f, m := entries(t); f != files || m != mappings {
			t.Fatalf("generation %d leaves %d files and %d mappings", n, f-files, m-mappings)
		}
		if n, m := e.MemoryInUse(), e.pager.mappings.Load(); n != 0 || m != held {
			t.Fatalf("%d octets and %d mappings are still counted", n, m-held)
		}
	}
}

// TestInstancesLeaveMappingsForOthers: Go needs some for its heap and its
// threads, and ends the process if it gets none.
func TestInstancesLeaveMappingsForOthers(t *testing.T) {
	e := shared(t)
	if most := sysctl("vm/max_map_count", maxMappings) / 2; e.pager.most != most {
		t.Errorf("instances may have %d mappings, not %d", e.pager.most, most)
	}
	p := loadCounter(t, e)
	for most := range int64(7) {
		e.reclaim()
		e.pager.most = most
		var open []hook.Instance
		for n := range 5 {
			i, err := p.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if open = append(open, i); Shares(i) != (int64(n) < most) {
				t.Errorf("of %d mappings: instance %d has one: %v", most, n, Shares(i))
			}
		}
		for _, i := range open {
			v, err := i.Handle(t.Context(), &hook.Event{Stage: hook.Rcpt, Session: &hook.Session{}, Tx: &hook.Transaction{}})
			if err != nil || v.Reply == nil || v.Reply.Code != 501 {
				t.Fatalf("%+v, %v", v, err)
			}
		}
		if n := e.pager.mappings.Load(); n > most {
			t.Errorf("%d mappings, of %d", n, most)
		}
		for _, i := range open {
			i.Close()
		}
		for range 6 {
			session(t, p, false)
		}
	}
	p.Close()
	<-p.Done()
	if n, m := e.MemoryInUse(), e.pager.mappings.Load(); n != 0 || m != 0 {
		t.Errorf("%d octets and %d mappings are still counted", n, m)
	}
}

// TestWithoutReserving: where the kernel takes what is reserved for used, memory
// that grows does not reserve what it might grow to.
func TestWithoutReserving(t *testing.T) {
	e := shared(t)
	e.pager.strict = true
	p := loadCounter(t, e)
	defer p.Close()
	for range 10 {
		session(t, p, false)
	}
}

// TestThePageMapEnds: what cannot be read is not taken for clean. The number of
// the file that was closed belongs to one that reads as zeros, which would mean
// that no page was written.
func TestThePageMapEnds(t *testing.T) {
	e := shared(t)
	p := loadCounter(t, e)
	defer p.Close()
	session(t, p, false)
	number := int(e.pager.pagemap.Fd())
	e.pager.pagemap.Close()
	zero, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(zero)
	if zero != number {
		t.Logf("the number %d was not used again", number)
	}
	for range 20 {
		session(t, p, false)
	}
	e.pager = nil // it is closed
}

// TestNoMoreFiles: without a file for it an image is copied, and a plugin loads.
func TestNoMoreFiles(t *testing.T) {
	e := shared(t)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Skip(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Skip(err)
	}
	p, err := e.Load(t.Context(), hostapi.Spec{Name: "p"}, counter())
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); rerr != nil {
		t.Fatal(rerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.image == nil || p.image.frozen != nil {
		t.Error("the image is in a file")
	}
	for range 10 {
		session(t, p, false)
	}
}
