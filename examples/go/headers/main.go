// Headers rewrites header fields of a message that is complete.
package main

import (
	"strings"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
)

func init() {
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		h := s.Header()
		mta.Must(h.Del("X-Spam-Flag"))
		if subject := h.Get("Subject"); !strings.HasPrefix(subject, "[list] ") {
			mta.Must(h.Set("Subject", "[list] "+subject))
		}
		mta.Must(h.Prepend("X-Policy", "checked by wasmta"))
		return mta.Continue
	})
}

func main() {}
