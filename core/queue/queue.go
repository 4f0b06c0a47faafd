package queue

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Errors that a Store returns, possibly wrapped.
var (
	// ErrStorage: no room, or the store cannot write. The client gets 452 4.3.1.
	ErrStorage = errors.New("queue: insufficient storage")
	// ErrGone: the message or item does not exist (any more).
	ErrGone = errors.New("queue: no such message")
	// ErrConflict: the item was changed since it was read.
	ErrConflict = errors.New("queue: the item was changed meanwhile")
	// ErrCorrupt: what was read does not match its checksum or digest.
	ErrCorrupt = errors.New("queue: stored data is damaged")
)

// Store is the durable queue. Its methods may be called concurrently. All
// times are stored to the millisecond.
type Store interface {
	// Begin starts a draft. ErrStorage: there is no room for another message.
	Begin(ctx context.Context) (Draft, error)

	// Due returns up to limit items that are due at or before now, in the order
	// of their due time, starting behind from (the zero Mark: at the beginning),
	// and the mark to go on from: the last item returned, or from itself if there
	// was none. It reads the index only. Items that are being committed are left
	// out, held ones too. next is the due time of the first item after those
	// returned; zero if there is none.
	//
	// What becomes due at or before a mark that was passed already is not found
	// from that mark: whoever commits, releases or reschedules an item hands its
	// Ref to the scheduler. An item can come both ways.
	Due(ctx context.Context, from Mark, now time.Time, limit int) (refs []Ref, mark Mark, next time.Time, err error)

	// Item returns a queue item. ErrGone, ErrCorrupt.
	Item(ctx context.Context, ref Ref) (Item, error)

	// Message returns the stored message without its body. ErrGone, ErrCorrupt.
	Message(ctx context.Context, id mail.ID) (Message, error)

	// Body opens a message's body. Reads fail with ErrCorrupt at the end if the
	// digest does not match: who has sent the body must not end it then.
	Body(ctx context.Context, id mail.ID) (Body, error)

	// Settle records an attempt: s.Item replaces the stored item, or the item is
	// removed if it has no recipients left, and the message with its last item.
	// Notices become messages in the same synced batch; their refs are returned.
	// ErrConflict unless s.Item.Version is the stored one; ErrGone.
	Settle(ctx context.Context, s Settlement) ([]Ref, error)

	// Update rewrites one item in a synced batch: change may alter Due, Held,
	// Reason, Pinned, Expire and Priority. An error from change leaves everything as
	// it was and is returned. ErrGone.
	Update(ctx context.Context, ref Ref, change func(*Item) error) error

	// Remove deletes a message with all its items in a synced batch. ErrGone.
	Remove(ctx context.Context, id mail.ID) error

	// List calls f for the items that match, by id, until f returns false.
	// Concurrent changes may or may not be seen. Damaged items are reported with
	// the error set and nothing but Ref in the item.
	List(ctx context.Context, filter Filter, f func(Item, error) bool) error

	// Counts returns the number of messages and items, cheaply.
	Counts() Counts

	// Close waits for calls in progress, marks a clean shutdown and closes.
	Close() error
}

// Draft is a message that is still arriving. It belongs to one goroutine.
type Draft interface {
	// ID is the queue id that the message will have.
	ID() mail.ID
	// Write appends to the body. It keeps nothing of p. ErrStorage.
	io.Writer
	// ReadAt reads what has been written of the body so far. It alone may be
	// called concurrently.
	io.ReaderAt
	// Size is the length of the body so far, in octets.
	Size() int64
	// Commit makes the message ours in one synced batch (see the package
	// comment) and returns its items. header is the header block, with the empty
	// line that ends it if the message has one; due is when the first attempt
	// may be made, expire when the message expires. After an error other than
	// ErrStorage it is unknown whether the message was stored. The draft is
	// over in every case.
	Commit(ctx context.Context, env mail.Envelope, header []byte, opt CommitOptions) ([]Ref, error)
	// Abort drops the draft. Calling it after Commit or twice does nothing.
	Abort()
}

