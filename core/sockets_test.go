package core

import (
	"testing"

	"github.com/wasmta/wasmta/core/config"
)

func TestFamily(t *testing.T) {
	for _, c := range []struct {
		address, other, want string
	}{
		{"0.0.0.0:25", "", "tcp4"},
		{"192.0.2.1:25", "", "tcp4"},
		{"[::]:25", "", "tcp"},
		{"[::]:25", "0.0.0.0:25", "tcp6"},
		{"[::]:25", "192.0.2.1:25", "tcp6"},
		{"[::]:25", "0.0.0.0:587", "tcp"},
		{"[::]:25", "unix:/run/smtp", "tcp"},
		{"0.0.0.0:25", "[::]:25", "tcp4"},
		{":25", "0.0.0.0:587", "tcp"},
		{"mx.example.org:25", "0.0.0.0:25", "tcp"},
	} {
		if got := family(c.address, []config.Listener{{Address: c.address}, {Address: c.other}}); got != c.want {
			t.Errorf("%s beside %q: %s, want %s", c.address, c.other, got, c.want)
		}
	}
}
