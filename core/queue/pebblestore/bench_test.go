package pebblestore

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

func openBench(b *testing.B, dir string) *Store {
	b.Helper()
	s, err := Open(Options{Dir: dir, Logger: discard()})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// each runs f b.N times from n goroutines.
func each(b *testing.B, n int, f func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	errs := make(chan error, n)
	b.ResetTimer()
	for range n {
		go func() {
			var err error
			for i := next.Add(1); i <= int64(b.N) && err == nil; i = next.Add(1) {
				err = f(i - 1)
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%dk/%d", size>>10, n), func(b *testing.B) {
				s := openBench(b, b.TempDir())
				defer s.Close()
				body := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				each(b, n, func(int64) error { return last(commit(s, body)) })
			})
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openBench(b, b.TempDir())
			defer s.Close()
			refs := fill(b, s, b.N)
			b.ReportAllocs()
			each(b, n, func(i int64) error {
				it, err := s.Item(ctx, refs[i])
				if err != nil {
					return err
				}
				it.Recipients = nil
				return last(s.Settle(ctx, queue.Settlement{Item: it}))
			})
		})
	}
}

// BenchmarkSettleOneMessage settles the items of messages with 100 domains.
func BenchmarkSettleOneMessage(b *testing.B) {
	s := openBench(b, b.TempDir())
	defer s.Close()
	var refs []queue.Ref
	for len(refs) < b.N {
		env := testEnvelope()
		for i := range 99 {
			env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: mail.Path{Local: "x", Domain: fmt.Sprintf("d%d.example", i)}})
		}
		d, err := s.Begin(ctx)
		if err != nil {
			b.Fatal(err)
		}
		r, err := d.Commit(ctx, env, nil, queue.CommitOptions{})
		if err != nil {
			b.Fatal(err)
		}
		refs = append(refs, r...)
	}
	each(b, 64, func(i int64) error {
		it, err := s.Item(ctx, refs[i])
		if err != nil {
			return err
		}
		it.Recipients = nil
		return last(s.Settle(ctx, queue.Settlement{Item: it}))
	})
}

// fill stores n messages of 4 KB, due one millisecond apart, without a sync.
func fill(b *testing.B, s *Store, n int) []queue.Ref {
	b.Helper()
	refs := make([]queue.Ref, 0, n)
	body, header := make([]byte, 4<<10), []byte("Subject: x\r\n\r\n")
	for len(refs) < n {
		batch := s.db.NewBatch()
		var ids []mail.ID
		for len(ids) < 500 && len(refs) < n {
			id, err := s.ids.next()
			if err != nil {
				b.Fatal(err)
			}
			m := message{id: id, env: testEnvelope(), header: header, tail: body, size: int64(len(body)), digest: checksumUpdate(0, body),
				opt: queue.CommitOptions{Due: time.UnixMilli(int64(len(refs)))}}
			r, err := m.put(batch)
			if err != nil {
				b.Fatal(err)
			}
			ids, refs = append(ids, id), append(refs, r...)
		}
		if err := s.write(batch, pebble.NoSync); err != nil {
			b.Fatal(err)
		}
		s.total(queue.Counts{Messages: int64(len(ids)), Items: int64(len(ids))})
	}
	return refs
}

// BenchmarkMillion has a queue of a million messages: how long until it serves
// after an unclean stop, and what Due costs behind a long deleted prefix.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	s := openBench(b, b.TempDir())
	defer s.Close()
	refs := fill(b, s, n)
	b.Run("OpenUnclean", func(b *testing.B) {
		var recovered time.Duration
		for range b.N {
			b.StopTimer()
			dir := b.TempDir() + "/queue"
			if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil { // as it is, with its log
				b.Fatal(err)
			}
			b.StartTimer()
			began := time.Now()
			c := openBench(b, dir)
			b.StopTimer()
			<-c.Recovered()
			recovered += time.Since(began)
			if got := c.Counts(); got != (queue.Counts{Messages: n, Items: n}) {
				b.Fatalf("counts are %+v", got)
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(recovered.Seconds()/float64(b.N), "s-until-recovered")
	})
	due := func(b *testing.B, from queue.Mark, want queue.Ref) {
		b.Helper()
		for range b.N {
			refs, _, _, err := s.Due(ctx, from, time.Now(), 100)
			if err != nil || len(refs) != 100 || refs[0] != want {
				b.Fatalf("%d items, %v", len(refs), err)
			}
		}
	}
	b.Run("Due", func(b *testing.B) { due(b, queue.Mark{}, refs[0]) })
	const deleted = 200_000
	batch := s.db.NewBatch()
	for i, ref := range refs[:deleted] {
		if err := batch.Delete(dueKey(time.UnixMilli(int64(i)), ref), nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.write(batch, pebble.NoSync); err != nil {
		b.Fatal(err)
	}
	b.Run("DueDeletedPrefix", func(b *testing.B) { due(b, queue.Mark{}, refs[deleted]) })
	b.Run("DueFromMark", func(b *testing.B) {
		due(b, queue.Mark{Due: time.UnixMilli(deleted - 1), Ref: refs[deleted-1]}, refs[deleted])
	})
	b.Run("Commit64", func(b *testing.B) {
		body := make([]byte, 4<<10)
		each(b, 64, func(int64) error { return last(commit(s, body)) })
	})
}
