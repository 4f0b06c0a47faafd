package hostapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// memory is a guest's memory, without a guest.
type memory []byte

func (m memory) Read(offset, n uint32) ([]byte, bool) {
	if uint64(offset)+uint64(n) > uint64(len(m)) {
		return nil, false
	}
	return m[offset : offset+n : offset+n], true
}

type meter struct{ left int64 }

func (m *meter) Charge(n int64) {
	if m.left -= n; m.left < 0 {
		panic(&Trap{FaultCPU, "time"})
	}
}
func (m *meter) FuelLeft() int64       { return m.left }
func (*meter) WallLeft() time.Duration { return time.Second }
func (*meter) MemoryLimit() int64      { return 1 << 20 }

func (*meter) Wait(f func(context.Context)) { f(context.Background()) }

// host calls functions as a guest would: in goes to the start of memory, out
// comes from its second half.
type host struct {
	t     testing.TB
	c     *Call
	m     memory
	lines []Line
	fn    map[string]Function
}

const half = 32 << 10

func newHost(t testing.TB, g Grant, e *hook.Event) *host {
	h := &host{t: t, m: make(memory, 2*half), fn: map[string]Function{}}
	for _, f := range Functions() {
		name := f.Name
		if capability, ok := strings.CutPrefix(f.Module, "mta1_"); ok {
			name = capability + "." + name
		}
		h.fn[name] = f
	}
	config, err := ParseConfig([]byte(`{ "text": "a\nb", "number": 12, "list": [1, 2] }`))
	if err != nil {
		t.Fatal(err)
	}
	h.c = NewCall(&Guest{Name: "me", Generation: "g1", Grant: g, Config: config, Version: "1.2.3", Log: func(l Line) { h.lines = append(h.lines, l) },
		LogLevel: abi.LogInfo, Now: time.Now, Random: rand.Reader, Started: time.Now()}, &meter{1 << 40})
	name := "init"
	if e != nil {
		name = e.Stage.String()
	}
	h.c.Begin(name, e)
	return h
}

// call calls a function with numbers and strings; a string becomes a pointer
// and a length.
func (h *host) call(name string, args ...any) int64 {
	h.t.Helper()
	var p []uint64
	at := 0
	for _, a := range args {
		switch v := a.(type) {
		case string:
			p = append(p, uint64(at), uint64(len(v)))
			at += copy(h.m[at:], v)
		case int:
			p = append(p, uint64(int64(v)))
		case abi.Field:
			p = append(p, uint64(v))
		case abi.List:
			p = append(p, uint64(v))
		case abi.ListField:
			p = append(p, uint64(v))
		case int32:
			p = append(p, uint64(uint32(v)))
		default:
			h.t.Fatalf("argument %T", a)
		}
	}
	f := h.fn[name]
	return f.Call(h.c, h.m, p)
}

func (h *host) code(want abi.Code, name string, args ...any) {
	h.t.Helper()
	if got := h.call(name, args...); got != int64(want) {
		h.t.Errorf("%s%v = %d, want %d (%v)", name, args, got, int64(want), want)
	}
}

func (h *host) text(want, name string, args ...any) {
	h.t.Helper()
	n := h.call(name, append(args, half, half)...)
	if n < 0 {
		h.t.Errorf("%s%v = %v, want %q", name, args, abi.Code(n), want)
		return
	}
	if got := string(h.m[half : half+n]); got != want {
		h.t.Errorf("%s%v gives %q, want %q", name, args, got, want)
	}
}

func (h *host) number(want int64, name string, args ...any) {
	h.t.Helper()
	if got := h.call(name, args...); got != want {
		h.t.Errorf("%s%v = %d, want %d", name, args, got, want)
	}
}

func path(s string) mail.Path {
	p, err := mail.ParseMailbox(s)
	if err != nil {
		panic(err)
	}
	return p
}

const headerBlock = "Received: from a by b\r\nSubject: one\r\n two\r\nreceived: from c by a\r\nMessage-ID: <1@x>\r\n\r\n"

