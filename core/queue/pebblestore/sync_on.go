//go:build !wasmta_nosync

package pebblestore

import "github.com/cockroachdb/pebble/v2"

// durable says whether this build waits for the disk. It always does, except
// in the control build of the crash tests: see sync_off.go.
const durable = true

// writeOptions are those of every write that a caller may rely on.
func writeOptions() *pebble.WriteOptions { return pebble.Sync }
