package queue

import (
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// NeedsMessage tells whether Match is not the last word: the message decides
// too.
func (f *Filter) NeedsMessage() bool {
	return f.Sender != "" || f.SenderDomain != "" || f.Mark != "" || f.Listener != "" || f.Client.IsValid()
}

// Match tells whether an item matches all that the item alone can tell.
func (f *Filter) Match(it *Item) bool {
	switch {
	case f.ID != 0 && it.ID != f.ID,
		f.Domain != "" && it.Domain != f.Domain,
		f.Held != nil && it.Held != *f.Held,
		!f.Before.IsZero() && !it.Arrived.Before(f.Before),
		it.Arrived.Before(f.Since),
		it.Attempts < f.MinAttempts:
		return false
	}
	if f.NextHop != "" {
		hop := it.LastHop
		if it.Pinned != nil {
			hop = it.Pinned.String()
		}
		if hop != f.NextHop {
			return false
		}
	}
	if f.Recipient != "" && !f.hasRecipient(it) {
		return false
	}
	return f.Reason == "" || f.hasReason(it)
}

func (f *Filter) hasRecipient(it *Item) bool {
	want := parsePath(f.Recipient)
	for i := range it.Recipients {
		if it.Recipients[i].ForwardPath.Equal(want) {
			return true
		}
	}
	return false
}

func (f *Filter) hasReason(it *Item) bool {
	part := strings.ToLower(f.Reason)
	if strings.Contains(strings.ToLower(it.Reason), part) {
		return true
	}
	for i := range it.Recipients {
		if r := &it.Recipients[i].Last.Reply; r.Text != "" && strings.Contains(strings.ToLower(r.String()), part) {
			return true
		}
	}
	return false
}

// MatchMessage tells whether an item and its message match what Match leaves
// open.
func (f *Filter) MatchMessage(it *Item, m *Message) bool {
	from := m.Envelope.ReversePath
	switch {
	case f.Sender != "" && !from.Equal(parsePath(f.Sender)),
		f.SenderDomain != "" && (from.IsNull() || from.DomainKey() != f.SenderDomain),
		f.Listener != "" && m.Envelope.Client.Listener != f.Listener,
		f.Client.IsValid() && !f.Client.Contains(m.Envelope.Client.Remote.Addr().Unmap().WithZone("")):
		return false
	}
	if f.Mark == "" || f.marks(m.Envelope.Attrs) {
		return true
	}
	for i := range it.Recipients {
		if f.marks(it.Recipients[i].Attrs) {
			return true
		}
	}
	return false
}

func (f *Filter) marks(a mail.Attrs) bool {
	v, ok := a[f.Mark]
	return ok && (!f.MarkEquals || string(v) == f.MarkValue)
}

// parsePath takes an address apart that was checked before, in brackets or not.
func parsePath(s string) mail.Path {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return mail.Path{Local: s[:at], Domain: s[at+1:]}
	}
	return mail.Path{Local: s}
}
