package hostapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/outbound"
)

const costHTTP = 50_000 // nanoseconds, of a request

func httpFunctions() []Function {
	return []Function{
		{abi.ModuleHTTP, "start", "iiiiiiii>i", httpStart},
		{abi.ModuleHTTP, "start_msg", "iiiiii>i", httpStartMsg},
		{abi.ModuleHTTP, "wait", "ii>i", httpWait},
		{abi.ModuleHTTP, "header", "iiiii>i", httpHeader},
		{abi.ModuleHTTP, "read", "iii>i", httpRead},
		{abi.ModuleHTTP, "close", "i>i", httpClose},
	}
}

// httpMethods are the methods by their numbers.
var httpMethods = [...]string{abi.HTTPGet: "GET", abi.HTTPHead: "HEAD", abi.HTTPPost: "POST", abi.HTTPPut: "PUT", abi.HTTPDelete: "DELETE", abi.HTTPPatch: "PATCH"}

// Check tells what in g could not be meant: a place that is no URL, a method
// that there is not.
func (g *Grant) Check() error {
	for _, h := range g.HTTP {
		if _, err := outbound.ParsePlace(h.URL); err != nil {
			return fmt.Errorf("the grant http has the url %w", err)
		}
		for _, m := range h.Methods {
			if m == "" || !slices.Contains(httpMethods[:], m) {
				return fmt.Errorf("the grant http has the method %q; write GET, HEAD, POST, PUT, DELETE or PATCH", m)
			}
		}
	}
	for _, z := range g.DNS.Zones {
		if _, ok := dnsName([]byte(strings.TrimPrefix(z, "."))); !ok && z != "*" {
			return fmt.Errorf("the grant dns has the zone %q; write a domain name, or \"*\"", z)
		}
	}
	return nil
}

// httpCall is what one hook call has open. A handle is an index and 1; it is
// not given twice in a call.
type httpCall struct {
	list [abi.MaxHTTPCalls]*exchange // nil: closed
	next int
	open int
}

// exchange is one request and its response.
type exchange struct {
	cancel context.CancelFunc
	body   *spool        // of the request; nil: it needs no event
	done   chan struct{} // closed when there is a response or an error
	resp   *http.Response
	err    error
	read   int64
}

// close ends the exchange, wherever it is. After it nothing of the event is
// used any more.
func (x *exchange) close() {
	select {
	case <-x.done:
	default:
		x.cancel()
	}
	if x.body != nil {
		x.body.stop()
	}
	<-x.done
	if x.resp != nil {
		x.resp.Body.Close()
	}
	x.cancel()
}

// rate counts requests by the second.
type rate struct {
	mu     sync.Mutex
	second int64
	n      int
}

func (r *rate) take(now time.Time, limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := now.Unix(); s != r.second {
		r.second, r.n = s, 0
	}
	if r.n >= limit {
		return false
	}
	r.n++
	return true
}

// place tells whether the grant has a place for a request, and whether that is
// a private one.
func (g *Grant) place(method string, u *url.URL) (private, ok bool) {
	for _, h := range g.HTTP {
		p, err := outbound.ParsePlace(h.URL)
		if err != nil || !p.Covers(u) || !slices.Contains(h.Methods, method) && (len(h.Methods) > 0 || method != http.MethodGet) {
			continue
		}
		ok = true
		private = private || h.Private
	}
	return private, ok
}

// begin starts a request that has been read from the guest's memory. body is
// called when nothing stands against it any more.
func (c *Call) begin(method string, target, fields []byte, timeout uint64, body func(http.Header) (io.Reader, int64, *spool)) int64 {
	if code := c.effects(); code < 0 {
		return int64(code)
	}
	if len(target) > outbound.MaxURL || len(fields) > outbound.MaxHeader {
		return int64(abi.TooLarge)
	}
	u, err := outbound.ParseURL(string(target))
	if err != nil {
		return c.refuse(abi.Invalid, err)
	}
	header, err := outbound.ParseHeader(string(fields))
	if err != nil {
		return c.refuse(abi.Invalid, err)
	}
	wait := int32(timeout)
	if wait < 0 {
		return int64(abi.Invalid)
	}
	if wait == 0 || wait > abi.MaxHTTPTime {
		wait = abi.MaxHTTPTime
	}
	private, ok := c.guest.Grant.place(method, u)
	switch {
	case !ok:
		return c.refuse(abi.Denied, fmt.Errorf("no place of the grant http covers %s %s://%s%s", method, u.Scheme, u.Host, u.EscapedPath())) // a query may be a secret
	case c.guest.HTTP == nil:
		return int64(abi.Unavailable)
	case c.http.open >= abi.MaxHTTPOpen, c.http.next >= abi.MaxHTTPCalls, !c.guest.httpRate.take(c.guest.Now(), abi.MaxHTTPRate):
		return int64(abi.Limit)
	}
	c.meter.Charge(costHTTP)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(wait)*time.Millisecond)
	x := &exchange{cancel: cancel, done: make(chan struct{})}
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if content, n, s := body(header); n > 0 {
		r.Body, r.ContentLength, x.body = io.NopCloser(content), n, s
	}
	if c.http.next == 0 {
		c.ends = append(c.ends, c.closeHTTP)
	}
	c.http.list[c.http.next] = x
	c.http.next++
	c.http.open++
	client := c.guest.HTTP
	go func() {
		defer close(x.done)
		x.resp, x.err = client.Do(r.WithContext(ctx), private)
	}()
	return int64(c.http.next)
}

