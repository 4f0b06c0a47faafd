package event

import (
	"bytes"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

func TestLinesReadLikeAMailLog(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(NewLineHandler(&b, "mx.test", slog.LevelInfo))
	id := mail.FirstID(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	from, _ := mail.ParseMailbox("a@b.example")
	to, _ := mail.ParseMailbox("c@d.example")
	c := &mail.Client{Remote: netip.MustParseAddrPort("192.0.2.7:41234"), Helo: "h", ESMTP: true}
	l.Queued(id, from, 4321, 2, "<m@x>", false)
	l.Attempted("smtp", id, mail.Recipient{ForwardPath: to}, mail.Result{Outcome: mail.Delivered, Relay: "mx.d[192.0.2.1]:25",
		Reply: *mail.NewReply(250, "2.0.0", "Ok")}, 1100*time.Millisecond, Delays{})
	l.Rejected(c, "RCPT", mail.ReplyRelayDenied(), &from, &to, "", "ESMTP")
	l.Program("qmgr").Warn("something odd happened", "text", "a\r\nforged: line\x1b[31m\xff\u202e")
	want := []string{
		`wasmta/qmgr\[\d+\]: ` + id.String() + `: from=<a@b.example>, size=4321, nrcpt=2, message-id=<m@x> \(queue active\)$`,
		`wasmta/smtp\[\d+\]: ` + id.String() + `: to=<c@d.example>, relay=mx.d\[192.0.2.1\]:25, delay=1.1, delays=0/0/0/0, dsn=2.0.0, status=sent \(250 2.0.0 Ok\)$`,
		`wasmta/smtpd\[\d+\]: NOQUEUE: reject: RCPT from unknown\[192.0.2.7\]: 550 5.7.1 Relaying denied: .*; from=<a@b.example> to=<c@d.example> proto=ESMTP helo=<h>$`,
		`wasmta/qmgr\[\d+\]: warning: something odd happened: text=a\\x0D\\x0Aforged: line\\x1B\[31m\\xFF\\u202E$`,
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %s", len(lines), b.String())
	}
	for i, line := range lines {
		if !regexp.MustCompile(want[i]).MatchString(line) {
			t.Errorf("line %d: %s\nwant %s", i, line, want[i])
		}
	}
}

func TestRejectionsHaveKeysInJSON(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(slog.NewJSONHandler(&b, nil))
	from := mail.Path{}
	to, _ := mail.ParseMailbox("c@d.example")
	c := &mail.Client{Remote: netip.MustParseAddrPort("192.0.2.7:41234"), Helo: "h", ESMTP: true, Session: "0011223344556677"}
	l.Rejected(c, "RCPT", mail.NewReply(550, "5.7.1", "No"), &from, &to, "policy", "LMTP")
	want := `"msg":"reject","program":"smtpd","id":"NOQUEUE","stage":"RCPT","client":"unknown[192.0.2.7]","reply":"550 5.7.1 No",` +
		`"from":"<>","to":"<c@d.example>","proto":"LMTP","helo":"h","plugin":"policy","session":"0011223344556677"}`
	if !strings.Contains(b.String(), want) {
		t.Errorf("%s\nwant %s", b.String(), want)
	}
}

func TestTheZeroLogReportsToNobody(t *testing.T) {
	var l Log
	l.Removed(1)
	l.Program("x").Info("hello")
}

// slow is a writer that lets others log meanwhile.
type slow struct {
	bytes.Buffer
	writes int
}

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	s.writes++
	return s.Buffer.Write(p)
}

func TestAWriterLosesNothingAndWritesSeldom(t *testing.T) {
	var out slow
	w := NewWriter(&out)
	l := NewLog(NewLineHandler(w, "mx.test", slog.LevelInfo))
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			for j := range 200 {
				l.Removed(mail.ID(1000*i + j))
			}
		})
	}
	all.Wait()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), ": removed\n"); n != 2000 {
		t.Errorf("%d of 2000 lines", n)
	}
	if out.writes > 1000 {
		t.Errorf("%d writes for 2000 lines", out.writes)
	}
}
