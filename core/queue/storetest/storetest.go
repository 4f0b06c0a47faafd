// Package storetest is the conformance suite of [queue.Store]: what every
// implementation promises, as tests. An implementation calls [Run], and
// [RunCrash] if it can show what a power failure would leave of it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// Part is a stored part of a message.
type Part int

// The parts that Harness.Damage can be asked for.
const (
	PartMessage   Part = iota // envelope and header
	PartItem                  // item 0
	PartBody                  // an octet of the body
	PartBodyOrder             // two full-sized pieces of the body change places
)

// TB is what the suite needs of a test.
type TB interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Harness is a store under test with what the test can do to it. A function
// that is nil skips the tests that need it.
type Harness struct {
	Store queue.Store
	// Reopen closes Store and sets it to one opened on the same data.
	Reopen func(t TB)
	// Crash opens what would be left of Store if the power failed now and each
	// block that is not synced were kept with a chance of unsynced percent.
	// Store goes on as if nothing had happened. No call is in progress.
	Crash func(t TB, unsynced int) *Harness
	// Recovered waits until the store has finished what it does after opening.
	Recovered func(t TB)
	// Stray lists what is stored for the ids that are not in live.
	Stray func(t TB, live map[mail.ID]bool) []string
	// Damage alters a part of a message where it is stored.
	Damage func(t TB, id mail.ID, part Part)
	// Fill makes the storage full, or no longer so.
	Fill func(t TB, full bool)
}

// Close closes the store at the end of a test.
func (h *Harness) Close(t TB) {
	if err := h.Store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// Run tests everything but crashes. open returns a new, empty store each time;
// the suite closes it.
func Run(t *testing.T, open func(t testing.TB) *Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"Draft", testDraft},
		{"DraftOver", testDraftOver},
		{"CommitRefuses", testCommitRefuses},
		{"Envelope", testEnvelope},
		{"Due", testDue},
		{"DueMark", testDueMark},
		{"Settle", testSettle},
		{"SettleConflict", testSettleConflict},
		{"SettleHistory", testSettleHistory},
		{"Notice", testNotice},
		{"Update", testUpdate},
		{"Remove", testRemove},
		{"Gone", testGone},
		{"List", testList},
		{"ListBy", testListBy},
		{"HeldDomains", testHeldDomains},
		{"ListPaging", testListPaging},
		{"ListCallback", testListCallback},
		{"BodyWhileRemoved", testBodyWhileRemoved},
		{"IDs", testIDs},
		{"Reopen", testReopen},
		{"OpenDraftAtClose", testOpenDraftAtClose},
		{"Closed", testClosed},
		{"Damage", testDamage},
		{"Full", testFull},
		{"Concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, open(t))
			defer f.h.Close(t)
			c.test(t, f)
		})
	}
	t.Run("Random", func(t *testing.T) { testRandom(t, open, false) })
}

// start is the due time that the tests begin with.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

var ctx = context.Background()

// known is what the test knows to be in the store.
type known struct {
	env    mail.Envelope // without recipients
	header []byte
	body   []byte
	items  map[uint32]queue.Item
}

// fixture is a store with a model of what must be in it.
type fixture struct {
	t     TB
	h     *Harness
	model map[mail.ID]*known
	gone  []queue.Ref
	open  map[mail.ID]bool // drafts; their chunks are not stray
	rng   *rand.ChaCha8
	check func(when string) // after each transition; nil: nothing
}

func newFixture(t TB, h *Harness) *fixture {
	return &fixture{t: t, h: h, model: make(map[mail.ID]*known), rng: rand.NewChaCha8([32]byte{1})}
}

func (f *fixture) store() queue.Store { return f.h.Store }

func (f *fixture) after(when string) {
	if f.check != nil {
		f.check(when)
	}
}

// body returns n octets of any value.
func (f *fixture) body(n int) []byte {
	b := make([]byte, n)
	_, _ = f.rng.Read(b) // never fails
	return b
}

