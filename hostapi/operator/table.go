package operator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// Limits of a table.
const (
	MaxTableFile  = 64 << 20 // octets
	MaxTableValue = 16 << 10 // octets
)

// pollTables is how often Watch looks at the files.
const pollTables = 2 * time.Second

// TableType is how a table is searched.
type TableType uint8

const (
	Exact  TableType = iota // any text, without regard to case
	Domain                  // a domain and all below it; ".domain": only what is below
	CIDR                    // IP addresses and prefixes; the longest counts
)

// ParseTableType reads the configuration's word.
func ParseTableType(s string) (TableType, error) {
	switch s {
	case "", "exact":
		return Exact, nil
	case "domain":
		return Domain, nil
	case "cidr":
		return CIDR, nil
	}
	return 0, fmt.Errorf("type = %q: write exact, domain or cidr", s)
}

// TableSpec is one [[table]].
type TableSpec struct {
	Name, File string
	Type       TableType
}

// Tables are the tables of a configuration. They are safe for concurrent use.
type Tables struct {
	log     *slog.Logger
	current atomic.Pointer[map[string]*table]
	change  sync.Mutex
}

// table is never changed.
type table struct {
	spec   TableSpec
	stamp  stamp
	texts  map[string]string
	nets   map[netip.Prefix]string
	widths []int // of the prefixes there are, of both families, longest first
}

// stamp tells one content of a file from the next.
type stamp struct {
	size int64
	time time.Time
}

// NewTables makes tables without content; log may be nil.
func NewTables(log *slog.Logger) *Tables {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Tables{log: log}
	t.current.Store(&map[string]*table{})
	return t
}

// Apply reads these tables and puts them in the place of those there are, or
// changes nothing. undo puts the old ones back.
func (t *Tables) Apply(specs []TableSpec) (undo func(), err error) {
	t.change.Lock()
	defer t.change.Unlock()
	next := make(map[string]*table, len(specs))
	var faults []error
	for _, s := range specs {
		tab, err := readTable(s)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		next[s.Name] = tab
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	old := t.current.Swap(&next)
	return func() {
		t.change.Lock()
		defer t.change.Unlock()
		t.current.Store(old)
	}, nil
}

// Has tells whether there is a table called name.
func (t *Tables) Has(name string) bool { return (*t.current.Load())[name] != nil }

// Lookup gives the value of a key; abi.NotFound if there is no such key or
// table, abi.Invalid if a key of a CIDR table is not an IP address.
func (t *Tables) Lookup(name string, key []byte) ([]byte, error) {
	tab := (*t.current.Load())[name]
	if tab == nil {
		return nil, abi.NotFound
	}
	v, ok, err := tab.lookup(string(key))
	if err == nil && !ok {
		err = abi.NotFound
	}
	return []byte(v), err
}

func (t *table) lookup(key string) (value string, ok bool, err error) {
	switch t.spec.Type {
	case CIDR:
		a, err := netip.ParseAddr(key)
		if err != nil {
			return "", false, abi.Invalid
		}
		a = a.Unmap().WithZone("")
		for _, n := range t.widths {
			if n > a.BitLen() {
				continue
			}
			p, err := a.Prefix(n)
			if err != nil {
				return "", false, abi.Invalid
			}
			if value, ok = t.nets[p]; ok {
				return value, true, nil
			}
		}
		return "", false, nil
	case Domain:
		d := mail.DomainKey(key)
		if value, ok = t.texts[d]; ok {
			return value, true, nil
		}
		for {
			dot := strings.IndexByte(d, '.')
			if dot < 0 {
				return "", false, nil
			}
			if value, ok = t.texts[d[dot:]]; ok {
				return value, true, nil
			}
			d = d[dot+1:]
			if value, ok = t.texts[d]; ok {
				return value, true, nil
			}
		}
	}
	value, ok = t.texts[strings.ToLower(key)]
	return value, ok, nil
}

// Watch reads tables again whose files change, until ctx ends.
func (t *Tables) Watch(ctx context.Context) {
	tick := time.NewTicker(pollTables)
	defer tick.Stop()
	bad := map[string]stamp{} // contents that could not be read, and were complained about
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.look(bad)
		}
	}
}