func event(stage hook.Stage) *hook.Event {
	h, err := mail.ParseHeader([]byte(headerBlock))
	if err != nil {
		panic(err)
	}
	body := "0123456789"
	client := mail.Client{Session: "S1", Listener: "mx", Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:1234"), PTR: "client.example",
		Helo: "helo.example", ESMTP: true, TLS: &mail.TLS{Version: 0x0304, Cipher: "X"}}
	e := &hook.Event{Stage: stage, Recipient: -1, Verb: "VRFY", Arg: "x", Reason: "RSET",
		Session: &hook.Session{Client: &client, Banner: "hello", Extensions: []string{"PIPELINING", "SIZE 100"}},
		Tx: &hook.Transaction{ID: "T1", SizeLimit: 1000, Envelope: mail.Envelope{ReversePath: path("alice@example.com"), Client: client,
			Recipients: []mail.Recipient{{ForwardPath: path("bob@Example.org")}, {ForwardPath: path(`"c d"@example.net`)}}}},
		Content:  &hook.Content{Header: h, Body: strings.NewReader(body), BodySize: int64(len(body))},
		Delivery: nil,
	}
	if stage == hook.Rcpt {
		e.Recipient = 1
	}
	if stage == hook.Headers {
		e.Content.Body, e.Content.BodySize = nil, 0
	}
	if stage == hook.Message {
		e.Content.NewSpool = func() (hook.Spool, error) { return &spoolStub{limit: 1000}, nil }
	}
	if inDelivery.Has(stage) {
		e.Session = nil
		e.Delivery = &hook.Delivery{ID: 77, Domain: "example.org", Attempt: 2, Arrived: time.UnixMilli(5000), Expire: time.UnixMilli(9000),
			NextHops: []mail.NextHop{{Transport: mail.TransportSMTP, Host: "mx.example.org"}},
			Results:  []mail.Result{{Outcome: mail.Delivered}, {Outcome: mail.Failed}},
			Last:     mail.Result{Reply: mail.Reply{Code: 450, Text: "later"}, RemoteMTA: "mx1"},
			History:  []mail.Attempt{{At: time.UnixMilli(7000), Relay: "r", Result: mail.Result{Reply: mail.Reply{Code: 450, Text: "later"}}}}}
		if stage == hook.DSN {
			e.Delivery.Notice = &hook.Notice{Action: "failed", To: e.Tx.Envelope.ReversePath}
		}
	}
	return e
}

var all = Grant{Envelope: Write, Headers: Write, Body: Write}

func TestReadingFacts(t *testing.T) {
	h := newHost(t, Grant{}, event(hook.Message))
	h.text("192.0.2.1", "get", abi.RemoteIP)
	h.number(1234, "get_num", abi.RemotePort)
	h.text("client.example", "get", abi.PTRName)
	h.code(abi.NotFound, "get", abi.LocalIP, half, half)
	h.text("alice@example.com", "get", abi.MailFrom)
	h.number(2, "get_num", abi.RcptCount)
	h.number(0x0304, "get_num", abi.TLSVersion)
	h.number(4, "get_num", abi.HeaderCount)
	h.number(2, "get_num", abi.ReceivedCount)
	h.number(int64(len(headerBlock)+10), "get_num", abi.MsgSize)
	h.text("me", "get", abi.Plugin)
	h.number(1<<20, "get_num", abi.MemLimit)
	h.number(2, "list_len", abi.ListRcpt)
	h.text("bob@Example.org", "list_get", abi.ListRcpt, 0, abi.RcptAddr)
	h.text("example.org", "list_get", abi.ListRcpt, 0, abi.RcptDomain)
	h.text("c d", "list_get", abi.ListRcpt, 1, abi.RcptLocal)
	h.number(0, "list_find", abi.ListRcpt, 0, "BOB@example.ORG")
	h.number(1, "list_find", abi.ListRcpt, 0, `"c d"@example.net`)
	h.code(abi.NotFound, "list_find", abi.ListRcpt, 1, "bob@example.org")
	h.code(abi.NotFound, "list_find", abi.ListRcpt, 0, "bob")

	// Unknown, of the wrong kind, not here, not granted.
	h.code(abi.Unsupported, "get", 0x0199, half, half)
	h.code(abi.Unsupported, "get", -1, half, half)
	h.code(abi.Unsupported, "get", abi.RemotePort, half, half)
	h.code(abi.Unsupported, "get_num", abi.RemoteIP)
	h.code(abi.Unsupported, "list_len", 9)
	h.code(abi.Unsupported, "list_get", abi.ListRcpt, 0, 99, half, half)
	h.code(abi.State, "get", abi.QueueID, half, half)
	h.code(abi.State, "get_num", abi.CurRcpt)
	h.code(abi.State, "list_len", abi.ListRoute)
	h.code(abi.Denied, "get", abi.RawHeaders, half, half)
	h.code(abi.Denied, "get", abi.MsgID, half, half)
	h.code(abi.Denied, "list_len", abi.ListHeader)
	h.code(abi.Denied, "body_read", 0, half, half)
	h.code(abi.NotFound, "list_get", abi.ListRcpt, 2, abi.RcptAddr, half, half)
	h.code(abi.NotFound, "list_get", abi.ListRcpt, -1, abi.RcptAddr, half, half)

	h = newHost(t, Grant{}, nil)
	h.code(abi.State, "get", abi.RemoteIP, half, half)
	h.text("g1", "get", abi.Generation)
	h.code(abi.State, "list_len", abi.ListRcpt)
	h.code(abi.State, "attr_set", 0, "k", "v")
	h.code(abi.State, "reply", 550, 0, "no")
}

