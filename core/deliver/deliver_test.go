package deliver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmta/wasmta/core/deliver"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
	"github.com/wasmta/wasmta/core/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver.
type names struct {
	mx    map[string][]resolve.Exchange
	addrs map[string][]string
	errs  map[string]error
}

func (n names) MX(_ context.Context, domain string) ([]resolve.Exchange, error) {
	if err := n.errs[domain]; err != nil {
		return nil, err
	}
	if x := n.mx[domain]; x != nil {
		return slices.Clone(x), nil
	}
	return nil, resolve.ErrNoDomain
}

func (n names) Addrs(_ context.Context, host string) (out []netip.Addr, err error) {
	if err := n.errs[host]; err != nil {
		return nil, err
	}
	for _, s := range n.addrs[host] {
		out = append(out, netip.MustParseAddr(s))
	}
	if out == nil {
		return nil, resolve.ErrNoDomain
	}
	return out, nil
}

func newAgent(t testing.TB, o deliver.Options) *deliver.Agent {
	t.Helper()
	if o.Hostname == "" {
		o.Hostname = "us.test"
	}
	if o.Resolver == nil {
		o.Resolver = names{}
	}
	if o.IdleTime == 0 {
		o.IdleTime = time.Hour // so that how fast the machine is does not matter
	}
	a := deliver.New(o)
	t.Cleanup(func() { a.Close() })
	return a
}

const (
	header = "From: <a@x.test>\r\nSubject: test\r\n\r\n"
	body   = "Hello\r\n.leading dot\r\n..two\r\n.\r\nend\r\n"
)

func message(body string, to ...string) *mail.Message {
	m := &mail.Message{
		ID:       mail.FirstID(time.Now()),
		Header:   []byte(header),
		BodySize: int64(len(body)),
		OpenBody: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
	m.Envelope.ReversePath = path("a@x.test")
	for _, s := range to {
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{ForwardPath: path(s)})
	}
	return m
}

func path(s string) mail.Path {
	p, err := mail.ParseMailbox(s)
	if err != nil {
		panic(err)
	}
	return p
}

func smtpTo(s *mailtest.SMTP) mail.NextHop {
	return mail.NextHop{Transport: mail.TransportSMTP, Host: s.Host, Port: s.Port}
}

// want checks outcome and status of each result: "sent 2.0.0".
func want(t *testing.T, got []mail.Result, wants ...string) {
	t.Helper()
	if len(got) != len(wants) {
		t.Fatalf("%d results, want %d", len(got), len(wants))
	}
	for i, w := range wants {
		if s := got[i].Outcome.String() + " " + got[i].Reply.Status().String(); s != w {
			t.Errorf("recipient %d: %s (%s), want %s", i, s, got[i].Reply.String(), w)
		}
		if strings.ContainsAny(got[i].Reply.Text, "\x00\r") {
			t.Errorf("recipient %d: control characters in %q", i, got[i].Reply.Text)
		}
	}
}

func deliverTo(t *testing.T, s *mailtest.SMTP, m *mail.Message) []mail.Result {
	t.Helper()
	return newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, m)
}

func TestContentArrivesAsItIs(t *testing.T) {
	large := strings.Repeat(".line of text that is of the usual length, more or less\r\n..\r\n\r\n", 20000)
	for name, b := range map[string]string{
		"dots": body, "empty": "", "large": large, "8-bit": "gr\xfc\xdfe \xff\r\n", "long line": strings.Repeat("x", 300000) + "\r\n",
	} {
		for _, ext := range [][]string{nil, {}, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
			s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext})
			res := deliverTo(t, s, message(b, "b@y.test"))
			want(t, res, "sent 2.0.0")
			got := s.Messages()
			if len(got) != 1 || string(got[0].Content) != header+b {
				t.Fatalf("%s with %v: content changed", name, ext)
			}
			if n := bytes.Count(s.Bytes(1), []byte("\r\n.\r\n")); got[0].Chunks == 0 && n != 1 {
				t.Errorf("%s: %d ends of content on the wire", name, n)
			}
			if got[0].From != "<a@x.test>" || !slices.Equal(got[0].To, []string{"<b@y.test>"}) || got[0].Helo != "us.test" {
				t.Errorf("envelope %+v", got[0])
			}
			if got[0].Chunks == 0 && !bytes.HasSuffix(got[0].Wire, []byte("\r\n.\r\n")) {
				t.Errorf("%s: the end is %q", name, got[0].Wire[max(0, len(got[0].Wire)-10):])
			}
			if res[0].RemoteMTA != "127.0.0.1" || res[0].Relay != fmt.Sprintf("127.0.0.1[127.0.0.1]:%d", s.Port) || res[0].Reply.Text != "Ok: queued as TEST" {
				t.Errorf("result %+v", res[0])
			}
		}
	}
}

func TestLargeHeaderSection(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{})
	dir := t.TempDir() + "/m"
	a := newAgent(t, deliver.Options{})
	m := message(body, "b@y.test")
	m.Header = []byte(strings.Repeat("X-Field: value\r\n", 60000) + "\r\n")
	for range 2 {
		want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMaildir, Host: dir}}, m), "sent 2.0.0")
		want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, m), "sent 2.0.0")
	}
	if got := s.Messages()[1].Content; string(got) != string(m.Header)+body {
		t.Errorf("content of %d octets", len(got))
	}
}

func TestMissingLineEnd(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		ext := []string{"PIPELINING"}
		end := "\r\n"
		if chunking {
			ext, end = append(ext, "CHUNKING"), ""
		}
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext})
		want(t, deliverTo(t, s, message("no end", "b@y.test")), "sent 2.0.0")
		if got := string(s.Messages()[0].Content); got != header+"no end"+end {
			t.Errorf("chunking %v: %q", chunking, got)
		}
	}
}

// Every form of smuggling in the content: one terminator on the wire, or nothing sent, or BDAT.
func TestBareOctetsAreNeverSentWithData(t *testing.T) {
	for _, b := range []string{
		"a\n.\nMAIL", "a\n.\r\nMAIL", "a\r.\r\nMAIL", "a\r\n.\rMAIL", "a\r\r\n.\r\nb", "a\x00\r\n.\r\n", "x\r", "\n", "a\r\n\r.\r\n", "\r\n.\n",
		strings.Repeat("x", 32<<10-len(header)-1) + "\r\r\n", // cut between the CRs, or not
	} {
		s := mailtest.ServeSMTP(t, mailtest.Script{})
		want(t, deliverTo(t, s, message(b, "b@y.test")), "bounced 5.6.0")
		if s.Count() != 0 || bytes.Count(s.Bytes(1), []byte("\r\n.\r\n")) != 0 {
			t.Errorf("%q: sent %q", b, s.Bytes(1))
		}
		for _, ext := range []string{"8BITMIME", "PIPELINING"} {
			s = mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{ext, "CHUNKING"}})
			want(t, deliverTo(t, s, message(b, "b@y.test")), "sent 2.0.0")
			if got := s.Messages(); len(got) != 1 || string(got[0].Content) != header+b || got[0].Chunks == 0 {
				t.Errorf("%q: did not go with BDAT as it is", b)
			}
		}
	}
}

