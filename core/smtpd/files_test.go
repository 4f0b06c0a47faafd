package smtpd

import "testing"

// Sessions do not take the files that the queue needs.
func TestSessionsLeaveFilesForTheQueue(t *testing.T) {
	for _, c := range []struct {
		sessions int
		files    uint64
		want     int
	}{
		{20_000, 0, 20_000}, {20_000, 1, 1}, {20_000, 64, 16}, {20_000, 1024, 256}, {100, 1024, 100}, {20_000, 1<<64 - 1, 20_000}, {-1, 64, -1},
	} {
		if got := capSessions(c.sessions, c.files); got != c.want {
			t.Errorf("%d sessions with %d files: %d, want %d", c.sessions, c.files, got, c.want)
		}
	}
}
