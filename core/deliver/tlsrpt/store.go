package tlsrpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	// SaveTime is how often what was counted is written.
	SaveTime = 5 * time.Minute
	// keepTime is how long a day is kept for somebody to look at it.
	keepTime = 7 * 24 * time.Hour
	// maxDay is about how many octets are kept of a day.
	maxDay = 16 << 20
	// maxFile bounds a file that is read back.
	maxFile = 4 * maxDay
)

// Store counts. It is safe for concurrent use.
type Store struct {
	dir string
	log *slog.Logger

	saving sync.Mutex // one at a time
	mu     sync.Mutex
	days   map[string]*day
}

// day is what was counted on a day of UTC, which is its key: 2006-01-02.
type day struct {
	Domains map[string]*domain `json:"domains"`
	dirty   bool
	size    int // octets, about
}

// domain is what was counted for a domain.
type domain struct {
	Policies []*counts `json:"policies"`
	Done     []string  `json:"done,omitempty"` // addresses that have the report
	Closed   bool      `json:"closed,omitempty"`
}

// counts are those of one policy.
type counts struct {
	Policy  Policy   `json:"policy"`
	Good    int64    `json:"good"`
	Bad     int64    `json:"bad"`
	Details []detail `json:"details,omitempty"`
}

// detail is a kind of failure, as RFC 8460 4.4 writes it.
type detail struct {
	Result        Result `json:"result-type"`
	SendingIP     string `json:"sending-mta-ip,omitempty"`
	ReceivingMX   string `json:"receiving-mx-hostname,omitempty"`
	ReceivingHelo string `json:"receiving-mx-helo,omitempty"`
	ReceivingIP   string `json:"receiving-ip,omitempty"`
	Count         int64  `json:"failed-session-count"`
	Info          string `json:"additional-information,omitempty"`
	Reason        string `json:"failure-reason-code,omitempty"`
}

// Open makes a store, and reads what an earlier one wrote to dir; empty: nothing outlives the process.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, log: log, days: make(map[string]*day)}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("tls reports: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("tls reports: %w", err)
	}
	for _, f := range files {
		s.recall(f)
	}
	return s, nil
}

// recall reads a file back. One that is damaged is removed: what was counted is not worth more.
func (s *Store) recall(f fs.DirEntry) {
	path := filepath.Join(s.dir, f.Name())
	key, ok := strings.CutSuffix(f.Name(), ".json")
	_, err := time.Parse(time.DateOnly, key)
	if !ok || err != nil {
		if strings.HasPrefix(f.Name(), ".new-") {
			_ = os.Remove(path)
		}
		return
	}
	d := &day{}
	info, err := f.Info()
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("it has %d octets", info.Size())
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err == nil {
		err = json.Unmarshal(b, d)
	}
	if err == nil {
		err = d.check()
	}
	if err != nil {
		s.log.Warn("what was counted for TLS reports of a day is damaged and removed", "file", path, "error", err)
		_ = os.Remove(path)
		return
	}
	s.days[key] = d
}

func (d *day) check() error {
	if d.Domains == nil || len(d.Domains) > MaxDomains {
		return errors.New("there is no list of domains, or it is too long")
	}
	for name, x := range d.Domains {
		d.size += entryCost + len(name)
		if !validName(name) || x == nil || len(x.Policies) > MaxPolicies || slices.ContainsFunc(x.Policies, func(c *counts) bool { return c == nil || len(c.Details) > MaxDetails }) {
			return errors.New("a domain is none, or has too many policies")
		}
		for _, c := range x.Policies {
			d.size += c.Policy.cost()
			for i := range c.Details {
				d.size += c.Details[i].cost()
			}
		}
	}
	return nil
}

// validName tells whether a domain may stand in reports: A-labels only.
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// Add counts a session.
func (s *Store) Add(v Session) {
	v.Domain = mail.DomainKey(v.Domain)
	if !validName(v.Domain) {
		return
	}
	v.Policy.Domain = v.Domain
	v.Policy.Strings, v.Policy.MX = cleanAll(v.Policy.Strings), cleanAll(v.Policy.MX)
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	key := now.Format(time.DateOnly)
	d := s.days[key]
	if d == nil {
		d = &day{Domains: make(map[string]*domain)}
		s.days[key] = d
	}
	x := d.Domains[v.Domain]
	if x == nil {
		if len(d.Domains) >= MaxDomains || d.size > maxDay {
			return
		}
		x = &domain{}
		d.Domains[v.Domain] = x
		d.size += entryCost + len(v.Domain)
	}
	d.dirty = true
	c := d.of(x, v.Policy)
	if v.Result == Success {
		c.Good++
		return
	}
	c.Bad++
	d.fail(c, detail{Result: v.Result, SendingIP: addr(v.SendingIP), ReceivingIP: addr(v.ReceivingIP), ReceivingMX: clean(v.ReceivingMX),
		ReceivingHelo: clean(v.ReceivingHelo), Info: clean(v.Info), Reason: clean(v.Reason), Count: 1})
}

