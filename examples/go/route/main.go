// Route sends mail for one domain to a next hop of its own.
package main

import (
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onroute"
)

var partner, nextHop string

func init() {
	mta.OnInit(func(c *mta.Config) error {
		partner, nextHop = c.String("partner"), c.String("next_hop")
		return nil
	})
	onroute.Handle(func(s *mta.Session) mta.Verdict {
		if s.Domain() != partner {
			return mta.Continue // the configured routes decide
		}
		mta.Must(s.SetNextHop(nextHop))
		return mta.Accept
	})
}

func main() {}
