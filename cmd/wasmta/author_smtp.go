package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/smtpd"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

type pluginSMTPCmd struct {
	setup
	Listen  string `default:"127.0.0.1:2525" placeholder:"HOST:PORT" help:"Where to listen, on this machine only; default ${default}; port 0 takes a free one."`
	Count   int64  `placeholder:"N" help:"End after N messages."`
	Verbose bool   `short:"v" help:"Show build commands."`
	Module  string `arg:"" optional:"" default:"." help:"Module, script, or directory of source; built first, and again whenever it changes. Default: this directory."`
}

// smtpListener is the name of the one listener.
const smtpListener = "mx"

func (c *pluginSMTPCmd) Run(e *env) error {
	if err := loopback(c.Listen); err != nil {
		return err
	}
	p, err := openProject(c.Module)
	if err != nil {
		return err
	}
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wasmta-smtp-*")
	if err != nil {
		return exit{exCantCreat, err}
	}
	defer os.RemoveAll(dir)
	gifts, err := newSupplies(cfg, filepath.Join(dir, "plugins"), event.NewLog(slog.DiscardHandler))
	if err != nil {
		return exit{exConfig, err}
	}
	defer gifts.close()
	if _, err := gifts.apply(cfg); err != nil {
		return exit{exConfig, err}
	}
	w := &lockedWriter{w: e.out}
	wasm, err := engine.New(engine.Options{Version: version(), CacheDir: engine.UserCacheDir(), Services: gifts.services, Log: func(l hostapi.Line) {
		printLines(w, fmt.Sprintf("    %s log: ", session(l.Session)), l.Text)
	}})
	if err != nil {
		return exit{exSoftware, err}
	}
	defer wasm.Close()
	p.verbose(e, c.Verbose)
	live := &live{cmd: c, project: p, plugin: cfg.Plugins[0], engine: wasm, out: w}
	stamp := p.stamp()
	if err := live.renew(e.ctx); err != nil {
		return err
	}
	defer live.close()

	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	server, err := smtpd.New(smtpd.Options{
		Hostname: "localhost", Listener: smtpListener, Role: smtpd.MX, MaxSessions: -1, MaxSessionsPerAddress: -1, EarlyTalkerDelay: -1,
		// On loopback, with made-up passwords: nobody has to wait, and no client chooses SCRAM that is not told to.
		AuthWithoutTLS: true, AuthMechanisms: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"}, AuthDelay: -1,
		Guard:  smtpd.NewGuard(smtpd.GuardOptions{PerAddress: -1, PerUser: -1}),
		Source: live, Intake: &sink{out: w, dir: "", limit: c.Count, full: stop}, Log: event.NewLog(slog.DiscardHandler),
	})
	if err != nil {
		return exit{exSoftware, err}
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return exitf(exUnavailable, "--listen %s: %w; --listen 127.0.0.1:0 takes a free port", c.Listen, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return errors.Join(exitf(exUsage, "--listen %s: the name is not this machine's loopback address", c.Listen), l.Close())
	}
	fmt.Fprintf(e.err, "wasmta plugin smtp listens on %s; try: wasmta send --server %[1]s --from ann@example.com --to bob@example.org\n", l.Addr())
	var watching sync.WaitGroup
	watching.Go(func() { live.watch(ctx, stamp) })
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) == nil {
			err = <-done
		}
	}
	stop()
	watching.Wait()
	if err != nil {
		return exit{exSoftware, err}
	}
	return nil
}

// loopback refuses to take mail for everybody from anywhere.
func loopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return exitf(exUsage, "--listen %q: write HOST:PORT, such as 127.0.0.1:2525", listen)
	}
	a, err := netip.ParseAddr(host)
	if host != "localhost" && (err != nil || !a.IsLoopback()) {
		return exitf(exUsage, "--listen %q: this server takes mail for every address, so it listens on this machine only: write 127.0.0.1:PORT", listen)
	}
	return nil
}

// lockedWriter keeps the lines of sessions apart.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// live gives each session the plugin as it was built last.
type live struct {
	cmd     *pluginSMTPCmd
	project *project
	plugin  config.Plugin
	engine  *engine.Engine
	out     io.Writer

	mu      sync.Mutex // guards current and its sessions
	current *edition
}

// edition is one build of the plugin.
type edition struct {
	plugin   *engine.Plugin
	chain    hook.Chain
	sessions int
	retired  bool
}

