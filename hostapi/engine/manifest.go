package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
	"github.com/wasmta/wasmta/hostapi/manifest"
)

// terms are what a plugin asks for and what it gets.
type terms struct {
	manifest *manifest.Manifest // nil: it asks for what the operator grants
	ignored  string             // why the manifest beside the module does not count
	grant    hostapi.Grant      // in effect
	missing  []string           // lines of [plugin.grant] for what it asks for in vain
	limits   hostapi.Limits     // the operator's, and where there is none what the manifest asks for
}

// settle finds the terms of a module under a configuration, or says why there
// are none.
func (d *Defaults) settle(r *Report, s *hostapi.Spec) (terms, error) {
	t := terms{manifest: r.manifest, limits: s.Limits}
	if s.Manifest != nil {
		beside, err := manifest.Parse(s.Manifest)
		switch {
		case err != nil:
			return t, err
		case beside.SHA256 == r.Hash:
			t.manifest = beside
		case r.manifest == nil:
			return t, fmt.Errorf("the manifest beside it is for the module with sha256 = %q; if it is for this one too, write sha256 = %q into it", beside.SHA256, r.Hash)
		default:
			t.ignored = fmt.Sprintf("it is for the module with sha256 = %q", beside.SHA256)
		}
	}
	t.grant, t.missing = t.manifest.Effective(s.Grant)
	if t.manifest == nil {
		return t, t.ungranted(r)
	}
	m := t.manifest
	if err := m.Fits(r.Hooks, r.Selftest); err != nil {
		return t, err
	}
	if err := m.CheckConfig(s.Config); err != nil {
		return t, err
	}
	if most := d.memoryMB(r); s.Limits.MemoryMB == 0 && m.MemoryMB > most {
		return t, fmt.Errorf("its manifest asks for %d MiB of memory, and it may have %d; add memory_mb = %d to its [plugin.limits]", m.MemoryMB, most, m.MemoryMB)
	} else if s.Limits.MemoryMB == 0 {
		t.limits.MemoryMB = m.MemoryMB
	}
	if s.Limits.CPU == 0 && m.CPUms > 0 {
		t.limits.CPU = time.Duration(m.CPUms) * time.Millisecond
		var err error
		hook.AllStages(func(st hook.Stage) {
			if most := d.Calls[st].CPU; err == nil && r.hooks.Has(st) && t.limits.CPU > most {
				err = fmt.Errorf("its manifest asks for %v of CPU time at %s, and it may have %v; add cpu_ms = %d to its [plugin.limits]", t.limits.CPU, st, most, m.CPUms)
			}
		})
		if err != nil {
			return t, err
		}
	}
	return t, t.ungranted(r)
}

func (d *Defaults) memoryMB(r *Report) int {
	if r.Go {
		return d.GoMemoryMB
	}
	return d.MemoryMB
}

// optional tells whether the plugin can do without an import module.
func (t *terms) optional(module string) bool {
	return module == abi.ModuleNone || t.manifest != nil && slices.Contains(t.manifest.Capabilities.Optional, module)
}

// ungranted says which capability modules r imports that are not granted, and
// what to do about each.
func (t *terms) ungranted(r *Report) error {
	var faults []string
	known := signatures()
	for _, module := range slices.Sorted(maps.Keys(r.Imports)) {
		line := t.grant.Missing(module)
		switch {
		case t.optional(module):
		case known[module] == nil:
			faults = append(faults, fmt.Sprintf("it imports from the module %q, which this server does not offer", module))
		case line == "":
		case t.manifest != nil && !t.asks(module):
			faults = append(faults, fmt.Sprintf("it imports from the module %q, which its manifest does not ask for; add %s to [capabilities] there", module, line))
		default:
			key, _, _ := strings.Cut(line, " ")
			for _, l := range t.missing {
				if strings.HasPrefix(l, key+" ") {
					line = l
				}
			}
			faults = append(faults, fmt.Sprintf("it imports from the module %q, which is not granted; add %s to its [plugin.grant]", module, line))
		}
	}
	if len(faults) > 0 {
		return errors.New(strings.Join(faults, "; "))
	}
	return nil
}

