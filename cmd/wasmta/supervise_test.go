//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/systemd"
)

// fakeSystemd is where a service that believes in systemd reports.
func fakeSystemd(t *testing.T) (heard func(want string) (before []string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // a path of t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func(want string) (all []string) {
		t.Helper()
		b := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(2 * time.Minute))
		for {
			n, err := l.Read(b)
			if err != nil {
				t.Fatalf("systemd has not heard %q, only %q", want, all)
			}
			if strings.Contains(string(b[:n]), want) {
				return all
			}
			all = append(all, string(b[:n]))
		}
	}
}

func TestWhatSystemdHears(t *testing.T) {
	heard := fakeSystemd(t)
	t.Setenv("WATCHDOG_USEC", "60000000")
	dir := t.TempDir()
	file := filepath.Join(dir, "wasmta.toml")
	body := fmt.Sprintf("hostname = 'mx.here.test'\ndata_dir = 'data'\n[[listener]]\naddress = '127.0.0.1:0'\n[limits]\nmin_free = '1MB'\n[admin]\nsocket = '%s'\n",
		filepath.Join(filepath.Dir(os.Getenv("NOTIFY_SOCKET")), "a"))
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := &env{ctx: ctx, in: os.Stdin, out: io.Discard, err: t.Output(), loadPlugins: loadPlugins, inspect: inspectModule}
	ended := make(chan int, 1)
	go func() { ended <- e.run([]string{"serve", "--config", file}) }()
	heard("READY=1\nSTATUS=serving at 1 listener")
	heard("WATCHDOG=1")
	hangup := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		heard("RELOADING=1\nMONOTONIC_USEC=")
	}
	hangup()
	heard("READY=1\nSTATUS=serving at 1 listener")
	if err := os.WriteFile(file, []byte(strings.Replace(body, "1MB", "2MB", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	heard("READY=1\nSTATUS=serving at 1 listener; a restart is needed for limits")
	if err := os.WriteFile(file, []byte("torn ="), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	heard("READY=1\nSTATUS=serving at 1 listener; the last reload failed: " + file + ":1:")
	cancel()
	heard("STOPPING=1")
	if code := <-ended; code != exOK {
		t.Errorf("exit %d", code)
	}
}

// What is ill or hangs gets no more time.
func TestWatchdog(t *testing.T) {
	heard := fakeSystemd(t)
	t.Setenv("WATCHDOG_USEC", "3000000")
	s := supervisor{systemd.NewNotifier(), slog.New(slog.DiscardHandler)}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		go s.watchdog(ctx, func() error {
			if asked++; asked > 2 {
				return errors.New("the disk is gone")
			}
			return nil
		})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		cancel()
		synctest.Wait()
		if asked != 11 {
			t.Errorf("asked %d times in 10 s, want once each second", asked)
		}
	})
	heard("WATCHDOG=1")
	heard("WATCHDOG=1")
	if err := s.Status("end"); err != nil {
		t.Fatal(err)
	}
	if before := heard("STATUS=end"); len(before) > 0 {
		t.Errorf("of a server that is ill systemd heard %q", before)
	}
}
