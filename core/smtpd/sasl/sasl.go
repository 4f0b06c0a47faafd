package sasl

import (
	"bytes"
	"errors"

	"github.com/wasmta/wasmta/core/mail"
)

// MaxPassword is the length of a password, in octets; RFC 4616 2 asks for 255.
// MaxToken is that of a bearer token: what fits the longest line (RFC 4954 4) in
// base64, with a name.
const (
	MaxPassword = 1024
	MaxToken    = 8192
)

// Errors of an exchange.
var (
	ErrMalformed = errors.New("response is malformed")
	ErrTooLong   = errors.New("name or password is too long")
	ErrEmpty     = errors.New("name or password is empty")
	ErrProof     = errors.New("the proof does not fit the keys")
	ErrBinding   = errors.New("the channel binding is not that of this connection")
	ErrDowngrade = errors.New("the client was not told of the channel binding that is offered here")
)

// Credentials are what an exchange gave.
type Credentials struct {
	User     string // the authentication identity (RFC 4616 authcid); empty: the token says it
	AuthzID  string // the authorization identity (authzid); empty: not given
	Password []byte // or token; nil: the mechanism has none
}

// Exchange is one exchange. It ends with done, or with an error.
type Exchange interface {
	// Next takes a response of the client and returns the next challenge, or
	// done. The first call has the initial response, which is nil if there was
	// none.
	Next(response []byte) (challenge []byte, done bool, err error)
	// Credentials are complete when Next says done. The password is handed
	// over: it is the caller's to overwrite.
	Credentials() Credentials
	// Close overwrites what the exchange still holds.
	Close()
}

// Binding is a channel binding (RFC 5056): something that both ends of a TLS
// session know and nobody between them.
type Binding struct {
	Name string // as IANA registers it, such as tls-exporter
	Data []byte
}

// Options are what an exchange is about.
type Options struct {
	Bindings []Binding // of this connection
	Plus     bool      // SCRAM-SHA-256-PLUS was offered on it
	External string    // whose certificate the client has shown
	// Keys gives the keys of user, who wants to act as authzID if that is not
	// empty; SCRAM asks once. An error ends the exchange.
	Keys func(user, authzID string) (mail.ScramKeys, error)
}

// Names are the mechanisms there are.
func Names() []string {
	return []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"}
}

// New begins an exchange; name is in upper case. It is nil if there is no such
// mechanism.
func New(name string, o Options) Exchange {
	switch name {
	case "PLAIN":
		return new(plain)
	case "LOGIN":
		return new(login)
	case "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS":
		return &exchange{o: o, plus: name == "SCRAM-SHA-256-PLUS"}
	case "OAUTHBEARER":
		return &bearer{parse: parseOAuth}
	case "XOAUTH2":
		return &bearer{parse: parseXOAuth}
	case "EXTERNAL":
		return &external{c: Credentials{User: o.External}}
	}
	return nil
}

// plain is RFC 4616.
type plain struct {
	asked bool
	c     Credentials
}

func (x *plain) Next(response []byte) ([]byte, bool, error) {
	if response == nil && !x.asked {
		x.asked = true
		return []byte{}, false, nil
	}
	var err error
	x.c, err = parsePlain(response)
	return nil, err == nil, err
}

// parsePlain reads [authzid] NUL authcid NUL passwd.
func parsePlain(message []byte) (c Credentials, err error) {
	authzid, rest, ok := bytes.Cut(message, []byte{0})
	authcid, password, more := bytes.Cut(rest, []byte{0})
	if !ok || !more {
		return c, ErrMalformed
	}
	if len(authzid) > 0 {
		if c.AuthzID, err = name(authzid); err != nil {
			return Credentials{}, err
		}
	}
	if c.User, err = name(authcid); err != nil {
		return Credentials{}, err
	}
	if c.Password, err = secret(password); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// login is draft-murchison-sasl-login: obsolete, and still what many clients
// speak. Its challenges are those that clients compare with.
type login struct {
	step int
	c    Credentials
}

func (x *login) Next(response []byte) (challenge []byte, done bool, err error) {
	if x.step == 0 {
		x.step++
		if response == nil {
			return []byte("Username:"), false, nil
		}
	}
	x.step++
	if x.step == 2 {
		x.c.User, err = name(response)
		return []byte("Password:"), false, err
	}
	x.c.Password, err = secret(response)
	return nil, err == nil, err
}

// external is RFC 4422 A: the client says as whom it wants to act, or nothing.
type external struct {
	asked bool
	c     Credentials
}

func (x *external) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && !x.asked {
		x.asked = true
		return []byte{}, false, nil
	}
	if x.c.User == "" {
		return nil, false, ErrEmpty
	}
	if len(response) > 0 {
		x.c.AuthzID, err = name(response)
	}
	return nil, err == nil, err
}

// name checks and prepares an identity. What it lets through is safe in logs
// and headers.
func name(b []byte) (string, error) {
	switch {
	case len(b) == 0:
		return "", ErrEmpty
	case len(b) > mail.MaxIdentity:
		return "", ErrTooLong
	}
	s := mail.Prepare(string(b))
	if !mail.ValidIdentity(s) {
		return "", ErrMalformed
	}
	return s, nil
}

func secret(b []byte) ([]byte, error) {
	switch {
	case len(b) == 0:
		return nil, ErrEmpty
	case len(b) > MaxPassword:
		return nil, ErrTooLong
	case bytes.IndexByte(b, 0) >= 0:
		return nil, ErrMalformed
	}
	return bytes.Clone(b), nil
}

func (x *plain) Credentials() Credentials    { return hand(&x.c) }
func (x *login) Credentials() Credentials    { return hand(&x.c) }
func (x *external) Credentials() Credentials { return hand(&x.c) }
func (x *plain) Close()                      { clear(x.c.Password) }
func (x *login) Close()                      { clear(x.c.Password) }
func (x *external) Close()                   {}

// hand gives the credentials away.
func hand(c *Credentials) Credentials {
	given := *c
	c.Password = nil
	return given
}
