// Embedded is a mail server inside another program, with its policy in plain
// Go: no WebAssembly, no configuration file.
//
//	go run ./examples/embedded DIR
//
// keeps queue and mail in DIR and listens on 127.0.0.1:2525.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

const settings = `
hostname = "mx.embedded.test"
data_dir = "data"
local_domains = ["embedded.test"]

[[listener]]
name = "mx"
role = "mx"
address = "127.0.0.1:%d"

[[route]]
domains = ["embedded.test"]
to = "maildir:./mail/{user}"
`

// policy answers like a plugin would: it refuses one mailbox and marks what it
// lets pass.
func policy(_ context.Context, e *hook.Event) (hook.Verdict, error) {
	switch e.Stage {
	case hook.Rcpt:
		if e.Tx.Envelope.Recipients[e.Recipient].ForwardPath.Unquoted() == "nobody" {
			return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.1.1", "There is no such mailbox")}, nil
		}
	case hook.Message:
		return hook.Verdict{}, e.EditHeader(func(h *mail.Header) error { return h.Insert(-1, "X-Embedded", "seen", false) })
	}
	return hook.Verdict{}, nil
}

// newServer makes a server that keeps everything in dir. Port 0 is any port.
func newServer(dir string, port int, log slog.Handler) (*core.Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c, err := config.Parse(fmt.Appendf(nil, settings, port), "embedded", dir)
	if err != nil {
		return nil, err
	}
	return core.New(core.Options{
		Config: c,
		Log:    event.NewLog(log),
		Source: hook.Static{{Name: "policy", Stages: hook.Stages(hook.Rcpt, hook.Message), Handler: hook.HandlerFunc(policy)}},
	})
}

func run(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := newServer(dir, 2525, event.NewLineHandler(os.Stderr, "mx.embedded.test", slog.LevelInfo))
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: embedded DIR")
		os.Exit(64)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}
