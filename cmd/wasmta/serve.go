package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// runServe is the wiring of the server, in the order in which things are
// built: configuration, log, engine, plugins, core.
func (e *env) runServe(cfgPath, logFormat string) error {
	cfg, err := config.Load(cfgPath)
	if err != nil {
		return exit{exConfig, err}
	}
	if logFormat != "" {
		cfg.Log.Format = logFormat
	}
	specs, err := pluginSpecs(cfg)
	if err != nil {
		return exit{exConfig, err}
	}
	out := event.NewWriter(e.err)
	defer out.Flush()
	log := newLog(out, cfg)
	main := log.Program("wasmta")

	eng, err := newEngine(cfg, log)
	if err != nil {
		return err
	}
	defer eng.Close()
	main.Info("engine is ready", "version", version(), "wasm", eng.Kind())
	if eng.Kind() != "compiler" {
		main.Warn("plugins run in the interpreter, some 20 times slower: this machine does not let the engine make code executable " +
			"(systemd: remove MemoryDenyWriteExecute=yes) or has no compiler for its processor")
	}

	plugins := newManager(eng, log.Program("plugin"))
	defer plugins.Close(true)
	if err := plugins.Start(e.ctx, specs); err != nil {
		return exit{exConfig, err}
	}

	server, err := core.New(core.Options{Config: cfg, Source: plugins, Plugins: pluginControl{plugins}, Log: log, Fatal: func(msg string) {
		main.Error("the queue cannot be written, the server ends: "+msg, "exit", exTempFail)
		_ = out.Flush() // the process ends whatever comes of it
		os.Exit(exTempFail)
	}})
	if err != nil {
		return exit{exUnavailable, err}
	}
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	go plugins.Watch(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				if err := reload(manager.By(ctx, "SIGHUP"), cfgPath, cfg, plugins, server); err != nil {
					main.Error("reload failed, everything stays as it was", "error", err.Error())
				} else {
					main.Info("reloaded plugins and certificate")
				}
			}
		}
	}()
	return server.Run(ctx)
}

// reload puts the plugins and the certificate of the file in force, or nothing
// of it. What else has changed in the file needs a restart.
func reload(ctx context.Context, path string, running *config.Config, plugins *manager.Manager, server *core.Server) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	specs, err := pluginSpecs(cfg)
	if err != nil {
		return err
	}
	if cfg.TLS != running.TLS {
		return fmt.Errorf("%s: [tls] names other files; that needs a restart", path)
	}
	if err := plugins.Apply(ctx, specs); err != nil {
		return err
	}
	return server.ReloadCertificate()
}

func pluginSpecs(cfg *config.Config) ([]hostapi.Spec, error) {
	specs := make([]hostapi.Spec, len(cfg.Plugins))
	for i, p := range cfg.Plugins {
		var err error
		if specs[i], err = pluginSpec(p); err != nil {
			return nil, fmt.Errorf("plugin %q: %w", p.Name, err)
		}
	}
	return specs, nil
}

func newLog(w io.Writer, cfg *config.Config) event.Log {
	level := logLevel(cfg)
	if cfg.Log.Format == "json" {
		return event.NewLog(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return event.NewLog(event.NewLineHandler(w, cfg.Hostname, level))
}

func logLevel(cfg *config.Config) slog.Level {
	switch cfg.Log.Level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// guestLevel is the level of slog for one of the contract.
func guestLevel(l int32) slog.Level {
	switch l {
	case abi.LogDebug:
		return slog.LevelDebug
	case abi.LogWarn:
		return slog.LevelWarn
	case abi.LogError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

func newEngine(cfg *config.Config, log event.Log) (*engine.Engine, error) {
	wanted := abi.LogDebug
	for wanted < abi.LogError && guestLevel(wanted) < logLevel(cfg) {
		wanted++
	}
	return engine.New(engine.Options{
		CacheDir:  filepath.Join(cfg.DataDir, "compiled"),
		MaxMemory: int64(cfg.Limits.PluginMemory), Version: version(), LogLevel: wanted, Logger: log.Program("plugin"),
		Log: func(l hostapi.Line) {
			subject := l.Message
			if subject == "" {
				subject = l.Session
			}
			log.PluginSaid(guestLevel(l.Level), subject, l.Plugin, l.Text)
		},
	})
}
