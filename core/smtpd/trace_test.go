package smtpd_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/smtpd"
	"github.com/wasmta/wasmta/core/trace"
)

func traced(t *testing.T) (*trace.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := trace.Open(trace.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

// story is what is known of an id, in short.
func story(t *testing.T, s *trace.Store, id string) string {
	t.Helper()
	r, err := s.Explain(id)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range r.Events {
		text := e.Event
		for _, more := range []string{e.Stage, e.Verb, e.Helo, e.Plugin, e.Verdict, e.User, e.Identity, e.Status, e.By, strings.Join(e.To, "+")} {
			if more != "" {
				text += "/" + more
			}
		}
		if e.Reply != "" {
			text += "/" + e.Reply[:3]
		}
		if e.Event == "abort" || e.Event == "close" {
			text += "/" + e.Detail
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func TestASessionIsTracedWithoutItsSecrets(t *testing.T) {
	server, trust := testTLS(t)
	store, dir := traced(t)
	h := start(t, nil, func(o *smtpd.Options) {
		withUsers(o)
		o.TLS, o.Role, o.AuthWithoutTLS, o.AuthRelay, o.Trace = server, smtpd.Submission, false, true, store
	})
	c := h.dial().hello().startTLS(trust)
	c.do("EHLO client.test", "250-mx.test")
	c.do("AUTH PLAIN "+badPlain, "535 5.7.8")
	c.do("AUTH PLAIN "+goodPlain, "235 2.7.0")
	for range 2 {
		c.do("MAIL FROM:<a@client.test>", "250")
		c.do("RCPT TO:<x@else.test>", "250")
		c.do("DATA", "354")
		c.do("Subject: a word\r\n\r\nof the body\r\n.", "250")
	}
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RSET", "250")
	c.do("QUIT", "221")
	waitFor(t, func() bool { return h.Sessions() == 0 })
	messages := h.intake.all()
	session := "connect helo/EHLO/client.test tls helo/EHLO/client.test" +
		" hook/auth/users/continue auth/tim/failed reply/535 hook/auth/users/accept auth/tim/tim/ok/users"
	message := " mail rcpt/<x@else.test> accept"
	for i, m := range messages {
		// What a session does before a message is told with each of them; other messages are not.
		if got := story(t, store, m.ID.String()); got != session+message {
			t.Errorf("message %d: %s\nwant %s", i, got, session+message)
		}
	}
	if got, want := story(t, store, messages[0].Env.Client.Session), session+message+message+" mail abort/RSET close/QUIT"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"Gue55ed", "tanstaaf", badPlain, goodPlain, "a word", "of the body"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%q is in %s", secret, file)
			}
		}
	}
}

func TestSessionsThatBringNothingAreTraced(t *testing.T) {
	store, _ := traced(t)
	h := start(t, nil, func(o *smtpd.Options) {
		o.MaxSessionsPerAddress, o.Trace = 1, store
		o.Source = hook.Static{{Name: "trash", Stages: hook.Stages(hook.Message), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{Action: hook.Discard}, nil
		})}}
	})
	session := func() string {
		lines := strings.Split(h.log.String(), "session=")
		return lines[len(lines)-1][:16]
	}
	c := h.dial().hello()
	h.dial().want("421 4.7.0")
	waitFor(t, func() bool { return h.Sessions() == 1 })
	if got := story(t, store, session()); got != "connect reply/CONNECT/421 close/too many sessions" {
		t.Error(got)
	}
	c.do("MAIL FROM:<a@client.test>", "250")
	c.do("RCPT TO:<x@else.test>", "550")
	c.do("RCPT TO:<b@ours.test>", "250")
	id := session()
	c.do("DATA", "354")
	c.do("x: y\r\n.", "250")
	c.do("MAIL FROM:<a@client.test>", "250")
	c.conn.Close()
	waitFor(t, func() bool { return h.Sessions() == 0 })
	if got := story(t, store, id); got != "connect helo/EHLO/client.test mail reply/RCPT/<x@else.test>/550 rcpt/<b@ours.test> hook/message/trash/discard discard/trash"+
		" mail abort/lost connection close/lost connection" {
		t.Error(got)
	}
}
