package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/queue/pebblestore"
)

// BenchmarkList lists a long queue through the socket, as wasmta queue list does.
func BenchmarkList(b *testing.B) {
	const n = 50_000
	s, err := pebblestore.Open(pebblestore.Options{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				d, err := s.Begin(context.Background())
				if err == nil {
					_, err = d.Write(make([]byte, 2<<10))
				}
				if err == nil {
					_, err = d.Commit(context.Background(), mail.Envelope{
						ReversePath: mail.Path{Local: fmt.Sprintf("s%d", i%50), Domain: "src.test"},
						Recipients:  []mail.Recipient{{ForwardPath: mail.Path{Local: "r", Domain: fmt.Sprintf("d%d.test", i%1000)}}},
					}, []byte("Subject: x\r\n\r\n"), queue.CommitOptions{Due: time.Now().Add(time.Hour)})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	server := New(Options{Queue: s})
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Shutdown(context.Background()) }()
	c := NewClient(l.Addr().String(), "")
	for _, x := range []struct {
		name string
		o    ListOptions
		want int
	}{
		{"all", ListOptions{}, n},
		{"sender", ListOptions{Selection: Selection{Sender: "s7@src.test"}}, n / 50},
		{"hop", ListOptions{Selection: Selection{Hop: "discard"}}, 0},
	} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				got := 0
				for _, err := range c.List(context.Background(), x.o) {
					if err != nil {
						b.Fatal(err)
					}
					got++
				}
				if got != x.want {
					b.Fatalf("%d items, want %d", got, x.want)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/queued-item")
		})
	}
}
