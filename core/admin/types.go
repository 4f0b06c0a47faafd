package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// Queue is what can be read of the queue; every queue.Store is one.
type Queue interface {
	List(ctx context.Context, filter queue.Filter, f func(queue.Item, error) bool) error
	Message(ctx context.Context, id mail.ID) (queue.Message, error)
	Counts() queue.Counts
}

// Operator changes queue items on an operator's word; a *qmgr.Manager is one.
// queue.ErrGone: the item left the queue meanwhile.
type Operator interface {
	Hold(ctx context.Context, ref queue.Ref, reason string) error
	Release(ctx context.Context, ref queue.Ref) error
	Retry(ctx context.Context, ref queue.Ref) error
	Reroute(ctx context.Context, ref queue.Ref, to *mail.NextHop) error // nil: back to routing
	Bounce(ctx context.Context, ref queue.Ref, reply mail.Reply) error
	Delete(ctx context.Context, ref queue.Ref) error
}

// Plugins controls the plugins that the configuration names.
type Plugins interface {
	ListPlugins() []PluginStatus
	// LoadPlugin puts another module file in force for one plugin. After an
	// error the generation before is in force, and the text says which step
	// failed and why.
	LoadPlugin(ctx context.Context, name, file string) (PluginStatus, error)
	// ReloadPlugins reads the module of one plugin again; of all if name is
	// empty.
	ReloadPlugins(ctx context.Context, name string) error
	// RollbackPlugin puts an earlier generation of one plugin in force: the one
	// that generation is the beginning of, or if it is empty the one before.
	RollbackPlugin(ctx context.Context, name, generation string) (PluginStatus, error)
	// PluginSeries are the series of metrics that plugins keep.
	PluginSeries() []PluginSeries
}

// PluginStatus is one configured plugin as it stands.
type PluginStatus struct {
	Name       string             `json:"name"`
	Module     string             `json:"module"`
	State      string             `json:"state"` // active | failed
	Generation string             `json:"generation,omitempty"`
	Hash       string             `json:"sha256,omitempty"`
	Hooks      []string           `json:"hooks,omitempty"`
	Since      time.Time          `json:"since,omitzero"`
	Sessions   int                `json:"sessions"`           // sessions and deliveries that hold this generation
	Draining   []DrainingSessions `json:"draining,omitempty"` // replaced generations that are still held
	LastError  string             `json:"last_error,omitempty"`
	ErrorTime  time.Time          `json:"error_time,omitzero"`

	Generations []PluginGeneration `json:"generations,omitempty"` // those that are kept ready, the last one put in force last
}

// PluginGeneration is one generation of a plugin that is kept ready.
type PluginGeneration struct {
	Generation string         `json:"generation"`
	Hash       string         `json:"sha256"`
	InForce    bool           `json:"in_force,omitempty"`
	Since      time.Time      `json:"since"`                 // when it was put in force, for the last time
	Grant      []string       `json:"grant"`                 // lines of [plugin.grant]
	Breaker    string         `json:"breaker"`               // closed | open | trying
	Trouble    string         `json:"trouble,omitempty"`     // why the breaker is not closed
	RolledBack string         `json:"rolled_back,omitempty"` // why
	Hooks      []hook.Figures `json:"hooks"`
}

// DrainingSessions is a replaced generation that is still held.
type DrainingSessions struct {
	Generation string `json:"generation"`
	Hash       string `json:"sha256"`
	Sessions   int    `json:"sessions"`
}

// Item is one queue item: recipients of one message that share a domain.
type Item struct {
	ID         string      `json:"id"`
	Item       uint32      `json:"item"`
	Damaged    string      `json:"damaged,omitempty"` // why the item cannot be read; nothing else is set then
	State      string      `json:"state,omitempty"`   // queued | held
	Sender     string      `json:"sender,omitempty"`  // reverse-path; <> is the null one
	Size       int64       `json:"size,omitempty"`    // of the message, in octets
	Arrived    time.Time   `json:"arrived,omitzero"`
	Due        time.Time   `json:"due,omitzero"`
	Expire     time.Time   `json:"expire,omitzero"`
	Domain     string      `json:"domain,omitempty"`
	Attempts   int         `json:"attempts"`
	Priority   int         `json:"priority,omitempty"`
	Reason     string      `json:"reason,omitempty"`   // why it is held or was deferred
	NextHop    string      `json:"next_hop,omitempty"` // pinned by an operator or a plugin
	LastHop    string      `json:"last_hop,omitempty"` // of the last attempt
	Recipients []Recipient `json:"recipients,omitempty"`
	History    []Attempt   `json:"history,omitempty"` // with one message only; oldest first
}

