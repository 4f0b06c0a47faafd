package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/harness"
)

type pluginFuzzCmd struct {
	setup
	Time    time.Duration `default:"10s" placeholder:"TIME" help:"How long to look; default ${default}."`
	Seed    int64         `default:"1" placeholder:"N" help:"The same seed plays the same sessions; default ${default}."`
	Runs    int           `placeholder:"N" help:"End after N sessions, whatever the time."`
	Out     string        `default:"." placeholder:"DIR" help:"Directory for what is found; default: this one."`
	Verbose bool          `short:"v" help:"Show build commands."`
	Module  string        `arg:"" optional:"" default:"." help:"Module, script, or directory of source, which is built first; default: this directory."`
}

func (c *pluginFuzzCmd) Run(e *env) error {
	if c.Time <= 0 || c.Runs < 0 {
		return exitf(exUsage, "--time and --runs must be more than nothing")
	}
	if info, err := os.Stat(c.Out); err != nil {
		return exitf(exNoInput, "--out: %w", err)
	} else if !info.IsDir() {
		return exitf(exUsage, "--out %q is not a directory", c.Out)
	}
	p, err := openProject(c.Module)
	if err != nil {
		return err
	}
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	base, err := scenarioOf(cfg)
	if err != nil {
		return err
	}
	p.verbose(e, c.Verbose)
	wasm, manifest, err := p.module(e.ctx)
	if err != nil {
		return err
	}
	h, err := harness.New(version(), engine.UserCacheDir())
	if err != nil {
		return exit{exSoftware, err}
	}
	defer h.Close()
	ctx := e.ctx
	if c.Runs == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Time)
		defer cancel()
	}
	found := 0
	var broken error
	runs, err := h.Fuzz(ctx, base, wasm, json.RawMessage(manifest), harness.FuzzOptions{Seed: c.Seed, Runs: c.Runs, Found: func(f harness.Finding) {
		found++
		broken = errors.Join(broken, c.show(e, f))
	}})
	if err != nil {
		return loadError(c.Module, err)
	}
	if broken != nil {
		return exit{exCantCreat, broken}
	}
	if runs == 0 && found == 0 {
		return exitf(exTempFail, "the time was over before the first session: give more with --time")
	}
	fmt.Fprintf(e.out, "%s with seed %d: %s\n", count(runs, "session"), c.Seed, count(found, "failure"))
	if found > 0 {
		return exit{code: 1}
	}
	return nil
}

// scenarioOf is the world of a configuration, as far as a file can hold it.
func scenarioOf(cfg *config.Config) (*harness.Scenario, error) {
	p := cfg.Plugins[0]
	s := &harness.Scenario{
		Name: p.Name, OnError: p.OnError, Config: plain(p.Config).(map[string]any),
		Grant: harness.Grant{
			Envelope: p.Grant.Envelope, Headers: p.Grant.Headers, Body: p.Grant.Body, AuthPassword: p.Grant.AuthPassword, AttrsRead: p.Grant.AttrsRead,
			KV: harness.GrantKV{MB: p.Grant.KV.MB}, DNS: harness.GrantDNS{Zones: p.Grant.DNS.Zones},
			SignKeys: p.Grant.SignKeys, Secrets: p.Grant.Secrets, Tables: p.Grant.Tables, Events: p.Grant.Events,
		},
		Limits:  harness.Limits{MemoryMB: p.Limits.MemoryMB, CPUms: p.Limits.CPUms, WallMs: p.Limits.WallMs, Concurrent: p.Limits.Concurrent},
		Secrets: map[string]string{}, Keys: map[string]string{}, Tables: map[string]harness.Table{},
	}
	for _, g := range p.Grant.HTTP {
		s.Grant.HTTP = append(s.Grant.HTTP, harness.GrantHTTP{URL: g.URL, Methods: g.Methods, Private: g.Private})
	}
	// What is written down must not hold the operator's secrets and data: others
	// take their place.
	for _, name := range p.Grant.Secrets {
		s.Secrets[name] = "secret"
	}
	for _, name := range p.Grant.SignKeys {
		s.Keys[name] = "secret"
	}
	for _, name := range p.Grant.Tables {
		s.Tables[name] = harness.Table{}
		for _, t := range cfg.Tables {
			if t.Name == name {
				s.Tables[name] = harness.Table{Type: t.Type}
			}
		}
	}
	return s, nil
}

// plain makes numbers of JSON numbers of TOML.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // the decoder has checked it
		return f
	case []any:
		list := make([]any, len(v))
		for i, x := range v {
			list[i] = plain(x)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			if x != nil { // TOML has no null
				m[k] = plain(x)
			}
		}
		return m
	}
	return v
}

// show prints a failure and writes the scenario that replays it.
func (c *pluginFuzzCmd) show(e *env, f harness.Finding) error {
	text, err := f.Scenario.TOML()
	if err != nil {
		return err
	}
	kind := string(f.Failure.Fault)
	if f.Failure.Fault == hostapi.FaultCPU || f.Failure.Fault == hostapi.FaultDeadline {
		kind += " (its limit may be near on one machine and far on another)"
	}
	printLines(e.out, "", fmt.Sprintf("=== %s: %s: %s", f.Failure.Hook, kind, f.Failure.Detail))
	for _, p := range f.Transcript {
		showStep(e, "", p, false)
	}
	for n := 0; ; n++ {
		name := fmt.Sprintf("fuzz-%s-%s_test.toml", f.Failure.Hook, f.Failure.Fault)
		if n > 0 {
			name = fmt.Sprintf("fuzz-%s-%s-%d_test.toml", f.Failure.Hook, f.Failure.Fault, n)
		}
		path := filepath.Join(c.Out, name)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			continue
		}
		if err != nil {
			return err
		}
		_, err = file.Write(text)
		printLines(e.out, "", fmt.Sprintf("    written to %s; play it with: wasmta plugin test %s %s", path, shellWord(c.Module), shellWord(path)))
		return errors.Join(err, file.Close())
	}
}
