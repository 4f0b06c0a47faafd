package state

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// clock is a time that tests move.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time        { return time.Unix(0, c.ns.Load()) }
func (c *clock) pass(d time.Duration)  { c.ns.Add(int64(d)) }
func k(format string, a ...any) []byte { return fmt.Appendf(nil, format, a...) }

func open(t testing.TB, fs vfs.FS, c *clock) *Store {
	t.Helper()
	o := Options{Dir: "state", FS: fs}
	if c != nil {
		o.Now = c.now
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func plugin(t testing.TB, s *Store, name string, mb int) *Memory {
	t.Helper()
	m, err := s.Plugin(name, mb)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func want(t testing.TB, err error, code abi.Code) {
	t.Helper()
	if code == abi.OK && err == nil {
		return
	}
	if !errors.Is(err, code) {
		t.Errorf("error is %v, want %v", err, code)
	}
}

func value(t testing.TB, m *Memory, key, text string) {
	t.Helper()
	if v, err := m.Get([]byte(key)); err != nil || string(v) != text {
		t.Errorf("%s is %q, %v; want %q", key, v, err, text)
	}
}

func TestValues(t *testing.T) {
	m := plugin(t, open(t, vfs.NewMem(), nil), "p", 1)
	_, err := m.Get(k("a"))
	want(t, err, abi.NotFound)
	want(t, m.Delete(k("a")), abi.NotFound)
	want(t, m.Set(k("a"), k("1"), 0, abi.KVIfPresent), abi.NotFound)
	want(t, m.Set(k("a"), k("1"), 0, abi.KVIfAbsent), abi.OK)
	want(t, m.Set(k("a"), k("2"), 0, abi.KVIfAbsent), abi.Conflict)
	value(t, m, "a", "1")
	want(t, m.Set(k("a"), k("3"), 0, abi.KVIfPresent|abi.KVSync), abi.OK)
	value(t, m, "a", "3")
	want(t, m.CompareAndSwap(k("a"), k("1"), k("4"), 0), abi.Conflict)
	want(t, m.CompareAndSwap(k("a"), nil, k("4"), 0), abi.Conflict)
	want(t, m.CompareAndSwap(k("a"), k("3"), k("4"), 0), abi.OK)
	value(t, m, "a", "4")
	want(t, m.CompareAndSwap(k("b"), k("x"), k("4"), 0), abi.Conflict)
	want(t, m.CompareAndSwap(k("b"), nil, nil, 0), abi.OK)
	value(t, m, "b", "")
	want(t, m.Delete(k("a")), abi.OK)
	_, err = m.Get(k("a"))
	want(t, err, abi.NotFound)
	if keys, octets := m.Usage(); keys != 1 || octets != 1 {
		t.Errorf("usage is %d keys, %d octets", keys, octets)
	}
}

func TestPluginsDoNotSeeEachOther(t *testing.T) {
	s := open(t, vfs.NewMem(), nil)
	a, ab := plugin(t, s, "a", 1), plugin(t, s, "ab", 1)
	want(t, a.Set(k("bx"), k("1"), 0, 0), abi.OK)
	_, err := ab.Get(k("x"))
	want(t, err, abi.NotFound)
	want(t, ab.Set(k("x"), k("2"), 0, 0), abi.OK)
	value(t, a, "bx", "1")
	value(t, ab, "x", "2")
	for _, name := range []string{"", strings.Repeat("n", 65)} {
		if _, err := s.Plugin(name, 1); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

func TestCounters(t *testing.T) {
	c := newClock()
	m := plugin(t, open(t, vfs.NewMem(), c), "p", 1)
	incr := func(delta int64, ttl time.Duration, refresh bool, want int64) {
		t.Helper()
		if n, err := m.Incr(k("n"), delta, ttl, refresh); err != nil || n != want {
			t.Errorf("incr %d is %d, %v; want %d", delta, n, err, want)
		}
	}
	incr(5, time.Second, false, 5)
	c.pass(900 * time.Millisecond)
	incr(-2, time.Hour, false, 3)
	value(t, m, "n", "3")
	c.pass(100 * time.Millisecond)
	incr(-2, time.Second, false, 0) // the old one has expired
	incr(math.MaxInt64, 0, false, math.MaxInt64)
	incr(1, 2*time.Second, true, math.MaxInt64)
	c.pass(1900 * time.Millisecond)
	incr(math.MinInt64, 0, false, 0)
	want(t, m.Set(k("v"), k("1"), 0, 0), abi.OK)
	_, err := m.Incr(k("v"), 1, 0, false)
	want(t, err, abi.Invalid)
	want(t, m.CompareAndSwap(k("n"), k("0"), k("v"), 0), abi.OK)
	value(t, m, "n", "v")
}

func TestTokenBuckets(t *testing.T) {
	c := newClock()
	m := plugin(t, open(t, vfs.NewMem(), c), "p", 1)
	take := func(cost, burst, rate int64, want time.Duration) {
		t.Helper()
		if wait, err := m.Take(k("b"), cost, burst, rate); err != nil || wait != want {
			t.Errorf("take %d of %d at %d/1000 waits %v, %v; want %v", cost, burst, rate, wait, err, want)
		}
	}
	take(3, 3, 500, 0) // one token in two seconds
	take(1, 3, 500, 2*time.Second)
	c.pass(1500 * time.Millisecond)
	take(1, 3, 500, 500*time.Millisecond)
	take(0, 3, 500, 0)
	c.pass(500 * time.Millisecond)
	take(1, 3, 500, 0)
	take(1, 3, 500, 2*time.Second)
	c.pass(-time.Hour) // the clock is set back: nothing is won or lost
	take(1, 3, 500, 2*time.Second)
	c.pass(time.Hour)
	take(3, 3, 500, 0)
	_, err := m.Get(k("b"))
	want(t, err, abi.Invalid)
	c.pass(6001 * time.Millisecond) // it is full: as if it never was
	_, err = m.Get(k("b"))
	want(t, err, abi.NotFound)
	// The ends of the range.
	take(math.MaxInt32, math.MaxInt32, 1, 0)
	if wait, _ := m.Take(k("b"), math.MaxInt32, math.MaxInt32, 1); wait < maxLife {
		t.Errorf("waits %v", wait)
	}
	c.pass(50 * 365 * 24 * time.Hour)
	take(1, math.MaxInt32, 1e12, 0)
}

// A bucket gives neither more nor less than its rate, whatever the steps.
func TestTokenBucketsAreExact(t *testing.T) {
	c := newClock()
	m := plugin(t, open(t, vfs.NewMem(), c), "p", 1)
	start, taken := c.now(), 0
	for c.now().Sub(start) < 100*time.Second {
		c.pass(time.Duration(rand.Int64N(int64(40 * time.Millisecond))))
		for {
			wait, err := m.Take(k("b"), 1, 10, 33_333)
			if err != nil {
				t.Fatal(err)
			}
			if wait > 0 {
				break
			}
			taken++
		}
	}
	if most := 10 + int(c.now().Sub(start).Seconds()*33.333); taken < most-1 || taken > most {
		t.Errorf("%d tokens taken, want %d", taken, most)
	}
}

func TestExpiryAndSweep(t *testing.T) {
	c := newClock()
	s := open(t, vfs.NewMem(), c)
	m := plugin(t, s, "p", 1)
	sweep := func(keys int64) {
		t.Helper()
		if err := s.sweep(); err != nil {
			t.Fatal(err)
		}
		if n, octets := m.Usage(); n != keys || keys == 0 && octets != 0 {
			t.Errorf("%d keys with %d octets are left, want %d keys", n, octets, keys)
		}
	}
	want(t, m.Set(k("a"), k("1"), 30*time.Second, 0), abi.OK)
	want(t, m.Set(k("b"), k("1"), 90*time.Second, 0), abi.OK)
	want(t, m.Set(k("c"), k("1"), 30*time.Second, 0), abi.OK)
	want(t, m.Set(k("d"), k("1"), 0, 0), abi.OK)
	want(t, m.Set(k("c"), k("1"), 10*time.Minute, 0), abi.OK) // lives longer
	want(t, m.Set(k("e"), k("1"), time.Second, 0), abi.OK)
	want(t, m.Set(k("e"), k("1"), 0, 0), abi.OK) // for ever
	want(t, m.Set(k("f"), k("1"), 10*time.Minute, 0), abi.OK)
	want(t, m.Set(k("f"), k("1"), time.Second, 0), abi.OK) // shorter
	want(t, m.Set(k("g"), k("1"), time.Second, 0), abi.OK)
	want(t, m.Delete(k("g")), abi.OK)
	sweep(6)
	c.pass(31 * time.Second)
	for _, key := range []string{"a", "f"} {
		_, err := m.Get([]byte(key))
		want(t, err, abi.NotFound)
		want(t, m.Delete([]byte(key)), abi.NotFound)
	}
	want(t, m.Set(k("a"), k("2"), 0, abi.KVIfPresent), abi.NotFound)
	c.pass(30 * time.Second)
	sweep(4)
	c.pass(time.Minute)
	sweep(3)
	c.pass(10 * time.Minute)
	sweep(2)
	value(t, m, "d", "1")
	value(t, m, "e", "1")
	if n := count(t, s, tableIndex); n != 0 {
		t.Errorf("%d entries of the index are left", n)
	}
}

func count(t testing.TB, s *Store, table byte) int {
	t.Helper()
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer iter.Close()
	n := 0
	for iter.First(); iter.Valid(); iter.Next() {
		n++
	}
	return n
}

func TestQuota(t *testing.T) {
	s := open(t, vfs.NewMem(), nil)
	m := plugin(t, s, "p", 1)
	big := bytes.Repeat([]byte("x"), 64<<10)
	n := 0
	for ; m.Set(k("%02d", n), big, 0, 0) == nil; n++ {
	}
	if n != 15 {
		t.Errorf("%d values of 64 KiB fit into 1 MiB", n)
	}
	want(t, m.Set(k("99"), big, 0, 0), abi.Limit)
	want(t, m.Set(k("00"), big, 0, 0), abi.OK) // no growth
	want(t, m.Set(k("00"), k("small"), 0, 0), abi.OK)
	want(t, m.Set(k("99"), big[:1000], 0, 0), abi.OK)
	want(t, plugin(t, s, "q", 1).Set(k("99"), big, 0, 0), abi.OK) // another's is another's
	plugin(t, s, "p", 2)
	want(t, m.Set(k("98"), big, 0, 0), abi.OK)
	m.used.keys = abi.MaxKVKeys
	want(t, m.Set(k("97"), nil, 0, 0), abi.Limit)
	_, err := m.Incr(k("97"), 1, 0, false)
	want(t, err, abi.Limit)
	_, err = m.Take(k("97"), 1, 1, 1)
	want(t, err, abi.Limit)
	want(t, m.Set(k("98"), nil, 0, 0), abi.OK)
}

func TestEverythingOutlivesARestart(t *testing.T) {
	fs, c := vfs.NewMem(), newClock()
	s := open(t, fs, c)
	m := plugin(t, s, "p", 1)
	want(t, m.Set(k("v"), k("1"), 0, 0), abi.OK)
	want(t, m.Set(k("gone"), k("1"), time.Minute, 0), abi.OK)
	m.Incr(k("n"), 7, 0, false)
	m.Take(k("b"), 2, 2, 1000)
	keys, octets := m.Usage()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, m.Set(k("late"), k("1"), 0, 0), abi.Unavailable)
	_, late := m.Get(k("v"))
	want(t, late, abi.Unavailable)
	if _, err := s.Plugin("late", 1); err == nil {
		t.Error("a closed store gives memory")
	}
	c.pass(2 * time.Minute)
	s = open(t, fs, c)
	if err := s.sweep(); err != nil { // of a plugin that is not loaded
		t.Fatal(err)
	}
	m = plugin(t, s, "p", 1)
	value(t, m, "v", "1")
	value(t, m, "n", "7")
	_, err := m.Get(k("gone"))
	want(t, err, abi.NotFound)
	if k2, o2 := m.Usage(); k2 != keys-2 || o2 != octets-5-25 {
		t.Errorf("usage was %d keys, %d octets; is %d, %d", keys, octets, k2, o2)
	}
}

func TestANewerFormatIsNotTouched(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs, nil)
	if err := s.db.Set([]byte{tableMeta}, []byte("2"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(Options{Dir: "state", FS: fs}); err == nil || !strings.Contains(err.Error(), `format "2"`) {
		t.Errorf("%v", err)
	}
}

// After a power failure what was synced is there, and what is there is whole:
// the usage is that of the keys.
func TestCrash(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		s := open(t, fs, nil)
		m := plugin(t, s, "p", 8)
		for n := range 200 {
			key := k("%d", rnd.IntN(20))
			switch rnd.IntN(4) {
			case 0:
				m.Delete(key)
			case 1:
				m.Incr(k("n%d", rnd.IntN(3)), 1, 0, false)
			default:
				want(t, m.Set(key, bytes.Repeat(key, rnd.IntN(50)), time.Duration(rnd.IntN(2))*time.Hour, 0), abi.OK)
			}
			if n == 100 {
				want(t, m.Set(k("synced"), k("yes"), 0, abi.KVSync), abi.OK)
			}
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 5, RNG: rnd})
		after := open(t, crashed, nil)
		m = plugin(t, after, "p", 8)
		value(t, m, "synced", "yes")
		var have usage
		iter, err := after.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableData}, UpperBound: []byte{tableData + 1}})
		if err != nil {
			t.Fatal(err)
		}
		for iter.First(); iter.Valid(); iter.Next() {
			r, err := decodeRecord(iter.Value())
			if err != nil {
				t.Fatal(err)
			}
			have.keys++
			have.octets += int64(len(iter.Key()) - len(dataKey("p", nil)) + len(r.payload))
		}
		iter.Close()
		if have != m.used {
			t.Errorf("seed %d: usage is %+v, the keys make %+v", seed, m.used, have)
		}
		after.Close()
	}
}

