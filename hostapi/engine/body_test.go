package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// mailServer runs a whole server with plugins, which delivers to a Maildir.
type mailServer struct {
	t    *testing.T
	addr string
	dir  string // of the Maildir
}

func serve(t *testing.T, policy hook.Source) *mailServer {
	t.Helper()
	dir := t.TempDir()
	short, err := os.MkdirTemp("", "mta") // a path of t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	c, err := config.Parse(fmt.Appendf(nil, `
hostname = "mx.here.test"
data_dir = "data"
local_domains = ["here.test"]
[[listener]]
name = "mx"
role = "mx"
address = "127.0.0.1:0"
[[route]]
domains = ["here.test"]
to = "maildir:%s/{user}"
[dns]
resolvers = ["127.0.0.1:9"]
[admin]
socket = %q
[limits]
min_free = "1MB"
`, dir, filepath.Join(short, "s")), "test.toml", dir)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	m, err := core.New(core.Options{Config: c, Source: policy, Log: event.NewLog(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return &mailServer{t, m.Addr("mx").String(), dir}
}

// send gives the server a message to user and returns the reply to its end.
func (s *mailServer) send(user string, content io.Reader) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	r := textproto.NewReader(bufio.NewReader(conn))
	for i, c := range []string{"", "EHLO client.test", "MAIL FROM:<a@src.test>", "RCPT TO:<" + user + "@here.test>", "DATA"} {
		if i > 0 {
			fmt.Fprintf(conn, "%s\r\n", c)
		}
		if _, _, err := r.ReadResponse([]int{220, 250, 250, 250, 354}[i]); err != nil {
			s.t.Fatalf("%s: %v", c, err)
		}
	}
	if _, err := io.Copy(conn, content); err != nil {
		s.t.Fatal(err)
	}
	fmt.Fprintf(conn, ".\r\n")
	code, text, _ := r.ReadResponse(0)
	return fmt.Sprint(code, " ", text)
}

// delivered waits for user's only message and gives the digest and the length
// of its body.
func (s *mailServer) delivered(user string) (sum [32]byte, n int64) {
	s.t.Helper()
	var files []string
	for end := time.Now().Add(time.Minute); len(files) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("the message does not arrive")
		}
		files, _ = filepath.Glob(filepath.Join(s.dir, user, "new", "*"))
	}
	f, err := os.Open(files[0])
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	h := sha256.New()
	if n, err = io.Copy(h, r); err != nil {
		s.t.Fatal(err)
	}
	return [32]byte(h.Sum(nil)), n
}

// rewriter is a guest that runs code at message for the recipient edit.
func rewriter(data string, code func(g *guest) wb.Code) []byte {
	g := newGuest()
	g.Data(16, data)
	g.on("message", code(g))
	return g.finish()
}

func (g *guest) splice(off, n int64) wb.Code {
	return wb.I64Const(off) + wb.I64Const(n) + wb.Call(g.fn["body_splice"]) + wb.Drop
}

func (g *guest) write(ptr, n int32) wb.Code { return g.call("body_write", ptr, n) + wb.Drop }

func bodyPlugin(t *testing.T, e *engine.Engine, name string, wasm []byte) hook.Plugin {
	t.Helper()
	p := load(t, e, hostapi.Spec{Name: name, Grant: hostapi.Grant{Body: hostapi.Write}}, wasm)
	return hook.Plugin{Name: name, Stages: p.Stages(), Handler: p}
}

// A body of 40 MB of which one octet is changed is delivered exactly so.
func TestAnOctetOfALargeBody(t *testing.T) {
	if testing.Short() {
		t.Skip("sends a lot")
	}
	const size, at = 40 << 20, 20<<20 + 17
	text := &repeat{text: strings.Repeat("0123456789abcde", 4) + "wx\r\n"}
	e := newEngine(t, engine.Options{})
	s := serve(t, hook.Static{bodyPlugin(t, e, "one", rewriter("X", func(g *guest) wb.Code {
		return g.splice(0, at) + g.write(16, 1) + g.splice(at+1, -1) + wb.I32Const(int32(abi.Continue))
	}))})
	if r := s.send("a", io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), io.NewSectionReader(text, 0, size))); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	h := sha256.New()
	io.Copy(h, io.MultiReader(io.NewSectionReader(text, 0, at), strings.NewReader("X"), io.NewSectionReader(text, at+1, size-at-1)))
	if sum, n := s.delivered("a"); n != size || sum != [32]byte(h.Sum(nil)) {
		t.Errorf("%d octets delivered, which are not what the plugin made of them", n)
	}
}

// repeat is a text without end.
type repeat struct{ text string }

func (r *repeat) ReadAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); {
		i += copy(p[i:], r.text[(off+int64(i))%int64(len(r.text)):])
	}
	return len(p), nil
}

// Guests that rewrite bodies, alone and in a row, through a whole server.
func TestBodiesAreRewritten(t *testing.T) {
	e := newEngine(t, engine.Options{})
	cont := wb.I32Const(int32(abi.Continue))
	footer := bodyPlugin(t, e, "footer", rewriter("-- \r\nfooter\r\n", func(g *guest) wb.Code {
		return g.splice(0, -1) + g.write(16, 13) + cont
	}))
	banner := bodyPlugin(t, e, "banner", rewriter("EXTERNAL\r\n", func(g *guest) wb.Code {
		return g.write(16, 10) + g.splice(0, -1) + cont
	}))
	all := bodyPlugin(t, e, "all", rewriter("removed", func(g *guest) wb.Code { return g.write(16, 7) + cont }))
	none := bodyPlugin(t, e, "none", rewriter("", func(g *guest) wb.Code { return g.splice(0, 0) + cont }))
	copies := bodyPlugin(t, e, "copies", rewriter("", func(g *guest) wb.Code { return g.splice(0, -1) + g.splice(0, -1) + cont }))
	storm := bodyPlugin(t, e, "storm", rewriter("", func(g *guest) wb.Code {
		// Until one is refused; then the code must be E_LIMIT, or it traps.
		return wb.Loop(wb.None, wb.I64Const(0)+wb.I64Const(1)+wb.Call(g.fn["body_splice"])+wb.LocalTee(0)+wb.I32Eqz+wb.BrIf(0)) +
			wb.LocalGet(0) + wb.I32Const(int32(abi.Limit)) + wb.I32Ne + wb.If(wb.None, wb.Unreachable, "") + cont
	}))
	bare := bodyPlugin(t, e, "bare", rewriter("a\nb", func(g *guest) wb.Code { return g.write(16, 3) + cont }))
	half := bodyPlugin(t, e, "half", rewriter("a\r", func(g *guest) wb.Code { return g.write(16, 2) + cont }))
	traps := bodyPlugin(t, e, "traps", rewriter("gone", func(g *guest) wb.Code { return g.write(16, 4) + wb.Unreachable + cont }))
	rejects := bodyPlugin(t, e, "rejects", rewriter("gone", func(g *guest) wb.Code { return g.write(16, 4) + wb.I32Const(int32(abi.Reject)) }))
	lenient := func(p hook.Plugin) hook.Plugin {
		p.OnError = hook.FailContinue
		return p
	}
	const body = "first\r\nsecond\r\n"
	i := 0
	for name, c := range map[string]struct {
		chain hook.Chain
		want  string // the body, or beginning with digits the reply
	}{
		"footer":                 {hook.Chain{footer}, body + "-- \r\nfooter\r\n"},
		"banner, then footer":    {hook.Chain{banner, footer}, "EXTERNAL\r\n" + body + "-- \r\nfooter\r\n"},
		"footer, then banner":    {hook.Chain{footer, banner}, "EXTERNAL\r\n" + body + "-- \r\nfooter\r\n"},
		"all of it":              {hook.Chain{all}, "removed\r\n"},
		"all of it, then footer": {hook.Chain{all, footer}, "removed\r\n-- \r\nfooter\r\n"},
		"nothing is left":        {hook.Chain{none}, ""},
		"nothing, then footer":   {hook.Chain{none, footer}, "-- \r\nfooter\r\n"},
		"twice":                  {hook.Chain{copies, copies}, strings.Repeat(body, 4)},
		"a storm of pieces":      {hook.Chain{storm}, body},
		"bare LF":                {hook.Chain{bare}, body},
		"half a line end":        {hook.Chain{half}, "451"},
		"half, on_error":         {hook.Chain{footer, lenient(half), banner}, "EXTERNAL\r\n" + body + "-- \r\nfooter\r\n"},
		"trap, on_error":         {hook.Chain{footer, lenient(traps)}, body + "-- \r\nfooter\r\n"},
		"reject":                 {hook.Chain{footer, rejects}, "550"},
	} {
		i++
		user := fmt.Sprintf("user%d", i)
		t.Run(name, func(t *testing.T) {
			s := serve(t, hook.Static(c.chain))
			reply := s.send(user, strings.NewReader("Subject: x\r\n\r\n"+body))
			if strings.HasPrefix(c.want, "5") || strings.HasPrefix(c.want, "4") {
				if !strings.HasPrefix(reply, c.want) {
					t.Errorf("%s, want %s", reply, c.want)
				}
				return
			}
			if !strings.HasPrefix(reply, "250") {
				t.Fatal(reply)
			}
			if sum, n := s.delivered(user); sum != sha256.Sum256([]byte(c.want)) {
				t.Errorf("%d octets delivered, which are not %q", n, c.want)
			}
		})
	}
}

func TestAGoGuestRewritesABody(t *testing.T) {
	if testing.Short() {
		t.Skip("building a guest with Go takes long")
	}
	wasm, err := buildGo("footer")
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, engine.Options{})
	p := bodyPlugin(t, e, "footer", wasm)
	s := serve(t, hook.Static{p, p})
	if r := s.send("go", strings.NewReader("Subject: x\r\n\r\nfirst\r\nsecond\r\nthird\r\n")); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	want := "third\r\nfooter of a Go guest\r\nfooter of a Go guest\r\n"
	if sum, n := s.delivered("go"); sum != sha256.Sum256([]byte(want)) {
		t.Errorf("%d octets delivered, which are not %q", n, want)
	}
}
