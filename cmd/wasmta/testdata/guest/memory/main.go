// A plugin for tests: it counts the recipients that it has seen, asks a table
// for them, and tells of each in an event.
package main

import (
	"strconv"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
)

var seen = mta.NewCounter("recipients")

func init() {
	mta.OnInit(func(*mta.Config) error {
		_, err := mta.Secret("word")
		return err
	})
	onrcpt.Handle(func(s *mta.Session) mta.Verdict {
		seen.Add(1)
		to := s.Recipient().ForwardPath()
		n, err := s.KV().Incr(to, 1, mta.Day)
		mta.Must(err)
		mta.Must(s.KV().SetSync("last", to, 0))
		mta.Must(s.Emit("rcpt", to))
		word, err := mta.Secret("word")
		mta.Must(err)
		value, _ := s.Lookup("users", to)
		return s.Reject(550, "5.7.1", strconv.FormatInt(n, 10)+" "+value+" "+word)
	})
}

func main() {}
