// The policy of the quickstart: three hooks, three decisions.
package main

import (
	"slices"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onmessage"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
	"github.com/wasmta/wasmta/sdk/go/onroute"
)

const greeting = "hello from the policy" // change me while the server runs

var blocked []string        // local parts and domains that take no mail
var partner, nextHop string // mail for the domain partner goes to nextHop

func init() {
	mta.OnInit(configure)
	onrcpt.Handle(refuse)
	onmessage.Handle(tag)
	onroute.Handle(choose)
}

// configure reads [plugin.config] of wasmta.toml.
func configure(c *mta.Config) error {
	blocked = c.Strings("blocked")
	partner, nextHop = c.String("partner"), c.String("next_hop")
	return nil
}

// refuse is asked at each RCPT TO.
func refuse(s *mta.Session) mta.Verdict {
	r := s.Recipient()
	if slices.Contains(blocked, r.Local()) || slices.Contains(blocked, r.Domain()) {
		return s.Reject(550, "5.7.1", "this mailbox takes no mail")
	}
	return mta.Continue // no opinion: the server's own rules decide
}

// tag is asked when a message is complete.
func tag(s *mta.Session) mta.Verdict {
	mta.Must(s.Header().Add("X-Wasmta-Quickstart", greeting))
	return mta.Continue
}

// choose is asked when recipients of one domain are due.
func choose(s *mta.Session) mta.Verdict {
	if s.Domain() != partner {
		return mta.Continue // the routes of wasmta.toml decide
	}
	mta.Must(s.SetNextHop(nextHop))
	return mta.Accept
}

func main() {}