func TestManyAtOnce(t *testing.T) {
	c := newClock()
	s := open(t, vfs.NewMem(), c)
	m := plugin(t, s, "p", 1)
	var taken, won atomic.Int64
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 200 {
				if _, err := m.Incr(k("n"), 1, time.Hour, n%2 == 0); err != nil {
					t.Error(err)
				}
				if wait, err := m.Take(k("b"), 1, 100, 1); err != nil {
					t.Error(err)
				} else if wait == 0 {
					taken.Add(1)
				}
				if m.Set(k("once"), k("%d", g), 0, abi.KVIfAbsent) == nil {
					won.Add(1)
				}
				for {
					v, err := m.Get(k("cas"))
					if err != nil && err != abi.NotFound {
						t.Error(err)
					}
					if err = m.CompareAndSwap(k("cas"), v, k("%d", len(v)+1), 0); err == nil {
						break
					}
				}
				m.Set(k("own%d", g), k("x"), time.Millisecond, 0)
				if n%50 == 0 {
					c.pass(time.Minute)
					if err := s.sweep(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	value(t, m, "n", "1600")
	// 32 minutes passed, and a thousandth of a token came each second.
	if n := taken.Load(); n < 100 || n > 102 {
		t.Errorf("%d tokens were taken of 100 and what came", n)
	}
	if won.Load() != 1 {
		t.Errorf("%d set what was to be set once", won.Load())
	}
}

// A disk that fails costs the plugins their memory and nothing else: calls end,
// and so does the server.
func TestADiskThatFails(t *testing.T) {
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errors.New("input/output error")
		}
		return nil
	}))
	s := open(t, fs, nil)
	m := plugin(t, s, "p", 1)
	want(t, m.Set(k("a"), k("1"), 0, abi.KVSync), abi.OK)
	broken.Store(true)
	want(t, m.Set(k("a"), k("2"), 0, abi.KVSync), abi.Unavailable)
	want(t, m.Set(k("a"), k("3"), 0, 0), abi.Unavailable)
	_, err := m.Get(k("a"))
	want(t, err, abi.Unavailable)
	_, err = m.Incr(k("n"), 1, 0, false)
	want(t, err, abi.Unavailable)
	if err := s.Close(); err == nil {
		t.Error("Close says that all is well")
	}
}

