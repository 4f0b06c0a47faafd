package maildrop

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	magic = "wasmta drop 1\n"
	// MaxRecipients is how many recipients one message may have.
	MaxRecipients = 10_000
	maxEnvelope   = 8 << 20 // octets
	chunkSize     = 64 << 10
)

// ErrDamaged: the file is not one that sendmail has written and finished.
var ErrDamaged = errors.New("maildrop: not a whole message")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Envelope is what the command knows of a message besides its content.
type Envelope struct {
	Sender     mail.Path // null: <>
	Recipients []mail.Path
	Notify     mail.Notify // DSN NOTIFY of all recipients
	Return     mail.Return // DSN RET
	EnvID      string      // DSN ENVID, as given: not encoded
	Body       mail.BodyType
	SMTPUTF8   bool
}

func newHash() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func (e *Envelope) encode() []byte {
	var b []byte
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	str(e.Sender.String())
	flags := byte(0)
	if e.SMTPUTF8 {
		flags = 1
	}
	b = append(b, byte(e.Notify), byte(e.Return), byte(e.Body), flags)
	str(e.EnvID)
	b = binary.AppendUvarint(b, uint64(len(e.Recipients)))
	for _, r := range e.Recipients {
		str(r.String())
	}
	return b
}

func decodeEnvelope(b []byte) (e Envelope, err error) {
	bad := false
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[size:]
		return n
	}
	str := func() string {
		n := number()
		if n > uint64(len(b)) {
			bad, b = true, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	if s := str(); s != "" {
		if e.Sender, err = mail.ParseMailbox(s); err != nil {
			return e, damaged("sender %q: %v", s, err)
		}
	}
	if len(b) < 4 {
		return e, damaged("its envelope ends early")
	}
	e.Notify, e.Return, e.Body, e.SMTPUTF8 = mail.Notify(b[0]), mail.Return(b[1]), mail.BodyType(b[2]), b[3] == 1
	if b[3] > 1 || e.Return > mail.ReturnHeaders || e.Body > mail.Body8BitMIME ||
		e.Notify&^(mail.NotifyNever|mail.NotifySuccess|mail.NotifyFailure|mail.NotifyDelay) != 0 {
		return e, damaged("its envelope has parameters that do not exist")
	}
	b = b[4:]
	e.EnvID = str()
	n := number()
	if n == 0 || n > MaxRecipients {
		return e, damaged("it has %d recipients", n)
	}
	for ; n > 0 && !bad; n-- {
		s := str()
		p, err := mail.ParseMailbox(s)
		if err != nil {
			return e, damaged("recipient %q: %v", s, err)
		}
		e.Recipients = append(e.Recipients, p)
	}
	if bad || len(b) > 0 {
		return e, damaged("its envelope is malformed")
	}
	if !ValidEnvID(e.EnvID) {
		return e, damaged("its ENVID is malformed")
	}
	return e, nil
}

// writer writes a message; it buffers.
type writer struct {
	w     *bufio.Writer
	chunk []byte
	sum   hash.Hash32
}

func newWriter(w io.Writer, e *Envelope) (*writer, error) {
	env := e.encode()
	if len(env) > maxEnvelope || len(e.Recipients) > MaxRecipients {
		return nil, fmt.Errorf("maildrop: %d recipients are too many; the limit is %d", len(e.Recipients), MaxRecipients)
	}
	out := &writer{w: bufio.NewWriterSize(w, 2*chunkSize), chunk: make([]byte, 0, chunkSize), sum: newHash()}
	_, err := out.w.WriteString(magic)
	return out, errors.Join(err, out.number(uint32(len(env))), out.raw(env), out.number(checksum(env)))
}

func (w *writer) number(n uint32) error { return w.raw(binary.BigEndian.AppendUint32(nil, n)) }

func (w *writer) raw(b []byte) error {
	_, err := w.w.Write(b)
	return err
}

func (w *writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := copy(w.chunk[len(w.chunk):chunkSize], p)
		w.chunk, p = w.chunk[:len(w.chunk)+k], p[k:]
		if len(w.chunk) == chunkSize {
			if err := w.flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

func (w *writer) flush() error {
	if len(w.chunk) == 0 {
		return nil
	}
	w.sum.Write(w.chunk)
	err := errors.Join(w.number(uint32(len(w.chunk))), w.raw(w.chunk))
	w.chunk = w.chunk[:0]
	return err
}

func (w *writer) end() error {
	return errors.Join(w.flush(), w.number(0), w.number(w.sum.Sum32()), w.w.Flush())
}

// Decode reads the envelope of a message; content gives the rest. It ends with
// io.EOF only when everything was there and as it was written, and never gives
// more than one chunk at a time.
func Decode(r io.Reader) (e Envelope, content io.Reader, err error) {
	in := bufio.NewReaderSize(r, chunkSize)
	var head [len(magic) + 4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return e, nil, short(err)
	}
	if string(head[:len(magic)]) != magic {
		return e, nil, damaged("it does not begin like one")
	}
	n := binary.BigEndian.Uint32(head[len(magic):])
	if n > maxEnvelope {
		return e, nil, damaged("its envelope would have %d octets", n)
	}
	// The length is not believed before there are so many octets.
	env, err := io.ReadAll(io.LimitReader(in, int64(n)))
	if err == nil && len(env) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	var sum [4]byte
	if err == nil {
		_, err = io.ReadFull(in, sum[:])
	}
	if err != nil {
		return e, nil, short(err)
	}
	if binary.BigEndian.Uint32(sum[:]) != checksum(env) {
		return e, nil, damaged("the checksum of its envelope does not match")
	}
	if e, err = decodeEnvelope(env); err != nil {
		return e, nil, err
	}
	return e, &reader{in: in, sum: newHash()}, nil
}

func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("it ends early")
	}
	return err
}

type reader struct {
	in   *bufio.Reader
	sum  hash.Hash32
	left int // of the chunk
	err  error
}

func (r *reader) Read(p []byte) (n int, err error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	if r.left == 0 {
		if r.err = r.next(); r.err != nil {
			return 0, r.err
		}
	}
	n, err = r.in.Read(p[:min(len(p), r.left)])
	r.left -= n
	r.sum.Write(p[:n])
	if err != nil {
		r.err = short(err)
	}
	return n, r.err
}

func (r *reader) next() error {
	var b [4]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return short(err)
	}
	n := binary.BigEndian.Uint32(b[:])
	if n > chunkSize {
		return damaged("a chunk would have %d octets", n)
	}
	if r.left = int(n); n > 0 {
		return nil
	}
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return short(err)
	}
	if binary.BigEndian.Uint32(b[:]) != r.sum.Sum32() {
		return damaged("the checksum of its content does not match")
	}
	if _, err := r.in.ReadByte(); err != io.EOF {
		return damaged("it goes on behind its end")
	}
	return io.EOF
}

// ValidEnvID tells whether s can be a DSN ENVID: at most 100 characters on the
// wire, printable ASCII (RFC 3461 4.4). Empty: there is none.
func ValidEnvID(s string) bool {
	x := mail.EncodeXtext(s)
	_, ok := mail.DecodeXtext(x)
	return ok && len(x) <= 100
}
