package hook

import "time"

// Figures are what one hook of a plugin has done since it was loaded.
type Figures struct {
	Hook     string            `json:"hook"`
	Calls    uint64            `json:"calls"`              // that the plugin was asked
	Verdicts map[string]uint64 `json:"verdicts,omitempty"` // by action
	Failures map[string]uint64 `json:"failures,omitempty"` // by kind
	Skipped  uint64            `json:"skipped,omitempty"`  // its failure policy answered and it was not asked
	Wall     Histogram         `json:"wall"`               // from question to answer
	CPU      Histogram         `json:"cpu,omitzero"`       // of the guest; empty where it is not known
}

// Histogram tells how durations are spread.
type Histogram struct {
	Sum     time.Duration `json:"sum_ns"`
	Buckets []Bucket      `json:"buckets"` // rising; those without entries are left out
}

// Bucket counts durations up to LE that are above the bucket before.
type Bucket struct {
	LE    time.Duration `json:"le_ns"` // 0: without end
	Count uint64        `json:"count"`
}
