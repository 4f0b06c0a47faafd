//go:build linux

package interop_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// letter is a message whose bytes must come through.
type letter struct {
	name    string
	content string
	bdat    bool   // handed in by BDAT
	utf8    bool   // needs SMTPUTF8
	user    string // of the forward-path; empty: name
}

func (l letter) to() string {
	if l.user != "" {
		return l.user
	}
	return l.name
}

const head = "From: a@src.test\r\nTo: b@dst.test\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@src.test>\r\nSubject: =?utf-8?q?bytes?=\r\n" +
	"X-Odd: kept  as is \r\n\tfolded\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"

// letters are what each way is tried with.
func letters() []letter {
	return []letter{
		{name: "8bit", content: head + "\r\nGr\xc3\xbc\xc3\x9fe \xe4\xf6\xfc \xa0\xff\r\n\r\n  \r\n\t\r\n"},
		{name: "dots", content: head + "\r\n" + strings.Repeat(".\r\n..\r\n...\r\n.x\r\n", 200) + ".\r\n"},
		{name: "long", content: head + "\r\n" + strings.Repeat("0123456789abcdef", 300) + "\r\n" + strings.Repeat("x", 998) + "\r\n"},
		{name: "open", bdat: true, content: head + "\r\nthe last line has no end"},
	}
}

// large has 2 MB.
func large() letter {
	var b strings.Builder
	b.WriteString(head + "\r\n")
	rnd := rand.New(rand.NewPCG(1, 2))
	for b.Len() < 2<<20 {
		for range 76 {
			b.WriteByte(byte(' ' + rnd.IntN(95)))
		}
		b.WriteString("\r\n")
	}
	return letter{name: "large", content: b.String()}
}

func utf8() letter {
	return letter{name: "utf8", user: "gr\u00fc\u00dfe", utf8: true, content: strings.Replace(head, "To: b@", "To: gr\u00fc\u00dfe@", 1) + "\r\nhello\r\n"}
}

// submit hands a message in, with nothing between this test and the wire.
func submit(t *testing.T, port int, l letter, to string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	say := func(code, text string) {
		t.Helper()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, code) {
				t.Fatalf("%s: %.60q: %q, %v", l.name, text, line, err)
			}
			if line[3] == ' ' {
				return
			}
		}
	}
	say("220", "")
	say("250", "EHLO client.test\r\n")
	params := " BODY=8BITMIME"
	if l.utf8 {
		params += " SMTPUTF8"
	}
	say("250", "MAIL FROM:<a@src.test>"+params+"\r\n")
	say("250", "RCPT TO:<"+to+">\r\n")
	if l.bdat {
		half := len(l.content) / 2
		say("250", fmt.Sprintf("BDAT %d\r\n%s", half, l.content[:half]))
		say("250", fmt.Sprintf("BDAT %d LAST\r\n%s", len(l.content)-half, l.content[half:]))
	} else {
		say("354", "DATA\r\n")
		stuffed := strings.ReplaceAll(l.content, "\r\n.", "\r\n..")
		say("250", stuffed+".\r\n")
	}
	say("221", "QUIT\r\n")
}

// trace are the fields that servers put above what they got.
var trace = []string{"Return-Path", "Delivered-To", "Received", "Envelope-to", "Delivery-date"}

// untraced cuts the trace fields off, and returns the Received fields, the last server's first. Lines end with LF.
func untraced(content []byte) (rest string, received []string) {
	s := strings.ReplaceAll(string(content), "\r\n", "\n")
	for {
		name, _, _ := strings.Cut(s, ":")
		if !slices.ContainsFunc(trace, func(f string) bool { return strings.EqualFold(f, name) }) {
			return s, received
		}
		end := 0
		for {
			i := strings.IndexByte(s[end:], '\n')
			if i < 0 {
				return s, received
			}
			end += i + 1
			if end == len(s) || s[end] != ' ' && s[end] != '\t' {
				break
			}
		}
		if strings.EqualFold(name, "Received") {
			received = append(received, s[:end])
		}
		s = s[end:]
	}
}

// same compares what is stored with what was sent. Whoever sends by DATA must end the last line (RFC 5321 4.1.1.4), and
// a Maildir of others has lines that end with LF.
func same(t *testing.T, l letter, stored []byte) (received []string) {
	t.Helper()
	got, received := untraced(stored)
	want := strings.ReplaceAll(l.content, "\r\n", "\n")
	if l.bdat && !strings.HasSuffix(want, "\n") && strings.HasSuffix(got, "\n") {
		want += "\n"
	}
	if sha256.Sum256([]byte(got)) != sha256.Sum256([]byte(want)) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: the bytes changed, %d octets for %d, from octet %d on:\n got %.200q\nsent %.200q", l.name, len(got), len(want), at,
			got[max(0, at-20):], want[max(0, at-20):])
	}
	if bare := bytes.Count(stored, []byte("\r")) - bytes.Count(stored, []byte("\r\n")); bare > 0 {
		t.Errorf("%s: %d bare CR", l.name, bare)
	}
	return received
}

// want checks that a Received field names a transmission type (RFC 3848, RFC 6531), in any case.
func wantWith(t *testing.T, l letter, received string, types ...string) {
	t.Helper()
	if !slices.ContainsFunc(types, func(typ string) bool {
		return strings.Contains(strings.ToUpper(strings.Join(strings.Fields(received), " "))+" ", " WITH "+typ+" ")
	}) {
		t.Errorf("%s: came otherwise than by %s: %q", l.name, strings.Join(types, " or "), received)
	}
}
