package pebblestore

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// TestMain makes the random tests short; -rapid.checks=N and -rapid.steps=N on
// the command line make them as long as one likes.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"rapid.checks":     "10",
		"rapid.steps":      "20",
		"rapid.nofailfile": strconv.FormatBool(!durable), // that build fails on purpose
	} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
