package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// insideNamespace is set in the environment of the process that is in the namespace.
const insideNamespace = "WASMTA_LAB_NAMESPACE"

// enterNamespace runs this program again in a network namespace of its own, whose loopback interface has the addresses
// of the scene.
func enterNamespace(ctx context.Context, f flags, args []string, out, errs io.Writer) (int, error) {
	if os.Getuid() != 0 {
		return 2, errors.New("-netns needs root; without it, everything is at loopback addresses and free ports")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return 2, errors.New("-netns needs ip (Debian: iproute2)")
	}
	if f.wasmta == "" {
		dir, err := os.MkdirTemp("", "wasmta-lab-")
		if err != nil {
			return 2, err
		}
		defer os.RemoveAll(dir)
		f.wasmta = filepath.Join(dir, "wasmta")
		c := exec.CommandContext(ctx, "go", "build", "-o", f.wasmta, "github.com/wasmta/wasmta/cmd/wasmta")
		if text, err := c.CombinedOutput(); err != nil {
			return 2, fmt.Errorf("go build: %w\n%s", err, text)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 2, err
	}
	c := exec.CommandContext(ctx, "sh", "-c", `ip link set lo up && ip address add 192.0.2.1/24 dev lo && exec "$@"`, "sh", self)
	c.Args = append(c.Args, args...)
	c.Args = append(c.Args, "-wasmta", f.wasmta)
	c.Env = append(os.Environ(), insideNamespace+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, out, errs
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	err = c.Run()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() >= 0 {
		return status.ExitCode(), nil
	}
	if err != nil {
		return 2, fmt.Errorf("no network namespace: %w", err)
	}
	return 0, nil
}