func TestLargeContentGoesInChunksWhenItMust(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"CHUNKING", "BINARYMIME", "PIPELINING"}})
	b := strings.Repeat("\x00\r\n.\r\n\n", 100000)
	m := message(b, "b@y.test", "c@y.test")
	m.Envelope.Body = mail.BodyBinaryMIME
	want(t, deliverTo(t, s, m), "sent 2.0.0", "sent 2.0.0")
	got := s.Messages()
	if len(got) != 1 || string(got[0].Content) != header+b || got[0].Chunks < 2 || got[0].FromParams != "BODY=BINARYMIME" {
		t.Errorf("chunks %d, params %q", got[0].Chunks, got[0].FromParams)
	}
	s = mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"CHUNKING"}})
	want(t, deliverTo(t, s, m), "bounced 5.6.3", "bounced 5.6.3")
}

func TestParametersArePassedOn(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING", "size 1000000", "8bitmime", "DSN", "SMTPUTF8"}})
	m := message(body, "b@y.test", "ü@y.test", `"a b>"@y.test`)
	e := &m.Envelope
	e.ReversePath, e.Body, e.SMTPUTF8, e.Return, e.EnvID = mail.Path{}, mail.Body8BitMIME, true, mail.ReturnHeaders, "a+b=c"
	e.Recipients[0].RcptParams = mail.RcptParams{Notify: mail.NotifySuccess | mail.NotifyDelay, OrcptType: "rfc822", Orcpt: "o+1@y.test"}
	e.Recipients[1].RcptParams = mail.RcptParams{OrcptType: "utf-8", Orcpt: "ü@y.test"}
	res := deliverTo(t, s, m)
	want(t, res, "sent 2.0.0", "sent 2.0.0", "sent 2.0.0")
	if res[0].Relayed {
		t.Error("relayed, although the next hop does DSN")
	}
	wants := []string{"EHLO us.test",
		fmt.Sprintf("MAIL FROM:<> SIZE=%d BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc", m.Size()),
		"RCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2B1@y.test",
		"RCPT TO:<ü@y.test> ORCPT=utf-8;ü@y.test",
		`RCPT TO:<"a b>"@y.test>`,
		"DATA"}
	if got := s.Commands(); !slices.Equal(got, wants) {
		t.Errorf("commands\n%q, want\n%q", got, wants)
	}
}

func TestMissingExtensions(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"SIZE 1000", "PIPELINING"}})
	m := message(body, "b@y.test", "c@y.test")
	m.Envelope.Body = mail.Body8BitMIME
	m.Envelope.Return, m.Envelope.EnvID = mail.ReturnFull, "x"
	m.Envelope.Recipients[1].Notify = mail.NotifySuccess
	res := deliverTo(t, s, m)
	want(t, res, "sent 2.0.0", "sent 2.0.0")
	if res[0].Relayed || !res[1].Relayed {
		t.Error("Relayed is for NOTIFY=SUCCESS only")
	}
	if got := s.Messages()[0]; got.FromParams != fmt.Sprintf("SIZE=%d", m.Size()) || got.ToParams[1] != "" {
		t.Errorf("parameters that are not offered: %+v", got)
	}
	want(t, deliverTo(t, s, message(strings.Repeat("x\r\n", 1000), "b@y.test")), "bounced 5.3.4")
	want(t, deliverTo(t, s, message(body, "b@y.test", "ü@y.test")), "sent 2.0.0", "bounced 5.6.7")
	m = message(body, "b@y.test")
	m.Envelope.SMTPUTF8 = true // asked for, and not needed
	want(t, deliverTo(t, s, m), "sent 2.0.0")
	m = message(body, "b@y.test")
	m.Envelope.SMTPUTF8, m.Header = true, []byte("Subject: ü\r\n\r\n")
	want(t, deliverTo(t, s, m), "bounced 5.6.7")
	m = message(body, "b@y.test")
	m.Envelope.RequireTLS = true
	want(t, deliverTo(t, s, m), "deferred 4.7.4") // TLS is not offered: a fault that may pass
}

func TestHELOFallback(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"EHLO": "502 What?"}})
	want(t, deliverTo(t, s, message(body, "b@y.test")), "sent 2.0.0")
	if got := s.Commands()[1]; got != "HELO us.test" {
		t.Errorf("%q", got)
	}
}

func TestNoHello(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"EHLO": "502 5.5.1 What?", "HELO": "550 5.7.1 Not you"}})
	want(t, deliverTo(t, s, message(body, "b@y.test")), "bounced 5.7.1")
	s = mailtest.ServeSMTP(t, mailtest.Script{LMTP: true, Replies: map[string]string{"LHLO": "502 5.5.1 What?"}})
	hop := smtpTo(s)
	hop.Transport = mail.TransportLMTP
	want(t, newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test")), "bounced 5.5.1")
}

func TestChunkIsRefused(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"CHUNKING"}, Replies: map[string]string{"BDAT": "552 5.3.4 Too large"}})
	want(t, deliverTo(t, s, message(strings.Repeat("x\n", 100000), "b@y.test")), "bounced 5.3.4")
}

