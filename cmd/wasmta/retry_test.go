package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNextHopDownThenBack: mail waits, is tried by the schedule, and drains.
func TestNextHopDownThenBack(t *testing.T) {
	next := freeAddr(t)
	s := newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n[queue]\nretry = [\"1s\", \"2s\"]\n", next))
	s.start()
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := k.send("a@src.test", fmt.Sprintf("u%d@dst%d.test", i, i), message(fmt.Sprintf("t%d", i), 500)); err != nil {
			t.Fatal(err)
		}
	}
	k.c.Close()
	eventually(t, 20*time.Second, "no attempt was logged as deferred", func() bool { return strings.Contains(s.log.String(), "status=deferred") })
	out, err := s.run("queue", "list", "--json")
	if err != nil || strings.Count(out, "\n") != 20 {
		t.Errorf("queue list: %v, %d lines:\n%s", err, strings.Count(out, "\n"), out)
	}
	// A restart does not forget what waits.
	s.stop()
	s.start()
	sink := newSink(t, next, nil)
	if out, err := s.run("queue", "retry", "--all"); err != nil {
		t.Errorf("queue retry: %v\n%s", err, out)
	}
	eventually(t, time.Minute, "the queue does not drain when the next hop is back", func() bool { return sink.count() == 20 })
	eventually(t, 10*time.Second, "the queue is not empty", func() bool {
		out, err := s.run("queue", "list", "--json")
		return err == nil && strings.TrimSpace(out) == ""
	})
	s.stop()
}

// TestRefusedMailBouncesOnce: the next hop says 5yz, the sender gets one DSN
// that other mail software reads.
func TestRefusedMailBouncesOnce(t *testing.T) {
	next := freeAddr(t)
	l, err := net.Listen("tcp", next)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, "220 refuse.test ESMTP\r\n")
				for lines := bufio.NewScanner(c); lines.Scan(); {
					switch verb, _, _ := strings.Cut(strings.ToUpper(lines.Text()), " "); verb {
					case "RCPT":
						io.WriteString(c, "550-5.1.1 No such\r\n550 5.1.1 mailbox here\r\n")
					case "DATA":
						io.WriteString(c, "503 5.5.1 no recipients\r\n")
					default:
						io.WriteString(c, "250 ok\r\n")
					}
				}
			}()
		}
	}()
	maildir := filepath.Join(t.TempDir(), "mail")
	s := newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"src.test\"]\nto = \"maildir:%s/{user}\"\n[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n", maildir, next))
	s.start()
	k, err := dial(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.send("a@src.test", "nobody@dst.test", message("bounced", 2000)); err != nil {
		t.Fatal(err)
	}
	if err := k.send("", "nobody@dst.test", message("null sender", 500)); err != nil {
		t.Fatal(err)
	}
	k.c.Close()
	var dsn []byte
	eventually(t, 20*time.Second, "no DSN arrived", func() bool { dsn = fromMaildir(maildir); return dsn != nil })
	time.Sleep(time.Second)
	if again := fromMaildir(maildir); again != nil {
		t.Errorf("a second DSN: %s", again)
	}
	if out, _ := s.run("queue", "list", "--json"); strings.TrimSpace(out) != "" {
		t.Errorf("something is left in the queue: %s", out)
	}
	s.stop()
	for _, want := range []string{"Return-Path: <>", "Auto-Submitted: auto-replied", "Final-Recipient: rfc822; nobody@dst.test", "Action: failed", "Status: 5.1.1", "Subject: test"} {
		if !bytes.Contains(dsn, []byte(want)) {
			t.Errorf("the DSN lacks %q:\n%s", want, dsn)
		}
	}
	file := filepath.Join(t.TempDir(), "dsn.eml")
	os.WriteFile(file, dsn, 0o600)
	t.Run("python email", func(t *testing.T) {
		python, err := exec.LookPath("python3")
		if err != nil {
			t.Skip("python3 is not installed")
		}
		out, err := exec.Command(python, "-c", `
import email, email.policy, sys
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status", m.get_content_type()
text, status, original = m.iter_parts()
fields = list(status.iter_parts()) if status.is_multipart() else status.get_payload()
per = fields[1]
assert not m.defects and not status.defects, (m.defects, status.defects)
print(per["Final-Recipient"], per["Action"], per["Status"])
`, file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "nobody@dst.test failed 5.1.1") {
			t.Errorf("%v\n%s\n%s", err, out, dsn)
		}
	})
	t.Run("BounceParser", func(t *testing.T) {
		perl, err := exec.LookPath("perl")
		if err != nil || exec.Command(perl, "-MMail::DeliveryStatus::BounceParser", "-e1").Run() != nil {
			t.Skip("Mail::DeliveryStatus::BounceParser is not installed (Debian: libmail-deliverystatus-bounceparser-perl)")
		}
		out, err := exec.Command(perl, "-MMail::DeliveryStatus::BounceParser", "-e", `
local $/; open my $f, "<", $ARGV[0] or die; my $b = Mail::DeliveryStatus::BounceParser->new(<$f>);
print "bounce=", $b->is_bounce, "\n"; for ($b->reports) { print $_->get("email"), " ", $_->get("std_reason"), "\n" }
`, file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "bounce=1") || !strings.Contains(string(out), "nobody@dst.test user_unknown") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
