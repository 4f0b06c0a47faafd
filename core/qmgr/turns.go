package qmgr

import (
	"container/heap"
	"hash/maphash"
	"slices"
	"strconv"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	// maxSenders is how many senders are told apart while their items wait; the
	// others share overflow places among them.
	maxSenders = 1000
	overflow   = 16
	// turnWorth is how many recipients an item has whose sender's next turn is
	// the next one; one of more lets turns pass, up to maxWorth.
	turnWorth = 10
	maxWorth  = 100
	// maxListed is how many senders of a next hop can call for it.
	maxListed = 8
	// priorityWorth is how much earlier than it came an item is put for each
	// step of its priority.
	priorityWorth = time.Minute
)

// sender is one of those who take turns: an authenticated user, else the
// domain of the reverse-path.
type sender struct {
	key    string
	parked int         // of its items, in all lines
	lines  fifo[*line] // that call for their next hop
	listed bool        // it is in Manager.ring
	shut   fifo[*line] // whose next hop may have no more of all slots

	squeezed bool  // it is in Manager.squeezed
	debt     int   // recipients beyond its turns
	pace     pacer // of what it gets done
}

// line is what a sender has waiting for a next hop.
type line struct {
	hop    *hop
	sender *sender
	queue  lineQueue
	debt   int
	jumps  bool // it goes before its turn
	listed bool // it is in sender.lines
	shut   bool // it is in sender.shut
}

// senderKey tells whose turn a message needs.
func senderKey(env *mail.Envelope) string {
	if env.Client.Auth != "" {
		return "user " + env.Client.Auth
	}
	return env.ReversePath.DomainKey() // of notifications: empty
}

// senderOf returns the state of a sender. mu is held.
func (m *Manager) senderOf(key string) *sender {
	s := m.senders[key]
	if s == nil && len(m.senders) >= maxSenders {
		key = "\x00" + strconv.Itoa(int(maphash.String(m.seed, key)%overflow))
		s = m.senders[key]
	}
	if s == nil {
		s = &sender{key: key, pace: pacer{since: time.Now()}}
		m.senders[key] = s
	}
	return s
}

// worth is what an item costs its sender.
func (e *entry) worth() int { return min(max(e.rcpts, 1), maxWorth) }

// afford tells whether who has a debt may take this turn, and lets it pass if not.
func afford(debt *int) bool {
	if *debt >= turnWorth {
		*debt -= turnWorth
		return false
	}
	return true
}

func charge(debt *int, worth int) { *debt = max(*debt+worth-turnWorth, 0) }

// wait puts an entry where it waits. mu is held.
func (m *Manager) wait(h *hop, s *sender, e *entry) {
	m.seq++
	e.seq, e.sender = m.seq, s
	if e.since.IsZero() {
		e.since = time.Now()
	}
	e.rank = e.since.Add(-time.Duration(e.prio) * priorityWorth)
	if e.insist {
		h.urgent.push(e)
		return
	}
	l := h.lines[s]
	if l == nil {
		l = &line{hop: h, sender: s}
		if h.lines == nil {
			h.lines = make(map[*sender]*line)
		}
		h.lines[s] = l
		h.turns.push(l)
	}
	if e.prio > 0 && !h.jumped { // it has its sender's turn at once, before every second of the others
		h.turns.remove(l)
		h.turns.unshift(l)
		h.jumped, l.jumps = true, true
	}
	heap.Push(&l.queue, e)
	h.waiting++
	s.parked++
}

// call lists a next hop that can take one more, for the senders who are next
// there. mu is held.
func (m *Manager) call(h *hop) {
	if e := h.urgent.front(); e != nil && !h.insisting.listed {
		h.insisting.hop, h.insisting.sender = h, e.sender
		m.listLine(&h.insisting)
	}
	for i := 0; i < h.turns.len() && h.listed < maxListed; i++ {
		if l := h.turns.at(i); !l.listed {
			m.listLine(l)
		}
	}
}

func (m *Manager) listLine(l *line) {
	l.listed = true
	l.hop.listed++
	l.sender.lines.push(l)
	m.listSender(l.sender)
}

func (m *Manager) listSender(s *sender) {
	if !s.listed {
		s.listed = true
		m.ring.push(s)
	}
}