// small is a disk with little room.
type small struct {
	vfs.FS
	available atomic.Uint64
}

func (f *small) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.available.Load(), TotalBytes: 100 << 30}, nil
}

func TestADiskThatIsFull(t *testing.T) {
	fs := &small{FS: vfs.NewMem()}
	fs.available.Store(100 << 20)
	s := open(t, fs, nil)
	m := plugin(t, s, "p", 1)
	want(t, m.Set(k("a"), k("1"), 0, 0), abi.Unavailable)
	want(t, m.Delete(k("a")), abi.NotFound)
	fs.available.Store(1 << 30)
	s.looked.Store(0)
	want(t, m.Set(k("a"), k("1"), 0, 0), abi.OK)
}

func TestTwoStoresInOneDirectory(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("two have the directory open")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add(int64(1), "name", []byte("key"), "nam", []byte("ekey"))
	f.Add(int64(0), "", []byte(nil), "\x00", []byte("\x01"))
	f.Fuzz(func(t *testing.T, minute int64, name string, key []byte, name2 string, key2 []byte) {
		if len(name) > maxName || len(name2) > maxName || minute < 0 {
			return
		}
		m, n, k, ok := parseIndexKey(indexKey(minute, name, key))
		if !ok || m != minute || n != name || !bytes.Equal(k, key) {
			t.Errorf("%d %q %q became %d %q %q", minute, name, key, m, n, k)
		}
		if same := name == name2 && bytes.Equal(key, key2); same != bytes.Equal(dataKey(name, key), dataKey(name2, key2)) {
			t.Errorf("%q %q and %q %q share a key", name, key, name2, key2)
		}
		parseIndexKey(key)
	})
}

