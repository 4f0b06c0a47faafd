package main

import (
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
)

// pluginSpec translates a [[plugin]] of a configuration that config has
// checked.
func pluginSpec(p config.Plugin) (hostapi.Spec, error) {
	s := hostapi.Spec{
		Name: p.Name, Module: p.Module, Listeners: p.Listeners, Dev: p.Dev, Tick: p.Tick.Std(), OnErrorGiven: p.OnError != "",
		Grant: hostapi.Grant{
			AuthPassword: p.Grant.AuthPassword, AttrsRead: p.Grant.AttrsRead,
			KV: hostapi.KVGrant(p.Grant.KV), DNS: hostapi.DNSGrant(p.Grant.DNS),
			SignKeys: p.Grant.SignKeys, Secrets: p.Grant.Secrets, Tables: p.Grant.Tables, Events: p.Grant.Events,
		},
		Limits: hostapi.Limits{
			MemoryMB: p.Limits.MemoryMB, Concurrent: p.Limits.Concurrent,
			CPU: time.Duration(p.Limits.CPUms) * time.Millisecond, Wall: time.Duration(p.Limits.WallMs) * time.Millisecond,
		},
	}
	for _, h := range p.Grant.HTTP {
		s.Grant.HTTP = append(s.Grant.HTTP, hostapi.HTTPGrant(h))
	}
	var err error
	if s.OnError, err = hook.ParseFailurePolicy(p.OnError); err != nil {
		return s, err
	}
	for _, g := range []struct {
		to   *hostapi.Access
		word string
	}{{&s.Grant.Envelope, p.Grant.Envelope}, {&s.Grant.Headers, p.Grant.Headers}, {&s.Grant.Body, p.Grant.Body}} {
		if *g.to, err = hostapi.ParseAccess(g.word); err != nil {
			return s, err
		}
	}
	s.Config, err = p.ConfigJSON()
	return s, err
}