func TestOutputIsWholeOrNothing(t *testing.T) {
	h := newHost(t, all, event(hook.Message))
	want := "alice@example.com"
	for _, room := range []int{0, 1, len(want) - 1} {
		clear(h.m)
		h.number(int64(len(want)), "get", abi.MailFrom, half, room)
		if !bytes.Equal(h.m, make([]byte, len(h.m))) {
			t.Errorf("with room for %d something was written", room)
		}
	}
	h.number(int64(len(want)), "get", abi.MailFrom, half, len(want))
	if string(h.m[half:half+len(want)]) != want || h.m[half+len(want)] != 0 {
		t.Error("exactly enough room must do, and no more be written")
	}
	h.number(int64(len(headerBlock)), "get", abi.RawHeaders, half, len(headerBlock)-1)
	h.text(headerBlock, "get", abi.RawHeaders)
}

func TestChangingTheEnvelope(t *testing.T) {
	e := event(hook.Message)
	h := newHost(t, Grant{}, e)
	h.code(abi.Denied, "set", abi.MailFrom, "x@example.com")
	h.code(abi.Denied, "list_insert", abi.ListRcpt, -1, "x@example.com")
	h = newHost(t, all, e)
	h.code(abi.OK, "set", abi.MailFrom, "x@example.com")
	h.text("x@example.com", "get", abi.MailFrom)
	h.code(abi.OK, "set", abi.MailFrom, "")
	h.number(0, "get", abi.MailFrom, half, half)
	for _, bad := range []string{"x", "x@", "x y@example.com", "x@example.com\r\nRCPT TO:<y@z>", "<x@example.com>", "\u00fc@example.com", "a@b\x00c"} {
		h.code(abi.Invalid, "set", abi.MailFrom, bad)
		h.code(abi.Invalid, "list_insert", abi.ListRcpt, -1, bad)
	}
	h.code(abi.Invalid, "list_insert", abi.ListRcpt, -1, "")
	h.code(abi.TooLarge, "set", abi.MailFrom, strings.Repeat("x", 300)+"@example.com")
	h.code(abi.OK, "list_insert", abi.ListRcpt, -1, "new@example.com")
	h.code(abi.Invalid, "list_insert", abi.ListRcpt, 0, "new@example.com")
	h.number(3, "list_len", abi.ListRcpt)
	h.code(abi.OK, "list_set", abi.ListRcpt, 0, abi.RcptAddr, "bert@example.org")
	h.text("bob@Example.org", "list_get", abi.ListRcpt, 0, abi.RcptOriginal)
	h.code(abi.Unsupported, "list_set", abi.ListRcpt, 0, abi.RcptDomain, "example.org")
	h.code(abi.OK, "list_remove", abi.ListRcpt, 1)
	h.code(abi.NotFound, "list_remove", abi.ListRcpt, 2)
	h.text("new@example.com", "list_get", abi.ListRcpt, 1, abi.RcptAddr)
	h.code(abi.Unsupported, "set", abi.RemoteIP, "192.0.2.9")
	h.code(abi.Unsupported, "set_num", abi.MailSize, 9)
	h.code(abi.State, "set_num", abi.SizeLimit, 9)
	h.code(abi.State, "set", abi.Banner, "x")

	h = newHost(t, all, event(hook.Data))
	h.code(abi.OK, "set_num", abi.SizeLimit, 500)
	h.code(abi.Limit, "set_num", abi.SizeLimit, 501)
	h.number(500, "get_num", abi.SizeLimit)
	h.code(abi.Invalid, "set_num", abi.SizeLimit, -1)

	h = newHost(t, all, event(hook.Rcpt))
	h.number(1, "get_num", abi.CurRcpt)
	h.code(abi.State, "list_remove", abi.ListRcpt, 1)
	h.code(abi.OK, "list_remove", abi.ListRcpt, 0)
	h.number(0, "get_num", abi.CurRcpt)
}

func TestChangingTheGreeting(t *testing.T) {
	e := event(hook.Connect)
	h := newHost(t, all, e)
	h.text("hello", "get", abi.Banner)
	h.code(abi.OK, "set", abi.Banner, "mx.example ESMTP")
	for _, bad := range []string{"", "a\nb", "a\r\n250 b", "a\x00", "\xff"} {
		h.code(abi.Invalid, "set", abi.Banner, bad)
	}
	h.code(abi.TooLarge, "set", abi.Banner, strings.Repeat("x", 401))
	if e.Session.Banner != "mx.example ESMTP" {
		t.Errorf("banner is %q", e.Session.Banner)
	}
	e = event(hook.Ehlo)
	h = newHost(t, all, e)
	h.text("PIPELINING\nSIZE 100", "get", abi.Extensions)
	h.code(abi.OK, "set", abi.Extensions, "SIZE 5\nX-THING a b=c")
	for _, bad := range []string{"A\n\nB", " A", "A ", "-A", "A\r", "A  b", "Ä", "A b\x01"} {
		h.code(abi.Invalid, "set", abi.Extensions, bad)
	}
	if !slices.Equal(e.Session.Extensions, []string{"SIZE 5", "X-THING a b=c"}) {
		t.Errorf("extensions are %q", e.Session.Extensions)
	}
	h.code(abi.OK, "set", abi.Extensions, "")
	if len(e.Session.Extensions) != 0 {
		t.Errorf("extensions are %q, want none", e.Session.Extensions)
	}
}

