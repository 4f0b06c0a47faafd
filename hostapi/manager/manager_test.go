package manager_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// plugin is a plugin whose module is a text: "bad" does not load, anything else
// is what it answers; see Handle for some first words.
type plugin struct {
	text    string
	hash    string
	number  int64
	grant   hostapi.Grant
	onError bool // its manifest says reject
	closed  atomic.Int32
	used    atomic.Int32 // asked after it was closed
	asked   atomic.Int32
	broken  atomic.Bool            // each call is a trap
	say     atomic.Pointer[string] // instead of text

	manifest []byte
}

// trouble is an error that knows its kind.
type trouble hostapi.Fault

func (t trouble) Error() string       { return string(t) }
func (t trouble) Kind() hostapi.Fault { return hostapi.Fault(t) }

func (p *plugin) Stages() hook.StageSet { return hook.Stages(hook.Rcpt) }
func (p *plugin) Hash() string          { return p.hash }
func (p *plugin) Generation() string    { return fmt.Sprintf("%s#%d", p.text, p.number) }
func (p *plugin) Close()                { p.closed.Add(1) }
func (p *plugin) Grant() hostapi.Grant  { return p.grant }

func (p *plugin) OnError() (hook.FailurePolicy, bool) { return hook.FailReject, p.onError }

func (p *plugin) Open(context.Context) (hook.Instance, error) {
	if p.closed.Load() > 0 {
		p.used.Add(1)
	}
	return instance{p}, nil
}

func (p *plugin) Handle(context.Context, *hook.Event) (hook.Verdict, error) {
	return hook.Verdict{}, errors.New("not opened")
}

type instance struct{ p *plugin }

func (i instance) Close() {}

func (i instance) Handle(context.Context, *hook.Event) (hook.Verdict, error) {
	if i.p.closed.Load() > 0 {
		i.p.used.Add(1)
		return hook.Verdict{}, errors.New("closed")
	}
	i.p.asked.Add(1)
	what, _, _ := strings.Cut(i.p.text, " ")
	if say := i.p.say.Load(); say != nil {
		what = *say
	}
	switch {
	case i.p.broken.Load() || what == "trap":
		return hook.Verdict{}, trouble(hostapi.FaultTrap)
	case what == "busy":
		return hook.Verdict{}, trouble(hostapi.FaultBusy)
	case what == "panic":
		panic("it crashed")
	case what == "odd":
		return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(250, "2.0.0", "no")}, nil
	case what == "pass":
		return hook.Verdict{}, nil
	}
	return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(550, "5.7.1", i.p.text)}, nil
}

// factory loads fakes and remembers them.
type factory struct {
	mu     sync.Mutex
	all    []*plugin
	builds atomic.Int32
}

func (f *factory) load(_ context.Context, spec hostapi.Spec, wasm []byte) (manager.Loaded, error) {
	if strings.HasPrefix(string(wasm), "bad") {
		return nil, errors.New("inspect: it is bad")
	}
	sum := sha256.Sum256(wasm)
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &plugin{text: string(wasm), hash: hex.EncodeToString(sum[:]), number: int64(len(f.all) + 1), grant: spec.Grant, onError: spec.Manifest != nil, manifest: spec.Manifest}
	f.all = append(f.all, p)
	return p, nil
}

// build joins the sources; "syntax error" in them fails.
func (f *factory) build(_ context.Context, dir string) ([]byte, error) {
	f.builds.Add(1)
	files, _ := f.sources(dir)
	var b []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		b = append(b, text...)
	}
	if strings.Contains(string(b), "syntax error") {
		return nil, errors.New("main.go:1: syntax error")
	}
	return b, nil
}

func (f *factory) sources(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "*.go"))
}

func (f *factory) open() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.all {
		if p.closed.Load() == 0 {
			n++
		}
	}
	return n
}

// logBuffer may be written to and read at once.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type rig struct {
	*manager.Manager
	f   *factory
	log *logBuffer
	dir string
	t   testing.TB
}

func newRig(t testing.TB) *rig {
	f, log := &factory{}, &logBuffer{}
	m := manager.New(manager.Options{Load: f.load, Build: f.build, Sources: f.sources, Log: slog.New(slog.NewTextHandler(log, nil))})
	return &rig{m, f, log, t.TempDir(), t}
}

