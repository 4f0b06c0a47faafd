// Package rust_test compiles the crate for WebAssembly and runs what it gives in
// the engine.
package rust_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

const target = "wasm32-unknown-unknown"

// compilers are the installed ones that have the target; Debian's is the oldest
// that the crate supports.
func compilers(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, name := range []string{"rustc", "/usr/bin/rustc"} {
		path, err := exec.LookPath(name)
		if err != nil || slices.Contains(found, path) {
			continue
		}
		out, err := exec.Command(path, "--print", "target-libdir", "--target", target).Output()
		if err == nil {
			_, err = os.Stat(strings.TrimSpace(string(out)))
		}
		if err != nil {
			t.Logf("%s has no target %s", path, target)
			continue
		}
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Skip("no rustc with the target " + target)
	}
	return found
}

func run(t *testing.T, tool string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}

// compile makes a module of a file, with std and all warnings as errors.
func compile(t *testing.T, rustc, file string) []byte {
	t.Helper()
	dir := t.TempDir()
	lib, out := filepath.Join(dir, "libwasmta.rlib"), filepath.Join(dir, "out.wasm")
	flags := []string{"--edition", "2021", "--target", target, "-O", "-C", "panic=abort", "-D", "warnings"}
	run(t, rustc, append(flags, "--crate-name", "wasmta", "--crate-type", "rlib", "-o", lib, "src/lib.rs")...)
	run(t, rustc, append(flags, "--crate-name", "plugin", "--crate-type", "cdylib", "--extern", "wasmta="+lib, "-o", out, file)...)
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func open(t *testing.T, wasm []byte, config string, log func(hostapi.Line)) *hook.Conversation {
	t.Helper()
	e, err := engine.New(engine.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Load(context.Background(), hostapi.Spec{Name: "all", Config: []byte(config),
		Grant: hostapi.Grant{Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read}}, wasm)
	if err != nil {
		t.Fatal(err)
	}
	k := hook.Chain{{Name: "all", Stages: p.Stages(), Handler: p}}.Open("mx", func(f hook.Failure) { t.Logf("%v", f.Err) })
	t.Cleanup(func() { k.Close(); p.Close(); e.Close() })
	return k
}

func event(s hook.Stage, to ...string) *hook.Event {
	e := &hook.Event{Stage: s, Session: &hook.Session{Client: &mail.Client{Listener: "mx"}, Attrs: mail.Attrs{}}, Recipient: len(to) - 1}
	e.Tx = &hook.Transaction{ID: "t1", Attrs: mail.Attrs{}, SizeLimit: 1 << 20}
	e.Tx.Envelope.ReversePath = mail.Path{Local: "ann", Domain: "example.com"}
	e.Tx.Envelope.Size = 1234
	for _, local := range to {
		e.Tx.Envelope.Recipients = append(e.Tx.Envelope.Recipients, mail.Recipient{ForwardPath: mail.Path{Local: local, Domain: "example.com"}})
	}
	return e
}

func want(t *testing.T, o hook.Outcome, text string) {
	t.Helper()
	got := o.Action.String()
	if o.Failed {
		got = "failed"
	}
	if o.Reply != nil {
		got += " " + o.Reply.String()
	}
	if got != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

const config = `{"list": ["a", "\"b\\\n", "\u00e4\u20ac\ud83d\ude00\ud83d", ""], "text": "some text", "number": -12, "yes": true, "no": false}`

func TestCrateInTheEngine(t *testing.T) {
	for _, rustc := range compilers(t) {
		t.Run(rustc, func(t *testing.T) {
			var logged []string
			k := open(t, compile(t, rustc, "testdata/all.rs"), config, func(l hostapi.Line) { logged = append(logged, l.Text) })
			e := event(hook.Mail)
			want(t, k.Ask(t.Context(), e), "continue")
			if got := e.Tx.Envelope.ReversePath.String(); got != "bob@example.com" {
				t.Errorf("reverse-path %s", got)
			}
			if !slices.Equal(logged, []string{"as expected"}) {
				t.Errorf("logged %q", logged)
			}
			want(t, k.Ask(t.Context(), event(hook.Rcpt, "later")), "continue") // it has detached itself
			k.EndTransaction()
			want(t, k.Ask(t.Context(), event(hook.Rcpt, "later")), "defer 450 4.7.1 come again")
			want(t, k.Ask(t.Context(), event(hook.Rcpt, "drop")), "drop "+mail.NewReply(421, "4.7.0", "two\nlines").String())
			e = event(hook.Rcpt, "ann")
			want(t, k.Ask(t.Context(), e), "continue")
			if r := e.Tx.Envelope.Recipients; len(r) != 2 || r[0].ForwardPath.String() != "ann@new.test" || r[1].ForwardPath.String() != "copy@new.test" {
				t.Errorf("recipients %v", r)
			}
			e = event(hook.Command)
			e.Verb = "XFINE"
			want(t, k.Ask(t.Context(), e), "accept 250 2.0.0 fine")
			for range 3 { // the memory that one took serves the next
				e = event(hook.Message, "ann")
				e.Recipient = -1
				header, err := mail.ParseHeader([]byte("A: " + strings.Repeat("a", 40000) + "\r\nB: " + strings.Repeat("b", 90000) + "\r\na: other\r\n\r\n"))
				if err != nil {
					t.Fatal(err)
				}
				e.Content = &hook.Content{Header: header, Body: strings.NewReader(strings.Repeat("x", 20)), BodySize: 20}
				want(t, k.Ask(t.Context(), e), "continue")
				if got := string(e.Content.Header.Bytes()); got != "Z: -1\r\nB: short\r\nD: new\r\nSubject: x\r\n\r\n" {
					t.Errorf("header section %q", got)
				}
			}
			logged = nil
			want(t, k.Ask(t.Context(), event(hook.Rcpt, "error")), "failed")
			if len(logged) == 0 || !strings.HasPrefix(logged[0], "a call was refused: ") {
				t.Errorf("logged %q", logged)
			}
			want(t, k.Ask(t.Context(), event(hook.Rcpt, "panic")), "failed")
		})
	}
}

// The plugin of README.md compiles and does what it says there.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```rust\n(.*?)```").FindSubmatch(readme)
	if code == nil {
		t.Fatal("README.md shows no plugin")
	}
	file := filepath.Join(t.TempDir(), "policy.rs")
	if err := os.WriteFile(file, code[1], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, rustc := range compilers(t) {
		k := open(t, compile(t, rustc, file), `{"blocked": ["nobody"]}`, nil)
		want(t, k.Ask(t.Context(), event(hook.Rcpt, "nobody")), "reject 550 5.1.1 there is no such mailbox")
		want(t, k.Ask(t.Context(), event(hook.Rcpt, "ann")), "continue")
	}
}

// The crate's own tests, and those of the examples, with the stand-in for the
// server.
func TestCargo(t *testing.T) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		t.Skip("cargo is not installed")
	}
	for _, args := range [][]string{
		{"--all-features", "--manifest-path", "Cargo.toml"},
		{"--manifest-path", "../../examples/rust/Cargo.toml"},
	} {
		run(t, cargo, append([]string{"test", "--quiet", "--offline", "--target-dir", t.TempDir()}, args...)...)
	}
}