func TestEachRecipientHasItsReply(t *testing.T) {
	for _, ext := range [][]string{nil, {}, {"PIPELINING", "CHUNKING"}} {
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext, Replies: map[string]string{
			"RCPT <c@y.test>": "550-5.1.1 No such\r\n550 5.1.1 user \x01here",
			"RCPT <d@y.test>": "450 4.2.1 Later",
		}})
		res := deliverTo(t, s, message(body, "b@y.test", "c@y.test", "d@y.test", "e@y.test"))
		want(t, res, "sent 2.0.0", "bounced 5.1.1", "deferred 4.2.1", "sent 2.0.0")
		if res[1].Reply.Text != "No such\nuser here" || res[1].RemoteMTA == "" {
			t.Errorf("reply %+v", res[1])
		}
		if got := s.Messages(); len(got) != 1 || !slices.Equal(got[0].To, []string{"<b@y.test>", "<e@y.test>"}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestRepliesInEachPhase(t *testing.T) {
	cases := []struct{ verb, reply, want string }{
		{"CONNECT", "554 5.7.1 Go away", "bounced 5.7.1"},
		{"CONNECT", "421 4.3.2 Later", "deferred 4.3.2"},
		{"CONNECT", "450 Later", "deferred 4.0.0"},
		{"CONNECT", mailtest.Disconnect, "deferred 4.4.2"},
		{"CONNECT", "354 What", "deferred 4.5.0"},
		{"CONNECT", "220 Hello\r\n421 4.3.2 Bye", "deferred 4.3.2"},
		{"EHLO", "451 4.3.0 Later", "deferred 4.3.0"},
		{"EHLO", mailtest.Disconnect, "deferred 4.4.2"},
		{"MAIL", "550 5.7.1 Not you", "bounced 5.7.1"},
		{"MAIL", "451 4.7.1 Not now", "deferred 4.7.1"},
		{"MAIL", "421 4.7.0 Not now", "deferred 4.7.0"},
		{"MAIL", "354 What", "deferred 4.5.0"},
		{"RCPT", "421 4.7.0 Enough", "deferred 4.7.0"},
		{"RCPT", "550 4.1.1 Class differs", "bounced 5.0.0"},
		{"RCPT", "251 2.1.5 Will forward", "sent 2.0.0"},
		{"RCPT", mailtest.Disconnect, "deferred 4.4.2"},
		{"DATA", "554 5.5.1 No", "bounced 5.5.1"},
		{"DATA", "451 4.5.1 No", "deferred 4.5.1"},
		{"DATA", "250 2.0.0 Delivered!", "deferred 4.5.0"},
		{"DATA", mailtest.Disconnect, "deferred 4.4.2"},
		{".", "554 5.6.0 Spam", "bounced 5.6.0"},
		{".", "451 4.6.0 Hm", "deferred 4.6.0"},
		{".", "421 4.3.0 Down", "deferred 4.3.0"},
		{".", "354 More", "deferred 4.5.0"},
		{".", "250 2.0.0 Ok\r\n421 4.3.2 Bye", "sent 2.0.0"},
		{".", mailtest.Disconnect, "deferred 4.4.2"},
	}
	for _, c := range cases {
		for _, ext := range [][]string{nil, {}} {
			s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext, Replies: map[string]string{c.verb: c.reply}})
			res := deliverTo(t, s, message(body, "b@y.test"))
			t.Run(fmt.Sprintf("%s %.12q %v", c.verb, c.reply, ext), func(t *testing.T) { want(t, res, c.want) })
			if n := s.Count(); n > 0 && res[0].Outcome != mail.Delivered && c.reply[0] == '2' {
				t.Errorf("%s: taken, but %v", c.verb, res[0])
			}
		}
	}
}

// hostile runs a server that writes bytes without listening.
func hostile(t *testing.T, f func(net.Conn)) mail.NextHop {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	a := l.Addr().(*net.TCPAddr)
	return mail.NextHop{Transport: mail.TransportSMTP, Host: "127.0.0.1", Port: uint16(a.Port)}
}

func TestHostileReplies(t *testing.T) {
	repeat := func(line string, n int) func(net.Conn) {
		return func(c net.Conn) {
			b := bytes.Repeat([]byte(line), 1000)
			for range n / 1000 {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}
	}
	say := func(s string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, s); io.Copy(io.Discard, c) }
	}
	for name, c := range map[string]struct {
		f    func(net.Conn)
		want string
	}{
		"a million lines":       {repeat("220-more\r\n", 1000000), "deferred 4.5.0"},
		"250- for ever":         {repeat("220-\r\n", 1000000), "deferred 4.5.0"},
		"no line end":           {repeat("220 xxxxxxxxxxxxxxxx", 10000000/20), "deferred 4.5.0"},
		"mixed codes":           {say("220-a\r\n554 b\r\n"), "deferred 4.5.0"},
		"not a reply":           {say("HTTP/1.1 400 Bad Request\r\n\r\n"), "deferred 4.5.0"},
		"short":                 {say("22\r\n"), "deferred 4.5.0"},
		"code 199":              {say("199 x\r\n"), "deferred 4.5.0"},
		"NUL in the code":       {say("2\x000 x\r\n"), "deferred 4.5.0"},
		"everything in advance": {say("220 x\r\n250 x\r\n250 x\r\n250 x\r\n354 x\r\n250 2.0.0 Delivered\r\n"), "deferred 4.5.0"},
		"NUL and controls":      {say("554 5.7.1 a\x00b\x1b[31mc\r\r\n"), "bounced 5.7.1"},
		"LF alone":              {say("554 5.7.1 no\n"), "bounced 5.7.1"},
		"code only":             {say("554\r\n"), "bounced 5.0.0"},
		"a long line":           {say("554 5.7.1 " + strings.Repeat("x", 10000) + "\r\n"), "bounced 5.7.1"},
		"8-bit":                 {say("554 5.7.1 \xff\xfe\r\n"), "bounced 5.7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			hop := hostile(t, c.f)
			res := newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test"))
			want(t, res, c.want)
			if len(res[0].Reply.Text) > mail.MaxReplyLine+100 {
				t.Errorf("a text of %d octets", len(res[0].Reply.Text))
			}
		})
	}
}

// A reply too many never makes a message delivered that was not, and is not credited to the next message.
func TestExtraReplies(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT"} {
		for _, ext := range [][]string{nil, {"PIPELINING", "CHUNKING"}} {
			s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext, Replies: map[string]string{
				verb: "250 2.0.0 Ok\r\n250 2.0.0 Ok", ".": "554 5.7.1 Spam", "DATA": "",
			}})
			res := deliverTo(t, s, message(body, "b@y.test"))
			want(t, res, "deferred 4.5.0")
		}
	}
	s := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{".": "250 2.0.0 Ok\r\n250 2.0.0 Ok"}})
	a := newAgent(t, deliver.Options{})
	for range 2 {
		want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "deferred 4.5.0")
	}
	if s.Connections() != 2 {
		t.Errorf("%d connections: one out of step was used again", s.Connections())
	}
}

func TestNoValidRecipient(t *testing.T) {
	// The server takes DATA although it has refused everybody: nothing may be delivered.
	for _, chunking := range []bool{false, true} {
		ext := []string{"PIPELINING"}
		if chunking {
			ext = append(ext, "CHUNKING")
		}
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext, Replies: map[string]string{"RCPT": "550 5.1.1 No", "DATA": "354 Well", ".": "554 5.5.1 Nobody"}})
		a := newAgent(t, deliver.Options{})
		for range 2 {
			want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test", "c@y.test")), "bounced 5.1.1", "bounced 5.1.1")
		}
		if s.Count() != 0 || s.Connections() != 1 {
			t.Errorf("%d messages, %d connections", s.Count(), s.Connections())
		}
		if !chunking && !slices.Contains(s.Commands(), "RSET") {
			t.Error("a transaction was left open")
		}
	}
	s := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"MAIL": "550 5.7.1 No", "DATA": "354 Well"}})
	want(t, deliverTo(t, s, message(body, "b@y.test")), "bounced 5.7.1")
	if got := s.Bytes(1); bytes.Contains(got, []byte("\r\n.\r\n")) {
		t.Errorf("ended a message that MAIL had refused: %q", got)
	}
}

