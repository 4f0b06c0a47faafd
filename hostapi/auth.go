package hostapi

import (
	"bytes"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// authFields are who the client is. At auth they are what it says of itself; in
// the hooks after it, and with the message in the queue, what was believed.
func authFields() []field {
	auth := hook.Stages(hook.Auth)
	return []field{
		{id: abi.AuthMech, name: "AUTH_MECH", stages: inAll, bytes: ofCredentials(
			func(c *hook.Credentials) string { return c.Mechanism }, func(cl *mail.Client) string { return cl.AuthMech })},
		{id: abi.AuthUser, name: "AUTH_USER", stages: inAll, bytes: ofCredentials(
			func(c *hook.Credentials) string { return c.User }, func(cl *mail.Client) string { return cl.AuthUser })},
		{id: abi.AuthPass, name: "AUTH_PASS", stages: auth, grant: password, bytes: authPassword},
		{id: abi.AuthID, name: "AUTH_ID", stages: inAll, bytes: ofCredentials(
			func(c *hook.Credentials) string {
				if c.ID != "" {
					return c.ID
				}
				return c.AuthzID
			}, func(cl *mail.Client) string { return cl.Auth }),
			setStages: auth, setBytes: setAuthID},
		{id: abi.AuthScram, name: "AUTH_SCRAM", stages: auth, grant: password, bytes: authScram, setStages: auth, setBytes: setAuthScram},
	}
}

func ofCredentials(now func(*hook.Credentials) string, later func(*mail.Client) string) func(*Call, []byte) ([]byte, abi.Code) {
	return func(c *Call, b []byte) ([]byte, abi.Code) {
		if c.event.Stage == hook.Auth && c.event.Auth != nil {
			return text(b, now(c.event.Auth))
		}
		cl := c.client()
		if cl == nil {
			return nil, abi.State
		}
		return text(b, later(cl))
	}
}

// authPassword gives the password itself, and not a copy in the call's scratch:
// it goes from there to the guest's memory and nowhere else.
func authPassword(c *Call, _ []byte) ([]byte, abi.Code) {
	if c.event.Auth == nil || len(c.event.Auth.Password) == 0 {
		return nil, abi.NotFound
	}
	return c.event.Auth.Password, abi.OK
}

func setAuthID(c *Call, v []byte) error {
	if len(v) > mail.MaxIdentity {
		return abi.TooLarge
	}
	return c.event.SetAuthID(string(v))
}

func authScram(c *Call, b []byte) ([]byte, abi.Code) {
	if c.event.Auth == nil || c.event.Auth.Scram == nil {
		return nil, abi.NotFound
	}
	return append(b, c.event.Auth.Scram.Text()...), abi.OK
}

func setAuthScram(c *Call, v []byte) error {
	if _, err := mail.ParseScram(string(v)); err != nil {
		return abi.Invalid
	}
	return c.event.SetScram(string(v))
}

// MaxPassword is the longest password that there is at auth, in octets; a token
// may be longer. It is how far behind the longest line a text is looked at.
const MaxPassword = 1024

// shortPassword is what is left alone in a log: what is as short occurs by
// itself, and taking it out would show where.
const shortPassword = 4

// WithoutPassword takes the password out of a text of the guest that may get
// into the log, an error or a reply. It is for accidents, such as a line with
// all that there is: a plugin that is granted the password can give it away in
// other ways. Of a text of MaxPassword octets or more the end may have been cut
// off: a first part of the password there is taken out, too. What it returns is
// text itself where nothing was in it.
func (c *Call) WithoutPassword(text []byte) []byte {
	if c.event == nil || c.event.Auth == nil || len(c.event.Auth.Password) < shortPassword || !c.guest.Grant.AuthPassword {
		return text
	}
	long := len(text) >= MaxPassword
	p, hidden := c.event.Auth.Password, []byte("[password]")
	text = bytes.ReplaceAll(text, p, hidden)
	if long {
		for n := min(len(p)-1, len(text)); n >= shortPassword; n-- {
			if bytes.HasSuffix(text, p[:n]) {
				return append(text[:len(text)-n:len(text)-n], hidden...)
			}
		}
	}
	return text
}

// mayChange checks the grant for a change of a field. Who may read what proves
// an identity may say which it is; keys, which prove it, need that grant.
func (f *field) mayChange(c *Call) abi.Code {
	switch {
	case f.id == abi.AuthScram && !c.guest.Grant.AuthPassword:
		return abi.Denied
	case f.id == abi.AuthScram, f.id == abi.AuthID && c.guest.Grant.AuthPassword:
		return abi.OK
	}
	return c.mayWrite()
}
