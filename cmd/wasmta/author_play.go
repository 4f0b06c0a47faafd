package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/harness"
)

type pluginTestCmd struct {
	jsonFlag
	Verbose   bool     `short:"v" help:"Show build commands and what the plugin logs."`
	Module    string   `arg:"" optional:"" default:"." help:"Module, script, or directory of source, which is built first; default: this directory."`
	Scenarios []string `arg:"" optional:"" help:"Scenario files; default: *_test.toml and scenarios/*.toml beside the module. sdk/README.md has the format."`
}

func (c *pluginTestCmd) Run(e *env) error {
	p, err := openProject(c.Module)
	if err != nil {
		return err
	}
	files := c.Scenarios
	if len(files) == 0 {
		for _, pattern := range []string{"*_test.toml", "scenarios/*.toml"} {
			more, _ := filepath.Glob(filepath.Join(p.dir, pattern)) // the directory may hold what Glob takes for a pattern
			files = append(files, more...)
		}
		if len(files) == 0 {
			return exitf(exNoInput, "there is no scenario: write %s, or name files; wasmta plugin new writes one to begin with", filepath.Join(p.dir, "policy_test.toml"))
		}
	}
	var scenarios []*harness.Scenario
	var bad []error
	for _, file := range files {
		s, err := readScenario(file)
		if err != nil {
			bad = append(bad, err)
		}
		scenarios = append(scenarios, s)
	}
	if len(bad) > 0 {
		return scenarioError(errors.Join(bad...))
	}
	p.verbose(e, c.Verbose)
	wasm, manifest, err := p.module(e.ctx)
	if err != nil {
		return err
	}
	h, err := harness.New(version(), compiledDir())
	if err != nil {
		return exit{exSoftware, err}
	}
	defer h.Close()
	failed := 0
	for i, s := range scenarios {
		ok, err := c.play(e, h, files[i], s, wasm, manifest)
		if err != nil {
			return err
		}
		if !ok {
			failed++
		}
	}
	if err := c.usage(e, h.Usage()); err != nil {
		return exit{exIOErr, err}
	}
	if failed > 0 {
		if !c.JSON {
			fmt.Fprintf(e.out, "FAIL: %d of %s\n", failed, count(len(scenarios), "scenario"))
		}
		return exit{code: 1}
	}
	if !c.JSON {
		fmt.Fprintf(e.out, "ok: %s\n", count(len(scenarios), "scenario"))
	}
	return nil
}

func readScenario(file string) (*harness.Scenario, error) {
	data, err := readFile(file, harness.MaxScenario)
	if err != nil {
		return nil, err
	}
	return harness.Parse(data, file, filepath.Dir(file))
}

// scenarioError is what ends a command because of its scenarios.
func scenarioError(err error) error {
	var known exit
	if errors.As(err, &known) {
		return err
	}
	return exit{exDataErr, err}
}

// loadError is why a plugin did not load.
func loadError(path string, err error) error {
	var load *engine.LoadError
	if errors.As(err, &load) {
		return exitf(exDataErr, "%s: %s", path, oneLine(err))
	}
	var bad *harness.Error
	if errors.As(err, &bad) {
		return scenarioError(err)
	}
	return exit{exSoftware, err}
}

// stepLine is a step for machines.
type stepLine struct {
	Scenario string `json:"scenario"`
	harness.Played
}

func (c *pluginTestCmd) play(e *env, h *harness.Harness, file string, s *harness.Scenario, wasm []byte, manifest json.RawMessage) (bool, error) {
	subject, err := h.Load(e.ctx, s, wasm, manifest)
	if err != nil {
		return false, loadError(c.Module, err)
	}
	defer subject.Close()
	steps, err := subject.Play(e.ctx)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return false, exitf(exTempFail, "%s: interrupted", file)
		}
		return false, exit{exSoftware, err}
	}
	ok := true
	if !c.JSON {
		title := file
		if s.Title != "" {
			title += ": " + s.Title
		}
		printLines(e.out, "=== ", title)
	}
	for _, p := range steps {
		ok = ok && p.OK
		if c.JSON {
			if err := printJSON(e.out, stepLine{file, p}); err != nil {
				return false, exit{exIOErr, err}
			}
			continue
		}
		showStep(e, file, p, c.Verbose)
	}
	if c.JSON {
		return ok, printJSON(e.out, map[string]any{"scenario": file, "title": s.Title, "steps": len(steps), "ok": ok})
	}
	return ok, nil
}

func showStep(e *env, file string, p harness.Played, verbose bool) {
	word := "ok  "
	if !p.OK {
		word = "FAIL"
	}
	what := strings.TrimSpace(p.Do + " " + p.What)
	if p.Hook != "" && p.Hook != p.Do {
		what += " (" + p.Hook + ")"
	}
	printLines(e.out, "", fmt.Sprintf("%s %3d %s: %s", word, p.Step, what, strings.ReplaceAll(p.Verdict, "\n", " | ")))
	if verbose || !p.OK {
		for _, l := range p.Log {
			printLines(e.out, "         log: ", l)
		}
	}
	for _, f := range p.Faults {
		place := ""
		if p.Line > 0 {
			place = fmt.Sprintf("%s:%d: ", file, p.Line)
		}
		printLines(e.out, "       ", place+strings.ReplaceAll(f, "\n", " | "))
	}
}

// usage shows what the calls took.
func (c *pluginTestCmd) usage(e *env, list []harness.Usage) error {
	if c.JSON {
		for _, u := range list {
			if err := printJSON(e.out, u); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "HOOK\tCALLS\tFAILED\tFUEL\tABOUT\tMOST\tMEMORY\tHOST CALLS\t")
	for _, u := range list {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%d KiB\t%d\t\n", u.Hook, u.Calls, u.Failed, u.Fuel, millis(u.CPU), millis(u.MaxCPU), u.Memory>>10, u.HostCalls)
	}
	return w.Flush()
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.4f ms", float64(d)/float64(time.Millisecond))
}
