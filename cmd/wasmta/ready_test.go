package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A server that hangs is not ready, and who asks hears so in time.
func TestAServerThatHangsIsNotReady(t *testing.T) {
	dir, err := os.MkdirTemp("", "r") // a path of t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s")) // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(dir, "w.toml")
	text := "hostname='h.test'\ndata_dir='d'\n[[listener]]\naddress='127.0.0.1:0'\n[admin]\nsocket='" + l.Addr().String() + "'\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := readyCmd{configFlag: configFlag{Config: path}, Timeout: time.Millisecond}
	if err := c.Run(&env{ctx: t.Context()}); err == nil || exitCode(err) != exTempFail || !strings.Contains(err.Error(), "does not answer within 1ms") {
		t.Errorf("%v, exit %d", err, exitCode(err))
	}
}