func rcpt(address string) mail.Recipient {
	local, domain, _ := strings.Cut(address, "@")
	return mail.Recipient{ForwardPath: mail.Path{Local: local, Domain: domain}}
}

func envelope(sender string, to ...string) mail.Envelope {
	env := mail.Envelope{Client: mail.Client{
		Session: "s1", Listener: "mx", Helo: "client.example", ESMTP: true,
		Remote: netip.MustParseAddrPort("192.0.2.1:4711"), Arrived: start.Add(-time.Second),
	}}
	if sender != "" {
		env.ReversePath = rcpt(sender).ForwardPath
	}
	for _, a := range to {
		env.Recipients = append(env.Recipients, rcpt(a))
	}
	return env
}

var testHeader = []byte("From: a@example.org\r\nSubject: test\r\n\r\n")

func dueAt(t time.Time) queue.CommitOptions {
	return queue.CommitOptions{Due: t, Expire: t.Add(5 * 24 * time.Hour)}
}

// begin starts a draft with a body, written in pieces of odd size.
func (f *fixture) begin(body []byte) queue.Draft {
	f.t.Helper()
	d, err := f.store().Begin(ctx)
	if err != nil {
		f.t.Fatalf("begin: %v", err)
	}
	write(f.t, d, body)
	return d
}

func write(t TB, d queue.Draft, body []byte) {
	t.Helper()
	for piece := 1; len(body) > 0; piece = piece*3 + 1 {
		n := min(piece, len(body))
		p := bytes.Clone(body[:n])
		if m, err := d.Write(p); m != n || err != nil {
			t.Fatalf("write of %d octets: %d, %v", n, m, err)
		}
		clear(p) // the draft must keep nothing of it
		body = body[n:]
	}
}

// commit brings a message in and into the model.
func (f *fixture) commit(env mail.Envelope, body []byte, opt queue.CommitOptions) []queue.Ref {
	f.t.Helper()
	d := f.begin(body)
	refs, err := d.Commit(ctx, env, testHeader, opt)
	if err != nil {
		f.t.Fatalf("commit: %v", err)
	}
	if len(refs) > 0 && refs[0].ID != d.ID() {
		f.t.Fatalf("commit returned items of %s, the draft was %s", refs[0].ID, d.ID())
	}
	f.learn(refs, env, testHeader, body, opt)
	f.after("commit")
	return refs
}

// learn puts a message that was committed into the model.
func (f *fixture) learn(refs []queue.Ref, env mail.Envelope, header, body []byte, opt queue.CommitOptions) {
	f.t.Helper()
	domains, groups := queue.Group(env.Recipients)
	if len(refs) != len(domains) {
		f.t.Fatalf("%d items for %d domains", len(refs), len(domains))
	}
	k := &known{env: env, header: header, body: body, items: make(map[uint32]queue.Item)}
	k.env.Recipients = nil
	for i, ref := range refs {
		held, reason := opt.Held, opt.Reason
		if why, ok := opt.HeldDomains[domains[i]]; ok && !held {
			held, reason = true, why
		}
		k.items[ref.Item] = queue.Item{Ref: ref, Domain: domains[i], Recipients: groups[i], Priority: opt.Priority,
			Due: opt.Due, Expire: opt.Expire, Arrived: env.Client.Arrived, Held: held, Reason: reason}
	}
	f.model[refs[0].ID] = k
}

func (f *fixture) item(ref queue.Ref) queue.Item {
	f.t.Helper()
	it, err := f.store().Item(ctx, ref)
	if err != nil {
		f.t.Fatalf("item %v: %v", ref, err)
	}
	return it
}

