package hold

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

const (
	// MaxRules is how many rules there may be.
	MaxRules = 1000
	// maxFile is the largest file, in octets; a thousand rules are smaller.
	maxFile = 8 << 20
	// maxText is the longest reason, in octets.
	maxText = mail.MaxReplyLine
)

var (
	// ErrNoRule: there is no rule of that number.
	ErrNoRule = errors.New("no such hold rule")
	// ErrTooMany: there are MaxRules already.
	ErrTooMany = fmt.Errorf("there are %d hold rules, which is the limit; remove some", MaxRules)
)

// Rule holds the mail that matches.
type Rule struct {
	ID      int64 // from 1 on, never used again
	Filter  queue.Filter
	Reason  string
	Created time.Time
	Until   time.Time // zero: until it is removed
}

// stored is a rule in the file.
type stored struct {
	ID           int64        `json:"id"`
	Domain       string       `json:"domain,omitempty"`
	Sender       string       `json:"sender,omitempty"`
	SenderDomain string       `json:"sender_domain,omitempty"`
	Recipient    string       `json:"recipient,omitempty"`
	Listener     string       `json:"listener,omitempty"`
	Client       netip.Prefix `json:"client,omitzero"`
	Mark         string       `json:"mark,omitempty"`
	MarkValue    string       `json:"mark_value,omitempty"`
	MarkEquals   bool         `json:"mark_equals,omitempty"`
	Reason       string       `json:"reason,omitempty"`
	Created      time.Time    `json:"created"`
	Until        time.Time    `json:"until,omitzero"`
}

func (s stored) rule() Rule {
	return Rule{ID: s.ID, Reason: s.Reason, Created: s.Created, Until: s.Until, Filter: queue.Filter{
		Domain: s.Domain, Sender: s.Sender, SenderDomain: s.SenderDomain, Recipient: s.Recipient, Listener: s.Listener,
		Client: s.Client, Mark: s.Mark, MarkValue: s.MarkValue, MarkEquals: s.MarkEquals,
	}}
}

func (r Rule) stored() stored {
	f := r.Filter
	return stored{r.ID, f.Domain, f.Sender, f.SenderDomain, f.Recipient, f.Listener, f.Client, f.Mark, f.MarkValue, f.MarkEquals,
		r.Reason, r.Created, r.Until}
}

type file struct {
	Next  int64    `json:"next"` // id of the next rule
	Rules []stored `json:"rules"`
}

// Rules are the rules in force. The methods may be called concurrently.
type Rules struct {
	path string
	mu   sync.Mutex // of who changes them
	next int64
	list atomic.Pointer[[]Rule]
}

// Open reads the rules in the file of that name; without one there are none.
func Open(path string) (*Rules, error) {
	r := &Rules{path: path, next: 1}
	r.list.Store(new([]Rule))
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	} else if err != nil {
		return nil, fmt.Errorf("hold rules: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("hold rules: %w", err)
	}
	next, list, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("hold rules: %s %w; to go on without the rules that it had, move it away", path, err)
	}
	r.next = next
	r.list.Store(&list)
	return r, nil
}

func checksum(text []byte) uint32 {
	return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
}

const magic = "wasmta hold rules 1 "

func encode(next int64, list []Rule) ([]byte, error) {
	f := file{Next: next, Rules: make([]stored, len(list))}
	for i, r := range list {
		f.Rules[i] = r.stored()
	}
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "%s%08x\n", magic, checksum(text)), text...), nil
}

func decode(data []byte) (next int64, list []Rule, err error) {
	first, text, ok := bytes.Cut(data, []byte("\n"))
	if len(data) > maxFile || !ok || !bytes.HasPrefix(first, []byte(magic)) {
		return 0, nil, errors.New("is no file of hold rules that this wasmta can read")
	}
	if string(first[len(magic):]) != fmt.Sprintf("%08x", checksum(text)) {
		return 0, nil, errors.New("is damaged: its checksum does not match")
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return 0, nil, fmt.Errorf("is damaged: %w", err)
	}
	if len(f.Rules) > MaxRules {
		return 0, nil, fmt.Errorf("has %d rules, the limit is %d", len(f.Rules), MaxRules)
	}
	next = f.Next
	for _, s := range f.Rules {
		rule := s.rule()
		if err := rule.check(); err != nil {
			return 0, nil, fmt.Errorf("is damaged: rule %d: %w", rule.ID, err)
		}
		list, next = append(list, rule), max(next, rule.ID+1)
	}
	return max(next, 1), list, nil
}