func addr(a interface {
	IsValid() bool
	String() string
}) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// entryCost is what an entry takes beside its texts.
const entryCost = 200

func (p *Policy) cost() int {
	n := entryCost + len(p.Domain)
	for _, list := range [][]string{p.Strings, p.MX} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}

func (d *detail) cost() int {
	return entryCost + len(d.ReceivingMX) + len(d.ReceivingHelo) + len(d.Info) + len(d.Reason)
}

// of finds a policy of a domain. One that has too many, or more than a day has room for, gets the rest counted under the
// last one.
func (d *day) of(x *domain, p Policy) *counts {
	for _, c := range x.Policies {
		if c.Policy.Type == p.Type && slices.Equal(c.Policy.Strings, p.Strings) && slices.Equal(c.Policy.MX, p.MX) {
			return c
		}
	}
	if n := len(x.Policies); n >= MaxPolicies || n > 0 && d.size > maxDay {
		return x.Policies[n-1]
	}
	c := &counts{Policy: p}
	x.Policies = append(x.Policies, c)
	d.size += p.cost()
	return c
}

// fail counts a failure. When there are too many kinds, only the result and the exchanger tell them apart, and then
// nothing does; when a day has no more room, it is among the failures of the policy only.
func (d *day) fail(c *counts, f detail) {
	same := func(e detail) bool {
		e.Count = f.Count
		return e == f
	}
	if len(c.Details) >= MaxDetails-1 && !slices.ContainsFunc(c.Details, same) {
		f = detail{Result: f.Result, ReceivingMX: f.ReceivingMX, Count: f.Count, Info: "and others"}
	}
	for i := range c.Details {
		if same(c.Details[i]) {
			c.Details[i].Count += f.Count
			return
		}
	}
	switch {
	case len(c.Details) >= MaxDetails:
		c.Details[MaxDetails-1].Count += f.Count
	case d.size <= maxDay:
		c.Details = append(c.Details, f)
		d.size += f.cost()
	}
}

// Save writes what has changed, and removes what is too old to be looked at.
func (s *Store) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	oldest := time.Now().UTC().Add(-keepTime).Format(time.DateOnly)
	type file struct {
		key  string
		text []byte // nil: to be removed
	}
	var files []file
	var faults []error
	s.mu.Lock()
	for key, d := range s.days {
		switch {
		case key < oldest:
			delete(s.days, key)
			files = append(files, file{key, nil})
		case d.dirty && s.dir != "":
			b, err := json.Marshal(d)
			faults = append(faults, err)
			if err == nil {
				d.dirty = false
				files = append(files, file{key, b})
			}
		}
	}
	s.mu.Unlock()
	if s.dir == "" {
		return errors.Join(faults...)
	}
	for _, f := range files {
		path := filepath.Join(s.dir, f.key+".json")
		if f.text == nil {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				faults = append(faults, err)
			}
			continue
		}
		if err := write(s.dir, path, f.text); err != nil {
			faults = append(faults, err)
			s.mu.Lock()
			if d := s.days[f.key]; d != nil {
				d.dirty = true
			}
			s.mu.Unlock()
		}
	}
	return errors.Join(faults...)
}

// write replaces a file so that a crash leaves the old or the new one.
func write(dir, path string, b []byte) error {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// open are the domains of a day whose report is not done, sorted.
func (s *Store) open(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.days[key]
	if d == nil {
		return nil
	}
	var out []string
	for name, x := range d.Domains {
		if !x.Closed {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// past are the days before today, sorted.
func (s *Store) past(now time.Time) []string {
	today := now.UTC().Format(time.DateOnly)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.days)), func(k string) bool { return k >= today })
}

// mark notes that an address has the report, or, with an empty one, that nothing more is to be done.
func (s *Store) mark(key, name, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.days[key]
	if d == nil || d.Domains[name] == nil {
		return
	}
	d.dirty = true
	if address == "" {
		d.Domains[name].Closed, d.Domains[name].Done = true, nil
	} else {
		d.Domains[name].Done = append(d.Domains[name].Done, address)
	}
}

// has tells whether an address has the report.
func (s *Store) has(key, name, address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.days[key]
	return d != nil && d.Domains[name] != nil && slices.Contains(d.Domains[name].Done, address)
}
