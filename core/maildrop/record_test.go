package maildrop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/wasmta/wasmta/core/mail"
)

func sample() Envelope {
	return Envelope{
		Sender:     mail.Path{Local: `"a b"`, Domain: "src.example"},
		Recipients: []mail.Path{{Local: "x", Domain: "dst.example"}, {Local: "ü", Domain: "bücher.example"}},
		Notify:     mail.NotifySuccess | mail.NotifyFailure, Return: mail.ReturnHeaders, EnvID: "id+1 =",
		Body: mail.Body8BitMIME, SMTPUTF8: true,
	}
}

// record is a message as it is on the disk.
func record(t testing.TB, e Envelope, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newWriter(&b, &e)
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.end()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 17} {
		content := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
		for _, e := range []Envelope{sample(), {Recipients: []mail.Path{{Local: "x", Domain: "dst.example"}}}} {
			got, r, err := Decode(iotest.OneByteReader(bytes.NewReader(record(t, e, content))))
			if err != nil || !reflect.DeepEqual(got, e) {
				t.Fatalf("%d octets: %+v, %v; want %+v", size, got, err, e)
			}
			if text, err := io.ReadAll(r); err != nil || !bytes.Equal(text, content) {
				t.Errorf("%d octets: got %d, %v", size, len(text), err)
			}
		}
	}
}

// TestDamage: whatever is changed or missing, the content never ends well.
func TestDamage(t *testing.T) {
	data := record(t, sample(), []byte("Subject: x\r\n\r\nbody\r\n"))
	whole := func(b []byte) error {
		_, r, err := Decode(bytes.NewReader(b))
		if err == nil {
			_, err = io.ReadAll(r)
		}
		return err
	}
	if err := whole(data); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		if err := whole(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("octet %d flipped: %v", i, err)
		}
		if err := whole(data[:i]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d octets: %v", i, err)
		}
	}
	if err := whole(append(bytes.Clone(data), 'x')); !errors.Is(err, ErrDamaged) {
		t.Errorf("with an octet more: %v", err)
	}
}

// TestHostileEnvelopes have good checksums: who writes one can compute them.
func TestHostileEnvelopes(t *testing.T) {
	for name, change := range map[string]func(*Envelope){
		"no recipient":              func(e *Envelope) { e.Recipients = nil },
		"a recipient with CR LF":    func(e *Envelope) { e.Recipients[0].Local = "x>\r\nRCPT TO:<y" },
		"a sender with brackets":    func(e *Envelope) { e.Sender.Local = "a> BODY=x <" },
		"a recipient without '@'":   func(e *Envelope) { e.Recipients[0] = mail.Path{Local: "postmaster"} },
		"an ENVID with a line end":  func(e *Envelope) { e.EnvID = "a\r\nb" },
		"a NOTIFY that is none":     func(e *Envelope) { e.Notify = 0x80 },
		"a RET that is none":        func(e *Envelope) { e.Return = 7 },
		"a BODY that is not served": func(e *Envelope) { e.Body = mail.BodyBinaryMIME },
	} {
		e := sample()
		change(&e)
		if _, _, err := Decode(bytes.NewReader(record(t, e, nil))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := sample()
	many.Recipients = make([]mail.Path, MaxRecipients+1)
	if _, err := newWriter(io.Discard, &many); err == nil {
		t.Error("too many recipients are written")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(record(f, sample(), []byte("x\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, r, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return
		}
		if again := record(t, e, content); len(again) > len(data)+chunkSize {
			t.Fatalf("%d octets hold a message of %d", len(data), len(again))
		}
	})
}

// FuzzEnvelope feeds what stands between the checksums.
func FuzzEnvelope(f *testing.F) {
	e := sample()
	f.Add(e.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEnvelope(data)
		if err != nil {
			return
		}
		again, err := decodeEnvelope(e.encode())
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
		for _, p := range append(e.Recipients, e.Sender) {
			if strings.ContainsAny(p.String(), "\r\n\x00") {
				t.Fatalf("%q goes on the wire", p.String())
			}
		}
	})
}

func TestADropIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	files := func() string {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, e := range list {
			s = append(s, fmt.Sprint(e.Name()[0] == 't', isName(e.Name())))
		}
		return fmt.Sprint(s)
	}
	d, err := Create(dir, sample())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("x\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := files(); got != "[true false]" {
		t.Errorf("while it is written: %s", got)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	d.Abort()
	if got := files(); got != "[false true]" {
		t.Errorf("after commit: %s", got)
	}
	if err := d.Commit(); err == nil {
		t.Error("committed twice")
	}
	if d, err = Create(dir, sample()); err != nil {
		t.Fatal(err)
	}
	d.Abort()
	if got := files(); got != "[false true]" {
		t.Errorf("after abort: %s", got)
	}
}
