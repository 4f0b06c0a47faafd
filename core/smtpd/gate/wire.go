package gate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of a command line, in octets with its CR LF. RFC 5321 4.5.3.1.4 asks
// for 512 and more with extensions.
const (
	MaxLine         = 4096
	MaxAuthLine     = 12288     // of AUTH and of the responses that follow it (RFC 4954 4)
	maxSkippedLine  = 256 << 10 // of a line that is too long; beyond it the connection is closed
	maxReplyBacklog = 16 << 10  // replies held back for one write
	lineHead        = 16        // of a line that is not taken
)

// Sizes of the read buffer: waiting for a command, with a long command, and in
// a body.
const (
	waitBuffer = 512
	lineBuffer = MaxLine + 512
	bodyBuffer = 64 << 10
)

// Errors of a Wire, after which it is of no more use.
var (
	ErrTimeout  = errors.New("the client was silent for too long")
	ErrTooSlow  = errors.New("the client sends slower than the least rate")
	ErrDraining = errors.New("the server is shutting down")
	ErrTLSHello = errors.New("the client speaks TLS where clear text is expected")
	ErrFlood    = errors.New("the client sends a line without end")
)

// LineError is what is wrong with one command line; the next may be read.
type LineError string

func (e LineError) Error() string { return string(e) }

// What can be wrong with a command line.
const (
	LineTooLong    LineError = "Line is too long"
	LineNotCRLF    LineError = "Line does not end with CR LF"
	LineHasControl LineError = "Line has a control character"
	LineNotUTF8    LineError = "Line is not valid UTF-8"
)

// Limits are the times and rates of one connection. None may be zero.
type Limits struct {
	Command time.Duration // a command line, from when we wait for it to its end
	Block   time.Duration // any octet of a body
	Total   time.Duration // a body, or a chunk of BDAT
	Grace   time.Duration // of a body before MinRate counts
	MinRate int64         // octets a second, averaged over a body
	Write   time.Duration // one write of replies
}

var (
	lineBuffers = sync.Pool{New: func() any { return new([lineBuffer]byte) }}
	bodyBuffers = sync.Pool{New: func() any { return new([bodyBuffer]byte) }}
)

// Wire is the connection of a client. It belongs to one goroutine, except for
// Drain and Kill.
type Wire struct {
	raw    net.Conn // as accepted; Kill closes it
	conn   net.Conn // raw, or TLS upon it
	limits Limits

	buf    []byte // octets r to w are unread
	r, w   int
	full   bool // the last read filled buf: more is likely there
	pooled any  // buf, when it is from a pool: a pointer to its array
	small  [waitBuffer]byte
	out    []byte // replies not sent yet
	rerr   error  // of reading; final
	werr   error  // of writing; final, and for reading too
	read   int64  // octets read
	secret bool   // buf may hold a part of a password
	auth   []byte // the initial response of the last AUTH; nil: none

	mu       sync.Mutex
	idle     bool // waits for a command
	draining bool
}

// NewWire makes a Wire of an accepted connection.
func NewWire(conn net.Conn, limits Limits) *Wire {
	w := &Wire{raw: conn, conn: conn, limits: limits}
	w.buf = w.small[:]
	return w
}

// Layer puts a layer over the connection, before the first read.
func (w *Wire) Layer(f func(net.Conn) net.Conn) { w.conn = f(w.conn) }

// Send queues a reply, which must have its CR LF. An error shows at the next
// read.
func (w *Wire) Send(reply string) {
	if w.werr != nil {
		return
	}
	w.out = append(w.out, reply...)
	if len(w.out) > maxReplyBacklog {
		_ = w.Flush()
	}
}

// Flush sends the queued replies.
func (w *Wire) Flush() error {
	if w.werr != nil || len(w.out) == 0 {
		return w.werr
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.limits.Write)); err != nil {
		w.werr = err
		return err
	}
	_, err := w.conn.Write(w.out)
	if cap(w.out) > 4<<10 {
		w.out = nil
	}
	w.out = w.out[:0]
	if err != nil {
		w.werr = fmt.Errorf("send replies: %w", err)
	}
	return w.werr
}

// fail makes the Wire of no more use.
func (w *Wire) fail(err error) { w.rerr, w.werr = err, err }

// unread is what has been read and not consumed.
func (w *Wire) unread() []byte { return w.buf[w.r:w.w] }

// resize moves the unread octets to a buffer of another size.
func (w *Wire) resize(size int) {
	var buf []byte
	var pooled any
	switch size {
	case waitBuffer:
		buf = w.small[:]
	case lineBuffer:
		p := lineBuffers.Get().(*[lineBuffer]byte)
		buf, pooled = p[:], p
	case bodyBuffer:
		p := bodyBuffers.Get().(*[bodyBuffer]byte)
		buf, pooled = p[:], p
	}
	n := copy(buf, w.unread())
	w.release()
	w.buf, w.pooled, w.r, w.w = buf, pooled, 0, n
}

