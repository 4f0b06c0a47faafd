package qmgr_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// memory is a queue.Store for tests: a map, a log of calls, and faults.
type memory struct {
	mu       sync.Mutex
	seq      mail.ID
	messages map[mail.ID]*stored
	items    map[queue.Ref]*queue.Item
	open     map[mail.ID]int   // items of a message
	due      map[int64]*second // by Unix time
	secs     []int64           // for which there is one, rising
	calls    map[string]int
	fault    func(call string, ref queue.Ref) error // nil: none
}

type stored struct {
	queue.Message
	body []byte
}

// second is a part of the due index.
type second struct {
	marks  []queue.Mark
	sorted bool
}

func newMemory() *memory {
	return &memory{messages: map[mail.ID]*stored{}, items: map[queue.Ref]*queue.Item{}, calls: map[string]int{}, open: map[mail.ID]int{}, due: map[int64]*second{}}
}

func (s *memory) enter(call string, ref queue.Ref) error {
	s.calls[call]++
	if s.fault != nil {
		return s.fault(call, ref)
	}
	return nil
}

func ms(t time.Time) time.Time { return t.Truncate(time.Millisecond) }

// put commits a message.
func (s *memory) put(env mail.Envelope, header, body []byte, o queue.CommitOptions) []queue.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commit(env, header, body, o)
}

func (s *memory) commit(env mail.Envelope, header, body []byte, o queue.CommitOptions) []queue.Ref {
	s.seq++
	id := mail.FirstID(time.Now()) + s.seq
	arrived := ms(env.Client.Arrived)
	_, groups := queue.Group(env.Recipients)
	var refs []queue.Ref
	for n, g := range groups {
		ref := queue.Ref{ID: id, Item: uint32(n)}
		s.items[ref] = &queue.Item{Ref: ref, Version: 1, Domain: g[0].ForwardPath.DomainKey(), Recipients: g,
			Due: ms(o.Due), Expire: ms(o.Expire), Arrived: arrived, Held: o.Held, Reason: o.Reason, Priority: o.Priority}
		s.open[id]++
		s.index(s.items[ref])
		refs = append(refs, ref)
	}
	env.Recipients = nil
	s.messages[id] = &stored{queue.Message{ID: id, Envelope: env, Header: header, BodySize: int64(len(body)), Arrived: arrived}, body}
	return refs
}

func (s *memory) Begin(context.Context) (queue.Draft, error) { return nil, queue.ErrStorage }

func compare(a, b queue.Mark) int {
	return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Ref.ID, b.Ref.ID), cmp.Compare(a.Ref.Item, b.Ref.Item))
}

func before(a, b queue.Mark) bool { return compare(a, b) < 0 }

func (s *memory) Due(_ context.Context, from queue.Mark, now time.Time, limit int) (refs []queue.Ref, mark queue.Mark, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Due", queue.Ref{}); err != nil {
		return nil, from, next, err
	}
	mark = from
	for _, sec := range s.secs[sort.Search(len(s.secs), func(i int) bool { return s.secs[i] >= from.Due.Unix() }):] {
		b := s.due[sec]
		// What was moved or removed is dropped when it is come across.
		b.marks = slices.DeleteFunc(b.marks, func(k queue.Mark) bool {
			it := s.items[k.Ref]
			return it == nil || it.Held || !it.Due.Equal(k.Due)
		})
		if !b.sorted {
			slices.SortFunc(b.marks, compare)
			b.marks, b.sorted = slices.Compact(b.marks), true
		}
		for _, k := range b.marks {
			if from != (queue.Mark{}) && !before(from, k) {
				continue
			}
			if len(refs) == limit || k.Due.After(now) {
				return refs, mark, k.Due, nil
			}
			refs, mark = append(refs, k.Ref), k
		}
	}
	return refs, mark, next, nil
}

// index notes that an item is due, in the place for that second.
func (s *memory) index(it *queue.Item) {
	sec := it.Due.Unix()
	b := s.due[sec]
	if b == nil {
		b = new(second)
		s.due[sec] = b
		i, _ := slices.BinarySearch(s.secs, sec)
		s.secs = slices.Insert(s.secs, i, sec)
	}
	b.marks, b.sorted = append(b.marks, queue.Mark{Due: it.Due, Ref: it.Ref}), false
}

