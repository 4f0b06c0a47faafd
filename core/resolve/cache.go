package resolve

import (
	"container/list"
	"hash/maphash"
	"sync"
	"time"
)

const (
	minTTL      = 5 * time.Second
	maxTTL      = 24 * time.Hour
	maxDenial   = 15 * time.Minute
	failureTTL  = 5 * time.Second
	staleWindow = time.Hour

	shards   = 32
	unitSize = 512 // octets of answer that count as one cache entry
)

type key struct {
	name string
	typ  uint16
}

// cache keeps answers, the least recently used of a shard going first. Its bound holds for memory as well: an answer
// takes one entry for each 512 octets, or a few hundred 64 KiB TXT answers from one sender would crowd out the rest
// and the machine.
type cache struct {
	seed   maphash.Seed
	limit  int // entries in one shard
	shards []shard
}

type shard struct {
	mu   sync.Mutex
	byID map[key]*list.Element
	used list.List // of *entry, most recently used first
	cost int
}

type entry struct {
	key        key
	answer     *answer
	cost       int
	expires    time.Time
	staleUntil time.Time
}

func newCache(entries int) *cache {
	n := min(shards, max(1, entries/shards))
	c := &cache{seed: maphash.MakeSeed(), limit: max(1, entries/n), shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i].byID = make(map[key]*list.Element)
	}
	return c
}

func (c *cache) shard(k key) *shard {
	return &c.shards[maphash.Comparable(c.seed, k)%uint64(len(c.shards))]
}

// get returns the answer whose time has not run out.
func (c *cache) get(k key) *answer {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	el := s.byID[k]
	if el == nil {
		return nil
	}
	e := el.Value.(*entry)
	if now := time.Now(); !now.Before(e.expires) {
		if !now.Before(e.staleUntil) {
			s.remove(el)
		}
		return nil
	}
	s.used.MoveToFront(el)
	return e.answer
}

// left is how long the answer of get stays in the cache; 0 if it is not there.
func (c *cache) left(k key) time.Duration {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if el := s.byID[k]; el != nil {
		return max(time.Until(el.Value.(*entry).expires), 0)
	}
	return 0
}

// put keeps a for its ttl.
func (c *cache) put(k key, a *answer) {
	expires := time.Now().Add(a.ttl)
	e := &entry{key: k, answer: a, cost: 1 + a.size()/unitSize, expires: expires, staleUntil: expires}
	if a.kind == 0 {
		e.staleUntil = expires.Add(staleWindow)
	}
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byID[k]; old != nil {
		s.remove(old)
	}
	if e.cost > c.limit {
		return
	}
	s.byID[k] = s.used.PushFront(e)
	s.cost += e.cost
	for s.cost > c.limit {
		s.remove(s.used.Back())
	}
}

// revive makes an expired positive answer usable for another few seconds, if it has not been expired for too long, so
// that not every caller waits for servers that are down.
func (c *cache) revive(k key) *answer {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	el := s.byID[k]
	if el == nil {
		return nil
	}
	e := el.Value.(*entry)
	now := time.Now()
	if !now.Before(e.staleUntil) { // which for a denial is when it expires
		return nil
	}
	a := *e.answer
	a.stale = true
	e.answer = &a
	e.expires = now.Add(failureTTL)
	if e.expires.After(e.staleUntil) {
		e.expires = e.staleUntil
	}
	s.used.MoveToFront(el)
	return e.answer
}

func (s *shard) remove(el *list.Element) {
	e := s.used.Remove(el).(*entry)
	s.cost -= e.cost
	delete(s.byID, e.key)
}
