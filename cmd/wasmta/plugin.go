package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/manager"
	"github.com/wasmta/wasmta/hostapi/manifest"
	"github.com/wasmta/wasmta/hostapi/script"
)

type pluginCmd struct {
	List    pluginListCmd    `cmd:"" help:"List the plugins of the running server."`
	Inspect pluginInspectCmd `cmd:"" help:"Show what a module is and asks for, from its binary alone."`
	Load    pluginLoadCmd    `cmd:"" help:"Put another module file in force for a plugin."`
	Reload  pluginReloadCmd  `cmd:"" help:"Read the module of one plugin, or of all, again."`

	Rollback pluginRollbackCmd `cmd:"" help:"Put an earlier generation of a plugin in force."`

	New   pluginNewCmd   `cmd:"" help:"Begin a plugin: source, SDK, test and a server to try it with."`
	Build pluginBuildCmd `cmd:"" help:"Build a plugin with the toolchain of its language."`
	Test  pluginTestCmd  `cmd:"" help:"Play scripted sessions to a plugin and compare what it does."`
	SMTP  pluginSMTPCmd  `cmd:"" name:"smtp" help:"Run an SMTP server around one plugin on this machine, which shows its verdicts."`
	Fuzz  pluginFuzzCmd  `cmd:"" help:"Look for sessions and messages that make a plugin fail."`
}

type jsonFlag struct {
	JSON bool `name:"json" help:"Print one JSON object per line."`
}

type pluginListCmd struct {
	configFlag
	jsonFlag
}

func (c *pluginListCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	return c.print(e, server.Plugins(e.ctx))
}

type pluginLoadCmd struct {
	configFlag
	jsonFlag
	Name string `arg:"" help:"The plugin's name in the configuration."`
	File string `arg:"" help:"Module or script file. The configuration's module is back after the next SIGHUP or start."`
}

func (c *pluginLoadCmd) Run(e *env) error {
	file, err := filepath.Abs(c.File)
	if err != nil {
		return exit{exIOErr, err}
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	p, err := server.LoadPlugin(e.ctx, c.Name, file)
	if err != nil {
		return err
	}
	return c.print(e, func(yield func(admin.PluginStatus, error) bool) { yield(p, nil) })
}

type pluginReloadCmd struct {
	configFlag
	jsonFlag
	Name string `arg:"" optional:"" help:"The plugin's name; default: all."`
}

func (c *pluginReloadCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	return c.print(e, server.ReloadPlugins(e.ctx, c.Name))
}

type pluginRollbackCmd struct {
	configFlag
	jsonFlag
	Name       string `arg:"" help:"The plugin's name in the configuration."`
	Generation string `arg:"" optional:"" help:"Beginning of the generation's id, as list --json shows those that are kept; default: the one before."`
}

func (c *pluginRollbackCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	p, err := server.RollbackPlugin(e.ctx, c.Name, c.Generation)
	if err != nil {
		return err
	}
	return c.print(e, func(yield func(admin.PluginStatus, error) bool) { yield(p, nil) })
}

func (f jsonFlag) print(e *env, list iter.Seq2[admin.PluginStatus, error]) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	n := 0
	var faults []string
	for p, err := range list {
		if err != nil {
			return err
		}
		if f.JSON {
			if err := printJSON(e.out, p); err != nil {
				return exit{exIOErr, err}
			}
			continue
		}
		if n++; n == 1 {
			fmt.Fprintln(w, "NAME\tSTATE\tGENERATION\tSINCE\tSESSIONS\tHOOKS\tMODULE")
		}
		since := "-"
		if !p.Since.IsZero() {
			since = p.Since.Local().Format(timeLayout)
		}
		sessions := fmt.Sprint(p.Sessions)
		for _, d := range p.Draining {
			sessions += fmt.Sprintf("+%d(%s)", d.Sessions, d.Generation)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.State, p.Generation, since, sessions, strings.Join(p.Hooks, ","), visible(p.Module))
		if p.LastError != "" {
			faults = append(faults, fmt.Sprintf("%s: refused %s: %s", p.Name, p.ErrorTime.Local().Format(timeLayout), p.LastError))
		}
		for _, g := range p.Generations {
			if g.InForce && g.Breaker != "closed" {
				faults = append(faults, fmt.Sprintf("%s: not asked, its circuit breaker is %s: %s", p.Name, g.Breaker, g.Trouble))
			}
			if g.RolledBack != "" {
				faults = append(faults, fmt.Sprintf("%s: generation %s was rolled back: %s", p.Name, g.Generation, g.RolledBack))
			}
		}
	}
	if f.JSON {
		return nil
	}
	if n == 0 {
		fmt.Fprintln(w, "there are no plugins")
	}
	if err := w.Flush(); err != nil {
		return exit{exIOErr, err}
	}
	for _, text := range faults {
		printLines(e.out, "", text+"\n")
	}
	return nil
}

