package main_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// contents are messages whose bytes must come through unchanged.
func contents() map[string][]byte {
	head := "From: a@src.test\r\nTo: b@dst.test\r\nSubject: =?utf-8?q?bytes?=\r\nX-Odd :  kept  as is \r\n\tfolded\r\n"
	long := bytes.Repeat([]byte("0123456789abcdef"), 300)
	dots := strings.Repeat(".\r\n..\r\n...\r\n.x\r\n", 200)
	return map[string][]byte{
		"plain":   []byte(head + "\r\nhello\r\n"),
		"8bit":    []byte(head + "Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe \xe4\xf6\xfc \x80\xff\r\n"),
		"dots":    []byte(head + "\r\n" + dots),
		"trailer": []byte(head + "\r\n\r\n\r\n  \r\n\t\r\n"),
		"long":    append([]byte(head+"\r\n"), append(long, "\r\n"...)...),
	}
}

// untraced removes what the server declares to add: its Received field, and
// in a Maildir Return-Path and Delivered-To above it, and the plugin's field.
func untraced(t *testing.T, content []byte) []byte {
	t.Helper()
	for _, name := range []string{"Return-Path:", "Delivered-To:", "Received:", "X-Tag-"} {
		for bytes.HasPrefix(content, []byte(name)) {
			_, rest, ok := bytes.Cut(content, []byte("\r\n"))
			for ok && (bytes.HasPrefix(rest, []byte(" ")) || bytes.HasPrefix(rest, []byte("\t"))) {
				_, rest, ok = bytes.Cut(rest, []byte("\r\n"))
			}
			content = rest
		}
	}
	return content
}

// relayAndMaildir starts a server with a module, a sink for dst.test and a
// Maildir for home.test.
func relayAndMaildir(t *testing.T) (s *server, last func() []byte, maildir string) {
	var mu sync.Mutex
	var content []byte
	next := freeAddr(t)
	newSink(t, next, func(_ string, c []byte) { mu.Lock(); content = bytes.Clone(c); mu.Unlock() })
	maildir = filepath.Join(t.TempDir(), "mail")
	s = newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"home.test\"]\nto = \"maildir:%s/{user}\"\n[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n%s", maildir, next, threePlugins(t)))
	s.start()
	return s, func() []byte { mu.Lock(); defer mu.Unlock(); c := content; content = nil; return c }, maildir
}

func fromMaildir(dir string) []byte {
	files, _ := filepath.Glob(filepath.Join(dir, "*", "new", "*"))
	if len(files) == 0 {
		return nil
	}
	b, _ := os.ReadFile(files[0])
	os.Remove(files[0])
	return b
}

// TestBytesComeThrough compares what arrives with what was sent.
func TestBytesComeThrough(t *testing.T) {
	s, last, maildir := relayAndMaildir(t)
	for name, content := range contents() {
		for _, to := range []string{"b@dst.test", "b@home.test"} {
			k, err := dial(s.addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.send("a@src.test", to, content); err != nil {
				t.Fatalf("%s to %s: %v", name, to, err)
			}
			k.c.Close()
			var got []byte
			eventually(t, 20*time.Second, name+" did not arrive at "+to, func() bool {
				if to == "b@home.test" {
					got = fromMaildir(maildir)
				} else {
					got = last()
				}
				return got != nil
			})
			if got = untraced(t, got); !bytes.Equal(got, content) {
				t.Errorf("%s to %s: the bytes changed:\n got %q\nsent %q", name, to, tail(got), tail(content))
			}
		}
	}
	s.stop()
}

func tail(b []byte) []byte { return b[max(0, len(b)-300):] }

// TestLargeMessageWithFlatMemory sends 40 MB through the server and looks at
// its memory.
func TestLargeMessageWithFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 40 MB; not with -short")
	}
	s, last, maildir := relayAndMaildir(t)
	content := []byte("From: a@src.test\r\nSubject: large\r\n\r\n")
	line := make([]byte, 78)
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(content) < 40<<20 {
		for i := range line[:76] {
			line[i] = byte(' ' + rnd.IntN(95))
		}
		line[76], line[77] = '\r', '\n'
		content = append(content, line...)
	}
	before := rss(t, s)
	for _, to := range []string{"b@dst.test", "b@home.test"} {
		k, err := dial(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.send("a@src.test", to, content); err != nil {
			t.Fatal(err)
		}
		var got []byte
		eventually(t, time.Minute, "40 MB did not arrive at "+to, func() bool {
			if to == "b@home.test" {
				got = fromMaildir(maildir)
			} else {
				got = last()
			}
			return got != nil
		})
		if sha256.Sum256(untraced(t, got)) != sha256.Sum256(content) {
			t.Errorf("40 MB to %s: the bytes changed", to)
		}
	}
	after := rss(t, s)
	t.Logf("resident: %d MB before, %d MB after two messages of 40 MB", before>>20, after>>20)
	// The store's memtables (64 MB each) and cache may fill; two messages held
	// in memory beside them would show.
	if after-before > 300<<20 {
		t.Errorf("the server grew by %d MB", (after-before)>>20)
	}
	s.stop()
}