// spec writes the module and describes the plugin.
func (r *rig) spec(name, text string) hostapi.Spec {
	r.write(name+".wasm", text)
	return hostapi.Spec{Name: name, Module: filepath.Join(r.dir, name+".wasm")}
}

func (r *rig) write(file, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func ask(c hook.Chain, stage hook.Stage) hook.Outcome {
	k := c.Open("mx", nil)
	defer k.Close()
	return k.Ask(context.Background(), &hook.Event{Stage: stage, Tx: &hook.Transaction{}, Recipient: -1})
}

// says is what the chain in force answers at RCPT.
func (r *rig) says() string {
	chain, release := r.Acquire()
	defer release()
	if o := ask(chain, hook.Rcpt); o.Reply != nil {
		return o.Reply.Text
	}
	return ""
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestSessionsStayPinnedAndTheLastHolderCloses(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.must(r.Start(ctx, []hostapi.Spec{r.spec("a", "one")}))
	chain, release := r.Acquire()
	r.write("a.wasm", "two")
	r.must(r.Reload(ctx, "a"))
	if got := ask(chain, hook.Rcpt).Reply.Text; got != "one" {
		t.Errorf("the pinned session is answered by %q, want the generation it began with", got)
	}
	if got := r.says(); got != "two" {
		t.Errorf("a new session is answered by %q, want the new generation", got)
	}
	s := r.List()[0]
	if s.Generation != "two#2" || s.Sessions != 0 || len(s.Draining) != 1 || s.Draining[0].Generation != "one#1" || s.Draining[0].Sessions != 1 {
		t.Errorf("status %+v", s)
	}
	if r.f.open() != 2 {
		t.Errorf("the old generation was closed under its holder")
	}
	for i := range manager.Kept - 1 {
		r.write("a.wasm", fmt.Sprintf("more %d", i))
		r.must(r.Reload(ctx, "a"))
	}
	if r.f.all[0].closed.Load() != 0 {
		t.Errorf("the old generation was closed under its holder")
	}
	release()
	release() // a second release is harmless
	if r.f.all[0].closed.Load() != 1 || r.f.open() != manager.Kept {
		t.Errorf("the old generation is not closed after its last holder")
	}
	if s := r.List()[0]; len(s.Draining) != 0 || len(s.Generations) != manager.Kept {
		t.Errorf("still draining, or not kept: %+v", s)
	}
}

func TestAChangeIsAllOrNothing(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	specs := []hostapi.Spec{r.spec("a", "one"), r.spec("b", "b1")}
	r.must(r.Start(ctx, specs))
	r.write("a.wasm", "two")
	r.write("b.wasm", "bad module")
	err := r.Apply(manager.By(ctx, "SIGHUP"), specs)
	var e *manager.Error
	sum := sha256.Sum256([]byte("bad module"))
	if !errors.As(err, &e) || e.Plugin != "b" || e.Step != "load" || e.Hash != hex.EncodeToString(sum[:]) {
		t.Fatalf("error %v, want plugin, step and hash", err)
	}
	if got := r.says(); got != "one" {
		t.Errorf("after a failed change %q answers, want the old chain", got)
	}
	if r.f.open() != 2 {
		t.Errorf("%d plugins are open, want the two in force: what was loaded in vain must be closed", r.f.open())
	}
	if s := r.List()[1]; s.State != manager.Active || !strings.Contains(s.LastError, "it is bad") {
		t.Errorf("status %+v, want active with the reason", s)
	}
	if !strings.Contains(r.log.String(), "SIGHUP") {
		t.Errorf("the log does not say on whose behalf:\n%s", r.log)
	}
	r.write("b.wasm", "b2")
	r.must(r.Apply(ctx, specs))
	if s := r.List()[1]; r.says() != "two" || s.LastError != "" {
		t.Errorf("not repaired: %+v", s)
	}
}

func TestUnchangedPluginsAreKept(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	a, b := r.spec("a", "one"), r.spec("b", "other")
	r.must(r.Start(ctx, []hostapi.Spec{a, b}))
	b.Config = []byte(`{"x":1}`)
	a.OnError = hook.FailReject // the chain's business
	r.must(r.Apply(ctx, []hostapi.Spec{b, a}))
	if len(r.f.all) != 3 {
		t.Fatalf("%d loads, want 3: both at the start, then only the one with a new configuration", len(r.f.all))
	}
	if got := r.says(); got != "other" {
		t.Errorf("%q answers first, want the new order", got)
	}
	b.Grant.Headers = hostapi.Write
	r.must(r.Apply(ctx, []hostapi.Spec{b, a}))
	b.Limits.MemoryMB = 5
	r.must(r.Apply(ctx, []hostapi.Spec{b, a}))
	if len(r.f.all) != 5 || r.f.open() != manager.Kept+1 {
		t.Errorf("%d loads, %d open; a changed grant and changed limits are a new generation", len(r.f.all), r.f.open())
	}
	b.Limits.MemoryMB = 0
	r.must(r.Apply(ctx, []hostapi.Spec{b, a}))
	if len(r.f.all) != 5 {
		t.Error("what was before and is kept is loaded again")
	}
	r.must(r.Apply(ctx, nil))
	if r.f.open() != 0 || len(r.List()) != 0 {
		t.Errorf("plugins that are configured no more are still there")
	}
}

func TestAPluginMissingAtTheStartFailsClosed(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	missing := hostapi.Spec{Name: "a", Module: filepath.Join(r.dir, "a.wasm"), OnError: hook.FailReject}
	r.must(r.Start(ctx, []hostapi.Spec{missing, r.spec("b", "b1")}))
	chain, release := r.Acquire()
	for stage, want := range map[hook.Stage]hook.Action{hook.Mail: hook.Reject, hook.Rcpt: hook.Reject, hook.Route: hook.Defer} {
		if o := ask(chain, stage); o.Action != want || !o.Failed {
			t.Errorf("at %s: %+v, want a failure answered with %s", stage, o, want)
		}
	}
	release()
	s := r.List()[0]
	if s.State != manager.Failed || !strings.Contains(s.LastError, "a.wasm") {
		t.Errorf("status %+v, want failed with the reason", s)
	}
	if !strings.Contains(r.log.String(), "level=ERROR") || !strings.Contains(r.log.String(), "reject") {
		t.Errorf("the log is not loud about it:\n%s", r.log)
	}
	if err := r.Apply(ctx, []hostapi.Spec{missing, r.spec("b", "b1")}); err == nil {
		t.Error("a later change must say that the plugin still fails")
	}
	r.write("b.wasm", "b2")
	r.must(r.Reload(ctx, "b")) // one plugin's failure does not stand in the way of another
	r.write("a.wasm", "one")
	r.must(r.Reload(ctx, ""))
	if got := r.says(); got != "one" || r.List()[0].State != manager.Active {
		t.Errorf("not repaired: %q, %+v", got, r.List()[0])
	}
}

func TestLoadReplacesOneModule(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	specs := []hostapi.Spec{r.spec("a", "one")}
	r.must(r.Start(ctx, specs))
	r.write("other.wasm", "two")
	r.write("broken.wasm", "bad")
	if err := r.Load(ctx, "a", filepath.Join(r.dir, "broken.wasm")); err == nil || r.says() != "one" {
		t.Errorf("a bad module: error %v, %q answers", err, r.says())
	}
	r.must(r.Load(ctx, "a", filepath.Join(r.dir, "other.wasm")))
	if r.says() != "two" || !strings.HasSuffix(r.List()[0].Module, "other.wasm") {
		t.Errorf("%q answers, status %+v", r.says(), r.List()[0])
	}
	if err := r.Load(ctx, "nobody", "x"); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("unknown plugin: %v", err)
	}
	r.must(r.Apply(ctx, specs))
	if r.says() != "one" {
		t.Errorf("%q answers, want the configured module after Apply", r.says())
	}
}

func TestModulesThatAreNotRead(t *testing.T) {
	r := newRig(t)
	big := strings.Repeat("x", manager.MaxModule+1)
	for name, want := range map[string]string{"big": "more than", "empty": "empty", "dir": "dev = true", "none": "no such file"} {
		s := hostapi.Spec{Name: name, Module: filepath.Join(r.dir, name)}
		switch name {
		case "big":
			r.write(name, big)
		case "empty":
			r.write(name, "")
		case "dir":
			r.write("dir/main.go", "x")
		}
		err := r.Apply(context.Background(), []hostapi.Spec{s})
		var e *manager.Error
		if !errors.As(err, &e) || e.Step != "read" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want step read and %q", name, err, want)
		}
	}
	a := r.spec("a", "one")
	if err := r.Apply(context.Background(), []hostapi.Spec{a, a}); err == nil || !strings.Contains(err.Error(), "two plugins") {
		t.Errorf("two of one name: %v", err)
	}
}

