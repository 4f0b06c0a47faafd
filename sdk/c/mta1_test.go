// Package c_test compiles mta1.h and runs what it gives in the engine.
package c_test

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

// compile makes a module; it skips without a clang for wasm32.
func compile(t *testing.T, args ...string) []byte {
	t.Helper()
	cc := ""
	for _, name := range []string{"clang-14", "clang", "clang-19"} {
		if path, err := exec.LookPath(name); err == nil {
			cc = path
			break
		}
	}
	if cc == "" {
		t.Skip("clang is not installed")
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	link := []string{"--target=wasm32", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-o", out}
	if said, err := exec.Command(cc, append(slices.Clone(link), "-x", "c", os.DevNull)...).CombinedOutput(); err != nil {
		t.Skipf("%s cannot link for wasm32: %s", cc, said)
	}
	flags := append(link, "-ffreestanding", "-I.", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
	if said, err := exec.Command(cc, append(flags, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", cc, args, err, said)
	}
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

func TestHelpers(t *testing.T) {
	for name, args := range map[string][]string{
		"c99":         {"-std=c99", "-O2", "testdata/all.c"},
		"unoptimised": {"-std=c11", "-O0", "testdata/all.c"},
		"c++":         {"-std=c++14", "-Os", "-x", "c++", "testdata/all.c"},
	} {
		t.Run(name, func(t *testing.T) {
			var logged []string
			k := open(t, compile(t, args...), config, func(l hostapi.Line) { logged = append(logged, l.Text) })
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
			want(t, k.Ask(t.Context(), event(hook.Rcpt, "must")), "failed")
			if len(logged) == 0 || logged[0] != "a change was refused: error -2" {
				t.Errorf("logged %q", logged)
			}
		})
	}
}

// What the README shows compiles as it says and does what it says.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```c\n(.*?)```").FindSubmatch(readme)
	if code == nil {
		t.Fatal("README.md shows no plugin")
	}
	file := filepath.Join(t.TempDir(), "policy.c")
	if err := os.WriteFile(file, code[1], 0o644); err != nil {
		t.Fatal(err)
	}
	k := open(t, compile(t, "-O2", file), `{"blocked": ["nobody"]}`, nil)
	want(t, k.Ask(t.Context(), event(hook.Rcpt, "nobody")), "reject 550 5.1.1 there is no such mailbox")
	want(t, k.Ask(t.Context(), event(hook.Rcpt, "ann")), "continue")
}