type pluginInspectCmd struct {
	jsonFlag
	Config string `placeholder:"FILE" help:"Configuration file: show also what its plugins with this module are granted, and what they lack."`
	File   string `arg:"" help:"Module or script file."`
}

func (c *pluginInspectCmd) Run(e *env) error {
	if info, err := os.Stat(c.File); err == nil && !info.Mode().IsRegular() {
		return exitf(exDataErr, "%q is not a regular file; give a .wasm file or a script", c.File) // reading a pipe could wait for ever
	}
	wasm, err := readModule(e.ctx, c.File)
	if err != nil {
		return err
	}
	var specs []hostapi.Spec
	if c.Config != "" {
		if specs, err = pluginsWith(c.File, c.Config, wasm); err != nil {
			return err
		}
	}
	report, text, loadable, err := e.inspect(wasm, specs)
	if err != nil {
		return exitf(exDataErr, "%s: %w", c.File, err)
	}
	if c.JSON {
		if err := printJSON(e.out, report); err != nil {
			return exit{exIOErr, err}
		}
	} else {
		printLines(e.out, "", text)
	}
	if !loadable {
		return exit{code: exDataErr}
	}
	return nil
}

// readModule reads a module, or makes it of a script.
func readModule(ctx context.Context, path string) ([]byte, error) {
	if !script.Is(path) {
		return readFile(path, manager.MaxModule)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, exit{fileCode(err), err}
	}
	wasm, err := script.Build(ctx, path)
	if err != nil {
		return nil, exit{exDataErr, err}
	}
	return wasm, nil
}

// pluginsWith are the plugins of a configuration whose module is this file,
// which is or makes wasm.
func pluginsWith(module, path string, wasm []byte) ([]hostapi.Spec, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, exit{exConfig, err}
	}
	here, err := os.Stat(module)
	if err != nil {
		return nil, exit{exIOErr, err}
	}
	var specs []hostapi.Spec
	for _, p := range cfg.Plugins {
		if info, err := os.Stat(p.Module); err != nil || !os.SameFile(here, info) {
			continue
		}
		spec, err := pluginSpec(p)
		if err == nil {
			spec.Manifest, _, err = manifest.Beside(p.Module, false)
		}
		if err == nil && spec.Manifest != nil && script.Is(p.Module) {
			spec.Manifest, err = manifest.Pin(spec.Manifest, fmt.Sprintf("%x", sha256.Sum256(wasm)))
		}
		if err != nil {
			return nil, exitf(exConfig, "plugin %q: %w", p.Name, err)
		}
		specs = append(specs, spec)
	}
	if len(specs) == 0 {
		return nil, exitf(exConfig, "%s: no [[plugin]] has module = %q", path, module)
	}
	return specs, nil
}

// readFile reads a file of at most limit octets; its errors have exit codes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, exit{fileCode(err), err}
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// fileCode is the exit code for a file that cannot be opened.
func fileCode(err error) int {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exNoInput
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	}
	return exIOErr
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, exit{exIOErr, err}
	case int64(len(b)) > limit:
		return nil, exitf(exDataErr, "%s is larger than %d octets", name, limit)
	}
	return b, nil
}
