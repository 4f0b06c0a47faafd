package gate

import "bytes"

// Defect is what a text must not have on the wire (RFC 5321 2.3.8, 4.5.2).
type Defect uint8

const (
	BareLF Defect = 1 << iota // LF without CR before it
	BareCR                    // CR without LF after it
	NUL
)

// Lines watches a text that comes in pieces for line ends other than CR LF,
// and for NUL. The zero value is at the beginning of a text.
type Lines struct {
	Found Defect // so far
	cr    bool   // the last octet was a CR
	held  bool   // Normalize holds that CR back
}

// Check looks at the next piece.
func (l *Lines) Check(p []byte) {
	if len(p) == 0 {
		return
	}
	crs, pairs := bytes.Count(p, []byte{'\r'}), 0
	if l.cr {
		crs++
	}
	for i := 0; ; {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			break
		}
		k := i + j
		if k > 0 && p[k-1] == '\r' || k == 0 && l.cr {
			pairs++
		} else {
			l.Found |= BareLF
		}
		i = k + 1
	}
	if l.cr = p[len(p)-1] == '\r'; l.cr {
		crs--
	}
	if crs != pairs {
		l.Found |= BareCR
	}
	if bytes.IndexByte(p, 0) >= 0 {
		l.Found |= NUL
	}
}

// End tells that the text is over.
func (l *Lines) End() {
	if l.cr {
		l.Found |= BareCR
		l.cr = false
	}
}

// Normalize checks the next piece and returns it with a bare LF made a CR LF
// and a bare CR made a blank, as Postfix does. A CR at the end of a piece is
// held back until the next; [Lines.Rest] gives the last one. The result may be
// p itself.
func (l *Lines) Normalize(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	before := l.Found
	l.Found = 0
	l.Check(p)
	clean := l.Found&(BareLF|BareCR) == 0
	l.Found |= before
	held := l.held
	l.held = l.cr
	if clean && !held {
		if l.held {
			p = p[:len(p)-1]
		}
		return p
	}
	out := make([]byte, 0, len(p)+bytes.Count(p, []byte{'\n'})+1)
	cr := held
	for _, c := range p {
		switch {
		case c == '\n':
			out = append(out, '\r', '\n')
			cr = false
			continue
		case cr:
			out = append(out, ' ')
		}
		if cr = c == '\r'; !cr {
			out = append(out, c)
		}
	}
	return out
}

// Rest is what Normalize held back at the end of the text.
func (l *Lines) Rest() []byte {
	if l.held {
		l.held = false
		return []byte{' '}
	}
	return nil
}
