package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier tells systemd how the service is. The zero value tells nobody.
// Its methods may be called concurrently.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// NewNotifier takes NOTIFY_SOCKET and the watchdog's variables out of the
// environment.
func NewNotifier() Notifier {
	n := Notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 && us < 1<<50 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(v)
	}
	return n
}

// Watchdog is how long systemd waits for [Notifier.Alive] before it kills us;
// 0: it does not.
func (n Notifier) Watchdog() time.Duration { return n.watchdog }

// Ready says that we serve. status is shown by systemctl.
func (n Notifier) Ready(status string) error { return n.say("READY=1", "STATUS="+status) }

// Reloading says that the configuration is read again; Ready must follow.
func (n Notifier) Reloading() error {
	return n.say("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic()), "STATUS=reloading")
}

// Stopping says that we drain.
func (n Notifier) Stopping() error { return n.say("STOPPING=1", "STATUS=draining") }

// Status is shown by systemctl.
func (n Notifier) Status(text string) error { return n.say("STATUS=" + text) }

// Alive keeps the watchdog quiet.
func (n Notifier) Alive() error { return n.say("WATCHDOG=1") }

func (n Notifier) say(lines ...string) error {
	if n.socket == "" {
		return nil
	}
	for i, l := range lines {
		lines[i] = strings.Map(func(r rune) rune { // one line each
			if r < ' ' {
				return ' '
			}
			return r
		}, l)
	}
	// A leading @ is the abstract name space, for Go as for systemd.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err = c.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	return nil
}
