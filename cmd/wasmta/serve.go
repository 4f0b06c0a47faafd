package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/systemd"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// Run serves. Who reads the log as JSON gets its last words in JSON too.
func (c *serveCmd) Run(e *env) error {
	cfg, err := config.Load(c.Config)
	format := c.LogFormat
	switch {
	case err != nil:
		err = exit{exConfig, err}
	case format == "":
		format = cfg.Log.Format
		fallthrough
	default:
		cfg.Log.Format = format
		err = e.runServe(cfg, c.Config)
	}
	if err == nil || format != "json" {
		return err
	}
	log := newLog(e.err, &config.Config{Log: config.Log{Format: format}}).Program("wasmta")
	code := exitCode(err)
	for _, fault := range faults(err) {
		log.Error("the server ends", "error", fault.Error(), "exit", code)
	}
	return exit{code: code}
}

// faults takes joined errors apart.
func faults(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// runServe is the wiring of the server, in the order in which things are
// built: log, engine, plugins, core. cfg was read from path.
func (e *env) runServe(cfg *config.Config, path string) error {
	k := checker{cfg: cfg}
	k.listeners()
	k.relay()
	k.routes()
	k.certificates(time.Now())
	if len(k.faults) > 0 {
		return exit{exConfig, errors.Join(k.faults...)}
	}
	specs, err := pluginSpecs(cfg)
	if err != nil {
		return exit{exConfig, err}
	}
	out := event.NewWriter(e.err)
	defer out.Flush()
	log := newLog(out, cfg)
	main := log.Program("wasmta")
	for _, w := range k.warnings {
		main.Warn(w.Error())
	}
	asRoot(main)
	super := supervisor{systemd.NewNotifier(), main}
	sockets, err := systemd.Sockets()
	if err != nil {
		return exit{exUnavailable, err}
	}
	unused(cfg, sockets, main)

	// Others may pass through to the maildrop; everything else in it is closed to them.
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return exit{exUnavailable, fmt.Errorf("data_dir: %w; create it, or set another one in %s", err, cfg.Path)}
	}
	gifts, err := newSupplies(cfg, memoryDir(cfg), log)
	if err != nil {
		return exit{exUnavailable, err}
	}
	defer func() {
		if err := gifts.close(); err != nil {
			main.Error("closing what plugins were given", "error", err.Error())
		}
	}()
	if _, err := gifts.apply(cfg); err != nil {
		return exit{exConfig, err}
	}
	eng, err := newEngine(cfg, log, gifts.services)
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
	if err := plugins.Start(e.ctx, specs); e.ctx.Err() != nil {
		main.Info("told to end before the plugins were ready")
		return nil
	} else if err != nil {
		return exit{exConfig, err}
	}

	server, err := core.New(core.Options{Config: cfg, Source: plugins, Plugins: pluginControl{plugins, eng}, Sockets: sockets, Log: log, Fatal: func(msg string) {
		main.Error("the queue cannot be written, the server ends: "+msg, "exit", exTempFail)
		_ = out.Flush() // the process ends whatever comes of it
		os.Exit(exTempFail)
	}})
	if err != nil {
		return exit{exUnavailable, err}
	}
	ctx, stop := context.WithCancel(e.ctx)
	ticked := make(chan struct{})
	defer func() { // no call may run while what plugins are given is closed
		stop()
		<-ticked
	}()
	go plugins.Watch(ctx)
	go func() {
		plugins.Tick(ctx)
		close(ticked)
	}()
	go gifts.tables.Watch(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go func() {
		super.ready(cfg, "") // here: a systemd that does not listen holds nobody up
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				super.heard(super.Reloading())
				waiting, err := reload(manager.By(ctx, "SIGHUP"), path, cfg, gifts, plugins, server, main)
				super.reloaded(cfg, waiting, err)
				if err != nil {
					main.Error("reload failed, everything stays as it was", "error", err.Error())
				} else {
					main.Info("reloaded plugins, what they are given, certificates and credentials")
				}
			}
		}
	}()
	watched, unwatch := context.WithCancel(context.Background()) // draining can hang as well
	go super.watchdog(watched, server.Alive)
	defer context.AfterFunc(ctx, func() { super.heard(super.Stopping()) })()
	err = server.Run(ctx)
	unwatch()
	if err != nil {
		return err
	}
	main.Info("stopped")
	return nil
}

// reload puts the plugins of the file, what they are given, the certificates and the credentials
// in force, or nothing of it. What else has changed in the file needs a restart, which is said; waiting are its keys.
func reload(ctx context.Context, path string, running *config.Config, gifts *supplies, plugins *manager.Manager, server *core.Server, log *slog.Logger) (waiting []string, err error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	specs, err := pluginSpecs(cfg)
	if err != nil {
		return nil, err
	}
	use, err := server.LoadCertificate(cfg)
	if err != nil {
		return nil, err
	}
	useCredentials, err := server.LoadCredentials(cfg)
	if err != nil {
		return nil, err
	}
	undo, err := gifts.apply(cfg)
	if err != nil {
		return nil, err
	}
	if err := plugins.Apply(ctx, specs); err != nil {
		undo()
		return nil, err
	}
	use()
	useCredentials()
	if waiting = restartKeys(running, cfg); len(waiting) > 0 {
		log.Warn("the configuration has changes that need a restart; they are not in force", "keys", strings.Join(waiting, " "))
	}
	return waiting, nil
}

// restartKeys are the parts of a configuration that differ and that a reload
// leaves as they are. The format of the log may come from the command line.
func restartKeys(a, b *config.Config) []string {
	var keys []string
	for _, part := range []struct {
		key  string
		a, b any
	}{
		{"hostname", a.Hostname, b.Hostname}, {"data_dir", a.DataDir, b.DataDir}, {"local_domains", a.LocalDomains, b.LocalDomains},
		{"relay_domains", a.RelayDomains, b.RelayDomains}, {"relay_networks", a.RelayNetworks, b.RelayNetworks},
		{"listener", a.Listeners, b.Listeners}, {"dns", a.DNS, b.DNS}, {"delivery", a.Delivery, b.Delivery}, {"route", a.Routes, b.Routes},
		{"queue", a.Queue, b.Queue}, {"limits", a.Limits, b.Limits}, {"admin", a.Admin, b.Admin}, {"acme", a.ACME, b.ACME},
		{"source", a.Sources, b.Sources}, {"pool", a.Pools, b.Pools}, {"shape", a.Shapes, b.Shapes},
		{"tls_report", a.TLSReport, b.TLSReport}, {"notify", a.Notify, b.Notify}, {"sendmail", a.Sendmail, b.Sendmail},
		{"trace", a.Trace, b.Trace}, {"log.level", a.Log.Level, b.Log.Level},
	} {
		if !reflect.DeepEqual(part.a, part.b) {
			keys = append(keys, part.key)
		}
	}
	return keys
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

func newEngine(cfg *config.Config, log event.Log, services func(hostapi.Spec) (hostapi.Services, error)) (*engine.Engine, error) {
	wanted := abi.LogDebug
	for wanted < abi.LogError && guestLevel(wanted) < logLevel(cfg) {
		wanted++
	}
	return engine.New(engine.Options{
		CacheDir: filepath.Join(cfg.DataDir, "compiled"), Services: services,
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
