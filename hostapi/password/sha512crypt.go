package password

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"strings"
)

// sha512-crypt after Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512",
// version 0.6; the step numbers are those of that text.

const (
	cryptRounds    = 5000 // where the string does not say
	minCryptRounds = 1000
	maxCryptSalt   = 16
	cryptSum       = 86 // characters
)

// $6$salt$sum or $6$rounds=N$salt$sum
func parseCrypt(s string, password []byte) (check, error) {
	rest := strings.TrimPrefix(s, "$6$")
	rounds := cryptRounds
	if after, ok := strings.CutPrefix(rest, "rounds="); ok {
		text, tail, _ := strings.Cut(after, "$")
		if rounds, ok = number(text); !ok {
			return nil, ErrFormat
		}
		rounds, rest = max(rounds, minCryptRounds), tail
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || len(sum) != cryptSum || strings.Trim(sum, cryptAlphabet) != "" {
		return nil, ErrFormat
	}
	if rounds > maxCryptRounds {
		return nil, fmt.Errorf("%w: sha512-crypt with %d rounds", ErrCost, rounds)
	}
	if bytes.IndexByte(password, 0) >= 0 {
		return func() (bool, error) { return false, nil }, nil // C's end of a string: no such password can be set
	}
	salt = salt[:min(len(salt), maxCryptSalt)]
	return func() (bool, error) {
		return equal(sha512Crypt(password, []byte(salt), rounds), []byte(sum)), nil
	}, nil
}

// sha512Crypt makes the last part of the string.
func sha512Crypt(password, salt []byte, rounds int) []byte {
	h := sha512.New()
	var b, a, d [sha512.Size]byte

	// 4 to 8: password, salt, password
	h.Write(password)
	h.Write(salt)
	h.Write(password)
	h.Sum(b[:0])

	// 1 to 3, 9 to 12
	h.Reset()
	h.Write(password)
	h.Write(salt)
	fill(h.Write, b[:], len(password))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			h.Write(b[:])
		} else {
			h.Write(password)
		}
	}
	h.Sum(a[:0])

	// 13 to 16: P
	h.Reset()
	for range password {
		h.Write(password)
	}
	h.Sum(d[:0])
	p := repeat(d[:], len(password))

	// 17 to 20: S
	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	h.Sum(d[:0])
	s := repeat(d[:], len(salt))

	// 21
	for n := range rounds {
		h.Reset()
		if n&1 == 1 {
			h.Write(p)
		} else {
			h.Write(a[:])
		}
		if n%3 != 0 {
			h.Write(s)
		}
		if n%7 != 0 {
			h.Write(p)
		}
		if n&1 == 1 {
			h.Write(a[:])
		} else {
			h.Write(p)
		}
		h.Sum(a[:0])
	}
	return encodeCrypt(a)
}

// fill writes n octets of b over and over.
func fill(write func([]byte) (int, error), b []byte, n int) {
	for ; n > len(b); n -= len(b) {
		write(b)
	}
	write(b[:n])
}

func repeat(b []byte, n int) []byte {
	out := make([]byte, 0, n)
	fill(func(p []byte) (int, error) { out = append(out, p...); return len(p), nil }, b, n)
	return out
}

const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// encodeCrypt is step 22 e: three octets at a time in a strange order, the six
// low bits first.
func encodeCrypt(a [sha512.Size]byte) []byte {
	out := make([]byte, 0, cryptSum)
	put := func(w uint32, n int) {
		for range n {
			out = append(out, cryptAlphabet[w&63])
			w >>= 6
		}
	}
	i, j, k := 0, 21, 42
	for range 21 {
		put(uint32(a[i])<<16|uint32(a[j])<<8|uint32(a[k]), 4)
		i, j, k = j+1, k+1, i+1
	}
	put(uint32(a[63]), 2)
	return out
}
