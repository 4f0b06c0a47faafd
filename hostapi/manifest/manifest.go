package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/outbound"
)

// MaxSize is the largest manifest that is read, in octets.
const MaxSize = 64 << 10

// Limits of the elements of a manifest.
const (
	maxList = 256  // elements of one list
	maxText = 1024 // octets of one text

	maxTick = 7 * 24 * time.Hour // interval of the hook tick
)

// Manifest is what a plugin says of itself. The zero value of a field says
// nothing.
type Manifest struct {
	Name    string   `json:"name"` // required; for people: the namespace is the operator's name for the plugin
	Version string   `json:"version,omitempty"`
	ABI     string   `json:"abi,omitempty"`    // "1.0": the lowest version of the contract that will do
	Hooks   []string `json:"hooks"`            // required; "on_rcpt": exactly those that are exported
	SHA256  string   `json:"sha256,omitempty"` // of the module, in hex; required in a file beside it

	Instance string `json:"instance,omitempty"`  // "session", the only one there is
	OnError  string `json:"on_error,omitempty"`  // unless the operator says otherwise
	MemoryMB int    `json:"memory_mb,omitempty"` // of one instance
	CPUms    int    `json:"cpu_ms,omitempty"`    // of one hook call
	Tick     string `json:"tick,omitempty"`      // "1m": the interval of the hook tick, unless the operator says otherwise

	Capabilities Capabilities `json:"capabilities,omitzero"`
	ConfigSchema *Schema      `json:"config_schema,omitempty"`
}

// Capabilities are the rights that a plugin asks for, in the words of
// [plugin.grant], and which import modules it can do without.
type Capabilities struct {
	Envelope     string   `json:"envelope,omitempty"`
	Headers      string   `json:"headers,omitempty"`
	Body         string   `json:"body,omitempty"`
	AuthPassword bool     `json:"auth_password,omitempty"`
	AttrsRead    []string `json:"attrs_read,omitempty"`
	KV           *KV      `json:"kv,omitempty"`
	DNS          *DNS     `json:"dns,omitempty"`
	HTTP         []HTTP   `json:"http,omitempty"`
	SignKeys     []string `json:"sign_keys,omitempty"`
	Secrets      []string `json:"secrets,omitempty"`
	Tables       []string `json:"tables,omitempty"`
	Events       []string `json:"events,omitempty"`
	Optional     []string `json:"optional,omitempty"` // import modules whose functions may answer E_DENIED
}

// KV asks for memory that lasts.
type KV struct {
	MB int `json:"mb"` // at most
}

// DNS asks for look-ups.
type DNS struct {
	Zones []string `json:"zones"` // "*": all
}

// HTTP asks for requests to addresses that begin with URL.
type HTTP struct {
	URL     string   `json:"url"`
	Methods []string `json:"methods,omitempty"` // none: GET
}

// Parse reads a manifest as JSON.
func Parse(data []byte) (*Manifest, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("the manifest has %d octets; the limit is %d", len(data), MaxSize)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var m *Manifest
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("the manifest is not understood: %s", oneLine(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the manifest must be one JSON object, and more follows")
	}
	if m == nil {
		return nil, errors.New("the manifest must be a JSON object")
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("the manifest: %s", oneLine(err))
	}
	return m, nil
}

// ParseTOML reads a manifest as TOML.
func ParseTOML(data []byte) (*Manifest, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("the manifest has %d octets; the limit is %d", len(data), MaxSize)
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, fmt.Errorf("the manifest is not TOML: line %d, column %d: %s", line, column, oneLine(err))
		}
		return nil, fmt.Errorf("the manifest is not TOML: %s", oneLine(err))
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("the manifest is not understood: %s", oneLine(err))
	}
	return Parse(b)
}

// oneLine is an error's text, bounded and fit for a log: parts of it are the
// author's.
func oneLine(err error) string {
	s := hostapi.Printable(err.Error())
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + "..."
	}
	return s
}

// check tells what is wrong with the values.
func (m *Manifest) check() error {
	if m.Name == "" {
		return errors.New(`it needs a name, such as name = "greylist"`)
	}
	if m.Hooks == nil {
		return errors.New(`it needs hooks, exactly those that the module exports, such as hooks = ["on_rcpt"]`)
	}
	if _, _, err := m.abi(); err != nil {
		return err
	}
	if m.SHA256 != "" {
		if b, err := hex.DecodeString(m.SHA256); err != nil || len(b) != 32 || strings.ToLower(m.SHA256) != m.SHA256 {
			return fmt.Errorf("sha256 = %q: write the 64 hex digits, in lower case, of the module's hash", m.SHA256)
		}
	}
	if m.Instance != "" && m.Instance != "session" {
		return fmt.Errorf("instance = %q: an instance serves one session; write \"session\"", m.Instance)
	}
	if _, err := hook.ParseFailurePolicy(m.OnError); err != nil {
		return err
	}
	if m.MemoryMB < 0 || m.MemoryMB > 4096 {
		return fmt.Errorf("memory_mb = %d: write 1 to 4096", m.MemoryMB)
	}
	if m.Tick != "" {
		if d, err := time.ParseDuration(m.Tick); err != nil || d < time.Second || d > maxTick {
			return fmt.Errorf("tick = %q: write an interval from \"1s\" to \"168h\", such as \"1m\"", m.Tick)
		}
		if !slices.Contains(m.Hooks, "on_tick") {
			return fmt.Errorf("tick = %q, and hooks has no \"on_tick\"", m.Tick)
		}
	}
	if m.CPUms < 0 || m.CPUms > 1<<20 {
		return fmt.Errorf("cpu_ms = %d: write 1 to 1048576", m.CPUms)
	}
	return errors.Join(m.Capabilities.check(), m.checkTexts())
}

