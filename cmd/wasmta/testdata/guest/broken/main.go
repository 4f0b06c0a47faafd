// A plugin for tests that fails at every hook, in the way its configuration
// says: trap, loop, recurse or grow.
package main

import (
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onconnect"
	"github.com/wasmta/wasmta/sdk/go/ondata"
	"github.com/wasmta/wasmta/sdk/go/onehlo"
	"github.com/wasmta/wasmta/sdk/go/onmail"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
)

var (
	mode    string
	kept    [][]byte
	counter int
)

func init() {
	mta.OnInit(func(c *mta.Config) error {
		mode = c.String("mode")
		return nil
	})
	// Only rcpt unless the configuration says all: a session that fails at
	// connect never comes to the recipient.
	for _, hook := range []func(func(*mta.Session) mta.Verdict){
		onconnect.Handle, onehlo.Handle, onmail.Handle, ondata.Handle, onmessage.Handle,
	} {
		hook(func(s *mta.Session) mta.Verdict {
			if s.Config().Bool("all", false) {
				fail()
			}
			return mta.Continue
		})
	}
	onrcpt.Handle(func(*mta.Session) mta.Verdict {
		fail()
		return mta.Accept // never reached: an open relay if it were
	})
}

func fail() {
	switch mode {
	case "loop":
		for {
			counter++
		}
	case "recurse":
		counter += recurse(1)
	case "grow":
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	}
	panic("this plugin fails")
}

func recurse(n int) int { return n + recurse(n+1) }

func main() {}
