package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Limits of a reply: lines, and octets of a line.
const (
	maxReplyLines = 100
	maxReplyLine  = 2048
)

// dialogueTimeout is how long the server may take for anything; ten minutes
// is what RFC 5321 4.5.3.2.6 gives the end of data, the longest.
const dialogueTimeout = 10 * time.Minute

// dialogue is an SMTP client that shows what is said.
type dialogue struct {
	out  io.Writer
	conn net.Conn
	r    *bufio.Reader
}

func (d *dialogue) use(c net.Conn) {
	d.conn, d.r = c, bufio.NewReaderSize(c, maxReplyLine)
}

func (d *dialogue) note(format string, args ...any) {
	fmt.Fprintln(d.out, "= "+visible(fmt.Sprintf(format, args...)))
}

func (d *dialogue) deadline() { _ = d.conn.SetDeadline(time.Now().Add(dialogueTimeout)) }

// replyError is a reply other than the wanted one.
type replyError struct {
	at   string // the command
	code int
	text string
}

func (e *replyError) Error() string {
	return fmt.Sprintf("%s: the server answers %d %s", e.at, e.code, visible(e.text))
}

// failure gives a reply its exit code.
func (e *replyError) failure() error {
	switch e.code / 100 {
	case 4:
		return exit{exTempFail, e}
	case 5:
		return exit{exUnavailable, e}
	}
	return exit{exProtocol, e}
}

// broken tells whether err is not a reply, so that nothing more can be said.
func broken(err error) bool {
	var r *replyError
	return err != nil && !errors.As(err, &r)
}

// worse is the error that decides the exit code: a connection that is lost
// over a refusal, that over a deferral.
func worse(a, b error) error {
	rank := func(err error) int {
		var r *replyError
		switch {
		case err == nil:
			return 0
		case !errors.As(err, &r):
			return 3
		case r.code/100 == 4:
			return 1
		}
		return 2
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// quit ends the dialogue and returns err with its exit code.
func (d *dialogue) quit(err error) error {
	if !broken(err) {
		_, _ = d.command(221, "QUIT")
	}
	var r *replyError
	if errors.As(err, &r) {
		return r.failure()
	}
	return err
}

// command sends a line and reads the reply, which must begin with want.
func (d *dialogue) command(want int, format string, args ...any) ([]string, error) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(d.out, "> "+visible(line))
	d.deadline()
	if _, err := io.WriteString(d.conn, line+"\r\n"); err != nil {
		return nil, lost(err)
	}
	verb, _, _ := strings.Cut(line, " ")
	return d.reply(verb, want)
}

// reply reads a reply and returns its lines without the code.
func (d *dialogue) reply(at string, want int) ([]string, error) {
	d.deadline()
	var lines []string
	for {
		b, err := d.r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				return nil, exitf(exProtocol, "%s: a reply line is longer than %d octets", at, maxReplyLine)
			}
			return nil, lost(err)
		}
		line := string(bytes.TrimRight(b, "\r\n"))
		fmt.Fprintln(d.out, "< "+visible(line))
		code, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil || code < 200 || code > 599 || len(line) > 3 && line[3] != ' ' && line[3] != '-' || len(lines) == maxReplyLines {
			return nil, exitf(exProtocol, "%s: the server does not speak SMTP: %q", at, line)
		}
		lines = append(lines, line[min(4, len(line)):])
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(strconv.Itoa(code), strconv.Itoa(want)) {
			return nil, &replyError{at, code, strings.Join(lines, " ")}
		}
		return lines, nil
	}
}

func lost(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed it")
	}
	return exitf(exTempFail, "the connection is lost: %w", err)
}

// shown is how many lines of a message are shown.
const shown = 200

// content sends the message with dots doubled, and the end of data.
func (d *dialogue) content(message []byte) error {
	w := bufio.NewWriterSize(d.conn, 64<<10)
	n := 0
	for line := range bytes.Lines(message) {
		dot := ""
		if line[0] == '.' {
			dot = "."
		}
		if n++; n <= shown {
			fmt.Fprintln(d.out, "> "+dot+visible(string(bytes.TrimRight(line, "\r\n"))))
		}
		d.deadline()
		_, _ = w.WriteString(dot) // an error stays for the next write
		if _, err := w.Write(line); err != nil {
			return lost(err)
		}
	}
	if n > shown {
		d.note("%d lines more, %d octets in all", n-shown, len(message))
	}
	fmt.Fprintln(d.out, "> .")
	_, _ = w.WriteString(".\r\n")
	if err := w.Flush(); err != nil {
		return lost(err)
	}
	_, err := d.reply("end of data", 250)
	return err
}

// verify checks a certificate as a client that insists would.
func verify(s tls.ConnectionState, host string) error {
	roots := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		roots.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(roots)
	return err
}
