package mta

import (
	"io"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// HTTP makes requests to the places of the grant http. Redirects are not
// followed.
func (s *Session) HTTP() *HTTP { return new(HTTP) }

// HTTP is the module mta1_http. In one call 4 requests may be made, 2 of them
// open at a time.
type HTTP struct{}

// Request is a request.
type Request struct {
	Method  string // default GET
	URL     string
	Header  string // lines "Name: value"
	Body    string
	Timeout int // milliseconds, of the whole; default and most 10000
}

// Part is what of a message is sent.
type Part int32

const (
	WholeMessage Part = Part(abi.SendMessage)
	OnlyBody     Part = Part(abi.SendBody)
	OnlyHeaders  Part = Part(abi.SendHeaders)
)

// Response is a response, or one that is still to come. Its body is read once;
// close it to make another request.
type Response struct{ handle int32 }

// Start sends a request and does not wait for its response.
func (*HTTP) Start(r Request) (*Response, error) {
	var method int32
	switch r.Method {
	case "", "GET":
		method = abi.HTTPGet
	case "HEAD":
		method = abi.HTTPHead
	case "POST":
		method = abi.HTTPPost
	case "PUT":
		method = abi.HTTPPut
	case "DELETE":
		method = abi.HTTPDelete
	case "PATCH":
		method = abi.HTTPPatch
	default:
		return nil, abi.Unsupported
	}
	return response(guest.HTTPStart(method, r.URL, r.Header, r.Body, int32(r.Timeout)))
}

// StartMessage posts the message, which does not pass through the plugin.
// Method and body of r do not count. It needs the grants headers and body,
// "read", for what it sends.
func (*HTTP) StartMessage(r Request, what Part) (*Response, error) {
	return response(guest.HTTPStartMsg(r.URL, r.Header, int32(what), int32(r.Timeout)))
}

// Do sends a request and waits for its response.
func (h *HTTP) Do(r Request) (*Response, error) {
	resp, err := h.Start(r)
	if err != nil {
		return nil, err
	}
	if _, err := resp.Status(); err != nil {
		_ = resp.Close() // what failed is told already
		return nil, err
	}
	return resp, nil
}

func response(handle int32) (*Response, error) {
	if handle < 0 {
		return nil, abi.Code(handle)
	}
	return &Response{handle}, nil
}

// Status waits for the response and gives its status, 200 to 599.
func (r *Response) Status() (int, error) {
	n := guest.HTTPWait(r.handle, -1)
	return int(n), check(n)
}

// Ready tells whether the response, or an error, is there after so many
// milliseconds.
func (r *Response) Ready(milliseconds int) bool {
	return abi.Code(guest.HTTPWait(r.handle, int32(milliseconds))) != abi.Timeout
}

// Header is the value of a header field, several joined by commas; empty:
// there is none.
func (r *Response) Header(name string) string {
	s, _ := read(func(b []byte) int32 { return guest.HTTPHeader(r.handle, name, b) })
	return s
}

// Read reads the body, of which there may be 1 MiB.
func (r *Response) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := guest.HTTPRead(r.handle, p)
	if n == 0 {
		return 0, io.EOF
	}
	if n < 0 {
		return 0, abi.Code(n)
	}
	return int(n), nil
}

// Text reads the whole body.
func (r *Response) Text() (string, error) {
	b, err := io.ReadAll(r)
	return string(b), err
}

// Close ends the request. The end of the call does it too.
func (r *Response) Close() error { return check(guest.HTTPClose(r.handle)) }
