package qmgr

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/wasmta/wasmta/core/queue"
)

type octets struct {
	*bytes.Reader
	open *int
}

func (o octets) Close() error {
	*o.open--
	return nil
}

// A plugin may read the body while it sends it elsewhere; it is opened once.
func TestALazyBodyIsOpenedOnce(t *testing.T) {
	open, opened := 0, 0
	b := &lazyBody{open: func() (queue.Body, error) {
		open++
		opened++
		return octets{bytes.NewReader([]byte("Lunch?")), &open}, nil
	}}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			var p [6]byte
			if n, err := b.ReadAt(p[:], 0); err != nil && err != io.EOF || string(p[:n]) != "Lunch?" {
				t.Errorf("%q, %v", p[:n], err)
			}
		})
	}
	both.Wait()
	if b.close(); open != 0 || opened != 1 {
		t.Errorf("opened %d times, %d are open", opened, open)
	}
}
