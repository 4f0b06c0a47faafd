// A plugin for tests: it notes its generation when a message begins and shows,
// when it is complete, which generations have judged it.
package main

import (
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onmail"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
)

var generation = "A" // set by the linker

func init() {
	onmail.Handle(func(s *mta.Session) mta.Verdict {
		mta.Must(s.SetAttr(mta.TransactionScope, "generation", generation))
		return mta.Continue
	})
	onmessage.Handle(func(s *mta.Session) mta.Verdict {
		began, _ := s.Attr(mta.TransactionScope, "generation")
		mta.Must(s.Header().Prepend("X-Tag-"+s.Plugin(), "mail="+began+" message="+generation))
		return mta.Continue
	})
}

func main() {}
