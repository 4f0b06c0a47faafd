package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

var (
	errOffset = errors.New("queue: negative offset")
	errDigest = errors.New("its digest does not match")
)

func checksumUpdate(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// setChunk adds a c key, built in the batch so that the data is copied once.
func setChunk(b *pebble.Batch, id mail.ID, chunk uint32, data []byte) error {
	key := chunkKey(id, chunk)
	op := b.SetDeferred(len(key), len(data)+valueOverhead)
	copy(op.Key, key)
	op.Value[0] = valueVersion
	copy(op.Value[1:], data)
	end := 1 + len(data)
	binary.BigEndian.PutUint32(op.Value[end:], checksum(key, op.Value[:end]))
	return op.Finish()
}

// deleteChunks removes the c keys of a body: sized, so that compaction sees
// how much garbage they are. size 0 means that all chunks are full ones.
func deleteChunks(b *pebble.Batch, id mail.ID, size int64, chunks uint32) error {
	for i := range chunks {
		n := int64(chunkSize)
		if size > 0 {
			n = min(n, size-int64(i)*chunkSize)
		}
		if err := b.DeleteSized(chunkKey(id, i), uint32(n+valueOverhead), nil); err != nil {
			return err
		}
	}
	return nil
}

// buffer takes an empty slice from a pool, recycle gives it back.
func (s *Store) buffer(p *sync.Pool, size int) []byte {
	if b, ok := p.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, max(size, 8<<10))
}

func (s *Store) recycle(p *sync.Pool, b []byte) { p.Put(&b) }

// chunkReader reads a stored body at any place and keeps the chunk it read
// last. It is safe for concurrent use.
type chunkReader struct {
	s    *Store
	id   mail.ID
	size int64 // of the whole body; all chunks but the last are full

	mu    sync.Mutex
	chunk int64 // in data, if data is not nil
	data  []byte
}

// readAt is io.ReaderAt; off is not negative.
func (r *chunkReader) readAt(p []byte, off int64) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		if err := r.load(off / chunkSize); err != nil {
			return n, err
		}
		c := copy(p[n:], r.data[off%chunkSize:])
		n, off = n+c, off+int64(c)
	}
	return n, nil
}

// load brings a chunk into data, verified.
func (r *chunkReader) load(chunk int64) error {
	if r.data != nil && r.chunk == chunk {
		return nil
	}
	r.release()
	key := chunkKey(r.id, uint32(chunk))
	v, closer, err := r.s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return r.missing(chunk)
	}
	if err != nil {
		return readError(err)
	}
	defer closer.Close() //nolint:errcheck // nothing to lose
	data, err := openValue(key, v)
	if err == nil && int64(len(data)) != min(chunkSize, r.size-chunk*chunkSize) {
		err = errFields
	}
	if err != nil {
		return corrupt(fmt.Sprintf("chunk %d of the body", chunk), r.id, err)
	}
	pool, size := &r.s.smallPool, 0
	if len(data) > smallBody {
		pool, size = &r.s.chunkPool, chunkSize
	}
	r.data, r.chunk = append(r.s.buffer(pool, size), data...), chunk
	return nil
}

// missing tells a damaged body from one that was removed while it was read.
func (r *chunkReader) missing(chunk int64) error {
	_, ok, err := r.s.get(messageKey(r.id))
	if err == nil && !ok {
		return fmt.Errorf("%w: %s", queue.ErrGone, r.id)
	}
	return corrupt(fmt.Sprintf("chunk %d of the body", chunk), r.id, errMissing)
}

func (r *chunkReader) release() {
	if cap(r.data) >= chunkSize {
		r.s.recycle(&r.s.chunkPool, r.data)
	} else if r.data != nil {
		r.s.recycle(&r.s.smallPool, r.data)
	}
	r.data = nil
}

// body is an open body. It holds nothing of Pebble between two calls.
type body struct {
	chunks chunkReader
	want   uint32
	digest uint32 // of what Read has returned
	pos    int64
	closed bool
}

// Body implements queue.Store.
func (s *Store) Body(_ context.Context, id mail.ID) (queue.Body, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	r, err := s.message(id)
	if err != nil {
		return nil, err
	}
	return &body{chunks: chunkReader{s: s, id: id, size: r.BodySize}, want: r.digest}, nil
}

func (b *body) Size() int64 { return b.chunks.size }

func (b *body) Read(p []byte) (int, error) {
	if b.pos == b.chunks.size {
		if b.digest != b.want {
			return 0, corrupt("body", b.chunks.id, errDigest)
		}
		return 0, io.EOF
	}
	n, err := b.ReadAt(p, b.pos)
	b.digest = checksumUpdate(b.digest, p[:n])
	b.pos += int64(n)
	if err == io.EOF { // told by the next Read, after the digest
		err = nil
	}
	return n, err
}

func (b *body) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errOffset
	}
	if b.closed {
		return 0, fmt.Errorf("queue: the body of %s is closed", b.chunks.id)
	}
	if err := b.chunks.s.enter(); err != nil {
		return 0, err
	}
	defer b.chunks.s.leave()
	return b.chunks.readAt(p, off)
}

func (b *body) Close() error {
	b.chunks.mu.Lock()
	defer b.chunks.mu.Unlock()
	b.closed = true
	b.chunks.release()
	return nil
}