func TestWatchSwapsWhatChangedAndDoesNotSpin(t *testing.T) {
	r := newRig(t)
	r.write("src/main.go", "one")
	file := r.spec("file", "f1")
	still := r.spec("still", "s1") // not watched
	file.Dev = true
	specs := []hostapi.Spec{{Name: "dir", Module: filepath.Join(r.dir, "src"), Dev: true}, file, still}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r.must(r.Start(ctx, specs))
		go r.Watch(ctx)
		wait := func() { time.Sleep(2 * time.Second); synctest.Wait() }
		wait()
		if r.f.builds.Load() != 1 || len(r.f.all) != 3 {
			t.Errorf("%d builds, %d loads without any change", r.f.builds.Load(), len(r.f.all))
		}
		r.write("src/main.go", "number two")
		r.write("still.wasm", "s22")
		wait()
		if got := r.says(); got != "number two" {
			t.Errorf("after a save %q answers", got)
		}
		r.write("src/main.go", "syntax error")
		wait()
		if got, s := r.says(), r.List()[0]; got != "number two" || !strings.Contains(s.LastError, "main.go:1: syntax error") {
			t.Errorf("after a bad save %q answers, status %+v", got, s)
		}
		if n := r.f.builds.Load(); n != 3 {
			t.Errorf("%d builds, want 3: what failed is tried again only when it changes", n)
		}
		r.write("src/main.go", "third try")
		r.write("file.wasm", "f22")
		r.must(os.Remove(still.Module))
		wait()
		list := r.List()
		if r.says() != "third try" || list[0].LastError != "" || !strings.HasPrefix(list[1].Generation, "f22") || !strings.HasPrefix(list[2].Generation, "s1") {
			t.Errorf("%q answers, status %+v", r.says(), list)
		}
		// An atomic rename is the usual way to write a module; a missing file is an error until it is back.
		r.must(os.Rename(file.Module, file.Module+".away"))
		wait()
		if s := r.List()[1]; s.State != manager.Active || s.LastError == "" {
			t.Errorf("status %+v, want the old one with the reason", s)
		}
		r.must(os.Rename(file.Module+".away", file.Module))
		wait()
		if s := r.List()[1]; s.LastError != "" {
			t.Errorf("status %+v", s)
		}
		if !strings.Contains(r.log.String(), "dev watch") {
			t.Error("the log does not say that the watch did it")
		}
		cancel()
		synctest.Wait()
	})
}