func TestManyRecipients(t *testing.T) {
	var to, wants []string
	for i := range 230 {
		to = append(to, fmt.Sprintf("u%d@y.test", i))
		wants = append(wants, "sent 2.0.0")
	}
	for _, ext := range [][]string{nil, {"PIPELINING", "LIMITS RCPTMAX=30 MAILMAX=20"}, {}} {
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext})
		want(t, deliverTo(t, s, message(body, to...)), wants...)
		n := 3
		if len(ext) > 0 {
			n = 8
		}
		if s.Count() != n || s.Connections() != 1 {
			t.Errorf("%v: %d transactions, %d connections", ext, s.Count(), s.Connections())
		}
	}
	s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"LIMITS RCPTMAX=100 MAILMAX=2"}})
	want(t, deliverTo(t, s, message(body, to...)), wants...) // the rest goes over another connection
	if s.Count() != 3 || s.Connections() != 2 {
		t.Errorf("MAILMAX=2: %d transactions, %d connections", s.Count(), s.Connections())
	}
	// Too many for one transaction: the rest goes at once in another (RFC 5321 4.5.3.1.10).
	for _, reply := range []string{"452 4.5.3 Too many recipients", "552 5.5.3 Too many recipients", "452 Too many recipients"} {
		taken := 0
		s := mailtest.ServeSMTP(t, mailtest.Script{Reply: func(c mailtest.Command) string {
			switch c.Verb {
			case "MAIL":
				taken = 0
			case "RCPT":
				if taken++; taken > 10 {
					return reply
				}
			}
			return ""
		}})
		want(t, deliverTo(t, s, message(body, to...)), wants...)
		if s.Connections() != 1 {
			t.Errorf("%d connections", s.Connections())
		}
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	for _, ext := range [][]string{nil, {}, {"PIPELINING", "CHUNKING"}} {
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext})
		a := newAgent(t, deliver.Options{MaxMessages: 10})
		for range 25 {
			want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "sent 2.0.0")
		}
		if s.Connections() != 3 || s.Count() != 25 {
			t.Errorf("%d connections, %d messages", s.Connections(), s.Count())
		}
		for i, m := range s.Messages() {
			if string(m.Content) != header+body {
				t.Fatalf("content %q", m.Content)
			}
			// Content goes along with the commands only where the connection cannot have gone meanwhile.
			if first := i%10 == 0; (m.Chunks > 0) != (first && len(ext) == 2) {
				t.Errorf("message %d with %v: %d chunks", i, ext, m.Chunks)
			}
		}
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	for _, o := range []deliver.Options{{MaxIdlePerServer: 2}, {MaxIdle: 2}} {
		// All deliveries are at their end at the same time.
		var here sync.WaitGroup
		here.Add(6)
		s := mailtest.ServeSMTP(t, mailtest.Script{Reply: func(c mailtest.Command) string {
			if c.Verb == "." {
				here.Done()
				here.Wait()
			}
			return ""
		}})
		a := newAgent(t, o)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "sent 2.0.0")
			})
		}
		wg.Wait()
		for quits := 0; quits < 4; time.Sleep(time.Millisecond) {
			quits = strings.Count(strings.Join(s.Commands(), "\n"), "QUIT")
		}
		if cmds := s.Commands(); strings.Count(strings.Join(cmds, "\n"), "QUIT") != 4 {
			t.Errorf("%q", cmds)
		}
	}
}

func TestStaleConnectionIsReplaced(t *testing.T) {
	second := func(reply string) func(mailtest.Command) string {
		return func(c mailtest.Command) string {
			if c.Verb == "MAIL" && c.Messages == 1 {
				return reply
			}
			return ""
		}
	}
	for name, script := range map[string]mailtest.Script{
		"421": {Reply: second("421 4.4.2 Idle for too long")}, "closed at MAIL": {Reply: second(mailtest.Disconnect)}, "closed while idle": {},
	} {
		s := mailtest.ServeSMTP(t, script)
		a := newAgent(t, deliver.Options{})
		for range 3 {
			want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "sent 2.0.0")
			if script.Reply == nil {
				s.Drop()
			}
		}
		if s.Count() != 3 || s.Connections() != 3 {
			t.Errorf("%s: %d messages, %d connections", name, s.Count(), s.Connections())
		}
	}
	// Gone after the content: it may have arrived, so it is not sent again now.
	s := mailtest.ServeSMTP(t, mailtest.Script{Reply: func(c mailtest.Command) string {
		if c.Verb == "." && c.Messages == 1 {
			return mailtest.Disconnect
		}
		return ""
	}})
	a := newAgent(t, deliver.Options{})
	hops := []mail.NextHop{smtpTo(s), smtpTo(mailtest.ServeSMTP(t, mailtest.Script{}))}
	want(t, a.Deliver(t.Context(), hops, message(body, "b@y.test")), "sent 2.0.0")
	want(t, a.Deliver(t.Context(), hops, message(body, "b@y.test")), "deferred 4.4.2")
	if s.Connections() != 1 {
		t.Errorf("%d connections", s.Connections())
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{})
	a := newAgent(t, deliver.Options{IdleTime: time.Millisecond})
	for range 2 {
		want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "sent 2.0.0")
		for !slices.Contains(s.Commands(), "QUIT") {
			time.Sleep(time.Millisecond)
		}
	}
	// Several at once: each goes when its time comes.
	s = mailtest.ServeSMTP(t, mailtest.Script{Delays: map[string]time.Duration{".": 20 * time.Millisecond}})
	c := newAgent(t, deliver.Options{IdleTime: 30 * time.Millisecond})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { c.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")) })
		time.Sleep(2 * time.Millisecond)
	}
	wg.Wait()
	for quits := 0; quits < s.Connections(); {
		quits = strings.Count(strings.Join(s.Commands(), "\n"), "QUIT")
		time.Sleep(time.Millisecond)
	}
	b := newAgent(t, deliver.Options{})
	want(t, b.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "sent 2.0.0")
	b.Close()
	want(t, b.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "sent 2.0.0")
	if n := s.Connections(); n < 3 { // as many as are busy at once, and two more
		t.Errorf("%d connections", n)
	}
}

