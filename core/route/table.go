package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// Rule is one line of the routing table. Its conditions must all hold.
type Rule struct {
	// Domains are patterns of the recipient's domain: a name, ".suffix" for
	// every name below it, or "*". Empty: every domain.
	Domains []string
	// Sender is a pattern of the reverse-path: an address, a domain, ".suffix",
	// or "<>" for the null one. Empty: every reverse-path.
	Sender string
	// Listeners are the names of the listeners that took the message. Empty:
	// all.
	Listeners []string
	// To is where such recipients go. TransportMX without a host is the MX of
	// the recipient's own domain.
	To mail.NextHop
}

// Table is a routing table. The first rule that matches wins. It is not
// modified once in use.
type Table struct {
	rules []rule
	exact map[string][]int // domain -> rules that name it
	other []int            // rules with a suffix, "*" or no domains
}

type rule struct {
	Rule
	any    bool
	exact  []string
	suffix []string // with the leading dot
	sender string   // normalized
}

// NewTable checks the rules and makes them ready for use. An error names the
// rule, counted from 1.
func NewTable(rules []Rule) (Table, error) {
	t := Table{exact: make(map[string][]int)}
	for i, r := range rules {
		c := rule{Rule: r, any: len(r.Domains) == 0}
		for _, d := range r.Domains {
			switch {
			case d == "*":
				c.any = true
			case strings.HasPrefix(d, "."):
				if _, err := mail.ParseDomain(d[1:]); err != nil {
					return Table{}, fmt.Errorf("route %d: domain pattern %q: %w", i+1, d, err)
				}
				c.suffix = append(c.suffix, "."+mail.DomainKey(d[1:]))
			default:
				if _, err := mail.ParseDomain(d); err != nil {
					return Table{}, fmt.Errorf("route %d: domain %q: %w", i+1, d, err)
				}
				c.exact = append(c.exact, mail.DomainKey(d))
			}
		}
		var err error
		if c.sender, err = senderPattern(r.Sender); err != nil {
			return Table{}, fmt.Errorf("route %d: sender %q: %w", i+1, r.Sender, err)
		}
		t.rules = append(t.rules, c)
		if c.any || len(c.suffix) > 0 {
			t.other = append(t.other, i)
			continue
		}
		for _, d := range c.exact {
			t.exact[d] = append(t.exact[d], i)
		}
	}
	return t, nil
}

func senderPattern(s string) (string, error) {
	switch {
	case s == "" || s == "<>":
		return s, nil
	case strings.Contains(s, "@"):
		p, err := mail.ParseMailbox(s)
		if err != nil {
			return "", err
		}
		return p.Local + "@" + p.DomainKey(), nil
	case strings.HasPrefix(s, "."):
		_, err := mail.ParseDomain(s[1:])
		return "." + mail.DomainKey(s[1:]), err
	}
	_, err := mail.ParseDomain(s)
	return mail.DomainKey(s), err
}

// Match finds the first rule for a recipient domain in the form of
// [mail.DomainKey]. The next hop is as the rule has it, placeholders included.
func (t Table) Match(reversePath mail.Path, listener, domain string) (mail.NextHop, bool) {
	for n := range t.candidates(domain) {
		if t.rules[n].match(reversePath, listener, domain) {
			return t.rules[n].To, true
		}
	}
	return mail.NextHop{}, false
}

// ByDomain is [Table.Match] for when nothing but the domain is known. ok is
// false if the answer needs more than that, be it the reverse-path, the
// listener or the local part.
func (t Table) ByDomain(domain string) (hop mail.NextHop, ok bool) {
	for n := range t.candidates(domain) {
		r := &t.rules[n]
		if !r.domainMatches(domain) {
			continue
		}
		if r.sender != "" || len(r.Listeners) > 0 || strings.Contains(r.To.Host, "{") {
			return mail.NextHop{}, false
		}
		return atDomain(r.To, domain)
	}
	return atDomain(mail.NextHop{}, domain)
}

// candidates are the rules that may match a domain, in order.
func (t Table) candidates(domain string) func(func(int) bool) {
	return func(yield func(int) bool) {
		named, other := t.exact[domain], t.other
		for len(named) > 0 || len(other) > 0 {
			var n int
			if len(other) == 0 || len(named) > 0 && named[0] < other[0] {
				n, named = named[0], named[1:]
			} else {
				n, other = other[0], other[1:]
			}
			if !yield(n) {
				return
			}
		}
	}
}

func (r *rule) match(reversePath mail.Path, listener, domain string) bool {
	return r.domainMatches(domain) && r.senderMatches(reversePath) &&
		(len(r.Listeners) == 0 || slices.Contains(r.Listeners, listener))
}

func (r *rule) domainMatches(domain string) bool {
	if r.any || slices.Contains(r.exact, domain) {
		return true
	}
	for _, s := range r.suffix {
		if strings.HasSuffix(domain, s) {
			return true
		}
	}
	return false
}

func (r *rule) senderMatches(p mail.Path) bool {
	switch {
	case r.sender == "":
		return true
	case r.sender == "<>":
		return p.IsNull()
	case p.IsNull():
		return false
	case strings.Contains(r.sender, "@"):
		return p.Local+"@"+p.DomainKey() == r.sender
	case r.sender[0] == '.':
		return strings.HasSuffix(p.DomainKey(), r.sender)
	}
	return p.DomainKey() == r.sender
}
