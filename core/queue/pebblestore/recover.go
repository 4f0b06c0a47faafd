package pebblestore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// schemaVersion is raised when keys or values change so that an older version
// would misread them.
const schemaVersion = 1

// The s keys. Each holds numbers.
const (
	stateSchema    = "schema"    // schemaVersion
	stateWatermark = "watermark" // no id from here on was ever given out
	stateClean     = "clean"     // messages, items, held; exists while nobody has the store open
	stateSwept     = "swept"     // no chunk with a lower id is without a message
)

func encodeState(key []byte, numbers ...uint64) []byte {
	e := newEncoder(64)
	for _, n := range numbers {
		e.uint(n)
	}
	return sealValue(key, e)
}

func decodeState(key, value []byte, numbers ...*uint64) error {
	b, err := openValue(key, value)
	if err != nil {
		return err
	}
	d := decoder{b: b}
	for _, n := range numbers {
		*n = d.uint()
	}
	return d.end()
}

// state reads an s key into numbers; ok is false if there is none.
func (s *Store) state(name string, numbers ...*uint64) (ok bool, err error) {
	key := stateKey(name)
	v, ok, err := s.get(key)
	if err != nil || !ok {
		return false, err
	}
	if err := decodeState(key, v, numbers...); err != nil {
		return false, fmt.Errorf("queue: the record %q in %q: %w", name, s.opts.Dir, err)
	}
	return true, nil
}

// start reads what serving depends on and starts the recovery of the rest.
func (s *Store) start() error {
	var schema, watermark, swept, messages, items, held uint64
	known, err := s.state(stateSchema, &schema)
	if err != nil {
		return err
	}
	if schema > schemaVersion {
		return fmt.Errorf("queue: %q was written by a newer wasmta (schema %d, this one knows %d); run that version, or let it deliver the queue first",
			s.opts.Dir, schema, schemaVersion)
	}
	last, empty, err := s.lastID()
	if err != nil {
		return err
	}
	if !known && !empty {
		return fmt.Errorf("queue: %q has data but no schema record: it is no wasmta queue or damaged", s.opts.Dir)
	}
	if _, err := s.state(stateWatermark, &watermark); err != nil {
		return err
	}
	if _, err := s.state(stateSwept, &swept); err != nil {
		return err
	}
	clean, err := s.state(stateClean, &messages, &items, &held)
	if err != nil {
		return err
	}
	if clean || !known {
		s.base.Store(&queue.Counts{Messages: int64(messages), Items: int64(items), Held: int64(held)})
	}

	b := s.db.NewBatch()
	schemaKey, cleanKey := stateKey(stateSchema), stateKey(stateClean)
	if err := errors.Join(
		b.Set(schemaKey, encodeState(schemaKey, schemaVersion), nil),
		b.Delete(cleanKey, nil),
	); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := s.write(b, writeOptions()); err != nil {
		return err
	}

	if watermark > 0 {
		last = max(last, mail.ID(watermark)-1)
	}
	s.ids.last, s.ids.persist = last, s.saveWatermark
	s.firstID, s.swept = last+1, mail.ID(swept)
	go s.recover(s.db.NewSnapshot())
	return nil
}

func (s *Store) saveWatermark(limit mail.ID) error {
	key := stateKey(stateWatermark)
	b := s.db.NewBatch()
	if err := b.Set(key, encodeState(key, uint64(limit)), nil); err != nil {
		return errors.Join(err, b.Close())
	}
	return s.write(b, writeOptions())
}

// lastID is the highest id in any m, e or c key; empty tells that there is no
// key at all.
func (s *Store) lastID() (last mail.ID, empty bool, err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, false, readError(err)
	}
	empty = !it.First()
	for _, table := range []byte{tableMessage, tableItem, tableChunk} {
		if it.SeekLT([]byte{table + 1}) && it.Key()[0] == table {
			if id, ok := keyID(it.Key()); ok {
				last = max(last, id)
			}
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return 0, false, readError(err)
	}
	return last, empty, nil
}

