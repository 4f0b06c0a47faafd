package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/gobuild"
	"github.com/wasmta/wasmta/hostapi/manager"
	"github.com/wasmta/wasmta/hostapi/script"
)

// newManager makes a manager whose plugins e runs, built from Go source where
// the configuration says so.
func newManager(e *engine.Engine, log *slog.Logger) *manager.Manager {
	return manager.New(manager.Options{
		Load: func(ctx context.Context, spec hostapi.Spec, wasm []byte) (manager.Loaded, error) {
			p, err := e.Load(ctx, spec, wasm)
			if err != nil {
				return nil, err // and not a nil *engine.Plugin
			}
			return p, nil
		},
		Build: build, Script: script.Is, Sources: gobuild.Sources, Log: log,
	})
}

// build makes a module of a script, or of a directory of Go.
func build(ctx context.Context, path string) ([]byte, error) {
	if script.Is(path) {
		return script.Build(ctx, path)
	}
	return gobuild.Build(ctx, path)
}

// loadPlugins loads plugins as the server would, and closes them again. loaded
// is called with the index of each, and the hooks that it answers or why it
// cannot be loaded. kind is how this machine runs them, as [engine.Engine.Kind]
// says it. Nothing of the data directory is touched.
func loadPlugins(ctx context.Context, cfg *config.Config, specs []hostapi.Spec, loaded func(i int, hooks []string, err error)) (kind string, err error) {
	quiet := event.NewLog(slog.DiscardHandler)
	gifts, err := newSupplies(cfg, "", quiet)
	if err != nil {
		return "", err
	}
	quietly := *cfg
	quietly.Events = nil // opens no files
	if _, err := gifts.apply(&quietly); err != nil {
		return "", errors.Join(err, gifts.close())
	}
	e, err := engine.New(engine.Options{Version: version(), CacheDir: engine.UserCacheDir(), Services: gifts.services})
	if err != nil {
		return "", errors.Join(err, gifts.close())
	}
	for i, spec := range specs {
		m := newManager(e, nil)
		err := m.Apply(ctx, []hostapi.Spec{spec})
		var hooks []string
		for _, s := range m.List() {
			hooks = append(hooks, s.Hooks...)
		}
		loaded(i, hooks, err)
		m.Close(true)
	}
	return e.Kind(), errors.Join(e.Close(), gifts.close())
}

// pluginControl lets the control interface act on a manager.
type pluginControl struct {
	manager *manager.Manager
	engine  *engine.Engine
}

// PluginSeries are the series of metrics that the plugins keep.
func (c pluginControl) PluginSeries() []admin.PluginSeries {
	kinds := map[int32]string{abi.MetricCounter: "counter", abi.MetricGauge: "gauge", abi.MetricHistogram: "histogram"}
	var list []admin.PluginSeries
	for _, s := range c.engine.Metrics() {
		out := admin.PluginSeries{Plugin: s.Plugin, Name: s.Name, Kind: kinds[s.Kind], Value: float64(s.Value)}
		for n, count := range s.Buckets {
			out.Buckets = append(out.Buckets, admin.Bucket{LE: math.Ldexp(1, n) - 1, Count: uint64(count)})
		}
		list = append(list, out)
	}
	return list
}

func (c pluginControl) ListPlugins() []admin.PluginStatus {
	var list []admin.PluginStatus
	for _, s := range c.manager.List() {
		p := admin.PluginStatus{
			Name: s.Name, Module: s.Module, State: string(s.State), Generation: s.Generation, Hash: s.Hash, Hooks: s.Hooks,
			Since: s.Since, Sessions: s.Sessions, LastError: s.LastError, ErrorTime: s.ErrorTime,
		}
		for _, g := range s.Generations {
			p.Generations = append(p.Generations, admin.PluginGeneration(g))
		}
		for _, d := range s.Draining {
			p.Draining = append(p.Draining, admin.DrainingSessions(d))
		}
		list = append(list, p)
	}
	return list
}

func (c pluginControl) LoadPlugin(ctx context.Context, name, file string) (admin.PluginStatus, error) {
	if err := c.manager.Load(manager.By(ctx, "control interface"), name, file); err != nil {
		return admin.PluginStatus{}, err
	}
	return c.status(name)
}

func (c pluginControl) RollbackPlugin(ctx context.Context, name, generation string) (admin.PluginStatus, error) {
	if err := c.manager.Rollback(manager.By(ctx, "control interface"), name, generation); err != nil {
		return admin.PluginStatus{}, err
	}
	return c.status(name)
}

func (c pluginControl) status(name string) (admin.PluginStatus, error) {
	for _, p := range c.ListPlugins() {
		if p.Name == name {
			return p, nil
		}
	}
	return admin.PluginStatus{}, fmt.Errorf("plugin %q was changed and is gone again: the configuration was read anew meanwhile", name)
}

func (c pluginControl) ReloadPlugins(ctx context.Context, name string) error {
	return c.manager.Reload(manager.By(ctx, "control interface"), name)
}

// inspectModule reports on a module from its binary alone, and on what each of
// the plugins that specs configure with it may do.
func inspectModule(wasm []byte, specs []hostapi.Spec) (any, string, bool, error) {
	r, err := engine.Inspect(wasm)
	if err != nil {
		return nil, "", false, err
	}
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", key+":", fmt.Sprintf(format, args...))
	}
	line("sha256", "%s", r.Hash)
	line("size", "%d octets, %s", r.Size, count(r.Functions, "function"))
	if r.ABI != "" {
		line("abi", "mta%s", r.ABI)
	}
	line("hooks", "%s", strings.Join(r.Hooks, " "))
	for _, m := range slices.Sorted(maps.Keys(r.Imports)) {
		line("imports", "%s: %s", m, strings.Join(r.Imports[m], " "))
	}
	if m := r.Memory; m != nil {
		most := "no maximum"
		if m.Max != nil {
			most = fmt.Sprintf("at most %d KiB", *m.Max*64)
		}
		line("memory", "%d KiB at the start, %s", m.Min*64, most)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Toolchain)) {
		line("made by", "%s", strings.Join(r.Toolchain[k], ", "))
	}
	if len(r.Manifest) > 0 {
		line("manifest", "%s", r.Manifest)
	}
	lines := func(key string, list []string) {
		if len(list) == 0 {
			list = []string{"nothing"}
		}
		for _, l := range list {
			line(key, "%s", l)
		}
	}
	lines("asks for", r.Asks)
	if len(r.Optional) > 0 {
		line("optional", "%s", strings.Join(r.Optional, " "))
	}
	for _, p := range r.Problems {
		line("problem", "%s", p)
	}
	good := len(r.Problems) == 0
	if good && len(specs) == 0 {
		line("verdict", "it can be loaded, if the configuration grants what it needs")
	}
	out := inspection{Report: r}
	for _, s := range specs {
		v := r.Review(s)
		out.Plugins = append(out.Plugins, v)
		fmt.Fprintf(&b, "\n")
		line("plugin", "%s, manifest: %s, memory: %d MiB", v.Plugin, v.Manifest, v.MemoryMB)
		if v.Manifest == "file" {
			lines("asks for", v.Asks)
		}
		lines("granted", v.Granted)
		lines("missing", v.Missing)
		if v.Problem != "" {
			line("problem", "%s", v.Problem)
			good = false
		} else if len(r.Problems) == 0 {
			line("verdict", "it can be loaded")
		}
	}
	return out, b.String(), good, nil
}

// inspection is what inspect tells a machine.
type inspection struct {
	engine.Report
	Plugins []engine.Review `json:"plugins,omitempty"`
}
