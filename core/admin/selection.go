package admin

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// Selection names queue items. What is set must all match; All is needed when
// nothing else is.
type Selection struct {
	IDs       []string   `json:"ids,omitempty"`
	Domain    string     `json:"domain,omitempty"`    // of the recipients
	Sender    string     `json:"sender,omitempty"`    // reverse-path, @DOMAIN, or <> for the null one
	Recipient string     `json:"recipient,omitempty"` // forward-path, or @DOMAIN
	Hop       string     `json:"hop,omitempty"`       // next hop that items are pinned to, or else went to last
	Before    *time.Time `json:"before,omitempty"`    // arrived before
	Since     *time.Time `json:"since,omitempty"`     // arrived then or later
	Held      *bool      `json:"held,omitempty"`
	Attempts  int        `json:"attempts,omitempty"` // that many or more
	Text      string     `json:"text,omitempty"`     // part of the reason or the last reply, in any case
	Mark      string     `json:"mark,omitempty"`     // PLUGIN/KEY or PLUGIN/KEY=VALUE: an attribute of the message or a recipient
	Listener  string     `json:"listener,omitempty"` // that took the message
	Client    string     `json:"client,omitempty"`   // address or network that it came from
	All       bool       `json:"all,omitempty"`
}

// Empty tells whether nothing is selected.
func (s Selection) Empty() bool { return len(s.IDs) == 0 && !s.All && len(s.query()) == 0 }

// ErrNothingSelected: an act needs a selection.
var ErrNothingSelected = errors.New("nothing is selected: give ids, a domain, a sender or the like, or ask for all")

// filters are the store's filters that make up the selection: one, or one for
// each id.
func (s Selection) filters() ([]queue.Filter, error) {
	f, err := s.filter()
	if err != nil {
		return nil, err
	}
	if len(s.IDs) == 0 {
		if f == (queue.Filter{}) && !s.All {
			return nil, ErrNothingSelected
		}
		return []queue.Filter{f}, nil
	}
	if len(s.IDs) > MaxIDs {
		return nil, fmt.Errorf("%d ids are given; the limit is %d", len(s.IDs), MaxIDs)
	}
	seen := make(map[mail.ID]bool, len(s.IDs))
	var all []queue.Filter
	for _, text := range s.IDs {
		id, err := ParseID(text)
		if err != nil {
			return nil, err
		}
		if !seen[id] {
			seen[id] = true
			f.ID = id
			all = append(all, f)
		}
	}
	return all, nil
}

// filter checks and normalises what an operator typed, but for ids.
func (s Selection) filter() (f queue.Filter, err error) {
	f.Held, f.MinAttempts, f.Reason, f.Listener = s.Held, s.Attempts, s.Text, s.Listener
	if f.Domain, err = domainKey("domain", s.Domain); err != nil {
		return f, err
	}
	switch domain, ok := strings.CutPrefix(s.Sender, "@"); {
	case ok:
		f.SenderDomain, err = domainKey("sender", domain)
	case s.Sender == "<>":
		f.Sender = s.Sender
	case s.Sender != "":
		f.Sender, _, err = mailbox("sender", s.Sender, ", @DOMAIN, or <> for the null one")
	}
	if err != nil {
		return f, err
	}
	if s.Recipient != "" {
		domain, ok := strings.CutPrefix(s.Recipient, "@")
		if ok {
			domain, err = domainKey("recipient", domain)
		} else {
			f.Recipient, domain, err = mailbox("recipient", s.Recipient, " or @DOMAIN")
		}
		if err != nil {
			return f, err
		}
		if f.Domain != "" && f.Domain != domain {
			return f, fmt.Errorf("recipient %q is not in the domain %q: nothing can match both", s.Recipient, s.Domain)
		}
		f.Domain = domain
	}
	if s.Hop != "" {
		hop, err := mail.ParseNextHop(s.Hop)
		if err != nil {
			return f, err
		}
		f.NextHop = hop.String()
	}
	if s.Before != nil {
		f.Before = *s.Before
	}
	if s.Since != nil {
		f.Since = *s.Since
	}
	if s.Attempts < 0 {
		return f, fmt.Errorf("attempts %d: give a number of attempts", s.Attempts)
	}
	if s.Mark != "" {
		f.Mark, f.MarkValue, f.MarkEquals = strings.Cut(s.Mark, "=")
		if plugin, key, ok := strings.Cut(f.Mark, "/"); !ok || plugin == "" || key == "" {
			return f, fmt.Errorf("mark %q: write PLUGIN/KEY or PLUGIN/KEY=VALUE", s.Mark)
		}
	}
	if s.Client != "" {
		if f.Client, err = ParseNetwork(s.Client); err != nil {
			return f, err
		}
	}
	return f, nil
}

// ParseNetwork reads an address or a network such as 192.0.2.0/24.
func ParseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("client %q: write an address or a network such as 192.0.2.0/24", s)
	}
	return p.Masked(), nil
}

func domainKey(what, domain string) (string, error) {
	if domain == "" {
		if what != "domain" {
			return "", fmt.Errorf("%s \"@\": write a domain behind the @", what)
		}
		return "", nil
	}
	if _, err := mail.ParseDomain(domain); err != nil {
		return "", fmt.Errorf("%s %q: %v", what, domain, err)
	}
	return mail.DomainKey(domain), nil
}

func mailbox(what, text, or string) (address, domain string, err error) {
	address = strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")
	p, err := mail.ParseMailbox(address)
	if err != nil {
		return "", "", fmt.Errorf("%s %q: %v; write an address%s", what, text, err, or)
	}
	return address, p.DomainKey(), nil
}

// query is the selection, but for ids, as the parameters of a list.
func (s Selection) query() url.Values {
	q := url.Values{}
	for key, value := range map[string]string{
		"domain": s.Domain, "sender": s.Sender, "recipient": s.Recipient, "hop": s.Hop,
		"text": s.Text, "mark": s.Mark, "listener": s.Listener, "client": s.Client,
	} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if s.Held != nil {
		q.Set("held", strconv.FormatBool(*s.Held))
	}
	if s.Attempts != 0 {
		q.Set("attempts", strconv.Itoa(s.Attempts))
	}
	for key, at := range map[string]*time.Time{"before": s.Before, "since": s.Since} {
		if at != nil {
			q.Set(key, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

// selected reads what query wrote, and the id.
func selected(q url.Values) (f queue.Filter, err error) {
	s := Selection{
		Domain: q.Get("domain"), Sender: q.Get("sender"), Recipient: q.Get("recipient"), Hop: q.Get("hop"),
		Text: q.Get("text"), Mark: q.Get("mark"), Listener: q.Get("listener"), Client: q.Get("client"),
	}
	if v := q.Get("held"); v != "" {
		held, err := strconv.ParseBool(v)
		if err != nil {
			return f, fmt.Errorf("held %q: write true or false", v)
		}
		s.Held = &held
	}
	if v := q.Get("attempts"); v != "" {
		if s.Attempts, err = strconv.Atoi(v); err != nil {
			return f, fmt.Errorf("attempts %q: write a number", v)
		}
	}
	for key, at := range map[string]**time.Time{"before": &s.Before, "since": &s.Since} {
		if v := q.Get(key); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return f, fmt.Errorf("%s %q: write a time such as 2006-01-02T15:04:05Z", key, v)
			}
			*at = &t
		}
	}
	if f, err = s.filter(); err != nil {
		return f, err
	}
	if v := q.Get("id"); v != "" {
		f.ID, err = ParseID(v)
	}
	return f, err
}