// Acquire implements hook.Source.
func (l *live) Acquire() (hook.Chain, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ed := l.current
	ed.sessions++
	return ed.chain, func() {
		l.mu.Lock()
		ed.sessions--
		last := ed.retired && ed.sessions == 0
		l.mu.Unlock()
		if last {
			ed.plugin.Close()
		}
	}
}

// swap puts an edition in force; the one before ends with its last session.
func (l *live) swap(next *edition) {
	l.mu.Lock()
	old := l.current
	l.current = next
	last := false
	if old != nil {
		old.retired, last = true, old.sessions == 0
	}
	l.mu.Unlock()
	if last {
		old.plugin.Close()
	}
}

func (l *live) close() { l.swap(nil) }

// renew builds and loads the plugin, or leaves the one that is in force.
func (l *live) renew(ctx context.Context) error {
	wasm, manifest, err := l.project.module(ctx)
	if err != nil {
		return err
	}
	spec, err := pluginSpec(l.plugin)
	if err != nil {
		return exit{exConfig, err}
	}
	spec.Manifest = manifest
	p, err := l.engine.Load(ctx, spec, wasm)
	if err != nil {
		return loadError(l.cmd.Module, err)
	}
	onError := spec.OnError
	if wish, ok := p.OnError(); ok && !spec.OnErrorGiven {
		onError = wish
	}
	l.swap(&edition{plugin: p, chain: hook.Chain{
		{Name: p.Name(), Generation: p.Generation(), Stages: p.Stages(), OnError: onError, Handler: &watched{p, l.out}},
		// Whatever the plugin does not refuse is welcome.
		{Name: "smtp", Stages: hook.Stages(hook.Rcpt), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{Action: hook.Accept}, nil
		})},
	}})
	printLines(l.out, "", fmt.Sprintf("--- %s: generation %s, hooks: %s", l.cmd.Module, p.Generation(), p.Stages()))
	return nil
}

// watchEvery is how often the sources are looked at.
const watchEvery = 500 * time.Millisecond

func (l *live) watch(ctx context.Context, stamp string) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := l.project.stamp()
		if now == stamp {
			continue
		}
		stamp = now // before the build: what changes meanwhile counts again
		if err := l.renew(ctx); err != nil && ctx.Err() == nil {
			printLines(l.out, "--- ", "not replaced: "+err.Error()+"\n")
		}
	}
}

// watched is a plugin whose verdicts are printed.
type watched struct {
	*engine.Plugin
	out io.Writer
}

func (s *watched) Open(ctx context.Context) (hook.Instance, error) {
	i, err := s.Plugin.Open(ctx)
	if err != nil {
		printLines(s.out, "    ", "failed: "+err.Error())
		return nil, err
	}
	return &watchedInstance{i, s.out}, nil
}

type watchedInstance struct {
	hook.Instance
	out io.Writer
}

func (s *watchedInstance) Handle(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
	v, err := s.Instance.Handle(ctx, e)
	text := ""
	switch {
	case err != nil:
		text = "failed: " + err.Error()
	case v.Check(e.Stage) != nil:
		text = "failed: " + v.Check(e.Stage).Error()
	default:
		text = v.Action.String()
		if r := (hook.Outcome{Verdict: v}).ReplyAt(e.Stage); r != nil && !v.NoReply {
			text += " " + strings.ReplaceAll(r.String(), "\n", " | ")
		}
	}
	id := ""
	if e.Session != nil {
		id = e.Session.Client.Session
	}
	printLines(s.out, "", fmt.Sprintf("%s %s: %s", session(id), strings.TrimSpace(e.Stage.String()+" "+about(e)), text))
	return v, err
}

func session(id string) string {
	if id == "" {
		return "-"
	}
	return id
}

// about is what an event asks about.
func about(e *hook.Event) string {
	switch e.Stage {
	case hook.Connect:
		return e.Session.Client.Remote.String()
	case hook.Ehlo, hook.Command:
		return strings.TrimSpace(e.Verb + " " + e.Arg)
	case hook.Mail:
		return "<" + e.Tx.Envelope.ReversePath.String() + ">"
	case hook.Rcpt:
		if list := e.Tx.Envelope.Recipients; e.Recipient >= 0 && e.Recipient < len(list) {
			return "<" + list[e.Recipient].ForwardPath.String() + ">"
		}
	case hook.Reset, hook.Close:
		return e.Reason
	}
	return ""
}
