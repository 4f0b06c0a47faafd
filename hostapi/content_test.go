package hostapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// spoolStub is a spool in memory. It refuses a NUL, and a body that ends with a CR.
type spoolStub struct {
	buf     []byte
	limit   int
	fault   error
	aborted bool
}

func (s *spoolStub) Write(p []byte) (int, error) {
	switch {
	case s.fault != nil:
		return 0, s.fault
	case bytes.IndexByte(p, 0) >= 0:
		return 0, hook.ErrContent
	case len(s.buf)+len(p) > s.limit:
		return 0, hook.ErrSize
	}
	s.buf = append(s.buf, p...)
	return len(p), nil
}

func (s *spoolStub) Close() error {
	if bytes.HasSuffix(s.buf, []byte("\r")) {
		return hook.ErrContent
	}
	return nil
}
func (s *spoolStub) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.buf).ReadAt(p, off)
}
func (s *spoolStub) Size() int64 { return int64(len(s.buf)) }
func (s *spoolStub) Abort()      { s.aborted = true }

// answer gives a verdict for the call and begins the next at the same event, as
// the next plugin's.
func (h *host) answer(a abi.Action) error {
	h.t.Helper()
	e := h.c.event
	_, err := h.c.Verdict(abi.Verdict(a, 0, 0))
	h.c.End()
	if err == nil {
		h.c.Begin(e.Stage.String(), e)
	}
	return err
}

func TestANewBody(t *testing.T) {
	e := event(hook.Message)
	h := newHost(t, all, e)
	h.code(abi.OK, "body_splice", 0, 4)
	h.code(abi.OK, "body_write", "-new-")
	h.code(abi.OK, "body_write", "")
	h.code(abi.OK, "body_splice", 9, 0)
	h.code(abi.OK, "body_splice", 8, -1)
	h.text("0123456789", "body_read", 0) // until the verdict it is what it was
	h.number(10, "get_num", abi.BodySize)
	if err := h.answer(abi.Continue); err != nil {
		t.Fatal(err)
	}
	if !e.Content.Replaced {
		t.Error("a body that was replaced does not say so")
	}
	h.text("0123-new-89", "body_read", 0)
	h.number(11, "get_num", abi.BodySize)
	h.number(int64(e.Content.Header.Size()+11), "get_num", abi.MsgSize)
	h.number(1, "crypto.digest_open", 2)
	h.code(abi.OK, "crypto.digest_body", 1, 0, -1, 0)

	for name, c := range map[string]struct {
		grant Grant
		stage hook.Stage
		want  abi.Code
	}{
		"read only":       {Grant{Body: Read}, hook.Message, abi.Denied},
		"at headers":      {all, hook.Headers, abi.State},
		"at attempt":      {all, hook.Attempt, abi.State},
		"denied at route": {Grant{Body: Read}, hook.Route, abi.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, c.grant, event(c.stage))
			h.code(c.want, "body_write", "x")
			h.code(c.want, "body_splice", 0, 1)
		})
	}
	newHost(t, all, nil).code(abi.State, "body_write", "x")
	if h := newHost(t, all, nil); h.call("feature", abi.FeatureBodyWrite) != 1 {
		t.Error("the feature is not there")
	}
	if h := newHost(t, Grant{Body: Read}, nil); h.call("feature", abi.FeatureBodyWrite) != 0 {
		t.Error("the feature is there without its grant")
	}
}

// Whatever goes wrong, the old body stays, whole, and no more is taken.
func TestANewBodyIsGivenUp(t *testing.T) {
	full := errors.New("full")
	for name, c := range map[string]struct {
		call  func(h *host)
		fault error // of the spool
	}{
		"not content":          {func(h *host) { h.code(abi.Invalid, "body_write", "a\x00b") }, nil},
		"beyond the end":       {func(h *host) { h.code(abi.Invalid, "body_splice", 5, 6) }, nil},
		"from beyond the end":  {func(h *host) { h.code(abi.Invalid, "body_splice", 11, -1) }, nil},
		"before the beginning": {func(h *host) { h.code(abi.Invalid, "body_splice", -1, 1) }, nil},
		"length below -1":      {func(h *host) { h.code(abi.Invalid, "body_splice", 0, -2) }, nil},
		"too large":            {func(h *host) { h.code(abi.TooLarge, "body_write", strings.Repeat("x", 1001)) }, nil},
		"no room":              {func(h *host) { h.code(abi.Unavailable, "body_write", "x") }, full},
		"a million pieces": {func(h *host) {
			for range abi.MaxBodyEdits {
				h.code(abi.OK, "body_splice", 3, 0)
			}
			h.code(abi.Limit, "body_splice", 3, 0)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e, spool := event(hook.Message), &spoolStub{limit: 1000, fault: c.fault}
			e.Content.NewSpool = func() (hook.Spool, error) { return spool, nil }
			h := newHost(t, all, e)
			c.call(h)
			if !spool.aborted {
				t.Error("what was written is kept")
			}
			h.code(abi.State, "body_write", "x")
			h.code(abi.State, "body_splice", 0, 1)
			if err := h.answer(abi.Continue); err != nil {
				t.Error(err)
			}
			h.text("0123456789", "body_read", 0)
		})
	}
	e := event(hook.Message)
	e.Content.NewSpool = func() (hook.Spool, error) { return nil, full }
	h := newHost(t, all, e)
	h.code(abi.Unavailable, "body_write", "x")
	h.code(abi.State, "body_write", "x")
	e = event(hook.Message)
	e.Content.Body = failing{}
	h = newHost(t, all, e)
	h.code(abi.Unavailable, "body_splice", 0, 1)

	h = newHost(t, all, event(hook.Message))
	h.code(abi.OK, "body_write", "x\r")
	if err := h.answer(abi.Accept); err == nil || !strings.Contains(err.Error(), "body") {
		t.Errorf("verdict with half a line end: %v", err)
	}
}

// A verdict other than CONTINUE and ACCEPT drops the new body, and so does a
// failure.
func TestANewBodyIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		verdict hook.Verdict
		err     error
	}{
		"hold": {hook.Verdict{Action: hook.Hold}, nil}, "reject": {hook.Verdict{Action: hook.Reject}, nil}, "trap": {hook.Verdict{}, errors.New("trap")},
	} {
		e, spool := event(hook.Message), &spoolStub{limit: 1000}
		e.Content.NewSpool = func() (hook.Spool, error) { return spool, nil }
		k := hook.Chain{{Name: "me", Stages: hook.Stages(hook.Message), OnError: hook.FailContinue, Handler: hook.HandlerFunc(
			func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
				newHost(t, all, e).code(abi.OK, "body_write", "new\r\n")
				return c.verdict, c.err
			})}}.Open("", nil)
		k.Ask(t.Context(), e)
		k.Close()
		if b, _ := io.ReadAll(io.NewSectionReader(e.Content.Body, 0, e.Content.BodySize)); !spool.aborted || e.Content.Replaced || string(b) != "0123456789" {
			t.Errorf("%s: aborted %t, body %q", name, spool.aborted, b)
		}
	}
}
