package smtpd_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

// rewrite is a plugin that replaces the body at message.
func rewrite(f func(e *hook.Event, b *hook.NewBody) error) func(e *hook.Event) hook.Verdict {
	return func(e *hook.Event) hook.Verdict {
		b, err := e.ReplaceBody()
		if err == nil {
			err = f(e, b)
		}
		if err != nil {
			return hook.Verdict{Action: hook.Reject, Reply: mail.NewReply(554, "5.6.0", err.Error())}
		}
		return hook.Verdict{}
	}
}

func write(b *hook.NewBody, texts ...string) error {
	for _, t := range texts {
		if _, err := b.Write([]byte(t)); err != nil {
			return err
		}
	}
	return nil
}

func TestABodyIsReplaced(t *testing.T) {
	all := func(e *hook.Event, b *hook.NewBody) error { return b.Copy(0, e.Content.BodySize) }
	for name, c := range map[string]struct {
		sent string
		f    func(e *hook.Event, b *hook.NewBody) error
		want string // content
	}{
		"footer": {"x: y\r\n\r\nbody\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return errors.Join(all(e, b), write(b, "-- \r\nfooter\r\n"))
		}, "x: y\r\n\r\nbody\r\n-- \r\nfooter\r\n"},
		"a final line end is added": {"x: y\r\n\r\nbody\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return write(b, "new")
		}, "x: y\r\n\r\nnew\r\n"},
		"octet by octet": {"x: y\r\n\r\nbody\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return errors.Join(write(b, "", "a", "\r", "\n", "b", "\r"), b.Copy(5, 1))
		}, "x: y\r\n\r\na\r\nb\r\n"},
		"one octet": {"x: y\r\n\r\nbody\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return errors.Join(b.Copy(0, 1), write(b, "0"), b.Copy(2, 4))
		}, "x: y\r\n\r\nb0dy\r\n"},
		"nothing":   {"x: y\r\n\r\nbody\r\n", func(*hook.Event, *hook.NewBody) error { return nil }, "x: y\r\n\r\n"},
		"as it was": {"x: y\r\n\r\nbody\r\n", all, "x: y\r\n\r\nbody\r\n"},
		"no body before": {"x: y\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return write(b, "To: someone\r\n")
		}, "x: y\r\n\r\nTo: someone\r\n"},
		"no header section": {"just text\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return write(b, " To: someone\r\n")
		}, "\r\n To: someone\r\n"},
		"no empty line": {"x: y\r\nnot a field\r\n", func(e *hook.Event, b *hook.NewBody) error {
			return write(b, "Bcc: forged\r\n")
		}, "x: y\r\n\r\nBcc: forged\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := with(t, rewrite(c.f), hook.Message)
			k := h.dial().hello()
			k.envelope()
			k.do("DATA", "354")
			k.do(c.sent+".", "250 2.0.0 Ok: queued")
			m := h.intake.all()
			if len(m) != 1 || m[0].content() != c.want {
				t.Errorf("%q, want %q", m[0].content(), c.want)
			}
			if n := h.intake.drafts(); n != 0 {
				t.Errorf("%d drafts are left", n)
			}
		})
	}
}

// What would not be a body is refused at once; what cannot be completed leaves
// the old one, whole.
func TestABodyIsReplacedWhollyOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(e *hook.Event, b *hook.NewBody) error
		want error
	}{
		"bare LF":              {func(_ *hook.Event, b *hook.NewBody) error { return write(b, "a", "\n") }, hook.ErrContent},
		"bare CR":              {func(_ *hook.Event, b *hook.NewBody) error { return write(b, "a\r", "b") }, hook.ErrContent},
		"NUL":                  {func(_ *hook.Event, b *hook.NewBody) error { return write(b, "a\x00b") }, hook.ErrContent},
		"half a line end":      {func(_ *hook.Event, b *hook.NewBody) error { return b.Copy(5, 1) }, hook.ErrContent},
		"CR before a line end": {func(_ *hook.Event, b *hook.NewBody) error { return errors.Join(write(b, "\r"), b.Copy(4, 2)) }, hook.ErrContent},
		"beyond the end":       {func(_ *hook.Event, b *hook.NewBody) error { return b.Copy(3, 4) }, hook.ErrIndex},
		"before the beginning": {func(_ *hook.Event, b *hook.NewBody) error { return b.Copy(-1, 2) }, hook.ErrIndex},
		"overflow":             {func(_ *hook.Event, b *hook.NewBody) error { return b.Copy(3, 1<<63-1) }, hook.ErrIndex},
		"too large": {func(e *hook.Event, b *hook.NewBody) error {
			for range 1000 {
				if err := b.Copy(0, 6); err != nil {
					return err
				}
			}
			return nil
		}, hook.ErrSize},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil, func(o *smtpd.Options) {
				o.MaxSize = 1000
				o.Source = plugin(func(e *hook.Event) hook.Verdict {
					b, err := e.ReplaceBody()
					if err != nil {
						t.Error(err)
						return hook.Verdict{}
					}
					if err := c.f(e, b); !errors.Is(err, c.want) {
						t.Errorf("%v, want %v", err, c.want)
					}
					if err := write(b, "more\r\n"); err != hook.ErrGivenUp || !b.GivenUp() {
						t.Errorf("written after a failure: %v", err)
					}
					return hook.Verdict{}
				}, hook.Message)
			})
			k := h.dial().hello()
			k.envelope()
			k.do("DATA", "354")
			k.do("x: y\r\n\r\nbody\r\n.", "250")
			if m := h.intake.all(); len(m) != 1 || m[0].content() != "x: y\r\n\r\nbody\r\n" || h.intake.drafts() != 0 {
				t.Errorf("%+v, %d drafts", m, h.intake.drafts())
			}
		})
	}
}

