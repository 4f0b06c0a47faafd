package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// Settle implements queue.Store. Domain and Arrived of s.Item are not taken
// over, and only the last MaxHistory entries of History are.
func (s *Store) Settle(ctx context.Context, t queue.Settlement) ([]queue.Ref, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	notices := make([]message, len(t.Notices))
	ids := make([]mail.ID, len(t.Notices))
	for i, n := range t.Notices {
		id, err := s.ids.next()
		if err != nil {
			return nil, err
		}
		ids[i] = id
		notices[i] = message{id: id, env: n.Envelope, header: n.Header, tail: n.Body, size: int64(len(n.Body)),
			digest: checksumUpdate(0, n.Body), opt: n.CommitOptions}
	}
	var refs []queue.Ref
	var delta queue.Counts
	s.doubt(ids...)
	defer s.settled(ids...)
	err := s.transition(t.Item.ID, func(b *pebble.Batch) error {
		old, err := s.item(t.Item.Ref)
		if err != nil {
			return err
		}
		if old.Version != t.Item.Version {
			return fmt.Errorf("%w: item %d of %s", queue.ErrConflict, t.Item.Item, t.Item.ID)
		}
		if len(t.Item.Recipients) == 0 {
			err = s.removeItem(b, old, &delta)
		} else {
			now := &itemRecord{Item: t.Item, siblings: old.siblings}
			now.Domain, now.Arrived = old.Domain, old.Arrived
			if n := len(now.History); n > queue.MaxHistory {
				now.History = now.History[n-queue.MaxHistory:]
			}
			err = replaceItem(b, old, now, &delta)
		}
		for i := range notices {
			if err != nil {
				return err
			}
			var r []queue.Ref
			r, err = notices[i].put(b)
			refs = append(refs, r...)
			delta.Messages++
			delta.Items += int64(len(r))
			delta.Held += notices[i].held
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, n := range t.Notices {
		s.space.spend(len(n.Header)+len(n.Body), 0)
	}
	s.total(delta)
	return refs, nil
}

// Update implements queue.Store. change must not call the store.
func (s *Store) Update(ctx context.Context, ref queue.Ref, change func(*queue.Item) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	var delta queue.Counts
	err := s.transition(ref.ID, func(b *pebble.Batch) error {
		old, err := s.item(ref)
		if err != nil {
			return err
		}
		now := *old
		changed := old.Item
		if old.Pinned != nil {
			hop := *old.Pinned
			changed.Pinned = &hop
		}
		if err := change(&changed); err != nil {
			return err
		}
		now.Due, now.Held, now.Reason = changed.Due, changed.Held, changed.Reason
		now.Pinned, now.Expire, now.Priority = changed.Pinned, changed.Expire, changed.Priority
		return replaceItem(b, old, &now, &delta)
	})
	if err != nil {
		return err
	}
	s.total(delta)
	return nil
}

// Remove implements queue.Store. It also removes what is damaged.
func (s *Store) Remove(ctx context.Context, id mail.ID) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	var delta queue.Counts
	err := s.transition(id, func(b *pebble.Batch) error {
		damaged := make(map[queue.Ref]bool)
		it, err := s.db.NewIter(idRange(tableItem, id))
		if err != nil {
			return readError(err)
		}
		for ok := it.First(); ok && err == nil; ok = it.Next() {
			ref, _ := keyRef(it.Key())
			r, bad := decodeItem(it.Key(), it.Value())
			if bad == nil {
				err = deleteItem(b, r, &delta)
			} else {
				damaged[ref] = true
				err = b.Delete(it.Key(), nil)
				delta.Items--
			}
		}
		if err = errors.Join(err, it.Error(), it.Close()); err != nil {
			return readError(err)
		}
		if delta.Items == 0 {
			if _, ok, err := s.get(messageKey(id)); err != nil || !ok {
				return errors.Join(fmt.Errorf("%w: %s", queue.ErrGone, id), err)
			}
		}
		if err := s.removeIndexes(b, damaged, &delta); err != nil {
			return err
		}
		return s.removeMessage(b, id, &delta)
	})
	if err != nil {
		return err
	}
	s.total(delta)
	return nil
}

// replaceItem writes an item anew and moves its d key.
func replaceItem(b *pebble.Batch, old, now *itemRecord, delta *queue.Counts) error {
	now.Version = old.Version + 1
	if old.Held {
		delta.Held--
	} else if err := b.Delete(dueKey(old.Due, old.Ref), nil); err != nil {
		return err
	}
	if now.Held {
		delta.Held++
	}
	return putItem(b, now)
}

// deleteItem removes e, d and n.
func deleteItem(b *pebble.Batch, old *itemRecord, delta *queue.Counts) error {
	delta.Items--
	err := errors.Join(b.Delete(itemKey(old.Ref), nil), b.Delete(domainKey(old.Domain, old.Ref), nil))
	if old.Held {
		delta.Held--
		return err
	}
	return errors.Join(err, b.Delete(dueKey(old.Due, old.Ref), nil))
}

// removeItem removes an item, and the message with the last one. The caller
// holds the message's lock.
func (s *Store) removeItem(b *pebble.Batch, old *itemRecord, delta *queue.Counts) error {
	if err := deleteItem(b, old, delta); err != nil {
		return err
	}
	if old.siblings > 1 {
		it, err := s.db.NewIter(idRange(tableItem, old.ID))
		if err != nil {
			return readError(err)
		}
		others := 0
		for ok := it.First(); ok && others == 0; ok = it.Next() {
			if ref, _ := keyRef(it.Key()); ref != old.Ref {
				others++
			}
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return readError(err)
		}
		if others > 0 {
			return nil
		}
	}
	return s.removeMessage(b, old.ID, delta)
}

// removeMessage removes m and all c, however damaged they are.
func (s *Store) removeMessage(b *pebble.Batch, id mail.ID, delta *queue.Counts) error {
	delta.Messages--
	if err := b.Delete(messageKey(id), nil); err != nil {
		return err
	}
	if r, err := s.message(id); err == nil {
		return deleteChunks(b, id, r.BodySize, chunkCount(r.BodySize))
	}
	it, err := s.db.NewIter(idRange(tableChunk, id))
	if err != nil {
		return readError(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = b.Delete(it.Key(), nil)
	}
	return errors.Join(err, it.Error(), it.Close())
}

// removeIndexes finds the d and n keys of items that can no longer say what
// they are. It reads all of both indexes; damage is rare.
func (s *Store) removeIndexes(b *pebble.Batch, damaged map[queue.Ref]bool, delta *queue.Counts) error {
	if len(damaged) == 0 {
		return nil
	}
	held := int64(len(damaged))
	for _, table := range []byte{tableDue, tableDomain} {
		if err := s.keys(s.db, table, func(k []byte) error {
			if ref, ok := keyRef(k); !ok || !damaged[ref] {
				return nil
			}
			if table == tableDue {
				held--
			}
			return b.Delete(k, nil)
		}); err != nil {
			return err
		}
	}
	delta.Held -= held
	return nil
}

func (s *Store) total(delta queue.Counts) {
	s.totals.messages.Add(delta.Messages)
	s.totals.items.Add(delta.Items)
	s.totals.held.Add(delta.Held)
}
