package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/password"
)

// Options of an engine. The zero value works.
type Options struct {
	// CacheDir keeps compiled code between runs. It holds machine code that is
	// run unchecked, so it is made with mode 0700. Empty: keep nothing.
	CacheDir string
	// MaxMemory bounds the linear memory of all instances together, in
	// octets; 0: a quarter of the machine's memory.
	MaxMemory int64
	// Interpreter runs guests without compiling them, some 20 times slower.
	Interpreter bool
	Version     string             // of the server, for HOST_VERSION
	Log         func(hostapi.Line) // what plugins log; nil: nothing is kept
	LogLevel    int32              // lines below it are not asked for
	Logger      *slog.Logger       // what the engine itself reports; nil: nothing
	Limits      func(*Defaults)    // changes the defaults; nil: none
	// Services gives a plugin that is loaded what its capabilities stand on.
	// An error refuses it: what the grant names must be there. nil: nothing.
	Services func(hostapi.Spec) (hostapi.Services, error)

	// For the tools of authors. Now and Random are the clock and the octets that
	// guests are shown; nil: those of the machine. Limits always go by the
	// machine's clock. Observe is told of every call of a guest, in the goroutine
	// that made it.
	Now     func() time.Time
	Random  io.Reader
	Observe func(Measure)
}

// Measure is what one call of a guest took.
type Measure struct {
	Plugin    string
	Hook      string        // as in the export's name, or init, selftest
	Fuel      int64         // units of the meter; those of the guest's instructions are the same everywhere
	CPU       time.Duration // the same as time, at the speed measured when the engine started
	Memory    int64         // octets of linear memory at the end, which never shrinks
	HostCalls int
	Failed    bool // the call did not return
}

// maxLogRate is the number of lines that one plugin may log in a second.
const maxLogRate = 100

// Engine compiles and runs plugins. It is safe for concurrent use.
type Engine struct {
	opt          Options
	defaults     Defaults
	cache        wazero.CompilationCache
	config       wazero.RuntimeConfig
	kind         string       // compiler or interpreter
	fuel         int64        // for a millisecond
	functionType reflect.Type // of a guest's function, and where its stack is
	stackField   int
	memoryType   reflect.Type // of a guest's memory, and where its slice is
	bufferField  int
	threadTime   func() (thread int, cpu time.Duration, ok bool)
	pager        *pager // nil: each instance has a copy of its image
	shareFrom    int    // octets of an image from which its pages are shared
	memory       budget
	running      chan struct{} // one token for each running call
	compiling    sync.Mutex    // one compilation at a time
	plugins      sync.Map      // *Plugin -> struct{}: those that may have idle instances
	started      time.Time
	metrics      hostapi.Metrics
	passwords    *password.Checker
}

