package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wasmta/wasmta/core/queue"
)

// ErrNoServer: nobody answers where the server should.
var ErrNoServer = errors.New("no server answers")

// Error is what the server refused, in its words.
type Error struct {
	Status int // HTTP
	Text   string
}

func (e *Error) Error() string { return e.Text }

// NotFound tells whether err says that there is no such message.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Client asks a running server.
type Client struct {
	socket, address string
	http            *http.Client
}

// NewClient makes a client that uses the unix socket or, if nobody answers
// there and address is not empty, the TCP address. It does not connect yet.
func NewClient(socket, address string) *Client {
	c := &Client{socket: socket, address: address}
	c.http = &http.Client{
		Transport:     &http.Transport{DialContext: c.dial, ResponseHeaderTimeout: 0, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil && c.address != "" {
		if tcp, err := d.DialContext(ctx, "tcp", c.address); err == nil {
			return tcp, nil
		}
	}
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the control socket %s is not open to this user; be root or the server's user: %w", c.socket, fs.ErrPermission)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	where := c.socket
	if c.address != "" {
		where += " or " + c.address
	}
	return nil, fmt.Errorf("%w at %s; is wasmta serve running with this configuration?", ErrNoServer, where)
}

// do makes a request; body is nil for GET. The caller closes the answer.
func (c *Client) do(ctx context.Context, path string, body any) (io.ReadCloser, error) {
	method, in := http.MethodGet, io.Reader(nil)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		method, in = http.MethodPost, bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(ControlHeader, "1")
	}
	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var e errorBody
	text, _ := io.ReadAll(io.LimitReader(res.Body, MaxRequest))
	if json.Unmarshal(text, &e) != nil || e.Error == "" {
		e.Error = fmt.Sprintf("the control interface answers %s: %.200q", res.Status, text)
	}
	return nil, &Error{res.StatusCode, e.Error}
}

func (c *Client) get(ctx context.Context, path string, body, out any) error {
	r, err := c.do(ctx, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	return json.NewDecoder(r).Decode(out)
}

// ListOptions narrow a list; zero fields narrow nothing.
type ListOptions struct {
	Selection // but for IDs and All
	ID        string
	Limit     int
	After     queue.Ref
}

// List lists queue items by id. An error ends the list.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[Item, error] {
	q := o.query()
	if o.ID != "" {
		q.Set("id", o.ID)
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.After != (queue.Ref{}) {
		q.Set("after", fmt.Sprintf("%s/%d", o.After.ID, o.After.Item))
	}
	return lines[Item](func() (io.ReadCloser, error) { return c.do(ctx, "/v1/queue?"+q.Encode(), nil) })
}

// lines reads one JSON object per line; one with the key "error" and no id
// ends it.
func lines[T any](open func() (io.ReadCloser, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		r, err := open()
		if err != nil {
			yield(zero, err)
			return
		}
		defer r.Close()
		d := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
		for {
			var raw json.RawMessage
			if err := d.Decode(&raw); err == io.EOF {
				return
			} else if err != nil {
				yield(zero, fmt.Errorf("the answer of the control interface breaks off: %w", err))
				return
			}
			var e errorBody
			var v T
			if bytes.HasPrefix(raw, []byte(`{"error":`)) && json.Unmarshal(raw, &e) == nil && e.Error != "" {
				yield(zero, &Error{http.StatusInternalServerError, e.Error})
				return
			}
			if err := json.Unmarshal(raw, &v); err != nil {
				yield(zero, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Show returns one message.
func (c *Client) Show(ctx context.Context, id string) (m Message, err error) {
	return m, c.get(ctx, "/v1/queue/"+url.PathEscape(id), nil, &m)
}

// Act applies hold, release, retry, reroute, bounce or delete to a selection.
func (c *Client) Act(ctx context.Context, act string, r Request) (res Result, err error) {
	return res, c.get(ctx, "/v1/queue/"+url.PathEscape(act), r, &res)
}

// Watch is Act for an act that may take long: it yields what has been done so
// far about every second, and at last the result, which has Final set. What was
// done when ctx ends stays done.
func (c *Client) Watch(ctx context.Context, act string, r Request) iter.Seq2[Result, error] {
	r.Watch = true
	return lines[Result](func() (io.ReadCloser, error) { return c.do(ctx, "/v1/queue/"+url.PathEscape(act), r) })
}

// Plugins lists the plugins in their order.
func (c *Client) Plugins(ctx context.Context) iter.Seq2[PluginStatus, error] {
	return lines[PluginStatus](func() (io.ReadCloser, error) { return c.do(ctx, "/v1/plugins", nil) })
}

// LoadPlugin puts another module file in force; file is an absolute path on
// the server's machine.
func (c *Client) LoadPlugin(ctx context.Context, name, file string) (p PluginStatus, err error) {
	return p, c.get(ctx, "/v1/plugins/load", loadRequest{name, file}, &p)
}

// ReloadPlugins reads the module of one plugin, or of all if name is empty,
// again and lists how they stand.
func (c *Client) ReloadPlugins(ctx context.Context, name string) iter.Seq2[PluginStatus, error] {
	return lines[PluginStatus](func() (io.ReadCloser, error) {
		return c.do(ctx, "/v1/plugins/reload", loadRequest{Name: name})
	})
}

// RollbackPlugin puts an earlier generation of a plugin in force; an empty
// generation is the one before.
func (c *Client) RollbackPlugin(ctx context.Context, name, generation string) (p PluginStatus, err error) {
	return p, c.get(ctx, "/v1/plugins/rollback", rollbackRequest{name, generation}, &p)
}

// PickUp has the server look at its maildrop at once.
func (c *Client) PickUp(ctx context.Context) error {
	var out struct{}
	return c.get(ctx, "/v1/maildrop", struct{}{}, &out)
}

// Ready asks whether the server takes mail; the error says why not.
func (c *Client) Ready(ctx context.Context) error {
	var any map[string]any
	return c.get(ctx, "/readyz", nil, &any)
}
