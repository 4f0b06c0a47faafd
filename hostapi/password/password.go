package password

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"

	"github.com/wasmta/wasmta/core/mail"
)

// What a check may cost at most.
const (
	MaxHash     = 512       // octets of a hash string
	MaxPassword = 512       // octets
	MaxMemory   = 128 << 20 // octets, for argon2id and scrypt

	maxBcryptCost   = 14
	maxArgonWork    = 1 << 20 // KiB times passes
	maxArgonThreads = 16
	maxScryptWork   = 1 << 21 // N * r * p
	maxCryptRounds  = 1_000_000
	maxPBKDF2Work   = 2_000_000 // rounds times blocks of output
	maxSalt         = 128
	minSum, maxSum  = 16, 128
)

var (
	// ErrFormat: the string is no hash that this package knows, or a broken one.
	ErrFormat = errors.New("not a password hash of a known format")
	// ErrCost: the hash wants more memory or time than a check may cost.
	ErrCost = errors.New("the password hash costs too much to check")
	// ErrLong: the password is longer than MaxPassword.
	ErrLong = errors.New("the password is too long")
)

// Checker bounds how many checks run at once. It is safe for concurrent use.
type Checker struct{ slots chan struct{} }

// NewChecker makes a Checker that runs n checks at once, at least 1.
func NewChecker(n int) *Checker { return &Checker{make(chan struct{}, max(n, 1))} }

// Check is [Check] after waiting for a turn. The error may also be ctx's; a
// check that has begun is not interrupted.
func (c *Checker) Check(ctx context.Context, hash, password []byte) (bool, error) {
	f, err := parse(hash, password)
	if err != nil {
		return false, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-c.slots }()
	return f()
}

// Check tells whether hash is a hash of password. The error is ErrFormat,
// ErrCost or ErrLong.
func Check(hash, password []byte) (bool, error) {
	f, err := parse(hash, password)
	if err != nil {
		return false, err
	}
	return f()
}

// check is the work that remains when hash and parameters are known to be good.
type check func() (bool, error)

func parse(hash, password []byte) (check, error) {
	if len(hash) > MaxHash {
		return nil, ErrFormat
	}
	if len(password) > MaxPassword {
		return nil, ErrLong
	}
	s := string(hash)
	if strings.HasPrefix(s, "SCRAM-") || strings.HasPrefix(s, "{SCRAM-") {
		return parseScram(s, password)
	}
	scheme, _, ok := strings.Cut(strings.TrimPrefix(s, "$"), "$")
	if !ok || s[0] != '$' {
		return nil, ErrFormat
	}
	switch scheme {
	case "2a", "2b", "2y":
		return parseBcrypt(hash, password)
	case "6":
		return parseCrypt(s, password)
	case "argon2id":
		return parseArgon(s, password)
	case "scrypt":
		return parseScrypt(s, password)
	case "pbkdf2", "pbkdf2-sha1", "pbkdf2-sha256", "pbkdf2-sha512":
		return parsePBKDF2(s, password)
	}
	return nil, ErrFormat
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func parseBcrypt(hash, password []byte) (check, error) {
	const size = 60
	if len(hash) != size {
		return nil, ErrFormat
	}
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return nil, ErrFormat
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("%w: bcrypt cost %d, the most is %d", ErrCost, cost, maxBcryptCost)
	}
	if bytes.IndexByte(password, 0) >= 0 {
		return func() (bool, error) { return false, nil }, nil // C's end of a string: no such password can be set
	}
	return func() (bool, error) {
		err := bcrypt.CompareHashAndPassword(hash, password)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
			return false, nil
		}
		return false, ErrFormat
	}, nil
}

// $argon2id$v=19$m=65536,t=3,p=4$salt$sum
func parseArgon(s string, password []byte) (check, error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[2] != "v=19" {
		return nil, ErrFormat
	}
	p, ok := parameters(f[3], "m", "t", "p")
	if !ok {
		return nil, ErrFormat
	}
	salt, sum, ok := saltAndSum(f[4], f[5])
	m, t, threads := p[0], p[1], p[2]
	if !ok || t < 1 || threads < 1 || threads > maxArgonThreads || m < 8*threads {
		return nil, ErrFormat
	}
	if m > MaxMemory>>10 || t > maxArgonWork || int64(m)*int64(t) > maxArgonWork {
		return nil, fmt.Errorf("%w: argon2id with m=%d,t=%d", ErrCost, m, t)
	}
	return func() (bool, error) {
		return equal(argon2.IDKey(password, salt, uint32(t), uint32(m), uint8(threads), uint32(len(sum))), sum), nil
	}, nil
}

