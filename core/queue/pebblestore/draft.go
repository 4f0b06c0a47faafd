package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// errOver is returned by a draft after Commit or Abort.
var errOver = errors.New("queue: the draft is over")

// draft collects a body: up to smallBody in buf, beyond that in chunks that are
// written without a sync as they fill, with the unfinished one in buf.
type draft struct {
	s      *Store
	id     mail.ID
	buf    []byte
	size   int64
	claim  int    // octets of buf, and what Commit adds, claimed of the disk
	chunks uint32 // written
	digest uint32
	over   bool
	reader chunkReader
}

// Begin implements queue.Store.
func (s *Store) Begin(ctx context.Context) (queue.Draft, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.space.claim(0); err != nil {
		return nil, err
	}
	id, err := s.ids.next()
	if err != nil {
		return nil, err
	}
	return &draft{s: s, id: id, reader: chunkReader{s: s, id: id}}, nil
}

func (d *draft) ID() mail.ID { return d.id }
func (d *draft) Size() int64 { return d.size }

func (d *draft) Write(p []byte) (n int, err error) {
	if err := d.s.enter(); err != nil {
		return 0, err
	}
	defer d.s.leave()
	if d.over {
		return 0, errOver
	}
	if d.size+int64(len(p)) > maxBody {
		return 0, fmt.Errorf("%w: the body is longer than %d octets", queue.ErrStorage, int64(maxBody))
	}
	for len(p) > 0 {
		if d.chunks == 0 && len(d.buf)+len(p) <= smallBody {
			if d.buf == nil {
				d.buf = d.s.buffer(&d.s.smallPool, 0)
			}
			if err := d.take(p); err != nil {
				return n, err
			}
			return n + len(p), nil
		}
		if cap(d.buf) < chunkSize {
			big := append(d.s.buffer(&d.s.chunkPool, chunkSize), d.buf...)
			d.release()
			d.buf = big
		}
		part := p[:min(len(p), chunkSize-len(d.buf))]
		if err := d.take(part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
		if len(d.buf) == chunkSize {
			if err := d.spill(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (d *draft) take(p []byte) error {
	if err := d.s.space.claim(len(p)); err != nil {
		return err
	}
	d.claim += len(p)
	d.buf = append(d.buf, p...)
	d.digest = checksumUpdate(d.digest, p)
	d.size += int64(len(p))
	return nil
}

// spill writes the full buffer as a chunk. Commit's sync covers it, since the
// log is synced in order.
func (d *draft) spill() error {
	d.s.drafts.Lock()
	d.s.drafts.chunks[d.id] = d.chunks + 1
	d.s.drafts.Unlock()
	b := d.s.db.NewBatchWithSize(chunkSize + 64)
	if err := setChunk(b, d.id, d.chunks, d.buf); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := d.s.write(b, pebble.NoSync); err != nil {
		return err
	}
	d.chunks++
	d.reader.size = int64(d.chunks) * chunkSize // not in ReadAt, which may be called concurrently
	d.s.space.spend(len(d.buf), d.claim)
	d.buf, d.claim = d.buf[:0], 0
	return nil
}

func (d *draft) ReadAt(p []byte, off int64) (n int, err error) {
	if err := d.s.enter(); err != nil {
		return 0, err
	}
	defer d.s.leave()
	if d.over {
		return 0, errOver
	}
	if off < 0 {
		return 0, errOffset
	}
	written := d.reader.size
	if off < written {
		n, err = d.reader.readAt(p, off)
		if err != nil && err != io.EOF {
			return n, err
		}
		off += int64(n)
	}
	if n < len(p) && off >= written && off < d.size {
		n += copy(p[n:], d.buf[off-written:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *draft) Commit(ctx context.Context, env mail.Envelope, header []byte, opt queue.CommitOptions) ([]queue.Ref, error) {
	if err := d.s.enter(); err != nil {
		d.leave()
		return nil, err
	}
	defer d.s.leave()
	if d.over {
		return nil, errOver
	}
	rest := len(header) + itemSize*len(env.Recipients)
	if err := d.s.space.claim(rest); err != nil {
		d.drop()
		return nil, err
	}
	d.claim += rest
	b := d.s.db.NewBatchWithSize(len(d.buf) + len(header) + 1024)
	m := message{id: d.id, env: env, header: header, tail: d.buf, size: d.size, digest: d.digest, opt: opt}
	refs, err := m.put(b)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		d.drop()
		return nil, errors.Join(err, b.Close())
	}
	d.s.doubt(d.id)
	err = d.s.write(b, writeOptions())
	d.s.settled(d.id)
	d.s.space.spend(d.claim, d.claim)
	d.claim = 0
	d.finish()
	if err != nil {
		return nil, err
	}
	d.s.totals.messages.Add(1)
	d.s.totals.items.Add(int64(len(refs)))
	d.s.totals.held.Add(m.held)
	return refs, nil
}

func (d *draft) Abort() {
	if d.over {
		return
	}
	if d.s.enter() != nil {
		d.leave()
		return
	}
	defer d.s.leave()
	d.drop()
}

// drop removes what was written and ends the draft.
func (d *draft) drop() {
	if d.chunks > 0 {
		b := d.s.db.NewBatch()
		if err := deleteChunks(b, d.id, 0, d.chunks); err == nil {
			err = d.s.write(b, pebble.NoSync)
			if err != nil {
				d.s.log.Warn("queue: cannot remove an unfinished message; the next start does", "id", d.id, "error", err)
			}
		}
	}
	d.finish()
}

// finish ends the draft and gives its buffers back.
func (d *draft) finish() {
	d.s.drafts.Lock()
	delete(d.s.drafts.chunks, d.id)
	d.s.drafts.Unlock()
	d.leave()
}

// leave ends a draft of a closed store, whose Close, or the next Open, removes
// the chunks.
func (d *draft) leave() {
	if !d.over {
		d.over = true
		d.s.space.spend(0, d.claim)
		d.release()
		d.reader.release()
	}
}

func (d *draft) release() {
	if cap(d.buf) >= chunkSize {
		d.s.recycle(&d.s.chunkPool, d.buf)
	} else if d.buf != nil {
		d.s.recycle(&d.s.smallPool, d.buf)
	}
	d.buf = nil
}

// message is a message about to be stored; all of its body but tail has been
// written as chunks.
type message struct {
	id     mail.ID
	env    mail.Envelope
	header []byte
	tail   []byte
	size   int64
	digest uint32
	opt    queue.CommitOptions
	held   int64 // items that put made in state held
}

// put adds {m, c, e..., d..., n...} to a batch.
func (m *message) put(b *pebble.Batch) ([]queue.Ref, error) {
	domains, groups := queue.Group(m.env.Recipients)
	if len(domains) == 0 {
		return nil, fmt.Errorf("queue: message %s has no recipients", m.id)
	}
	arrived := m.env.Client.Arrived
	if arrived.IsZero() {
		arrived = time.Now()
	}
	r := &record{digest: m.digest, Message: queue.Message{
		ID: m.id, Envelope: m.env, Header: m.header, BodySize: m.size, Arrived: arrived}}
	r.Envelope.Recipients = nil
	key := messageKey(m.id)
	err := b.Set(key, encodeMessage(key, r), nil)
	first := chunkCount(m.size - int64(len(m.tail)))
	for i := 0; i < len(m.tail) && err == nil; i += chunkSize {
		err = setChunk(b, m.id, first+uint32(i/chunkSize), m.tail[i:min(i+chunkSize, len(m.tail))])
	}
	refs := make([]queue.Ref, len(domains))
	for i, domain := range domains {
		if strings.IndexByte(domain, 0) >= 0 {
			return nil, fmt.Errorf("queue: message %s: the domain %q has a NUL", m.id, domain)
		}
		refs[i] = queue.Ref{ID: m.id, Item: uint32(i)}
		held, reason := m.opt.Of(domain)
		if held {
			m.held++
		}
		it := &itemRecord{siblings: uint32(len(domains)), Item: queue.Item{
			Ref: refs[i], Version: 1, Domain: domain, Recipients: groups[i],
			Due: m.opt.Due, Expire: m.opt.Expire, Arrived: arrived, Held: held, Reason: reason, Priority: m.opt.Priority}}
		err = errors.Join(err, putItem(b, it), b.Set(domainKey(domain, refs[i]), nil, nil))
	}
	return refs, err
}

// putItem sets e and, unless the item is held, d.
func putItem(b *pebble.Batch, it *itemRecord) error {
	key := itemKey(it.Ref)
	err := b.Set(key, encodeItem(key, it), nil)
	if err == nil && !it.Held {
		err = b.Set(dueKey(it.Due, it.Ref), nil, nil)
	}
	return err
}
