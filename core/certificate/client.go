package certificate

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxAnswer is the longest answer of an authority, in octets: chains have some 10,000.
	maxAnswer = 1 << 20
	// maxTries bounds how often a request that failed at the authority is sent
	// again within an attempt, and patience how long it may ask us to wait for
	// that: other domains wait too.
	maxTries = 4
	patience = 30 * time.Second
)

// bounded is a transport to an authority that may be out of order: its answers
// have an end, and it cannot let us ask without pause.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	// Who polls an order does it after this time. In the past it would be at once,
	// and after an hour nobody would wait for it: then it is after one second.
	if d, ok := retryAfter(res); ok && res.StatusCode < 300 && (d < time.Second || d > patience) {
		res.Header.Del("Retry-After")
	}
	return res, nil
}

// again is how long to wait before a request is sent for the nth time more; 0:
// it is not. What is refused for a while (429) is for the attempts of later.
func again(n int, _ *http.Request, res *http.Response) time.Duration {
	after, ok := retryAfter(res)
	switch {
	case res.StatusCode == http.StatusTooManyRequests || n >= maxTries || after > patience:
		return 0
	case ok && after > 0:
		return after
	}
	return time.Second << max(n-1, 0)
}

// retryAfter is RFC 9110 10.2.3.
func retryAfter(res *http.Response) (time.Duration, bool) {
	text := res.Header.Get("Retry-After")
	if s, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(text)
	return time.Until(at), err == nil
}