func (w *Wire) release() {
	if w.secret {
		clear(w.buf)
	}
	switch p := w.pooled.(type) {
	case *[lineBuffer]byte:
		lineBuffers.Put(p)
	case *[bodyBuffer]byte:
		bodyBuffers.Put(p)
	}
	w.pooled, w.buf, w.r, w.w = nil, w.small[:0], 0, 0
}

// fill reads once, at least one octet, after sending what waits to be sent:
// a client may be waiting for it before it goes on.
func (w *Wire) fill(deadline time.Time) error {
	if err := w.Flush(); err != nil {
		w.rerr = err
		return err
	}
	if w.r > 0 {
		w.w = copy(w.buf, w.unread())
		w.r = 0
	}
	w.mu.Lock()
	if w.idle && w.draining {
		deadline = time.Unix(1, 0)
	}
	err := w.conn.SetReadDeadline(deadline)
	w.mu.Unlock()
	if err == nil {
		var n int
		n, err = w.conn.Read(w.buf[w.w:])
		w.w += n
		w.full = w.w == len(w.buf)
		w.read += int64(n)
		if n > 0 {
			return nil
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.rerr = ErrTimeout
	default:
		w.rerr = err
	}
	return w.rerr
}

// ReadCommand reads one command line and returns it without its CR LF. Of AUTH
// it returns the verb and the mechanism; [Wire.Initial] has the rest, which must
// not get into a text. A [LineError] concerns this line only, whose beginning,
// unchecked, comes with it; any other error is final.
func (w *Wire) ReadCommand() (string, error) {
	w.forget()
	line, err := w.readLine(false)
	if line == nil {
		return "", err
	}
	if isAuth(line) {
		head := "AUTH"
		if err == nil {
			head = w.cutInitial(line)
		}
		clear(line)
		w.wipe()
		return head, err
	}
	if err != nil {
		line = line[:min(len(line), lineHead)]
	} else {
		line = line[:len(line)-2]
	}
	return string(line), err
}

// Initial takes the initial response of the AUTH command that was read last,
// as it came; nil: it had none. The caller overwrites it when it is done.
func (w *Wire) Initial() []byte {
	b := w.auth
	w.auth = nil
	return b
}

// ReadResponse reads a line of a SASL exchange and returns it without its CR LF.
// The caller overwrites it when it is done; no other copy is left here. Errors
// are those of [Wire.ReadCommand].
func (w *Wire) ReadResponse() ([]byte, error) {
	w.forget()
	line, err := w.readLine(true)
	var response []byte
	if err == nil {
		response = append([]byte{}, line[:len(line)-2]...)
	}
	clear(line)
	w.wipe()
	return response, err
}

// cutInitial keeps the initial response of AUTH apart, and returns the rest.
func (w *Wire) cutInitial(line []byte) string {
	rest := bytes.Trim(line[len("AUTH"):len(line)-2], " ")
	mechanism, initial, _ := bytes.Cut(rest, []byte{' '})
	if initial = bytes.TrimLeft(initial, " "); len(initial) > 0 {
		w.auth = append([]byte{}, initial...)
	}
	if len(mechanism) == 0 {
		return "AUTH"
	}
	return "AUTH " + string(mechanism)
}

// isAuth tells whether a line, of which there are at least five octets, is an
// AUTH command.
func isAuth(line []byte) bool {
	return len(line) > 4 && (line[4] == ' ' || line[4] == '\r' || line[4] == '\n') && bytes.EqualFold(line[:4], []byte("AUTH"))
}

// forget overwrites what nobody took.
func (w *Wire) forget() {
	clear(w.auth)
	w.auth = nil
}

// wipe overwrites what of the buffers is not unread.
func (w *Wire) wipe() {
	clear(w.buf[:w.r])
	clear(w.buf[w.w:])
	if w.pooled != nil {
		clear(w.small[:])
	}
	w.secret = false
}

// readLine reads a line, with its end, and checks it. It is a view of the
// buffer; with [LineTooLong] of its beginning. Without a line the error is
// final.
func (w *Wire) readLine(secret bool) ([]byte, error) {
	if w.rerr == nil {
		w.rerr = w.werr
	}
	if w.rerr != nil {
		return nil, w.rerr
	}
	if err := w.setIdle(true); err != nil {
		return nil, err
	}
	w.secret = secret
	line, err := w.nextLine()
	if drain := w.setIdle(false); drain != nil && err == ErrTimeout {
		err = drain
	}
	return line, err
}

func (w *Wire) setIdle(idle bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = idle
	if w.draining {
		return ErrDraining
	}
	return nil
}

func (w *Wire) nextLine() ([]byte, error) {
	deadline := time.Now().Add(w.limits.Command)
	switch n := w.w - w.r; {
	case n <= waitBuffer && !w.full && len(w.buf) != waitBuffer:
		w.resize(waitBuffer)
	case n <= MaxLine && len(w.buf) == bodyBuffer:
		w.resize(lineBuffer)
	}
	searched, skipped := 0, 0
	var head [lineHead]byte
	for {
		in := w.unread()
		if skipped == 0 && len(in) >= 2 && in[0] == 0x16 && in[1] == 0x03 {
			w.rerr = ErrTLSHello
			return nil, w.rerr
		}
		limit := MaxLine
		if skipped == 0 && (w.secret || isAuth(in)) {
			w.secret, limit = true, MaxAuthLine
		}
		if i := bytes.IndexByte(in[searched:], '\n'); i >= 0 {
			line := in[:searched+i+1]
			w.r += len(line)
			if skipped > 0 {
				clear(line)
				return head[:], LineTooLong
			}
			if len(line) > limit {
				return line, LineTooLong
			}
			return line, checkLine(line)
		}
		searched = len(in)
		if searched > limit || skipped > 0 {
			if skipped == 0 {
				copy(head[:], in)
			}
			skipped += searched
			w.r, w.w, searched = 0, 0, 0
			if skipped > maxSkippedLine {
				w.rerr = ErrFlood
				return nil, w.rerr
			}
		} else if searched == len(w.buf) || w.full && len(w.buf) == waitBuffer {
			if len(w.buf) == lineBuffer {
				w.resize(bodyBuffer)
			} else {
				w.resize(lineBuffer)
			}
		}
		if err := w.fill(deadline); err != nil {
			return nil, err
		}
	}
}

func checkLine(line []byte) error {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return LineNotCRLF
	}
	line = line[:len(line)-2]
	ascii := true
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return LineHasControl
		}
		ascii = ascii && c < 0x80
	}
	if ascii {
		return nil
	}
	if !utf8.Valid(line) {
		return LineNotUTF8
	}
	for _, r := range string(line) {
		if r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return LineHasControl
		}
	}
	return nil
}

