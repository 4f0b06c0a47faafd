//go:build unix

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A plugin gets what it is granted: its memory outlives the server, a table is
// read again when its file changes, a secret on SIGHUP, and events arrive.
func TestAPluginGetsWhatItIsGranted(t *testing.T) {
	module := guest(t, "memory", "")
	config := func(grant string) string {
		return fmt.Sprintf(`[[plugin]]
name = "memory"
module = %q
[plugin.grant]
%s
[[table]]
name = "users"
file = "users.txt"
[[event]]
topics = ["*"]
to = "file:events.json"
[[event]]
topics = ["rcpt"]
to = "log"
[secrets]
word = { file = "word" }
`, module, grant)
	}
	s := newServer(t, "", config(`kv = { mb = 1 }
tables = ["users"]
events = ["rcpt"]
secrets = ["word"]`))
	dir := filepath.Dir(s.config)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("users.txt", "b@home.test one\n")
	write("word", "hush\n")
	if out, err := s.run("check"); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("check made the data directory")
	}
	s.start()
	ask := func() string {
		t.Helper()
		k, err := dial(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer k.c.Close()
		if err := k.cmd(250, "MAIL FROM:<a@src.test>"); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(k.ask("RCPT TO:<b@home.test>"))
	}
	n := 0
	want := func(value, word string) {
		t.Helper()
		n++
		if reply := ask(); reply != fmt.Sprintf("550 5.7.1 %d %s %s", n, value, word) {
			t.Errorf("%q; want %d %s %s\n%s", reply, n, value, word, s.log.Tail(1000))
		}
	}
	eventually := func(value, word string) {
		t.Helper()
		var reply string
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			n++
			if reply = ask(); strings.HasSuffix(reply, " "+value+" "+word) {
				return
			}
		}
		t.Fatalf("%q; want %s %s\n%s", reply, value, word, s.log.Tail(1000))
	}
	want("one", "hush")
	want("one", "hush")
	write("users.txt", "b@home.test another\n")
	eventually("another", "hush")
	write("word", "louder\n")
	want("another", "hush")
	s.cmd.Process.Signal(syscall.SIGHUP)
	eventually("another", "louder")

	// What cannot be put in force leaves everything as it is.
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write("word", "wrong\n")
	write("wasmta.toml", strings.Replace(string(text), `tables = ["users"]`, "", 1))
	s.cmd.Process.Signal(syscall.SIGHUP)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(s.log.String(), "reload failed"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is said of a reload that failed:\n%s", s.log.Tail(1000))
		}
	}
	if !strings.Contains(s.log.String(), `add tables = [`) {
		t.Errorf("the log does not name the line to add:\n%s", s.log.Tail(1000))
	}
	want("another", "louder")
	write("wasmta.toml", string(text))

	s.kill() // the count is on disk: SetSync came after it
	s.start()
	want("another", "wrong")
	s.stop()
	events, err := os.ReadFile(filepath.Join(dir, "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	// The events of the process that was killed may have been on their way.
	if lines := strings.Count(string(events), `"plugin":"memory","topic":"rcpt"`); lines == 0 || lines > n || !strings.Contains(string(events), `"text":"b@home.test"`) {
		t.Errorf("%d events of %d:\n%s", lines, n, events)
	}
	if !strings.Contains(s.log.String(), "event rcpt: b@home.test") {
		t.Errorf("the log has no event:\n%s", s.log.Tail(1000))
	}
}
