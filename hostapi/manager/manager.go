package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
)

// MaxModule is the largest module that is read, in octets.
const MaxModule = 16 << 20

// Loaded is a plugin ready to be asked. Close ends it; it is called once, and
// after DrainHard also while instances are still open, whose calls must then
// fail instead of crashing.
type Loaded interface {
	hook.Opener
	Stages() hook.StageSet
	Hash() string                        // SHA-256 of the module, in hex
	Generation() string                  // identity of module, configuration and grant, for the log
	Grant() hostapi.Grant                // what it asks for and is granted
	OnError() (hook.FailurePolicy, bool) // what its manifest says; false: nothing
	Close()
}

// LoadFunc makes a plugin of a module: inspect, compile, probe. Its error says
// which of these failed.
type LoadFunc func(ctx context.Context, spec hostapi.Spec, wasm []byte) (Loaded, error)

// BuildFunc makes a module of a directory of source, or of a script. Its error
// holds what the compiler said.
type BuildFunc func(ctx context.Context, path string) (wasm []byte, err error)

// SourcesFunc lists the files that the module of a directory is made of.
type SourcesFunc func(dir string) (files []string, err error)

// Options of a Manager. Zero durations take the default.
type Options struct {
	Load  LoadFunc  // required
	Build BuildFunc // nil: directories of source are refused

	// Script tells whether a file is one for Build and no module; nil: none is.
	Script  func(path string) bool
	Sources SourcesFunc  // required with Build, for Watch
	Log     *slog.Logger // nil: silent

	DrainTimeout time.Duration // sessions that hold a replaced generation then give it up between two transactions; default 10 min
	DrainHard    time.Duration // close it in spite of them; default 1 h
	Bake         time.Duration // how long a new generation may be rolled back automatically; default 1 h
	Poll         time.Duration // how often Watch looks; default 250 ms
	Debounce     time.Duration // how long files must rest before Watch loads them; default 200 ms

	Rand func() float64 // from 0 to 1, for the jitter of Tick; default math/rand/v2
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.DrainTimeout, 10 * time.Minute}, {&o.DrainHard, time.Hour}, {&o.Bake, time.Hour},
		{&o.Poll, 250 * time.Millisecond}, {&o.Debounce, 200 * time.Millisecond},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return o
}

// Error is a plugin that could not be put in force.
type Error struct {
	Plugin string
	Step   string // configure, read, build, load or roll back
	Hash   string // SHA-256 of the module; empty: it was not read
	Err    error
}