// Pending tells whether input waits that was already read.
func (w *Wire) Pending() bool { return w.w > w.r }

// Await waits up to d for input and tells whether there is any. It is for the
// time before the banner, when there must be none. With d = 0 it looks only at
// what has already arrived.
func (w *Wire) Await(d time.Duration) bool {
	if w.Pending() {
		return true
	}
	if d <= 0 {
		if arrived(w.raw) {
			return true
		}
		if w.conn == w.raw {
			return false
		}
		d = -time.Second // the layer may have read more than was its own
	}
	if w.fill(time.Now().Add(d)) == nil {
		return true
	}
	if w.rerr == ErrTimeout {
		w.rerr = nil
	}
	return false
}

// StartTLS throws away what the client sent in clear text behind the command,
// and does the handshake. It returns how many octets it threw away. An error is
// final.
func (w *Wire) StartTLS(ctx context.Context, config *tls.Config, timeout time.Duration) (state tls.ConnectionState, injected int, err error) {
	if err := w.Flush(); err != nil {
		return state, 0, err
	}
	injected = w.w - w.r
	w.r, w.w = 0, 0
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := w.conn.SetDeadline(time.Time{}); err != nil {
		w.fail(err)
		return state, injected, err
	}
	conn := tls.Server(w.conn, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		// Nothing more is said: in clear text it would be a downgrade.
		w.fail(err)
		return state, injected, err
	}
	w.conn = conn
	return conn.ConnectionState(), injected, nil
}

// Drain asks the Wire to read no more commands: a ReadCommand, running or
// later, returns [ErrDraining]. A body is not disturbed. It may be called from
// any goroutine.
func (w *Wire) Drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	if w.idle {
		_ = w.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// Kill closes the connection at once. It may be called from any goroutine.
func (w *Wire) Kill() { _ = w.raw.Close() }

// Lingering: how long and how much is read and thrown away so that a last
// reply is not lost to a reset that unread input would cause.
const (
	lingerTime   = time.Second
	lingerOctets = 1 << 20
)

// Close sends what is queued and closes. With linger it lets the client read a
// last reply that it did not ask for.
func (w *Wire) Close(linger bool) {
	_ = w.Flush()
	if half, ok := w.raw.(interface{ CloseWrite() error }); linger && ok {
		if c, ok := w.conn.(*tls.Conn); ok {
			_ = c.CloseWrite()
		}
		if half.CloseWrite() == nil && w.raw.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, w.raw, lingerOctets)
		}
	}
	w.fail(net.ErrClosed)
	w.release()
	_ = w.conn.Close()
	_ = w.raw.Close()
}
