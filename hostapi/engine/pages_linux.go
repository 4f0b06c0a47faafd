package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pager lets the instances of a plugin share the pages of its image: each maps
// the same file of memory privately, and the kernel copies a page for it when
// it first writes there.
//
// When an instance is made clean, only these copies are written again. Which
// they are is read from /proc/self/pagemap, where the kernel tells of each page
// whether there is one (bit 63), whether it is swapped out (bit 62), and
// whether it belongs to a file or is shared (bit 61). In a private mapping of a
// file there are two kinds of pages. One is the file's: nobody can have written
// to it through this mapping, and bit 61 is set, or neither 63 nor 62 because it
// was never looked at or was dropped and would be read from the file again. The
// other is anonymous, made by the first write, which also makes the first
// entry for it in the page table; from there on it is present or in swap, and
// never without an entry or with bit 61 until the mapping ends:
//
//   - Reclaim and migration replace the entry by one of swap, which has bit 62.
//   - A page merged by KSM, or all zeros by KSM or a later kernel, stays
//     anonymous or has no page structure, and then no bit 61.
//   - Huge pages are not made of a file's private copies; where the kernel
//     reports one it fills in the bits for each of its pages.
//   - A fork, which the Go runtime does for every command that it starts, makes
//     the page read-only for a moment. The bits do not change.
//   - Writes by the kernel, as of a read into guest memory, fault as ours do.
//
// So a page that was written is never taken for a clean one; the other mistake
// would cost a copy of 4 KiB. The kernel holds the lock of the page table while
// it reads the entries, and the instance belongs to nobody else meanwhile.
// newPager tries all that before anything relies on it.
type pager struct {
	pagemap *os.File // a number might be another file's after close
	page    int      // octets of a page of this machine
	// mmap can be replaced by tests.
	mmap     func(fd int, size int64, flags int) (unsafe.Pointer, error)
	entries  sync.Pool // of *[pagemapChunk]uint64
	mappings atomic.Int64
	most     int64 // mappings of instances
	strict   bool  // the kernel counts what is reserved as used
}

// maxMappings is how many mappings a process may have where the kernel does not
// tell.
const maxMappings = 65530

var errMappings = errors.New("instances have as many mappings as they may")

// sysctl reads a number of the kernel's configuration.
func sysctl(name string, otherwise int64) int64 {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return otherwise
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// pagemapChunk is how many pages are looked at in one read.
const pagemapChunk = 1024

const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageFile    = 1 << 61
)

// newPager opens and tries the page map. The error says why instances cannot
// share pages here.
func newPager() (*pager, error) {
	// Half of the mappings: without one for its own heap or for a thread, Go's
	// runtime ends the process.
	g := &pager{page: os.Getpagesize(), mmap: mmapPrivate, most: sysctl("vm/max_map_count", maxMappings) / 2,
		strict: sysctl("vm/overcommit_memory", 0) == 2}
	g.entries.New = func() any { return new([pagemapChunk]uint64) }
	if bits.UintSize < 64 || pageSize%g.page != 0 {
		return nil, fmt.Errorf("not with pages of %d octets and addresses of %d bits", g.page, bits.UintSize)
	}
	var err error
	if g.pagemap, err = os.Open("/proc/self/pagemap"); err != nil {
		return nil, err
	}
	if err := g.try(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *pager) close() error { return g.pagemap.Close() }

// try compares what the page map shows with what was done.
func (g *pager) try() error {
	const n = 8
	content := make([]byte, n*pageSize)
	for k := range content {
		content[k] = byte(k>>12 + k)
	}
	f, err := g.freeze(content)
	if err != nil {
		return err
	}
	defer f.close()
	m, err := f.attach()
	if err != nil {
		return err
	}
	defer g.detach(m, 1)
	var sum byte
	for k := range n {
		switch page := m[k*pageSize:]; k % 4 {
		case 1:
			sum += page[0] // read
		case 2:
			page[g.page-1]++ // written
		case 3:
			page[0] = content[k*pageSize] // written, and not changed
		}
	}
	_ = sum
	private, err := g.restore(m, f.content)
	if err != nil {
		return err
	}
	if want := n / 2 * g.page; private != want {
		return fmt.Errorf("/proc/self/pagemap shows %d octets of pages that were written, of %d", private, want)
	}
	if string(m) != string(content) {
		return errors.New("/proc/self/pagemap does not show all pages that were written")
	}
	return nil
}

// frozen is an image in a file of memory that nothing can change any more.
type frozen struct {
	pager   *pager
	fd      int
	content []byte // the file, to be read
}

// freeze makes a file of b, whose length is a multiple of pageSize.
func (g *pager) freeze(b []byte) (f *frozen, err error) {
	const name = "wasmta-image"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("a file of memory: %w", err)
	}
	f = &frozen{pager: g, fd: fd}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for rest := b; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			return nil, fmt.Errorf("writing an image to a file of memory: %w", err)
		}
		rest = rest[n:]
	}
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
		unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("sealing a file of memory: %w", err)
	}
	p, err := unix.MmapPtr(fd, 0, nil, uintptr(len(b)), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping an image: %w", err)
	}
	f.content = unsafe.Slice((*byte)(p), len(b))
	return f, nil
}

