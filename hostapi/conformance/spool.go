package conformance

import (
	"bytes"

	"github.com/wasmta/wasmta/core/hook"
)

// maxBody is the most that a new body may have, in octets.
const maxBody = 100_000

// spool takes a new body.
type spool struct {
	content []byte
	last    byte
}

var _ hook.Spool = (*spool)(nil)

func (s *spool) Write(p []byte) (int, error) {
	if len(s.content)+len(p) > maxBody {
		return 0, hook.ErrSize
	}
	for _, c := range p {
		if c == 0 || (s.last == '\r') != (c == '\n') {
			return 0, hook.ErrContent
		}
		s.last = c
	}
	s.content = append(s.content, p...)
	return len(p), nil
}

func (s *spool) Close() error {
	if s.last == '\r' {
		return hook.ErrContent
	}
	if len(s.content) > 0 && s.last != '\n' {
		s.content = append(s.content, "\r\n"...)
	}
	return nil
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.content).ReadAt(p, off)
}
func (s *spool) Size() int64 { return int64(len(s.content)) }
func (s *spool) Abort()      { s.content = nil }
