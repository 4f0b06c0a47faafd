// Footer adds a footer to a message, removes its first line, and reads what it
// has written only after its verdict.
package main

import (
	"bytes"
	"io"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
)

func init() {
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		body, err := io.ReadAll(s.Body())
		if err != nil {
			return mta.Defer
		}
		first := int64(bytes.IndexByte(body, '\n') + 1)
		if err := s.Body().Edit(mta.Edit{Len: first}, mta.Edit{Off: s.Body().Size(), Text: "footer of a Go guest"}); err != nil {
			return mta.Defer
		}
		if again, err := io.ReadAll(s.Body()); err != nil || !bytes.Equal(again, body) {
			return mta.Defer
		}
		return mta.Continue
	})
}

func main() {}
