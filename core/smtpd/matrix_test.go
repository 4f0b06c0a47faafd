package smtpd_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/smtpd"
)

// The matrix of end-of-data variants (F1): what may stand before and behind a
// dot. It has the sequences of the known smuggling tools in it. Pass: nothing
// but CR LF . CR LF ends the content, that always does, and no octet of a body
// is read as a command; whichever way the octets are cut into reads, with and
// without PIPELINING, by DATA and by BDAT, in clear text and over TLS.

// variant is an end of data that may be none, a command inside the body, and
// the true end. The first "" is a dot at the very beginning of the content.
type variant struct{ name, wire string }

func variants() (list []variant) {
	before := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\n\r", "\x00\r\n", "\r\n\x00", "\v", "\f", " ", "\u0085"}
	behind := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\x00\r\n", "\r\x00\n", "\v", " \r\n", "\u2028"}
	for _, s := range behind {
		list = append(list, variant{fmt.Sprintf("at the beginning .%q", s), "." + s + "VRFY body\r\n.\r\n"})
		for _, p := range before {
			list = append(list, variant{fmt.Sprintf("%q.%q", p, s), "x: y\r\n\r\na" + p + "." + s + "VRFY body\r\n.\r\n"})
		}
	}
	return list
}

// exchange is what the client sends, in the pieces in which it is to be read,
// and what must come of it.
type exchange struct {
	pieces  []string
	replies []string // the beginning of each
	content []string // that is committed
}

func (x *exchange) add(pipelined bool, want string, lines ...string) {
	if n := len(x.pieces); pipelined && n > 0 {
		x.pieces[n-1] += strings.Join(lines, "")
	} else {
		x.pieces = append(x.pieces, lines...)
	}
	for w := range strings.FieldsSeq(want) {
		x.replies = append(x.replies, w)
	}
}

func bad(content string) bool {
	return strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n\x00")
}

// message sends a variant, cut in two; verb is how.
func (x *exchange) message(v variant, verb string, cut int, pipelined bool) {
	body := ""
	if verb == "BDAT binary" {
		body = " BODY=BINARYMIME"
	}
	x.add(pipelined, "250 250", "MAIL FROM:<a@client.test>"+body+"\r\n", "RCPT TO:<b@ours.test>\r\n")
	a, b := v.wire[:cut], v.wire[cut:]
	content := v.wire
	switch verb {
	case "DATA":
		all := "\r\n" + v.wire
		end := strings.Index(all, "\r\n.\r\n")
		content = strings.ReplaceAll(all[:end+2], "\r\n.", "\r\n")[2:]
		x.add(pipelined, "354", "DATA\r\n")
		// The first piece follows the command at once or not; the second is read apart.
		x.add(pipelined, "", a)
		x.add(false, "", b)
	case "BDAT", "BDAT binary":
		x.add(pipelined, "", fmt.Sprintf("BDAT %d LAST\r\n", len(v.wire)))
		x.add(pipelined, "", a)
		x.add(false, "", b)
	case "BDAT chunks":
		x.add(pipelined, "", fmt.Sprintf("BDAT %d\r\n", len(a)), a)
		x.add(pipelined, "", fmt.Sprintf("BDAT %d LAST\r\n", len(b)), b)
		// A refusal comes with the chunk in which there is cause for it, and costs
		// the transaction that the next would belong to.
		if inFirst := strings.TrimSuffix(a, "\r"); bad(inFirst) {
			x.replies = append(x.replies, "550", "503")
			x.add(pipelined, "214", "HELP\r\n")
			return
		}
		x.replies = append(x.replies, "250")
	}
	if bad(content) && verb != "BDAT binary" {
		x.replies = append(x.replies, "550")
	} else {
		x.replies = append(x.replies, "250")
		if strings.HasPrefix(content, " ") {
			content = "\r\n" + content // so that it does not continue our Received field
		}
		x.content = append(x.content, content)
	}
	if verb == "DATA" {
		all := "\r\n" + v.wire
		for range strings.Count(all[strings.Index(all, "\r\n.\r\n")+5:], "\n") / 2 {
			x.replies = append(x.replies, "252", "500") // VRFY body, and the dot
		}
	}
	x.add(pipelined, "214", "HELP\r\n")
}

// everyCut are the places where a variant can be cut, or each step-th of them.
func everyCut(v variant, step int, f func(cut int)) {
	for cut := 0; cut <= len(v.wire); cut += step {
		f(cut)
	}
}