// A body that ends in the middle of a line end is a failure of the plugin.
func TestAnUnfinishedLineEndIsAFailure(t *testing.T) {
	for policy, want := range map[hook.FailurePolicy]string{hook.FailTemporary: "451 4.7.1", hook.FailReject: "550", hook.FailContinue: "250"} {
		h := start(t, nil, func(o *smtpd.Options) {
			chain := plugin(rewrite(func(_ *hook.Event, b *hook.NewBody) error { return write(b, "a\r") }), hook.Message).(hook.Static)
			chain[0].OnError = policy
			o.Source = chain
		})
		k := h.dial().hello()
		k.envelope()
		k.do("DATA", "354")
		k.do("x: y\r\n\r\nbody\r\n.", want)
		m := h.intake.all()
		if policy == hook.FailContinue && (len(m) != 1 || m[0].Body != "body\r\n") || policy != hook.FailContinue && len(m) != 0 || h.intake.drafts() != 0 {
			t.Errorf("%v: %+v, %d drafts", policy, m, h.intake.drafts())
		}
	}
}

// Plugins in a row: each sees what those before it made of the body, and what
// one wrote that said no or failed is as if it had never been.
func TestBodiesInARow(t *testing.T) {
	add := func(text string, v hook.Verdict, err error) hook.Plugin {
		return hook.Plugin{Name: text, Stages: hook.Stages(hook.Message), OnError: hook.FailContinue, Handler: handler(func(e *hook.Event) (hook.Verdict, error) {
			b, fault := e.ReplaceBody()
			if fault == nil {
				fault = errors.Join(b.Copy(0, e.Content.BodySize), write(b, text+"\r\n"))
			}
			if fault != nil {
				t.Error(fault)
			}
			if s := read(t, e.Content); strings.Contains(s, text) {
				t.Errorf("%q is seen before the verdict: %q", text, s)
			}
			return v, err
		})}
	}
	seen := ""
	last := hook.Plugin{Name: "last", Stages: hook.Stages(hook.Message), Handler: handler(func(e *hook.Event) (hook.Verdict, error) {
		seen = read(t, e.Content)
		return hook.Verdict{}, nil
	})}
	for name, c := range map[string]struct {
		chain      hook.Chain
		reply      string
		seen, body string
	}{
		"two": {hook.Chain{add("one", hook.Verdict{}, nil), add("two", hook.Verdict{}, nil), last},
			"250", "body\r\none\r\ntwo\r\n", "body\r\none\r\ntwo\r\n"},
		"a failure between": {hook.Chain{add("one", hook.Verdict{}, nil), add("bad", hook.Verdict{}, errors.New("trap")), add("two", hook.Verdict{}, nil), last},
			"250", "body\r\none\r\ntwo\r\n", "body\r\none\r\ntwo\r\n"},
		"accept": {hook.Chain{add("one", hook.Verdict{Action: hook.Accept}, nil), last}, "250", "", "body\r\none\r\n"},
		"hold":   {hook.Chain{add("one", hook.Verdict{}, nil), add("two", hook.Verdict{Action: hook.Hold}, nil), last}, "250", "", "body\r\none\r\n"},
		"reject": {hook.Chain{add("one", hook.Verdict{}, nil), add("two", hook.Verdict{Action: hook.Reject}, nil)}, "550", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			seen = ""
			h := start(t, nil, func(o *smtpd.Options) { o.Source = hook.Static(c.chain) })
			k := h.dial().hello()
			k.envelope()
			k.do("DATA", "354")
			k.do("x: y\r\n\r\nbody\r\n.", c.reply)
			body := ""
			for _, m := range h.intake.all() {
				body = m.Body
			}
			if seen != c.seen || body != c.body || h.intake.drafts() != 0 {
				t.Errorf("seen %q, stored %q, %d drafts", seen, body, h.intake.drafts())
			}
		})
	}
}

