// The smallest plugin: it greets each client by name.
package main

import (
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onehlo"
)

func init() {
	onehlo.Handle(func(s *mta.Session) mta.Verdict {
		mta.Log(mta.Info, "hello, "+s.Helo())
		return mta.Continue
	})
}

func main() {}