func (r *Rule) check() error {
	possible := queue.Filter{
		Domain: r.Filter.Domain, Sender: r.Filter.Sender, SenderDomain: r.Filter.SenderDomain, Recipient: r.Filter.Recipient,
		Listener: r.Filter.Listener, Client: r.Filter.Client, Mark: r.Filter.Mark, MarkValue: r.Filter.MarkValue, MarkEquals: r.Filter.MarkEquals,
	}
	switch {
	case possible != r.Filter:
		return errors.New("mail that is yet to come has no id, age, next hop or attempts: select it by sender, recipient, domain, listener, client or mark")
	case possible == (queue.Filter{}):
		return errors.New("nothing is selected: give a sender, recipient, domain, listener, client or mark")
	case len(r.Reason) > maxText || mail.Printable(r.Reason) != r.Reason:
		return fmt.Errorf("a reason must be text without control characters, at most %d octets", maxText)
	}
	return nil
}

// List returns the rules in force at a time, by number.
func (r *Rules) List(now time.Time) []Rule {
	return slices.DeleteFunc(slices.Clone(*r.list.Load()), func(x Rule) bool { return x.over(now) })
}

func (r *Rule) over(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

// Add puts a rule in force, for good before it returns. Its number is chosen
// here. ErrTooMany.
func (r *Rules) Add(rule Rule) (Rule, error) {
	if err := rule.check(); err != nil {
		return rule, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.List(rule.Created)
	if len(list) >= MaxRules {
		return rule, ErrTooMany
	}
	rule.ID = r.next
	if err := r.save(r.next+1, append(list, rule)); err != nil {
		return rule, err
	}
	return rule, nil
}

// Remove ends a rule. What it held stays held. ErrNoRule.
func (r *Rules) Remove(id int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(*r.list.Load())
	i := slices.IndexFunc(list, func(x Rule) bool { return x.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: %d", ErrNoRule, id)
	}
	return r.save(r.next, slices.Delete(list, i, i+1))
}

// save replaces the file, then the rules in force. mu is held.
func (r *Rules) save(next int64, list []Rule) error {
	data, err := encode(next, list)
	if err == nil {
		err = replaceFile(r.path, data)
	}
	if err != nil {
		return fmt.Errorf("hold rules: cannot be kept, nothing is changed: %w", err)
	}
	r.next = next
	r.list.Store(&list)
	return nil
}

// replaceFile puts data in the place of a file: after a crash there is the one
// or the other.
func replaceFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what is left over does no harm
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Verdict is what the rules say of a message. The texts name the rule and give
// its reason.
type Verdict struct {
	Whole   string            // why all of it is held; empty: not all
	Domains map[string]string // or only the items of these domains
}

// Text is what stands with mail that a rule holds.
func (r *Rule) Text() string {
	if r.Reason == "" {
		return fmt.Sprintf("hold rule %d", r.ID)
	}
	return fmt.Sprintf("hold rule %d: %s", r.ID, r.Reason)
}

// Match looks at a message that is about to be committed. The first rule that
// matches is the one that is named.
func (r *Rules) Match(env *mail.Envelope, now time.Time) (v Verdict) {
	list := *r.list.Load()
	if len(list) == 0 {
		return v
	}
	msg := queue.Message{Envelope: *env}
	var items []queue.Item
	var index map[string]int
	for i := range list {
		rule := &list[i]
		if rule.over(now) {
			continue
		}
		f := &rule.Filter
		if f.Domain == "" && f.Recipient == "" && f.Mark == "" { // most rules are answered without the recipients
			if f.MatchMessage(&queue.Item{}, &msg) {
				return Verdict{Whole: rule.Text()}
			}
			continue
		}
		if items == nil {
			domains, groups := queue.Group(env.Recipients)
			items, index = make([]queue.Item, len(domains)), make(map[string]int, len(domains))
			for n, d := range domains {
				items[n], index[d] = queue.Item{Domain: d, Recipients: groups[n]}, n
			}
		}
		some := items
		if f.Domain != "" {
			n, ok := index[f.Domain]
			if !ok {
				continue
			}
			some = items[n : n+1]
		}
		for n := range some {
			it := &some[n]
			if !f.Match(it) || !f.MatchMessage(it, &msg) {
				continue
			}
			if f.Domain == "" && f.Recipient == "" {
				return Verdict{Whole: rule.Text()}
			}
			if v.Domains == nil {
				v.Domains = make(map[string]string)
			}
			if _, said := v.Domains[it.Domain]; !said {
				v.Domains[it.Domain] = rule.Text()
			}
		}
	}
	return v
}