// settle records an attempt as change makes it and updates the model.
func (f *fixture) settle(ref queue.Ref, change func(*queue.Item), notices ...queue.Notice) []queue.Ref {
	f.t.Helper()
	it := f.item(ref)
	change(&it)
	refs, err := f.store().Settle(ctx, queue.Settlement{Item: it, Notices: notices})
	if err != nil {
		f.t.Fatalf("settle %v: %v", ref, err)
	}
	if len(it.Recipients) == 0 {
		f.forget(ref)
	} else {
		f.model[ref.ID].items[ref.Item] = it
	}
	for _, n := range notices {
		domains, _ := queue.Group(n.Envelope.Recipients)
		f.learn(refs[:len(domains)], n.Envelope, n.Header, n.Body, n.CommitOptions)
		refs = refs[len(domains):]
	}
	f.after("settle")
	return refs
}

func delivered(it *queue.Item) { it.Recipients = nil }

func (f *fixture) forget(ref queue.Ref) {
	k := f.model[ref.ID]
	delete(k.items, ref.Item)
	f.gone = append(f.gone, ref)
	if len(k.items) == 0 {
		delete(f.model, ref.ID)
	}
}

func (f *fixture) update(ref queue.Ref, change func(*queue.Item)) {
	f.t.Helper()
	err := f.store().Update(ctx, ref, func(it *queue.Item) error { change(it); return nil })
	if err != nil {
		f.t.Fatalf("update %v: %v", ref, err)
	}
	it := f.model[ref.ID].items[ref.Item]
	change(&it)
	f.model[ref.ID].items[ref.Item] = it
	f.after("update")
}

func (f *fixture) remove(id mail.ID) {
	f.t.Helper()
	if err := f.store().Remove(ctx, id); err != nil {
		f.t.Fatalf("remove %s: %v", id, err)
	}
	for item := range f.model[id].items {
		f.gone = append(f.gone, queue.Ref{ID: id, Item: item})
	}
	delete(f.model, id)
	f.after("remove")
}

func (f *fixture) reopen() {
	f.t.Helper()
	f.h.Reopen(f.t)
	f.after("reopen")
}

// sameTime compares to the millisecond.
var sameTime = cmp.Comparer(func(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && a.UnixMilli() == b.UnixMilli()
})

