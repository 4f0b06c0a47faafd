package state

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// Memory is the memory of one plugin. It is safe for concurrent use. Errors are
// of type abi.Code.
type Memory struct {
	store *Store
	name  string
	limit atomic.Int64 // octets

	mu   sync.Mutex
	used usage
}

// Usage is the number of keys and the octets of keys and values, with what has
// expired and is not swept yet.
func (m *Memory) Usage() (keys, octets int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used.keys, m.used.octets
}

// Get is the value of key, or abi.NotFound. A counter is its number in decimal
// digits; a token bucket is abi.Invalid.
func (m *Memory) Get(key []byte) ([]byte, error) {
	if err := m.store.enter(); err != nil {
		return nil, err
	}
	defer m.store.leave()
	r, ok, err := m.store.read(dataKey(m.name, key))
	if err != nil {
		return nil, err
	}
	if !ok || r.expired(m.store.now()) {
		return nil, abi.NotFound
	}
	return r.text()
}

// Set sets a value for ttl, or for ever if that is 0. With abi.KVIfAbsent a
// value that is there is abi.Conflict, with abi.KVIfPresent one that is not is
// abi.NotFound, and with abi.KVSync it is on disk when Set returns.
func (m *Memory) Set(key, value []byte, ttl time.Duration, flags int32) error {
	return m.change(key, flags&abi.KVSync != 0, func(old *record, now int64) (*record, error) {
		switch {
		case flags&abi.KVIfAbsent != 0 && old != nil:
			return nil, abi.Conflict
		case flags&abi.KVIfPresent != 0 && old == nil:
			return nil, abi.NotFound
		}
		return &record{kind: kindValue, expire: expiry(now, ttl), payload: value}, nil
	})
}

// Delete forgets a key; abi.NotFound if it is not there.
func (m *Memory) Delete(key []byte) error {
	return m.change(key, false, func(old *record, _ int64) (*record, error) {
		if old == nil {
			return nil, abi.NotFound
		}
		return nil, nil
	})
}

// Incr adds delta to a counter and returns its new value, at least 0 and at most
// the largest int64. A new counter lives for ttl; one that is there keeps its
// time, unless refresh is set. What is no counter is abi.Invalid.
func (m *Memory) Incr(key []byte, delta int64, ttl time.Duration, refresh bool) (n int64, err error) {
	err = m.change(key, false, func(old *record, now int64) (*record, error) {
		r := &record{kind: kindCounter, expire: expiry(now, ttl)}
		if old != nil {
			if old.kind != kindCounter {
				return nil, abi.Invalid
			}
			n = old.counter()
			if !refresh {
				r.expire = old.expire
			}
		}
		if delta > math.MaxInt64-n {
			n = math.MaxInt64
		} else {
			n = max(n+delta, 0)
		}
		r.payload = counter(n)
		return r, nil
	})
	return n, err
}

// Take takes cost tokens from a bucket that holds burst of them, begins full,
// and gains perSecMilli thousandths of one in a second. If it has fewer none is
// taken, and wait is the time until it has enough. The limits are those of the
// contract's take. What is no bucket is abi.Invalid.
func (m *Memory) Take(key []byte, cost, burst, perSecMilli int64) (wait time.Duration, err error) {
	err = m.change(key, false, func(old *record, _ int64) (*record, error) {
		now := m.store.o.Now().UnixNano()
		b, setBack := bucket{tokens: burst * micro, time: now}, false
		if old != nil {
			if old.kind != kindBucket {
				return nil, abi.Invalid
			}
			b = old.bucket()
			setBack = now < b.time
			b.fill(now, burst, perSecMilli)
		}
		if wait = time.Duration(b.until(cost*micro, perSecMilli)); wait == 0 {
			b.tokens -= cost * micro
		} else if !setBack { // a bucket with a time to come would not fill till then
			return nil, errUnchanged
		}
		full := min(b.until(burst*micro, perSecMilli), maxLife.Nanoseconds())
		return &record{kind: kindBucket, expire: (now+full)/1e6 + 1, payload: b.payload()}, nil
	})
	return wait, err
}

