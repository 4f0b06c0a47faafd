package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// unstuff is what a strict receiver does (RFC 5321 4.5.2): only CRLF.CRLF ends, a dot after CRLF goes.
func unstuff(wire []byte) (content, rest []byte) {
	atStart := true
	for i := 0; i < len(wire); i++ {
		if atStart && wire[i] == '.' {
			if bytes.HasPrefix(wire[i:], []byte(".\r\n")) {
				return content, wire[i+3:]
			}
			i++
			if i == len(wire) {
				break
			}
		}
		content = append(content, wire[i])
		atStart = wire[i] == '\n' && i > 0 && wire[i-1] == '\r'
	}
	return content, []byte("no end")
}

func hasBare(b []byte) bool {
	s := strings.ReplaceAll(string(b), "\r\n", "")
	return strings.ContainsAny(s, "\r\n\x00")
}

func FuzzStuffer(f *testing.F) {
	for _, s := range []string{"", ".", "..\r\n.\r\n", "a\r\n.b\r\n", "a\n.\n", "\r", "\r\n", "a\r\r\n.\r\n", "x\r\n.", "\x00"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, content []byte, cut uint8) {
		var s stuffer
		var wire []byte
		var err error
		step := int(cut)%7 + 1
		for part := range slices.Chunk(content, step) {
			if wire, err = s.append(wire, part); err != nil {
				break
			}
		}
		if err == nil {
			wire, err = s.end(wire)
		}
		if bad := hasBare(content); bad != (err != nil) {
			t.Fatalf("%q in parts of %d: bare %v, error %v", content, step, bad, err)
		}
		if err != nil {
			return
		}
		got, rest := unstuff(wire)
		want := content
		if len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
			want = append(slices.Clone(want), "\r\n"...)
		}
		if !bytes.Equal(got, want) || len(rest) != 0 || hasBare(wire) {
			t.Fatalf("%q: wire %q, unstuffed %q, rest %q", content, wire, got, rest)
		}
	})
}

func FuzzReplyReader(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 2.1.0 b\r\n", "250\n", "250-a\r\n550 b\r\n", "2", "250-\r\n", "421 4.3.2 x\r\n250 y\r\n",
		strings.Repeat("250-x\r\n", 101), "250 " + strings.Repeat("x", 5000) + "\r\n", "220 a\x00b\r\n", "250 5.1.1 x\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := replyReader{src: bytes.NewReader(in)}
		bytewise := replyReader{src: iotest.OneByteReader(bytes.NewReader(in))}
		for {
			err, err2 := whole.read(), bytewise.read()
			if (err == nil) != (err2 == nil) || err == nil && (whole.code != bytewise.code || !bytes.Equal(whole.text, bytewise.text)) {
				t.Fatalf("%q: %v %d %q; byte by byte %v %d %q", in, err, whole.code, whole.text, err2, bytewise.code, bytewise.text)
			}
			if err != nil {
				return
			}
			if whole.code < 200 || whole.code > 599 || len(whole.text) > maxReplyOctets || bytes.Count(whole.text, []byte("\n")) >= maxReplyLines {
				t.Fatalf("out of bounds: %d, %d octets", whole.code, len(whole.text))
			}
			r := whole.reply()
			if r.Clean() != r || strings.ContainsAny(r.Text, "\r\x00\x1b") {
				t.Fatalf("not clean: %q", r.Text)
			}
			if e := r.Enhanced; e != (mail.Enhanced{}) && int(e[0]) != r.Class() {
				t.Fatalf("class: %v", r)
			}
			var x extensions
			x.parse(whole.text)
			if x.maxSize < 0 || x.maxRcpt < 0 || x.maxMail < 0 {
				t.Fatalf("%+v", x)
			}
		}
	})
}

func TestReplyLimits(t *testing.T) {
	for in, want := range map[string]error{
		strings.Repeat("250-x\r\n", 99) + "250 x\r\n":                             nil,
		strings.Repeat("250-x\r\n", 100) + "250 x\r\n":                            errTooLong,
		"250 " + strings.Repeat("x", maxReplyOctets-6) + "\r\n":                   nil,
		"250 " + strings.Repeat("x", maxReplyOctets-5) + "\r\n":                   errTooLong,
		strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 66) + "250 x\r\n": errTooLong,
		"250-x\r\n251 x\r\n": errMixed,
		"250_x\r\n":          errMalformed,
		"250-x\r\n":          io.EOF,
	} {
		r := replyReader{src: strings.NewReader(in)}
		if err := r.read(); err != want {
			t.Errorf("%.20q (%d octets): %v, want %v", in, len(in), err, want)
		}
		if len(r.long) > maxReplyLine {
			t.Errorf("kept %d octets of a line", len(r.long))
		}
	}
}

