//go:build wasmta_nosync

package pebblestore

import "github.com/cockroachdb/pebble/v2"

// This build LOSES MAIL. It exists so that the crash tests can be shown to
// catch a missing sync: with it
//
//	go test -tags wasmta_nosync ./core/queue/pebblestore -run Crash
//
// must fail, and so must a kill -9 test of the whole server, since Pebble keeps
// the last part of its log in the memory of the process until a sync.
const durable = false

func writeOptions() *pebble.WriteOptions { return pebble.NoSync }
