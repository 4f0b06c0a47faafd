package hostapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// Config is a plugin's configuration as its guest reads it.
type Config struct {
	whole []byte
	keys  map[string][]byte
}

// ParseConfig takes a JSON object of at most abi.MaxConfig octets; nothing is
// the empty object.
func ParseConfig(raw json.RawMessage) (Config, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage("{}")
	}
	if len(raw) > abi.MaxConfig {
		return Config{}, fmt.Errorf("the plugin's configuration has %d octets; the limit is %d", len(raw), abi.MaxConfig)
	}
	var whole bytes.Buffer
	if err := json.Compact(&whole, raw); err != nil {
		return Config{}, fmt.Errorf("the plugin's configuration is not JSON: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(whole.Bytes(), &members); err != nil || members == nil {
		return Config{}, fmt.Errorf("the plugin's configuration must be a JSON object")
	}
	c := Config{whole.Bytes(), make(map[string][]byte, len(members))}
	for k, v := range members {
		var text string
		if v[0] == '"' && json.Unmarshal(v, &text) == nil {
			v = []byte(text)
		}
		c.keys[k] = v
	}
	return c, nil
}

// JSON is the whole configuration, compact.
func (c Config) JSON() []byte { return c.whole }

// config(key, klen, buf, cap): klen 0 is the whole as JSON. A key's value is
// its text if it is a string, and JSON otherwise.
func config(c *Call, m Memory, p []uint64) int64 {
	key, dst := in(m, p[0], p[1]), out(m, p[2], p[3])
	if len(key) == 0 {
		return c.output(dst, c.guest.Config.whole)
	}
	v, ok := c.guest.Config.keys[string(key)]
	if !ok {
		return int64(abi.NotFound)
	}
	return c.output(dst, v)
}

// secret(name, nlen, buf, cap)
func secret(c *Call, m Memory, p []uint64) int64 {
	name, dst := in(m, p[0], p[1]), out(m, p[2], p[3])
	if !slices.Contains(c.guest.Grant.Secrets, string(name)) {
		return int64(abi.Denied)
	}
	if c.guest.Secrets == nil {
		return int64(abi.Unavailable)
	}
	v, ok := c.guest.Secrets.Secret(string(name))
	if !ok {
		return int64(abi.NotFound)
	}
	return c.output(dst, v)
}
