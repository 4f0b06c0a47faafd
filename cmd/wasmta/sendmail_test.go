package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// TestSendmailOptions are command lines as scripts, cron, mail(1), PHP and
// languages' libraries give them.
func TestSendmailOptions(t *testing.T) {
	for line, want := range map[string]string{
		"a@x.test b@x.test":                 "m f=- [a@x.test b@x.test]",
		"-t":                                "m -t f=- []",
		"-t -i":                             "m -t -i f=- []",
		"-ti":                               "m -t -i f=- []",
		"-oi -t":                            "m -t -i f=- []",
		"-o i -t":                           "m -t -i f=- []",
		"-t -oem -oi -f a@x.test":           "m -t -i f=a@x.test []",
		"-FCronDaemon -i -odi -oem root":    "m -i F=CronDaemon f=- [root]",
		"-FCronDaemon -i -B8BITMIME -oem r": "m -i F=CronDaemon B=8BITMIME f=- [r]",
		"-ifa@x.test b":                     "m -i f=a@x.test [b]",
		"-r a@x.test -- -b":                 "m f=a@x.test [-b]",
		"-f <> b":                           "m f=<> [b]",
		"b -f a -i c":                       "m -i f=a [b c]",
		"-em -L tag -h 3 -p smtp -Oa=b b":   "m f=- [b]",
		"-N success,delay -R hdrs -V id b":  "m N=SUCCESS,DELAY R=HDRS V=id f=- [b]",
		"-N never b":                        "m N=NEVER f=- [b]",
		"-bs":                               "s f=- []",
		"-bp":                               "p f=- []",
		"-bi":                               "i f=- []",
		"-b p":                              "p f=- []",
		"-bm b":                             "m f=- [b]",
		"-I":                                "i f=- []",
		"-q":                                "q f=- []",
		"-v -q":                             "q f=- []",
		"-qRx.test":                         "q q=Rx.test f=- []",
		"-G -m -n -x -v -U b":               "m f=- [b]",
		"-bd":                               "-bd is not served",
		"-bv a":                             "-bv is not served",
		"-f":                                "-f needs a value",
		"-Z":                                "no option -Z",
		"-N never,delay b":                  "never stands alone",
		"-N x b":                            "write never",
		"-R x b":                            "write full or hdrs",
		"-B x b":                            "write 7BIT",
	} {
		o, err := parseSendmail("sendmail", strings.Fields(line))
		var b strings.Builder
		b.WriteByte(o.mode)
		for _, p := range []struct {
			set  bool
			text string
		}{
			{o.fromHeader, " -t"}, {o.ignoreDots, " -i"}, {o.fullName != "", " F=" + o.fullName}, {o.notify != 0, " N=" + o.notify.String()},
			{o.ret != 0, " R=" + o.ret.String()}, {o.envID != "", " V=" + o.envID}, {o.body != 0, " B=" + o.body.String()}, {o.flush != "", " q=" + o.flush},
		} {
			if p.set {
				b.WriteString(p.text)
			}
		}
		from := "-"
		if o.sender != nil {
			from = *o.sender
		}
		fmt.Fprintf(&b, " f=%s %s", from, o.recipients)
		if got := b.String(); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s, %v; want %s", line, got, err, want)
		}
	}
	for name, want := range map[string]byte{"mailq": 'p', "newaliases": 'i'} {
		if o, err := parseSendmail(name, nil); err != nil || o.mode != want {
			t.Errorf("%s: %c, %v", name, o.mode, err)
		}
	}
}

// read gives what of a message goes into the maildrop.
func read(text string, o *outgoing, dots, fromHeader bool) (string, error) {
	in := newMessageReader(iotest.OneByteReader(strings.NewReader(text)), !dots)
	header, err := o.header(in, fromHeader)
	if err != nil {
		return "", err
	}
	var body bytes.Buffer
	err = in.body(&body)
	return string(header) + body.String(), err
}

