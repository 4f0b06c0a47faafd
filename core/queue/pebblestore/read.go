package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// listPage is how many items List reads at a time; it holds nothing of Pebble
// while its caller looks at them.
const listPage = 256

// Due implements queue.Store. from is exclusive: mark is the last item
// returned, and the next call goes on behind it; without items mark is from.
//
// A mark moves forward only. An item that gets a due time at or before the mark
// later (a new message, an item that is released or made due at once) is not
// found from there: whoever made the change hands it to the scheduler. An item
// may be handed over and found by Due at the same time; the scheduler knows it
// by its Ref.
func (s *Store) Due(ctx context.Context, from queue.Mark, now time.Time, limit int) (refs []queue.Ref, mark queue.Mark, next time.Time, err error) {
	mark = from
	if err = s.enter(); err != nil {
		return nil, mark, next, err
	}
	defer s.leave()
	lower := []byte{tableDue}
	if from != (queue.Mark{}) {
		lower = append(dueKey(from.Due, from.Ref), 0)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{tableDue + 1}})
	if err != nil {
		return nil, mark, next, readError(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		due, ok := keyDue(it.Key())
		ref, _ := keyRef(it.Key())
		if !ok || s.doubtful(ref.ID) {
			continue
		}
		if len(refs) >= limit || due.After(now) {
			next = due
			break
		}
		refs = append(refs, ref)
		mark = queue.Mark{Due: due, Ref: ref}
		if len(refs)%1024 == 0 && ctx.Err() != nil {
			break
		}
	}
	if err = errors.Join(it.Error(), it.Close()); err != nil {
		return nil, from, time.Time{}, readError(err)
	}
	if err = ctx.Err(); err != nil {
		return nil, from, time.Time{}, err
	}
	return refs, mark, next, nil
}

// listed is an item on a page of List.
type listed struct {
	item queue.Item
	err  error
}

// List implements queue.Store. f may call the store.
func (s *Store) List(ctx context.Context, filter queue.Filter, f func(queue.Item, error) bool) error {
	l := lister{s: s, filter: filter, after: filter.After}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := l.page()
		if err != nil {
			return err
		}
		for _, x := range page {
			if !f(x.item, x.err) {
				return nil
			}
		}
		if l.end {
			return nil
		}
	}
}

type lister struct {
	s      *Store
	filter queue.Filter
	after  queue.Ref // of the last key looked at
	end    bool

	// The message looked at last, for the items that follow it.
	id      mail.ID
	message queue.Message
	err     error
	// Over the messages, while a page is read whose items are in the order of
	// ids: going on from one to the next is cheaper than looking each up.
	messages *pebble.Iterator
}

// read reads the message of an item.
func (l *lister) read(id mail.ID) (queue.Message, error) {
	if l.messages != nil && l.messages.SeekGE(messageKey(id)) {
		if at, ok := keyID(l.messages.Key()); ok && at == id {
			v, err := l.messages.ValueAndErr()
			if err != nil {
				return queue.Message{}, readError(err)
			}
			r, err := decodeMessage(messageKey(id), v)
			if err != nil {
				return queue.Message{}, corrupt("envelope and header", id, err)
			}
			return r.Message, nil
		}
	}
	r, err := l.s.message(id)
	if err != nil {
		return queue.Message{}, err
	}
	return r.Message, nil
}

// page looks at the next keys and returns the items among them that match.
func (l *lister) page() (page []listed, err error) {
	if err := l.s.enter(); err != nil {
		return nil, err
	}
	defer l.s.leave()
	byDomain := l.filter.Domain != "" && l.filter.ID == 0
	bounds := &pebble.IterOptions{LowerBound: []byte{tableItem}, UpperBound: []byte{tableItem + 1}}
	switch {
	case byDomain:
		prefix := domainPrefix(l.filter.Domain)
		bounds.LowerBound, bounds.UpperBound = prefix, append(prefix[:len(prefix)-1:len(prefix)-1], 1)
		if l.after != (queue.Ref{}) {
			bounds.LowerBound = append(domainKey(l.filter.Domain, l.after), 0)
		}
	case l.filter.ID != 0:
		bounds = idRange(tableItem, l.filter.ID)
		fallthrough
	default:
		if l.after != (queue.Ref{}) && l.after.ID >= l.filter.ID {
			bounds.LowerBound = append(itemKey(l.after), 0)
		}
	}
	if bytes.Compare(bounds.LowerBound, bounds.UpperBound) >= 0 {
		l.end = true
		return nil, nil
	}
	it, err := l.s.db.NewIter(bounds)
	if err != nil {
		return nil, readError(err)
	}
	if l.filter.NeedsMessage() && !byDomain {
		if l.messages, err = l.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableMessage}, UpperBound: []byte{tableMessage + 1}}); err != nil {
			return nil, errors.Join(readError(err), it.Close())
		}
	}
	looked := 0
	ok := it.First()
	for ; ok && looked < listPage; ok = it.Next() {
		looked++
		ref, _ := keyRef(it.Key())
		l.after = ref
		var x listed
		if byDomain {
			var r *itemRecord
			if r, x.err = l.s.item(ref); errors.Is(x.err, queue.ErrGone) {
				continue
			} else if x.err == nil {
				x.item = r.Item
			}
		} else if r, bad := decodeItem(it.Key(), it.Value()); bad == nil {
			x.item = r.Item
		} else {
			x.err = corrupt("an item", ref.ID, bad)
		}
		if x.err == nil && !l.match(&x) {
			continue
		}
		if x.err != nil {
			x.item = queue.Item{Ref: ref}
		}
		page = append(page, x)
	}
	l.end = !ok
	if l.messages != nil {
		_ = l.messages.Close() // what it could not read was looked up
		l.messages = nil
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, readError(err)
	}
	return page, nil
}

// match applies the filter. An item whose message cannot be read matches, with
// the error.
func (l *lister) match(x *listed) bool {
	if !l.filter.Match(&x.item) {
		return false
	}
	if !l.filter.NeedsMessage() {
		return true
	}
	if l.id != x.item.ID {
		l.id = x.item.ID
		l.message, l.err = l.read(l.id)
	}
	if errors.Is(l.err, queue.ErrGone) {
		return false
	}
	x.err = l.err
	return l.err != nil || l.filter.MatchMessage(&x.item, &l.message)
}
