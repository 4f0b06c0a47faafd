package pebblestore

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

func sampleRecord() *record {
	env := testEnvelope()
	env.Attrs = mail.Attrs{"a/b": []byte("c")}
	env.Client.TLS = &mail.TLS{Version: 0x304}
	env.Recipients = nil
	return &record{digest: 7, Message: queue.Message{ID: 9, Envelope: env, Header: []byte("A: b\r\n"), BodySize: 12, Arrived: time.UnixMilli(5)}}
}

func sampleItem() *itemRecord {
	_, groups := queue.Group(testEnvelope().Recipients)
	return &itemRecord{siblings: 2, Item: queue.Item{Ref: queue.Ref{ID: 9, Item: 3}, Version: 4, Domain: "example.net",
		Recipients: groups[0], Due: time.UnixMilli(-5), Pinned: &mail.NextHop{Host: "h"}, Priority: -1,
		History: []mail.Attempt{{Relay: "r"}}}}
}

// TestFlippedBits: each single bit of a value, and its key, is protected.
func TestFlippedBits(t *testing.T) {
	key := messageKey(9)
	v := encodeMessage(key, sampleRecord())
	if _, err := decodeMessage(key, v); err != nil {
		t.Fatal(err)
	}
	for i := range len(v) * 8 {
		w := bytes.Clone(v)
		w[i/8] ^= 1 << (i % 8)
		if _, err := decodeMessage(key, w); err == nil {
			t.Errorf("bit %d flipped: not noticed", i)
		}
	}
	for n := range v {
		if _, err := decodeMessage(key, v[:n]); err == nil {
			t.Errorf("cut to %d octets: not noticed", n)
		}
	}
	if _, err := decodeMessage(messageKey(8), v); err == nil {
		t.Error("under another key: not noticed")
	}
}

// fuzzFields feeds the fields of a value, closed by a good checksum; what
// decodes must be the same after another round.
func fuzzFields(f *testing.F, key, sample []byte, round func(value []byte) ([]byte, error)) {
	version := sample[0]
	f.Add(sample[1 : len(sample)-4])
	f.Add([]byte{})
	f.Add(binary.AppendUvarint(nil, 1<<63))
	f.Fuzz(func(t *testing.T, fields []byte) {
		value := sealValue(key, encoder{append([]byte{version}, fields...)})
		once, err := round(value)
		if err != nil {
			return
		}
		twice, err := round(once)
		if err != nil {
			t.Fatalf("what was decoded and encoded cannot be decoded: %v", err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("two rounds differ:\n%x\n%x", once, twice)
		}
	})
}

func FuzzMessage(f *testing.F) {
	key := messageKey(9)
	fuzzFields(f, key, encodeMessage(key, sampleRecord()), func(value []byte) ([]byte, error) {
		r, err := decodeMessage(key, value)
		if err != nil {
			return nil, err
		}
		return encodeMessage(key, r), nil
	})
}

func FuzzAuthenticatedMessage(f *testing.F) {
	key, r := messageKey(9), sampleRecord()
	r.Envelope.Client.AuthMech, r.Envelope.Client.AuthUser = "PLAIN", "tim"
	fuzzFields(f, key, encodeMessage(key, r), func(value []byte) ([]byte, error) {
		r, err := decodeMessage(key, value)
		if err != nil {
			return nil, err
		}
		return encodeMessage(key, r), nil
	})
}

func FuzzItem(f *testing.F) {
	key := itemKey(queue.Ref{ID: 9, Item: 3})
	fuzzFields(f, key, encodeItem(key, sampleItem()), func(value []byte) ([]byte, error) {
		r, err := decodeItem(key, value)
		if err != nil {
			return nil, err
		}
		for _, rcpt := range r.Recipients {
			_ = rcpt.Last.Outcome.String() // must not panic
		}
		return encodeItem(key, r), nil
	})
}

// FuzzValue feeds whole values, as they come from the disk.
func FuzzValue(f *testing.F) {
	key := messageKey(9)
	f.Add(encodeMessage(key, sampleRecord()))
	f.Fuzz(func(t *testing.T, value []byte) {
		var a, b uint64
		_, _ = decodeMessage(key, value)
		_, _ = decodeItem(key, value)
		_ = decodeState(key, value, &a, &b)
	})
}

// TestOutOfRange: what is stored can be read again, also if the caller stored
// a value that does not exist.
func TestOutOfRange(t *testing.T) {
	key := itemKey(queue.Ref{ID: 9, Item: 3})
	it := sampleItem()
	it.Recipients[0].Last.Outcome = 200
	it.Pinned.Transport, it.Pinned.TLS = 99, 99
	got, err := decodeItem(key, encodeItem(key, it))
	if err != nil || got.Recipients[0].Last.Outcome != mail.Deferred || got.Pinned.Transport != mail.TransportMX {
		t.Errorf("%+v, %v", got, err)
	}
	r := sampleRecord()
	r.Envelope.Body, r.Envelope.Return = 77, 77
	if _, err := decodeMessage(messageKey(9), encodeMessage(messageKey(9), r)); err != nil {
		t.Error(err)
	}
}
