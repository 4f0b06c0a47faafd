package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/maildrop"
)

// maxHeader is the longest header section that is read, in octets.
const maxHeader = 1 << 20

// messageReader reads a message as programs write one: lines that end with LF or
// CR LF, and perhaps a dot on a line of its own at the end.
type messageReader struct {
	in    *bufio.Reader
	dots  bool   // a dot alone ends the message
	ended bool   // one did
	ahead []byte // of the body, read with the header
	cr    bool   // a CR has been read that is not written yet
	open  bool   // the line that is being written has no end yet
}

func newMessageReader(r io.Reader, ignoreDots bool) *messageReader {
	return &messageReader{in: bufio.NewReaderSize(r, 64<<10), dots: !ignoreDots}
}

// line reads one line with what ends it, at most limit octets of it.
func (m *messageReader) line(limit int) (line []byte, err error) {
	if m.ended {
		return nil, io.EOF
	}
	for {
		part, err := m.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return line, errLongHeader
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if m.dots && m.isDot(line) {
			m.ended = true
			return nil, io.EOF
		}
		if err == io.EOF && len(line) > 0 {
			err = nil
		}
		return line, err
	}
}

func (*messageReader) isDot(line []byte) bool {
	s := string(line)
	return s == ".\n" || s == ".\r\n" || s == "."
}

// body writes the rest with CRLF at the end of each line.
func (m *messageReader) body(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	m.write(out, m.ahead)
	start := true
	for !m.ended {
		part, err := m.in.ReadSlice('\n')
		if start && m.dots && m.isDot(part) && err != bufio.ErrBufferFull {
			break
		}
		m.write(out, part)
		start = err == nil
		if err != nil && err != bufio.ErrBufferFull {
			if err != io.EOF {
				return fmt.Errorf("standard input: %w", err)
			}
			break
		}
	}
	if m.cr || m.open {
		_, _ = out.WriteString("\r\n") // the last line had no end; the writer keeps the error
	}
	return out.Flush()
}

// write makes CRLF of CR LF, of LF and of a CR alone. The writer keeps its error.
func (m *messageReader) write(out *bufio.Writer, p []byte) {
	for len(p) > 0 {
		if m.cr {
			m.cr, m.open = false, false
			_, _ = out.WriteString("\r\n")
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		n := 0
		for n < len(p) && p[n] != '\r' && p[n] != '\n' {
			n++
		}
		_, _ = out.Write(p[:n])
		m.open = m.open || n > 0
		if n < len(p) {
			if p[n] == '\n' {
				m.open = false
				_, _ = out.WriteString("\r\n")
			} else {
				m.cr = true
			}
			n++
		}
		p = p[n:]
	}
}

var errLongHeader = fmt.Errorf("the header section is longer than %d octets", maxHeader)

// outgoing is a message on its way into the maildrop.
type outgoing struct {
	origin   string
	sender   mail.Path
	fullName string
	now      time.Time
	to       []mail.Path // in the order of appearance, with doubles
}

// field is one header field, as it is written.
type field struct{ name, text string } // name in lower case; text with CRLF

// header reads the header section and returns it as it shall be: what is missing
// added, Bcc left out, with the empty line behind it. With fromHeader the
// recipients are taken from it too.
func (o *outgoing) header(in *messageReader, fromHeader bool) ([]byte, error) {
	fields, err := in.fields()
	if err != nil {
		return nil, err
	}
	has := make(map[string]bool)
	for _, f := range fields {
		has[f.name] = true
	}
	resent := has["resent-to"] || has["resent-cc"] || has["resent-bcc"]
	var b strings.Builder
	for _, f := range fields {
		name, again := strings.CutPrefix(f.name, "resent-")
		if fromHeader && again == resent && (name == "to" || name == "cc" || name == "bcc") {
			_, value, _ := strings.Cut(f.text, ":")
			list, err := maildrop.Addresses(value, o.origin, maildrop.MaxRecipients)
			if err != nil {
				return nil, fmt.Errorf("the field %s: %w", f.name, err)
			}
			o.to = append(o.to, list...)
		}
		if name == "bcc" {
			continue
		}
		b.WriteString(f.text)
	}
	if !has["from"] {
		b.WriteString("From: " + o.from() + "\r\n")
	}
	if !has["date"] {
		b.WriteString("Date: " + o.now.Format("Mon, 02 Jan 2006 15:04:05 -0700") + "\r\n")
	}
	if !has["message-id"] {
		fmt.Fprintf(&b, "Message-ID: <%s.%s@%s>\r\n", o.now.UTC().Format("20060102150405"), rand.Text()[:16], o.origin)
	}
	b.WriteString("\r\n")
	return []byte(b.String()), nil
}

// from is the value of a From field.
func (o *outgoing) from() string {
	address := o.sender.String()
	if address == "" {
		address = "MAILER-DAEMON@" + o.origin
	}
	if o.fullName == "" {
		return address
	}
	name := strings.TrimSuffix((&netmail.Address{Name: mail.Printable(o.fullName), Address: "x@x"}).String(), "<x@x>")
	return name + "<" + address + ">"
}

// recipients are those that were found, each once.
func (o *outgoing) recipients() (list []mail.Path) {
	seen := make(map[mail.Path]bool, len(o.to))
	for _, p := range o.to {
		key := mail.Path{Local: p.Local, Domain: p.DomainKey()}
		if !seen[key] {
			seen[key] = true
			list = append(list, p)
		}
	}
	return list
}

// fields reads header fields up to the empty line or to what is none. A line
// such as the "From " of mailboxes at the beginning is dropped.
func (m *messageReader) fields() (fields []field, err error) {
	total := 0
	for first := true; ; first = false {
		line, err := m.line(maxHeader - total)
		if err == io.EOF {
			return fields, nil
		} else if errors.Is(err, errLongHeader) {
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		total += len(line)
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		text = strings.ReplaceAll(text, "\r", " ") // or it would begin another field
		name, isField := fieldName(text)
		switch {
		case first && (strings.HasPrefix(text, "From ") || strings.HasPrefix(text, ">From ")):
		case text == "":
			return fields, nil
		case (text[0] == ' ' || text[0] == '\t') && len(fields) > 0:
			if strings.TrimSpace(text) != "" { // a folded line of blanks ends the header section for many
				fields[len(fields)-1].text += text + "\r\n"
			}
		case isField:
			fields = append(fields, field{strings.ToLower(name), text + "\r\n"})
		default:
			m.ahead = line
			return fields, nil
		}
	}
}

// fieldName is the name of a header field (RFC 5322 2.2; blanks before the colon
// as in 4.5).
func fieldName(line string) (string, bool) {
	name, _, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return "", false
		}
	}
	return name, ok && name != ""
}