func TestDamagedBodyIsNeverEnded(t *testing.T) {
	for _, size := range []int{100, 200000} {
		good := strings.Repeat("x\r\n", size/3)
		for name, open := range map[string]func() (io.ReadCloser, error){
			"error": func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader(good), brokenReader{})), nil
			},
			"short": func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(good[:len(good)-3])), nil },
			"long":  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(good + "more\r\n")), nil },
			"open":  func() (io.ReadCloser, error) { return nil, errors.New("gone") },
		} {
			for _, ext := range [][]string{nil, {}, {"PIPELINING", "CHUNKING"}, {"BINARYMIME", "CHUNKING"}} {
				s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext})
				m := message(good, "b@y.test", "c@y.test")
				m.OpenBody = open
				if len(ext) > 0 && ext[0] == "BINARYMIME" {
					m.Envelope.Body = mail.BodyBinaryMIME
				}
				want(t, deliverTo(t, s, m), "deferred 4.3.0", "deferred 4.3.0")
				if b := s.Bytes(1); s.Count() != 0 || bytes.Contains(b, []byte("\r\n.\r\n")) || bytes.Contains(b, []byte("LAST")) {
					t.Errorf("%s, %d octets, %v: the message was ended", name, size, ext)
				}
			}
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("checksum mismatch") }

func TestServerRefusesInTheMiddle(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{Hangup: 1000})
	large := strings.Repeat("x\r\n", 5000000)
	want(t, deliverTo(t, s, message(large, "b@y.test")), "deferred 4.4.2")

	hop := hostile(t, func(c net.Conn) {
		io.WriteString(c, "220 x\r\n")
		in := bufio.NewReader(c)
		for _, reply := range []string{"250 x\r\n", "250 x\r\n", "250 x\r\n", "354 x\r\n"} {
			in.ReadString('\n')
			io.WriteString(c, reply)
		}
		io.CopyN(io.Discard, in, 10000)
		io.WriteString(c, "552 5.2.3 Too large for the mailbox\r\n")
		c.(*net.TCPConn).CloseRead()
		time.Sleep(50 * time.Millisecond)
	})
	// What it said last, if the network let it through before the reset.
	res := newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(large, "b@y.test"))
	if res[0].Reply.Status() != (mail.Enhanced{5, 2, 3}) {
		want(t, res, "deferred 4.4.2")
	}
}

// Servers that fail at random: what is said to be delivered was taken, what was taken is said to be delivered or may
// have been, and no message is taken twice in one attempt.
func TestNothingIsLostOnTheWay(t *testing.T) {
	for _, ext := range [][]string{nil, {}, {"PIPELINING", "CHUNKING"}} {
		faults := []string{mailtest.Disconnect, "421 4.3.2 Bye", "451 4.3.0 No", "550 5.7.1 No", "250 2.0.0 Ok\r\n250 2.0.0 Ok"}
		var n atomic.Uint32
		s := mailtest.ServeSMTP(t, mailtest.Script{Extensions: ext, Reply: func(c mailtest.Command) string {
			// A fault now and then, at each place in turn.
			if k := n.Add(1); k%7 == 0 {
				return faults[int(k/7)%len(faults)]
			}
			return ""
		}})
		a := newAgent(t, deliver.Options{MaxMessages: 20})
		results := make([][]mail.Result, 400)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := w; i < len(results); i += 8 {
					results[i] = a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, fmt.Sprintf("u%d@y.test", i), fmt.Sprintf("v%d@y.test", i)))
				}
			})
		}
		wg.Wait()
		taken := make(map[string]int)
		for _, m := range s.Messages() {
			if string(m.Content) != header+body {
				t.Fatalf("content %q", m.Content)
			}
			for _, to := range m.To {
				taken[to]++
			}
		}
		sent := 0
		for i, res := range results {
			for k, r := range res {
				to := fmt.Sprintf("<%c%d@y.test>", 'u'+k, i)
				switch {
				case taken[to] > 1:
					t.Errorf("%v: %s: taken %d times", ext, to, taken[to])
				case r.Outcome == mail.Delivered && taken[to] == 0:
					t.Errorf("%v: %s: lost: %s", ext, to, r.Reply.String())
				case r.Outcome == mail.Failed && taken[to] > 0:
					t.Errorf("%v: %s: bounced although taken: %s", ext, to, r.Reply.String())
				}
				if r.Outcome == mail.Delivered {
					sent++
				}
			}
		}
		if sent < 100 {
			t.Errorf("%v: only %d delivered", ext, sent)
		}
	}
}

func TestTimeoutsAndCancel(t *testing.T) {
	for _, verb := range []string{"CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		s := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{verb: mailtest.Hang}})
		d := 50 * time.Millisecond
		a := newAgent(t, deliver.Options{Timeouts: deliver.Timeouts{Greeting: d, Hello: d, Mail: d, Rcpt: d, Data: d, Dot: d}})
		want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "deferred 4.4.2")

		s = mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{verb: mailtest.Hang}})
		ctx, cancel := context.WithTimeout(t.Context(), d)
		want(t, newAgent(t, deliver.Options{}).Deliver(ctx, []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "deferred 4.3.2")
		cancel()
	}
	// A server that stops reading.
	s := mailtest.ServeSMTP(t, mailtest.Script{Stall: 1000})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	want(t, newAgent(t, deliver.Options{}).Deliver(ctx, []mail.NextHop{smtpTo(s)}, message(strings.Repeat("x\r\n", 10000000), "b@y.test")), "deferred 4.3.2")
	s.Close()
	want(t, newAgent(t, deliver.Options{}).Deliver(ctx, []mail.NextHop{smtpTo(s)}, message(body, "b@y.test")), "deferred 4.3.2")
	want(t, newAgent(t, deliver.Options{}).Deliver(t.Context(), nil, message(body, "b@y.test")), "deferred 4.3.2")
}

func TestNextHopsInOrder(t *testing.T) {
	down := mailtest.ServeSMTP(t, mailtest.Script{})
	down.Close()
	good := mailtest.ServeSMTP(t, mailtest.Script{})
	busy := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"CONNECT": "450 4.3.2 Busy"}})
	grey := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"RCPT <b@y.test>": "450 4.7.1 Grey"}})
	no := mailtest.ServeSMTP(t, mailtest.Script{Replies: map[string]string{"CONNECT": "554 5.7.1 No"}})
	a := newAgent(t, deliver.Options{IdleTime: -1})
	try := func(hops ...*mailtest.SMTP) []mail.Result {
		var h []mail.NextHop
		for _, s := range hops {
			h = append(h, smtpTo(s))
		}
		return a.Deliver(t.Context(), h, message(body, "b@y.test", "c@y.test"))
	}
	res := try(down)
	want(t, res, "deferred 4.4.1", "deferred 4.4.1")
	if res[0].Earlier != "" {
		t.Errorf("told twice: %q", res[0].Earlier)
	}
	res = try(down, busy, good)
	want(t, res, "sent 2.0.0", "sent 2.0.0")
	if lines := strings.Split(res[1].Earlier, "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "127.0.0.1[127.0.0.1]:") ||
		!strings.Contains(lines[0], ": 451 4.4.1 Connecting to ") || !strings.HasSuffix(lines[1], ": 450 4.3.2 Busy") {
		t.Errorf("what was tried before: %q", res[1].Earlier)
	}
	want(t, try(grey, good), "deferred 4.7.1", "sent 2.0.0")
	want(t, try(no, good), "bounced 5.7.1", "bounced 5.7.1")
	if n := good.Connections(); n != 1 {
		t.Errorf("the next hop after a definite answer was tried: %d connections", n)
	}
}

