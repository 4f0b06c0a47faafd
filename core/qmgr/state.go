package qmgr

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	// memory is how long a next hop is remembered that nothing went to.
	memory = 4 * time.Hour
	// saveEvery is how often Options.State is written, if there is something new.
	saveEvery = time.Minute
	// maxState bounds Options.State in octets, maxWhy a reason in it.
	maxState = 8 << 20
	maxWhy   = 500
	// stateVersion is that of the file; another one is not read.
	stateVersion = 1
)

// savedState is Options.State. What cannot be read is ignored: it is about next
// hops, no message depends on it.
type savedState struct {
	Version int        `json:"version"`
	Hops    []savedHop `json:"hops"`
}

type savedHop struct {
	NextHop  string              `json:"nexthop"`
	Used     time.Time           `json:"used"`
	Bars     [bars]*savedBar     `json:"suspended"` // by operator, plugin, rule
	Sources  map[string]savedBar `json:"sources,omitempty"`
	Failures int                 `json:"failures,omitempty"`
	Pause    time.Duration       `json:"pause,omitempty"`
	Until    time.Time           `json:"until,omitzero"`
	Window   float64             `json:"window,omitempty"` // 0: not less than at first
	Full     time.Time           `json:"full,omitzero"`    // see meter
}

type savedBar struct {
	Until   time.Time `json:"until,omitzero"`
	Forever bool      `json:"forever,omitempty"`
	Why     string    `json:"why,omitempty"`
}

// keep is what is stored of a bar; nil: nothing.
func (b *bar) keep(now time.Time) *savedBar {
	if !b.holds(now) {
		return nil
	}
	why := b.why
	if len(why) > maxWhy {
		why = mail.Printable(why[:maxWhy])
	}
	return &savedBar{b.until, b.forever, why}
}

// state is what is worth keeping. mu is held.
func (m *Manager) state(now time.Time) savedState {
	s := savedState{Version: stateVersion}
	for _, h := range m.hops {
		if !h.troubled(now) || local(h.key) && !h.bars[byOperator].holds(now) {
			continue
		}
		v := savedHop{NextHop: h.key.String(), Used: h.used, Failures: h.failures, Pause: h.pause, Until: h.until}
		for i := range h.bars {
			v.Bars[i] = h.bars[i].keep(now)
		}
		for name, l := range h.lanes {
			if b := l.keep(now); b != nil {
				if v.Sources == nil {
					v.Sources = make(map[string]savedBar)
				}
				v.Sources[name] = *b
			}
		}
		if h.window < float64(min(h.most, unproven)) {
			v.Window = h.window
		}
		if h.meter.full.After(now) {
			v.Full = h.meter.full
		}
		s.Hops = append(s.Hops, v)
	}
	slices.SortFunc(s.Hops, func(a, b savedHop) int { // the operator's word first, then what was used last
		if (a.Bars[byOperator] != nil) != (b.Bars[byOperator] != nil) {
			if a.Bars[byOperator] != nil {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.NextHop, b.NextHop))
	})
	s.Hops = s.Hops[:min(len(s.Hops), maxIdleHops)]
	return s
}