// New starts an engine. It takes some milliseconds to measure the machine.
func New(opt Options) (*Engine, error) {
	e := &Engine{
		opt:        opt,
		defaults:   defaults(),
		running:    make(chan struct{}, 4*runtime.GOMAXPROCS(0)),
		started:    time.Now(),
		shareFrom:  sharedImage,
		threadTime: threadTime,
		// Half the cores: mail goes on while passwords are checked.
		passwords: password.NewChecker(runtime.GOMAXPROCS(0) / 2),
	}
	if e.opt.Log == nil {
		e.opt.Log = func(hostapi.Line) {}
	}
	if e.opt.Logger == nil {
		e.opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Limits != nil {
		opt.Limits(&e.defaults)
	}
	e.memory.limit = opt.MaxMemory
	if e.memory.limit <= 0 {
		e.memory.limit = machineMemory() / 4
	}
	e.memory.reclaim = e.reclaim
	cache, err := openCache(opt.CacheDir)
	if err != nil {
		return nil, err
	}
	e.cache = cache
	e.config = wazero.NewRuntimeConfig()
	if opt.Interpreter {
		e.config = wazero.NewRuntimeConfigInterpreter()
	}
	e.config = e.config.
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCompilationCache(cache).
		WithDebugInfoEnabled(false).
		WithCustomSections(false)
	if e.pager, err = newPager(); err != nil {
		e.pager = nil
		e.opt.Logger.Info("wasm engine: each instance has a copy of its whole memory", "reason", err)
	}
	if err := e.calibrate(); err != nil {
		return nil, errors.Join(fmt.Errorf("engine: measuring the machine: %w", err), e.Close())
	}
	e.opt.Logger.Info("wasm engine started", "kind", e.kind, "fuel_per_ms", e.fuel, "max_memory", e.memory.limit)
	if e.kind == kindInterpreter && !opt.Interpreter {
		e.opt.Logger.Warn("wasm engine: no compiler for this machine or executable memory is refused: plugins are interpreted and some 20 times slower")
	}
	return e, nil
}

const (
	kindCompiler    = "compiler"
	kindInterpreter = "interpreter"
)

// Kind is compiler or interpreter: how wazero runs guests on this machine.
func (e *Engine) Kind() string { return e.kind }

// MemoryInUse is the linear memory of all instances, in octets.
func (e *Engine) MemoryInUse() int64 { return e.memory.used.Load() }

// Metrics are the series that the plugins keep.
func (e *Engine) Metrics() []hostapi.Series { return e.metrics.Snapshot() }

// Close releases the cache. Close the plugins first.
func (e *Engine) Close() error {
	err := e.cache.Close(context.Background())
	if e.pager != nil {
		err = errors.Join(err, e.pager.close())
	}
	return err
}

func openCache(dir string) (wazero.CompilationCache, error) {
	if dir == "" {
		return wazero.NewCompilationCache(), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for compiled plugins: %w", err)
	}
	// Whoever can write here runs code in the server.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for compiled plugins: %w", err)
	}
	prune(dir)
	c, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("directory %q for compiled plugins: %w", dir, err)
	}
	return c, nil
}

// cacheTime is how long compiled code is kept: it grows by some megabytes with
// each new version of a plugin, and what is in use is compiled again in time.
const cacheTime = 30 * 24 * time.Hour

// prune removes what was compiled long ago. What cannot be removed stays.
func prune(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if i, err := d.Info(); err == nil && time.Since(i.ModTime()) > cacheTime {
			_ = os.Remove(path)
		}
		return nil
	})
}

// compile compiles rewritten code, one module at a time and on one core: mail
// goes on meanwhile.
func (e *Engine) compile(ctx context.Context, r wazero.Runtime, code []byte) (wazero.CompiledModule, error) {
	e.compiling.Lock()
	defer e.compiling.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.CompileModule(experimental.WithCompilationWorkers(ctx, 1), code)
}

// acquire waits for the right to run a guest.
func (e *Engine) acquire(ctx context.Context, wall time.Duration) error {
	select {
	case e.running <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(wall)
	defer t.Stop()
	select {
	case e.running <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return errBusy
	}
}

var errBusy = errors.New("all places for running guests stayed taken")

func (e *Engine) release() { <-e.running }

// reclaim closes the instances that wait for a session: their memory is wanted
// for sessions that are open.
func (e *Engine) reclaim() {
	e.plugins.Range(func(key, _ any) bool {
		p := key.(*Plugin)
		for i := p.takeIdle(); i != nil; i = p.takeIdle() {
			i.close()
		}
		return true
	})
}

// units is CPU time as fuel.
func (e *Engine) units(cpu time.Duration) int64 {
	return int64(float64(cpu) / float64(time.Millisecond) * float64(e.fuel))
}

// machineMemory is what this process may use, in octets.
func machineMemory() int64 {
	total := int64(4 << 30)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 && f[0] == "MemTotal:" {
			if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil && kb > 0 && kb < 1<<40 {
				total = kb << 10
			}
		}
	}
	if b, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			total = min(total, n)
		}
	}
	return total
}

// guestLogLevel keeps the level within the contract's range.
func guestLogLevel(l int32) int32 { return min(max(l, abi.LogDebug), abi.LogError) }
