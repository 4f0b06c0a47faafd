package config

// Trace is [trace]: what wasmta explain tells.
type Trace struct {
	Enabled bool     `toml:"enabled"`
	MaxSize Size     `toml:"max_size"` // of all its files
	Keep    Duration `toml:"keep"`
}

// Limits of [trace]: less than the least holds no record, more than the most is
// more than can be looked through.
const (
	leastTrace = 8 << 20
	mostTrace  = 64 << 30
)

func (c *Config) checkTrace(p *checker) {
	if n := c.Trace.MaxSize; n < leastTrace || n > mostTrace {
		p.fault("trace.max_size", "max_size must be between 8MB and 64GB; enabled = false switches the trace off")
	}
	if k := c.Trace.Keep; k < Minute || k > 366*Day {
		p.fault("trace.keep", "keep must be between \"1m\" and \"366d\"; enabled = false switches the trace off")
	}
}