func (e *Error) Error() string {
	name := fmt.Sprintf("plugin %q: ", e.Plugin)
	s := name + e.Step + ": " + strings.TrimPrefix(e.Err.Error(), name) // once is enough
	if e.Hash != "" {
		s += " (sha256 " + e.Hash + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// ErrClosed is the answer of a Manager after Close.
var ErrClosed = errors.New("plugin manager: closed")

type actorKey struct{}

// By names in the context on whose behalf plugins are changed, for the log:
// "SIGHUP", "admin socket uid=0". Without it the log says "operator".
func By(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

func actor(ctx context.Context) string {
	if who, ok := ctx.Value(actorKey{}).(string); ok {
		return who
	}
	return "operator"
}

// Manager is the [hook.Source] of a server with plugins.
type Manager struct {
	o       Options
	started time.Time // where now begins
	current atomic.Pointer[set]
	change  chan struct{} // holds a token while a change is under way

	recalled atomic.Int32 // sets that are overdue

	mu      sync.Mutex    // guards what follows, and generation.sets; never held while a plugin runs
	entries []entry       // as configured, in order
	sets    []*set        // the current one and those still held
	moved   chan struct{} // closed with the next change of entries
	closed  bool
}

// entry is one configured plugin as it stands.
type entry struct {
	spec    hostapi.Spec
	gen     *generation   // nil: it failed at the start, a placeholder answers
	kept    []*generation // at most Kept, in the order in which they were put in force; gen is one of them
	tried   string        // with Dev: fingerprint of the sources last tried
	err     error         // why the last change was refused; nil: it was not
	errTime time.Time
}

// New makes a manager with an empty chain. Call [Manager.Start] before mail is
// taken.
func New(o Options) *Manager {
	m := &Manager{o: o.withDefaults(), started: time.Now(), change: make(chan struct{}, 1), moved: make(chan struct{})}
	s := newSet(m, nil)
	m.sets = []*set{s}
	m.current.Store(s)
	return m
}

// now is monotonic, and cheaper than the time of day.
func (m *Manager) now() time.Duration { return time.Since(m.started) }

// Acquire pins the chain in force. release must be called after the last use
// of it, when conversations with it are closed.
func (m *Manager) Acquire() (hook.Chain, func()) {
	for {
		// A set that lost its last holder between the load and here is on its
		// way out, and its successor is already in place.
		if s := m.current.Load(); s.hold() {
			var once atomic.Bool
			return s.chain, func() {
				if !once.Swap(true) {
					s.release()
				}
			}
		}
	}
}

// Start puts the plugins in force for the first time. One that cannot be
// loaded is replaced by a placeholder which fails; see the package comment. An
// error means that the specifications themselves are unusable.
func (m *Manager) Start(ctx context.Context, specs []hostapi.Spec) error {
	if _, ok := ctx.Value(actorKey{}).(string); !ok {
		ctx = By(ctx, "start")
	}
	return m.apply(ctx, specs, true)
}

// Apply puts exactly these plugins in force, in this order, or none of them.
// The error joins an [*Error] for each plugin that failed. A generation that was
// rolled back stays so as long as nothing in it changes.
func (m *Manager) Apply(ctx context.Context, specs []hostapi.Spec) error {
	return m.apply(ctx, specs, false)
}

func (m *Manager) apply(ctx context.Context, specs []hostapi.Spec, start bool) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := checkNames(specs); err != nil {
		return err
	}
	next := make([]entry, len(specs))
	for i, spec := range specs {
		old := m.entry(spec.Name)
		next[i] = entry{spec: spec}
		if old != nil {
			next[i].gen, next[i].kept = old.gen, old.kept
		}
	}
	return m.replace(ctx, next, func(string) bool { return true }, start, "")
}

// Load puts another file in force as the module of one configured plugin, until
// Apply says otherwise. file is relative to the server's working directory.
func (m *Manager) Load(ctx context.Context, name, file string) error {
	return m.one(ctx, name, func(s *hostapi.Spec) { s.Module = file })
}

// Reload reads, and with a directory builds, the module of one plugin again; of
// all if name is empty. Named, a generation that was rolled back comes back.
func (m *Manager) Reload(ctx context.Context, name string) error {
	return m.one(ctx, name, func(*hostapi.Spec) {})
}

func (m *Manager) one(ctx context.Context, name string, edit func(*hostapi.Spec)) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	next := m.snapshot()
	i := slices.IndexFunc(next, func(e entry) bool { return e.spec.Name == name })
	switch {
	case i >= 0:
		edit(&next[i].spec)
	case name != "":
		return noPlugin(name, next)
	}
	return m.replace(ctx, next, func(n string) bool { return name == "" || n == name }, false, name)
}

func noPlugin(name string, list []entry) error {
	return &Error{Plugin: name, Step: "configure", Err: fmt.Errorf("no plugin of this name is configured; "+
		"give it a [[plugin]] table in the configuration and reload it, or name one of those there are: %s", names(list))}
}

func names(list []entry) string {
	if len(list) == 0 {
		return "none"
	}
	all := make([]string, len(list))
	for i, e := range list {
		all[i] = e.spec.Name
	}
	return strings.Join(all, ", ")
}

// replace loads those of next that pick names and puts next in force. named is
// the plugin that somebody asked for by its name. The caller has the lock.
func (m *Manager) replace(ctx context.Context, next []entry, pick func(name string) bool, start bool, named string) error {
	var fresh []*generation   // loaded
	var changed []*generation // and those that come back
	var failed []error
	for i := range next {
		e := &next[i]
		if !pick(e.spec.Name) {
			continue
		}
		tried, gen, err := m.prepare(ctx, e.spec, e.kept)
		e.tried, e.err, e.errTime = tried, nil, time.Time{}
		switch {
		case err != nil:
		case gen == e.gen:
			continue
		case gen.rolledBack() && e.spec.Name != named:
			m.o.Log.Warn("a plugin that was rolled back stays so", "plugin", e.spec.Name, "configured", gen.loaded.Generation(),
				"in_force", e.gen.loaded.Generation(), "reason", gen.withdrawn, "back", "wasmta plugin reload "+e.spec.Name)
			continue
		default:
			if !slices.Contains(e.kept, gen) {
				fresh = append(fresh, gen)
			}
			e.gen, e.kept = gen, keep(e.kept, gen)
			changed = append(changed, gen)
			continue
		}
		e.err, e.errTime = err, time.Now()
		failed = append(failed, err)
		m.logFailure(ctx, e, err, start)
		if start {
			e.gen = nil
		}
	}
	// At the start, only the caller's giving up is a failure of the whole.
	if len(failed) > 0 && (!start || ctx.Err() != nil) {
		for _, g := range fresh {
			g.close()
		}
		m.remember(next)
		return errors.Join(failed...)
	}
	before := m.snapshot()
	m.mu.Lock()
	for i := range next {
		if g := next[i].gen; slices.Contains(changed, g) {
			g.before, g.withdrawn = next[i].predecessor(), ""
			// One that comes back is known: it is not rolled back automatically.
			g.watched.Store(slices.Contains(fresh, g) && g.before != nil)
		}
	}
	m.mu.Unlock()
	m.commit(next)
	who := actor(ctx)
	for _, old := range before {
		if !slices.ContainsFunc(next, func(e entry) bool { return e.spec.Name == old.spec.Name }) {
			m.o.Log.Info("plugin is no longer configured", "plugin", old.spec.Name, "by", who)
		}
	}
	for _, e := range next {
		if slices.Contains(changed, e.gen) {
			m.o.Log.Info("plugin is in force", "plugin", e.spec.Name, "module", e.spec.Module, "sha256", e.gen.loaded.Hash(),
				"generation", e.gen.loaded.Generation(), "hooks", e.gen.loaded.Stages().String(), "grant", grantString(e.gen.loaded.Grant()), "by", who)
		}
	}
	return nil
}

// remember keeps why a change was refused, and for Watch what was tried, with
// the entries that stay in force.
func (m *Manager) remember(tried []entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range tried {
		for i := range m.entries {
			e := &m.entries[i]
			if e.spec.Name == t.spec.Name && t.err != nil {
				e.err, e.errTime = t.err, t.errTime
				if e.spec.Module == t.spec.Module {
					e.tried = t.tried
				}
			}
		}
	}
}

// commit moves the pointer. From here on new sessions get the new chain.
func (m *Manager) commit(next []entry) {
	s := newSet(m, next)
	var idle []*generation
	m.mu.Lock()
	now := make(map[*generation]bool)
	for _, e := range next {
		for _, g := range e.kept {
			now[g] = true
		}
	}
	for _, e := range m.entries {
		for _, g := range e.kept {
			g.kept = now[g]
			if !g.kept && (g.sets == 0 || g.overdue) {
				g.rest()
				idle = append(idle, g)
			}
		}
	}
	for g := range now {
		g.kept = true
		if g.before != nil && !now[g.before] {
			g.before = nil // or every generation there ever was would be remembered
		}
	}
	old := m.current.Load()
	for _, g := range s.members {
		g.sets++
		g.rest()
		if !slices.Contains(old.members, g) {
			g.since = time.Now()
		}
	}
	m.entries = next
	close(m.moved)
	m.moved = make(chan struct{})
	m.sets = append(m.sets, s)
	m.current.Store(s)
	for _, g := range old.members {
		if !slices.Contains(s.members, g) {
			g.retire(m)
		}
	}
	m.mu.Unlock()
	old.release()
	for _, g := range idle {
		g.close()
	}
}

// Close ends the manager: from now on every plugin fails, and its on_error
// decides; the generations close as their holders release them, or at once if
// now is set.
func (m *Manager) Close(now bool) {
	m.change <- struct{}{}
	defer func() { <-m.change }()
	m.mu.Lock()
	was := m.closed
	m.closed = true
	m.mu.Unlock()
	if !was {
		next := m.snapshot()
		for i := range next {
			next[i].gen, next[i].kept, next[i].err = nil, nil, ErrClosed
		}
		m.commit(next)
	}
	if !now {
		return
	}
	m.mu.Lock()
	var all []*generation
	for _, s := range m.sets {
		all = append(all, s.members...)
	}
	for _, g := range all {
		g.rest()
	}
	m.mu.Unlock()
	for _, g := range all {
		g.close()
	}
}

func (m *Manager) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case m.change <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		<-m.change
		return nil, ErrClosed
	}
	return func() { <-m.change }, nil
}

func (m *Manager) snapshot() []entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries)
}

func (m *Manager) entry(name string) *entry {
	for _, e := range m.snapshot() {
		if e.spec.Name == name {
			return &e
		}
	}
	return nil
}

func checkNames(specs []hostapi.Spec) error {
	for i, s := range specs {
		if s.Name == "" {
			return &Error{Plugin: s.Module, Step: "configure", Err: errors.New("a plugin needs a name")}
		}
		if slices.ContainsFunc(specs[:i], func(o hostapi.Spec) bool { return o.Name == s.Name }) {
			return &Error{Plugin: s.Name, Step: "configure", Err: errors.New("two plugins have this name")}
		}
	}
	return nil
}
