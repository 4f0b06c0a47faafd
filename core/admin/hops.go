package admin

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Hops are the next hops that mail goes to.
type Hops interface {
	// ListHops lists those that are in use or in trouble.
	ListHops() []Hop
	// SuspendHop keeps everything from one for a time; 0: until ResumeHop.
	SuspendHop(hop mail.NextHop, d time.Duration, reason string) error
	// ResumeHop ends every suspension of one, and attempts what waits for it:
	// items that it counts.
	ResumeHop(ctx context.Context, hop mail.NextHop) (items int, err error)
}

// Hop is a next hop that is in use or in trouble.
type Hop struct {
	NextHop   string      `json:"nexthop"`
	Active    int         `json:"active"`              // attempts under way
	Parked    int         `json:"parked"`              // items in memory that wait for it
	Limit     int         `json:"limit"`               // attempts at once, at present
	Most      int         `json:"most"`                // and at the most
	RateCount int         `json:"rate,omitempty"`      // messages ...
	RatePer   float64     `json:"per,omitempty"`       // ... in so many seconds
	RateUntil time.Time   `json:"rate_until,omitzero"` // nothing is handed over before then, because of the rate
	Failures  int         `json:"failures,omitempty"`  // to connect, in a row
	Suspended bool        `json:"suspended,omitempty"`
	Until     time.Time   `json:"until,omitzero"` // zero: until it is resumed
	Reason    string      `json:"reason,omitempty"`
	Sources   []HopSource `json:"sources,omitempty"` // of an egress pool, that are suspended for it
}

// HopSource is a source that is suspended for a next hop.
type HopSource struct {
	Name   string    `json:"name"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
}

// MaxSuspend is how long a next hop can be suspended for a time.
const MaxSuspend = 365 * 24 * time.Hour

type hopRequest struct {
	NextHop string  `json:"nexthop"`
	Seconds float64 `json:"seconds,omitempty"` // 0: until it is resumed
	Reason  string  `json:"reason,omitempty"`
}

// HopResult is what became of resume or suspend.
type HopResult struct {
	NextHop string `json:"nexthop"`
	Items   int    `json:"items"` // that are attempted
}

func (s *Server) hopRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/hops", s.hops)
	mux.HandleFunc("POST /v1/hops/suspend", s.suspendHop)
	mux.HandleFunc("POST /v1/hops/resume", s.resumeHop)
}

func (s *Server) hops(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if s.opt.Hops == nil {
		return
	}
	lines := encoder(w)
	for _, h := range s.opt.Hops.ListHops() {
		_ = lines.Encode(h)
	}
}

// hop reads a request about a next hop; it has answered if ok is false.
func (s *Server) hop(w http.ResponseWriter, r *http.Request) (q hopRequest, hop mail.NextHop, ok bool) {
	if !read(w, r, &q) {
		return q, hop, false
	}
	hop, err := ParseHop(q.NextHop)
	switch {
	case err != nil:
	case s.opt.Hops == nil:
		err = fmt.Errorf("this server delivers nothing")
	case len(q.Reason) > maxReason || mail.Printable(q.Reason) != q.Reason:
		err = fmt.Errorf("a reason must be text without control characters, at most %d octets", maxReason)
	case !(q.Seconds >= 0 && q.Seconds <= MaxSuspend.Seconds()) || q.Seconds > 0 && q.Seconds < 1:
		err = fmt.Errorf("the time must be 1 s to %.0f days, or none: until it is resumed", MaxSuspend.Hours()/24)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
	}
	return q, hop, err == nil
}

// ParseHop reads which next hop is meant.
func ParseHop(text string) (mail.NextHop, error) {
	hop, err := mail.ParseNextHop(text)
	switch {
	case err != nil:
		return hop, err
	case hop.Transport == mail.TransportMX && hop.Host == "":
		return hop, fmt.Errorf("next hop %q: write mx:DOMAIN", text)
	case strings.Contains(hop.Host, "{"):
		return hop, fmt.Errorf("next hop %q: write the path of one mailbox", text)
	}
	return hop, nil
}

func (s *Server) suspendHop(w http.ResponseWriter, r *http.Request) {
	q, hop, ok := s.hop(w, r)
	if !ok {
		return
	}
	if err := s.opt.Hops.SuspendHop(hop, time.Duration(q.Seconds*float64(time.Second)), q.Reason); err != nil {
		refuse(w, http.StatusInternalServerError, "%v", err)
		return
	}
	answer(w, HopResult{NextHop: hop.String()})
}

func (s *Server) resumeHop(w http.ResponseWriter, r *http.Request) {
	_, hop, ok := s.hop(w, r)
	if !ok {
		return
	}
	control := patient(w) // a long queue takes its time
	n, err := s.opt.Hops.ResumeHop(r.Context(), hop)
	_ = control.SetWriteDeadline(time.Now().Add(requestTime))
	if err != nil {
		refuse(w, http.StatusInternalServerError, "%v", err)
		return
	}
	answer(w, HopResult{hop.String(), n})
}

// Hops lists the next hops that are in use or in trouble.
func (c *Client) Hops(ctx context.Context) iter.Seq2[Hop, error] {
	return lines[Hop](func() (io.ReadCloser, error) { return c.do(ctx, "/v1/hops", nil) })
}

// SuspendHop keeps everything from a next hop for a time; 0: until ResumeHop.
func (c *Client) SuspendHop(ctx context.Context, hop string, d time.Duration, reason string) (res HopResult, err error) {
	return res, c.get(ctx, "/v1/hops/suspend", hopRequest{hop, d.Seconds(), reason}, &res)
}

// ResumeHop ends every suspension of a next hop and attempts what waits for it.
func (c *Client) ResumeHop(ctx context.Context, hop string) (res HopResult, err error) {
	return res, c.get(ctx, "/v1/hops/resume", hopRequest{NextHop: hop}, &res)
}