// close forgets the file. Instances that are mapped keep their pages.
func (f *frozen) close() {
	unmap(f.content)
	f.content = nil
	unix.Close(f.fd)
}

func mmapPrivate(fd int, size int64, flags int) (unsafe.Pointer, error) {
	return unix.MmapPtr(fd, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|flags)
}

// attach maps the image for one instance: one mapping of the process.
func (f *frozen) attach() ([]byte, error) {
	n := len(f.content)
	if f.pager.mappings.Add(1) > f.pager.most {
		f.pager.mappings.Add(-1)
		return nil, errMappings
	}
	p, err := f.pager.mmap(f.fd, int64(n), 0)
	if err != nil {
		f.pager.mappings.Add(-1)
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// extend moves mapped to a place where zeros follow up to limit, as a second
// mapping. On an error mapped is as it was. Slices of the old place are no
// longer valid.
func (g *pager) extend(mapped []byte, limit int64) (region []byte, err error) {
	if g.strict {
		return nil, errors.New("the kernel takes what is reserved for used (vm.overcommit_memory = 2)")
	}
	if g.mappings.Add(1) > g.most {
		g.mappings.Add(-1)
		return nil, errMappings
	}
	defer func() {
		if err != nil {
			g.mappings.Add(-1)
		}
	}()
	p, err := g.mmap(-1, limit, unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	region = unsafe.Slice((*byte)(p), limit)
	// A huge page for a first write here would be 2 MiB that nobody counts.
	// Kernels without them refuse, and need no telling.
	_ = unix.Madvise(region, unix.MADV_NOHUGEPAGE)
	n := uintptr(len(mapped))
	if _, err := unix.MremapPtr(unsafe.Pointer(&mapped[0]), n, p, n, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED); err != nil {
		unmap(region)
		return nil, err
	}
	return region, nil
}

// discard makes tail, which lies in what extend added, zeros again and gives
// its pages back.
func discard(tail []byte) error { return unix.Madvise(tail, unix.MADV_DONTNEED) }

// detach unmaps so many mappings. Whoever still reads or writes there ends the
// process, so it is called for an instance only when it is closed, by the
// goroutine that called it; host functions keep no view of guest memory beyond
// their return.
func (g *pager) detach(mapped []byte, mappings int64) {
	unmap(mapped)
	g.mappings.Add(-mappings)
}

func unmap(mapped []byte) {
	if len(mapped) > 0 {
		unix.MunmapPtr(unsafe.Pointer(&mapped[0]), uintptr(len(mapped)))
	}
}

// restore writes content over every page of mapped that is not the file's, and
// returns how many octets these have. After an error mapped is as it was, in
// part or whole.
func (g *pager) restore(mapped, content []byte) (private int, err error) {
	entries := g.entries.Get().(*[pagemapChunk]uint64)
	defer g.entries.Put(entries)
	base := uintptr(unsafe.Pointer(&mapped[0]))
	for done, total := 0, len(content)/g.page; done < total; {
		chunk := entries[:min(pagemapChunk, total-done)]
		b := unsafe.Slice((*byte)(unsafe.Pointer(&chunk[0])), 8*len(chunk))
		if n, err := g.pagemap.ReadAt(b, int64(base/uintptr(g.page)+uintptr(done))*8); n != len(b) {
			return private, fmt.Errorf("reading /proc/self/pagemap: %d of %d octets: %w", n, len(b), cmp.Or(err, io.ErrUnexpectedEOF))
		}
		for k := 0; k < len(chunk); {
			first := k
			for k < len(chunk) && chunk[k]&(pagePresent|pageSwapped) != 0 && chunk[k]&pageFile == 0 {
				k++
			}
			if k > first {
				from, to := (done+first)*g.page, (done+k)*g.page
				copy(mapped[from:to], content[from:to])
				private += to - from
			} else {
				k++
			}
		}
		done += len(chunk)
	}
	return private, nil
}