func (t *terms) asks(module string) bool {
	g := t.manifest.Asks()
	return g.Missing(module) == ""
}

// Review is what a configuration makes of a module.
type Review struct {
	Plugin   string   `json:"plugin"`
	Manifest string   `json:"manifest"` // module, file, or none: then it asks for what is granted
	Asks     []string `json:"asks"`     // lines of [plugin.grant]
	Granted  []string `json:"granted"`  // what is asked for and granted
	Missing  []string `json:"missing"`  // what is asked for and not granted; E_DENIED is what it gets
	MemoryMB int      `json:"memory_mb"`
	Problem  string   `json:"problem,omitempty"` // why it would not be loaded
}

// Review tells what the module may do as the plugin that s configures. It does
// not run the module.
func (r *Report) Review(s hostapi.Spec) Review {
	d := defaults().of(r)
	t, err := d.settle(r, &s)
	v := Review{Plugin: s.Name, Manifest: "none", Asks: manifest.Lines(t.grant), Granted: manifest.Lines(t.grant), Missing: t.missing, MemoryMB: t.limits.MemoryMB}
	if err != nil {
		v.Problem = oneLine(err.Error())
	}
	if v.MemoryMB == 0 {
		v.MemoryMB = d.memoryMB(r)
	}
	if t.manifest != nil {
		v.Manifest, v.Asks = "module", manifest.Lines(t.manifest.Asks())
		if t.manifest != r.manifest {
			v.Manifest = "file"
		}
	}
	return v
}

// linkOptional gives the plugin functions that answer E_DENIED for the modules
// that it can do without and this server does not offer. Those that the server
// offers answer so by themselves when they are not granted.
func (p *Plugin) linkOptional(ctx context.Context) error {
	known := signatures()
	types := func(list []meter.ValueType) ([]api.ValueType, error) {
		var out []api.ValueType
		for _, t := range list {
			if t != meter.I32 && t != meter.I64 {
				return nil, fmt.Errorf("it imports a function with a parameter of type %s: the contract has i32 and i64 only", t)
			}
			out = append(out, api.ValueType(t))
		}
		return out, nil
	}
	for module := range p.report.Imports {
		if known[module] != nil || !p.terms.optional(module) {
			continue
		}
		b := p.runtime.NewHostModuleBuilder(module)
		for _, i := range p.report.imports {
			if i.Module != module {
				continue
			}
			params, err1 := types(i.Signature.Params)
			results, err2 := types(i.Signature.Results)
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			if len(results) > 1 {
				return fmt.Errorf("it imports %q.%q with %d results: the contract has functions of one", module, i.Name, len(results))
			}
			code := int64(abi.Denied)
			denied := uint64(code)
			if len(results) == 1 && results[0] == api.ValueTypeI32 {
				denied = uint64(uint32(code))
			}
			b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
				ctx.(*callContext).instance.call.Count(i.Name)
				if len(results) == 1 {
					stack[0] = denied
				}
			}), params, results).Export(i.Name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", module, err)
		}
	}
	return nil
}

// Grant is what the plugin may do: what it asks for and the operator grants.
func (p *Plugin) Grant() hostapi.Grant { return p.terms.grant }

// Tick is the interval of the hook tick that the manifest asks for; 0: nothing.
func (p *Plugin) Tick() time.Duration {
	if m := p.terms.manifest; m != nil {
		return m.TickInterval()
	}
	return 0
}

// OnError is what the manifest says of failures; false: nothing.
func (p *Plugin) OnError() (hook.FailurePolicy, bool) {
	if m := p.terms.manifest; m != nil && m.OnError != "" {
		policy, err := hook.ParseFailurePolicy(m.OnError)
		return policy, err == nil
	}
	return 0, false
}
