package pebblestore

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// TestDamagedLog alters the log of a store that was not closed, anywhere but in
// its last blocks, where damage looks like a write that was cut short.
func TestDamagedLog(t *testing.T) {
	if !durable {
		t.Skip("this build does not sync the log")
	}
	fs := vfs.NewCrashableMem()
	s, err := Open(testOptions(fs, large))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 120 {
		if _, err := commit(s, make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	image := crashClone(t, fs, 0)
	names, err := image.List(s.opts.Dir)
	if err != nil {
		t.Fatal(err)
	}
	altered := 0
	for _, name := range names {
		path := image.PathJoin(s.opts.Dir, name)
		info, err := image.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(1000); strings.HasSuffix(name, ".log") && off < info.Size()-96<<10; off += 30_011 {
			c := vfs.NewMem()
			if ok, err := vfs.Clone(image, c, "/", "/"); err != nil || !ok {
				t.Fatal(ok, err)
			}
			data, err := c.UnsafeGetFileDataBuffer(path)
			if err != nil {
				t.Fatal(err)
			}
			data[off] ^= 0x21
			altered++
			if c, err := Open(testOptions(c, large)); err == nil {
				<-c.Recovered()
				if n := c.Counts().Messages; n != 120 {
					t.Errorf("%s altered at %d of %d: opened without a word, with %d of 120 messages", name, off, info.Size(), n)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if altered < 10 {
		t.Errorf("only %d places altered", altered)
	}
}

// TestDamagedFiles alters files of Pebble at many places. Open refuses, or each
// message is either what it was or reported as damaged; never anything else.
func TestDamagedFiles(t *testing.T) {
	const dir = "/var/lib/wasmta/queue"
	fs := vfs.NewMem()
	s, err := Open(testOptions(fs, small))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[mail.ID][]byte)
	add := func(n int) {
		for i := range n {
			body := bytes.Repeat([]byte{byte(i), byte(i >> 8), 'x'}, 300+7_000*(i%2))
			refs, err := commit(s, body)
			if err != nil {
				t.Fatal(err)
			}
			want[refs[0].ID] = body
		}
	}
	add(100)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var refused, damaged, intact int
	for _, name := range names {
		ext := name[strings.LastIndexByte(name, '.')+1:]
		if ext != "sst" && ext != "blob" && ext != "log" && !strings.HasPrefix(name, "MANIFEST") {
			continue
		}
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for step := range int64(6) {
			c := vfs.NewMem()
			if ok, err := vfs.Clone(fs, c, "/", "/"); err != nil || !ok {
				t.Fatal(ok, err)
			}
			if info.Size() == 0 {
				continue
			}
			data, err := c.UnsafeGetFileDataBuffer(c.PathJoin(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			data[info.Size()*step/6+info.Size()/50] ^= 0x21
			c2, err := Open(testOptions(c, small))
			if err != nil {
				refused++
				continue
			}
			bad := 0
			for id, body := range want {
				got, err := all(c2, id)
				switch {
				case err == nil && bytes.Equal(got, body):
				case errors.Is(err, queue.ErrCorrupt):
					bad++
				default:
					t.Fatalf("%s altered at step %d: %s: %d octets and %v", name, step, id, len(got), err)
				}
			}
			listed := 0
			if err := c2.List(ctx, queue.Filter{}, func(_ queue.Item, err error) bool { listed++; return true }); err == nil && listed != len(want) || err != nil && !errors.Is(err, queue.ErrCorrupt) {
				t.Fatalf("%s altered at step %d: %d of %d listed, %v", name, step, listed, len(want), err)
			}
			if bad > 0 {
				damaged++
			} else {
				intact++
			}
			if err := c2.Close(); err != nil && bad == 0 {
				t.Errorf("%s altered at step %d: close: %v", name, step, err)
			}
		}
	}
	t.Logf("refused %d, damage reported %d, nothing touched %d", refused, damaged, intact)
	if damaged == 0 || refused+damaged+intact < 12 {
		t.Error("the test does not reach the data")
	}
}

func all(s *Store, id mail.ID) ([]byte, error) {
	b, err := s.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(b)
	return got, errors.Join(err, b.Close())
}