// next is the entry whose turn it is, with a slot of its next hop unless that is
// suspended; nil if there is none. Senders take turns, and for each the next
// hops that it has items for; whose item goes at a next hop is a matter of the
// turns there. A sender who calls for a next hop where it is another one's turn
// has that one served first. mu is held.
func (m *Manager) next(now time.Time) *entry {
	for {
		s := m.ring.pop()
		if s == nil {
			return nil
		}
		if !afford(&s.debt) {
			m.ring.push(s)
			continue
		}
		l := s.lines.pop()
		if l == nil {
			s.listed = false
			m.forgetSender(s)
			continue
		}
		h := l.hop
		l.listed = false
		h.listed--
		e := m.serve(h, now)
		mine := e == nil || e.sender == s
		if !mine && h.lines[s] == l && m.open(h, now) {
			l.listed = true
			h.listed++
			s.lines.unshift(l)
		}
		if e != nil {
			charge(&e.sender.debt, e.worth())
		}
		if mine && e != nil {
			m.ring.push(s)
		} else {
			m.ring.unshift(s)
		}
		m.tend(h, now)
		if e != nil {
			return e
		}
	}
}

// forgetSender drops a sender that has nothing waiting. mu is held.
func (m *Manager) forgetSender(s *sender) {
	if s.parked == 0 && !s.listed && !s.squeezed && m.senders[s.key] == s {
		delete(m.senders, s.key)
	}
}

// serve takes the entry whose turn it is at a next hop; nil if it can take none.
// mu is held.
func (m *Manager) serve(h *hop, now time.Time) *entry {
	suspended := h.suspended(now)
	if m.refusal(h, now) == fine {
		for e := h.urgent.pop(); e != nil; e = h.urgent.pop() {
			m.forgetSender(e.sender)
			if e.state == parked {
				m.seize(h, e, now)
				e.state = ready
				return e
			}
		}
	} else if !suspended {
		return nil
	}
	for l := h.turns.pop(); l != nil; l = h.turns.pop() {
		if !afford(&l.debt) {
			h.turns.push(l)
			continue
		}
		e := heap.Pop(&l.queue).(*entry)
		h.waiting--
		l.sender.parked--
		charge(&l.debt, e.worth())
		h.jumped, l.jumps = h.jumped && l.jumps, false
		if len(l.queue) > 0 {
			h.turns.push(l)
		} else {
			delete(h.lines, l.sender)
			if len(h.lines) == 0 {
				h.lines = nil
			}
			m.forgetSender(l.sender)
		}
		switch {
		case e.state != parked:
			continue
		case suspended && e.insist: // it goes there all the same, as soon as there is a slot
			h.urgent.push(e)
			continue
		case !suspended:
			m.seize(h, e, now)
		}
		e.state = ready
		return e
	}
	return nil
}

// lineQueue is a heap: by rank, then in the order of coming.
type lineQueue []*entry

func (q lineQueue) Len() int { return len(q) }
func (q lineQueue) Less(i, j int) bool {
	if !q[i].rank.Equal(q[j].rank) {
		return q[i].rank.Before(q[j].rank)
	}
	return q[i].seq < q[j].seq
}
func (q lineQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *lineQueue) Push(x any)   { *q = append(*q, x.(*entry)) }
func (q *lineQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

// fifo is a queue.
type fifo[T comparable] struct {
	list []T
	head int
}

func (q *fifo[T]) len() int { return len(q.list) - q.head }

func (q *fifo[T]) at(i int) T { return q.list[q.head+i] }

func (q *fifo[T]) push(v T) {
	if q.head > 64 && q.head > len(q.list)/2 {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, v)
}

// unshift puts v before all others.
func (q *fifo[T]) unshift(v T) {
	if q.head == 0 {
		q.list = slices.Insert(q.list, 0, v)
		return
	}
	q.head--
	q.list[q.head] = v
}

// front is the first, the zero value if there is none.
func (q *fifo[T]) front() (v T) {
	if q.len() > 0 {
		v = q.list[q.head]
	}
	return v
}

// pop takes the first, the zero value if there is none.
func (q *fifo[T]) pop() (v T) {
	if q.head == len(q.list) {
		return v
	}
	var zero T
	v, q.list[q.head] = q.list[q.head], zero
	q.head++
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return v
}

func (q *fifo[T]) remove(v T) {
	if i := slices.Index(q.list[q.head:], v); i >= 0 {
		q.list = slices.Delete(q.list, q.head+i, q.head+i+1)
	}
}
