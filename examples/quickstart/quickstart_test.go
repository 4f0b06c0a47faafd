// Package quickstart_test runs what the quickstart shows.
package quickstart_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/gobuild"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// The policy, built to WebAssembly and run with the configuration of the
// quickstart, decides what the README says.
func TestQuickstart(t *testing.T) {
	c, err := config.Load("wasmta.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.RelayNetworks) > 0 || len(c.RelayDomains) > 0 {
		t.Error("the quickstart relays")
	}
	p := c.Plugins[0]
	settings, err := p.ConfigJSON()
	if err != nil {
		t.Fatal(err)
	}
	envelope, err1 := hostapi.ParseAccess(p.Grant.Envelope)
	headers, err2 := hostapi.ParseAccess(p.Grant.Headers)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	spec := hostapi.Spec{Name: p.Name, Module: p.Module, Dev: p.Dev, Config: settings, Grant: hostapi.Grant{Envelope: envelope, Headers: headers}}

	e, err := engine.New(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	m := manager.New(manager.Options{
		Load: func(ctx context.Context, s hostapi.Spec, wasm []byte) (manager.Loaded, error) {
			t.Logf("the policy has %d octets", len(wasm))
			return e.Load(ctx, s, wasm)
		},
		Build: gobuild.Build, Sources: gobuild.Sources, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err := m.Apply(t.Context(), []hostapi.Spec{spec}); err != nil {
		if errors.Is(err, gobuild.ErrNoGo) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	defer m.Close(true)
	chain, release := m.Acquire()
	defer release()
	k := chain.Open("mx", func(f hook.Failure) { t.Errorf("the policy fails at %s: %v", f.Stage, f.Err) })
	defer k.Close()

	client := &mail.Client{Listener: "mx"}
	event := func(stage hook.Stage, to string) *hook.Event {
		path, err := mail.ParseMailbox(to)
		if err != nil {
			t.Fatal(err)
		}
		header, err := mail.ParseHeader([]byte("Subject: hi\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		v := &hook.Event{Stage: stage, Tx: &hook.Transaction{}, Recipient: -1}
		v.Tx.Envelope.Recipients = []mail.Recipient{{ForwardPath: path}}
		switch stage {
		case hook.Rcpt:
			v.Session, v.Recipient = &hook.Session{Client: client}, 0
		case hook.Message:
			v.Session, v.Content = &hook.Session{Client: client}, &hook.Content{Header: header, Body: strings.NewReader("")}
		case hook.Route:
			v.Delivery = &hook.Delivery{Domain: path.DomainKey(), Attempt: 1}
		}
		return v
	}

	for to, want := range map[string]hook.Action{
		"blocked@quickstart.test": hook.Reject, "x@spam.test": hook.Reject,
		"ann@quickstart.test": hook.Continue, "x@elsewhere.test": hook.Continue,
	} {
		o := k.Ask(t.Context(), event(hook.Rcpt, to))
		if o.Action != want {
			t.Errorf("RCPT TO:<%s>: %s, want %s", to, o.Action, want)
		}
		if want == hook.Reject && o.Reply.String() != "550 5.7.1 this mailbox takes no mail" {
			t.Errorf("RCPT TO:<%s>: %s", to, o.Reply)
		}
	}
	v := event(hook.Message, "ann@quickstart.test")
	if o := k.Ask(t.Context(), v); o.Action != hook.Continue || v.Content.Header.Get("X-Wasmta-Quickstart") != "hello from the policy" {
		t.Errorf("message: %s, header section %q", o.Action, v.Content.Header.Bytes())
	}
	v = event(hook.Route, "bob@partner.quickstart.test")
	if o := k.Ask(t.Context(), v); o.Action != hook.Accept || len(v.Delivery.NextHops) != 1 || v.Delivery.NextHops[0].String() != "smtp:127.0.0.1:2526" {
		t.Errorf("route: %s, next hops %v", o.Action, v.Delivery.NextHops)
	}
	if o := k.Ask(t.Context(), event(hook.Route, "ann@quickstart.test")); o.Action != hook.Continue {
		t.Errorf("route of local mail: %s", o.Action)
	}
}

// The README must not promise what the files do not hold.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := os.ReadFile(filepath.Join("policy", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"this mailbox takes no mail", "X-Wasmta-Quickstart", "hello from the policy"} {
		if !strings.Contains(string(readme), text) || !strings.Contains(string(policy), text) {
			t.Errorf("%q is not in README.md and policy/main.go", text)
		}
	}
	if n := strings.Count(string(policy), "\n"); n >= 60 {
		t.Errorf("the policy has %d lines, and should have fewer than 60", n)
	}
}
