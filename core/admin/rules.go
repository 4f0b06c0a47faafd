package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/wasmta/wasmta/core/hold"
	"github.com/wasmta/wasmta/core/queue"
)

// Rules are the hold rules for mail that is yet to come; a *hold.Rules is one.
type Rules interface {
	List(now time.Time) []hold.Rule
	Add(hold.Rule) (hold.Rule, error)
	Remove(id int64) error
}

// HoldRule is a rule that holds mail when it comes in.
type HoldRule struct {
	ID       int64     `json:"id,omitempty"`
	Domain   string    `json:"domain,omitempty"`
	Sender   string    `json:"sender,omitempty"`
	To       string    `json:"recipient,omitempty"`
	Mark     string    `json:"mark,omitempty"`
	Listener string    `json:"listener,omitempty"`
	Client   string    `json:"client,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	Until    time.Time `json:"until,omitzero"` // zero: until it is removed
}

// Selection is what the rule selects of the mail that is queued already.
func (r HoldRule) Selection() Selection {
	return Selection{Domain: r.Domain, Sender: r.Sender, Recipient: r.To, Mark: r.Mark, Listener: r.Listener, Client: r.Client}
}

func newHoldRule(r hold.Rule) HoldRule {
	out := HoldRule{ID: r.ID, Domain: r.Filter.Domain, Sender: r.Filter.Sender, To: r.Filter.Recipient, Mark: r.Filter.Mark,
		Listener: r.Filter.Listener, Reason: r.Reason, Created: r.Created, Until: r.Until}
	if r.Filter.SenderDomain != "" {
		out.Sender = "@" + r.Filter.SenderDomain
	}
	if out.To != "" {
		out.Domain = "" // it follows
	}
	if r.Filter.MarkEquals {
		out.Mark += "=" + r.Filter.MarkValue
	}
	if r.Filter.Client.IsValid() {
		out.Client = r.Filter.Client.String()
	}
	return out
}

type removeRequest struct {
	ID int64 `json:"id"`
}

var errNoRules = errors.New("this server has no hold rules")

func (s *Server) rules(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if s.opt.Rules == nil {
		return
	}
	lines := encoder(w)
	for _, r := range s.opt.Rules.List(time.Now()) {
		_ = lines.Encode(newHoldRule(r))
	}
}

func (s *Server) addRule(w http.ResponseWriter, r *http.Request) {
	var q HoldRule
	if !read(w, r, &q) {
		return
	}
	if s.opt.Rules == nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", errNoRules)
		return
	}
	now := time.Now()
	f, err := q.Selection().filter()
	switch {
	case err != nil:
	case f == (queue.Filter{}):
		err = errors.New("nothing is selected: give a sender, recipient, domain, listener, client or mark")
	case !q.Until.IsZero() && !q.Until.After(now):
		err = fmt.Errorf("the rule would end at %s, which has passed", q.Until.Format(time.RFC3339))
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	rule, err := s.opt.Rules.Add(hold.Rule{Filter: f, Reason: q.Reason, Created: now.UTC().Truncate(time.Second), Until: q.Until})
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", err)
		return
	}
	s.opt.Log.Info("hold rule added", "rule", rule.ID, "reason", rule.Reason)
	answer(w, newHoldRule(rule))
}

func (s *Server) removeRule(w http.ResponseWriter, r *http.Request) {
	var q removeRequest
	if !read(w, r, &q) {
		return
	}
	if s.opt.Rules == nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", errNoRules)
		return
	}
	if err := s.opt.Rules.Remove(q.ID); errors.Is(err, hold.ErrNoRule) {
		refuse(w, http.StatusNotFound, "%v", err)
		return
	} else if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", err)
		return
	}
	s.opt.Log.Info("hold rule removed", "rule", q.ID)
	answer(w, q)
}

// Rules lists the hold rules in force.
func (c *Client) Rules(ctx context.Context) iter.Seq2[HoldRule, error] {
	return lines[HoldRule](func() (io.ReadCloser, error) { return c.do(ctx, "/v1/rules", nil) })
}

// AddRule puts a hold rule in force and returns it with its number.
func (c *Client) AddRule(ctx context.Context, r HoldRule) (out HoldRule, err error) {
	return out, c.get(ctx, "/v1/rules/add", r, &out)
}

// RemoveRule ends a hold rule; what it held stays held.
func (c *Client) RemoveRule(ctx context.Context, id int64) error {
	var out removeRequest
	return c.get(ctx, "/v1/rules/remove", removeRequest{id}, &out)
}