func TestAHolderThatStaysIsToldAtLast(t *testing.T) {
	r := newRig(t)
	specs := []hostapi.Spec{r.spec("a", "one"), r.spec("b", "b1")}
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r.must(r.Start(ctx, specs))
		chain, release := r.Acquire()
		r.write("a.wasm", "two")
		r.must(r.Reload(ctx, "a"))
		if r.Overdue(chain) {
			t.Error("the holder is asked for the chain back at once")
		}
		time.Sleep(11 * time.Minute)
		if !strings.Contains(r.log.String(), "still in use") || r.f.all[0].closed.Load() != 0 {
			t.Errorf("after DrainTimeout: closed %d, log\n%s", r.f.all[0].closed.Load(), r.log)
		}
		fresh, done := r.Acquire()
		if !r.Overdue(chain) || r.Overdue(fresh) || r.Overdue(nil) {
			t.Errorf("after DrainTimeout: old chain overdue %v, the one in force %v, none %v", r.Overdue(chain), r.Overdue(fresh), r.Overdue(nil))
		}
		done()
		time.Sleep(time.Hour)
		if r.f.all[0].closed.Load() != 0 || r.f.all[0].asked.Load() != 0 {
			t.Error("the old generation is closed after DrainHard, though it is kept for a roll-back")
		}
		if r.f.all[1].closed.Load() != 0 {
			t.Error("an unchanged plugin was closed with the old chain")
		}
		if o := ask(chain, hook.Rcpt); !o.Failed || o.Action != hook.Defer {
			t.Errorf("the late holder gets %+v, want its on_error", o)
		}
		r.must(r.Rollback(ctx, "a", ""))
		if got := r.says(); got != "one" {
			t.Errorf("rolled back, %q answers", got)
		}
		if o := ask(chain, hook.Rcpt); !o.Failed {
			t.Errorf("the late holder gets %+v, want its on_error for good", o)
		}
		for _, text := range []string{"three", "four", "five"} {
			r.write("a.wasm", text)
			r.must(r.Reload(ctx, "a"))
		}
		if n := r.f.all[0].closed.Load(); n != 0 {
			t.Error("closed under its holder, who has time again since the roll-back")
		}
		time.Sleep(2 * time.Hour)
		if n := r.f.all[0].closed.Load(); n != 1 {
			t.Errorf("closed %d times after DrainHard, though it is not kept", n)
		}
		release()
		if n := r.f.all[0].closed.Load(); n != 1 {
			t.Errorf("closed %d times", n)
		}
	})
}