// text is what is written of s: from the beginning as many as read takes.
func (s *savedState) text() ([]byte, error) {
	out := fmt.Appendf(nil, `{"version":%d,"hops":[`, s.Version)
	first := len(out)
	for _, h := range s.Hops {
		one, err := json.Marshal(h)
		if err != nil {
			return nil, err
		}
		if len(out)+len(one)+len(",]}\n") > maxState {
			break
		}
		if len(out) > first {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	return append(out, "]}\n"...), nil
}

// save writes Options.State, whole or not at all.
func (m *Manager) save() error {
	if m.opts.State == "" {
		return nil
	}
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	s := m.state(time.Now())
	m.dirty = false
	m.mu.Unlock()
	text, err := s.text()
	if err == nil {
		err = replace(m.opts.State, text)
	}
	if err != nil {
		m.mu.Lock()
		m.dirty = true
		m.mu.Unlock()
		return fmt.Errorf("qmgr: the state of next hops cannot be kept over a restart: %w", err)
	}
	return nil
}

// replace writes a file so that after a crash either what was there or text is.
func replace(name string, text []byte) (err error) {
	temp := name + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	err = errors.Join(dir.Sync(), dir.Close())
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// load reads Options.State.
func (m *Manager) load() {
	if m.opts.State == "" {
		return
	}
	err := m.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("the state of next hops cannot be read and is forgotten: suspend again what an operator suspended", "file", m.opts.State, "error", err)
	}
}

func (m *Manager) read() error {
	info, err := os.Stat(m.opts.State)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxState {
		return fmt.Errorf("it is no file of at most %d octets", maxState)
	}
	text, err := os.ReadFile(m.opts.State)
	if err != nil {
		return err
	}
	return m.restore(text, time.Now())
}

// restore takes over what text says, or nothing of it.
func (m *Manager) restore(text []byte, now time.Time) error {
	var s savedState
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	if s.Version != stateVersion {
		return fmt.Errorf("it has version %d, and %d is known", s.Version, stateVersion)
	}
	hops := make([]*hop, 0, min(len(s.Hops), maxIdleHops))
	for _, v := range s.Hops[:min(len(s.Hops), maxIdleHops)] {
		key, err := mail.ParseNextHop(v.NextHop)
		if err != nil {
			return err
		}
		h := m.newHop(site(key))
		if h.used = v.Used; h.used.After(now) {
			h.used = now
		}
		for i, b := range v.Bars {
			if b != nil {
				h.bars[i] = b.bar(now, i == byOperator)
			}
		}
		for name, b := range v.Sources {
			if l := h.laneAt(name); l != nil {
				l.bar = b.bar(now, false)
			}
		}
		h.failures, h.pause, h.until = max(v.Failures, 0), min(max(v.Pause, 0), maxPause), within(v.Until, now, firstPause) // who restarts may have mended it
		if v.Window >= 1 && now.Sub(h.used) < memory {
			h.window = min(v.Window, h.window)
			h.thresh = h.window
		}
		if h.meter.gap > 0 {
			h.meter.full = within(v.Full, now, h.meter.gap+h.meter.slack)
		}
		hops = append(hops, h)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range hops {
		m.hops[h.key] = h
	}
	return nil
}

// bar makes a stored bar one again, no longer than it can have been.
func (b savedBar) bar(now time.Time, operator bool) bar {
	longest := 24 * time.Hour
	if operator {
		longest = maxByOperator
	}
	return bar{within(b.Until, now, longest), b.Forever && operator, mail.Printable(b.Why)}
}

// within is a time from elsewhere as one of the clock that nobody sets, at most d
// from now: nothing is to be suspended for years because the clock was set back.
func within(t, now time.Time, d time.Duration) time.Time {
	if !t.After(now) {
		return t
	}
	return now.Add(min(t.Sub(now), d))
}

// upkeep saves what is to be kept and forgets next hops that nothing went to for
// long.
func (m *Manager) upkeep(now time.Time) {
	m.mu.Lock()
	over := len(m.hops) - maxIdleHops
	for _, h := range m.hops {
		if h.idle() && (over > 0 || now.Sub(h.used) > memory) && !h.troubled(now) {
			m.dropHop(h)
			over--
		}
	}
	for _, h := range m.hops { // as many as there are in use at once
		if over <= 0 {
			break
		}
		if h.idle() && !h.bars[byOperator].holds(now) {
			m.dropHop(h)
			over--
		}
	}
	dirty := m.dirty
	m.dirty = false
	m.mu.Unlock()
	if dirty {
		if err := m.save(); err != nil {
			m.log.Error(err.Error())
		}
	}
}
