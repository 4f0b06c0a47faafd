package conformance

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/conformance/wat"
)

// Host is what is tested: it loads plugins.
type Host interface {
	// Load makes a plugin of a module. It fails for one that the contract does
	// not allow, and says why.
	Load(ctx context.Context, spec hostapi.Spec, wasm []byte) (Plugin, error)
	Close() error
}

// Plugin is a module that was loaded. An error of its instances should have a
// method Kind that tells its [hostapi.Fault].
type Plugin interface {
	hook.Opener
	Stages() hook.StageSet
	Close()
}

// Environment is what a host must stand on while it is tested.
type Environment struct {
	// Services gives each plugin that is loaded the services that the cases
	// count on.
	Services func(hostapi.Spec) (hostapi.Services, error)
	// Log takes what plugins log, from abi.LogDebug up.
	Log func(hostapi.Line)
	// Version is HOST_VERSION.
	Version string
}

// Factory starts a host.
type Factory func(t testing.TB, env Environment) Host

//go:embed calls modules golden/*/*.wat
var files embed.FS

// Results are what every case came to, to compare two hosts: the outcome, what
// changed, and what was logged.
type Results map[string]string

// Run tests a host with all cases.
func Run(t *testing.T, start Factory) Results {
	t.Helper()
	cases, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	return RunCases(t, start, cases)
}

// RunCases tests a host with some cases.
func RunCases(t *testing.T, start Factory, cases []Case) Results {
	t.Helper()
	k := &kit{services: newServices(t)}
	k.services.events = &k.log
	k.host = start(t, Environment{Services: k.services.of, Version: "kit",
		Log: func(l hostapi.Line) {
			k.log = append(k.log, fmt.Sprintf("%s: %q", [...]string{"debug", "info", "warn", "error"}[l.Level&3], l.Text))
		}})
	t.Cleanup(func() {
		if err := k.host.Close(); err != nil {
			t.Errorf("closing the host: %v", err)
		}
	})
	results := Results{}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			results[c.Name] = k.run(t, c)
		})
	}
	return results
}

// Golden are the modules of past releases, with what they came to then: a host
// that differs breaks plugins that are out there. One in Go is in golden too,
// and is for [ParseCase].
func Golden() ([]Case, error) { return read("golden", parseModules) }

// ParseCase reads a case whose module is made elsewhere from the comments in its
// source, lines that begin with //!.
func ParseCase(file, source string, wasm []byte) (Case, error) {
	list, err := parseModules(file, strings.ReplaceAll(source, "\n//! ", "\n;;! "))
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("%s: %d cases; want one", file, len(list))
	}
	if err != nil {
		return Case{}, err
	}
	list[0].Wasm = wasm
	return list[0], nil
}

// Cases are all cases of the kit but the golden modules.
func Cases() ([]Case, error) {
	list, err := read("calls", parseCalls)
	if err != nil {
		return nil, err
	}
	modules, err := read("modules", parseModules)
	if err != nil {
		return nil, err
	}
	made, err := generated()
	if err != nil {
		return nil, err
	}
	list = slices.Concat(list, modules, made)
	seen := map[string]bool{}
	for _, c := range list {
		if seen[c.Name] {
			return nil, fmt.Errorf("%s: there are two cases %q", c.Place, c.Name)
		}
		seen[c.Name] = true
	}
	return list, nil
}

func read(dir string, parse func(file, content string) ([]Case, error)) (list []Case, err error) {
	err = fs.WalkDir(files, dir, func(p string, d fs.DirEntry, err error) error {
		if ext := path.Ext(p); err != nil || d.IsDir() || ext != ".calls" && ext != ".wat" && ext != ".wast" {
			return err
		}
		content, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		cases, err := parse(p, string(content))
		list = append(list, cases...)
		return err
	})
	return list, err
}

// kit is one run.
type kit struct {
	host     Host
	services *services
	log      []string
}

// run plays one case and returns what it came to.
func (k *kit) run(t *testing.T, c Case) string {
	wasm := c.Wasm
	if wasm == nil {
		var err error
		if wasm, err = wat.Assemble([]byte(c.Text)); err != nil {
			t.Fatalf("%s: %v", c.Place, err)
		}
	}
	k.log = nil
	p, err := k.host.Load(t.Context(), hostapi.Spec{Name: "p", Config: []byte(c.Config), Grant: c.Grant, Limits: c.Limits}, wasm)
	if err != nil {
		if c.Refused == nil {
			t.Fatalf("%s: it is not loaded: %v", c.Place, err)
		}
		for _, w := range c.Refused {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: it is refused with %q, which does not say %q", c.Place, err, w)
			}
		}
		return "refused"
	}
	defer p.Close()
	if c.Refused != nil {
		t.Fatalf("%s: it is loaded; it must be refused", c.Place)
	}
	var out []string
	var fault error
	w := newWorld()
	chain := hook.Chain{{Name: "p", Stages: p.Stages(), Handler: p}}
	conversation := chain.Open("mx", func(f hook.Failure) { fault = f.Err })
	defer conversation.Close()
	for i := range c.Sections {
		s := &c.Sections[i]
		stage, ok := s.stage()
		if !ok {
			if s.Hook == "init" || s.Hook == "selftest" {
				continue // it came with loading
			}
			t.Fatalf("%s: there is no hook %q", c.Place, s.Hook)
		}
		for _, word := range s.With {
			if err := w.change(word); err != nil {
				t.Fatalf("%s: %v", c.Place, err)
			}
		}
		fault = nil
		e := w.event(stage)
		before := w.show(e)
		o := conversation.Ask(t.Context(), e)
		got, edits := outcome(o, stage, fault), changes(before, w.show(e))
		if got != s.Want && !(s.Want == "fails" && fault != nil) {
			t.Errorf("%s:%d: at %s:\n got %s\nwant %s%s", file(c.Place), s.line, s.Hook, got, s.Want, k.said(fault))
		}
		if !slices.Equal(edits, s.Edits) {
			t.Errorf("%s:%d: at %s it changes\n got %q\nwant %q", file(c.Place), s.line, s.Hook, edits, s.Edits)
		}
		out = append(append(out, s.Hook+": "+got), edits...)
	}
	if c.Log != nil && !slices.Equal(k.log, c.Log) {
		t.Errorf("%s: logged\n got %q\nwant %q", c.Place, k.log, c.Log)
	}
	return strings.Join(append(out, k.log...), "\n")
}

func file(place string) string { return place[:strings.LastIndexByte(place, ':')] }

// said helps to see why.
func (k *kit) said(fault error) string {
	s := ""
	if fault != nil {
		s = fmt.Sprintf("\n%.300v", fault)
	}
	if len(k.log) > 0 {
		s += "\nlogged: " + strings.Join(k.log[max(0, len(k.log)-3):], "\n        ")
	}
	return s
}

// outcome is an outcome as cases write it.
func outcome(o hook.Outcome, s hook.Stage, fault error) string {
	var kind interface{ Kind() hostapi.Fault }
	switch {
	case fault == nil:
	case errors.As(fault, &kind):
		return "fails " + string(kind.Kind())
	default:
		return "fails verdict" // the chain found it
	}
	out := o.Action.String()
	if o.Reply != nil {
		r := o.ReplyAt(s)
		out += fmt.Sprintf(" %d %s %s", r.Code, r.Enhanced, strings.ReplaceAll(r.Text, "\n", "|"))
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{o.DetachTransaction, " detach_tx"}, {o.DetachSession, " detach_session"}, {o.NoReply, " no_reply"}} {
		if f.set {
			out += f.name
		}
	}
	return out
}
