package qmgr

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Source is an egress source of a pool.
type Source struct {
	Name   string
	Weight int // its share of the messages
}

// maxLanes is how many sources are remembered for a next hop.
const maxLanes = 64

// lane is the way to a next hop from a source of a pool.
type lane struct {
	bar      // it is passed over
	failures int
	pause    time.Duration
}

// laneAt is the lane of a source; nil if source is empty or there are too many.
func (h *hop) laneAt(source string) *lane {
	if source == "" {
		return nil
	}
	l := h.lanes[source]
	if l == nil && len(h.lanes) < maxLanes {
		l = new(lane)
		if h.lanes == nil {
			h.lanes = make(map[string]*lane)
		}
		h.lanes[source] = l
	}
	return l
}

// pool is the egress pool for a next hop: the one it names, else that of its
// shape, else for mail exchangers the default; nil: none.
func (m *Manager) pool(n mail.NextHop, s *Shape) []Source {
	switch n.Transport {
	case mail.TransportMX, mail.TransportSMTP, mail.TransportLMTP:
	default:
		return nil
	}
	name := n.Pool
	if name != "" && m.opts.Pools[name] == nil {
		m.log.Warn("the egress pool of a next hop is not in the configuration; the usual one is used", "nexthop", n.String(), "pool", name)
		name = ""
	}
	if name = cmp.Or(name, s.Pool); name == "" && n.Transport == mail.TransportMX {
		name = m.opts.Pool
	}
	return m.opts.Pools[name]
}

// choose takes a source of a pool for a message, by weight. A message has the
// same source for the same pool at every attempt, as greylisting wants, unless
// that is suspended for the next hop (rendezvous hashing: only the messages of
// the one that is left out go elsewhere). closed: all are; the bar is the one
// that ends first.
func choose(pool []Source, id mail.ID, lanes map[string]*lane, now time.Time) (name string, closed *bar) {
	best := math.Inf(-1)
	for _, s := range pool {
		if l := lanes[s.Name]; l != nil && l.holds(now) {
			if closed == nil || l.until.Before(closed.until) {
				closed = &l.bar
			}
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(s.Name))
		_, _ = h.Write(strconv.AppendUint([]byte{0}, uint64(id), 16))
		x := h.Sum64() // of which the low bits are the better ones; mix (splitmix64)
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		u := (float64((x^x>>31)>>11) + 0.5) / (1 << 53)
		if score := -float64(max(s.Weight, 1)) / math.Log(u); score > best {
			best, name = score, s.Name
		}
	}
	if name != "" {
		closed = nil
	}
	return name, closed
}

// origin is where an attempt is made from.
type origin struct {
	source string // of a pool; empty: none was chosen
	others bool   // the pool has another one that is not suspended for the next hop
}

// depart gives next hops without a source the one that the message goes from,
// and leaves out those behind the first that are suspended. closed: nothing may
// go to the first. insist overrides suspensions.
func (m *Manager) depart(id mail.ID, hops []mail.NextHop, insist bool) (out []mail.NextHop, from origin, closed *bar) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for i, n := range hops {
		h := m.hops[site(n)]
		var lanes map[string]*lane
		var shape Shape
		if h != nil {
			lanes, shape = h.lanes, h.shape
			if !insist {
				b := h.barred(now)
				if b != nil && i == 0 {
					copied := *b // mu guards the original
					return nil, origin{}, &copied
				}
				if i > 0 && h.suspended(now) {
					continue
				}
			}
		} else {
			shape = m.opts.Shapes.For(n)
			if i > 0 && shape.Suspended && !insist {
				continue
			}
		}
		if pool := m.pool(n, &shape); n.Source == "" && len(pool) > 0 {
			name, b := choose(pool, id, lanes, now)
			if b != nil && insist {
				name, b = choose(pool, id, nil, now)
			}
			if b != nil {
				if i == 0 {
					copied := *b
					return nil, origin{}, &copied
				}
				continue
			}
			if n.Source = name; i == 0 {
				from.source = name
				from.others = slices.ContainsFunc(pool, func(s Source) bool {
					l := lanes[s.Name]
					return s.Name != name && (l == nil || !l.holds(now))
				})
			}
		}
		out = append(out, n)
	}
	return out, from, nil
}