func matrix(step int, verbs ...string) (list []*exchange) {
	for _, v := range variants() {
		for _, verb := range verbs {
			for _, pipelined := range []bool{false, true} {
				x := &exchange{}
				x.add(false, "250", "EHLO client.test\r\n", "")
				everyCut(v, step, func(cut int) { x.message(v, verb, cut, pipelined) })
				x.add(pipelined, "221", "QUIT\r\n")
				list = append(list, x)
			}
		}
	}
	return list
}

var everyVerb = []string{"DATA", "BDAT", "BDAT chunks", "BDAT binary"}

// check compares what the server said, and what it committed, with what must be.
func (x *exchange) check(t *testing.T, said string, committed []message) {
	t.Helper()
	var got []string
	for line := range strings.Lines(said) {
		if len(line) > 3 && line[3] == ' ' {
			got = append(got, line[:3])
		}
	}
	want := append([]string{"220"}, x.replies...)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("reply %d of %d, %d expected: %q\nwant %q\nsent %q", i, len(got), len(want), got[min(i, len(got)):], want[min(i, len(want)):], x.pieces)
		}
	}
	if len(committed) != len(x.content) {
		t.Fatalf("%d committed, want %d: %q", len(committed), len(x.content), x.pieces)
	}
	for i, m := range committed {
		if m.content() != x.content[i] {
			t.Fatalf("content %q, want %q", m.content(), x.content[i])
		}
	}
}

// script is a connection whose reads give one piece after the other, so that
// each cut is where the server sees it.
type script struct {
	mu     sync.Mutex
	pieces []string
	said   strings.Builder
	closed chan struct{}
	once   sync.Once
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pieces) > 0 && s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(p)
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "script", Net: "unix"} }
func (s *script) RemoteAddr() net.Addr             { return s.LocalAddr() }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func patient(o *smtpd.Options) {
	o.ErrorBudget, o.BareLF, o.MaxSessionsPerAddress, o.BinaryMIME = 1<<30, smtpd.BareLFReject, -1, true
}

// Every cut of every variant by every verb.
func TestEndOfDataMatrix(t *testing.T) {
	if n := len(variants()); n != 140 { // 13 times 10, and 10 at the beginning
		t.Fatalf("%d variants", n)
	}
	l := newPipeListener()
	h := start(t, l, patient)
	n := 0
	for _, x := range matrix(1, everyVerb...) {
		before := len(h.intake.all())
		s := &script{pieces: append([]string{}, x.pieces...), closed: make(chan struct{})}
		l.conns <- s
		<-s.closed
		x.check(t, s.said.String(), h.intake.all()[before:])
		n += strings.Count(strings.Join(x.pieces, ""), "MAIL FROM")
		h.intake.forget()
	}
	t.Logf("%d messages", n)
}

// Over real sockets, and over TLS, where each piece is a record. All cuts are
// made where WASMTA_MATRIX=full, else some.
func TestEndOfDataMatrixOverSockets(t *testing.T) {
	step := 9
	if os.Getenv("WASMTA_MATRIX") == "full" {
		step = 1
	}
	server, trust := testTLS(t)
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", encrypted), func(t *testing.T) {
			h := start(t, nil, func(o *smtpd.Options) {
				patient(o)
				if encrypted {
					o.TLS, o.ImplicitTLS = server, true
				}
			})
			x := &exchange{} // all in one session
			x.add(false, "250", "EHLO client.test\r\n")
			for _, part := range matrix(step, everyVerb...) {
				x.pieces = append(x.pieces, part.pieces[1:len(part.pieces)-1]...)
				last := part.pieces[len(part.pieces)-1]
				x.pieces = append(x.pieces, strings.TrimSuffix(last, "QUIT\r\n"))
				x.replies = append(x.replies, part.replies[1:len(part.replies)-1]...)
				x.content = append(x.content, part.content...)
			}
			x.add(false, "221", "QUIT\r\n")
			var conn net.Conn
			conn, err := net.Dial("tcp", h.l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if encrypted {
				conn = tls.Client(conn, trust)
			}
			r := bufio.NewReader(conn)
			banner, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for _, p := range x.pieces {
					if _, err := io.WriteString(conn, p); p != "" && err != nil {
						return // the replies show it
					}
				}
			}()
			said, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			x.check(t, banner+string(said), h.intake.all())
		})
	}
}
