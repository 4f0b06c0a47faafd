package trace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// changes records what a plugin changed: paths as they were and are, header
// fields by name, the body by its size.
func (r *Record) changes(a *hook.Answer) {
	n := 0
	say := func(format string, args ...any) {
		if n++; n <= maxList {
			r.text(keyChange, fmt.Sprintf(format, args...))
		}
	}
	e, was := a.Event, &a.Before
	if a.Changed&hook.EditReversePath != 0 {
		say("reverse-path <%s> -> <%s>", was.ReversePath, e.Tx.Envelope.ReversePath)
	}
	if a.Changed&hook.EditRecipients != 0 {
		recipientChanges(was.Recipients, e.Tx.Envelope.Recipients, say)
	}
	if a.Changed&hook.EditHeader != 0 {
		headerChanges(was.Header, e.Content.Header, say)
	}
	if a.Changed&hook.EditBody != 0 {
		say("body replaced: %d -> %d octets", was.BodySize, e.Content.BodySize)
	}
	if a.Changed&hook.EditGreeting != 0 {
		if s := e.Session; s.Banner != was.Banner {
			say("banner %q", s.Banner)
		} else {
			for _, x := range was.Extensions {
				if !slices.Contains(s.Extensions, x) {
					say("EHLO keyword removed: %s", x)
				}
			}
			for _, x := range s.Extensions {
				if !slices.Contains(was.Extensions, x) {
					say("EHLO keyword added: %s", x)
				}
			}
		}
	}
	if a.Changed&hook.EditIdentity != 0 {
		say("identity %q", e.Auth.ID)
	}
	if a.Changed&hook.EditLimit != 0 {
		say("size limit %d -> %d octets", was.SizeLimit, e.Tx.SizeLimit)
	}
	if a.Changed&hook.EditDelivery != 0 {
		deliveryChanges(&was.Delivery, e.Delivery, say)
	}
	if now, then := e.Delivery, was.Delivery.Notice; a.Changed&hook.EditNotification != 0 && then != nil {
		if now.Notice.To != then.To {
			say("notification to <%s> -> <%s>", then.To, now.Notice.To)
		}
		if now.Notice.Text != then.Text {
			say("text of the notification: %d octets", len(now.Notice.Text))
		}
	}
	if n > maxList {
		r.text(keyChange, fmt.Sprintf("and %d more", n-maxList))
	}
}

// recipientChanges tells what is in one list and not in the other.
func recipientChanges(was, now []mail.Recipient, say func(string, ...any)) {
	count := make(map[mail.Path]int, len(was))
	for i := range was {
		count[was[i].ForwardPath]++
	}
	var added []mail.Recipient
	for _, r := range now {
		if count[r.ForwardPath] > 0 {
			count[r.ForwardPath]--
		} else {
			added = append(added, r)
		}
	}
	for _, r := range added {
		if !r.Original.IsNull() && count[r.Original] > 0 {
			count[r.Original]--
			say("recipient <%s> -> <%s>", r.Original, r.ForwardPath)
			continue
		}
		say("recipient added: <%s>", r.ForwardPath)
	}
	for i := range was {
		if p := was[i].ForwardPath; count[p] > 0 {
			count[p]--
			say("recipient removed: <%s>", p)
		}
	}
}

// headerChanges tells which fields came, went or changed, by their names.
func headerChanges(was, now mail.Header, say func(string, ...any)) {
	// What is the same in front and behind is most of it.
	from, end, over := 0, was.Len(), now.Len()
	for from < end && from < over && bytes.Equal(was.Raw(from), now.Raw(from)) {
		from++
	}
	for end > from && over > from && bytes.Equal(was.Raw(end-1), now.Raw(over-1)) {
		end, over = end-1, over-1
	}
	old := make(map[string][]int) // by name, those that are not found in the new one
	same := make(map[string]int)
	for i := from; i < end; i++ {
		same[string(was.Raw(i))]++
	}
	var came []int
	for i := from; i < over; i++ {
		if raw := string(now.Raw(i)); same[raw] > 0 {
			same[raw]--
		} else {
			came = append(came, i)
		}
	}
	for i := from; i < end; i++ {
		if raw := string(was.Raw(i)); same[raw] > 0 {
			same[raw]--
			name := strings.ToLower(was.Name(i))
			old[name] = append(old[name], i)
		}
	}
	for _, i := range came {
		name := strings.ToLower(now.Name(i))
		if list := old[name]; len(list) > 0 {
			old[name] = list[1:]
			say("header field %s changed: %d -> %d octets", now.Name(i), len(was.Raw(list[0])), len(now.Raw(i)))
			continue
		}
		say("header field %s added: %d octets", now.Name(i), len(now.Raw(i)))
	}
	for i := from; i < end; i++ {
		name := strings.ToLower(was.Name(i))
		if list := old[name]; len(list) > 0 && list[0] == i {
			old[name] = list[1:]
			say("header field %s removed: %d octets", was.Name(i), len(was.Raw(i)))
		}
	}
}

func deliveryChanges(was, now *hook.Delivery, say func(string, ...any)) {
	if !slices.Equal(was.NextHops, now.NextHops) {
		say("next hops %s -> %s", hopList(was.NextHops), hopList(now.NextHops))
	}
	for _, t := range []struct {
		what     string
		was, now time.Time
	}{{"expiry", was.Expire, now.Expire}, {"retry", was.Retry, now.Retry}, {"next hop suspended until", was.Suspend, now.Suspend}} {
		if !t.was.Equal(t.now) {
			say("%s %s", t.what, t.now.UTC().Format(time.RFC3339))
		}
	}
	if was.Priority != now.Priority {
		say("priority %d -> %d", was.Priority, now.Priority)
	}
}

func hopList(hops []mail.NextHop) string {
	if len(hops) == 0 {
		return "(none)"
	}
	list := make([]string, len(hops))
	for i, h := range hops {
		list[i] = h.String()
	}
	return strings.Join(list, ", ")
}
