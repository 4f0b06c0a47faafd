package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/mta"
)

// An instance whose memory grows during a session cannot be used for another. So
// there is room for garbage before the image is taken, and the collector begins
// when it is used up.
const (
	gcPercent = 10        // of the smallest heap that the collector knows, 4 MiB
	room      = 256 << 10 // octets; a plain hook makes a hundred
)

// prepareHeap leaves the heap as sessions are to find it.
func prepareHeap() {
	garbage := make([][]byte, room>>10)
	for i := range garbage {
		garbage[i] = make([]byte, 1<<10)
	}
	runtime.KeepAlive(garbage)
	garbage = nil
	debug.SetGCPercent(gcPercent)
	runtime.GC()
}

//go:wasmexport mta1_on_selftest
func selftest() int32 {
	if err := vm.selftest(); err != nil {
		mta.Log(mta.Error, err.Error())
		return int32(abi.Invalid)
	}
	return 0
}

// fail ends the instance, so that the plugin's on_error is the verdict. What a
// guest writes to standard error is logged and is part of the failure.
func fail(err error) {
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(1)
}