var same = cmp.Options{
	sameTime, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(queue.Item{}, "Version"),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func compareRefs(a, b queue.Ref) int {
	if a.ID != b.ID {
		if a.ID < b.ID {
			return -1
		}
		return 1
	}
	return int(a.Item) - int(b.Item)
}

// items are all items of the model by id.
func (f *fixture) items() (all []queue.Item) {
	for _, k := range f.model {
		for _, it := range k.items {
			all = append(all, it)
		}
	}
	slices.SortFunc(all, func(a, b queue.Item) int { return compareRefs(a.Ref, b.Ref) })
	return all
}

// verify compares all of a store with the model, through every way to read it.
func (f *fixture) verify(h *Harness, when string) {
	f.t.Helper()
	if err := f.differs(h); err != nil {
		f.t.Fatalf("%s: %v", when, err)
	}
}

func (f *fixture) differs(h *Harness) error {
	s := h.Store
	all := f.items()
	var counts queue.Counts
	counts.Messages, counts.Items = int64(len(f.model)), int64(len(all))
	live := make(map[mail.ID]bool)
	if h == f.h {
		maps.Copy(live, f.open)
	}
	for id, k := range f.model {
		live[id] = true
		if err := sameMessage(s, id, k); err != nil {
			return err
		}
	}
	for _, want := range all {
		got, err := s.Item(ctx, want.Ref)
		if err != nil {
			return fmt.Errorf("item %v: %w", want.Ref, err)
		}
		if d := cmp.Diff(want, got, same); d != "" {
			return fmt.Errorf("item %v (-want +got):\n%s", want.Ref, d)
		}
		if want.Held {
			counts.Held++
		}
	}
	for _, ref := range f.gone {
		if _, err := s.Item(ctx, ref); !errors.Is(err, queue.ErrGone) {
			return fmt.Errorf("item %v should be gone: %v", ref, err)
		}
		if live[ref.ID] {
			continue
		}
		if _, err := s.Message(ctx, ref.ID); !errors.Is(err, queue.ErrGone) {
			return fmt.Errorf("message %s should be gone: %w", ref.ID, err)
		}
		if _, err := s.Body(ctx, ref.ID); !errors.Is(err, queue.ErrGone) {
			return fmt.Errorf("body %s should be gone: %w", ref.ID, err)
		}
	}
	if err := sameList(s, queue.Filter{}, all); err != nil {
		return err
	}
	byDomain := make(map[string][]queue.Item)
	for _, it := range all {
		byDomain[it.Domain] = append(byDomain[it.Domain], it)
	}
	delete(byDomain, "") // <postmaster>; an empty filter selects all
	for domain, want := range byDomain {
		if err := sameList(s, queue.Filter{Domain: domain}, want); err != nil {
			return err
		}
	}
	if err := sameDue(s, all); err != nil {
		return err
	}
	if h.Recovered != nil {
		h.Recovered(f.t)
	}
	if got := s.Counts(); got != counts {
		return fmt.Errorf("counts are %+v, should be %+v", got, counts)
	}
	if h.Stray != nil {
		if stray := h.Stray(f.t, live); len(stray) > 0 {
			return fmt.Errorf("stored for no message: %q", stray)
		}
	}
	return nil
}

func sameMessage(s queue.Store, id mail.ID, k *known) error {
	m, err := s.Message(ctx, id)
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	want := queue.Message{ID: id, Envelope: k.env, Header: k.header, BodySize: int64(len(k.body)), Arrived: k.env.Client.Arrived}
	if d := cmp.Diff(want, m, same); d != "" {
		return fmt.Errorf("message %s (-want +got):\n%s", id, d)
	}
	got, err := readBody(s, id)
	if err != nil {
		return fmt.Errorf("body of %s: %w", id, err)
	}
	if !bytes.Equal(got, k.body) {
		return fmt.Errorf("body of %s: %d octets differ from the %d written", id, len(got), len(k.body))
	}
	return nil
}

func readBody(s queue.Store, id mail.ID) ([]byte, error) {
	b, err := s.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(b)
	if int64(len(got)) != b.Size() && err == nil {
		err = fmt.Errorf("read %d of %d octets", len(got), b.Size())
	}
	return got, errors.Join(err, b.Close())
}

func sameList(s queue.Store, filter queue.Filter, want []queue.Item) error {
	var got []queue.Item
	var bad error
	if err := s.List(ctx, filter, func(it queue.Item, err error) bool {
		bad = errors.Join(bad, err)
		got = append(got, it)
		return true
	}); err != nil || bad != nil {
		return fmt.Errorf("list %+v: %w", filter, errors.Join(err, bad))
	}
	if d := cmp.Diff(want, got, same); d != "" {
		return fmt.Errorf("list %+v (-want +got):\n%s", filter, d)
	}
	return nil
}

// sameDue walks the due index in small steps.
func sameDue(s queue.Store, all []queue.Item) error {
	var want []queue.Ref
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b queue.Item) int {
		return int(max(a.Due.UnixMilli(), 0) - max(b.Due.UnixMilli(), 0))
	})
	for _, it := range all {
		if !it.Held {
			want = append(want, it.Ref)
		}
	}
	var got []queue.Ref
	var mark queue.Mark
	for {
		refs, m, next, err := s.Due(ctx, mark, start.Add(1000*time.Hour), 7)
		if err != nil {
			return fmt.Errorf("due: %w", err)
		}
		got, mark = append(got, refs...), m
		if next.IsZero() != (len(got) >= len(want)) {
			return fmt.Errorf("due: next is %v after %d of %d items", next, len(got), len(want))
		}
		if len(refs) == 0 || next.IsZero() {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("due (-want +got):\n%s", d)
	}
	return nil
}
