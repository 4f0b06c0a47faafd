package pebblestore

import (
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// reserve is how far ahead ids are reserved.
const reserve = time.Minute

// ids gives out queue ids: of the present millisecond if the clock went on, the
// next number if not. Every id is below a limit that was made durable first.
type ids struct {
	mu      sync.Mutex
	last    mail.ID
	limit   mail.ID
	persist func(limit mail.ID) error
}

func (a *ids) next() (mail.ID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.last + 1
	// Ids have 42 bits of milliseconds, which end in 2159.
	if now := time.Now(); now.Year() < 2150 {
		id = max(id, mail.FirstID(now))
	}
	if id >= a.limit {
		limit := mail.FirstID(id.Time().Add(reserve))
		if err := a.persist(limit); err != nil {
			return 0, err
		}
		a.limit = limit
	}
	a.last = id
	return id, nil
}
