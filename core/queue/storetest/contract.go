package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// sizes are those at which something changes, or might.
var sizes = []int{0, 1, 4 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 512 << 10, 700_001}

func testDraft(t *testing.T, f *fixture) {
	for _, n := range sizes {
		body := f.body(n)
		d := f.begin(body)
		if d.Size() != int64(n) {
			t.Fatalf("size is %d after %d octets", d.Size(), n)
		}
		readAt(t, "draft", d, body)
		together(t, d, body)
		refs, err := d.Commit(ctx, envelope("a@example.org", "b@example.net"), testHeader, dueAt(start))
		if err != nil {
			t.Fatalf("commit of %d octets: %v", n, err)
		}
		f.learn(refs, envelope("a@example.org", "b@example.net"), testHeader, body, dueAt(start))
		b, err := f.store().Body(ctx, d.ID())
		if err != nil {
			t.Fatal(err)
		}
		readAt(t, "body", b, body)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f.verify(f.h, "after all sizes")
}

// together reads a body twice at the same time, as a plugin does that looks at it while it sends it elsewhere.
func together(t *testing.T, r io.ReaderAt, body []byte) {
	t.Helper()
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			p := make([]byte, len(body))
			if n, err := r.ReadAt(p, 0); !bytes.Equal(p[:n], body) {
				t.Errorf("%d octets read together with another: %d, %v", len(body), n, err)
			}
		})
	}
	both.Wait()
}

// readAt reads around every border and beyond the end.
func readAt(t *testing.T, what string, r io.ReaderAt, body []byte) {
	t.Helper()
	for _, off := range []int{0, 1, 64 << 10, 256<<10 - 3, 256 << 10, 512<<10 - 1, len(body) - 1, len(body), len(body) + 1, len(body) + 300<<10} {
		for _, n := range []int{0, 1, 5, 4096, 300 << 10} {
			if off < 0 {
				continue
			}
			p := make([]byte, n)
			got, err := r.ReadAt(p, int64(off))
			var want []byte
			if off < len(body) {
				want = body[off:min(off+n, len(body))]
			}
			if !bytes.Equal(p[:got], want) {
				t.Fatalf("%s of %d: ReadAt(%d octets, %d) returned %d octets, want %d, or others", what, len(body), n, off, got, len(want))
			}
			if got < n && err != io.EOF || got == n && err != nil && err != io.EOF {
				t.Fatalf("%s of %d: ReadAt(%d octets, %d) returned %d and error %v", what, len(body), n, off, got, err)
			}
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Fatalf("%s: ReadAt before the beginning succeeded", what)
	}
}

func testDraftOver(t *testing.T, f *fixture) {
	for _, n := range []int{10, 300 << 10} {
		d := f.begin(f.body(n))
		d.Abort()
		d.Abort()
		over(t, d)
		if _, err := d.Commit(ctx, envelope("a@example.org", "b@example.net"), nil, dueAt(start)); err == nil {
			t.Fatal("commit after abort succeeded")
		}
		d = f.begin(f.body(n))
		if _, err := d.Commit(ctx, envelope("a@example.org"), nil, dueAt(start)); err == nil {
			t.Fatal("commit without recipients succeeded")
		}
		over(t, d)
	}
	refs := f.commit(envelope("a@example.org", "b@example.net"), f.body(400<<10), dueAt(start))
	d := f.begin(f.body(300 << 10))
	if _, err := d.Commit(ctx, envelope("a@example.org", "b@example.net"), testHeader, dueAt(start)); err != nil {
		t.Fatal(err)
	}
	over(t, d)
	d.Abort() // does nothing
	if _, err := readBody(f.store(), d.ID()); err != nil {
		t.Fatalf("body after commit and abort: %v", err)
	}
	if err := f.store().Remove(ctx, d.ID()); err != nil {
		t.Fatal(err)
	}
	if f.item(refs[0]).Domain != "example.net" {
		t.Fatal("the other message is not what it was")
	}
	f.verify(f.h, "after aborts")
}

func over(t *testing.T, d queue.Draft) {
	t.Helper()
	if _, err := d.Write([]byte("x")); err == nil {
		t.Fatal("write after the end succeeded")
	}
	if _, err := d.ReadAt(make([]byte, 1), 0); err == nil {
		t.Fatal("read after the end succeeded")
	}
}

func testCommitRefuses(t *testing.T, f *fixture) {
	d := f.begin(f.body(300 << 10))
	env := envelope("a@example.org", "b@example.net")
	env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: mail.Path{Local: "x", Domain: "a\x00b"}})
	if _, err := d.Commit(ctx, env, testHeader, dueAt(start)); err == nil || errors.Is(err, queue.ErrStorage) {
		t.Fatalf("commit of a domain with a NUL: %v", err)
	}
	f.verify(f.h, "after a refused commit")
}

