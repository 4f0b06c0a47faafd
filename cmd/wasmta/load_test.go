package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSwapUnderLoad sends mail with Postfix's load generator through three
// modules and replaces one of them 50 times meanwhile: no session fails, every
// message arrives, and each was judged by one generation only.
//
// The number of messages of a round is WASMTA_LOAD, or 2,000.
func TestSwapUnderLoad(t *testing.T) {
	source, err := exec.LookPath("smtp-source")
	if err != nil {
		t.Skip("smtp-source is not installed (Debian: postfix)")
	}
	if testing.Short() {
		t.Skip("sends thousands of messages; not with -short")
	}
	count := 2000
	if n, err := strconv.Atoi(os.Getenv("WASMTA_LOAD")); err == nil {
		count = n
	}
	modules := [2]string{guest(t, "tag", "-X main.generation=A"), guest(t, "tag", "-X main.generation=B")}

	field := regexp.MustCompile(`X-Tag-tag2: mail=(\w) message=(\w)\r\n`)
	var mu sync.Mutex
	arrived, mixed, by := 0, 0, map[string]int{}
	next := freeAddr(t)
	newSink(t, next, func(_ string, content []byte) {
		mu.Lock()
		defer mu.Unlock()
		arrived++
		m := field.FindSubmatch(content)
		if m == nil || !bytes.Equal(m[1], m[2]) || bytes.Count(content, []byte("X-Tag-tag")) != 3 {
			mixed++
			return
		}
		by[string(m[1])]++
	})
	s := newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n%s", next, threePlugins(t)))
	s.start()

	// The load goes on, in rounds, until the last swap is done.
	var swapped atomic.Bool
	load := make(chan string, 1)
	sent := 0
	go func() {
		for report := ""; ; {
			out, err := exec.Command(source, "-s", "20", "-m", strconv.Itoa(count), "-l", "2000", "-f", "a@src.test", "-t", "b@dst.test", s.addr).CombinedOutput()
			if sent += count; err != nil || len(out) > 0 {
				report = fmt.Sprintf("smtp-source: %v\n%s", err, out)
			}
			if report != "" || swapped.Load() {
				load <- report
				return
			}
		}
	}()
	const swaps = 50
	for n := range swaps {
		if out, err := s.run("plugin", "load", "tag2", modules[n%2]); err != nil {
			t.Fatalf("swap %d: %v\n%s", n, err, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
	swapped.Store(true)
	if report := <-load; report != "" {
		t.Error(report)
	}
	eventually(t, 2*time.Minute, "not every message arrived", func() bool { mu.Lock(); defer mu.Unlock(); return arrived >= sent })
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	if arrived != sent || mixed != 0 {
		t.Errorf("%d of %d arrived, %d judged by more than one generation", arrived, sent, mixed)
	}
	if len(by) < 2 {
		t.Errorf("generations seen: %v; the swaps had no effect", by)
	}
	t.Logf("%d messages, %d swaps, by generation: %v", arrived, swaps, by)
}