func (t *Tables) look(bad map[string]stamp) {
	t.change.Lock()
	defer t.change.Unlock()
	old := *t.current.Load()
	var next map[string]*table
	for name, tab := range old {
		now := stampOf(tab.spec.File)
		if now == tab.stamp || now == bad[name] && now != (stamp{}) {
			continue
		}
		fresh, err := readTable(tab.spec)
		if err != nil {
			if last, said := bad[name]; !said || last != now {
				t.log.Error("a table cannot be read again; it stays as it was", "table", name, "reason", err.Error())
			}
			bad[name] = now
			continue
		}
		delete(bad, name)
		if next == nil {
			next = make(map[string]*table, len(old))
			for n, o := range old {
				next[n] = o
			}
		}
		next[name] = fresh
		t.log.Info("a table was read again", "table", name, "entries", len(fresh.texts)+len(fresh.nets))
	}
	if next != nil {
		t.current.Store(&next)
	}
}

// stampOf is zero if there is no file.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

func readTable(s TableSpec) (*table, error) {
	before := stampOf(s.File)
	data, err := readFile(s.File, MaxTableFile)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", s.Name, err)
	}
	if stampOf(s.File) != before {
		return nil, fmt.Errorf("table %q: %q changes while it is read: write it beside and rename it", s.Name, s.File)
	}
	t, err := parseTable(s, data)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", s.Name, err)
	}
	t.stamp = before
	return t, nil
}

// parseTable reads lines of a key and a value with blanks between. Empty lines
// and those that begin with '#' are left out.
func parseTable(s TableSpec, data []byte) (*table, error) {
	t := &table{spec: s, texts: map[string]string{}}
	if s.Type == CIDR {
		t.nets = map[netip.Prefix]string{}
	}
	var widths [129]bool
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, abi.MaxKey+MaxTableValue+1024)
	n := 0
	for lines.Scan() {
		n++
		line := strings.Trim(lines.Text(), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		fault := func(format string, a ...any) error {
			return fmt.Errorf("%s:%d: %s", s.File, n, fmt.Sprintf(format, a...))
		}
		if !utf8.ValidString(line) {
			return nil, fault("the line is not UTF-8")
		}
		key, value := line, ""
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			key, value = line[:i], strings.TrimLeft(line[i:], " \t")
		}
		if len(key) > abi.MaxKey || len(value) > MaxTableValue {
			return nil, fault("the key or value is too long: a key may have %d octets, a value %d", abi.MaxKey, MaxTableValue)
		}
		twice := false
		switch s.Type {
		case CIDR:
			p, err := parsePrefix(key)
			if err != nil {
				return nil, fault("%q: write an IP address or ADDRESS/BITS without bits after the prefix", key)
			}
			have, ok := t.nets[p]
			twice = ok && have != value
			t.nets[p] = value
			widths[p.Bits()] = true
		default:
			if s.Type == Domain {
				rest, below := strings.CutPrefix(key, ".")
				d, err := mail.ParseDomain(rest)
				if err != nil {
					return nil, fault("%q is not a domain: %v", key, err)
				}
				if key = mail.DomainKey(string(d)); below {
					key = "." + key
				}
			} else {
				key = strings.ToLower(key)
			}
			have, ok := t.texts[key]
			twice = ok && have != value
			t.texts[key] = value
		}
		if twice {
			return nil, fault("%q is there before with another value", key)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", s.File, n+1, err)
	}
	for bits := len(widths) - 1; bits >= 0; bits-- {
		if widths[bits] {
			t.widths = append(t.widths, bits)
		}
	}
	return t, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errors.New("no address")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p != p.Masked() || p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("no prefix")
	}
	return p, nil
}

// readFile reads a whole regular file of at most limit octets.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // before Open, which would wait for the writer of a pipe
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%q has more than %d octets, the limit", path, limit)
	}
	return data, nil
}