func testEnvelope(t *testing.T, f *fixture) {
	env := mail.Envelope{
		ReversePath: mail.Path{Local: `"a b\"\\"`, Domain: "bücher.example"},
		MailParams: mail.MailParams{Size: 1 << 40, Body: mail.Body8BitMIME, SMTPUTF8: true, RequireTLS: true,
			Return: mail.ReturnHeaders, EnvID: "QQ314159",
			HoldUntil: start.Add(time.Hour), Priority: -9, By: mail.DeliverBy{Time: start.Add(2 * time.Hour), Return: true, Trace: true}},
		Recipients: []mail.Recipient{
			{ForwardPath: mail.Path{Local: "ü", Domain: "BÜCHER.example"},
				RcptParams: mail.RcptParams{Notify: mail.NotifySuccess | mail.NotifyDelay, OrcptType: "rfc822", Orcpt: "c@example.com",
					ValidSince: start.Add(-time.Hour), ValidSinceContinue: true},
				Original: mail.Path{Local: "c", Domain: "example.com"},
				Attrs:    mail.Attrs{"alias/via": []byte("list\x00\xff")}},
			{ForwardPath: mail.Path{Local: "d", Domain: "[IPv6:2001:db8::1]"}},
			{ForwardPath: mail.Path{Local: "postmaster"}},
			{ForwardPath: mail.Path{Local: "e", Domain: "xn--bcher-kva.example"}},
		},
		Client: mail.Client{Session: "17f", Listener: "mx", Remote: netip.MustParseAddrPort("[2001:db8::7%eth0]:25"),
			Local: netip.MustParseAddrPort("192.0.2.2:25"), PTR: "client.example", Helo: "[192.0.2.1]", ESMTP: true,
			TLS:  &mail.TLS{Version: 0x304, Cipher: "TLS_AES_128_GCM_SHA256", ServerName: "mx.example", Fingerprint: "00ff"},
			Auth: "user\x00name", AuthMech: "PLAIN", AuthUser: "user", Arrived: start},
		Attrs: mail.Attrs{"spf/result": []byte("pass"), "x/empty": {}},
	}
	opt := dueAt(start)
	opt.Held, opt.Reason, opt.Priority = true, "for\r\nreview", 9
	refs := f.commit(env, f.body(100), opt)
	if len(refs) != 3 {
		t.Fatalf("%d items, want bücher.example, the literal and the local one", len(refs))
	}
	hop := mail.NextHop{Transport: mail.TransportLMTP, Host: "127.0.0.1", Port: 24, TLS: mail.TLSVerify, Source: "192.0.2.3", Helo: "h",
		Pool: "ours", Credential: "smarthost"}
	result := mail.Result{Outcome: mail.Deferred, Relay: "mx[192.0.2.9]:25", RemoteMTA: "mx", Relayed: true,
		Reply: mail.Reply{Code: 450, Enhanced: mail.Enhanced{4, 2, 0}, Text: "later\nor never"}}
	f.settle(refs[0], func(it *queue.Item) {
		it.Recipients[0].Last, it.Recipients[0].Warned = result, true
		it.Attempts, it.Priority, it.Pinned, it.LastHop = 3, -5, &hop, "smtp:[2001:db8::9]:25"
		it.Due, it.Held, it.Reason = start.Add(time.Hour), false, "busy"
		it.History = []mail.Attempt{{At: start, Relay: "mx[192.0.2.9]:25", Result: result}}
	})
	f.verify(f.h, "with every field in use")
	if f.h.Reopen != nil {
		f.reopen()
		f.verify(f.h, "reopened")
	}
	// Times that no clock should show must not wrap round or be lost.
	for _, at := range []time.Time{{}, time.Unix(-1<<40, 0), time.UnixMilli(0)} {
		ref := f.commit(envelope("", "b@example.net"), nil, queue.CommitOptions{Due: at, Expire: start})[0]
		refs, _, _, err := f.store().Due(ctx, queue.Mark{}, start, 100)
		if err != nil || !slices.Contains(refs, ref) {
			t.Errorf("due at %v: not found at %v: %v", at, start, err)
		}
		f.remove(ref.ID)
	}
	ref := f.commit(envelope("", "b@example.net"), nil, queue.CommitOptions{Due: time.Unix(1<<60, 0)})[0]
	if refs, _, next, _ := f.store().Due(ctx, queue.Mark{}, start.Add(time.Minute), 100); slices.Contains(refs, ref) || next.Before(start) {
		t.Errorf("due in the far future is found now, next is %v", next)
	}
}