func TestHeader(t *testing.T) {
	e := event(hook.Message)
	h := newHost(t, Grant{Headers: Read}, e)
	h.number(4, "list_len", abi.ListHeader)
	h.text("one two", "list_get", abi.ListHeader, 1, abi.HeaderValue)
	h.text("Subject: one\r\n two\r\n", "list_get", abi.ListHeader, 1, abi.HeaderRaw)
	h.number(2, "list_find", abi.ListHeader, 1, "RECEIVED")
	h.number(2, "list_len", abi.ListReceived)
	h.text("from c by a", "list_get", abi.ListReceived, 1, abi.HeaderValue)
	h.text("<1@x>", "get", abi.MsgID)
	h.code(abi.Denied, "list_insert", abi.ListHeader, -1, "X-A: b")
	h.code(abi.Denied, "list_remove", abi.ListHeader, 0)
	h.code(abi.Unsupported, "list_remove", abi.ListReceived, 0)
	h.code(abi.Unsupported, "list_find", abi.ListReceived, 0, "x")

	h = newHost(t, all, e)
	h.code(abi.OK, "list_insert", abi.ListHeader, 0, "X-First: 1")
	h.code(abi.OK, "list_insert", abi.ListHeader, -1, "X-Last:2")
	h.code(abi.OK, "list_set", abi.ListHeader, 2, abi.HeaderValue, "changed")
	h.code(abi.OK, "list_remove", abi.ListHeader, 1)
	h.code(abi.Conflict, "list_insert", abi.ListHeader, -1, "Subject: again")
	for _, bad := range []string{"no colon", "bad name: x", ": x", "X: a\r\nY: b", "X: a\nb", "X: \xff", "X: \u00fc", "X: a\x00"} {
		h.code(abi.Invalid, "list_insert", abi.ListHeader, -1, bad)
	}
	h.code(abi.TooLarge, "list_insert", abi.ListHeader, -1, "X: "+strings.Repeat("x", 1500))
	h.code(abi.NotFound, "list_insert", abi.ListHeader, 99, "X-A: b")
	if got, want := string(e.Content.Header.Bytes()), "X-First: 1\r\nSubject: changed\r\nreceived: from c by a\r\nMessage-ID: <1@x>\r\nX-Last: 2\r\n\r\n"; got != want {
		t.Errorf("header is %q, want %q", got, want)
	}
	for h.call("list_insert", abi.ListHeader, -1, "X-A: b") == 0 {
	}
	if n := e.Content.Header.Len(); n > 4+abi.MaxHeaderEdits {
		t.Errorf("%d fields after endless inserting", n)
	}
	h.code(abi.Limit, "list_insert", abi.ListHeader, -1, "X-A: b")

	h = newHost(t, all, event(hook.Message))
	big := "X-A: " + strings.Repeat("word ", 4000)
	for range abi.MaxHeaderBytes / len(big) {
		h.code(abi.OK, "list_insert", abi.ListHeader, -1, big)
	}
	h.code(abi.Limit, "list_insert", abi.ListHeader, -1, big)

	h = newHost(t, all, event(hook.Result))
	h.code(abi.State, "list_insert", abi.ListHeader, -1, "X-A: b")
}

func TestBody(t *testing.T) {
	h := newHost(t, all, event(hook.Message))
	h.text("0123456789", "body_read", 0)
	h.text("89", "body_read", 8)
	h.number(3, "body_read", 4, half, 3)
	h.number(0, "body_read", 10, half, half)
	h.number(0, "body_read", 1<<40, half, half)
	h.code(abi.Invalid, "body_read", -1, half, half)
	e := event(hook.Message)
	e.Content.Body = failing{}
	h = newHost(t, all, e)
	h.code(abi.Unavailable, "body_read", 0, half, half)
	h = newHost(t, all, event(hook.Headers))
	h.code(abi.State, "body_read", 0, half, half)
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("disk") }