// refuse tells the author of the plugin why: the code does not.
func (c *Call) refuse(code abi.Code, err error) int64 {
	c.Log(abi.LogInfo, []byte("http: "+err.Error()))
	return int64(code)
}

func (c *Call) closeHTTP() {
	for i, x := range c.http.list {
		if x != nil {
			x.close()
			c.http.list[i] = nil
		}
	}
}

// start(method, url, ulen, hdr, hlen, body, blen, timeout_ms)
func httpStart(c *Call, m Memory, p []uint64) int64 {
	target, fields, data := in(m, p[1], p[2]), in(m, p[3], p[4]), in(m, p[5], p[6])
	if len(c.guest.Grant.HTTP) == 0 {
		return int64(abi.Denied)
	}
	method := int32(p[0])
	if method < abi.HTTPGet || int(method) >= len(httpMethods) {
		return int64(abi.Unsupported)
	}
	if len(data) > abi.MaxHTTPRequest {
		return int64(abi.TooLarge)
	}
	if len(data) > 0 && (method == abi.HTTPGet || method == abi.HTTPHead) {
		return int64(abi.Invalid)
	}
	c.meter.Charge(int64(len(data)) / perUnit)
	return c.begin(httpMethods[method], target, fields, p[7], func(http.Header) (io.Reader, int64, *spool) {
		return bytes.NewReader(bytes.Clone(data)), int64(len(data)), nil
	})
}

// start_msg(url, ulen, hdr, hlen, what, timeout_ms): POSTs the message as it
// is spooled, which does not go through the guest.
func httpStartMsg(c *Call, m Memory, p []uint64) int64 {
	target, fields := in(m, p[0], p[1]), in(m, p[2], p[3])
	g, what := &c.guest.Grant, int32(p[4])
	if len(g.HTTP) == 0 {
		return int64(abi.Denied)
	}
	if what < abi.SendMessage || what > abi.SendHeaders {
		return int64(abi.Unsupported)
	}
	if what != abi.SendBody && g.Headers < Read || what != abi.SendHeaders && g.Body < Read {
		return int64(abi.Denied)
	}
	if c.event == nil || c.event.Content == nil || what != abi.SendHeaders && c.event.Content.Body == nil {
		return int64(abi.State)
	}
	content := c.event.Content
	return c.begin(http.MethodPost, target, fields, p[5], func(h http.Header) (io.Reader, int64, *spool) {
		var list []io.Reader
		var size int64
		if what != abi.SendBody {
			// A copy: the guest may change the header while it is sent.
			block := make([]byte, 0, content.Header.Size())
			for i := range content.Header.Len() {
				block = append(block, content.Header.Raw(i)...)
			}
			block = append(block, "\r\n"...)
			c.meter.Charge(int64(len(block)) / perUnit)
			list, size = append(list, bytes.NewReader(block)), int64(len(block))
		}
		if what != abi.SendHeaders {
			list, size = append(list, io.NewSectionReader(content.Body, 0, content.BodySize)), size+content.BodySize
		}
		if h.Get("Content-Type") == "" {
			h.Set("Content-Type", [...]string{abi.SendMessage: "message/rfc822", abi.SendBody: "application/octet-stream", abi.SendHeaders: "text/rfc822-headers"}[what])
		}
		s := &spool{r: io.MultiReader(list...)}
		return s, size, s
	})
}

// spool is a request's body that belongs to the event: it is not read any more
// when the call has ended.
type spool struct {
	mu sync.Mutex
	r  io.Reader // nil: stopped
}

