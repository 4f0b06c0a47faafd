package mail

import (
	"strconv"
	"strings"
)

// Limits of a reply text, after [Reply.Clean]. RFC 5321 4.5.3.1.5 gives a
// reply line 512 octets.
const (
	MaxReplyLines = 10
	MaxReplyLine  = 400
)

// Reply is an SMTP reply (RFC 5321 4.2) with its enhanced status code
// (RFC 3463). It is an error with a class; whatever reaches an SMTP client is
// one of these, every other error stays in the log.
type Reply struct {
	Code     int      // three digits
	Enhanced Enhanced // zero: none
	Text     string   // LF separates lines; no other control character
}

// Enhanced is an enhanced status code class.subject.detail (RFC 3463).
type Enhanced [3]uint16

// String prints c.s.d, or nothing for the zero value.
func (e Enhanced) String() string {
	if e == (Enhanced{}) {
		return ""
	}
	return string(e.append(make([]byte, 0, 11)))
}

func (e Enhanced) append(b []byte) []byte {
	for i, n := range e {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return b
}

// ParseEnhanced reads c.s.d at the start of s and returns the rest without the
// blank that follows; ok is false, and rest all of s, if there is none.
func ParseEnhanced(s string) (e Enhanced, rest string, ok bool) {
	word, rest, _ := strings.Cut(s, " ")
	for i := range e {
		part, more, dot := strings.Cut(word, ".")
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(part) > 3 || dot != (i < 2) || i == 0 && n != 2 && n != 4 && n != 5 {
			return Enhanced{}, s, false
		}
		e[i], word = uint16(n), more
	}
	return e, rest, true
}

// Class is the first digit of the code: 2 success, 4 transient, 5 permanent.
func (r Reply) Class() int { return r.Code / 100 }

// Transient tells whether the client may try again later (4yz).
func (r Reply) Transient() bool { return r.Class() == 4 }

// Permanent tells whether trying again is pointless (5yz).
func (r Reply) Permanent() bool { return r.Class() == 5 }

// Status is the enhanced code, or the class's neutral one (x.0.0) without.
func (r Reply) Status() Enhanced {
	if r.Enhanced != (Enhanced{}) {
		return r.Enhanced
	}
	return Enhanced{uint16(r.Class()), 0, 0}
}

// Error is the reply on one line, so that a *Reply is an error.
func (r *Reply) Error() string { return r.String() }

// String is the reply on one line: code, enhanced code, text.
func (r Reply) String() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(r.Code))
	if s := r.Enhanced.String(); s != "" {
		b.WriteString(" " + s)
	}
	if r.Text != "" {
		b.WriteString(" " + strings.ReplaceAll(r.Text, "\n", " "))
	}
	return b.String()
}

// Lines is the reply as it goes on the wire, each line ended by CRLF. The
// enhanced code stands on each line, as RFC 2034 3 asks.
func (r Reply) Lines() string {
	var room [128]byte // most are short
	b := room[:0]
	lines := r.Clean().Text
	for more := true; more; {
		var line string
		line, lines, more = strings.Cut(lines, "\n")
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if r.Enhanced != (Enhanced{}) {
			b = append(r.Enhanced.append(b), ' ')
		}
		b = append(b, line...)
		b = append(b, '\r', '\n')
	}
	return string(b)
}

// Clean returns r with a text that may go on the wire: control characters
// other than LF removed, at most [MaxReplyLines] lines of [MaxReplyLine]
// octets, 8-bit octets replaced by '?' unless they are valid UTF-8.
func (r Reply) Clean() Reply {
	if len(r.Text) <= MaxReplyLine && isPlain(r.Text) {
		return r
	}
	lines := strings.Split(r.Text, "\n")
	if len(lines) > MaxReplyLines {
		lines = lines[:MaxReplyLines]
	}
	for i, line := range lines {
		line = Printable(line)
		if len(line) > MaxReplyLine {
			line = strings.ToValidUTF8(line[:MaxReplyLine], "")
		}
		lines[i] = line
	}
	r.Text = strings.Join(lines, "\n")
	return r
}

// isPlain tells whether s is printable ASCII.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Printable removes control characters from s and replaces what is not UTF-8
// by '?', so that the result may stand in a header, a reply or a DSN.
func Printable(s string) string {
	if isPlain(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return -1
		}
		return r
	}, s)
}

// NewReply makes a reply from its parts; enhanced is "5.1.1" or empty. It is
// meant for constants: a malformed enhanced code is dropped.
func NewReply(code int, enhanced, text string) *Reply {
	e, _, _ := ParseEnhanced(enhanced)
	return &Reply{Code: code, Enhanced: e, Text: text}
}
