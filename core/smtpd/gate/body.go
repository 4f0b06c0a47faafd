package gate

import (
	"bytes"
	"io"
	"time"
)

// Body reads the content of a message, or a chunk of it, from a [Wire].
type Body struct {
	w      *Wire
	start  time.Time
	waited time.Duration // for the client; what we do with the octets is not its fault
	before int64         // w.read at the start, without what was buffered
	left   int64         // BDAT: octets to come
	chunk  bool          // BDAT
	scan   scanner
}

// Data begins the content that follows the 354 reply to DATA.
func (w *Wire) Data() *Body {
	return &Body{w: w, start: time.Now(), before: w.read - int64(w.w-w.r), scan: scanner{bol: true}}
}

// Chunk begins n octets that follow a BDAT command (RFC 3030).
func (w *Wire) Chunk(n int64) *Body {
	return &Body{w: w, start: time.Now(), before: w.read - int64(w.w-w.r), left: n, chunk: true}
}

// Next returns the next octets of the content, with dots un-stuffed; they are
// valid until the next call on the Wire. io.EOF means that the end was seen as
// it must be: CR LF . CR LF, or the last announced octet. Any other error is
// final for the connection.
func (b *Body) Next() ([]byte, error) {
	for {
		if b.ended() {
			return nil, io.EOF
		}
		switch b.w.rerr {
		case nil:
		case io.EOF: // of the connection, not of the content
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, b.w.rerr
		}
		in := b.w.unread()
		if b.chunk {
			in = in[:min(int64(len(in)), b.left)]
			if len(in) > 0 {
				b.w.r += len(in)
				b.left -= int64(len(in))
				return in, nil
			}
		} else {
			out, used := b.scan.next(in)
			b.w.r += used
			if len(out) > 0 {
				return out, nil
			}
			if b.scan.done {
				return nil, io.EOF
			}
		}
		if err := b.fill(); err != nil {
			return nil, err
		}
	}
}

func (b *Body) ended() bool { return b.scan.done || b.chunk && b.left == 0 }

// fill reads with the deadline of whichever limit ends first.
func (b *Body) fill() error {
	w := b.w
	switch {
	case len(w.buf) < lineBuffer:
		w.resize(lineBuffer)
	case len(w.buf) < bodyBuffer && w.w == len(w.buf):
		w.resize(bodyBuffer) // the last read filled it: more is coming
	}
	now := time.Now()
	deadline := now.Add(w.limits.Block)
	if t := b.start.Add(w.limits.Total); t.Before(deadline) {
		deadline = t
	}
	due := time.Duration(float64(w.read-b.before) / float64(w.limits.MinRate) * float64(time.Second))
	slow := now.Add(w.limits.Grace + due - b.waited)
	tooSlow := slow.Before(deadline)
	if tooSlow {
		deadline = slow
	}
	err := w.fill(deadline)
	b.waited += time.Since(now)
	switch {
	case err == ErrTimeout && tooSlow:
		w.rerr = ErrTooSlow
	case err == io.EOF:
		w.rerr = io.ErrUnexpectedEOF
	}
	return w.rerr
}

// scanner finds the end of data and removes the dots of stuffing (RFC 5321
// 4.5.2). A line begins at the start, and after CR LF; nowhere else.
type scanner struct {
	bol  bool // at the beginning of a line
	cr   bool // the last octet was a CR
	done bool // CR LF . CR LF was seen
}

// next consumes octets of in and returns those that are content, which it may
// move inside in. It leaves up to two octets unconsumed when it needs more to
// know what they are.
func (s *scanner) next(in []byte) (out []byte, used int) {
	to, from := 0, 0
	for from < len(in) {
		if s.bol {
			if rest := in[from:]; rest[0] == '.' {
				if len(rest) == 1 || len(rest) == 2 && rest[1] == '\r' {
					break
				}
				if rest[1] == '\r' && rest[2] == '\n' {
					s.done = true
					return in[:to], from + 3
				}
				from++
			}
			s.bol, s.cr = false, false
		}
		n := s.run(in[from:])
		if to == from {
			to += n
		} else {
			to += copy(in[to:], in[from:from+n])
		}
		from += n
	}
	return in[:to], from
}

// run is the length of what can be taken as it is: to the CR LF that a dot
// follows, or all.
func (s *scanner) run(in []byte) int {
	if s.cr && in[0] == '\n' && (len(in) == 1 || in[1] == '.') {
		s.bol, s.cr = true, false
		return 1
	}
	if i := bytes.Index(in, crlfDot); i >= 0 {
		s.bol, s.cr = true, false
		return i + 2
	}
	s.bol = bytes.HasSuffix(in, crlfDot[:2])
	s.cr = in[len(in)-1] == '\r'
	return len(in)
}

var crlfDot = []byte("\r\n.")
