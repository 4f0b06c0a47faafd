//go:build !wasip1

package main

// gcPercent is the default.
const gcPercent = 100

// fail is what a failure looks like to a test that runs outside the sandbox.
func fail(err error) { panic(err) }