// CompareAndSwap sets value if the key has the value old, or, if old is empty,
// also if it has none. Otherwise it is abi.Conflict.
func (m *Memory) CompareAndSwap(key, old, value []byte, ttl time.Duration) error {
	return m.change(key, false, func(r *record, now int64) (*record, error) {
		var have []byte
		if r != nil {
			var err error
			if have, err = r.text(); err != nil {
				return nil, err
			}
		}
		if !bytes.Equal(have, old) {
			return nil, abi.Conflict
		}
		return &record{kind: kindValue, expire: expiry(now, ttl), payload: value}, nil
	})
}

// maxLife is the longest time to live.
const maxLife = 100 * 365 * 24 * time.Hour

// expiry is when what is written now expires, in ms since 1970; 0: never.
func expiry(now int64, ttl time.Duration) int64 {
	if ttl <= 0 {
		return 0
	}
	return now + max(min(ttl, maxLife).Milliseconds(), 1)
}

func (s *Store) now() int64 { return s.o.Now().UnixMilli() }

// errUnchanged ends a change that leaves everything as it is.
const errUnchanged = abi.Code(1)

// change reads the record of key and writes what f makes of it: nil deletes it.
// old is nil if there is none, or none that has not expired.
func (m *Memory) change(key []byte, sync bool, f func(old *record, now int64) (*record, error)) error {
	s := m.store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	data := dataKey(m.name, key)
	defer s.lock(data).Unlock()
	stored, exists, err := s.read(data)
	if err != nil {
		return err
	}
	now := s.now()
	var old *record
	if exists && !stored.expired(now) {
		old = &stored
	}
	r, err := f(old, now)
	if err == errUnchanged {
		return nil
	}
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	var delta usage
	if exists {
		delta = usage{-1, -size(key, &stored)}
	}
	if r == nil {
		err = b.Delete(data, nil)
	} else {
		delta.keys++
		delta.octets += size(key, r)
		if r.expire != 0 {
			// An entry in an earlier minute moves on when that is over.
			if r.minute = minuteOf(r.expire); exists && stored.minute != 0 && stored.minute <= r.minute {
				r.minute = stored.minute
			} else {
				err = b.Set(indexKey(r.minute, m.name, key), nil, nil)
			}
		}
		if err == nil {
			err = b.Set(data, r.encode(), nil)
		}
	}
	if err == nil && delta != (usage{}) {
		err = b.Merge(usageKey(m.name), delta.encode(), nil)
	}
	if err != nil {
		return abi.Unavailable
	}
	if r != nil && !s.room() {
		return abi.Unavailable
	}
	if !m.reserve(delta) {
		return abi.Limit
	}
	if err := s.commit(b, sync); err != nil {
		m.release(delta)
		return err
	}
	return nil
}

// size is what a record takes of the plugin's quota.
func size(key []byte, r *record) int64 { return int64(len(key) + len(r.payload)) }

// reserve counts a change, unless it would take more than the plugin may have.
func (m *Memory) reserve(delta usage) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys, octets := m.used.keys+delta.keys, m.used.octets+delta.octets
	if delta.keys > 0 && keys > abi.MaxKVKeys || delta.octets > 0 && octets > m.limit.Load() {
		return false
	}
	m.used = usage{keys, octets}
	return true
}

func (m *Memory) release(delta usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used.keys -= delta.keys
	m.used.octets -= delta.octets
}

// settle removes an entry of the index for a minute that is over: with the
// record if that has expired, otherwise to the minute where it will.
func (m *Memory) settle(minute int64, key []byte, now int64) error {
	s := m.store
	data := dataKey(m.name, key)
	defer s.lock(data).Unlock()
	r, exists, err := s.read(data)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	err = b.Delete(indexKey(minute, m.name, key), nil)
	var delta usage
	switch {
	case err != nil || !exists || r.minute != minute: // another entry is its
	case r.expired(now):
		delta = usage{-1, -size(key, &r)}
		if err = b.Delete(data, nil); err == nil {
			err = b.Merge(usageKey(m.name), delta.encode(), nil)
		}
	default:
		r.minute = minuteOf(r.expire)
		if err = b.Set(indexKey(r.minute, m.name, key), nil, nil); err == nil {
			err = b.Set(data, r.encode(), nil)
		}
	}
	if err == nil {
		err = s.commit(b, false)
	}
	if err == nil {
		m.reserve(delta)
	}
	return err
}