func TestMX(t *testing.T) {
	first := mailtest.ServeSMTP(t, mailtest.Script{Address: "127.0.0.2:0", Replies: map[string]string{"RCPT <g@d.test>": "451 4.7.1 Later", "RCPT <f@d.test>": "550 5.1.1 No"}})
	second := mailtest.ServeSMTP(t, mailtest.Script{Address: fmt.Sprintf("127.0.0.3:%d", first.Port)})
	refuses := mailtest.ServeSMTP(t, mailtest.Script{Address: fmt.Sprintf("127.0.0.5:%d", first.Port), Replies: map[string]string{"CONNECT": "554 5.7.1 No"}})
	dns := names{
		mx: map[string][]resolve.Exchange{
			"d.test":       {{Host: "one.test", Preference: 1}, {Host: "two.test", Preference: 2}},
			"down.test":    {{Host: "down.test"}, {Host: "two.test", Preference: 2}},
			"alldown.test": {{Host: "down.test"}},
			"self.test":    {{Host: "two.test", Preference: 1}, {Host: "eq.test", Preference: 5}, {Host: "US.test", Preference: 5}, {Host: "worse.test", Preference: 6}},
			"onlyus.test":  {{Host: "us.test", Preference: 5}, {Host: "two.test", Preference: 6}},
			"ouraddr.test": {{Host: "two.test", Preference: 5}, {Host: "ours.test", Preference: 5}},
			"noaddr.test":  {{Host: "none.test"}},
			"slow.test":    {{Host: "servfail.test"}},
			"slow2.test":   {{Host: "servfail.test"}, {Host: "two.test", Preference: 2}},
			"many.test":    {{Host: "many.test"}},
			"refuse.test":  {{Host: "refuses.test"}},
			"refuse2.test": {{Host: "refuses.test"}, {Host: "two.test", Preference: 2}},
			"refuse3.test": {{Host: "refuses.test"}, {Host: "down.test", Preference: 2}},
			"refuse4.test": {{Host: "refuses.test"}, {Host: "servfail.test", Preference: 2}},
			"zero.test":    {{Host: "zero.test"}},
			"multi.test":   {{Host: "multi.test"}},
			"link.test":    {{Host: "link.test"}},
			"denied.test":  {{Host: "denied.test"}},
			"nat64.test":   {{Host: "nat64.test"}},
		},
		addrs: map[string][]string{
			"one.test": {"127.0.0.2"}, "two.test": {"127.0.0.3"}, "down.test": {"127.0.0.4"}, "ours.test": {"127.0.0.9"}, "refuses.test": {"127.0.0.5"},
			"many.test": {"127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24", "127.0.0.25", "127.0.0.3"},
			"eq.test":   {"127.0.0.2"}, "worse.test": {"127.0.0.2"},
			"zero.test": {"0.0.0.0", "::"}, "link.test": {"169.254.169.254", "fe80::1", "::ffff:169.254.1.1"}, "multi.test": {"224.0.0.1", "ff02::1", "255.255.255.255"}, "denied.test": {"10.1.2.3", "::ffff:10.1.2.3"},
			"nat64.test": {"64:ff9b::127.0.0.1"},
		},
		errs: map[string]error{"null.test": resolve.ErrNullMX, "temp.test": resolve.ErrTemporary, "odd.test": errors.New("odd"), "bad.test": resolve.ErrBadName,
			"servfail.test": resolve.ErrTemporary},
	}
	o := deliver.Options{Resolver: dns, MXPort: first.Port, AllowLoopbackMX: true, IdleTime: -1,
		Self: func(ap netip.AddrPort) bool { return ap.Addr() == netip.MustParseAddr("127.0.0.9") },
		Deny: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	a := newAgent(t, o)
	for domain, w := range map[string]string{
		"d.test": "sent 2.0.0", "down.test": "sent 2.0.0", "alldown.test": "deferred 4.4.1", "null.test": "bounced 5.1.10", "nodomain.test": "bounced 5.1.2",
		"bad.test": "bounced 5.1.2", "temp.test": "deferred 4.4.3", "odd.test": "deferred 4.4.3", "self.test": "sent 2.0.0", "onlyus.test": "bounced 5.4.6",
		"ouraddr.test": "bounced 5.4.6", "noaddr.test": "bounced 5.4.4", "slow.test": "deferred 4.4.3", "slow2.test": "sent 2.0.0", "many.test": "deferred 4.4.1",
		"refuse.test": "bounced 5.7.1", "refuse2.test": "sent 2.0.0", "refuse3.test": "deferred 4.4.1", "refuse4.test": "deferred 4.4.3",
		"zero.test": "bounced 5.4.4", "multi.test": "bounced 5.4.4", "link.test": "bounced 5.4.4", "denied.test": "bounced 5.4.4", "[127.0.0.3]": "sent 2.0.0",
	} {
		t.Run(domain, func(t *testing.T) {
			res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, Host: domain}}, message(body, "b@d.test"))
			want(t, res, w)
			if res[0].Outcome == mail.Delivered && domain != "[127.0.0.3]" && res[0].RemoteMTA != "one.test" && res[0].RemoteMTA != "two.test" {
				t.Errorf("remote MTA %q", res[0].RemoteMTA)
			}
		})
	}
	refuses.Close()

	// What the first exchanger defers, the second may take; what it refuses stays refused.
	res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, Host: "d.test"}}, message(body, "e@d.test", "f@d.test", "g@d.test"))
	want(t, res, "sent 2.0.0", "bounced 5.1.1", "sent 2.0.0")
	if res[0].RemoteMTA != "one.test" || res[2].RemoteMTA != "two.test" {
		t.Errorf("%+v", res)
	}
	// The domain of the recipients, when the route does not say.
	want(t, a.Deliver(t.Context(), []mail.NextHop{{}}, message(body, "b@d.test", "c@D.test")), "sent 2.0.0", "sent 2.0.0")
	want(t, a.Deliver(t.Context(), []mail.NextHop{{}}, message(body, "b@d.test", "c@e.test")), "deferred 4.3.5", "deferred 4.3.5")
	// MX records never lead to the loopback interface.
	before := first.Connections() + second.Connections()
	o.AllowLoopbackMX = false
	b := newAgent(t, o)
	for _, domain := range []string{"d.test", "nat64.test", "[127.0.0.3]"} {
		want(t, b.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX, Host: domain}}, message(body, "b@d.test")), "bounced 5.4.4")
	}
	if first.Connections()+second.Connections() != before {
		t.Error("connected to the loopback interface")
	}
	// A route of ours that is wrong makes nothing bounce.
	for host, w := range map[string]string{"none.test": "deferred 4.4.4", "servfail.test": "deferred 4.4.3", "ours.test": "deferred 4.4.6", "one.test": "sent 2.0.0"} {
		want(t, b.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportSMTP, Host: host, Port: first.Port}}, message(body, "b@d.test")), w)
	}
}

