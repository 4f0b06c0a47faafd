package deliver

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Limits of a reply as it is read. RFC 5321 4.5.3.1.5 gives a line 512 octets.
const (
	maxReplyLines  = 100
	maxReplyOctets = 64 << 10
	maxReplyLine   = 2048 // what is longer is cut
)

var (
	errMalformed = errors.New("a malformed reply")
	errTooLong   = errors.New("a reply longer than 100 lines or 64 KiB")
	errMixed     = errors.New("a reply with two different codes")
)

// replyReader reads replies. A line may end in LF alone, as Postfix takes it.
type replyReader struct {
	src  io.Reader
	buf  [4096]byte
	r, w int
	long []byte // a line that did not fit

	code  int
	text  []byte // of the last reply, LF between lines, as it came
	total int    // octets of the last reply
}

// buffered tells whether bytes are there that nobody has asked for yet.
func (r *replyReader) buffered() []byte { return r.buf[r.r:r.w] }

// read reads one reply into code and text. After an error the stream is of no more use.
func (r *replyReader) read() error {
	r.code, r.total, r.text = 0, 0, r.text[:0]
	for n := 0; ; n++ {
		if n == maxReplyLines {
			return errTooLong
		}
		line, err := r.line()
		if err != nil {
			return err
		}
		if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) ||
			len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return errMalformed
		}
		code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
		if n > 0 && code != r.code {
			return errMixed
		}
		r.code = code
		if n > 0 {
			r.text = append(r.text, '\n')
		}
		if len(line) > 4 {
			r.text = append(r.text, line[4:]...)
		}
		if len(line) == 3 || line[3] == ' ' {
			return nil
		}
	}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// line returns the next line without its end; it is valid until the next call.
func (r *replyReader) line() ([]byte, error) {
	r.long = r.long[:0]
	for {
		if nl := bytes.IndexByte(r.buf[r.r:r.w], '\n'); nl >= 0 {
			line := r.buf[r.r : r.r+nl]
			r.r += nl + 1
			if r.total += nl + 1; r.total > maxReplyOctets {
				return nil, errTooLong
			}
			if len(r.long) > 0 || len(line) > maxReplyLine {
				r.keep(line)
				line = r.long
			}
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if r.w-r.r >= maxReplyLine {
			if r.total += r.w - r.r; r.total > maxReplyOctets {
				return nil, errTooLong
			}
			r.keep(r.buf[r.r:r.w])
			r.r = r.w
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *replyReader) keep(part []byte) {
	r.long = append(r.long, part[:min(len(part), maxReplyLine-len(r.long))]...)
}

func (r *replyReader) fill() error {
	if r.r > 0 {
		r.w = copy(r.buf[:], r.buf[r.r:r.w])
		r.r = 0
	}
	for range 100 { // an io.Reader may return nothing, but not for ever
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// reply is the last reply as the rest of the server keeps it: the enhanced code apart, the text made printable and cut
// to what mail.Reply allows.
func (r *replyReader) reply() mail.Reply {
	out := mail.Reply{Code: r.code}
	lines := strings.Split(string(r.text), "\n")
	if len(lines) > mail.MaxReplyLines {
		lines = lines[:mail.MaxReplyLines]
	}
	for i, line := range lines {
		e, rest, ok := mail.ParseEnhanced(line)
		// A code of another class than the reply's says nothing: the reply decides (RFC 2034 4).
		if !ok || int(e[0]) != r.code/100 || i > 0 && e != out.Enhanced {
			continue
		}
		if i == 0 {
			out.Enhanced = e
		}
		lines[i] = rest
	}
	out.Text = strings.Join(lines, "\n")
	return out.Clean()
}

// extensions are what a server offers (RFC 5321 4.1.1.1).
type extensions struct {
	esmtp, pipelining, eightBit, chunking, binary, utf8, dsn, startTLS, requireTLS bool
	priority, rrvs                                                                 bool // MT-PRIORITY (RFC 6710), RRVS (RFC 7293)

	size    bool
	maxSize int64 // octets; 0: not said
	maxRcpt int   // RFC 9422 LIMITS RCPTMAX; 0: not said
	maxMail int   // MAILMAX
	domains int   // RCPTDOMAINMAX

	deliverBy bool          // RFC 2852
	minBy     time.Duration // the shortest time that it takes with by-mode R

	auth []string // SASL mechanisms, upper case
}

// parse reads the text of a positive reply to EHLO. What is malformed is not offered.
func (x *extensions) parse(text []byte) {
	*x = extensions{esmtp: true}
	_, text, _ = bytes.Cut(text, []byte("\n")) // the first line is the greeting
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		word, arg, _ := bytes.Cut(line, []byte(" "))
		switch strings.ToUpper(string(word)) {
		case "PIPELINING":
			x.pipelining = true
		case "8BITMIME":
			x.eightBit = true
		case "CHUNKING":
			x.chunking = true
		case "BINARYMIME":
			x.binary = true
		case "SMTPUTF8":
			x.utf8 = true
		case "DSN":
			x.dsn = true
		case "STARTTLS":
			x.startTLS = true
		case "REQUIRETLS":
			x.requireTLS = true
		case "SIZE":
			x.size = true
			x.maxSize = number(arg)
		case "MT-PRIORITY":
			x.priority = true
		case "RRVS":
			x.rrvs = true
		case "DELIVERBY":
			x.deliverBy = true
			x.minBy = time.Duration(min(number(arg), 1<<30)) * time.Second
		case "AUTH":
			for _, m := range bytes.Fields(arg) {
				x.auth = append(x.auth, strings.ToUpper(string(m)))
			}
		case "LIMITS":
			for limit := range bytes.FieldsSeq(arg) {
				name, value, _ := bytes.Cut(limit, []byte("="))
				switch strings.ToUpper(string(name)) {
				case "RCPTMAX":
					x.maxRcpt = int(min(number(value), 1<<20))
				case "MAILMAX":
					x.maxMail = int(min(number(value), 1<<20))
				case "RCPTDOMAINMAX":
					x.domains = int(min(number(value), 1<<20))
				}
			}
		}
	}
}

// number reads a decimal number of at most 18 digits; 0 if it is none.
func number(s []byte) (n int64) {
	if len(s) > 18 || slices.ContainsFunc(s, func(c byte) bool { return !digit(c) }) {
		return 0
	}
	for _, c := range s {
		n = n*10 + int64(c-'0')
	}
	return n
}
