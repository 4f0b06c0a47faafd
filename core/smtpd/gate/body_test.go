package gate

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

var testLimits = Limits{Command: time.Minute, Block: time.Minute, Total: time.Minute, Grace: time.Minute, MinRate: 1, Write: time.Minute}

// unstuff is the definition: the end of data is the first CR LF . CR LF, where
// the CR LF before the content counts; a dot at the beginning of a line goes.
func unstuff(wire string) (content, rest string, ended bool) {
	all := "\r\n" + wire
	end := strings.Index(all, "\r\n.\r\n")
	if end < 0 {
		return "", "", false
	}
	content = strings.ReplaceAll(all[:end+2], "\r\n.", "\r\n")
	return content[2:], all[end+5:], true
}

// scanPieces runs the scanner over pieces as they come from reads.
func scanPieces(pieces ...string) (content, rest string, ended bool) {
	s := scanner{bol: true}
	var in, out []byte
	for _, p := range pieces {
		in = append(in, p...)
		for !s.done {
			o, used := s.next(in)
			out = append(out, o...)
			in = in[used:]
			if len(o) == 0 {
				break
			}
		}
	}
	return string(out), string(in), s.done
}

// The matrix of end-of-data variants: only a true CR LF . CR LF ends.
func matrix(f func(name, wire string)) {
	prefixes := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\n\r", "\x00\r\n", "\r\n\x00", "\v", "\f", " ", "\u0085"}
	suffixes := []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\x00\r\n", "\r\x00\n", "\v", " \r\n", "\u2028"}
	for _, p := range prefixes {
		for _, s := range suffixes {
			f(p+"."+s, "x: y\r\n\r\na"+p+"."+s+"MAIL FROM:<evil@client.test>\r\n.\r\n")
		}
	}
}

func TestOnlyCRLFDotCRLFEndsData(t *testing.T) {
	n := 0
	matrix(func(name, wire string) {
		n++
		content, rest, ended := unstuff(wire)
		if !ended {
			t.Fatalf("%q does not end", wire)
		}
		for i := 0; i <= len(wire); i++ {
			c, r, e := scanPieces(wire[:i], wire[i:])
			if c != content || r != rest || e != ended {
				t.Errorf("%q split at %d: content %q, rest %q, want %q, %q", name, i, c, r, content, rest)
			}
		}
		if c, r, _ := scanPieces(strings.Split(wire, "")...); c != content || r != rest {
			t.Errorf("%q by octet: content %q, rest %q, want %q, %q", name, c, r, content, rest)
		}
	})
	if n != 130 {
		t.Errorf("%d variants", n)
	}
}

func FuzzBodyScanner(f *testing.F) {
	matrix(func(_, wire string) { f.Add([]byte(wire), uint32(7)) })
	f.Add([]byte(".\r\n"), uint32(0))
	f.Add([]byte("..\r\n...\r\n.\rx\r\r\n.\r\n"), uint32(3))
	f.Fuzz(func(t *testing.T, b []byte, seed uint32) {
		content, rest, ended := unstuff(string(b))
		var pieces []string
		for left := string(b); left != ""; {
			seed = seed*1664525 + 1013904223
			n := min(len(left), 1+int(seed>>24)%9)
			pieces = append(pieces, left[:n])
			left = left[n:]
		}
		c, r, e := scanPieces(pieces...)
		if e != ended {
			t.Fatalf("%q: ended %v, want %v", b, e, ended)
		}
		if ended && (c != content || r != rest) {
			t.Fatalf("%q: content %q, rest %q, want %q, %q", b, c, r, content, rest)
		}
	})
}

// defects is the definition of what Lines looks for.
func defects(s string) Defect {
	var d Defect
	for i := range len(s) {
		switch {
		case s[i] == 0:
			d |= NUL
		case s[i] == '\n' && (i == 0 || s[i-1] != '\r'):
			d |= BareLF
		case s[i] == '\r' && (i+1 == len(s) || s[i+1] != '\n'):
			d |= BareCR
		}
	}
	return d
}

func normalized(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", " ")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

func FuzzLines(f *testing.F) {
	for _, s := range []string{"a\r\nb", "\n\r\r\n", "\r", "\r\r\n\n", "a\x00\rb\n"} {
		f.Add(s, uint16(2))
	}
	f.Fuzz(func(t *testing.T, s string, at uint16) {
		i := int(at) % (len(s) + 1)
		var l Lines
		l.Check([]byte(s[:i]))
		l.Check([]byte(s[i:]))
		l.End()
		if l.Found != defects(s) {
			t.Fatalf("%q at %d: %b, want %b", s, i, l.Found, defects(s))
		}
		var n Lines
		out := string(n.Normalize([]byte(s[:i]))) + string(n.Normalize([]byte(s[i:])))
		n.End()
		out += string(n.Rest())
		if out != normalized(s) || n.Found != defects(s) {
			t.Fatalf("%q at %d: %q %b, want %q %b", s, i, out, n.Found, normalized(s), defects(s))
		}
	})
}

func TestABodyErrorIsNeverItsEnd(t *testing.T) {
	for _, sent := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r"} {
		c, s := net.Pipe()
		go func() {
			_, _ = io.WriteString(c, sent)
			c.Close()
		}()
		w := NewWire(s, testLimits)
		b := w.Data()
		for {
			_, err := b.Next()
			if err == io.EOF {
				t.Errorf("%q: the end was seen", sent)
			}
			if err != nil {
				break
			}
		}
		if _, err := b.Next(); err == nil || err == io.EOF {
			t.Errorf("%q: the error did not last: %v", sent, err)
		}
		w.Close(false)
	}
}

func TestAChunkHasItsOctets(t *testing.T) {
	c, s := net.Pipe()
	go func() {
		_, _ = io.WriteString(c, "0123456789ABC")
		c.Close()
	}()
	w := NewWire(s, testLimits)
	defer w.Close(false)
	b := w.Chunk(10)
	got := readAll(t, b)
	if string(got) != "0123456789" {
		t.Errorf("chunk %q", got)
	}
	b = w.Chunk(4)
	if p, err := b.Next(); string(p) != "ABC" || err != nil {
		t.Errorf("%q %v", p, err)
	}
	if _, err := b.Next(); err != io.ErrUnexpectedEOF && err != io.ErrClosedPipe {
		t.Errorf("short chunk: %v", err)
	}
}

func readAll(t testing.TB, b *Body) []byte {
	var all []byte
	for {
		p, err := b.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p...)
	}
}

func BenchmarkScanner(b *testing.B) {
	buf := make([]byte, bodyBuffer)
	line := []byte(strings.Repeat("x", 76) + "\r\n")
	text := bytes.Repeat(line, bodyBuffer/len(line))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		n := copy(buf, text)
		s := scanner{bol: true}
		var l Lines
		out, _ := s.next(buf[:n])
		l.Check(out)
	}
}
