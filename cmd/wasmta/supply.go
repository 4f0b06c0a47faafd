package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/resolve"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/operator"
	"github.com/wasmta/wasmta/hostapi/outbound"
	"github.com/wasmta/wasmta/hostapi/state"
)

// queueRoom is what the memory of plugins leaves of the disk beyond min_free,
// so that it never takes the room in which the queue works.
const queueRoom = 512 << 20

// supplies are what plugins are given as far as their grants go.
type supplies struct {
	open     func() (*state.Store, error) // when the first plugin needs it
	memory   *state.Store
	opening  sync.Mutex // guards memory
	tables   *operator.Tables
	secrets  operator.Secrets
	keys     operator.Keys
	sinks    *operator.Sinks
	resolver *resolve.Resolver
	http     *outbound.Client
	pools    []config.Pool // as the server has them since it started
}

// newSupplies makes them; apply gives them their content. dir is where the memory of plugins is;
// empty: it is forgotten.
func newSupplies(cfg *config.Config, dir string, log event.Log) (*supplies, error) {
	servers := make([]string, len(cfg.DNS.Resolvers))
	for i, r := range cfg.DNS.Resolvers {
		servers[i] = string(r)
	}
	resolver, err := resolve.New(resolve.Options{Servers: servers})
	if err != nil {
		return nil, fmt.Errorf("[dns] resolvers: %w", err)
	}
	said := log.Program("plugin")
	s := &supplies{
		resolver: resolver,
		pools:    cfg.Pools,
		http:     outbound.New(outbound.Options{Addrs: resolver.Addrs}),
		tables:   operator.NewTables(said),
		sinks: operator.NewSinks(func(e hostapi.Event, data string) {
			subject := e.Message
			if subject == "" {
				subject = e.Session
			}
			log.PluginSaid(slog.LevelInfo, subject, e.Plugin, "event "+e.Topic+": "+data)
		}, said),
	}
	s.open = func() (*state.Store, error) {
		return state.Open(state.Options{Dir: dir, Logger: said, MinFree: uint64(cfg.Limits.MinFree) + queueRoom})
	}
	return s, nil
}

// kv is the memory of a plugin. Without a plugin that has one there is no store
// on the disk.
func (s *supplies) kv(name string, mb int) (hostapi.KV, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.memory == nil {
		var err error
		if s.memory, err = s.open(); err != nil {
			return nil, err
		}
	}
	return s.memory.Plugin(name, mb)
}

// apply reads the tables, secrets and keys of cfg and opens its sinks, or
// changes nothing. undo makes everything as it was.
func (s *supplies) apply(cfg *config.Config) (undo func(), err error) {
	var undos []func()
	undo = func() {
		for _, f := range slices.Backward(undos) {
			f()
		}
	}
	step := func(f func(), e error) {
		if e == nil {
			undos = append(undos, f)
		}
		err = errors.Join(err, e)
	}
	tables := make([]operator.TableSpec, len(cfg.Tables))
	for i, t := range cfg.Tables {
		typ, e := operator.ParseTableType(t.Type)
		err = errors.Join(err, e)
		tables[i] = operator.TableSpec{Name: t.Name, File: t.File, Type: typ}
	}
	step(s.tables.Apply(tables))
	var secrets []operator.SecretSpec
	for _, name := range slices.Sorted(maps.Keys(cfg.Secrets)) {
		x := cfg.Secrets[name]
		secrets = append(secrets, operator.SecretSpec{Name: name, File: x.File, Value: x.Value})
	}
	step(s.secrets.Apply(secrets))
	var keys []operator.KeySpec
	for _, name := range slices.Sorted(maps.Keys(cfg.Keys)) {
		keys = append(keys, operator.KeySpec{Name: name, File: cfg.Keys[name].File})
	}
	step(s.keys.Apply(keys))
	if err == nil {
		var sinks []operator.SinkSpec
		for _, e := range cfg.Events {
			sinks = append(sinks, operator.SinkSpec{Topics: e.Topics, File: e.File()})
		}
		step(s.sinks.Apply(sinks))
	}
	if err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

// services are those of one plugin.
func (s *supplies) services(spec hostapi.Spec) (hostapi.Services, error) {
	out := hostapi.Services{
		Resolver: dnsResolver{s.resolver}, HTTP: s.http, Keys: &s.keys, Secrets: &s.secrets, Tables: s.tables, Events: s.sinks,
		Pools: func(name string) bool {
			return slices.ContainsFunc(s.pools, func(p config.Pool) bool { return p.Name == name })
		},
	}
	g := &spec.Grant
	var faults []error
	missing := func(grant, name, what string) {
		faults = append(faults, fmt.Errorf("the grant %s names %q, and there is no such %s", grant, name, what))
	}
	for _, name := range g.Tables {
		if !s.tables.Has(name) {
			missing("tables", name, "[[table]]")
		}
	}
	for _, name := range g.Secrets {
		if _, ok := s.secrets.Secret(name); !ok {
			missing("secrets", name, "line in [secrets]")
		}
	}
	for _, name := range g.SignKeys {
		_, err := s.keys.Signer(name)
		if err != nil {
			_, err = s.keys.Secret(name)
		}
		if err != nil {
			missing("sign_keys", name, "line in [keys]")
		}
	}
	if g.KV.MB > 0 {
		var err error
		out.KV, err = s.kv(spec.Name, g.KV.MB)
		faults = append(faults, err)
	}
	return out, errors.Join(faults...)
}

func (s *supplies) close() error {
	s.sinks.Close()
	s.http.Close()
	s.opening.Lock()
	defer s.opening.Unlock()
	err := s.resolver.Close()
	if s.memory != nil {
		err = errors.Join(err, s.memory.Close())
	}
	return err
}

// dnsResolver lets guests ask the server's resolver.
type dnsResolver struct{ *resolve.Resolver }

// Lookup implements hostapi.Resolver.
func (r dnsResolver) Lookup(ctx context.Context, name string, typ uint16) (hostapi.Answer, error) {
	a, err := r.Resolver.Lookup(ctx, name, typ)
	answer := hostapi.Answer{Records: a.Data, TTL: a.TTL, Secure: a.Secure}
	var detail *resolve.Error
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, resolve.ErrNoDomain):
		return answer, abi.NXDomain
	case errors.Is(err, resolve.ErrBadName):
		return answer, abi.Invalid
	case errors.Is(err, resolve.ErrBogus):
		return answer, abi.Bogus
	case errors.As(err, &detail) && detail.Timeout(), ctx.Err() != nil:
		return answer, abi.Timeout
	}
	return answer, abi.ServFail
}

// memoryDir is where the memory of plugins is.
func memoryDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "plugins") }