func (c *Capabilities) check() error {
	for _, a := range []struct{ key, word string }{{"envelope", c.Envelope}, {"headers", c.Headers}, {"body", c.Body}} {
		if _, err := hostapi.ParseAccess(a.word); err != nil {
			return fmt.Errorf("capabilities: %s: %w", a.key, err)
		}
	}
	if c.KV != nil && (c.KV.MB < 1 || c.KV.MB > 1<<20) {
		return fmt.Errorf("capabilities: kv: mb = %d: write 1 to 1048576", c.KV.MB)
	}
	if c.DNS != nil && len(c.DNS.Zones) == 0 {
		return errors.New(`capabilities: dns: it needs zones, such as zones = ["*"]`)
	}
	for _, h := range c.HTTP {
		if _, err := outbound.ParsePlace(h.URL); err != nil {
			return fmt.Errorf("capabilities: http: url = %w", err)
		}
	}
	for _, o := range c.Optional {
		if !strings.HasPrefix(o, abi.Module+"_") {
			return fmt.Errorf("capabilities: optional has %q; write the name of an import module, such as \"mta1_http\"", o)
		}
	}
	return nil
}

// checkTexts bounds what is shown and compared.
func (m *Manifest) checkTexts() error {
	c := &m.Capabilities
	lists := [][]string{{m.Name, m.Version}, m.Hooks, c.AttrsRead, c.SignKeys, c.Secrets, c.Tables, c.Events, c.Optional}
	if c.DNS != nil {
		lists = append(lists, c.DNS.Zones)
	}
	if len(c.HTTP) > maxList {
		return fmt.Errorf("a list has %d elements; the limit is %d", len(c.HTTP), maxList)
	}
	for _, h := range c.HTTP {
		lists = append(lists, h.Methods, []string{h.URL})
	}
	for _, list := range lists {
		if len(list) > maxList {
			return fmt.Errorf("a list has %d elements; the limit is %d", len(list), maxList)
		}
		for _, s := range list {
			if len(s) > maxText || hostapi.Printable(s) != s {
				return fmt.Errorf("%.100q: a text has at most %d octets and no control characters", s, maxText)
			}
		}
	}
	return nil
}

func (m *Manifest) abi() (major, minor int, err error) {
	if m.ABI == "" {
		return abi.Major, 0, nil
	}
	a, b, ok := strings.Cut(m.ABI, ".")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || major < 0 || minor < 0 {
		return 0, 0, fmt.Errorf("abi = %q: write major and minor number, \"%d.%d\"", m.ABI, abi.Major, abi.Minor)
	}
	return major, minor, nil
}

// Fits tells what of the manifest contradicts the module: the version of the
// contract, which this server must have, and the hooks. exported are the names
// of the stages whose hooks the module exports; selftest, whether it has one.
func (m *Manifest) Fits(exported []string, selftest bool) error {
	major, minor, _ := m.abi() // checked
	if major != abi.Major || minor > abi.Minor {
		return fmt.Errorf("the manifest asks for version %s of the contract; this server has %d.%d: it needs a newer server", m.ABI, abi.Major, abi.Minor)
	}
	const prefix = "on_"
	for _, h := range m.Hooks {
		name, ok := strings.CutPrefix(h, prefix)
		if !ok || !slices.Contains(exported, name) && (name != "selftest" || !selftest) {
			return fmt.Errorf("the manifest names the hook %q, which the module does not export; it exports %s", h, quoted(exported, prefix))
		}
	}
	for _, e := range exported {
		if !slices.Contains(m.Hooks, prefix+e) {
			return fmt.Errorf("the module exports the hook %q, which the manifest does not name; write hooks = [%s]", prefix+e, quoted(exported, prefix))
		}
	}
	return nil
}

func quoted(list []string, prefix string) string {
	if len(list) == 0 {
		return "none"
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(prefix + s)
	}
	return strings.Join(out, ", ")
}

// TickInterval is the interval of the hook tick; 0: the manifest says nothing.
func (m *Manifest) TickInterval() time.Duration {
	d, _ := time.ParseDuration(m.Tick) // checked
	return d
}

// CheckConfig checks a plugin's configuration, JSON or nothing, against the
// schema.
func (m *Manifest) CheckConfig(config json.RawMessage) error {
	if m.ConfigSchema == nil {
		return nil
	}
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage("{}")
	}
	return m.ConfigSchema.Check(config)
}
