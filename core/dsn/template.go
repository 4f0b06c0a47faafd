package dsn

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxTemplate is the largest template, in octets.
const MaxTemplate = 64 << 10

// Template is the wording of notifications for people. What programs read, and
// the list of recipients with what was said of each, is always added.
//
// It is a text in UTF-8 with a section for each action that it words; others
// keep the built-in wording. A section begins with fields, of which there are
// two, and an empty line:
//
//	[failed]
//	From: Mail Delivery System
//	Subject: Undelivered Mail Returned to Sender
//
//	This is the mail system at host {hostname}.
//
//	[delayed]
//	...
//
// The sections are failed, delayed, delivered and expanded. The placeholders are
// {hostname}, {id}, {sender}, {arrived} and, of delayed, {retry_until}. Lines
// before the first section are comments.
type Template struct{ sections [Expanded + 1]*section }

type section struct {
	from, subject string
	lines         []string
}

// placeholders are those of every section, with what they stand for.
func (c *composer) placeholders() *strings.Replacer {
	until := time.Time{}
	if len(c.Recipients) > 0 {
		until = c.Recipients[0].RetryUntil
	}
	return strings.NewReplacer(
		"{hostname}", c.Hostname, "{id}", c.ID.String(), "{sender}", c.Envelope.ReversePath.String(),
		"{arrived}", c.Arrived.Format(time.RFC1123Z), "{retry_until}", until.Format(time.RFC1123Z))
}

// ParseTemplate reads a template. The error says which line is wrong.
func ParseTemplate(text []byte) (*Template, error) {
	if len(text) > MaxTemplate {
		return nil, fmt.Errorf("it has %d octets; the limit is %d", len(text), MaxTemplate)
	}
	t := new(Template)
	var s *section
	fields := false
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n\t ")
		bad := func(format string, args ...any) (*Template, error) {
			return nil, fmt.Errorf("line %d: %s", n, fmt.Sprintf(format, args...))
		}
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }) {
			return bad("it is not text in UTF-8")
		}
		if name, ok := strings.CutPrefix(line, "["); ok && strings.HasSuffix(name, "]") {
			a, ok := parseAction(name[:len(name)-1])
			switch {
			case !ok:
				return bad("there is no section %s; write [failed], [delayed], [delivered] or [expanded]", line)
			case t.sections[a] != nil:
				return bad("the section %s is there twice", line)
			}
			s = new(section)
			t.sections[a], fields = s, true
			continue
		}
		switch {
		case s == nil:
		case fields && line == "":
			fields = false
		case fields:
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			if why := badPlaceholder(value); why != "" {
				return bad("%s", why)
			}
			switch {
			case len(value) > 200 || value == "":
				return bad("a field needs a value of at most 200 octets")
			case strings.EqualFold(name, "From"):
				s.from = value
			case strings.EqualFold(name, "Subject"):
				s.subject = value
			default:
				return bad("a section begins with From: and Subject: and an empty line")
			}
		default:
			if why := badPlaceholder(line); why != "" {
				return bad("%s", why)
			}
			s.lines = append(s.lines, line)
		}
	}
	return t, nil
}

func parseAction(name string) (Action, bool) {
	for a := Failed; a <= Expanded; a++ {
		if a.String() == name {
			return a, true
		}
	}
	return 0, false
}

// badPlaceholder says what is wrong with the braces of a line; empty: nothing.
func badPlaceholder(line string) string {
	rest := strings.NewReplacer("{hostname}", "", "{id}", "", "{sender}", "", "{arrived}", "", "{retry_until}", "").Replace(line)
	if strings.ContainsAny(rest, "{}") {
		return "the placeholders are {hostname}, {id}, {sender}, {arrived} and {retry_until}"
	}
	return ""
}

// section is the wording of this notification; nil: the built-in one.
func (c *composer) section() *section {
	if c.Template == nil {
		return nil
	}
	return c.Template.sections[c.Action]
}

// subject is the value of Subject, encoded.
func (c *composer) subject() string {
	if s := c.section(); s != nil && s.subject != "" {
		return mime.QEncoding.Encode("utf-8", clean(c.placeholders().Replace(s.subject)))
	}
	return [...]string{"Undelivered Mail Returned to Sender", "Delayed Mail (still being retried)", "Successful Mail Delivery Report", "Mail Passed On to a List"}[c.Action]
}

// from is the display name of From, encoded.
func (c *composer) from() string {
	if s := c.section(); s != nil && s.from != "" {
		name := clean(c.placeholders().Replace(s.from))
		if encoded := mime.BEncoding.Encode("utf-8", name); encoded != name {
			return encoded // Q would leave characters that a phrase must not have
		}
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return "Mail Delivery System"
}

// worded writes the section line by line, as it was written; false: there is none.
func (c *composer) worded(b *bytes.Buffer) bool {
	s := c.section()
	if s == nil || len(s.lines) == 0 {
		return false
	}
	r := c.placeholders()
	for _, line := range s.lines {
		if line == "" {
			b.WriteString("\r\n")
			continue
		}
		b.Write(wrap("", clean(r.Replace(line))))
	}
	return true
}