func TestSafePath(t *testing.T) {
	for _, good := range []string{"/var/mail/u", "./mail/u/", "/var/mail/u+tag", "/var/mail/ü", "/var/mail/u.lock", "/var/mail/a:b"} {
		if _, err := safePath(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "./", "mail/u", "../u", "/var/mail/..", "/var/mail/../etc", "/var/mail/.", "/var//u", "/var/mail/a\x00b", "/var/mail/a\nb",
		"/var/mail/" + strings.Repeat("x", 256)} {
		if p, err := safePath(bad); err == nil {
			t.Errorf("%q was taken as %q", bad, p)
		}
	}
}

func mailTo(to, body string) *mail.Message {
	p, _ := mail.ParseMailbox(to)
	m := &mail.Message{ID: 1 << 40, Header: []byte("Subject: x\r\n\r\n"), BodySize: int64(len(body)),
		OpenBody: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }}
	m.Envelope.ReversePath, _ = mail.ParseMailbox("a@x.test")
	m.Envelope.Recipients = []mail.Recipient{{ForwardPath: p}}
	return m
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMaildirOrderOfDurability(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	a := New(Options{Hostname: "us/te:st"})
	defer a.Close()
	hops := []mail.NextHop{{Transport: mail.TransportMaildir, Host: dir}}
	var order []string
	a.syncFile = func(f *os.File) error {
		tmp, _ := os.ReadDir(dir + "/tmp")
		now, _ := os.ReadDir(dir + "/new")
		what := "directory"
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			what = "file"
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", info.Mode())
			}
		}
		order = append(order, what+strings.Repeat(" tmp", len(tmp))+strings.Repeat(" new", len(now)))
		return f.Sync()
	}
	res := a.Deliver(t.Context(), hops, mailTo("b@y.test", "body\r\n"))
	if res[0].Outcome != mail.Delivered {
		t.Fatal(res[0].Reply.String())
	}
	// The directories that were made, then the file while it is in tmp/, then new/ with the file in it.
	if want := []string{"directory", "directory", "directory", "file tmp", "directory new"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	names := list(t, dir+"/new")
	got, _ := os.ReadFile(filepath.Join(dir, "new", names[0]))
	if want := "Return-Path: <a@x.test>\r\nDelivered-To: b@y.test\r\nSubject: x\r\n\r\nbody\r\n"; string(got) != want {
		t.Errorf("file %q", got)
	}
	if !strings.HasSuffix(names[0], `.us\057te\072st`) {
		t.Errorf("name %q", names[0])
	}

	// A sync that fails: the file is not there for anybody.
	for _, fail := range []error{os.ErrPermission, errors.New("EIO")} {
		a.syncFile = func(f *os.File) error { return fail }
		res = a.Deliver(t.Context(), hops, mailTo("b@y.test", "body\r\n"))
		if res[0].Outcome != mail.Deferred || res[0].Reply.Status() != (mail.Enhanced{4, 3, 0}) || strings.Contains(res[0].Reply.Text, dir) {
			t.Errorf("%+v", res[0])
		}
		if len(list(t, dir+"/new")) != 1 || len(list(t, dir+"/tmp")) != 0 {
			t.Error("a file that was not synced is in new/, or left in tmp/")
		}
	}
}

