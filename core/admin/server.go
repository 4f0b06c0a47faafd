package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// ControlHeader must be in every POST; its value does not matter. A web page
// cannot send it to another origin without leave, which is never given.
const ControlHeader = "Wasmta-Control"

// requestTime is how long one request may take to arrive, one batch of an
// answer to leave.
const requestTime = 30 * time.Second

// batch is how many items are read at once, so that a slow reader holds
// nothing of the store; parallel how many are changed at once, so that the
// store syncs them together.
const (
	batch    = 1000
	parallel = 200
)

// watchEvery is how often who watches an act hears of it.
const watchEvery = time.Second

// Options are what a Server works with.
type Options struct {
	Queue    Queue
	Operator Operator
	Plugins  Plugins      // nil: there are none
	Hops     Hops         // nil: there are none
	Rules    Rules        // nil: there are none
	Trace    Explainer    // nil: none is kept
	PickUp   func()       // looks at the maildrop at once; nil: there is none
	Ready    func() error // why the server does not take mail; nil error: it does
	Log      *slog.Logger // nil: nowhere
	Gauges   []Gauge      // more figures of the server for its metrics
}

// Server answers the control interface.
type Server struct {
	opt  Options
	http *http.Server
}

// New makes a Server.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: opt}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", newMetrics(opt))
	mux.HandleFunc("GET /v1/queue", s.list)
	mux.HandleFunc("GET /v1/queue/{id}", s.show)
	mux.HandleFunc("POST /v1/queue/{act}", s.act)
	mux.HandleFunc("GET /v1/explain/{id}", s.explain)
	mux.HandleFunc("GET /v1/rules", s.rules)
	mux.HandleFunc("POST /v1/rules/add", s.addRule)
	mux.HandleFunc("POST /v1/rules/remove", s.removeRule)
	mux.HandleFunc("POST /v1/maildrop", s.pickUp)
	s.hopRoutes(mux)
	mux.HandleFunc("GET /v1/plugins", s.plugins)
	mux.HandleFunc("POST /v1/plugins/load", s.load)
	mux.HandleFunc("POST /v1/plugins/reload", s.reload)
	mux.HandleFunc("POST /v1/plugins/rollback", s.rollback)
	s.http = &http.Server{
		Handler:           guard(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       requestTime,
		WriteTimeout:      2 * requestTime,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(opt.Log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers connections from all listeners until Shutdown, and closes
// them. It returns nil after Shutdown, or the first error of a listener.
func (s *Server) Serve(listeners ...net.Listener) error {
	errs := make(chan error, len(listeners))
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			err := s.http.Serve(l)
			if !errors.Is(err, http.ErrServerClosed) {
				errs <- fmt.Errorf("control listener %s: %w", l.Addr(), err)
				s.http.Close()
			}
		})
	}
	running.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// Shutdown closes the listeners and waits for requests in progress until ctx
// is done; then they are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// guard keeps web pages out; see the package comment.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !ok || local.Network() != "unix" {
			host := r.Host
			if name, _, err := net.SplitHostPort(host); err == nil {
				host = name
			}
			if !loopback(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")) {
				refuse(w, http.StatusForbidden, "the Host of the request is %q; only loopback names and addresses are answered", r.Host)
				return
			}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if r.Header.Get(ControlHeader) == "" {
				refuse(w, http.StatusForbidden, "the header %s is missing: set it, to any value, to show that no web page sent this", ControlHeader)
				return
			}
			if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
				refuse(w, http.StatusUnsupportedMediaType, "the content type must be application/json")
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, MaxRequest)
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = encoder(w).Encode(errorBody{fmt.Sprintf(format, args...)})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = encoder(w).Encode(v)
}

func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // <> is a reverse-path, and nothing here is a page
	return e
}

// patient lifts the time limits of a request that has arrived: net/http would
// cancel its context when they pass.
func patient(w http.ResponseWriter) *http.ResponseController {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Time{})
	return c
}