var errStopped = errors.New("the call ended")

func (s *spool) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.r == nil {
		return 0, errStopped
	}
	return s.r.Read(b)
}

// stop waits for a read in progress.
func (s *spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r = nil
}

// exchange finds a handle.
func (c *Call) exchange(handle uint64) (*exchange, abi.Code) {
	if len(c.guest.Grant.HTTP) == 0 {
		return nil, abi.Denied
	}
	i := int32(handle) - 1
	if i < 0 || int(i) >= len(c.http.list) || c.http.list[i] == nil {
		return nil, abi.NotFound // or closed
	}
	return c.http.list[i], abi.OK
}

// await waits for the response, at most d; below 0 as long as the request may
// take.
func (c *Call) await(x *exchange, d time.Duration) int64 {
	select {
	case <-x.done:
	default:
		if d == 0 {
			return int64(abi.Timeout)
		}
		ended := false
		c.meter.Wait(func(ctx context.Context) {
			if d > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			select {
			case <-x.done:
				ended = true
			case <-ctx.Done():
			}
		})
		if !ended {
			return int64(abi.Timeout)
		}
	}
	if x.err != nil {
		return c.failed(x.err)
	}
	return int64(x.resp.StatusCode)
}

// failed is the code for an error of the network, which the log explains.
func (c *Call) failed(err error) int64 {
	var code abi.Code
	var slow interface{ Timeout() bool }
	switch {
	case errors.As(err, &code) && code < 0:
		return int64(code)
	case errors.Is(err, outbound.ErrAddress):
		code = abi.Denied
	case errors.As(err, &slow) && slow.Timeout():
		return int64(abi.Timeout)
	case errors.Is(err, context.Canceled):
		return int64(abi.Timeout)
	default:
		code = abi.Unavailable
	}
	return c.refuse(code, err)
}

// wait(handle, timeout_ms): the status; -1 waits as long as the request may
// take, 0 does not wait.
func httpWait(c *Call, _ Memory, p []uint64) int64 {
	x, code := c.exchange(p[0])
	if code < 0 {
		return int64(code)
	}
	ms := int32(p[1])
	if ms < -1 {
		return int64(abi.Invalid)
	}
	return c.await(x, time.Duration(ms)*time.Millisecond)
}

// header(handle, name, nlen, buf, cap): the values of a field of the response,
// joined by commas. It waits for the response.
func httpHeader(c *Call, m Memory, p []uint64) int64 {
	name, dst := in(m, p[1], p[2]), out(m, p[3], p[4])
	x, code := c.exchange(p[0])
	if code < 0 {
		return int64(code)
	}
	if len(name) > abi.MaxKey {
		return int64(abi.TooLarge)
	}
	if code := c.await(x, -1); code < 0 {
		return code
	}
	v := x.resp.Header.Values(string(name))
	if len(v) == 0 {
		return int64(abi.NotFound)
	}
	return c.output(dst, []byte(strings.Join(v, ", ")))
}

// read(handle, buf, cap): what has come of the body, at least one octet; 0 at
// its end. It waits for the response.
func httpRead(c *Call, m Memory, p []uint64) int64 {
	dst := out(m, p[1], p[2])
	x, code := c.exchange(p[0])
	if code < 0 {
		return int64(code)
	}
	if len(dst) == 0 {
		return int64(abi.Invalid)
	}
	if code := c.await(x, -1); code < 0 {
		return code
	}
	if x.read > abi.MaxHTTPResponse {
		return int64(abi.TooLarge)
	}
	var n int
	var err error
	c.meter.Charge(costRead + int64(min(len(dst), hashChunk))/perUnit)
	c.meter.Wait(func(ctx context.Context) {
		defer context.AfterFunc(ctx, x.cancel)()
		// One octet more than may be tells whether there are more.
		n, err = readSome(x.resp.Body, dst[:min(int64(len(dst)), abi.MaxHTTPResponse-x.read+1)])
	})
	if x.read += int64(n); x.read > abi.MaxHTTPResponse {
		return int64(abi.TooLarge)
	}
	if n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return c.failed(err)
	}
	return int64(n)
}

// readSome reads at least one octet, unless there is an error.
func readSome(r io.Reader, b []byte) (int, error) {
	for range 100 {
		if n, err := r.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// close(handle)
func httpClose(c *Call, _ Memory, p []uint64) int64 {
	x, code := c.exchange(p[0])
	if code < 0 {
		return int64(code)
	}
	x.close()
	c.http.list[int32(p[0])-1] = nil
	c.http.open--
	return 0
}
