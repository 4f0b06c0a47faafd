package hostapi

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// Spec is one plugin as the operator configured it.
type Spec struct {
	Name      string   // unique; also the namespace of its attributes
	Module    string   // path of a .wasm file; with Dev also of a directory of Go source
	Listeners []string // sessions of these listeners only; empty: all
	OnError   hook.FailurePolicy
	Tick      time.Duration   // interval of the hook tick; 0: the manifest's
	Dev       bool            // watch Module and load it again when it changes
	Config    json.RawMessage // handed to the plugin; {} if there is none
	Grant     Grant
	Limits    Limits

	OnErrorGiven bool            // the operator chose OnError; otherwise a manifest may
	Manifest     json.RawMessage // that lies beside Module, with the hash of what it is for; nil: none
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
	Body         Access   // of the content; Write: replace it
	AuthPassword bool     // read AUTH secrets
	AttrsRead    []string // attributes of other plugins, "plugin/key" or "plugin/*"

	KV       KVGrant     // memory that outlives sessions
	DNS      DNSGrant    // queries of the server's resolver
	HTTP     []HTTPGrant // requests to these places
	SignKeys []string    // keys that the host signs with; the guest never sees them
	Secrets  []string    // texts of [secrets]
	Tables   []string    // of the operator's [[table]]
	Events   []string    // topics of events, or "*"
}

// KVGrant is kv = { mb = 16 }.
type KVGrant struct {
	MB int // keys and values together, in MiB; 0: not granted
}

// DNSGrant is dns = { zones = ["*"] }.
type DNSGrant struct {
	Zones []string // a name covers itself and all below; "*": all; empty: not granted
}

// HTTPGrant is one place of http = [{ url = "https://host/path/", methods = ["GET"] }].
type HTTPGrant struct {
	URL     string   // scheme://host[:port]/prefix
	Methods []string // empty: GET
	Private bool     // loopback, link-local and private addresses too
}

// Missing is the line that [plugin.grant] lacks for imports from a capability
// module; empty: none. A function of a module that is linked without its grant
// answers E_DENIED.
func (g *Grant) Missing(module string) string {
	switch {
	case module == abi.ModuleKV && g.KV.MB <= 0:
		return "kv = { mb = 16 }"
	case module == abi.ModuleDNS && len(g.DNS.Zones) == 0:
		return `dns = { zones = ["*"] }`
	case module == abi.ModuleHTTP && len(g.HTTP) == 0:
		return `http = [{ url = "https://host.example/path/", methods = ["GET"] }]`
	case module == abi.ModuleTable && len(g.Tables) == 0:
		return `tables = ["name"]`
	case module == abi.ModuleEvent && len(g.Events) == 0:
		return `events = ["topic"]`
	}
	return ""
}

// Limits bound one plugin. Zero fields take the default.
type Limits struct {
	MemoryMB   int           // linear memory of an instance; default 16, for guests with Go's runtime 64
	CPU        time.Duration // of one hook call; default by hook, see the engine
	Wall       time.Duration // of one hook call with host calls; default by hook
	Concurrent int           // instances at once; default 1000
}