func TestAttributes(t *testing.T) {
	e := event(hook.Rcpt)
	e.Session.Attrs = mail.Attrs{"spf/result": []byte("pass"), "spf/other": []byte("x"), "dkim/d": []byte("y")}
	h := newHost(t, Grant{AttrsRead: []string{"spf/*", "dkim/e"}}, e)
	for scope := range 4 {
		h.code(abi.NotFound, "attr_get", scope, "k", half, half)
		h.code(abi.OK, "attr_set", scope, "k", "value")
		h.text("value", "attr_get", scope, "k")
		h.text("value", "attr_get", scope, "me/k")
	}
	if string(e.Tx.Envelope.Recipients[1].Attrs["me/k"]) != "value" || string(e.Tx.Envelope.Attrs["me/k"]) != "value" {
		t.Error("attributes are not where they belong")
	}
	h.code(abi.OK, "attr_set", 0, "empty", "")
	h.number(0, "attr_get", 0, "empty", half, half)
	h.code(abi.OK, "attr_del", 0, "empty")
	h.code(abi.NotFound, "attr_del", 0, "empty")
	h.text("pass", "attr_get", 0, "spf/result")
	h.code(abi.Denied, "attr_get", 0, "dkim/d", half, half)
	h.code(abi.NotFound, "attr_get", 0, "dkim/e", half, half)
	h.code(abi.Invalid, "attr_set", 0, "spf/result", "fail")
	h.code(abi.Invalid, "attr_set", 0, "", "x")
	h.code(abi.Invalid, "attr_set", 0, "a\nb", "x")
	h.code(abi.Invalid, "attr_set", 0, strings.Repeat("k", abi.MaxKey+1), "x")
	h.code(abi.TooLarge, "attr_set", 0, "big", strings.Repeat("x", abi.MaxAttrValue+1))
	h.code(abi.Unsupported, "attr_set", 4, "k", "x")
	h.code(abi.Unsupported, "attr_get", -1, "k", half, half)
	for n := range 4 {
		want := abi.OK
		if n == 3 {
			want = abi.Limit
		}
		h.code(want, "attr_set", 1, string(rune('a'+n)), strings.Repeat("x", abi.MaxAttrValue))
	}
	h = newHost(t, Grant{}, event(hook.Connect))
	h.c.event.Tx = nil
	h.code(abi.State, "attr_set", 1, "k", "x")
	for h.call("attr_set", 0, "k", "x") == 0 {
	}
	if h.c.edits != abi.MaxEdits {
		t.Errorf("%d edits", h.c.edits)
	}
}

func TestDelivery(t *testing.T) {
	e := event(hook.Route)
	h := newHost(t, Grant{}, e)
	h.text(mail.ID(77).String(), "get", abi.QueueID)
	h.text("mx", "get", abi.Listener)
	h.number(2, "get_num", abi.Attempt)
	h.number(5000, "get_num", abi.FirstQueued)
	h.code(abi.NotFound, "get_num", abi.NextRetry)
	h.number(450, "get_num", abi.LastCode)
	h.text("mx1", "get", abi.LastMX)
	h.text("smtp:mx.example.org:25", "get", abi.Transport)
	h.text("mx.example.org", "list_get", abi.ListRoute, 0, abi.RouteHost)
	h.number(25, "list_num", abi.ListRoute, 0, abi.RoutePort)
	h.number(7000, "list_num", abi.ListAttempt, 0, abi.AttemptTime)
	h.text("later", "list_get", abi.ListAttempt, 0, abi.AttemptText)
	h.code(abi.Denied, "set", abi.Transport, "discard")
	h.code(abi.State, "list_num", abi.ListRcpt, 0, abi.RcptStatus)

	h = newHost(t, all, e)
	h.code(abi.OK, "set", abi.Transport, "lmtp:unix:/run/lmtp")
	for _, bad := range []string{"", "pipe:/bin/sh", "smtp:", "smtp:a b:25", "maildir:relative", "maildir:/var/mail/../../etc", "smtp:x:0", "mx:a\nb"} {
		h.code(abi.Invalid, "set", abi.Transport, bad)
	}
	h.code(abi.OK, "list_remove", abi.ListRoute, 0)
	h.code(abi.State, "set_num", abi.TLSPolicy, 3)
	h.code(abi.OK, "list_insert", abi.ListRoute, -1, "b.example:2525")
	h.code(abi.OK, "list_insert", abi.ListRoute, 0, "a.example")
	h.code(abi.OK, "list_insert", abi.ListRoute, -1, "2001:db8::1")
	h.code(abi.Invalid, "list_insert", abi.ListRoute, -1, "a..b")
	h.code(abi.OK, "set_num", abi.TLSPolicy, 3)
	h.code(abi.Invalid, "set_num", abi.TLSPolicy, 4)
	h.code(abi.OK, "set", abi.EhloName, "out.example")
	h.code(abi.Invalid, "set", abi.EhloName, "out example")
	h.code(abi.OK, "set", abi.SourceIP, "192.0.2.7")
	h.code(abi.Invalid, "set", abi.SourceIP, "localhost")
	h.code(abi.OK, "set_num", abi.Priority, 7)
	h.code(abi.Invalid, "set_num", abi.Priority, -1)
	h.code(abi.OK, "set_num", abi.NextRetry, 12345)
	h.code(abi.Invalid, "set_num", abi.Expire, 0)
	h.code(abi.NotFound, "set", abi.Pool, "x")
	h.code(abi.Invalid, "set", abi.Pool, "a\nb")
	h.code(abi.OK, "set", abi.Pool, "")
	want := []mail.NextHop{
		{Transport: mail.TransportSMTP, Host: "a.example", TLS: mail.TLSVerify, Helo: "out.example", Source: "192.0.2.7"},
		{Transport: mail.TransportSMTP, Host: "b.example", Port: 2525, TLS: mail.TLSVerify, Helo: "out.example", Source: "192.0.2.7"},
		{Transport: mail.TransportSMTP, Host: "2001:db8::1", Port: 25, TLS: mail.TLSVerify, Helo: "out.example", Source: "192.0.2.7"},
	}
	if !slices.Equal(e.Delivery.NextHops, want) || e.Delivery.Priority != 7 || e.Delivery.Retry.UnixMilli() != 12345 {
		t.Errorf("delivery is %+v", e.Delivery)
	}
	h.code(abi.State, "get_num", abi.SuspendUntil)
	h.code(abi.State, "set_num", abi.SuspendUntil, 1)
	h.code(abi.State, "get", abi.DSNTo, half, half)

	e = event(hook.Result)
	h = newHost(t, all, e)
	h.number(1, "list_num", abi.ListRcpt, 0, abi.RcptStatus)
	h.number(2, "list_num", abi.ListRcpt, 1, abi.RcptStatus)
	h.code(abi.State, "list_insert", abi.ListRoute, 0, "a.example")
	h.code(abi.OK, "set_num", abi.Expire, 99999)
	h.code(abi.Invalid, "set", abi.Transport, "pipe:/bin/sh")
	h.code(abi.OK, "set", abi.Transport, "smtp:backup.example:25")
	h.code(abi.NotFound, "get_num", abi.SuspendUntil)
	until := int(time.Now().Add(23 * time.Hour).UnixMilli())
	h.code(abi.OK, "set_num", abi.SuspendUntil, until)
	h.number(int64(until), "get_num", abi.SuspendUntil)
	h.code(abi.Invalid, "set_num", abi.SuspendUntil, until+2*3600_000)
	h.code(abi.Invalid, "set_num", abi.SuspendUntil, 0)
	if e.Delivery.NextHops[0].Host != "backup.example" || e.Delivery.Suspend.UnixMilli() != int64(until) {
		t.Errorf("delivery is %+v", e.Delivery)
	}
	newHost(t, Grant{}, e).code(abi.Denied, "set_num", abi.SuspendUntil, until)
	newHost(t, all, event(hook.Attempt)).code(abi.State, "set", abi.Transport, "discard")
}