// $scrypt$ln=15,r=8,p=1$salt$sum
func parseScrypt(s string, password []byte) (check, error) {
	f := strings.Split(s, "$")
	if len(f) != 5 {
		return nil, ErrFormat
	}
	v, ok := parameters(f[2], "ln", "r", "p")
	if !ok {
		return nil, ErrFormat
	}
	salt, sum, ok := saltAndSum(f[3], f[4])
	ln, r, p := v[0], v[1], v[2]
	if !ok || ln < 1 || r < 1 || p < 1 {
		return nil, ErrFormat
	}
	if ln > 24 || r > 1024 || p > 1024 || int64(128*r)<<ln > MaxMemory || int64(r*p)<<ln > maxScryptWork {
		return nil, fmt.Errorf("%w: scrypt with ln=%d,r=%d,p=%d", ErrCost, ln, r, p)
	}
	return func() (bool, error) {
		got, err := scrypt.Key(password, salt, 1<<ln, r, p, len(sum))
		if err != nil {
			return false, ErrFormat
		}
		return equal(got, sum), nil
	}, nil
}

// $pbkdf2-sha256$29000$salt$sum
func parsePBKDF2(s string, password []byte) (check, error) {
	f := strings.Split(s, "$")
	if len(f) != 5 {
		return nil, ErrFormat
	}
	var h func() hash.Hash
	var size int
	switch f[1] {
	case "pbkdf2", "pbkdf2-sha1":
		h, size = sha1.New, sha1.Size
	case "pbkdf2-sha256":
		h, size = sha256.New, sha256.Size
	default:
		h, size = sha512.New, sha512.Size
	}
	rounds, ok := number(f[2])
	if !ok {
		if rest, found := strings.CutPrefix(f[2], "i="); found {
			text, length, more := strings.Cut(rest, ",l=")
			if rounds, ok = number(text); ok && more {
				_, ok = number(length)
			}
		}
	}
	salt, sum, good := saltAndSum(f[3], f[4])
	if !ok || !good || rounds < 1 {
		return nil, ErrFormat
	}
	if rounds > maxPBKDF2Work || rounds*((len(sum)+size-1)/size) > maxPBKDF2Work {
		return nil, fmt.Errorf("%w: PBKDF2 with %d rounds", ErrCost, rounds)
	}
	return func() (bool, error) {
		got, err := pbkdf2.Key(h, string(password), salt, rounds, len(sum))
		if err != nil {
			return false, ErrFormat // FIPS mode refuses short salts
		}
		return equal(got, sum), nil
	}, nil
}

// SCRAM-SHA-256$4096:salt$StoredKey:ServerKey: the text that SCRAM itself takes,
// so that one table of users does for all mechanisms.
func parseScram(s string, password []byte) (check, error) {
	k, err := mail.ParseScram(s)
	switch {
	case errors.Is(err, mail.ErrScramCost):
		return nil, fmt.Errorf("%w: %w", ErrCost, err)
	case err != nil:
		return nil, ErrFormat
	}
	return func() (bool, error) {
		salted, err := pbkdf2.Key(sha256.New, mail.Prepare(string(password)), k.Salt, k.Iterations, sha256.Size)
		if err != nil {
			return false, ErrFormat // FIPS mode refuses short salts
		}
		clientKey := mac(salted, "Client Key")
		stored := sha256.Sum256(clientKey)
		right := equal(stored[:], k.StoredKey[:])
		// A server key that is another password's would let whoever has it play us.
		return equal(mac(salted, "Server Key"), k.ServerKey[:]) && right, nil
	}, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// parameters reads "m=1,t=2" with exactly the names given, in their order.
func parameters(s string, names ...string) ([]int, bool) {
	var out []int
	for n, part := range strings.Split(s, ",") {
		if n == len(names) {
			return nil, false
		}
		text, ok := strings.CutPrefix(part, names[n]+"=")
		v, isNumber := number(text)
		if !ok || !isNumber {
			return nil, false
		}
		out = append(out, v)
	}
	return out, len(out) == len(names)
}

// number reads a decimal number without sign or leading zeros, below 2^31.
func number(s string) (int, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil
}

// saltAndSum decodes base64, standard or with passlib's "." for "+", without
// or with padding.
func saltAndSum(a, b string) (salt, sum []byte, ok bool) {
	decode := func(s string) []byte {
		out, err := base64.RawStdEncoding.Strict().DecodeString(strings.ReplaceAll(strings.TrimRight(s, "="), ".", "+"))
		if err != nil || strings.ContainsAny(s, "\r\n") {
			return nil
		}
		return out
	}
	salt, sum = decode(a), decode(b)
	return salt, sum, len(salt) > 0 && len(salt) <= maxSalt && len(sum) >= minSum && len(sum) <= maxSum
}