func handler(f func(e *hook.Event) (hook.Verdict, error)) hook.Handler {
	return hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) { return f(e) })
}

func read(t *testing.T, c *hook.Content) string {
	b, err := io.ReadAll(io.NewSectionReader(c.Body, 0, c.BodySize))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// A body can be replaced at message only, and storage that is full does not
// cost the message.
func TestABodyCannotBeReplaced(t *testing.T) {
	h := with(t, func(e *hook.Event) hook.Verdict {
		_, err := e.ReplaceBody()
		if (err == hook.ErrStage) != (e.Stage != hook.Message) {
			t.Errorf("%s: %v", e.Stage, err)
		}
		return hook.Verdict{}
	}, everyStage...)
	k := h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	k.do("x: y\r\n\r\nbody\r\n.", "250")
	if m := h.intake.all(); len(m) != 1 || m[0].Body != "" {
		t.Errorf("%+v; want a body that is empty now", m)
	}

	full := errors.New("full")
	h = start(t, nil, func(o *smtpd.Options) {
		in := o.Intake.(*memory)
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			in.mu.Lock()
			in.beginErr = full
			in.mu.Unlock()
			if _, err := e.ReplaceBody(); err != full {
				t.Errorf("begun with %v", err)
			}
			return hook.Verdict{}
		}, hook.Message)
	})
	k = h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	k.do("x: y\r\n\r\nbody\r\n.", "250")
	if m := h.intake.all(); len(m) != 1 || m[0].Body != "body\r\n" || h.intake.drafts() != 0 {
		t.Errorf("%+v", m)
	}
}

// A body with 8-bit octets in a message that was declared as 7BIT is declared
// anew.
func TestAReplacedBodyIsDeclared(t *testing.T) {
	for declared, want := range map[string]mail.BodyType{"": mail.BodyUnspecified, " BODY=7BIT": mail.Body8BitMIME, " BODY=8BITMIME": mail.Body8BitMIME} {
		h := with(t, rewrite(func(_ *hook.Event, b *hook.NewBody) error { return write(b, "gr\xc3\xbc\xc3\x9fe\r\n") }), hook.Message)
		k := h.dial().hello()
		k.do("MAIL FROM:<a@client.test>"+declared, "250")
		k.do("RCPT TO:<b@ours.test>", "250")
		k.do("DATA", "354")
		k.do("x: y\r\n\r\nbody\r\n.", "250")
		if m := h.intake.all(); len(m) != 1 || m[0].Env.Body != want {
			t.Errorf("%q: %v, want %v", declared, m[0].Env.Body, want)
		}
	}
}

// An octet of a body of 40 MB is changed, by two plugins; it does not show in
// memory.
func TestALargeBodyIsReplaced(t *testing.T) {
	const size = 40 << 20
	var m runtime.MemStats
	peak := uint64(0)
	look := func() {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}
	change := plugin(rewrite(func(e *hook.Event, b *hook.NewBody) error {
		look()
		defer look()
		return errors.Join(b.Copy(0, size/4), b.Copy(size/4, size/4), write(b, "0"), b.Copy(size/2+1, e.Content.BodySize-size/2-1))
	}), hook.Message).(hook.Static)
	h := start(t, nil, func(o *smtpd.Options) { o.Source = hook.Static{change[0], change[0]} })
	h.intake.countOnly = true
	c := h.dial().hello()
	c.envelope()
	c.do("DATA", "354")
	c.send("x: y\r\n\r\n")
	block := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 4096))
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	for sent := 0; sent < size; sent += len(block) {
		if _, err := c.conn.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	c.do(".", "250 2.0.0 Ok: queued")
	if look(); peak > before+24<<20 { // a body is more
		t.Errorf("heap grew from %d to %d KiB", before>>10, peak>>10)
	}
	if h.intake.count != 1 || h.intake.drafts() != 0 {
		t.Errorf("%d messages, %d drafts", h.intake.count, h.intake.drafts())
	}
}

