package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

func TestRecordsAreOnTheDiskWithinASecondAndAreTheServersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trace")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // from 2000: ids begin in 2020
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		id := mail.FirstID(time.Now())
		receive(s, nil, id)
		time.Sleep(writeDelay + time.Millisecond)
		synctest.Wait()
		if r, err := ReadDir(dir, id.String()); err != nil || len(r.Events) == 0 {
			t.Errorf("after a second: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		receive(s, nil, id+1) // too late, and no harm
		if s.Stats().Dropped == 0 {
			t.Error("what came after the end is not counted")
		}
	})
	fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, _ error) error {
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		return nil
	})
}

func TestOldAndTooMuchIsRemoved(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // from 2000: ids begin in 2020
		s, err := Open(Options{Dir: dir, MaxSize: MinSize, Keep: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		text := strings.Repeat("x", 1000)
		first := mail.FirstID(time.Now())
		for i := range 20_000 { // 20 MB in all
			s.Held(first+mail.ID(i), 1, text)
			if i%200 == 0 {
				time.Sleep(2 * time.Second)
				synctest.Wait()
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		size := int64(0)
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			info, err := f.Info()
			if err == nil {
				size += info.Size()
			}
		}
		if size > MinSize || size < MinSize/2 || size > s.Stats().Size+MinSize/segments {
			t.Errorf("%d octets in %d files; the store believes in %d", size, len(files), s.Stats().Size)
		}
		if n := s.Stats().Dropped; n > 0 {
			t.Errorf("%d dropped", n)
		}
		if _, err := s.Explain(first.String()); !errors.Is(err, ErrUnknown) {
			t.Errorf("the oldest: %v", err)
		}
		for _, i := range []mail.ID{19_999, 15_000} { // the one in use, and a sealed one
			if _, err := s.Explain((first + i).String()); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%d files are left of what is too old", len(files))
		}
	})
}

func TestManyAtATime(t *testing.T) {
	s := open(t, t.TempDir())
	first := mail.FirstID(time.Now())
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 100 {
				id := first + mail.ID(1000*n+i)
				receive(s, chain(), id)
				if i%25 == 0 {
					if _, err := s.Explain(id.String()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for n := range 8 {
		for i := range 100 {
			if _, err := s.Explain((first + mail.ID(1000*n+i)).String()); err != nil {
				t.Fatalf("message %d of writer %d: %v", i, n, err)
			}
		}
	}
	if n := s.Stats().Dropped; n > 0 {
		t.Errorf("%d dropped", n)
	}
}

func TestAReportIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	id := mail.FirstID(time.Now())
	for i := range maxFrames + 10 {
		s.Held(id, uint32(i), "x")
		if i%1000 == 0 {
			explainOf(t, s, id.String()) // what waits is written
		}
	}
	if r := explainOf(t, s, id.String()); len(r.Events) != maxFrames || len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "10 records more") {
		t.Errorf("%d events, %q", len(r.Events), r.Notices)
	}
	// Nor does a session that is refused again and again take the memory of the server that is asked about it.
	r := s.Session(client.Session)
	for range maxShown/MaxEvents + 10 {
		r.Begin()
		for range MaxEvents {
			r.Reply("RCPT", mail.NewReply(550, "5.1.1", "x"), nil, nil, "")
		}
		r.End("")
	}
	if r := explainOf(t, s, client.Session); len(r.Events) != maxShown || len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "10 records more") {
		t.Errorf("%d events, %q", len(r.Events), r.Notices)
	}
}

func TestADiskThatFailsCostsTheTraceOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.files.Lock()
	f, err := os.Open(filepath.Join(dir)) // cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	s.active, s.file = &segment{dir: dir, number: 1, first: time.Now()}, f
	s.files.Unlock()
	id := mail.FirstID(time.Now())
	receive(s, nil, id)
	r, err := s.Explain(id.String())
	if !errors.Is(err, ErrUnknown) || s.Stats().Dropped == 0 || len(r.Notices) == 0 {
		t.Errorf("%v, %d dropped, %q", err, s.Stats().Dropped, r.Notices)
	}
}

func TestAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	first := mail.FirstID(time.Now())
	for i := range 20 {
		s.Held(first+mail.ID(i), 1, fmt.Sprintf("reason %d", i))
	}
	s.Close()
	file := filepath.Join(dir, "0000000000000000.trace")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := readFrame(whole)
	if err != nil {
		t.Fatal(err)
	}
	known := func(s *Store) (n int) {
		for i := range 20 {
			r, err := s.Explain((first + mail.ID(i)).String())
			switch {
			case err == nil && r.Events[0].Detail == fmt.Sprintf("reason %d", i):
				n++
			case !errors.Is(err, ErrUnknown):
				t.Errorf("message %d: %v %+v", i, err, r)
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		bytes []byte
		known int
	}{
		"whole":            {whole, 20},
		"torn":             {whole[:len(whole)-5], 19},
		"torn in its head": {whole[:len(whole)-f.complete+3], 19},
		"garbage behind":   {append(slices.Clone(whole), "wtr1\xff\xff\xff\x7fnoise"...), 20},
		"flipped":          {flip(whole, f.complete*3+f.complete/2), 19},
		"a length flipped": {flip(whole, f.complete*5+6), 19},
		"empty":            {nil, 0},
		"all zeros":        {make([]byte, 1000), 0},
	} {
		for _, sealed := range []bool{false, true} { // the segment is the last one, or has others behind it and no index
			dir := t.TempDir()
			name := fmt.Sprintf("%s, sealed %v", name, sealed)
			if err := os.WriteFile(filepath.Join(dir, "0000000000000005.trace"), c.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			if sealed {
				if err := os.WriteFile(filepath.Join(dir, "0000000000000009.trace"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, dir)
			if n := known(s); n != c.known {
				t.Errorf("%s: %d messages are known, want %d", name, n, c.known)
			}
			id := first + 100
			s.Held(id, 1, "new")
			s.Close()
			s = open(t, dir)
			if _, err := s.Explain(id.String()); err != nil {
				t.Errorf("%s: what came after it: %v", name, err)
			}
			if n := known(s); n != c.known {
				t.Errorf("%s: after another start %d messages are known, want %d", name, n, c.known)
			}
			s.Close()
		}
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 0x40
	return b
}

func TestDamageIsToldAndAnIndexIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id := mail.FirstID(time.Now())
	s.Held(id, 1, "one")
	s.Held(id, 1, "two")
	explainOf(t, s, id.String())
	s.files.Lock()
	g := s.active
	if err := s.seal(); err != nil {
		t.Fatal(err)
	}
	s.files.Unlock()
	b, _ := os.ReadFile(g.path())
	if err := os.WriteFile(g.path(), flip(b, len(b)-1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := explainOf(t, s, id.String()); len(r.Events) != 1 || len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "damaged") {
		t.Errorf("%+v", r)
	}
	s.Close()
	index, _ := os.ReadFile(g.indexPath())
	if err := os.WriteFile(g.indexPath(), flip(index, len(index)/2), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if r := explainOf(t, s, id.String()); len(r.Events) != 1 {
		t.Errorf("with a new index: %+v", r)
	}
}

func FuzzFrame(f *testing.F) {
	s, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	r := s.Session(client.Session)
	r.Connect(&client, "")
	r.Reply("RCPT", mail.ReplyRelayDenied(), nil, nil, "x")
	r.shut()
	f.Add(r.b)
	f.Add(r.b[frameHead+payloadHead:])
	s.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		if f, err := readFrame(b); err == nil {
			f.decode()
		}
		// The checksum keeps most of it away from what is behind it.
		g := frame{session: 1, message: 2, start: time.Unix(0, 0), events: b}
		list, _ := g.decode()
		for _, e := range list {
			if e.Event == "" {
				t.Errorf("%+v", e)
			}
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte("wtr1"), []byte("wti1"))
	f.Fuzz(func(t *testing.T, b, index []byte) {
		dir := t.TempDir()
		id := mail.FirstID(time.Now())
		os.WriteFile(filepath.Join(dir, "0000000000000001.trace"), b, 0o600)
		os.WriteFile(filepath.Join(dir, "0000000000000001.index"), index, 0o600)
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Held(id, 1, "x")
		if _, err := s.Explain(id.String()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

// A whole message: a session with two plugins at five stages, one attempt.
func BenchmarkMessage(b *testing.B) {
	s := open(b, b.TempDir())
	list := chain()
	to := []mail.Recipient{{ForwardPath: mail.Path{Local: "b", Domain: "to.test"}}}
	results := []mail.Result{{Outcome: mail.Delivered, Reply: *mail.NewReply(250, "2.0.0", "Ok: queued as 4ZKxXy1sQPz8"), RemoteMTA: "mx.to.test", Relay: "mx.to.test[192.0.2.9]:25"}}
	hops := []mail.NextHop{{Transport: mail.TransportMX, Host: "to.test"}}
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("trace=%v", on), func(b *testing.B) {
			use := s
			if !on {
				use = nil
			}
			size := s.Stats().Size
			id := mail.FirstID(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				id++
				receive(use, list, id)
				r := use.Item(id, 1)
				r.Routed(hops, to, false, "")
				r.Attempted(1, hops, time.Now(), to, results)
				r.Gone()
				r.Flush()
			}
			if on {
				_, _ = s.Explain(id.String())
				b.ReportMetric(float64(s.Stats().Size-size)/float64(b.N), "disk-B/op")
				b.ReportMetric(float64(s.Stats().Dropped)/float64(3*b.N), "dropped/op")
			}
		})
	}
}
