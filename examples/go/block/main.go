// Block refuses recipients by local part or domain.
package main

import (
	"slices"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
)

var blocked []string // local parts and domains that take no mail

func init() {
	mta.OnInit(func(c *mta.Config) error {
		blocked = c.Strings("blocked")
		return nil
	})
	onrcpt.Handle(func(s *mta.Session) mta.Verdict {
		r := s.Recipient()
		if slices.Contains(blocked, r.Local()) || slices.Contains(blocked, r.Domain()) {
			return s.Reject(550, "5.7.1", "this mailbox takes no mail")
		}
		return mta.Continue // no opinion: the server's own rules decide
	})
}

func main() {}
