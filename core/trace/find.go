package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Report is what is known of a message or of a session.
type Report struct {
	Events  []Event  // in the order of time
	Notices []string // what may be missing
}

// ErrUnknown: there is nothing about an id.
var ErrUnknown = errors.New("nothing is known of it: it never was here, it is older than what is kept ([trace] keep, max_size), or its session has not ended")

// ErrID: an id is neither a queue id nor that of a session.
var ErrID = errors.New("give a queue id, of 12 characters, or a session id, of 16 hexadecimal digits")

// Limits of a report.
const (
	maxFrames = 5_000
	maxShown  = 20_000    // events
	maxReport = 16 << 20  // octets of frames
	clockSlip = time.Hour // that a clock may have been set back by
)

// parse reads either kind of id. A transaction's, "SESSION.N", is that of its
// session.
func parse(id string) (message, session uint64, err error) {
	if m, err := mail.ParseID(id); err == nil && m != 0 {
		return uint64(m), 0, nil
	}
	if len(id) > 16 && id[16] == '.' {
		id = id[:16]
	}
	if s := sessionNumber(id); s != 0 {
		return 0, s, nil
	}
	return 0, 0, ErrID
}

// ReadDir is [Store.Explain] for a directory that no server uses.
func ReadDir(dir, id string) (Report, error) {
	if _, _, err := parse(id); err != nil {
		return Report{}, err
	}
	list, err := listSegments(dir)
	if err != nil {
		return Report{}, err
	}
	for _, g := range list {
		if g.readIndex() != nil {
			if _, err := g.scan(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return Report{}, err
			}
		}
	}
	return explain(list, id)
}

// explain looks an id up in segments, oldest first.
func explain(list []*segment, id string) (Report, error) {
	message, session, err := parse(id)
	if err != nil {
		return Report{}, err
	}
	s := search{list: list}
	if session != 0 {
		s.find(session, time.Time{}, func(f *frame) bool { return f.session == session })
	} else {
		s.find(message, mail.ID(message).Time().Add(-clockSlip), func(f *frame) bool { return f.message == message })
		s.before(message)
	}
	var r Report
	for i, f := range s.found {
		if len(r.Events) >= maxShown {
			s.left += len(s.found) - i
			break
		}
		events, err := f.decode()
		if err != nil {
			s.damaged++
		}
		r.Events = append(r.Events, events...)
	}
	r.Events = sorted(r.Events)
	if s.damaged > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%d records are damaged: something is missing here", s.damaged))
	}
	if s.left > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%d records more are not shown", s.left))
	}
	if len(r.Events) == 0 {
		return r, ErrUnknown
	}
	return r, nil
}

// search collects frames.
type search struct {
	list    []*segment
	found   []frame
	size    int // of found, in octets
	damaged int
	left    int
}

// find adds the frames with an id that were written after since.
func (s *search) find(id uint64, since time.Time, wanted func(*frame) bool) {
	for _, g := range s.list {
		if g.last.Before(since) {
			continue
		}
		offsets, err := g.offsets(id)
		if err == nil && len(offsets) > 0 {
			err = s.read(g, offsets, wanted)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it was too old, and has gone meanwhile
			s.damaged++
		}
	}
}

func (s *search) read(g *segment, offsets []uint32, wanted func(*frame) bool) error {
	file, err := os.Open(g.path())
	if err != nil {
		return err
	}
	defer file.Close()
	for _, at := range offsets {
		if len(s.found) >= maxFrames || s.size > maxReport {
			s.left++
			continue
		}
		f, err := frameAt(file, int64(at))
		switch {
		case err != nil:
			s.damaged++
		case wanted(&f):
			s.found = append(s.found, f)
			s.size += f.complete
		}
	}
	return nil
}

// before adds what the session did before the transaction that brought the
// message.
func (s *search) before(message uint64) {
	i := slices.IndexFunc(s.found, func(f frame) bool { return f.part == partTransaction && f.session != 0 })
	if i < 0 {
		return
	}
	session, start := s.found[i].session, s.found[i].start
	s.find(session, time.Time{}, func(f *frame) bool {
		return f.part == partSession && f.message != message && !f.start.After(start)
	})
}