// read decodes a request's body; it has answered if ok is false.
func read(w http.ResponseWriter, r *http.Request, v any) (ok bool) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return true
		}
		err = errors.New("one JSON object is wanted, and more follows")
	}
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		refuse(w, http.StatusRequestEntityTooLarge, "the request is larger than %d octets", big.Limit)
		return false
	}
	refuse(w, http.StatusBadRequest, "the request is not understood: %v", err)
	return false
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]string{"status": "alive"})
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.opt.Ready != nil {
		if err := s.opt.Ready(); err != nil {
			refuse(w, http.StatusServiceUnavailable, "%v", err)
			return
		}
	}
	c := s.opt.Queue.Counts()
	answer(w, map[string]any{"status": "ready", "messages": c.Messages, "items": c.Items, "held": c.Held})
}

// walk calls do for the items that match and lie behind f.After, a batch at a
// time. An error from do ends it and is returned; errEnough only ends it.
func (s *Server) walk(ctx context.Context, f queue.Filter, do func([]listed) error) error {
	for {
		page := make([]listed, 0, batch)
		err := s.opt.Queue.List(ctx, f, func(i queue.Item, err error) bool {
			page = append(page, listed{i, err})
			return len(page) < batch
		})
		if err != nil {
			return err
		}
		if len(page) > 0 {
			if err := do(page); errors.Is(err, errEnough) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if len(page) < batch {
			return nil
		}
		f.After = page[len(page)-1].Ref
	}
}

type listed struct {
	queue.Item
	err error
}

var errEnough = errors.New("enough")

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	f, limit, err := listQuery(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := patient(w)
	lines := encoder(w)
	var m queue.Message
	sent := 0
	err = s.walk(r.Context(), f, func(page []listed) error {
		_ = control.SetWriteDeadline(time.Now().Add(requestTime))
		for _, i := range page {
			line := Item{ID: i.ID.String(), Item: i.Ref.Item}
			if i.err == nil && m.ID != i.ID {
				m, i.err = s.opt.Queue.Message(r.Context(), i.ID)
			}
			switch {
			case errors.Is(i.err, queue.ErrGone):
				continue
			case i.err != nil:
				m = queue.Message{}
				line.Damaged = i.err.Error()
			default:
				line = newItem(i.Item, m, false)
			}
			if err := lines.Encode(line); err != nil {
				return err
			}
			if sent++; sent == limit {
				return errEnough
			}
		}
		return control.Flush()
	})
	if err != nil {
		if sent == 0 {
			refuse(w, http.StatusInternalServerError, "the queue cannot be listed: %v", err)
			return
		}
		// The client must not take a part for the whole.
		_ = lines.Encode(errorBody{fmt.Sprintf("the list ends early: %v", err)})
	}
}

func listQuery(r *http.Request) (f queue.Filter, limit int, err error) {
	q := r.URL.Query()
	for key := range q {
		switch key {
		case "id", "domain", "sender", "recipient", "hop", "before", "since", "held", "attempts", "text", "mark", "listener", "client", "limit", "after":
		default:
			return f, 0, fmt.Errorf("parameter %q: write id, domain, sender, recipient, hop, before, since, held, attempts, text, mark, listener, client, limit or after", key)
		}
	}
	if f, err = selected(q); err != nil {
		return f, 0, err
	}
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 {
			return f, 0, fmt.Errorf("limit %q: write a number from 1 on", v)
		}
	}
	if v := q.Get("after"); v != "" {
		id, item, _ := strings.Cut(v, "/")
		n, err1 := strconv.ParseUint(item, 10, 32)
		at, err2 := mail.ParseID(id)
		if err1 != nil || err2 != nil {
			return f, 0, fmt.Errorf("after %q: write ID/ITEM of the last line", v)
		}
		f.After = queue.Ref{ID: at, Item: uint32(n)}
	}
	return f, limit, nil
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	id, err := ParseID(r.PathValue("id"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	m, err := s.opt.Queue.Message(r.Context(), id)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, queue.ErrGone) {
			status, err = http.StatusNotFound, errNoMessage
		}
		refuse(w, status, "message %s: %v", id, err)
		return
	}
	out := newMessage(m)
	err = s.opt.Queue.List(r.Context(), queue.Filter{ID: id}, func(i queue.Item, err error) bool {
		if err != nil {
			out.Items = append(out.Items, Item{ID: id.String(), Item: i.Ref.Item, Damaged: err.Error()})
		} else {
			out.Items = append(out.Items, newItem(i, m, true))
		}
		return true
	})
	if err != nil {
		refuse(w, http.StatusInternalServerError, "message %s: %v", id, err)
		return
	}
	answer(w, out)
}