func testDue(t *testing.T, f *fixture) {
	refs, mark, next, err := f.store().Due(ctx, queue.Mark{}, start, 10)
	if len(refs) != 0 || mark != (queue.Mark{}) || !next.IsZero() || err != nil {
		t.Fatalf("empty store: %v %v %v %v", refs, mark, next, err)
	}
	late := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start.Add(2*time.Minute)))[0]
	soon := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start.Add(time.Minute)))[0]
	exact := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))[0]
	opt := dueAt(start)
	opt.Held = true
	f.commit(envelope("a@example.org", "x@example.net"), nil, opt)

	refs, _, next, err = f.store().Due(ctx, queue.Mark{}, start.Add(-time.Millisecond), 10)
	if len(refs) != 0 || !next.Equal(start) || err != nil {
		t.Errorf("before the first is due: %v next %v %v, want nothing and %v", refs, next, err, start)
	}
	refs, mark, next, err = f.store().Due(ctx, queue.Mark{}, start, 10)
	if !slices.Equal(refs, []queue.Ref{exact}) || !next.Equal(start.Add(time.Minute)) || err != nil {
		t.Errorf("when the first is due: %v next %v %v", refs, next, err)
	}
	refs, _, next, err = f.store().Due(ctx, mark, start.Add(time.Hour), 1)
	if !slices.Equal(refs, []queue.Ref{soon}) || !next.Equal(start.Add(2*time.Minute)) || err != nil {
		t.Errorf("with limit 1: %v next %v %v", refs, next, err)
	}
	refs, _, next, err = f.store().Due(ctx, queue.Mark{}, start.Add(time.Hour), 10)
	if !slices.Equal(refs, []queue.Ref{exact, soon, late}) || !next.IsZero() || err != nil {
		t.Errorf("all: %v next %v %v", refs, next, err)
	}
}

// testDueMark: a mark is exclusive, stays where it is without items, and does
// not need its item to exist.
func testDueMark(t *testing.T, f *fixture) {
	a := f.commit(envelope("a@example.org", "x@example.net", "y@example.com"), nil, dueAt(start))
	b := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))
	refs, mark, _, err := f.store().Due(ctx, queue.Mark{}, start, 2)
	if !slices.Equal(refs, a) || mark.Ref != a[1] || !mark.Due.Equal(start) || err != nil {
		t.Fatalf("first: %v mark %v %v", refs, mark, err)
	}
	f.remove(a[0].ID)
	refs, mark, _, err = f.store().Due(ctx, mark, start, 2)
	if !slices.Equal(refs, b) || err != nil {
		t.Fatalf("second: %v %v", refs, err)
	}
	refs, end, _, err := f.store().Due(ctx, mark, start, 2)
	if len(refs) != 0 || end != mark || err != nil {
		t.Fatalf("at the end: %v mark %v (was %v) %v", refs, end, mark, err)
	}
	// What becomes due later is found from the mark, what is due earlier is not:
	// it is handed over.
	f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start.Add(-time.Hour)))
	later := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start.Add(time.Hour)))
	refs, _, _, err = f.store().Due(ctx, mark, start.Add(time.Hour), 10)
	if !slices.Equal(refs, later) || err != nil {
		t.Fatalf("from the mark: %v %v", refs, err)
	}
}

func testSettle(t *testing.T, f *fixture) {
	refs := f.commit(envelope("a@example.org", "x@example.net", "y@example.net", "z@example.com"), f.body(300<<10), dueAt(start))
	before := f.item(refs[0]).Version
	f.settle(refs[0], func(it *queue.Item) {
		it.Recipients = it.Recipients[1:]
		it.Due, it.Attempts = start.Add(time.Hour), 1
	})
	if f.item(refs[0]).Version == before {
		t.Error("the version did not change")
	}
	f.verify(f.h, "one of two recipients delivered")
	f.settle(refs[0], func(it *queue.Item) { it.Held, it.Reason = true, "asked to" })
	f.verify(f.h, "held by the settlement")
	f.settle(refs[0], func(it *queue.Item) { it.Domain, it.Arrived = "example.invalid", start.Add(time.Hour); delivered(it) })
	f.verify(f.h, "one item gone")
	f.settle(refs[1], delivered)
	f.verify(f.h, "message gone")
	if _, err := f.store().Settle(ctx, queue.Settlement{Item: queue.Item{Ref: refs[1]}}); !errors.Is(err, queue.ErrGone) {
		t.Errorf("settling what is gone: %v", err)
	}
}

