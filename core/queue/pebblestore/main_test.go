package pebblestore

import (
	"flag"
	"os"
	"testing"
)

// TestMain makes the random tests short; -rapid.checks=N on the command line
// makes them as long as one likes.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	if !durable { // fails on purpose; nothing to keep
		if err := flag.Set("rapid.nofailfile", "true"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