// markClean writes what lets the next Open skip the recovery.
func (s *Store) markClean() error {
	b := s.db.NewBatch()
	set := func(name string, numbers ...uint64) error {
		key := stateKey(name)
		return b.Set(key, encodeState(key, numbers...), nil)
	}
	next := uint64(s.ids.last) + 1
	err := set(stateWatermark, next)
	for id, chunks := range s.drafts.chunks { // no call is in progress any more
		err = errors.Join(err, deleteChunks(b, id, 0, chunks))
	}
	if s.swept == s.firstID {
		err = errors.Join(err, set(stateSwept, next))
	}
	if s.base.Load() != nil {
		c := s.Counts()
		err = errors.Join(err, set(stateClean, uint64(c.Messages), uint64(c.Items), uint64(c.Held)))
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return s.write(b, writeOptions())
}

var errStopped = errors.New("stopped")

// Recovered returns a channel that is closed when the recovery after Open has
// ended: totals counted, chunks without a message removed. Serving does not
// wait for it.
func (s *Store) Recovered() <-chan struct{} { return s.recovery }

// recover does what is proportional to the queue, on the state of before the
// first call.
func (s *Store) recover(snap *pebble.Snapshot) {
	defer close(s.recovery)
	defer snap.Close() //nolint:errcheck // nothing to lose
	if s.base.Load() == nil {
		c, err := s.count(snap)
		if err == nil {
			s.base.Store(&c)
			s.log.Info("queue: counted after an unclean stop", "messages", c.Messages, "items", c.Items, "held", c.Held)
		} else if !errors.Is(err, errStopped) {
			s.log.Error("queue: cannot count the messages", "error", err)
		}
	}
	if s.swept >= s.firstID {
		s.swept = s.firstID
		return
	}
	removed, err := s.sweep(snap)
	if removed > 0 {
		s.log.Info("queue: removed what unfinished transfers left", "chunks", removed)
	}
	if err == nil {
		s.swept = s.firstID
		key := stateKey(stateSwept)
		b := s.db.NewBatch()
		if err = b.Set(key, encodeState(key, uint64(s.swept)), nil); err == nil {
			err = s.write(b, pebble.NoSync) // lost: swept again
		}
	}
	if err != nil && !errors.Is(err, errStopped) {
		s.log.Error("queue: cannot remove what unfinished transfers left", "error", err)
	}
}

// count reads the index keys only: n keys are items, those without a d key are
// held, and distinct ids are messages.
func (s *Store) count(snap *pebble.Snapshot) (c queue.Counts, err error) {
	var due int64
	var ids []mail.ID
	err = s.keys(snap, tableDue, func([]byte) error { due++; return nil })
	if err == nil {
		err = s.keys(snap, tableDomain, func(k []byte) error {
			c.Items++
			if ref, ok := keyRef(k); ok {
				ids = append(ids, ref.ID)
			}
			return nil
		})
	}
	slices.Sort(ids)
	c.Messages = int64(len(slices.Compact(ids)))
	c.Held = c.Items - due
	return c, err
}

// keys calls f for the keys of a table until it fails or the store closes.
func (s *Store) keys(r pebble.Reader, table byte, f func(key []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{table}, UpperBound: []byte{table + 1}})
	if err != nil {
		return readError(err)
	}
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if n++; n%1024 == 0 && s.stopping() {
			err = errStopped
			break
		}
		err = f(it.Key())
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// sweep removes c keys without an m key among the ids of earlier runs.
func (s *Store) sweep(snap *pebble.Snapshot) (removed int, err error) {
	chunks, err := snap.NewIter(&pebble.IterOptions{
		LowerBound: idKey(tableChunk, s.swept), UpperBound: idKey(tableChunk, s.firstID)})
	if err != nil {
		return 0, readError(err)
	}
	defer chunks.Close() //nolint:errcheck // Error is looked at
	messages, err := snap.NewIter(&pebble.IterOptions{
		LowerBound: idKey(tableMessage, s.swept), UpperBound: idKey(tableMessage, s.firstID)})
	if err != nil {
		return 0, readError(err)
	}
	defer messages.Close() //nolint:errcheck // Error is looked at

	for ok := chunks.First(); ok; {
		if s.stopping() {
			return removed, errStopped
		}
		id, _ := keyID(chunks.Key())
		if messages.SeekGE(messageKey(id)) {
			if m, _ := keyID(messages.Key()); m == id {
				ok = chunks.SeekGE(idKey(tableChunk, id+1))
				continue
			}
		}
		if err := messages.Error(); err != nil {
			return removed, readError(err) // not seen is not absent
		}
		b := s.db.NewBatch()
		for ; ok; ok = chunks.Next() {
			if other, _ := keyID(chunks.Key()); other != id {
				break
			}
			if err := b.Delete(chunks.Key(), nil); err != nil {
				return removed, errors.Join(err, b.Close())
			}
			removed++
		}
		if err := s.write(b, pebble.NoSync); err != nil {
			return removed, err
		}
	}
	if err := chunks.Error(); err != nil {
		return removed, readError(err)
	}
	return removed, nil
}
