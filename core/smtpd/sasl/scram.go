package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"github.com/wasmta/wasmta/core/mail"
)

// Limits of a client's messages, in octets.
const (
	maxNonce   = 256
	maxMessage = 4096
)

// exchange is SCRAM-SHA-256 (RFC 5802, RFC 7677), with a channel binding if plus.
type exchange struct {
	o     Options
	plus  bool
	state state
	conv  *scram.ServerConversation
	c     Credentials
	err   error // of who was asked for keys
}

type state uint8

const (
	asks   state = iota // for the client's first message
	first               // it is there
	final               // the client's final message follows
	proved              // the client only has to say that it heard ours
)

func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if x.state == asks {
		x.state = first
		if response == nil {
			return []byte{}, false, nil
		}
	}
	switch x.state {
	case first:
		x.state = final
		if err := x.begin(response); err != nil {
			return nil, false, err
		}
		text, err := x.conv.Step(string(response))
		switch {
		case x.err != nil:
			return nil, false, x.err
		case err != nil && text == scram.ErrServerDoesSupportChannelBinding:
			return nil, false, ErrDowngrade
		case err != nil:
			return nil, false, ErrMalformed // what the error says has what the client sent
		}
		return []byte(text), false, nil
	case final:
		x.state = proved
		if !printable(response, maxMessage) {
			return nil, false, ErrMalformed
		}
		text, err := x.conv.Step(string(response))
		switch {
		case err != nil && text == scram.ErrChannelBindingsDontMatch:
			return nil, false, ErrBinding
		case err != nil && text == scram.ErrInvalidProof:
			return nil, false, ErrProof
		case err != nil || !x.conv.Valid():
			return nil, false, ErrMalformed
		}
		return []byte(text), false, nil
	}
	// RFC 4954 4: what the server has to say at the end is a challenge, and the
	// response to it empty.
	if len(response) > 0 {
		return nil, false, ErrMalformed
	}
	return nil, true, nil
}

// begin looks at the client's first message:
//
//	gs2-cbind-flag "," [ "a=" saslname ] "," "n=" saslname "," "r=" c-nonce ["," extensions]
func (x *exchange) begin(message []byte) error {
	f := strings.Split(string(message), ",")
	if !printable(message, maxMessage) || len(f) < 4 {
		return ErrMalformed
	}
	nonce, ok := strings.CutPrefix(f[3], "r=")
	if !ok || nonce == "" || len(nonce) > maxNonce || strings.ContainsFunc(nonce, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ErrMalformed
	}
	server, err := scram.SHA256.NewServer(x.keys)
	if err != nil {
		return ErrMalformed
	}
	kind, binds := strings.CutPrefix(f[0], "p=")
	switch {
	case binds != x.plus:
		return ErrBinding
	case binds:
		for _, b := range x.o.Bindings {
			if b.Name == kind {
				x.conv = server.NewConversationWithChannelBindingRequired(scram.ChannelBinding{Type: scram.ChannelBindingType(kind), Data: b.Data})
				return nil
			}
		}
		return ErrBinding
	case x.o.Plus && len(x.o.Bindings) > 0: // a client that could bind, and says that we cannot, is lied to
		x.conv = server.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingType(x.o.Bindings[0].Name), Data: x.o.Bindings[0].Data})
	default:
		x.conv = server.NewConversation()
	}
	return nil
}

// keys asks for the keys of a name.
func (x *exchange) keys(user string) (s scram.StoredCredentials, err error) {
	if x.c.User, x.err = name([]byte(user)); x.err != nil {
		return s, x.err
	}
	if a := x.conv.AuthzID(); a != "" {
		if x.c.AuthzID, x.err = name([]byte(a)); x.err != nil {
			return s, x.err
		}
	}
	k, err := x.o.Keys(x.c.User, x.c.AuthzID)
	if x.err = err; err != nil {
		return s, err
	}
	return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations},
		StoredKey: k.StoredKey[:], ServerKey: k.ServerKey[:]}, nil
}

func (x *exchange) Credentials() Credentials { return x.c }
func (x *exchange) Close()                   {}

// printable tells whether b is a message of at most n octets.
func printable(b []byte, n int) bool {
	return len(b) > 0 && len(b) <= n && utf8.Valid(b) && bytes.IndexFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// MadeUp are keys for a name that has none, so that the exchange shows no
// difference until its end. They are the same for a name as long as secret is,
// nobody knows a password of them, and salt and iterations look like others.
func MadeUp(secret []byte, user string, iterations, salt int) mail.ScramKeys {
	derive := func(what string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(what + "\x00" + user))
		return h.Sum(nil)
	}
	k := mail.ScramKeys{Iterations: iterations, Salt: append(derive("salt"), derive("more salt")...)[:salt]}
	copy(k.StoredKey[:], derive("stored key"))
	copy(k.ServerKey[:], derive("server key"))
	return k
}