func TestNotification(t *testing.T) {
	e := event(hook.DSN)
	h := newHost(t, all, e)
	h.text("failed", "get", abi.DSNAction)
	h.text("alice@example.com", "get", abi.DSNTo)
	h.text("", "get", abi.DSNText)
	h.number(1, "list_num", abi.ListRcpt, 0, abi.RcptStatus)
	h.code(abi.OK, "set", abi.DSNTo, "bounces@example.net")
	for _, bad := range []string{"", "a b@example.net", "@example.net", "a@example.net>\r\nBcc: <b@example.net", "gr\u00fcn@example.net"} {
		h.code(abi.Invalid, "set", abi.DSNTo, bad)
	}
	h.code(abi.OK, "set", abi.DSNText, "one\nzwei Gr\u00fc\u00dfe\n")
	for _, bad := range []string{"a\r\n.\r\n", "\x00", "\xff", "\x1b[2J"} {
		h.code(abi.Invalid, "set", abi.DSNText, bad)
	}
	h.code(abi.TooLarge, "set", abi.DSNText, strings.Repeat("x", 8193))
	h.code(abi.Unsupported, "set", abi.DSNAction, "delayed")
	if n := e.Delivery.Notice; n.To != path("bounces@example.net") || n.Text != "one\nzwei Gr\u00fc\u00dfe\n" {
		t.Errorf("notification is %+v", n)
	}
	h = newHost(t, Grant{}, e)
	h.code(abi.Denied, "set", abi.DSNTo, "bounces@example.net")
}

