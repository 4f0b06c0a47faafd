package hook

import (
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Event is one question. Which parts are set depends on the stage:
//
//	Session     connect ... close
//	Tx          mail ... reset (if there was a transaction), route, attempt, result, dsn
//	Content     headers (header only), message, route, attempt, result
//	Delivery    route, attempt, result, dsn
//	Recipient   rcpt: the index into Tx.Envelope.Recipients; route ... dsn: 0 if there
//	            is one recipient only, so that its attributes can be reached; -1 elsewhere
//	Auth        auth
//	Verb, Arg   command, ehlo, auth (Arg: the mechanism)
//	Reason      reset, close
//
// Read the fields directly. Change them only through the methods, which keep
// what is needed to undo a change; they fail with ErrStage where the change is
// not allowed. An Event belongs to one goroutine and is not kept after the
// call.
type Event struct {
	Stage     Stage
	Session   *Session
	Tx        *Transaction
	Content   *Content
	Delivery  *Delivery
	Auth      *Credentials
	Recipient int
	Verb      string // upper case
	Arg       string // validated text without control characters; at ehlo the name
	Reason    string
	undo      []func()
	body      *NewBody // that the plugin is writing; nil: none
	edited    Edit     // since the last keep or rollback
	copied    bool     // the recipients were, since the last keep or rollback: undoing takes the copy away
	observer  Observer // of the conversation; nil: none
	asked     *Plugin  // that the observer is to be told of
}

// Session is a connection, for as long as it lasts.
type Session struct {
	Client     *mail.Client
	Attrs      mail.Attrs // session scope, key "plugin/key"
	Banner     string     // connect: the text of the 220 reply
	Extensions []string   // ehlo: the keywords to offer, each with its arguments
	Proxy      netip.Addr // of the proxy that spoke for the client; invalid: none did
	// CertNames are the names in the client's certificate if an authority that
	// the listener trusts has signed it: "email:ann@example.org", "dns:...",
	// "uri:..." of its alternative names, then "cn:..." of its subject; each a
	// [mail.ValidIdentity]. nil: there is no such certificate.
	CertNames []string
	// Connections counts the open connections of the client's address, or of
	// its /64 in IPv6, this one included. nil: nobody counts.
	Connections func() int
}

// Credentials are what a client gave in a SASL exchange.
type Credentials struct {
	Mechanism string // upper case
	User      string // who it is (RFC 4616 authcid); empty: a bearer token says it
	AuthzID   string // as whom it wants to act, if it said so (authzid)
	// Password, or the token of OAUTHBEARER and XOAUTH2, is overwritten after
	// the asking: it must not be kept, nor written anywhere. nil: the mechanism
	// has none.
	Password []byte
	// Scram are the keys of SCRAM, see [Event.SetScram]; nil: none are set.
	Scram *mail.ScramKeys
	// ID is who the client becomes if the answer is Accept, see
	// [Event.SetAuthID]. Empty: User, if AuthzID does not ask for another.
	ID string
}

// String hides the password from whoever prints an event.
func (c Credentials) String() string { return c.Mechanism + " " + strconv.Quote(c.User) }

// GoString is String.
func (c Credentials) GoString() string { return c.String() }

// WantsScram tells whether it is keys that are asked for, and not whether a
// password is right.
func (c *Credentials) WantsScram() bool { return strings.HasPrefix(c.Mechanism, "SCRAM-SHA-256") }

var errIdentity = errors.New("hook: this cannot be an identity")

// Transaction is one MAIL to its end.
type Transaction struct {
	ID        string
	Envelope  mail.Envelope
	Attrs     mail.Attrs // transaction scope, key "plugin/key"
	SizeLimit int64      // octets; data: may be lowered
}

// Content is a message's header section and body.
type Content struct {
	Header   mail.Header
	Edited   bool // the header section was changed by a plugin
	Body     io.ReaderAt
	BodySize int64
	Replaced bool                  // the body is one that a plugin wrote
	NewSpool func() (Spool, error) // message: for a body that replaces this one; nil: it cannot be replaced
}

// Size is the length of the content in octets.
func (c *Content) Size() int64 { return int64(c.Header.Size()) + c.BodySize }

// Delivery is one queue item being routed or attempted. The item's recipients
// are Tx.Envelope.Recipients.
type Delivery struct {
	ID       mail.ID
	Domain   string
	Attempt  int // 1 for the first
	Arrived  time.Time
	Expire   time.Time
	Retry    time.Time      // result: when it is tried again; zero: by the schedule
	Priority int            // higher first
	NextHops []mail.NextHop // route: where to go, in order; empty: not said. attempt, result: the one taken
	Suspend  time.Time      // result: until when nothing is sent to the next hop, for any message; zero: not said
	Results  []mail.Result  // result, dsn: one for each recipient
	Last     mail.Result    // of the attempt before, at result of this one; Outcome Deferred and an empty Reply at the first
	History  []mail.Attempt // the last ones, oldest first; at result this one too
	Notice   *Notice        // dsn
}

// Notice is a notification that is about to be made.
type Notice struct {
	Action string    // failed, delayed, delivered
	To     mail.Path // whom it is for: the reverse-path
	Text   string    // for people, instead of the usual one; empty: the usual one
}

// MaxSuspend is how long a plugin may suspend a next hop.
const MaxSuspend = 24 * time.Hour

// Errors of editing.
var (
	ErrStage = errors.New("hook: this cannot be changed at this stage")
	ErrIndex = errors.New("hook: there is no element with this index")
	ErrLimit = errors.New("hook: too many or too large")
)

// Limits of what plugins can add.
const (
	MaxRecipients = 10_000   // recipients of one message
	MaxAttrBytes  = 64 << 10 // keys and values of one scope
	MaxNextHops   = 20
)

// Scope is the lifetime of an attribute. The numbers are those of the ABI.
type Scope uint8

const (
	ScopeSession     Scope = iota // this connection
	ScopeTransaction              // this MAIL to its end
	ScopeMessage                  // kept with the message until it is gone
	ScopeRecipient                // kept with the current recipient
)

// attrs returns where the attributes of a scope are held; nil: not here.
func (e *Event) attrs(s Scope) *mail.Attrs {
	switch {
	case s == ScopeSession && e.Session != nil:
		return &e.Session.Attrs
	case s == ScopeTransaction && e.Tx != nil:
		return &e.Tx.Attrs
	case s == ScopeMessage && e.Tx != nil:
		return &e.Tx.Envelope.Attrs
	case s == ScopeRecipient && e.Tx != nil && e.Recipient >= 0 && e.Recipient < len(e.Tx.Envelope.Recipients):
		return &e.Tx.Envelope.Recipients[e.Recipient].Attrs
	}
	return nil
}

// Attr reads an attribute; key is "plugin/key". ErrStage: the scope does not
// exist here. ok is false if the attribute is not set.
func (e *Event) Attr(s Scope, key string) (value []byte, ok bool, err error) {
	m := e.attrs(s)
	if m == nil {
		return nil, false, ErrStage
	}
	value, ok = (*m)[key]
	return value, ok, nil
}

// SetAttr sets an attribute, or deletes it if value is nil. ErrLimit if the
// scope would exceed [MaxAttrBytes].
func (e *Event) SetAttr(s Scope, key string, value []byte) error {
	m := e.attrs(s)
	if m == nil {
		return ErrStage
	}
	old := *m
	size := len(key) + len(value)
	for k, v := range old {
		if k != key {
			size += len(k) + len(v)
		}
	}
	if size > MaxAttrBytes {
		return ErrLimit
	}
	changed := maps.Clone(old)
	if value == nil {
		delete(changed, key)
	} else {
		if changed == nil {
			changed = make(mail.Attrs)
		}
		changed[key] = slices.Clone(value)
	}
	*m = changed
	if s == ScopeRecipient {
		// The recipients may be replaced before the undo runs, so go by index.
		if i := e.Recipient; !e.copied {
			e.onUndo(func() { e.Tx.Envelope.Recipients[i].Attrs = old })
		}
	} else {
		e.onUndo(func() { *m = old })
	}
	return nil
}

// SetReversePath replaces the reverse-path. Stages mail to message.
func (e *Event) SetReversePath(p mail.Path) error {
	if e.Tx == nil || e.Stage < Mail || e.Stage > Message {
		return ErrStage
	}
	old := e.Tx.Envelope.ReversePath
	e.Tx.Envelope.ReversePath = p
	e.edited |= EditReversePath
	e.onUndo(func() { e.Tx.Envelope.ReversePath = old })
	return nil
}

// SetForwardPath replaces recipient i's forward-path and keeps the client's as
// its original. The null path is ErrIndex: it would be nobody. Stages rcpt (the
// current one) to message.
func (e *Event) SetForwardPath(i int, p mail.Path) error {
	return e.editRecipients(func(list []mail.Recipient) ([]mail.Recipient, error) {
		if i < 0 || i >= len(list) || p.IsNull() {
			return nil, ErrIndex
		}
		if list[i].Original.IsNull() {
			list[i].Original = list[i].ForwardPath
		}
		list[i].ForwardPath = p
		return list, nil
	})
}

// AddRecipient adds a recipient behind the others. Stages rcpt to message.
func (e *Event) AddRecipient(p mail.Path) error {
	return e.editRecipients(func(list []mail.Recipient) ([]mail.Recipient, error) {
		if p.IsNull() {
			return nil, ErrIndex
		}
		if len(list) >= MaxRecipients {
			return nil, ErrLimit
		}
		r := mail.Recipient{ForwardPath: p}
		if e.Recipient >= 0 && e.Recipient < len(list) {
			r.Original = list[e.Recipient].ForwardPath
			if o := list[e.Recipient].Original; !o.IsNull() {
				r.Original = o
			}
		}
		return append(list, r), nil
	})
}

// RemoveRecipient takes recipient i out. Stage message, and at rcpt any but the
// current one, which is refused by a verdict instead.
func (e *Event) RemoveRecipient(i int) error {
	if e.Stage == Rcpt && i == e.Recipient {
		return ErrStage
	}
	return e.editRecipients(func(list []mail.Recipient) ([]mail.Recipient, error) {
		if i < 0 || i >= len(list) {
			return nil, ErrIndex
		}
		if i < e.Recipient {
			e.Recipient--
			e.onUndo(func() { e.Recipient++ })
		}
		return slices.Delete(list, i, i+1), nil
	})
}

func (e *Event) editRecipients(f func([]mail.Recipient) ([]mail.Recipient, error)) error {
	if e.Tx == nil || e.Stage < Rcpt || e.Stage > Message {
		return ErrStage
	}
	// One copy for all the edits of a plugin: a thousand of a thousand
	// recipients would be tens of megabytes.
	list, old := e.Tx.Envelope.Recipients, e.Tx.Envelope.Recipients
	if !e.copied {
		list = slices.Clone(old)
	}
	list, err := f(list)
	if err != nil {
		return err
	}
	e.Tx.Envelope.Recipients = list
	e.edited |= EditRecipients
	if !e.copied {
		e.copied = true
		e.onUndo(func() { e.Tx.Envelope.Recipients = old })
	}
	return nil
}

// EditHeader calls f with the header section to change. Stages headers, message
// and attempt; at attempt the change is for this attempt only.
func (e *Event) EditHeader(f func(*mail.Header) error) error {
	if e.Content == nil || e.Stage != Headers && e.Stage != Message && e.Stage != Attempt {
		return ErrStage
	}
	old, edited := e.Content.Header, e.Content.Edited
	h := old.Clone()
	if err := f(&h); err != nil {
		return err
	}
	e.Content.Header, e.Content.Edited = h, true
	e.edited |= EditHeader
	e.onUndo(func() { e.Content.Header, e.Content.Edited = old, edited })
	return nil
}

// SetBanner replaces the text of the 220 reply. Stage connect.
func (e *Event) SetBanner(text string) error {
	if e.Stage != Connect || e.Session == nil {
		return ErrStage
	}
	old := e.Session.Banner
	e.Session.Banner = text
	e.edited |= EditGreeting
	e.onUndo(func() { e.Session.Banner = old })
	return nil
}

// SetExtensions replaces the list of EHLO keywords to offer. Keywords that the
// server did not list before are announced without any further effect. Stage
// ehlo.
func (e *Event) SetExtensions(list []string) error {
	if e.Stage != Ehlo || e.Session == nil {
		return ErrStage
	}
	old := e.Session.Extensions
	e.Session.Extensions = slices.Clone(list)
	e.edited |= EditGreeting
	e.onUndo(func() { e.Session.Extensions = old })
	return nil
}

// SetAuthID says who the client is, if the answer to this stage is Accept.
// It must be a [mail.ValidIdentity]. Stage auth.
func (e *Event) SetAuthID(id string) error {
	if e.Stage != Auth || e.Auth == nil {
		return ErrStage
	}
	if !mail.ValidIdentity(id) {
		return errIdentity
	}
	c, old := e.Auth, e.Auth.ID
	c.ID = id
	e.edited |= EditIdentity
	e.onUndo(func() { c.ID = old })
	return nil
}

// SetScram gives the keys of SCRAM as [mail.ParseScram] reads them. There SCRAM
// asks before the client has proved anything: Accept says that the client is who
// it says it is if it turns out to know the password of these keys. ErrStage:
// the mechanism is another. Stage auth.
func (e *Event) SetScram(keys string) error {
	if e.Stage != Auth || e.Auth == nil || !e.Auth.WantsScram() {
		return ErrStage
	}
	k, err := mail.ParseScram(keys)
	if err != nil {
		return err
	}
	c, old := e.Auth, e.Auth.Scram
	c.Scram = &k
	e.edited |= EditIdentity
	e.onUndo(func() { c.Scram = old })
	return nil
}

// SetSizeLimit lowers the limit on the content's size, in octets; a higher one
// than the server's is ErrLimit. Stage data.
func (e *Event) SetSizeLimit(n int64) error {
	if e.Stage != Data || e.Tx == nil {
		return ErrStage
	}
	old := e.Tx.SizeLimit
	if n < 0 || n > old {
		return ErrLimit
	}
	e.Tx.SizeLimit = n
	e.edited |= EditLimit
	e.onUndo(func() { e.Tx.SizeLimit = old })
	return nil
}

// EditDelivery calls f with a copy of the delivery to change NextHops, Retry,
// Expire, Priority, and at result Suspend. Next hops that are set at result are
// those of the attempts that follow. Stages route, attempt, result.
func (e *Event) EditDelivery(f func(*Delivery) error) error {
	if e.Delivery == nil || e.Stage < Route || e.Stage > Result {
		return ErrStage
	}
	old := *e.Delivery
	d := old
	d.NextHops = slices.Clone(old.NextHops)
	if err := f(&d); err != nil {
		return err
	}
	if len(d.NextHops) > MaxNextHops {
		return ErrLimit
	}
	*e.Delivery = d
	e.edited |= EditDelivery
	e.onUndo(func() { *e.Delivery = old })
	return nil
}

// EditNotice calls f with a copy of the notification to change To, which must
// not become null, and Text. Stage dsn.
func (e *Event) EditNotice(f func(*Notice) error) error {
	if e.Stage != DSN || e.Delivery == nil || e.Delivery.Notice == nil {
		return ErrStage
	}
	old := e.Delivery.Notice
	n := *old
	if err := f(&n); err != nil {
		return err
	}
	if n.To.IsNull() {
		return ErrIndex
	}
	e.Delivery.Notice = &n
	e.edited |= EditNotification
	e.onUndo(func() { e.Delivery.Notice = old })
	return nil
}

func (e *Event) onUndo(f func()) { e.undo = append(e.undo, f) }

// keep makes the edits since the last keep or rollback lasting, and tells what
// they were.
func (e *Event) keep() Edit {
	what := e.edited
	e.undo, e.body, e.copied, e.edited = e.undo[:0], nil, false, 0
	return what
}

// rollback undoes them, the last first.
func (e *Event) rollback() {
	for i := len(e.undo) - 1; i >= 0; i-- {
		e.undo[i]()
	}
	e.undo, e.body, e.copied, e.edited = e.undo[:0], nil, false, 0
}
