package certificate

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// endless is an authority that answers without end.
type endless struct {
	status int
	after  string // Retry-After
}

func (e endless) RoundTrip(*http.Request) (*http.Response, error) {
	h := http.Header{}
	if e.after != "" {
		h.Set("Retry-After", e.after)
	}
	return &http.Response{StatusCode: e.status, Header: h, Body: e}, nil
}

func (e endless) Read(b []byte) (int, error) { return copy(b, strings.Repeat("[", len(b))), nil }
func (e endless) Close() error               { return errors.New("closed") }

func TestAnAuthorityThatIsOutOfOrder(t *testing.T) {
	const past = "Mon, 01 Jan 1990 00:00:00 GMT"
	for _, c := range []struct {
		endless
		kept bool // its Retry-After
	}{
		{endless{200, ""}, false},
		{endless{200, "5"}, true},
		{endless{200, "0"}, false}, // it would be asked again at once, without end
		{endless{200, "-5"}, false},
		{endless{200, past}, false},
		{endless{202, "100000"}, false},
		{endless{200, "soon"}, true}, // which nobody can read
		{endless{503, "100000"}, true},
	} {
		res, err := bounded{c.endless}.RoundTrip(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); n != maxAnswer || err != nil || res.Body.Close() == nil {
			t.Errorf("%d octets, %v", n, err)
		}
		if got := res.Header.Get("Retry-After") != ""; got != c.kept {
			t.Errorf("%d with Retry-After %q: kept is %v", c.status, c.after, got)
		}
	}
	for _, c := range []struct {
		endless
		n    int
		want time.Duration
	}{
		{endless{500, ""}, 1, time.Second},
		{endless{500, ""}, 3, 4 * time.Second},
		{endless{500, past}, 1, time.Second},
		{endless{503, "20"}, 1, 20 * time.Second},
		{endless{503, "3600"}, 1, 0},
		{endless{500, ""}, maxTries, 0},
		{endless{500, "1"}, maxTries, 0},
		{endless{429, ""}, 1, 0},
		{endless{429, "1"}, 1, 0},
	} {
		res, _ := c.RoundTrip(nil)
		if got := again(c.n, nil, res); got != c.want {
			t.Errorf("%d with Retry-After %q, try %d: again in %v, want %v", c.status, c.after, c.n, got, c.want)
		}
	}
}
