//go:build !wasip1

package main

// prepareHeap is of use to guests only.
func prepareHeap() {}

// fail is what a failure looks like to a test that runs outside the sandbox.
func fail(err error) { panic(err) }