var errNoMessage = errors.New("no such message: it was delivered, bounced or deleted, or never was here")

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	var q Request
	if !read(w, r, &q) {
		return
	}
	act := r.PathValue("act")
	do, err := s.operation(act, q)
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	filters, err := q.filters()
	if err != nil {
		refuse(w, http.StatusBadRequest, "%v", err)
		return
	}
	// Who names a message is told that it is held, or is not; otherwise those are
	// meant for which the act has a meaning.
	if held := act == "release"; (act == "retry" || held) && len(q.IDs) == 0 && q.Held == nil {
		filters[0].Held = &held
	}
	control := patient(w) // changing a long queue takes its time
	run := &run{server: s, do: do, res: Result{DryRun: q.DryRun}}
	if !q.Watch {
		for _, f := range filters {
			if err = run.apply(r.Context(), f); err != nil {
				break
			}
		}
		_ = control.SetWriteDeadline(time.Now().Add(requestTime))
		if err != nil {
			refuse(w, http.StatusInternalServerError, "after %d of %d items: %v", run.res.Done, run.res.Matched, err)
			return
		}
		answer(w, run.res)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := encoder(w)
	var spoke time.Time
	run.progress = func() {
		if now := time.Now(); now.Sub(spoke) >= watchEvery {
			spoke = now
			_ = control.SetWriteDeadline(now.Add(requestTime))
			_ = errors.Join(lines.Encode(run.res), control.Flush()) // who does not listen has gone: the context ends
		}
	}
	for _, f := range filters {
		if err = run.apply(r.Context(), f); err != nil {
			break
		}
	}
	_ = control.SetWriteDeadline(time.Now().Add(requestTime))
	if err != nil {
		_ = lines.Encode(errorBody{fmt.Sprintf("after %d of %d items: %v", run.res.Done, run.res.Matched, err)})
		return
	}
	run.res.Final = true
	_ = lines.Encode(run.res)
}

// operation is what an act does to one item.
func (s *Server) operation(act string, q Request) (func(context.Context, queue.Ref) error, error) {
	if act != "reroute" && q.NextHop != "" {
		return nil, fmt.Errorf("%s takes no next hop", act)
	}
	if act != "hold" && act != "bounce" && q.Reason != "" {
		return nil, fmt.Errorf("%s takes no reason", act)
	}
	if len(q.Reason) > maxReason || mail.Printable(q.Reason) != q.Reason {
		return nil, fmt.Errorf("a reason must be text without control characters, at most %d octets", maxReason)
	}
	o := s.opt.Operator
	switch act {
	case "hold":
		return func(ctx context.Context, ref queue.Ref) error { return o.Hold(ctx, ref, q.Reason) }, nil
	case "release":
		return o.Release, nil
	case "retry":
		return o.Retry, nil
	case "bounce":
		text := q.Reason
		if text == "" {
			text = "Returned by the postmaster"
		}
		reply := *mail.NewReply(554, "5.0.0", text)
		return func(ctx context.Context, ref queue.Ref) error { return o.Bounce(ctx, ref, reply) }, nil
	case "delete":
		return o.Delete, nil
	case "reroute":
		if q.NextHop == Unpin {
			return func(ctx context.Context, ref queue.Ref) error { return o.Reroute(ctx, ref, nil) }, nil
		}
		to, err := mail.ParseNextHop(q.NextHop)
		if err != nil {
			return nil, err
		}
		if path := to.Host; (to.Transport == mail.TransportMaildir || to.Transport == mail.TransportLMTPUnix) && !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("next hop %q: the path must be absolute here", q.NextHop)
		}
		return func(ctx context.Context, ref queue.Ref) error { return o.Reroute(ctx, ref, &to) }, nil
	}
	return nil, fmt.Errorf("there is no act %q: hold, release, retry, reroute, bounce and delete are", act)
}

// run is an act in progress.
type run struct {
	server   *Server
	do       func(context.Context, queue.Ref) error
	progress func() // called now and then; nil: nobody watches
	mu       sync.Mutex
	res      Result
}

func (r *run) tell() {
	if r.progress != nil {
		r.progress()
	}
}

