package operator

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// KeySpec is one line of [keys].
type KeySpec struct{ Name, File string }

// Keys are the keys of a configuration: private ones, and secrets for HMAC.
// They are safe for concurrent use.
type Keys struct {
	current atomic.Pointer[map[string]key]
}

// key has one of the two.
type key struct {
	signer crypto.Signer
	secret []byte
}

// Apply reads these keys and puts them in the place of those there are, or
// changes nothing. A PEM file has a private key (PKCS #8, PKCS #1 or SEC 1); any
// other file is a secret, without the line end at its end. undo puts the old
// ones back.
func (k *Keys) Apply(specs []KeySpec) (undo func(), err error) {
	next := make(map[string]key, len(specs))
	var faults []error
	for _, s := range specs {
		data, err := readFile(s.File, MaxSecret)
		if err == nil {
			next[s.Name], err = parseKey(data)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("key %q in %q: %w", s.Name, s.File, err))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	old := k.current.Swap(&next)
	return func() { k.current.Store(old) }, nil
}

func parseKey(data []byte) (key, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		data = trimLineEnd(data)
		if len(data) == 0 {
			return key{}, errors.New("the file is empty")
		}
		return key{secret: data}, nil
	}
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return key{}, errors.New("the file must have one PEM block and nothing else")
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return key{}, fmt.Errorf("a PEM block %q is no private key without a passphrase", block.Type)
	}
	if err != nil {
		return key{}, err
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return key{}, fmt.Errorf("a key of type %T cannot sign", parsed)
	}
	return key{signer: signer}, nil
}

// trimLineEnd is data without the line end at its end.
func trimLineEnd(data []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
}

func (k *Keys) find(name string) key {
	if m := k.current.Load(); m != nil {
		return (*m)[name]
	}
	return key{}
}

// Signer is the private key called name, or abi.NotFound.
func (k *Keys) Signer(name string) (crypto.Signer, error) {
	if s := k.find(name).signer; s != nil {
		return s, nil
	}
	return nil, abi.NotFound
}

// Secret is the secret called name, or abi.NotFound.
func (k *Keys) Secret(name string) ([]byte, error) {
	if s := k.find(name).secret; s != nil {
		return s, nil
	}
	return nil, abi.NotFound
}