func testSettleConflict(t *testing.T, f *fixture) {
	ref := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))[0]
	stale := f.item(ref)
	f.update(ref, func(it *queue.Item) { it.Held = true })
	delivered(&stale)
	notice := queue.Notice{Envelope: envelope("", "a@example.org"), CommitOptions: dueAt(start)}
	if _, err := f.store().Settle(ctx, queue.Settlement{Item: stale, Notices: []queue.Notice{notice}}); !errors.Is(err, queue.ErrConflict) {
		t.Fatalf("settling a stale item: %v", err)
	}
	f.verify(f.h, "after a conflict")
}

func testSettleHistory(t *testing.T, f *fixture) {
	ref := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))[0]
	it := f.item(ref)
	for i := range queue.MaxHistory + 5 {
		it.History = append(it.History, mail.Attempt{At: start.Add(time.Duration(i) * time.Minute)})
	}
	if _, err := f.store().Settle(ctx, queue.Settlement{Item: it}); err != nil {
		t.Fatal(err)
	}
	h := f.item(ref).History
	if len(h) != queue.MaxHistory || !h[0].At.Equal(start.Add(5*time.Minute)) {
		t.Fatalf("history has %d attempts from %v", len(h), h[0].At)
	}
}

func testNotice(t *testing.T, f *fixture) {
	ref := f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))[0]
	held := queue.CommitOptions{Due: start, Expire: start.Add(time.Hour), Held: true, Reason: "review"}
	f.settle(ref, delivered,
		queue.Notice{Envelope: envelope("", "a@example.org"), Header: []byte("Subject: failed\r\n\r\n"), Body: f.body(600 << 10), CommitOptions: dueAt(start)},
		queue.Notice{Envelope: envelope("", "p@example.org", "q@example.com"), Header: []byte("\r\n"), CommitOptions: held})
	f.verify(f.h, "with notices")

	// A notice that cannot be stored leaves the item as it was.
	ref = f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))[0]
	it := f.item(ref)
	delivered(&it)
	if _, err := f.store().Settle(ctx, queue.Settlement{Item: it, Notices: []queue.Notice{{Envelope: envelope("")}}}); err == nil {
		t.Fatal("a notice without recipients was taken")
	}
	f.verify(f.h, "after a refused notice")
}

func testUpdate(t *testing.T, f *fixture) {
	refs := f.commit(envelope("a@example.org", "x@example.net", "y@example.com"), f.body(10), dueAt(start))
	f.update(refs[0], func(it *queue.Item) { it.Held, it.Reason = true, "hold" })
	f.verify(f.h, "held")
	f.update(refs[0], func(it *queue.Item) { it.Due, it.Reason = start.Add(time.Hour), "hold on" })
	f.verify(f.h, "still held")
	f.update(refs[0], func(it *queue.Item) { it.Held, it.Due = false, start.Add(2*time.Hour) })
	f.verify(f.h, "released")
	f.update(refs[0], func(it *queue.Item) {
		it.Pinned, it.Expire, it.Priority = &mail.NextHop{Transport: mail.TransportDiscard}, start.Add(9*time.Hour), 7
	})
	f.verify(f.h, "pinned")

	refused := errors.New("no")
	if err := f.store().Update(ctx, refs[0], func(it *queue.Item) error {
		it.Due, it.Pinned.Host = start, "changed"
		return refused
	}); !errors.Is(err, refused) {
		t.Fatalf("the error of change became %v", err)
	}
	f.verify(f.h, "refused")
	if err := f.store().Update(ctx, refs[0], func(it *queue.Item) error {
		it.Domain, it.Recipients, it.Attempts, it.Ref = "example.invalid", nil, 99, queue.Ref{ID: 1}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.verify(f.h, "what Update must not change")
	if err := f.store().Update(ctx, queue.Ref{ID: 7}, func(*queue.Item) error { return nil }); !errors.Is(err, queue.ErrGone) {
		t.Errorf("update of nothing: %v", err)
	}
}

func testRemove(t *testing.T, f *fixture) {
	keep := f.commit(envelope("a@example.org", "x@example.net"), f.body(300<<10), dueAt(start))
	opt := dueAt(start)
	opt.Held = true
	refs := f.commit(envelope("a@example.org", "x@example.net", "y@example.com"), f.body(600<<10), opt)
	f.update(refs[1], func(it *queue.Item) { it.Held = false })
	f.remove(refs[0].ID)
	f.verify(f.h, "removed")
	if err := f.store().Remove(ctx, refs[0].ID); !errors.Is(err, queue.ErrGone) {
		t.Errorf("removing twice: %v", err)
	}
	f.remove(keep[0].ID)
	f.verify(f.h, "all removed")
}

func testGone(t *testing.T, f *fixture) {
	for _, id := range []mail.ID{0, 1, 1<<64 - 1} {
		_, err1 := f.store().Item(ctx, queue.Ref{ID: id})
		_, err2 := f.store().Message(ctx, id)
		_, err3 := f.store().Body(ctx, id)
		err4 := f.store().Remove(ctx, id)
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, queue.ErrGone) {
				t.Errorf("id %d: %v, want ErrGone", id, err)
			}
		}
		if err := sameList(f.store(), queue.Filter{ID: id, After: queue.Ref{ID: 1<<64 - 1, Item: 1<<32 - 1}}, nil); err != nil {
			t.Error(err)
		}
	}
}

