package mail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ScramKeys are what a server keeps of a password for SCRAM-SHA-256 (RFC 5802
// 3, RFC 7677): enough to check it, not to say it.
type ScramKeys struct {
	Iterations int
	Salt       []byte
	StoredKey  [32]byte
	ServerKey  [32]byte
}

// Limits of [ParseScram]. A client computes as many iterations as it is told:
// fewer than RFC 7677 4 asks for would make a stolen file cheap, more would be
// an attack on the client.
const (
	MinScramIterations = 4096
	MaxScramIterations = 1_000_000
	MinScramSalt       = 8  // octets
	MaxScramSalt       = 64 // octets
	MaxScramText       = 256
)

// Errors of [ParseScram].
var (
	ErrScramFormat = errors.New("not keys of SCRAM-SHA-256: write SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
	ErrScramCost   = fmt.Errorf("SCRAM-SHA-256 with more than %d iterations", MaxScramIterations)
)

// ParseScram reads the text of RFC 5803, which PostgreSQL writes, too:
//
//	SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=
//
// or Dovecot's {SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey.
func ParseScram(text string) (k ScramKeys, err error) {
	if len(text) > MaxScramText {
		return k, ErrScramFormat
	}
	var f []string
	if rest, ok := strings.CutPrefix(text, "SCRAM-SHA-256$"); ok {
		cost, keys, _ := strings.Cut(rest, "$")
		f = append(strings.Split(cost, ":"), strings.Split(keys, ":")...)
		if strings.Count(cost, ":") != 1 {
			return k, ErrScramFormat
		}
	} else if rest, ok := strings.CutPrefix(text, "{SCRAM-SHA-256}"); ok {
		f = strings.Split(rest, ",")
	}
	if len(f) != 4 || f[0] == "" || strings.Trim(f[0], "0123456789") != "" || f[0][0] == '0' {
		return k, ErrScramFormat
	}
	var salt, stored, server []byte
	for n, to := range []*[]byte{&salt, &stored, &server} {
		if strings.ContainsAny(f[n+1], "\r\n") { // which the decoder would skip
			return k, ErrScramFormat
		}
		if *to, err = base64.StdEncoding.Strict().DecodeString(f[n+1]); err != nil {
			return k, ErrScramFormat
		}
	}
	if len(salt) < MinScramSalt || len(salt) > MaxScramSalt || len(stored) != len(k.StoredKey) || len(server) != len(k.ServerKey) {
		return k, ErrScramFormat
	}
	n, err := strconv.Atoi(f[0])
	switch {
	case err != nil || n > MaxScramIterations:
		return k, ErrScramCost
	case n < MinScramIterations:
		return k, ErrScramFormat
	}
	k.Iterations, k.Salt = n, salt
	copy(k.StoredKey[:], stored)
	copy(k.ServerKey[:], server)
	return k, nil
}

// Text is the form that [ParseScram] reads.
func (k ScramKeys) Text() string {
	b := base64.StdEncoding.EncodeToString
	return "SCRAM-SHA-256$" + strconv.Itoa(k.Iterations) + ":" + b(k.Salt) + "$" + b(k.StoredKey[:]) + ":" + b(k.ServerKey[:])
}

// String hides the keys from whoever prints an event.
func (ScramKeys) String() string { return "SCRAM-SHA-256 keys" }

// GoString is String.
func (ScramKeys) GoString() string { return "SCRAM-SHA-256 keys" }