func TestMaildirRefusals(t *testing.T) {
	base := t.TempDir()
	a := New(Options{Hostname: "us.test"})
	defer a.Close()
	try := func(path string, m *mail.Message, want string) {
		t.Helper()
		res := a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMaildir, Host: path}}, m)
		if s := res[0].Outcome.String() + " " + res[0].Reply.Status().String(); s != want {
			t.Errorf("%s: %s (%s), want %s", path, s, res[0].Reply.String(), want)
		}
	}
	loop := mailTo("b@y.test", "")
	loop.Header = []byte("Delivered-To: other@y.test\r\nDelivered-To: <b@Y.test>\r\n\r\n")
	try(base+"/loop", loop, "bounced 5.4.6")
	try(base+"/../x", mailTo("b@y.test", ""), "deferred 4.3.5")

	// Links that lead out of the Maildir.
	out := filepath.Join(base, "out")
	in := filepath.Join(base, "in")
	for _, dir := range []string{out, in, in + "/tmp", in + "/cur"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../out", in+"/new"); err != nil {
		t.Fatal(err)
	}
	try(in, mailTo("b@y.test", "x"), "deferred 4.3.0")
	os.Remove(in + "/new")
	os.Mkdir(in+"/new", 0o700)
	os.Remove(in + "/tmp")
	os.Symlink(out, in+"/tmp")
	try(in, mailTo("b@y.test", "x"), "deferred 4.3.0")
	if n := list(t, out); len(n) > 0 {
		t.Errorf("written outside: %v", n)
	}

	// Not a directory; a body that does not end as it should.
	os.WriteFile(base+"/file", nil, 0o600)
	try(base+"/file", mailTo("b@y.test", "x"), "deferred 4.3.0")
	short := mailTo("b@y.test", strings.Repeat("x\r\n", 100000))
	short.BodySize++
	try(base+"/short", short, "deferred 4.3.0")
	broken := mailTo("b@y.test", "")
	broken.OpenBody = func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(errors.New("bad sum"))), nil }
	try(base+"/short", broken, "deferred 4.3.0")
	if len(list(t, base+"/short/new"))+len(list(t, base+"/short/tmp")) > 0 {
		t.Error("a damaged message was left in the Maildir")
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		if r := maildirReply(writeFull()); r.Status() != (mail.Enhanced{4, 3, 1}) || r.Code != 452 {
			t.Errorf("full disk: %s", r.String())
		}
	}
}

func TestMaildirReplies(t *testing.T) {
	for want, err := range map[string]error{
		"452 4.2.2": &os.PathError{Err: syscall.EDQUOT}, "452 4.3.1": &os.PathError{Err: syscall.ENOSPC}, "451 4.3.0": &os.PathError{Err: syscall.EACCES},
		"451 4.3.2": context.Canceled, "550 5.1.3": errUnsafePath, "451 4.3.5": errRoutePath,
	} {
		if r := maildirReply(err); !strings.HasPrefix(r.String(), want+" ") {
			t.Errorf("%v: %s, want %s", err, r.String(), want)
		}
	}
}

func writeFull() error {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write([]byte("x"))
	return err
}

func TestMaildirManyAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	a := New(Options{Hostname: "us.test"})
	defer a.Close()
	fixed := time.Now()
	a.now = func() time.Time { return fixed }
	a.syncFile = func(*os.File) error { return nil }
	done := make(chan mail.Result)
	body := strings.Repeat("line\r\n", 50000)
	for range 40 {
		go func() {
			done <- a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMaildir, Host: dir}}, mailTo("b@y.test", body))[0]
		}()
	}
	for range 40 {
		if r := <-done; r.Outcome != mail.Delivered {
			t.Error(r.Reply.String())
		}
	}
	names := list(t, dir+"/new")
	if len(names) != 40 || len(list(t, dir+"/tmp")) != 0 {
		t.Errorf("%d files", len(names))
	}
	for _, n := range names {
		if b, _ := os.ReadFile(dir + "/new/" + n); !strings.HasSuffix(string(b), "Subject: x\r\n\r\n"+body) {
			t.Fatalf("%s has %d octets", n, len(b))
		}
	}
}

func TestMaildirLeftovers(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"old": 37 * time.Hour, "young": 35 * time.Hour} {
		os.Mkdir(dir+"/tmp", 0o700)
		os.WriteFile(dir+"/tmp/"+name, nil, 0o600)
		at := time.Now().Add(-age)
		os.Chtimes(dir+"/tmp/"+name, at, at)
	}
	a := New(Options{Hostname: "us.test"})
	defer a.Close()
	a.Deliver(t.Context(), []mail.NextHop{{Transport: mail.TransportMaildir, Host: dir}}, mailTo("b@y.test", ""))
	if got := list(t, dir+"/tmp"); !slices.Equal(got, []string{"young"}) {
		t.Errorf("tmp holds %v", got)
	}
}

func BenchmarkStuffer(b *testing.B) {
	src := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 400)
	dst := make([]byte, 0, 2*len(src))
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		var s stuffer
		if _, err := s.append(dst[:0], src); err != nil {
			b.Fatal(err)
		}
	}
}
