package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/trace"
)

// Explainer tells what became of a message or a session; *trace.Store is one.
type Explainer interface {
	Explain(id string) (trace.Report, error)
}

// Explanation is one line of an explanation: an event or, behind the events,
// what the queue has of the message now, and what may be missing.
type Explanation struct {
	*trace.Event
	Notice string `json:"note,omitempty"`
	Now    *Item  `json:"now,omitempty"`
}

// explain answers with the events of a message or session in their order, then
// the items that are in the queue still, and notices.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	if s.opt.Trace == nil {
		refuse(w, http.StatusNotFound, "%v", trace.ErrOff)
		return
	}
	id := r.PathValue("id")
	report, err := s.opt.Trace.Explain(id)
	items := s.itemsOf(r.Context(), id)
	switch {
	case errors.Is(err, trace.ErrID):
		refuse(w, http.StatusBadRequest, "%q: %v", id, err)
		return
	case errors.Is(err, trace.ErrOff), errors.Is(err, trace.ErrUnknown) && len(items) == 0:
		refuse(w, http.StatusNotFound, "%s: %v", id, err)
		return
	case err != nil && !errors.Is(err, trace.ErrUnknown):
		refuse(w, http.StatusInternalServerError, "%s: %v", id, err)
		return
	case err != nil:
		report.Notices = append(report.Notices, "the message is in the queue, and the trace knows nothing of it")
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := encoder(w)
	for i := range report.Events {
		if lines.Encode(Explanation{Event: &report.Events[i]}) != nil {
			return
		}
	}
	for i := range items {
		_ = lines.Encode(Explanation{Now: &items[i]})
	}
	for _, n := range report.Notices {
		_ = lines.Encode(Explanation{Notice: n})
	}
}

// itemsOf are the items of a message that are in the queue, or some of them.
func (s *Server) itemsOf(ctx context.Context, id string) (list []Item) {
	at, err := mail.ParseID(id)
	if err != nil {
		return nil
	}
	m, err := s.opt.Queue.Message(ctx, at)
	if err != nil {
		return nil
	}
	_ = s.opt.Queue.List(ctx, queue.Filter{ID: at}, func(i queue.Item, err error) bool {
		if err != nil {
			list = append(list, Item{ID: id, Item: i.Ref.Item, Damaged: err.Error()})
		} else {
			list = append(list, newItem(i, m, false))
		}
		return len(list) < batch
	})
	return list
}

// Explain tells what became of a message, by its queue id, or of a session by
// its id. An error ends it.
func (c *Client) Explain(ctx context.Context, id string) iter.Seq2[Explanation, error] {
	return func(yield func(Explanation, error) bool) {
		r, err := c.do(ctx, "/v1/explain/"+url.PathEscape(id), nil)
		if err != nil {
			yield(Explanation{}, err)
			return
		}
		defer r.Close()
		// An event may have an error of its own: such a line does not end it.
		for d := json.NewDecoder(bufio.NewReader(r)); ; {
			var e Explanation
			err := d.Decode(&e)
			if err == io.EOF {
				return
			}
			if err != nil {
				err = fmt.Errorf("the answer of the control interface breaks off: %w", err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
