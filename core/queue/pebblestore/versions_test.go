package pebblestore

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// TestEveryVersion: the records of every version that was ever written, byte by
// byte as they are on somebody's disk, are still read, and what they hold is
// written as it was, so that an older wasmta can go on with the queue.
func TestEveryVersion(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	message := func(change func(*record)) *record {
		r := &record{digest: 7, Message: queue.Message{ID: 9, Header: []byte("A: b\r\n"), BodySize: 12, Arrived: at}}
		r.Envelope.ReversePath = mail.Path{Local: "a", Domain: "example.org"}
		r.Envelope.MailParams = mail.MailParams{Size: 18, Body: mail.Body8BitMIME, RequireTLS: true, Return: mail.ReturnHeaders, EnvID: "e1"}
		r.Envelope.Client = mail.Client{Session: "17f", Listener: "mx", Remote: netip.MustParseAddrPort("192.0.2.1:1025"),
			Helo: "client.example", ESMTP: true, TLS: &mail.TLS{Version: 0x304, Cipher: "c"}, Auth: "tim", Arrived: at}
		r.Envelope.Attrs = mail.Attrs{"spf/result": []byte("pass")}
		change(r)
		return r
	}
	item := func(change func(*itemRecord)) *itemRecord {
		r := &itemRecord{siblings: 2, Item: queue.Item{Ref: queue.Ref{ID: 9, Item: 3}, Version: 4, Domain: "example.net", Due: at, Expire: at.Add(time.Hour),
			Arrived: at, Attempts: 1, Priority: -1, Held: true, Reason: "r", Pinned: &mail.NextHop{Transport: mail.TransportSMTP, Host: "h", Port: 26}}}
		last := mail.Result{Reply: mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 3, 0}, Text: "later"}, RemoteMTA: "mx", Relay: "mx[192.0.2.1]:25"}
		r.Recipients = []queue.Recipient{{Recipient: mail.Recipient{ForwardPath: mail.Path{Local: "b", Domain: "example.net"},
			RcptParams: mail.RcptParams{Notify: mail.NotifyFailure}, Attrs: mail.Attrs{"list/of": []byte("x")}}, Last: last, Warned: true}}
		r.History = []mail.Attempt{{At: at, Relay: last.Relay, Result: last}}
		change(r)
		return r
	}
	const file = "testdata/versions.golden"
	stored := make(map[string][]byte)
	if text, err := os.ReadFile(file); err == nil {
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			stored[name], _ = hex.DecodeString(value)
		}
	} else if !*update {
		t.Fatal(err)
	}
	same := cmp.Options{cmp.AllowUnexported(record{}, itemRecord{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	var out bytes.Buffer
	check := func(name string, version byte, want any, decode func(value []byte) (any, error), encoded []byte) {
		t.Helper()
		if *update {
			fmt.Fprintf(&out, "%s: %x\n", name, encoded)
			return
		}
		value := stored[name]
		if len(value) == 0 || value[0] != version {
			t.Errorf("%s: the stored value is %x, want version %d", name, value, version)
			return
		}
		got, err := decode(value)
		if err != nil {
			t.Errorf("%s cannot be read any more: %v", name, err)
		} else if d := cmp.Diff(want, got, same); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if !bytes.Equal(encoded, value) {
			t.Errorf("%s is written as %x, was %x", name, encoded, value)
		}
	}
	for _, x := range []struct {
		version byte
		*record
	}{
		{1, message(func(*record) {})},
		{2, message(func(r *record) { r.Envelope.Client.AuthMech, r.Envelope.Client.AuthUser = "PLAIN", "tim@x" })},
		{3, message(func(r *record) {
			r.Envelope.MailParams.HoldUntil, r.Envelope.MailParams.Priority = at.Add(time.Hour), 4
			r.Envelope.MailParams.By = mail.DeliverBy{Time: at.Add(time.Minute), Return: true}
		})},
	} {
		key := messageKey(9)
		check(fmt.Sprintf("message %d", x.version), x.version, x.record, func(v []byte) (any, error) { return decodeMessage(key, v) }, encodeMessage(key, x.record))
	}
	for _, x := range []struct {
		version byte
		*itemRecord
	}{
		{1, item(func(*itemRecord) {})},
		{2, item(func(r *itemRecord) {
			r.LastHop, r.Pinned.Pool, r.Pinned.Credential = "smtp:h:26", "ours", "smarthost"
			r.Recipients[0].ValidSince, r.Recipients[0].ValidSinceContinue = at.Add(-time.Hour), true
		})},
	} {
		key := itemKey(x.Ref)
		check(fmt.Sprintf("item %d", x.version), x.version, x.itemRecord, func(v []byte) (any, error) { return decodeItem(key, v) }, encodeItem(key, x.itemRecord))
	}
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}
