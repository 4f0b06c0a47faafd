package sasl

import (
	"bytes"
	"errors"

	"github.com/wasmta/wasmta/core/mail"
)

// MaxPassword is the length of a password, in octets; RFC 4616 2 asks for 255.
const MaxPassword = 1024

// Errors of an exchange.
var (
	ErrMalformed = errors.New("response is malformed")
	ErrTooLong   = errors.New("name or password is too long")
	ErrEmpty     = errors.New("name or password is empty")
)

// Credentials are what an exchange gave.
type Credentials struct {
	User     string // the authentication identity (RFC 4616 authcid)
	AuthzID  string // the authorization identity (authzid); empty: not given
	Password []byte
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

// Names are the mechanisms there are, the preferred one first.
func Names() []string { return []string{"PLAIN", "LOGIN"} }

// New begins an exchange; name is in upper case. It is nil if there is no such
// mechanism.
func New(name string) Exchange {
	switch name {
	case "PLAIN":
		return new(plain)
	case "LOGIN":
		return new(login)
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

// name checks an identity. What it lets through is safe in logs and headers.
func name(b []byte) (string, error) {
	switch {
	case len(b) == 0:
		return "", ErrEmpty
	case len(b) > mail.MaxIdentity:
		return "", ErrTooLong
	}
	s := string(b)
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

func (x *plain) Credentials() Credentials { return hand(&x.c) }
func (x *login) Credentials() Credentials { return hand(&x.c) }
func (x *plain) Close()                   { clear(x.c.Password) }
func (x *login) Close()                   { clear(x.c.Password) }

// hand gives the credentials away.
func hand(c *Credentials) Credentials {
	given := *c
	c.Password = nil
	return given
}