func FuzzRecord(f *testing.F) {
	f.Add((&record{kindCounter, 12, 3, counter(7)}).encode(), int64(5), int64(7), int64(1000), int64(1))
	f.Add((&record{kindBucket, 1 << 40, 0, bucket{1, 2, 3}.payload()}).encode(), int64(1)<<60, int64(math.MaxInt32), int64(1e12), int64(9))
	f.Fuzz(func(t *testing.T, b []byte, now, burst, rate, cost int64) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(r.encode())
		if err != nil || again.kind != r.kind || again.expire != r.expire || again.minute != r.minute || !bytes.Equal(again.payload, r.payload) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
		r.text()
		if r.kind != kindBucket || burst < 1 || burst > math.MaxInt32 || rate < 1 || rate > 1e12 || cost < 0 || cost > burst {
			return
		}
		k := r.bucket()
		if k.tokens < 0 || k.tokens > math.MaxInt32*micro || k.rest < 0 || k.rest >= micro || k.time < 0 || now < 0 {
			return
		}
		k.fill(now, burst, rate)
		if k.tokens < 0 || k.tokens > burst*micro || k.rest < 0 || k.rest >= micro {
			t.Errorf("filled to %+v", k)
		}
		if w := k.until(cost*micro, rate); w > 0 && w < math.MaxInt64/4 && now < math.MaxInt64/4 {
			k.fill(now+w, burst, rate)
			if k.until(cost*micro, rate) != 0 {
				t.Errorf("after %d ns there are still not enough: %+v", w, k)
			}
		}
	})
}