// CommitOptions are the initial state of a message's items.
type CommitOptions struct {
	Due      time.Time
	Expire   time.Time
	Held     bool // committed in state held; Reason says why
	Reason   string
	Priority int // of all items; higher first

	// HeldDomains are the items, by [Item.Domain], that are committed in state
	// held though Held is false, and why.
	HeldDomains map[string]string
}

// Of is whether the item of a domain is committed in state held, and why.
func (o *CommitOptions) Of(domain string) (held bool, reason string) {
	if o.Held {
		return true, o.Reason
	}
	if why, ok := o.HeldDomains[domain]; ok {
		return true, why
	}
	return false, o.Reason
}

// Body reads a message's body.
type Body interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Size() int64
}

// Ref names a queue item.
type Ref struct {
	ID   mail.ID
	Item uint32
}

// Mark is a place in the due index. The zero Mark is its beginning.
type Mark struct {
	Due time.Time
	Ref Ref
}

// Message is what is stored of a message besides recipients and body.
type Message struct {
	ID       mail.ID
	Envelope mail.Envelope // Recipients is empty: they are in the items
	Header   []byte        // header block; do not modify
	BodySize int64
	Arrived  time.Time
}

// Size is the length of the content in octets.
func (m Message) Size() int64 { return int64(len(m.Header)) + m.BodySize }

// Item is one queue item: recipients of one message that share a domain.
type Item struct {
	Ref
	Version    uint64 // changes with every write
	Domain     string // lower-case A-labels or an address literal
	Recipients []Recipient
	Due        time.Time
	Expire     time.Time
	Arrived    time.Time
	Attempts   int
	Priority   int            // higher first among equals; 0 is normal
	Held       bool           // not due until released
	Reason     string         // why it is held or was deferred, for the operator
	Pinned     *mail.NextHop  // set by a plugin or an operator: routing is not asked
	LastHop    string         // next hop of the last attempt, as [mail.NextHop.String] prints it; empty: none was made
	History    []mail.Attempt // the last ones, oldest first; at most MaxHistory
}

// MaxHistory is how many past attempts an item keeps.
const MaxHistory = 10

// Recipient is one open recipient of an item. Recipients that are delivered or
// failed are no longer in the item.
type Recipient struct {
	mail.Recipient
	Last   mail.Result // of the last attempt
	Warned bool        // the delayed-notification was made
}

// Settlement is the outcome of an attempt.
type Settlement struct {
	Item    Item // as it shall be: open recipients only
	Notices []Notice
}

// Notice is a message of our own making, such as a DSN. It is small enough to
// be held in memory.
type Notice struct {
	Envelope mail.Envelope
	Header   []byte
	Body     []byte
	CommitOptions
}

// Filter selects items; zero fields select all, several must all match. ID and
// Domain are looked up, anything else is compared with item after item.
type Filter struct {
	ID     mail.ID
	Domain string // of the recipients, exact, lower-case A-labels
	Sender string // reverse-path; "<>" for the null one
	Held   *bool
	After  Ref // only items behind this one, for paging

	SenderDomain string       // of the reverse-path, exact, lower-case A-labels
	Recipient    string       // forward-path of one of the recipients
	NextHop      string       // where the item is pinned to or, if it is not, where it went last, as [mail.NextHop.String] prints it
	Before       time.Time    // arrived before
	Since        time.Time    // arrived then or later
	MinAttempts  int          // so many attempts or more
	Reason       string       // part of the reason or of a recipient's last reply, in any case
	Mark         string       // an attribute PLUGIN/KEY of the message or of one of the recipients
	MarkValue    string       // with this value, if MarkEquals
	MarkEquals   bool         //
	Listener     string       // that took the message
	Client       netip.Prefix // from which the message came
}

// Counts are the totals of the queue.
type Counts struct {
	Messages int64
	Items    int64
	Held     int64
}

// Group splits an envelope's recipients by domain: the recipients of each
// item, in the order of first appearance.
func Group(recipients []mail.Recipient) (domains []string, groups [][]Recipient) {
	index := make(map[string]int)
	for _, r := range recipients {
		key := r.ForwardPath.DomainKey()
		i, ok := index[key]
		if !ok {
			i = len(domains)
			index[key] = i
			domains = append(domains, key)
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], Recipient{Recipient: r})
	}
	return domains, groups
}
