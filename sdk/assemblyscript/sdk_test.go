package sdk_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/sdk/internal/exercise"
)

// packages is a directory where @wasmta/sdk is, as npm would put it.
func packages(t *testing.T) string {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "@wasmta"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, filepath.Join(dir, "@wasmta", "sdk")); err != nil {
		t.Skipf("this machine makes no symbolic links: %v", err)
	}
	return dir
}

// compile makes a module of a file.
func compile(t *testing.T, file string) []byte {
	t.Helper()
	asc := exercise.Tool(t, "asc", "npm install assemblyscript, and put node_modules/.bin on the PATH")
	dir := packages(t)
	out := filepath.Join(dir, "out.wasm")
	file, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Dir(file)
	return exercise.Build(t, base, out, asc, filepath.Base(file), "--path", dir, "--outFile", out, "-O2s", "--runtime", "incremental")
}

func policy(t *testing.T, code string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.ts")
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	return compile(t, file)
}

func TestHelpers(t *testing.T) { exercise.Run(t, compile(t, "testdata/exercise.ts")) }

func TestCapabilities(t *testing.T) { exercise.Capabilities(t, compile(t, "testdata/capabilities.ts")) }

// What a plugin does not use it does not import, so that it needs no grant.
func TestImports(t *testing.T) {
	for code, modules := range map[string][]string{
		`return reject(550, "", "no");`:                           {},
		`return kv.take("k", 1, 2, 0.5) > 0 ? DEFER : CONTINUE;`:  {"mta1_kv"},
		`return dns.a("l.test") !== null ? DEFER : CONTINUE;`:     {"mta1_dns"},
		`return new Digest(1).sum() !== null ? DEFER : CONTINUE;`: {"mta1_crypto"},
		`return lookup("t", "k") !== null ? DEFER : CONTINUE;`:    {"mta1_table"},
		`return emit("t", "k");`:                                  {"mta1_event"},
	} {
		exercise.Honest(t, policy(t, "import { CONTINUE, DEFER, Digest, dns, emit, kv, lookup, reject } from \"@wasmta/sdk\";\nexport function mta1_init(): i32 { return 0; }\n"+
			"export function mta1_on_rcpt(): i32 { "+code+" }\n"), modules...)
	}
}

// What fails says why in the log.
func TestFailures(t *testing.T) {
	const head = "import { CONTINUE, must, session } from \"@wasmta/sdk\";\nexport function mta1_init(): i32 { return 0; }\nexport function mta1_on_rcpt(): i32 {\n"
	for code, words := range map[string][]string{
		`throw new Error("no more " + session.recipientCount().toString());`: {"no more 1", "policy.ts:4"},
		`assert(session.recipientCount() == 7, "seven");`:                    {"seven", "policy.ts:4"},
		`must(session.setSizeLimit(1));`:                                     {"not granted"},
		`const list: i32[] = []; return list[session.recipientCount()];`:     {"Index out of range"},
	} {
		exercise.Fails(t, policy(t, head+code+"\nreturn CONTINUE;\n}\n"), words...)
	}
}

// The plugin that README.md shows compiles.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range regexp.MustCompile("(?s)```ts\n(import.*?)```").FindAllSubmatch(readme, -1) {
		exercise.Honest(t, policy(t, string(code[1])), honest(string(code[1]))...)
	}
}

// honest are the modules of capabilities that a text must import.
func honest(code string) (modules []string) {
	for name, module := range map[string]string{"kv.": "mta1_kv", "dns.": "mta1_dns", "new Request": "mta1_http", "lookup(": "mta1_table"} {
		if strings.Contains(code, name) {
			modules = append(modules, module)
		}
	}
	return modules
}

// What npm would publish has all that is needed, and nothing else.
func TestPackage(t *testing.T) {
	npm := exercise.Tool(t, "npm", "apt-get install npm")
	cmd := exec.Command(npm, "pack", "--dry-run", "--json", "--offline", "--cache", t.TempDir())
	cmd.Env = append(os.Environ(), "npm_config_update_notifier=false")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("npm pack: %v\n%s", err, out)
	}
	var packs []struct {
		Files []struct{ Path string }
	}
	if err := json.Unmarshal(out, &packs); err != nil || len(packs) != 1 {
		t.Fatalf("npm pack: %v\n%s", err, out)
	}
	var got []string
	for _, f := range packs[0].Files {
		got = append(got, f.Path)
	}
	slices.Sort(got)
	want := []string{"README.md", "asconfig.json", "assembly/abi.ts", "assembly/crypto.ts", "assembly/index.ts", "assembly/memory.ts",
		"assembly/network.ts", "assembly/text.ts", "assembly/tsconfig.json", "index.ts", "package.json"}
	if !slices.Equal(got, want) {
		t.Errorf("the package has %q, want %q", got, want)
	}
}