// testHeldDomains: of one message some items are held from the beginning.
func testHeldDomains(t *testing.T, f *fixture) {
	opt := dueAt(start)
	opt.HeldDomains = map[string]string{"example.com": "rule 1", "example.info": "of no recipient"}
	refs := f.commit(envelope("a@example.org", "x@example.net", "y@Example.COM"), f.body(10), opt)
	due, _, _, err := f.store().Due(ctx, queue.Mark{}, start, 10)
	if err != nil || !slices.Equal(due, refs[:1]) {
		t.Errorf("due is %v (%v), want the item that is not held", due, err)
	}
	f.verify(f.h, "one of two items held")
	f.update(refs[1], func(it *queue.Item) { it.Held, it.Reason = false, "" })
	f.verify(f.h, "released")
}

// testListBy: the filters that are compared with item after item.
func testListBy(t *testing.T, f *fixture) {
	later := start.Add(time.Hour)
	env := envelope("ann@news.example.org", "x@example.net", "Y@example.net", "z@example.com")
	env.Client.Arrived, env.Client.Listener, env.Client.Remote = start, "mx", netip.MustParseAddrPort("[::ffff:192.0.2.7]:25")
	env.Attrs = mail.Attrs{"spam/score": []byte("9")}
	env.Recipients[2].Attrs = mail.Attrs{"list/of": {}}
	a := f.commit(env, nil, dueAt(start))
	env = envelope("", "x@example.net")
	env.Client.Arrived, env.Client.Listener, env.Client.Remote = later, "submission", netip.MustParseAddrPort("[2001:db8::1%lo]:25")
	env.Attrs = mail.Attrs{"spam/score": []byte("10")}
	b := f.commit(env, nil, dueAt(later))
	f.settle(a[0], func(it *queue.Item) {
		it.Attempts, it.LastHop, it.Reason = 2, "smtp:192.0.2.1:25", "450 later"
		it.Recipients[1].Last.Reply = mail.Reply{Code: 450, Text: "Mailbox Busy"}
	})
	f.settle(a[1], func(it *queue.Item) {
		it.LastHop, it.Pinned = "smtp:192.0.2.1:25", &mail.NextHop{Transport: mail.TransportMX, Host: "example.info"}
	})
	all := []queue.Ref{a[0], a[1], b[0]}
	for _, x := range []struct {
		name   string
		filter queue.Filter
		want   []queue.Ref
	}{
		{"sender's domain", queue.Filter{SenderDomain: "news.example.org"}, a},
		{"sender's domain is exact", queue.Filter{SenderDomain: "example.org"}, nil},
		{"recipient, local part exact", queue.Filter{Recipient: "Y@EXAMPLE.net"}, a[:1]},
		{"recipient, local part differs", queue.Filter{Recipient: "y@example.net"}, nil},
		{"recipient and domain", queue.Filter{Recipient: "x@example.net", Domain: "example.net"}, []queue.Ref{a[0], b[0]}},
		{"last hop", queue.Filter{NextHop: "smtp:192.0.2.1:25"}, a[:1]},
		{"pinned hop", queue.Filter{NextHop: "mx:example.info"}, a[1:]},
		{"before", queue.Filter{Before: later}, a},
		{"since", queue.Filter{Since: later}, b},
		{"attempts", queue.Filter{MinAttempts: 2}, a[:1]},
		{"reason", queue.Filter{Reason: "450 LATER"}, a[:1]},
		{"a recipient's reply", queue.Filter{Reason: "mailbox busy"}, a[:1]},
		{"mark of the message", queue.Filter{Mark: "spam/score"}, all},
		{"mark with a value", queue.Filter{Mark: "spam/score", MarkValue: "9", MarkEquals: true}, a},
		{"mark of a recipient, empty", queue.Filter{Mark: "list/of", MarkEquals: true}, a[1:]},
		{"no such mark", queue.Filter{Mark: "spam"}, nil},
		{"listener", queue.Filter{Listener: "submission"}, b},
		{"client", queue.Filter{Client: netip.MustParsePrefix("192.0.2.0/24")}, a},
		{"client with a zone", queue.Filter{Client: netip.MustParsePrefix("2001:db8::/32")}, b},
		{"several", queue.Filter{Mark: "spam/score", Domain: "example.net", Before: later}, a[:1]},
	} {
		f.lists(x.name, x.filter, x.want)
	}
}

