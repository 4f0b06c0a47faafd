package main

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/systemd"
)

// supervisor is what systemd is told, where it is there. What it does not hear
// is no reason to stop serving.
type supervisor struct {
	systemd.Notifier
	log *slog.Logger
}

func (s supervisor) heard(err error) {
	if err != nil {
		s.log.Warn("systemd cannot be told", "error", err.Error())
	}
}

func (s supervisor) ready(cfg *config.Config, more string) {
	s.heard(s.Ready("serving at " + count(len(cfg.Listeners), "listener") + more))
}

// reloaded says what came of a reload, and which keys of the file wait for a restart.
func (s supervisor) reloaded(cfg *config.Config, waiting []string, err error) {
	more := ""
	switch {
	case err != nil:
		more = "; the last reload failed: " + oneLine(err)
	case len(waiting) > 0:
		more = "; a restart is needed for " + strings.Join(waiting, " ")
	}
	s.ready(cfg, more)
}

// watchdog keeps systemd from killing us for as long as alive returns nil. What
// hangs keeps it from returning.
func (s supervisor) watchdog(ctx context.Context, alive func() error) {
	if s.Watchdog() == 0 {
		return
	}
	tick := time.NewTicker(s.Watchdog() / 3)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := alive(); err == nil {
			s.heard(s.Alive())
		} else if ctx.Err() == nil {
			s.log.Error("the server is not well; systemd will end it", "error", err.Error())
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// unused closes the sockets of systemd that no listener is for: clients would
// wait there for ever.
func unused(cfg *config.Config, sockets map[string][]net.Listener, log *slog.Logger) {
	for _, name := range slices.Sorted(maps.Keys(sockets)) {
		if slices.ContainsFunc(cfg.Listeners, func(l config.Listener) bool { return l.Address == "systemd:"+name }) {
			continue
		}
		log.Warn("systemd has handed over a socket that no listener is for; write address = \"systemd:NAME\", or disable the socket unit", "socket", name)
		for _, l := range sockets[name] {
			l.Close()
		}
	}
}

// asRoot warns of privileges that nothing here needs.
func asRoot(log *slog.Logger) {
	if os.Geteuid() == 0 {
		log.Warn("the server runs as root and needs no privilege but that of ports below 1024: let it run as a user of its own with " +
			"CAP_NET_BIND_SERVICE, as the unit of systemd that comes with it does")
	}
}
