package gobuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Timeout bounds one build. The first one compiles Go's standard library and
// takes a minute on a slow machine, later ones about a second.
const Timeout = 5 * time.Minute

// maxOutput is how much of the compiler's words an error keeps, in octets, and
// maxSources how many files a directory may have.
const (
	maxOutput  = 4 << 10
	maxSources = 5000
)

// ErrNoGo says that this machine has no Go toolchain.
var ErrNoGo = errors.New("no go command found: install Go (go.dev/dl) or build the module elsewhere and give its .wasm")

// Build compiles package main in dir. The error holds what the compiler said.
func Build(ctx context.Context, dir string) ([]byte, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return nil, ErrNoGo
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, fmt.Errorf("it took more than %v", Timeout))
	defer cancel()
	tmp, err := os.MkdirTemp("", "wasmta-build-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "plugin.wasm")

	// Without -buildvcs=false every commit would make another module.
	args := []string{"build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out}
	env := append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if Vendored(dir) {
		args, env = append(args, "-mod=vendor"), append(env, "GOWORK=off")
	}
	cmd := exec.CommandContext(ctx, tool, append(args, ".")...)
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = 5 * time.Second // compilers that outlive a killed go must not hold us
	var said limitedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("go build in %q: %w\n%s", dir, err, said.String())
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("go build in %q: %w", dir, err)
	}
	return wasm, nil
}

// Vendored tells whether dir is a Go module that brings what it imports along,
// as those that wasmta plugin new makes do. It is built with that alone, whatever
// workspace it lies in and whatever GOFLAGS say.
func Vendored(dir string) bool {
	for _, name := range []string{"go.mod", "vendor/modules.txt"} {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// Sources lists the files of dir and below it that a build depends on: Go files
// other than tests, go.mod and go.sum. What dir imports from elsewhere is not
// among them.
func Sources(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir():
			if path != dir && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"), strings.HasSuffix(name, "_test.go"):
			return nil
		case strings.HasSuffix(name, ".go") || name == "go.mod" || name == "go.sum":
			files = append(files, path)
		}
		if len(files) > maxSources {
			return fmt.Errorf("%q has more than %d source files", dir, maxSources)
		}
		return nil
	})
	return files, err
}

// limitedBuffer keeps the beginning, where the first error stands.
type limitedBuffer struct {
	b    bytes.Buffer
	over bool
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxOutput - l.b.Len(); len(p) > room {
		l.over = true
		l.b.Write(p[:room])
	} else {
		l.b.Write(p)
	}
	return len(p), nil
}

func (l *limitedBuffer) String() string {
	s := strings.TrimSpace(l.b.String())
	if l.over {
		s += "\n..."
	}
	return s
}
