package script

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/wasmta/wasmta/hostapi/script/javascript"
	"github.com/wasmta/wasmta/hostapi/script/lua"
)

// MaxSource is the largest script, in octets.
const MaxSource = 1 << 20

// module is how a kind of script becomes a module. name is for messages.
type module func(ctx context.Context, name string, source []byte) ([]byte, error)

// language is the kind of script at path, by the end of its name; nil: it is none.
func language(path string) module {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".js", ".mjs":
		return javascript.Module
	case ".lua":
		return lua.Module
	}
	return nil
}

// Is tells whether the name of a file is that of a script.
func Is(path string) bool { return language(path) != nil }

// Build reads a script of at most [MaxSource] octets and makes a module of it.
// The same script under the same name gives the same octets. What is wrong in
// the script shows when the module starts, except for what makes it no text.
func Build(ctx context.Context, path string) ([]byte, error) {
	build := language(path)
	if build == nil {
		return nil, fmt.Errorf("%q is no script: its name must end in .js, .mjs or .lua", path)
	}
	source, err := read(path)
	if err != nil {
		return nil, err
	}
	wasm, err := build(ctx, filepath.Base(path), source)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return wasm, nil
}

// read reads a whole regular file that nobody is writing.
func read(path string) ([]byte, error) {
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
	source, err := io.ReadAll(io.LimitReader(f, MaxSource+1))
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case len(source) > MaxSource:
		return nil, fmt.Errorf("%q has more than %d octets, the limit of a script", path, MaxSource)
	case len(source) == 0:
		return nil, fmt.Errorf("%q is empty", path)
	case !before.ModTime().Equal(after.ModTime()) || int64(len(source)) != after.Size():
		return nil, fmt.Errorf("%q changes while it is read: write it beside and rename it", path)
	}
	return source, nil
}