// rss is the server's peak resident memory, in octets.
func rss(t *testing.T, s *server) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Skipf("this machine does not tell a process's memory: %v", err)
	}
	var kb int64
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fmt.Sscan(rest, &kb)
	return kb << 10
}

// TestClients lets the programs that people use submit a message through a
// module to a next hop and to a Maildir.
func TestClients(t *testing.T) {
	s, last, maildir := relayAndMaildir(t)
	content := contents()["dots"]
	dir := t.TempDir()
	crlf := filepath.Join(dir, "crlf.eml")
	lf := filepath.Join(dir, "lf.eml")
	os.WriteFile(crlf, content, 0o600)
	os.WriteFile(lf, bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")), 0o600)
	host, port, _ := strings.Cut(s.addr, ":")

	clients := map[string]func(to string) *exec.Cmd{
		"swaks": func(to string) *exec.Cmd {
			return exec.Command("swaks", "--server", s.addr, "--helo", "client.test", "--from", "a@src.test", "--to", to, "--data", "@"+lf)
		},
		"curl": func(to string) *exec.Cmd {
			return exec.Command("curl", "-sS", "smtp://"+s.addr+"/client.test", "--mail-from", "a@src.test", "--mail-rcpt", to, "-T", crlf)
		},
		"msmtp": func(to string) *exec.Cmd {
			c := exec.Command("msmtp", "--file=/dev/null", "--host="+host, "--port="+port, "--from=a@src.test", "--undisclosed-recipients=off", "--set-from-header=off", "--set-date-header=off", "--set-msgid-header=off", "--", to)
			c.Stdin, _ = os.Open(lf)
			return c
		},
		"python3": func(to string) *exec.Cmd {
			return exec.Command("python3", "-c", `
import smtplib, sys
host, port, to, path = sys.argv[1:]
with smtplib.SMTP(host, int(port), local_hostname="client.test") as s:
    s.sendmail("a@src.test", [to], open(path, "rb").read())
`, host, port, to, crlf)
		},
		"node": func(to string) *exec.Cmd {
			return exec.Command("node", "-e", `
const [host, port, to, path] = process.argv.slice(1);
const mailer = require("nodemailer").createTransport({host, port: +port, name: "client.test", ignoreTLS: true});
mailer.sendMail({envelope: {from: "a@src.test", to: [to]}, raw: require("fs").readFileSync(path)})
  .catch(e => { console.error(e); process.exit(1); });
`, host, port, to, crlf)
		},
	}
	for name, command := range clients {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skipf("%s is not installed", name)
			}
			if name == "node" && exec.Command("node", "-e", `require("nodemailer")`).Run() != nil {
				t.Skip("nodemailer is not installed (npm install nodemailer; NODE_PATH)")
			}
			for _, to := range []string{"b@dst.test", "b@home.test"} {
				if out, err := command(to).CombinedOutput(); err != nil {
					t.Fatalf("to %s: %v\n%s", to, err, out)
				}
				var got []byte
				eventually(t, 20*time.Second, "nothing arrived at "+to, func() bool {
					if to == "b@home.test" {
						got = fromMaildir(maildir)
					} else {
						got = last()
					}
					return got != nil
				})
				if !bytes.Contains(got, []byte("X-Tag-tag1: ")) {
					t.Errorf("to %s: the plugin was not asked:\n%q", to, tail(got))
				}
				want := content
				if name == "swaks" {
					// swaks ends its data with an empty line of its own.
					got, want = bytes.TrimRight(got, "\r\n"), bytes.TrimRight(content, "\r\n")
				}
				if got = untraced(t, got); !bytes.Equal(got, want) {
					t.Errorf("to %s: the bytes changed:\n got %q\nsent %q", to, tail(got), tail(want))
				}
			}
		})
	}
	s.stop()
}
