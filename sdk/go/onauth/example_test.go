package onauth_test

import (
	"testing"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/mta"
	"github.com/wasmta/wasmta/sdk/go/onauth"
	"github.com/wasmta/wasmta/sdk/go/onrcpt"
	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

// A policy with a table of users: each line has a name and the hash of a
// password, as mkpasswd, htpasswd -B or doveadm pw print it. Where the hash is one
// of "doveadm pw -s SCRAM-SHA-256", the line serves SCRAM as well as PLAIN and
// LOGIN; the listener must say so:
//
//	[[listener]]
//	auth_mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
//
//	[[plugin]]
//	name = "users"
//	module = "plugins/users.wasm"
//	[plugin.grant]
//	auth_password = true
//	tables = ["users"]
//
//	[[table]]
//	name = "users"
//	file = "users.txt"
//
// In a plugin the call of Handle stands in an init function.
func Example() { onauth.Handle(checkPassword) }

func checkPassword(s *mta.Session) mta.Verdict {
	user := s.AuthUser()
	hash, ok := s.Lookup("users", user)
	if !ok {
		return mta.Continue // another plugin may know; if none does, the server refuses
	}
	right := true
	var err error
	if s.WantsScram() {
		err = s.SetScram(hash) // and the server sees to it that the client has the password
	} else {
		var password string
		if password, err = s.AuthPassword(); err != nil {
			return mta.Continue // not granted, or a mechanism without one
		}
		right, err = s.Crypto().CheckPassword(hash, password)
	}
	switch {
	case err == abi.Denied || err == abi.Invalid && s.WantsScram():
		return mta.Continue // not granted, or the hash is of another kind, which is no use for SCRAM
	case err != nil:
		// The hash is not one, or too many are being checked: not the user's fault.
		mta.Log(mta.Error, "cannot check the password of "+user+": "+err.Error())
		return mta.Defer
	case !right:
		return mta.Reject
	}
	if other := s.AuthID(); other != "" && other != user {
		return s.Reject(535, "5.7.8", "You may not act as somebody else")
	}
	return mta.Accept
}

// The keys of "pencil" (RFC 7677 3).
const keys = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestThePolicyOfTheExample(t *testing.T) {
	Example()
	onrcpt.Handle(func(s *mta.Session) mta.Verdict {
		if s.AuthID() == "" {
			return mta.Continue
		}
		return s.Accept(250, "2.1.5", s.AuthID()+" "+s.AuthUser()+" "+s.AuthMechanism())
	})
	o := plugintest.Options{
		Grant:     plugintest.Grant{AuthPassword: true},
		Tables:    map[string]map[string]string{"users": {"tim": "hash of tanstaaf", "broken": "no hash", "ann": keys}},
		Passwords: map[string]string{"hash of tanstaaf": "tanstaaf", keys: "pencil"},
	}
	p := plugintest.New(t, o)
	s := p.Session()
	s.Login("nobody", "tanstaaf").Want("continue")
	s.Login("tim", "wrong").Want("reject")
	s.Login("broken", "tanstaaf").Want("defer")
	s.Auth("tim").Want("continue")
	s.Authenticate(plugintest.Credentials{User: "tim", AuthzID: "boss", Password: "tanstaaf"}).Want("reject 535 5.7.8")
	if s.AuthID != "" {
		t.Errorf("the client is %q", s.AuthID)
	}
	s.Mail("a@example.com")
	s.Rcpt("b@example.org").Want("continue")
	s.Reset("RSET")
	s.Authenticate(plugintest.Credentials{Mechanism: "LOGIN", User: "tim", Password: "tanstaaf"}).Want("accept")
	s.Mail("a@example.com")
	s.Rcpt("b@example.org").Want("accept 250 2.1.5 tim tim LOGIN")
	if s.AuthID != "tim" || s.AuthUser != "tim" || s.AuthMechanism != "LOGIN" {
		t.Errorf("%+v", s)
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		s.Authenticate(plugintest.Credentials{Mechanism: mechanism, User: "ann", Password: "pencil"}).Want("accept")
		if s.AuthID != "ann" || s.AuthMechanism != mechanism {
			t.Errorf("%s: %+v", mechanism, s)
		}
	}
	s.Authenticate(plugintest.Credentials{Mechanism: "PLAIN", User: "ann", Password: "pencil2"}).Want("reject")
	s.Authenticate(plugintest.Credentials{Mechanism: "SCRAM-SHA-256", User: "ann", Password: "pencil2"}).Want("accept") // these keys, that is
	if s.AuthID != "" {
		t.Errorf("a client without the password is %q", s.AuthID)
	}
	s.Authenticate(plugintest.Credentials{Mechanism: "SCRAM-SHA-256", User: "tim", Password: "tanstaaf"}).Want("continue")
	for _, line := range p.Log {
		if line != "error: cannot check the password of broken: not supported by this host" {
			t.Errorf("logged %q", line)
		}
	}

	// Without the grant it cannot let anybody in.
	o.Grant.AuthPassword = false
	plugintest.New(t, o).Session().Login("tim", "tanstaaf").Want("continue")
}

func TestIdentities(t *testing.T) {
	set := func(id string) func(*mta.Session) mta.Verdict {
		return func(s *mta.Session) mta.Verdict {
			if err := s.SetAuthID(id); err != nil {
				return s.Reject(535, "5.7.8", err.Error())
			}
			return mta.Accept
		}
	}
	asked := plugintest.Credentials{User: "tim", AuthzID: "office", Password: "p"}
	for _, c := range []struct {
		grant  plugintest.Grant
		handle func(*mta.Session) mta.Verdict
		want   string
		id     string
	}{
		{plugintest.Grant{}, func(*mta.Session) mta.Verdict { return mta.Accept }, "accept", ""}, // office was not looked at
		{plugintest.Grant{AuthPassword: true}, set("office"), "accept", "office"},
		{plugintest.Grant{Envelope: "write"}, set("other@ours.test"), "accept", "other@ours.test"},
		{plugintest.Grant{}, set("office"), "reject 535 5.7.8 not granted", ""},
		{plugintest.Grant{AuthPassword: true}, set("a\nb"), "reject 535 5.7.8 invalid argument", ""},
		{plugintest.Grant{}, func(s *mta.Session) mta.Verdict {
			if _, err := s.AuthPassword(); err != abi.Denied {
				t.Errorf("without the grant: %v", err)
			}
			return s.Reject(535, "5.7.8", s.AuthUser()+" "+s.AuthID()+" "+s.AuthMechanism())
		}, "reject 535 5.7.8 tim office PLAIN", ""},
	} {
		onauth.Handle(c.handle)
		s := plugintest.New(t, plugintest.Options{Grant: c.grant}).Session()
		s.Authenticate(asked).Want(c.want)
		if s.AuthID != c.id {
			t.Errorf("%s: the client is %q, want %q", c.want, s.AuthID, c.id)
		}
	}
}

func TestFactsOfTheConnection(t *testing.T) {
	onrcpt.Handle(func(s *mta.Session) mta.Verdict {
		if s.ConnectionsFromIP() > 10 && s.ProxyIP() == "192.0.2.9" {
			return mta.Defer
		}
		return mta.Continue
	})
	s := plugintest.New(t, plugintest.Options{}).Session()
	s.Mail("a@example.com")
	s.Rcpt("b@example.org").Want("continue")
	s.Connections, s.ProxyIP = 11, "192.0.2.9"
	s.Rcpt("b@example.org").Want("defer")
}
