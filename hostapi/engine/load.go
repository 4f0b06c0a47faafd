package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// Load makes a plugin of a module. A failure is a *LoadError. Compiling takes
// seconds for a large module; one is compiled at a time.
func (e *Engine) Load(ctx context.Context, spec hostapi.Spec, wasm []byte) (*Plugin, error) {
	p := &Plugin{engine: e, spec: spec, done: make(chan struct{})}
	fail := func(step string, err error) (*Plugin, error) {
		return nil, &LoadError{step, spec.Name, err}
	}
	limits := meter.Limits{}.WithDefaults()
	if len(wasm) > limits.ModuleBytes {
		return fail(StepInspect, fmt.Errorf("the module has %d octets, the limit is %d; strip its debug information", len(wasm), limits.ModuleBytes))
	}
	report, err := Inspect(wasm)
	if err != nil {
		return fail(StepInspect, err)
	}
	if len(report.Problems) > 0 {
		return fail(StepInspect, errors.New(strings.Join(report.Problems, "; ")))
	}
	p.report = report
	d := e.defaults.of(&report)
	if p.terms, err = d.settle(&report, &spec); err != nil {
		return fail(StepAuthorise, errors.New(oneLine(err.Error())))
	}
	p.spec.Grant, p.spec.Limits = p.terms.grant, p.terms.limits
	p.setLimits()
	p.minimum = int64(report.Memory.Min) * pageSize
	if p.minimum > p.memory {
		return fail(StepInspect, fmt.Errorf("it needs %d KiB of memory to start, its limit is %d MiB; link it with a smaller stack, or raise memory_mb",
			p.minimum>>10, p.memory>>20))
	}
	if err := p.authorise(); err != nil {
		return fail(StepAuthorise, err)
	}
	limits.MemoryPages = int(p.memory / pageSize)
	if p.shell, err = meter.Split(wasm, limits); err != nil {
		return fail(StepCompile, err)
	}
	p.depth = int32(limits.Depth)
	if err := p.prepare(ctx); err != nil {
		return fail(StepCompile, errors.New(oneLine(err.Error())))
	}
	if err := p.probe(ctx); err != nil {
		p.Close()
		return fail(StepProbe, err)
	}
	if p.terms.ignored != "" {
		e.opt.Logger.Warn("the manifest beside a module does not count, the one in it does", "plugin", spec.Name, "reason", p.terms.ignored)
	}
	if len(p.terms.missing) > 0 {
		e.opt.Logger.Warn("a plugin asks for more than it is granted; it is told so when it uses it", "plugin", spec.Name,
			"missing", strings.Join(p.terms.missing, "; "))
	}
	e.metrics.Commit(spec.Name, p.guest.Metrics)
	e.plugins.Store(p, struct{}{})
	return p, nil
}

// setLimits settles the limits of p: the operator's, or the defaults.
func (p *Plugin) setLimits() {
	d, l := p.engine.defaults.of(&p.report), &p.spec.Limits
	mb := d.memoryMB(&p.report)
	if l.MemoryMB > 0 {
		mb = min(l.MemoryMB, 4096)
	}
	p.memory = int64(mb) << 20
	p.concurrent = int64(d.Concurrent)
	if l.Concurrent > 0 {
		p.concurrent = int64(l.Concurrent)
	}
	p.limits, p.initial = d.Calls, d.Init
	for s := range p.limits {
		if l.CPU > 0 {
			p.limits[s].CPU = l.CPU
		}
		if l.Wall > 0 {
			p.limits[s].Wall = l.Wall
		}
	}
	p.initial.CPU, p.initial.Wall = max(p.initial.CPU, l.CPU), max(p.initial.Wall, l.Wall)
}

// authorise checks what the operator configured against what the module needs
// and what there is.
func (p *Plugin) authorise() error {
	s := &p.spec
	if !validName(s.Name) {
		return fmt.Errorf("the name %q must have 1 to 64 letters, digits, '.', '_' or '-'", s.Name)
	}
	config, err := hostapi.ParseConfig(s.Config)
	if err != nil {
		return err
	}
	for _, a := range s.Grant.AttrsRead {
		if owner, key, ok := strings.Cut(a, "/"); !ok || owner == "" || key == "" {
			return fmt.Errorf("the grant attrs_read has %q; write \"plugin/key\" or \"plugin/*\"", a)
		}
	}
	if err := s.Grant.Check(); err != nil {
		return err
	}
	var services hostapi.Services
	if p.engine.opt.Services != nil {
		if services, err = p.engine.opt.Services(*s); err != nil {
			return err
		}
	}
	if services.Passwords == nil {
		services.Passwords = p.engine.passwords
	}
	p.generation, err = identity(p.report.Hash, s)
	if err != nil {
		return err
	}
	now, random, started := p.engine.opt.Now, p.engine.opt.Random, p.engine.started
	if now == nil {
		now = time.Now
	} else {
		started = now()
	}
	if random == nil {
		random = rand.Reader
	}
	p.guest = hostapi.Guest{
		Name:       s.Name,
		Generation: p.generation,
		Grant:      s.Grant,
		Config:     config,
		Script:     p.report.script,
		Version:    p.engine.opt.Version,
		Log:        p.log,
		LogLevel:   guestLogLevel(p.engine.opt.LogLevel),
		Now:        now,
		Random:     random,
		Started:    started,
		Metrics:    p.engine.metrics.Begin(s.Name),
		Services:   services,
	}
	return nil
}

func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if r != '.' && r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}

// identity is what tells one generation of a plugin from another: the module
// and the manifest beside it, the configuration, the grant and the limits in
// effect.
func identity(hash string, s *hostapi.Spec) (string, error) {
	var config any
	if len(bytes.TrimSpace(s.Config)) > 0 {
		d := json.NewDecoder(bytes.NewReader(s.Config))
		d.UseNumber()
		if err := d.Decode(&config); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal([]any{hash, config, s.Grant, s.Limits, s.Manifest})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6]), nil
}

// prepare compiles the metered code in a runtime of its own.
func (p *Plugin) prepare(ctx context.Context) error {
	p.runtime = wazero.NewRuntimeWithConfig(ctx, p.engine.config)
	err := errors.Join(link(ctx, p.runtime), p.linkOptional(ctx))
	if err == nil {
		p.compiled, err = p.engine.compile(ctx, p.runtime, p.shell.Code)
	}
	if err != nil {
		return errors.Join(err, p.runtime.Close(ctx))
	}
	p.shell.Code = nil // the compiled one is what counts from now on
	p.module = wazero.NewModuleConfig().WithName("").WithStartFunctions()
	return nil
}

// probe starts the plugin once, as a session would.
func (p *Plugin) probe(ctx context.Context) error {
	i, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer i.close()
	p.capture(i)
	if !p.report.Selftest {
		return nil
	}
	code, err := i.run(ctx, "selftest", i.mod.ExportedFunction(abi.ExportSelftest), nil, p.initial)
	if err != nil {
		return err
	}
	if code != 0 {
		return p.fail("selftest", hostapi.FaultInit, "%s returned %d%s", abi.ExportSelftest, code, i.said())
	}
	return nil
}

// Stages are the hooks that p subscribes to.
func (p *Plugin) Stages() hook.StageSet { return p.report.hooks }
