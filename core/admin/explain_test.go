package admin

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/trace"
)

// told is an Explainer that knows some ids.
type told map[string]trace.Report

func (e told) Explain(id string) (trace.Report, error) {
	if id == "nonsense" {
		return trace.Report{}, trace.ErrID
	}
	r, ok := e[id]
	if !ok {
		return r, trace.ErrUnknown
	}
	return r, nil
}

func TestExplain(t *testing.T) {
	f := newFake()
	explained := func(e Explainer, id string) string {
		t.Helper()
		socket := filepath.Join(t.TempDir(), "s")
		l, err := ListenUnix(socket)
		if err != nil {
			t.Fatal(err)
		}
		s := New(Options{Queue: f, Operator: f, Trace: e})
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		defer func() {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-done
		}()
		var b strings.Builder
		for x, err := range NewClient(socket, "").Explain(t.Context(), id) {
			switch {
			case err != nil:
				if e, ok := err.(*Error); ok {
					fmt.Fprintf(&b, "%d ", e.Status)
				}
				fmt.Fprintf(&b, "%v;", err)
			case x.Event != nil:
				fmt.Fprintf(&b, "%s %s %s;", x.Event.Event, x.Error, x.Reply)
			case x.Now != nil:
				fmt.Fprintf(&b, "item %d %s;", x.Now.Item, x.Now.Domain)
			default:
				fmt.Fprintf(&b, "note %s;", x.Notice)
			}
		}
		return b.String()
	}
	queued, gone := (base + 3).String(), (base + 9).String()
	know := told{
		queued: {Events: []trace.Event{{Event: "hook", Error: "trap"}, {Event: "accept"}}, Notices: []string{"2 records are damaged"}},
		gone:   {Events: []trace.Event{{Event: "attempt", Reply: "250 <ok>"}}},
	}
	for _, c := range []struct {
		e        Explainer
		id, want string
	}{
		{know, queued, "hook trap ;accept  ;item 0 three.example;note 2 records are damaged;"}, // an event's error is not that of the answer
		{know, gone, "attempt  250 <ok>;"},
		{know, (base + 1).String(), "item 0 one.example;item 1 two.example;note the message is in the queue, and the trace knows nothing of it;"},
		{know, (base + 8).String(), fmt.Sprintf("%d %s: %v;", http.StatusNotFound, base+8, trace.ErrUnknown)},
		{know, "nonsense", fmt.Sprintf("%d %q: %v;", http.StatusBadRequest, "nonsense", trace.ErrID)},
		{nil, queued, fmt.Sprintf("%d %v;", http.StatusNotFound, trace.ErrOff)},
		{(*trace.Store)(nil), queued, fmt.Sprintf("%d %s: %v;", http.StatusNotFound, queued, trace.ErrOff)},
	} {
		if got := explained(c.e, c.id); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.id, got, c.want)
		}
	}
}