func TestMessagesOfPrograms(t *testing.T) {
	const head = "From: a\r\nDate: d\r\nMessage-ID: m\r\n"
	complete := "From: a\nDate: d\nMessage-ID: m\n"
	for _, x := range []struct {
		name, in, want string
		dots           bool
	}{
		{"LF", complete + "\nbody\n", head + "\r\nbody\r\n", true},
		{"CR LF", strings.ReplaceAll(complete+"\nbody\n", "\n", "\r\n"), head + "\r\nbody\r\n", true},
		{"mixed, and a CR alone", complete + "\r\na\nb\r\nc\rd\r\r\ne", head + "\r\na\r\nb\r\nc\r\nd\r\n\r\ne\r\n", true},
		{"a CR at the end", complete + "\nbody\r", head + "\r\nbody\r\n", true},
		{"no end of the last line", complete + "\nbody", head + "\r\nbody\r\n", true},
		{"a dot ends it", complete + "\na\n.\nb\n", head + "\r\na\r\n", true},
		{"a dot and CR LF", complete + "\na\n.\r\nb\n", head + "\r\na\r\n", true},
		{"a dot at the very end", complete + "\na\n.", head + "\r\na\r\n", true},
		{"a dot in the header section", complete + ".\nb\n", head + "\r\n", true},
		{"dots with -i", complete + "\na\n.\n..\nb\n", head + "\r\na\r\n.\r\n..\r\nb\r\n", false},
		{"more than a dot", complete + "\n..\n. \na.\n.b\n", head + "\r\n..\r\n. \r\na.\r\n.b\r\n", true},
		{"the line of a mailbox", "From a@x.test Sun Mar  1\n" + complete + "\nx\n", head + "\r\nx\r\n", true},
		{"no body", complete, head + "\r\n", true},
		{"no empty line", complete + "this is no field\nx: y\n", head + "\r\nthis is no field\r\nx: y\r\n", true},
		{"folded", complete + "Subject: a\n b\n\tc\n\nx\n", head + "Subject: a\r\n b\r\n\tc\r\n\r\nx\r\n", true},
		{"Bcc is left out", complete + "Bcc: x@x.test,\n y@x.test\nTo: z\n\nBcc: stays\n", head + "To: z\r\n\r\nBcc: stays\r\n", true},
		{"a CR in a field begins no other", complete + "Subject: a\rBcc: b\n\nx\n", head + "Subject: a Bcc: b\r\n\r\nx\r\n", true},
		{"octets stay", complete + "\n\xff\x00\xe4\n", head + "\r\n\xff\x00\xe4\r\n", true},
		{"nothing but a body", "\nbody\n", "", true},
	} {
		o := &outgoing{origin: "here.test", sender: mail.Path{Local: "tim", Domain: "here.test"}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		got, err := read(x.in, o, x.dots, false)
		if x.want == "" {
			rest, ok := strings.CutPrefix(got, "From: tim@here.test\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\nMessage-ID: <20260301120000.")
			if !ok || !strings.HasSuffix(rest, "@here.test>\r\n\r\nbody\r\n") {
				t.Errorf("%s: %q", x.name, got)
			}
			continue
		}
		if err != nil || got != x.want {
			t.Errorf("%s: %q, %v; want %q", x.name, got, err, x.want)
		}
	}
	if _, err := read("Subject: "+strings.Repeat("x", maxHeader)+"\n\n", new(outgoing), true, false); err == nil {
		t.Error("a header section without end is taken")
	}
}

func TestRecipientsOfTheMessage(t *testing.T) {
	for _, x := range []struct{ header, want string }{
		{"To: a@x.test\nCc: Bob <b@x.test>\nBcc: c@x.test\nReply-To: d@x.test\n\n", "[root@here.test a@x.test b@x.test c@x.test]"},
		{"to: a@X.test, a@x.test\n\n", "[root@here.test a@X.test]"},
		{"To: old@x.test\nResent-To: a@x.test\nResent-Bcc: b@x.test\n\n", "[root@here.test a@x.test b@x.test]"},
		{"Subject: x\n\nTo: a@x.test\n", "[root@here.test]"},
	} {
		o := &outgoing{origin: "here.test", to: []mail.Path{{Local: "root", Domain: "here.test"}}}
		text, err := read(x.header, o, true, true)
		if got := fmt.Sprint(o.recipients()); err != nil || got != x.want || strings.Contains(strings.ToLower(text), "bcc") {
			t.Errorf("%q: %s, %v; want %s; the message is %q", x.header, got, err, x.want, text)
		}
	}
	if _, err := read("To: a b c\n\n", &outgoing{origin: "here.test"}, true, true); err == nil || !strings.Contains(err.Error(), "the field to") {
		t.Errorf("an address that is none: %v", err)
	}
}

func TestFromField(t *testing.T) {
	for name, want := range map[string]string{
		"":                "a@x.test",
		"Ann Example":     `"Ann Example" <a@x.test>`,
		`An "x" , Ex`:     `"An \"x\" , Ex" <a@x.test>`,
		"Jürgen":          "=?utf-8?q?J=C3=BCrgen?= <a@x.test>",
		"a\r\nBcc: b@x.y": `"aBcc: b@x.y" <a@x.test>`,
	} {
		o := &outgoing{fullName: name, sender: mail.Path{Local: "a", Domain: "x.test"}}
		if got := o.from(); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// FuzzDroppedMessage: whatever a program writes, lines end with CRLF only, and no field
// is there that nobody wrote.
func FuzzDroppedMessage(f *testing.F) {
	f.Add([]byte("From: a\n b\r\nBcc: x\r\n\r\nbody\r.\n.\n"), true)
	f.Add([]byte(".\r\n"), false)
	f.Add([]byte(".\x00@"), true)
	f.Add([]byte("A: b\n\nx"+strings.Repeat("y", 64<<10-1)), false)
	f.Fuzz(func(t *testing.T, data []byte, dots bool) {
		o := &outgoing{origin: "here.test", sender: mail.Path{Local: "a", Domain: "x.test"}}
		in := newMessageReader(bytes.NewReader(data), !dots)
		header, err := o.header(in, true)
		if err != nil {
			return
		}
		var body bytes.Buffer
		if err := in.body(&body); err != nil {
			t.Fatal(err)
		}
		whole := string(header) + body.String()
		if bare := strings.ReplaceAll(whole, "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
			t.Fatalf("%q has a line end that is none", whole)
		}
		for line := range strings.SplitSeq(string(header), "\r\n") {
			if name, ok := fieldName(line); ok && strings.EqualFold(name, "bcc") {
				t.Fatalf("%q keeps %q", header, line)
			}
		}
		if whole != "" && !strings.HasSuffix(whole, "\r\n") {
			t.Fatalf("%q does not end with a line end", whole)
		}
	})
}

func TestNamesOfTheProgram(t *testing.T) {
	for _, x := range []struct {
		argv string
		want string
		ok   bool
	}{
		{"/usr/sbin/sendmail -t", "[sendmail -t]", true},
		{"mailq", "[mailq]", true},
		{"wasmta sendmail -t", "[sendmail -t]", true},
		{"wasmta serve", "[serve]", false},
		{"wasmta", "[]", false},
	} {
		if got, ok := sendmailArgs(strings.Fields(x.argv)); fmt.Sprint(got) != x.want || ok != x.ok {
			t.Errorf("%s: %v, %v", x.argv, got, ok)
		}
	}
	var out, errs bytes.Buffer
	e := &env{ctx: t.Context(), out: &out, err: &errs}
	for line, want := range map[string]int{"newaliases": exOK, "sendmail -bd": exUsage, "sendmail --nothing": exUsage, "sendmail -bi": exOK} {
		if got := e.run(strings.Fields(line)); got != want {
			t.Errorf("%s: exit %d, want %d: %s", line, got, want, errs.String())
		}
	}
	_, _ = io.Copy(io.Discard, &out)
}