func testList(t *testing.T, f *fixture) {
	yes, no := true, false
	opt := dueAt(start)
	a := f.commit(envelope("Ann@Example.org", "x@example.net", "y@example.com"), nil, opt)
	opt.Held = true
	b := f.commit(envelope("", "x@example.net"), nil, opt)
	c := f.commit(envelope("ann@example.org", "x@example.net.example.com", "x@EXAMPLE.com"), nil, opt)
	for _, x := range []struct {
		name   string
		filter queue.Filter
		want   []queue.Ref
	}{
		{"all", queue.Filter{}, []queue.Ref{a[0], a[1], b[0], c[0], c[1]}},
		{"id", queue.Filter{ID: a[0].ID}, a},
		{"domain", queue.Filter{Domain: "example.com"}, []queue.Ref{a[1], c[1]}},
		{"a longer domain is another", queue.Filter{Domain: "example.net"}, []queue.Ref{a[0], b[0]}},
		{"id and domain", queue.Filter{ID: c[0].ID, Domain: "example.com"}, c[1:]},
		{"held", queue.Filter{Held: &yes}, []queue.Ref{b[0], c[0], c[1]}},
		{"not held", queue.Filter{Held: &no}, a},
		{"null sender", queue.Filter{Sender: "<>"}, b},
		{"sender: domain in any case, local part exact", queue.Filter{Sender: "Ann@example.ORG"}, a},
		{"sender in brackets", queue.Filter{Sender: "<ann@example.org>"}, c},
		{"held, domain and sender", queue.Filter{Held: &yes, Domain: "example.com", Sender: "ann@example.org"}, c[1:]},
		{"after", queue.Filter{After: b[0]}, c},
		{"after, by domain", queue.Filter{After: b[0], Domain: "example.com"}, c[1:]},
		{"after, by id", queue.Filter{After: a[0], ID: a[0].ID}, a[1:]},
		{"after is beyond the id", queue.Filter{After: b[0], ID: a[0].ID}, nil},
		{"after is before the id", queue.Filter{After: a[0], ID: b[0].ID}, b},
		{"no such domain", queue.Filter{Domain: "example"}, nil},
	} {
		f.lists(x.name, x.filter, x.want)
	}
}

// lists checks which items a filter selects.
func (f *fixture) lists(name string, filter queue.Filter, want []queue.Ref) {
	f.t.Helper()
	var got []queue.Ref
	if err := f.store().List(ctx, filter, func(it queue.Item, err error) bool {
		if err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
		got = append(got, it.Ref)
		return true
	}); err != nil || !slices.Equal(got, want) {
		f.t.Errorf("%s: %v, want %v (%v)", name, got, want, err)
	}
}

func testListPaging(t *testing.T, f *fixture) {
	var all []queue.Ref
	for i := range 300 {
		all = append(all, f.commit(envelope("a@example.org", fmt.Sprintf("x@d%d.example", i%3), "y@example.com"), nil, dueAt(start))...)
	}
	var got []queue.Ref
	filter := queue.Filter{}
	for {
		n := 0
		if err := f.store().List(ctx, filter, func(it queue.Item, err error) bool {
			got = append(got, it.Ref)
			n++
			return n < 47
		}); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		filter.After = got[len(got)-1]
	}
	if !slices.Equal(got, all) {
		t.Fatalf("%d items in pages, want %d, or in another order", len(got), len(all))
	}
	got = nil
	if err := f.store().List(ctx, queue.Filter{Domain: "d1.example"}, func(it queue.Item, err error) bool {
		got = append(got, it.Ref)
		return true
	}); err != nil || len(got) != 100 {
		t.Fatalf("%d items of one domain, want 100 (%v)", len(got), err)
	}
}

