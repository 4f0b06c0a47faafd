package hostapi

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/wasmta/wasmta/core/hook"
)

// Spec is one plugin as the operator configured it.
type Spec struct {
	Name      string   // unique; also the namespace of its attributes
	Module    string   // path of a .wasm file; with Dev also of a directory of Go source
	Listeners []string // sessions of these listeners only; empty: all
	OnError   hook.FailurePolicy
	Dev       bool            // watch Module and load it again when it changes
	Config    json.RawMessage // handed to the plugin; {} if there is none
	Grant     Grant
	Limits    Limits
}

// Access is how far a grant reaches.
type Access uint8

const (
	None Access = iota
	Read
	Write // includes Read
)

// ParseAccess reads the configuration's word.
func ParseAccess(s string) (Access, error) {
	switch s {
	case "", "none":
		return None, nil
	case "read":
		return Read, nil
	case "write":
		return Write, nil
	}
	return None, fmt.Errorf("access %q: write none, read or write", s)
}

// String is the configuration's word.
func (a Access) String() string { return [...]string{"none", "read", "write", ""}[a&3] }

// Grant is what a plugin may do. The zero Grant lets it read the facts of the
// connection and the envelope, keep attributes, log, and give verdicts: no
// more.
type Grant struct {
	Envelope     Access   // Read is given to all; Write: change paths and recipients
	Headers      Access   // of the content
	Body         Access   // of the content; Write is not offered yet
	AuthPassword bool     // read AUTH secrets
	AttrsRead    []string // attributes of other plugins, "plugin/key" or "plugin/*"
}

// Limits bound one plugin. Zero fields take the default.
type Limits struct {
	MemoryMB   int           // linear memory of an instance; default 16, for guests with Go's runtime 64
	CPU        time.Duration // of one hook call; default by hook, see the engine
	Wall       time.Duration // of one hook call with host calls; default by hook
	Concurrent int           // instances at once; default 1000
}