func TestSessionLimit(t *testing.T) {
	for _, verb := range []string{"CONNECT", "EHLO", "RCPT", "."} {
		t.Run(verb, func(t *testing.T) { testSessionLimit(t, verb) })
	}
}

func testSessionLimit(t *testing.T, verb string) {
	script := mailtest.Script{Address: "127.0.0.2:0", Replies: map[string]string{verb: "451 4.7.1 Later"}}
	s := []*mailtest.SMTP{mailtest.ServeSMTP(t, script)}
	dns := names{mx: map[string][]resolve.Exchange{"d.test": {{Host: "h.test"}}}, addrs: map[string][]string{"h.test": {"127.0.0.2"}}}
	for i := 3; i < 6; i++ {
		script.Address = fmt.Sprintf("127.0.0.%d:%d", i, s[0].Port)
		s = append(s, mailtest.ServeSMTP(t, script))
		dns.addrs["h.test"] = append(dns.addrs["h.test"], s[len(s)-1].Host)
	}
	a := newAgent(t, deliver.Options{Resolver: dns, MXPort: s[0].Port, AllowLoopbackMX: true})
	want(t, a.Deliver(t.Context(), []mail.NextHop{{Host: "d.test"}}, message(body, "b@d.test")), "deferred 4.7.1")
	n := 0
	for _, x := range s {
		n += x.Connections()
	}
	if n != 2 {
		t.Errorf("%d sessions", n)
	}
}

func TestSourceAndHelo(t *testing.T) {
	var remote string
	hop := hostile(t, func(c net.Conn) { remote = c.RemoteAddr().String(); io.WriteString(c, "554 5.7.1 no\r\n") })
	hop.Source = "127.0.0.7"
	want(t, newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@d.test")), "bounced 5.7.1")
	if !strings.HasPrefix(remote, "127.0.0.7:") {
		t.Errorf("came from %s", remote)
	}
	s := mailtest.ServeSMTP(t, mailtest.Script{})
	h := smtpTo(s)
	h.Helo = "other.test"
	a := newAgent(t, deliver.Options{})
	want(t, a.Deliver(t.Context(), []mail.NextHop{h}, message(body, "b@d.test")), "sent 2.0.0")
	want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, message(body, "b@d.test")), "sent 2.0.0")
	if got := s.Messages(); got[0].Helo != "other.test" || got[1].Helo != "us.test" {
		t.Errorf("HELO names %q, %q", got[0].Helo, got[1].Helo)
	}
	h.Helo = "x\r\nRSET"
	want(t, a.Deliver(t.Context(), []mail.NextHop{h}, message(body, "b@d.test")), "deferred 4.3.5")
	h.Helo, h.Source = "", "::1"
	want(t, a.Deliver(t.Context(), []mail.NextHop{h}, message(body, "b@d.test")), "deferred 4.4.4")
	h.Source = "eth0"
	want(t, a.Deliver(t.Context(), []mail.NextHop{h}, message(body, "b@d.test")), "deferred 4.3.5")
}

func certificate(t *testing.T, names ...string) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestTLS(t *testing.T) {
	config, roots := certificate(t, "mx.test")
	broken := config.Clone()
	broken.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
	dns := names{addrs: map[string][]string{"mx.test": {"127.0.0.1"}, "other.test": {"127.0.0.1"}}}
	type row struct {
		script     mailtest.Script
		policy     mail.TLSPolicy
		host       string
		want       string
		tls        bool // the message came over TLS
		clear, log bool // a fall-back: a second connection, a line in the log
	}
	offers := mailtest.Script{TLS: config}
	for name, c := range map[string]row{
		"opportunistic":                {offers, mail.TLSOpportunistic, "mx.test", "sent 2.0.0", true, false, false},
		"opportunistic, wrong name":    {offers, mail.TLSOpportunistic, "other.test", "sent 2.0.0", true, false, false},
		"none":                         {offers, mail.TLSNone, "mx.test", "sent 2.0.0", false, false, false},
		"encrypt":                      {offers, mail.TLSEncrypt, "other.test", "sent 2.0.0", true, false, false},
		"verify":                       {offers, mail.TLSVerify, "mx.test", "sent 2.0.0", true, false, false},
		"verify, address":              {offers, mail.TLSVerify, "127.0.0.1", "sent 2.0.0", true, false, false},
		"verify, wrong name":           {offers, mail.TLSVerify, "other.test", "deferred 4.7.5", false, false, false},
		"opportunistic, not offered":   {mailtest.Script{}, mail.TLSOpportunistic, "mx.test", "sent 2.0.0", false, false, false},
		"encrypt, not offered":         {mailtest.Script{}, mail.TLSEncrypt, "mx.test", "deferred 4.7.4", false, false, false},
		"verify, not offered":          {mailtest.Script{}, mail.TLSVerify, "mx.test", "deferred 4.7.4", false, false, false},
		"opportunistic, handshake":     {mailtest.Script{TLS: broken}, mail.TLSOpportunistic, "mx.test", "sent 2.0.0", false, true, true},
		"encrypt, handshake":           {mailtest.Script{TLS: broken}, mail.TLSEncrypt, "mx.test", "deferred 4.7.5", false, false, false},
		"opportunistic, 454":           {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "454 4.7.0 Not now"}}, mail.TLSOpportunistic, "mx.test", "sent 2.0.0", false, false, true},
		"encrypt, 454":                 {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "454 4.7.0 Not now"}}, mail.TLSEncrypt, "mx.test", "deferred 4.7.4", false, false, false},
		"opportunistic, injected":      {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "220 Go\r\n250 injected"}}, mail.TLSOpportunistic, "mx.test", "deferred 4.5.0", false, false, false},
		"verify, injected":             {mailtest.Script{TLS: config, Replies: map[string]string{"STARTTLS": "220 Go\r\n250 injected"}}, mail.TLSVerify, "mx.test", "deferred 4.5.0", false, false, false},
		"verify, garbage for a server": {mailtest.Script{Extensions: []string{"STARTTLS"}, Replies: map[string]string{"STARTTLS": "220 Go"}}, mail.TLSVerify, "mx.test", "deferred 4.7.5", false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := mailtest.ServeSMTP(t, c.script)
			a := newAgent(t, deliver.Options{Resolver: dns, TLS: &tls.Config{RootCAs: roots}, Log: slog.New(slog.NewTextHandler(&log, nil))})
			hop := mail.NextHop{Transport: mail.TransportSMTP, Host: c.host, Port: s.Port, TLS: c.policy}
			for range 2 { // the second time over the kept connection
				want(t, a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test")), c.want)
			}
			got := s.Messages()
			if c.want != "sent 2.0.0" {
				if bytes.Contains(s.Bytes(1), []byte("MAIL FROM")) {
					t.Error("sent in clear text")
				}
				return
			}
			if len(got) != 2 || got[0].TLS != c.tls || got[1].TLS != c.tls {
				t.Fatalf("%+v", got)
			}
			conns := 1
			if c.clear {
				conns = 2
			}
			if s.Connections() != conns || c.log != strings.Contains(log.String(), "clear text") {
				t.Errorf("%d connections, log %s", s.Connections(), &log)
			}
		})
	}
	// REQUIRETLS asks for the extension inside a verified session.
	s := mailtest.ServeSMTP(t, mailtest.Script{TLS: config, Extensions: []string{"REQUIRETLS", "PIPELINING"}})
	a := newAgent(t, deliver.Options{Resolver: dns, TLS: &tls.Config{RootCAs: roots}})
	m := message(body, "b@y.test")
	m.Envelope.RequireTLS = true
	want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, m), "sent 2.0.0")
	if got := s.Messages()[0]; got.FromParams != "REQUIRETLS" || !got.TLS {
		t.Errorf("%+v", got)
	}
	s = mailtest.ServeSMTP(t, offers)
	want(t, a.Deliver(t.Context(), []mail.NextHop{smtpTo(s)}, m), "bounced 5.7.30")
}

