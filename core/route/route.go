package route

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// MaxElement is the longest path element that a placeholder may become, in
// octets. File systems take 255; the rest is for what stands around it.
const MaxElement = 200

// Router decides where recipients go.
type Router struct {
	Table Table
}

// Query is what a decision is about: recipients of one message that share a
// domain.
type Query struct {
	ReversePath mail.Path
	Listener    string // that took the message
	Domain      string // of the recipients, in the form of mail.DomainKey
	Recipients  []mail.Recipient
	Pinned      *mail.NextHop // set by an operator or plugin: nobody is asked
	// Event makes the event of stage route. It is called only if a plugin wants
	// that stage. NextHops of its Delivery is what the plugins decide.
	Event func() *hook.Event
}

// Decision is where recipients go, or why they do not.
type Decision struct {
	// Action is Continue: go as Groups say; or Defer, Reject, Discard, Hold,
	// which hold for all recipients.
	Action hook.Action
	Reply  mail.Reply // of Defer, Reject and Hold
	By     string     // the plugin that decided; empty: the table or the default
	Failed bool       // the action stands for a plugin that failed: never final
	Groups []Group
}

// Group are recipients with the same next hops.
type Group struct {
	Hops       []mail.NextHop // to be tried in order; empty: see Reply
	Recipients []int          // indexes into Query.Recipients
	Reply      *mail.Reply    // why these recipients can go nowhere; nil if Hops is set
}

// Route decides. A plugin that fails can only defer.
func (r *Router) Route(ctx context.Context, k *hook.Conversation, q Query) Decision {
	if q.Pinned != nil {
		return Decision{Groups: fill([]mail.NextHop{*q.Pinned}, q, all(len(q.Recipients)))}
	}
	if k.Wants(hook.Route) {
		e := q.Event()
		o := k.Ask(ctx, e)
		switch o.Action {
		case hook.Defer, hook.Reject, hook.Discard, hook.Hold:
			d := Decision{Action: o.Action, By: o.Plugin, Failed: o.Failed}
			if reply := o.ReplyAt(hook.Route); reply != nil {
				d.Reply = *reply
			}
			return d
		}
		if len(e.Delivery.NextHops) > 0 {
			return Decision{By: o.Plugin, Groups: fill(e.Delivery.NextHops, q, all(len(q.Recipients)))}
		}
	}
	return Decision{Groups: r.byTable(q)}
}

// byTable groups the recipients by the rules that they match, then by what their
// placeholders become.
func (r *Router) byTable(q Query) (groups []Group) {
	if len(q.Recipients) == 0 || !r.Table.splits(q.Domain) {
		var first mail.Path
		if len(q.Recipients) > 0 {
			first = q.Recipients[0].ForwardPath
		}
		return fill([]mail.NextHop{r.Table.at(r.Table.match(q.ReversePath, q.Listener, q.Domain, first))}, q, all(len(q.Recipients)))
	}
	var rules []int
	byRule := make(map[int][]int)
	for i, to := range q.Recipients {
		n := r.Table.match(q.ReversePath, q.Listener, q.Domain, to.ForwardPath)
		if byRule[n] == nil {
			rules = append(rules, n)
		}
		byRule[n] = append(byRule[n], i)
	}
	for _, n := range rules {
		groups = append(groups, fill([]mail.NextHop{r.Table.at(n)}, q, byRule[n])...)
	}
	return groups
}

// atDomain completes a next hop that means the recipient's own domain.
func atDomain(to mail.NextHop, domain string) (mail.NextHop, bool) {
	if to.Transport != mail.TransportMX || to.Host != "" {
		return to, true
	}
	if domain == "" {
		return to, false
	}
	to.Host = domain
	return to, true
}

// fill resolves own-domain hops and placeholders, and groups these recipients
// by what comes out.
func fill(hops []mail.NextHop, q Query, recipients []int) []Group {
	own := make([]mail.NextHop, len(hops))
	perRecipient := false
	for i, h := range hops {
		var ok bool
		if own[i], ok = atDomain(h, q.Domain); !ok {
			return []Group{{Recipients: recipients, Reply: mail.NewReply(550, "5.1.2", "The recipient has no domain and no rule says where it goes")}}
		}
		perRecipient = perRecipient || hasPlaceholder(h)
	}
	if !perRecipient {
		return []Group{{Hops: own, Recipients: recipients}}
	}
	var groups []Group
	index := make(map[string]int)
	for _, i := range recipients {
		r := q.Recipients[i]
		filled := make([]mail.NextHop, len(own))
		var key strings.Builder
		var refused *mail.Reply
		for j, h := range own {
			if filled[j] = h; hasPlaceholder(h) {
				if filled[j].Host, refused = fillPath(h.Host, r.ForwardPath); refused != nil {
					break
				}
			}
			key.WriteString(filled[j].Host)
			key.WriteByte(0)
		}
		if refused != nil {
			groups = append(groups, Group{Recipients: []int{i}, Reply: refused})
			continue
		}
		n, ok := index[key.String()]
		if !ok {
			n = len(groups)
			index[key.String()] = n
			groups = append(groups, Group{Hops: filled})
		}
		groups[n].Recipients = append(groups[n].Recipients, i)
	}
	return groups
}

func hasPlaceholder(h mail.NextHop) bool {
	return (h.Transport == mail.TransportMaildir || h.Transport == mail.TransportLMTPUnix) && strings.Contains(h.Host, "{")
}

// fillPath puts the recipient into a path.
func fillPath(path string, p mail.Path) (string, *mail.Reply) {
	var b strings.Builder
	for {
		i := strings.IndexByte(path, '{')
		if i < 0 {
			b.WriteString(path)
			return b.String(), nil
		}
		b.WriteString(path[:i])
		path = path[i:]
		var value string
		switch {
		case strings.HasPrefix(path, "{user}"):
			value, path = p.Unquoted(), path[len("{user}"):]
		case strings.HasPrefix(path, "{domain}"):
			value, path = p.DomainKey(), path[len("{domain}"):]
		default:
			b.WriteByte('{')
			path = path[1:]
			continue
		}
		element, ok := PathElement(value)
		if !ok {
			return "", mail.NewReply(550, "5.1.1", "There can be no mailbox of this name")
		}
		b.WriteString(element)
	}
}

// PathElement makes s one element of a path; see the package comment. ok is
// false if s is empty or the element would be longer than [MaxElement].
func PathElement(s string) (element string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < ' ', r >= 0x7f && r < 0xa0, r == '/', r == '\\', r == '%', r == '.' && i == 0:
			b.WriteByte('%')
			b.WriteByte("0123456789ABCDEF"[s[i]>>4])
			b.WriteByte("0123456789ABCDEF"[s[i]&15])
			n = 1
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String(), s != "" && b.Len() <= MaxElement
}

func all(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