// The lines about a message while it is received have another id than those
// after its body was replaced: one line ties them, and the client hears the
// one under which the message is queued.
func TestAReplacedBodyCanBeFollowedInTheLog(t *testing.T) {
	chain := plugin(rewrite(func(_ *hook.Event, b *hook.NewBody) error { return write(b, "new\r\n") }), hook.Message).(hook.Static)
	chain[0].Name = "footer"
	fails := hook.Plugin{Name: "broken", Stages: hook.Stages(hook.Message), OnError: hook.FailContinue, Handler: handler(func(e *hook.Event) (hook.Verdict, error) {
		b, err := e.ReplaceBody()
		return hook.Verdict{}, errors.Join(err, write(b, "worse\r\n"), errors.New("trap"))
	})}
	h := start(t, nil, func(o *smtpd.Options) { o.Source = hook.Static{chain[0], fails} })
	k := h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	reply := k.do("x: y\r\n\r\nbody\r\n.", "250")
	m := h.intake.all()
	if len(m) != 1 {
		t.Fatalf("%d messages", len(m))
	}
	was, is := mail.ID(1).String(), m[0].ID.String()
	if was == is || !strings.Contains(reply, "queued as "+is) || !strings.Contains(m[0].Header, " id "+is) {
		t.Errorf("%s was %s: %q, %q", is, was, reply, m[0].Header)
	}
	log := h.log.String()
	for _, want := range []string{": " + is + ": client=", ", orig_queue_id=" + was + ", changed_by=footer:body", ": " + is + ": from=<", ": " + was + ": warning: plugin failed: plugin=broken"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	k.do("RSET", "250")
	h = start(t, nil, nil)
	k = h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	k.do("x: y\r\n\r\nbody\r\n.", "250")
	if log := h.log.String(); strings.Contains(log, "orig_queue_id") || strings.Contains(log, "changed_by") {
		t.Errorf("nothing was replaced:\n%s", log)
	}
}

// A storage that becomes full in the middle of a new body leaves the old one;
// one that is full at the end leaves the message with the client.
func TestAStorageThatIsFull(t *testing.T) {
	full := errors.New("full")
	var in *memory
	h := start(t, nil, func(o *smtpd.Options) {
		in = o.Intake.(*memory)
		o.Source = plugin(func(e *hook.Event) hook.Verdict {
			b, err := e.ReplaceBody()
			if err = errors.Join(err, write(b, "half\r\n")); err != nil {
				t.Error(err)
			}
			if in.commitErr == nil {
				in.writeErr = full
				if err := b.Copy(0, e.Content.BodySize); !errors.Is(err, full) {
					t.Errorf("copied with %v", err)
				}
				in.writeErr = nil
			}
			return hook.Verdict{}
		}, hook.Message)
	})
	k := h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	k.do("x: y\r\n\r\nbody\r\n.", "250")
	if m := in.all(); len(m) != 1 || m[0].Body != "body\r\n" || in.drafts() != 0 {
		t.Errorf("%+v, %d drafts", m, in.drafts())
	}
	in.mu.Lock()
	in.commitErr = full
	in.mu.Unlock()
	k.envelope()
	k.do("DATA", "354")
	k.do("x: y\r\n\r\nbody\r\n.", "451")
	if m := in.all(); len(m) != 1 {
		t.Errorf("%+v", m)
	}
}

// However many plugins replace the body, the spool has three at most: the
// client's, the last one, and the one that is written.
func TestManyNewBodiesTakeTheRoomOfThree(t *testing.T) {
	most := 0
	var in *memory
	h := start(t, nil, func(o *smtpd.Options) {
		in = o.Intake.(*memory)
		add := plugin(rewrite(func(e *hook.Event, b *hook.NewBody) error {
			most = max(most, in.drafts())
			return errors.Join(b.Copy(0, e.Content.BodySize), write(b, "more\r\n"))
		}), hook.Message).(hook.Static)[0]
		fails := add
		fails.OnError = hook.FailContinue
		fails.Handler = handler(func(e *hook.Event) (hook.Verdict, error) {
			_, err := e.ReplaceBody()
			return hook.Verdict{}, errors.Join(err, errors.New("trap"))
		})
		o.Source = hook.Static{add, add, fails, add, fails, add, add}
	})
	k := h.dial().hello()
	k.envelope()
	k.do("DATA", "354")
	k.do("x: y\r\n\r\nbody\r\n.", "250")
	if m := in.all(); len(m) != 1 || m[0].Body != "body\r\n"+strings.Repeat("more\r\n", 5) {
		t.Errorf("%+v", m)
	}
	if most != 3 || in.drafts() != 0 {
		t.Errorf("%d drafts at a time, %d in the end", most, in.drafts())
	}
}