func TestLMTP(t *testing.T) {
	replies := map[string]string{"RCPT <c@y.test>": "550 5.1.1 No", ". <d@y.test>": "452 4.2.2 Full", ". <e@y.test>": "554 5.6.0 No"}
	for _, unix := range []bool{false, true} {
		s := mailtest.ServeSMTP(t, mailtest.Script{LMTP: true, Unix: unix, Replies: replies, Extensions: []string{"PIPELINING", "CHUNKING"}})
		hop := mail.NextHop{Transport: mail.TransportLMTP, Host: s.Host, Port: s.Port}
		if unix {
			hop = mail.NextHop{Transport: mail.TransportLMTPUnix, Host: s.Addr}
		}
		a := newAgent(t, deliver.Options{})
		for range 2 {
			m := message(body, "b@y.test", "c@y.test", "d@y.test", "e@y.test", "f@y.test")
			m.Envelope.Recipients[0].Notify = mail.NotifySuccess
			res := a.Deliver(t.Context(), []mail.NextHop{hop}, m)
			want(t, res, "sent 2.0.0", "bounced 5.1.1", "deferred 4.2.2", "bounced 5.6.0", "sent 2.0.0")
			if !res[0].Relayed || res[4].Relayed {
				t.Error("a server without DSN reports no success: that is for us to do, where it was asked for")
			}
			if unix && res[0].Relay != "us.test["+s.Addr+"]" {
				t.Errorf("relay %q", res[0].Relay)
			}
			want(t, a.Deliver(t.Context(), []mail.NextHop{hop}, message(body, "c@y.test")), "bounced 5.1.1")
		}
		if s.Connections() != 1 || s.Count() != 2 || string(s.Messages()[1].Content) != header+body {
			t.Errorf("%d connections, %d messages", s.Connections(), s.Count())
		}
	}
	// Gone between two of the replies.
	s := mailtest.ServeSMTP(t, mailtest.Script{LMTP: true, Unix: true, Replies: map[string]string{". <c@y.test>": mailtest.Disconnect, "RCPT <e@y.test>": "450 4.2.1 Later"}})
	hop := mail.NextHop{Transport: mail.TransportLMTPUnix, Host: s.Addr}
	res := newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test", "c@y.test", "d@y.test", "e@y.test"))
	want(t, res, "sent 2.0.0", "deferred 4.4.2", "deferred 4.4.2", "deferred 4.2.1")
	if strings.Contains(res[1].Reply.Text, s.Addr) {
		t.Errorf("a path in %q", res[1].Reply.Text)
	}
	hop.Host = "/nonexistent/socket"
	want(t, newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{hop}, message(body, "b@y.test")), "deferred 4.4.1")
}

func TestDiscard(t *testing.T) {
	res := newAgent(t, deliver.Options{}).Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportDiscard}}, message(body, "b@y.test"))
	want(t, res, "discarded 2.0.0")
}

func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, reuse := range []bool{true, false} {
			b.Run(fmt.Sprintf("%dKB,reuse=%v", size>>10, reuse), func(b *testing.B) {
				s := mailtest.ServeSMTP(b, mailtest.Script{Forget: true})
				o := deliver.Options{MaxMessages: 1000}
				if !reuse {
					o.IdleTime = -1
				}
				a := newAgent(b, o)
				text := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), size/78)
				m := message(string(text), "b@y.test")
				m.OpenBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
				hops := []mail.NextHop{smtpTo(s)}
				b.SetBytes(m.Size())
				b.ReportAllocs()
				for b.Loop() {
					if r := a.Deliver(context.Background(), hops, m); r[0].Outcome != mail.Delivered {
						b.Fatal(r[0].Reply.String())
					}
				}
			})
		}
	}
}

// With the resolver of this server and a real zone.
func TestMXFromDNS(t *testing.T) {
	s := mailtest.ServeSMTP(t, mailtest.Script{})
	addr := mailtest.ServeDNS(t, mailtest.Zone{Records: `
d.test.     IN MX 10 mx.d.test.
mx.d.test.  IN A  127.0.0.1
null.test.  IN MX 0 .
us.d.test.  IN MX 10 us.test.
fail.d.test. IN A 127.0.0.1
`, Faults: map[string]mailtest.Fault{"fail.d.test MX": mailtest.ServFail}})
	r, err := resolve.New(resolve.Options{Servers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := newAgent(t, deliver.Options{Resolver: r, MXPort: s.Port, AllowLoopbackMX: true})
	for to, w := range map[string]string{
		"b@d.test": "sent 2.0.0", "b@null.test": "bounced 5.1.10", "b@us.d.test": "bounced 5.4.6", "b@fail.d.test": "deferred 4.4.3", "b@none.d.test": "bounced 5.1.2",
	} {
		t.Run(to, func(t *testing.T) {
			want(t, a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMX}}, message(body, to)), w)
		})
	}
	if got := s.Messages(); len(got) != 1 || got[0].To[0] != "<b@d.test>" {
		t.Errorf("%+v", got)
	}
}