// apply counts the items that match and, unless it is a dry run, acts on these
// and no later ones.
func (r *run) apply(ctx context.Context, f queue.Filter) error {
	before := r.res.Matched
	var last queue.Ref
	err := r.server.walk(ctx, f, func(page []listed) error {
		for _, i := range page {
			r.res.Matched++
			if last.ID != i.ID {
				r.res.Messages++
			}
			last = i.Ref
		}
		r.tell()
		return nil
	})
	if err != nil {
		return err
	}
	if f.ID != 0 && r.res.Matched == before {
		if _, err := r.server.opt.Queue.Message(ctx, f.ID); errors.Is(err, queue.ErrGone) {
			r.res.Missing++
			r.res.fail(f.ID, errNoMessage)
		}
	}
	if r.res.DryRun || r.res.Matched == before {
		return nil
	}
	return r.server.walk(ctx, f, func(page []listed) error {
		var group errgroup.Group
		group.SetLimit(parallel)
		end := false
		for _, i := range page {
			if end = last.ID < i.ID || last.ID == i.ID && last.Item < i.Ref.Item; end || ctx.Err() != nil {
				break
			}
			group.Go(func() error {
				err := r.do(ctx, i.Ref)
				r.mu.Lock()
				defer r.mu.Unlock()
				switch {
				case err == nil:
					r.res.Done++
				case errors.Is(err, queue.ErrGone):
					r.res.Gone++
				case ctx.Err() != nil:
				default:
					r.res.Failed++
					r.res.fail(i.ID, err)
				}
				return nil
			})
		}
		_ = group.Wait() // no call returns an error
		if err := ctx.Err(); err != nil {
			return err
		}
		r.tell()
		if end {
			return errEnough
		}
		return nil
	})
}

func (r *Result) fail(id mail.ID, err error) {
	if len(r.Errors) < maxErrors {
		r.Errors = append(r.Errors, Failure{id.String(), err.Error()})
	}
}

// pickUp has the maildrop looked at; it does not wait for what comes of it.
func (s *Server) pickUp(w http.ResponseWriter, r *http.Request) {
	var q struct{}
	if !read(w, r, &q) {
		return
	}
	if s.opt.PickUp == nil {
		refuse(w, http.StatusUnprocessableEntity, "this server has no maildrop")
		return
	}
	s.opt.PickUp()
	answer(w, q)
}

var errNoPlugins = errors.New("this server has no plugins")

func (s *Server) plugins(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if s.opt.Plugins == nil {
		return
	}
	lines := encoder(w)
	for _, p := range s.opt.Plugins.ListPlugins() {
		_ = lines.Encode(p)
	}
}

func (s *Server) load(w http.ResponseWriter, r *http.Request) {
	var q loadRequest
	if !read(w, r, &q) {
		return
	}
	if q.Name == "" || !strings.HasPrefix(q.File, "/") {
		refuse(w, http.StatusBadRequest, "name and the absolute path of a file are needed")
		return
	}
	if s.opt.Plugins == nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", errNoPlugins)
		return
	}
	patient(w) // building and compiling take theirs
	status, err := s.opt.Plugins.LoadPlugin(r.Context(), q.Name, q.File)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", err)
		return
	}
	answer(w, status)
}

func (s *Server) rollback(w http.ResponseWriter, r *http.Request) {
	var q rollbackRequest
	if !read(w, r, &q) {
		return
	}
	if q.Name == "" {
		refuse(w, http.StatusBadRequest, "the name of a plugin is needed")
		return
	}
	if s.opt.Plugins == nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", errNoPlugins)
		return
	}
	patient(w) // another change may be under way
	status, err := s.opt.Plugins.RollbackPlugin(r.Context(), q.Name, q.Generation)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", err)
		return
	}
	answer(w, status)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	var q loadRequest
	if !read(w, r, &q) {
		return
	}
	if q.File != "" {
		refuse(w, http.StatusBadRequest, "reload takes no file; load does")
		return
	}
	if s.opt.Plugins == nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", errNoPlugins)
		return
	}
	patient(w)
	if err := s.opt.Plugins.ReloadPlugins(r.Context(), q.Name); err != nil {
		refuse(w, http.StatusUnprocessableEntity, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := encoder(w)
	for _, p := range s.opt.Plugins.ListPlugins() {
		if q.Name == "" || p.Name == q.Name {
			_ = lines.Encode(p)
		}
	}
}
