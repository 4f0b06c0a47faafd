package manager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/manifest"
)

// prepare makes the generation that spec asks for, or returns the one of kept
// that is the same. tried is the fingerprint of the sources, taken before they
// are read: whatever changes later is seen as a change.
func (m *Manager) prepare(ctx context.Context, spec hostapi.Spec, kept []*generation) (tried string, g *generation, err error) {
	if spec.Dev {
		tried = m.fingerprint(spec.Module)
	}
	fail := func(step, hash string, err error) (string, *generation, error) {
		return tried, nil, &Error{Plugin: spec.Name, Step: step, Hash: hash, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail("read", "", err)
	}
	info, err := os.Stat(spec.Module)
	if err != nil {
		return fail("read", "", err)
	}
	var wasm []byte
	built := info.IsDir() || m.o.Script != nil && m.o.Script(spec.Module)
	if built {
		if info.IsDir() && !spec.Dev {
			return fail("read", "", fmt.Errorf("%q is a directory: set dev = true to build Go source, or give a .wasm file or a script", spec.Module))
		}
		if m.o.Build == nil {
			return fail("build", "", errors.New("this server builds no source: give a .wasm file"))
		}
		if wasm, err = m.o.Build(ctx, spec.Module); err != nil {
			return fail("build", "", err)
		}
		if len(wasm) > MaxModule {
			return fail("build", "", fmt.Errorf("the module has %d octets, the limit is %d", len(wasm), MaxModule))
		}
	} else if wasm, err = readModule(spec.Module); err != nil {
		return fail("read", "", err)
	}
	sum := sha256.Sum256(wasm)
	if spec.Manifest, err = besides(spec.Module, info.IsDir(), built, hex.EncodeToString(sum[:])); err != nil {
		return fail("read", hex.EncodeToString(sum[:]), err)
	}
	key := identity(spec, sum)
	for _, g := range kept {
		if g.key == key {
			return tried, g, nil
		}
	}
	loaded, err := m.o.Load(ctx, spec, wasm)
	if err != nil {
		return fail("load", hex.EncodeToString(sum[:]), err)
	}
	return tried, newGeneration(spec.Name, loaded, key), nil
}

// besides reads the manifest beside a module. The one among the sources of a
// module, or beside a script, is for what they build.
func besides(path string, dir, built bool, hash string) (json.RawMessage, error) {
	data, file, err := manifest.Beside(path, dir)
	if err != nil || data == nil || !built {
		return data, err
	}
	if data, err = manifest.Pin(data, hash); err != nil {
		return nil, fmt.Errorf("manifest %q: %w", file, err)
	}
	return data, nil
}

// identity is what a generation is made of: two with the same identity answer
// alike. Listeners, on_error and the interval of tick belong to the chain.
func identity(spec hostapi.Spec, module [32]byte) [32]byte {
	spec.Module, spec.Listeners, spec.OnError, spec.OnErrorGiven, spec.Dev, spec.Tick = "", nil, 0, false, false, 0
	config := sha256.Sum256(spec.Config)
	spec.Config = nil
	b, err := json.Marshal(struct {
		Spec           hostapi.Spec
		Module, Config [32]byte
	}{spec, module, config})
	if err != nil {
		panic(err) // plain values only
	}
	return sha256.Sum256(b)
}

// readModule reads a whole regular file that nobody is writing.
func readModule(path string) ([]byte, error) {
	before, err := os.Stat(path) // before Open, which would wait for the writer of a pipe
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wasm, err := io.ReadAll(io.LimitReader(f, MaxModule+1))
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !after.Mode().IsRegular():
		return nil, fmt.Errorf("%q is not a regular file", path)
	case len(wasm) > MaxModule:
		return nil, fmt.Errorf("%q has more than %d octets, the limit of a module", path, MaxModule)
	case len(wasm) == 0:
		return nil, fmt.Errorf("%q is empty", path)
	case !before.ModTime().Equal(after.ModTime()) || int64(len(wasm)) != after.Size():
		return nil, fmt.Errorf("%q changes while it is read: write it beside and rename it", path)
	}
	return wasm, nil
}

// fingerprint identifies the content of a module's sources. Trouble is part of
// it, so that a file which appears again is a change.
func (m *Manager) fingerprint(path string) string {
	files, err := m.sources(path)
	if err != nil {
		return "error: " + err.Error()
	}
	h := sha256.New()
	for _, file := range files {
		fmt.Fprintf(h, "%q ", file)
		b, err := readSource(file)
		if err != nil {
			fmt.Fprintf(h, "error: %q\n", err.Error())
			continue
		}
		fmt.Fprintf(h, "%x\n", sha256.Sum256(b))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func readSource(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxModule))
}

// sources lists the files a module is made of: itself, or those of its
// directory, and its manifest.
func (m *Manager) sources(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files := []string{path}
	if info.IsDir() {
		if m.o.Sources == nil {
			return nil, errors.New("this server builds no source")
		}
		if files, err = m.o.Sources(path); err != nil {
			return nil, err
		}
	}
	for _, file := range manifest.Files(path, info.IsDir()) {
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	return files, nil
}

// grantString is a grant in the words of the configuration, for the log.
func grantString(g hostapi.Grant) string {
	lines := manifest.Lines(g)
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(lines, "; ")
}

func (m *Manager) logFailure(ctx context.Context, e *entry, err error, start bool) {
	now := "the chain in force stays"
	if start {
		now = "it is missing: mail, rcpt and route get its on_error, " + e.spec.OnError.String()
	}
	m.o.Log.Error("plugin cannot be loaded", "plugin", e.spec.Name, "module", e.spec.Module, "reason", err.Error(), "consequence", now, "by", actor(ctx))
}
