package maildrop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// Answer is what a server said to a message.
type Answer struct {
	Sent       bool         // the server has it, for the recipients that it took
	Refusal    mail.Reply   // of all of it, if not Sent
	Recipients []mail.Reply // to each recipient, as far as that was asked
}

// Submit says a message to an SMTP server at the other end of conn, which must
// do CHUNKING, so that not an octet of the content is looked at. decide, if not
// nil, is asked after the recipients, when at least one was taken, whether to go
// on. An error tells that it is unknown what became of the message.
func Submit(conn net.Conn, helo string, e *Envelope, content io.Reader, decide func(rcpts []mail.Reply) bool) (a Answer, err error) {
	c := &client{conn: conn, in: bufio.NewReader(conn)}
	defer conn.Close()
	refused := func(r mail.Reply) (Answer, error) {
		a.Refusal = r
		_, _ = c.say("QUIT\r\n")
		return a, nil
	}
	r, _, err := c.reply()
	if err != nil || r.Class() != 2 {
		return a, errors.Join(err, notOK("connection", r))
	}
	if _, err := io.WriteString(conn, "EHLO "+helo+"\r\n"); err != nil {
		return a, err
	}
	r, lines, err := c.reply()
	if err != nil || r.Class() != 2 {
		return a, errors.Join(err, notOK("EHLO", r))
	}
	does := make(map[string]bool)
	for _, l := range lines {
		word, _, _ := strings.Cut(l, " ")
		does[strings.ToUpper(word)] = true
	}
	if !does["CHUNKING"] {
		return a, errors.New("maildrop: the server does not do CHUNKING")
	}
	from := "MAIL FROM:<" + e.Sender.String() + ">"
	if does["8BITMIME"] && e.Body != mail.BodyUnspecified {
		from += " BODY=" + e.Body.String()
	}
	if e.SMTPUTF8 {
		from += " SMTPUTF8"
	}
	if does["DSN"] && e.Return != mail.ReturnUnspecified {
		from += " RET=" + e.Return.String()
	}
	if does["DSN"] && e.EnvID != "" {
		from += " ENVID=" + mail.EncodeXtext(e.EnvID)
	}
	if r, err = c.say(from + "\r\n"); err != nil {
		return a, err
	} else if r.Class() != 2 {
		return refused(r)
	}
	taken := 0
	for _, to := range e.Recipients {
		line := "RCPT TO:<" + to.String() + ">"
		if does["DSN"] && e.Notify != 0 {
			line += " NOTIFY=" + e.Notify.String()
		}
		if r, err = c.say(line + "\r\n"); err != nil {
			return a, err
		}
		if a.Recipients = append(a.Recipients, r); r.Class() == 2 {
			taken++
		}
	}
	if taken == 0 || decide != nil && !decide(a.Recipients) {
		return refused(r)
	}
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(content, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return a, err // the connection closes: nothing is taken of it
		}
		if n > 0 {
			if r, err := c.chunk(buf[:n], ""); err != nil {
				return a, err
			} else if r.Class() != 2 {
				return refused(r)
			}
		}
		if err != nil {
			break
		}
	}
	if r, err = c.chunk(nil, " LAST"); err != nil {
		return a, err
	} else if r.Class() != 2 {
		return refused(r)
	}
	a.Sent = true
	_, _ = c.say("QUIT\r\n")
	return a, nil
}

func notOK(what string, r mail.Reply) error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("maildrop: the server answers the %s with %q", what, r.String())
}

type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func (c *client) say(line string) (mail.Reply, error) {
	if _, err := io.WriteString(c.conn, line); err != nil {
		return mail.Reply{}, err
	}
	r, _, err := c.reply()
	return r, err
}

func (c *client) chunk(p []byte, last string) (mail.Reply, error) {
	return c.say("BDAT " + strconv.Itoa(len(p)) + last + "\r\n" + string(p))
}

// reply reads one reply; lines are its texts. A line is at most as long as the
// buffer, and there are at most a hundred.
func (c *client) reply() (r mail.Reply, lines []string, err error) {
	for len(lines) < 100 {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return r, nil, fmt.Errorf("maildrop: no reply of the server: %w", err)
		}
		text := strings.TrimRight(string(line), "\r\n")
		code, err := strconv.Atoi(text[:min(len(text), 3)])
		if err != nil || code < 200 || code > 599 || len(text) > 3 && text[3] != ' ' && text[3] != '-' {
			return r, nil, fmt.Errorf("maildrop: %q is no reply of a server", text)
		}
		more := len(text) > 3 && text[3] == '-'
		text = text[min(len(text), 4):]
		if r.Code = code; len(lines) == 0 {
			if e, rest, ok := mail.ParseEnhanced(text); ok {
				r.Enhanced, text = e, strings.TrimPrefix(rest, " ")
			}
			r.Text = text
		}
		if lines = append(lines, text); !more {
			return r, lines, nil
		}
	}
	return r, nil, errors.New("maildrop: a reply of the server does not end")
}