func TestCloseFailsClosed(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.must(r.Start(ctx, []hostapi.Spec{r.spec("a", "one")}))
	_, release := r.Acquire()
	r.Close(false)
	chain, release2 := r.Acquire()
	if o := ask(chain, hook.Rcpt); o.Action != hook.Defer || !o.Failed {
		t.Errorf("after Close: %+v, want on_error", o)
	}
	release2()
	if r.f.open() != 1 {
		t.Error("closed under its holder")
	}
	if err := r.Reload(ctx, ""); !errors.Is(err, manager.ErrClosed) {
		t.Errorf("a change after Close: %v", err)
	}
	r.Close(true)
	if r.f.open() != 0 {
		t.Error("Close(true) leaves a plugin open")
	}
	release()
	if r.f.all[0].closed.Load() != 1 {
		t.Error("closed twice")
	}
}

// Sessions come and go while plugins are replaced and some replacements fail:
// nobody meets a closed plugin, and nothing is left open.
func TestHammer(t *testing.T) {
	const swaps, sessions = 50, 20
	r := newRig(t)
	ctx := context.Background()
	specs := []hostapi.Spec{r.spec("stays", "s"), r.spec("a", "v0")}
	specs[0].Listeners = []string{"elsewhere"} // not asked, but a member of every chain
	r.must(r.Start(ctx, specs))
	var stop atomic.Bool
	var asked atomic.Int64
	var group sync.WaitGroup
	for range sessions {
		group.Go(func() {
			for !stop.Load() {
				chain, release := r.Acquire()
				k := chain.Open("mx", func(f hook.Failure) { t.Errorf("a session met a failure: %v", f.Err) })
				first := ""
				for range 20 {
					o := k.Ask(ctx, &hook.Event{Stage: hook.Rcpt, Tx: &hook.Transaction{}})
					if first == "" {
						first = o.Generation
					}
					if o.Generation != first || o.Action != hook.Reject {
						t.Errorf("a session saw %s and %s", first, o.Generation)
					}
					asked.Add(1)
					time.Sleep(50 * time.Microsecond) // a session waits for its client
				}
				k.Close()
				release()
			}
		})
	}
	group.Go(func() {
		for !stop.Load() {
			for _, s := range r.List() {
				if s.Sessions < 0 || s.State != manager.Active {
					t.Errorf("status %+v", s)
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	for i := 1; i <= swaps; i++ {
		r.write("a.wasm", "bad")
		if err := r.Reload(ctx, "a"); err == nil {
			t.Error("a bad module was taken")
		}
		r.write("a.wasm", fmt.Sprintf("v%d", i))
		r.must(r.Apply(ctx, specs))
		for n := asked.Load(); asked.Load() < n+100; {
			time.Sleep(time.Millisecond)
		}
		if i%5 == 0 {
			r.must(r.Rollback(ctx, "a", ""))
			r.must(r.Apply(ctx, specs)) // changes nothing
			if got, want := r.says(), fmt.Sprintf("v%d", i-1); got != want {
				t.Errorf("rolled back, %q answers, want %q", got, want)
			}
			r.must(r.Reload(ctx, "a"))
		}
	}
	stop.Store(true)
	group.Wait()
	if got, want := r.says(), fmt.Sprintf("v%d", swaps); got != want {
		t.Errorf("%q answers at last, want %q", got, want)
	}
	if len(r.f.all) != swaps+2 || r.f.open() != manager.Kept+1 {
		t.Errorf("%d loads, %d open at the end; want %d and %d", len(r.f.all), r.f.open(), swaps+2, manager.Kept+1)
	}
	for _, p := range r.f.all {
		if p.used.Load() > 0 || p.closed.Load() > 1 {
			t.Errorf("%s was asked %d times after its end, closed %d times", p.Generation(), p.used.Load(), p.closed.Load())
		}
	}
}