// Recipient is one open recipient with the result of its last attempt.
type Recipient struct {
	Address   string `json:"address"`
	Original  string `json:"original,omitempty"` // as the client gave it, if it was rewritten
	Status    string `json:"status,omitempty"`   // of the last attempt; empty: none was made
	Reply     string `json:"reply,omitempty"`    // word for word
	RemoteMTA string `json:"remote_mta,omitempty"`
	Relay     string `json:"relay,omitempty"`
	Notify    string `json:"notify,omitempty"` // DSN NOTIFY
	ORCPT     string `json:"orcpt,omitempty"`  // DSN ORCPT

	ValidSince         time.Time         `json:"rrvs,omitzero"` // RRVS
	ValidSinceContinue bool              `json:"rrvs_continue,omitempty"`
	Marks              map[string]string `json:"marks,omitempty"` // attributes that plugins set, with one message only
}

// Attempt is one past attempt.
type Attempt struct {
	At        time.Time `json:"at"`
	Relay     string    `json:"relay,omitempty"`
	Status    string    `json:"status"`
	Reply     string    `json:"reply,omitempty"`
	RemoteMTA string    `json:"remote_mta,omitempty"`
}

// Message is all that is known of one message but its body.
type Message struct {
	ID      string    `json:"id"`
	Sender  string    `json:"sender"`
	Size    int64     `json:"size"` // of the content, in octets
	Arrived time.Time `json:"arrived"`
	EnvID   string    `json:"envid,omitempty"` // DSN ENVID
	Ret     string    `json:"ret,omitempty"`   // DSN RET
	Body    string    `json:"body,omitempty"`  // 7BIT | 8BITMIME | BINARYMIME
	Session Session   `json:"session"`

	SMTPUTF8   bool              `json:"smtputf8,omitempty"`
	RequireTLS bool              `json:"requiretls,omitempty"`
	HoldUntil  time.Time         `json:"hold_until,omitzero"` // FUTURERELEASE
	Priority   int               `json:"priority,omitempty"`  // MT-PRIORITY
	By         time.Time         `json:"by,omitzero"`         // DELIVERBY
	ByReturn   bool              `json:"by_return,omitempty"` // or else notify
	ByTrace    bool              `json:"by_trace,omitempty"`
	Marks      map[string]string `json:"marks,omitempty"` // attributes that plugins set
	Header     string            `json:"header"`          // as stored; what is not UTF-8 is replaced
	Items      []Item            `json:"items"`
}

// Session is what is known of the session that brought a message.
type Session struct {
	ID       string `json:"id,omitempty"`
	Listener string `json:"listener,omitempty"`
	Remote   string `json:"client,omitempty"`
	PTR      string `json:"ptr,omitempty"`
	Helo     string `json:"helo,omitempty"`
	Auth     string `json:"auth,omitempty"`
	TLS      string `json:"tls,omitempty"` // version and cipher suite
}

// Limits of one request.
const (
	MaxRequest = 1 << 20           // octets of a request's body
	MaxIDs     = 10_000            // ids of one selection
	maxReason  = mail.MaxReplyLine // octets of a reason
	maxErrors  = 100               // failures named in a result
)

// ParseID reads a queue id with an error that says what one looks like.
func ParseID(s string) (mail.ID, error) {
	id, err := mail.ParseID(s)
	if err == nil && id == 0 {
		err = errors.New("it names no message")
	}
	if err != nil {
		return 0, fmt.Errorf("queue id %q: %v; wasmta queue list shows the ids there are", s, err)
	}
	return id, nil
}

// Request is what an act is about.
type Request struct {
	Selection
	DryRun  bool   `json:"dry_run,omitempty"`  // count, change nothing
	Watch   bool   `json:"watch,omitempty"`    // answer with a Result every second, the last one having Final
	NextHop string `json:"next_hop,omitempty"` // reroute: as "to" of a route, or [Unpin]
	Reason  string `json:"reason,omitempty"`   // hold, bounce: for the log and the notification
}

// Unpin is the next hop that gives items back to routing.
const Unpin = "route"

