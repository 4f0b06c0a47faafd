package operator

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// MaxSecret is the longest secret, in octets.
const MaxSecret = 64 << 10

// SecretSpec is one entry of [secrets]: a file, or the text itself.
type SecretSpec struct{ Name, File, Value string }

// Secrets are the secrets of a configuration. They are safe for concurrent use.
type Secrets struct {
	current atomic.Pointer[map[string][]byte]
}

// Apply reads these secrets and puts them in the place of those there are, or
// changes nothing. The line end at the end of a file is not part of its secret.
// undo puts the old ones back.
func (s *Secrets) Apply(specs []SecretSpec) (undo func(), err error) {
	next := make(map[string][]byte, len(specs))
	var faults []error
	for _, x := range specs {
		v := []byte(x.Value)
		if x.File != "" {
			if v, err = readFile(x.File, MaxSecret); err != nil {
				faults = append(faults, fmt.Errorf("secret %q: %w", x.Name, err))
				continue
			}
			v = trimLineEnd(v)
		}
		if len(v) == 0 {
			faults = append(faults, fmt.Errorf("secret %q is empty", x.Name))
		}
		next[x.Name] = v
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	old := s.current.Swap(&next)
	return func() { s.current.Store(old) }, nil
}

// Secret is the secret called name.
func (s *Secrets) Secret(name string) ([]byte, bool) {
	m := s.current.Load()
	if m == nil {
		return nil, false
	}
	v, ok := (*m)[name]
	return v, ok
}