func TestLogConfigAndTheRest(t *testing.T) {
	h := newHost(t, Grant{Headers: Write}, event(hook.Rcpt))
	h.code(abi.OK, "log", 0, "debug is not wanted")
	h.code(abi.OK, "log", 1, "plain \"text\"")
	h.code(abi.OK, "log", 3, "two\nlines\x1b[31m\xff")
	h.code(abi.OK, "log", 1, strings.Repeat("x", 3*abi.MaxLogLine))
	h.code(abi.Invalid, "log", 4, "x")
	h.code(abi.Invalid, "log", -1, "x")
	if len(h.lines) != 3 || h.lines[0].Text != `plain "text"` || h.lines[1].Text != `two\nlines\x1b[31m\xff` || len(h.lines[2].Text) != abi.MaxLogLine {
		t.Errorf("logged %q", h.lines)
	}
	for h.call("log", 1, "again") == 0 {
	}
	h.code(abi.Limit, "log", 1, "again")
	if n := len(h.lines); n != abi.MaxLogLines+1 || !strings.Contains(h.lines[n-1].Text, "dropped") {
		t.Errorf("%d lines, the last %q", n, h.lines[n-1].Text)
	}
	h.number(int64(abi.LogInfo), "log_level")

	h.text(`{"text":"a\nb","number":12,"list":[1,2]}`, "config", "")
	h.text("a\nb", "config", "text")
	h.text("12", "config", "number")
	h.text("[1,2]", "config", "list")
	h.code(abi.NotFound, "config", "none", half, half)
	h.code(abi.Denied, "secret", "x", half, half)
	h.code(abi.OK, "random", half, 64)
	if bytes.Equal(h.m[half:half+64], make([]byte, 64)) {
		t.Error("random wrote nothing")
	}
	if d := time.Now().UnixMilli() - h.call("now_ms"); d < 0 || d > 10_000 {
		t.Errorf("now_ms is %d ms off", d)
	}
	if a, b := h.call("mono_ns"), h.call("mono_ns"); a < 0 || b < a {
		t.Errorf("mono_ns goes back: %d, %d", a, b)
	}
	h.number(1, "feature", abi.FeatureHeadersWrite)
	h.number(0, "feature", abi.FeatureBodyRead)
	h.number(0, "feature", int32(999))

	for _, bad := range []string{"[]", "null", "1", "{", `{"a":1} x`, strings.Repeat(" ", abi.MaxConfig) + "{}"} {
		if _, err := ParseConfig([]byte(bad)); err == nil {
			t.Errorf("configuration %.20q was taken", bad)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		reply   func(h *host)
		verdict int32
		want    string // reply, or nothing
		fails   bool
	}{
		{nil, abi.Verdict(abi.Continue, 0, 0), "", false},
		{nil, abi.Verdict(abi.Reject, 0, 0), "", false},
		{nil, abi.Verdict(abi.Reject, 0, 554), "554 5.7.1 Rejected by policy", false},
		{nil, abi.Verdict(abi.Defer, 0, 450), "450 4.7.1 Deferred by policy, try again later", false},
		{nil, abi.Verdict(abi.Drop, abi.NoReply, 0), "", false},
		{nil, abi.Verdict(abi.Drop, 0, 554), "554 5.7.1 Closing connection", false},
		{func(h *host) { h.code(abi.OK, "reply", 0, 0, "no") }, abi.Verdict(abi.Reject, 0, 0), "550 5.7.1 no", false},
		{func(h *host) { h.code(abi.OK, "reply", 551, abi.Enhanced(5, 1, 6), "moved\r\nto\x00 b\nc") }, abi.Verdict(abi.Reject, 0, 550), "551 5.1.6 moved to b c", false},
		{func(h *host) { h.code(abi.OK, "reply", 250, 0, "fine") }, abi.Verdict(abi.Accept, 0, 0), "250 2.0.0 fine", false},
		{func(h *host) { h.code(abi.OK, "reply", 250, 0, "kept") }, abi.Verdict(abi.Hold, 0, 0), "250 2.6.0 kept", false},
		{func(h *host) { h.code(abi.OK, "reply", 550, 0, "no") }, abi.Verdict(abi.Continue, 0, 0), "", false},
		{func(h *host) { h.code(abi.OK, "reply", 450, 0, "no") }, abi.Verdict(abi.Reject, 0, 0), "", true},
		{func(h *host) { h.code(abi.OK, "reply", 0, abi.Enhanced(4, 1, 1), "no") }, abi.Verdict(abi.Reject, 0, 0), "", true},
		{nil, abi.Verdict(abi.Reject, 0, 521), "", true},
		{nil, abi.Verdict(abi.Reject, 0, 450), "", true},
		{nil, abi.Verdict(abi.Defer, 0, 550), "", true},
		{nil, abi.Verdict(abi.Drop, 0, 550), "", true},
		{nil, abi.Verdict(abi.Accept, 0, 250), "", true},
		{nil, abi.Verdict(abi.Reject, abi.NoReply, 0), "", true},
		{nil, 7, "", true},
		{nil, 255, "", true},
		{nil, 0x800, "", true},
		{nil, -1, "", true},
	} {
		h := newHost(t, Grant{}, event(hook.Mail))
		if c.reply != nil {
			c.reply(h)
		}
		v, err := h.c.Verdict(c.verdict)
		got := ""
		if v.Reply != nil {
			got = v.Reply.String()
		}
		if (err != nil) != c.fails || got != c.want {
			t.Errorf("verdict %#x gives %q, %v; want %q, failure %v", uint32(c.verdict), got, err, c.want, c.fails)
		}
	}
	h := newHost(t, Grant{}, event(hook.Data))
	if _, err := h.c.Verdict(abi.Verdict(abi.Accept, 0, 0)); err == nil {
		t.Error("ACCEPT at data must fail")
	}
	h = newHost(t, Grant{}, event(hook.Close))
	if v, err := h.c.Verdict(0x7fffffff); err != nil || v != (hook.Verdict{}) {
		t.Errorf("at close any verdict is ignored; got %v, %v", v, err)
	}
	h.code(abi.State, "reply", 550, 0, "no")
	h = newHost(t, Grant{}, event(hook.Mail))
	for _, code := range []int{1, 199, 354, 600, -1} {
		h.code(abi.Invalid, "reply", code, 0, "no")
	}
	for _, enh := range []int32{abi.Enhanced(3, 1, 1), abi.Enhanced(4, 1, 1), abi.Enhanced(5, 1000, 1), -1} {
		h.code(abi.Invalid, "reply", 550, enh, "no")
	}
	h.code(abi.TooLarge, "reply", 550, 0, strings.Repeat("x", maxReplyText+1))
}

func TestHostCallsAreCounted(t *testing.T) {
	h := newHost(t, Grant{}, event(hook.Mail))
	trap := func() (trap *Trap) {
		defer func() { trap, _ = recover().(*Trap) }()
		h.call("log_level")
		return nil
	}
	for n := range abi.MaxHostCalls {
		if trap() != nil {
			t.Fatalf("trap at call %d", n+1)
		}
	}
	if got := trap(); got == nil || got.Fault != FaultLimit {
		t.Errorf("call %d: %v; want a trap", abi.MaxHostCalls+1, got)
	}
}

// FuzzHostCalls makes random calls one after the other at each stage: nothing
// but a Trap may escape, every result is a length, a number or a code,
// and what the calls leave in the event must be fit to be printed.
func FuzzHostCalls(f *testing.F) {
	f.Add(uint8(6), []byte("\x00\x02\x04\x00\x00\x00\x00\x00\x80\x00\x00\xff\x00\x00"))
	f.Add(uint8(9), []byte("X-A: b\r\nSubject: c\n\x08\x02\x00\xff\xff"))
	list := Functions()
	f.Fuzz(func(t *testing.T, stage uint8, program []byte) {
		program = program[:min(len(program), 2048)]
		e := event(hook.Stage(stage) % (hook.Tick + 1))
		h := newHost(t, Grant{Envelope: Write, Headers: Write, Body: Write, AuthPassword: true, AttrsRead: []string{"a/*"}, KV: KVGrant{1},
			DNS: DNSGrant{[]string{"*"}}, Secrets: []string{""}, Tables: []string{""}, SignKeys: []string{""}, Events: []string{"*"}}, e)
		copy(h.m, program)
		next := func() uint64 {
			if len(program) < 2 {
				program = nil
				return 0
			}
			a, b := program[0], program[1]
			program = program[2:]
			switch a % 8 {
			case 0:
				return uint64(b) << 8
			case 1:
				return 1<<32 - uint64(b)
			case 2:
				return -uint64(b)
			case 3:
				return uint64(len(h.m)) - uint64(b)
			case 4:
				return uint64(b%8)<<8 | uint64(a>>4)
			}
			return uint64(b)
		}
		for len(program) > 0 {
			fn := list[next()%uint64(len(list))]
			p := make([]uint64, strings.IndexByte(string(fn.Signature), '>'))
			for k := range p {
				if p[k] = next(); fn.Signature[k] == 'i' {
					p[k] = uint64(uint32(p[k]))
				}
			}
			func() {
				defer func() {
					if r := recover(); r != nil {
						if _, ok := r.(*Trap); !ok {
							panic(r)
						}
					}
				}()
				if r := fn.Call(h.c, h.m, p); r < int64(abi.Bogus) {
					t.Errorf("%s%v = %d, which is no code", fn.Name, p, r)
				}
			}()
		}
		if e.Session != nil && mail.Printable(e.Session.Banner) != e.Session.Banner {
			t.Errorf("banner %q", e.Session.Banner)
		}
		for _, r := range e.Tx.Envelope.Recipients {
			if _, err := mail.ParseMailbox(r.ForwardPath.String()); err != nil {
				t.Errorf("forward-path %q: %v", r.ForwardPath, err)
			}
		}
		if _, err := mail.ParseHeader(e.Content.Header.Bytes()); err != nil {
			t.Errorf("header section %q: %v", e.Content.Header.Bytes(), err)
		}
		for _, l := range h.lines {
			if mail.Printable(l.Text) != l.Text {
				t.Errorf("log line %q", l.Text)
			}
		}
		h.c.Verdict(int32(next()))
	})
}