// testListCallback: the callback may change what it is shown.
func testListCallback(t *testing.T, f *fixture) {
	for range 200 {
		f.commit(envelope("a@example.org", "x@example.net"), nil, dueAt(start))
	}
	if err := f.store().List(ctx, queue.Filter{}, func(it queue.Item, err error) bool {
		f.remove(it.ID)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	f.verify(f.h, "all removed from within List")
}

func testBodyWhileRemoved(t *testing.T, f *fixture) {
	ref := f.commit(envelope("a@example.org", "x@example.net"), f.body(700<<10), dueAt(start))[0]
	b, err := f.store().Body(ctx, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	f.remove(ref.ID)
	if _, err := io.Copy(io.Discard, b); !errors.Is(err, queue.ErrGone) {
		t.Errorf("the rest of a removed body: %v, want ErrGone", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func testIDs(t *testing.T, f *fixture) {
	var last mail.ID
	next := func(when string) {
		t.Helper()
		d, err := f.store().Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		d.Abort()
		if d.ID() <= last {
			t.Fatalf("%s: id %s after %s", when, d.ID(), last)
		}
		last = d.ID()
	}
	for range 1000 {
		next("in a row")
	}
	if f.h.Reopen != nil {
		for range 3 {
			f.reopen()
			next("reopened")
		}
	}
	if f.h.Crash != nil {
		c := f.h.Crash(t, 0)
		defer c.Close(t)
		f.h, c = c, f.h
		next("after a crash that kept nothing of the aborted drafts")
		f.h = c
	}
}

func testReopen(t *testing.T, f *fixture) {
	if f.h.Reopen == nil {
		t.Skip("cannot reopen")
	}
	refs := f.commit(envelope("a@example.org", "x@example.net", "y@example.com"), f.body(600<<10), dueAt(start))
	f.commit(envelope("", "x@example.net"), f.body(5), queue.CommitOptions{Due: start, Held: true})
	f.reopen()
	f.verify(f.h, "reopened")
	f.settle(refs[0], delivered)
	f.reopen()
	f.verify(f.h, "settled and reopened")
	f.settle(refs[1], delivered)
	f.reopen()
	f.verify(f.h, "gone and reopened")
	f.reopen()
	f.verify(f.h, "reopened without a change")
}

func testOpenDraftAtClose(t *testing.T, f *fixture) {
	if f.h.Reopen == nil {
		t.Skip("cannot reopen")
	}
	a, b := f.begin(f.body(600<<10)), f.begin(f.body(600<<10))
	f.reopen()
	a.Abort()
	if _, err := b.Commit(ctx, envelope("a@example.org", "x@example.net"), nil, dueAt(start)); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("commit of a draft of before: %v, want ErrStorage", err)
	}
	f.verify(f.h, "reopened with open drafts")
	f.reopen()
	f.verify(f.h, "reopened again")
}

func testClosed(t *testing.T, f *fixture) {
	ref := f.commit(envelope("a@example.org", "x@example.net"), f.body(600<<10), dueAt(start))[0]
	b, err := f.store().Body(ctx, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	d := f.begin(f.body(10))
	if err := f.store().Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"begin":      second(f.store().Begin(ctx)),
		"item":       second(f.store().Item(ctx, ref)),
		"message":    second(f.store().Message(ctx, ref.ID)),
		"body":       second(f.store().Body(ctx, ref.ID)),
		"settle":     second(f.store().Settle(ctx, queue.Settlement{Item: queue.Item{Ref: ref}})),
		"update":     f.store().Update(ctx, ref, func(*queue.Item) error { return nil }),
		"remove":     f.store().Remove(ctx, ref.ID),
		"list":       f.store().List(ctx, queue.Filter{}, func(queue.Item, error) bool { return true }),
		"write":      second(d.Write([]byte("x"))),
		"draft read": second(d.ReadAt(make([]byte, 1), 0)),
		"body read":  second(b.Read(make([]byte, 1))),
		"commit":     second(d.Commit(ctx, envelope("", "x@example.net"), nil, dueAt(start))),
	} {
		if !errors.Is(err, queue.ErrStorage) {
			t.Errorf("%s after close: %v, want ErrStorage", name, err)
		}
	}
	d.Abort()
	if err := f.store().Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// testDamage: what is damaged is reported, by name and never as data, can be
// removed, and does not get in the way of the rest.
func testDamage(t *testing.T, f *fixture) {
	if f.h.Damage == nil {
		t.Skip("cannot damage")
	}
	size := 600 << 10
	env := envelope("a@example.org", "x@example.net")
	f.commit(env, f.body(size), dueAt(start))
	for _, part := range []Part{PartMessage, PartItem, PartBody, PartBodyOrder} {
		ref := f.commit(env, f.body(size), dueAt(start))[0]
		f.h.Damage(t, ref.ID, part)
		_, item := f.store().Item(ctx, ref)
		_, message := f.store().Message(ctx, ref.ID)
		got, body := readBody(f.store(), ref.ID)
		want := map[Part][3]bool{PartMessage: {false, true, true}, PartItem: {true}, PartBody: {2: true}, PartBodyOrder: {2: true}}[part]
		for i, err := range []error{item, message, body} {
			if want[i] != errors.Is(err, queue.ErrCorrupt) || !want[i] && err != nil {
				t.Errorf("part %d damaged: read %d: %v", part, i, err)
			}
			if want[i] && !bytes.Contains([]byte(fmt.Sprint(err)), []byte(ref.ID.String())) {
				t.Errorf("part %d damaged: the error does not name %s: %v", part, ref.ID, err)
			}
		}
		if want[2] && !bytes.Equal(got, f.model[ref.ID].body[:len(got)]) {
			t.Errorf("part %d damaged: damaged octets were handed out", part)
		}
		for _, filter := range []queue.Filter{{}, {Domain: "example.net"}, {Sender: "a@example.org"}} {
			var bad, good int
			if err := f.store().List(ctx, filter, func(it queue.Item, err error) bool {
				switch {
				case err == nil:
					good++
				case it.Ref == ref && it.Domain == "" && errors.Is(err, queue.ErrCorrupt):
					bad++
				default:
					t.Errorf("part %d damaged: list: %v: %v", part, it, err)
				}
				return true
			}); err != nil {
				t.Error(err)
			}
			if n := bad + good; n != 2 || bad == 1 != (part == PartItem || part == PartMessage && filter.Sender != "") {
				t.Errorf("part %d damaged: list %+v: %d good, %d bad", part, filter, good, bad)
			}
		}
		if part == PartItem {
			if err := f.store().Update(ctx, ref, func(it *queue.Item) error { it.Held = true; return nil }); !errors.Is(err, queue.ErrCorrupt) {
				t.Errorf("holding a damaged item: %v", err)
			}
		} else {
			f.update(ref, func(it *queue.Item) { it.Held = true })
		}
		f.remove(ref.ID)
		f.verify(f.h, "damaged message removed")
	}
	// The last settlement takes a damaged message away too.
	for _, part := range []Part{PartMessage, PartBody} {
		ref := f.commit(env, f.body(size), dueAt(start))[0]
		f.h.Damage(t, ref.ID, part)
		f.settle(ref, delivered)
		f.verify(f.h, "damaged message settled")
	}
}

func testFull(t *testing.T, f *fixture) {
	if f.h.Fill == nil {
		t.Skip("cannot fill")
	}
	ref := f.commit(envelope("a@example.org", "x@example.net"), f.body(600<<10), dueAt(start))[0]
	d := f.begin(f.body(10))
	f.h.Fill(t, true)
	if _, err := f.store().Begin(ctx); !errors.Is(err, queue.ErrStorage) {
		t.Fatalf("begin on a full disk: %v", err)
	}
	if _, err := d.Write(f.body(600 << 10)); !errors.Is(err, queue.ErrStorage) {
		t.Fatalf("write on a full disk: %v", err)
	}
	d.Abort()
	f.settle(ref, delivered, queue.Notice{Envelope: envelope("", "a@example.org"), CommitOptions: dueAt(start)})
	f.verify(f.h, "settled on a full disk")
	f.h.Fill(t, false)
	f.commit(envelope("a@example.org", "x@example.net"), f.body(600<<10), dueAt(start))
	f.verify(f.h, "there is room again")
}

// testConcurrent: many at once, on shared messages; each item is settled by
// exactly one of those who try.
func testConcurrent(t *testing.T, f *fixture) {
	const workers, messages = 8, 12
	env := envelope("a@example.org", "x@a.example", "x@b.example", "x@c.example", "x@d.example")
	var mu sync.Mutex
	settled := make(map[queue.Ref]int)
	var shared []queue.Ref
	for range messages {
		shared = append(shared, f.commit(env, nil, dueAt(start))...)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range messages {
				body := bytes.Repeat([]byte{byte(w)}, 100_000*(i%3))
				d, err := f.store().Begin(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := d.Write(body); err != nil {
					t.Error(err)
				}
				refs, err := d.Commit(ctx, env, testHeader, dueAt(start))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				f.learn(refs, env, testHeader, body, dueAt(start))
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for _, ref := range shared {
				it, err := f.store().Item(ctx, ref)
				if err == nil {
					delivered(&it)
					_, err = f.store().Settle(ctx, queue.Settlement{Item: it})
				}
				if err == nil {
					mu.Lock()
					settled[ref]++
					mu.Unlock()
				} else if !errors.Is(err, queue.ErrGone) && !errors.Is(err, queue.ErrConflict) {
					t.Errorf("settle %v: %v", ref, err)
				}
				if _, _, _, err := f.store().Due(ctx, queue.Mark{}, start, 10); err != nil {
					t.Error(err)
				}
				if w%2 == 0 {
					if err := f.store().Update(ctx, ref, func(it *queue.Item) error { it.Priority++; return nil }); err != nil && !errors.Is(err, queue.ErrGone) {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, ref := range shared {
		switch settled[ref] {
		case 0: // an Update came between for everyone
			f.settle(ref, delivered)
		case 1:
			f.forget(ref)
		default:
			t.Errorf("item %v was settled %d times", ref, settled[ref])
		}
	}
	f.verify(f.h, "after all workers")
}
