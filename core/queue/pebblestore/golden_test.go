package pebblestore

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

var update = flag.Bool("update", false, "write testdata/life.golden anew")

// TestGoldenLife writes down every key and value in the life of one message. A
// change of it is a change of the format on disk: raise schemaVersion or
// valueVersion, and see that the old one can still be read.
func TestGoldenLife(t *testing.T) {
	s, err := Open(testOptions(vfs.NewMem(), small))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-s.Recovered()
	arrived := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.ids.last = mail.FirstID(time.Date(2155, 1, 1, 0, 0, 0, 0, time.UTC)) // ahead of the clock: ids are counted
	var out bytes.Buffer
	step := func(name string) {
		fmt.Fprintf(&out, "# %s\n", name)
		for _, p := range dump(t, s) {
			if len(p.value) > 400 {
				fmt.Fprintf(&out, "%c %x  %d octets, %x ... %x\n", p.key[0], p.key[1:], len(p.value), p.value[:8], p.value[len(p.value)-8:])
			} else {
				fmt.Fprintf(&out, "%c %x  %x\n", p.key[0], p.key[1:], p.value)
			}
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.Begin(ctx)
	check(err)
	_, err = d.Write(bytes.Repeat([]byte("0123456789abcde\n"), 20_000))
	check(err)
	step("draft of 320,000 octets")
	env := testEnvelope()
	env.Client.Arrived = arrived
	env.Attrs = mail.Attrs{"tag/b": []byte("2"), "tag/a": []byte("1")}
	env.Recipients = append(env.Recipients, mail.Recipient{ForwardPath: mail.Path{Local: "c", Domain: "Example.COM"}})
	refs, err := d.Commit(ctx, env, []byte("Subject: x\r\n\r\n"), queue.CommitOptions{Due: arrived, Expire: arrived.Add(120 * time.Hour)})
	check(err)
	step("committed")
	it, err := s.Item(ctx, refs[0])
	check(err)
	it.Due, it.Attempts = arrived.Add(5*time.Minute), 1
	last := mail.Result{Reply: mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 3, 0}, Text: "later"}, RemoteMTA: "mx", Relay: "mx[192.0.2.1]:25"}
	it.Recipients[0].Last = last
	it.History = []mail.Attempt{{At: arrived, Relay: last.Relay, Result: last}}
	_, err = s.Settle(ctx, queue.Settlement{Item: it})
	check(err)
	step("item 0 deferred")
	check(s.Update(ctx, refs[1], func(it *queue.Item) error {
		it.Held, it.Reason, it.Pinned = true, "review", &mail.NextHop{Transport: mail.TransportSMTP, Host: "relay.example"}
		return nil
	}))
	step("item 1 held and rerouted")
	it, err = s.Item(ctx, refs[0])
	check(err)
	it.Recipients = nil
	_, err = s.Settle(ctx, queue.Settlement{Item: it, Notices: []queue.Notice{{
		Envelope: mail.Envelope{Recipients: []mail.Recipient{{ForwardPath: env.ReversePath}}, Client: mail.Client{Arrived: arrived}},
		Header:   []byte("Subject: failed\r\n\r\n"), Body: []byte("sorry\r\n"), CommitOptions: queue.CommitOptions{Due: arrived},
	}}})
	check(err)
	step("item 0 failed, notice made")
	it, err = s.Item(ctx, refs[1])
	check(err)
	it.Recipients = nil
	_, err = s.Settle(ctx, queue.Settlement{Item: it})
	check(err)
	step("item 1 delivered: the message is gone, the notice is there")

	const file = "testdata/life.golden"
	if *update {
		check(errors.Join(os.MkdirAll("testdata", 0o777), os.WriteFile(file, out.Bytes(), 0o666)))
	}
	want, err := os.ReadFile(file)
	check(err)
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("keys or values are not those of %s; got\n%s", file, out.String())
	}
}
