package lua

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/hostapi/gobuild"
)

// built holds the interpreter if go generate was run before this was compiled.
//
//go:embed built
var built embed.FS

// Embedded is the file in the directory built that holds the interpreter.
const Embedded = "lua.wasm.gz"

const howToEmbed = "go generate ./hostapi/script/lua && go build ./cmd/wasmta"

// maxInterpreter bounds what is unpacked, in octets.
const maxInterpreter = 64 << 20

// interpreter is the module that runs scripts: the one that was embedded, or
// one that is compiled now, or was before.
func interpreter(ctx context.Context) ([]byte, error) {
	if packed, err := built.ReadFile("built/" + Embedded); err == nil {
		return unpack(packed)
	}
	wasm, err := compiled(ctx)
	if err != nil {
		return nil, fmt.Errorf("this server was built without the Lua interpreter, and cannot compile it (%w); build the server with: %s", err, howToEmbed)
	}
	return wasm, nil
}

// compiled takes the interpreter from the user's cache, or compiles it and puts
// it there. The key is a hash of all that goes into it.
func compiled(ctx context.Context) ([]byte, error) {
	root, err := Source(ctx)
	if err != nil {
		return nil, err
	}
	key, err := sourceKey(ctx, root)
	if err != nil {
		return nil, err
	}
	path := ""
	if dir, err := os.UserCacheDir(); err == nil {
		path = filepath.Join(dir, "wasmta", "lua-"+key+".wasm.gz")
		if packed, err := os.ReadFile(path); err == nil {
			if wasm, err := unpack(packed); err == nil {
				return wasm, nil
			}
		}
	}
	packed, err := Compile(ctx, root)
	if err != nil {
		return nil, err
	}
	if path != "" {
		_ = store(path, packed) // the next time compiles again
	}
	return unpack(packed)
}

// Compile makes the interpreter of the source in root, the directory of this
// module, in the form of [Embedded].
func Compile(ctx context.Context, root string) ([]byte, error) {
	wasm, err := gobuild.Build(ctx, filepath.Join(root, "hostapi", "script", "lua", "guest"))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(wasm); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the Lua interpreter: %w", err)
	}
	wasm, err := io.ReadAll(io.LimitReader(r, maxInterpreter+1))
	if err != nil {
		return nil, fmt.Errorf("unpack the Lua interpreter: %w", err)
	}
	if len(wasm) > maxInterpreter {
		return nil, fmt.Errorf("unpack the Lua interpreter: it has more than %d octets", maxInterpreter)
	}
	return wasm, nil
}

// store writes a file that others may write at the same time, with the same
// content.
func store(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".lua-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// modulePath is the module that holds the interpreter.
const modulePath = "github.com/wasmta/wasmta"

// Source finds the source of the interpreter: where this was compiled from, in
// the module cache, or in the module of the working directory.
func Source(ctx context.Context) (string, error) {
	_, file, _, _ := runtime.Caller(0) // not a path with -trimpath
	candidates := []string{filepath.Join(filepath.Dir(file), "..", "..", "..")}
	if v := version(); v != "" {
		if cache, err := goCommand(ctx, "env", "GOMODCACHE"); err == nil {
			candidates = append(candidates, filepath.Join(cache, filepath.FromSlash(modulePath)+"@"+v))
		} else {
			return "", err
		}
	}
	for _, dir := range candidates {
		if filepath.IsAbs(dir) && isSource(dir) {
			return dir, nil
		}
	}
	dir, err := goCommand(ctx, "list", "-m", "-f", "{{.Dir}}", modulePath)
	if errors.Is(err, gobuild.ErrNoGo) {
		return "", err
	}
	if err == nil && isSource(dir) {
		return dir, nil
	}
	return "", fmt.Errorf("the source of %s is not on this machine", modulePath)
}

func isSource(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "hostapi", "script", "lua", "guest", "main.go"))
	return err == nil
}

// version is that of this module in the program; empty for one that was built
// in a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	v := ""
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == modulePath && m.Replace == nil {
			v = m.Version
		}
	}
	if v == "(devel)" {
		return ""
	}
	return v
}

func goCommand(ctx context.Context, args ...string) (string, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", gobuild.ErrNoGo
	}
	out, err := exec.CommandContext(ctx, tool, args...).Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// sourceKey is a hash of the compiler's version and of all files of this module
// that go into the interpreter.
func sourceKey(ctx context.Context, root string) (string, error) {
	compiler, err := goCommand(ctx, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, compiler)
	files := []string{filepath.Join(root, "go.mod"), filepath.Join(root, "go.sum")}
	for _, dir := range []string{"hostapi/abi", "hostapi/script/lua/guest", "hostapi/script/lua/scan", "sdk/go"} {
		list, err := gobuild.Sources(filepath.Join(root, filepath.FromSlash(dir)))
		if err != nil {
			return "", err
		}
		files = append(files, list...)
	}
	slices.Sort(files)
	for _, path := range files {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a module in the cache may lack go.sum
		} else if err != nil {
			return "", err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %d\n", filepath.ToSlash(rel), len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
