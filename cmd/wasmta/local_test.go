package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// called runs the program under another name, as scripts do, and returns its
// output and exit code.
func called(t *testing.T, s *server, name, stdin string, args ...string) (out string, code int) {
	t.Helper()
	link := filepath.Join(filepath.Dir(s.config), name)
	if err := os.Symlink(s.binary, link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	cmd := exec.Command(link, append([]string{"-C", s.config}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// TestProgramsOfThisMachine: sendmail works with and without a server, mailq
// shows what scripts parse, and an operator holds, finds and releases it.
func TestProgramsOfThisMachine(t *testing.T) {
	next := freeAddr(t)
	arrived := make(chan string, 10)
	newSink(t, next, func(_ string, content []byte) { arrived <- string(content) })
	s := newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"dead.test\"]\nto = \"smtp:%s\"\n[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n", freeAddr(t), next))
	wait := func(what string) string {
		t.Helper()
		select {
		case content := <-arrived:
			return content
		case <-time.After(30 * time.Second):
			t.Fatalf("%s does not arrive:\n%s", what, s.log.Tail(4000))
			return ""
		}
	}
	if out, code := called(t, s, "sendmail", "Subject: early\n\n", "x@dst.test"); code != 75 || !strings.Contains(out, "wasmta serve makes the maildrop") {
		t.Errorf("sendmail before there was a server: exit %d, %s", code, out)
	}
	s.start()
	s.stop()
	if out, code := called(t, s, "sendmail", "To: x@dst.test\nBcc: y@dst.test\nSubject: down\n\nbody\n.\nno more\n", "-t", "-f", "ann@src.test"); code != 0 || out != "" {
		t.Fatalf("sendmail without a server: exit %d, %s", code, out)
	}
	if out, code := called(t, s, "mailq", ""); code != 0 || !strings.Contains(out, "the mail server is down") || !strings.Contains(out, "(maildrop queue, sender UID") {
		t.Errorf("mailq without a server: exit %d\n%s", code, out)
	}
	if out, code := called(t, s, "sendmail", "", "-bs"); code != 75 || !strings.HasPrefix(out, "421 4.3.2 ") {
		t.Errorf("-bs without a server: exit %d, %s", code, out)
	}
	s.start()
	if got := wait("what was left without a server"); !strings.Contains(got, "\r\nSubject: down\r\n") || !strings.HasSuffix(got, "\r\n\r\nbody\r\n") || strings.Contains(got, "Bcc") ||
		!strings.Contains(got, "\r\nFrom: ann@src.test\r\n") || !strings.Contains(got, "\r\nMessage-ID: <") {
		t.Errorf("arrived:\n%s", got)
	}
	eventually(t, 20*time.Second, "the queue is empty", func() bool {
		out, _ := called(t, s, "mailq", "")
		return out == "Mail queue is empty\n"
	})
	if out, code := called(t, s, "sendmail", "EHLO x\r\nMAIL FROM:<a@src.test>\r\nRCPT TO:<x@dst.test>\r\nDATA\r\nSubject: pipe\r\n\r\n.\r\nQUIT\r\n", "-bs"); code != 0 || !strings.Contains(out, "\r\n221 ") {
		t.Errorf("-bs: exit %d\n%s", code, out)
	}
	wait("what was said to -bs")
	for _, x := range []struct {
		args []string
		want int
	}{
		{nil, 64}, {[]string{"-bd"}, 64}, {[]string{"-t"}, 64}, {[]string{"a b c"}, 67}, {[]string{"-f", "a b", "x@dst.test"}, 67}, {[]string{"-q30m"}, 64}, {[]string{"-q"}, 0},
	} {
		if out, code := called(t, s, "sendmail", "Subject: x\n\n", x.args...); code != x.want {
			t.Errorf("sendmail %q: exit %d, want %d: %s", x.args, code, x.want, out)
		}
	}

	queue := func(want string, args ...string) {
		t.Helper()
		out, err := s.run(append([]string{"queue"}, args...)...)
		if ok, _ := regexp.MatchString(want, out); !ok {
			t.Errorf("queue %q: %v\n%s\nwant %s", args, err, out, want)
		}
	}
	queue(`hold rule 1 is in force\nnothing matches`, "rule", "add", "--recipient", "@held.test", "--reason", "wait for the auditor", "--existing")
	if out, code := called(t, s, "sendmail", "Subject: rule\n\nbody\n", "-i", "-f", "ann@src.test", "x@held.test", "y@dst.test", "z@dead.test"); code != 0 {
		t.Fatalf("sendmail: exit %d, %s", code, out)
	}
	wait("what no rule holds")
	eventually(t, 20*time.Second, "the dead next hop was tried", func() bool {
		out, _ := s.run("queue", "list", "--attempts", "1")
		return strings.Contains(out, "z@dead.test")
	})
	queue(`(?s)x@held\.test.*-- 1 message, 1 recipient`, "list", "--held")
	queue(`z@dead\.test`, "list", "--next-hop", "smtp:"+s.route("dead.test"))
	queue(`nothing in the queue matches`, "list", "--next-hop", "smtp:"+s.route("dead.test"), "--recipient", "x@held.test")
	queue(`(?s)x@held.*z@dead`, "list", "--sender", "@src.test", "--newer", "1h", "--listener", "local", "--client", "127.0.0.0/8")
	queue(`nothing in the queue matches`, "list", "--older", "1h")
	queue(`"reason":"hold rule 1: wait for the auditor"`, "list", "--json", "--reply", "AUDITOR")
	queue(`1 item of 1 message would be bounced`, "bounce", "--sender", "ann@src.test", "--domain", "dead.test", "--dry-run")
	queue(`mark "x": write PLUGIN/KEY`, "list", "--mark", "x")
	queue(`1  recipient|domain @?held\.test: wait for the auditor`, "rule", "list")
	queue(`nothing is selected`, "retry")
	out, _ := called(t, s, "mailq", "")
	if !regexp.MustCompile(`(?s)^----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n`+
		`\w{12}      +\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d ann@src\.test\n`).MatchString(strings.ReplaceAll(out, "!", " ")) ||
		!strings.Contains(out, "(hold rule 1: wait for the auditor)\n") || !strings.HasSuffix(out, "\n\n-- 0 Kbytes in 1 Request.\n") {
		t.Errorf("mailq:\n%s", out)
	}
	queue(`rule 1 is removed`, "rule", "remove", "1")
	queue(`no such hold rule`, "rule", "remove", "1")
	queue(`1 item of 1 message: released`, "release", "--reply", "hold rule 1:")
	if got := wait("what was released"); !bytes.Contains([]byte(got), []byte("Subject: rule")) {
		t.Errorf("arrived:\n%s", got)
	}
	s.stop()
}

// route is where the configuration sends a domain.
func (s *server) route(domain string) string {
	text, _ := os.ReadFile(s.config)
	_, rest, _ := strings.Cut(string(text), fmt.Sprintf("domains = [%q]\nto = \"smtp:", domain))
	address, _, _ := strings.Cut(rest, `"`)
	return address
}