func copyItem(it *queue.Item) queue.Item {
	c := *it
	c.Recipients, c.History = slices.Clone(it.Recipients), slices.Clone(it.History)
	return c
}

func (s *memory) Item(_ context.Context, ref queue.Ref) (queue.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Item", ref); err != nil {
		return queue.Item{}, err
	}
	if it := s.items[ref]; it != nil {
		return copyItem(it), nil
	}
	return queue.Item{}, queue.ErrGone
}

func (s *memory) Message(_ context.Context, id mail.ID) (queue.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Message", queue.Ref{ID: id}); err != nil {
		return queue.Message{}, err
	}
	if m := s.messages[id]; m != nil {
		return m.Message, nil
	}
	return queue.Message{}, queue.ErrGone
}

type memoryBody struct {
	*bytes.Reader
	s  *memory
	id mail.ID
}

func (memoryBody) Close() error { return nil }

func (b memoryBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		if bad := b.s.enter("Read", queue.Ref{ID: b.id}); bad != nil {
			return n, bad
		}
	}
	return n, err
}

func (s *memory) Body(_ context.Context, id mail.ID) (queue.Body, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Body", queue.Ref{ID: id}); err != nil {
		return nil, err
	}
	m := s.messages[id]
	if m == nil {
		return nil, queue.ErrGone
	}
	return memoryBody{bytes.NewReader(m.body), s, id}, nil
}

func (s *memory) Settle(_ context.Context, t queue.Settlement) ([]queue.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Settle", t.Item.Ref); err != nil {
		return nil, err
	}
	old := s.items[t.Item.Ref]
	switch {
	case old == nil:
		return nil, queue.ErrGone
	case old.Version != t.Item.Version:
		return nil, fmt.Errorf("%w: version %d, stored %d", queue.ErrConflict, t.Item.Version, old.Version)
	case len(t.Item.Recipients) == 0:
		s.remove(t.Item.Ref)
	default:
		it := copyItem(&t.Item)
		it.Version, it.Due, it.Expire = old.Version+1, ms(it.Due), ms(it.Expire)
		s.items[it.Ref] = &it
		s.index(&it)
	}
	var refs []queue.Ref
	for _, n := range t.Notices {
		refs = append(refs, s.commit(n.Envelope, n.Header, n.Body, n.CommitOptions)...)
	}
	return refs, nil
}

func (s *memory) remove(ref queue.Ref) {
	delete(s.items, ref)
	if s.open[ref.ID]--; s.open[ref.ID] == 0 {
		delete(s.open, ref.ID)
		delete(s.messages, ref.ID)
	}
}

func (s *memory) Update(_ context.Context, ref queue.Ref, change func(*queue.Item) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Update", ref); err != nil {
		return err
	}
	it := s.items[ref]
	if it == nil {
		return queue.ErrGone
	}
	c := copyItem(it)
	if err := change(&c); err != nil {
		return err
	}
	c.Version, c.Due = it.Version+1, ms(c.Due)
	s.items[ref] = &c
	s.index(&c)
	return nil
}

func (s *memory) Remove(_ context.Context, id mail.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter("Remove", queue.Ref{ID: id}); err != nil {
		return err
	}
	if s.messages[id] == nil {
		return queue.ErrGone
	}
	for ref := range s.items {
		if ref.ID == id {
			s.remove(ref)
		}
	}
	return nil
}

func (s *memory) List(_ context.Context, f queue.Filter, yield func(queue.Item, error) bool) error {
	s.mu.Lock()
	var all []queue.Item
	for _, it := range s.items {
		if f.Match(it) && (f.After == queue.Ref{} || before(queue.Mark{Ref: f.After}, queue.Mark{Ref: it.Ref})) {
			all = append(all, copyItem(it))
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b queue.Item) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Ref.Item, b.Ref.Item))
	})
	for _, it := range all {
		if !yield(it, nil) {
			break
		}
	}
	return nil
}

func (s *memory) Counts() queue.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return queue.Counts{Messages: int64(len(s.messages)), Items: int64(len(s.items))}
}

func (s *memory) Close() error { return nil }
