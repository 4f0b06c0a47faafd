package main

import (
	"os"

	"github.com/wasmta/wasmta/sdk/go/mta"
)

// gcPercent is set for the sessions.
const gcPercent = 100

// fail ends the instance, so that the plugin's on_error is the verdict.
func fail(err error) {
	mta.Log(mta.Error, err.Error())
	os.Exit(1)
}
