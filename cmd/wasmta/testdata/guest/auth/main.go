// A plugin for tests: it knows users by a table of hashes, tells what it can see
// of a client, and breaks where it is asked to.
package main

import (
	"slices"

	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onauth"
	"github.com/wasmta/wasmta/sdk/go/onroute"
)

func init() {
	onauth.Handle(func(s *mta.Session) mta.Verdict {
		user := s.AuthUser()
		if user == "trap" {
			panic("on purpose")
		}
		switch s.AuthMechanism() {
		case "OAUTHBEARER", "XOAUTH2":
			token, err := s.AuthPassword()
			mta.Must(err)
			mta.Log(mta.Info, "checking token "+token)
			if token != "t0ken-of-tim" {
				return mta.Reject
			}
			mta.Must(s.SetAuthID("tim"))
			return mta.Accept
		case "EXTERNAL":
			if !slices.Contains(s.CertificateNames(), "email:tim@src.test") {
				return mta.Reject
			}
			mta.Must(s.SetAuthID("tim"))
			return mta.Accept
		}
		hash, ok := s.Lookup("users", user)
		if !ok {
			return mta.Continue
		}
		if s.WantsScram() {
			mta.Must(s.SetScram(hash))
			return mta.Accept
		}
		password, err := s.AuthPassword()
		if err != nil {
			mta.Log(mta.Warn, "no password: "+err.Error())
			return mta.Continue
		}
		mta.Log(mta.Info, "checking "+user+" "+password) // as a careless author would
		right, err := s.Crypto().CheckPassword(hash, password)
		mta.Must(err)
		if !right {
			return mta.Reject
		}
		if other := s.AuthID(); other != "" {
			mta.Must(s.SetAuthID(other + "+by-" + user))
		}
		return mta.Accept
	})
	onroute.Handle(func(s *mta.Session) mta.Verdict {
		_, err := s.AuthPassword()
		mta.Log(mta.Info, "routing for "+s.AuthID()+", "+s.AuthUser()+" by "+s.AuthMechanism()+", password "+err.Error())
		return mta.Continue
	})
}

func main() {}
