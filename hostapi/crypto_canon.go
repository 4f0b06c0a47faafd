package hostapi

import "io"

// canonical passes the body on in a canonical form of DKIM (RFC 6376, 3.4.3
// and 3.4.4): left octets of it, after the first skip. A line ends at CRLF; a CR
// or LF alone is part of a line.
type canonical struct {
	relaxed    bool
	skip, left int64
	out        io.Writer // never fails

	lines int  // CRLFs that are written if anything follows
	cr    bool // one was read; nobody knows yet what it is
	blank bool // relaxed: so with spaces and tabs
	any   bool // something was written
	buf   []byte
}

// Write takes the next octets of the body.
func (w *canonical) Write(b []byte) (int, error) {
	for _, c := range b {
		if w.cr {
			w.cr = false
			if c == '\n' {
				w.lines++
				w.blank = false
				continue
			}
			w.octet('\r')
		}
		switch {
		case c == '\r':
			w.cr = true
		case w.relaxed && (c == ' ' || c == '\t'):
			w.blank = true
		default:
			w.octet(c)
		}
	}
	w.flush()
	return len(b), nil
}

// octet writes what is inside a line, and before it what was held back.
func (w *canonical) octet(c byte) {
	for ; w.lines > 0; w.lines-- {
		if w.buf = append(w.buf, "\r\n"...); len(w.buf) >= hashChunk {
			w.flush()
		}
	}
	if w.blank {
		w.blank = false
		w.buf = append(w.buf, ' ')
	}
	w.buf = append(w.buf, c)
	w.any = true
}

// end writes what ends the body: one CRLF, also if there was none, except
// after an empty relaxed one.
func (w *canonical) end() {
	if w.cr {
		w.cr = false
		w.octet('\r')
	}
	if w.any || !w.relaxed {
		w.buf = append(w.buf, "\r\n"...)
	}
	w.flush()
}

func (w *canonical) flush() {
	b := w.buf
	w.buf = w.buf[:0]
	n := min(w.skip, int64(len(b)))
	w.skip -= n
	b = b[n:]
	b = b[:min(w.left, int64(len(b)))]
	w.left -= int64(len(b))
	w.out.Write(b)
}
