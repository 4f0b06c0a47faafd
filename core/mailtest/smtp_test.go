package mailtest_test

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mailtest"
)

// converse sends each line and returns the last line of each reply.
func converse(t *testing.T, s *mailtest.SMTP, lines ...string) (replies []string) {
	t.Helper()
	network := "tcp"
	if s.Port == 0 {
		network = "unix"
	}
	c, err := net.Dial(network, s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	reply := func() {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				replies = append(replies, "closed")
				return
			}
			if len(line) < 4 || line[3] != '-' {
				replies = append(replies, strings.TrimSpace(line))
				return
			}
		}
	}
	reply()
	for _, line := range lines {
		io.WriteString(c, line)
		reply()
	}
	return replies
}

func TestSMTPServer(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"RCPT <no@y.test>": "550 5.1.1 No", "NOOP": "421 4.3.2 Bye"}})
	got := converse(t, s, "EHLO c.test\r\n", "RCPT TO:<a@y.test>\r\n", "MAIL FROM:<a@x.test> SIZE=1\r\n", "RCPT TO:<no@y.test>\r\n", "DATA\r\n",
		"RCPT TO:<b@y.test> NOTIFY=NEVER\r\n", "DATA\r\n", "..dot\r\nx\n.\r\ny\r\n.\r\n",
		"MAIL FROM:<>\r\n", "RCPT TO:<b@y.test>\r\n", "BDAT 3\r\na\r\n", "BDAT 2 LAST\r\n.\n", "NOOP\r\n", "QUIT\r\n")
	want := []string{"220 mx.test ESMTP", "250 ENHANCEDSTATUSCODES", "503 5.5.1 MAIL first", "250 2.1.0 Ok", "550 5.1.1 No", "503 5.5.1 RCPT first",
		"250 2.1.5 Ok", "354 Go on", "250 2.0.0 Ok: queued as TEST", "250 2.1.0 Ok", "250 2.1.5 Ok", "250 2.0.0 Chunk taken", "250 2.0.0 Ok: queued as TEST",
		"421 4.3.2 Bye", "closed"}
	if !slices.Equal(got, want) {
		t.Errorf("replies\n%q, want\n%q", got, want)
	}
	m := s.Messages()
	if len(m) != 2 || s.Count() != 2 || s.Connections() != 1 {
		t.Fatalf("%d messages", len(m))
	}
	if x := m[0]; x.Helo != "c.test" || x.From != "<a@x.test>" || x.FromParams != "SIZE=1" || !slices.Equal(x.To, []string{"<b@y.test>"}) ||
		x.ToParams[0] != "NOTIFY=NEVER" || string(x.Content) != ".dot\r\nx\n.\r\ny\r\n" || string(x.Wire) != "..dot\r\nx\n.\r\ny\r\n.\r\n" || x.Chunks != 0 {
		t.Errorf("%+v", x)
	}
	if x := m[1]; string(x.Content) != "a\r\n.\n" || x.Chunks != 2 {
		t.Errorf("%+v", x)
	}
}

func TestLMTPServer(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{LMTP: true, Unix: true, Replies: map[string]string{". <b@y.test>": "452 4.2.2 Full"}})
	got := converse(t, s, "EHLO c.test\r\n", "LHLO c.test\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<a@y.test>\r\n", "RCPT TO:<b@y.test>\r\n", "DATA\r\n", ".\r\n", "")
	if want := []string{"250 2.0.0 Ok: queued as TEST", "452 4.2.2 Full"}; !slices.Equal(got[len(got)-2:], want) || !strings.HasPrefix(got[1], "500") {
		t.Errorf("%q", got)
	}
}
