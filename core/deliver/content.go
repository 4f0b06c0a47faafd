package deliver

import (
	"bytes"
	"errors"
)

// errBare: the content cannot go out with DATA as it is.
var errBare = errors.New("the content has a bare CR, a bare LF or a NUL")

// stuffer makes content ready for DATA (RFC 5321 4.5.2): a dot at the beginning of a line is doubled, nothing else
// changes. It takes the content in parts, which may be cut anywhere.
type stuffer struct {
	inLine bool // the last octet was not the LF of a CRLF
	cr     bool // the last octet was a CR
}

// append adds src, stuffed, to dst: at most twice its length. With errBare, dst is of no use.
func (s *stuffer) append(dst, src []byte) ([]byte, error) {
	if len(src) == 0 {
		return dst, nil
	}
	if bytes.IndexByte(src, 0) >= 0 || s.cr && src[0] != '\n' {
		return dst, errBare
	}
	if !s.inLine && src[0] == '.' {
		dst = append(dst, '.')
	}
	// Every LF has a CR before it, and there are as many CR as LF: then no CR is bare. Both passes run at the speed of
	// memory.
	lf, start := 0, 0
	for i := 0; ; {
		nl := bytes.IndexByte(src[i:], '\n')
		if nl < 0 {
			break
		}
		i += nl + 1
		lf++
		if i >= 2 && src[i-2] != '\r' || i == 1 && !s.cr {
			return dst, errBare
		}
		if i < len(src) && src[i] == '.' {
			dst = append(dst, src[start:i]...)
			dst = append(dst, '.')
			start = i
		}
	}
	cr := bytes.Count(src, []byte{'\r'})
	if s.cr {
		cr++ // of the part before
	}
	last := src[len(src)-1]
	if s.cr = last == '\r'; s.cr {
		cr-- // its LF is in the next part
	}
	if cr != lf {
		return dst, errBare
	}
	s.inLine = last != '\n'
	return append(dst, src[start:]...), nil
}

// end adds the end of the content, and CRLF before it if the last line has none.
func (s *stuffer) end(dst []byte) ([]byte, error) {
	if s.cr {
		return dst, errBare
	}
	if s.inLine {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...), nil
}
