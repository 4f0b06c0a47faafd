package sasl

import (
	"bytes"
	"strconv"

	"github.com/wasmta/wasmta/core/mail"
)

// bearer is OAUTHBEARER (RFC 7628) and XOAUTH2: one message with a token.
type bearer struct {
	asked bool
	parse func([]byte) (Credentials, error)
	c     Credentials
}

func (x *bearer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && !x.asked {
		x.asked = true
		return []byte{}, false, nil
	}
	x.c, err = x.parse(response)
	return nil, err == nil, err
}

func (x *bearer) Credentials() Credentials { return hand(&x.c) }
func (x *bearer) Close()                   { clear(x.c.Password) }

// Refusal is the challenge with which a mechanism tells that credentials were
// refused, before the exchange fails; the client's response to it means nothing
// (RFC 7628 3.2.2, 3.2.3). nil: it has none. malformed: nobody has looked at them.
func Refusal(mechanism string, malformed bool) []byte {
	switch {
	case mechanism == "OAUTHBEARER" && malformed:
		return []byte(`{"status":"invalid_request"}`)
	case mechanism == "OAUTHBEARER":
		return []byte(`{"status":"invalid_token"}`)
	case mechanism == "XOAUTH2" && malformed:
		return []byte(`{"status":"400","schemes":"Bearer","scope":""}`)
	case mechanism == "XOAUTH2":
		return []byte(`{"status":"401","schemes":"Bearer","scope":""}`)
	}
	return nil
}

// kvsep separates the parts of a message of RFC 7628.
const kvsep = 0x01

// maxHost is the length of a host's name or address in brackets.
const maxHost = 255

// parseOAuth reads gs2-header kvsep *(key "=" value kvsep) kvsep (RFC 7628 3.1).
func parseOAuth(message []byte) (c Credentials, err error) {
	header, pairs, ok := bytes.Cut(message, []byte{kvsep})
	if !ok {
		return c, ErrMalformed
	}
	f := bytes.Split(header, []byte{','})
	if len(f) != 3 || len(f[2]) > 0 || len(f[0]) != 1 || f[0][0] != 'n' && f[0][0] != 'y' { // it binds no channel
		return c, ErrMalformed
	}
	if len(f[1]) > 0 {
		n, ok := bytes.CutPrefix(f[1], []byte("a="))
		if !ok {
			return c, ErrMalformed
		}
		if n, ok = unescape(n); !ok {
			return c, ErrMalformed
		}
		if c.User, err = name(n); err != nil {
			return Credentials{}, err
		}
	}
	c.Password, err = parsePairs(pairs)
	if err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// parsePairs reads the pairs behind the header, and gives the token.
func parsePairs(pairs []byte) (found []byte, err error) {
	var host, port bool
	for {
		pair, rest, ok := bytes.Cut(pairs, []byte{kvsep})
		if !ok {
			return nil, ErrMalformed
		}
		if len(pair) == 0 {
			if len(rest) > 0 {
				return nil, ErrMalformed
			}
			break
		}
		pairs = rest
		key, value, ok := bytes.Cut(pair, []byte{'='})
		if !ok || len(key) == 0 || bytes.ContainsFunc(key, func(r rune) bool { return r|0x20 < 'a' || r|0x20 > 'z' }) {
			return nil, ErrMalformed
		}
		switch string(key) {
		case "host":
			if host || len(value) == 0 || len(value) > maxHost || bytes.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				return nil, ErrMalformed
			}
			host = true
		case "port":
			n, err := strconv.ParseUint(string(value), 10, 16)
			if port || err != nil || n == 0 {
				return nil, ErrMalformed
			}
			port = true
		case "auth":
			if found != nil {
				return nil, ErrMalformed
			}
			if found, err = token(value); err != nil {
				return nil, err
			}
		} // RFC 7628 3.1: others are ignored
	}
	if found == nil {
		return nil, ErrEmpty
	}
	return bytes.Clone(found), nil
}

// parseXOAuth reads "user=" name kvsep "auth=Bearer " token kvsep kvsep.
func parseXOAuth(message []byte) (c Credentials, err error) {
	user, rest, ok := bytes.Cut(message, []byte{kvsep})
	u, isUser := bytes.CutPrefix(user, []byte("user="))
	a, isAuth := bytes.CutPrefix(rest, []byte("auth="))
	a, ends := bytes.CutSuffix(a, []byte{kvsep, kvsep})
	if !ok || !isUser || !isAuth || !ends {
		return c, ErrMalformed
	}
	if c.User, err = name(u); err != nil {
		return Credentials{}, err
	}
	t, err := token(a)
	if err != nil {
		return Credentials{}, err
	}
	c.Password = bytes.Clone(t)
	return c, nil
}

// token reads "Bearer" 1*SP b64token (RFC 6750 2.1).
func token(auth []byte) ([]byte, error) {
	const scheme = "bearer"
	if len(auth) == 0 {
		return nil, ErrEmpty
	}
	if len(auth) <= len(scheme) || !bytes.EqualFold(auth[:len(scheme)], []byte(scheme)) || auth[len(scheme)] != ' ' {
		return nil, ErrMalformed
	}
	t := bytes.TrimLeft(auth[len(scheme):], " ")
	body := bytes.TrimRight(t, "=")
	switch {
	case len(t) > MaxToken:
		return nil, ErrTooLong
	case len(body) == 0:
		return nil, ErrEmpty
	}
	for _, c := range body {
		if !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') && bytes.IndexByte([]byte("-._~+/"), c) < 0 {
			return nil, ErrMalformed
		}
	}
	return t, nil
}

// unescape decodes a saslname (RFC 5801 4).
func unescape(b []byte) ([]byte, bool) {
	if len(b) > 3*mail.MaxIdentity {
		return nil, false
	}
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] != '=' {
			out = append(out, b[i])
			continue
		}
		switch {
		case bytes.HasPrefix(b[i:], []byte("=2C")):
			out = append(out, ',')
		case bytes.HasPrefix(b[i:], []byte("=3D")):
			out = append(out, '=')
		default:
			return nil, false
		}
		i += 2
	}
	return out, true
}