// Result is what became of an act.
type Result struct {
	Matched  int       `json:"matched"`        // items that were selected
	Messages int       `json:"messages"`       // messages these belong to
	Done     int       `json:"done"`           // items changed; 0 in a dry run
	Gone     int       `json:"gone,omitempty"` // items that left the queue meanwhile
	Failed   int       `json:"failed,omitempty"`
	Errors   []Failure `json:"errors,omitempty"` // the first 100 failures, and ids that do not exist
	Missing  int       `json:"missing,omitempty"`
	DryRun   bool      `json:"dry_run,omitempty"`
	Final    bool      `json:"final,omitempty"` // of those that were asked for with Watch, the last
}

// Failure is why one item was not changed.
type Failure struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

type loadRequest struct {
	Name string `json:"name"`
	File string `json:"file,omitempty"`
}

type rollbackRequest struct {
	Name       string `json:"name"`
	Generation string `json:"generation,omitempty"`
}

type errorBody struct {
	Error string `json:"error"`
}

// sender prints a reverse-path so that it can be given back as a filter.
func sender(p mail.Path) string {
	if p.IsNull() {
		return "<>"
	}
	return p.String()
}

func newItem(i queue.Item, m queue.Message, history bool) Item {
	out := Item{
		ID: i.ID.String(), Item: i.Ref.Item, State: "queued", Sender: sender(m.Envelope.ReversePath), Size: m.Size(),
		Arrived: i.Arrived, Due: i.Due, Expire: i.Expire, Domain: i.Domain, Attempts: i.Attempts, Priority: i.Priority, Reason: i.Reason,
	}
	if i.Held {
		out.State, out.Due = "held", time.Time{}
	}
	if i.Pinned != nil {
		out.NextHop = i.Pinned.String()
	}
	out.LastHop = i.LastHop
	for _, r := range i.Recipients {
		v := Recipient{Address: r.ForwardPath.String()}
		if !r.Original.IsNull() {
			v.Original = r.Original.String()
		}
		if r.Last.Reply.Code != 0 || r.Last.Outcome != mail.Deferred {
			v.Status, v.Reply, v.RemoteMTA, v.Relay = r.Last.Outcome.String(), reply(r.Last.Reply), r.Last.RemoteMTA, r.Last.Relay
		}
		if history {
			v.Notify, v.ORCPT, v.Marks = r.Notify.String(), r.Orcpt, marks(r.Attrs)
			v.ValidSince, v.ValidSinceContinue = r.ValidSince, r.ValidSinceContinue
		}
		out.Recipients = append(out.Recipients, v)
	}
	if history {
		for _, a := range i.History {
			out.History = append(out.History, Attempt{a.At, a.Relay, a.Result.Outcome.String(), reply(a.Result.Reply), a.Result.RemoteMTA})
		}
	}
	return out
}

func reply(r mail.Reply) string {
	if r.Code == 0 {
		return r.Text
	}
	return r.String()
}

// marks are attributes as JSON can hold them: what is not UTF-8 is replaced.
func marks(a mail.Attrs) map[string]string {
	if len(a) == 0 {
		return nil
	}
	out := make(map[string]string, len(a))
	for k, v := range a {
		out[k] = string(v)
	}
	return out
}

func newMessage(m queue.Message) Message {
	c, p := m.Envelope.Client, m.Envelope.MailParams
	out := Message{
		ID: m.ID.String(), Sender: sender(m.Envelope.ReversePath), Size: m.Size(), Arrived: m.Arrived,
		EnvID: m.Envelope.EnvID, Ret: m.Envelope.Return.String(), Header: string(m.Header),
		Session: Session{ID: c.Session, Listener: c.Listener, PTR: c.PTR, Helo: c.Helo, Auth: c.Auth},
		Body:    p.Body.String(), SMTPUTF8: p.SMTPUTF8, RequireTLS: p.RequireTLS, HoldUntil: p.HoldUntil, Priority: int(p.Priority),
		By: p.By.Time, ByReturn: p.By.Return, ByTrace: p.By.Trace, Marks: marks(m.Envelope.Attrs),
	}
	if c.TLS != nil {
		out.Session.TLS = strings.TrimSpace(tls.VersionName(c.TLS.Version) + " " + c.TLS.Cipher)
	}
	if c.Remote.IsValid() {
		out.Session.Remote = c.Remote.String()
	}
	return out
}
