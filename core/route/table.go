package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// Rule is one line of the routing table. Its conditions must all hold.
type Rule struct {
	// Domains are patterns of the recipient's domain: a name, ".suffix" for
	// every name below it, or "*". Empty: every domain.
	Domains []string
	// Senders are patterns of the reverse-path: an address, a domain, ".suffix",
	// or "<>" for the null one. Empty: every reverse-path.
	Senders []string
	// Recipients are regular expressions (RE2) for the forward-path without its
	// brackets, the domain in the form of [mail.DomainKey]. Empty: everyone.
	Recipients []string
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
	any        bool
	exact      []string
	suffix     []string // with the leading dot
	senders    []string // normalized
	recipients []*regexp.Regexp
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
		for _, s := range r.Senders {
			p, err := senderPattern(s)
			if err != nil {
				return Table{}, fmt.Errorf("route %d: sender %q: %w", i+1, s, err)
			}
			c.senders = append(c.senders, p)
		}
		for _, s := range r.Recipients {
			re, err := regexp.Compile(s)
			if err != nil {
				return Table{}, fmt.Errorf("route %d: recipients %q: %w", i+1, s, err)
			}
			c.recipients = append(c.recipients, re)
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
	case s == "<>":
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

// Match finds the first rule for a recipient. The next hop is as the rule has
// it, placeholders included.
func (t Table) Match(reversePath mail.Path, listener string, to mail.Path) (mail.NextHop, bool) {
	if n := t.match(reversePath, listener, to.DomainKey(), to); n >= 0 {
		return t.at(n), true
	}
	return mail.NextHop{}, false
}

// match is the number of the rule; -1: none.
func (t Table) match(reversePath mail.Path, listener, domain string, to mail.Path) int {
	for n := range t.candidates(domain) {
		r := &t.rules[n]
		if r.domainMatches(domain) && r.senderMatches(reversePath) && (len(r.Listeners) == 0 || slices.Contains(r.Listeners, listener)) &&
			r.recipientMatches(to, domain) {
			return n
		}
	}
	return -1
}

// at is where rule n leads; -1: to the MX of the recipient's domain.
func (t Table) at(n int) mail.NextHop {
	if n < 0 {
		return mail.NextHop{}
	}
	return t.rules[n].To
}

// splits tells whether recipients of one domain may match different rules.
func (t Table) splits(domain string) bool {
	for n := range t.candidates(domain) {
		if len(t.rules[n].recipients) > 0 {
			return true
		}
	}
	return false
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
		if len(r.senders) > 0 || len(r.recipients) > 0 || len(r.Listeners) > 0 || strings.Contains(r.To.Host, "{") {
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
	if len(r.senders) == 0 {
		return true
	}
	domain := p.DomainKey()
	for _, s := range r.senders {
		switch {
		case s == "<>":
			if p.IsNull() {
				return true
			}
		case p.IsNull():
		case strings.Contains(s, "@"):
			if p.Local+"@"+domain == s {
				return true
			}
		case s[0] == '.':
			if strings.HasSuffix(domain, s) {
				return true
			}
		case s == domain:
			return true
		}
	}
	return false
}

func (r *rule) recipientMatches(p mail.Path, domain string) bool {
	if len(r.recipients) == 0 {
		return true
	}
	address := mail.Path{Local: p.Local, Domain: domain}.String()
	for _, re := range r.recipients {
		if re.MatchString(address) {
			return true
		}
	}
	return false
}
