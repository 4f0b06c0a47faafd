package hook

import "strings"

// Edit is a set of kinds of things that a plugin has changed. Attributes are
// not among them: they are what plugins tell each other.
type Edit uint16

// The kinds of edits.
const (
	EditReversePath Edit = 1 << iota
	EditRecipients
	EditHeader
	EditBody
	EditGreeting     // the banner, the EHLO keywords
	EditIdentity     // who the client is
	EditLimit        // the size of the content
	EditDelivery     // next hops and the rest of a delivery
	EditNotification // a DSN
)

var edits = [...]string{"reverse-path", "recipients", "header", "body", "greeting", "identity", "limit", "delivery", "notification"}

// String lists the kinds, joined by '+'.
func (e Edit) String() string {
	var list []string
	for i, name := range edits {
		if e&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, "+")
}

// Change is what one answer of one plugin has changed for good.
type Change struct {
	Plugin     string
	Generation string
	Stage      Stage
	What       Edit
}
